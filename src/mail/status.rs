//! Enhanced mail system status codes: `class.subject.detail` (RFC 3463; registry: IANA "Simple Mail
//! Transfer Protocol (SMTP) Enhanced Status Codes").
//!
//! Reading is exact: a text that is no status code is `None`, never a guess.

pub mod registry;

use std::fmt;
use std::str::FromStr;

/// One enhanced status code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EnhancedStatus {
    class: Class,
    subject: u16,
    detail: u16,
}

/// The class: the first number (RFC 3463 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// 2: the message was delivered.
    Success = 2,
    /// 4: it may work later.
    Persistent = 4,
    /// 5: it will not work as addressed or composed.
    Permanent = 5,
}

/// Why a text is no enhanced status code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a status code like 5.1.1 (2, 4 or 5, then two numbers of up to three digits), found {0:?}")]
pub struct StatusError(pub String);

impl EnhancedStatus {
    /// Builds a code; subject and detail are 0 to 999, larger numbers are refused as `None`.
    #[must_use]
    pub fn new(class: Class, subject: u16, detail: u16) -> Option<Self> {
        (subject <= 999 && detail <= 999).then_some(Self {
            class,
            subject,
            detail,
        })
    }

    /// The class.
    #[must_use]
    pub fn class(self) -> Class {
        self.class
    }

    /// The subject: 1 address, 2 mailbox, 3 system, 4 network, 5 protocol, 6 content, 7 policy.
    #[must_use]
    pub fn subject(self) -> u16 {
        self.subject
    }

    /// The detail within the subject.
    #[must_use]
    pub fn detail(self) -> u16 {
        self.detail
    }

    /// Reads a code at the very start of `text`; returns it and what follows it.
    /// `None` where there is none, or where it runs on into further digits or dots (`5.1.1.2`).
    #[must_use]
    pub fn parse_prefix(text: &str) -> Option<(Self, &str)> {
        let bytes = text.as_bytes();
        let class = match bytes.first()? {
            b'2' => Class::Success,
            b'4' => Class::Persistent,
            b'5' => Class::Permanent,
            _ => return None,
        };
        let (subject, next) = number(bytes, 1)?;
        let (detail, end) = number(bytes, next)?;
        let runs_on = match bytes.get(end) {
            Some(b'.') => bytes.get(end + 1).is_some_and(u8::is_ascii_digit),
            Some(byte) => byte.is_ascii_alphanumeric(),
            None => false,
        };
        (!runs_on).then(|| {
            (
                Self {
                    class,
                    subject,
                    detail,
                },
                &text[end..],
            )
        })
    }
}

/// A dot and one to three digits at `from`: the number, and where it ends.
fn number(bytes: &[u8], from: usize) -> Option<(u16, usize)> {
    if bytes.get(from) != Some(&b'.') {
        return None;
    }
    let digits = bytes[from + 1..]
        .iter()
        .take(4)
        .take_while(|b| b.is_ascii_digit())
        .count();
    if !(1..=3).contains(&digits) {
        return None;
    }
    let end = from + 1 + digits;
    let value = bytes[from + 1..end]
        .iter()
        .fold(0, |n, b| n * 10 + u16::from(b - b'0'));
    Some((value, end))
}

impl FromStr for EnhancedStatus {
    type Err = StatusError;

    fn from_str(text: &str) -> Result<Self, StatusError> {
        match Self::parse_prefix(text.trim()) {
            Some((status, "")) => Ok(status),
            _ => Err(StatusError(text.to_owned())),
        }
    }
}

impl fmt::Display for EnhancedStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class as u8, self.subject, self.detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_codes_exactly() {
        for good in ["5.1.1", "4.7.28", "2.0.0", "5.7.515", "4.7.500"] {
            assert_eq!(good.parse::<EnhancedStatus>().unwrap().to_string(), good);
        }
        for bad in [
            "", "5.1", "9.1.1", "3.1.1", "5.1.1.1", "5.1.1000", "5..1", "5.1.1a", "51.1.1", "5.1. 1",
        ] {
            assert!(bad.parse::<EnhancedStatus>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_prefix_leaves_the_rest() {
        let (status, rest) = EnhancedStatus::parse_prefix("5.1.1 no such user").unwrap();
        assert_eq!((status.to_string().as_str(), rest), ("5.1.1", " no such user"));
        assert_eq!(EnhancedStatus::parse_prefix("5.1.1. Done").unwrap().1, ". Done");
        assert!(EnhancedStatus::parse_prefix("5.1.1.7 is an address").is_none());
    }
}
