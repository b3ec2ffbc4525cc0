//! One lane at the gate: its permit, its tokens, its tickets, what is under way, and its backlog.
//!
//! **Tokens and tickets.** An attempt costs a token. Whoever asks takes one from the bucket; but where a
//! backlog waits, everybody joins it, and the releaser takes the token, buys a ticket with it for a recipient
//! of the message whose turn it is, and hands the message to Postfix, whose look-up then uses the ticket up.
//! So a pass is a token, whichever way. Proof that no pass is for free: [`Way::look_up`] passes only after
//! [`Bucket::take`] or for a ticket, and a ticket is made only after [`Bucket::take`]
//! ([`Way::release`]); a token is given back only for a ticket that is destroyed unused, or for a pass
//! that is known not to have reached the provider.
//!
//! **What is under way.** An attempt that Postfix has resolved cannot be called back: of 500 that passed before
//! the first refusal is heard of, 500 are refused. So a lane that has proved nothing has few attempts
//! under way at a time ([`FIRST_WINDOW`], Postfix's own initial concurrency), and more as it delivers; the same
//! window bounds connections, where the provider limits those. It needs ears: where the log is
//! not read, or the store is down, outcomes are not heard, and the window is not kept.

mod crowd;
mod shut;
mod turn;

use super::look::Passing;
use super::stream::Streams;
use super::{Look, Why};
use crate::engine::backlog::{Backlog, Mark, Stream};
use crate::engine::throttle::{Bucket, Fair, Grant, Lane, LaneKey, Permit, Plan, State, later, plan};
use hashbrown::{HashMap, HashSet};
use jiff::Timestamp;
use std::collections::{BTreeMap, VecDeque};

/// Attempts under way at a time in a lane that has proved nothing.
pub const FIRST_WINDOW: f64 = 5.0;
/// Each delivery without a signal widens the window by so much: who has delivered n messages can be refused
/// n / 8 + 5 times before the first refusal is heard of.
pub const WIDENING: f64 = 0.125;
/// No window is wider: about what Postfix keeps active.
const WIDEST: f64 = 20_000.0;
/// What is under way is forgotten after so many seconds without a word.
const FORGOTTEN: f64 = 120.0;
/// What Postfix puts off without asking us is looked at again after so many seconds: it may have asked by then.
const STUCK_SECONDS: f64 = 0.25;
/// A grant is asked for again after so many seconds, whatever it says: connections may be due back.
const GRANT_SECONDS: f64 = 1.0;

/// One lane.
#[derive(Debug)]
pub(super) struct Way {
    pub key: LaneKey,
    pub lane: Option<Lane>,
    /// What passed before anything was learned; for the first signal.
    pub unlimited: Option<Box<Lane>>,
    pub plan: Plan,
    grant: Grant,
    fresh_until: Timestamp,
    bucket: Bucket,
    tickets: HashMap<Mark, u32>,
    ticket_count: usize,
    under_way: HashMap<Mark, Flight>,
    departures: VecDeque<(Timestamp, Mark)>,
    /// Attempts whose outcome was heard and is being kept: those that have landed, and those refused for connections.
    landed: HashSet<Attempt>,
    crowded: HashSet<Attempt>,
    /// Until when connections of ours linger that we do not know of, in order.
    lingering: VecDeque<Timestamp>,
    /// How long a delivery takes, in seconds, and when the next message may go: they are not to end together.
    took: f64,
    next_start: Timestamp,
    window: f64,
    /// Whether this is mail that stays on this host: nobody limits it.
    pub local: bool,
    pub backlog: Backlog,
    fair: Fair<Stream>,
    own: BTreeMap<Stream, Bucket>,
    pub touched: Timestamp,
}

/// Attempts under way to one recipient.
#[derive(Debug, Clone, Copy, Default)]
struct Flight {
    passes: u32,
    /// How many of them cost a token.
    paid: u32,
    /// When the last began.
    began: Option<Timestamp>,
}

/// How an attempt ended, as far as the lane's tokens are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Landing {
    /// Delivered.
    Delivered,
    /// Answered otherwise.
    Answered,
    /// The provider was never reached.
    NeverLeft,
}

