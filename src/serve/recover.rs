//! Complaints without a recipient (RFC 6590: providers redact them): whom they are about is known by the token of the
//! mail that they complain of.
//!
//! Of a message to one recipient that is certain; of one to several nobody is guessed. Under `[privacy]` only hashes of
//! recipients are kept, and none comes back. On failure of the store the intake has its sender try again.

use super::keeper::Bench;
use crate::engine::return_path::Signing;
use crate::engine::suppression::privacy::is_hash;
use crate::engine::token::Token;
use crate::engine::trust::sealed_key;
use crate::mail::address::Address;
use crate::mail::message::{Envelope, Reading};
use crate::store::Store;
use crate::store::contract::{SentTo, StoreError};
use jiff::Timestamp;
use parking_lot::RwLock;
use std::sync::Arc;

/// What recipients are recovered from. Clones share it.
#[derive(Debug, Clone)]
pub struct Recovery {
    store: Store,
    bench: Arc<RwLock<Arc<Bench>>>,
}

impl Recovery {
    /// From what this store remembers, by these keys.
    #[must_use]
    pub fn new(store: Store, bench: Arc<RwLock<Arc<Bench>>>) -> Self {
        Self { store, bench }
    }

    /// Gives a complaint the recipient that it does not name, where a token tells; everything else stays as it is.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: whether there is one is not known.
    pub async fn recover(
        &self,
        reading: &mut Reading,
        envelope: Envelope<'_>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let bench = self.bench.read().clone();
        let Some(signing) = &bench.signing else {
            return Ok(());
        };
        let Some((token, path)) = token_of(reading, envelope, signing, now) else {
            return Ok(());
        };
        if let Some(feedback) = &mut reading.feedback {
            // What it came back with is the sender that the mail left with, whatever else was redacted.
            feedback.mail_from = Some(path);
        }
        if !is_nameless(reading) {
            return Ok(());
        }
        let sent = self.store.signed(&token.identity()).await?;
        let recipient =
            only(&sent).filter(|address| signing.keyring.is_for(&token, &sealed_key(address)) != Some(false));
        if let (Some(recipient), Some(feedback)) = (recipient, &mut reading.feedback) {
            feedback.recipients = vec![recipient.to_string()];
        }
        Ok(())
    }
}

/// The token of the mail that a complaint is about, and the address that holds it.
fn token_of(
    reading: &Reading,
    envelope: Envelope<'_>,
    signing: &Signing,
    now: Timestamp,
) -> Option<(Token, String)> {
    let feedback = reading.feedback.as_ref().filter(|f| f.is_complaint())?;
    let returned = reading.returned.as_ref().and_then(|r| r.return_path.as_deref());
    let paths = [envelope.recipient, returned, feedback.mail_from.as_deref()];
    paths
        .into_iter()
        .flatten()
        .find_map(|path| Some((signing.open(path, now)?.ok()?, path.to_owned())))
}

/// Whether a complaint names nobody.
fn is_nameless(reading: &Reading) -> bool {
    let mut feedback = reading.feedback.iter().filter(|f| f.is_complaint());
    feedback.any(|feedback| {
        let mut named = feedback.recipients.iter().filter_map(|r| Address::parse(r).ok());
        named.all(|address| is_redacted(&address))
    })
}

/// Whether an address stands for one that was taken out. To take somebody's for one does no harm: whom the token is
/// about is who gets the complaint.
fn is_redacted(address: &Address) -> bool {
    const WORDS: [&str; 6] = [
        "redact",
        "removed",
        "hidden",
        "anonym",
        "undisclosed",
        "suppressed",
    ];
    let (local, domain) = (address.local().to_ascii_lowercase(), address.domain());
    let is_blank = local
        .bytes()
        .all(|b| matches!(b, b'x' | b'*' | b'#' | b'.' | b'-' | b'_'));
    is_blank
        || WORDS.iter().any(|word| local.contains(word))
        || WORDS.iter().any(|word| domain.starts_with(word))
        || domain.ends_with(".invalid")
}

/// The one recipient that there was.
fn only(sent: &[SentTo]) -> Option<Address> {
    match sent {
        [one] if !is_hash(&one.mailed) => Address::parse(one.mailed.as_str()).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_out_is_known_by_its_looks() {
        for (text, expected) in [
            ("redacted@example.test", true),
            ("[redacted]@example.test", true),
            ("xxxxx@example.test", true),
            ("REDACTED-1234@example.test", true),
            ("ann@redacted.invalid", true),
            ("redacted-address@redacted", true),
            ("ann@example.test", false),
            ("max@example.test", false),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!(is_redacted(&address), expected, "{text}");
        }
    }
}
