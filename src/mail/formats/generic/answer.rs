//! Servers' replies in the lines of notices, wherever their numbers stand. What is none is passed over.

use crate::mail::reply::Reply;
use crate::mail::status::Class;

/// As long as a status and the name of a protocol may be, in octets.
const MAX_FRAME: usize = 24;

/// Where in a text a server's reply begins: three digits of a failure with words behind them, or an enhanced
/// status.
pub(super) fn reply_in(text: &str) -> Option<usize> {
    /// As much of a reply as tells that it is one.
    const ENOUGH: usize = 80;
    let mut at = 0;
    for word in text.split_inclusive(char::is_whitespace) {
        // `Error=[550 no]`, `原因：550 no`
        let inner = word.rfind(['[', '\u{ff1a}']).map_or(word, |mark| &word[mark..]);
        let bare = inner.trim_start_matches(['(', '"', '\'', '<', '[', ':', '#', '\u{ff1a}']);
        let start = at + word.len() - bare.len();
        at += word.len();
        if !bare.starts_with(['4', '5']) {
            continue;
        }
        let found = &text[start..text.floor_char_boundary(start + ENOUGH)];
        let reply = Reply::parse(found);
        let fails = reply
            .code
            .is_some_and(|code| code.is_permanent() || code.is_transient())
            || (reply.code.is_none() && reply.status.is_some_and(|s| s.class() != Class::Success));
        let says = reply.text.chars().filter(|c| c.is_alphabetic()).count() > 2;
        if fails && says && (reply.status.is_some() || starts_like_reply(found)) {
            return Some(start);
        }
    }
    None
}

/// Whether three digits at the start are a code and no number among others (`550 messages`, `500 MB`).
fn starts_like_reply(text: &str) -> bool {
    const UNITS: [&str; 14] = [
        "mb",
        "kb",
        "gb",
        "bytes",
        "messages",
        "mails",
        "users",
        "seconds",
        "minutes",
        "hours",
        "days",
        "times",
        "recipients",
        "characters",
    ];
    let next = text[3..]
        .trim_start_matches(['-', ' '])
        .split_whitespace()
        .next()
        .unwrap_or_default();
    let next = next.trim_end_matches(['.', ',', ';', ')']);
    !next.is_empty() && !UNITS.iter().any(|unit| next.eq_ignore_ascii_case(unit))
}

/// A reply set behind what a reporter made of it: `5.1.1 smtp;550 5.1.1 no such user>`.
pub(super) fn bared(reply: &str) -> Option<String> {
    let (front, inner) = reply.split_once(';')?;
    let (front, inner) = (front.trim_end(), inner.trim());
    let names_protocol = front.len() <= MAX_FRAME && front.to_ascii_lowercase().ends_with("smtp");
    let is_frame = names_protocol && reply_in(inner) == Some(0);
    let closes = inner.matches('>').count() > inner.matches('<').count();
    let end = inner.rfind('>').filter(|_| closes).unwrap_or(inner.len());
    is_frame.then(|| inner[..end].trim_end().to_owned())
}

/// The same with its numbers in front, where they stand behind the words: `no such user (550 5.1.1)`,
/// `mailbox full, 5.2.2`.
pub(super) fn numbered(text: &str) -> Option<String> {
    let text = text.trim().trim_end_matches(['.', '!', '。']);
    let inner = text.strip_suffix([')', ']', '）'])?;
    let (words, inside) = match inner.rfind(['(', '[', '（']) {
        Some(open) => (&inner[..open], inner[open..].trim_start_matches(['(', '[', '（'])),
        None => ("", inner),
    };
    let (more, numbers) = inside.rsplit_once(',').unwrap_or(("", inside));
    let numbers = numbers.trim().trim_start_matches('#');
    let reply = Reply::parse(numbers);
    let fails = match (reply.code, reply.status) {
        (Some(code), _) => !code.is_success(),
        (None, Some(status)) => status.class() != Class::Success,
        (None, None) => false,
    };
    let words = format!("{} {}", words.trim(), more.trim());
    (fails && reply.text.is_empty()).then(|| format!("{numbers} {}", words.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_found_in_lines() {
        let table = [
            (
                "the server said: 550 5.1.1 no such user",
                Some("550 5.1.1 no such user"),
            ),
            ("(550-mailbox gone)", Some("550-mailbox gone)")),
            ("reason: 5.2.2 over quota", Some("5.2.2 over quota")),
            (
                "Rcpt=[a@b.test];Error=[550 no such user]",
                Some("550 no such user]"),
            ),
            ("原因：550 no such user", Some("550 no such user")),
            ("queued 500 messages", None),
            ("your quota of 500 MB", None),
            ("250 ok", None),
            ("at 10.5.1.1 and 5501", None),
            ("", None),
        ];
        for (text, reply) in table {
            assert_eq!(reply_in(text).map(|at| &text[at..]), reply, "{text}");
        }
    }

    #[test]
    fn numbers_come_to_the_front() {
        let table = [
            ("no such user (550 5.1.1)", Some("550 5.1.1 no such user")),
            ("使用者不存在 (550 5.1.1)。", Some("550 5.1.1 使用者不存在")),
            ("mailbox unavailable [550].", Some("550 mailbox unavailable")),
            ("mailbox full, 5.2.2)", Some("5.2.2 mailbox full")),
            ("gone (since 550 days)", None),
            ("it was sent (250)", None),
            ("no numbers", None),
            ("(", None),
            (")", None),
        ];
        for (text, reply) in table {
            assert_eq!(numbered(text).as_deref(), reply, "{text}");
        }
    }

    #[test]
    fn frames_of_reporters_come_off() {
        let framed = "5.1.1 smtp;550 5.1.1 <a@b.test>: no such user>";
        assert_eq!(
            bared(framed).as_deref(),
            Some("550 5.1.1 <a@b.test>: no such user")
        );
        assert_eq!(bared("550 no such user; ask smtp; 550"), None);
        assert_eq!(bared("550 no"), None);
    }
}
