//! A message without the mail that it returns (`message/rfc822`, RFC 6522), for the parser of MIME: of that mail
//! the fields of its header are wanted and nothing of its body, which is most of a report and costs the most to
//! take apart and to decode.
//!
//! Where what stands in front of the returned mail, or the delimiter behind it, is not as plain as nearly every
//! reporter writes it, nothing is left out; and what the parser then does not take for a returned mail at that very
//! place was none: the message is to be parsed as a whole.

use crate::mail::letter::Letter;
use mail_parser::Message;
use memchr::memmem::Finder;
use std::sync::LazyLock;

/// What stands for the returned mail.
const STUB: &[u8] = b"Subject:\n\n";
/// Parts of this type hold a mail.
static TYPE: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new("message/rfc822"));
/// As many fields of a part as are looked at.
const MAX_FIELDS: usize = 8;

/// A message without the mail that it returns.
pub(super) struct Abridged<'a> {
    /// The message, with a stub in place of the returned mail.
    pub(super) octets: Vec<u8>,
    /// Where that begins, in both.
    at: usize,
    /// The returned mail as it stood there.
    returned: &'a [u8],
}

impl<'a> Abridged<'a> {
    /// Leaves out the first mail that a message seems to return; `None` where none plainly is.
    pub(super) fn of(raw: &'a [u8]) -> Option<Self> {
        let named = TYPE.find(raw)?;
        let line = memchr::memrchr(b'\n', &raw[..named])? + 1;
        if !is_field(&raw[line..named], b"Content-Type") {
            return None;
        }
        let delimiter = delimiter_above(raw, line)?;
        let at = body_below(raw, line)?;
        let length = memchr::memmem::find(&raw[at..], delimiter)?;
        let returned = &raw[at..at + length];
        let rest = &raw[at + length..];
        // It has a header that ends, begins at once, and no other part comes after it.
        let is_plain = returned.ends_with(b"\n")
            && !returned.first()?.is_ascii_whitespace()
            && rest[delimiter.len()..].starts_with(b"--")
            && memchr::memchr_iter(b'\n', returned)
                .any(|at| matches!(returned[at + 1..], [b'\n', ..] | [b'\r', b'\n', ..]));
        is_plain.then(|| Self {
            octets: [&raw[..at], STUB, rest].concat(),
            at,
            returned,
        })
    }

    /// The letter of the message; `None` where the parser took for no returned mail what was left out as one.
    pub(super) fn letter<'m>(&self, message: &'m Message<'m>) -> Option<Letter<'m>>
    where
        'a: 'm,
    {
        let letter = Letter::without(message, self.at, self.returned);
        let is_stub = |part| letter.left_out(part).is_some();
        message.parts.iter().any(is_stub).then_some(letter)
    }
}

/// The delimiter (`--boundary`, RFC 2046 §5.1.1) above the fields of a part, one of which begins at a line.
fn delimiter_above(raw: &[u8], line: usize) -> Option<&[u8]> {
    let mut above = &raw[..line];
    for _ in 0..MAX_FIELDS {
        let end = above.strip_suffix(b"\n")?;
        let start = memchr::memrchr(b'\n', end)? + 1;
        let text = end[start..].trim_ascii_end();
        if text.starts_with(b"--") && text.len() > 2 {
            return Some(text);
        }
        if text.is_empty() || !may_stand_in_between(text) {
            return None;
        }
        above = &raw[..start];
    }
    None
}

/// Where the fields of a part end and its body begins, from one of its lines on.
fn body_below(raw: &[u8], line: usize) -> Option<usize> {
    let mut at = line;
    for _ in 0..MAX_FIELDS {
        let end = at + memchr::memchr(b'\n', &raw[at..])?;
        let text = raw[at..end].trim_ascii_end();
        at = end + 1;
        if text.is_empty() {
            return Some(at);
        }
        if !may_stand_in_between(text) {
            return None;
        }
    }
    None
}

/// Whether a line may stand among the fields of a part that holds a mail as it is: the continuation of a field, or
/// one that encodes nothing.
fn may_stand_in_between(line: &[u8]) -> bool {
    if line[0] == b' ' || line[0] == b'\t' {
        return true;
    }
    if is_field(line, b"Content-Transfer-Encoding") {
        let encoding = line
            .rsplit(|&b| b == b':')
            .next()
            .unwrap_or_default()
            .trim_ascii();
        return [&b"7bit"[..], b"8bit", b"binary"]
            .iter()
            .any(|plain| encoding.eq_ignore_ascii_case(plain));
    }
    line.get(..8)
        .is_some_and(|start| start.eq_ignore_ascii_case(b"Content-"))
}

