//! Replies of SMTP servers (RFC 5321 §4.2, enhanced codes RFC 2034): three digits, perhaps an
//! enhanced status, text.
//!
//! Reading is lenient and never fails: a text without digits is a reply without a code. Multi-line
//! replies come in two shapes, with line breaks or joined by blanks as Postfix logs them; the
//! repeated codes of continuation lines are no part of the text.

use super::status::EnhancedStatus;
use std::fmt;

/// The three digits, 200 to 599.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReplyCode(u16);

/// One reply.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reply {
    /// The three digits, where there are any.
    pub code: Option<ReplyCode>,
    /// The enhanced status, as the server gave it, where there is one.
    pub status: Option<EnhancedStatus>,
    /// The text on one line, without the codes.
    pub text: String,
}

impl ReplyCode {
    /// Takes a number; `None` outside of 200 to 599.
    #[must_use]
    pub fn new(code: u16) -> Option<Self> {
        (200..=599).contains(&code).then_some(Self(code))
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u16 {
        self.0
    }

    /// 4xx: try again later.
    #[must_use]
    pub fn is_transient(self) -> bool {
        self.0 / 100 == 4
    }

    /// 5xx: do not try again.
    #[must_use]
    pub fn is_permanent(self) -> bool {
        self.0 / 100 == 5
    }
}

impl fmt::Display for ReplyCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl Reply {
    /// Reads a reply; never fails (see the head of this file).
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let text = text.trim();
        let Some((code, rest)) = code_prefix(text) else {
            let (status, rest) = status_prefix(text);
            return Self {
                code: None,
                status,
                text: one_line(rest),
            };
        };
        let continued = text.as_bytes().get(3) == Some(&b'-');
        let (status, rest) = status_prefix(rest);
        let text = without_continuations(rest, code, continued);
        Self {
            code: Some(code),
            status: status.or_else(|| status_suffix(&text)),
            text,
        }
    }
}

/// Three digits at the start, followed by a blank, a hyphen or the end.
fn code_prefix(text: &str) -> Option<(ReplyCode, &str)> {
    let digits = text.get(..3).filter(|d| d.bytes().all(|b| b.is_ascii_digit()))?;
    let rest = &text[3..];
    let separated = rest.is_empty() || rest.starts_with([' ', '-', '\t', '\r', '\n']);
    if !separated {
        return None;
    }
    let code = ReplyCode::new(digits.parse().ok()?)?;
    Some((code, rest.strip_prefix('-').unwrap_or(rest)))
}

/// An enhanced status at the start, a leading `#` allowed (`550 #5.1.0 Address rejected`).
fn status_prefix(text: &str) -> (Option<EnhancedStatus>, &str) {
    let text = text.trim_start();
    match EnhancedStatus::parse_prefix(text.strip_prefix('#').unwrap_or(text)) {
        Some((status, rest)) => (Some(status), rest),
        None => (None, text),
    }
}

/// An enhanced status at the end, as qmail gives it: `(#5.1.1)`. It stays in the text.
fn status_suffix(text: &str) -> Option<EnhancedStatus> {
    let (_, tail) = text.trim_end_matches('.').strip_suffix(')')?.rsplit_once("(#")?;
    tail.parse().ok()
}

/// Joins the lines and leaves out each continuation's repeated `550-5.1.1 `, and the last line's
/// `550 ` after them. A number in the text counts as such only if it is this reply's own code.
fn without_continuations(text: &str, code: ReplyCode, mut continued: bool) -> String {
    let code = code.to_string();
    let mut words: Vec<&str> = Vec::new();
    let mut tokens = text.split_whitespace().peekable();
    while let Some(token) = tokens.next() {
        let repeats = token.strip_prefix(code.as_str());
        match repeats {
            // `550-5.1.1`, `550-text` and a lone `550-`
            Some(rest) if rest.starts_with('-') => {
                continued = true;
                let (_, rest) = status_prefix(&rest[1..]);
                if !rest.is_empty() {
                    words.push(rest);
                }
            }
            // the last line, `550 5.1.1 text`; without lines before it a bare number may be text
            Some("")
                if tokens
                    .peek()
                    .is_some_and(|next| next.parse::<EnhancedStatus>().is_ok()) =>
            {
                tokens.next();
                continued = false;
            }
            Some("") if continued => continued = false,
            _ => words.push(token),
        }
    }
    words.join(" ")
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut blank = "";
        if let Some(code) = self.code {
            write!(f, "{code}")?;
            blank = " ";
        }
        if let Some(status) = self.status {
            write!(f, "{blank}{status}")?;
            blank = " ";
        }
        if !self.text.is_empty() {
            write!(f, "{blank}{}", self.text)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_servers_send() {
        let table = [
            ("550 5.1.1 no such user", "550 5.1.1 no such user"),
            (
                "550-5.1.1 The account\r\n550-5.1.1 does not\r\n550 5.1.1 exist",
                "550 5.1.1 The account does not exist",
            ),
            (
                "550-5.1.1 The account 550-5.1.1 does not 550 5.1.1 exist",
                "550 5.1.1 The account does not exist",
            ),
            ("550-no such 550-user", "550 no such user"),
            (
                "550-first line 550 last line, room 550",
                "550 first line last line, room 550",
            ),
            ("553 not here (#5.7.1)", "553 5.7.1 not here (#5.7.1)"),
            ("550", "550"),
            ("550 #5.1.0 Address rejected.", "550 5.1.0 Address rejected."),
            ("5.1.1 no code", "5.1.1 no code"),
            ("mailbox full", "mailbox full"),
            ("599 9.9.9 unknown", "599 9.9.9 unknown"),
            ("5501 not a code", "5501 not a code"),
            ("550 room 550 is locked", "550 room 550 is locked"),
            ("", ""),
        ];
        for (input, output) in table {
            assert_eq!(Reply::parse(input).to_string(), output, "{input}");
        }
    }

    #[test]
    fn codes_out_of_range_are_text() {
        assert_eq!(Reply::parse("999 x").code, None);
        assert_eq!(Reply::parse("111 x").text, "111 x");
    }
}
