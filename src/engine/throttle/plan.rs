//! What is laid down from outside a lane, and what a hook may answer.
//!
//! A plan is what a provider documents, a warm-up of a new egress, and an operator's word. Each is a
//! [`Ceiling`]; so is what the lane has learned. The lowest applies, and [`Grant::because`] says which.
//! A ceiling on the rate and one on connections may be two different ones: both apply.
//!
//! A warm-up lays down messages a day (UTC). They may go at such a pace that a day's share is spent in
//! eight hours: spread over all 24, the 200 of a first day would make each wait for seven minutes; all at
//! once is what a warm-up must not look like. When the day's share is spent, the lane is held until the
//! next. A day after the schedule's last has no ceiling.

use super::LaneKey;
use super::bucket::BURST_SECONDS;
use super::lane::{Lane, State};
use crate::engine::provider::Documented;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use std::collections::HashMap;

/// A day's share of a warm-up is spent in no less than this many seconds.
const WARM_UP_SECONDS: f64 = 8.0 * 3600.0;

/// The provider of a warm-up that goes for all of which none of their own says otherwise.
pub const EVERY: &str = "*";

/// The fewest and the most connections that an operator may lay down.
pub const CONNECTIONS: std::ops::RangeInclusive<u32> = 1..=1000;

/// What is laid down for a lane.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// What the provider documents.
    pub documented: Documented,
    /// The warm-up of the egress at this provider.
    pub warm_up: Option<WarmUp>,
    /// What an operator has said.
    pub order: Option<Order>,
}

/// A schedule by which a new egress becomes known to a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WarmUp {
    /// The first day (UTC).
    pub began: Date,
    /// How many messages on each day, from the first.
    pub per_day: Vec<u64>,
}

/// What an operator has said of a lane.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    /// What.
    pub what: Steer,
    /// Who: `cli alice`, or the name of a token.
    pub author: String,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

/// The warm-ups of all lanes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WarmUps(HashMap<LaneKey, WarmUp>);

/// The orders that stand for one lane: a pause leaves the cap as it was.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Orders {
    /// A pause.
    pub pause: Option<Order>,
    /// A cap.
    pub cap: Option<Order>,
}

/// What an operator may lay down.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Steer {
    /// No more than this.
    Cap {
        /// Messages a second.
        per_second: Option<f64>,
        /// Connections at a time.
        concurrency: Option<u32>,
    },
    /// Nothing at all, until it is resumed.
    Pause,
}

/// One bound on a lane, and whose it is.
#[derive(Debug, Clone, PartialEq)]
pub enum Ceiling {
    /// What the lane has found out ([`Lane::evidence`] says from what).
    Learned(Pace),
    /// The lane is held.
    Held(Timestamp),
    /// What the provider documents.
    Documented(Pace),
    /// The warm-up.
    WarmUp {
        /// Its day, from 1.
        day: usize,
        /// How many may go on it.
        per_day: u64,
        /// How many have gone.
        sent: u64,
        /// The end of the day, which is also the end of the hold once all have gone.
        ends: Timestamp,
    },
    /// An operator's word.
    Operator(Order),
}

/// How fast, where there is a limit.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Pace {
    /// Attempts a second; `None` is no limit of the rate.
    pub per_second: Option<f64>,
    /// How many may go at once when none went for a while, at least 1.
    pub burst: f64,
    /// Connections at a time; `None` is no limit.
    pub concurrency: Option<u32>,
}

/// What a hook needs to answer now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Permit {
    /// No limit.
    Open,
    /// At this pace.
    Limited(Pace),
    /// Nothing before.
    Held {
        /// When to ask again.
        until: Timestamp,
    },
    /// Nothing, until an operator says otherwise.
    Paused,
}

/// A permit, and why it is no more.
#[derive(Debug, Clone, PartialEq)]
pub struct Grant {
    /// What may be done.
    pub permit: Permit,
    /// The lowest ceiling; `None` where there is none. (Of a pace: that on its rate, else that on its
    /// connections.)
    pub because: Option<Ceiling>,
    /// Until when this holds if nothing happens: the end of a hold or of a day. Ask again then.
    pub until: Timestamp,
}

impl Pace {
    /// A pace of so many a second, with its burst.
    #[must_use]
    pub fn at(per_second: f64) -> Self {
        Self::new(Some(per_second), None)
    }

    /// A pace with the burst that goes with its rate.
    #[must_use]
    pub fn new(per_second: Option<f64>, concurrency: Option<u32>) -> Self {
        Self {
            per_second,
            burst: per_second.map_or(1.0, |rate| (rate * BURST_SECONDS).max(1.0)),
            concurrency,
        }
    }
}

impl WarmUp {
    /// The day of the schedule (from 1) and its share, at `now`; `None` before and after it.
    #[must_use]
    pub fn day(&self, now: Timestamp) -> Option<(usize, u64)> {
        let today = date(now);
        let days = today.since((jiff::Unit::Day, self.began)).ok()?.get_days();
        let index = usize::try_from(days).ok()?;
        Some((index + 1, *self.per_day.get(index)?))
    }
}

impl FromIterator<(LaneKey, WarmUp)> for WarmUps {
    fn from_iter<T: IntoIterator<Item = (LaneKey, WarmUp)>>(all: T) -> Self {
        Self(all.into_iter().collect())
    }
}

impl WarmUps {
    /// The warm-up of a lane: its own, else that of [`EVERY`] provider.
    #[must_use]
    pub fn of(&self, key: &LaneKey) -> Option<&WarmUp> {
        if self.0.is_empty() {
            return None;
        }
        let every = || LaneKey {
            provider: EVERY.into(),
            egress: key.egress.clone(),
        };
        self.0.get(key).or_else(|| self.0.get(&every()))
    }

