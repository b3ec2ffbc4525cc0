//! A message as the readers of bounce formats see it: its header fields, the words that it says to
//! people, and the mail that it returns within those words.
//!
//! The words are the text parts in front of what is returned, decoded, with plain line ends; HTML is
//! reduced to its text where no plain text stands beside it. Where the returned mail is not a part of
//! its own (qmail, old Sendmail, Exim) it is cut off: at a line that announces it, or where a block of
//! header fields (RFC 5322) begins. Nothing in the returned mail is ever read as the reporter's words:
//! anybody can write it. Reading never fails; what is missing is empty.

use super::address::Address;
use super::html;
use mail_parser::{Encoding, Message, MessagePart, MimeHeaders, PartType};
use std::borrow::Cow;
use std::cell::OnceCell;
use std::ops::Range;

mod border;
mod head;

use border::border;
pub(super) use head::Head;

/// The longest run of words that is read, in octets: a bounce about thousands of recipients fits.
const MAX_WORDS: usize = 256 * 1024;

/// A message under the eyes of the readers of formats.
pub struct Letter<'a> {
    message: &'a Message<'a>,
    head: Head<'a>,
    /// Where a mail stood that was left out of the message, and that mail.
    left_out: Option<(usize, &'a [u8])>,
    words: OnceCell<Words<'a>>,
    subject: OnceCell<String>,
    from: OnceCell<String>,
    /// Where the address stands in `from`.
    sender: OnceCell<Range<usize>>,
    null_sender: OnceCell<bool>,
    from_daemon: OnceCell<bool>,
    grams: OnceCell<Grams>,
}

/// The text of a message, cut where the returned mail begins.
#[derive(Debug)]
struct Words<'a> {
    text: Cow<'a, str>,
    /// Where what the reporter says ends.
    end: usize,
    /// Where the returned mail begins, if there is one.
    returned: Option<usize>,
}

impl<'a> Letter<'a> {
    /// Looks at a message.
    #[must_use]
    pub fn new(message: &'a Message<'a>) -> Self {
        Self::abridged(message, Head::of(message), None)
    }

    /// As [`Letter::new`], where the message was parsed without most fields of its header, and perhaps without the
    /// mail that begins at an octet of it.
    pub(super) fn abridged(
        message: &'a Message<'a>,
        head: Head<'a>,
        left_out: Option<(usize, &'a [u8])>,
    ) -> Self {
        Self {
            message,
            head,
            left_out,
            words: OnceCell::new(),
            subject: OnceCell::new(),
            from: OnceCell::new(),
            sender: OnceCell::new(),
            null_sender: OnceCell::new(),
            from_daemon: OnceCell::new(),
            grams: OnceCell::new(),
        }
    }

    /// The mail that was left out where that part holds one: the part itself holds nothing of it.
    pub(super) fn left_out(&self, part: &MessagePart<'_>) -> Option<&'a [u8]> {
        let (at, mail) = self.left_out?;
        (part.is_message() && part.raw_body_offset() as usize == at).then_some(mail)
    }

    /// The message itself. Of its header only the fields of MIME and the subject are sure to be there.
    #[must_use]
    pub fn message(&self) -> &'a Message<'a> {
        self.message
    }

    /// The parts right beneath the top multipart; the message's own body where it has none.
    pub fn parts(&self) -> impl Iterator<Item = &'a MessagePart<'a>> + '_ {
        let root = self.message.parts.first();
        let children = root.and_then(MessagePart::sub_parts).unwrap_or(&[0]);
        children
            .iter()
            .filter_map(|&id| self.message.parts.get(id as usize))
    }

    /// All fields of that name (whatever its case), unfolded, undecoded, in their order.
    pub fn fields<'n>(&'n self, name: &'n str) -> impl Iterator<Item = Cow<'n, str>> + 'n {
        self.head.named(name)
    }

    /// The names of all fields, in their order.
    pub(super) fn field_names(&self) -> impl Iterator<Item = &'a [u8]> + '_ {
        self.head.iter().map(|(name, _)| name)
    }

    /// The first field of that name.
    #[must_use]
    pub fn field<'n>(&'n self, name: &'n str) -> Option<Cow<'n, str>> {
        self.fields(name).next()
    }

