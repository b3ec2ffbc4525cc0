//! Replies of SMTP servers (RFC 5321 §4.2, enhanced codes RFC 2034): three digits, perhaps an
//! enhanced status, text.
//!
//! Reading is lenient and never fails: a text without digits is a reply without a code. Multi-line
//! replies come in two shapes, with line breaks or joined by blanks as Postfix logs them; the
//! repeated codes of continuation lines are no part of the text.

pub mod registry;

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

    /// 2xx and 3xx: no refusal.
    #[must_use]
    pub fn is_success(self) -> bool {
        self.0 < 400
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
        let text = trimmed(text);
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
        let text = without_continuations(rest.trim_start(), code, continued);
        Self {
            code: Some(code),
            status: status.or_else(|| status_suffix(&text)),
            text,
        }
    }

    /// The reply that a report quotes: the first three digits of a refusal (4xx, 5xx) in the midst of a
    /// text, introduced by a colon, a quotation mark or `said`. What stands before it are the reporter's words.
    /// `None` where nothing is quoted.
    #[must_use]
    pub fn quoted_in(text: &str) -> Option<Self> {
        let octets = text.as_bytes();
        memchr::memchr2_iter(b'4', b'5', octets)
            .filter(|&at| at > 0)
            .find_map(|at| {
                let introduced = match octets[at - 1] {
                    b'\'' | b'"' | b':' => true,
                    b' ' => octets[..at - 1].ends_with(b":") || octets[..at - 1].ends_with(b" said"),
                    _ => false,
                };
                let (code, rest) = code_prefix(text.get(at..)?).filter(|_| introduced)?;
                (!rest.is_empty() && !code.is_success()).then(|| Self::parse(&text[at..]))
            })
    }
}

/// As `str::trim`, which looks at characters one by one where ASCII needs octets only.
fn trimmed(text: &str) -> &str {
    let ascii = text.trim_ascii();
    let beyond = |octet: Option<&u8>| octet.is_some_and(|&octet| !octet.is_ascii() || octet == b'\x0b');
    if beyond(ascii.as_bytes().first()) || beyond(ascii.as_bytes().last()) {
        return ascii.trim();
    }
    ascii
}

/// Three digits at the start, followed by a blank, a hyphen, a colon (`550: no such user`) or the end.
fn code_prefix(text: &str) -> Option<(ReplyCode, &str)> {
    let digits = text.as_bytes().first_chunk::<3>()?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits
        .iter()
        .fold(0, |number, digit| number * 10 + u16::from(digit - b'0'));
    let rest = &text[3..];
    let separated = match rest.as_bytes().first() {
        None | Some(b'-' | b':') => true,
        Some(octet) => octet.is_ascii_whitespace(),
    };
    let code = ReplyCode::new(number).filter(|_| separated)?;
    Some((code, rest.strip_prefix(['-', ':']).unwrap_or(rest)))
}

/// An enhanced status at the start, a leading `#` allowed (`550 #5.1.0 Address rejected`).
fn status_prefix(text: &str) -> (Option<EnhancedStatus>, &str) {
    let text = text.trim_start();
    match EnhancedStatus::parse_prefix(text.strip_prefix('#').unwrap_or(text)) {
        Some((status, rest)) => (Some(status), rest),
        None => (None, text),
    }
}

/// An enhanced status in the text, as qmail and its patches give it: `(#5.1.1)`, `(#5.1.1 - chkuser)`. It
/// stays in the text.
fn status_suffix(text: &str) -> Option<EnhancedStatus> {
    let hash = memchr::memrchr_iter(b'#', text.as_bytes()).find(|&at| text[..at].ends_with('('))?;
    EnhancedStatus::parse_prefix(&text[hash + 1..]).map(|(status, _)| status)
}

