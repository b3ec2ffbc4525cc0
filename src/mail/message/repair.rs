//! Messages whose framing is broken, made such that their parts can be found: lines that end in CR alone, a
//! multipart (RFC 2046) that names a boundary which never comes, or none, and parts within parts without end.
//!
//! What is whole costs one look; what cannot be mended stays as it is.

use mail_parser::{Message, MessagePart, MimeHeaders, PartType};
use std::borrow::Cow;

/// The number of `Content-Type` fields that are read, and with it how deep parts nest. The parser keeps each
/// message within another by itself, and lets go of them one inside the other: without a limit a mail could
/// exhaust the stack.
const MAX_TYPES: usize = 200;
/// The number of multiparts that are read in a mail of some size. For each whose boundary never comes the parser
/// looks at all that follows: without a limit the cost would grow with the square of the size.
const MAX_MULTIPARTS: usize = 32;
/// Below this size that is no matter.
const SMALL: usize = 64 * 1024;
/// How far into a body its first boundary is looked for.
const MAX_PREAMBLE: usize = 16 * 1024;

/// With LF where lines end in CR alone, as very old systems wrote files.
pub(super) fn lines(raw: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'\n', raw).is_some() || memchr::memchr(b'\r', raw).is_none() {
        return Cow::Borrowed(raw);
    }
    let lf = |&b: &u8| if b == b'\r' { b'\n' } else { b };
    Cow::Owned(raw.iter().map(lf).collect())
}

/// As much of a message as is read for its parts. Reports stand in front, so that what is cut off is some of
/// the returned mail.
pub(super) fn readable(raw: &[u8]) -> &[u8] {
    let raw = before(raw, (b"content-t", b'y', b"pe"), MAX_TYPES);
    match raw.len() {
        ..SMALL => raw,
        _ => before(raw, (b"multi", b'p', b"art"), MAX_MULTIPARTS),
    }
}

/// What stands in front of one occurrence too many of a word, whatever its case. The word is given around its
/// rarest letter.
fn before<'a>(raw: &'a [u8], (head, rare, tail): (&[u8], u8, &[u8]), most: usize) -> &'a [u8] {
    // That many do not fit, or hardly any stand there.
    let length = head.len() + 1 + tail.len();
    if raw.len() <= most * length || letters(raw, rare, tail[0]) <= most {
        return raw;
    }
    let is =
        |found: Option<&[u8]>, known: &[u8]| found.is_some_and(|found| found.eq_ignore_ascii_case(known));
    let mut starts = memchr::memchr2_iter(rare, rare.to_ascii_uppercase(), raw).filter_map(|at| {
        let start = at.checked_sub(head.len())?;
        let whole = is(raw.get(start..at), head) && is(raw.get(at + 1..=at + tail.len()), tail);
        whole.then_some(start)
    });
    starts.nth(most).map_or(raw, |end| &raw[..end])
}

/// How often one letter follows another, whatever their case. Without branches, which lets the compiler look at
/// many octets at once.
fn letters(raw: &[u8], first: u8, second: u8) -> usize {
    let count = |pairs: &[u8]| {
        let next = pairs.get(1..).unwrap_or_default();
        let is = |(&a, &b): (&u8, &u8)| u8::from((a | 0x20 == first) & (b | 0x20 == second));
        usize::from(pairs.iter().zip(next).map(is).sum::<u8>())
    };
    // A sum of an octet's size holds those of one chunk; each overlaps the next by one octet.
    (0..raw.len())
        .step_by(254)
        .map(|at| count(&raw[at..raw.len().min(at + 255)]))
        .sum()
}

