//! InterScan Messaging Security Suite (Trend Micro): `Sent <<< RCPT TO:<…>` and `Received >>> 550 …`, the
//! arrows either way; or `Unable to deliver message to <…>` alone.

use super::Format;
use super::block;
use super::label::boundary;
use super::quoted::{command_sent, is_reply};
use crate::mail::address::Address;
use crate::mail::dsn::{Recipient, Report};
use crate::mail::letter::Letter;

/// The format.
pub const FORMAT: Format = Format {
    name: "interscan",
    tell: |letter| boundary(letter).contains("InterScan_") || letter.from().contains("interscan"),
    read,
};

fn read(letter: &Letter<'_>) -> Option<Report> {
    let words = letter.words();
    let mut recipients = session(words);
    if recipients.is_empty() {
        let unable = words
            .lines()
            .filter(|line| line.contains("Unable to deliver message to"));
        recipients.extend(unable.filter_map(|line| {
            let said = line.find("Unable to").map_or(line, |at| &line[at..]);
            Some(block::failed(block::address(said)?, said))
        }));
    }
    Some(Report {
        recipients,
        ..Report::default()
    })
}

/// The recipients whose commands failed; a failure of another command is one of all named before it.
fn session(words: &str) -> Vec<Recipient> {
    let mut failed: Vec<Recipient> = Vec::new();
    let mut accepted: Vec<Address> = Vec::new();
    let mut sent = None;
    for line in words.lines().map(str::trim) {
        let behind = |word: &str| {
            let rest = line.strip_prefix(word)?.trim_start();
            Some(rest.trim_start_matches(['<', '>']).trim_start())
        };
        if let Some(command) = line.strip_prefix("Sent ") {
            let command = command.trim_start();
            let command = command
                .strip_prefix("<<<")
                .or_else(|| command.strip_prefix(">>>"));
            sent = command.and_then(command_sent);
            if sent == Some("RCPT TO") {
                accepted.extend(command.and_then(block::address));
            }
        } else if let Some(reply) = behind("Received ").filter(|reply| is_reply(reply)) {
            let about = match sent {
                Some("RCPT TO") => accepted.pop().into_iter().collect(),
                _ => std::mem::take(&mut accepted),
            };
            failed.extend(about.into_iter().map(|address| Recipient {
                command: sent.map(str::to_owned),
                ..block::failed(address, reply)
            }));
        }
    }
    failed
}
