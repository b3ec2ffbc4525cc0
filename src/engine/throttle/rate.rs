//! Rates as people write them: `5/s`, `300/min`, `1000/h`.
//!
//! Kept as a whole number of messages a day, so that what was written comes back as it was written: a day is a
//! whole number of each unit.

use std::fmt;
use std::str::FromStr;

/// Messages a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
#[serde(try_from = "String")]
pub struct Rate(u64);

impl TryFrom<String> for Rate {
    type Error = RateError;

    fn try_from(text: String) -> Result<Self, RateError> {
        text.parse()
    }
}

/// The units: what they are called, and how many there are in a day.
const UNITS: [(&str, u64); 3] = [("s", 86_400), ("min", 1440), ("h", 24)];
/// Other names of the same.
const ALIASES: [(&str, &str); 8] = [
    ("sec", "s"),
    ("second", "s"),
    ("m", "min"),
    ("minute", "min"),
    ("hr", "h"),
    ("hour", "h"),
    ("seconds", "s"),
    ("minutes", "min"),
];
/// Seconds in a day.
const DAY: f64 = 86_400.0;

/// No rate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RateError {
    /// It is not written like one.
    #[error("expected a number and a unit of time, as in 5/s, 300/min or 1000/h, found {0:?}")]
    Form(String),
    /// It is too slow or too fast.
    #[error("expected from {} to {}, found {found:?}{}", Rate::LEAST, Rate::MOST, hint(*slow))]
    Range {
        /// What was given.
        found: String,
        /// Whether it is too slow.
        slow: bool,
    },
}

fn hint(slow: bool) -> &'static str {
    if slow {
        ": to send nothing, pause the lane"
    } else {
        ": for no limit, set none"
    }
}

impl Rate {
    /// The slowest: one an hour.
    pub const LEAST: Self = Self(24);
    /// The fastest: 10,000 a second.
    pub const MOST: Self = Self(10_000 * 86_400);

    /// Messages a second.
    #[must_use]
    pub fn per_second(self) -> f64 {
        self.0 as f64 / DAY
    }

    /// Messages a day.
    #[must_use]
    pub fn per_day(self) -> u64 {
        self.0
    }

    /// The rate of so many a day, within the range.
    #[must_use]
    pub fn of_days(per_day: u64) -> Self {
        Self(per_day).clamp(Self::LEAST, Self::MOST)
    }

    /// The rate of so many a second, to the nearest whole number a day and within the range.
    #[must_use]
    pub fn of_seconds(per_second: f64) -> Self {
        // A float becomes the nearest end where it lies outside.
        Self((per_second * DAY).round() as u64).clamp(Self::LEAST, Self::MOST)
    }
}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let form = || RateError::Form(text.to_owned());
        let (number, unit) = text.split_once('/').ok_or_else(form)?;
        let unit = unit.trim().to_ascii_lowercase();
        let unit = ALIASES
            .iter()
            .find(|(alias, _)| *alias == unit)
            .map_or(unit.as_str(), |(_, name)| name);
        let (_, in_a_day) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(form)?;
        let number: f64 = number.trim().parse().map_err(|_| form())?;
        if !number.is_finite() {
            return Err(form());
        }
        let per_day = (number * *in_a_day as f64).round();
        let range = |slow| RateError::Range {
            found: text.to_owned(),
            slow,
        };
        if per_day < Self::LEAST.0 as f64 {
            return Err(range(true));
        }
        if per_day > Self::MOST.0 as f64 {
            return Err(range(false));
        }
        Ok(Self(per_day as u64))
    }
}

impl fmt::Display for Rate {
    /// In whole numbers of the unit that people would choose: the largest number below 10,000.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |in_a_day: u64| self.0.is_multiple_of(in_a_day).then_some(self.0 / in_a_day);
        let per = |unit: usize| whole(UNITS[unit].1).map(|number| (number, UNITS[unit].0));
        let chosen = match (per(0), per(1), per(2)) {
            (_, Some((n, unit)), _) if n < 10_000 => Some((n, unit)),
            (Some(seconds), ..) => Some(seconds),
            (_, Some(minutes), _) => Some(minutes),
            (_, _, hours) => hours,
        };
        match chosen {
            Some((number, unit)) => write!(f, "{number}/{unit}"),
            None if self.0 >= 1440 => write!(f, "{:.1}/min", self.0 as f64 / 1440.0),
            None => write!(f, "{:.1}/h", self.0 as f64 / 24.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rates_are_read_and_written() {
        let table = [
            ("5/s", "300/min", 5.0),
            ("300/min", "300/min", 5.0),
            ("20/m", "20/min", 1.0 / 3.0),
            ("1000/h", "1000/h", 1000.0 / 3600.0),
            ("1/hour", "1/h", 1.0 / 3600.0),
            ("0.5/s", "30/min", 0.5),
            (" 7 / MIN ", "7/min", 7.0 / 60.0),
            ("10000/s", "10000/s", 10_000.0),
            ("2.5/h", "2.5/h", 2.5 / 3600.0),
        ];
        for (text, written, per_second) in table {
            let rate: Rate = text.parse().unwrap();
            assert_eq!(rate.to_string(), written, "{text}");
            assert_eq!(rate.per_second(), per_second, "{text}");
        }
    }

    #[test]
    fn what_is_none_is_refused_with_the_range() {
        for text in [
            "",
            "fast",
            "300",
            "300/",
            "/min",
            "300/fortnight",
            "nan/s",
            "inf/s",
            "1e999/s",
        ] {
            let error = text.parse::<Rate>().unwrap_err().to_string();
            assert!(
                error.starts_with("expected a number and a unit of time"),
                "{text}: {error}"
            );
        }
        for (text, fix) in [
            ("0/min", "pause the lane"),
            ("-5/s", "pause the lane"),
            ("0.5/h", "pause the lane"),
            ("10001/s", "set none"),
        ] {
            let error = text.parse::<Rate>().unwrap_err().to_string();
            assert!(
                error.starts_with("expected from 1/h to 10000/s") && error.contains(fix),
                "{text}: {error}"
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_stored_comes_back(per_day in Rate::LEAST.0..=Rate::MOST.0) {
            prop_assert_eq!(Rate::of_seconds(Rate(per_day).per_second()), Rate(per_day));
        }
    }
}
