//! Exim's notices: bounces (`Mail delivery failed: returning message to sender`), warnings that mail is
//! late, and refusals of malformed addresses. They follow Exim's deliver.c and its default texts; where
//! a site replaced the introduction, the header field `X-Failed-Recipients` tells them.
//!
//! After a line that announces them, recipients follow by indentation: the address, then, further in, what
//! became of it, with `(generated from …)` for the address mailed, `host NAME [IP]`, and `SMTP error from
//! remote mail server after COMMAND:` before the server's reply. A paragraph that is not indented ends them.

use super::Format;
use super::block;
use super::label::{has, head, speaks};
use super::quoted::{command, find_reply};
use crate::mail::address::Address;
use crate::mail::dsn::{Action, Recipient, Report};
use crate::mail::letter::Letter;

/// The format.
pub const FORMAT: Format = Format {
    name: "exim",
    tell,
    read,
};

/// What announces the recipients, at the end of a paragraph.
const ANNOUNCEMENTS: [&str; 10] = [
    "following address(es) failed:",
    "following addresses failed:",
    "following address failed:",
    "following recipients failed:",
    "incorrectly constructed:",
    "has not yet been delivered is:",
    "have not yet been delivered are:",
    "have not yet been delivered is:",
    "address(es) have yet to be delivered:",
    "address has yet to be delivered:",
];

/// What announces why a message was refused as a whole.
const ERROR_GIVEN: &str = "The following error was given:";

/// How the notices of an Exim begin whose sender does not tell.
const INTRODUCTIONS: [&str; 3] = ["This message was created automatically", "A message ", "Message "];

fn tell(letter: &Letter<'_>) -> bool {
    letter.has("X-Failed-Recipients") || {
        let head = head(letter.words(), 1200);
        (announced(head).is_some() || has(head, ERROR_GIVEN)) && speaks(letter, &INTRODUCTIONS)
    }
}

fn read(letter: &Letter<'_>) -> Option<Report> {
    let words = letter.words();
    let delayed = letter.subject().starts_with("warning: message")
        || has(words, "yet been delivered")
        || has(words, "have yet to be delivered");
    let action = if delayed { Action::Delayed } else { Action::Failed };
    let mut recipients = match announced(words) {
        Some(start) => blocks(&words[start..])
            .iter()
            .filter_map(|b| recipient(b))
            .collect(),
        None => Vec::new(),
    };
    if recipients.is_empty() {
        recipients = named_in_header(letter, words);
    }
    if recipients.is_empty() {
        recipients.extend(refused_whole(letter, words));
    }
    for recipient in &mut recipients {
        recipient.action = Some(action);
    }
    let sender = letter.sender();
    Some(Report {
        reporting_mta: sender.rsplit_once('@').map(|(_, host)| host.to_owned()),
        recipients,
        ..Report::default()
    })
}

/// Where the recipients begin: behind the announcement, wherever its lines were broken.
fn announced(words: &str) -> Option<usize> {
    let mut at = 0;
    let mut previous = "";
    for line in words.split_inclusive('\n') {
        at += line.len();
        // Most lines are ruled out by their last octet.
        let last = line.trim_ascii_end().bytes().next_back();
        if last.is_some_and(|b| b == b':' || b == b'\x0b' || !b.is_ascii()) {
            let text = line.trim();
            let ends = |tail: &&str| text.ends_with(*tail) || runs_over(previous.trim(), text, tail);
            if text.ends_with(':') && ANNOUNCEMENTS.iter().any(ends) {
                return Some(at);
            }
        }
        previous = line;
    }
    None
}

/// Whether two lines together end in an announcement.
fn runs_over(previous: &str, text: &str, announcement: &str) -> bool {
    announcement
        .strip_suffix(text)
        .is_some_and(|front| !front.trim_end().is_empty() && previous.ends_with(front.trim_end()))
}

/// The lines about one recipient; the first holds the address.
type Block<'a> = Vec<&'a str>;

