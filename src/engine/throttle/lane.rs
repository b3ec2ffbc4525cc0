//! A lane: its state, and every transition between states.
//!
//! ```text
//!             concurrency signal
//!        ┌───────────────────────────┐
//!        │                           ▼      signal
//!      Open ── signal ──▶ Held ◀── Limited ◀── (steps of the law: law.rs)
//!        ▲                │  ▲       ▲  │
//!        │     hold over  ▼  │ again │  │ a long calm
//!        │             Recovering ───┘  │
//!        └──────────────────────────────┘ delivery (Recovering ▶ Limited)
//! ```
//!
//! | from | to | when | evidence |
//! |---|---|---|---|
//! | Open | Held | a signal about rate or reputation | the reply and its rule |
//! | Open | Limited | a signal about connections | the reply and its rule |
//! | Limited | Held | a signal about rate or reputation | the reply and its rule |
//! | Limited | Limited | a signal about connections; a step of the law | the reply; none for a step |
//! | Held | Recovering | the hold is over | the time |
//! | Recovering | Held | a signal: the hold grows | the reply and its rule |
//! | Recovering | Limited | a delivery | the delivery |
//! | Limited | Open | a long calm | the calm |
//! | any | Open | an operator says so ([`Lane::forget`]) | who and why |
//!
//! What is counted and not obeyed: a signal during a hold (its attempt was under way when the hold began:
//! so there is one cut for each hold, however many signals come); one older than its hold; one about the
//! messages in a connection; one said again to the recipient to whom the last was said, while others were
//! delivered in between.
//!
//! A lane fails towards sending: what cannot be read back from the store is an open lane.

use super::law::Law;
use super::plan::Pace;
use super::signal::{Change, Evidence, Kind, Signal, What};
use super::{Limits, later};
use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// A signal is obeyed at least for so long after it was said, however short its pause: the log may lag.
const OBEYED: SignedDuration = SignedDuration::from_secs(60);
/// While a lane recovers, so many attempts a second at most, one connection.
const RECOVERING_RATE: f64 = 4.0;

/// The state of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// No limit.
    Open,
    /// Limited, as found out.
    Limited {
        /// Attempts a second; `None` is no limit of the rate.
        rate: Option<f64>,
        /// Connections at a time; `None` is no limit.
        concurrency: Option<u32>,
    },
    /// Nothing is sent before `until`.
    Held {
        /// When the hold ends.
        until: Timestamp,
    },
    /// The hold ended and nothing has been delivered since: one attempt at a time.
    Recovering {
        /// Attempts a second.
        rate: f64,
    },
}

impl State {
    /// Its name in the store and in messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Limited { .. } => "limited",
            Self::Held { .. } => "held",
            Self::Recovering { .. } => "recovering",
        }
    }
}

/// A lane with what it remembers. Compact JSON through serde is its stored form.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lane {
    /// Its state, as of the last event. [`Lane::state_at`] tells it at a later time.
    pub state: State,
    /// When the state last changed.
    pub since: Timestamp,
    /// Why.
    pub evidence: Evidence,
    /// How many holds in a row came without a delivery in between.
    #[serde(default)]
    pub repeats: u32,
    /// The last signal that was obeyed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<Signal>,
    /// How many signals came since the lane was last open.
    #[serde(default)]
    pub signals: u64,
    /// What the law of its rate and connections remembers.
    #[serde(default)]
    pub law: Law,
    /// To whom the last signal that was obeyed was said; 0 where that is not known.
    #[serde(default)]
    recipient: u64,
    /// How many were sent on the day (UTC) of the last answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sent: Option<(Date, u64)>,
}

impl Lane {
    /// A lane of which nothing is known.
    #[must_use]
    pub fn open(now: Timestamp) -> Self {
        Self {
            state: State::Open,
            since: now,
            evidence: Evidence::of(What::New, now),
            repeats: 0,
            signal: None,
            signals: 0,
            law: Law::default(),
            recipient: 0,
            sent: None,
        }
    }

    /// A lane held until a time by a signal, as if it were all that is known.
    #[must_use]
    pub fn held(signal: Signal, until: Timestamp, now: Timestamp) -> Self {
        Self {
            state: State::Held { until },
            evidence: Evidence::signal(What::Signal, &signal, now),
            signal: Some(signal),
            signals: 1,
            ..Self::open(now)
        }
    }

