//! Tokens: what a signed return path carries, so that a bounce which comes back to it proves that it is about mail of
//! ours, and about whom (HMAC-SHA-256, RFC 2104 and FIPS 180-4, cut short).
//!
//! 25 octets in 40 characters of base32 (RFC 4648 §6, in lower case, read in any case: mail systems fold local parts):
//!
//! | octets | what |
//! |---|---|
//! | 1 | the key's number, 0 to 127; the highest bit tells a message to several recipients |
//! | 2 | the day, since the epoch (UTC) |
//! | 2 | the mail's stream: a mark of its name |
//! | 6 | the message: random |
//! | 6 | the recipient: a keyed mark of their address; zeros where there are several |
//! | 8 | the seal over all of these |
//!
//! Nobody without the key makes one (a guess is right once in 2⁶⁴), and with one in hand nobody turns it to another
//! recipient: that takes another mark, which the seal covers. What is not one of ours is a [`TokenError`], which says
//! of which kind; nothing here fails otherwise.

use crate::mail::address::AddressKey;
use data_encoding::{BASE32_NOPAD, BASE64};
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use std::fmt;
use std::sync::Arc;
use subtle::ConstantTimeEq as _;

/// Characters of a token: with a prefix and a delimiter well within the 64 octets of a local part (RFC 5321
/// §4.5.3.1.1).
pub const LENGTH: usize = 40;
/// The fewest octets of a key: as strong as the hash.
pub const LEAST_KEY: usize = 32;
/// The highest number of a key.
pub const LAST_KEY: u8 = 127;

const OCTETS: usize = 25;
const SEALED: usize = 17;
const SEVERAL: u8 = 0x80;
const SECONDS_A_DAY: i64 = 86_400;

/// What a message is known by; random.
pub type MessageMark = [u8; 6];
type RecipientMark = [u8; 6];

/// The keys there are: the first seals, and all open. Never shown.
#[derive(Clone)]
pub struct Keyring(Arc<[Key]>);

struct Key {
    number: u8,
    hash: Hmac<Sha256>,
}

/// A token that was opened: the seal held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The number of the key that sealed it.
    pub key: u8,
    /// The day when it was sealed, since the epoch (UTC).
    pub day: u16,
    /// The mark of its mail's stream.
    pub stream: u16,
    /// The message.
    pub message: MessageMark,
    /// The recipient's mark; `None` where the message went to several.
    recipient: Option<RecipientMark>,
}

/// What is to be sealed.
#[derive(Debug, Clone, Copy)]
pub struct Sealing<'a> {
    /// A message's mark, which was never used before.
    pub message: MessageMark,
    /// Its recipient; `None` where it goes to several.
    pub recipient: Option<&'a AddressKey>,
    /// Its stream, `None` where streams are not told apart.
    pub stream: Option<&'a str>,
}

/// Why something that may be a token proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It does not look like one.
    #[error("expected {LENGTH} characters of base32, found something else")]
    Shape,
    /// Its key is none of ours, or none any more.
    #[error("expected one of our keys, found number {0}")]
    Key(u8),
    /// The seal does not hold.
    #[error("expected a seal of ours, found another")]
    Seal,
    /// It is too old, by so many days since it was sealed.
    #[error("expected a token of the last {lifetime} days, found one of {age} days ago")]
    Expired {
        /// Days since it was sealed.
        age: u16,
        /// Days that it holds.
        lifetime: u16,
    },
    /// It is from the future, which nobody's clock explains.
    #[error("expected a token of today or before, found one from the future")]
    Future,
}

/// What is wrong with a file of keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// There is no key.
    #[error("expected a line like \"1 BASE64\" with a key, found none")]
    None,
    /// A line is none.
    #[error("line {line}: expected a number from 0 to {LAST_KEY}, a blank and a key in base64")]
    Line {
        /// Which, from 1.
        line: usize,
    },
    /// A key is too short.
    #[error("line {line}: expected a key of at least {LEAST_KEY} octets, found {found}")]
    Short {
        /// Which, from 1.
        line: usize,
        /// Its octets.
        found: usize,
    },
    /// Two keys have the same number.
    #[error("line {line}: expected a number of its own for each key, found {number} again")]
    Twice {
        /// Which, from 1.
        line: usize,
        /// The number.
        number: u8,
    },
}

