//! The syslog header of a log line, in the shapes that Postfix's lines are found in:
//!
//! | shape | example | written by |
//! |---|---|---|
//! | traditional (RFC 3164) | `Nov 21 09:40:56 host postfix/smtp[123]: ` | syslogd, `maillog_file` |
//! | ISO (RFC 3339 time) | `2026-11-21T09:40:56.886297+00:00 host postfix/smtp[123]: ` | rsyslog |
//! | RFC 5424 | `<22>1 2026-11-21T09:40:56.886297+00:00 host postfix 123 - - ` | rsyslog, syslog-ng |
//!
//! each perhaps after a byte order mark or a `<PRI>`. A traditional time has neither year nor zone; the
//! [`Calendar`](super::Calendar) supplies both.
//! What fits no shape is a [`HeaderError`]; the line is then none of ours.

use super::calendar::{Stamp, epoch_seconds};
use jiff::Timestamp;

/// Why a line has no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// It starts with no known form of time.
    #[error("expected a time like `Nov 21 09:40:56` or `2026-11-21T09:40:56+00:00`, found neither")]
    Time,
    /// The time is none of this calendar.
    #[error("expected a date and time that exist, found ones that do not")]
    Date,
    /// No `program[pid]:` follows.
    #[error("expected a host and `program[pid]:` after the time, found neither")]
    Tag,
}

/// The header of one line, and the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// When.
    pub stamp: Stamp,
    /// The host, as written; empty where there is none.
    pub host: &'a str,
    /// The program: `postfix/smtp`, `postfix-out/smtp`, or just `postfix` where the service was lost.
    pub program: &'a str,
    /// The process id as written; empty where there is none.
    pub pid: &'a str,
    /// What the program said.
    pub body: &'a str,
}

impl<'a> Header<'a> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`HeaderError`] where the line has none of the shapes above.
    pub fn parse(text: &'a str) -> Result<Self, HeaderError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let text = without_priority(text);
        if let Some(rest) = text.strip_prefix("1 ") {
            return structured(rest);
        }
        let (stamp, rest) = if text.starts_with(|c: char| c.is_ascii_digit()) {
            iso(text)?
        } else {
            traditional(text)?
        };
        let rest = rest.strip_prefix(' ').ok_or(HeaderError::Tag)?;
        tagged(stamp, rest)
    }
}

fn without_priority(text: &str) -> &str {
    let priority = |rest: &'_ str| rest.bytes().take(3).take_while(u8::is_ascii_digit).count();
    text.strip_prefix('<')
        .and_then(|rest| rest[priority(rest)..].strip_prefix('>'))
        .unwrap_or(text)
}

/// RFC 5424 §6, after the version: TIMESTAMP HOSTNAME APP-NAME PROCID MSGID STRUCTURED-DATA MSG.
fn structured(text: &str) -> Result<Header<'_>, HeaderError> {
    let (stamp, rest) = iso(text)?;
    let rest = rest.strip_prefix(' ').ok_or(HeaderError::Tag)?;
    let mut fields = rest.splitn(5, ' ');
    let mut next = || fields.next().ok_or(HeaderError::Tag);
    let (host, program, pid, _message_id, rest) = (next()?, next()?, next()?, next()?, next()?);
    let body = without_structured_data(rest).trim_start_matches([' ', '\u{feff}']);
    let known = |field: &'_ str| field != "-";
    Ok(Header {
        stamp,
        host: if known(host) { host } else { "" },
        program,
        pid: if known(pid) { pid } else { "" },
        body: without_solaris_id(body),
    })
}

/// `-`, or elements like `[id name="value"]` whose values escape `"`, `\` and `]`.
fn without_structured_data(text: &str) -> &str {
    let mut rest = text;
    if let Some(rest) = text.strip_prefix('-') {
        return rest;
    }
    while rest.starts_with('[') {
        let (mut quoted, mut escaped) = (false, false);
        let end = rest.bytes().position(|byte| match byte {
            _ if escaped => {
                escaped = false;
                false
            }
            b'\\' if quoted => {
                escaped = true;
                false
            }
            b'"' => {
                quoted = !quoted;
                false
            }
            byte => byte == b']' && !quoted,
        });
        match end {
            Some(end) => rest = &rest[end + 1..],
            None => return rest,
        }
    }
    rest
}

