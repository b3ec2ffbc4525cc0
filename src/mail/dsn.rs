//! The machine-readable part of a delivery status notification: `message/delivery-status`
//! (RFC 3464) and `message/global-delivery-status` (RFC 6533).
//!
//! Field groups are separated by empty lines: one for the message, then one for each recipient.
//! Reading is lenient about everything that real reporters get wrong: letter case, line ends, a
//! missing address type, groups run together or torn apart. A field that cannot be read is listed in
//! [`Report::broken`] and costs only itself, never the report. Control characters become blanks.

use super::address::{Address, AddressError};
use super::field::{self, Line};
use super::reply::Reply;
use super::status::EnhancedStatus;
use jiff::Timestamp;
use std::borrow::Cow;

/// What a reporter says of one message and its recipients.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Report {
    /// The MTA that reports (§2.2.2), lower case.
    pub reporting_mta: Option<String>,
    /// When the message arrived there (§2.2.5).
    pub arrival_date: Option<Timestamp>,
    /// The envelope id that the sender gave (§2.2.1; RFC 3461 ENVID).
    pub envelope_id: Option<String>,
    /// Postfix's queue id of the message returned (`X-Postfix-Queue-ID`).
    pub postfix_queue_id: Option<String>,
    /// The envelope sender of the message returned (`X-Postfix-Sender`).
    pub postfix_sender: Option<String>,
    /// Other fields about the message, as (name, value).
    pub extensions: Vec<(String, String)>,
    /// The recipients, in the order of the report.
    pub recipients: Vec<Recipient>,
    /// What could not be read.
    pub broken: Vec<FieldError>,
}

/// What a reporter says of one recipient (§2.3).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Recipient {
    /// The address that the reporter tried (§2.3.2).
    pub final_recipient: Option<Address>,
    /// The address that the sender mailed (§2.3.1).
    pub original_recipient: Option<Address>,
    /// What became of it (§2.3.3).
    pub action: Option<Action>,
    /// Why (§2.3.4).
    pub status: Option<EnhancedStatus>,
    /// The server that answered (§2.3.5), lower case.
    pub remote_mta: Option<String>,
    /// What was said (§2.3.6).
    pub diagnostic: Option<Diagnostic>,
    /// The SMTP command that was answered (`RCPT TO`, `DATA`), where a report in words tells; no field
    /// of RFC 3464 does.
    pub command: Option<String>,
    /// Whether doubt is in order: no report names this recipient, whose address is that of the returned mail's
    /// `To` (a blind copy's may be meant), or the words beside the report give another reason than its fields.
    pub doubtful: bool,
    /// Other fields about the recipient, as (name, value).
    pub extensions: Vec<(String, String)>,
}

/// A `Diagnostic-Code`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Diagnostic {
    /// Its type in lower case (`smtp`, `x-postfix`), where one is given.
    pub kind: Option<String>,
    /// What follows the type, on one line.
    pub text: String,
}

/// What became of a recipient (§2.3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Given up.
    Failed,
    /// Not yet delivered; the reporter goes on trying.
    Delayed,
    /// Delivered.
    Delivered,
    /// Handed to a system that reports nothing further.
    Relayed,
    /// Delivered to a list or alias, and sent on from there.
    Expanded,
}

/// Why a field could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// A line is neither a field nor the continuation of one.
    #[error("expected a field like `Action: failed`, found {0:?}")]
    NoField(String),
    /// An address field holds none.
    #[error("{field}: {error}")]
    Address {
        /// The field's name.
        field: &'static str,
        /// What is wrong.
        error: AddressError,
    },
    /// An action that RFC 3464 does not know.
    #[error("Action: expected failed, delayed, delivered, relayed or expanded, found {0:?}")]
    Action(String),
    /// A status that is none.
    #[error("Status: expected a status code like 5.1.1, found {0:?}")]
    Status(String),
    /// A date that is none.
    #[error("Arrival-Date: expected a date as in RFC 5322, found {0:?}")]
    Date(String),
    /// A second field of the name in one group.
    #[error("expected one {0} for each recipient, found another; the first one counts")]
    Repeated(&'static str),
}