impl Keyring {
    /// Reads the text of a key file: a key a line, the one that seals first; empty lines and lines that begin with `#`
    /// are left out.
    ///
    /// # Errors
    /// [`KeyError`], with the line; it never repeats what stands there.
    pub fn parse(text: &SecretString) -> Result<Self, KeyError> {
        let mut keys: Vec<Key> = Vec::new();
        for (line, text) in (1..).zip(text.expose_secret().lines().map(str::trim)) {
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let (number, secret) = text
                .split_once(char::is_whitespace)
                .ok_or(KeyError::Line { line })?;
            let number = number.parse().ok().filter(|&number| number <= LAST_KEY);
            let secret = BASE64.decode(secret.trim().as_bytes());
            let (Some(number), Ok(secret)) = (number, secret) else {
                return Err(KeyError::Line { line });
            };
            if secret.len() < LEAST_KEY {
                return Err(KeyError::Short {
                    line,
                    found: secret.len(),
                });
            }
            if keys.iter().any(|key| key.number == number) {
                return Err(KeyError::Twice { line, number });
            }
            let hash = Hmac::new_from_slice(&secret).map_err(|_| KeyError::Line { line })?;
            keys.push(Key { number, hash });
        }
        if keys.is_empty() {
            return Err(KeyError::None);
        }
        Ok(Self(keys.into()))
    }

    /// The numbers of the keys, the sealing one first.
    pub fn numbers(&self) -> impl Iterator<Item = u8> {
        self.0.iter().map(|key| key.number)
    }

    /// A token: [`LENGTH`] characters of `a` to `z` and `2` to `7`.
    #[must_use]
    pub fn seal(&self, mail: &Sealing<'_>, now: Timestamp) -> String {
        let key = &self.0[0];
        let recipient = mail.recipient.map(|recipient| key.mark(&mail.message, recipient));
        let mut octets = [0; OCTETS];
        octets[0] = key.number | if recipient.is_none() { SEVERAL } else { 0 };
        octets[1..3].copy_from_slice(&day(now).to_be_bytes());
        octets[3..5].copy_from_slice(&stream_mark(mail.stream).to_be_bytes());
        octets[5..11].copy_from_slice(&mail.message);
        octets[11..SEALED].copy_from_slice(&recipient.unwrap_or_default());
        let seal = key.seal(&octets[..SEALED]);
        octets[SEALED..].copy_from_slice(&seal);
        let mut text = BASE32_NOPAD.encode(&octets);
        text.make_ascii_lowercase();
        text
    }

    /// Opens a token, in whatever case it came back. It holds `lifetime` days.
    ///
    /// # Errors
    /// [`TokenError`]: it proves nothing.
    pub fn open(&self, text: &str, lifetime: u16, now: Timestamp) -> Result<Token, TokenError> {
        if text.len() != LENGTH {
            return Err(TokenError::Shape);
        }
        let octets = BASE32_NOPAD.decode(text.to_ascii_uppercase().as_bytes());
        let octets: [u8; OCTETS] = octets
            .ok()
            .and_then(|octets| octets.try_into().ok())
            .ok_or(TokenError::Shape)?;
        let number = octets[0] & !SEVERAL;
        let key = self.key(number).ok_or(TokenError::Key(number))?;
        let seal = key.seal(&octets[..SEALED]);
        if !bool::from(seal.ct_eq(&octets[SEALED..])) {
            return Err(TokenError::Seal);
        }
        let two = |at: usize| u16::from_be_bytes([octets[at], octets[at + 1]]);
        let six = |at: usize| {
            let mut mark = [0; 6];
            mark.copy_from_slice(&octets[at..at + 6]);
            mark
        };
        let token = Token {
            key: number,
            day: two(1),
            stream: two(3),
            message: six(5),
            recipient: (octets[0] & SEVERAL == 0).then(|| six(11)),
        };
        // A clock may be a little behind the one that sealed it.
        if token.day > day(now).saturating_add(1) {
            return Err(TokenError::Future);
        }
        let age = day(now).saturating_sub(token.day);
        if age > lifetime {
            return Err(TokenError::Expired { age, lifetime });
        }
        Ok(token)
    }

