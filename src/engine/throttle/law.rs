//! The law of a lane's rate: find the hidden limit, ride just under it, and notice when it moves.
//!
//! (The reasons for each of its parts follow with the simulator that proves them.)
use super::lane::USUAL_CONNECTIONS;
use super::signal::Kind;
use super::{later, seconds};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The share of the estimated limit at which a lane rides.
const RIDE: f64 = 0.98;
/// One cut that nothing more is known for.
const CUT: f64 = 0.97;
/// The most that one refusal may take away from an estimate.
const MOST_CUT: f64 = 0.5;
/// What a refusal for reputation leaves of it.
const REPUTATION_CUT: f64 = 0.5;
/// Passes between two refusals from which their estimate is good to a tenth.
const ENOUGH: f64 = 10.0;
/// Refusals rarer than are allowed are no reason to slow down: what one of them takes away. (If they are the
/// first of many, the next comes at once, and is judged by what passed in between.)
const GENTLE_CUT: f64 = 0.995;
/// Two emptinesses are alike to within a message: half of it is added to what passed in between, so that not
/// even nothing is measured as no rate.
const HALF: f64 = 0.5;
/// Passes from which it is good to a third of a percent: finer than the creep upward.
const PLENTY: f64 = 300.0;
/// By how much an estimate creeps up with each probe that did not find it too low.
const CREEP: f64 = 0.01;
/// The rate at which an unknown limit is sought first, a second.
const FIRST_RATE: f64 = 1.0;
/// In how many seconds the rate doubles while an unknown limit is sought, on the way back to one that was
/// good before, and while probing beyond it.
const SEEKING_DOUBLES: f64 = 3.0;
const RETURNING_DOUBLES: f64 = 15.0;
const PROBING_DOUBLES: f64 = 100.0;
/// How long an estimate is left alone, in seconds: at first, and at most while probes are cheap.
const FIRST_PATIENCE: f64 = 20.0;
const MOST_PATIENCE: f64 = 640.0;
/// How many refusals each answer allows: with what else happens, one in a hundred is not exceeded.
const ALLOWED: f64 = 0.009;
/// The most refusals that can be owed, and saved.
const MOST_OWED: f64 = 12.0;
const MOST_SAVED: f64 = 2.0;
/// A hold that a rule names costs at most one part in so many of the time.
const HOLD_PARTS: f64 = 50.0;
/// A rate over a cycle that comes to this share of the one before is the same.
const AS_BEFORE: f64 = 0.9;
/// From so many seconds on a named hold is a rest that fills the provider's allowance.
const LONG_HOLD: f64 = 60.0;
/// A step is judged after so many answers should have come, within bounds in seconds.
const STEP_ANSWERS: f64 = 4.0;
const STEP_SECONDS: (f64, f64) = (1.0, 60.0);
/// A step was used if this share of it was.
const USED: f64 = 0.7;
/// So many of these in a row, and a probe is over: nothing is learned from it.
const IDLE_STEPS: u32 = 3;
/// What may be left unused between two measurements: in messages, in seconds of the rate, as a share.
const SPARE: (f64, f64, f64) = (4.0, 5.0, 0.05);
/// The shortest pause, in seconds, and in messages of the estimated limit.
const PAUSE_SECONDS: f64 = 2.0;
const PAUSE_MESSAGES: f64 = 1.5;
/// A pause outlasts the latest answer that was seen by so much; what was seen fades with each pause.
const LAG_PAUSE: f64 = 1.25;
const LAG_FADES: f64 = 0.97;
/// A lane is open again after so many seconds without a signal, or so far beyond the last limit.
const CALM: f64 = 24.0 * 3600.0;
const FAR: f64 = 64.0;
/// Rates are kept within these bounds, a second.
const RATES: (f64, f64) = (1.0 / 3600.0, 1e6);

