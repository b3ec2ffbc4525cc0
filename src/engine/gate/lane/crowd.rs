//! Connections: what is heard of them before it is kept, those that linger, and how to keep Postfix from making more.
//!
//! smtp(8) reuses connections while its queue manager has mail for the same destination at hand (on-demand caching,
//! sticky as long as it has any), and leaves them open for 2 s (`smtp_connection_cache_time_limit`) in the hope of
//! more. When all attempts of a lane end before the next message is there, the queue manager forgets the
//! destination, and that it was caching: the next attempts make connections of their own beside those left open, and are
//! refused. So messages of a lane that is limited by connections do not start together
//! ([`Way::spacing`]): where they last equally long they do not end together either. And who is refused although
//! fewer than may be are under way keeps a place empty for as long as connections linger: to try again at once would
//! only be refused again.

use super::{Attempt, Landing, Way};
use crate::engine::backlog::Mark;
use crate::engine::throttle::{Permit, later, seconds};
use jiff::Timestamp;

/// How long a connection is left open for more mail, in seconds, and a little.
const LINGERS: f64 = 2.2;
/// Messages start at most so far apart, in seconds: longer than it takes from the end of one to the start of the next.
const APART: f64 = 0.05;
/// The starts of all that may be under way take up at most this part of the time that one takes.
const PARTS: f64 = 4.0;
/// What a delivery takes is learned by this part of each.
const LEARNED: f64 = 0.2;
/// What was heard and is not kept is no more than what is being kept.
const MOST_HEARD: usize = 10_000;

impl Way {
    /// How many connections there may be; `None` is no limit.
    pub fn connections(&self) -> Option<usize> {
        match self.grant.permit {
            Permit::Limited(pace) => pace.concurrency.map(|most| most.max(1) as usize),
            _ => None,
        }
    }

    /// An attempt was delivered, which is not kept yet: its place is free. (What is counted waits until it is kept.)
    pub fn heard_delivered(&mut self, queue_id: &str, mark: Mark, attempt: Attempt, now: Timestamp) {
        self.refresh(now);
        if self.landed.len() >= MOST_HEARD {
            self.landed.clear();
        }
        if self.landed.insert(attempt) {
            self.learn_time(mark, now);
            self.ended(queue_id, mark, Landing::Delivered);
            self.backlog.settle(queue_id, mark);
        }
    }

    /// An attempt was refused because there were too many, which is not kept yet: how many others are under way.
    pub fn heard_crowded(&mut self, mark: Mark, attempt: Attempt, now: Timestamp) -> Option<u32> {
        self.refresh(now);
        if self.crowded.len() >= MOST_HEARD {
            self.crowded.clear();
        }
        if self.under_way.contains_key(&mark) {
            self.crowded.insert(attempt);
        }
        let passes: u32 = self.under_way.values().map(|flight| flight.passes).sum();
        let refused = u32::try_from(self.crowded.len()).unwrap_or(u32::MAX);
        Some(passes.saturating_sub(refused)).filter(|&beside| beside > 0)
    }

    /// One was refused for connections: where fewer than may be are under way, another is there that we do not know of.
    pub(super) fn linger(&mut self, now: Timestamp) {
        let few = |most: usize| self.under_way.len() + self.lingering.len() < most;
        if self.connections().is_some_and(few) {
            self.lingering.push_back(later(now, LINGERS));
        }
    }

    /// How long after a message the next one starts, in seconds.
    pub(super) fn spacing(&self) -> f64 {
        let connections = self.connections().filter(|&most| most > 1);
        connections.map_or(0.0, |most| (self.took / (PARTS * most as f64)).min(APART))
    }

    /// A delivery has taken so long.
    fn learn_time(&mut self, mark: Mark, now: Timestamp) {
        let began = self.under_way.get(&mark).and_then(|flight| flight.began);
        if let Some(took) = began.map(|began| seconds(began, now)) {
            self.took += LEARNED * (took - self.took);
        }
    }
}
