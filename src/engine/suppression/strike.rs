//! Strikes: evidence that does not suppress alone, counted until it does.
//!
//! A subject gets at most one strike a day (UTC) for a cause: a mailbox that refuses ten messages in a morning is full
//! once. Of the strikes within the window up to the latest, those count that lie the gap apart; where they are as
//! many as its [`Term`] asks for, the subject is suppressed and they are spent.
//!
//! **Order does not matter**: strikes are judged by when things happened, not by when they were heard of. A delivery
//! clears the strikes of what happened before it. Nothing here can fail.

use super::terms::Term;
use jiff::Timestamp;

/// Evidence against a subject, on one day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Strike {
    /// When it happened.
    pub at: Timestamp,
}

/// What comes of new evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// Whether it is a strike of its own: the day had none yet.
    pub strikes: bool,
    /// How many count now.
    pub counted: u32,
    /// How many it takes.
    pub needed: u32,
}

impl Strike {
    /// Evidence of this time.
    #[must_use]
    pub fn new(at: Timestamp) -> Self {
        Self { at }
    }

    /// Its day: days since 1970-01-01, UTC.
    #[must_use]
    pub fn day(self) -> i64 {
        self.at.as_second().div_euclid(86_400)
    }
}

impl Count {
    /// Whether the subject is to be suppressed.
    #[must_use]
    pub fn is_met(self) -> bool {
        self.counted >= self.needed
    }
}

/// Counts new evidence against the strikes there are. `doubtful` is evidence that never suppresses alone.
#[must_use]
pub fn count(term: &Term, doubtful: bool, before: &[Strike], new: Strike) -> Count {
    let strikes = before.iter().all(|strike| strike.day() != new.day());
    let mut all: Vec<Strike> = before.to_vec();
    if strikes {
        all.push(new);
    }
    Count {
        strikes,
        counted: counted(term, &mut all),
        needed: term.needed(doubtful),
    }
}

/// How many of the strikes count: of those within the window up to the latest, as many as can be the gap apart. To
/// take each that is far enough from the last one taken, from the earliest on, takes as many as any choice can.
fn counted(term: &Term, all: &mut [Strike]) -> u32 {
    all.sort_unstable();
    let Some(latest) = all.last().copied() else {
        return 0;
    };
    let mut taken: Option<Strike> = None;
    let mut n = 0;
    for strike in all
        .iter()
        .filter(|strike| latest.at.duration_since(strike.at) <= term.window)
    {
        let far = taken
            .is_none_or(|last| strike.day() != last.day() && strike.at.duration_since(last.at) >= term.gap);
        if far {
            taken = Some(*strike);
            n += 1;
        }
    }
    n
}

#[cfg(test)]
mod tests {
    use super::super::terms::Terms;
    use super::*;
    use crate::engine::verdict::Cause;
    use jiff::SignedDuration;
    use proptest::prelude::*;

    /// Midnight of some day, and so many hours.
    fn hour(hours: i64) -> Strike {
        Strike::new(Timestamp::from_second(1_699_920_000 + hours * 3600).unwrap())
    }

    fn play(cause: Cause, doubtful: bool, hours: &[i64]) -> Vec<(bool, u32)> {
        let terms = Terms::default();
        let mut before = Vec::new();
        let mut story = Vec::new();
        for &at in hours {
            let count = count(terms.of(cause).unwrap(), doubtful, &before, hour(at));
            if count.strikes {
                before.push(hour(at));
            }
            story.push((count.is_met(), count.counted));
        }
        story
    }