/// `host program[pid]: body`; some writers leave the host out, others put `mail.info` behind it.
fn tagged(stamp: Stamp, text: &str) -> Result<Header<'_>, HeaderError> {
    let mut rest = text;
    let mut host = "";
    for position in 0..3 {
        let end = memchr::memchr(b' ', rest.as_bytes()).unwrap_or(rest.len());
        let (token, after) = rest.split_at(end);
        let after = after.strip_prefix(' ').unwrap_or(after);
        if let Some(tag) = token.strip_suffix(':') {
            let (program, pid) = match tag.strip_suffix(']').and_then(|tag| tag.rsplit_once('[')) {
                Some(parts) => parts,
                None => (tag, ""),
            };
            return Ok(Header {
                stamp,
                host,
                program,
                pid,
                body: without_solaris_id(after.trim_start_matches(' ')),
            });
        }
        if position == 0 {
            host = token;
        }
        rest = after;
    }
    Err(HeaderError::Tag)
}

/// Without the `[ID 197553 mail.info] ` that Solaris puts in front.
fn without_solaris_id(text: &str) -> &str {
    text.strip_prefix("[ID ")
        .and_then(|rest| rest.split_once("] "))
        .map_or(text, |(_, body)| body)
}

/// Up to `digits` digits as a number, at `at`; `None` where one of them is none.
fn number(text: &[u8], at: usize, digits: usize) -> Option<i32> {
    text.get(at..at + digits)?.iter().try_fold(0, |value, byte| {
        byte.is_ascii_digit().then(|| value * 10 + i32::from(byte - b'0'))
    })
}

/// `09:40:56` at `at`: minutes since midnight and seconds.
fn time_of_day(text: &[u8], at: usize) -> Option<(i16, i8)> {
    let colons = text.get(at + 2) == Some(&b':') && text.get(at + 5) == Some(&b':');
    let (hour, minute, second) = (
        number(text, at, 2)?,
        number(text, at + 3, 2)?,
        number(text, at + 6, 2)?,
    );
    let exists = colons && hour < 24 && minute < 60 && second <= 60;
    exists.then(|| ((hour * 60 + minute) as i16, second.min(59) as i8))
}

/// RFC 3339, the offset optional (then it is local time). Returns what follows.
fn iso(text: &str) -> Result<(Stamp, &str), HeaderError> {
    let bytes = text.as_bytes();
    let shape = bytes.get(4) == Some(&b'-')
        && bytes.get(7) == Some(&b'-')
        && bytes
            .get(10)
            .is_some_and(|separator| matches!(separator, b'T' | b' '));
    let parts = || {
        Some((
            number(bytes, 0, 4)?,
            number(bytes, 5, 2)?,
            number(bytes, 8, 2)?,
            time_of_day(bytes, 11)?,
        ))
    };
    let (year, month, day, (minute, second)) = parts().filter(|_| shape).ok_or(HeaderError::Time)?;
    let (nanosecond, at) = fraction(bytes, 19);
    let local = Stamp::Local {
        year: Some(year as i16),
        month: month as i8,
        day: day as i8,
        minute,
        second,
    };
    let (offset, at) = match bytes.get(at) {
        Some(b'Z') => (0, at + 1),
        Some(sign @ (b'+' | b'-')) => {
            let colon = usize::from(bytes.get(at + 3) == Some(&b':'));
            let hours = number(bytes, at + 1, 2).filter(|hours| *hours < 24);
            let minutes = number(bytes, at + 3 + colon, 2).filter(|minutes| *minutes < 60);
            let seconds = hours
                .zip(minutes)
                .map(|(hours, minutes)| hours * 3600 + minutes * 60);
            let seconds = seconds.ok_or(HeaderError::Time)?;
            (if *sign == b'-' { -seconds } else { seconds }, at + 5 + colon)
        }
        _ => return Ok((local, &text[at..])),
    };
    let civil = local.civil(year as i16).ok_or(HeaderError::Date)?;
    let seconds = epoch_seconds(civil) - i64::from(offset);
    let instant = Timestamp::new(seconds, nanosecond).map_err(|_| HeaderError::Date)?;
    Ok((Stamp::Instant(instant), &text[at..]))
}