/// The fields about a recipient that RFC 3464 defines and that we keep typed.
const ORIGINAL: &str = "Original-Recipient";
const FINAL: &str = "Final-Recipient";
const ACTION: &str = "Action";
const STATUS: &str = "Status";
const REMOTE: &str = "Remote-MTA";
const DIAGNOSTIC: &str = "Diagnostic-Code";
const OF_RECIPIENT: [&str; 6] = [ORIGINAL, FINAL, ACTION, STATUS, REMOTE, DIAGNOSTIC];

impl Action {
    /// Reads the keyword, whatever its case.
    #[must_use]
    pub fn from_keyword(text: &str) -> Option<Self> {
        const KEYWORDS: [(&str, Action); 15] = [
            ("failed", Action::Failed),
            ("delayed", Action::Delayed),
            ("delivered", Action::Delivered),
            ("relayed", Action::Relayed),
            ("expanded", Action::Expanded),
            // What careless reporters write instead.
            ("fail", Action::Failed),
            ("failure", Action::Failed),
            ("bounced", Action::Failed),
            ("rejected", Action::Failed),
            ("undeliverable", Action::Failed),
            ("expired", Action::Failed),
            ("error", Action::Failed),
            ("delay", Action::Delayed),
            ("deferred", Action::Delayed),
            ("success", Action::Delivered),
        ];
        // Some reporters explain themselves: `failed (expired)`.
        let word = text.split([' ', '(', ';', ',', '.']).next()?;
        KEYWORDS
            .iter()
            .find(|(keyword, _)| word.eq_ignore_ascii_case(keyword))
            .map(|&(_, action)| action)
    }
}

impl Diagnostic {
    /// Reads `type; text`; a text without a type is taken as it is.
    #[must_use]
    pub fn parse(value: &str) -> Self {
        let (kind, text) = typed(value);
        Self {
            kind: kind.map(str::to_ascii_lowercase),
            text: text.to_owned(),
        }
    }

    /// The text as a server's reply. IronPort frames it in words of its own, which say little and often something
    /// else: `5.1.0 - Unknown address error 550-'5.7.1 Access denied' (delivery attempts: 0)`.
    #[must_use]
    pub fn reply(&self) -> Reply {
        // Looked at first: hardly any text begins with a status.
        let status = EnhancedStatus::parse_prefix(self.text.trim_start());
        let frame = status.and_then(|_| self.text.split_once(" - "));
        let framed = frame.and_then(|(status, rest)| {
            status.parse::<EnhancedStatus>().ok()?;
            let at = rest.find("-'").filter(|&at| at >= 3)?;
            let code = rest.get(at - 3..at)?;
            let inner = &rest[at + 2..];
            let inner = inner
                .rfind("' (")
                .map_or_else(|| inner.trim_end_matches('\''), |end| &inner[..end]);
            let reply = Reply::parse(&format!("{code} {inner}"));
            reply.code.is_some().then_some(reply)
        });
        framed.unwrap_or_else(|| Reply::parse(&self.text))
    }
}

/// Reads the content of a delivery-status part.
#[must_use]
pub fn parse(part: &[u8]) -> Report {
    let mut reading = Reading::default();
    for line in field::lines(part) {
        match line {
            Line::Empty => reading.after_empty = true,
            Line::Field(name, value) => {
                reading.field(name, value);
                reading.after_empty = false;
            }
            Line::Other(text) => reading.report.broken.push(FieldError::NoField(text.into_owned())),
        }
    }
    let mut report = reading.report;
    report.recipients.iter_mut().for_each(complete);
    report
}

