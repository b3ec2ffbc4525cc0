//! Times as the services write them: RFC 3339 (Amazon SES, Postmark, SparkPost), RFC 5322 (Mailgun), seconds since
//! the epoch (SendGrid, the API of Amazon SES), and the date and time of a spreadsheet, taken as UTC.
//!
//! What is no time is `None`: a line is not lost over it.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::fmt::rfc2822;
use jiff::tz::TimeZone;

/// Greater numbers of seconds are milliseconds: it is the year 5138.
const SECONDS: f64 = 1e11;
/// 1990-01-01, in seconds since the epoch.
const EARLIEST: i64 = 631_152_000;

/// Reads a time. One before the first export of such a list was none: services write the year 1 for "unknown".
#[must_use]
pub(super) fn read(text: &str) -> Option<Timestamp> {
    any(text).filter(|at| at.as_second() > EARLIEST)
}

fn any(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if let Ok(number) = text.parse::<f64>() {
        return epoch(number);
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(at);
    }
    // Mailgun writes "UTC" where RFC 5322 knows "UT" and "GMT".
    let mail = text.strip_suffix("UTC").map(|rest| format!("{rest}GMT"));
    if let Ok(at) = rfc2822::parse(mail.as_deref().unwrap_or(text)) {
        return Some(at.timestamp());
    }
    let bare = text.strip_suffix("UTC").unwrap_or(text).trim_end();
    let at = bare.parse::<DateTime>().ok().or_else(|| {
        Some(
            bare.parse::<Date>()
                .ok()?
                .to_datetime(jiff::civil::Time::midnight()),
        )
    })?;
    Some(at.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

fn epoch(number: f64) -> Option<Timestamp> {
    let seconds = if number.abs() >= SECONDS {
        number / 1000.0
    } else {
        number
    };
    if !seconds.is_finite() {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "Timestamp bounds it")]
    Timestamp::from_microsecond((seconds * 1e6) as i64).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_all_services_are_read() {
        let table = [
            ("2023-11-14T22:13:20Z", Some(1_700_000_000)),
            ("2023-11-14T17:13:20-05:00", Some(1_700_000_000)),
            ("2023-11-14T22:13:20.000000+00:00", Some(1_700_000_000)),
            ("Tue, 14 Nov 2023 22:13:20 UTC", Some(1_700_000_000)),
            ("Tue, 14 Nov 2023 22:13:20 GMT", Some(1_700_000_000)),
            ("Tue, 14 Nov 2023 22:13:20 +0000", Some(1_700_000_000)),
            ("1700000000", Some(1_700_000_000)),
            ("1700000000.0", Some(1_700_000_000)),
            ("1700000000000", Some(1_700_000_000)),
            ("2023-11-14 22:13:20", Some(1_700_000_000)),
            ("2023-11-14 22:13:20 UTC", Some(1_700_000_000)),
            ("2023-11-14", Some(1_699_920_000)),
            ("", None),
            ("yesterday", None),
            ("12", None),
            ("Mon, 01 Jan 0001 00:00:00 UTC", None),
            ("NaN", None),
            ("inf", None),
            ("-1e300", None),
        ];
        for (text, second) in table {
            assert_eq!(read(text).map(Timestamp::as_second), second, "{text}");
        }
    }
}
