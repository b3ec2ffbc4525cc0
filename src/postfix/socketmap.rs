//! Postfix's socketmap protocol (socketmap_table(5)): a request `map key` and its reply, each a
//! netstring (<https://cr.yp.to/proto/netstrings.txt>).
//!
//! The grammar is read strictly: a length has no leading zeros and is within [`MAX_REQUEST`] before a
//! single octet behind it is awaited, and the comma stands where it belongs. What breaks it is a
//! [`SocketmapError`]; its text goes back as [`Answer::Perm`] and the connection is closed, because
//! the place where the next request begins is lost.

use super::text::{excerpt, push_line};
use std::fmt;

/// The longest request read, in octets without the framing: what Postfix itself allows for a reply.
pub const MAX_REQUEST: usize = 100_000;

/// The most digits of a length: [`MAX_REQUEST`] has six.
const MAX_DIGITS: usize = 6;

/// A look-up, borrowed from the bytes it came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// The name of the map; a name that is no UTF-8 is read as empty, and there is no such map.
    pub map: &'a str,
    /// The key; one that is no UTF-8 is read as empty, and nothing is known under it.
    pub key: &'a str,
}

/// Why the stream cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SocketmapError {
    /// No digit, a leading zero or a length without its colon.
    #[error("expected a netstring like `13:map user@x.org,`, found {0:?}")]
    Length(String),
    /// A length beyond [`MAX_REQUEST`].
    #[error("expected a request of at most {MAX_REQUEST} octets, found a length of {0}")]
    TooLong(String),
    /// Another octet than the comma at the end.
    #[error("expected a comma after {length} octets, found {found:?}")]
    Comma {
        /// The length that was announced.
        length: usize,
        /// What stands there.
        found: String,
    },
    /// No space between map and key.
    #[error("expected `map key`, found {0:?}")]
    NoKey(String),
}

/// A reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Found.
    Ok(String),
    /// Not found.
    NotFound,
    /// Try again later: Postfix defers the mail.
    Temp(String),
    /// It took too long: Postfix defers the mail.
    Timeout(String),
    /// The request makes no sense: Postfix defers the mail and says so in its log.
    Perm(String),
}

impl Answer {
    /// Appends the reply as it goes over the wire: one line of printable ASCII in a netstring.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (word, text) = match self {
            Self::Ok(data) => ("OK ", data.as_str()),
            Self::NotFound => ("NOTFOUND ", ""),
            Self::Temp(reason) => ("TEMP ", reason.as_str()),
            Self::Timeout(reason) => ("TIMEOUT ", reason.as_str()),
            Self::Perm(reason) => ("PERM ", reason.as_str()),
        };
        if text.is_empty() {
            return push_netstring(out, word.as_bytes());
        }
        let mut line = Vec::with_capacity(word.len() + text.len());
        line.extend_from_slice(word.as_bytes());
        push_line(&mut line, text);
        push_netstring(out, &line);
    }
}

fn push_netstring(out: &mut Vec<u8>, content: &[u8]) {
    out.extend_from_slice(content.len().to_string().as_bytes());
    out.push(b':');
    out.extend_from_slice(content);
    out.push(b',');
}

impl fmt::Display for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.map, self.key)
    }
}

/// Cuts a byte stream into requests. It holds what is not yet complete, and nothing while idle.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// Where the next request begins.
    start: usize,
}

impl Decoder {
    /// Takes in what arrived.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next complete request; `None` where more must arrive first.
    ///
    /// # Errors
    /// [`SocketmapError`]: answer [`Answer::Perm`] with it and close the connection.
    pub fn decode(&mut self) -> Result<Option<Request<'_>>, SocketmapError> {
        let Some((digits, length)) = length(&self.buffer[self.start..])? else {
            self.release();
            return Ok(None);
        };
        let from = self.start + digits + 1;
        let end = from + length;
        let Some(&comma) = self.buffer.get(end) else {
            return Ok(None);
        };
        if comma != b',' {
            let found = excerpt(&self.buffer[end..]);
            return Err(SocketmapError::Comma { length, found });
        }
        self.start = end + 1;
        parse(&self.buffer[from..end]).map(Some)
    }

    /// How many octets of an incomplete request are held.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// Gives the memory of an unusually long request back once nothing is held.
    fn release(&mut self) {
        const KEPT: usize = 4096;
        if self.waiting() == 0 && self.buffer.capacity() > KEPT {
            *self = Self::default();
        }
    }
}

/// Reads the length before the colon: how many digits it has, and what it says. `None` where it may
/// still go on.
fn length(bytes: &[u8]) -> Result<Option<(usize, usize)>, SocketmapError> {
    let digits = bytes.iter().take_while(|b| b.is_ascii_digit()).count();
    let malformed = || SocketmapError::Length(excerpt(bytes));
    let number = &bytes[..digits];
    if number.len() > 1 && number[0] == b'0' {
        return Err(malformed());
    }
    if digits > MAX_DIGITS {
        return Err(SocketmapError::TooLong(excerpt(number)));
    }
    let length = number
        .iter()
        .fold(0usize, |sum, digit| sum * 10 + usize::from(digit - b'0'));
    if length > MAX_REQUEST {
        return Err(SocketmapError::TooLong(length.to_string()));
    }
    match bytes.get(digits) {
        None => Ok(None),
        Some(b':') if digits > 0 => Ok(Some((digits, length))),
        Some(_) => Err(malformed()),
    }
}

