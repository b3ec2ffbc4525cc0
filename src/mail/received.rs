//! `Received` header fields (RFC 5321 §4.4), as far as they tell one hop from another: who took the
//! mail, under which queue id, from whom and for whom.
//!
//! Reading goes left to right and steps over comments, because the client's HELO name and its comment
//! are the client's to choose. What is missing stays `None`; nothing here fails.

use super::dsn;
use super::field::unfolded;
use jiff::Timestamp;
use std::borrow::Cow;

/// One hop.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hop {
    /// The name that the client gave; `None` where the mail came from no client.
    pub from: Option<String>,
    /// The server that took the mail, lower case.
    pub by: Option<String>,
    /// The comment after it: `Postfix`, or `Postfix, from userid 0`.
    pub software: Option<String>,
    /// The id under which it was queued there.
    pub queue_id: Option<String>,
    /// For whom, without `<>`.
    pub recipient: Option<String>,
}

/// When the mail was taken: what stands behind the last semicolon (RFC 5321 §4.4, `stamp`).
#[must_use]
pub(super) fn date(value: &str) -> Option<Timestamp> {
    value.rsplit_once(';').and_then(|(_, date)| dsn::date(date))
}

impl Hop {
    /// Reads the content of the field as it stands. Blanks and line ends between words are passed over in any case,
    /// so that it need not be unfolded first, unless there are other octets in it.
    #[must_use]
    pub(super) fn of_field(content: &[u8]) -> Self {
        let content = content.trim_ascii();
        let usual = |b: u8| matches!(b, b' '..=b'~' | b'\t' | b'\r' | b'\n');
        // Without an early end, which lets the compiler look at many at once.
        let is_usual = content.iter().fold(true, |all, &b| all & usual(b));
        match std::str::from_utf8(content) {
            Ok(content) if is_usual => Self::parse(content),
            _ => Self::parse(&unfolded(content)),
        }
    }

    /// Reads the unfolded content of the field.
    #[must_use]
    pub fn parse(value: &str) -> Self {
        let mut hop = Self::default();
        let mut keyword = "";
        let mut rest = value;
        while let Some((token, after)) = token(rest) {
            rest = after;
            match (keyword, token) {
                (_, Token::End) => break,
                ("by", Token::Comment(comment)) => {
                    hop.software
                        .get_or_insert_with(|| unfolded_comment(comment).into_owned());
                }
                (_, Token::Comment(_)) => {}
                ("from", Token::Word(word)) if hop.from.is_none() => hop.from = Some(lower(word)),
                ("by", Token::Word(word)) if hop.by.is_none() => hop.by = Some(lower(word)),
                ("id", Token::Word(word)) if hop.queue_id.is_none() => hop.queue_id = Some(word.to_owned()),
                ("for", Token::Word(word)) if hop.recipient.is_none() => {
                    hop.recipient = Some(word.trim_matches(['<', '>']).to_owned());
                }
                (_, Token::Word(word)) => keyword = clause(word),
            }
        }
        hop
    }

    /// Whether Postfix wrote it.
    #[must_use]
    pub fn is_postfix(&self) -> bool {
        self.software.as_deref().is_some_and(|s| s.starts_with("Postfix"))
    }

    /// The server, where Postfix made the mail itself: `by HOST (Postfix) id QID`, without a client
    /// and without the `from userid` of a local submission. Postfix writes such a hop only above
    /// the notifications of its own bounce service.
    #[must_use]
    pub fn origin(&self) -> Option<&str> {
        let born_here =
            self.from.is_none() && self.queue_id.is_some() && self.software.as_deref() == Some("Postfix");
        self.by.as_deref().filter(|_| born_here)
    }
}

/// The clause that a word begins; empty where it begins none.
fn clause(word: &str) -> &'static str {
    const CLAUSES: [&str; 6] = ["from", "by", "via", "with", "id", "for"];
    CLAUSES
        .into_iter()
        .find(|c| word.eq_ignore_ascii_case(c))
        .unwrap_or("")
}

