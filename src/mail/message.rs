//! Messages that report on mail: bounces and other delivery status notifications (RFC 3464 within
//! `multipart/report`, RFC 6522; or in a vendor's own words, [`formats`]), and complaints (RFC 5965).
//!
//! [`read`] finds out what a message is and what it says; [`events`] lowers that to one event for each
//! recipient. Only parts directly beneath the message's own top multipart, and words in front of the
//! returned mail, are read as reports: the returned original may hold a forged one. A wrong or missing
//! `report-type` does no harm where the part is there. What is no report is [`Kind::AutoReply`] or
//! [`Kind::None`], and makes no event; a recipient that cannot be read makes none either and is listed
//! in [`Reading::refused`].

mod abridged;
mod framing;
mod lower;
mod original;
mod other;
mod outcome;
mod repair;
mod returned;
mod status;
mod supplement;

use super::address::{Address, canonical_domain};
use super::arf::{self, FeedbackReport};
use super::dsn::{self, Action, Report};
use super::event::{Event, Source};
use super::formats::{self, amazon_ses};
use super::letter::{Head, Letter, is_type};
use super::received::{self, Hop};
use abridged::Abridged;
use framing::Framed;
use jiff::{SignedDuration, Timestamp};
use lower::Frame;
use mail_parser::{HeaderName, MessageParser, MimeHeaders};
use outcome::{kind_of, outcome};
pub use returned::Returned;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::sync::LazyLock;

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A notification that at least one recipient was given up.
    Bounce,
    /// A notification that mail is late.
    Delay,
    /// A notification that mail was delivered, or handed on.
    Delivered,
    /// A feedback report (RFC 5965): a recipient's complaint, or that somebody failed to authenticate.
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
    /// The time by which it is known again, whoever hands it in: its `Date`, or that of its topmost `Received` field where
    /// it has none, or one that is nowhere near.
    pub stamp: Option<Timestamp>,
    /// A SHA-256 of its body, blind to line ends: with the Message-ID, what identifies it.
    pub digest: [u8; 32],
    /// Its delivery status, where it is a notification.
    pub report: Option<Report>,
    /// Its feedback, where it is a complaint.
    pub feedback: Option<FeedbackReport>,
    /// Who answers, and what, where it is an automatic answer.
    pub answer: Option<Answer>,
    /// The mail that it is about, where it was returned (in full or its header).
    pub returned: Option<Returned>,
    /// Its `Return-Path`, where a delivery agent noted one; `Some("")` is the null sender.
    pub return_path: Option<String>,
    /// Whom it was sent to, by its own header, best first: our return path, unless the envelope tells.
    pub addressed: Vec<String>,
    /// The host whose Postfix made the message itself and gave it to nobody else on the way: its
    /// topmost `Received` field names no client and no local user.
    pub locally_generated: Option<String>,
    /// What could not be read, in sentences.
    pub refused: Vec<String>,
}

/// An automatic answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Who answers (`From`).
    pub address: Option<Address>,
    /// What they say, on one line, as much as is worth keeping.
    pub text: String,
    /// Whether that is that the mailbox is closed, or that its owner has left. Anybody can say so.
    pub closed: bool,
}

/// Somebody of whom a message speaks without making an event of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mention<'a> {
    /// Who it is.
    pub address: Address,
    /// What is said.
    pub text: &'a str,
    /// Whether that is an automatic answer; else a report that mail failed to authenticate (RFC 6591).
    pub answers: bool,
}

/// The envelope that a report arrived in, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Envelope<'a> {
    /// The sender; `Some("")` is the null sender.
    pub sender: Option<&'a str>,
    /// The recipient: the return path of the mail reported on (VERP).
    pub recipient: Option<&'a str>,
}

/// Reads what the framing needs, and the subject; other fields are read from their octets where they are asked for.
static PARSER: LazyLock<MessageParser> = LazyLock::new(|| {
    MessageParser::new()
        .with_mime_headers()
        .header_text(HeaderName::Subject)
        .default_header_ignore()
});

