//! What the outcome of an attempt means to the backlog and to the tokens.
//!
//! What we put off, and what a provider put off for its pace, waits for its turn. Everything else that was deferred
//! (a full mailbox, greylisting, the network) keeps Postfix's own schedule. A token comes back for what never
//! reached the provider.

use super::lane::Landing;
use crate::engine::decide::Record;
use crate::engine::verdict::{Cause, Remedy, Scope};
use crate::mail::event::{Event, Evidence, Outcome};

/// What every deferral of ours begins with: by this the log reader knows them. It must never be changed without
/// need: a queue may hold mail that an earlier version put off.
pub const OURS: &str = "Throttled by Nixie: ";
/// What an outcome means to the backlog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It waits for nothing here any more.
    Settled(Landing),
    /// The provider put it off for its pace, or did so to another.
    Refused(Landing),
    /// We did.
    PutOff,
}

impl Meaning {
    pub fn waits(self) -> bool {
        !matches!(self, Self::Settled(_))
    }
}

/// Whether an event is a deferral of our own.
#[must_use]
pub fn is_ours(event: &Event) -> bool {
    event.evidence == Evidence::Repeat && event.reply.text.starts_with(OURS)
}

/// Whether a deferral is for its lane's sake: what the backlog is for.
#[must_use]
pub fn waits(record: &Record) -> bool {
    meaning(record).waits()
}

pub(super) fn meaning(record: &Record) -> Meaning {
    let (event, verdict) = (&record.event, &record.verdict);
    let echo = event.evidence == Evidence::Repeat;
    let unreached = echo || matches!(verdict.cause, Cause::NetworkError | Cause::DnsFailure);
    let landing = if unreached {
        Landing::NeverLeft
    } else {
        Landing::Answered
    };
    match event.outcome {
        Outcome::Delivered | Outcome::Relayed => Meaning::Settled(Landing::Delivered),
        Outcome::Deferred if is_ours(event) => Meaning::PutOff,
        // An echo has no remedy of its own; its cause has.
        Outcome::Deferred if echo && verdict.cause.remedy(false) == Remedy::Throttle => {
            Meaning::Refused(landing)
        }
        Outcome::Deferred if verdict.remedy == Remedy::Throttle && verdict.scope != Scope::Recipient => {
            Meaning::Refused(landing)
        }
        _ => Meaning::Settled(landing),
    }
}
