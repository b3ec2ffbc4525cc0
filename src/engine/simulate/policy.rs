//! Who decides when the next attempt is made: the throttle, or what others do.

use super::provider::Answer;
use crate::engine::gate::{FIRST_WINDOW, WIDENING};
use crate::engine::throttle::plan::{Plan, grant};
use crate::engine::throttle::{Bucket, Kind, Lane, Limits, Permit, Signal, later};
use jiff::Timestamp;
use std::time::Duration;

/// A way to answer "slow down".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// The throttle of this program.
    Nixie,
    /// None: Postfix's own backoff for each message, 300 to 4,000 s, doubling; a queue run each 300 s.
    Postfix,
    /// A configured rate (a fifth above the limit, which is a good guess), and a tenth of it from a refusal
    /// until nothing was refused for ten minutes.
    Tenth,
    /// A rule table: as fast as its connections allow; a refusal stops everything for a fixed time.
    Table {
        /// For how many minutes.
        minutes: u32,
    },
}

/// The rate that somebody has configured, against the limit that he does not know.
const CONFIGURED: f64 = 1.2;
const BACKOFF: (f64, f64) = (300.0, 4000.0);
const QUEUE_RUN: f64 = 300.0;
const QUIET: f64 = 600.0;
const LIMITS: Limits = Limits {
    default_hold: Duration::from_secs(300),
    max_hold: Duration::from_secs(4 * 3600),
};

impl Policy {
    /// Those that are compared.
    pub const ALL: &'static [Self] = &[
        Self::Nixie,
        Self::Postfix,
        Self::Tenth,
        Self::Table { minutes: 5 },
        Self::Table { minutes: 30 },
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Nixie => "nixie".into(),
            Self::Postfix => "postfix".into(),
            Self::Tenth => "tenth".into(),
            Self::Table { minutes } => format!("table-{minutes}m"),
        }
    }

    /// In how many seconds a message that was refused so many times may go again; at once where the
    /// policy hands it back.
    #[must_use]
    pub fn retry(self, at: f64, refused: u32) -> f64 {
        if self != Self::Postfix {
            return 0.0;
        }
        let due = at + (BACKOFF.0 * 2f64.powi(refused.saturating_sub(1).min(20) as i32)).min(BACKOFF.1);
        (due / QUEUE_RUN).ceil() * QUEUE_RUN - at
    }
}

/// A policy at work.
#[derive(Debug, Clone)]
pub(super) struct Sender {
    policy: Policy,
    connections: u32,
    /// How long refusals ask to be left alone.
    hold: Option<Duration>,
    /// What the simulation's zero is on the clock.
    epoch: Timestamp,
    pub(super) lane: Lane,
    plan: Plan,
    bucket: Bucket,
    permit: Permit,
    until: Timestamp,
    /// How many attempts may be under way while it is open.
    window: f64,
    /// Of the others: nothing before; and the pace, a second.
    held: f64,
    usual: f64,
    pace: f64,
    turn: f64,
    refused: f64,
}

impl Sender {
    pub(super) fn new(policy: Policy, connections: u32, limit: f64, hold: Option<Duration>) -> Self {
        let epoch = Timestamp::UNIX_EPOCH;
        let usual = match policy {
            Policy::Tenth => limit * CONFIGURED,
            Policy::Nixie | Policy::Postfix | Policy::Table { .. } => f64::INFINITY,
        };
        Self {
            policy,
            connections,
            hold,
            epoch,
            lane: Lane::open(epoch),
            plan: Plan::default(),
            bucket: Bucket::new(&Permit::Open, epoch),
            permit: Permit::Open,
            until: Timestamp::MAX,
            window: FIRST_WINDOW,
            held: 0.0,
            usual,
            pace: usual,
            turn: 0.0,
            refused: f64::NEG_INFINITY,
        }
    }

    /// How many connections may be open.
    pub(super) fn connections(&self) -> u32 {
        match (self.policy, self.permit) {
            (Policy::Nixie, Permit::Limited(pace)) => {
                pace.concurrency.unwrap_or(u32::MAX).min(self.connections)
            }
            (Policy::Nixie, Permit::Held { .. } | Permit::Paused) => 0,
            _ => self.connections,
        }
    }

    /// How many attempts may be under way, unheard of, at a time: an open lane at the gate has few.
    pub(super) fn window(&self) -> u32 {
        match (self.policy, self.permit) {
            (Policy::Nixie, Permit::Open) => self.window as u32,
            _ => u32::MAX,
        }
    }

    /// The rate that is allowed, a second, where there is one.
    pub(super) fn rate(&self) -> Option<f64> {
        match (self.policy, self.permit) {
            (Policy::Nixie, Permit::Limited(pace)) => pace.per_second,
            (Policy::Nixie, Permit::Open) => None,
            (Policy::Nixie, _) => Some(0.0),
            _ => Some(self.pace).filter(|pace| pace.is_finite()),
        }
    }

    /// Takes leave for one attempt, or says when to ask again.
    pub(super) fn take(&mut self, at: f64) -> Result<(), f64> {
        if self.policy == Policy::Nixie {
            let now = self.time(at);
            if now >= self.until {
                self.grant(now);
            }
            return self.bucket.take(now).map_err(|until| {
                let until = until.min(self.until);
                until.duration_since(self.epoch).as_secs_f64().min(1e12)
            });
        }
        if at < self.held {
            return Err(self.held);
        }
        if at >= self.refused + QUIET {
            self.pace = self.usual;
        }
        if at < self.turn {
            return Err(self.turn);
        }
        self.turn = at + 1.0 / self.pace;
        Ok(())
    }

    /// Hears an answer; `beside` are the attempts of which nothing was heard yet.
    pub(super) fn hear(&mut self, at: f64, message: u64, answer: Answer, beside: u32) {
        let now = self.time(at);
        match (self.policy, answer) {
            (Policy::Nixie, answer) => {
                self.tell(now, message, answer, beside);
                self.grant(now);
            }
            (Policy::Tenth, Answer::TooFast | Answer::TooMany) => {
                self.pace = self.usual / 10.0;
                self.refused = at;
            }
            (Policy::Table { minutes }, Answer::TooFast | Answer::TooMany) => {
                self.held = self.held.max(at + f64::from(minutes) * 60.0);
            }
            _ => {}
        }
    }

    fn tell(&mut self, now: Timestamp, message: u64, answer: Answer, beside: u32) {
        let kind = match answer {
            Answer::Taken => {
                self.window += WIDENING;
                return drop(self.lane.delivered(now, 1));
            }
            Answer::Later | Answer::Broken => return drop(self.lane.answered(now, 1)),
            Answer::TooFast => Kind::Rate,
            Answer::TooMany => Kind::Concurrency,
        };
        self.window = FIRST_WINDOW;
        let signal = Signal {
            rule: String::new(),
            reply: String::new(),
            kind,
            recipient: message + 1,
            hold: self.hold,
            beside: Some(beside),
        };
        self.lane.signalled(signal, LIMITS, now, now);
    }

    fn grant(&mut self, now: Timestamp) {
        let grant = grant(&self.lane, &self.plan, now);
        self.bucket.pace(&grant.permit, now);
        (self.permit, self.until) = (grant.permit, grant.until);
    }

    fn time(&self, at: f64) -> Timestamp {
        later(self.epoch, at)
    }
}
