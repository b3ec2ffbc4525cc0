//! Messages that report on mail: bounces and other delivery status notifications (RFC 3464 within
//! `multipart/report`, RFC 6522; or in a vendor's own words, [`formats`]), and complaints (RFC 5965).
//!
//! [`read`] finds out what a message is and what it says; [`events`] lowers that to one event for each
//! recipient. Only parts directly beneath the message's own top multipart, and words in front of the
//! returned mail, are read as reports: the returned original may hold a forged one. A wrong or missing
//! `report-type` does no harm where the part is there. What is no report is [`Kind::AutoReply`] or
//! [`Kind::None`], and makes no event; a recipient that cannot be read makes none either and is listed
//! in [`Reading::refused`].

mod lower;
mod other;
mod supplement;

use super::address::{Address, canonical_domain};
use super::arf::{self, FeedbackReport};
use super::dsn::{self, Action, Diagnostic, Report};
use super::event::{Event, Outcome, Source};
use super::formats::{self, amazon_ses};
use super::letter::{Letter, is_header_only};
use super::received::Hop;
use super::status::Class;
use jiff::Timestamp;
use lower::Frame;
use mail_parser::{HeaderName, Message, MessageParser, MessagePart, MimeHeaders, PartType};
use sha2::{Digest, Sha256};

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A notification that at least one recipient was given up.
    Bounce,
    /// A notification that mail is late.
    Delay,
    /// A notification that mail was delivered, or handed on.
    Delivered,
    /// A recipient's complaint.
    Complaint,
    /// An automatic answer of another kind (RFC 3834).
    AutoReply,
    /// Anything else.
    None,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// What it is.
    pub kind: Kind,
    /// The form that it has: `rfc3464`, `rfc5965`, `rfc3834`, or a format's name ([`formats`]).
    pub format: Option<&'static str>,
    /// Its own Message-ID, without `<>`.
    pub message_id: Option<String>,
    /// Its `Date`.
    pub date: Option<Timestamp>,
    /// A SHA-256 of its body, blind to line ends: with the Message-ID, what identifies it.
    pub digest: [u8; 32],
    /// Its delivery status, where it is a notification.
    pub report: Option<Report>,
    /// Its feedback, where it is a complaint.
    pub feedback: Option<FeedbackReport>,
    /// The mail that it is about, where it was returned (in full or its header).
    pub returned: Option<Returned>,
    /// Its `Return-Path`, where a delivery agent noted one; `Some("")` is the null sender.
    pub return_path: Option<String>,
    /// The host whose Postfix made the message itself and gave it to nobody else on the way: its
    /// topmost `Received` field names no client and no local user.
    pub locally_generated: Option<String>,
    /// What could not be read, in sentences.
    pub refused: Vec<String>,
}

/// What is left of the mail that a report is about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Returned {
    /// Its Message-ID, without `<>`.
    pub message_id: Option<String>,
    /// Its `Return-Path`, without `<>`.
    pub return_path: Option<String>,
    /// Its `To`, as it stands.
    pub to: Option<String>,
    /// Its way, the last hop first.
    pub hops: Vec<Hop>,
}

/// The envelope that a report arrived in, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Envelope<'a> {
    /// The sender; `Some("")` is the null sender.
    pub sender: Option<&'a str>,
    /// The recipient: the return path of the mail reported on (VERP).
    pub recipient: Option<&'a str>,
}

/// Reads a message; never fails.
#[must_use]
pub fn read(raw: &[u8]) -> Reading {
    let parser = MessageParser::new()
        .with_mime_headers()
        .header_text(HeaderName::Subject);
    let Some(message) = parser.parse(raw) else {
        return nothing(raw);
    };
    let headers = Headers(&message);
    let mut reading = Reading {
        kind: Kind::None,
        format: None,
        message_id: headers.first("Message-ID").and_then(|id| bare(&id)),
        date: headers.first("Date").and_then(|date| dsn::date(&date)),
        digest: digest(body(&message)),
        report: None,
        feedback: None,
        returned: None,
        return_path: headers.first("Return-Path").map(|path| unbracket(&path)),
        locally_generated: headers
            .first("Received")
            .and_then(|topmost| Hop::parse(&topmost).origin().map(str::to_owned)),
        refused: Vec::new(),
    };
    let letter = Letter::new(&message);
    reading.kind = reading.parts(&letter);
    reading
}

