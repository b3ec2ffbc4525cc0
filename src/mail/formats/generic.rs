//! Notices of mail systems that we do not know: the last of the readers, and the most careful one.
//!
//! A mail is one if a daemon sent it and its subject or its opening words speak of mail that was not delivered,
//! in one of the languages that mail systems speak, to whoever sent that mail: logs, alerts and statistics speak of
//! it too, and a postmaster writes letters ([`evidence`]). Whom it is about stands, in falling order of certainty, in
//! `X-Failed-Recipients`, at the start of a line (`<a@b>: reason`, `a@b` with the reason beneath it), in the
//! transcript of a session (`>>> RCPT TO:<a@b>`, and its refusal), behind a label (`Recipient: a@b`), in a sentence
//! that speaks of failure, or only in the returned header, if that names one. Whoever the notice was sent to or comes from, and
//! whom it asks readers to write to, is nobody that it is about. Without an address it declines.
//!
//! What was said of a recipient is the server's reply that stands behind the address, or that names it; where
//! there is one recipient or one reply only, the nearest; else the words that tell why ([`reason`]).

mod answer;
mod evidence;
mod reason;
mod wording;

use super::{Format, block};
use crate::mail::address::{Address, AddressKey, LocalPart};
use crate::mail::dsn::{Action, Recipient, Report};
use crate::mail::field::{header, unfolded};
use crate::mail::letter::{Letter, is_header_only};
use crate::mail::verp::Verp;
use answer::{bared, numbered, reply_in};
use reason::Reasons;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

/// The format.
pub const FORMAT: Format = Format {
    name: "generic",
    tell: evidence::is_notice,
    read,
};

/// As many lines of a notice as are read, and recipients in it.
const MAX_LINES: usize = 2000;
const MAX_RECIPIENTS: usize = 500;
/// As many lines of one paragraph as may belong to one reply.
const MAX_REPLY_LINES: usize = 8;
/// As long as what stands in front of a command in a transcript may be, in octets.
const MAX_MARK: usize = 24;

fn read(letter: &Letter<'_>) -> Option<Report> {
    let mut found = Found {
        lines: letter.words().lines().map(str::trim).take(MAX_LINES).collect(),
        strangers: strangers(letter),
        seen: HashSet::new(),
        candidates: Vec::new(),
    };
    found.in_header(letter);
    // Each way is surer than the next, and whoever is found in a surer one is all whom the notice is about.
    for finder in [heading as Finder, refused, labelled, sentence] {
        if found.candidates.is_empty() {
            found.in_lines(finder);
        }
    }
    if found.candidates.is_empty() {
        found.in_returned(letter);
    }
    if found.candidates.is_empty() {
        found.in_return_path(letter);
    }
    let mut recipients = found.recipients();
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

/// Whether a text says, in words that hardly anything but a notice has, that mail was not delivered.
#[must_use]
pub fn speaks_of_failure(text: &str) -> bool {
    wording::fails_surely(text)
}

/// Finds the address that the first of some lines is about; what follows it on that line.
type Finder = for<'a> fn(&[&'a str]) -> Option<(Address, &'a str)>;

/// Somebody whom a notice seems to be about.
struct Candidate<'a> {
    address: Address,
    /// The line that names them, and what follows there.
    at: Option<usize>,
    rest: &'a str,
    inferred: bool,
}

/// What has been found so far.
struct Found<'a> {
    lines: Vec<&'a str>,
    strangers: HashSet<AddressKey>,
    seen: HashSet<AddressKey>,
    candidates: Vec<Candidate<'a>>,
}

impl<'a> Found<'a> {
    fn in_header(&mut self, letter: &Letter<'_>) {
        for field in letter.fields("X-Failed-Recipients") {
            for address in field.split(',').filter_map(block::mailbox) {
                // The system itself names them: whoever they are, it is about them.
                self.strangers.remove(&address.key(LocalPart::Fold));
                self.add(address, None, "", false);
            }
        }
    }