/// Reads a message; never fails.
#[must_use]
pub fn read(raw: &[u8]) -> Reading {
    let raw = repair::lines(raw);
    if let Some((head, body)) = Head::plain(&raw)
        && let Some(framed) = Framed::of(&raw, &head, body)
    {
        let letter = Letter::abridged(&framed.message, head, framed.left_out);
        return Reading::of(&letter, body_digest(&raw, body));
    }
    let readable = repair::readable(&raw);
    if let Some((head, body)) = Head::plain(readable)
        && let Some(reading) = Abridged::of(readable, head, body).reading(&raw)
    {
        return reading;
    }
    let Some(message) = PARSER.parse(readable) else {
        return nothing(&raw);
    };
    let digest = body_digest(&raw, message.root_part().raw_body_offset() as usize);
    let mended = repair::multipart(&message);
    match mended.as_ref().and_then(|mended| PARSER.parse(mended)) {
        Some(mended) => Reading::of(&Letter::new(&mended), digest),
        None => Reading::of(&Letter::new(&message), digest),
    }
}

/// A server that stamps its mail with a time long gone, or to come, must not have it taken for one that was counted and
/// forgotten: the hop that handed it to us knows better. Mail is under way for days, not for a month.
fn stamp(date: Option<Timestamp>, received: Option<Timestamp>) -> Option<Timestamp> {
    const UNDER_WAY: SignedDuration = SignedDuration::from_hours(30 * 24);
    const AHEAD: SignedDuration = SignedDuration::from_hours(48);
    let Some(received) = received else { return date };
    let is_near = |date: &Timestamp| {
        let age = received.duration_since(*date);
        age <= UNDER_WAY && -age <= AHEAD
    };
    date.filter(is_near).or(Some(received))
}

fn body_digest(raw: &[u8], start: usize) -> [u8; 32] {
    digest(raw.get(start..).unwrap_or_default())
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
    let answer = reading.answer.as_ref().filter(|answer| answer.closed);
    let answer = answer.and_then(|answer| frame.answer(answer));
    statuses.chain(complaints).chain(answer).collect()
}

impl Reading {
    fn of(letter: &Letter<'_>, digest: [u8; 32]) -> Self {
        let addressed = ["Delivered-To", "X-Original-To", "Envelope-To", "To"];
        let addressed = addressed.iter().filter_map(|name| letter.field(name));
        let topmost = letter.field("Received");
        let date = letter.field("Date").and_then(|date| dsn::date(&date));
        let mut reading = Self {
            kind: Kind::None,
            format: None,
            message_id: letter.field("Message-ID").and_then(|id| bare(&id)),
            date,
            stamp: stamp(date, topmost.as_deref().and_then(received::date)),
            digest,
            report: None,
            feedback: None,
            answer: None,
            returned: None,
            return_path: letter.field("Return-Path").map(|path| unbracket(&path)),
            addressed: addressed.map(Cow::into_owned).collect(),
            locally_generated: topmost.and_then(|hop| Hop::parse(&hop).origin().map(str::to_owned)),
            refused: Vec::new(),
        };
        reading.kind = reading.parts(letter);
        reading
    }

