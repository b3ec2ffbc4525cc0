//! Suppressions: whom not to mail, each with its cause, its author and its evidence.

pub mod allow;
pub mod guard;
pub mod privacy;
pub mod strike;
pub mod subject;
pub mod terms;

pub use allow::AllowList;
pub use subject::{Subject, Target};

use super::verdict::Cause;
use crate::mail::event::EventId;
use jiff::{SignedDuration, Timestamp};
use std::fmt;
use std::str::FromStr;

/// The number under which a suppression is stored. People meet it as `NX-123`, in the 550 text and
/// at `nixie suppress check NX-123`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SuppressionId(pub i64);

/// Why a text is no suppression id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected an id like NX-123, found {0:?}")]
pub struct SuppressionIdError(pub String);

impl fmt::Display for SuppressionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NX-{}", self.0)
    }
}

impl FromStr for SuppressionId {
    type Err = SuppressionIdError;

    fn from_str(text: &str) -> Result<Self, SuppressionIdError> {
        let number = text
            .get(..3)
            .filter(|p| p.eq_ignore_ascii_case("nx-"))
            .and_then(|_| text[3..].parse().ok());
        number
            .filter(|&n: &i64| n > 0)
            .map(Self)
            .ok_or_else(|| SuppressionIdError(text.to_owned()))
    }
}

/// One entry to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct NewSuppression {
    /// Whom not to mail, and in which stream.
    pub subject: Subject,
    /// Why.
    pub cause: Cause,
    /// Since when.
    pub since: Timestamp,
    /// Until when, a full hour ([`full_hour`]); `None` is for good.
    pub expires: Option<Timestamp>,
    /// Who said so: `rule google.user-unknown`, `cli alice`, `import dead.csv`.
    pub author: String,
    /// In whose words: the reply, or the operator's reason.
    pub reason: String,
    /// The event that is the evidence, where it was one.
    pub event: Option<EventId>,
    /// The provider who said so, where one did.
    pub provider: Option<String>,
    /// Whether it acts.
    pub standing: Standing,
    /// The how-manieth entry in a row this is for its subject and cause, from 1: each may last longer.
    pub term: u32,
    /// The number of the operation that writes it, where one does. It is not read back: entries are found by it.
    pub operation: Option<i64>,
}

/// An entry as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Suppression {
    /// Its number.
    pub id: SuppressionId,
    /// What was written.
    pub entry: NewSuppression,
}

/// Whether an entry acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Standing {
    /// It does.
    #[default]
    InForce,
    /// It was written while its provider or domain refused far more recipients than ever: it waits for better
    /// evidence, or for a delivery that proves it wrong.
    Quarantined,
}

impl Standing {
    /// The name in the store and in messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::InForce => "in_force",
            Self::Quarantined => "quarantined",
        }
    }

    /// The standing of a name. What this version does not know waits: it must not cost anybody their mail.
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        match name {
            "in_force" => Self::InForce,
            _ => Self::Quarantined,
        }
    }
}

impl NewSuppression {
    /// An entry in force for good, by nobody and without words yet.
    #[must_use]
    pub fn new(subject: Subject, cause: Cause, since: Timestamp) -> Self {
        Self {
            subject,
            cause,
            since,
            expires: None,
            author: String::new(),
            reason: String::new(),
            event: None,
            provider: None,
            standing: Standing::InForce,
            term: 1,
            operation: None,
        }
    }
}

/// The first full hour at or after a time: to the hour is as exactly as entries expire, in the store and in memory.
#[must_use]
pub fn full_hour(at: Timestamp) -> Timestamp {
    const HOUR: i64 = 3600;
    let second = at.as_second() + i64::from(at.subsec_nanosecond() > 0);
    let rest = second.rem_euclid(HOUR);
    let up = if rest == 0 { 0 } else { HOUR - rest };
    let floor = Timestamp::from_second(second).unwrap_or(at);
    floor
        .checked_add(SignedDuration::from_secs(up))
        .unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_as_they_are_written() {
        assert_eq!("nx-42".parse(), Ok(SuppressionId(42)));
        assert_eq!(SuppressionId(42).to_string(), "NX-42");
        for bad in ["", "42", "NX-", "NX--1", "NX-0", "NÄ-1"] {
            assert!(bad.parse::<SuppressionId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn hours_are_rounded_up() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let table = [
            ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
            ("2026-01-01T00:00:00.000001Z", "2026-01-01T01:00:00Z"),
            ("2026-01-01T00:59:59.5Z", "2026-01-01T01:00:00Z"),
            ("1969-12-31T23:30:00Z", "1970-01-01T00:00:00Z"),
        ];
        for (given, expected) in table {
            assert_eq!(full_hour(at(given)), at(expected), "{given}");
        }
        assert_eq!(full_hour(Timestamp::MAX), Timestamp::MAX);
    }
}
