//! Dovecot's delivery agent and Sieve: `Your message to <address> was automatically rejected:` and the
//! reason, in the form of a disposition notification (RFC 5429 §2.2) or of a delivery status.

use super::Format;
use super::block;
use super::label::has;
use crate::mail::dsn::Report;
use crate::mail::letter::Letter;

const REJECTED: &str = "was automatically rejected:";

/// The format.
pub const FORMAT: Format = Format {
    name: "dovecot",
    tell: |letter| {
        let words = letter.words().trim_start();
        words.starts_with("Your message to ") && has(words, REJECTED)
    },
    read,
};

fn read(letter: &Letter<'_>) -> Option<Report> {
    let words = letter.words().trim_start();
    let (front, reason) = words.split_once(REJECTED)?;
    let address = block::mailbox(front.strip_prefix("Your message to ")?)?;
    let reason = reason.trim_start().split("\n\n").next().unwrap_or(reason);
    Some(Report {
        recipients: vec![block::failed(address, reason)],
        ..Report::default()
    })
}
