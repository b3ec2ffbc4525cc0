//! An open-addressed table from 64-bit fingerprints to 32-bit marks, which is read without locks.
//!
//! Buckets of five slots fill a cache line of 64 octets each, so that a look-up among ten million entries
//! waits for memory about once. Linear probing goes from bucket to bucket; at most 70 % of the slots are taken
//! (`table/bucket.rs`), so that one in twenty entries is not in its home, and a part grows by an eighth, which makes 18 to
//! 21 octets an entry, 19.4 on average.
//!
//! **Why a look-up never misses an entry that is there.** A slot's fingerprint changes once in its life,
//! from `EMPTY` to that of its owner, and the owner's mark is stored before it (release, acquire), as are the bits that
//! lead there from its home over full buckets. Removal stores [`ABSENT`] as the mark and leaves fingerprint and bits: no
//! way to an entry is ever cut, and no slot ever changes hands, so that a reader between the two loads cannot take
//! another's mark for its own. What is absent is swept out when a part is rebuilt: its one writer, under the part's
//! lock, fills new buckets with all that is live and then puts them in the place of the old (`ArcSwap`). A reader who
//! still holds the old buckets sees everything that was there at that moment; whatever is written later is later than
//! its look-up. `table/model.rs` has a model checker try every order in which a reader and the writer can meet at the
//! slots.
//!
//! Nothing fails; fingerprints are taken as they come, and whoever makes them keys them, so that nobody
//! outside can choose ones that collide.

mod atomic {
    pub(super) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
}
mod bucket;

use arc_swap::ArcSwap;
use bucket::{Buckets, EMPTY, WIDTH};
use parking_lot::Mutex;
use std::sync::Arc;

pub(super) use bucket::ABSENT;

/// Parts of the table, each with one writer at a time, rebuilt by itself: what growth needs in addition is an eighth of
/// all. Each is many huge pages long, where the system gives such, so that little of it lies beside them: half of what a
/// look-up among millions takes is the way to the page.
const SHARDS: usize = 1 << SHARD_BITS;
const SHARD_BITS: u32 = 3;
/// A part that is full is rebuilt with room for an eighth more than lives in it.
const GROWTH: usize = 8;

/// What is known of fingerprints.
#[derive(Debug)]
pub(super) struct Table {
    shards: Box<[Shard]>,
}

/// A part of the table.
#[derive(Debug)]
struct Shard {
    buckets: ArcSwap<Buckets>,
    writer: Mutex<Filled>,
}

/// How full a part is.
#[derive(Debug, Default)]
struct Filled {
    /// Slots that somebody has.
    taken: usize,
    /// Those whose mark is not [`ABSENT`].
    live: usize,
}

impl Default for Table {
    fn default() -> Self {
        Self::with_capacity(0)
    }
}

impl Table {
    /// An empty table with room for about so many entries.
    pub(super) fn with_capacity(entries: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Shard::with_capacity(share(entries)));
        Self {
            shards: shards.collect(),
        }
    }

    /// The mark of a fingerprint.
    pub(super) fn get(&self, fingerprint: u64) -> Option<u32> {
        let fingerprint = kept(fingerprint);
        let mark = self.shard(fingerprint).buckets.load().get(fingerprint);
        mark.filter(|&mark| mark != ABSENT)
    }

    /// Gives a fingerprint a mark, which is not [`ABSENT`]; returns the one it had.
    pub(super) fn insert(&self, fingerprint: u64, mark: u32) -> Option<u32> {
        let fingerprint = kept(fingerprint);
        self.shard(fingerprint).insert(fingerprint, mark)
    }

    /// Takes a fingerprint out if its mark is one that `is_meant`; returns the mark.
    pub(super) fn remove_if(&self, fingerprint: u64, is_meant: impl Fn(u32) -> bool) -> Option<u32> {
        let fingerprint = kept(fingerprint);
        self.shard(fingerprint).remove_if(fingerprint, is_meant)
    }

    /// Entries.
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.writer.lock().live).sum()
    }

    /// Takes over the parts of another table, which is given up.
    pub(super) fn adopt(&self, other: &Self) {
        for (own, other) in self.shards.iter().zip(&other.shards) {
            let (mut filled, mut new) = (own.writer.lock(), other.writer.lock());
            own.buckets.store(other.buckets.load_full());
            *filled = std::mem::take(&mut new);
        }
    }

    /// Octets that all slots take.
    #[cfg(test)]
    fn octets(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| shard.buckets.load().octets())
            .sum()
    }

    /// Shows every entry to `see`, in no order. What changes meanwhile may be seen or not.
    pub(super) fn each(&self, mut see: impl FnMut(u64, u32)) {
        for shard in &self.shards {
            shard.buckets.load().each(&mut see);
        }
    }

    /// The upper bits choose the part, the others the bucket.
    fn shard(&self, fingerprint: u64) -> &Shard {
        let at = fingerprint >> (u64::BITS - SHARD_BITS);
        &self.shards[usize::try_from(at).unwrap_or(0)]
    }
}

