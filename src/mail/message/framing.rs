//! The parts of a message (RFC 2046) that is framed as plainly as nearly every reporter frames one: a text, or one
//! multipart of texts, of reports and of the returned mail, none of them encoded, each begun by its delimiter on a
//! line of its own, and the last one closed. They are found by searching for the delimiter and lent as they stand; the
//! parser of MIME goes through a message octet by octet.
//!
//! What is found is what the parser finds, which the tests prove; wherever it could be something else, nothing is, and
//! the message is to be parsed. Of the fields of a part only those that somebody asks for are read: its type, and of
//! the message's own the subject.

use crate::mail::letter::{Head, is_type};
use mail_parser::decoders::charsets::map::charset_decoder;
use mail_parser::parsers::MessageStream;
use mail_parser::{Encoding, Header, HeaderName, Message, MessagePart, MimeHeaders, PartType};
use memchr::memmem::Finder;
use std::borrow::Cow;

/// A message whose framing is plain.
pub(super) struct Framed<'a> {
    /// The message and its parts.
    pub(super) message: Message<'a>,
    /// Where the returned mail begins, and that mail; it is left out of the message.
    pub(super) left_out: Option<(usize, &'a [u8])>,
}

impl<'a> Framed<'a> {
    /// Finds the parts of a message with that header, whose body begins at an octet of it.
    pub(super) fn of(raw: &'a [u8], head: &Head<'a>, body: usize) -> Option<Self> {
        let mut framed = Self {
            message: Message::default(),
            left_out: None,
        };
        let root = part(head, (0, body, raw.len()));
        if !is_multipart(&root) {
            let root = framed.filled(root, head, raw)?;
            framed.message.parts.push(root);
        } else {
            if is_type(&root, "multipart", "digest") {
                return None;
            }
            framed.message.parts.push(root);
            let count = framed.children(raw, body)?;
            framed.message.parts[0].body = PartType::Multipart((1..=count).collect());
        }
        framed.message.raw_message = Cow::Borrowed(raw);
        Some(framed)
    }

    /// Finds the parts beneath the message's own multipart, and tells how many they are.
    fn children(&mut self, raw: &'a [u8], body: usize) -> Option<u32> {
        let root = self.message.parts[0].content_type()?;
        let boundary = root
            .attribute("boundary")
            .filter(|boundary| !boundary.is_empty())?;
        let delimiter = ["--", boundary].concat();
        let delimiter = Finder::new(&delimiter);
        let length = delimiter.needle().len();
        let mut at = body + delimiter.find(&raw[body..])?;
        let mut count = 0;
        loop {
            if self.left_out.is_some() || raw[..at].last() != Some(&b'\n') {
                return None;
            }
            let start = at + length;
            let start = match &raw[start..] {
                [b'\n', ..] => start + 1,
                [b'\r', b'\n', ..] => start + 2,
                _ => return None,
            };
            let (head, fields) =
                Head::plain(&raw[start..]).filter(|_| !raw[start..].starts_with(b"From "))?;
            let content = start + fields;
            at = content + delimiter.find(&raw[content..])?;
            // The line end in front of a delimiter belongs to it (RFC 2046 §5.1.1).
            let end = match &raw[content..at] {
                [.., b'\r', b'\n'] => at - 2,
                [.., b'\n'] => at - 1,
                [] => at,
                _ => return None,
            };
            let child = part(&head, (start, content, end));
            let child = if is_type(&child, "message", "rfc822") {
                self.returned(child, &head, &raw[content..at])?
            } else {
                self.filled(child, &head, raw)?
            };
            self.message.parts.push(child);
            count += 1;
            if raw[at + length..].starts_with(b"--") {
                return Some(count);
            }
        }
    }