    /// Of whom the message speaks, where that makes no event: it is still worth showing.
    #[must_use]
    pub fn mentions(&self) -> Vec<Mention<'_>> {
        let answer = self
            .answer
            .iter()
            .filter(|answer| !answer.closed)
            .filter_map(|answer| {
                Some(Mention {
                    address: answer.address.clone()?,
                    text: &answer.text,
                    answers: true,
                })
            });
        let forged = self.feedback.iter().filter(|f| f.is_auth_failure());
        let forged = forged.flat_map(|feedback| {
            let addresses = feedback.recipients.iter().filter_map(|r| Address::parse(r).ok());
            addresses.map(|address| Mention {
                address,
                text: feedback.detail.as_deref().unwrap_or_default(),
                answers: false,
            })
        });
        answer.chain(forged).collect()
    }

    /// Reads the reports among the parts, or else the words.
    fn parts(&mut self, letter: &Letter<'_>) -> Kind {
        self.returned = letter.parts().find_map(|part| match letter.left_out(part) {
            Some(mail) => Some(Returned::of_header(mail)),
            None => Returned::of_part(part),
        });
        let feedback = letter
            .parts()
            .find(|part| is_type(part, "message", "feedback-report"));
        let prefers_feedback = || {
            let kind = letter
                .message()
                .root_part()
                .content_type()
                .and_then(|t| t.attribute("report-type"));
            kind.is_some_and(|t| t.eq_ignore_ascii_case("feedback-report"))
        };
        if let Some(part) = feedback.filter(|_| prefers_feedback()) {
            return self.feedback_report(arf::parse(part.contents()));
        }
        // A bounce that somebody passes on in pieces is theirs to tell of.
        let is_passed_on = || !status::is_declared(letter) && other::is_by_human(letter);
        match (status::read(letter), feedback) {
            (Some(report), _) if !is_passed_on() => self.delivery_status(report, letter),
            (None, Some(part)) => self.feedback_report(arf::parse(part.contents())),
            _ => self.words(letter),
        }
    }

    /// Reads a message that has no part of RFC 3464 or RFC 5965.
    fn words(&mut self, letter: &Letter<'_>) -> Kind {
        if let Some(feedback) = arf::in_words(letter, self.returned.as_ref()) {
            return self.feedback_report(Some(feedback));
        }
        if let Some(other) = other::certain(letter) {
            return self.other(other);
        }
        if self.returned.is_none() {
            self.returned = letter.returned().and_then(Returned::in_words);
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
        self.other(other::rest(letter))
    }

    fn other(&mut self, other: other::Other) -> Kind {
        self.returned = None;
        self.format = other.format;
        self.answer = other.answer;
        other.kind
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

    fn delivery_status(&mut self, mut report: Report, letter: &Letter<'_>) -> Kind {
        supplement::supplement(&mut report, letter);
        if self.returned.is_none() {
            self.returned = letter.returned().and_then(Returned::in_words);
        }
        if report.recipients.is_empty() && letter.is_from_daemon() {
            // A report that lost its recipients is still one on the only addressee of the mail returned.
            let to = self.returned.as_ref().and_then(Returned::only_to);
            let addressee = to.and_then(|to| Address::parse(&to).ok());
            report.recipients.extend(addressee.map(|address| dsn::Recipient {
                final_recipient: Some(address),
                action: Some(Action::Failed),
                doubtful: true,
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

    fn feedback_report(&mut self, feedback: Option<FeedbackReport>) -> Kind {
        self.format = Some("rfc5965");
        let Some(mut feedback) = feedback else {
            self.refused
                .push("expected a Feedback-Type of RFC 5965, found none".to_owned());
            return Kind::None;
        };
        // Many reporters name the recipient only in the returned header; several there would be a guess.
        if feedback.recipients.is_empty() {
            let returned = self.returned.as_ref();
            let named = returned.and_then(|r| {
                r.complainant
                    .clone()
                    .or_else(|| r.only_to())
                    .or_else(|| r.recipient.clone())
            });
            feedback.recipients.extend(named);
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
        let kind = if feedback.is_complaint() || feedback.is_auth_failure() {
            Kind::Complaint
        } else {
            Kind::None
        };
        if feedback.is_auth_failure() {
            self.refused
                .push("mail of ours, or a forgery, failed to authenticate; no complaint".to_owned());
        }
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

/// Blind to line ends and to empty lines at the end, which differ between LMTP, Maildir and mbox.
fn digest(body: &[u8]) -> [u8; 32] {
    let body = body.trim_ascii_end();
    let mut hash = Sha256::new();
    let mut start = 0;
    for end in memchr::memchr_iter(b'\r', body) {
        hash.update(&body[start..end]);
        start = end + 1;
    }
    hash.update(&body[start..]);
    hash.finalize().into()
}

fn nothing(raw: &[u8]) -> Reading {
    Reading {
        kind: Kind::None,
        format: None,
        message_id: None,
        date: None,
        stamp: None,
        digest: digest(raw),
        report: None,
        feedback: None,
        answer: None,
        returned: None,
        return_path: None,
        addressed: Vec::new(),
        locally_generated: None,
        refused: vec!["expected a message with a header, found none".to_owned()],
    }
}