/// Names a recipient of whom the reporter gave no `Final-Recipient`, or one at a host of its own without a
/// domain: by the address that it really tried (sendmail's `X-Actual-Recipient`), or else by the one mailed.
fn complete(recipient: &mut Recipient) {
    let is_public = |address: &Address| address.domain().contains(['.', '[', ':']);
    let mailed_is_public = recipient.original_recipient.as_ref().is_some_and(is_public);
    if recipient
        .final_recipient
        .as_ref()
        .is_some_and(|a| is_public(a) || !mailed_is_public)
    {
        return;
    }
    let actual = recipient
        .extensions
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("X-Actual-Recipient"));
    let actual = actual.and_then(|(_, value)| mailbox(FINAL, value).ok());
    recipient.final_recipient = actual.or_else(|| recipient.original_recipient.clone());
}

/// A report being read.
#[derive(Default)]
struct Reading {
    report: Report,
    /// The typed fields that the current recipient's group holds already, read or broken.
    seen: Vec<&'static str>,
    after_empty: bool,
}

impl Reading {
    fn field(&mut self, name: Cow<'_, str>, value: Cow<'_, str>) {
        let Some(&known) = OF_RECIPIENT.iter().find(|f| f.eq_ignore_ascii_case(&name)) else {
            return match self.report.recipients.last_mut() {
                Some(recipient) => recipient.extensions.push((name.into_owned(), value.into_owned())),
                None => self.of_message(name, value),
            };
        };
        if self.begins_group(known) {
            self.report.recipients.push(Recipient::default());
            self.seen.clear();
        }
        if self.seen.contains(&known) {
            self.report.broken.push(FieldError::Repeated(known));
            return;
        }
        self.seen.push(known);
        if let Err(error) = self.of_recipient(known, &value) {
            self.report.broken.push(error);
        }
    }

    /// Whether the field is the first of another recipient. Empty lines alone do not tell: some
    /// reporters put one between any two fields, others none between two recipients.
    fn begins_group(&self, field: &'static str) -> bool {
        let seen = |name: &'static str| self.seen.contains(&name);
        self.report.recipients.is_empty()
            || (field == FINAL && seen(FINAL))
            || (self.after_empty && (seen(field) || (field == ORIGINAL && seen(FINAL))))
    }

    fn of_message(&mut self, name: Cow<'_, str>, value: Cow<'_, str>) {
        let report = &mut self.report;
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        if is("Reporting-MTA") {
            report.reporting_mta = mta(&value);
        } else if is("Original-Envelope-Id") {
            report.envelope_id = Some(xtext(&value).into_owned());
        } else if is("X-Postfix-Queue-ID") {
            report.postfix_queue_id = Some(value.into_owned());
        } else if is("X-Postfix-Sender") {
            report.postfix_sender = Some(typed(&value).1.to_owned());
        } else if is("Arrival-Date") {
            match date(&value) {
                Some(date) => report.arrival_date = Some(date),
                None => report.broken.push(FieldError::Date(value.into_owned())),
            }
        } else {
            report.extensions.push((name.into_owned(), value.into_owned()));
        }
    }

    fn of_recipient(&mut self, field: &'static str, value: &str) -> Result<(), FieldError> {
        let Some(recipient) = self.report.recipients.last_mut() else {
            return Ok(());
        };
        match field {
            FINAL => recipient.final_recipient = Some(mailbox(FINAL, value)?),
            ORIGINAL => recipient.original_recipient = Some(mailbox(ORIGINAL, value)?),
            ACTION => {
                let action = Action::from_keyword(value);
                recipient.action = Some(action.ok_or_else(|| FieldError::Action(value.to_owned()))?);
            }
            STATUS => {
                // `5.1.1 (user unknown)` is common; `#5.1.1` and `smtp; 550 5.1.1` are not unheard of.
                let mut words = value.split([' ', '#', ';', '(']);
                let status = words.find_map(|word| Some(EnhancedStatus::parse_prefix(word)?.0));
                recipient.status = Some(status.ok_or_else(|| FieldError::Status(value.to_owned()))?);
            }
            REMOTE => recipient.remote_mta = mta(value),
            _ => recipient.diagnostic = Some(Diagnostic::parse(value)),
        }
        Ok(())
    }
}

