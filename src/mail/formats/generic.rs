//! Notices of mail systems that we do not know: the last of the readers, and the most careful one.
//!
//! A mail is one if a daemon sent it and its subject or its opening words speak of mail that was not delivered,
//! in one of the languages that mail systems speak. Whom it is about stands, in falling order of certainty, in
//! `X-Failed-Recipients`, in the transcript of a session (`>>> RCPT TO:<a@b>`), at the start of a line (`<a@b>:
//! reason`, `a@b` with the reason beneath it), behind a label (`Recipient: a@b`), in a sentence that speaks of
//! failure, or only in the returned header, if that names one. Whoever the notice was sent to or comes from, and
//! whom it asks readers to write to, is nobody that it is about. Without an address it declines.
//!
//! What was said of a recipient is the server's reply that stands nearest behind the address, else before it,
//! else the sentence that speaks of failure.

mod wording;

use super::{Format, block};
use crate::mail::address::{Address, AddressKey, LocalPart};
use crate::mail::dsn::{Action, Recipient, Report};
use crate::mail::letter::Letter;
use crate::mail::reply::Reply;
use crate::mail::status::Class;
use mail_parser::MessageParser;
use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};

/// The format.
pub const FORMAT: Format = Format {
    name: "generic",
    tell,
    read,
};

/// As many lines of a notice as are read, and recipients in it.
const MAX_LINES: usize = 2000;
const MAX_RECIPIENTS: usize = 500;
/// As many lines of one paragraph as may belong to one reply.
const MAX_REPLY_LINES: usize = 8;

fn tell(letter: &Letter<'_>) -> bool {
    let sent_by_daemon = letter.is_from_daemon() || letter.has("X-Failed-Recipients");
    sent_by_daemon && (wording::fails(letter.subject()) || wording::fails_at_start(letter.words()))
}

fn read(letter: &Letter<'_>) -> Option<Report> {
    let mut found = Found {
        lines: letter.words().lines().map(str::trim).take(MAX_LINES).collect(),
        strangers: strangers(letter),
        seen: HashSet::new(),
        recipients: Vec::new(),
        replies: OnceCell::new(),
        sentence: OnceCell::new(),
    };
    found.in_header(letter);
    found.in_lines(transcript);
    found.in_lines(heading);
    found.in_lines(labelled);
    if found.recipients.is_empty() {
        found.in_lines(sentence);
    }
    if found.recipients.is_empty() {
        found.in_returned(letter);
    }
    let mut recipients = found.recipients;
    if recipients.is_empty() {
        return None;
    }
    let action = match wording::delays(letter.subject(), letter.words()) {
        true => Action::Delayed,
        false => Action::Failed,
    };
    recipients.iter_mut().for_each(|r| r.action = Some(action));
    Some(Report {
        recipients,
        ..Report::default()
    })
}

/// Finds the address that a line is about; what follows it on the line.
type Finder = for<'a> fn(&'a str) -> Option<(Address, &'a str)>;

/// What has been found so far.
struct Found<'a> {
    lines: Vec<&'a str>,
    strangers: HashSet<AddressKey>,
    seen: HashSet<AddressKey>,
    recipients: Vec<Recipient>,
    /// The lines that hold a server's reply, and where in them it begins.
    replies: OnceCell<Vec<(usize, usize)>>,
    /// The sentence that says why, if any does.
    sentence: OnceCell<String>,
}