    /// The state at `now`: a hold whose time has come is [`State::Recovering`].
    #[must_use]
    pub fn state_at(&self, now: Timestamp) -> State {
        match self.state {
            State::Held { until } if until <= now => State::Recovering {
                rate: self
                    .law
                    .rate()
                    .unwrap_or_else(|| self.law.first_rate())
                    .min(RECOVERING_RATE),
            },
            state => state,
        }
    }

    /// Until when nothing may be sent; `None` where sending is allowed.
    #[must_use]
    pub fn held_until(&self, now: Timestamp) -> Option<Timestamp> {
        match self.state_at(now) {
            State::Held { until } => Some(until),
            _ => None,
        }
    }

    /// The pace that the lane has learned, where it is limited or recovering.
    #[must_use]
    pub fn pace(&self, now: Timestamp) -> Option<Pace> {
        match self.state_at(now) {
            State::Limited { rate, .. } => Some(Pace::new(rate, self.law.connections.at(now))),
            State::Recovering { rate } => Some(Pace {
                burst: 1.0,
                ..Pace::new(Some(rate), Some(1))
            }),
            State::Open | State::Held { .. } => None,
        }
    }

    /// How many attempts were answered on a day (UTC), of those that the lane was told of.
    #[must_use]
    pub fn sent_on(&self, day: Date) -> u64 {
        self.sent
            .filter(|(date, _)| *date == day)
            .map_or(0, |(_, sent)| sent)
    }

    /// Makes the transition that the time alone brings: a hold that is over. Events do this by
    /// themselves; shells may call it to see the change when it happens.
    pub fn advance(&mut self, now: Timestamp) -> Option<Change> {
        let State::Held { until } = self.state else {
            return None;
        };
        (until <= now).then(|| {
            let to = self.state_at(now);
            self.turn(to, Evidence::of(What::HoldOver, until))
        })
    }

    /// So many attempts were delivered at `at`.
    pub fn delivered(&mut self, at: Timestamp, n: u32) -> Option<Change> {
        self.count(at, n);
        self.advance(at);
        if matches!(self.state, State::Held { .. }) {
            // It left before the hold, and proves nothing about what comes after.
            self.law.passed_held(at, n);
            return None;
        }
        if matches!(self.state, State::Recovering { .. }) {
            self.law.recovered(at, self.repeats);
            self.law.passed(at, n, n);
            self.repeats = 0;
            let to = self.limited();
            return Some(self.turn(to, Evidence::of(What::Delivery, at)));
        }
        self.law.passed(at, n, n);
        self.settle(at)
    }

    /// So many attempts were answered at `at`, neither delivered nor with a signal: refused for their own
    /// sake, or put off. They used what the provider allows.
    pub fn answered(&mut self, at: Timestamp, n: u32) -> Option<Change> {
        self.count(at, n);
        self.advance(at);
        match self.state {
            State::Held { .. } => self.law.passed_held(at, n),
            State::Recovering { .. } => {}
            State::Open | State::Limited { .. } => self.law.passed(at, n, 0),
        }
        self.settle(at)
    }

    /// A throttle signal was said at `at`, and is judged at `now`.
    pub fn signalled(
        &mut self,
        signal: Signal,
        limits: Limits,
        at: Timestamp,
        now: Timestamp,
    ) -> Option<Change> {
        let at = at.min(now);
        self.signals = self.signals.saturating_add(1);
        self.count(at, 1);
        self.advance(at);
        let hold = signal.hold.unwrap_or(limits.default_hold).min(limits.max_hold);
        let obeyed = SignedDuration::try_from(hold).map_or(SignedDuration::MAX, |hold| hold.max(OBEYED));
        let old = now.duration_since(at) >= obeyed;
        let alone = self.is_alone(&signal);
        let held = matches!(self.state, State::Held { .. });
        if held {
            self.law.refused_held(at);
        }
        if old || alone || held || signal.kind == Kind::PerConnection {
            return None;
        }
        self.recipient = signal.recipient;
        let signal = signal.kept();
        if signal.kind == Kind::Concurrency {
            return self.crowded(signal, limits, at);
        }
        let repeat = matches!(self.state, State::Recovering { .. });
        let from_open = self.state == State::Open;
        self.repeats = if repeat { self.repeats.saturating_add(1) } else { 0 };
        let pause = self.law.refused(signal.kind, signal.hold, from_open, repeat, at);
        let until = later(at, self.hold(&signal, pause, limits));
        let what = if repeat { What::Repeat } else { What::Signal };
        let evidence = Evidence::signal(what, &signal, at);
        self.signal = Some(signal);
        Some(self.turn(State::Held { until }, evidence))
    }