    /// Whether a token is about this recipient; `None` where it went to several, and does not say.
    #[must_use]
    pub fn is_for(&self, token: &Token, recipient: &AddressKey) -> Option<bool> {
        let mark = token.recipient?;
        let key = self.key(token.key)?;
        Some(key.mark(&token.message, recipient).ct_eq(&mark).into())
    }

    fn key(&self, number: u8) -> Option<&Key> {
        self.0.iter().find(|key| key.number == number)
    }
}

impl Key {
    fn seal(&self, sealed: &[u8]) -> [u8; 8] {
        cut(self
            .hash
            .clone()
            .chain_update(b"nixie token 1")
            .chain_update(sealed))
    }

    fn mark(&self, message: &MessageMark, recipient: &AddressKey) -> RecipientMark {
        let hash = self.hash.clone().chain_update(b"nixie recipient 1");
        cut(hash.chain_update(message).chain_update(recipient.as_str()))
    }
}

impl Token {
    /// What is remembered of the message under: whom it went to, and from whom.
    #[must_use]
    pub fn identity(&self) -> [u8; 16] {
        let mut octets = [0; 16];
        octets[0] = self.key;
        octets[1..3].copy_from_slice(&self.day.to_be_bytes());
        octets[3..9].copy_from_slice(&self.message);
        octets[9..15].copy_from_slice(&self.recipient.unwrap_or_default());
        octets
    }

    /// Whether the mail was in this stream.
    #[must_use]
    pub fn is_in(&self, stream: Option<&str>) -> bool {
        self.stream == stream_mark(stream)
    }

    /// Whether the message went to several recipients.
    #[must_use]
    pub fn is_to_several(&self) -> bool {
        self.recipient.is_none()
    }
}

/// The numbers only.
impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.numbers()).finish()
    }
}

/// The same keys.
impl PartialEq for Keyring {
    fn eq(&self, other: &Self) -> bool {
        let same = |(ours, theirs): (&Key, &Key)| {
            ours.number == theirs.number && bool::from(ours.seal(b"").ct_eq(&theirs.seal(b"")))
        };
        self.0.len() == other.0.len() && self.0.iter().zip(other.0.iter()).all(same)
    }
}

fn cut<const N: usize>(hash: Hmac<Sha256>) -> [u8; N] {
    let mut octets = [0; N];
    octets.copy_from_slice(&hash.finalize().into_bytes()[..N]);
    octets
}

fn day(now: Timestamp) -> u16 {
    u16::try_from(now.as_second().div_euclid(SECONDS_A_DAY)).unwrap_or(0)
}

