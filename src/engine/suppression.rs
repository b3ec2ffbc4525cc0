//! Suppressions: addresses that must not be mailed, each with its cause, its author and its evidence.

pub mod guard;
pub mod strike;
pub mod terms;

use super::verdict::Cause;
use crate::mail::address::AddressKey;
use crate::mail::event::EventId;
use jiff::Timestamp;
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

/// One entry to be written: an address that must not be mailed.
#[derive(Debug, Clone, PartialEq)]
pub struct NewSuppression {
    /// Whom not to mail.
    pub address: AddressKey,
    /// Why.
    pub cause: Cause,
    /// Since when.
    pub since: Timestamp,
    /// Until when; `None` is for good.
    pub expires: Option<Timestamp>,
    /// Who said so: `rule google.user-unknown`, `cli alice`, `import dead.csv`.
    pub author: String,
    /// In whose words: the reply, or the operator's reason.
    pub reason: String,
    /// The event that is the evidence, where it was one.
    pub event: Option<EventId>,
}

/// An entry as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Suppression {
    /// Its number.
    pub id: SuppressionId,
    /// What was written.
    pub entry: NewSuppression,
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
}
