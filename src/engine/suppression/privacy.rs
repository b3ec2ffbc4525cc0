//! Privacy: of the addresses of recipients only keyed hashes are kept (HMAC-SHA-256, RFC 2104 and FIPS 180-4), cut to
//! 128 bits. Without the key, which stands in a file of its own, nobody can try out addresses against them; with it, an
//! address that somebody names is found.
//!
//! What is judged is judged in clear, before the veil falls: rules, the allow list and patterns meet the address itself.
//! What is kept afterwards, of an event its recipients, its sender's local part, its return path and every address in
//! the reply, goes behind it. Domains stay: they are nobody's in particular, and the guard and the lanes need them.

use super::Subject;
use crate::engine::classify;
use crate::engine::decide::Record;
use crate::engine::trust::Signed;
use crate::mail::address::{Address, AddressKey, LocalPart};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretSlice};
use sha2::Sha256;
use std::fmt::{self, Write as _};
use std::sync::Arc;
use subtle::ConstantTimeEq as _;

/// The fewest octets of a key: as strong as the hashes are long.
pub const LEAST_KEY: usize = 32;
/// What stands in texts where an address stood: one that rules read as an address, and nobody has.
pub const STAND_IN: &str = "hidden@hidden.invalid";

/// The shortest local part that is looked for in texts, in octets.
const SHORTEST: usize = 3;

/// The veil over addresses: none, or a key.
#[derive(Clone, Default)]
pub struct Veil(Option<Arc<Keyed>>);

struct Keyed {
    /// The hash, with the key taken in.
    hash: Hmac<Sha256>,
    /// What tells one key from another without telling it.
    mark: [u8; 16],
}

/// Why a key is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a key of at least {LEAST_KEY} octets, found {0}")]
pub struct ShortKey(pub usize);

impl Veil {
    /// A veil of this key.
    ///
    /// # Errors
    /// [`ShortKey`].
    pub fn new(key: &SecretSlice<u8>) -> Result<Self, ShortKey> {
        let key = key.expose_secret();
        if key.len() < LEAST_KEY {
            return Err(ShortKey(key.len()));
        }
        let hash = Hmac::<Sha256>::new_from_slice(key).map_err(|_| ShortKey(key.len()))?;
        let mark = digest(&hash, b"nixie privacy key");
        Ok(Self(Some(Arc::new(Keyed { hash, mark }))))
    }

    /// Whether there is one.
    #[must_use]
    pub fn is_drawn(&self) -> bool {
        self.0.is_some()
    }

    /// What a store remembers of the key, so that no other is used with it.
    #[must_use]
    pub fn mark(&self) -> Option<[u8; 16]> {
        self.0.as_ref().map(|keyed| keyed.mark)
    }

    /// The key under which an address is kept and looked up.
    #[must_use]
    pub fn key(&self, address: &Address, case: LocalPart) -> AddressKey {
        self.over(address.key(case))
    }

    /// The same of a key in clear.
    #[must_use]
    pub fn over(&self, clear: AddressKey) -> AddressKey {
        let Some(keyed) = self.0.as_ref().filter(|_| !is_hash(&clear)) else {
            return clear;
        };
        let digest = digest(&keyed.hash, clear.as_str().as_bytes());
        let mut text = String::with_capacity(1 + 2 * digest.len());
        text.push('#');
        for octet in digest {
            let _ = write!(text, "{octet:02x}");
        }
        AddressKey::from_stored(&text)
    }

    /// A text without the addresses in it.
    #[must_use]
    pub fn text(&self, text: &str) -> String {
        if !self.is_drawn() {
            return text.to_owned();
        }
        let mut hidden = String::with_capacity(text.len());
        let mut from = 0;
        for (start, end) in classify::addresses(text) {
            hidden.push_str(&text[from..start]);
            hidden.push_str(STAND_IN);
            from = end;
        }
        hidden.push_str(&text[from..]);
        hidden
    }

    /// A text about somebody, without their address and without its local part, which servers like to name alone.
    #[must_use]
    pub fn text_about(&self, text: &str, address: &Address) -> String {
        let hidden = self.text(text);
        let local = address.local();
        // Shorter ones are words like any other, and tell nothing.
        if !self.is_drawn() || local.len() < SHORTEST {
            return hidden;
        }
        without_word(&hidden, local)
    }

    /// A judged record as it is kept.
    #[must_use]
    pub fn record(&self, mut record: Record) -> Record {
        if !self.is_drawn() {
            return record;
        }
        record.mailed = self.over(record.mailed);
        let event = &mut record.event;
        event.reply.text = self.text_about(&event.reply.text, &event.recipient);
        if let Some(original) = &event.original_recipient {
            event.reply.text = self.text_about(&event.reply.text, original);
        }
        // A sender of our own may carry the recipient's address (VERP).
        event.sender = event.sender.take().map(without_local_part);
        event.return_path = None;
        event.envelope_id = None;
        event.sasl_username = event.sasl_username.take().map(|user| self.text(&user));
        record
    }

    /// What is remembered of a signed message, as it is kept: of its sender, the domain.
    #[must_use]
    pub fn signed(&self, mut signed: Signed) -> Signed {
        if self.is_drawn() {
            signed.mailed = signed.mailed.into_iter().map(|key| self.over(key)).collect();
            signed.sender = without_local_part(signed.sender);
        }
        signed
    }

