//! Steps: the short whiles after which a rate may be raised, if it was used.

use super::{Law, Phase, RATES, RIDE};
use crate::engine::throttle::seconds;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// In how many seconds the rate doubles while an unknown limit is sought, on the way back to one that was
/// good before, and while probing beyond it.
const SEEKING_DOUBLES: f64 = 3.0;
const RETURNING_DOUBLES: f64 = 15.0;
const PROBING_DOUBLES: f64 = 100.0;
/// A step is judged after so many answers should have come, within bounds in seconds.
const STEP_ANSWERS: f64 = 4.0;
const STEP_SECONDS: (f64, f64) = (1.0, 60.0);
/// A step was used if this share of it was.
const USED: f64 = 0.7;
/// So many of these in a row, and a probe is over: nothing is learned from it.
const IDLE_STEPS: u32 = 3;
/// What may be left unused between two measurements: in messages, in seconds of the rate, as a share.
const SPARE: (f64, f64, f64) = (4.0, 5.0, 0.05);

/// What passed in a short while.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Step {
    pub(super) at: Timestamp,
    pub(super) passed: f64,
    pub(super) delivered: f64,
    pub(super) seconds: f64,
}

impl Law {
    /// Ends a step whose time is over: if the rate was used and mail was taken, the law may raise it.
    pub(super) fn judge_step(&mut self, at: Timestamp) {
        let Some(rate) = self.rate else {
            // An open lane: steps only tell what passed lately.
            return self.next_step(at, STEP_SECONDS.1);
        };
        let Some(step) = self.step else {
            return self.next_step(at, (STEP_ANSWERS / rate).clamp(STEP_SECONDS.0, STEP_SECONDS.1));
        };
        let span = seconds(step.at, at);
        if span < step.seconds {
            return;
        }
        let expected = rate * span;
        let taken = step.delivered * 2.0 >= step.passed && step.delivered > 0.0;
        self.expected += expected;
        let spare = SPARE.0 + SPARE.1 * rate + SPARE.2 * self.expected;
        if self.mark.is_some_and(|mark| mark.passed + spare < self.expected) {
            // The provider's allowance may have filled up meanwhile: nothing can be measured from before.
            self.mark = None;
            self.cycle = None;
        }
        self.idle = if step.passed < expected * 0.5 {
            self.idle + 1
        } else {
            0
        };
        if taken && step.passed + 1.0 >= expected * USED {
            self.grow(rate, span.min(2.0 * step.seconds), at);
        } else if self.idle >= IDLE_STEPS && self.is_probing() {
            self.phase = Phase::Riding { until: at };
            self.rate = self.limit.map(|limit| limit * RIDE);
        }
        let rate = self.rate.unwrap_or(rate);
        self.step = None;
        self.last = Some(step);
        self.next_step(at, (STEP_ANSWERS / rate).clamp(STEP_SECONDS.0, STEP_SECONDS.1));
    }

    fn next_step(&mut self, at: Timestamp, length: f64) {
        match self.step {
            Some(step) if seconds(step.at, at) < step.seconds => return,
            Some(step) => self.last = Some(step),
            None => {}
        }
        self.step = Some(Step {
            at,
            passed: 0.0,
            delivered: 0.0,
            seconds: length,
        });
    }

    /// A step was used: what that allows.
    fn grow(&mut self, rate: f64, span: f64, at: Timestamp) {
        let faster = |doubles: f64| rate * 2f64.powf((span / doubles).min(1.0));
        let next = match (self.phase, self.limit) {
            (Phase::Seeking, _) | (_, None) => faster(SEEKING_DOUBLES),
            (Phase::Riding { until }, Some(limit)) => {
                if at < until || self.allowance < 1.0 {
                    return;
                }
                self.phase = Phase::Probing {
                    since: at,
                    passed: 0.0,
                };
                limit
            }
            (Phase::Probing { .. }, Some(_)) => {
                let known = self.good * 0.95;
                if rate < known {
                    faster(RETURNING_DOUBLES).min(known)
                } else {
                    faster(PROBING_DOUBLES)
                }
            }
        };
        self.rate = Some(next.clamp(RATES.0, RATES.1));
    }
}
