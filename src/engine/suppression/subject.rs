//! What a suppression is about: an address, a whole domain or a pattern; in all mail, or in one stream.
//!
//! A subject has one canonical text: what the store keeps it under, and what the memory knows it by.
//!
//! | text | subject |
//! |---|---|
//! | `user@example.org` | an address |
//! | `#0123…` (32 hexadecimal digits) | an address of which only a keyed hash is kept |
//! | `@example.org` | every address of a domain, not of the domains below it |
//! | `:*@*.example.org` | what a pattern matches; `*` is any characters, none included |
//! | `user@example.org marketing` | any of them, in one stream only |
//!
//! An address that begins like one of the others (`:odd@example.org` is no RFC 5321 address, but reading is
//! lenient) stands behind a backslash, so that none can pass for a pattern. Reading a text back never fails: what
//! we did not write is an address that nobody mails.

use crate::mail::address::AddressKey;
use std::borrow::Cow;
use std::fmt;

/// Hexadecimal digits of a hashed address.
const HASH_DIGITS: usize = 32;

/// Whom a suppression is about, whatever the mail.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// One address.
    Address(AddressKey),
    /// Every address of a domain, in its canonical form.
    Domain(Box<str>),
    /// Every address that a pattern matches: lower case, `*` for any characters.
    Pattern(Box<str>),
}

/// What a suppression is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subject {
    /// Whom.
    pub target: Target,
    /// In which stream; `None` is all mail.
    pub stream: Option<Box<str>>,
}

impl Subject {
    /// All mail to an address.
    #[must_use]
    pub fn address(key: AddressKey) -> Self {
        Self {
            target: Target::Address(key),
            stream: None,
        }
    }

    /// All mail to a domain, which is in its canonical form.
    #[must_use]
    pub fn domain(name: &str) -> Self {
        Self {
            target: Target::Domain(name.into()),
            stream: None,
        }
    }

    /// All mail to what a pattern matches.
    #[must_use]
    pub fn pattern(pattern: &str) -> Self {
        Self {
            target: Target::Pattern(pattern.to_lowercase().into()),
            stream: None,
        }
    }

    /// The same in one stream, or in all for `None`.
    #[must_use]
    pub fn in_stream(self, stream: Option<&str>) -> Self {
        Self {
            stream: stream.map(Into::into),
            ..self
        }
    }

    /// The address, where it is about one.
    #[must_use]
    pub fn as_address(&self) -> Option<&AddressKey> {
        match &self.target {
            Target::Address(key) => Some(key),
            Target::Domain(_) | Target::Pattern(_) => None,
        }
    }

    /// The domain of the address, or the domain itself; empty where neither is known.
    #[must_use]
    pub fn domain_name(&self) -> &str {
        match &self.target {
            Target::Address(key) => key.domain(),
            Target::Domain(name) => name,
            Target::Pattern(_) => "",
        }
    }

    /// The canonical text of all mail to an address: for those who look up by it, without building a subject.
    #[must_use]
    pub fn address_text(key: &AddressKey) -> Cow<'_, str> {
        let text = key.as_str();
        if text.starts_with([':', '@', '\\']) {
            Cow::Owned(format!("\\{text}"))
        } else {
            Cow::Borrowed(text)
        }
    }

    /// Reads back a canonical text.
    #[must_use]
    pub fn from_stored(text: &str) -> Self {
        // A stream stands behind the first space after the address's domain: a quoted local part may hold spaces.
        let tail = match text.as_bytes().first() {
            Some(b':' | b'@') => 0,
            Some(b'#') if is_hash(text) => 0,
            _ => text.rfind('@').unwrap_or(0),
        };
        let (whom, stream) = match text[tail..].find(' ') {
            Some(space) => (&text[..tail + space], Some(&text[tail + space + 1..])),
            None => (text, None),
        };
        let target = match whom.as_bytes().first() {
            Some(b':') => Target::Pattern(whom[1..].into()),
            Some(b'@') => Target::Domain(whom[1..].into()),
            Some(b'\\') => Target::Address(AddressKey::from_stored(&whom[1..])),
            _ => Target::Address(AddressKey::from_stored(whom)),
        };
        Self {
            target,
            stream: stream.map(Into::into),
        }
    }
}

/// Whether a text begins with a hashed address and nothing else.
fn is_hash(text: &str) -> bool {
    let digits = text.as_bytes()[1..]
        .iter()
        .take_while(|octet| matches!(octet, b'0'..=b'9' | b'a'..=b'f'))
        .count();
    digits == HASH_DIGITS && matches!(text.as_bytes().get(1 + digits), None | Some(b' '))
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(key) => f.write_str(&Subject::address_text(key)),
            Self::Domain(name) => write!(f, "@{name}"),
            Self::Pattern(pattern) => write!(f, ":{pattern}"),
        }
    }
}

/// The canonical text.
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.stream {
            None => self.target.fmt(f),
            Some(stream) => write!(f, "{} {stream}", self.target),
        }
    }
}

impl From<AddressKey> for Subject {
    fn from(key: AddressKey) -> Self {
        Self::address(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(text: &str) -> AddressKey {
        AddressKey::from_stored(text)
    }

    #[test]
    fn each_kind_has_its_text() {
        let hash = format!("#{}", "0a".repeat(16));
        let table = [
            (Subject::address(key("a@b.test")), "a@b.test".to_owned()),
            (
                Subject::address(key("a b@c.test")).in_stream(Some("news")),
                "a b@c.test news".to_owned(),
            ),
            (Subject::address(key(":*@b.test")), "\\:*@b.test".to_owned()),
            (Subject::address(key("\\x@b.test")), "\\\\x@b.test".to_owned()),
            (Subject::address(key("#0a@b.test")), "#0a@b.test".to_owned()),
            (Subject::address(key(&hash)), hash.clone()),
            (
                Subject::address(key(&hash)).in_stream(Some("news")),
                format!("{hash} news"),
            ),
            (Subject::domain("b.test"), "@b.test".to_owned()),
            (
                Subject::pattern("*@*.B.test").in_stream(Some("news")),
                ":*@*.b.test news".to_owned(),
            ),
        ];
        for (subject, text) in table {
            assert_eq!(subject.to_string(), text);
            assert_eq!(Subject::from_stored(&text), subject);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(
            local in "[ -~]{1,12}",
            domain in "[a-z0-9.-]{1,12}",
            stream in proptest::option::of("[a-z0-9._-]{1,8}"),
        ) {
            for subject in [Subject::address(key(&format!("{local}@{domain}"))), Subject::domain(&domain)] {
                let subject = subject.in_stream(stream.as_deref());
                prop_assert_eq!(Subject::from_stored(&subject.to_string()), subject);
            }
        }

        #[test]
        fn any_text_reads(text in "\\PC{0,20}") {
            drop(Subject::from_stored(&text));
        }
    }
}
