//! How many connections a provider takes at a time.
//!
//! A refusal halves the number, which finds a limit in a few steps at the cost of what was under way; one more
//! is tried after a while, in which each connection must have delivered. Where the one more is refused, the
//! number before it stands, and the next try waits twice as long. A rule that names a hold asks for a single
//! connection until then.

use super::{later, seconds};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The connections that are there where nothing is known: Postfix's own default of
/// `default_destination_concurrency_limit`.
pub(super) const USUAL: u32 = 20;
/// How long a number is left alone, in seconds, at first and at most.
const PATIENCE: (f64, f64) = (20.0, 640.0);
/// Without a word about connections for so many seconds, all is forgotten.
const CALM: f64 = 24.0 * 3600.0;
/// Two signals about connections within so many seconds are one.
const CONNECTION_INTERVAL: f64 = 2.0;
/// So many deliveries for each connection before another is tried.
const CONNECTION_DELIVERIES: u64 = 10;

/// What is known of the connections that a provider takes at a time.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Connections {
    most: Option<u32>,
    single_until: Option<Timestamp>,
    changed: Option<Timestamp>,
    /// Whether the last change was one more.
    raised: bool,
    delivered: u64,
    patience: f64,
    longest: f64,
}

impl Connections {
    /// A signal about connections, with the hold that its rule names; whether it was obeyed.
    pub(super) fn refused(&mut self, hold: Option<Duration>, at: Timestamp) -> bool {
        match hold {
            Some(hold) => self.single(later(at, hold.as_secs_f64()), at),
            None => self.fewer(at),
        }
    }

    /// How many at a time; `None` is no limit.
    #[must_use]
    pub fn now(&self) -> Option<u32> {
        self.most
    }

    /// How many at `now`: one, for as long as a rule has said so.
    #[must_use]
    pub fn at(&self, now: Timestamp) -> Option<u32> {
        match self.single_until {
            Some(until) if now < until => Some(1),
            _ => self.most,
        }
    }

    /// One connection, until then.
    fn single(&mut self, until: Timestamp, at: Timestamp) -> bool {
        self.single_until = Some(self.single_until.map_or(until, |known| known.max(until)));
        self.fewer(at)
    }

    /// Too many: fewer; whether that is news.
    fn fewer(&mut self, at: Timestamp) -> bool {
        if self
            .changed
            .is_some_and(|changed| !self.raised && seconds(changed, at) < CONNECTION_INTERVAL)
        {
            return false;
        }
        let most = self.most.unwrap_or(USUAL);
        if self.raised {
            self.most = Some((most - 1).max(1));
            self.longest = (self.longest * 2.0).clamp(PATIENCE.0, PATIENCE.1);
        } else {
            self.most = Some((most / 2).max(1));
            self.longest = PATIENCE.0;
        }
        self.patience = self.longest;
        self.raised = false;
        self.changed = Some(at);
        self.delivered = 0;
        true
    }

    /// Deliveries: after enough of them, one more may be tried.
    pub(super) fn delivered(&mut self, at: Timestamp, n: u32) {
        let (Some(most), Some(changed)) = (self.most, self.changed) else {
            return;
        };
        self.delivered = self.delivered.saturating_add(u64::from(n));
        let held = self.single_until.is_some_and(|until| at < until);
        let used = self.delivered >= CONNECTION_DELIVERIES * u64::from(most);
        if held || !used || seconds(changed, at) < self.patience {
            return;
        }
        if self.raised {
            // The last one was taken well: there may be room for more.
            self.longest = PATIENCE.0;
        }
        self.raised = true;
        self.patience = PATIENCE.0;
        self.changed = Some(at);
        self.delivered = 0;
        self.most = (most < 2 * USUAL).then_some(most + 1);
    }

    /// Whether nothing was said of connections for a day.
    pub(super) fn is_calm(&self, at: Timestamp) -> bool {
        self.changed.is_none_or(|changed| seconds(changed, at) >= CALM)
            && self.single_until.is_none_or(|until| until <= at)
    }
}
