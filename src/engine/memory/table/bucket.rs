//! The slots of a part of the table, and the order in which they are written and read.
//!
//! A slot's fingerprint changes once in its life, from [`EMPTY`] to that of its owner, and the owner's mark is
//! stored before it (release, acquire). Removal stores [`ABSENT`] as the mark and leaves the fingerprint. From that
//! follows what readers, who take no lock, can count on (`table.rs` has the rest of the proof):
//! - a chain, from a fingerprint's home to the first slot that nobody has, never becomes shorter;
//! - whoever has seen a fingerprint sees a mark that was its own.
//!
//! There is one writer at a time; nothing fails. The atomics are those of the parent: `table/model.rs` puts a model
//! checker's in their place.

use super::atomic::{AtomicU32, AtomicU64, Ordering};

/// Slots in a bucket: five of 12 octets fit into a cache line.
pub(super) const WIDTH: usize = 5;
/// Of so many slots …
const DENOMINATOR: usize = 20;
/// … at most so many are taken.
const NUMERATOR: usize = 17;

/// The fingerprint of a slot that nobody has.
pub(super) const EMPTY: u64 = 0;
/// The mark of what was removed; no entry has it.
pub(in crate::engine::memory) const ABSENT: u32 = 0;

/// All slots of a part.
#[derive(Debug)]
pub(super) struct Buckets(Box<[Bucket]>);

/// One cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Bucket {
    fingerprints: [AtomicU64; WIDTH],
    marks: [AtomicU32; WIDTH],
}

/// Where a fingerprint is, or would be.
enum Place<'a> {
    /// Its slot's mark.
    Own(&'a AtomicU32),
    /// The slot where its chain ends.
    Free(&'a AtomicU64, &'a AtomicU32),
}

impl Buckets {
    pub(super) fn with_capacity(entries: usize) -> Self {
        let slots = entries * DENOMINATOR / NUMERATOR + 1;
        Self((0..slots.div_ceil(WIDTH)).map(|_| Bucket::default()).collect())
    }

    /// The most slots to be taken; one stays free at the least, at which every chain ends.
    pub(super) fn most(&self) -> usize {
        (self.0.len() * WIDTH * NUMERATOR / DENOMINATOR).max(1)
    }

    /// Octets that all slots take.
    #[cfg(test)]
    pub(super) fn octets(&self) -> usize {
        self.0.len() * size_of::<Bucket>()
    }

    /// The mark of a fingerprint; `None` for one that has no slot, and [`ABSENT`] for one that was removed.
    pub(super) fn get(&self, fingerprint: u64) -> Option<u32> {
        match self.find(fingerprint) {
            Place::Own(mark) => Some(mark.load(Ordering::Acquire)),
            Place::Free(..) => None,
        }
    }

    /// Gives a fingerprint a mark; returns the one that it had, `None` if it got a slot only now. Only the writer
    /// may, and only while fewer slots than [`Buckets::most`] are taken.
    pub(super) fn put(&self, fingerprint: u64, mark: u32) -> Option<u32> {
        match self.find(fingerprint) {
            Place::Own(own) => Some(own.swap(mark, Ordering::AcqRel)),
            Place::Free(place, own) => {
                own.store(mark, Ordering::Relaxed);
                place.store(fingerprint, Ordering::Release);
                None
            }
        }
    }

    /// Shows every entry to `see`, in no order.
    pub(super) fn each(&self, see: &mut impl FnMut(u64, u32)) {
        for bucket in &self.0 {
            for (place, mark) in bucket.fingerprints.iter().zip(&bucket.marks) {
                let fingerprint = place.load(Ordering::Acquire);
                let mark = mark.load(Ordering::Acquire);
                if fingerprint != EMPTY && mark != ABSENT {
                    see(fingerprint, mark);
                }
            }
        }
    }

    fn find(&self, fingerprint: u64) -> Place<'_> {
        // The bits that did not choose the part, spread evenly over however many buckets there are.
        let spread = u128::from(fingerprint << super::SHARD_BITS) * self.0.len() as u128;
        let mut at = usize::try_from(spread >> u64::BITS).unwrap_or(0);
        loop {
            let bucket = &self.0[at];
            if let Some(place) = bucket.find(fingerprint) {
                return place;
            }
            at += 1;
            if at == self.0.len() {
                at = 0;
            }
        }
    }
}

impl Bucket {
    /// Where the fingerprint is in this bucket, or would be; `None` if its chain goes on in the next.
    ///
    /// All slots are compared before anything is decided: in which of them a chain ends is chance, and a wrong guess
    /// of the processor's costs more than to look at what the cache line holds anyway. The order in which they are
    /// read means nothing: an entry that is there is in its slot, whatever is written to others meanwhile.
    fn find(&self, fingerprint: u64) -> Option<Place<'_>> {
        let (mut own, mut free) = (WIDTH, WIDTH);
        for slot in (0..WIDTH).rev() {
            let found = self.fingerprints[slot].load(Ordering::Acquire);
            own = if found == fingerprint { slot } else { own };
            free = if found == EMPTY { slot } else { free };
        }
        if own < WIDTH {
            return Some(Place::Own(&self.marks[own]));
        }
        (free < WIDTH).then(|| Place::Free(&self.fingerprints[free], &self.marks[free]))
    }
}
