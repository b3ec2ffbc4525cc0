//! KDDI's networks: the notices of au one net and DION (`Your mail sent on: … Could not be delivered to: <…> As
//! their mailbox is full.`), and those of EZweb (`The user(s) account is disabled.`, and the addresses under it;
//! or a transcript of the SMTP session). The Japanese above the English comes in a charset that many gateways
//! spoil, so only the English is read.

use super::{Format, block, phrase, quoted};
use crate::mail::address::Address;
use crate::mail::dsn::{Recipient, Report};
use crate::mail::letter::Letter;

/// The format of au one net.
pub const KDDI: Format = Format {
    name: "kddi",
    tell: |letter| letter.is_from_daemon() && letter.says("Could not be delivered to:"),
    read: read_kddi,
};

/// The format of EZweb, and of the other Japanese carriers whose gateways write like it.
pub const EZWEB: Format = Format {
    name: "ezweb",
    tell: |letter| {
        const CARRIERS: [&str; 9] = [
            "ezweb.ne.jp",
            "au.com",
            "docomo.ne.jp",
            "nttdocomo.co.jp",
            "softbank.ne.jp",
            "vodafone.ne.jp",
            "disney.ne.jp",
            "willcom.com",
            "pdx.ne.jp",
        ];
        let sender = letter.sender();
        CARRIERS.iter().any(|domain| sender.ends_with(domain)) && letter.is_from_daemon()
    },
    read: read_ezweb,
};

fn read_kddi(letter: &Letter<'_>) -> Option<Report> {
    let (_, rest) = letter.words().split_once("Could not be delivered to:")?;
    let (who, said) = rest.split_once('\n')?;
    let mut addresses: Vec<Address> = who.split(',').filter_map(block::address).collect();
    let mut reason = String::new();
    for line in said.lines() {
        match phrase::lone_mailbox(line) {
            Some(address) if reason.is_empty() => addresses.push(address),
            _ if line.trim().is_empty() && !reason.is_empty() => break,
            _ => {
                reason.push_str(line.trim());
                reason.push(' ');
            }
        }
    }
    let shared = phrase::Shared::new(&reason, &addresses);
    let recipients = addresses.iter().map(|address| shared.failed(address));
    Some(Report {
        recipients: recipients.collect(),
        ..Report::default()
    })
}

fn read_ezweb(letter: &Letter<'_>) -> Option<Report> {
    let words = letter.words();
    let above = sentences(words);
    let mut found: Vec<(Address, String)> = Vec::new();
    for line in words.lines() {
        let named = mailbox(line);
        match (named, found.last_mut()) {
            // A reply may name its recipient again.
            (Some((address, said)), before) if before.as_ref().is_none_or(|(b, _)| *b != address) => {
                found.push((address, said.to_owned()));
            }
            (_, Some((_, below))) if below.len() < 1024 => {
                below.push('\n');
                below.push_str(line);
            }
            _ => {}
        }
    }
    let recipients = found
        .into_iter()
        .map(|(address, below)| recipient(address, &above, &below));
    Some(Report {
        recipients: recipients.collect(),
        ..Report::default()
    })
}

/// `<ann@x.test>`, `Recipient: <ann@x.test>`, `<ann@x.test> Unknown User`: who, and what follows.
fn mailbox(line: &str) -> Option<(Address, &str)> {
    let line = line.trim();
    let line = line.strip_prefix("Recipient:").unwrap_or(line).trim_start();
    if let Some(address) = phrase::lone_mailbox(line) {
        return Some((address, ""));
    }
    let (address, said) = line.strip_prefix('<')?.split_once('>')?;
    // `<<< 550 <ann@x.test>: no` is a line of a transcript.
    if address.contains([' ', '<']) {
        return None;
    }
    Some((block::mailbox(address)?, said.trim_start_matches([':', ' '])))
}

/// The English sentences above the addresses, but for those that only introduce them.
fn sentences(words: &str) -> String {
    let mut said = String::new();
    for line in words.lines().map(str::trim) {
        if mailbox(line).is_some() {
            break;
        }
        let english = line.is_ascii() && line.contains(' ') && line.len() < 300;
        let introduces = line.ends_with(':')
            || line.starts_with("This message is in MIME")
            || line.starts_with("The reasons given by the server")
            || line.starts_with("each recipient was rejected");
        if english && !introduces && said.len() < 1024 {
            said.push_str(line);
            said.push(' ');
        }
    }
    said
}

/// What the server said stands under the address, perhaps in a transcript: `<<< 550 no`.
fn recipient(address: Address, above: &str, below: &str) -> Recipient {
    let spoken: Vec<&str> = below
        .lines()
        .map(str::trim)
        .filter(|line| line.is_ascii())
        .collect();
    let answer = spoken
        .iter()
        .position(|line| quoted::says_reply(line.trim_start_matches(['<', ' '])));
    let Some(answer) = answer else {
        let below = spoken.join(" ");
        let said = if above.is_empty() { below.as_str() } else { above };
        return block::failed(address, said);
    };
    let asked = spoken[..answer].iter().rfind(|line| line.starts_with(">>>"));
    let command = asked.and_then(|line| quoted::command_first(line.trim_start_matches(['>', ' '])));
    let reply = spoken[answer].trim_start_matches(['<', ' ']);
    phrase::answered(block::failed(address, reply), command)
}
