//! Postfix's access policy delegation (SMTPD_POLICY_README): `name=value` lines and an empty line are
//! a request, `action=…` and an empty line are its answer.
//!
//! Postfix may send any attribute in any order, may repeat one (the last counts here) and may leave
//! one out; what is not listed in [`Request`] is read over. On a request that is none, or of another
//! kind, the protocol has no answer: [`PolicyError`] is logged and the connection closed, and Postfix
//! does as its `default_action` says.

use super::text::{excerpt, push_line};
use memchr::{memchr2_iter, memmem};

/// The longest request read, in octets. Postfix cuts each value at `line_length_limit` (2,048) and
/// sends some thirty attributes: no real request can be longer.
pub const MAX_REQUEST: usize = 64 * 1024;

/// The most attributes read in one request. Postfix 3.10 sends about 32; the rest is room to grow.
pub const MAX_ATTRIBUTES: usize = 200;

/// What Postfix asks, borrowed from the bytes it came in. Attributes that were not sent are empty, as
/// are values that are no UTF-8: no address is known under those.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Request<'a> {
    /// Where in the SMTP dialogue: `CONNECT`, `EHLO`, `HELO`, `MAIL`, `RCPT`, `DATA`,
    /// `END-OF-MESSAGE`, `VRFY`, `ETRN`.
    pub protocol_state: &'a str,
    /// The envelope sender, empty for the null sender.
    pub sender: &'a str,
    /// The envelope recipient; empty in other states than `RCPT` where there are several.
    pub recipient: &'a str,
    /// How many recipients there are, in the states `DATA` and `END-OF-MESSAGE`.
    pub recipient_count: &'a str,
    /// The queue id, empty before the first recipient is accepted.
    pub queue_id: &'a str,
    /// Names the delivery of one message: the same for all its recipients.
    pub instance: &'a str,
    /// Who logged in, where somebody did.
    pub sasl_username: &'a str,
}

/// Why a request cannot be answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// No end within [`MAX_REQUEST`] octets.
    #[error("expected a request of at most {MAX_REQUEST} octets, found no empty line in {0}")]
    TooLong(usize),
    /// More lines than [`MAX_ATTRIBUTES`].
    #[error("expected at most {MAX_ATTRIBUTES} attributes, found more")]
    TooManyAttributes,
    /// A line without `=`, or with nothing before it.
    #[error("expected name=value, found {0:?}")]
    NotAnAttribute(String),
    /// No `request` attribute.
    #[error("expected request=smtpd_access_policy, found no attribute `request`")]
    NoRequest,
    /// Another `request` than ours.
    #[error("expected request=smtpd_access_policy, found request={0:?}")]
    OtherRequest(String),
}

/// What Postfix is to do about one recipient. There is no variant for what would end the session
/// (421, 521) or act on the whole message (`HOLD`, `DISCARD`, `FILTER` …): nothing that we know of one
/// recipient may touch the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// No opinion: the next restriction decides.
    Dunno,
    /// `550 5.1.1`: this recipient is refused for good.
    Reject {
        /// Why. Postfix puts the address before it.
        text: String,
    },
    /// `450 4.7.1`: this recipient is refused for now.
    Defer {
        /// Why. Postfix puts the address before it.
        text: String,
    },
}

impl Action {
    /// Appends the answer as it goes over the wire.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (code, text) = match self {
            Self::Dunno => ("DUNNO", ""),
            Self::Reject { text } => ("550 5.1.1 ", text.as_str()),
            Self::Defer { text } => ("450 4.7.1 ", text.as_str()),
        };
        out.extend_from_slice(b"action=");
        out.extend_from_slice(code.as_bytes());
        push_line(out, text);
        out.extend_from_slice(b"\n\n");
    }
}

/// Cuts a byte stream into requests. It holds what is not yet complete, and nothing while idle.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// Where the next request begins.
    start: usize,
    /// Up to where no end was found.
    scanned: usize,
}