    /// Whether there is a field of that name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.head.has(name)
    }

    /// The subject, decoded (RFC 2047), in lower case.
    #[must_use]
    pub fn subject(&self) -> &str {
        self.subject
            .get_or_init(|| self.message.subject().unwrap_or_default().to_lowercase())
    }

    /// The `From` field as it stands, in lower case: display name and address.
    #[must_use]
    pub fn from(&self) -> &str {
        self.from
            .get_or_init(|| self.field("From").unwrap_or_default().to_lowercase())
    }

    /// The address in `From`, in lower case; empty where there is none.
    #[must_use]
    pub fn sender(&self) -> &str {
        let from = self.from();
        let range = self.sender.get_or_init(|| {
            let sender = match (from.rfind('<'), from.rfind('>')) {
                (Some(start), Some(end)) if start < end => from[start + 1..end].trim(),
                _ => from
                    .split([' ', '('])
                    .find(|word| word.contains('@'))
                    .unwrap_or(from),
            };
            let start = sender.as_ptr().addr() - from.as_ptr().addr();
            start..start + sender.len()
        });
        &from[range.clone()]
    }

    /// The mailbox in `From`, decoded; `None` where there is none.
    #[must_use]
    pub fn author(&self) -> Option<Address> {
        let from = self.field("From")?;
        let named = match (from.rfind('<'), from.rfind('>')) {
            (Some(start), Some(end)) if start < end => &from[start + 1..end],
            _ => from.split([' ', '(']).find(|word| word.contains('@'))?,
        };
        Address::parse(named).ok()
    }

    /// Whether the mail system itself seems to write: nobody as `Return-Path`, or `MAILER-DAEMON`,
    /// `postmaster` and the like in `From`. Anyone may claim so: it tells a format, and proves nothing.
    #[must_use]
    pub fn is_from_daemon(&self) -> bool {
        let null = || self.field("Return-Path").is_some_and(|path| path.trim() == "<>");
        *self.null_sender.get_or_init(null) || self.is_from_daemon_by_name()
    }

    /// As [`Letter::is_from_daemon`], by `From` alone: people's automatic answers have nobody as their
    /// `Return-Path` too (RFC 3834 §3.3). Nobody in `From` is a daemon.
    #[must_use]
    pub fn is_from_daemon_by_name(&self) -> bool {
        const DAEMONS: [&str; 17] = [
            "mailer-daemon",
            "mailer_daemon",
            "mailerdaemon",
            "postmaster",
            "mail-daemon",
            "maildaemon",
            "mail.delivery.system",
            "mail delivery s",
            "microsoftexchange",
            "mail system",
            "mail delivery",
            "mailer daemon",
            "mail router",
            "mailsystem",
            "mdaemon@",
            "mail administrator",
            "mailmarshal@",
        ];
        *self.from_daemon.get_or_init(|| {
            let from = self.from();
            from.is_empty() || from == "<>" || DAEMONS.iter().any(|name| from.contains(name))
        })
    }

    /// What the message says to people, in front of what it returns.
    #[must_use]
    pub fn words(&self) -> &str {
        let words = self.cut();
        &words.text[..words.end]
    }

    /// Whether a phrase stands in the words. Made for the tells of formats, which ask for a hundred phrases that
    /// do not stand there: most cost a look at a table.
    #[must_use]
    pub fn says(&self, phrase: &str) -> bool {
        self.says_early(usize::MAX, phrase)
    }

    /// Whether one of the phrases stands in the words.
    #[must_use]
    pub fn says_any(&self, phrases: &[&str]) -> bool {
        phrases.iter().any(|phrase| self.says(phrase))
    }

    /// Whether a phrase stands within the first octets of the words.
    #[must_use]
    pub fn says_early(&self, octets: usize, phrase: &str) -> bool {
        let words = self.words();
        let may = self
            .grams
            .get_or_init(|| Grams::of(words.as_bytes()))
            .may_hold(phrase.as_bytes());
        // For phrases as short as these nothing need be prepared, which would take longer than the search.
        may && words[..words.floor_char_boundary(octets)].contains(phrase)
    }

    /// The mail returned within the words, from its header on; `None` where none is.
    #[must_use]
    pub fn returned(&self) -> Option<&str> {
        let words = self.cut();
        words.returned.and_then(|start| words.text.get(start..))
    }

    fn cut(&self) -> &Words<'a> {
        self.words.get_or_init(|| {
            let text = self.text();
            let border = border(&text);
            Words {
                end: border.map_or(text.len(), |(end, _)| end),
                returned: border.map(|(_, start)| start),
                text,
            }
        })
    }

    /// The text parts in front of a returned message, decoded.
    fn text(&self) -> Cow<'a, str> {
        let mut text = Cow::Borrowed("");
        self.gather(0, 0, &mut text);
        text
    }

    /// Gathers the text of a part and of those in it; `false` ends it, at the returned message.
    fn gather(&self, id: usize, depth: usize, text: &mut Cow<'a, str>) -> bool {
        let Some(part) = self.message.parts.get(id) else {
            return true;
        };
        match &part.body {
            PartType::Multipart(children) if depth < 8 => {
                let alternative = is_type(part, "multipart", "alternative");
                for &child in children {
                    let before = text.len();
                    if !self.gather(child as usize, depth + 1, text) {
                        return false;
                    }
                    // The alternatives say the same; the first that says anything is the plainest.
                    if alternative && text[before..].trim_ascii().len() > 8 {
                        break;
                    }
                }
                true
            }
            PartType::Message(_) => false,
            PartType::Text(_) if is_header_only(part) => false,
            // A part that was cut off in its middle counts as text, whatever it is.
            PartType::Text(_)
                if part
                    .content_type()
                    .is_some_and(|t| t.ctype().eq_ignore_ascii_case("message")) =>
            {
                true
            }
            PartType::Text(words) if !html::is_html(words) => {
                let words = undeclared(self.message, part).unwrap_or(words);
                if text.is_empty() && is_ready(words) {
                    *text = Cow::Borrowed(words);
                } else {
                    append(words, text.to_mut());
                }
                true
            }
            PartType::Text(html) | PartType::Html(html) => {
                let html = &html[..html.floor_char_boundary(4 * MAX_WORDS)];
                append(&html::text(html), text.to_mut());
                true
            }
            _ => true,
        }
    }
}

