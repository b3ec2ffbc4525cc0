//! A suppression as the memory keeps it, in 24 bytes. Times are kept to the second; what lies outside 1970 to 2106
//! is drawn to the nearer end. Nothing fails.

use super::{Entry, SuppressionId};
use crate::engine::verdict::Cause;
use jiff::Timestamp;

/// An entry in 24 bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    pub(super) fingerprint: u64,
    /// The cause in the upper 8 bits, the number in the lower 56.
    cause_and_id: u64,
    /// Seconds since 1970, from 0 to 2^32 - 1 (the year 2106).
    since: u32,
    /// Likewise; [`NEVER`] is for good.
    expires: u32,
}

const NEVER: u32 = u32::MAX;
pub(super) const ID_BITS: u32 = 56;

impl Slot {
    pub(super) fn pack(fingerprint: u64, entry: &Entry) -> Self {
        let id = u64::try_from(entry.id.0).unwrap_or(0) & ((1 << ID_BITS) - 1);
        Self {
            fingerprint,
            cause_and_id: (entry.cause as u64) << ID_BITS | id,
            since: seconds(entry.since).min(NEVER - 1),
            expires: entry.expires.map_or(NEVER, seconds),
        }
    }

    pub(super) fn unpack(self) -> Entry {
        let cause = usize::try_from(self.cause_and_id >> ID_BITS).unwrap_or(usize::MAX);
        let id = self.cause_and_id & ((1 << ID_BITS) - 1);
        Entry {
            id: SuppressionId(i64::try_from(id).unwrap_or(i64::MAX)),
            cause: Cause::ALL.get(cause).copied().unwrap_or(Cause::Unknown),
            since: timestamp(self.since),
            expires: (self.expires != NEVER).then(|| timestamp(self.expires)),
        }
    }
}

/// Whole seconds since 1970; what lies outside is drawn to the nearer end.
fn seconds(at: Timestamp) -> u32 {
    u32::try_from(at.as_second().max(0)).unwrap_or(NEVER)
}

fn timestamp(seconds: u32) -> Timestamp {
    Timestamp::from_second(i64::from(seconds)).unwrap_or(Timestamp::UNIX_EPOCH)
}
