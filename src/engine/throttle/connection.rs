//! How many connections a provider takes at a time.
//!
//! Who is refused while k others are under way is told that the limit is k at the most: an attempt that has ended is
//! heard of later than the provider knows of it. So the first refusal finds the limit to within what has just ended.
//! Where nothing was under way that we know of (after a restart, or deaf), a refusal halves the number. A later one never
//! takes more than half: another node may have had its part in it.
//!
//! That first number is an estimate: it may be too small by what was being closed. So one more is tried soon, again and
//! again, until one is refused.
//!
//! A connection may be there although its attempt has ended: it is being closed, or left open for more mail
//! (`gate/lane/crowd.rs`). So refusals at a number at which each connection has delivered ([`PROVED_DELIVERIES`]) are no
//! reason to lower it, as far as they come together and are rare: two in a row, and from then on one in a hundred
//! deliveries ([`MENDS`]). At a number that is one too many they come with every few deliveries.
//!
//! One more is tried after a while, in which each connection must have delivered. Where the one more is refused, the
//! number before it stands, and the next try waits twice as long; but a refusal while fewer were under way than before the
//! try is no answer to it, and put down to chance as well. A rule that names a hold asks for a single connection until
//! then.

use super::{later, seconds};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The connections that are there where nothing is known: Postfix's own default of
/// `default_destination_concurrency_limit`.
pub(super) const USUAL: u32 = 20;
/// How long a number is left alone, in seconds, at first and at most.
const PATIENCE: (f64, f64) = (20.0, 640.0);
/// How long an estimate is left alone, in seconds.
const SOON: f64 = 3.0;
/// Without a word about connections for so many seconds, all is forgotten.
const CALM: f64 = 24.0 * 3600.0;
/// Two signals about connections within so many seconds are one.
const CONNECTION_INTERVAL: f64 = 2.0;
/// A number holds at which so many were delivered for each connection.
const PROVED_DELIVERIES: u64 = 2;
/// So many refusals may be put down to chance in a row; each delivery makes up for this part of one.
const MOST_PASSED_OVER: f64 = 2.0;
const MENDS: f64 = 0.01;
/// Refusals are rare where so many were delivered for each connection in between.
const RARE_DELIVERIES: u64 = 6;
/// So many deliveries for each connection before another is tried.
const CONNECTION_DELIVERIES: u64 = 10;
/// … and beyond an estimate.
const SOON_DELIVERIES: u64 = 2;

/// What is known of the connections that a provider takes at a time.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Connections {
    most: Option<u32>,
    single_until: Option<Timestamp>,
    changed: Option<Timestamp>,
    /// Whether the last change was one more.
    raised: bool,
    /// Whether no try of one more was refused yet.
    estimated: bool,
    /// When refusals were last put down to chance.
    forgiven: Option<Timestamp>,
    /// How many of them there were, as far as deliveries have not made up for them.
    passed_over: f64,
    delivered: u64,
    patience: f64,
    longest: f64,
}

impl Connections {
    /// A signal about connections, with the hold that its rule names and the number of other attempts under way;
    /// whether it was obeyed.
    pub(super) fn refused(&mut self, hold: Option<Duration>, beside: Option<u32>, at: Timestamp) -> bool {
        match hold {
            Some(hold) => self.single(later(at, hold.as_secs_f64()), beside, at),
            None => self.fewer(beside, at),
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
    fn single(&mut self, until: Timestamp, beside: Option<u32>, at: Timestamp) -> bool {
        self.single_until = Some(self.single_until.map_or(until, |known| known.max(until)));
        self.fewer(beside, at)
    }

    /// Too many: fewer; whether that is news.
    fn fewer(&mut self, beside: Option<u32>, at: Timestamp) -> bool {
        let most = self.most.unwrap_or(USUAL);
        let beside = beside.filter(|&beside| (1..most).contains(&beside));
        if self
            .changed
            .is_some_and(|changed| !self.raised && seconds(changed, at) < CONNECTION_INTERVAL)
        {
            return false;
        }
        if self.by_chance(beside, at) {
            return false;
        }
        let half = (most / 2).max(1);
        if self.raised {
            self.most = Some((most - 1).max(1));
            self.longest = (self.longest * 2.0).clamp(PATIENCE.0, PATIENCE.1);
            self.estimated = false;
        } else {
            self.estimated = beside.is_some() && self.most.is_none();
            self.most = match (beside, self.most) {
                (Some(beside), None) => Some(beside),
                (Some(beside), Some(_)) => Some(beside.max(half)),
                (None, _) => Some(half),
            };
            self.longest = PATIENCE.0;
        }
        self.patience = if self.estimated { SOON } else { self.longest };
        self.raised = false;
        self.changed = Some(at);
        self.delivered = 0;
        true
    }

    /// Whether what was refused was refused by chance, with all that was refused together with it.
    fn by_chance(&mut self, beside: Option<u32>, at: Timestamp) -> bool {
        if self
            .forgiven
            .is_some_and(|first| seconds(first, at) < CONNECTION_INTERVAL)
        {
            return true;
        }
        let Some(most) = self.most else {
            return false;
        };
        let likely = if self.raised {
            beside.is_some_and(|beside| beside.saturating_add(1) < most)
        } else {
            self.holds(most)
        };
        let chance = likely && self.passed_over + 1.0 <= MOST_PASSED_OVER;
        if chance {
            self.passed_over += 1.0;
            self.forgiven = Some(at);
            self.delivered = 0;
        }
        chance
    }

    /// Whether a number has proved itself since it last changed.
    fn holds(&self, number: u32) -> bool {
        let before = |last: Timestamp| self.changed.is_some_and(|changed| last < changed);
        let is_first = self.forgiven.is_none_or(before);
        let each = if is_first {
            PROVED_DELIVERIES
        } else {
            RARE_DELIVERIES
        };
        self.delivered >= each * u64::from(number)
    }

    /// Deliveries: after enough of them, one more may be tried.
    pub(super) fn delivered(&mut self, at: Timestamp, n: u32) {
        self.delivered = self.delivered.saturating_add(u64::from(n));
        self.passed_over = (self.passed_over - MENDS * f64::from(n)).max(0.0);
        let (Some(most), Some(changed)) = (self.most, self.changed) else {
            return;
        };
        let held = self.single_until.is_some_and(|until| at < until);
        let each = if self.estimated {
            SOON_DELIVERIES
        } else {
            CONNECTION_DELIVERIES
        };
        let used = self.delivered >= each * u64::from(most);
        if held || !used || seconds(changed, at) < self.patience {
            return;
        }
        if self.raised {
            // The last one was taken well: there may be room for more.
            self.longest = PATIENCE.0;
        }
        self.raised = true;
        self.patience = if self.estimated { SOON } else { PATIENCE.0 };
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