/// `.886297` at `at`: nanoseconds, and where it ends.
fn fraction(text: &[u8], at: usize) -> (i32, usize) {
    if text.get(at) != Some(&b'.') {
        return (0, at);
    }
    let digits = text[at + 1..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let kept = digits.min(9);
    let value = number(text, at + 1, kept).unwrap_or_default();
    (value * 10_i32.pow(9 - kept as u32), at + 1 + digits)
}

/// `Nov 21 09:40:56`, the day padded with a blank; some writers add the year behind the day.
fn traditional(text: &str) -> Result<(Stamp, &str), HeaderError> {
    let bytes = text.as_bytes();
    let month = month(bytes).ok_or(HeaderError::Time)?;
    let day = match bytes.get(4) {
        Some(b' ') => number(bytes, 5, 1),
        _ => number(bytes, 4, 2),
    };
    let (year, at) = match number(bytes, 7, 4) {
        Some(year) if bytes.get(11) == Some(&b' ') => (Some(year as i16), 12),
        _ => (None, 7),
    };
    let ((minute, second), day) = time_of_day(bytes, at).zip(day).ok_or(HeaderError::Time)?;
    let (_, end) = fraction(bytes, at + 8);
    let stamp = Stamp::Local {
        year,
        month,
        day: day as i8,
        minute,
        second,
    };
    Ok((stamp, &text[end..]))
}

fn month(text: &[u8]) -> Option<i8> {
    let month = match text.get(..4)? {
        b"Jan " => 1,
        b"Feb " => 2,
        b"Mar " => 3,
        b"Apr " => 4,
        b"May " => 5,
        b"Jun " => 6,
        b"Jul " => 7,
        b"Aug " => 8,
        b"Sep " => 9,
        b"Oct " => 10,
        b"Nov " => 11,
        b"Dec " => 12,
        _ => return None,
    };
    Some(month)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postfix::log::Calendar;
    use jiff::tz::TimeZone;

    fn dated(text: &str, reference: &str, zone: &str) -> Result<String, HeaderError> {
        let mut calendar = Calendar::new(reference.parse().unwrap(), TimeZone::get(zone).unwrap());
        let header = Header::parse(text)?;
        Ok(calendar.resolve(header.stamp)?.to_string())
    }

    #[test]
    fn reads_each_shape() {
        let table = [
            "Nov 21 09:40:56 mx1 postfix/smtp[123]: body: of it",
            "Nov 21 2026 09:40:56 mx1 postfix/smtp[123]: body: of it",
            "<22>Nov 21 09:40:56 mx1 postfix/smtp[123]: body: of it",
            "Nov 21 09:40:56 mx1 mail.info postfix/smtp[123]: body: of it",
            "Nov 21 09:40:56 mx1 postfix/smtp[123]: [ID 197553 mail.info] body: of it",
            "2026-11-21T10:40:56+01:00 mx1 postfix/smtp[123]: body: of it",
            "2026-11-21T09:40:56Z mx1 postfix/smtp[123]: body: of it",
            "\u{feff}2026-11-21T05:10:56-0430 mx1 postfix/smtp[123]: body: of it",
            "2026-11-21T09:40:56 mx1 postfix/smtp[123]: body: of it",
            "<22>1 2026-11-21T09:40:56Z mx1 postfix/smtp 123 - - body: of it",
            "<22>1 2026-11-21T09:40:56Z mx1 postfix/smtp 123 - [x@1 a=\"]\\\"b\"][y] \u{feff}body: of it",
        ];
        for text in table {
            let header = Header::parse(text).unwrap();
            let read = (header.host, header.program, header.pid, header.body);
            assert_eq!(read, ("mx1", "postfix/smtp", "123", "body: of it"), "{text}");
            assert_eq!(
                dated(text, "2026-11-21T12:00:00Z", "UTC").unwrap(),
                "2026-11-21T09:40:56Z",
                "{text}"
            );
        }
    }

    #[test]
    fn fractions_are_kept() {
        let at = dated(
            "2026-11-21T09:40:56.886297+00:00 h p: x",
            "2026-11-21T12:00:00Z",
            "UTC",
        );
        assert_eq!(at.unwrap(), "2026-11-21T09:40:56.886297Z");
    }

    #[test]
    fn what_is_no_header_says_why() {
        let table = [
            ("", HeaderError::Time),
            ("hello world", HeaderError::Time),
            ("Nov 21 09:40", HeaderError::Time),
            ("Nov 21 25:40:56 h p: x", HeaderError::Time),
            ("Nov 31 09:40:56 h p: x", HeaderError::Date),
            ("2026-02-30T09:40:56Z h p: x", HeaderError::Date),
            ("Nov 21 09:40:56", HeaderError::Tag),
            (
                "Nov 21 09:40:56 h last message repeated 2 times",
                HeaderError::Tag,
            ),
            ("<22>1 2026-11-21T09:40:56Z mx1 postfix", HeaderError::Tag),
            ("<22>1 - mx1 postfix 1 - - x", HeaderError::Time),
        ];
        for (text, expected) in table {
            assert_eq!(
                dated(text, "2026-11-21T12:00:00Z", "UTC"),
                Err(expected),
                "{text}"
            );
        }
    }
}
