//! What the table keeps of an entry, in 32 bits:
//!
//! | bits | |
//! |---|---|
//! | 31–26 | the cause's place in [`Cause::ALL`], from 1 on: no mark is 0, which the table keeps for itself |
//! | 25 | whether it is quarantined |
//! | 24–5 | the hour that it expires at, counted from 1970; 0 is never. The store's expiries are full hours |
//! | 4–0 | the lowest bits of its number, by which a late lift of an older entry is told apart |
//!
//! Nothing fails: an expiry beyond 2089, the last that 20 bits hold, reads as never, since a suppression must not
//! become shorter by being remembered.

use crate::engine::suppression::{Standing, SuppressionId};
use crate::engine::verdict::Cause;
use jiff::Timestamp;

/// Seconds in an hour.
const HOUR: i64 = 3600;
const NUMBER_BITS: u32 = 5;
const HOUR_BITS: u32 = 20;
const QUARANTINED: u32 = 1 << (NUMBER_BITS + HOUR_BITS);
const CAUSE_SHIFT: u32 = NUMBER_BITS + HOUR_BITS + 1;

/// An entry in 32 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark(pub(super) u32);

impl Mark {
    pub(super) fn new(
        id: SuppressionId,
        cause: Cause,
        standing: Standing,
        expires: Option<Timestamp>,
    ) -> Self {
        let cause = (cause as u32 + 1) << CAUSE_SHIFT;
        let standing = if standing == Standing::Quarantined {
            QUARANTINED
        } else {
            0
        };
        Self(cause | standing | expires.map_or(0, hour) << NUMBER_BITS | number(id))
    }

    pub(super) fn cause(self) -> Cause {
        let place = (self.0 >> CAUSE_SHIFT) as usize;
        let cause = place.checked_sub(1).and_then(|place| Cause::ALL.get(place));
        cause.copied().unwrap_or(Cause::Unknown)
    }

    pub(super) fn standing(self) -> Standing {
        if self.0 & QUARANTINED == 0 {
            Standing::InForce
        } else {
            Standing::Quarantined
        }
    }

    pub(super) fn expires(self) -> Option<Timestamp> {
        let hour = self.hour();
        let at = Timestamp::from_second(hour * HOUR).ok();
        at.filter(|_| hour > 0)
    }

    pub(super) fn is_past(self, now: Timestamp) -> bool {
        let hour = self.hour();
        hour > 0 && now.as_second() >= hour * HOUR
    }

    /// Whether it can be of the entry with this number: certainly not, or very likely.
    pub(super) fn may_be_of(self, id: SuppressionId) -> bool {
        self.0 & ((1 << NUMBER_BITS) - 1) == number(id)
    }

    fn hour(self) -> i64 {
        i64::from(self.0 >> NUMBER_BITS & ((1 << HOUR_BITS) - 1))
    }
}

fn number(id: SuppressionId) -> u32 {
    u32::try_from(id.0 & ((1 << NUMBER_BITS) - 1)).unwrap_or(0)
}

/// The hour of an expiry, begun ones counted as full: 1 at the least, 0 beyond what is kept.
fn hour(at: Timestamp) -> u32 {
    let hour = at.as_second().saturating_add(HOUR - 1).div_euclid(HOUR).max(1);
    u32::try_from(hour)
        .ok()
        .filter(|&hour| hour < 1 << HOUR_BITS)
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn every_cause_and_standing_survives() {
        for &cause in Cause::ALL {
            for standing in [Standing::InForce, Standing::Quarantined] {
                let mark = Mark::new(SuppressionId(i64::MAX), cause, standing, Some(at(7200)));
                assert_ne!(mark.0, super::super::table::ABSENT);
                assert_eq!((mark.cause(), mark.standing()), (cause, standing));
                assert_eq!(mark.expires(), Some(at(7200)));
            }
        }
    }

    #[test]
    fn no_expiry_becomes_earlier() {
        let kept = |second| {
            Mark::new(
                SuppressionId(1),
                Cause::UserUnknown,
                Standing::InForce,
                Some(at(second)),
            )
        };
        let table = [
            (1_700_002_800, Some(1_700_002_800)),
            (1_700_002_801, Some(1_700_006_400)),
            (-5, Some(3600)),
            (0, Some(3600)),
            (7_000_000_000, None),
        ];
        for (given, expected) in table {
            assert_eq!(kept(given).expires(), expected.map(at), "{given}");
        }
        assert!(!kept(1_700_002_800).is_past(at(1_700_002_799)));
        assert!(kept(1_700_002_800).is_past(at(1_700_002_800)));
        let lasting = Mark::new(SuppressionId(1), Cause::UserUnknown, Standing::InForce, None);
        assert!(!lasting.is_past(Timestamp::MAX));
    }

    #[test]
    fn numbers_are_told_apart_by_their_end() {
        let mark = Mark::new(SuppressionId(33), Cause::Complaint, Standing::InForce, None);
        assert!(mark.may_be_of(SuppressionId(33)));
        assert!(!mark.may_be_of(SuppressionId(34)));
    }
}
