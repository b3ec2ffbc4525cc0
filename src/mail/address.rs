//! Mail addresses (RFC 5321 §4.1.2 and §4.1.3, RFC 6531 for UTF-8), and the key under which two
//! spellings of one mailbox compare equal.
//!
//! Reading is lenient: brackets, source routes and over-long local parts are taken as they come,
//! because a bounce must not be lost over the spelling of an address. What has no `@`, an empty half
//! or control characters is refused with an [`AddressError`] that says which.

use std::fmt;

/// The longest address read, in octets. RFC 5321 §4.5.3.1 allows 254; real VERP addresses exceed it.
pub const MAX_OCTETS: usize = 998;

/// One mailbox: local part as given (unquoted where quoting was needless), domain in its
/// lower-case A-label form.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    local: String,
    domain: String,
}

/// How local parts compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LocalPart {
    /// `John` and `john` are one mailbox, as at every provider of size.
    #[default]
    Fold,
    /// RFC 5321 §2.4 to the letter: local parts are case-sensitive.
    Keep,
}

/// The canonical spelling of an address: what suppressions are stored and looked up under.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AddressKey(Box<str>);

/// Why a text is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// There is nothing, or only `<>`.
    #[error("expected an address like user@example.org, found nothing")]
    Empty,
    /// There is no `@` outside quotes.
    #[error("expected user@domain, found no `@` in {0:?}")]
    NoAt(String),
    /// Nothing stands before the `@`.
    #[error("expected a local part before the `@`, found none in {0:?}")]
    NoLocalPart(String),
    /// What stands behind the `@` is no domain.
    #[error("expected a domain after the `@`, found {0:?}")]
    BadDomain(String),
    /// A control character stands in it.
    #[error("expected printable characters only, found a control character in {0:?}")]
    Control(String),
    /// It is longer than [`MAX_OCTETS`].
    #[error("expected at most {MAX_OCTETS} octets, found {0}")]
    TooLong(usize),
}

impl Address {
    /// Reads one address, with or without `<>`.
    ///
    /// # Errors
    /// [`AddressError`] where no mailbox can be made out.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let bare = strip(text);
        if bare.is_empty() {
            return Err(AddressError::Empty);
        }
        if bare.len() > MAX_OCTETS {
            return Err(AddressError::TooLong(bare.len()));
        }
        let is_plain = |b: u8| matches!(b, b' '..=b'~');
        if !bare.bytes().all(is_plain) && bare.chars().any(char::is_control) {
            return Err(AddressError::Control(bare.to_owned()));
        }
        let at = last_at(bare).ok_or_else(|| AddressError::NoAt(bare.to_owned()))?;
        let (local, domain) = (&bare[..at], &bare[at + 1..]);
        if local.is_empty() || local == "\"\"" {
            return Err(AddressError::NoLocalPart(bare.to_owned()));
        }
        let domain = canonical_domain(domain).ok_or_else(|| AddressError::BadDomain(domain.to_owned()))?;
        Ok(Self {
            local: unquote(local),
            domain,
        })
    }

    /// The local part, unquoted where that is safe.
    #[must_use]
    pub fn local(&self) -> &str {
        &self.local
    }

    /// The domain: lower case, A-labels.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The key under which this mailbox is stored and looked up.
    #[must_use]
    pub fn key(&self, case: LocalPart) -> AddressKey {
        // Once for every look-up of the hooks: one allocation, of the right size.
        let mut key = String::with_capacity(self.local.len() + 1 + self.domain.len());
        match case {
            LocalPart::Fold if self.local.is_ascii() => {
                key.push_str(&self.local);
                key.make_ascii_lowercase();
            }
            LocalPart::Fold => key.push_str(&self.local.to_lowercase()),
            LocalPart::Keep => key.push_str(&self.local),
        }
        key.push('@');
        key.push_str(&self.domain);
        AddressKey(key.into())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.local, self.domain)
    }
}

impl AddressKey {
    /// Takes back a key that was stored; it is trusted to be canonical.
    #[must_use]
    pub fn from_stored(text: &str) -> Self {
        Self(text.into())
    }

    /// The canonical spelling.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The domain of the key.
    #[must_use]
    pub fn domain(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(_, domain)| domain)
    }
}

impl fmt::Display for AddressKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A domain in the form in which domains compare: lower case, A-labels (RFC 5890), no final dot.
/// `None` where it is none; address literals (`[192.0.2.1]`) stay as they are.
#[must_use]
pub fn canonical_domain(text: &str) -> Option<String> {
    let text = text.strip_suffix('.').unwrap_or(text);
    if is_plain(text) {
        return Some(text.to_ascii_lowercase());
    }
    if text.is_empty() || text.contains(|c: char| c.is_whitespace() || matches!(c, '@' | '<' | '>' | '"')) {
        return None;
    }
    if text.starts_with('[') {
        return text.ends_with(']').then(|| text.to_ascii_lowercase());
    }
    // Lenient towards underscores and the like: a name that IDNA refuses but that is plain ASCII
    // was mailed all the same.
    match idna::domain_to_ascii(text) {
        Ok(ascii) if !ascii.is_empty() => Some(ascii),
        _ if text.is_ascii() => Some(text.to_ascii_lowercase()),
        _ => None,
    }
}