impl Way {
    pub fn new(key: LaneKey, plan: Plan, streams: &Streams, now: Timestamp) -> Self {
        let lane = Lane::open(now);
        let grant = plan::grant(&lane, &plan, now);
        let mut way = Self {
            key,
            lane: None,
            unlimited: None,
            bucket: Bucket::new(&grant.permit, now),
            grant,
            plan,
            fresh_until: now,
            tickets: HashMap::new(),
            ticket_count: 0,
            under_way: HashMap::new(),
            departures: VecDeque::new(),
            landed: HashSet::new(),
            crowded: HashSet::new(),
            lingering: VecDeque::new(),
            took: 0.0,
            next_start: now,
            window: FIRST_WINDOW,
            local: false,
            backlog: Backlog::default(),
            fair: Fair::new(),
            own: BTreeMap::new(),
            touched: now,
        };
        way.set_streams(streams, now);
        way
    }

    /// Takes over other weights and limits of streams.
    pub fn set_streams(&mut self, streams: &Streams, now: Timestamp) {
        self.own.clear();
        for (number, stream) in streams.iter() {
            self.fair.set_weight(number, stream.weight);
            if let Some(pace) = stream.pace() {
                self.own.insert(number, Bucket::new(&Permit::Limited(pace), now));
            }
        }
    }

    pub fn set_lane(&mut self, lane: Lane, now: Timestamp) {
        let open = |lane: &Lane| lane.state == State::Open;
        let was_open = self.lane.as_ref().is_none_or(open);
        if was_open && !open(&lane) {
            self.window = FIRST_WINDOW;
        }
        self.lane = Some(lane);
        self.unlimited = None;
        self.renew(now);
    }

    /// Nothing is learned of it any more: it has to prove itself.
    pub fn unlearn(&mut self, now: Timestamp) {
        self.lane = None;
        self.unlimited = None;
        self.window = FIRST_WINDOW;
        self.renew(now);
    }

    pub fn set_plan(&mut self, plan: Plan, now: Timestamp) {
        self.plan = plan;
        self.renew(now);
    }

    fn renew(&mut self, now: Timestamp) {
        let open;
        let lane = match &self.lane {
            Some(lane) => lane,
            None => {
                open = Lane::open(now);
                &open
            }
        };
        self.grant = plan::grant(lane, &self.plan, now);
        self.fresh_until = self.grant.until.min(later(now, GRANT_SECONDS));
        self.bucket.pace(&self.grant.permit, now);
    }

    fn refresh(&mut self, now: Timestamp) {
        self.touched = self.touched.max(now);
        let known = self.lane.is_some() || self.plan != Plan::default();
        if known && now >= self.fresh_until {
            self.renew(now);
        }
        while let Some(&(_, mark)) = self
            .departures
            .front()
            .filter(|(at, _)| later(*at, FORGOTTEN) <= now)
        {
            self.departures.pop_front();
            self.land(mark, Landing::Answered);
        }
        while self.lingering.front().is_some_and(|until| *until <= now) {
            self.lingering.pop_front();
        }
    }

    /// How many more attempts may be under way; `None` is no bound.
    fn room(&self, now: Timestamp) -> Option<usize> {
        if self.local {
            return None;
        }
        let open = self
            .lane
            .as_ref()
            .is_none_or(|lane| lane.state_at(now) == State::Open);
        let proved = open.then_some(self.window as usize);
        let most = [proved, self.connections()].into_iter().flatten().min()?;
        Some(most.saturating_sub(self.under_way.len() + self.ticket_count + self.lingering.len()))
    }

    /// Whether an attempt at this recipient may go now.
    pub fn look_up(&mut self, mark: Mark, ears: Ears, now: Timestamp) -> Passing {
        self.refresh(now);
        if self.use_ticket(mark) {
            self.depart(mark, true, ears, now);
            return Passing::Go;
        }
        let (until, why) = match self.shut(now) {
            Some(shut) => shut,
            None => {
                if ears.releasing && self.backlog.is_waiting() {
                    (None, Why::Turn)
                } else if ears.window() && self.room(now) == Some(0) && !self.under_way.contains_key(&mark) {
                    (None, Why::UnderWay)
                } else {
                    match self.bucket.take(now) {
                        Ok(()) => {
                            self.depart(mark, true, ears, now);
                            return Passing::Go;
                        }
                        Err(at) => (Some(at).filter(|at| *at < Timestamp::MAX), Why::Pace),
                    }
                }
            }
        };
        Passing::Wait(until, why)
    }

