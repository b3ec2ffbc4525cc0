//! Tokens: one for each attempt that a lane, or a stream within it, may make.
//!
//! The classical bucket with two cautions. It begins empty: after a restart nobody knows how much of the
//! last seconds' allowance was used, and a full bucket would be a burst above the limit. And it never
//! holds more than the pace's burst (about three seconds of rate, at least one), so that a quiet hour does
//! not become a storm. Times that go backwards add nothing. Whole attempts are taken, fractions accrue.

use super::plan::{Pace, Permit};
use super::{later, seconds};
use jiff::Timestamp;

/// The burst of a pace, in seconds of its rate.
pub const BURST_SECONDS: f64 = 3.0;
/// Less than this is no rate: a token in about thirty years.
const LEAST_RATE: f64 = 1e-9;
/// Rounding may leave a token this much short.
const NEARLY: f64 = 1e-6;

/// A token bucket.
#[derive(Debug, Clone, PartialEq)]
pub struct Bucket {
    flow: Flow,
    tokens: f64,
    at: Timestamp,
}

/// How tokens come.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Flow {
    /// Without limit.
    Free,
    /// So many a second, kept up to a burst.
    Paced { per_second: f64, burst: f64 },
    /// None before that time (and who knows after it: ask for the permit again).
    Shut(Timestamp),
}

impl Bucket {
    /// An empty bucket under a permit.
    #[must_use]
    pub fn new(permit: &Permit, now: Timestamp) -> Self {
        Self {
            flow: Flow::of(permit),
            tokens: 0.0,
            at: now,
        }
    }

    /// Goes on under another permit, from `now`. What has accrued stays, up to the new burst; out of a
    /// hold or a pause nothing is brought along, and out of no limit neither.
    pub fn pace(&mut self, permit: &Permit, now: Timestamp) {
        let flow = Flow::of(permit);
        if flow == self.flow {
            return;
        }
        self.accrue(now);
        self.tokens = match (self.flow, flow) {
            (Flow::Paced { .. }, Flow::Paced { burst, .. }) => self.tokens.min(burst),
            _ => 0.0,
        };
        self.flow = flow;
    }

    /// Takes a token for one attempt.
    ///
    /// # Errors
    /// When there is none: the earliest time at which to ask again ([`Timestamp::MAX`]: until the permit
    /// changes).
    pub fn take(&mut self, now: Timestamp) -> Result<(), Timestamp> {
        self.accrue(now);
        match self.flow {
            Flow::Free => Ok(()),
            Flow::Shut(until) => Err(until),
            Flow::Paced { .. } if self.tokens + NEARLY >= 1.0 => {
                self.tokens = (self.tokens - 1.0).max(0.0);
                Ok(())
            }
            Flow::Paced { per_second, .. } => Err(self.ready(per_second)),
        }
    }

    /// When the next token is there: now, if it is.
    #[must_use]
    pub fn next(&mut self, now: Timestamp) -> Timestamp {
        self.accrue(now);
        match self.flow {
            Flow::Free => now,
            Flow::Shut(until) => until,
            Flow::Paced { .. } if self.tokens + NEARLY >= 1.0 => now,
            Flow::Paced { per_second, .. } => self.ready(per_second),
        }
    }

    /// Gives a token back: its attempt never reached the provider.
    pub fn give_back(&mut self) {
        if let Flow::Paced { burst, .. } = self.flow {
            self.tokens = (self.tokens + 1.0).min(burst);
        }
    }

    /// The tokens there are, for people to see.
    #[must_use]
    pub fn tokens(&self) -> f64 {
        self.tokens
    }

    fn ready(&self, per_second: f64) -> Timestamp {
        if per_second < LEAST_RATE {
            return Timestamp::MAX;
        }
        later(self.at, (1.0 - self.tokens) / per_second)
    }

    fn accrue(&mut self, now: Timestamp) {
        if now <= self.at {
            return;
        }
        if let Flow::Paced { per_second, burst } = self.flow {
            self.tokens = (self.tokens + per_second * seconds(self.at, now)).min(burst);
        }
        self.at = now;
    }
}

