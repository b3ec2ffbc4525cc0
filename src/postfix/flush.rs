//! The request that hands one deferred message back to Postfix's queue manager: `send_file` of flush(8), as
//! `postqueue -i` makes it, over the socket `public/flush` in the queue directory.
//!
//! The protocol is Postfix's own and internal (attribute lists of NUL-terminated names and values, each list
//! ended by an empty name); found by experiment with 3.7: the server greets with its protocol's name, takes
//! one request a connection and answers with a status. Older servers do not greet, which makes no difference: the
//! request need not wait. A message that is not in the queue is answered like one that is.
//!
//! On failure: [`FlushError`] says what was expected and what was found. What is not understood is an error and
//! never taken for success.

/// No answer is longer; Postfix's have about 60 octets.
const MOST: usize = 4096;
/// The name that the greeting gives the protocol.
const PROTOCOL: &str = "queue_flush_protocol";

/// What the server says of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Done. Whether there was such a message is not told.
    Ok,
    /// The request failed.
    Failed,
    /// That is no queue id.
    BadId,
    /// Not allowed.
    Denied,
    /// A status of another version.
    Other(i32),
}

/// What came is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FlushError {
    /// Another server answered.
    #[error("expected the protocol {PROTOCOL}, found {0:?}")]
    Protocol(String),
    /// A status that is no number.
    #[error("expected a status, found {0:?}")]
    Status(String),
    /// It never ends.
    #[error("expected an answer of at most {MOST} octets, found more")]
    Long,
    /// It ends too early.
    #[error("expected a status, found the end")]
    Cut,
}

/// The request to try a message now. `None` where that is no queue id: letters and digits only, so that nothing
/// else gets into the request (short ids are hexadecimal, long ones have no vowels).
#[must_use]
pub fn send_file(queue_id: &str) -> Option<Vec<u8>> {
    let fine = (1..=100).contains(&queue_id.len()) && queue_id.bytes().all(|b| b.is_ascii_alphanumeric());
    fine.then(|| {
        let mut request = b"request\0send_file\0queue_id\0".to_vec();
        request.extend_from_slice(queue_id.as_bytes());
        request.extend_from_slice(b"\0\0");
        request
    })
}

/// Reads the answer as it arrives.
#[derive(Debug, Default)]
pub struct Answer {
    bytes: Vec<u8>,
}

impl Answer {
    /// Takes in what arrived; the status, once it is there.
    ///
    /// # Errors
    /// [`FlushError`] where it is no answer of flush(8).
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Option<Status>, FlushError> {
        if self.bytes.len() + bytes.len() > MOST {
            return Err(FlushError::Long);
        }
        self.bytes.extend_from_slice(bytes);
        let mut rest = self.bytes.as_slice();
        while let Some((name, value, after)) = attribute(rest) {
            match name {
                b"protocol" if value != PROTOCOL.as_bytes() => return Err(FlushError::Protocol(text(value))),
                b"status" => {
                    let number = text(value);
                    return match number.parse() {
                        Ok(number) => Ok(Some(Status::of(number))),
                        Err(_) => Err(FlushError::Status(number)),
                    };
                }
                // An attribute of a later version, or the end of a list.
                _ => rest = after,
            }
        }
        Ok(None)
    }

    /// The server has hung up without a status.
    #[must_use]
    pub fn cut(&self) -> FlushError {
        FlushError::Cut
    }
}

impl Status {
    /// `FLUSH_STAT_*` of Postfix's `flush_clnt.h`, as experiments showed them.
    fn of(number: i32) -> Self {
        match number {
            0 => Self::Ok,
            -1 | 1 => Self::Failed,
            3 => Self::BadId,
            4 => Self::Denied,
            other => Self::Other(other),
        }
    }
}

/// The first attribute, and what follows it; an empty name, which ends a list, has no value. `None` while it is
/// incomplete.
fn attribute(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let end = memchr::memchr(0, bytes)?;
    let (name, after) = (&bytes[..end], &bytes[end + 1..]);
    if name.is_empty() {
        return Some((name, name, after));
    }
    let end = memchr::memchr(0, after)?;
    Some((name, &after[..end], &after[end + 1..]))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn requests_hold_a_queue_id_and_nothing_else() {
        let request = send_file("3Xm1Pq0zZzB").unwrap();
        assert_eq!(request, b"request\0send_file\0queue_id\x003Xm1Pq0zZzB\0\0");
        for bad in ["", "A\0B", "../etc", "A B", &"A".repeat(101), "é"] {
            assert_eq!(send_file(bad), None, "{bad}");
        }
    }

    #[test]
    fn answers_are_read_as_they_arrive() {
        type Row = (&'static [u8], Result<Option<Status>, FlushError>);
        let table: [Row; 9] = [
            (
                b"protocol\0queue_flush_protocol\0\0status\x000\0\0",
                Ok(Some(Status::Ok)),
            ),
            (b"status\x000\0\0", Ok(Some(Status::Ok))),
            (
                b"protocol\0queue_flush_protocol\0\0status\x003\0\0",
                Ok(Some(Status::BadId)),
            ),
            (b"status\0-1\0\0", Ok(Some(Status::Failed))),
            (b"later\0thing\0status\x0077\0\0", Ok(Some(Status::Other(77)))),
            (b"protocol\0queue_flush_protocol\0\0stat", Ok(None)),
            (b"", Ok(None)),
            (
                b"protocol\0mail_queue\0\0",
                Err(FlushError::Protocol("mail_queue".into())),
            ),
            (b"status\0fine\0\0", Err(FlushError::Status("fine".into()))),
        ];
        for (bytes, expected) in table {
            assert_eq!(Answer::default().feed(bytes), expected, "{}", text(bytes));
            let mut slowly = Answer::default();
            let mut last = Ok(None);
            for byte in bytes {
                last = slowly.feed(&[*byte]);
                if last != Ok(None) {
                    break;
                }
            }
            assert_eq!(last, expected, "by octets: {}", text(bytes));
        }
    }

    #[test]
    fn an_answer_that_never_ends_is_none() {
        assert_eq!(Answer::default().feed(&[b'a'; MOST + 1]), Err(FlushError::Long));
    }

    proptest! {
        #[test]
        fn nothing_that_arrives_breaks_it(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Answer::default().feed(&bytes);
        }
    }
}