    fn use_ticket(&mut self, mark: Mark) -> bool {
        let Some(count) = self.tickets.get_mut(&mark) else {
            return false;
        };
        *count -= 1;
        if *count == 0 {
            self.tickets.remove(&mark);
        }
        self.ticket_count -= 1;
        true
    }

    /// Takes a ticket back and its token with it; whether there was one.
    fn cancel(&mut self, mark: Mark) -> bool {
        let there = self.use_ticket(mark);
        if there {
            self.bucket.give_back();
        }
        there
    }

    fn depart(&mut self, mark: Mark, paid: bool, ears: Ears, now: Timestamp) {
        if !ears.hearing {
            return;
        }
        let flight = self.under_way.entry(mark).or_default();
        flight.passes += 1;
        flight.paid += u32::from(paid);
        flight.began = Some(now);
        self.departures.push_back((now, mark));
    }

    /// An attempt has ended; whether one was under way.
    fn land(&mut self, mark: Mark, how: Landing) -> bool {
        let Some(flight) = self.under_way.get_mut(&mark) else {
            return false;
        };
        flight.passes -= 1;
        let paid = flight.paid > 0;
        flight.paid -= u32::from(paid);
        if flight.passes == 0 {
            self.under_way.remove(&mark);
        }
        if how == Landing::NeverLeft && paid {
            self.bucket.give_back();
        }
        true
    }

    /// Outcomes that come by the log make the departures' entries idle: those at the front go.
    fn tidy(&mut self) {
        while let Some((_, mark)) = self.departures.front() {
            if self.under_way.contains_key(mark) {
                break;
            }
            self.departures.pop_front();
        }
        if self.departures.len() > 64 + 4 * self.under_way.len() {
            let under_way = &self.under_way;
            self.departures.retain(|(_, mark)| under_way.contains_key(mark));
        }
    }

    /// The outcome of an attempt, after which the recipient waits for nothing more here.
    pub fn settled(&mut self, arrival: &Arrival<'_>, how: Landing, now: Timestamp) {
        self.refresh(now);
        if !self.landed.remove(&arrival.attempt) {
            self.ended(arrival.queue_id, arrival.mark, how);
            self.backlog.settle(arrival.queue_id, arrival.mark);
        }
        if how == Landing::Delivered {
            self.window = (self.window + WIDENING).min(WIDEST);
        }
    }

    /// The provider put it off: it waits for its next turn.
    pub fn refused(&mut self, arrival: Arrival<'_>, how: Landing, now: Timestamp) {
        self.refresh(now);
        let crowded = self.crowded.remove(&arrival.attempt);
        self.ended(arrival.queue_id, arrival.mark, how);
        if crowded {
            self.linger(now);
        }
        self.window = FIRST_WINDOW;
        if self.backlog.has(arrival.queue_id, arrival.mark) {
            self.backlog.come_back(arrival.queue_id, arrival.mark, None);
        } else if arrival.admitted {
            self.enter(arrival, now);
        }
    }

    /// We put it off. A ticket that it had was not used.
    pub fn put_off(&mut self, arrival: Arrival<'_>, now: Timestamp) {
        self.refresh(now);
        if self.backlog.has(arrival.queue_id, arrival.mark) {
            if self.backlog.has_ticket(arrival.queue_id, arrival.mark) {
                self.cancel(arrival.mark);
                self.backlog.come_back(arrival.queue_id, arrival.mark, Some(now));
            }
        } else if arrival.admitted {
            self.enter(arrival, now);
        }
    }

    fn enter(&mut self, arrival: Arrival<'_>, now: Timestamp) {
        self.backlog
            .enter(arrival.queue_id, arrival.mark, arrival.stream, arrival.since, now);
    }

