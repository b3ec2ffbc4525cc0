//! Lanes and their state: what a provider lets us send.
//!
//! A lane is provider × egress. Its state is a machine with listed transitions:
//!
//! ```text
//!   Open ── throttle signal ──▶ Held(until) ── the hold ends ──▶ Recovering ── delivery ──▶ Open
//!                                 ▲   │                              │
//!                                 └───┴────── throttle signal ◀──────┘
//! ```
//!
//! A signal during a hold comes from an attempt that was under way when the hold began: it counts,
//! but it neither prolongs the hold nor makes the next one longer. A signal while recovering is a
//! repeat: the next hold is twice as long, up to a cap. A delivery while recovering opens the lane.

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

/// The state of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// No limit.
    Open,
    /// Nothing is sent before `until`.
    Held {
        /// When the hold ends.
        until: Timestamp,
    },
    /// The hold ended and nothing has been delivered since.
    Recovering,
}

/// A lane with what it remembers.
#[derive(Debug, Clone, PartialEq)]
pub struct Lane {
    /// Its state, as of the last event. [`Lane::state_at`] tells it at a later time.
    pub state: State,
    /// How many holds in a row came without a delivery in between.
    pub repeats: u32,
    /// When the state last changed.
    pub since: Timestamp,
    /// The rule whose signal caused the last hold, and the reply in its own words.
    pub evidence: Option<Signal>,
    /// How many signals came since the lane was last open.
    pub signals: u64,
}

/// A reply that says "slow down".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signal {
    /// The rule that recognised it.
    pub rule: String,
    /// The reply.
    pub reply: String,
    /// How long the rule says to rest.
    pub hold: Option<Duration>,
}

/// Bounds of holds, from configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The hold where the rule names none.
    pub default_hold: Duration,
    /// No hold is longer.
    pub max_hold: Duration,
}

impl Lane {
    /// A lane of which nothing is known.
    #[must_use]
    pub fn open(now: Timestamp) -> Self {
        Self {
            state: State::Open,
            repeats: 0,
            since: now,
            evidence: None,
            signals: 0,
        }
    }

    /// The state at `now`: a hold whose time has come is [`State::Recovering`].
    #[must_use]
    pub fn state_at(&self, now: Timestamp) -> State {
        match self.state {
            State::Held { until } if until <= now => State::Recovering,
            state => state,
        }
    }

    /// Until when nothing may be sent; `None` where sending is allowed.
    #[must_use]
    pub fn held_until(&self, now: Timestamp) -> Option<Timestamp> {
        match self.state_at(now) {
            State::Held { until } => Some(until),
            State::Open | State::Recovering => None,
        }
    }

    /// A throttle signal arrived at `at`, and is judged at `now`. One that is older than its own hold
    /// would have been is counted and not obeyed: its hold is over.
    #[must_use]
    pub fn signalled(&self, signal: Signal, limits: Limits, at: Timestamp, now: Timestamp) -> Self {
        let mut next = self.clone();
        next.signals = next.signals.saturating_add(1);
        let repeats = match self.state_at(at.min(now)) {
            State::Held { .. } => return next,
            State::Open => 0,
            State::Recovering => self.repeats.saturating_add(1),
        };
        let until = at
            .min(now)
            .saturating_add(hold(&signal, limits, repeats))
            .unwrap_or(Timestamp::MAX);
        if until <= now {
            return next;
        }
        Self {
            state: State::Held { until },
            repeats,
            since: now,
            evidence: Some(signal),
            signals: next.signals,
        }
    }

    /// A delivery happened at `at`: a recovering lane is open again. One that left before or during
    /// the hold proves nothing about what comes after it.
    #[must_use]
    pub fn delivered(&self, at: Timestamp) -> Self {
        match self.state_at(at) {
            State::Recovering => Self {
                evidence: None,
                ..Self::open(at)
            },
            State::Open | State::Held { .. } => self.clone(),
        }
    }
}

/// The length of a hold: the rule's, doubled for each repeat, within the limits.
fn hold(signal: &Signal, limits: Limits, repeats: u32) -> SignedDuration {
    let base = signal.hold.unwrap_or(limits.default_hold);
    let grown = base.saturating_mul(2u32.saturating_pow(repeats.min(31)));
    SignedDuration::try_from(grown.min(limits.max_hold)).unwrap_or(SignedDuration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        default_hold: Duration::from_secs(60),
        max_hold: Duration::from_secs(600),
    };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn signal(hold: Option<u64>) -> Signal {
        Signal {
            rule: "test".into(),
            reply: "421 slow down".into(),
            hold: hold.map(Duration::from_secs),
        }
    }

    fn signalled(lane: &Lane, hold: Option<u64>, second: i64) -> Lane {
        lane.signalled(signal(hold), LIMITS, at(second), at(second))
    }

    #[test]
    fn open_to_held_on_a_signal() {
        let lane = signalled(&Lane::open(at(0)), Some(30), 0);
        assert_eq!(lane.state, State::Held { until: at(30) });
        assert_eq!(lane.evidence, Some(signal(Some(30))));
        assert_eq!(
            signalled(&Lane::open(at(0)), None, 0).held_until(at(0)),
            Some(at(60)),
            "the default hold"
        );
    }

    #[test]
    fn held_to_recovering_when_its_time_has_come() {
        let lane = signalled(&Lane::open(at(0)), Some(30), 0);
        assert_eq!(lane.state_at(at(29)), State::Held { until: at(30) });
        assert_eq!(lane.state_at(at(30)), State::Recovering);
        assert_eq!(lane.held_until(at(30)), None);
    }

    #[test]
    fn held_stays_held_on_signals_from_attempts_under_way() {
        let lane = signalled(&Lane::open(at(0)), Some(30), 0);
        let again = signalled(&lane, Some(300), 5);
        assert_eq!(again.held_until(at(5)), Some(at(30)));
        assert_eq!((again.repeats, again.signals), (0, 2));
    }

    #[test]
    fn recovering_to_held_doubles_up_to_the_cap() {
        let mut lane = signalled(&Lane::open(at(0)), Some(100), 0);
        for (second, until) in [(100, 300), (300, 700), (700, 1300), (1300, 1900)] {
            lane = signalled(&lane, Some(100), second);
            assert_eq!(lane.held_until(at(second)), Some(at(until)));
        }
    }

    #[test]
    fn recovering_to_open_on_a_delivery() {
        let lane = signalled(&Lane::open(at(0)), Some(30), 0).delivered(at(31));
        assert_eq!((lane.state, lane.repeats, lane.signals), (State::Open, 0, 0));
    }

    #[test]
    fn a_delivery_during_the_hold_proves_nothing() {
        let lane = signalled(&Lane::open(at(0)), Some(30), 0).delivered(at(10));
        assert_eq!(lane.held_until(at(10)), Some(at(30)));
    }

    #[test]
    fn an_old_signal_is_counted_and_not_obeyed() {
        let lane = Lane::open(at(0)).signalled(signal(Some(30)), LIMITS, at(0), at(4000));
        assert_eq!((lane.state, lane.signals), (State::Open, 1));
        let lane = Lane::open(at(0)).signalled(signal(Some(30)), LIMITS, at(3990), at(4000));
        assert_eq!(
            lane.held_until(at(4000)),
            Some(at(4020)),
            "counted from when it was said"
        );
    }
}