    /// A subject as it is kept: domains and patterns are in clear.
    #[must_use]
    pub fn subject(&self, subject: Subject) -> Subject {
        match subject.as_address() {
            Some(key) => Subject::address(self.over(key.clone())).in_stream(subject.stream.as_deref()),
            None => subject,
        }
    }
}

fn without_local_part(sender: String) -> String {
    match sender.rsplit_once('@') {
        Some((_, domain)) => format!("@{domain}"),
        None => sender,
    }
}

/// Whether a key is of an address of which only a hash is kept.
#[must_use]
pub fn is_hash(key: &AddressKey) -> bool {
    let text = key.as_str();
    text.len() == 33 && text.starts_with('#') && text[1..].bytes().all(|octet| octet.is_ascii_hexdigit())
}

/// A text in which another word stands for this one, wherever no letter or digit goes on before or after it. Case
/// does not matter.
fn without_word(text: &str, word: &str) -> String {
    let (lower, wanted) = (text.to_ascii_lowercase(), word.to_ascii_lowercase());
    let mut hidden = String::with_capacity(text.len());
    let mut from = 0;
    while let Some(at) = lower[from..].find(&wanted).map(|at| at + from) {
        let end = at + wanted.len();
        let goes_on = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        let part = goes_on(text[..at].chars().next_back()) || goes_on(text[end..].chars().next());
        hidden.push_str(&text[from..at]);
        hidden.push_str(if part { &text[at..end] } else { "hidden" });
        from = end;
    }
    hidden.push_str(&text[from..]);
    hidden
}

fn digest(hash: &Hmac<Sha256>, text: &[u8]) -> [u8; 16] {
    let mut hash = hash.clone();
    hash.update(text);
    let mut digest = [0; 16];
    digest.copy_from_slice(&hash.finalize().into_bytes()[..16]);
    digest
}

impl PartialEq for Veil {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(one), Some(another)) => one.mark.ct_eq(&another.mark).into(),
            (None, None) => true,
            _ => false,
        }
    }
}

impl fmt::Debug for Veil {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_drawn() {
            "Veil(drawn)"
        } else {
            "Veil(none)"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn veil(octet: u8) -> Veil {
        Veil::new(&SecretSlice::from(vec![octet; LEAST_KEY])).unwrap()
    }

    fn key(text: &str) -> AddressKey {
        Address::parse(text).unwrap().key(LocalPart::Fold)
    }

    #[test]
    fn one_key_knows_an_address_again_and_another_does_not() {
        let (one, other) = (veil(1), veil(2));
        let hidden = one.over(key("John@Example.org"));
        assert_eq!(hidden, one.over(key("john@example.org")));
        assert_ne!(hidden, other.over(key("john@example.org")));
        assert!(is_hash(&hidden) && !is_hash(&key("#a@b.test")));
        assert_eq!(one.over(hidden.clone()), hidden, "a hash stays what it is");
        assert_eq!(
            Subject::from_stored(&Subject::address(hidden.clone()).to_string()).as_address(),
            Some(&hidden)
        );
        assert!(one == veil(1) && one != other && one != Veil::default());
        assert_eq!(Veil::default().over(key("a@b.test")), key("a@b.test"));
        assert!(!format!("{one:?}").contains('1'));
    }

    /// RFC 4231 §4.3, cut to what we keep.
    #[test]
    fn the_hash_is_hmac_sha_256() {
        let keyed = Hmac::<Sha256>::new_from_slice(b"Jefe").unwrap();
        let expected = [
            0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e, 0x6a, 0x04, 0x24, 0x26, 0x08, 0x95, 0x75, 0xc7,
        ];
        assert_eq!(digest(&keyed, b"what do ya want for nothing?"), expected);
    }

    #[test]
    fn what_was_signed_is_kept_without_its_people() {
        let signed = Signed {
            identity: [1; 16],
            mailed: vec![key("john@example.org")],
            sender: "news-john=example.org@app.test".into(),
            at: jiff::Timestamp::UNIX_EPOCH,
            marks: Vec::new(),
        };
        assert_eq!(Veil::default().signed(signed.clone()), signed);
        let hidden = veil(1).signed(signed);
        assert_eq!(hidden.mailed, [veil(1).over(key("john@example.org"))]);
        assert_eq!(hidden.sender, "@app.test");
    }

    #[test]
    fn texts_lose_their_addresses_and_nothing_else() {
        let table = [
            (
                "550 5.1.1 <john@example.org>: no such user",
                "550 5.1.1 <hidden@hidden.invalid>: no such user",
            ),
            ("no such user", "no such user"),
            (
                "a@b.test and c@d.test",
                "hidden@hidden.invalid and hidden@hidden.invalid",
            ),
        ];
        for (text, hidden) in table {
            assert_eq!(veil(1).text(text), hidden, "{text}");
            assert_eq!(Veil::default().text(text), text);
        }
    }

    #[test]
    fn a_local_part_alone_goes_as_well() {
        let about = |address: &str, text: &str| veil(1).text_about(text, &Address::parse(address).unwrap());
        assert_eq!(
            about("john@b.test", "no user John here, johnny"),
            "no user hidden here, johnny"
        );
        assert_eq!(about("no@b.test", "no such user"), "no such user");
        assert_eq!(
            about("könig@b.test", "'könig' unknown, ökönig"),
            "'hidden' unknown, ökönig"
        );
    }

    #[test]
    fn a_key_has_a_least_length() {
        assert_eq!(Veil::new(&SecretSlice::from(vec![0; 31])), Err(ShortKey(31)));
    }
}