    fn in_lines(&mut self, finder: Finder) {
        for at in 0..self.lines.len() {
            // Who signs a notice is nobody that it is about.
            if self.lines[at] == "--" && !self.candidates.is_empty() {
                break;
            }
            let about = finder(&self.lines[at..])
                .filter(|_| !wording::invites(self.lines[at]) && !self.is_invited(at));
            if let Some((address, rest)) = about {
                self.add(address, Some(at), rest, false);
            }
        }
    }

    /// Whether the last words above a line tell readers to write to whom it names.
    fn is_invited(&self, at: usize) -> bool {
        let mut above = self.lines[..at]
            .iter()
            .rev()
            .take(3)
            .filter(|line| !line.is_empty());
        above.next().is_some_and(|line| wording::invites_below(line))
    }

    /// Takes the recipient from the header of the returned mail: by its envelope where that left a trace, else
    /// by a `To` with a single address, which may be another's than the one who could not be reached.
    fn in_returned(&mut self, letter: &Letter<'_>) {
        let of = |name: &'static str| returned(letter, name).filter(|field| field.matches('@').count() == 1);
        let named = of("X-Original-To").map(|field| (field, false));
        let named = named.or_else(|| of("To").map(|field| (field, true)));
        if let Some((field, inferred)) = named
            && let Some(address) = block::address(&field)
        {
            self.add(address, None, "", inferred);
        }
    }

    /// Takes the recipient from the path that the notice came back to, where our mail's own held one.
    fn in_return_path(&mut self, letter: &Letter<'_>) {
        let fields = ["Delivered-To", "X-Original-To", "Envelope-To", "To"];
        let mut paths = fields.iter().filter_map(|name| letter.field(name));
        let held = paths.find_map(|path| Verp::decode(&path)?.exact().cloned());
        if let Some(address) = held {
            self.add(address, None, "", true);
        }
    }

    fn add(&mut self, address: Address, at: Option<usize>, rest: &'a str, inferred: bool) {
        let key = address.key(LocalPart::Fold);
        let known = self.strangers.contains(&key) || self.seen.contains(&key);
        if !known && self.candidates.len() < MAX_RECIPIENTS {
            self.seen.insert(key);
            self.candidates.push(Candidate {
                address,
                at,
                rest,
                inferred,
            });
        }
    }