impl Found<'_> {
    fn in_header(&mut self, letter: &Letter<'_>) {
        let mut lines = HashMap::new();
        for field in letter.fields("X-Failed-Recipients") {
            if lines.is_empty() {
                lines = self.named();
            }
            for address in field.split(',').filter_map(block::mailbox) {
                let key = address.key(LocalPart::Fold);
                // The system itself names them: whoever they are, it is about them.
                self.strangers.remove(&key);
                let at = lines.get(&key).copied();
                self.add(address, at, "");
            }
        }
    }

    /// The first line that names each address.
    fn named(&self) -> HashMap<AddressKey, usize> {
        let mut named = HashMap::new();
        for (at, line) in self
            .lines
            .iter()
            .enumerate()
            .filter(|(_, line)| line.contains('@'))
        {
            for address in line.split_whitespace().filter_map(block::mailbox) {
                named.entry(address.key(LocalPart::Fold)).or_insert(at);
            }
        }
        named
    }

    fn in_lines(&mut self, finder: Finder) {
        for at in 0..self.lines.len() {
            let line = self.lines[at];
            let about = finder(line).filter(|_| !wording::invites(line));
            if let Some((address, rest)) = about {
                self.add(address, Some(at), rest);
            }
        }
    }

    fn in_returned(&mut self, letter: &Letter<'_>) {
        let text = letter.returned().map(str::as_bytes);
        let part = || {
            letter
                .parts()
                .find(|part| part.is_message() || crate::mail::letter::is_header_only(part))
        };
        let Some(header) = text.or_else(|| part().map(|part| part.contents())) else {
            return;
        };
        let Some(message) = MessageParser::new().parse_headers(header) else {
            return;
        };
        for name in ["X-Original-To", "Delivered-To", "To"] {
            let Some(field) = crate::mail::letter::fields(&message, name).next() else {
                continue;
            };
            if let (Some(address), false) = (block::address(&field), field.matches('@').count() > 1) {
                self.add(address, None, "");
                return;
            }
        }
    }

    fn add(&mut self, address: Address, at: Option<usize>, rest: &str) {
        let key = address.key(LocalPart::Fold);
        let known = self.strangers.contains(&key) || self.seen.contains(&key);
        if known || self.recipients.len() >= MAX_RECIPIENTS {
            return;
        }
        self.seen.insert(key);
        let said = self.said(at, rest);
        self.recipients.push(block::failed(address, &said));
    }

    /// What was said of the recipient who stands in a line.
    fn said(&self, at: Option<usize>, rest: &str) -> String {
        let rest = rest.trim_start_matches([':', '-', '>', ')', ',', ';', '.', ' ', '\t', '(']);
        let behind = at.map(|at| self.paragraph(at)).unwrap_or_default();
        let own = format!("{rest} {behind}");
        if let Some(start) = reply_in(&own) {
            return own[start..].to_owned();
        }
        if let Some((at, start)) = self.nearest_reply(at.unwrap_or(0)) {
            return format!("{} {}", &self.lines[at][start..], self.paragraph(at));
        }
        if own.chars().filter(|c| c.is_alphabetic()).count() > 5 {
            return own;
        }
        self.sentence.get_or_init(|| self.find_sentence()).clone()
    }

    /// The server's reply that stands next behind a line, or else last before it.
    fn nearest_reply(&self, at: usize) -> Option<(usize, usize)> {
        let replies = self.replies.get_or_init(|| {
            let lines = self.lines.iter().enumerate();
            lines
                .filter_map(|(at, line)| Some((at, reply_in(line)?)))
                .collect()
        });
        let next = replies.partition_point(|&(line, _)| line < at);
        replies.get(next).or_else(|| replies[..next].last()).copied()
    }

    fn find_sentence(&self) -> String {
        let is_words = |line: &&&str| !line.starts_with("--") && !wording::is_boilerplate(line);
        let lines = || self.lines.iter().filter(is_words);
        let sentence = lines().find(|line| wording::tells_why(line) && !wording::invites(line));
        let sentence = sentence.or_else(|| lines().find(|line| wording::fails(line)));
        sentence.map(|&line| line.to_owned()).unwrap_or_default()
    }

    /// The lines right behind one, up to an empty one, a rule or another recipient.
    fn paragraph(&self, at: usize) -> String {
        let lines = self.lines.iter().skip(at + 1).take(MAX_REPLY_LINES);
        let lines =
            lines.take_while(|line| !line.is_empty() && !line.starts_with("---") && !line.starts_with("==="));
        let lines: Vec<&str> = lines
            .take_while(|line| heading(line).is_none())
            .copied()
            .collect();
        lines.join(" ")
    }
}

