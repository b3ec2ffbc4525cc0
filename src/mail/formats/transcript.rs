//! What mail systems show of an SMTP session (RFC 5321): which command a phrase names, and where in a line
//! the server's reply begins. Nothing is guessed: words that name no command name none.

use crate::mail::status::EnhancedStatus;

/// Phrases and the command that they stand for, as Postfix names it; the first that occurs counts.
const PHRASES: [(&str, &str); 37] = [
    ("end of data", "end of DATA"),
    ("end-of-data", "end of DATA"),
    ("final data", "end of DATA"),
    ("final dot", "end of DATA"),
    ("closing dot", "end of DATA"),
    ("after i sent the message", "end of DATA"),
    ("sending data block", "end of DATA"),
    ("sending message body", "end of DATA"),
    ("message text", "end of DATA"),
    ("text command", "end of DATA"),
    ("initial connection", "greeting"),
    ("greeting failed", "greeting"),
    ("greeting", "greeting"),
    ("banner", "greeting"),
    ("starttls", "STARTTLS"),
    ("tls negotiation", "STARTTLS"),
    ("authentication", "AUTH"),
    ("auth ", "AUTH"),
    ("my name was rejected", "EHLO"),
    ("ehlo", "EHLO"),
    ("helo", "HELO"),
    ("lhlo", "LHLO"),
    ("sender was rejected", "MAIL FROM"),
    ("mail from", "MAIL FROM"),
    ("mail command", "MAIL FROM"),
    ("does not like recipient", "RCPT TO"),
    ("rejected recipient", "RCPT TO"),
    ("rejected address", "RCPT TO"),
    ("rcpt", "RCPT TO"),
    ("after data", "DATA"),
    ("our data", "DATA"),
    ("data command", "DATA"),
    ("pipelined data", "DATA"),
    ("data response", "DATA"),
    ("bdat", "BDAT"),
    ("after mail", "MAIL FROM"),
    ("our mail", "MAIL FROM"),
];

/// The command that a short phrase names (`after RCPT TO:<…>`, `failed on DATA command`).
#[must_use]
pub(super) fn command(phrase: &str) -> Option<&'static str> {
    // Addresses are anybody's words.
    let outside = phrase.split('<').enumerate().map(|(i, piece)| match i {
        0 => piece,
        _ => piece.split_once('>').map_or("", |(_, rest)| rest),
    });
    let phrase = outside.collect::<String>().to_ascii_lowercase();
    let named = PHRASES.iter().find(|(words, _)| phrase.contains(words));
    named.map(|&(_, command)| command)
}

/// The command that a line of a session sends (`MAIL From:<…> SIZE=1`): its verb decides.
#[must_use]
pub(super) fn command_sent(line: &str) -> Option<&'static str> {
    let line = line.trim_start();
    let verb = line.split([' ', ':', '\t']).next()?;
    const VERBS: [(&str, &str); 12] = [
        ("MAIL", "MAIL FROM"),
        ("RCPT", "RCPT TO"),
        ("DATA", "DATA"),
        ("BDAT", "BDAT"),
        ("EHLO", "EHLO"),
        ("HELO", "HELO"),
        ("LHLO", "LHLO"),
        ("STARTTLS", "STARTTLS"),
        ("AUTH", "AUTH"),
        ("RSET", "RSET"),
        ("QUIT", "QUIT"),
        (".", "end of DATA"),
    ];
    let sent = VERBS.iter().find(|(known, _)| verb.eq_ignore_ascii_case(known));
    sent.map(|&(_, command)| command)
}

/// Whether a failure reply (4xx or 5xx) stands at the very start: three digits, then a blank, a hyphen or
/// the end.
#[must_use]
pub(super) fn is_reply(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= 3
        && matches!(bytes[0], b'4' | b'5')
        && bytes[1..3].iter().all(u8::is_ascii_digit)
        && matches!(bytes.get(3), None | Some(b' ' | b'-' | b':' | b'\n' | b'\t'))
}

/// Where the first failure reply begins: at the start of a word.
#[must_use]
pub(super) fn find_reply(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(found) = memchr::memchr2(b'4', b'5', &bytes[at..]) {
        let start = at + found;
        let fresh = start == 0 || b" \t\n:([<\"'".contains(&bytes[start - 1]);
        if fresh && is_reply(&text[start..]) {
            return Some(start);
        }
        at = start + 1;
    }
    None
}

/// The first reply in a text, from its code to the end of the text; `None` where there is none.
#[must_use]
pub(super) fn reply_in(text: &str) -> Option<&str> {
    find_reply(text).map(|at| &text[at..])
}

/// An enhanced status that a text carries: as qmail writes it, `(#5.1.1)`, or bare between brackets.
#[must_use]
pub(super) fn status_within(text: &str) -> Option<EnhancedStatus> {
    let marked = text.match_indices('#').map(|(at, _)| at + 1);
    let bracketed = text.match_indices(['(', '[']).map(|(at, _)| at + 1);
    marked
        .chain(bracketed)
        .find_map(|at| EnhancedStatus::parse_prefix(&text[at..]).map(|(status, _)| status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phrases_name_commands() {
        let table = [
            ("after RCPT TO:<banner@b.test>", Some("RCPT TO")),
            ("after MAIL FROM:<data@b.test> SIZE=1543", Some("MAIL FROM")),
            ("after end of data", Some("end of DATA")),
            ("after pipelined end of data", Some("end of DATA")),
            ("192.0.2.1 failed on DATA command", Some("DATA")),
            ("did not like our final DATA", Some("end of DATA")),
            ("after initial connection", Some("greeting")),
            ("Connected to mx but sender was rejected", Some("MAIL FROM")),
            ("nothing", None),
        ];
        for (phrase, expected) in table {
            assert_eq!(command(phrase), expected, "{phrase}");
        }
        assert_eq!(command_sent("MAIL From:<data@x.test>"), Some("MAIL FROM"));
        assert_eq!(command_sent("."), Some("end of DATA"));
        assert_eq!(command_sent("Received"), None);
    }

    #[test]
    fn replies_begin_at_words() {
        let table = [
            ("host mx [192.0.2.1]: 550 5.1.1 no", Some("550 5.1.1 no")),
            ("SIZE=5500: 452-later", Some("452-later")),
            ("a5500 x", None),
            ("(550 x)", Some("550 x)")),
            ("421", Some("421")),
            ("250 ok", None),
        ];
        for (text, expected) in table {
            assert_eq!(reply_in(text), expected, "{text}");
        }
    }

    #[test]
    fn a_status_stands_in_brackets() {
        let status = |text| status_within(text).map(|s| s.to_string());
        assert_eq!(status("Sorry. (#4.4.1)\nToo long."), Some("4.4.1".to_owned()));
        assert_eq!(status("full [5.2.2]"), Some("5.2.2".to_owned()));
        assert_eq!(status("host [5.6.7.8] (5 of 6)"), None);
    }
}
