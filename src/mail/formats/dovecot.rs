//! What a user's rules reject (RFC 5429 §2.2), as Dovecot and Cyrus tell it: in the form of a disposition notification,
//! or of a delivery status. Dovecot: `Your message to <address> was automatically rejected:` and the reason. Cyrus:
//! `Your message was automatically rejected by Sieve`, the reason below, and the recipient in the notification's
//! fields only. Without a recipient it declines.

use super::Format;
use super::block;
use super::label::has;
use crate::mail::dsn::{self, Recipient, Report};
use crate::mail::letter::{Letter, is_type};

const REJECTED: &str = "was automatically rejected:";
const BY_SIEVE: &str = "Your message was automatically rejected by Sieve";

/// The format.
pub const FORMAT: Format = Format {
    name: "dovecot",
    tell: |letter| {
        let words = letter.words().trim_start();
        words.starts_with(BY_SIEVE) || (words.starts_with("Your message to ") && has(words, REJECTED))
    },
    read,
};

fn read(letter: &Letter<'_>) -> Option<Report> {
    let words = letter.words().trim_start();
    let recipients = match words.split_once(REJECTED) {
        Some((front, reason)) => {
            let address = block::mailbox(front.strip_prefix("Your message to ")?)?;
            let reason = reason.trim_start().split("\n\n").next().unwrap_or(reason);
            vec![block::failed(address, reason)]
        }
        None => of_fields(letter, words),
    };
    Some(Report {
        recipients,
        ..Report::default()
    })
}

/// The recipients that the notification's fields name, which are those of a delivery status.
fn of_fields(letter: &Letter<'_>, words: &str) -> Vec<Recipient> {
    let part = letter
        .parts()
        .find(|part| is_type(part, "message", "disposition-notification"));
    let named = part.map_or_else(Vec::new, |part| dsn::parse(part.contents()).recipients);
    let rejected = named.into_iter().filter_map(|recipient| {
        Some(Recipient {
            original_recipient: recipient.original_recipient,
            ..block::failed(recipient.final_recipient?, words)
        })
    });
    rejected.collect()
}
