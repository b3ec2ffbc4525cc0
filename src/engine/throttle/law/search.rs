//! The search for a limit of which nothing is known, from what an open lane passed.

use super::step::Step;
use super::{ENOUGH, FIRST_PATIENCE, LONG_HOLD, Law, RATES};
use crate::engine::throttle::seconds;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Where the search begins with nothing to go by, a second.
const FIRST_RATE: f64 = 1.0;
/// What passed in fewer seconds may be a burst, and is no rate.
const BRIEF: f64 = 8.0;
/// What passed in so many seconds is one, if it is about as much as in the last few.
const LONG: f64 = 60.0;
const ABOUT: f64 = 0.5;
/// However long nothing was given out, the search begins at no less than this: an allowance that is given out all
/// at once says nothing of its rate by its absence.
const SLOWEST_START: f64 = 1.0 / 15.0;

/// What passed in the last [`BRIEF`] seconds, or up to twice as many.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Lately {
    /// When the while before this one began, and what passed in it.
    from: Timestamp,
    before: f64,
    began: Timestamp,
    passed: f64,
}

impl Lately {
    /// So many more at `at`.
    pub(super) fn passed(known: Option<Self>, at: Timestamp, n: u32) -> Self {
        let new = Self {
            from: at,
            before: 0.0,
            began: at,
            passed: f64::from(n),
        };
        match known {
            Some(known) if seconds(known.began, at) < BRIEF => Self {
                passed: known.passed + f64::from(n),
                ..known
            },
            Some(known) if seconds(known.began, at) < 2.0 * BRIEF => Self {
                from: known.began,
                before: known.passed,
                ..new
            },
            _ => new,
        }
    }

    /// The rate, a second.
    fn rate(&self, at: Timestamp) -> f64 {
        let over = |from: Timestamp, passed: f64| passed / seconds(from, at).max(BRIEF);
        over(self.began, self.passed).max(over(self.from, self.before + self.passed))
    }
}

impl Law {
    /// The first refusal of an open lane: the estimate, where a rate was kept up long enough to be one. Otherwise
    /// what passed was a burst at least in part, and the search begins with what it comes to over a few seconds:
    /// as a burst lasts that long in most limiters, near the limit and rather below it. Where the refusal is dear,
    /// the few seconds are a minute; and as the next probe is far, less than a message a second is no estimate.
    pub(super) fn begun(&mut self, lately: Option<Lately>, hold: f64, at: Timestamp) -> Option<f64> {
        let brief = lately.map_or(0.0, |lately| lately.rate(at));
        let (span, passed) = self.step.map_or((0.0, 0.0), |step| {
            let last = self.last.unwrap_or(Step { passed: 0.0, ..step });
            (seconds(last.at, at), last.passed + step.passed)
        });
        let long = passed / span.max(LONG);
        let dear = hold >= LONG_HOLD;
        // What an idle lane passed is what there was, and says nothing of what may pass.
        self.start = if dear { long } else { brief }.clamp(FIRST_RATE, RATES.1);
        let kept_up = span >= LONG && long >= brief * ABOUT && passed >= ENOUGH;
        if kept_up && (!dear || long >= FIRST_RATE) {
            self.patience = FIRST_PATIENCE;
            self.good = long;
            return Some(long);
        }
        // At most so much passed at once: a probe that goes no further beyond the estimate has found no higher limit.
        self.burst = lately.map_or(0.0, |lately| lately.passed);
        None
    }

    /// Where the search begins, a second.
    pub(in crate::engine::throttle) fn first_rate(&self) -> f64 {
        if self.start > 0.0 {
            self.start.max(RATES.0)
        } else {
            FIRST_RATE
        }
    }

    /// For so many seconds from when the allowance was empty, not one whole message was given out.
    pub(super) fn slower(&mut self, span: f64) {
        let most = (1.0 / span.max(1e-3)).max(SLOWEST_START);
        self.start = self.first_rate().min(most);
    }

    /// A refusal while an unknown limit was sought.
    pub(super) fn sought(&mut self, at: Timestamp) -> Option<f64> {
        let recent = self.recent(at);
        let measured = self.measured(at);
        if let Some((most, passed)) = measured
            && passed < ENOUGH
            && self.start > most
        {
            // Too few to be an estimate; but the search began too high.
            self.start = most;
            return None;
        }
        self.patience = FIRST_PATIENCE;
        self.good = recent.unwrap_or(0.0);
        match (measured.map(|(most, _)| most), recent) {
            // While the rate rose from little, the allowance was full and gave out less than it could: too low by
            // what overflowed. What passed lately drew on what had been saved: too high. The truth is between the
            // two; and too high is found out exactly by the next refusal, too low only by a long wait. Where the
            // search began above it nothing overflowed, and what was measured is the truth.
            (Some(most), Some(recent)) if most < recent && self.start < most => Some((most * recent).sqrt()),
            (Some(most), Some(recent)) => Some(most.min(recent)),
            (most, recent) => most.or(recent),
        }
    }
}
