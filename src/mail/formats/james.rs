//! Apache James: `Hi. This is the James mail server at host`, then `Failed recipient(s):` or `RCPT TO:` and
//! `Error message:` or `Error message below:` with the reply.

use super::Format;
use super::block;
use super::label::{paragraph_after, values};
use crate::mail::address::Address;
use crate::mail::dsn::Report;
use crate::mail::letter::Letter;

const INTRODUCTION: &str = "Hi. This is the James mail server at ";

/// The format.
pub const FORMAT: Format = Format {
    name: "james",
    tell: |letter| letter.words().trim_start().starts_with(INTRODUCTION),
    read,
};

fn read(letter: &Letter<'_>) -> Option<Report> {
    let words = letter.words();
    let listed = paragraph_after(words, "Failed recipient(s):").unwrap_or_default();
    let mut addresses: Vec<Address> = listed.split_whitespace().filter_map(block::mailbox).collect();
    if addresses.is_empty() {
        addresses.extend(values(words, "RCPT TO:").filter_map(block::mailbox));
    }
    let error =
        paragraph_after(words, "Error message below:").or_else(|| paragraph_after(words, "Error message:"));
    let error = error.unwrap_or_default();
    let host = words
        .trim_start()
        .strip_prefix(INTRODUCTION)?
        .split_whitespace()
        .next()?;
    Some(Report {
        reporting_mta: Some(host.trim_end_matches('.').to_ascii_lowercase()),
        recipients: addresses
            .into_iter()
            .map(|address| block::failed(address, error))
            .collect(),
        ..Report::default()
    })
}
