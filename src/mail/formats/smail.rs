//! Smail 3, as T-Online and others ran it: blocks under rules of dashes, `|--- Message log follows: ---|` and
//! `|--- Failed addresses follow: ---|`, where ` <ann@x.test> ... reason` stands for each recipient.

use super::{Format, block, quoted};
use crate::mail::dsn::{Recipient, Report};
use crate::mail::letter::Letter;

/// The format.
pub const FORMAT: Format = Format {
    name: "smail",
    tell: |letter| letter.is_from_daemon() && letter.says_early(4096, "Failed addresses follow:"),
    read,
};

fn read(letter: &Letter<'_>) -> Option<Report> {
    let (_, failed) = letter.words().split_once("Failed addresses follow:")?;
    let failed = failed
        .split_once("Message text follows:")
        .map_or(failed, |(failed, _)| failed);
    Some(Report {
        recipients: failed.lines().filter_map(recipient).collect(),
        ..Report::default()
    })
}

fn recipient(line: &str) -> Option<Recipient> {
    let (who, said) = line.split_once("...")?;
    let reply = quoted::find_reply(said)
        .filter(|&at| quoted::says_reply(&said[at..]))
        .map_or(said.trim(), |at| &said[at..]);
    Some(block::failed(block::address(who)?, reply))
}
