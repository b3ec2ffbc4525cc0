//! A gateway that does not tell its name: `Delivery to the following recipients was aborted after 5.0
//! hour(s):`, the addresses behind `*`, then `Technical details:` with `Routing: reason` or `SMTP: reply`.

use super::Format;
use super::block;
use super::quoted::{command, find_reply};
use crate::mail::address::Address;
use crate::mail::dsn::{Recipient, Report};
use crate::mail::letter::Letter;
use std::collections::HashMap;

/// The format.
pub const FORMAT: Format = Format {
    name: "x3",
    tell: |letter| letter.says_early(500, "following recipients was aborted after"),
    read,
};

fn read(letter: &Letter<'_>) -> Option<Report> {
    let words = letter.words();
    let (list, details) = words.split_once("Technical details:").unwrap_or((words, ""));
    let details = details.trim_matches(['=', ' ', '\n', '\t']);
    let aborted = list.lines().find(|line| line.contains("was aborted after"));
    let addresses = list
        .lines()
        .filter_map(|line| block::mailbox(line.trim_start().strip_prefix('*')?));
    // With several recipients each has a paragraph of its own.
    let mut own: HashMap<Address, &str> = HashMap::new();
    for paragraph in details.split("\n\n") {
        if let Some(address) = block::address(paragraph) {
            own.entry(address).or_insert(paragraph);
        }
    }
    let recipients = addresses.map(|address| {
        let said = own
            .get(&address)
            .copied()
            .unwrap_or(details)
            .trim_matches(['=', ' ', '\n', '\t']);
        let reply = find_reply(said).unwrap_or(0);
        let frame = &said[..reply];
        Recipient {
            command: command(frame).map(str::to_owned),
            ..block::failed(
                address,
                if said.is_empty() {
                    aborted.unwrap_or_default()
                } else {
                    &said[reply..]
                },
            )
        }
    });
    Some(Report {
        recipients: recipients.collect(),
        ..Report::default()
    })
}