/// Cuts at lines that are indented no further than the first. What is not indented at all, after an empty
/// line, ends it, unless the addresses themselves are not indented.
fn blocks(text: &str) -> Vec<Block<'_>> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut blocks: Vec<Block<'_>> = Vec::new();
    let mut margin = None;
    let mut after_empty = false;
    for line in text.lines() {
        if line.trim().is_empty() {
            after_empty = true;
            continue;
        }
        let depth = indent(line);
        let first = *margin.get_or_insert(depth);
        let begins = depth <= first && names_somebody(line);
        if begins {
            blocks.push(vec![line.trim()]);
        } else if depth < first || (after_empty && depth <= first) || line.starts_with("---") {
            break;
        } else if let Some(block) = blocks.last_mut() {
            block.push(line.trim());
        }
        after_empty = false;
    }
    blocks
}

/// Whether a line can be the first about a recipient: an address, a file, a pipe, or a stand-in for them.
fn names_somebody(line: &str) -> bool {
    let line = line.trim();
    line.starts_with(['|', '/', '"', '<', '>'])
        || line.starts_with("pipe to |")
        || line.starts_with("an undisclosed address")
        || line.starts_with("save to ")
        || line.contains(": malformed address: ")
        || line
            .split(' ')
            .next()
            .is_some_and(|word| block::mailbox(word).is_some())
}

/// Reads the lines about one recipient.
fn recipient(lines: &Block<'_>) -> Option<Recipient> {
    let (first, rest) = lines.split_first()?;
    let (address, own) = split_head(first);
    let parent = rest.iter().find_map(|line| generated_from(line));
    let mut said: Vec<&str> = own.into_iter().collect();
    said.extend(rest.iter().copied().filter(|line| generated_from(line).is_none()));
    // A pipe, a file or an undisclosed address stands for whom it was generated from.
    let address = address.or_else(|| parent.clone())?;
    let original = parent.filter(|parent| *parent != address);
    let said = said.join("\n");
    let remote_mta = host(&said);
    let (phrase, reply) = split_reply(&said);
    Some(Recipient {
        original_recipient: original,
        remote_mta,
        command: phrase.and_then(command).map(str::to_owned),
        ..block::failed(address, reply)
    })
}

/// The address in a first line, and what follows it there: `address: reason` of old Exims,
/// `text <address>: malformed address: …`.
fn split_head(line: &str) -> (Option<Address>, Option<&str>) {
    if line.starts_with(['|', '/', '"']) || line.starts_with("pipe to") || line.starts_with("save to") {
        return (None, None);
    }
    let (front, reason) = match line.split_once(": ") {
        Some((front, reason)) => (front, Some(reason.trim())),
        None => (line.strip_suffix(':').unwrap_or(line), None),
    };
    (block::address(front), reason)
}

/// The address that the failed one came from: `(generated from …)`, `(ultimately generated from …)`.
fn generated_from(line: &str) -> Option<Address> {
    let (front, address) = line.strip_prefix('(')?.split_once("generated from ")?;
    let known = front.is_empty() || front == "ultimately ";
    known.then(|| block::mailbox(address.trim_end_matches(')')))?
}

/// The server: `host mx.example [192.0.2.1]`, or `host: mx.example (192.0.2.1)`.
fn host(said: &str) -> Option<String> {
    let starts = said.match_indices("host").find_map(|(at, word)| {
        let fresh = at == 0 || said[..at].ends_with([' ', '\n']);
        let rest = said[at + word.len()..].strip_prefix([' ', ':'])?;
        let name = rest.trim_start().split(|c: char| c.is_whitespace()).next()?;
        (fresh && name.contains('.')).then_some(name)
    });
    starts.map(|name| name.trim_end_matches([':', ',', '.']).to_ascii_lowercase())
}

/// Splits `SMTP error from remote mail server after COMMAND: …: 550 …` before the reply; what is no SMTP
/// error is all of it the reason.
fn split_reply(said: &str) -> (Option<&str>, &str) {
    let Some(frame) = said
        .find("error from remote ")
        .or_else(|| said.find("MTP error after "))
    else {
        return (None, without_host(said));
    };
    let rest = &said[frame..];
    // Numbers within the command (`SIZE=1543`) begin no word.
    let reply = find_reply(rest).map(|at| &rest[at..]);
    match reply {
        Some(reply) => (Some(&rest[..rest.len() - reply.len()]), reply),
        None => (Some(rest), without_host(said)),
    }
}

/// Reasons without the line that only names the host.
fn without_host(said: &str) -> &str {
    match said.split_once('\n') {
        Some((first, rest)) if first.starts_with("host ") && first.ends_with(']') => rest,
        _ => said,
    }
}

