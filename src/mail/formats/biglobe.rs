//! BIGLOBE: `----- The following addresses had delivery problems -----`, the addresses, `----- Non-delivered
//! information -----`, and the reason, which is that of all of them.

use super::{Format, block, phrase};
use crate::mail::dsn::Report;
use crate::mail::letter::Letter;

/// The format.
pub const FORMAT: Format = Format {
    name: "biglobe",
    tell: |letter| letter.is_from_daemon() && letter.words().contains("Non-delivered information"),
    read,
};

fn read(letter: &Letter<'_>) -> Option<Report> {
    let (who, said) = letter.words().split_once("Non-delivered information")?;
    let said = said.trim_start_matches(['-', ' ', '\n']);
    let said = said.split_once("\n\n").map_or(said, |(first, _)| first);
    let addresses = who.lines().filter_map(phrase::lone_mailbox);
    Some(Report {
        recipients: addresses.map(|address| block::failed(address, said)).collect(),
        ..Report::default()
    })
}
