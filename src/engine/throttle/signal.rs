//! What a lane is told, and what it says of itself: signals, evidence and changes.
//!
//! A signal is a reply that says "slow down". Its kind says what is to be lowered: the rate, the number of
//! connections, or nothing at all. Every change of a lane's state carries the evidence that caused it.

use super::lane::State;
use crate::engine::verdict::Cause;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;
use std::time::Duration;

/// Replies are kept up to so many octets: enough for the longest sentence a provider says, and little
/// enough for a row that is rewritten often.
const REPLY_OCTETS: usize = 512;

/// What a "slow down" is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Too many messages in a time: lowers the rate.
    #[default]
    Rate,
    /// Too many connections at once: lowers the number of connections, and not the rate.
    Concurrency,
    /// Too many messages in one connection: reconnect; nothing is lowered.
    PerConnection,
    /// The provider thinks ill of us just now: a rest, and the rate it was accepted at before.
    Reputation,
}

impl Kind {
    /// Every kind, and its name in rules.
    pub const NAMES: [(&str, Self); 4] = [
        ("rate", Self::Rate),
        ("concurrency", Self::Concurrency),
        ("per_connection", Self::PerConnection),
        ("reputation", Self::Reputation),
    ];

    /// The kind of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let mut names = Self::NAMES.into_iter();
        names.find(|(known, _)| *known == name).map(|(_, kind)| kind)
    }

    /// The kind that a cause speaks of, where the rule does not name one.
    #[must_use]
    pub fn of(cause: Cause) -> Self {
        match cause {
            Cause::AuthFailed | Cause::Blocklisted | Cause::PoorReputation => Self::Reputation,
            Cause::TooManyRecipients => Self::PerConnection,
            _ => Self::Rate,
        }
    }
}

/// A reply that says "slow down".
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Signal {
    /// The rule that recognised it.
    pub rule: String,
    /// The reply.
    pub reply: String,
    /// How long the rule says to rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Duration>,
    /// What is to be lowered.
    #[serde(default)]
    pub kind: Kind,
    /// Whom it was said to, as [`recipient`] tells; 0 where that is not known.
    #[serde(default)]
    pub recipient: u64,
    /// How many other attempts of ours were under way when it was said; `None` where that is not known. They are
    /// the most that the provider can have had of ours, since we hear of an end only after it. Not kept.
    #[serde(skip)]
    pub beside: Option<u32>,
}

impl Signal {
    /// The signal as a lane keeps it: the start of its reply.
    #[must_use]
    pub(super) fn kept(mut self) -> Self {
        self.reply.truncate(self.reply.floor_char_boundary(REPLY_OCTETS));
        self
    }
}

/// A recipient as signals name it: the same on every node and after every start, and no address.
#[must_use]
pub fn recipient(address: &str) -> u64 {
    // Not keyed: two nodes must agree. Who finds two addresses that collide gains that a refusal of one
    // counts as a repeat of the other's.
    SipHasher13::new().hash(address.as_bytes()).max(1)
}

/// What caused a change of state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Nothing is known of the lane yet.
    New,
    /// A signal, for the first time since the last delivery.
    Signal,
    /// A signal with nothing delivered since the one before.
    Repeat,
    /// The time of a hold was over.
    HoldOver,
    /// A delivery.
    Delivery,
    /// Neither a signal for a long time, nor a limit met far beyond the last one known.
    Calm,
    /// Somebody said so.
    Operator,
}

impl What {
    /// In a word, for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Signal => "signal",
            Self::Repeat => "repeated signal",
            Self::HoldOver => "the hold was over",
            Self::Delivery => "a delivery",
            Self::Calm => "a long calm",
            Self::Operator => "an operator",
        }
    }
}

/// Why a lane is in its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// What happened.
    pub what: What,
    /// When.
    pub at: Timestamp,
    /// The rule that recognised it, where it was a reply; who, where it was a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The reply, or the reason given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<String>,
}

impl Evidence {
    /// Evidence that is no reply.
    #[must_use]
    pub fn of(what: What, at: Timestamp) -> Self {
        Self {
            what,
            at,
            rule: None,
            reply: None,
        }
    }

    /// A signal as evidence.
    #[must_use]
    pub fn signal(what: What, signal: &Signal, at: Timestamp) -> Self {
        Self {
            what,
            at,
            rule: Some(signal.rule.clone()),
            reply: Some(signal.reply.clone()),
        }
    }
}

/// One change of a lane's state.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// What it was.
    pub from: State,
    /// What it is.
    pub to: State,
    /// Why.
    pub evidence: Evidence,
}