/// Whether IDNA has nothing to say about a domain but the case of its letters: letters, digits, hyphens
/// and dots, no empty label and none that claims to be encoded (`xn--`). Nearly all are.
fn is_plain(domain: &str) -> bool {
    domain.split('.').all(|label| {
        let bytes = label.as_bytes();
        let encoded = bytes
            .get(..4)
            .is_some_and(|start| start.eq_ignore_ascii_case(b"xn--"));
        let plain = |b: &u8| b.is_ascii_alphanumeric() || *b == b'-';
        !bytes.is_empty() && !encoded && bytes.iter().all(plain)
    })
}

/// Without white space, angle brackets and a source route (`@a,@b:user@c`, RFC 5321 appendix C).
fn strip(text: &str) -> &str {
    let text = text.trim();
    let text = text
        .strip_prefix('<')
        .and_then(|t| t.strip_suffix('>'))
        .unwrap_or(text)
        .trim();
    match text.strip_prefix('@').and_then(|t| t.split_once(':')) {
        Some((_, mailbox)) => mailbox,
        None => text,
    }
}

/// The position of the last `@` that stands outside a quoted local part.
fn last_at(text: &str) -> Option<usize> {
    let mut from = 0;
    if text.starts_with('"') {
        let mut escaped = false;
        let end = text.char_indices().skip(1).find(|&(_, c)| match c {
            _ if escaped => {
                escaped = false;
                false
            }
            '\\' => {
                escaped = true;
                false
            }
            c => c == '"',
        });
        from = end.map_or(0, |(i, _)| i + 1);
    }
    text[from..].rfind('@').map(|i| i + from)
}

/// `"john"` and `john` are the same local part (RFC 5321 §4.1.2); only what needs its quotes keeps them.
fn unquote(local: &str) -> String {
    let Some(inner) = local.strip_prefix('"').and_then(|l| l.strip_suffix('"')) else {
        return local.to_owned();
    };
    let atom = |c: char| c.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c);
    let plain = !inner.is_empty()
        && inner
            .split('.')
            .all(|part| !part.is_empty() && part.chars().all(atom));
    if plain { inner.to_owned() } else { local.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> String {
        Address::parse(text)
            .unwrap()
            .key(LocalPart::Fold)
            .as_str()
            .to_owned()
    }

    #[test]
    fn spellings_of_one_mailbox_share_a_key() {
        for text in [
            "John@Example.ORG",
            "<john@example.org>",
            " \"john\"@example.org. ",
            "<@relay.example:john@example.org>",
        ] {
            assert_eq!(key(text), "john@example.org", "{text}");
        }
        assert_eq!(key("x@Köln.example"), key("x@xn--kln-sna.example"));
        assert_eq!(key("Пользователь@utf8.test"), "пользователь@utf8.test");
    }

    #[test]
    fn quoted_local_parts_keep_what_needs_quotes() {
        assert_eq!(key("\"a@b\"@example.org"), "\"a@b\"@example.org");
        assert_eq!(key("\"Quoted User\"@example.org"), "\"quoted user\"@example.org");
        assert_eq!(
            Address::parse("\"a\\\"@x\"@example.org").unwrap().domain(),
            "example.org"
        );
    }

    #[test]
    fn what_is_no_address_says_why() {
        assert_eq!(Address::parse("<>"), Err(AddressError::Empty));
        assert_eq!(
            Address::parse("postmaster"),
            Err(AddressError::NoAt("postmaster".into()))
        );
        assert_eq!(
            Address::parse("@example.org"),
            Err(AddressError::NoLocalPart("@example.org".into()))
        );
        assert_eq!(Address::parse("a@"), Err(AddressError::BadDomain(String::new())));
        assert!(matches!(
            Address::parse("a\0b@example.org"),
            Err(AddressError::Control(_))
        ));
        assert!(matches!(
            Address::parse(&format!("{}@x", "a".repeat(1000))),
            Err(AddressError::TooLong(_))
        ));
    }

    /// The short way round IDNA must lead where the long one does.
    #[test]
    fn plain_domains_are_what_idna_makes_of_them() {
        for domain in [
            "example.org",
            "Example.ORG",
            "a-b.c1.example",
            "3com.com",
            "-a-.example",
            "a--b.example",
        ] {
            assert!(is_plain(domain), "{domain}");
            let long = idna::domain_to_ascii(domain).unwrap();
            assert_eq!(canonical_domain(domain), Some(long), "{domain}");
        }
        for domain in [
            "",
            "a..b",
            "XN--kln-sna.example",
            "köln.example",
            "a_b.example",
            "[192.0.2.1]",
        ] {
            assert!(!is_plain(domain), "{domain}");
        }
    }

    #[test]
    fn case_is_kept_where_configured() {
        assert_eq!(
            Address::parse("John@X.test")
                .unwrap()
                .key(LocalPart::Keep)
                .as_str(),
            "John@x.test"
        );
    }
}
