//! IronPort (Cisco Secure Email), and Amazon SES until 2012: `The following message to <ann@x.test> was
//! undeliverable. The reason for the problem: 5.1.0 - Unknown address error 550-'no such user'`.

use super::{Format, block, phrase};
use crate::mail::dsn::Report;
use crate::mail::letter::Letter;

/// The format.
pub const FORMAT: Format = Format {
    name: "ironport",
    tell: |letter| {
        letter.is_from_daemon()
            && letter
                .words()
                .trim_start()
                .starts_with("The following message to <")
    },
    read,
};

fn read(letter: &Letter<'_>) -> Option<Report> {
    let words = letter.words();
    let (who, said) = words
        .split_once("was undeliverable.")
        .or_else(|| words.split_once("reason for the problem"))?;
    let address = block::address(who)?;
    let said = said
        .split_once("the problem:")
        .map_or(said, |(_, said)| said)
        .trim();
    let said = said.split_once("\n\n").map_or(said, |(first, _)| first);
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let said = phrase::peel(&said).unwrap_or(said);
    Some(Report {
        recipients: vec![block::failed(address, &said)],
        ..Report::default()
    })
}