    /// Ends the attempt. One that we were not asked about (Postfix went by an answer that it remembered) has used its
    /// ticket all the same, if it reached the provider.
    fn ended(&mut self, queue_id: &str, mark: Mark, how: Landing) {
        if !self.land(mark, how) && self.backlog.has_ticket(queue_id, mark) {
            match how {
                Landing::NeverLeft => self.cancel(mark),
                Landing::Delivered | Landing::Answered => self.use_ticket(mark),
            };
        }
        self.tidy();
    }

    /// Does what time alone brings, as far as it is due; how many messages left the backlog by it.
    fn advance(&mut self, now: Timestamp) {
        self.refresh(now);
        self.backlog.wake(now);
        loop {
            let tickets = &self.tickets;
            let Some(overdue) = self.backlog.overdue(now, |mark| tickets.contains_key(&mark)) else {
                return;
            };
            for mark in overdue.unused {
                self.cancel(mark);
            }
        }
    }

    /// Postfix was not reached: tickets and tokens as before.
    pub fn unrelease(&mut self, queue_id: &str) {
        for mark in self.backlog.unrelease(queue_id) {
            self.cancel(mark);
        }
    }

    /// Postfix does not know the message any more.
    pub fn gone(&mut self, queue_id: &str) {
        for mark in self.backlog.gone(queue_id) {
            self.cancel(mark);
        }
    }

    /// Takes over what another way has waiting and under way: it has turned out to be this one.
    pub fn adopt(&mut self, other: &mut Way, now: Timestamp) {
        for (mark, flight) in other.under_way.drain() {
            let own = self.under_way.entry(mark).or_default();
            own.passes += flight.passes;
            own.paid += flight.paid;
            for _ in 0..flight.passes {
                self.departures.push_back((now, mark));
            }
        }
        other.departures.clear();
        for (id, stream, since, marks) in other.backlog.drain() {
            for mark in marks {
                self.backlog.enter(&id, mark, stream, since, now);
            }
        }
        // Its tickets cost nothing and are worth nothing here: whoever holds one comes back.
        other.tickets.clear();
        other.ticket_count = 0;
        if self.lane.is_none() {
            self.window = self.window.max(other.window);
        }
    }

    /// Whether nothing waits, is under way or has a ticket.
    pub fn is_idle(&self) -> bool {
        self.backlog.is_empty() && self.under_way.is_empty() && self.ticket_count == 0
    }

    /// How it stands, for people.
    pub fn look(&mut self, streams: &Streams, ears: Ears, now: Timestamp) -> Look {
        self.advance(now);
        let next = self.due(ears, now);
        // Accrues, so that the tokens shown are those of now.
        let _ = self.bucket.next(now);
        let by_stream = self.backlog.by_stream();
        Look {
            key: self.key.clone(),
            lane: self.lane.clone(),
            state: self.lane.as_ref().map_or(State::Open, |lane| lane.state_at(now)),
            grant: self.grant.clone(),
            tokens: self.bucket.tokens(),
            tickets: self.ticket_count,
            under_way: self.under_way.len(),
            window: if ears.window() {
                self.room(now)
                    .map(|room| room + self.under_way.len() + self.ticket_count)
            } else {
                None
            },
            backlog: self.backlog.len(),
            by_stream: by_stream
                .into_iter()
                .map(|(stream, count)| (streams.name(stream), count))
                .collect(),
            oldest: self.backlog.oldest(),
            next_release: Some(next).filter(|next| self.backlog.is_waiting() && *next < Timestamp::MAX),
        }
    }
}

/// A message's attempt at a recipient, as 64 bits that only this process can make.
pub(super) type Attempt = u64;

/// A recipient that was put off.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival<'a> {
    pub queue_id: &'a str,
    pub attempt: Attempt,
    pub mark: Mark,
    pub stream: Stream,
    pub since: Timestamp,
    /// Whether there is room for one more.
    pub admitted: bool,
}

/// What of the loop works: who hears no outcomes cannot bound what is under way, and who cannot release must not
/// have anybody wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ears {
    /// Deferred mail is handed back.
    pub releasing: bool,
    /// The log is read, and what it says is kept.
    pub hearing: bool,
    /// The recipient that Postfix would put off without asking, and until when.
    pub stale: Option<(Mark, Timestamp)>,
}

impl Ears {
    pub fn window(self) -> bool {
        self.releasing && self.hearing
    }
}