/// Zero is no stream.
fn stream_mark(stream: Option<&str>) -> u16 {
    stream.map_or(0, |name| {
        let digest = Sha256::digest(name.as_bytes());
        u16::from_be_bytes([digest[0], digest[1]])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::address::{Address, LocalPart};
    use proptest::prelude::*;

    const NOW: i64 = 1_790_000_000;
    const WEEKS: u16 = 14;

    fn keys(numbers: &[u8]) -> Keyring {
        let line = |number: &u8| format!("{number} {}\n", BASE64.encode(&[*number; LEAST_KEY]));
        let text: String = numbers.iter().map(line).collect();
        Keyring::parse(&text.into()).unwrap()
    }

    fn address(text: &str) -> AddressKey {
        Address::parse(text).unwrap().key(LocalPart::Fold)
    }

    fn at(days: i64) -> Timestamp {
        Timestamp::from_second(NOW + days * SECONDS_A_DAY).unwrap()
    }

    fn sealing(recipient: Option<&AddressKey>) -> Sealing<'_> {
        Sealing {
            message: *b"nonce!",
            recipient,
            stream: Some("news"),
        }
    }

    #[test]
    fn a_token_is_about_its_recipient_and_nobody_else() {
        let (keys, ann) = (keys(&[3]), address("ann@dead.test"));
        let text = keys.seal(&sealing(Some(&ann)), at(0));
        assert_eq!(text.len(), LENGTH);
        assert!(
            text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'2'..=b'7')),
            "{text}"
        );
        let token = keys
            .open(&text.to_ascii_uppercase(), WEEKS, at(WEEKS.into()))
            .unwrap();
        assert_eq!((token.key, token.message), (3, *b"nonce!"));
        assert_eq!(keys.is_for(&token, &ann), Some(true));
        assert_eq!(keys.is_for(&token, &address("bob@dead.test")), Some(false));
        assert!(token.is_in(Some("news")) && !token.is_in(None) && !token.is_in(Some("bills")));
        let several = keys
            .open(&keys.seal(&sealing(None), at(0)), WEEKS, at(0))
            .unwrap();
        assert!(several.is_to_several());
        assert_eq!(keys.is_for(&several, &ann), None);
        assert_ne!(several.identity(), token.identity());
    }

    #[test]
    fn a_token_ends() {
        let keys = keys(&[0]);
        let text = keys.seal(&sealing(None), at(0));
        let expired = TokenError::Expired {
            age: 15,
            lifetime: 14,
        };
        assert_eq!(keys.open(&text, WEEKS, at(15)), Err(expired));
        assert_eq!(keys.open(&text, WEEKS, at(-2)), Err(TokenError::Future));
        assert!(keys.open(&text, WEEKS, at(-1)).is_ok());
    }

    /// A new key in front seals from then on; what the old one sealed holds until it is taken out.
    #[test]
    fn keys_are_rotated_with_an_overlap() {
        let (old, both, new) = (keys(&[1]), keys(&[2, 1]), keys(&[2]));
        let before = old.seal(&sealing(None), at(0));
        let after = both.seal(&sealing(None), at(0));
        assert_eq!(both.open(&before, WEEKS, at(0)).unwrap().key, 1);
        assert_eq!(both.open(&after, WEEKS, at(0)).unwrap().key, 2);
        assert_eq!(new.open(&before, WEEKS, at(0)), Err(TokenError::Key(1)));
        assert_eq!(old.open(&after, WEEKS, at(0)), Err(TokenError::Key(2)));
        assert!(both != new && both == keys(&[2, 1]));
        assert_eq!(format!("{both:?}"), "[2, 1]");
    }

    #[test]
    fn mistakes_in_the_file_are_named_by_line_and_not_shown() {
        let good = BASE64.encode(&[7; LEAST_KEY]);
        let short = BASE64.encode(&[7; LEAST_KEY - 1]);
        for (text, expected) in [
            ("# none\n\n".to_owned(), KeyError::None),
            (format!("1 {good}\nx {good}"), KeyError::Line { line: 2 }),
            (format!("128 {good}"), KeyError::Line { line: 1 }),
            (good.clone(), KeyError::Line { line: 1 }),
            (format!("1 {good}!"), KeyError::Line { line: 1 }),
            (format!("\n1 {short}"), KeyError::Short { line: 2, found: 31 }),
            (
                format!("1 {good}\n1 {good}"),
                KeyError::Twice { line: 2, number: 1 },
            ),
        ] {
            let error = Keyring::parse(&text.as_str().into()).unwrap_err();
            assert_eq!(error, expected, "{text}");
            assert!(!error.to_string().contains(&good[..6]));
        }
    }

    proptest! {
        /// No other text opens, whatever is changed.
        #[test]
        fn a_changed_token_never_opens(at_char in 0..LENGTH, to in "[a-z2-7]") {
            let keys = keys(&[0, 1]);
            let text = keys.seal(&sealing(Some(&address("ann@dead.test"))), at(0));
            let mut other = text.clone();
            other.replace_range(at_char..=at_char, &to);
            prop_assert_eq!(keys.open(&other, WEEKS, at(0)).is_ok(), other == text);
        }

        #[test]
        fn anything_else_is_refused(text in "\\PC{0,60}") {
            prop_assert!(keys(&[0]).open(&text, WEEKS, at(0)).is_err());
        }
    }
}
