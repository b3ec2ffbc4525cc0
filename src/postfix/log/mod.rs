//! Postfix's log: lines in, [`Event`](crate::mail::event::Event)s out.
//!
//! - [`decode`]: octets to text.
//! - [`header`]: the syslog header in each of its shapes; [`calendar`] dates it.
//! - [`mod@line`]: what a Postfix line says, borrowed from its text.
//! - [`delivery`]: the `to=<…>, relay=…, status=… (…)` lines.
//! - [`join`]: lines to events, with what earlier lines said about the same message.
//!
//! Two parties choose parts of these lines that are not ours: whoever writes an address, and the server
//! that replies. Fields are therefore read strictly from left to right, quoted local parts as one, and
//! the last field (the reason) takes all that is left; nothing is ever searched for.
//!
//! A line that is not Postfix's, or not of interest, is no error of its file: readers go on with the next.

use std::borrow::Cow;

pub mod calendar;
pub mod delivery;
pub mod header;
pub mod join;
pub mod line;
mod memory;

pub use calendar::Calendar;
pub use header::HeaderError;
pub use join::Joiner;
pub use line::{Entry, Line, LineError};

/// The text of a line: what is no UTF-8 becomes U+FFFD, NUL becomes `?` (as Postfix itself shows control
/// characters; databases refuse it), and the line's end goes.
#[must_use]
pub fn decode(bytes: &[u8]) -> Cow<'_, str> {
    let end = bytes
        .iter()
        .rposition(|byte| !matches!(byte, b'\n' | b'\r'))
        .map_or(0, |last| last + 1);
    let text = String::from_utf8_lossy(&bytes[..end]);
    match memchr::memchr(0, &bytes[..end]) {
        Some(_) => Cow::Owned(text.replace('\0', "?")),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoding_leaves_text_that_every_store_takes() {
        assert_eq!(decode(b"a\0b\xffc\r\n"), "a?b\u{fffd}c");
        assert!(matches!(decode("köln\n".as_bytes()), Cow::Borrowed("köln")));
        assert_eq!(decode(b"\n"), "");
    }
}