/// A comment with single blanks for its folds.
fn unfolded_comment(comment: &str) -> Cow<'_, str> {
    if !comment.contains(['\r', '\n', '\t']) && !comment.contains("  ") {
        return Cow::Borrowed(comment);
    }
    // An end that is a blank stays one, as where the whole field is unfolded.
    let is_blank = |b: Option<&u8>| b.is_some_and(|&b| matches!(b, b' ' | b'\t' | b'\r' | b'\n'));
    let octets = comment.as_bytes();
    let words = unfolded(octets);
    let first = if is_blank(octets.first()) { " " } else { "" };
    let last = if is_blank(octets.last()) && !words.is_empty() {
        " "
    } else {
        ""
    };
    Cow::Owned(format!("{first}{words}{last}"))
}

enum Token<'a> {
    Word(&'a str),
    Comment(&'a str),
    End,
}

/// The next word, comment (nested ones within it) or the `;` before the date, and what follows it.
fn token(text: &str) -> Option<(Token<'_>, &str)> {
    let text = text.trim_start();
    match text.chars().next()? {
        ';' => Some((Token::End, "")),
        '(' => {
            let mut depth = 0_usize;
            let end = text.char_indices().find(|&(_, c)| {
                match c {
                    '(' => depth += 1,
                    ')' => depth -= 1,
                    _ => {}
                }
                depth == 0
            });
            let (inner, rest) = match end {
                Some((end, _)) => (&text[1..end], &text[end + 1..]),
                None => (&text[1..], ""),
            };
            Some((Token::Comment(inner), rest))
        }
        _ => {
            let ends = |b: u8| matches!(b, b' ' | b'\t'..=b'\r' | b';' | b'(');
            // Octet by octet up to what may be a blank beyond ASCII.
            let plain = text.bytes().position(|b| ends(b) || !b.is_ascii());
            let end = match plain {
                Some(at) if !text.as_bytes()[at].is_ascii() => text[at..]
                    .find(|c: char| c.is_whitespace() || matches!(c, ';' | '('))
                    .map_or(text.len(), |length| at + length),
                Some(at) => at,
                None => text.len(),
            };
            Some((Token::Word(&text[..end]), &text[end..]))
        }
    }
}

fn lower(word: &str) -> String {
    word.trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_postfix_writes() {
        let hop = Hop::parse(
            "from app.test (unknown [127.0.0.1]) by mta.app.test (Postfix) with ESMTP id B351D99C0B6 \
             for <full5@misc.test>; Sat, 21 Nov 2026 09:29:34 +0000 (UTC)",
        );
        assert_eq!(hop.from.as_deref(), Some("app.test"));
        assert_eq!(hop.by.as_deref(), Some("mta.app.test"));
        assert_eq!(hop.queue_id.as_deref(), Some("B351D99C0B6"));
        assert_eq!(hop.recipient.as_deref(), Some("full5@misc.test"));
        assert!(hop.is_postfix());
        assert_eq!(hop.origin(), None, "it came from a client");
    }

    #[test]
    fn only_what_postfix_made_itself_has_its_origin_here() {
        let table = [
            (
                "by mta.app.test (Postfix) id B4CE099C0B8; Sat, 21 Nov",
                Some("mta.app.test"),
            ),
            (
                "by mta.app.test (Postfix, from userid 1000) id B4CE099C0B8; Sat, 21 Nov",
                None,
            ),
            (
                "from x (y [192.0.2.1]) by mta.app.test (Postfix) id B4CE; Sat",
                None,
            ),
            (
                "from by (mta.app.test (Postfix) id A [192.0.2.1]) by real.test (Postfix) id B; Sat",
                None,
            ),
            ("from (x) by mta.app.test (Postfix) with SMTP id B4CE; Sat", None),
            ("by mta.app.test (Exim 4) id B4CE; Sat", None),
            ("by mta.app.test (Postfix); Sat", None),
            ("(((by", None),
            ("", None),
        ];
        for (value, origin) in table {
            assert_eq!(Hop::parse(value).origin(), origin, "{value}");
        }
    }

    proptest! {
        /// Unfolding first must make no difference.
        #[test]
        fn fields_are_read_as_they_stand(field in "((from|by|id|for|;|[(]|[)]|Postfix|x\\.test|\u{e4}|\u{a0}|\u{1}|[ \t]|\r\n ){0,3} ?){0,12}") {
            prop_assert_eq!(Hop::of_field(field.as_bytes()), Hop::parse(&unfolded(field.as_bytes())));
        }
    }
}
