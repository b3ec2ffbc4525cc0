//! What a service has done, counted by each thread for itself and added up by the reader.

use crate::engine::answer::Finding;
use std::sync::atomic::{AtomicU64, Ordering};

/// Plain numbers, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Answers that let mail pass (`DUNNO`, `NOTFOUND`).
    pub passed: u64,
    /// Answers that named a suppression.
    pub refused: u64,
    /// Answers that put mail off because its lane is held.
    pub held: u64,
    /// Answers that put mail off because memory was not loaded.
    pub unloaded: u64,
    /// Look-ups in a map that there is not.
    pub no_map: u64,
    /// Connections closed over something that is no request.
    pub malformed: u64,
    /// Connections closed because a request did not arrive, or an answer was not taken, in time.
    pub timed_out: u64,
    /// Connections closed after a long silence.
    pub idle: u64,
    /// Connections closed to make room for a new one.
    pub evicted: u64,
    /// Connections taken.
    pub accepted: u64,
    /// Connections there are.
    pub open: u64,
}

impl Counts {
    /// Requests answered.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.passed + self.refused + self.held + self.unloaded + self.no_map
    }
}

/// One thread's share.
#[derive(Debug, Default)]
pub(super) struct Counters {
    passed: AtomicU64,
    refused: AtomicU64,
    held: AtomicU64,
    unloaded: AtomicU64,
    pub(super) no_map: AtomicU64,
    pub(super) malformed: AtomicU64,
    pub(super) timed_out: AtomicU64,
    pub(super) idle: AtomicU64,
    pub(super) evicted: AtomicU64,
    pub(super) accepted: AtomicU64,
    /// Connections that this thread serves now.
    pub(super) served: AtomicU64,
}

/// One more.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Counters {
    /// One more answer of this kind.
    pub(super) fn answered(&self, finding: &Finding) {
        count(match finding {
            Finding::Nothing => &self.passed,
            Finding::Suppressed(_) => &self.refused,
            Finding::Held(_) | Finding::Quarantined(_) => &self.held,
            Finding::Unloaded => &self.unloaded,
        });
    }

    /// Adds this thread's share to a sum.
    pub(super) fn add_to(&self, sum: &mut Counts) {
        for (share, total) in [
            (&self.passed, &mut sum.passed),
            (&self.refused, &mut sum.refused),
            (&self.held, &mut sum.held),
            (&self.unloaded, &mut sum.unloaded),
            (&self.no_map, &mut sum.no_map),
            (&self.malformed, &mut sum.malformed),
            (&self.timed_out, &mut sum.timed_out),
            (&self.idle, &mut sum.idle),
            (&self.evicted, &mut sum.evicted),
            (&self.accepted, &mut sum.accepted),
        ] {
            *total += share.load(Ordering::Relaxed);
        }
    }
}