/// Lowers a reading to events. `received_at` is when the report reached us; a notification that our
/// own MTA made is dated by itself instead.
#[must_use]
pub fn events(
    reading: &Reading,
    envelope: Envelope<'_>,
    source: Source,
    received_at: Timestamp,
) -> Vec<Event> {
    let frame = Frame::new(reading, envelope, source, received_at);
    let statuses = reading.report.iter().flat_map(|report| {
        let recipients = report.recipients.iter().enumerate();
        recipients.filter_map(|(index, recipient)| frame.status(report, recipient, index))
    });
    let complaints = reading.feedback.iter().filter(|f| f.is_complaint());
    let complaints = complaints.flat_map(|feedback| {
        let recipients = feedback.recipients.iter().enumerate();
        recipients.filter_map(|(index, recipient)| frame.complaint(feedback, recipient, index))
    });
    statuses.chain(complaints).collect()
}

impl Reading {
    /// Reads the reports among the direct children of the top multipart, or else the words.
    fn parts(&mut self, letter: &Letter<'_>) -> Kind {
        let root = letter.message().root_part();
        let children: Vec<&MessagePart<'_>> = letter.parts().collect();
        let of_type = |names: &[&str]| {
            children
                .iter()
                .find(|part| {
                    let subtype = part.content_type().and_then(|t| t.subtype());
                    is_type(part, "message")
                        && names
                            .iter()
                            .any(|n| subtype.is_some_and(|s| s.eq_ignore_ascii_case(n)))
                })
                .copied()
        };
        let status = of_type(&["delivery-status", "global-delivery-status"]);
        let feedback = of_type(&["feedback-report"]);
        let prefers_feedback = root
            .content_type()
            .and_then(|t| t.attribute("report-type"))
            .is_some_and(|t| t.eq_ignore_ascii_case("feedback-report"));
        self.returned = children.iter().find_map(|part| returned(part));
        match (status, feedback) {
            (None, None) => self.words(letter),
            (Some(part), None) => self.delivery_status(part, letter),
            (Some(part), Some(_)) if !prefers_feedback => self.delivery_status(part, letter),
            (_, Some(part)) => self.feedback_report(part),
        }
    }

    /// Reads a message that has no part of RFC 3464 or RFC 5965.
    fn words(&mut self, letter: &Letter<'_>) -> Kind {
        if self.returned.is_none() {
            self.returned = letter.returned().and_then(returned_in_words);
        }
        if let Some(notification) = amazon_ses::read(letter) {
            return self.notification(notification);
        }
        if let Some((format, report)) = formats::read(letter) {
            self.format = Some(format);
            let kind = kind_of(&report);
            self.report = Some(report);
            return kind;
        }
        self.returned = None;
        let (kind, format) = other::kind(letter);
        self.format = format;
        kind
    }

    /// Takes what Amazon SES notifies of: as the only format, it has complaints and no returned mail.
    fn notification(&mut self, notification: amazon_ses::Notification) -> Kind {
        self.format = Some(amazon_ses::NAME);
        self.returned = Some(Returned {
            message_id: notification.message_id,
            return_path: notification.source,
            ..Returned::default()
        });
        match notification.content {
            amazon_ses::Content::Status(report) => {
                let kind = kind_of(&report);
                self.report = Some(report);
                kind
            }
            amazon_ses::Content::Complaint(feedback) => self.feedback(feedback),
        }
    }

