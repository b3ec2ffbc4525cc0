//! qmail's failure notices, QSBMF (Bernstein, "The qmail-send Bounce Message Format").
//!
//! Paragraphs, separated by empty lines: an introduction that begins with `Hi. This is the`, then one
//! for each recipient that begins with `<address>:`, then a break paragraph that begins with `-`.

use super::Format;
use super::block;
use crate::mail::address::Address;
use crate::mail::dsn::{Recipient, Report};
use crate::mail::letter::Letter;

/// The format.
pub const FORMAT: Format = Format {
    name: "qmail",
    tell: |letter| letter.words().trim_start().starts_with("Hi. This is the"),
    read,
};

fn read(letter: &Letter<'_>) -> Option<Report> {
    let words = letter.words();
    let reporting_mta = words
        .lines()
        .next()
        .and_then(|line| line.split_once(" at ")?.1.split_whitespace().next())
        .map(|host| host.trim_end_matches('.').to_ascii_lowercase());
    let recipients = words.split("\n\n").filter_map(recipient).collect();
    Some(Report {
        reporting_mta,
        recipients,
        ..Report::default()
    })
}

/// A recipient paragraph.
fn recipient(paragraph: &str) -> Option<Recipient> {
    let (address, said) = paragraph.trim_start().strip_prefix('<')?.split_once(">:")?;
    let address = Address::parse(address).ok()?;
    let remote_mta = said
        .split_once("remote host ")
        .or_else(|| said.split_once("Connected to "))
        .and_then(|(_, rest)| rest.split([' ', ',']).next())
        .map(|host| host.to_ascii_lowercase());
    // What the server said follows these words; without them qmail itself speaks.
    let said = said
        .split_once(" said: ")
        .or_else(|| said.split_once("Remote host said: "))
        .map_or(said, |(_, reply)| reply);
    Some(Recipient {
        remote_mta,
        ..block::failed(address, said)
    })
}
