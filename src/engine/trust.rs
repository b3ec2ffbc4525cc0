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

use crate::mail::event::{Event, Outcome, Source};
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

/// The marks by which a message that leaves can be known again, and by which a report names it: each
/// ties the recipient that we mailed to the Message-ID, or to the queue id at our MTA.
#[must_use]
pub fn correlations(event: &Event) -> Vec<Fingerprint> {
    let mailed = event.mailed().key(crate::mail::address::LocalPart::Fold);
    let marks = [
        ("message-id", event.message_id.as_deref()),
        ("queue-id", event.queue_id.as_deref()),
    ];
    marks
        .into_iter()
        .filter_map(|(kind, mark)| Some((kind, mark?)))
        .map(|(kind, mark)| fingerprint(&[kind, mark, mailed.as_str()]))
        .collect()
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
    let recipient = event.recipient.key(crate::mail::address::LocalPart::Fold);
    Some(fingerprint(&["failure", queue_id, recipient.as_str()]))
}

fn fingerprint(parts: &[&str]) -> Fingerprint {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
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