    #[test]
    fn strikes_add_up_as_their_causes_say() {
        // cause, doubtful, hours of the evidence, and what is said each time
        type Story = (Cause, bool, &'static [i64], &'static [(bool, u32)]);
        let table: [Story; 9] = [
            (Cause::UserUnknown, false, &[0], &[(true, 1)]),
            // doubtful evidence takes a second day
            (
                Cause::UserUnknown,
                true,
                &[0, 5, 23, 24],
                &[(false, 1), (false, 1), (false, 1), (true, 2)],
            ),
            // a day apart, not merely on another day
            (Cause::DomainNotFound, false, &[20, 28], &[(false, 1), (false, 1)]),
            (Cause::DomainNotFound, false, &[20, 44], &[(false, 1), (true, 2)]),
            (
                Cause::DomainNotFound,
                false,
                &[20, 28, 50],
                &[(false, 1), (false, 1), (true, 2)],
            ),
            (
                Cause::MailboxFull,
                true,
                &[0, 1, 24, 48, 72, 96],
                &[
                    (false, 1),
                    (false, 1),
                    (false, 2),
                    (false, 3),
                    (false, 4),
                    (true, 5),
                ],
            ),
            // the first has left the window when the fifth comes
            (
                Cause::MailboxFull,
                true,
                &[0, 200, 400, 600, 721],
                &[(false, 1), (false, 2), (false, 3), (false, 4), (false, 4)],
            ),
            (
                Cause::RelayDenied,
                true,
                &[0, 24, 48],
                &[(false, 1), (false, 2), (true, 3)],
            ),
            (
                Cause::RelayDenied,
                true,
                &[0, 24, 169],
                &[(false, 1), (false, 2), (false, 2)],
            ),
        ];
        for (cause, doubtful, hours, expected) in table {
            assert_eq!(play(cause, doubtful, hours), expected, "{cause} {hours:?}");
        }
    }

    #[test]
    fn one_clear_word_outweighs_doubtful_ones() {
        let terms = Terms::default();
        let term = terms.of(Cause::UserUnknown).unwrap();
        let doubtful = [hour(1)];
        assert!(!count(term, true, &doubtful, hour(2)).is_met());
        assert!(count(term, false, &doubtful, hour(2)).is_met());
    }

    proptest! {
        /// However evidence comes, once or often, early or late: no more strikes than days, and the same
        /// days count the same.
        #[test]
        fn order_and_repetition_do_not_matter(hours in prop::collection::vec(0..2000i64, 1..20), gap in 0..72i64) {
            let term = Term { gap: SignedDuration::from_hours(gap), strikes: 100, ..Term::HARD };
            let days: std::collections::BTreeSet<i64> = hours.iter().map(|&at| hour(at).day()).collect();
            let keep = |hours: &[i64]| {
                let mut before: Vec<Strike> = Vec::new();
                for &at in hours {
                    if count(&term, false, &before, hour(at)).strikes {
                        before.push(hour(at));
                    }
                }
                before
            };
            let kept = keep(&hours);
            prop_assert_eq!(kept.len(), days.len());
            prop_assert!(counted(&term, &mut kept.clone()) as usize <= days.len());
            let twice: Vec<i64> = hours.iter().chain(&hours).copied().collect();
            prop_assert_eq!(keep(&twice), kept);
        }

        /// Taking from the earliest on is as good as the best of all choices.
        #[test]
        fn as_many_count_as_can(hours in prop::collection::btree_set(0..300i64, 1..10), gap in 0..100i64) {
            let term = Term { gap: SignedDuration::from_hours(gap), ..Term::HARD };
            let all: Vec<Strike> = hours.iter().map(|&at| hour(at)).collect();
            let fits = |chosen: &[Strike]| chosen.windows(2).all(|pair| {
                pair[0].day() != pair[1].day() && pair[1].at.duration_since(pair[0].at) >= term.gap
            });
            let best = (0..1u32 << all.len())
                .map(|set| (0..all.len()).filter(|n| set >> n & 1 == 1).map(|n| all[n]).collect::<Vec<_>>())
                .filter(|chosen| fits(chosen))
                .map(|chosen| chosen.len())
                .max();
            prop_assert_eq!(Some(counted(&term, &mut all.clone()) as usize), best);
        }
    }
}
