//! From what a message says to events: one for each recipient. See [`super::events`].

use super::super::address::{Address, LocalPart};
use super::super::arf::FeedbackReport;
use super::super::dsn::{self, Diagnostic, Report};
use super::super::event::{Authentication, Event, EventId, Evidence, Outcome, Relay, Source};
use super::super::field::clean;
use super::super::formats::postfix::parse_reason;
use super::super::reply::Reply;
use super::original::Origin;
use super::{Answer, Envelope, Reading, outcome, unbracket};
use jiff::Timestamp;

/// What all events of one message share.
pub(super) struct Frame<'a> {
    reading: &'a Reading,
    sender: Option<String>,
    return_path: Option<String>,
    message_id: Option<String>,
    queue_id: Option<String>,
    source: Source,
    at: Timestamp,
    own: bool,
    origin: Origin<'a>,
}

impl<'a> Frame<'a> {
    pub(super) fn new(
        reading: &'a Reading,
        envelope: Envelope<'a>,
        source: Source,
        received_at: Timestamp,
    ) -> Self {
        let envelope_sender = envelope.sender.or(reading.return_path.as_deref());
        let own = is_own(reading, envelope_sender);
        let return_path = envelope.recipient.map(|r| clean(r.as_bytes()).into_owned());
        let returned = reading.returned.as_ref();
        Self {
            reading,
            sender: sender(reading, envelope, own),
            message_id: returned.and_then(|r| r.message_id.clone()),
            queue_id: reading.queue_id(own, envelope.recipient),
            return_path,
            source,
            at: reading.date.filter(|_| own).unwrap_or(received_at),
            own,
            origin: Origin::of(reading, envelope, own),
        }
    }

    pub(super) fn status(&self, report: &Report, recipient: &dsn::Recipient, index: usize) -> Option<Event> {
        let address = recipient.final_recipient.clone()?;
        let original = self.origin.address(recipient);
        let (reply, command) = recipient.diagnostic.as_ref().map(said).unwrap_or_default();
        let evidence = if self.own && recipient.diagnostic.as_ref().is_some_and(is_echo) {
            Evidence::Repeat
        } else if recipient.doubtful {
            Evidence::Doubtful
        } else {
            Evidence::Fresh
        };
        let differs = |o: &Address| o.key(LocalPart::Keep) != address.key(LocalPart::Keep);
        Some(Event {
            outcome: outcome(recipient)?,
            evidence,
            original_recipient: original.filter(differs),
            envelope_id: report.envelope_id.clone(),
            sasl_username: None,
            relay: recipient.remote_mta.clone().map(|host| Relay {
                host,
                ip: None,
                port: None,
            }),
            command: recipient.command.clone().or(command),
            reply,
            reported_status: recipient.status,
            reporting_mta: report.reporting_mta.clone(),
            ..self.event(b"dsn", address, index)
        })
    }

    pub(super) fn complaint(
        &self,
        feedback: &FeedbackReport,
        recipient: &str,
        index: usize,
    ) -> Option<Event> {
        let text = format!("feedback-type {}", feedback.feedback_type);
        Some(Event {
            outcome: Outcome::Complaint,
            sender: feedback.mail_from.clone().or_else(|| self.sender.clone()),
            envelope_id: feedback.envelope_id.clone(),
            sasl_username: None,
            reply: Reply {
                text,
                ..Reply::default()
            },
            reporting_mta: feedback.reporter.clone(),
            own: false,
            ..self.event(b"arf", Address::parse(recipient).ok()?, index)
        })
    }

    /// What an automatic answer says of its author: kept and shown, never acts.
    pub(super) fn answer(&self, answer: &Answer) -> Option<Event> {
        Some(Event {
            outcome: Outcome::AutoReply,
            reply: Reply {
                text: answer.text.clone(),
                ..Reply::default()
            },
            own: false,
            ..self.event(b"answer", answer.address.clone()?, 0)
        })
    }

    fn event(&self, kind: &[u8], recipient: Address, index: usize) -> Event {
        let id = self.reading.message_id.as_deref().unwrap_or("");
        let date = self.reading.stamp.unwrap_or(Timestamp::UNIX_EPOCH);
        let parts: [&[u8]; 4] = [kind, id.as_bytes(), &self.reading.digest, &index.to_be_bytes()];
        Event {
            id: EventId::new(date, &parts),
            at: self.at,
            source: self.source,
            outcome: Outcome::Complaint,
            evidence: Evidence::Fresh,
            recipient,
            original_recipient: None,
            sender: self.sender.clone(),
            queue_id: self.queue_id.clone(),
            message_id: self.message_id.clone(),
            envelope_id: None,
            sasl_username: None,
            relay: None,
            command: None,
            reply: Reply::default(),
            reported_status: None,
            reporting_mta: None,
            return_path: self.return_path.clone(),
            own: self.own,
            authentication: Authentication::Untried,
        }
    }
}

/// The envelope sender of the mail reported on. It is whom our own MTA's notification came back to,
/// but for the postmaster's copies; Postfix garbles one beyond ASCII in `X-Postfix-Sender`.
fn sender(reading: &Reading, envelope: Envelope<'_>, own: bool) -> Option<String> {
    if own && envelope.sender.is_some_and(|s| unbracket(s).is_empty()) && envelope.recipient.is_some() {
        return envelope
            .recipient
            .map(|r| clean(unbracket(r).as_bytes()).into_owned());
    }
    let returned = reading.returned.as_ref().and_then(|r| r.return_path.clone());
    let report = reading.report.as_ref().filter(|_| own);
    returned.or_else(|| report.and_then(|r| r.postfix_sender.clone()))
}

/// A notification is our own MTA's if it never crossed a network, speaks for the host that made it,
/// and has the sender that bounces have: nobody, or `double-bounce@` for the postmaster's copies.
fn is_own(reading: &Reading, envelope_sender: Option<&str>) -> bool {
    let reporter = reading.report.as_ref().and_then(|r| r.reporting_mta.as_deref());
    let host = reading.locally_generated.as_deref();
    let sender = envelope_sender.map(unbracket);
    reading.format == Some("rfc3464")
        && host.is_some()
        && host == reporter
        && sender.is_some_and(|s| s.is_empty() || s.to_ascii_lowercase().starts_with("double-bounce@"))
}

/// A failure of Postfix's own making that repeats an earlier one: another message's connection
/// trouble, or our own refusal to try a suppressed address (its text carries the suppression's id).
/// Evidence must not feed on its own echo.
fn is_echo(diagnostic: &Diagnostic) -> bool {
    let from_postfix = diagnostic.kind.as_deref() == Some("x-postfix");
    let text = diagnostic.text.as_str();
    let ours = text.match_indices("NX-").any(|(at, _)| {
        text[at + 3..].starts_with(|c: char| c.is_ascii_digit())
            && !text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '-')
    });
    from_postfix && (ours || text.starts_with("delivery temporarily suspended"))
}

/// The reply in a diagnostic, and the command that it answered where that is told: the single place where
/// Postfix's own wording is told from a server's.
fn said(diagnostic: &Diagnostic) -> (Reply, Option<String>) {
    if diagnostic.kind.as_deref() != Some("x-postfix") {
        return (diagnostic.reply(), None);
    }
    let reason = parse_reason(&diagnostic.text);
    let command = reason.answered();
    (reason.reply, command)
}
