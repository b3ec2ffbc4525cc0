//! A message without what the parser of MIME need not read: the fields of its header that tell nothing of its parts,
//! and the mail that it returns (`message/rfc822`, RFC 6522). Of that mail the fields of its header are wanted and
//! nothing of its body, which is most of a report and costs the most to take apart and to decode.
//!
//! Where what stands in front of the returned mail, or the delimiter behind it, is not as plain as nearly every
//! reporter writes it, nothing is left out; and what the parser then does not take for a returned mail at that very
//! place was none: the message is to be parsed as a whole.

use super::{PARSER, Reading, body_digest, repair};
use crate::mail::letter::{Head, Letter};
use memchr::memmem::Finder;
use std::ops::Range;
use std::sync::LazyLock;

/// What stands for the returned mail.
const STUB: &[u8] = b"Subject:\n\n";
/// Parts of this type hold a mail.
static TYPE: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new("message/rfc822"));
/// As many fields of a part as are looked at.
const MAX_FIELDS: usize = 8;

/// A message without what the parser need not read.
pub(super) struct Abridged<'a> {
    /// What it reads instead: the fields of MIME and the subject, and the body, in which a stub may stand in place of
    /// the returned mail.
    octets: Vec<u8>,
    /// All fields of the header.
    head: Head<'a>,
    /// Where the body begins in the message.
    body: usize,
    /// Where the stub begins in the octets, and the mail that stood there.
    left_out: Option<(usize, &'a [u8])>,
}

impl<'a> Abridged<'a> {
    /// Leaves out what is plainly not needed of a message with that header, whose body begins at an octet of it.
    pub(super) fn of(raw: &'a [u8], head: Head<'a>, body: usize) -> Self {
        let returned = returned(raw, body);
        let mut octets =
            Vec::with_capacity(raw.len() - returned.as_ref().map_or(0, |range| range.len()) + 64);
        for (name, content) in head.iter().filter(|(name, _)| is_read(name)) {
            octets.extend_from_slice(name);
            octets.push(b':');
            octets.extend_from_slice(content);
        }
        octets.push(b'\n');
        let mut left_out = None;
        match returned {
            None => octets.extend_from_slice(&raw[body..]),
            Some(mail) => {
                octets.extend_from_slice(&raw[body..mail.start]);
                left_out = Some((octets.len(), &raw[mail.clone()]));
                octets.extend_from_slice(STUB);
                octets.extend_from_slice(&raw[mail.end..]);
            }
        }
        Self {
            octets,
            head,
            body,
            left_out,
        }
    }

    /// Reads the message; `None` where the parser took for no returned mail what was left out as one. `raw` is all of
    /// it, for its digest.
    pub(super) fn reading(self, raw: &[u8]) -> Option<Reading> {
        let message = PARSER.parse(&self.octets)?;
        let digest = || body_digest(raw, self.body);
        if self.left_out.is_none() {
            let mended = repair::multipart(&message);
            let mended = mended.as_ref().and_then(|mended| PARSER.parse(mended));
            let message = mended.as_ref().unwrap_or(&message);
            return Some(Reading::of(&Letter::abridged(message, self.head, None), digest()));
        }
        let letter = Letter::abridged(&message, self.head, self.left_out);
        let is_there = message.parts.iter().any(|part| letter.left_out(part).is_some());
        is_there.then(|| Reading::of(&letter, digest()))
    }
}

/// Whether the parser reads a field.
fn is_read(name: &[u8]) -> bool {
    let is_mime = || {
        name.get(..8)
            .is_some_and(|start| start.eq_ignore_ascii_case(b"Content-"))
    };
    is_mime() || name.eq_ignore_ascii_case(b"Subject")
}

/// Where the first mail stands that a message seems to return; `None` where none plainly is.
fn returned(raw: &[u8], body: usize) -> Option<Range<usize>> {
    let named = body + TYPE.find(&raw[body..])?;
    let line = memchr::memrchr(b'\n', &raw[..named])? + 1;
    if line < body || !is_field(&raw[line..named], b"Content-Type") {
        return None;
    }
    let delimiter = delimiter_above(raw, line)?;
    let at = body_below(raw, line)?;
    let length = memchr::memmem::find(&raw[at..], delimiter)?;
    // No other part comes after it.
    let is_last = raw[at + length + delimiter.len()..].starts_with(b"--");
    (is_last && is_mail(&raw[at..at + length])).then_some(at..at + length)
}

/// Whether what stands in a part plainly is a mail: its header begins at once, and ends.
pub(super) fn is_mail(content: &[u8]) -> bool {
    let ends_header = |at: usize| matches!(content[at + 1..], [b'\n', ..] | [b'\r', b'\n', ..]);
    content.ends_with(b"\n")
        && content.first().is_some_and(|first| !first.is_ascii_whitespace())
        && memchr::memchr_iter(b'\n', content).any(ends_header)
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
    use super::super::digest;
    use super::super::framing::Framed;
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
        let message = PARSER.parse(raw).unwrap();
        let start = message.root_part().raw_body_offset() as usize;
        let mended = repair::multipart(&message);
        let mended = mended.as_ref().and_then(|mended| PARSER.parse(mended));
        Reading::of(
            &Letter::new(mended.as_ref().unwrap_or(&message)),
            digest(&raw[start..]),
        )
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
            let (head, body) = Head::plain(raw).unwrap();
            let abridged = Abridged::of(raw, head, body);
            assert_eq!(abridged.left_out.is_some(), is_left_out, "{fields}\n{rest}");
            if let Some(reading) = abridged.reading(raw) {
                assert_eq!(reading, whole(raw), "{fields}");
                if is_left_out {
                    assert_eq!(reading.returned.unwrap().message_id.unwrap(), "1@y.test");
                }
            } else {
                assert!(fields.contains("text/plain"), "{fields}");
            }
        }
    }

    /// A text that looks like the parts of a message holds none.
    #[test]
    fn a_returned_mail_among_the_words_stays() {
        let raw = format!("From: a@x.test\n\n--b\nContent-Type: message/rfc822\n\n{MAIL}\n--b--\n");
        let (head, body) = Head::plain(raw.as_bytes()).unwrap();
        let abridged = Abridged::of(raw.as_bytes(), head, body);
        assert!(abridged.left_out.is_some());
        assert_eq!(abridged.reading(raw.as_bytes()), None);
    }

    #[test]
    fn the_mails_of_the_corpora_read_alike() {
        let data = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
        let (mut left_out, mut plain) = (0, 0);
        let folders = ["bounces", "formats"].map(|folder| std::fs::read_dir(data.join(folder)).unwrap());
        for entry in folders.into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|e| e != "eml") {
                continue;
            }
            let raw = std::fs::read(&path).unwrap();
            let Some((head, body)) = Head::plain(&raw) else {
                continue;
            };
            let abridged = Abridged::of(&raw, head, body);
            let leaves_out = abridged.left_out.is_some();
            if let Some(reading) = abridged.reading(&raw) {
                left_out += usize::from(leaves_out);
                assert_eq!(reading, whole(&raw), "{path:?}");
            }
            let (head, body) = Head::plain(&raw).unwrap();
            if let Some(framed) = Framed::of(&raw, &head, body) {
                let letter = Letter::abridged(&framed.message, head, framed.left_out);
                let reading = Reading::of(&letter, body_digest(&raw, body));
                plain += 1;
                assert_eq!(reading, whole(&raw), "{path:?}");
            }
        }
        assert!(left_out > 50, "{left_out}");
        assert!(plain > 100, "{plain}");
    }
}