/// Reads what is inside the netstring.
fn parse(bytes: &[u8]) -> Result<Request<'_>, SocketmapError> {
    let space = memchr::memchr(b' ', bytes).ok_or_else(|| SocketmapError::NoKey(excerpt(bytes)))?;
    let text = |bytes| std::str::from_utf8(bytes).unwrap_or_default();
    Ok(Request {
        map: text(&bytes[..space]),
        key: text(&bytes[space + 1..]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(decoder: &mut Decoder) -> Result<Vec<String>, SocketmapError> {
        let mut seen = Vec::new();
        while let Some(request) = decoder.decode()? {
            seen.push(request.to_string());
        }
        Ok(seen)
    }

    fn only(bytes: &[u8]) -> Result<Vec<String>, SocketmapError> {
        let mut decoder = Decoder::default();
        decoder.feed(bytes);
        all(&mut decoder)
    }

    fn netstring(text: &str) -> Vec<u8> {
        format!("{}:{text},", text.len()).into_bytes()
    }

    #[test]
    fn requests_arrive_in_bulk_and_in_pieces() {
        let bytes = [netstring("transport A@x.org"), netstring("access \"a b\"@y.org")].concat();
        let expected = ["transport A@x.org", "access \"a b\"@y.org"];
        assert_eq!(only(&bytes).unwrap(), expected);
        let mut decoder = Decoder::default();
        let mut seen = Vec::new();
        for byte in bytes {
            decoder.feed(&[byte]);
            seen.extend(all(&mut decoder).unwrap());
        }
        assert_eq!(seen, expected);
        assert_eq!(decoder.waiting(), 0);
    }

    #[test]
    fn odd_keys_are_read_as_they_come() {
        assert_eq!(only(b"4:map ,").unwrap(), ["map "]);
        assert_eq!(only(b"6:map \xff\xfe,").unwrap(), ["map "], "no UTF-8");
        assert_eq!(only(&netstring("map ключ@x")).unwrap(), ["map ключ@x"]);
        assert_eq!(only(b"11:map a,b:c d,").unwrap(), ["map a,b:c d"]);
    }

    #[test]
    fn errors_say_what_was_expected_and_found() {
        let table: [(&[u8], &str); 11] = [
            (
                b"GET / HTTP/1.1\r\n",
                "expected a netstring like `13:map user@x.org,`, found \"GET / HTTP/1.1??\"",
            ),
            (
                b":map a,",
                "expected a netstring like `13:map user@x.org,`, found \":map a,\"",
            ),
            (
                b"05:map a,",
                "expected a netstring like `13:map user@x.org,`, found \"05:map a,\"",
            ),
            (
                b"00",
                "expected a netstring like `13:map user@x.org,`, found \"00\"",
            ),
            (
                b"5 map a,",
                "expected a netstring like `13:map user@x.org,`, found \"5 map a,\"",
            ),
            (
                b"-1:",
                "expected a netstring like `13:map user@x.org,`, found \"-1:\"",
            ),
            (
                b"100001",
                "expected a request of at most 100000 octets, found a length of 100001",
            ),
            (
                b"99999999999999999999999999",
                "expected a request of at most 100000 octets, found a length of 99999999999999999999999999",
            ),
            (b"5:map ab,", "expected a comma after 5 octets, found \"b,\""),
            (b"3:map,", "expected `map key`, found \"map\""),
            (b"0:,", "expected `map key`, found \"\""),
        ];
        for (input, expected) in table {
            assert_eq!(only(input).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn the_longest_request_is_read_and_leaves_no_memory_behind() {
        let text = format!("map {}", "x".repeat(MAX_REQUEST - 4));
        let mut decoder = Decoder::default();
        decoder.feed(&netstring(&text));
        assert_eq!(all(&mut decoder).unwrap(), [text]);
        assert!(decoder.buffer.capacity() < 5000);
    }

    #[test]
    fn answers_are_netstrings() {
        let table = [
            (Answer::Ok("error:5.1.1 x".into()), "16:OK error:5.1.1 x,"),
            (Answer::NotFound, "9:NOTFOUND ,"),
            (Answer::Temp("a\nb".into()), "8:TEMP a?b,"),
            (Answer::Timeout("t".into()), "9:TIMEOUT t,"),
            (Answer::Perm("p".into()), "6:PERM p,"),
        ];
        for (answer, expected) in table {
            let mut out = Vec::new();
            answer.encode(&mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            keys in proptest::collection::vec("[ -~]{0,40}", 1..8),
            cut in 1usize..50,
        ) {
            let texts: Vec<String> = keys.iter().map(|key| format!("map {key}")).collect();
            let bytes: Vec<u8> = texts.iter().flat_map(|text| netstring(text)).collect();
            let mut decoder = Decoder::default();
            let mut seen = Vec::new();
            for piece in bytes.chunks(cut) {
                decoder.feed(piece);
                seen.extend(all(&mut decoder).unwrap());
            }
            prop_assert_eq!(seen, texts);
        }

        #[test]
        fn no_input_panics_and_none_is_held_without_bound(
            pieces in proptest::collection::vec("([0-9]{0,7}[:,a-z ]{0,9}|\\PC{0,9})", 0..50)
        ) {
            let mut decoder = Decoder::default();
            for piece in pieces {
                decoder.feed(piece.as_bytes());
                if all(&mut decoder).is_err() {
                    break;
                }
                prop_assert!(decoder.waiting() <= MAX_REQUEST + MAX_DIGITS + 2);
            }
        }
    }
}