    /// Forgets, on an operator's word, all that was learned: the lane is open again. What was sent today is no
    /// opinion, and stays.
    pub fn forget(&mut self, author: &str, reason: &str, now: Timestamp) -> Change {
        let evidence = Evidence {
            rule: Some(author.to_owned()),
            reply: Some(reason.to_owned()),
            ..Evidence::of(What::Operator, now)
        };
        let from = self.state;
        let open = Self {
            sent: self.sent,
            evidence: evidence.clone(),
            ..Self::open(now)
        };
        *self = open;
        Change {
            from,
            to: self.state,
            evidence,
        }
    }

    /// The length of a hold in seconds: the rule's, or else a pause that fits the rate, doubled for each
    /// repeat, within the limits.
    fn hold(&self, signal: &Signal, pause: f64, limits: Limits) -> f64 {
        let (base, most) = match (signal.hold, signal.kind) {
            (Some(hold), _) => (hold.as_secs_f64(), limits.max_hold),
            (None, Kind::Reputation) => (limits.default_hold.as_secs_f64(), limits.max_hold),
            (None, _) => (pause, limits.default_hold.min(limits.max_hold)),
        };
        let grown = base * 2f64.powi(i32::try_from(self.repeats.min(31)).unwrap_or(31));
        grown.min(most.as_secs_f64())
    }

    /// Too many connections: fewer of them.
    fn crowded(&mut self, signal: Signal, limits: Limits, at: Timestamp) -> Option<Change> {
        let beside = signal.beside;
        let hold = signal.hold.map(|hold| hold.min(limits.max_hold));
        if !self.law.connections.refused(hold, beside, at) {
            return None;
        }
        let evidence = Evidence::signal(What::Signal, &signal, at);
        self.signal = Some(signal);
        match self.state {
            State::Open | State::Limited { .. } => {
                let to = self.limited();
                Some(self.turn(to, evidence))
            }
            State::Held { .. } | State::Recovering { .. } => None,
        }
    }

    /// The limited state that the law says.
    fn limited(&self) -> State {
        State::Limited {
            rate: self.law.rate(),
            concurrency: self.law.connections.now(),
        }
    }

    /// Takes over what the law says now: another rate is the same state, a long calm is another.
    fn settle(&mut self, at: Timestamp) -> Option<Change> {
        if !matches!(self.state, State::Limited { .. }) {
            return None;
        }
        if self.law.is_calm(at) {
            self.law.open();
            self.signals = 0;
            return Some(self.turn(State::Open, Evidence::of(What::Calm, at)));
        }
        self.state = self.limited();
        None
    }

    fn turn(&mut self, to: State, evidence: Evidence) -> Change {
        let from = std::mem::replace(&mut self.state, to);
        self.since = evidence.at;
        self.evidence = evidence.clone();
        Change { from, to, evidence }
    }

    fn count(&mut self, at: Timestamp, n: u32) {
        let day = super::plan::date(at);
        match &mut self.sent {
            Some((date, sent)) if *date == day => *sent = sent.saturating_add(u64::from(n)),
            // An event of yesterday that comes late does not begin yesterday anew.
            Some((date, _)) if *date > day => {}
            _ => self.sent = Some((day, u64::from(n))),
        }
    }

    /// Whether the provider says this again to the one recipient to whom it said it last, while it takes
    /// mail for others. (With nothing delivered in between it speaks of all.)
    fn is_alone(&self, signal: &Signal) -> bool {
        signal.recipient != 0 && signal.recipient == self.recipient && self.law.delivered_since_signal()
    }
}

#[cfg(test)]
mod tests;
