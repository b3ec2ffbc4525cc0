//! The incident guard: on one bad day of a provider, nobody is suppressed for good.
//!
//! A provider whose directory is out of order answers `550 5.1.1 no such user` for mailboxes that live. Each such
//! answer is as good as a true one; only together do they tell. So of every provider, and of every domain that
//! refuses anybody, it is counted by the hour how many answers there were (deliveries, and refusals that are the
//! recipient's fault and final) and how many of them were faults, and the last hour is held against the fortnight
//! before.
//!
//! **The test.** An hour, or that hour and the one before it, is an incident where all of these hold:
//! - `min_answers` (50) answers and `min_faults` (20) faults at least: fewer cost few addresses, and show little;
//! - the faults cannot be chance. With a share of faults `p`, `k` or more among `n` answers come with a probability
//!   of at most `exp(-n·KL(k/n ‖ p))` (Chernoff's bound on the binomial tail); the exponent must exceed `surprise`
//!   (14: one in a million). A bound and not an approximation, so it holds for small numbers too;
//! - and not even at `factor` (2) times the share that is normal, `floor` (2 %) at least: lists differ from one
//!   campaign to the next, and what is merely a worse list must not raise an alarm.
//!
//! The normal share is `(faults + 10) / (answers + 200)` over `days` (14): what is hardly known counts as 5 %, and as
//! itself once a few hundred answers are known. Hours of incidents are left out of it.
//!
//! Where nearly all that is seen of a name are faults (only bounces reach Nixie; or no server answers at all), a share
//! says nothing, and the number is tested instead: against `rate_factor` (4) times the usual number of an hour, by
//! Chernoff's bound on the Poisson tail, with the same `surprise`.
//!
//! **States** of a name: normal → incident (the test trips) → normal again, when the last full hours look normal
//! (exponent below [`CALM`] at the normal share itself: harder to end than not to begin), or when nothing was
//! answered for `quiet` (2 h), or after `max_length` (24 h): by then, what is seen is the new normal, and
//! the fortnight is counted anew from there.
//!
//! The clock of an incident is the events' own: a log that is caught up with after a day is judged as it would have
//! been on that day. Nothing here can fail.

use super::super::verdict::named;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::fmt;

/// An incident ends when the last full hours are no more surprising than this: one in twenty.
pub const CALM: f64 = 3.0;
/// No configured `min_faults` is lower: below it, the store is not asked what is normal.
pub const LEAST_FAULTS: u64 = 10;
/// Beyond this share of faults, a share says nothing.
const MUTE: f64 = 0.9;

named! {
    /// What a name in the census is the name of.
    Kind {
        /// A provider, as lanes know it.
        Provider = "provider",
        /// A recipient's domain.
        Domain = "domain",
    }
}

named! {
    /// Why an incident ended.
    End {
        /// The share of faults is as it used to be.
        Calm = "calm",
        /// Nothing was answered for a while.
        Quiet = "quiet",
        /// It lasted so long that it is the new normal.
        Normal = "normal",
    }
}

/// Who answers: a provider or a domain.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Site {
    /// Which of them.
    pub kind: Kind,
    /// Its name; a provider's is empty where no server answered.
    pub name: Box<str>,
}

/// How many answers, and how many of them faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Census {
    /// Deliveries, and permanent refusals that are the recipient's fault.
    pub answers: u64,
    /// The refusals among them.
    pub faults: u64,
}

/// What is normal for a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Normal {
    /// All that was counted.
    pub census: Census,
    /// Over so many hours, in which something was.
    pub hours: u64,
}

/// A span of time in which what a site says of recipients is not believed.
#[derive(Debug, Clone, PartialEq)]
pub struct Incident {
    /// Its number; 0 before it was stored.
    pub id: i64,
    /// Whose.
    pub site: Site,
    /// From when on.
    pub began: Timestamp,
    /// Until when, and why then; `None` while it lasts.
    pub ended: Option<(Timestamp, End)>,
    /// What tripped it.
    pub census: Census,
    /// The share of faults that was normal, 0 to 1.
    pub baseline: f64,
}