/// The message with the boundary that its parts really have; `None` where it needs none, or has none.
pub(super) fn multipart(message: &Message<'_>) -> Option<Vec<u8>> {
    let root = message.parts.first()?;
    let kind = root
        .content_type()
        .filter(|t| t.ctype().eq_ignore_ascii_case("multipart"))?;
    if matches!(root.body, PartType::Multipart(_)) {
        return None;
    }
    let raw = &message.raw_message;
    let body = raw.get(root.raw_body_offset() as usize..)?;
    let boundary = first_boundary(&body[..body.len().min(MAX_PREAMBLE)])?;
    let report = kind.attribute("report-type").unwrap_or("delivery-status");
    let report = report.replace(|c: char| !c.is_ascii_alphanumeric() && c != '-', "");
    let mut mended = Vec::with_capacity(raw.len() + 128);
    without_type(root, raw, &mut mended);
    mended.extend_from_slice(b"Content-Type: multipart/report; report-type=");
    mended.extend_from_slice(report.as_bytes());
    mended.extend_from_slice(b"; boundary=\"");
    mended.extend_from_slice(boundary);
    mended.extend_from_slice(b"\"\n\n");
    mended.extend_from_slice(body);
    Some(mended)
}

/// The boundary of the first line that looks like one and that a field of MIME follows.
fn first_boundary(body: &[u8]) -> Option<&[u8]> {
    let mut lines = body.split(|&b| b == b'\n').map(<[u8]>::trim_ascii_end).peekable();
    while let Some(line) = lines.next() {
        let boundary = line
            .strip_prefix(b"--")
            .filter(|b| !b.is_empty() && b.len() <= 200);
        let boundary = boundary.filter(|b| {
            b.iter()
                .all(|&c| (b' '..0x7f).contains(&c) && c != b'"' && c != b'\\')
        });
        let follows = lines
            .peek()
            .and_then(|next| next.get(..8))
            .is_some_and(|n| n.eq_ignore_ascii_case(b"content-"));
        if let Some(boundary) = boundary.filter(|_| follows) {
            return Some(boundary);
        }
    }
    None
}

/// Appends the header without its `Content-Type`.
fn without_type(root: &MessagePart<'_>, raw: &[u8], to: &mut Vec<u8>) {
    for field in root
        .headers
        .iter()
        .filter(|f| !f.name().eq_ignore_ascii_case("Content-Type"))
    {
        let (start, end) = (field.offset_field as usize, field.offset_end as usize);
        to.extend_from_slice(raw.get(start..end).unwrap_or_default());
        if !to.ends_with(b"\n") {
            to.push(b'\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail_parser::MessageParser;

    #[test]
    fn cr_alone_ends_lines_where_nothing_else_does() {
        assert_eq!(&*lines(b"a\rb\r\rc"), b"a\nb\n\nc");
        assert!(matches!(lines(b"a\r\nb\rc"), Cow::Borrowed(_)));
        assert!(matches!(lines(b""), Cow::Borrowed(_)));
    }

    #[test]
    fn the_boundary_is_taken_from_the_parts() {
        let raw = b"Subject: a\r\n b\r\nContent-Type: multipart/report; boundary=\"x\"\r\nTo: c\r\n\r\npreamble\r\n--\r\n\
            --yy\r\nContent-Type: text/plain\r\n\r\nwords\r\n--yy--\r\n";
        let message = MessageParser::new().with_mime_headers().parse(&raw[..]).unwrap();
        let mended = multipart(&message).unwrap();
        let message = MessageParser::new().with_mime_headers().parse(&mended).unwrap();
        assert!(matches!(&message.parts[0].body, PartType::Multipart(parts) if parts.len() == 1));
        assert_eq!(message.parts[1].text_contents(), Some("words"));
        assert!(multipart(&message).is_none());
    }

    #[test]
    fn few_multiparts_are_read() {
        let part = [
            &b"Content-Type: Multipart/mixed; boundary=never\n\n"[..],
            &[b'.'; 2000],
        ]
        .concat();
        let raw = part.repeat(MAX_MULTIPARTS + 9);
        assert_eq!(
            readable(&raw).len(),
            MAX_MULTIPARTS * part.len() + "Content-Type: ".len()
        );
        assert_eq!(readable(&part), part);
        let part = b"Content-type: message/rfc822\n\n";
        assert_eq!(readable(&part.repeat(MAX_TYPES)).len(), MAX_TYPES * part.len());
        assert_eq!(
            readable(&part.repeat(MAX_TYPES + 9)).len(),
            MAX_TYPES * part.len()
        );
    }
}
