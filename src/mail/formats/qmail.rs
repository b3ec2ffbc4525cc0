//! qmail's failure notices, QSBMF (Bernstein, "The qmail-send Bounce Message Format"), and those of its
//! kin: netqmail, qmail-ldap, vpopmail, IndiMail, mail services that kept the form and changed the words.
//!
//! An introduction, then a paragraph for each recipient that begins with `<address>:`, then a break that
//! begins with `-`. Within a paragraph qmail-remote tells what it was at (`does not like recipient.`) and
//! then what the server said (`Remote host said: 550 …`); qmail-local and other agents speak for
//! themselves, their status in `(#5.1.1)`.

use super::Format;
use super::block;
use super::label::speaks;
use super::quoted::{command, is_reply, reply_in, status_within};
use crate::mail::address::Address;
use crate::mail::dsn::{Recipient, Report};
use crate::mail::letter::Letter;

/// The format.
pub const FORMAT: Format = Format {
    name: "qmail",
    tell,
    read,
};

/// How introductions begin, or what stands in their first lines.
const INTRODUCTIONS: [&str; 7] = [
    "Hi. This is the",
    "wasn't able to deliver your message to the following address",
    "Unable to deliver message to the following address",
    "unable to deliver your message to the following address",
    "could not deliver your message to the following address",
    "There's a problem with the e-mail address",
    "This is a permanent error; I've given up.",
];

fn tell(letter: &Letter<'_>) -> bool {
    let early = |words: &&str| letter.says_early(600, words);
    INTRODUCTIONS.iter().any(early) && speaks(letter, &INTRODUCTIONS)
}

fn read(letter: &Letter<'_>) -> Option<Report> {
    let words = letter.words();
    Some(Report {
        reporting_mta: reporter(words),
        recipients: paragraphs(words).into_iter().map(recipient).collect(),
        ..Report::default()
    })
}

/// The host that the introduction names: `This is the qmail-send program at mx.example.`
fn reporter(words: &str) -> Option<String> {
    let line = words.trim_start().lines().next()?;
    let (_, rest) = line
        .split_once(" at ")
        .or_else(|| line.split_once("Message from "))?;
    let host = rest.split_whitespace().next()?.trim_end_matches('.');
    (host.contains('.')).then(|| host.to_ascii_lowercase())
}

/// The recipients, each with the words about it.
fn paragraphs(words: &str) -> Vec<(Address, String)> {
    let mut found: Vec<(Address, String)> = Vec::new();
    let mut open = false;
    for line in words.lines() {
        if let Some((address, rest)) = head(line) {
            found.push((address, rest.to_owned()));
            open = true;
        } else if open {
            let Some((_, said)) = found.last_mut() else {
                continue;
            };
            let line = line.trim();
            if line.starts_with("--") || (line.is_empty() && !said.is_empty()) {
                open = false;
            } else if !line.is_empty() {
                said.push('\n');
                said.push_str(line);
            }
        }
    }
    found
}

/// The first line about a recipient: `<address>:`.
fn head(line: &str) -> Option<(Address, &str)> {
    let (address, rest) = line.strip_prefix('<')?.split_once(">:")?;
    Some((Address::parse(address).ok()?, rest.trim()))
}

fn recipient((address, paragraph): (Address, String)) -> Recipient {
    let paragraph = paragraph.trim();
    let (frame, said) = said(paragraph);
    let reply = Recipient {
        command: frame.and_then(command).map(str::to_owned),
        remote_mta: frame.and_then(server),
        ..block::failed(address, said)
    };
    Recipient {
        status: reply.status.or_else(|| status_within(paragraph)),
        ..reply
    }
}