/// The text of a part that says it is ASCII and holds UTF-8: reports repeat what servers and addresses have,
/// under the character set of their own words. The parser takes it for Windows-1252.
fn undeclared<'a>(message: &'a Message<'a>, part: &'a MessagePart<'a>) -> Option<&'a str> {
    let charset = part.content_type()?.attribute("charset")?;
    if !charset.eq_ignore_ascii_case("us-ascii") || part.encoding != Encoding::None {
        return None;
    }
    let content = part.offset_body as usize..part.offset_end as usize;
    let content = std::str::from_utf8(message.raw_message.get(content)?).ok()?;
    // One character an octet: it is this content that was decoded so.
    let decoded = part.text_contents()?;
    let is_this = !content.is_ascii() && decoded.chars().count() == content.len();
    is_this.then_some(content)
}

/// Which runs of four octets stand in a text, by their hashes: a phrase that has a run which does not stand
/// there does not stand there either. In a very long text all hashes do, and nothing is ruled out.
struct Grams(Box<[u64; GRAM_WORDS]>);

/// 1 KiB, which allocators hand out quickly: a quarter of it is set by a notice of usual length, and phrases have many
/// runs.
const GRAM_WORDS: usize = 128;

impl Grams {
    fn of(text: &[u8]) -> Self {
        let mut table = Box::new([0; GRAM_WORDS]);
        for gram in text.windows(4) {
            let bit = Self::bit(gram);
            table[bit / 64] |= 1 << (bit % 64);
        }
        Self(table)
    }

    fn may_hold(&self, phrase: &[u8]) -> bool {
        phrase.windows(4).all(|gram| {
            let bit = Self::bit(gram);
            self.0[bit / 64] & (1 << (bit % 64)) != 0
        })
    }

    fn bit(gram: &[u8]) -> usize {
        let number = u32::from_le_bytes([gram[0], gram[1], gram[2], gram[3]]);
        // Fibonacci hashing: the upper bits of the product depend on all of the lower ones.
        (number.wrapping_mul(0x9e37_79b1) >> 19) as usize
    }
}

/// Whether a part is of that media type (RFC 2046), whatever its case.
#[must_use]
pub fn is_type(part: &MessagePart<'_>, name: &str, subtype: &str) -> bool {
    part.content_type().is_some_and(|t| {
        t.ctype().eq_ignore_ascii_case(name) && t.subtype().is_some_and(|s| s.eq_ignore_ascii_case(subtype))
    })
}