/// Joins the lines and leaves out each continuation's repeated `550-5.1.1 `, and the last line's
/// `550 ` after them. A number in the text counts as such only if it is this reply's own code.
fn without_continuations(text: &str, code: ReplyCode, mut continued: bool) -> String {
    let number = code.get();
    let [hundreds, tens, ones] = [number / 100, number / 10 % 10, number % 10];
    #[allow(clippy::cast_possible_truncation, reason = "digits")]
    let digits = [hundreds, tens, ones].map(|digit| b'0' + digit as u8);
    if is_plain(text, &digits) {
        return text.to_owned();
    }
    let code = std::str::from_utf8(&digits).unwrap_or_default();
    let mut words = Words(String::with_capacity(text.len()));
    let mut tokens = text.split_ascii_whitespace().peekable();
    while let Some(token) = tokens.next() {
        let repeats = token.strip_prefix(code);
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
    words.0
}

/// Whether a text is on one line, with single blanks, and without the digits of its code: most are.
fn is_plain(text: &str, code: &[u8; 3]) -> bool {
    let octets = text.as_bytes();
    let [.., second, third] = octets else {
        return false;
    };
    // One loop without an early end, which the compiler turns into one over many octets at once.
    let threes = octets.iter().zip(&octets[1..]).zip(&octets[2..]);
    let marred = threes.fold(0, |marred, ((&a, &b), &c)| {
        let control = a < b' ';
        let blanks = (a == b' ') & (b == b' ');
        let repeats = (a == code[0]) & (b == code[1]) & (c == code[2]);
        marred | u8::from(control | blanks | repeats)
    });
    marred == 0 && *second >= b' ' && *third > b' '
}

/// Words, joined by single blanks.
struct Words(String);

impl Words {
    fn push(&mut self, word: &str) {
        if !self.0.is_empty() {
            self.0.push(' ');
        }
        self.0.push_str(word);
    }
}

fn one_line(text: &str) -> String {
    let mut words = Words(String::with_capacity(text.len()));
    text.split_ascii_whitespace().for_each(|word| words.push(word));
    words.0
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
            (
                "550 nobody (#5.1.1 - chkuser)",
                "550 5.1.1 nobody (#5.1.1 - chkuser)",
            ),
            ("550", "550"),
            ("550: no such user", "550 no such user"),
            ("550 #5.1.0 Address rejected.", "550 5.1.0 Address rejected."),
            ("5.1.1 no code", "5.1.1 no code"),
            ("mailbox full", "mailbox full"),
            ("599 9.9.9 unknown", "599 9.9.9 unknown"),
            ("5501 not a code", "5501 not a code"),
            ("550 room 550 is locked", "550 room 550 is locked"),
            ("550: : User unknown", "550 : User unknown"),
            ("553\u{c}\u{c}5\u{c}", "553 5"),
            ("550  two  blanks\tand a tab", "550 two blanks and a tab"),
            (
                "\u{a0}550 blanks of all kinds\u{b}\u{2003}",
                "550 blanks of all kinds",
            ),
            ("550 at the end \t", "550 at the end"),
            ("550 ab  c", "550 ab c"),
            ("550 ab\tc", "550 ab c"),
            ("550 abc 550", "550 abc 550"),
            ("550 a", "550 a"),
            ("", ""),
        ];
        for (input, output) in table {
            assert_eq!(Reply::parse(input).to_string(), output, "{input}");
        }
    }

    #[test]
    fn reports_quote_replies() {
        let table = [
            (
                "SMTP error from remote mail server after RCPT TO:<u@x.test>: host mx [192.0.2.5]: 550 5.1.1 gone",
                Some("550 5.1.1 gone"),
            ),
            (
                "The response was: 450-4.2.2 full 450 4.2.2 really",
                Some("450 4.2.2 full really"),
            ),
            ("returned '550 5.4.312 expired'", Some("550 5.4.312 expired'")),
            ("host x said: 554 no", Some("554 no")),
            ("host x(192.0.2.1) RCPT TO said 554 no", Some("554 no")),
            ("waited for 432 minutes, 500 tries: none", None),
            ("could not deliver in 451 days", None),
            ("rejected: no disk space 550 5.1.1 gone", None),
            ("did not like our RCPT TO:550 5.7.25 no", Some("550 5.7.25 no")),
            ("354 End data 250 2.0.0 queued", None),
            ("it was 4", None),
            ("550 at the start is no quotation", None),
            ("é: 55é", None),
        ];
        for (text, reply) in table {
            let quoted = Reply::quoted_in(text).map(|reply| reply.to_string());
            assert_eq!(quoted.as_deref(), reply, "{text}");
        }
    }

    #[test]
    fn codes_out_of_range_are_text() {
        assert_eq!(Reply::parse("999 x").code, None);
        assert_eq!(Reply::parse("111 x").text, "111 x");
    }
}