/// The recipients that the header names, where the words announce none: the words are the reason of each.
fn named_in_header(letter: &Letter<'_>, words: &str) -> Vec<Recipient> {
    let named = letter.fields("X-Failed-Recipients").collect::<Vec<_>>().join(",");
    let addresses: Vec<Address> = named.split(',').filter_map(block::mailbox).collect();
    let (phrase, reply) = split_reply(words);
    let reply = if phrase.is_some() {
        reply
    } else {
        first_reply(words)
    };
    addresses
        .into_iter()
        .map(|address| Recipient {
            command: phrase.and_then(command).map(str::to_owned),
            ..block::failed(address, reply)
        })
        .collect()
}

/// The addressee of a message that was refused as a whole (`by the local scanning code`), if it is one.
fn refused_whole(letter: &Letter<'_>, words: &str) -> Option<Recipient> {
    let (_, reason) = words.split_once(ERROR_GIVEN)?;
    let reason = reason.trim_start().split("\n\n").next()?;
    let address = block::only_addressee(letter.returned()?)?;
    Some(Recipient {
        command: Some("end of DATA".to_owned()),
        doubtful: true,
        ..block::failed(address, reason)
    })
}

/// A reply at the start of a line, to the end of its paragraph; else the first thousand octets.
fn first_reply(words: &str) -> &str {
    let found = words.split("\n\n").find_map(|paragraph| {
        let at = find_reply(paragraph)?;
        Some(&paragraph[at..])
    });
    found.unwrap_or(&words[..words.floor_char_boundary(1000)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<String> {
        let text = &text[announced(text).unwrap_or(0)..];
        let found = blocks(text);
        let recipients = found.iter().filter_map(|b| recipient(b));
        recipients
            .map(|r| {
                format!(
                    "{} < {} [{}] {} | {}",
                    r.final_recipient.map_or_else(String::new, |a| a.to_string()),
                    r.original_recipient.map_or("-".to_owned(), |a| a.to_string()),
                    r.command.as_deref().unwrap_or("-"),
                    r.remote_mta.as_deref().unwrap_or("-"),
                    r.diagnostic.map_or_else(String::new, |d| d.text)
                )
            })
            .collect()
    }

    #[test]
    fn blocks_of_all_shapes() {
        let text = "recipients. This is a permanent error. The following address(es)\nfailed:\n\n  \
            a@b.test\n    (ultimately generated from l@m.test)\n    SMTP error from remote mail server after RCPT TO:<a@b.test>:\n    \
            host mx.b.test [192.0.2.1]: 550-5.1.1 no\n    550 5.1.1 really\n  \
            |/bin/false\n    (generated from pipe@m.test)\n    Child process of address_pipe transport returned 1 from command:\n    /bin/false\n  \
            c@d.test\n    host mx.d.test [192.0.2.2]\n    SMTP error from remote mail server after MAIL FROM:<x@y.test> SIZE=5123:\n    451 later: retry timeout exceeded\n  \
            e@f.test: all relevant MX records point to non-existent hosts\n  \
            g@h.test\n    host mx.h.test [192.0.2.3]\n    Connection timed out\n\nNo action is required.\n\n  z@z.test\n";
        let expected = [
            "a@b.test < l@m.test [RCPT TO] mx.b.test | 550-5.1.1 no 550 5.1.1 really",
            "pipe@m.test < - [-] - | Child process of address_pipe transport returned 1 from command: /bin/false",
            "c@d.test < - [MAIL FROM] mx.d.test | 451 later: retry timeout exceeded",
            "e@f.test < - [-] - | all relevant MX records point to non-existent hosts",
            "g@h.test < - [-] mx.h.test | Connection timed out",
        ];
        assert_eq!(shown(text), expected);
    }

    #[test]
    fn addresses_without_indentation_are_read() {
        let text = "The following address(es) failed:\n\na@b.test:\nUnrouteable address\n\nc@d.test:\nUnknown user\n\nBye for now.\n";
        let expected = [
            "a@b.test < - [-] - | Unrouteable address",
            "c@d.test < - [-] - | Unknown user",
        ];
        assert_eq!(shown(text), expected);
    }
}
