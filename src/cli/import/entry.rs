//! From a record to the entry that it asks for.
//!
//! What a line means is asked of it in this order: a cause by its own name; the service's word; the reply of the
//! server, which the rules judge; and what the whole list is about. A reply that tells another's fault keeps the
//! address off, whatever list it stands on.

use super::column::{Columns, ROLES, Role};
use super::format::Format;
use super::reason::{self, Meaning};
use super::record::Record;
use super::time;
use crate::engine::rule::RuleSet;
use crate::engine::suppression::privacy::Veil;
use crate::engine::suppression::{Subject, Target};
use crate::engine::verdict::{Cause, Scope};
use crate::mail::address::{Address, LocalPart};
use crate::mail::reply::Reply;
use jiff::Timestamp;

/// The longest reason kept, in octets.
const REASON: usize = 500;

/// How the records of a file are read.
pub(super) struct Plan<'a> {
    /// Whose export it is.
    pub(super) format: Format,
    /// What stands where.
    pub(super) columns: Columns,
    /// What lines mean that do not say.
    pub(super) cause: Option<Cause>,
    /// The stream of complaints and unsubscribes.
    pub(super) stream: &'a Audience,
    /// The streams that are configured.
    pub(super) streams: &'a [String],
    /// How replies are judged.
    pub(super) rules: &'a RuleSet,
    /// What is kept of addresses.
    pub(super) veil: &'a Veil,
    /// How local parts compare.
    pub(super) local_part: LocalPart,
    /// When it is.
    pub(super) now: Timestamp,
}

/// For which mail complaints and unsubscribes hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    /// Nobody said.
    Unsaid,
    /// For all of it.
    All,
    /// For one stream.
    Stream(String),
}

/// What a record asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Whom not to mail.
    pub(super) subject: Subject,
    /// Why.
    pub(super) cause: Cause,
    /// Since when.
    pub(super) since: Timestamp,
    /// Until when.
    pub(super) expires: Option<Timestamp>,
    /// Who said so, where the file says.
    pub(super) author: Option<String>,
    /// In whose words.
    pub(super) reason: String,
}

/// What came of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// To be written.
    Entry(Box<Entry>),
    /// Read, and not to be written.
    Skip(String),
    /// It cannot be read.
    Reject(String),
    /// It is none: the page numbers of an API's answer, an empty line.
    Nothing,
}

