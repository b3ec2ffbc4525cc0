//! A lane with its lock, and the agenda: which lane is due first, without asking each.
//!
//! The agenda holds only lanes in which something waits for a time to come. It is locked for the length of one
//! change of a small ordered map, after the lane's own lock, never before it. Nothing here fails.

use super::lane::Way;
use jiff::Timestamp;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// A lane with its lock.
#[derive(Debug)]
pub(super) struct Place {
    number: u64,
    /// When something is to be done there, in microseconds since 1970; read without the lock.
    due: AtomicI64,
    pub way: Mutex<Way>,
}

/// Which lane is due when.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    places: AtomicU64,
    dues: Mutex<BTreeMap<(i64, u64), Arc<Place>>>,
}

/// No time at all.
fn never() -> i64 {
    Timestamp::MAX.as_microsecond()
}

impl Place {
    /// When something is to be done there; `None` where nothing is.
    pub fn due(&self) -> Option<Timestamp> {
        let due = self.due.load(Ordering::Relaxed);
        Timestamp::from_microsecond(due).ok().filter(|_| due < never())
    }
}

impl Agenda {
    /// A place for a lane, due never.
    pub fn found(&self, way: Way) -> Arc<Place> {
        Arc::new(Place {
            number: self.places.fetch_add(1, Ordering::Relaxed),
            due: AtomicI64::new(never()),
            way: Mutex::new(way),
        })
    }

    /// The lane is due then ([`Timestamp::MAX`]: never).
    pub fn set(&self, place: &Arc<Place>, due: Timestamp) {
        let due = due.as_microsecond();
        if place.due.load(Ordering::Relaxed) == due {
            return;
        }
        let mut dues = self.dues.lock();
        let before = place.due.swap(due, Ordering::Relaxed);
        dues.remove(&(before, place.number));
        if due < never() {
            dues.insert((due, place.number), Arc::clone(place));
        }
    }

    /// The lane that is due first, of those that are due at all.
    pub fn first(&self) -> Option<Arc<Place>> {
        self.dues.lock().values().next().cloned()
    }
}
