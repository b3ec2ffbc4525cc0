//! MailMarshal (Marshal, Trustwave): `Could not be delivered because of` and a reply, then `The following
//! recipients were affected:` and their addresses, then labelled lines with the servers in `<>`.

use super::Format;
use super::block;
use super::label::{paragraph_after, value};
use crate::mail::dsn::{Recipient, Report};
use crate::mail::letter::Letter;

const AFFECTED: &str = "The following recipients were affected:";

/// The format.
pub const FORMAT: Format = Format {
    name: "mailmarshal",
    tell: |letter| letter.subject().starts_with("undeliverable mail") && letter.says(AFFECTED),
    read,
};

fn read(letter: &Letter<'_>) -> Option<Report> {
    let words = letter.words();
    let (before, after) = words.split_once(AFFECTED)?;
    let reason = paragraph_after(before, "Could not be delivered because of").unwrap_or_default();
    let host = |label| {
        let name = value(words, label)?.trim_matches(['<', '>', ' ']);
        (!name.is_empty()).then(|| name.to_ascii_lowercase())
    };
    let remote_mta = host("Remote-MTA:");
    let addresses = after.lines().skip_while(|line| line.trim().is_empty());
    let addresses = addresses.map_while(block::mailbox);
    let recipients = addresses.map(|address| Recipient {
        remote_mta: remote_mta.clone(),
        ..block::failed(address, reason)
    });
    Some(Report {
        reporting_mta: host("Reporting-MTA:"),
        recipients: recipients.collect(),
        ..Report::default()
    })
}