    fn delivery_status(&mut self, part: &MessagePart<'_>, letter: &Letter<'_>) -> Kind {
        let mut report = dsn::parse(part.contents());
        supplement::supplement(&mut report, letter);
        if report.recipients.is_empty() && letter.is_from_daemon() {
            // A report that lost its recipients is still one on the only addressee of the mail returned.
            let to = self.returned.as_ref().and_then(|r| r.to.as_deref());
            let addressee = to.and_then(only_mailbox).and_then(|to| Address::parse(&to).ok());
            report.recipients.extend(addressee.map(|address| dsn::Recipient {
                final_recipient: Some(address),
                action: Some(Action::Failed),
                ..dsn::Recipient::default()
            }));
        }
        self.format = Some("rfc3464");
        self.refused.extend(report.broken.iter().map(ToString::to_string));
        let unnamed = report.recipients.iter().filter(|r| r.final_recipient.is_none());
        if unnamed.count() > 0 || report.recipients.is_empty() {
            self.refused
                .push("expected a Final-Recipient for each recipient, found none".to_owned());
        }
        let kind = kind_of(&report);
        self.report = Some(report);
        kind
    }

    fn feedback_report(&mut self, part: &MessagePart<'_>) -> Kind {
        self.format = Some("rfc5965");
        let Some(mut feedback) = arf::parse(part.contents()) else {
            self.refused
                .push("expected a Feedback-Type of RFC 5965, found none".to_owned());
            return Kind::None;
        };
        // Many reporters name the recipient only in the returned header; several there would be a guess.
        if feedback.recipients.is_empty() {
            let to = self.returned.as_ref().and_then(|r| r.to.as_deref());
            feedback.recipients.extend(to.and_then(only_mailbox));
        }
        self.feedback(feedback)
    }

    /// Takes feedback: a complaint, or something like one.
    fn feedback(&mut self, feedback: FeedbackReport) -> Kind {
        let bad = feedback.recipients.iter().filter_map(|r| Address::parse(r).err());
        self.refused
            .extend(bad.map(|error| format!("Original-Rcpt-To: {error}")));
        if feedback.is_complaint() && feedback.recipients.is_empty() {
            self.refused.push(
                "expected an Original-Rcpt-To, or one address in the returned To, found none".to_owned(),
            );
        }
        let kind = if feedback.is_complaint() {
            Kind::Complaint
        } else {
            Kind::None
        };
        self.feedback = Some(feedback);
        kind
    }

    /// The queue id at our MTA of the mail reported on. A notification of our own Postfix names it. In
    /// another's, it stands in the returned header: at a hop of the domain that the report came back
    /// to, or else at the last Postfix before the reporter.
    fn queue_id(&self, own: bool, return_path: Option<&str>) -> Option<String> {
        let report = self.report.as_ref();
        if own {
            return report?.postfix_queue_id.clone();
        }
        let reporter = report.and_then(|r| r.reporting_mta.as_deref());
        let hops = &self.returned.as_ref()?.hops;
        let candidates = || {
            let named = hops
                .iter()
                .filter(|hop| hop.is_postfix() && hop.queue_id.is_some());
            named.filter(|hop| hop.by.as_deref() != reporter)
        };
        let home = return_path
            .and_then(|path| path.rsplit_once('@'))
            .and_then(|(_, domain)| registrable(domain));
        let at_home = candidates().find(|hop| {
            let by = hop.by.as_deref().and_then(registrable);
            home.is_some() && by == home
        });
        at_home.or_else(|| candidates().next())?.queue_id.clone()
    }
}

/// What a notification is, by the worst that it says of any recipient.
fn kind_of(report: &Report) -> Kind {
    let any = |outcomes: &[Outcome]| {
        let mut recipients = report.recipients.iter();
        recipients.any(|r| outcome(r).is_some_and(|o| outcomes.contains(&o)))
    };
    if any(&[Outcome::Failed, Outcome::Expired]) {
        Kind::Bounce
    } else if any(&[Outcome::Deferred]) {
        Kind::Delay
    } else if any(&[Outcome::Delivered, Outcome::Relayed]) {
        Kind::Delivered
    } else {
        Kind::None
    }
}

/// What the words keep of the mail reported on.
fn returned_in_words(text: &str) -> Option<Returned> {
    let message = MessageParser::new().parse_headers(text.as_bytes())?;
    Some(Headers(&message).returned())
}

