//! SmarterMail: `Failed Recipient: address` and `Reason: Remote host said: reply` for each recipient.

use super::Format;
use super::block;
use super::label::value_of;
use super::quoted::reply_in;
use crate::mail::dsn::Report;
use crate::mail::letter::Letter;

/// The format.
pub const FORMAT: Format = Format {
    name: "smartermail",
    tell: |letter| letter.says_early(500, "Failed Recipient: "),
    read,
};

fn read(letter: &Letter<'_>) -> Option<Report> {
    let words = letter.words();
    let parts = words.split("Failed Recipient: ").skip(1);
    let recipients = parts.filter_map(|part| {
        let address = block::mailbox(part.lines().next()?)?;
        let reason = part
            .lines()
            .find_map(|line| value_of(line, "Reason:"))
            .unwrap_or_default();
        Some(block::failed(address, reply_in(reason).unwrap_or(reason)))
    });
    Some(Report {
        recipients: recipients.collect(),
        ..Report::default()
    })
}
