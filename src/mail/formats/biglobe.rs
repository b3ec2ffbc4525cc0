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
    let all: Vec<_> = who.lines().filter_map(phrase::lone_mailbox).collect();
    let recipients = all
        .iter()
        .map(|address| block::failed(address.clone(), phrase::about(said, address, &all)));
    Some(Report {
        recipients: recipients.collect(),
        ..Report::default()
    })
}