/// Whether a part holds the header of a returned mail and nothing else (RFC 6522 §4).
#[must_use]
pub fn is_header_only(part: &MessagePart<'_>) -> bool {
    const SUBTYPES: [&str; 3] = ["rfc822-headers", "rfc822-header", "global-headers"];
    SUBTYPES
        .iter()
        .any(|s| is_type(part, "text", s) || is_type(part, "message", s))
}

/// Whether words may be taken as they stand.
fn is_ready(words: &str) -> bool {
    words.len() < MAX_WORDS && words.ends_with('\n') && !has_suspicious(words)
}

/// Whether words may hold control characters other than LF.
fn has_suspicious(words: &str) -> bool {
    // Controls are octets below 32, 127, and what begins with 0xC2 beyond ASCII.
    let suspicious = |b: u8| (b < b' ' && b != b'\n') || b == 0x7f || b == 0xc2;
    // Chunk by chunk without an early end, which lets the compiler look at many octets at once.
    let any = |chunk: &[u8]| chunk.iter().fold(false, |found, &b| found | suspicious(b));
    words.as_bytes().chunks(256).any(any)
}

/// Appends words with plain line ends and without control characters, as far as they fit.
fn append(words: &str, text: &mut String) {
    let room = MAX_WORDS.saturating_sub(text.len());
    let words = &words[..words.floor_char_boundary(room)];
    // Room for a part like this one: most messages have one or two.
    if text.is_empty() {
        text.reserve(words.len() + 1);
    }
    if !has_suspicious(words) {
        text.push_str(words);
    } else {
        for line in words.split_inclusive('\n') {
            match line.strip_suffix("\r\n") {
                Some(line) if !has_suspicious(line) => {
                    text.push_str(line);
                    text.push('\n');
                }
                None if !has_suspicious(line) => text.push_str(line),
                _ => plain(line, text),
            }
        }
    }
    if !text.ends_with('\n') {
        text.push('\n');
    }
}

/// Appends a line octet by octet: other line ends become LF, controls become blanks.
fn plain(line: &str, text: &mut String) {
    let mut rest = line.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            // CR alone ends a line too, in files that an old system wrote.
            '\r' if rest.peek() == Some(&'\n') => {}
            '\r' | '\n' => text.push('\n'),
            c if c.is_control() => text.push(' '),
            c => text.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail_parser::{HeaderName, MessageParser};

    fn cut(body: &str) -> (String, Option<String>) {
        let raw =
            format!("From: Mail System <MAILER-DAEMON@mx.test>\nSubject: =?utf-8?q?Zur=C3=BCck?=\n\n{body}");
        let message = MessageParser::new()
            .with_mime_headers()
            .header_text(HeaderName::Subject)
            .parse(raw.as_bytes())
            .unwrap();
        let letter = Letter::new(&message);
        assert!(letter.is_from_daemon());
        assert_eq!(letter.sender(), "mailer-daemon@mx.test");
        assert_eq!(letter.subject(), "zurück");
        (letter.words().to_owned(), letter.returned().map(str::to_owned))
    }

    #[test]
    fn the_returned_mail_is_cut_off() {
        let mail = "Received: from a by b; now\nFrom: x@y.test\n\n<forged@victim.test>: 550 no";
        for border in [
            "--- Below this line is a copy of the message.\n\n",
            "------ This is a copy of the message, including all the headers. ------\n",
            "   ----- Unsent message follows -----\n",
            "------- Returned Message --------\n",
            "",
        ] {
            let (words, returned) = cut(&format!("<a@b.test>:\nno such user\n\n{border}{mail}\n"));
            assert_eq!(words, "<a@b.test>:\nno such user\n\n", "{border}");
            assert_eq!(returned.as_deref(), Some(&*format!("{mail}\n")), "{border}");
        }
    }

    #[test]
    fn lines_end_in_lf_and_control_characters_are_blanks() {
        assert_eq!(cut("a\r\nb\rc\n\td\u{e}e\u{85}f").0, "a\nb\nc\n d e f\n");
    }

    #[test]
    fn html_is_reduced_to_its_words_whatever_it_is_called() {
        let (words, _) = cut("<html><body><p>Not delivered to<br>&lt;a@b.test&gt;</p></body></html>");
        assert_eq!(words, "Not delivered to\n<a@b.test>\n\n");
    }

    #[test]
    fn what_is_no_header_stays() {
        let text = "To: you\nSubject: of your mail\n\nReason: 550\nDetail: x\n----- Transcript of session follows -----\n";
        assert_eq!(cut(text), (text.to_owned(), None));
    }
}