    /// All of them, with [`EVERY`] where they go for all.
    pub fn iter(&self) -> impl Iterator<Item = (&LaneKey, &WarmUp)> {
        self.0.iter()
    }
}

impl Orders {
    /// Takes an order in, over an earlier one of its kind.
    pub fn put(&mut self, order: Order) {
        match order.what {
            Steer::Pause => self.pause = Some(order),
            Steer::Cap { .. } => self.cap = Some(order),
        }
    }

    /// The one that applies.
    #[must_use]
    pub fn in_force(&self) -> Option<&Order> {
        self.pause.as_ref().or(self.cap.as_ref())
    }

    /// Both, the one that applies first.
    pub fn iter(&self) -> impl Iterator<Item = &Order> {
        self.pause.iter().chain(&self.cap)
    }
}

/// The day (UTC) of a time.
#[must_use]
pub fn date(at: Timestamp) -> Date {
    at.to_zoned(TimeZone::UTC).date()
}

/// When the day of a time ends (UTC).
fn day_ends(now: Timestamp) -> Timestamp {
    date(now)
        .tomorrow()
        .ok()
        .and_then(|day| day.to_zoned(TimeZone::UTC).ok())
        .map_or(Timestamp::MAX, |midnight| midnight.timestamp())
}

/// All bounds on a lane at `now`: what it learned, then what is laid down.
#[must_use]
pub fn ceilings(lane: &Lane, plan: &Plan, now: Timestamp) -> Vec<Ceiling> {
    let mut all = Vec::new();
    match lane.state_at(now) {
        State::Open => {}
        State::Held { until } => all.push(Ceiling::Held(until)),
        State::Limited { .. } | State::Recovering { .. } => all.extend(lane.pace(now).map(Ceiling::Learned)),
    }
    let documented = plan.documented;
    let rate = documented.messages_per_second.map(f64::from);
    if rate.is_some() || documented.connections.is_some() {
        all.push(Ceiling::Documented(Pace::new(rate, documented.connections)));
    }
    if let Some((day, per_day)) = plan.warm_up.as_ref().and_then(|warm_up| warm_up.day(now)) {
        let (sent, ends) = (lane.sent_on(date(now)), day_ends(now));
        all.push(Ceiling::WarmUp {
            day,
            per_day,
            sent,
            ends,
        });
    }
    all.extend(plan.order.clone().map(Ceiling::Operator));
    all
}

impl Ceiling {
    /// What this bound alone would permit.
    #[must_use]
    pub fn permit(&self) -> Permit {
        match self {
            Self::Learned(pace) | Self::Documented(pace) => Permit::Limited(*pace),
            Self::Held(until) => Permit::Held { until: *until },
            Self::WarmUp {
                per_day, sent, ends, ..
            } if sent >= per_day => Permit::Held { until: *ends },
            Self::WarmUp { per_day, .. } => Permit::Limited(Pace::at(*per_day as f64 / WARM_UP_SECONDS)),
            Self::Operator(order) => match order.what {
                Steer::Pause => Permit::Paused,
                Steer::Cap {
                    per_second,
                    concurrency,
                } => Permit::Limited(Pace::new(per_second, concurrency)),
            },
        }
    }
}

/// What the lane may do at `now`: the lowest of all ceilings, and which that is.
#[must_use]
pub fn grant(lane: &Lane, plan: &Plan, now: Timestamp) -> Grant {
    let mut grant = Grant {
        permit: Permit::Open,
        because: None,
        until: Timestamp::MAX,
    };
    let mut connections = None;
    for ceiling in ceilings(lane, plan, now) {
        if let Ceiling::WarmUp { ends, .. } = ceiling {
            grant.until = grant.until.min(ends);
        }
        let permit = ceiling.permit();
        if let Permit::Limited(pace) = permit {
            connections = lowest(connections, pace.concurrency, &ceiling);
        }
        if is_lower(&permit, &grant.permit) {
            grant.permit = permit;
            grant.because = Some(ceiling);
        }
    }
    if let (Permit::Limited(pace), Some((concurrency, ceiling))) = (&mut grant.permit, connections) {
        pace.concurrency = Some(concurrency);
        if pace.per_second.is_none() {
            grant.because = Some(ceiling);
        }
    }
    if let Permit::Held { until } = grant.permit {
        grant.until = until;
    }
    grant
}

/// The fewer connections, and whose bound they are.
fn lowest(
    before: Option<(u32, Ceiling)>,
    concurrency: Option<u32>,
    ceiling: &Ceiling,
) -> Option<(u32, Ceiling)> {
    match (before, concurrency) {
        (Some((fewest, whose)), Some(concurrency)) if fewest <= concurrency => Some((fewest, whose)),
        (_, Some(concurrency)) => Some((concurrency, ceiling.clone())),
        (before, None) => before,
    }
}

/// Whether the first permit allows less than the second.
fn is_lower(one: &Permit, other: &Permit) -> bool {
    match (one, other) {
        (_, Permit::Paused) | (Permit::Open, _) => false,
        (Permit::Paused, _) => true,
        (Permit::Held { until }, Permit::Held { until: other }) => until > other,
        (Permit::Held { .. }, _) => true,
        (_, Permit::Held { .. }) => false,
        (Permit::Limited(_), Permit::Open) => true,
        (Permit::Limited(one), Permit::Limited(other)) => {
            let rate = |pace: &Pace| pace.per_second.unwrap_or(f64::INFINITY);
            rate(one) < rate(other)
        }
    }
}

#[cfg(test)]
mod tests;