/// Splits `type; value`. The type is an atom; where what precedes the semicolon is none, the type is
/// missing and the semicolon belongs to the value.
fn typed(value: &str) -> (Option<&str>, &str) {
    let atom = |t: &str| {
        t.starts_with(|c: char| c.is_ascii_alphabetic())
            && t.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    match value.split_once(';') {
        Some((kind, rest)) if atom(kind.trim()) => (Some(kind.trim()), rest.trim()),
        _ => (None, value.trim()),
    }
}

/// The name of an MTA, without its type and without what some reporters add to it.
fn mta(value: &str) -> Option<String> {
    let name = typed(value).1.trim_start_matches('<');
    let name = name.split([' ', '(', ',', '>']).next()?;
    // `mx.example.org[192.0.2.1]:25`, but not `[192.0.2.1]`
    let name = name.find('[').filter(|&at| at > 0).map_or(name, |at| &name[..at]);
    let port = name.rsplit_once(':').filter(|(host, port)| {
        !host.contains([':', '[']) && !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit())
    });
    let name = port.map_or(name, |(host, _)| host).trim_end_matches('.');
    (!name.is_empty()).then(|| name.to_ascii_lowercase())
}

/// A date as in RFC 5322 §3.3; `None` where it is none, or no valid one.
#[must_use]
pub fn date(value: &str) -> Option<Timestamp> {
    let date = mail_parser::DateTime::parse_rfc822(value).filter(|d| d.is_valid() && d.year >= 1970)?;
    Timestamp::from_second(date.to_timestamp()).ok()
}

fn mailbox(field: &'static str, value: &str) -> Result<Address, FieldError> {
    let (kind, text) = typed(value);
    let text = match kind {
        Some(kind) if kind.eq_ignore_ascii_case("utf-8") => Cow::Owned(unescape_utf8(text)),
        _ => Cow::Borrowed(text),
    };
    let decoded = if field == ORIGINAL {
        xtext(&text)
    } else {
        Cow::Borrowed(&*text)
    };
    // `"Ann Smith" <ann@x.test>`, `ann@x.test (unknown)`: no address of RFC 3464, but plain enough.
    let within = || {
        let bracketed = decoded
            .rsplit_once('<')
            .and_then(|(_, rest)| rest.split_once('>'));
        let commented = || decoded.split_once(" (").map(|(front, _)| front);
        let plain = bracketed.map(|(inner, _)| inner).or_else(commented)?;
        Address::parse(plain.trim()).ok()
    };
    Address::parse(&decoded)
        .or_else(|error| within().ok_or(error))
        .map_err(|error| FieldError::Address { field, error })
}

/// Decodes the two escapes of xtext (RFC 3461 §4) that printable addresses need, `+2B` and `+3D`.
///
/// Reporters are to decode the value before they report it (§6.3), and most do. Decoding any `+XX`
/// would make another mailbox of a tagged address (`ann+41@…` is not `annA@…`), and it is that
/// mailbox which would then be suppressed.
fn xtext(text: &str) -> Cow<'_, str> {
    if !text.contains('+') {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.replace("+2B", "+").replace("+3D", "="))
}

/// Decodes `\x{HEX}` of utf-8-addr-xtext (RFC 6533 §3); what is no escape stays.
fn unescape_utf8(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("\\x{") {
        let (before, escape) = rest.split_at(start);
        out.push_str(before);
        let decoded = escape.find('}').and_then(|end| {
            let hex = u32::from_str_radix(&escape[3..end], 16).ok()?;
            Some((char::from_u32(hex)?, end + 1))
        });
        let (character, length) = decoded.unwrap_or(('\\', 1));
        out.push(character);
        rest = &escape[length..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests;
