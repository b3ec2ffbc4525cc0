//! Yahoo! Mail's failure notices, after qmail's: `Sorry, we were unable to deliver your message to the
//! following address.` (before 2013: `Message from yahoo.com. Unable to deliver message to the following
//! address(es).`), a paragraph `<address>:` for each recipient, with `Remote host said:` and the command
//! answered in brackets at the end, and a copy below.

use super::{Format, block, phrase, quoted};
use crate::mail::address::Address;
use crate::mail::dsn::{Recipient, Report};
use crate::mail::letter::Letter;
use std::borrow::Cow;

/// The format.
pub const FORMAT: Format = Format {
    name: "yahoo",
    tell: |letter| {
        let words = letter.words().trim_start();
        letter.is_from_daemon()
            && (words.starts_with("Sorry, we were unable to deliver your message")
                || words.starts_with("Sorry, we weren't able to deliver your message")
                || words.starts_with("Sorry, your message could not be delivered")
                || words.starts_with("Message from ")
                    && words.contains("nable to deliver message to the following"))
    },
    read,
};

fn read(letter: &Letter<'_>) -> Option<Report> {
    let found = phrase::below_mailboxes(letter.words());
    Some(Report {
        recipients: found
            .into_iter()
            .map(|(address, said)| recipient(address, &said))
            .collect(),
        ..Report::default()
    })
}

fn recipient(address: Address, said: &str) -> Recipient {
    let said = said.trim();
    let (said, command) = match said.strip_suffix(']').and_then(|s| s.rsplit_once('[')) {
        Some((rest, inner)) => match quoted::command_first(inner) {
            Some(command) => (rest.trim_end(), Some(command)),
            None => (said, None),
        },
        None => (said, None),
    };
    let said = said
        .split_once("Remote host said:")
        .or_else(|| said.split_once("Remote server said:"))
        .map_or(said, |(_, reply)| reply);
    phrase::answered(block::failed(address, &without_colon(said.trim())), command)
}

/// `550: 5.1.1 no` as a server says it: `550 5.1.1 no`.
pub(super) fn without_colon(said: &str) -> Cow<'_, str> {
    match said.get(..4) {
        Some(code) if code.ends_with(':') && code[..3].bytes().all(|b| b.is_ascii_digit()) => {
            format!("{} {}", &said[..3], said[4..].trim_start()).into()
        }
        _ => said.into(),
    }
}