/// How the guard judges: the numbers of the module's head.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Guard {
    /// Whether it does at all.
    pub enabled: bool,
    /// Answers that it takes, at least 1.
    pub min_answers: u64,
    /// Faults that it takes, at least [`LEAST_FAULTS`].
    pub min_faults: u64,
    /// The exponent that must be exceeded, above [`CALM`].
    pub surprise: f64,
    /// How many times the normal share is still no incident, at least 1.
    pub factor: f64,
    /// What share never is one, 0 to 1.
    pub floor: f64,
    /// How many times the normal number is still no incident, at least 1.
    pub rate_factor: f64,
    /// The days that are normal, 1 to 90.
    pub days: u16,
    /// An incident ends when nothing was answered for so long.
    pub quiet: SignedDuration,
    /// No incident is longer.
    pub max_length: SignedDuration,
    /// How long a quarantined entry waits to be confirmed, before it is dropped.
    pub keep: SignedDuration,
}

/// What changes with new counts.
#[derive(Debug, Clone, PartialEq)]
pub enum Turn {
    /// An incident begins; it has no number yet.
    Begins(Incident),
    /// The incident ends.
    Ends(Timestamp, End),
}

/// What is weighed at a site.
#[derive(Debug, Clone, Copy)]
pub struct Sight<'a> {
    /// The counts by hour ([`hour`]), those of the new events included.
    pub hours: &'a BTreeMap<i64, Census>,
    /// What is normal.
    pub normal: &'a Normal,
    /// The site's incidents that are known, in whatever order.
    pub incidents: &'a [Incident],
    /// When the latest of the new events happened.
    pub clock: Timestamp,
}

impl Default for Guard {
    fn default() -> Self {
        Self {
            enabled: true,
            min_answers: 50,
            min_faults: 20,
            surprise: 14.0,
            factor: 2.0,
            floor: 0.02,
            rate_factor: 4.0,
            days: 14,
            quiet: SignedDuration::from_hours(2),
            max_length: SignedDuration::from_hours(24),
            keep: SignedDuration::from_hours(24 * 30),
        }
    }
}

/// The hour of a time: hours since 1970-01-01 00:00 UTC.
#[must_use]
pub fn hour(at: Timestamp) -> i64 {
    at.as_second().div_euclid(3600)
}

/// When an hour begins.
#[must_use]
pub fn begins(hour: i64) -> Timestamp {
    Timestamp::from_second(hour.saturating_mul(3600)).unwrap_or(Timestamp::MAX)
}

impl Site {
    /// A site of this name; of a longer one, the first [`Site::OCTETS`] octets.
    #[must_use]
    pub fn new(kind: Kind, name: &str) -> Self {
        let name = &name[..name.floor_char_boundary(Self::OCTETS)];
        Self {
            kind,
            name: name.into(),
        }
    }

    /// No name is longer.
    pub const OCTETS: usize = 255;
}

impl Census {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            answers: self.answers.saturating_add(other.answers),
            faults: self.faults.saturating_add(other.faults),
        }
    }
}

impl Normal {
    /// The share of faults, with what is taken for granted before anything is known.
    #[must_use]
    pub fn share(&self) -> f64 {
        (real(self.census.faults) + 10.0) / (real(self.census.answers) + 200.0)
    }

    /// Faults in an hour.
    #[must_use]
    pub fn rate(&self) -> f64 {
        (real(self.census.faults) + 10.0) / real(self.hours.max(24))
    }
}

impl Incident {
    /// Whether it lasts.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.ended.is_none()
    }

    /// Whether what happened at that time is part of it.
    #[must_use]
    pub fn covers(&self, at: Timestamp) -> bool {
        self.began <= at && self.ended.is_none_or(|(end, _)| at <= end)
    }
}

/// What happened, in a sentence.
impl fmt::Display for Incident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, name, census) = (self.site.kind, &self.site.name, self.census);
        match (kind, &**name) {
            (Kind::Provider, "") => f.write_str("without any server's answer, ")?,
            _ => write!(f, "{kind} {name}: ")?,
        }
        match self.ended {
            None => write!(
                f,
                "{} of {} recipients refused for good since {}, where {:.1} % are normal; what is said of \
                 recipients there is not believed until it is over",
                census.faults,
                census.answers,
                self.began.strftime("%F %R"),
                self.baseline * 100.0
            ),
            Some((at, End::Normal)) => write!(f, "since {} it is the new normal", at.strftime("%F %R")),
            Some((at, _)) => write!(f, "over since {}", at.strftime("%F %R")),
        }
    }
}

impl Guard {
    /// From which hour on what was counted tells what is normal at `clock`: the fortnight, or less where an incident
    /// in it became the new normal.
    #[must_use]
    pub fn normal_since(&self, incidents: &[Incident], clock: Timestamp) -> i64 {
        let renewed = incidents
            .iter()
            .filter(|i| matches!(i.ended, Some((_, End::Normal))));
        let renewed = renewed.map(|incident| hour(incident.began)).max();
        let days = hour(clock).saturating_sub(24 * i64::from(self.days));
        renewed.map_or(days, |renewed| renewed.max(days))
    }