fn is_field(line: &[u8], name: &[u8]) -> bool {
    line.get(..name.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(name))
        && line.get(name.len()) == Some(&b':')
}

#[cfg(test)]
mod tests {
    use super::super::{PARSER, Reading, digest};
    use super::*;

    /// A report whose last part has these fields, and what follows them.
    fn report(fields: &str, rest: &str) -> String {
        format!(
            "From: <MAILER-DAEMON@mx.test>\nMIME-Version: 1.0\nContent-Type: multipart/report; boundary=\"b\"\n\n\
             --b\n\n<a@x.test>: 550 5.1.1 no such user\n\n--b\nContent-Type: message/delivery-status\n\n\
             Reporting-MTA: dns; mx.test\n\nFinal-Recipient: rfc822; a@x.test\nAction: failed\nStatus: 5.1.1\n\n\
             --b\n{fields}\n\n{rest}"
        )
    }

    fn whole(raw: &[u8]) -> Reading {
        Reading::of(&Letter::new(&PARSER.parse(raw).unwrap()), digest(b""))
    }

    const MAIL: &str = "Received: from a by b; now\nTo: a@x.test\nMessage-ID: <1@y.test>\n\nwords\n";

    #[test]
    fn what_is_left_out_changes_no_reading() {
        for (fields, rest, is_left_out) in [
            ("Content-Type: message/rfc822", format!("{MAIL}\n--b--\n"), true),
            (
                "Content-Description: a\n b\nContent-Type: message/rfc822; x=y\nContent-Transfer-Encoding: 8bit",
                format!("{MAIL}\n--b--\n"),
                true,
            ),
            // Encoded, cut off, without a body, in front of another part, or none at all.
            (
                "Content-Type: message/rfc822\nContent-Transfer-Encoding: base64",
                format!("{MAIL}\n--b--\n"),
                false,
            ),
            ("Content-Type: message/rfc822", MAIL.to_owned(), false),
            (
                "Content-Type: message/rfc822",
                "To: a@x.test\n--b--\n".to_owned(),
                false,
            ),
            (
                "Content-Type: message/rfc822",
                format!("\n{MAIL}\n--b--\n"),
                false,
            ),
            (
                "Content-Type: message/rfc822",
                format!("{MAIL}\n--b\n\nmore\n--b--\n"),
                false,
            ),
            (
                "Content-Type: text/plain; name=message/rfc822",
                format!("{MAIL}\n--b--\n"),
                true,
            ),
        ] {
            let raw = report(fields, &rest);
            let raw = raw.as_bytes();
            let abridged = Abridged::of(raw);
            assert_eq!(abridged.is_some(), is_left_out, "{fields}\n{rest}");
            let Some(abridged) = abridged else { continue };
            let message = PARSER.parse(&abridged.octets).unwrap();
            if let Some(letter) = abridged.letter(&message) {
                assert_eq!(Reading::of(&letter, digest(b"")), whole(raw), "{fields}");
                assert_eq!(whole(raw).returned.unwrap().message_id.unwrap(), "1@y.test");
            } else {
                assert!(fields.contains("text/plain"), "{fields}");
            }
        }
    }

    /// A text that looks like the parts of a message holds none.
    #[test]
    fn a_returned_mail_among_the_words_stays() {
        let raw = format!("From: a@x.test\n\n--b\nContent-Type: message/rfc822\n\n{MAIL}\n--b--\n");
        let abridged = Abridged::of(raw.as_bytes()).unwrap();
        assert!(
            abridged
                .letter(&PARSER.parse(&abridged.octets).unwrap())
                .is_none()
        );
    }

    #[test]
    fn the_mails_of_the_corpora_read_alike() {
        let data = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
        let mut left_out = 0;
        let folders = ["bounces", "formats"].map(|folder| std::fs::read_dir(data.join(folder)).unwrap());
        for entry in folders.into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|e| e != "eml") {
                continue;
            }
            let raw = std::fs::read(&path).unwrap();
            let Some(abridged) = Abridged::of(&raw) else {
                continue;
            };
            let message = PARSER.parse(&abridged.octets).unwrap();
            if let Some(letter) = abridged.letter(&message) {
                left_out += 1;
                assert_eq!(Reading::of(&letter, digest(b"")), whole(&raw), "{path:?}");
            }
        }
        assert!(left_out > 50, "{left_out}");
    }
}
