//! What notices quote of an SMTP session (RFC 5321): the command that was answered, sent in so many words or named
//! in a phrase, and the server's reply, at its start or somewhere in a text. The only place that tells either.
//! Nothing is guessed: words that name no command name none, and digits within a word or a number are no reply.

use crate::mail::status::EnhancedStatus;

/// The verbs that a session sends, and the commands that they are, as Postfix names them.
const VERBS: [(&str, &str); 11] = [
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
];

/// Names that systems have for commands beside their verbs. They count only where words begin with them: in the
/// midst of a phrase they may mean anything.
const NAMES: [(&str, &str); 13] = [
    ("end of data", "end of DATA"),
    ("end of message", "end of DATA"),
    ("end_of_data", "end of DATA"),
    ("eom", "end of DATA"),
    ("dot", "end of DATA"),
    ("text", "end of DATA"),
    ("transfer of mail text", "end of DATA"),
    ("message content", "end of DATA"),
    ("initial connection", "greeting"),
    ("greeting", "greeting"),
    ("banner", "greeting"),
    ("connect", "greeting"),
    ("init", "greeting"),
];

/// Phrases and the command that they stand for, wherever they occur; the first of them counts.
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

/// The command that a line of a session sends (`MAIL From:<…> SIZE=1`): its verb decides, or the dot that ends
/// the mail.
#[must_use]
pub(super) fn command_sent(line: &str) -> Option<&'static str> {
    let verb = line.trim_start().split([' ', ':', '\t']).next()?;
    if verb == "." {
        return Some("end of DATA");
    }
    let sent = VERBS.iter().find(|(known, _)| verb.eq_ignore_ascii_case(known));
    sent.map(|&(_, command)| command)
}

/// The command that words begin with, by its verb or another name (`RCPT_TO`, `[EOM]`, `transfer of mail text`).
#[must_use]
pub(super) fn command_first(words: &str) -> Option<&'static str> {
    let words = words.trim_start_matches(['[', '(', '<', ' ']);
    let begins = |name: &str| {
        let front = words.get(..name.len());
        front.is_some_and(|front| front.eq_ignore_ascii_case(name))
            && !words[name.len()..].starts_with(|c: char| c.is_ascii_alphanumeric())
    };
    let mut known = VERBS.iter().chain(&NAMES);
    known.find(|(name, _)| begins(name)).map(|&(_, command)| command)
}

/// Whether a failure reply (4xx or 5xx) stands at the very start: three digits, then a blank, a hyphen, a colon or
/// the end.
#[must_use]
pub(super) fn is_reply(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= 3
        && matches!(bytes[0], b'4' | b'5')
        && bytes[1..3].iter().all(u8::is_ascii_digit)
        && matches!(bytes.get(3), None | Some(b' ' | b'-' | b':' | b'\n' | b'\t'))
}

/// Whether a failure reply stands at the very start and says more than its code.
#[must_use]
pub(super) fn says_reply(text: &str) -> bool {
    is_reply(text) && text.len() > 4
}

/// Where the first failure reply begins: at the start of a word, or behind what introduces one.
#[must_use]
pub(super) fn find_reply(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(found) = memchr::memchr2(b'4', b'5', &bytes[at..]) {
        let start = at + found;
        let fresh = start == 0 || b" \t\n:;#([<\"'".contains(&bytes[start - 1]);
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

/// The first reply that stands at the beginning of a line and says something, to the end of the text.
#[must_use]
pub(super) fn reply_line(text: &str) -> Option<&str> {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let indent = line.len() - line.trim_start().len();
        if says_reply(&line[indent..]) {
            return text.get(at + indent..);
        }
        at += line.len();
    }
    None
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
        let table = [
            ("RCPT_TO]", Some("RCPT TO")),
            ("(MAIL FROM:<data@x.test>)", Some("MAIL FROM")),
            ("end of DATA command", Some("end of DATA")),
            ("END_OF_DATA", Some("end of DATA")),
            ("TEXT command, host: x", Some("end of DATA")),
            ("[BANNER]", Some("greeting")),
            ("CONNECT", Some("greeting")),
            ("dots", None),
            ("the RCPT", None),
        ];
        for (words, expected) in table {
            assert_eq!(command_first(words), expected, "{words}");
        }
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
            ("returned '550 5.1.1 x'", Some("550 5.1.1 x'")),
            (
                "in 550 ways? no: 1550 or 55 0",
                Some("550 ways? no: 1550 or 55 0"),
            ),
            ("smtp;550 no", Some("550 no")),
            ("é 2550 550.", None),
        ];
        for (text, expected) in table {
            assert_eq!(reply_in(text), expected, "{text}");
        }
        assert_eq!(reply_line("was:\n 550 no\n"), Some("550 no\n"));
        assert_eq!(reply_line("was 550 no\n550\n"), None);
        assert!(is_reply("550") && !says_reply("550"));
    }

    #[test]
    fn a_status_stands_in_brackets() {
        let status = |text| status_within(text).map(|s| s.to_string());
        assert_eq!(status("Sorry. (#4.4.1)\nToo long."), Some("4.4.1".to_owned()));
        assert_eq!(status("full [5.2.2]"), Some("5.2.2".to_owned()));
        assert_eq!(status("host [5.6.7.8] (5 of 6)"), None);
    }
}