    /// Leaves out the mail that a part holds, if that plainly is one.
    fn returned(
        &mut self,
        mut part: MessagePart<'a>,
        head: &Head<'_>,
        mail: &'a [u8],
    ) -> Option<MessagePart<'a>> {
        if is_encoded(head) || !super::abridged::is_mail(mail) {
            return None;
        }
        self.left_out = Some((part.offset_body as usize, mail));
        // An empty mail has a part as well: the parser's types rely on it.
        part.body = PartType::Message(Message {
            parts: vec![MessagePart::default()],
            ..Message::default()
        });
        Some(part)
    }

    /// The part with its content; `None` where that is encoded, or of a kind that the parser treats in another way.
    fn filled(&self, mut part: MessagePart<'a>, head: &Head<'_>, raw: &'a [u8]) -> Option<MessagePart<'a>> {
        if is_encoded(head) {
            return None;
        }
        let content = &raw[part.offset_body as usize..part.offset_end as usize];
        let Some(kind) = part.content_type() else {
            part.body = PartType::Text(text(content, None));
            return Some(part);
        };
        part.body = match (kind.ctype(), kind.subtype()) {
            ("text", Some("html")) => PartType::Html(text(content, kind.attribute("charset"))),
            ("text", _) => PartType::Text(text(content, kind.attribute("charset"))),
            ("message", Some("rfc822" | "global")) => return None,
            ("message" | "application", _) => PartType::Binary(Cow::Borrowed(content)),
            _ => return None,
        };
        Some(part)
    }
}

/// A part without its content: where its fields, its content and the next part begin.
fn part<'a>(head: &Head<'a>, (start, content, end): (usize, usize, usize)) -> MessagePart<'a> {
    let value = |(name, content): (&'a [u8], &'a [u8])| {
        if name.eq_ignore_ascii_case(b"Content-Type") {
            let value = MessageStream::new(content).parse_content_type();
            Some((HeaderName::ContentType, value))
        } else if name.eq_ignore_ascii_case(b"Subject") {
            Some((
                HeaderName::Subject,
                MessageStream::new(content).parse_unstructured(),
            ))
        } else {
            None
        }
    };
    let fields = head.iter().filter_map(value).map(|(name, value)| Header {
        name,
        value,
        offset_field: 0,
        offset_start: 0,
        offset_end: 0,
    });
    #[allow(clippy::cast_possible_truncation, reason = "as the parser has them")]
    let [offset_header, offset_body, offset_end] = [start, content, end].map(|offset| offset as u32);
    MessagePart {
        headers: fields.collect(),
        is_encoding_problem: false,
        body: PartType::default(),
        encoding: Encoding::None,
        offset_header,
        offset_body,
        offset_end,
    }
}

fn is_multipart(part: &MessagePart<'_>) -> bool {
    part.content_type()
        .is_some_and(|kind| kind.ctype() == "multipart")
}

/// Whether the content of a part may be encoded (RFC 2045 §6).
fn is_encoded(head: &Head<'_>) -> bool {
    let mut fields = head.iter();
    fields.any(|(name, content)| {
        let plain = [&b"7bit"[..], b"8bit", b"binary"];
        let content = content.trim_ascii();
        name.eq_ignore_ascii_case(b"Content-Transfer-Encoding")
            && !plain.iter().any(|plain| content.eq_ignore_ascii_case(plain))
    })
}

