//! The law of a lane's rate: find the hidden limit, ride just under it, and notice when it moves.
//!
//! # What is measured
//! A provider refuses when its allowance is used up: at the moment of a refusal the allowance is empty. Between
//! two refusals it has therefore let through exactly what it gave out: so many passes in so many seconds *is*
//! the limit, to within one message, whatever the burst ([`Law::measured`]). This holds for every limiter that
//! gives out an allowance (token and leaky buckets, windows), and needs no model of which it is. What passes is
//! counted from the log: deliveries, and answers for other reasons, which use the allowance as well. It does
//! not hold where the allowance was full in between; so a lane that was not kept busy forgets the mark, and
//! what was lost in our own pauses is reckoned with. AIMD, which knows only "too fast", must saw
//! between two thirds of a limit and the whole of it; a measured limit can be ridden at 98 %.
//!
//! # The beginning
//! The first refusal finds an open lane that passed a burst, or a rate kept up for a minute. The latter is the
//! estimate. The former is spread over a few seconds, and from there the search doubles every three: from 1 a second
//! it would take so long to reach most limits that the allowance overflowed meanwhile, which is lost, and leaves
//! the estimate low for as long as patience lasts. The second refusal then measures what passed since the first
//! (`law/search.rs`). A search that began too high is soon over, and begins again at what little was measured.
//!
//! # Down
//! A refusal while riding: the estimate becomes what was measured, at most by half and at least by 3 %. If
//! refusals are rarer than is allowed anyway, the estimate hardly moves: when the limit really fell,
//! the next refusal comes within seconds and measures it. A refusal with nothing delivered since the last
//! leaves the rate alone, and grows the hold (the lane does that): there is nothing to measure. An allowance
//! that comes all at once (an hourly quota) shows as a long time without any delivery; what passed from one
//! such beginning to the next is the rate that lasts ([`Law::begin_cycle`]). The pause is as short as
//! gives the provider a message or two of slack, and no shorter than answers are late: a token bucket fills up
//! while we wait, so a short pause costs nothing, and a long one only time. Where rules name long holds, each
//! refusal is dear: then a tenth is given up at once, and probes are rare in proportion.
//!
//! # Up
//! After a while at 98 % the rate returns to the estimate and doubles every 100 s until it is refused.
//! That finds a doubled limit in under two minutes, and costs one refusal when nothing has changed: much less
//! than many small steps, each of which might be refused. (CUBIC's plateau does the same for TCP, where a loss is
//! cheap. Here it is not, and the plateau can be flat, because the limit is known.) A rate that is
//! below one which held before is regained seven times as fast.
//!
//! How far a probe went over the estimate before it was refused tells whether there is more: a provider with
//! a burst takes that much at once and no more. So the excess is compared with the burst seen before: within
//! half as much again, the estimate stands, and the next probe waits twice as long (20 s, then up to 700 s);
//! beyond it, the lane takes the higher rate at its word, and if that is refused, has learned a larger
//! burst, and the old estimate is restored ([`Leap`]).
//!
//! # How often
//! One refusal in a hundred attempts is the most that is tolerable. Each answer allows 0.009 of a refusal, each
//! refusal costs one, and a probe needs one in hand: so a lane at 10 a minute probes every 11 minutes, and a
//! faster one as soon as its patience ends. This is what bounds both: 700 s of patience and two minutes of
//! probe find a doubled limit within 15 minutes, from 10 a minute upward; below, the refusals win.
//!
//! # Never
//! The rate is not raised unless 70 % of it was used in the step before, and half of what was answered was
//! delivered: an idle lane, and one whose provider is out of order, prove nothing. A probe that is not used
//! is given up.
//!
//! # Open again
//! An open lane has no limit, and with a backlog that is a burst. So only a day without one signal opens a lane,
//! or a probe that got 64 times beyond the last limit; and what was known is remembered: the first refusal
//! afterwards brings the old estimate back, at the cost of what was under way.
//!
//! # Where it ends
//! A limiter that lets less through at once than the jitter of the network (some 0.2 s of its rate) refuses even
//! a perfect pace now and then. The law then rides where refusals are as rare as allowed, below the limit.
//!
//! Nothing here fails. Rates are messages a second, spans seconds; time that goes backwards counts as none.

mod search;
mod step;

