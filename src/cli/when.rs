//! Times and spans as people type them: `2026-11-21`, `2026-11-21T09:00:00Z`, `30d`, `12h`.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp};
use std::str::FromStr;

/// A point in time, or how far it is from now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// This one.
    At(Timestamp),
    /// So far away.
    Off(SignedDuration),
}

impl When {
    /// The time, where it is told by how long ago.
    #[must_use]
    pub fn before(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::Off(span) => now.checked_sub(span).unwrap_or(Timestamp::MIN),
        }
    }

    /// The time, where it is told by how long it will be.
    #[must_use]
    pub fn after(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::Off(span) => now.checked_add(span).unwrap_or(Timestamp::MAX),
        }
    }
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(at) = text.parse::<Timestamp>() {
            return Ok(Self::At(at));
        }
        let midnight = jiff::civil::Time::midnight();
        let day = || Some(text.parse::<Date>().ok()?.to_datetime(midnight));
        let civil = text
            .parse::<DateTime>()
            .ok()
            .filter(|_| text.contains(['T', ' ']))
            .or_else(day);
        if let Some(at) = civil.and_then(|civil| civil.to_zoned(TimeZone::UTC).ok()) {
            return Ok(Self::At(at.timestamp()));
        }
        let span = text.parse::<Span>().ok();
        let span = span.and_then(|span| span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).ok());
        match span.filter(|span| span.is_positive()) {
            Some(span) => Ok(Self::Off(span)),
            None => Err(format!(
                "expected a time like 2026-11-21 or 2026-11-21T09:00:00Z (UTC), or a span like 30d or 12h, found {text:?}"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_spans_are_read() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        let table = [
            ("2026-11-01", "2026-11-01T00:00:00Z"),
            ("2026-11-01T09:30:00Z", "2026-11-01T09:30:00Z"),
            ("2026-11-01 09:30", "2026-11-01T09:30:00Z"),
            ("2026-11-01T09:30:00+01:00", "2026-11-01T08:30:00Z"),
            ("30d", "2026-10-22T12:00:00Z"),
            ("1w", "2026-11-14T12:00:00Z"),
            ("12h", "2026-11-21T00:00:00Z"),
            ("1h 30m", "2026-11-21T10:30:00Z"),
        ];
        for (text, before) in table {
            let when: When = text.parse().unwrap();
            assert_eq!(when.before(now).to_string(), before, "{text}");
        }
        assert_eq!(
            "2d".parse::<When>().unwrap().after(now).to_string(),
            "2026-11-23T12:00:00Z"
        );
        for bad in ["", "yesterday", "-3d", "0s", "30", "2026-13-01", "1y"] {
            assert!(bad.parse::<When>().is_err(), "{bad}");
        }
    }
}