impl Decoder {
    /// Takes in what arrived.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.scanned -= self.start;
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next complete request; `None` where more must arrive first.
    ///
    /// # Errors
    /// [`PolicyError`]: the stream cannot be trusted any further, close the connection.
    pub fn decode(&mut self) -> Result<Option<Request<'_>>, PolicyError> {
        if !self.has_end() {
            let waiting = self.waiting();
            if waiting > MAX_REQUEST {
                return Err(PolicyError::TooLong(waiting));
            }
            self.release();
            return Ok(None);
        }
        let (request, length) = parse(&self.buffer[self.start..])?;
        self.start += length;
        self.scanned = self.start;
        Ok(Some(request))
    }

    /// How many octets of an incomplete request are held.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// Whether an empty line has arrived.
    fn has_end(&mut self) -> bool {
        let waiting = &self.buffer[self.start..];
        // As a rule exactly one request is here, and a look at its end spares the search.
        if waiting.ends_with(b"\n\n") || waiting.first() == Some(&b'\n') {
            return true;
        }
        let found = memmem::find(&self.buffer[self.scanned..], b"\n\n").is_some();
        if !found {
            // The last octet may be the first half of an end.
            self.scanned = self.scanned.max(self.buffer.len().saturating_sub(1));
        }
        found
    }

    /// Gives the memory of an unusually long request back once nothing is held.
    fn release(&mut self) {
        const KEPT: usize = 4096;
        if self.waiting() == 0 && self.buffer.capacity() > KEPT {
            *self = Self::default();
        }
    }
}

/// Reads the lines of one request up to the empty one, and returns its length with that.
fn parse(bytes: &[u8]) -> Result<(Request<'_>, usize), PolicyError> {
    let mut request = Request::default();
    let mut kind = None;
    let (mut start, mut equals, mut count) = (0, None, 0);
    for at in memchr2_iter(b'\n', b'=', bytes) {
        if bytes[at] == b'=' {
            equals.get_or_insert(at);
            continue;
        }
        if at >= MAX_REQUEST {
            break;
        }
        if at == start {
            return accept(kind).map(|()| (request, at + 1));
        }
        count += 1;
        if count > MAX_ATTRIBUTES {
            return Err(PolicyError::TooManyAttributes);
        }
        let equals = equals
            .take()
            .filter(|&at| at > start)
            .ok_or_else(|| PolicyError::NotAnAttribute(excerpt(&bytes[start..at])))?;
        let value = &bytes[equals + 1..at];
        match &bytes[start..equals] {
            b"request" => kind = Some(value),
            name => {
                if let Some(field) = request.field(name) {
                    *field = std::str::from_utf8(value).unwrap_or_default();
                }
            }
        }
        start = at + 1;
    }
    // An empty line is there, but not within the limit.
    Err(PolicyError::TooLong(bytes.len()))
}

/// Only one kind of request is ours.
fn accept(kind: Option<&[u8]>) -> Result<(), PolicyError> {
    match kind {
        Some(b"smtpd_access_policy") => Ok(()),
        Some(other) => Err(PolicyError::OtherRequest(excerpt(other))),
        None => Err(PolicyError::NoRequest),
    }
}