/// What qmail was at, and what the server said to that; without a server's words all is qmail's own.
fn said(paragraph: &str) -> (Option<&str>, &str) {
    let marks = [
        "Remote host said:",
        " said: ",
        "emote host replied:",
        "erver said:",
    ];
    let mark = marks
        .iter()
        .find_map(|mark| paragraph.find(mark).map(|at| (at, at + mark.len())));
    let Some((at, end)) = mark else {
        let own = paragraph.split_once('\n').map_or(paragraph, |(first, _)| first);
        let frame = own.contains("onnected to ") || own.contains(" failed ");
        return (frame.then_some(own), reply_in_own(paragraph));
    };
    let reply = paragraph[end..].trim_start();
    let reply = reply.split("\nGiving up on ").next().unwrap_or(reply);
    let reply = reply.split("\n(Other MXes tried: ").next().unwrap_or(reply);
    (Some(&paragraph[..at]), reply.trim_end())
}

/// A local agent's words: from a reply's code on where a line begins with one.
fn reply_in_own(paragraph: &str) -> &str {
    let mut lines = paragraph.lines();
    let coded = lines.find(|line| is_reply(line));
    coded
        .and_then(|line| reply_in(&paragraph[paragraph.find(line)?..]))
        .unwrap_or(paragraph)
}

/// The server that a frame names: before `does not like`, `failed`, or after `Connected to`.
fn server(frame: &str) -> Option<String> {
    let after = |mark: &str| frame.split_once(mark).map(|(_, rest)| rest);
    let before = |mark: &str| {
        let (front, _) = frame.split_once(mark)?;
        front.split_whitespace().next_back()
    };
    let first = |rest: &'_ str| rest.split([' ', ',', '\n']).next().map(str::to_owned);
    let host = after("remote host ")
        .or_else(|| after("onnected to "))
        .and_then(first)
        .or_else(|| before(" does not like").map(str::to_owned))
        .or_else(|| before(" failed ").map(str::to_owned))?;
    let host = host.trim_matches(['.', '[', ']', ':']).to_ascii_lowercase();
    host.contains(['.', ':']).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_one(paragraph: &str) -> String {
        let (address, said) = paragraphs(paragraph).remove(0);
        let r = recipient((address, said));
        format!(
            "{} {} {} | {}",
            r.status.map_or("-".to_owned(), |s| s.to_string()),
            r.command.as_deref().unwrap_or("-"),
            r.remote_mta.as_deref().unwrap_or("-"),
            r.diagnostic.map_or_else(String::new, |d| d.text)
        )
    }

    #[test]
    fn paragraphs_of_every_kin() {
        let table = [
            (
                "<a@b.test>:\nConnected to 192.0.2.1 but greeting failed.\nRemote host said: 554 go away\n",
                "- greeting 192.0.2.1 | 554 go away",
            ),
            (
                "<a@b.test>:\nSorry, no SMTP connection got far enough; most progress was RCPT TO response; \
                 remote host 192.0.2.32 said: 550 Unknown user\n. (#5.5.0)\n(Other MXes tried: 192.0.2.40 said 550)\n",
                "5.5.0 RCPT TO 192.0.2.32 | 550 Unknown user . (#5.5.0)",
            ),
            (
                "<a@b.test>:\nFrom: <x@y.test> RCPT: <a@b.test> 192.0.2.25 does not like recipient.\n\
                 Remote host said: 552-5.2.2 full\n552 5.2.2 really\nGiving up on 192.0.2.25.\n",
                "5.2.2 RCPT TO 192.0.2.25 | 552-5.2.2 full 552 5.2.2 really",
            ),
            (
                "<a@b.test>:\nvdelivermail: account is locked email bounced a@b.test\n",
                "- - - | vdelivermail: account is locked email bounced a@b.test",
            ),
            (
                "<a@b.test>:\n\nThis user has no account here. [-9]\n\nMore.\n",
                "- - - | This user has no account here. [-9]",
            ),
            (
                "<a@b.test>:\nConnected to 192.0.2.1 but connection died. (#4.4.2)\nI'm not going to try again.\n",
                "4.4.2 - 192.0.2.1 | Connected to 192.0.2.1 but connection died. (#4.4.2) I'm not going to try again.",
            ),
        ];
        for (paragraph, expected) in table {
            assert_eq!(read_one(paragraph), expected, "{paragraph}");
        }
    }
}
