//! What people want to know of an entry that refuses their mail, its number and its date: kept for the entries
//! that lately refused something or were written, fetched behind the answer for the others.
//!
//! Bounded to 65,536 entries (about 5 MB): the oldest makes room. Nothing fails and nothing waits for more than
//! another who reads or writes a few words; whoever fetches is told through a function that must not wait.

use crate::engine::suppression::{Subject, SuppressionId};
use hashbrown::HashMap;
use jiff::Timestamp;
use parking_lot::RwLock;
use std::collections::VecDeque;
use std::sync::OnceLock;

/// Parts, each under a lock of its own.
const SHARDS: usize = 16;
/// The most entries in a part.
const MOST: usize = 4096;

/// What is known of an entry beside what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Detail {
    /// Its number.
    pub id: SuppressionId,
    /// Since when.
    pub since: Timestamp,
}

/// The details that are known.
#[derive(Default)]
pub(super) struct Details {
    shards: [RwLock<Shard>; SHARDS],
    wanted: OnceLock<Box<dyn Fn(Subject) + Send + Sync>>,
}

#[derive(Default)]
struct Shard {
    known: HashMap<u64, Detail>,
    /// In the order in which they came; what was removed since is passed over.
    order: VecDeque<u64>,
}

impl Details {
    pub(super) fn get(&self, fingerprint: u64) -> Option<Detail> {
        self.shard(fingerprint).read().known.get(&fingerprint).copied()
    }

    pub(super) fn put(&self, fingerprint: u64, detail: Detail) {
        let mut shard = self.shard(fingerprint).write();
        if shard.known.insert(fingerprint, detail).is_some() {
            return;
        }
        shard.order.push_back(fingerprint);
        while shard.order.len() > MOST {
            if let Some(oldest) = shard.order.pop_front() {
                shard.known.remove(&oldest);
            }
        }
    }

    pub(super) fn remove(&self, fingerprint: u64) {
        let mut shard = self.shard(fingerprint).write();
        if shard.known.remove(&fingerprint).is_some() {
            shard.order.retain(|&other| other != fingerprint);
        }
    }

    /// Has somebody fetch what is known of a subject's entry, if there is anybody.
    pub(super) fn want(&self, subject: impl Fn() -> Subject) {
        if let Some(tell) = self.wanted.get() {
            tell(subject());
        }
    }

    /// Who fetches; the first to say so.
    pub(super) fn when_wanted(&self, tell: impl Fn(Subject) + Send + Sync + 'static) {
        let _ = self.wanted.set(Box::new(tell));
    }

    fn shard(&self, fingerprint: u64) -> &RwLock<Shard> {
        // Not the bits that choose the part of the table: those of one part would crowd here as well.
        &self.shards[(fingerprint >> 32) as usize % SHARDS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detail(id: i64) -> Detail {
        Detail {
            id: SuppressionId(id),
            since: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn the_oldest_makes_room() {
        let details = Details::default();
        let most = i64::try_from(MOST).unwrap();
        (0..=most).for_each(|n| details.put(n as u64, detail(n)));
        assert_eq!(details.get(0), None);
        assert_eq!(details.get(1), Some(detail(1)));
        assert_eq!(details.get(MOST as u64), Some(detail(most)));
        details.put(1, detail(-1));
        details.remove(2);
        details.put(0, detail(0));
        assert_eq!(details.get(1), Some(detail(-1)), "there was room");
        assert_eq!(details.get(2), None);
    }
}
