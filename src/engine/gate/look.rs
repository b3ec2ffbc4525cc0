//! What the gate is asked and told, and what it shows.

use crate::engine::throttle::{Grant, Lane, LaneKey, State};
use crate::mail::address::Address;
use jiff::Timestamp;
use std::sync::Arc;

/// Whether an attempt may go now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Passing {
    /// It may.
    Go,
    /// Not before then (`None`: that is not known), for this reason.
    Wait(Option<Timestamp>, Why),
}

/// Why an attempt has to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The provider asked us to.
    Held,
    /// The day's share of a warm-up has gone.
    WarmUp,
    /// An operator paused the lane.
    Paused,
    /// The lane's rate.
    Pace,
    /// Others were there first.
    Turn,
    /// As many as may be are under way.
    UnderWay,
    /// As many wait as may (only said at injection).
    Full,
}

/// A lane that mail has to wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Which.
    pub lane: LaneKey,
    /// Until when; `None` where that is not known.
    pub until: Option<Timestamp>,
    /// Why.
    pub why: Why,
    /// The rule whose signal held it, where one is known.
    pub rule: Option<String>,
}

/// A message to hand back to Postfix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Whose tokens it has.
    pub lane: LaneKey,
    /// The message.
    pub queue_id: Arc<str>,
    /// For how many of its recipients; none where it is handed over only to be asked about.
    pub tickets: usize,
}

/// How a lane stands, for people.
#[derive(Debug, Clone, PartialEq)]
pub struct Look {
    /// Which.
    pub key: LaneKey,
    /// What was learned of it, where anything was.
    pub lane: Option<Lane>,
    /// Its state now.
    pub state: State,
    /// What it may do, and why no more.
    pub grant: Grant,
    /// The tokens there are.
    pub tokens: f64,
    /// The tickets that were issued and not used yet.
    pub tickets: usize,
    /// Recipients whose attempt is under way.
    pub under_way: usize,
    /// How many may be under way, tickets included; `None` is no bound.
    pub window: Option<usize>,
    /// Recipients that wait.
    pub backlog: usize,
    /// Messages that wait, by stream.
    pub by_stream: Vec<(String, usize)>,
    /// Since when the oldest waits.
    pub oldest: Option<Timestamp>,
    /// When the next message goes, as far as that is known.
    pub next_release: Option<Timestamp>,
}

/// One recipient of a deferred message, as Postfix's queue tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deferred<'a> {
    /// The message.
    pub queue_id: &'a str,
    /// The envelope sender.
    pub sender: &'a str,
    /// The stream that it is in, where more than the sender tells.
    pub stream: Option<&'a str>,
    /// The recipient.
    pub recipient: &'a Address,
    /// Since when it waits.
    pub since: Timestamp,
}
