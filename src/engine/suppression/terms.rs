//! Terms: how much evidence of which cause suppresses, and for how long.
//!
//! | cause | strikes | within | apart | for |
//! |---|---|---|---|---|
//! | user_unknown, bad_address_syntax, recipient_moved | 1 | 30 d | – | good |
//! | mailbox_disabled | 1 | 30 d | – | 180 d |
//! | mailbox_full, mailbox_unavailable | 5 | 30 d | – | 30 d, then twice as long each time |
//! | domain_not_found | 2 | 30 d | 24 h | 90 d |
//! | domain_not_found, the domain itself | 3 | 30 d | – | 90 d |
//! | relay_denied | 3 | 7 d | – | 90 d |
//! | complaint, unsubscribed | 1 | – | – | good, in its stream |
//!
//! A subject gets at most one strike a day (UTC) for a cause, so several strikes are also several days. Evidence that
//! is open to doubt (remedy `suppress_if_repeated`) never suppresses alone: where one strike would do, it takes
//! [`DOUBTFUL`]. On failure: terms outside the ranges below are refused, with what was expected and found.

use super::full_hour;
use crate::engine::verdict::{Cause, Scope};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;

/// A day of 24 hours.
pub const DAY: SignedDuration = SignedDuration::from_hours(24);
/// The most strikes that may be asked for.
pub const MOST_STRIKES: u32 = 100;
/// No window is longer: strikes older than it are swept away.
pub const LONGEST_WINDOW: SignedDuration = SignedDuration::from_hours(24 * 365);
/// No expiry grows beyond it by doubling, and none begins longer.
pub const LONGEST_EXPIRY: SignedDuration = SignedDuration::from_hours(24 * 365);
/// The strikes that doubtful evidence takes at least: on two days, two reports are hardly one mistake.
pub const DOUBTFUL: u32 = 2;

/// When evidence of a cause suppresses, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Term {
    /// So many strikes, 1 to [`MOST_STRIKES`].
    pub strikes: u32,
    /// Within so long, up to the latest of them; 1 day to [`LONGEST_WINDOW`].
    pub window: SignedDuration,
    /// Each at least so long after the one before that counted; 0 to the window.
    pub gap: SignedDuration,
    /// How long the entry stands, 1 hour to [`LONGEST_EXPIRY`]; `None` is for good.
    pub expiry: Option<SignedDuration>,
    /// Whether each further entry stands twice as long as the one before, up to [`LONGEST_EXPIRY`].
    pub doubling: bool,
}

/// The terms of every cause that can suppress, and those of a whole domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    causes: BTreeMap<Cause, Term>,
    domain: Term,
}

/// Why terms cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TermError {
    /// There is no such cause.
    #[error("expected a cause that can suppress ({known}), found {found:?}")]
    Cause {
        /// What was given.
        found: String,
        /// The causes that there are.
        known: String,
    },
    /// The number of strikes is out of range.
    #[error("strikes: expected 1 to {MOST_STRIKES}, found {0}")]
    Strikes(u32),
    /// The window is out of range.
    #[error("window: expected 1d to 365d, found {0:#}")]
    Window(SignedDuration),
    /// The gap is longer than the window.
    #[error("gap: expected no more than the window of {window:#}, found {gap:#}")]
    Gap {
        /// What was given.
        gap: SignedDuration,
        /// The window.
        window: SignedDuration,
    },
    /// So many strikes do not fit.
    #[error(
        "strikes: {strikes} of them, a day or the gap apart, take {least:#}, and the window is {window:#}"
    )]
    Crowded {
        /// What was given.
        strikes: u32,
        /// The shortest time in which they can come.
        least: SignedDuration,
        /// The window.
        window: SignedDuration,
    },
    /// The expiry is out of range.
    #[error("expiry: expected 1h to 365d or \"never\", found {0:#}")]
    Expiry(SignedDuration),
    /// What never expires cannot double.
    #[error("doubling: expected an expiry to double, found \"never\"")]
    Doubling,
}

/// The causes that can suppress, by their names.
fn names() -> String {
    let names: Vec<&str> = Cause::ALL
        .iter()
        .filter(|cause| can_suppress(**cause))
        .map(|cause| cause.name())
        .collect();
    names.join(", ")
}

/// Whether there are terms for a cause: only a recipient's or a domain's own fault suppresses.
#[must_use]
pub fn can_suppress(cause: Cause) -> bool {
    matches!(cause.scope(), Scope::Recipient | Scope::Domain)
}

const fn days(days: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * days)
}

impl Term {
    /// One strike, for good.
    pub const HARD: Self = Self {
        strikes: 1,
        window: days(30),
        gap: SignedDuration::ZERO,
        expiry: None,
        doubling: false,
    };

