//! Trust: how sure we are that a report of a failure is real. Anyone can send a bounce; only what
//! can be proved may act.
//!
//! | trust | proof |
//! |---|---|
//! | own | our MTA's log, or a bounce that our MTA wrote itself and that never crossed a network |
//! | correlated | the report names a message that we saw leave for that recipient |
//! | unverified | neither: kept and shown, never acts |
//!
//! What an automatic answer says is never more than unverified, whatever it answers: it is a person's word,
//! and no server's.

use crate::mail::address::{Address, AddressKey, LocalPart};
use crate::mail::event::{Event, Outcome, Source};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

/// How sure we are, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Trust {
    /// Our own MTA said so.
    Own,
    /// The report matches a message that we sent to that recipient.
    Correlated,
    /// Nothing proves it.
    Unverified,
}

/// What ties a report to a message that left: a hash over what both sides name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(pub [u8; 16]);

impl Trust {
    /// The name in the store and in messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Correlated => "correlated",
            Self::Unverified => "unverified",
        }
    }

    /// Whether evidence of this trust may suppress.
    #[must_use]
    pub fn acts(self) -> bool {
        self != Self::Unverified
    }
}

/// The trust of an event, given whether a sent message matches it.
#[must_use]
pub fn of(event: &Event, correlated: bool) -> Trust {
    if event.outcome == Outcome::AutoReply {
        Trust::Unverified
    } else if event.own {
        Trust::Own
    } else if correlated {
        Trust::Correlated
    } else {
        Trust::Unverified
    }
}

/// What a message is known by, beside whom it went to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Named<'a> {
    /// Its Message-ID, without `<>`.
    pub message_id: Option<&'a str>,
    /// Its queue id at our MTA.
    pub queue_id: Option<&'a str>,
    /// Its envelope id (RFC 3461 ENVID), not in xtext.
    pub envelope_id: Option<&'a str>,
    /// What its token is known by.
    pub identity: Option<&'a [u8; 16]>,
}

/// A message that leaves with a signed return path: what is remembered of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// What its token is known by ([`super::token::Token::identity`]).
    pub identity: [u8; 16],
    /// Whom it goes to, spelled as `[address] local_part` has it.
    pub mailed: Vec<AddressKey>,
    /// The application's own return path.
    pub sender: String,
    /// When.
    pub at: Timestamp,
    /// Its [`marks`] for each of those.
    pub marks: Vec<Fingerprint>,
}

/// The marks by which a message that leaves can be known again, and by which a report names it: each
/// ties the recipient that we mailed to one of its names.
#[must_use]
pub fn marks(named: &Named<'_>, mailed: &Address) -> Vec<Fingerprint> {
    let mailed = sealed_key(mailed);
    let names = [
        ("message-id", named.message_id.map(str::as_bytes)),
        ("queue-id", named.queue_id.map(str::as_bytes)),
        ("envelope-id", named.envelope_id.map(str::as_bytes)),
        ("token", named.identity.map(<[u8; 16]>::as_slice)),
    ];
    names
        .into_iter()
        .filter_map(|(kind, name)| Some((kind, name?)))
        .map(|(kind, name)| fingerprint(&[kind.as_bytes(), name, mailed.as_str().as_bytes()]))
        .collect()
}

/// The spelling of a recipient that marks and tokens are made of: the case of letters is often lost on the way.
#[must_use]
pub fn sealed_key(mailed: &Address) -> AddressKey {
    mailed.key(LocalPart::Fold)
}

/// The marks of a message that an event is about.
#[must_use]
pub fn correlations(event: &Event) -> Vec<Fingerprint> {
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

/// The events whose marks are remembered: what left.
#[must_use]
pub fn leaves(event: &Event) -> bool {
    event.source == Source::Log && event.outcome == Outcome::Delivered
}