    /// The recipients, with what was said of each.
    fn recipients(self) -> Vec<Recipient> {
        let lines = self.lines.iter().enumerate();
        let replies: Vec<(usize, usize)> = lines
            .filter_map(|(at, line)| Some((at, reply_in(line)?)))
            .collect();
        let named = self.named();
        let alone = self.candidates.len() == 1;
        let reasons = Reasons::in_lines(&self.lines);
        let recipient = |candidate: &Candidate<'_>| {
            let named = named.get(&candidate.address.key(LocalPart::Fold));
            let at = candidate
                .at
                .or_else(|| named.and_then(|lines| lines.first().copied()));
            let own = self.own_words(at, candidate.rest);
            let reply = reply_in(&own).map(|start| own[start..].to_owned());
            let reply = reply.or_else(|| self.reply_naming(named?));
            // The next reply is this recipient's if it can be nobody else's.
            let nearest = || nearest(&replies, at.unwrap_or(0)).filter(|_| alone || replies.len() == 1);
            let reply = reply.or_else(|| nearest().map(|(at, start)| self.reply_at(at, start)));
            let said = match reply {
                Some(reply) => bared(&reply).unwrap_or(reply),
                None => {
                    let said = reasons.of(own, alone);
                    numbered(&said).unwrap_or(said)
                }
            };
            Recipient {
                doubtful: candidate.inferred,
                ..block::failed(candidate.address.clone(), &said)
            }
        };
        self.candidates.iter().map(recipient).collect()
    }

    /// The lines that name each of the candidates.
    fn named(&self) -> HashMap<AddressKey, Vec<usize>> {
        let mut named: HashMap<AddressKey, Vec<usize>> = HashMap::new();
        for (at, line) in self
            .lines
            .iter()
            .enumerate()
            .filter(|(_, line)| line.contains('@'))
        {
            let words = line.split(|c: char| c.is_whitespace() || "<>()[],;\"".contains(c));
            for address in words.filter_map(block::mailbox) {
                let key = address.key(LocalPart::Fold);
                if self.seen.contains(&key) {
                    named.entry(key).or_default().push(at);
                }
            }
        }
        named
    }

    /// What follows an address on its line and beneath it.
    fn own_words(&self, at: Option<usize>, rest: &str) -> String {
        let rest = rest.trim_start_matches([':', '-', '>', ')', ',', ';', '.', ' ', '\t', '(']);
        let behind = at.map(|at| self.paragraph(at)).unwrap_or_default();
        format!("{rest} {behind}")
    }

    /// The first reply that names somebody, or that stands right behind the command which does.
    fn reply_naming(&self, lines: &[usize]) -> Option<String> {
        lines.iter().find_map(|&at| {
            if let Some(start) = reply_in(self.lines[at]) {
                return Some(self.reply_at(at, start));
            }
            transcript(self.lines[at])?;
            let answer = self.lines.get(at + 1)?;
            Some(answer[reply_in(answer)?..].to_owned())
        })
    }

    fn reply_at(&self, at: usize, start: usize) -> String {
        format!("{} {}", &self.lines[at][start..], self.paragraph(at))
    }

    /// The lines right behind one, up to an empty one, a rule or another recipient.
    fn paragraph(&self, at: usize) -> String {
        let lines = self.lines.iter().skip(at + 1).take(MAX_REPLY_LINES);
        let lines =
            lines.take_while(|line| !line.is_empty() && !line.starts_with("---") && !line.starts_with("==="));
        let lines: Vec<&str> = lines
            .take_while(|line| heading(&[line]).is_none() && !is_command(line))
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
    // Who sent the mail that comes back is not whom it could not reach.
    let sender = ["From", "Sender", "Reply-To", "Return-Path"]
        .iter()
        .filter_map(|name| returned(letter, name));
    let mut strangers = HashSet::new();
    for field in fields.chain(sender) {
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

/// A field of the returned mail's header.
fn returned<'a>(letter: &'a Letter<'_>, name: &'static str) -> Option<Cow<'a, str>> {
    let text = letter.returned().map(str::as_bytes);
    let part = || {
        letter
            .parts()
            .find(|part| part.is_message() || is_header_only(part))
    };
    let contents = |part| letter.left_out(part).unwrap_or_else(|| part.contents());
    let text = text.or_else(|| part().map(contents))?;
    let named = header(text).find(|(field, _)| field.eq_ignore_ascii_case(name.as_bytes()));
    named.map(|(_, content)| unfolded(content))
}

/// The reply that stands next behind a line, or else last before it.
fn nearest(replies: &[(usize, usize)], at: usize) -> Option<(usize, usize)> {
    let next = replies.partition_point(|&(line, _)| line < at);
    replies.get(next).or_else(|| replies[..next].last()).copied()
}

/// Whether a line shows a command of a session.
fn is_command(line: &str) -> bool {
    line.starts_with(">>>") || line.starts_with("==>")
}

/// `>>> RCPT TO:<a@b>`, as transcripts of sessions show it, perhaps behind a time or what else marks what was sent.
fn transcript(line: &str) -> Option<Address> {
    const COMMAND: &str = "rcpt to:";
    let front = &line[..line.floor_char_boundary(MAX_MARK + COMMAND.len())];
    let at = front.to_ascii_lowercase().find(COMMAND)? + COMMAND.len();
    Some(leading(line[at..].trim_start())?.0)
}

/// The recipient of a command that was refused.
fn refused<'a>(lines: &[&'a str]) -> Option<(Address, &'a str)> {
    let (line, more) = lines.split_first()?;
    let address = transcript(line)?;
    let answer = more.iter().find(|line| !line.is_empty())?;
    reply_in(answer).map(|_| (address, ""))
}

