//! MDaemon: `Failed address: address` for each recipient, then `--- Session Transcript ---` with the session
//! as `--> command` and `<-- reply` behind dates.

use super::Format;
use super::block;
use super::label::{has, values};
use super::quoted::{command_sent, is_reply};
use crate::mail::address::Address;
use crate::mail::dsn::{Action, Recipient, Report};
use crate::mail::letter::Letter;
use std::collections::HashMap;

/// The format.
pub const FORMAT: Format = Format {
    name: "mdaemon",
    tell: |letter| {
        letter.says_early(1500, "fatal delivery errors!") || letter.says_early(1500, "Failed address:")
    },
    read,
};

/// A failure in the session: the recipient that it is about, where it is one's, and to what it answered.
struct Failure<'a> {
    about: Option<Address>,
    command: Option<&'static str>,
    reply: &'a str,
}

fn read(letter: &Letter<'_>) -> Option<Report> {
    let words = letter.words();
    let failures = failures(words);
    let delayed = has(words, "TRANSIENT") || has(words, "delivery will be retried");
    let action = if delayed { Action::Delayed } else { Action::Failed };
    let addresses = values(words, "Failed address:").filter_map(block::mailbox);
    let own: HashMap<&Address, &Failure<'_>> = failures
        .iter()
        .filter_map(|f| Some((f.about.as_ref()?, f)))
        .collect();
    let of_all = failures.iter().rev().find(|f| f.about.is_none());
    let recipients = addresses.map(|address| {
        let failure = own.get(&address).copied().or(of_all);
        let said = failure.map_or_else(|| reason(words), |f| f.reply);
        Recipient {
            action: Some(action),
            command: failure.and_then(|f| f.command).map(str::to_owned),
            ..block::failed(address, said)
        }
    });
    Some(Report {
        recipients: recipients.collect(),
        ..Report::default()
    })
}

fn failures(words: &str) -> Vec<Failure<'_>> {
    let mut failures = Vec::new();
    let (mut sent, mut rcpt) = (None, None);
    for line in words.lines() {
        if let Some((_, command)) = line.split_once("--> ") {
            sent = command_sent(command);
            rcpt = (sent == Some("RCPT TO"))
                .then(|| block::address(command))
                .flatten();
        } else if let Some((_, reply)) = line.split_once("<-- ") {
            let reply = reply.trim();
            if is_reply(reply) {
                failures.push(Failure {
                    about: rcpt.clone(),
                    command: sent.or(Some("greeting")),
                    reply,
                });
            } else if reply.starts_with("354") {
                sent = Some("end of DATA");
            }
        }
    }
    failures
}

/// MDaemon's own reason, the last line of the transcript without arrows: `No such domain`.
fn reason(words: &str) -> &str {
    let transcript = words
        .split_once("Session Transcript")
        .map_or("", |(_, transcript)| transcript);
    let lines = transcript.lines().map(str::trim);
    let mut told =
        lines.filter(|line| line.contains(": ") && !line.contains("--> ") && !line.contains("<-- "));
    told.next_back()
        .and_then(|line| line.split_once(": "))
        .map_or("", |(_, reason)| reason.trim_start_matches(['*', ' ']))
}
