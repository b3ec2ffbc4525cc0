//! The simulation itself: messages, attempts under way, and what happens when.

use super::Scenario;
use super::chance::Chance;
use super::policy::{Policy, Sender};
use super::provider::{Answer, Provider, QUICK};
use super::tally::Tally;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};

/// An answer is logged after so many seconds, at least and at most.
const LOGGED: (f64, f64) = (0.05, 0.2);
/// Mail that was put off, and not refused for haste, is tried again after so many seconds.
const PUT_OFF: f64 = 310.0;

/// Connections that Postfix opens to a destination by default; the operator has allowed twice what the limit
/// needs, where that is more.
const CONNECTIONS: u32 = 20;

/// What happens, at a time in microseconds; the number keeps those of one time in order.
type Happening = Reverse<(u64, u64, What)>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// Look whether something can be sent.
    Wake,
    /// An attempt reaches the provider.
    Reach { message: u64, room: bool },
    /// The connection is closed: it was answered.
    Close { message: u64, answer: u8 },
    /// An answer is logged.
    Log { message: u64, answer: u8 },
    /// A message that was put off may go again.
    Due { message: u64 },
}

/// Everything.
#[derive(Debug)]
pub struct World {
    provider: Provider,
    policy: Policy,
    sender: Sender,
    chance: Chance,
    tally: Tally,
    heap: BinaryHeap<Happening>,
    happened: u64,
    now: f64,
    span: f64,
    /// How much mail comes a second, and how much was taken from it.
    arrivals: f64,
    begun: u64,
    /// Refused mail that waits to go again, oldest first.
    again: VecDeque<u64>,
    refusals: HashMap<u64, u32>,
    /// Connections that are open.
    open: u32,
    /// Attempts that were not heard of yet.
    unheard: u32,
    wake: u64,
}

impl World {
    /// As a scenario says.
    #[must_use]
    pub fn new(scenario: &Scenario, policy: Policy) -> Self {
        let provider = Provider::new(scenario);
        let (least, most) = provider.stalls().unwrap_or_default();
        let needed = provider.limit(0.0) * (QUICK.0 + QUICK.1 + least + most);
        let connections = CONNECTIONS.max(needed.ceil() as u32);
        Self {
            policy,
            sender: Sender::new(policy, connections, provider.limit(0.0), scenario.hold),
            chance: Chance::new(scenario.seed),
            tally: Tally::new(scenario.span, provider.rises()),
            heap: BinaryHeap::new(),
            happened: 0,
            now: 0.0,
            span: scenario.span.as_secs_f64(),
            arrivals: provider.limit(0.0) * scenario.load,
            provider,
            begun: 0,
            again: VecDeque::new(),
            refusals: HashMap::new(),
            open: 0,
            unheard: 0,
            wake: u64::MAX,
        }
    }

    /// Lets the time pass.
    #[must_use]
    pub fn play(mut self) -> Tally {
        self.at(0.0, What::Wake);
        while let Some(Reverse((micros, _, what))) = self.heap.pop() {
            self.now = micros as f64 / 1e6;
            if self.now >= self.span {
                break;
            }
            self.tally
                .show(self.now, self.provider.limit(self.now), self.sender.rate());
            match what {
                What::Wake => {
                    if micros == self.wake {
                        self.wake = u64::MAX;
                    }
                }
                What::Reach { message, room } => self.reach(message, room),
                What::Close { message, answer } => self.close(message, answer),
                What::Log { message, answer } => self.log(message, ANSWERS[usize::from(answer)]),
                What::Due { message } => self.again.push_back(message),
            }
            self.send();
        }
        self.tally
    }

    fn at(&mut self, seconds: f64, what: What) {
        self.happened += 1;
        let micros = (seconds * 1e6).ceil() as u64;
        self.heap.push(Reverse((micros, self.happened, what)));
    }

    /// Wakes up at a time, if that is before the time already planned.
    fn wake(&mut self, seconds: f64) {
        let micros = (seconds.max(self.now) * 1e6).ceil() as u64;
        if micros < self.wake {
            self.wake = micros;
            self.happened += 1;
            self.heap.push(Reverse((micros, self.happened, What::Wake)));
        }
    }

    /// Sends what may be sent now.
    fn send(&mut self) {
        while self.open < self.sender.connections().max(u32::from(self.may_wake()))
            && self.unheard < self.sender.window()
        {
            let fresh = self.begun + 1;
            let fresh_at = fresh as f64 / self.arrivals;
            if self.again.is_empty() && fresh_at > self.now {
                return self.wake(fresh_at);
            }
            if let Err(until) = self.sender.take(self.now) {
                return self.wake(until.max(self.now + 1e-6));
            }
            let message = self.again.pop_front().unwrap_or_else(|| {
                self.begun = fresh;
                fresh
            });
            self.open += 1;
            self.unheard += 1;
            let reached = self.now + self.chance.within(QUICK.0, QUICK.1);
            let room = self.provider.connect();
            self.at(reached, What::Reach { message, room });
        }
    }

    /// Whether the sender wants to be asked although it has no connections: its hold may be over.
    fn may_wake(&self) -> bool {
        self.sender.connections() == 0
    }

    fn reach(&mut self, message: u64, room: bool) {
        let answer = self.provider.attempt(self.now, message, room);
        self.tally.answered(self.now, answer);
        let answer = ANSWERS.iter().position(|a| *a == answer).unwrap_or(0) as u8;
        match self.provider.stalls() {
            None => self.close(message, answer),
            Some((least, most)) => {
                let closed = self.now + self.chance.within(least, most);
                self.at(closed, What::Close { message, answer });
            }
        }
    }

    fn close(&mut self, message: u64, answer: u8) {
        self.open -= 1;
        let logged = self.now + self.chance.within(LOGGED.0, LOGGED.1);
        self.at(logged, What::Log { message, answer });
    }

    fn log(&mut self, message: u64, answer: Answer) {
        self.unheard -= 1;
        self.sender.hear(self.now, message, answer, self.unheard);
        match answer {
            Answer::Taken => {
                self.refusals.remove(&message);
                self.provider.forget(message);
            }
            Answer::Later | Answer::Broken => self.at(self.now + PUT_OFF, What::Due { message }),
            Answer::TooFast | Answer::TooMany => {
                let refused = self.refusals.entry(message).or_default();
                *refused += 1;
                let wait = self.policy.retry(self.now, *refused);
                if wait > 0.0 {
                    self.at(self.now + wait, What::Due { message });
                } else {
                    self.again.push_front(message);
                }
            }
        }
    }
}

const ANSWERS: [Answer; 5] = [
    Answer::Taken,
    Answer::TooFast,
    Answer::TooMany,
    Answer::Later,
    Answer::Broken,
];