    /// The terms of a cause where nothing else is configured.
    #[must_use]
    pub const fn of(cause: Cause) -> Self {
        match cause {
            Cause::MailboxDisabled => Self {
                expiry: Some(days(180)),
                ..Self::HARD
            },
            Cause::MailboxFull | Cause::MailboxUnavailable => Self {
                strikes: 5,
                expiry: Some(days(30)),
                doubling: true,
                ..Self::HARD
            },
            Cause::DomainNotFound => Self {
                strikes: 2,
                gap: days(1),
                expiry: Some(days(90)),
                ..Self::HARD
            },
            Cause::RelayDenied => Self {
                strikes: 3,
                window: days(7),
                expiry: Some(days(90)),
                ..Self::HARD
            },
            _ => Self::HARD,
        }
    }

    /// The strikes that it takes.
    #[must_use]
    pub fn needed(&self, doubtful: bool) -> u32 {
        if doubtful {
            self.strikes.max(DOUBTFUL)
        } else {
            self.strikes
        }
    }

    /// When the entry of its number `term` (1 for the first in a row) expires: on a full hour, rounded up, so that
    /// memory, which knows hours, and the store agree.
    #[must_use]
    pub fn expires(&self, since: Timestamp, term: u32) -> Option<Timestamp> {
        let first = self.expiry?;
        let doublings = if self.doubling {
            term.saturating_sub(1).min(20)
        } else {
            0
        };
        let length = (0..doublings).fold(first, |length, _| {
            length.saturating_add(length).min(LONGEST_EXPIRY)
        });
        Some(full_hour(since.saturating_add(length).unwrap_or(Timestamp::MAX)))
    }

    /// The number of the next entry, after one of this cause that expired with the number `before`.
    #[must_use]
    pub fn next(&self, before: Option<u32>) -> u32 {
        match before {
            Some(before) if self.doubling => before.saturating_add(1),
            _ => 1,
        }
    }

    /// Whether the terms can be used.
    ///
    /// # Errors
    /// The first thing wrong with them.
    pub fn check(&self) -> Result<(), TermError> {
        if !(1..=MOST_STRIKES).contains(&self.strikes) {
            return Err(TermError::Strikes(self.strikes));
        }
        if !(DAY..=LONGEST_WINDOW).contains(&self.window) {
            return Err(TermError::Window(self.window));
        }
        let (gap, window) = (self.gap, self.window);
        if gap > window {
            return Err(TermError::Gap { gap, window });
        }
        // The first and the last may be a moment after and before midnight: of n days, n - 2 lie between them.
        let between = i32::try_from(self.strikes).unwrap_or(i32::MAX) - 1;
        let least = (DAY * (between - 1).max(0)).max(gap * between);
        if least > window {
            let strikes = self.strikes;
            return Err(TermError::Crowded {
                strikes,
                least,
                window,
            });
        }
        match self.expiry {
            Some(expiry) if !(SignedDuration::from_hours(1)..=LONGEST_EXPIRY).contains(&expiry) => {
                Err(TermError::Expiry(expiry))
            }
            None if self.doubling => Err(TermError::Doubling),
            _ => Ok(()),
        }
    }
}

impl Default for Terms {
    fn default() -> Self {
        let causes = Cause::ALL.iter().filter(|cause| can_suppress(**cause));
        Self {
            causes: causes.map(|&cause| (cause, Term::of(cause))).collect(),
            domain: Term {
                strikes: 3,
                gap: SignedDuration::ZERO,
                ..Term::of(Cause::DomainNotFound)
            },
        }
    }
}

impl Terms {
    /// The terms of a cause; `None` where it never suppresses.
    #[must_use]
    pub fn of(&self, cause: Cause) -> Option<&Term> {
        self.causes.get(&cause)
    }

    /// The terms of a whole domain that is not found: strikes come from whatever addresses.
    #[must_use]
    pub fn domain(&self) -> &Term {
        &self.domain
    }

    /// Each cause with its terms.
    pub fn iter(&self) -> impl Iterator<Item = (Cause, &Term)> {
        self.causes.iter().map(|(&cause, term)| (cause, term))
    }

    /// The longest window of all: no older strike can count.
    #[must_use]
    pub fn longest_window(&self) -> SignedDuration {
        let windows = self.causes.values().chain([&self.domain]).map(|term| term.window);
        windows.max().unwrap_or(LONGEST_WINDOW)
    }

    /// Sets the terms of a cause, by its name.
    ///
    /// # Errors
    /// [`TermError`], for a cause that never suppresses and for terms out of range.
    pub fn set(&mut self, cause: &str, term: impl FnOnce(Term) -> Term) -> Result<(), TermError> {
        let known = Cause::from_name(cause).and_then(|cause| self.causes.get_mut(&cause));
        let known = known.ok_or_else(|| TermError::Cause {
            found: cause.to_owned(),
            known: names(),
        })?;
        let changed = term(*known);
        changed.check()?;
        *known = changed;
        Ok(())
    }