/// What became of a recipient. A failure is one of the mailbox only with a permanent status: Postfix
/// reports a message that grew too old as `failed` with the 4.x of its last attempt.
fn outcome(recipient: &dsn::Recipient) -> Option<Outcome> {
    let reply = recipient.diagnostic.as_ref().map(Diagnostic::reply);
    let status = recipient.status.or_else(|| reply.as_ref().and_then(|r| r.status));
    let class = status.map(super::status::EnhancedStatus::class);
    let code = reply.and_then(|r| r.code);
    match (recipient.action, class) {
        (Some(Action::Failed), Some(Class::Persistent)) => Some(Outcome::Expired),
        (Some(Action::Failed), None) if code.is_some_and(|c| c.is_transient()) => Some(Outcome::Expired),
        (Some(Action::Failed), _) | (None, Some(Class::Permanent)) => Some(Outcome::Failed),
        (Some(Action::Delayed), _) | (None, Some(Class::Persistent)) => Some(Outcome::Deferred),
        (Some(Action::Delivered), _) | (None, Some(Class::Success)) => Some(Outcome::Delivered),
        (Some(Action::Relayed | Action::Expanded), _) => Some(Outcome::Relayed),
        (None, None) => None,
    }
}

/// What a part keeps of the mail reported on; `None` where it is none.
fn returned(part: &MessagePart<'_>) -> Option<Returned> {
    if let PartType::Message(message) = &part.body {
        return Some(Headers(message).returned());
    }
    if !is_header_only(part) {
        return None;
    }
    let message = MessageParser::new().parse_headers(part.contents())?;
    Some(Headers(&message).returned())
}

fn is_type(part: &MessagePart<'_>, name: &str) -> bool {
    part.content_type()
        .is_some_and(|t| t.ctype().eq_ignore_ascii_case(name))
}

/// The header of a message, field by field, unfolded.
struct Headers<'a>(&'a Message<'a>);

impl Headers<'_> {
    fn all<'h>(&'h self, name: &'h str) -> impl Iterator<Item = String> + 'h {
        super::letter::fields(self.0, name)
    }

    fn first(&self, name: &str) -> Option<String> {
        self.all(name).next()
    }

    fn returned(&self) -> Returned {
        Returned {
            message_id: self.first("Message-ID").and_then(|id| bare(&id)),
            return_path: self.first("Return-Path").map(|path| unbracket(&path)),
            to: self.first("To"),
            hops: self.all("Received").map(|value| Hop::parse(&value)).collect(),
        }
    }
}

/// The only mailbox of a `To` field, with or without a display name.
fn only_mailbox(to: &str) -> Option<String> {
    let one = match (to.find('<'), to.rfind('>')) {
        (Some(start), Some(end)) if start < end => &to[start + 1..end],
        _ => to,
    };
    let single = !to.contains(',') && Address::parse(one).is_ok();
    single.then(|| one.to_owned())
}

fn registrable(domain: &str) -> Option<String> {
    let domain = canonical_domain(domain.trim_end_matches('>'))?;
    psl::domain_str(&domain).map(str::to_owned)
}

fn unbracket(text: &str) -> String {
    text.trim()
        .trim_start_matches('<')
        .trim_end_matches('>')
        .to_owned()
}

fn bare(text: &str) -> Option<String> {
    Some(unbracket(text)).filter(|id| !id.is_empty())
}

fn body<'a>(message: &'a Message<'_>) -> &'a [u8] {
    let start = message.root_part().raw_body_offset() as usize;
    message.raw_message.get(start..).unwrap_or_default()
}

/// Blind to line ends and to empty lines at the end, which differ between LMTP, Maildir and mbox.
fn digest(body: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for run in body.trim_ascii_end().split(|&b| b == b'\r') {
        hash.update(run);
    }
    hash.finalize().into()
}

fn nothing(raw: &[u8]) -> Reading {
    Reading {
        kind: Kind::None,
        format: None,
        message_id: None,
        date: None,
        digest: digest(raw),
        report: None,
        feedback: None,
        returned: None,
        return_path: None,
        locally_generated: None,
        refused: vec!["expected a message with a header, found none".to_owned()],
    }
}
