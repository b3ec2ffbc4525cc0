//! Novell GroupWise: `The message that you sent was undeliverable to the following:`, then `address
//! (reason)`.

use super::Format;
use super::block;
use crate::mail::dsn::{Recipient, Report};
use crate::mail::letter::Letter;

const ANNOUNCEMENT: &str = "was undeliverable to the following:";

/// The format.
pub const FORMAT: Format = Format {
    name: "groupwise",
    tell: |letter| letter.says_early(300, ANNOUNCEMENT),
    read,
};

fn read(letter: &Letter<'_>) -> Option<Report> {
    let (_, list) = letter.words().split_once(ANNOUNCEMENT)?;
    let list = list.trim_start().split("\n\n").next()?;
    Some(Report {
        recipients: list.lines().filter_map(recipient).collect(),
        ..Report::default()
    })
}

/// `address (reason)`; the reason may be missing.
fn recipient(line: &str) -> Option<Recipient> {
    let line = line.trim();
    let (address, reason) = line.split_once(" (").unwrap_or((line, ""));
    let reason = reason.strip_suffix(')').unwrap_or(reason);
    Some(block::failed(block::mailbox(address)?, reason))
}
