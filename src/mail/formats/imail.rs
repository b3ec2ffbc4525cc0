//! Ipswitch IMail (`X-Mailer: <SMTP32 …>`): a line `reason: address`, or `undeliverable to address` with
//! the server's reply below `… generated … response:`.

use super::Format;
use super::block;
use super::quoted::command;
use crate::mail::dsn::{Recipient, Report};
use crate::mail::letter::Letter;

/// The format.
pub const FORMAT: Format = Format {
    name: "imail",
    tell: |letter| {
        letter
            .field("X-Mailer")
            .is_some_and(|mailer| mailer.starts_with("<SMTP32"))
            && letter.subject().starts_with("undeliverable mail")
    },
    read,
};

/// The reasons that stand before an address.
const REASONS: [&str; 7] = [
    "Unknown user",
    "Unknown host",
    "Invalid final delivery userid",
    "User mailbox exceeds allowed size",
    "Delivery failed ",
    "Mailbox full",
    "Invalid recipient",
];

fn read(letter: &Letter<'_>) -> Option<Report> {
    let words = letter.words();
    let words = words.split("\nOriginal message follows").next().unwrap_or(words);
    let recipients = if let Some((_, rest)) = words.split_once("undeliverable to ") {
        vec![answered(rest)?]
    } else {
        words.lines().filter_map(named).collect()
    };
    Some(Report {
        recipients,
        ..Report::default()
    })
}

/// `reason: address`
fn named(line: &str) -> Option<Recipient> {
    let line = line.trim();
    let (reason, address) = line.rsplit_once(": ")?;
    let known = REASONS.iter().any(|known| reason.starts_with(known));
    let address = known.then(|| block::mailbox(address))??;
    Some(block::failed(address, line))
}

/// `undeliverable to address`, and the reply in the paragraph below.
fn answered(rest: &str) -> Option<Recipient> {
    let (address, below) = rest.split_once('\n').unwrap_or((rest, ""));
    let address = block::mailbox(address.split_whitespace().next()?)?;
    let (phrase, reply) = below.split_once("response:").unwrap_or(("", below));
    let answered = if phrase.contains("Body of message") {
        Some("end of DATA")
    } else {
        command(phrase)
    };
    Some(Recipient {
        command: answered.map(str::to_owned),
        ..block::failed(address, reply)
    })
}
