//! Dates what a log line leaves open: the traditional form of time has neither year nor zone. Both come
//! from a reference instant and a zone that the caller gives; no clock is read here.
//!
//! A day that does not exist (30 February) is a [`HeaderError::Date`].

use super::header::HeaderError;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// A time as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stamp {
    /// With its offset from UTC: an instant.
    Instant(Timestamp),
    /// Local time; the year may be missing.
    Local {
        /// The year, where it is written.
        year: Option<i16>,
        /// 1 to 12.
        month: i8,
        /// 1 to 31.
        day: i8,
        /// Minutes since midnight, 0 to 1439.
        minute: i16,
        /// 0 to 60 (a leap second reads as 59).
        second: i8,
    },
}

/// Dates what has no year or zone, by a reference instant (the present for a live log, a file's
/// modification time for an old one) and the zone of the host that wrote it.
#[derive(Debug, Clone)]
pub struct Calendar {
    reference: Timestamp,
    zone: TimeZone,
    /// The last minute that was dated: lines come in order.
    latest: Option<(Stamp, i64)>,
}

/// Seconds since the epoch of a date and time in UTC (days by the proleptic Gregorian calendar, years
/// counted from March so that the leap day comes last).
pub(super) fn epoch_seconds(civil: DateTime) -> i64 {
    let (month, day) = (i64::from(civil.month()), i64::from(civil.day()));
    let year = i64::from(civil.year()) - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    let time = i64::from(civil.hour()) * 3600 + i64::from(civil.minute()) * 60 + i64::from(civil.second());
    days * 86_400 + time
}

impl Stamp {
    /// The date and time in a year; `None` where that year has no such day, and for instants.
    pub(super) fn civil(self, year: i16) -> Option<DateTime> {
        match self {
            Self::Instant(_) => None,
            Self::Local {
                month,
                day,
                minute,
                second,
                ..
            } => DateTime::new(
                year,
                month,
                day,
                (minute / 60) as i8,
                (minute % 60) as i8,
                second,
                0,
            )
            .ok(),
        }
    }
}

impl Calendar {
    /// A calendar that reads years and offsets as of `reference` in `zone`.
    #[must_use]
    pub fn new(reference: Timestamp, zone: TimeZone) -> Self {
        Self {
            reference,
            zone,
            latest: None,
        }
    }

    /// Moves the reference, for a log that is followed for long.
    pub fn set_reference(&mut self, reference: Timestamp) {
        self.reference = reference;
        self.latest = None;
    }

    /// The instant of a stamp. Without a year it is the latest one that lies at most a day after the
    /// reference (clocks differ, zones too). Where clocks are set back, the first of the two.
    ///
    /// # Errors
    /// [`HeaderError::Date`] where there is no such day.
    pub fn resolve(&mut self, stamp: Stamp) -> Result<Timestamp, HeaderError> {
        let Stamp::Local { second, .. } = stamp else {
            let Stamp::Instant(instant) = stamp else {
                return Err(HeaderError::Date);
            };
            return Ok(instant);
        };
        let minute = stamp.whole_minute();
        let start = match self.latest {
            Some((known, start)) if known == minute => start,
            _ => {
                let start = self.date(minute)?;
                self.latest = Some((minute, start));
                start
            }
        };
        Timestamp::from_second(start + i64::from(second)).map_err(|_| HeaderError::Date)
    }

    fn date(&self, stamp: Stamp) -> Result<i64, HeaderError> {
        const DAY: i64 = 86_400;
        let instant = |year: i16| {
            let civil = stamp.civil(year)?;
            let zoned = self.zone.to_ambiguous_timestamp(civil).compatible().ok()?;
            Some(zoned.as_second())
        };
        if let Stamp::Local { year: Some(year), .. } = stamp {
            return instant(year).ok_or(HeaderError::Date);
        }
        let this_year = self.zone.to_datetime(self.reference).year();
        // 29 February comes after 8 years at the latest (around 1900 and 2100).
        (0..=9)
            .filter_map(|back| instant(this_year + 1 - back))
            .find(|second| *second <= self.reference.as_second() + DAY)
            .ok_or(HeaderError::Date)
    }
}

impl Stamp {
    fn whole_minute(self) -> Self {
        match self {
            Self::Local {
                year,
                month,
                day,
                minute,
                ..
            } => Self::Local {
                year,
                month,
                day,
                minute,
                second: 0,
            },
            Self::Instant(_) => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postfix::log::header::Header;

    fn dated(text: &str, reference: &str, zone: &str) -> Result<String, HeaderError> {
        let mut calendar = Calendar::new(reference.parse().unwrap(), TimeZone::get(zone).unwrap());
        let header = Header::parse(text)?;
        Ok(calendar.resolve(header.stamp)?.to_string())
    }

    #[test]
    fn years_and_zones_come_from_the_calendar() {
        let table = [
            (
                "Dec 31 23:59:59",
                "2027-01-01T00:00:05Z",
                "UTC",
                "2026-12-31T23:59:59Z",
            ),
            (
                "Jan  1 00:00:01",
                "2026-12-31T23:59:59Z",
                "UTC",
                "2027-01-01T00:00:01Z",
            ),
            (
                "Jan  3 00:00:01",
                "2026-12-31T23:59:59Z",
                "UTC",
                "2026-01-03T00:00:01Z",
            ),
            (
                "Feb 29 12:00:00",
                "2027-03-01T00:00:00Z",
                "UTC",
                "2024-02-29T12:00:00Z",
            ),
            (
                "Jul  1 12:00:00",
                "2026-07-02T00:00:00Z",
                "Europe/Berlin",
                "2026-07-01T10:00:00Z",
            ),
            (
                "Oct 25 02:30:00",
                "2026-11-01T00:00:00Z",
                "Europe/Berlin",
                "2026-10-25T00:30:00Z",
            ),
            (
                "Mar 29 02:30:00",
                "2026-11-01T00:00:00Z",
                "Europe/Berlin",
                "2026-03-29T01:30:00Z",
            ),
        ];
        for (stamp, reference, zone, expected) in table {
            assert_eq!(
                dated(&format!("{stamp} h p[1]: x"), reference, zone).unwrap(),
                expected,
                "{stamp}"
            );
        }
    }

    #[test]
    fn dates_agree_with_the_calendar_of_jiff() {
        for text in [
            "1970-01-01T00:00:00",
            "2000-02-29T23:59:59",
            "2024-12-31T12:00:00",
            "2100-03-01T00:00:00",
            "1969-07-20T20:17:40",
        ] {
            let civil: DateTime = text.parse().unwrap();
            assert_eq!(
                epoch_seconds(civil),
                civil.to_zoned(TimeZone::UTC).unwrap().timestamp().as_second(),
                "{text}"
            );
        }
    }
}