    /// What changes at a site. Asked again about the same, it says the same.
    #[must_use]
    pub fn turn(&self, site: &Site, sight: &Sight<'_>) -> Option<Turn> {
        match sight.incidents.iter().find(|incident| incident.is_open()) {
            Some(open) => self.end(open, sight).map(|end| Turn::Ends(sight.clock, end)),
            None if self.enabled => self.begin(site, sight).map(Turn::Begins),
            None => None,
        }
    }

    /// Whether the counts of a window of so many hours are an incident.
    #[must_use]
    pub fn trips(&self, window: Census, hours: u32, normal: &Normal) -> bool {
        window.answers >= self.min_answers
            && window.faults >= self.min_faults
            && self.surprise_of(window, hours, normal, self.factor) > self.surprise
    }

    /// How surprising the counts are where the faults are `factor` times what is normal.
    fn surprise_of(&self, window: Census, hours: u32, normal: &Normal, factor: f64) -> f64 {
        let share = (factor * normal.share()).max(self.floor);
        if share <= MUTE {
            return binomial(window, share);
        }
        poisson(
            window.faults,
            factor.max(1.0) / self.factor * self.rate_factor * normal.rate() * f64::from(hours),
        )
    }

    fn begin(&self, site: &Site, sight: &Sight<'_>) -> Option<Incident> {
        let told = |at: i64| sight.hours.get(&at).copied().unwrap_or_default();
        // What an earlier incident covers needs no new one.
        let after = sight.incidents.iter().filter_map(|incident| incident.ended);
        let after = after.map(|(end, _)| hour(end)).max().unwrap_or(i64::MIN);
        sight.hours.keys().filter(|&&at| at > after).find_map(|&at| {
            let one = told(at);
            let before = if at - 1 > after {
                told(at - 1)
            } else {
                Census::default()
            };
            let (census, first) = if self.trips(one, 1, sight.normal) {
                (one, at)
            } else if self.trips(one.plus(before), 2, sight.normal) {
                (one.plus(before), at - 1)
            } else {
                return None;
            };
            Some(Incident {
                id: 0,
                site: site.clone(),
                began: begins(first),
                ended: None,
                census,
                baseline: sight.normal.share(),
            })
        })
    }

    fn end(&self, open: &Incident, sight: &Sight<'_>) -> Option<End> {
        let lasted = sight.clock.duration_since(open.began);
        if lasted >= self.max_length {
            return Some(End::Normal);
        }
        let (now, first) = (hour(sight.clock), hour(open.began));
        let full = |at: i64| (at > first).then(|| sight.hours.get(&at).copied()).flatten();
        let last = full(now - 1).unwrap_or_default();
        if last.answers > 0 {
            let before = full(now - 2).filter(|_| last.answers < self.min_answers);
            let hours = 1 + u32::from(before.is_some());
            let window = last.plus(before.unwrap_or_default());
            return (self.surprise_of(window, hours, sight.normal, 1.0) < CALM).then_some(End::Calm);
        }
        let heard = sight
            .hours
            .range(..now)
            .rev()
            .find(|(_, census)| census.answers > 0);
        let since = heard
            .map_or(open.began, |(&at, _)| begins(at + 1))
            .max(open.began);
        (sight.clock.duration_since(since) >= self.quiet).then_some(End::Quiet)
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn real(n: u64) -> f64 {
    n as f64
}

/// The exponent of Chernoff's bound on the probability of `k` or more faults among `n` answers, at a share of `p`: `n`
/// times the Kullback-Leibler divergence of `k/n` from `p`. 0 where there are no more than expected.
fn binomial(window: Census, p: f64) -> f64 {
    let (n, k) = (real(window.answers), real(window.faults.min(window.answers)));
    if n == 0.0 || k <= n * p {
        return 0.0;
    }
    let faults = k * (k / (n * p)).ln();
    let rest = n - k;
    if rest == 0.0 {
        return faults;
    }
    faults + rest * (rest / (n * (1.0 - p))).ln()
}

/// The same for a Poisson distribution of mean `mean`.
fn poisson(faults: u64, mean: f64) -> f64 {
    let k = real(faults);
    if k <= mean {
        return 0.0;
    }
    k * (k / mean).ln() - k + mean
}

#[cfg(test)]
mod tests;
