//! Barracuda Spam Firewall: `Your message to: address was blocked by our Spam Firewall.` Its refusal is of
//! the mail, never of the mailbox.

use super::Format;
use super::block;
use super::label::{has, value};
use crate::mail::dsn::Report;
use crate::mail::letter::Letter;

/// The format.
pub const FORMAT: Format = Format {
    name: "barracuda",
    tell: |letter| {
        has(
            letter.subject(),
            "message you sent blocked by our bulk email filter",
        ) || (letter.words().trim_start().starts_with("Your message to:")
            && letter.says("was blocked by our"))
    },
    read,
};

fn read(letter: &Letter<'_>) -> Option<Report> {
    let words = letter.words();
    let address = block::mailbox(value(words, "Your message to:")?)?;
    let said = words.split("\n\n").next().unwrap_or(words);
    Some(Report {
        recipients: vec![block::failed(address, said)],
        ..Report::default()
    })
}