/// A part's share of so many entries: chance gives no part more than four standard deviations above the mean.
fn share(entries: usize) -> usize {
    let mean = entries.div_ceil(SHARDS);
    mean + 4 * mean.isqrt()
}

/// A fingerprint that is not [`EMPTY`].
fn kept(fingerprint: u64) -> u64 {
    fingerprint.max(EMPTY + 1)
}

impl Shard {
    fn with_capacity(entries: usize) -> Self {
        Self {
            buckets: ArcSwap::from_pointee(Buckets::with_capacity(entries)),
            writer: Mutex::default(),
        }
    }

    fn insert(&self, fingerprint: u64, mark: u32) -> Option<u32> {
        let mut filled = self.writer.lock();
        let mut buckets = self.buckets.load();
        if filled.taken >= buckets.most() && buckets.get(fingerprint).is_none() {
            let live = filled.live + 1;
            self.rebuild(&mut filled, live + live.div_ceil(GROWTH));
            buckets = self.buckets.load();
        }
        let old = buckets.put(fingerprint, mark);
        filled.taken += usize::from(old.is_none());
        let old = old.filter(|&old| old != ABSENT);
        filled.live += usize::from(old.is_none());
        old
    }

    fn remove_if(&self, fingerprint: u64, is_meant: impl Fn(u32) -> bool) -> Option<u32> {
        let mut filled = self.writer.lock();
        let buckets = self.buckets.load();
        let removed = buckets
            .get(fingerprint)
            .filter(|&mark| mark != ABSENT && is_meant(mark))?;
        buckets.put(fingerprint, ABSENT);
        drop(buckets);
        filled.live -= 1;
        // Most of it is gone, as after an import was undone: give the room back.
        if filled.taken > 4 * (filled.live + WIDTH) {
            let live = filled.live;
            self.rebuild(&mut filled, live + live.div_ceil(GROWTH));
        }
        Some(removed)
    }

    /// Puts buckets with room for so many entries, filled with all that is live, in the place of the old.
    fn rebuild(&self, filled: &mut Filled, entries: usize) {
        let new = Buckets::with_capacity(entries.max(filled.live));
        self.buckets.load().each(&mut |fingerprint, mark| {
            new.put(fingerprint, mark);
        });
        filled.taken = filled.live;
        self.buckets.store(Arc::new(new));
    }
}