    /// Sets the terms of a whole domain.
    ///
    /// # Errors
    /// [`TermError`] for terms out of range.
    pub fn set_domain(&mut self, term: impl FnOnce(Term) -> Term) -> Result<(), TermError> {
        let changed = term(self.domain);
        changed.check()?;
        self.domain = changed;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_defaults_are_those_of_the_table() {
        let terms = Terms::default();
        let table = [
            (Cause::UserUnknown, 1, 30, 0, None),
            (Cause::BadAddressSyntax, 1, 30, 0, None),
            (Cause::RecipientMoved, 1, 30, 0, None),
            (Cause::MailboxDisabled, 1, 30, 0, Some(180)),
            (Cause::MailboxFull, 5, 30, 0, Some(30)),
            (Cause::DomainNotFound, 2, 30, 24, Some(90)),
            (Cause::RelayDenied, 3, 7, 0, Some(90)),
            (Cause::Complaint, 1, 30, 0, None),
        ];
        for (cause, strikes, window, gap, expiry) in table {
            let term = terms.of(cause).unwrap();
            assert_eq!(
                (term.strikes, term.window, term.gap, term.expiry),
                (
                    strikes,
                    days(window),
                    SignedDuration::from_hours(gap),
                    expiry.map(days)
                ),
                "{cause}"
            );
            assert_eq!(term.doubling, cause == Cause::MailboxFull, "{cause}");
        }
        assert_eq!(
            (terms.domain().strikes, terms.domain().expiry),
            (3, Some(days(90)))
        );
        assert!(terms.iter().all(|(_, term)| term.check().is_ok()) && terms.domain().check().is_ok());
        for &cause in Cause::ALL {
            assert_eq!(terms.of(cause).is_some(), can_suppress(cause), "{cause}");
        }
    }

    #[test]
    fn expiry_doubles_up_to_a_year_and_ends_on_a_full_hour() {
        let full = Terms::default().of(Cause::MailboxFull).copied().unwrap();
        for (term, expected) in [(1, 30), (2, 60), (3, 120), (4, 240), (5, 365), (u32::MAX, 365)] {
            assert_eq!(full.expires(at(0), term), Some(at(expected * 86_400)), "{term}");
        }
        assert_eq!(full.expires(at(1), 1), Some(at(30 * 86_400 + 3600)));
        assert_eq!(Term::HARD.expires(at(0), 1), None);
        assert_eq!(
            full.expires(Timestamp::MAX, 9).map(|at| at <= Timestamp::MAX),
            Some(true)
        );
        assert_eq!(
            (full.next(None), full.next(Some(2)), Term::HARD.next(Some(2))),
            (1, 3, 1)
        );
    }

    #[test]
    fn terms_out_of_range_say_what_was_expected() {
        let term = Term::of(Cause::MailboxFull);
        let table: [(Term, &str); 8] = [
            (Term { strikes: 0, ..term }, "strikes: expected 1 to 100, found 0"),
            (
                Term { strikes: 101, ..term },
                "strikes: expected 1 to 100, found 101",
            ),
            (
                Term {
                    window: days(366),
                    ..term
                },
                "window: expected 1d to 365d, found 8784h",
            ),
            (
                Term {
                    window: days(1),
                    gap: days(2),
                    ..term
                },
                "gap: expected no more than the window of 24h, found 48h",
            ),
            (
                Term {
                    window: days(2),
                    ..term
                },
                "strikes: 5 of them, a day or the gap apart, take 72h, and the window is 48h",
            ),
            (
                Term {
                    gap: days(10),
                    ..term
                },
                "strikes: 5 of them, a day or the gap apart, take 960h, and the window is 720h",
            ),
            (
                Term {
                    expiry: Some(SignedDuration::from_mins(59)),
                    ..term
                },
                "expiry: expected 1h to 365d or \"never\", found 59m",
            ),
            (
                Term { expiry: None, ..term },
                "doubling: expected an expiry to double, found \"never\"",
            ),
        ];
        for (term, expected) in table {
            assert_eq!(term.check().unwrap_err().to_string(), expected);
        }
        let mut terms = Terms::default();
        for cause in ["rate_limited", "nonsense", ""] {
            let error = terms.set(cause, |term| term).unwrap_err();
            assert!(matches!(error, TermError::Cause { .. }), "{error}");
        }
        terms
            .set("mailbox_full", |term| Term { strikes: 3, ..term })
            .unwrap();
        assert_eq!(terms.of(Cause::MailboxFull).unwrap().strikes, 3);
    }
}