impl Flow {
    fn of(permit: &Permit) -> Self {
        match permit {
            Permit::Open | Permit::Limited(Pace { per_second: None, .. }) => Self::Free,
            Permit::Limited(Pace {
                per_second: Some(per_second),
                burst,
                ..
            }) => Self::Paced {
                per_second: per_second.max(0.0),
                burst: burst.max(1.0),
            },
            Permit::Held { until } => Self::Shut(*until),
            Permit::Paused => Self::Shut(Timestamp::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(1_700_000_000_000 + millis).unwrap()
    }

    fn paced(per_second: f64) -> Permit {
        Permit::Limited(Pace::at(per_second))
    }

    #[test]
    fn it_begins_empty_and_says_when() {
        let mut bucket = Bucket::new(&paced(2.0), at(0));
        assert_eq!(bucket.take(at(0)), Err(at(500)));
        assert_eq!(bucket.take(at(499)), Err(at(500)));
        assert_eq!(bucket.take(at(500)), Ok(()));
        assert_eq!(bucket.take(at(500)), Err(at(1000)));
    }

    #[test]
    fn a_quiet_hour_is_worth_three_seconds() {
        let mut bucket = Bucket::new(&paced(2.0), at(0));
        let taken = (0..100).filter(|_| bucket.take(at(3_600_000)).is_ok()).count();
        assert_eq!(taken, 6);
        let mut slow = Bucket::new(&paced(0.01), at(0));
        assert_eq!(slow.take(at(3_600_000)), Ok(()), "at least one");
        assert!(slow.take(at(3_600_000)).is_err());
    }

    #[test]
    fn a_token_given_back_can_be_taken_again_and_never_exceeds_the_burst() {
        let mut bucket = Bucket::new(&paced(1.0), at(0));
        assert_eq!(bucket.take(at(1000)), Ok(()));
        bucket.give_back();
        assert_eq!(bucket.take(at(1000)), Ok(()));
        (0..9).for_each(|_| bucket.give_back());
        assert_eq!((0..9).filter(|_| bucket.take(at(1000)).is_ok()).count(), 3);
    }

    #[test]
    fn nothing_accrues_while_held_or_paused_and_open_asks_nothing() {
        let mut bucket = Bucket::new(&Permit::Held { until: at(60_000) }, at(0));
        assert_eq!(bucket.take(at(59_000)), Err(at(60_000)));
        bucket.pace(&paced(1.0), at(60_000));
        assert_eq!(bucket.take(at(60_000)), Err(at(61_000)));
        bucket.pace(&Permit::Paused, at(70_000));
        assert_eq!(bucket.take(at(99_000)), Err(Timestamp::MAX));
        bucket.pace(&Permit::Open, at(99_000));
        assert!((0..1000).all(|_| bucket.take(at(99_000)).is_ok()));
        bucket.pace(&paced(1.0), at(99_000));
        assert_eq!(bucket.take(at(99_000)), Err(at(100_000)), "nor is it a credit");
    }

    #[test]
    fn no_rate_is_no_token_and_clocks_may_go_backwards() {
        assert_eq!(Bucket::new(&paced(0.0), at(0)).take(at(1)), Err(Timestamp::MAX));
        let mut bucket = Bucket::new(&paced(1.0), at(0));
        assert_eq!(bucket.take(at(1000)), Ok(()));
        assert_eq!(bucket.take(at(0)), Err(at(2000)));
    }

    proptest! {
        /// In no span of time are more taken than its rate and one burst allow, and who asks when told
        /// to gets what the rate allows.
        #[test]
        fn never_more_than_rate_and_burst(
            per_second in 0.01..20.0f64,
            waits in proptest::collection::vec(0..5_000i64, 1..100),
        ) {
            let permit = paced(per_second);
            let mut bucket = Bucket::new(&permit, at(0));
            let mut now = 0;
            let mut taken = Vec::new();
            for wait in waits {
                now += wait;
                while bucket.take(at(now)).is_ok() {
                    taken.push(now);
                }
            }
            let burst = (per_second * BURST_SECONDS).max(1.0);
            for (first, &from) in taken.iter().enumerate().step_by(7).take(200) {
                for (last, &to) in taken.iter().enumerate().skip(first).step_by(5).take(400) {
                    let allowed = burst + per_second * (to - from) as f64 / 1000.0 + 1e-3;
                    prop_assert!((last - first + 1) as f64 <= allowed);
                }
            }
        }

        #[test]
        fn who_asks_when_told_gets_the_rate(per_second in 0.05..500.0f64) {
            let mut bucket = Bucket::new(&paced(per_second), at(0));
            let mut now = at(0);
            let mut taken = 0u32;
            while taken < 500 {
                match bucket.take(now) {
                    Ok(()) => taken += 1,
                    Err(until) => {
                        prop_assert!(until > now);
                        now = until;
                    }
                }
            }
            let spent = seconds(at(0), now);
            prop_assert!((spent * per_second - 500.0).abs() < 0.01);
        }
    }
}