/// Whom a notice is not about: those it was sent to, those it comes from, and the postmasters there.
fn strangers(letter: &Letter<'_>) -> HashSet<AddressKey> {
    const FIELDS: [&str; 9] = [
        "To",
        "Cc",
        "From",
        "Sender",
        "Reply-To",
        "Delivered-To",
        "X-Original-To",
        "Envelope-To",
        "Return-Path",
    ];
    let fields = FIELDS
        .iter()
        .flat_map(|name| letter.fields(name).take(8).collect::<Vec<_>>());
    let mut strangers = HashSet::new();
    for field in fields {
        strangers.extend(
            field
                .split(',')
                .filter_map(block::address)
                .map(|a| a.key(LocalPart::Fold)),
        );
    }
    if let Some(domain) = letter.author().map(|author| author.domain().to_owned()) {
        for local in [
            "postmaster",
            "mailer-daemon",
            "abuse",
            "hostmaster",
            "support",
            "helpdesk",
        ] {
            strangers.extend(Address::parse(&format!("{local}@{domain}")).map(|a| a.key(LocalPart::Fold)));
        }
    }
    strangers
}

/// `>>> RCPT TO:<a@b>`, as transcripts of sessions show it.
fn transcript(line: &str) -> Option<(Address, &str)> {
    let line = line.trim_start_matches(['>', '-', ' ']);
    let at = line
        .get(..8)
        .filter(|start| start.eq_ignore_ascii_case("rcpt to:"))?
        .len();
    let (address, _) = leading(line[at..].trim_start())?;
    Some((address, ""))
}

/// An address at the very start of a line, with nothing, a reason or a remark behind it.
fn heading(line: &str) -> Option<(Address, &str)> {
    let line = line.trim_start_matches(['*', '-', '•', '·', ' ', '\t']);
    let (address, rest) = leading(line)?;
    let rest = rest.trim_start();
    let ends = rest.is_empty()
        || rest.starts_with("on ")
        || rest.starts_with([':', '-', '(', ';', ',', '.', '=', '\u{2013}']);
    (ends || wording::fails(rest) || wording::tells_why(rest)).then_some((address, rest))
}

/// An address behind a label: `Recipient: a@b`.
fn labelled(line: &str) -> Option<(Address, &str)> {
    let (label, rest) = line.split_once([':', '\u{ff1a}'])?;
    let is_label = label.len() <= 60 && wording::labels(label);
    is_label.then(|| leading(rest.trim_start())).flatten()
}

/// An address within a sentence that speaks of failure.
fn sentence(line: &str) -> Option<(Address, &str)> {
    if !line.contains('@') || !(wording::fails(line) || wording::tells_why(line)) {
        return None;
    }
    let address = block::address(line)?;
    Some((address, ""))
}

/// An address that a text begins with, bracketed or bare; what follows it.
fn leading(text: &str) -> Option<(Address, &str)> {
    let text = text.trim_start_matches(['"', '\'', '[', '(']);
    let (word, rest) = match text.strip_prefix('<') {
        Some(inner) => inner.split_once('>')?,
        None => {
            let end = text.find(|c: char| c.is_whitespace() || "<>()[],;:\"'".contains(c));
            text.split_at(end.unwrap_or(text.len()))
        }
    };
    let address = word.contains('@').then(|| block::mailbox(word)).flatten()?;
    Some((address, rest.trim_start_matches(['"', '\'', '>', ']'])))
}

/// Where in a text a server's reply begins: three digits of a failure with words behind them, or an enhanced
/// status.
fn reply_in(text: &str) -> Option<usize> {
    /// As much of a reply as tells that it is one.
    const ENOUGH: usize = 80;
    let mut at = 0;
    for word in text.split_inclusive(char::is_whitespace) {
        let bare = word.trim_start_matches(['(', '"', '\'', '<', '[', ':', '#']);
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
    fn addresses_head_lines() {
        let found = |line: &str| heading(line).map(|(address, rest)| format!("{address}|{rest}"));
        assert_eq!(found("<a@b.test>: no").as_deref(), Some("a@b.test|: no"));
        assert_eq!(found("* a@b.test").as_deref(), Some("a@b.test|"));
        assert_eq!(found("a@b.test: 550 no").as_deref(), Some("a@b.test|: 550 no"));
        assert_eq!(found("a@b.test is my friend"), None);
        assert_eq!(found("write to a@b.test"), None);
    }
}
