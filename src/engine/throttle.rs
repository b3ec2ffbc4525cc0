//! Throttling: what a provider lets one sending identity send, found out and kept just under.
//!
//! The rooms, from the persisted state outward:
//!
//! - [`lane`]: a lane (provider × egress), its states and every transition between them.
//! - [`signal`]: what a lane is told (a reply that says "slow down") and what it says of itself (why its
//!   state changed).
//! - [`law`]: how fast a limited lane goes: the estimate of the hidden limit, and when to try for more.
//! - [`connection`]: how many connections it opens.
//! - [`plan`]: what is laid down from outside (documented limits, a warm-up, an operator), and the
//!   [`Permit`] that comes of state and plan together: all that a hook needs to answer.
//! - [`rate`]: rates as people write them.
//! - [`bucket`]: tokens for the attempts of one lane, and a stream's own limit.
//! - [`fair`]: whose turn it is within a lane.
//!
//! Everything is a function of (state, input, now): nothing reads a clock, nothing waits, nothing is
//! random. `nixie simulate` drives exactly this code against models of providers.
//!
//! Use, by the three parts that need it:
//!
//! - *Judgement* (`engine::decide`, in the transaction that keeps the events): [`Lane::delivered`],
//!   [`Lane::answered`] and [`Lane::signalled`], each with the time of the event; the lane is then stored.
//! - *Hooks* (memory, microseconds): [`plan::grant`] of the lane and its plan, once for each new lane
//!   state or second; then [`Bucket::pace`] with the permit and [`Bucket::take`] for each attempt.
//! - *The releaser*: the same bucket for each lane, [`Fair::next`] for whose message goes.

pub mod bucket;
pub mod connection;
pub mod fair;
pub mod lane;
pub mod law;
pub mod plan;
pub mod rate;
pub mod signal;

pub use bucket::Bucket;
pub use fair::Fair;
pub use lane::{Lane, State};
pub use plan::{Ceiling, Grant, Pace, Permit, Plan};
pub use rate::Rate;
pub use signal::{Change, Evidence, Kind, Signal, What, recipient};

use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// What is throttled as one: a provider, seen from one sending identity.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LaneKey {
    /// The provider's id, or the registrable domain of an MX host that no provider claims.
    pub provider: String,
    /// The name of the egress (`[egress] name`).
    pub egress: String,
}

/// Bounds of holds, from configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The hold of a refusal for reputation where the rule names none; and how long the lane's own short
    /// pauses may grow while nothing gets through.
    pub default_hold: Duration,
    /// No hold is longer.
    pub max_hold: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            default_hold: Duration::from_secs(300),
            max_hold: Duration::from_secs(4 * 3600),
        }
    }
}

/// Seconds from one time to another; none where the second is earlier.
pub(crate) fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64().max(0.0)
}

/// So many seconds later; the last of all times where that is no time any more.
pub(crate) fn later(at: Timestamp, seconds: f64) -> Timestamp {
    SignedDuration::try_from_secs_f64(seconds.max(0.0))
        .ok()
        .and_then(|span| at.checked_add(span).ok())
        .unwrap_or(Timestamp::MAX)
}