use super::connection::Connections;
use super::signal::Kind;
use super::{later, seconds};
use jiff::Timestamp;
use search::Lately;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use step::Step;

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
/// An estimate that a probe raises by more than this is still on the move, and probed again soon.
const MOVING: f64 = 1.02;
/// By how much an estimate creeps up with each probe that did not find it too low.
const CREEP: f64 = 0.01;
/// How long an estimate is left alone, in seconds: at first, and at most while probes are cheap.
const FIRST_PATIENCE: f64 = 20.0;
const MOST_PATIENCE: f64 = 700.0;
/// How many refusals each answer allows: with what else happens, one in a hundred is not exceeded.
const ALLOWED: f64 = 0.009;
/// The most refusals that can be owed, and saved.
const MOST_OWED: f64 = 24.0;
const MOST_SAVED: f64 = 2.0;
/// What a refusal takes away where each costs a long hold.
const COSTLY_CUT: f64 = 0.9;
/// A hold that a rule names costs at most one part in so many of the time.
const HOLD_PARTS: f64 = 50.0;
/// A rate over a cycle that comes to this share of the one before is the same.
const AS_BEFORE: f64 = 0.9;
/// From so many seconds on a named hold is a rest that fills the provider's allowance.
const LONG_HOLD: f64 = 60.0;
/// The shortest pause, in seconds, and in messages of the estimated limit.
const PAUSE_SECONDS: f64 = 0.5;
const PAUSE_MESSAGES: f64 = 1.5;
/// The pause while no limit is known, in seconds.
const UNKNOWN_PAUSE: f64 = 1.0;
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
    /// What passed lately while the lane was open, and the rate at which the search for its limit begins, a second;
    /// 0 is not known.
    lately: Option<Lately>,
    start: f64,
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
        if self.rate.is_none() {
            self.lately = Some(Lately::passed(self.lately, at, n));
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
        let lately = self.lately.take();
        if !repeat {
            let limit = match (kind, self.limit, self.phase) {
                (Kind::Reputation, ..) => self.discredited(),
                (_, Some(limit), _) if from_open => Some(self.surprised(limit)),
                (_, None, _) if from_open => self.begun(lately, hold, at),
                (_, None, _) | (_, _, Phase::Seeking) => self.sought(at),
                (_, Some(limit), Phase::Riding { .. }) if hold >= LONG_HOLD => {
                    Some(self.forbidden(limit, hold, at))
                }
                (_, Some(limit), Phase::Riding { .. }) => Some(self.lowered(limit, at)),
                (_, Some(limit), Phase::Probing { since, passed }) => {
                    Some(self.probed(limit, passed, seconds(since, at), at))
                }
            };
            let safe = if hold >= LONG_HOLD && !matches!(self.phase, Phase::Riding { .. }) {
                limit.map(|limit| limit.min(self.limit.unwrap_or(f64::INFINITY).max(limit * COSTLY_CUT)))
            } else {
                limit
            };
            self.limit = safe.map(|limit| limit.clamp(RATES.0, RATES.1));
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
        // A leap may have been too far: the pause is that of the rate which was sure.
        let sure = self.leap.map(|leap| leap.from).or(self.limit);
        let pause = sure.map_or(UNKNOWN_PAUSE, |limit| PAUSE_MESSAGES / limit);
        pause.max(PAUSE_SECONDS).max(self.lag * LAG_PAUSE)
    }

    /// The first delivery after a hold.
    pub(super) fn recovered(&mut self, at: Timestamp, repeats: u32) {
        self.step = None;
        self.last = None;
        let held = self.held.take();
        self.paused += held.map_or(0.0, |held| seconds(held, at));
        if let (Some(mark), Some(held), true) = (self.mark, held, repeats > 0) {
            self.slower(seconds(mark.at, held));
        }
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
                self.rate = Some(self.first_rate());
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

    /// A refusal at the riding rate that costs a long hold: a tenth less is cheaper than another one soon, and
    /// what passed since the last hold filled up the allowance is no measure.
    fn forbidden(&mut self, limit: f64, hold: f64, at: Timestamp) -> f64 {
        let (most, ridden) = (
            self.measured(at),
            self.mark.map_or(0.0, |mark| seconds(mark.at, at)),
        );
        let lasted = ridden >= hold * HOLD_PARTS;
        let passed = most.map_or(limit, |(most, _)| most.clamp(limit * MOST_CUT, limit));
        self.good = passed;
        passed * if lasted { CUT } else { COSTLY_CUT }
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
        let (most, n) = self.measured(at).unwrap_or((limit, 0.0));
        let creep = if n >= PLENTY { limit * (1.0 + CREEP) } else { limit };
        let confirmed = most.max(creep).min(limit * 1.05);
        self.patience = if confirmed > limit * MOVING {
            FIRST_PATIENCE
        } else {
            (self.patience * 2.0).clamp(FIRST_PATIENCE, MOST_PATIENCE)
        };
        self.good = confirmed;
        confirmed
    }
}