/// What the law remembers of a lane.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Law {
    /// The connections.
    pub connections: Connections,
    rate: Option<f64>,
    /// The estimate of the hidden limit, a second.
    limit: Option<f64>,
    /// The last estimate that held.
    good: f64,
    /// What the provider was seen to let through at once, beyond its limit.
    burst: f64,
    phase: Phase,
    /// Passes since the provider's allowance was last seen to be empty.
    mark: Option<Mark>,
    /// What should have passed since, had the rate been used.
    expected: f64,
    /// Passes since the lane last recovered from a long time without anything.
    cycle: Option<Mark>,
    /// The rate that this came to the last time.
    lasting: f64,
    /// A probe that went further than the estimate explains.
    leap: Option<Leap>,
    step: Option<Step>,
    last: Option<Step>,
    /// How many steps in a row less than half was used.
    idle: u32,
    /// Deliveries since the last signal that was obeyed.
    delivered: u64,
    /// How long the estimate is left alone.
    patience: f64,
    /// When the last hold began, how late answers to attempts from before it came, and for how many seconds
    /// the lane was held since the mark.
    held: Option<Timestamp>,
    lag: f64,
    paused: f64,
    /// Refusals that may still be risked.
    allowance: f64,
    /// The last signal that was obeyed.
    signalled: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Phase {
    #[default]
    Seeking,
    Riding {
        until: Timestamp,
    },
    Probing {
        since: Timestamp,
        passed: f64,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Mark {
    at: Timestamp,
    passed: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Leap {
    from: f64,
    excess: f64,
    patience: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Step {
    at: Timestamp,
    passed: f64,
    delivered: f64,
    seconds: f64,
}

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

impl Law {
    /// The rate at which a limited lane may go, a second.
    #[must_use]
    pub fn rate(&self) -> Option<f64> {
        self.rate
    }

    /// The estimate of the provider's limit, a second.
    #[must_use]
    pub fn limit(&self) -> Option<f64> {
        self.limit
    }

    /// Whether the rate is above the estimate, to see whether the limit has moved.
    #[must_use]
    pub fn is_probing(&self) -> bool {
        matches!(self.phase, Phase::Probing { .. })
    }

    /// So many answers that were no refusals, of which so many were deliveries.
    pub(super) fn passed(&mut self, at: Timestamp, n: u32, delivered: u32) {
        self.judge_step(at);
        if let Some(step) = &mut self.step {
            step.passed += f64::from(n);
            step.delivered += f64::from(delivered);
        }
        self.count(n, delivered);
        self.connections.delivered(at, delivered);
    }

    /// Answers to attempts that left before a hold: they used the allowance, and prove no rate.
    pub(super) fn passed_held(&mut self, at: Timestamp, n: u32) {
        self.count(n, 0);
        self.late(at);
    }

    /// An answer during a hold shows how late answers are: a hold must outlast them.
    fn late(&mut self, at: Timestamp) {
        if let Some(held) = self.held {
            self.lag = self.lag.max(seconds(held, at));
        }
    }

    fn count(&mut self, n: u32, delivered: u32) {
        let n = f64::from(n);
        for mark in [&mut self.mark, &mut self.cycle].into_iter().flatten() {
            mark.passed += n;
        }
        if let Phase::Probing { passed, .. } = &mut self.phase {
            *passed += n;
        }
        self.delivered = self.delivered.saturating_add(u64::from(delivered));
        self.allowance = (self.allowance + n * ALLOWED).min(MOST_SAVED);
    }

    /// Whether anything was delivered since the last signal that was obeyed.
    pub(super) fn delivered_since_signal(&self) -> bool {
        self.delivered > 0
    }

    /// A refusal that came while the lane was held already. Those of the first storm, before anything was
    /// known, are nobody's fault.
    pub(super) fn refused_held(&mut self, at: Timestamp) {
        self.late(at);
        self.risked();
    }

    fn risked(&mut self) {
        if self.limit.is_some() {
            self.allowance = (self.allowance - 1.0).max(-MOST_OWED);
        }
    }

    /// A refusal that is obeyed; says how long to pause where the rule does not, in seconds.
    pub(super) fn refused(
        &mut self,
        kind: Kind,
        hold: Option<Duration>,
        from_open: bool,
        repeat: bool,
        at: Timestamp,
    ) -> f64 {
        let hold = hold.map_or(0.0, |hold| hold.as_secs_f64());
        self.risked();
        self.held = Some(at);
        self.lag *= LAG_FADES;
        if !repeat {
            // Whatever happened before: the limit may have risen since, and must not go unnoticed for long.
            self.allowance = self.allowance.max(0.0);
        }
        self.signalled = Some(at);
        self.delivered = 0;
        if !repeat {
            let limit = match (kind, self.limit, self.phase) {
                (Kind::Reputation, ..) => self.discredited(),
                (_, Some(limit), _) if from_open => Some(self.surprised(limit)),
                (_, None, _) | (_, _, Phase::Seeking) => self.sought(at),
                (_, Some(limit), Phase::Riding { .. }) => Some(self.lowered(limit, at)),
                (_, Some(limit), Phase::Probing { since, passed }) => {
                    Some(self.probed(limit, passed, seconds(since, at), at))
                }
            };
            self.limit = limit.map(|limit| limit.clamp(RATES.0, RATES.1));
            self.patience = self.patience.max(hold * HOLD_PARTS);
            self.phase = match self.limit {
                Some(_) => Phase::Riding {
                    until: Timestamp::MAX,
                },
                None => Phase::Seeking,
            };
            self.rate = self.limit.map(|limit| limit * RIDE);
            self.empty(at);
        }
        if hold >= LONG_HOLD {
            self.mark = None;
        }
        let pause = self.limit.map_or(0.0, |limit| PAUSE_MESSAGES / limit);
        pause.max(PAUSE_SECONDS).max(self.lag * LAG_PAUSE)
    }

    /// The first delivery after a hold.
    pub(super) fn recovered(&mut self, at: Timestamp, repeats: u32) {
        self.step = None;
        self.last = None;
        self.paused += self.held.take().map_or(0.0, |held| seconds(held, at));
        if repeats >= 2 {
            self.begin_cycle(at);
        }
        if self.mark.is_none() {
            self.mark = Some(Mark { at, passed: 0.0 });
            self.expected = 0.0;
            self.paused = 0.0;
        }
        match self.limit {
            Some(limit) => {
                self.phase = Phase::Riding {
                    until: later(at, self.patience),
                };
                self.rate = Some(limit * RIDE);
            }
            None => {
                self.phase = Phase::Seeking;
                self.rate = Some(FIRST_RATE);
            }
        }
    }

    /// After a long time without anything: an allowance that is given out anew now and then. What came of the
    /// last one, over the time from its beginning to that of this one, is the rate.
    fn begin_cycle(&mut self, at: Timestamp) {
        if let (Some(limit), Some(cycle)) = (self.limit, self.cycle)
            && cycle.passed >= ENOUGH
        {
            let mut lasting = (cycle.passed / seconds(cycle.at, at)).max(RATES.0);
            if lasting >= self.lasting * AS_BEFORE && lasting < self.lasting {
                // Nearly as before: what is missing was lost while nobody knew that it had begun anew.
                lasting = lasting.max(self.lasting * GENTLE_CUT);
            }
            self.lasting = lasting;
            if lasting < limit {
                (self.limit, self.good, self.leap) = (Some(lasting), lasting, None);
            }
        }
        self.cycle = Some(Mark { at, passed: 0.0 });
    }

    /// Whether the lane may be open again.
    pub(super) fn is_calm(&self, at: Timestamp) -> bool {
        let long =
            self.signalled.is_none_or(|last| seconds(last, at) >= CALM) && self.connections.is_calm(at);
        let far = match (self.phase, self.rate, self.limit) {
            (Phase::Probing { .. }, Some(rate), Some(limit)) => rate >= limit * FAR,
            _ => false,
        };
        long || far
    }

    /// No limit any more. The last one is remembered, for when it turns out to be there still.
    pub(super) fn open(&mut self) {
        self.rate = None;
        self.mark = None;
        self.cycle = None;
        self.leap = None;
        self.connections = Connections::default();
    }

    /// The provider's allowance is empty now.
    fn empty(&mut self, at: Timestamp) {
        self.step = None;
        if self.mark.is_none_or(|mark| mark.passed >= ENOUGH) {
            self.mark = Some(Mark { at, passed: 0.0 });
            self.expected = 0.0;
            self.paused = 0.0;
        }
    }

    /// What the provider lets through at most, and on how many passes that rests: between two times at
    /// which its allowance is empty, it has let through just what it gave out.
    fn measured(&self, at: Timestamp) -> Option<(f64, f64)> {
        let mark = self.mark?;
        let span = seconds(mark.at, at);
        let most = (mark.passed + HALF) / span;
        // What is given out during a pause, beyond what the provider lets pass at once, is lost.
        let active = span - self.paused;
        let lost = self.burst > 0.0 && self.burst < self.paused * self.limit.unwrap_or(0.0) && active > 0.0;
        let rest = if lost {
            (mark.passed + HALF - self.burst) / active
        } else {
            0.0
        };
        (span > 0.0).then_some((most.max(rest), mark.passed))
    }

    /// The rate that passed in the last two steps, where they tell.
    fn recent(&self, at: Timestamp) -> Option<f64> {
        let step = self.step?;
        let last = self.last.unwrap_or(Step { passed: 0.0, ..step });
        let (span, passed) = (seconds(last.at, at), last.passed + step.passed);
        (span > 0.0 && passed >= 3.0).then(|| passed / span)
    }

    /// A refusal while an unknown limit was sought.
    fn sought(&mut self, at: Timestamp) -> Option<f64> {
        let recent = self.recent(at);
        let measured = self.measured(at).map(|(most, _)| most);
        self.patience = FIRST_PATIENCE;
        self.good = recent.unwrap_or(0.0);
        match (measured, recent) {
            (Some(most), Some(recent)) => Some(most.min(recent)),
            (most, recent) => most.or(recent),
        }
    }

    /// A refusal in a lane that was open although a limit had been known.
    fn surprised(&mut self, limit: f64) -> f64 {
        self.patience = FIRST_PATIENCE;
        limit
    }

    /// A refusal for reputation: less, and quickly back when it is over.
    fn discredited(&mut self) -> Option<f64> {
        let limit = self.limit?;
        self.good = self.good.max(limit);
        self.patience = self.patience.max(FIRST_PATIENCE);
        Some(limit * REPUTATION_CUT)
    }

    /// A refusal at the riding rate: the limit is lower than estimated.
    fn lowered(&mut self, limit: f64, at: Timestamp) -> f64 {
        let (most, passed) = self.measured(at).unwrap_or((f64::INFINITY, 0.0));
        let rare = passed * ALLOWED >= 1.0;
        let least = if rare { GENTLE_CUT } else { MOST_CUT };
        let lower = most.clamp(limit * least, limit * least.max(CUT));
        if let Some(leap) = self.leap.take()
            && lower <= leap.from * 1.15
        {
            // What the probe ran into was no higher limit: so much passes at once.
            self.burst = self.burst.max(leap.excess);
            self.patience = leap.patience;
            self.good = leap.from;
            return lower.max(leap.from * CUT);
        }
        if lower < limit * 0.9 || passed < ENOUGH {
            self.patience = FIRST_PATIENCE;
        }
        self.good = self.good.max(limit);
        lower
    }

    /// A refusal while probing beyond the estimate: it stands, or there is a higher limit.
    fn probed(&mut self, limit: f64, passed: f64, span: f64, at: Timestamp) -> f64 {
        let excess = (passed - limit * span).max(0.0);
        if excess > self.burst * 1.5 + 3.0 {
            self.leap = Some(Leap {
                from: limit,
                excess,
                patience: self.patience,
            });
            let higher = limit.max(self.recent(at).unwrap_or(limit) * CUT);
            self.patience = FIRST_PATIENCE;
            self.good = higher;
            return higher;
        }
        self.leap = None;
        self.burst = excess.max(self.burst * 0.9);
        self.patience = (self.patience * 2.0).clamp(FIRST_PATIENCE, MOST_PATIENCE);
        let (most, n) = self.measured(at).unwrap_or((limit, 0.0));
        let creep = if n >= PLENTY { limit * (1.0 + CREEP) } else { limit };
        let confirmed = most.max(creep).min(limit * 1.05);
        self.good = confirmed;
        confirmed
    }

    /// Ends a step whose time is over: if the rate was used and mail was taken, the law may raise it.
    fn judge_step(&mut self, at: Timestamp) {
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

/// Two signals about connections within so many seconds are one.
const CONNECTION_INTERVAL: f64 = 2.0;
/// So many deliveries for each connection before another is tried.
const CONNECTION_DELIVERIES: u64 = 10;

impl Connections {
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
    pub(super) fn single(&mut self, until: Timestamp, at: Timestamp) -> bool {
        self.single_until = Some(self.single_until.map_or(until, |known| known.max(until)));
        self.fewer(at)
    }

    /// Too many: fewer; whether that is news.
    pub(super) fn fewer(&mut self, at: Timestamp) -> bool {
        if self
            .changed
            .is_some_and(|changed| !self.raised && seconds(changed, at) < CONNECTION_INTERVAL)
        {
            return false;
        }
        let most = self.most.unwrap_or(USUAL_CONNECTIONS);
        if self.raised {
            self.most = Some((most - 1).max(1));
            self.longest = (self.longest * 2.0).clamp(FIRST_PATIENCE, MOST_PATIENCE);
        } else {
            self.most = Some((most / 2).max(1));
            self.longest = FIRST_PATIENCE;
        }
        self.patience = self.longest;
        self.raised = false;
        self.changed = Some(at);
        self.delivered = 0;
        true
    }

    fn delivered(&mut self, at: Timestamp, n: u32) {
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
            self.longest = FIRST_PATIENCE;
        }
        self.raised = true;
        self.patience = FIRST_PATIENCE;
        self.changed = Some(at);
        self.delivered = 0;
        self.most = (most < 2 * USUAL_CONNECTIONS).then_some(most + 1);
    }

    fn is_calm(&self, at: Timestamp) -> bool {
        self.changed.is_none_or(|changed| seconds(changed, at) >= CALM)
            && self.single_until.is_none_or(|until| until <= at)
    }
}