/// Octets as text, as the parser decodes them.
fn text<'a>(octets: &'a [u8], charset: Option<&str>) -> Cow<'a, str> {
    /// What begins the names of character sets in which ASCII means itself.
    const SUPERSETS: [&str; 4] = ["us-ascii", "utf-8", "iso-8859-", "windows-125"];
    let decoder = charset.and_then(|charset| charset_decoder(charset.as_bytes()));
    let is_superset = |known: &&str| {
        let front = charset.and_then(|charset| charset.get(..known.len()));
        front.is_some_and(|front| front.eq_ignore_ascii_case(known))
    };
    match (decoder, std::str::from_utf8(octets)) {
        (None, Ok(text)) => Cow::Borrowed(text),
        (None, Err(_)) => String::from_utf8_lossy(octets),
        (Some(_), Ok(text)) if text.is_ascii() && SUPERSETS.iter().any(is_superset) => Cow::Borrowed(text),
        (Some(decoder), _) => Cow::Owned(decoder(octets)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::PARSER;
    use super::*;
    use proptest::prelude::*;

    /// What readers see of a part: its type, what kind of content it has, and that.
    fn seen(part: &MessagePart<'_>) -> (String, u8, Vec<u8>) {
        let kind = match &part.body {
            PartType::Text(_) => 0,
            PartType::Html(_) => 1,
            PartType::Binary(_) | PartType::InlineBinary(_) => 2,
            PartType::Message(_) => 3,
            PartType::Multipart(_) => 4,
        };
        let contents = match &part.body {
            // It is left out, and can be looked at all the same.
            PartType::Message(message) => {
                let _ = (part.text_contents(), message.root_part());
                Vec::new()
            }
            PartType::Multipart(parts) => format!("{parts:?}").into_bytes(),
            _ => part.contents().to_vec(),
        };
        (format!("{:?}", part.content_type()), kind, contents)
    }

    /// Whether a message is framed plainly; if so, its parts are those that the parser finds.
    fn is_plain(raw: &[u8]) -> bool {
        let Some((head, body)) = Head::plain(raw) else {
            return false;
        };
        let Some(framed) = Framed::of(raw, &head, body) else {
            return false;
        };
        let parsed = PARSER.parse(raw).unwrap();
        let all = |message: &Message<'_>| message.parts.iter().map(seen).collect::<Vec<_>>();
        assert_eq!(all(&framed.message), all(&parsed), "{}", raw.escape_ascii());
        assert_eq!(framed.message.subject(), parsed.subject());
        let offsets = framed.message.parts.iter().zip(&parsed.parts);
        for (one, other) in offsets {
            assert_eq!(one.raw_body_offset(), other.raw_body_offset());
        }
        true
    }

    #[test]
    fn plain_messages_are_framed() {
        let multipart = "Subject: =?utf-8?q?=C3=BC?=\nContent-Type: multipart/report; boundary=\"b\"\n\n";
        let closed = |parts: &str| format!("{multipart}preamble\n{parts}--b--\nepilogue\n--b\n");
        for message in [
            "A: b\n\nwords\n".to_owned(),
            "A: b\nContent-Type: text/html; charset=\"iso-8859-1\"\n\n<p>\u{e4}".to_owned(),
            "Content-Type: text/plain; charset=Windows-1252\nContent-Transfer-Encoding: 8BIT\n\nwords"
                .to_owned(),
            closed("--b\n\nwords\n--b\nContent-Type: message/delivery-status\n\nA: b\n\nC: d\n\n"),
            closed("--b\n\nwords\n--b\nContent-Type: message/rfc822\n\nA: b\n\n--c\n\nC: d\n"),
            closed("--b\nContent-Type: text/rfc822-headers\n\nA: b\n--b\nA: b\n\n"),
            closed("--b\n\nwords\n").replace('\n', "\r\n"),
        ] {
            assert!(is_plain(message.as_bytes()), "{message}");
        }
        for message in [
            "Content-Transfer-Encoding: base64\n\nd29yZHM=".to_owned(),
            "Content-Type: image/png\n\nx".to_owned(),
            format!("{multipart}--b\n\nwords\n"),
            closed("--b\n\nwords"),
            closed("--bc\n\nwords\n"),
            closed("--b\n\nwords --b\n"),
            closed("--b\nContent-Type: multipart/mixed; boundary=c\n\n--c\n\nwords\n--c--\n"),
            closed("--b\nContent-Type: message/rfc822\n\nA: b\n\nwords\n--b\n\nwords\n"),
            closed("--b\nno field\n\nwords\n"),
        ] {
            assert!(!is_plain(message.as_bytes()), "{message}");
        }
    }

    proptest! {
        #[test]
        fn what_is_plain_is_what_the_parser_finds(parts in "(--b(--)?(\r?\n)?|Content-Type: (text/plain|message/rfc822|message/x|text/html)\n|A: b\n|\r?\n|[ab\u{e4}-]{1,3}){0,14}") {
            let raw = format!("Content-Type: multipart/mixed; boundary=b\n\n--b\n{parts}\n--b--\n");
            is_plain(raw.as_bytes());
        }
    }
}