impl Plan<'_> {
    fn get<'r>(&self, record: &'r Record, role: Role) -> Option<&'r str> {
        record.get(self.columns.place(role)?)
    }

    /// Reads a record.
    pub(super) fn read(&self, record: &Record) -> Outcome {
        let Some(address) = self.get(record, Role::Address) else {
            let nothing = ROLES.iter().all(|&(role, _)| self.get(record, role).is_none());
            return match nothing {
                true => Outcome::Nothing,
                false => Outcome::Reject("expected an address, found nothing".into()),
            };
        };
        let subject = match self.subject(address) {
            Ok(subject) => subject,
            Err(problem) => return Outcome::Reject(problem),
        };
        let cause = match self.meaning(record) {
            Ok(Meaning::Suppress(cause)) => cause,
            Ok(Meaning::Skip(why)) => return Outcome::Skip(why),
            Err(problem) => return Outcome::Reject(problem),
        };
        let stream = match self.stream(record, cause) {
            Ok(stream) => stream,
            Err(why) => return Outcome::Skip(why),
        };
        let expires = self.get(record, Role::Expires).and_then(time::read);
        if expires.is_some_and(|expires| expires <= self.now) {
            return Outcome::Skip("it has expired".into());
        }
        let since = self.get(record, Role::Since).and_then(time::read);
        Outcome::Entry(Box::new(Entry {
            subject: subject.in_stream(stream.as_deref()),
            cause,
            since: since.map_or(self.now, |since| since.min(self.now)),
            expires,
            author: self.get(record, Role::Author).map(str::to_owned),
            reason: self.reason(record, address),
        }))
    }

    /// Whom it is about. Our own export has domains, patterns and hashes as well.
    fn subject(&self, text: &str) -> Result<Subject, String> {
        if self.format == Format::Nixie && text.starts_with(['@', ':', '#']) {
            let subject = Subject::from_stored(text);
            return match subject.target {
                Target::Domain(_) | Target::Pattern(_) => Ok(subject),
                Target::Address(_) if !text.contains('@') => Ok(subject),
                Target::Address(_) => Err(format!("expected an address, found {text:?}")),
            };
        }
        Address::parse(text)
            .map(|address| self.veil.key(&address, self.local_part).into())
            .map_err(|error| error.to_string())
    }

    fn meaning(&self, record: &Record) -> Result<Meaning, String> {
        if self.format == Format::SendGridBlocks {
            return Ok(reason::word("block").unwrap_or(Meaning::Skip("a block".into())));
        }
        if let Some(name) = self.get(record, Role::Cause) {
            return Cause::from_name(name)
                .filter(|cause| matches!(cause.scope(), Scope::Recipient | Scope::Domain))
                .map(Meaning::Suppress)
                .ok_or_else(|| {
                    format!("expected a recipient's or a domain's cause like user_unknown, found {name:?}")
                });
        }
        let given = self.get(record, Role::Reason);
        let word = given.and_then(reason::word);
        let whole = self.cause.or_else(|| self.format.meaning());
        let own = match word {
            // A bounce by the service's word may be judged better by the reply beside it.
            Some(Meaning::Suppress(Cause::UserUnknown)) => Some(Cause::UserUnknown),
            Some(meaning) => return Ok(meaning),
            None => None,
        };
        // Complaints and unsubscribes are no failures: what is said beside them is no reply.
        let failure = own.or(whole).is_none_or(|cause| !is_choice(cause));
        let text = self.reply(record, given.filter(|_| word.is_none()));
        if let Some(judged) = text
            .filter(|_| failure)
            .and_then(|text| reason::reply(self.rules, &text))
        {
            return Ok(judged);
        }
        match (own.or(whole), given) {
            (Some(cause), _) => Ok(Meaning::Suppress(cause)),
            (None, None) if self.format == Format::Plain || self.format == Format::Nixie => {
                Ok(Meaning::Suppress(Cause::UserUnknown))
            }
            (None, None) => Err("expected a reason, found none".into()),
            (None, Some(found)) => Err(format!(
                "expected a reason like bounce, complaint or unsubscribe, or a server's reply, found {found:?}"
            )),
        }
    }

    /// What the server said, put together from where its parts stand.
    fn reply(&self, record: &Record, given: Option<&str>) -> Option<String> {
        let text = self.get(record, Role::Reply).or(given);
        let code = self.get(record, Role::Code);
        let status = self.get(record, Role::Status);
        let text = text.map(without_colon);
        let known = text.as_deref().map(Reply::parse).unwrap_or_default();
        let mut parts = Vec::new();
        parts.extend(code.filter(|_| known.code.is_none()));
        parts.extend(status.filter(|_| known.status.is_none() && known.code.is_none()));
        parts.extend(text.as_deref());
        (!parts.is_empty()).then(|| parts.join(" "))
    }

    /// The stream that an entry is about; or why it cannot be told.
    fn stream(&self, record: &Record, cause: Cause) -> Result<Option<String>, String> {
        if let Some(stream) = self.get(record, Role::Stream) {
            return Ok(Some(stream.to_owned()));
        }
        if !is_choice(cause) {
            return Ok(None);
        }
        let part = self.get(record, Role::Part).filter(|part| *part != "*");
        match (self.stream, part) {
            (Audience::All, _) => Ok(None),
            (Audience::Stream(stream), _) => Ok(Some(stream.clone())),
            (Audience::Unsaid, None) => Ok(None),
            (Audience::Unsaid, Some(part)) => match self.streams.iter().find(|name| *name == part) {
                Some(stream) => Ok(Some(stream.clone())),
                None => Err(format!(
                    "{cause} for {part} only, and no stream is called that: say with --stream which it is about"
                )),
            },
        }
    }

    fn reason(&self, record: &Record, address: &str) -> String {
        let said = self.reply(record, self.get(record, Role::Reason));
        let said = said.unwrap_or_else(|| "imported".into());
        let said = &said[..said.floor_char_boundary(REASON)];
        match Address::parse(address) {
            Ok(address) => self.veil.text_about(said, &address),
            Err(_) => self.veil.text(said),
        }
    }
}

/// Whether it is no failure but what somebody wants.
fn is_choice(cause: Cause) -> bool {
    matches!(cause, Cause::Complaint | Cause::Unsubscribed)
}

/// SparkPost writes `550: 550-5.1.1 …`.
fn without_colon(text: &str) -> String {
    match text.split_once(": ") {
        Some((code, rest)) if code.len() == 3 && code.bytes().all(|octet| octet.is_ascii_digit()) => {
            match rest.starts_with(code) {
                true => rest.to_owned(),
                false => format!("{code} {rest}"),
            }
        }
        _ => text.to_owned(),
    }
}