/// An address at the very start of a line, with nothing, a reason or a remark behind it.
fn heading<'a>(lines: &[&'a str]) -> Option<(Address, &'a str)> {
    let line = lines.first()?.trim_start_matches(['*', '-', '•', '·', ' ', '\t']);
    let (address, rest) = leading(line)?;
    let rest = rest.trim_start();
    let ends = rest.is_empty()
        || rest.starts_with("on ")
        || rest.starts_with([':', '-', '(', ';', ',', '.', '=', '\u{2013}']);
    (ends || wording::fails(rest) || wording::tells_why(rest)).then_some((address, rest))
}

/// An address behind a label: `Recipient: a@b`, or, as in the cells of a table, `Recipient a@b`.
fn labelled<'a>(lines: &[&'a str]) -> Option<(Address, &'a str)> {
    if let Some((label, word)) = lines.first()?.rsplit_once(' ')
        && word.contains('@')
        && wording::is_name(label)
    {
        return Some((block::mailbox(word)?, ""));
    }
    let (label, rest) = lines.first()?.split_once([':', '\u{ff1a}'])?;
    let is_label = label.len() <= 60 && wording::labels(label);
    is_label.then(|| leading(rest.trim_start())).flatten()
}

/// An address within a sentence that speaks of failure: whom the mail was to, rather than whom it was from.
fn sentence<'a>(lines: &[&'a str]) -> Option<(Address, &'a str)> {
    let line = *lines.first()?;
    if !line.contains('@') || !(wording::fails(line) || wording::tells_why(line)) {
        return None;
    }
    let to = line.find(" to ").and_then(|at| block::address(&line[at..]));
    Some((to.or_else(|| block::address(line))?, ""))
}

/// An address that a text begins with, bracketed or bare; what follows it.
fn leading(text: &str) -> Option<(Address, &str)> {
    let text = text.trim_start_matches(['"', '\'', '[', '(']);
    let (word, rest) = match text.strip_prefix('<') {
        Some(inner) => inner.split_once('>')?,
        None => {
            let ends = |c: char| c.is_whitespace() || "<>()[],;:\"'".contains(c) || block::is_wide_mark(c);
            let end = text.find(ends);
            text.split_at(end.unwrap_or(text.len()))
        }
    };
    let address = word.contains('@').then(|| block::mailbox(word)).flatten()?;
    Some((address, rest.trim_start_matches(['"', '\'', '>', ']'])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transcripts_name_recipients() {
        let found = |line: &str| transcript(line).map(|address| address.to_string());
        for line in [
            ">>> RCPT TO:<a@b.test>",
            "12:01:07 rcpt to: a@b.test",
            "RCPT TO:<a@b.test>",
        ] {
            assert_eq!(found(line).as_deref(), Some("a@b.test"), "{line}");
        }
        assert_eq!(found("this is what we said after your RCPT TO:<a@b.test>"), None);
    }

    #[test]
    fn addresses_head_lines() {
        let found = |line: &str| heading(&[line]).map(|(address, rest)| format!("{address}|{rest}"));
        assert_eq!(found("<a@b.test>: no").as_deref(), Some("a@b.test|: no"));
        assert_eq!(found("* a@b.test").as_deref(), Some("a@b.test|"));
        assert_eq!(found("a@b.test: 550 no").as_deref(), Some("a@b.test|: 550 no"));
        assert_eq!(found("a@b.test is my friend"), None);
        assert_eq!(found("write to a@b.test"), None);
        assert_eq!(found("宛先：a@b.test"), None);
        let labelled = |line: &str| labelled(&[line]).map(|(address, _)| address.to_string());
        for line in [
            "宛先：a@b.test",
            "Recipient: <a@b.test>",
            "받는 사람 a@b.test",
            "收件人：a@b.test（不存在）",
        ] {
            assert_eq!(labelled(line).as_deref(), Some("a@b.test"), "{line}");
        }
        for line in ["to a@b.test", "The recipient has moved. New address: a@b.test"] {
            assert_eq!(labelled(line), None, "{line}");
        }
    }
}
