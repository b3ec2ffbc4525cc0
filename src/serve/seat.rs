//! Seats: how many connections a listener has at once, and who gives way when all are taken.
//!
//! The connection that has been idle longest makes room for a new one, so that somebody who opens
//! thousands and says nothing keeps nobody out who has something to say. A connection in the middle of
//! its work is never asked to go; where all of them work, there are more than the limit for a moment.

use crate::clock;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// The seats of one listener; clones share them.
#[derive(Debug, Clone)]
pub struct Seats {
    limit: usize,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    holders: HashMap<u64, Holder>,
}

#[derive(Debug)]
struct Holder {
    since: Instant,
    busy: bool,
    leave: CancellationToken,
}

/// One connection's seat; free again when dropped.
#[derive(Debug)]
pub struct Seat {
    number: u64,
    leave: CancellationToken,
    taken: Arc<Mutex<Taken>>,
}

impl Seats {
    /// So many.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            taken: Arc::default(),
        }
    }

    /// Takes a seat; where there is none, the one idle longest is asked to leave.
    #[must_use]
    pub fn take(&self) -> Seat {
        let mut taken = self.taken.lock();
        if taken
            .holders
            .values()
            .filter(|holder| !holder.leave.is_cancelled())
            .count()
            >= self.limit
        {
            let idle = taken
                .holders
                .values()
                .filter(|holder| !holder.busy && !holder.leave.is_cancelled());
            if let Some(holder) = idle.min_by_key(|holder| holder.since) {
                holder.leave.cancel();
            }
        }
        let (number, leave) = (taken.next, CancellationToken::new());
        taken.next += 1;
        taken.holders.insert(
            number,
            Holder {
                since: clock::monotonic(),
                busy: false,
                leave: leave.clone(),
            },
        );
        Seat {
            number,
            leave,
            taken: Arc::clone(&self.taken),
        }
    }
}

impl Seat {
    /// The connection has just said something; `busy` while it must not be asked to leave.
    pub fn touch(&self, busy: bool) {
        if let Some(holder) = self.taken.lock().holders.get_mut(&self.number) {
            holder.since = clock::monotonic();
            holder.busy = busy;
        }
    }

    /// Ready when the connection is asked to leave.
    pub fn asked_to_leave(&self) -> WaitForCancellationFutureOwned {
        self.leave.clone().cancelled_owned()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.taken.lock().holders.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_idle_gives_way_and_the_busy_stay() {
        let seats = Seats::new(3);
        let held: Vec<Seat> = (0..3).map(|_| seats.take()).collect();
        let asked = |seat: &Seat| seat.leave.is_cancelled();
        held[0].touch(true);
        held[1].touch(false);
        let fourth = seats.take();
        assert_eq!(
            held.iter().map(asked).collect::<Vec<_>>(),
            [false, false, true],
            "the only one never heard of"
        );
        let fifth = seats.take();
        assert!(asked(&held[1]) && !asked(&held[0]));
        drop((fourth, fifth));
        let sixth = seats.take();
        assert!(!asked(&sixth) && !asked(&held[0]), "there is room again");
    }
}
