//! The header fields of a message (RFC 5322 §2.2) as they stand in its octets, where readers of formats ask for them.
//!
//! A header as nearly everybody writes it is taken apart here, which costs far less than to have every field read by
//! the parser of MIME. Of any other [`Head::plain`] says nothing, and the parser tells where its fields are.

use crate::mail::field::unfolded;
use mail_parser::Message;
use std::borrow::Cow;

/// As many fields as most headers have.
const USUAL: usize = 32;

/// The fields of a header: each with its name and what stands behind the colon, line ends and all.
#[derive(Debug)]
pub(in crate::mail) struct Head<'a> {
    fields: Vec<(&'a [u8], &'a [u8])>,
    /// The bits of the names of all fields.
    bits: u64,
}

impl<'a> Head<'a> {
    /// The header of a message, as the parser found its fields.
    pub(in crate::mail) fn of(message: &'a Message<'_>) -> Self {
        let parsed = message.parts.first().into_iter().flat_map(|part| &part.headers);
        let mut head = Self::with_room(0);
        for field in parsed {
            let (start, end) = (field.offset_start as usize, field.offset_end as usize);
            if let Some(content) = message.raw_message.get(start..end) {
                head.push(field.name().as_bytes(), content);
            }
        }
        head
    }

    /// The header that a message begins with, and where its body begins. `None` where the header does not end, or
    /// where anything in it is no field of printable ASCII, an empty line, or the continuation of a field.
    pub(in crate::mail) fn plain(raw: &'a [u8]) -> Option<(Self, usize)> {
        let mut head = Self::with_room(USUAL);
        let mut at = 0;
        // What an mbox has in front of a message.
        if raw.starts_with(b"From ") {
            at = memchr::memchr(b'\n', raw)? + 1;
        }
        loop {
            match raw.get(at..)? {
                [b'\n', ..] => return Some((head, at + 1)),
                [b'\r', b'\n', ..] => return Some((head, at + 2)),
                _ => {}
            }
            let mut end = at + memchr::memchr(b'\n', &raw[at..])? + 1;
            while let Some(b' ' | b'\t') = raw.get(end) {
                end += memchr::memchr(b'\n', &raw[end..])? + 1;
            }
            let field = &raw[at..end];
            let colon = memchr::memchr(b':', field)?;
            let name = field[..colon].trim_ascii_end();
            if name.is_empty() || !name.iter().all(u8::is_ascii_graphic) {
                return None;
            }
            head.push(name, &field[colon + 1..]);
            at = end;
        }
    }

    fn with_room(fields: usize) -> Self {
        Self {
            fields: Vec::with_capacity(fields),
            bits: 0,
        }
    }

    fn push(&mut self, name: &'a [u8], content: &'a [u8]) {
        self.bits |= bit(name);
        self.fields.push((name, content));
    }

    /// The names of all fields and their contents as they stand, in their order.
    pub(in crate::mail) fn iter(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + '_ {
        self.fields.iter().copied()
    }

    /// The contents of all fields of that name, whatever its case, unfolded.
    pub(super) fn named<'n>(&'n self, name: &'n str) -> impl Iterator<Item = Cow<'n, str>> + 'n {
        self.contents(name).map(unfolded)
    }

    /// Whether there is a field of that name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.contents(name).next().is_some()
    }

    fn contents<'n>(&'n self, name: &'n str) -> impl Iterator<Item = &'n [u8]> + 'n {
        // Readers of formats ask for dozens of fields that are not there.
        let may = self.bits & bit(name.as_bytes()) != 0;
        let fields = if may { &*self.fields } else { &[] };
        let named = fields
            .iter()
            .filter(move |(known, _)| known.eq_ignore_ascii_case(name.as_bytes()));
        named.map(|&(_, content)| content)
    }
}

/// A bit for a field's name, by its length and its last letter: most names differ from most others in one of
/// them.
fn bit(name: &[u8]) -> u64 {
    let last = name.last().copied().unwrap_or_default() | 0x20;
    1 << ((name.len() * 5 + usize::from(last) * 3) % 64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail_parser::MessageParser;
    use proptest::prelude::*;

    fn listed(head: &Head<'_>) -> Vec<(String, String)> {
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        let all = head.iter();
        all.map(|(name, content)| (text(name).to_ascii_lowercase(), unfolded(content).into_owned()))
            .collect()
    }

    /// Whether a header is plain; if so, it is what the parser finds.
    fn is_plain(raw: &[u8]) -> bool {
        let Some((head, body)) = Head::plain(raw) else {
            return false;
        };
        let parser = MessageParser::new().with_mime_headers().default_header_ignore();
        let message = parser.parse(raw).unwrap();
        let mut parsed = listed(&Head::of(&message));
        if raw.starts_with(b"From ") {
            parsed.retain(|(name, _)| !name.starts_with("from "));
        }
        assert_eq!(listed(&head), parsed, "{}", raw.escape_ascii());
        assert_eq!(message.parts[0].raw_body_offset() as usize, body);
        true
    }

    #[test]
    fn plain_headers_are_taken_apart() {
        for raw in [
            "A: b\n\nbody",
            "A : b\r\nC:\r\n d\r\n\te\r\n\r\nbody",
            "From x Sat Nov 21 09:00:00 2026\nA: b\n \n c\n\n",
            "Content-Type: text/plain; x=\"a\n b\"\nA: b\n\n",
            "\r\nbody",
        ] {
            assert!(is_plain(raw.as_bytes()), "{raw}");
        }
        for raw in [
            "A: b\n",
            "A: b\nno field\n\n",
            " A: b\n\n",
            "A: b\n\rC: d\n\n",
            "A b: c\n\n",
            "\u{e4}: b\n\n",
            ": b\n\n",
            "",
        ] {
            assert!(!is_plain(raw.as_bytes()), "{raw}");
        }
    }

    proptest! {
        #[test]
        fn what_is_plain_is_what_the_parser_finds(raw in "(([A-C]|Content-Type|Subject)[ -~]?:?[ab\\\\\"(=?; \r\n\t]{0,12}\n){0,4}\r?\n?[ab\n]{0,9}") {
            is_plain(raw.as_bytes());
        }
    }
}
