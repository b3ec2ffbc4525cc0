//! Models of providers: each knows a limit that it does not tell.
//!
//! Times are seconds since the simulation began, and never go backwards. Refusals cost nothing of an
//! allowance (all limiters that were looked at count what they accept), except where a model says so.

use super::Scenario;
use std::collections::HashMap;

/// What limits a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Model {
    /// So many messages a minute, and a burst.
    Bucket,
    /// So many connections at once.
    Concurrency,
    /// So many messages in each clock hour (60 times the limit), as fast as one likes.
    Quota,
    /// A token bucket whose limit shrinks by a fiftieth with each refusal, to a tenth at the least, and
    /// grows back by a fiftieth of the whole in each ten minutes.
    Shrinking,
    /// A token bucket whose limit halves after a third of the time, and doubles after two thirds.
    Changing,
    /// A token bucket that puts off each first attempt, for five minutes.
    Greylisting,
    /// A token bucket that keeps each answer to itself for 10 to 30 seconds.
    Tarpit,
    /// A token bucket that is out of order from a third of the time, for a twelfth of it.
    Outage,
}

/// A model's answer to one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// 250
    Taken,
    /// 421: too fast.
    TooFast,
    /// 421: too many connections.
    TooMany,
    /// 450: greylisted.
    Later,
    /// 451: out of order.
    Broken,
}

impl Model {
    /// All of them, as they are listed.
    pub const ALL: &'static [Self] = &[
        Self::Bucket,
        Self::Concurrency,
        Self::Quota,
        Self::Shrinking,
        Self::Changing,
        Self::Greylisting,
        Self::Tarpit,
        Self::Outage,
    ];

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bucket => "bucket",
            Self::Concurrency => "concurrency",
            Self::Quota => "quota",
            Self::Shrinking => "shrinking",
            Self::Changing => "changing",
            Self::Greylisting => "greylisting",
            Self::Tarpit => "tarpit",
            Self::Outage => "outage",
        }
    }
}

/// How long a first attempt is put off.
const GREYLISTED: f64 = 300.0;
/// What a refusal costs a shrinking limit, what comes back in ten minutes, and what is left at the least.
const SHRINKS: f64 = 0.02;
const GROWS_IN: f64 = 600.0;
const LEAST: f64 = 0.1;
/// How long an attempt takes until it is answered, in seconds.
pub const QUICK: (f64, f64) = (0.05, 0.4);
const SLOW: (f64, f64) = (10.0, 30.0);

/// A provider at work.
#[derive(Debug, Clone)]
pub struct Provider {
    model: Model,
    /// The limit now, a second, before changes by the clock; and at the beginning.
    limit: f64,
    base: f64,
    burst: f64,
    tokens: f64,
    at: f64,
    span: f64,
    used: f64,
    hour: f64,
    connections: u32,
    busy: u32,
    met: HashMap<u64, f64>,
}

impl Provider {
    /// As a scenario says.
    #[must_use]
    pub fn new(scenario: &Scenario) -> Self {
        let concurrency = scenario.model == Model::Concurrency;
        let mean = (QUICK.0 + QUICK.1) / 2.0;
        let base = if concurrency {
            scenario.limit / mean
        } else {
            scenario.limit / 60.0
        };
        Self {
            model: scenario.model,
            limit: base,
            base,
            burst: scenario.burst.max(1.0),
            tokens: scenario.burst.max(1.0),
            at: 0.0,
            span: scenario.span.as_secs_f64(),
            used: 0.0,
            hour: 0.0,
            connections: scenario.limit as u32,
            busy: 0,
            met: HashMap::new(),
        }
    }

    /// What it takes in a second, at a time.
    #[must_use]
    pub fn limit(&self, at: f64) -> f64 {
        let part = at / self.span;
        match self.model {
            Model::Changing if (1.0 / 3.0..2.0 / 3.0).contains(&part) => self.limit / 2.0,
            Model::Outage if (4.0 / 12.0..5.0 / 12.0).contains(&part) => 0.0,
            _ => self.limit,
        }
    }

    /// When the limit rises, in seconds.
    #[must_use]
    pub fn rises(&self) -> Option<f64> {
        match self.model {
            Model::Changing => Some(self.span * 2.0 / 3.0),
            Model::Outage => Some(self.span * 5.0 / 12.0),
            _ => None,
        }
    }

    /// For how long it lets a connection wait for an answer that it knows already, at least and at most, in
    /// seconds.
    #[must_use]
    pub fn stalls(&self) -> Option<(f64, f64)> {
        (self.model == Model::Tarpit).then_some(SLOW)
    }

    /// A connection is opened: whether there is room for it. One that is refused takes none.
    pub fn connect(&mut self) -> bool {
        let room = self.model != Model::Concurrency || self.busy < self.connections;
        self.busy += u32::from(room);
        room
    }

    /// Its answer to an attempt for a message, over a connection for which there was room or not.
    pub fn attempt(&mut self, at: f64, message: u64, room: bool) -> Answer {
        self.busy -= u32::from(room);
        match self.model {
            Model::Concurrency if !room => return Answer::TooMany,
            Model::Concurrency => return Answer::Taken,
            Model::Quota => return self.by_the_hour(at),
            Model::Outage if self.limit(at) == 0.0 => {
                self.at = at;
                return Answer::Broken;
            }
            Model::Greylisting => {
                let first = *self.met.entry(message).or_insert(at);
                if at < first + GREYLISTED {
                    return Answer::Later;
                }
            }
            _ => {}
        }
        self.by_token(at)
    }

    fn by_token(&mut self, at: f64) -> Answer {
        let spent = at - self.at;
        if self.model == Model::Shrinking {
            self.limit = (self.limit + self.base * SHRINKS * spent / GROWS_IN).min(self.base);
        }
        self.tokens = (self.tokens + self.limit(at) * spent).min(self.burst);
        self.at = at;
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Answer::Taken;
        }
        if self.model == Model::Shrinking {
            self.limit = (self.limit * (1.0 - SHRINKS)).max(self.base * LEAST);
        }
        Answer::TooFast
    }

    fn by_the_hour(&mut self, at: f64) -> Answer {
        let hour = (at / 3600.0).floor();
        if hour > self.hour {
            (self.hour, self.used) = (hour, 0.0);
        }
        if self.used + 1.0 > self.base * 3600.0 {
            return Answer::TooFast;
        }
        self.used += 1.0;
        Answer::Taken
    }

    /// Forgets a message that was taken.
    pub fn forget(&mut self, message: u64) {
        self.met.remove(&message);
    }
}