impl<'a> Request<'a> {
    /// Where the value of an attribute belongs.
    fn field(&mut self, name: &[u8]) -> Option<&mut &'a str> {
        Some(match name {
            b"protocol_state" => &mut self.protocol_state,
            b"sender" => &mut self.sender,
            b"recipient" => &mut self.recipient,
            b"recipient_count" => &mut self.recipient_count,
            b"queue_id" => &mut self.queue_id,
            b"instance" => &mut self.instance,
            b"sasl_username" => &mut self.sasl_username,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const REAL: &[u8] = include_bytes!("../../tests/data/policy/rcpt.txt");

    fn all(decoder: &mut Decoder) -> Result<Vec<String>, PolicyError> {
        let mut recipients = Vec::new();
        while let Some(request) = decoder.decode()? {
            recipients.push(request.recipient.to_owned());
        }
        Ok(recipients)
    }

    fn only(bytes: &[u8]) -> Result<Vec<String>, PolicyError> {
        let mut decoder = Decoder::default();
        decoder.feed(bytes);
        all(&mut decoder)
    }

    #[test]
    fn a_real_request_is_read() {
        let mut decoder = Decoder::default();
        decoder.feed(REAL);
        let request = decoder.decode().unwrap().unwrap();
        assert_eq!(
            request,
            Request {
                protocol_state: "RCPT",
                sender: "news+kurt=example.com@lists.example.org",
                recipient: "Kurt.Weiß@example.com",
                recipient_count: "0",
                queue_id: "4XyZ1a2b3c",
                instance: "2e8f.673e0a11.8c1d2.0",
                sasl_username: "newsletter",
            }
        );
        assert_eq!(decoder.decode(), Ok(None));
        assert_eq!(decoder.waiting(), 0);
    }

    #[test]
    fn requests_arrive_in_pieces_and_in_bulk() {
        let mut decoder = Decoder::default();
        for &byte in &REAL[..REAL.len() - 1] {
            decoder.feed(&[byte]);
            assert_eq!(decoder.decode(), Ok(None));
        }
        decoder.feed(b"\n");
        assert_eq!(all(&mut decoder).unwrap(), ["Kurt.Weiß@example.com"]);
        assert_eq!(only(&REAL.repeat(3)).unwrap().len(), 3);
    }

    #[test]
    fn the_last_of_a_repeated_attribute_counts_and_unknown_ones_do_not() {
        let bytes = b"request=smtpd_access_policy\nrecipient=a@x\nfuture=1=2\nrecipient=b@x\n\n";
        assert_eq!(only(bytes).unwrap(), ["b@x"]);
    }

    #[test]
    fn what_is_no_utf8_is_nobody() {
        assert_eq!(
            only(b"request=smtpd_access_policy\nrecipient=\xff@x\n\n").unwrap(),
            [""]
        );
    }

    #[test]
    fn errors_say_what_was_expected_and_found() {
        let many = format!("request=smtpd_access_policy\n{}\n", "a=b\n".repeat(200));
        let table: [(&[u8], &str); 8] = [
            (
                b"\n",
                "expected request=smtpd_access_policy, found no attribute `request`",
            ),
            (
                b"a=b\n\n",
                "expected request=smtpd_access_policy, found no attribute `request`",
            ),
            (
                b"request=junk\x01\n\n",
                "expected request=smtpd_access_policy, found request=\"junk?\"",
            ),
            (
                b"GET / HTTP/1.1\r\n\n",
                "expected name=value, found \"GET / HTTP/1.1?\"",
            ),
            (b"=b\n\n", "expected name=value, found \"=b\""),
            (many.as_bytes(), "expected at most 200 attributes, found more"),
            (
                &[b'x'; MAX_REQUEST + 1],
                "expected a request of at most 65536 octets, found no empty line in 65537",
            ),
            (
                &[vec![b'x'; MAX_REQUEST], b"\n\n".to_vec()].concat(),
                "expected a request of at most 65536 octets, found no empty line in 65538",
            ),
        ];
        for (input, expected) in table {
            assert_eq!(only(input).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn a_long_request_leaves_no_memory_behind() {
        let mut decoder = Decoder::default();
        decoder.feed(format!("request=smtpd_access_policy\nx={}\n\n", "y".repeat(50_000)).as_bytes());
        assert_eq!(all(&mut decoder).unwrap(), [""]);
        assert!(decoder.buffer.capacity() < 5000);
    }

    #[test]
    fn actions_are_one_line() {
        let mut out = Vec::new();
        Action::Dunno.encode(&mut out);
        Action::Reject {
            text: "dead\naction=OK".into(),
        }
        .encode(&mut out);
        Action::Defer { text: "later".into() }.encode(&mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "action=DUNNO\n\naction=550 5.1.1 dead?action=OK\n\naction=450 4.7.1 later\n\n"
        );
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(cuts in proptest::collection::vec(1usize..200, 1..40), times in 1usize..4) {
            let bytes = REAL.repeat(times);
            let mut decoder = Decoder::default();
            let mut seen = Vec::new();
            let mut rest = bytes.as_slice();
            for cut in cuts.iter().cycle() {
                let (piece, next) = rest.split_at((*cut).min(rest.len()));
                rest = next;
                decoder.feed(piece);
                seen.extend(all(&mut decoder).unwrap());
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(seen.len(), times);
        }

        #[test]
        fn no_input_panics_and_none_is_held_without_bound(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..50)
        ) {
            let mut decoder = Decoder::default();
            for piece in pieces {
                decoder.feed(&piece);
                if all(&mut decoder).is_err() {
                    break;
                }
                prop_assert!(decoder.waiting() <= MAX_REQUEST);
            }
        }
    }
}
