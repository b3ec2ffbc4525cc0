//! BIGLOBE: `----- The following addresses had delivery problems -----`, the addresses, `----- Non-delivered
//! information -----`, and the reason, which is that of all of them.

use super::{Format, phrase};
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
    let shared = phrase::Shared::new(said, &all);
    let recipients = all.iter().map(|address| shared.failed(address));
    Some(Report {
        recipients: recipients.collect(),
        ..Report::default()
    })
}
