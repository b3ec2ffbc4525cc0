//! The slots of a part of the table, and the order in which they are written and read.
//!
//! A fingerprint goes into the first free slot from its home bucket on. A slot's fingerprint changes once in its life,
//! from [`EMPTY`] to that of its owner. Before that, in this order, the owner's mark is stored, and in each full bucket
//! that it passed a bit of 32, chosen by the fingerprint, is set (release, acquire). Removal stores [`ABSENT`] as the
//! mark and leaves all else. From that follows what readers, who take no lock, can count on (`table.rs` has the rest of
//! the proof):
//! - in every bucket between a fingerprint that is there and its home its bit is set, and stays so. A reader who does
//!   not find it in a bucket whose bit is not set need not look further: of those who ask for what is not there, one in
//!   twenty reads a second cache line, where without the bits more than half would;
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
const NUMERATOR: usize = 14;

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
    /// The bits of those who found no slot here.
    passed: AtomicU32,
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
        let mut at = self.home(fingerprint);
        loop {
            let bucket = &self.0[at];
            let slot = bucket.slot_of(fingerprint);
            if slot < WIDTH {
                return Some(bucket.marks[slot].load(Ordering::Acquire));
            }
            // A bucket with a free slot was passed by nobody, and there is always one.
            if bucket.passed.load(Ordering::Acquire) & bit(fingerprint) == 0 {
                return None;
            }
            at = self.after(at);
        }
    }

    /// Gives a fingerprint a mark; returns the one that it had, `None` if it got a slot only now. Only the writer
    /// may, and only while fewer slots than [`Buckets::most`] are taken.
    pub(super) fn put(&self, fingerprint: u64, mark: u32) -> Option<u32> {
        let mut at = self.home(fingerprint);
        loop {
            let bucket = &self.0[at];
            let own = bucket.slot_of(fingerprint);
            if own < WIDTH {
                return Some(bucket.marks[own].swap(mark, Ordering::AcqRel));
            }
            let free = bucket.slot_of(EMPTY);
            if free < WIDTH {
                bucket.marks[free].store(mark, Ordering::Relaxed);
                bucket.fingerprints[free].store(fingerprint, Ordering::Release);
                return None;
            }
            bucket.passed.fetch_or(bit(fingerprint), Ordering::Release);
            at = self.after(at);
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

    /// The bits that did not choose the part, spread evenly over however many buckets there are.
    fn home(&self, fingerprint: u64) -> usize {
        let spread = u128::from(fingerprint << super::SHARD_BITS) * self.0.len() as u128;
        usize::try_from(spread >> u64::BITS).unwrap_or(0)
    }

    /// The bucket after this one, after the last the first.
    fn after(&self, at: usize) -> usize {
        if at + 1 == self.0.len() { 0 } else { at + 1 }
    }
}

/// The bit by which a fingerprint is known where it passed: of its last bits, which choose neither part nor bucket.
fn bit(fingerprint: u64) -> u32 {
    1 << (fingerprint % u64::from(u32::BITS))
}

impl Bucket {
    /// The first slot with this fingerprint, [`WIDTH`] if there is none.
    ///
    /// All slots are compared before anything is decided: in which of them it is, is chance, and a wrong guess of the
    /// processor's costs more than to look at what the cache line holds anyway. The order in which they are read means
    /// nothing: a fingerprint that is there is in its slot, whatever is written to others meanwhile.
    fn slot_of(&self, fingerprint: u64) -> usize {
        let mut slot = WIDTH;
        for at in (0..WIDTH).rev() {
            let found = self.fingerprints[at].load(Ordering::Acquire);
            slot = if found == fingerprint { at } else { slot };
        }
        slot
    }
}
