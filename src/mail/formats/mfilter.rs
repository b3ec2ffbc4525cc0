//! m-FILTER (Digital Arts), in Japanese: the addresses, then ruled titles: `-------server message` with the
//! reply and `-------SMTP command` with what it answered.

use super::Format;
use super::block;
use super::quoted::{command, command_sent};
use crate::mail::dsn::{Recipient, Report};
use crate::mail::letter::Letter;

/// The format.
pub const FORMAT: Format = Format {
    name: "mfilter",
    tell: |letter| {
        letter
            .field("X-Mailer")
            .is_some_and(|mailer| mailer.starts_with("m-FILTER"))
    },
    read,
};

fn read(letter: &Letter<'_>) -> Option<Report> {
    let words = letter.words();
    let section = |title: &str| {
        let (_, rest) = words.split_once(title)?;
        Some(rest.split("\n---").next().unwrap_or(rest).trim())
    };
    let reply = section("-------server message").unwrap_or_default();
    let answered =
        section("-------SMTP command").and_then(|sent| command(sent).or_else(|| command_sent(sent)));
    let above = words.split("\n---").next().unwrap_or(words);
    let addresses = above.lines().filter_map(block::mailbox);
    let recipients = addresses.map(|address| Recipient {
        command: answered.map(str::to_owned),
        ..block::failed(address, reply)
    });
    Some(Report {
        recipients: recipients.collect(),
        ..Report::default()
    })
}
