//! Marks: what ties a report to a message that left, by hashes over what both sides name.

use super::Fingerprint;
use crate::engine::verdict::named;
use crate::mail::address::{Address, AddressKey, LocalPart};
use crate::mail::event::{Event, Outcome, Source};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

named! {
    /// By what a message is known again, the best first.
    Name {
        /// The token of its return path.
        Token = "token",
        /// Its Message-ID.
        MessageId = "message-id",
        /// Its queue id at our MTA.
        QueueId = "queue-id",
        /// Its envelope id (RFC 3461 ENVID).
        EnvelopeId = "envelope-id",
    }
}

/// A mark of a message and one of its recipients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mark {
    /// Of which of its names.
    pub name: Name,
    /// The name and the recipient, hashed.
    pub print: Fingerprint,
}

/// What a message is known by, beside whom it went to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Named<'a> {
    /// Its Message-ID, without `<>`.
    pub message_id: Option<&'a str>,
    /// Its queue id at our MTA.
    pub queue_id: Option<&'a str>,
    /// Its envelope id, not in xtext.
    pub envelope_id: Option<&'a str>,
    /// What its token is known by.
    pub identity: Option<&'a [u8; 16]>,
}

/// A message that leaves with a signed return path: what is remembered of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// What its token is known by ([`Token::identity`](crate::engine::token::Token::identity)).
    pub identity: [u8; 16],
    /// Whom it goes to, spelled as `[address] local_part` has it.
    pub mailed: Vec<AddressKey>,
    /// The application's own return path.
    pub sender: String,
    /// When.
    pub at: Timestamp,
    /// Its [`marks`] for each of those.
    pub marks: Vec<Mark>,
}

/// The marks by which a message that leaves can be known again, and by which a report names it: each
/// ties the recipient that we mailed to one of its names.
#[must_use]
pub fn marks(named: &Named<'_>, mailed: &Address) -> Vec<Mark> {
    let mailed = sealed_key(mailed);
    let names = [
        (Name::Token, named.identity.map(<[u8; 16]>::as_slice)),
        (Name::MessageId, named.message_id.map(str::as_bytes)),
        (Name::QueueId, named.queue_id.map(str::as_bytes)),
        (Name::EnvelopeId, named.envelope_id.map(str::as_bytes)),
    ];
    names
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.filter(|value| !value.is_empty())?)))
        .map(|(name, value)| Mark {
            name,
            print: fingerprint(&[name.name().as_bytes(), value, mailed.as_str().as_bytes()]),
        })
        .collect()
}

/// The spelling of a recipient that marks and tokens are made of: the case of letters is often lost on the way.
#[must_use]
pub fn sealed_key(mailed: &Address) -> AddressKey {
    mailed.key(LocalPart::Fold)
}

/// The marks of the message that an event is about, but for its token's.
#[must_use]
pub fn correlations(event: &Event) -> Vec<Mark> {
    let named = Named {
        message_id: event.message_id.as_deref(),
        queue_id: event.queue_id.as_deref(),
        envelope_id: event.envelope_id.as_deref(),
        identity: None,
    };
    marks(&named, event.mailed())
}

/// The identity of a final failure at our own MTA: the log line and the bounce that Postfix writes
/// about it are one failure and must count once. `None` where there is nothing final, or where the
/// report is not our own MTA's.
#[must_use]
pub fn failure(event: &Event) -> Option<Fingerprint> {
    let terminal = matches!(event.outcome, Outcome::Failed | Outcome::Expired);
    if !event.own || !terminal {
        return None;
    }
    let queue_id = event.queue_id.as_deref()?;
    let recipient = event.recipient.key(LocalPart::Fold);
    let parts = ["failure", queue_id, recipient.as_str()];
    Some(fingerprint(&parts.map(str::as_bytes)))
}

/// The events whose marks are remembered: what left.
#[must_use]
pub fn leaves(event: &Event) -> bool {
    event.source == Source::Log && event.outcome == Outcome::Delivered
}

fn fingerprint(parts: &[&[u8]]) -> Fingerprint {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    let mut mark = [0; 16];
    mark.copy_from_slice(&digest[..16]);
    Fingerprint(mark)
}