#[cfg(test)]
mod model;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// A number that looks random and is another one for every `n` (splitmix64).
    fn scramble(n: u64) -> u64 {
        let mut z = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    #[derive(Debug, Clone)]
    enum Step {
        Insert(u64, u32),
        Remove(u64),
    }

    /// Few fingerprints in one part and close together, so that chains form and slots come back; 0 among them.
    fn step() -> impl Strategy<Value = Step> {
        let fingerprint = prop_oneof![
            0..60u64,
            (0..20u64).prop_map(|n| u64::MAX - n),
            (0..300u64).prop_map(scramble)
        ];
        prop_oneof![
            6 => (fingerprint.clone(), 1..u32::MAX).prop_map(|(f, mark)| Step::Insert(f, mark)),
            4 => fingerprint.prop_map(Step::Remove),
        ]
    }

    proptest! {
        #[test]
        fn does_as_a_hash_map_does(steps in proptest::collection::vec(step(), 0..600)) {
            let (table, mut model) = (Table::default(), HashMap::new());
            for step in steps {
                match step {
                    Step::Insert(f, mark) => prop_assert_eq!(table.insert(f, mark), model.insert(kept(f), mark)),
                    Step::Remove(f) => prop_assert_eq!(table.remove_if(f, |_| true), model.remove(&kept(f))),
                }
                prop_assert_eq!(table.len(), model.len());
            }
            for (&fingerprint, &mark) in &model {
                prop_assert_eq!(table.get(fingerprint), Some(mark));
            }
            let mut seen = HashMap::new();
            table.each(|fingerprint, mark| assert_eq!(seen.insert(fingerprint, mark), None));
            prop_assert_eq!(seen, model);
        }
    }

    #[test]
    fn only_the_mark_that_is_meant_is_removed() {
        let table = Table::default();
        table.insert(7, 70);
        assert_eq!(table.remove_if(7, |mark| mark == 71), None);
        assert_eq!(table.get(7), Some(70));
        assert_eq!(table.remove_if(7, |mark| mark == 70), Some(70));
        assert_eq!(table.get(7), None);
    }

    #[test]
    fn an_entry_takes_twenty_octets_on_average_and_a_removed_one_none() {
        let table = Table::default();
        let (mut sum, mut samples) = (0.0, 0.0);
        for n in 1..=400_000u64 {
            table.insert(scramble(n), 1);
            if n > 100_000 && n % 10_000 == 0 {
                let each = table.octets() as f64 / n as f64;
                assert!(each <= 21.0, "{each} octets at {n}");
                (sum, samples) = (sum + each, samples + 1.0);
            }
        }
        assert!(sum / samples <= 20.0, "{} octets", sum / samples);
        for n in 1..=400_000u64 {
            table.remove_if(scramble(n), |_| true);
        }
        assert!(table.octets() <= 400_000, "{}", table.octets());
        let reserved = Table::with_capacity(100_000);
        for n in 0..100_000 {
            reserved.insert(scramble(n), 1);
        }
        assert!(reserved.octets() <= 1_950_000, "{}", reserved.octets());
    }

    /// Readers look for what is there for good while a writer makes the table grow, sweeps it and changes other
    /// entries around it; and a mark that is read is always one of its own fingerprint.
    #[test]
    fn readers_never_miss_an_entry_while_the_table_is_rebuilt() {
        const LASTING: u64 = 5_000;
        let table = Table::default();
        let mark_of = |n: u64| (scramble(n) >> 40) as u32 | 1;
        for n in 0..LASTING {
            table.insert(scramble(n), mark_of(n));
        }
        let (done, start) = (AtomicBool::new(false), Barrier::new(4));
        std::thread::scope(|scope| {
            for reader in 0..3u64 {
                let (table, done, start) = (&table, &done, &start);
                scope.spawn(move || {
                    start.wait();
                    let mut n = reader;
                    while !done.load(Ordering::Relaxed) {
                        n = (n + 7) % LASTING;
                        assert_eq!(table.get(scramble(n)), Some(mark_of(n)), "entry {n}");
                        let coming = LASTING + n * 11;
                        let mark = table.get(scramble(coming));
                        assert!(mark.is_none_or(|mark| mark == mark_of(coming)), "entry {coming}");
                    }
                });
            }
            start.wait();
            for _ in 0..3 {
                for n in LASTING..12 * LASTING {
                    table.insert(scramble(n), mark_of(n));
                }
                for n in LASTING..12 * LASTING {
                    table.remove_if(scramble(n), |_| true);
                }
            }
            done.store(true, Ordering::Relaxed);
        });
        assert_eq!(table.len(), LASTING as usize);
    }
}
