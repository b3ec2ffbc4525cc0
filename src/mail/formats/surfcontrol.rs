//! SurfControl E-mail Filter: `Addressed To: address`, then the attempts, `address: [server], reply`.

use super::Format;
use super::block;
use super::label::values;
use super::quoted::reply_in;
use crate::mail::dsn::{Recipient, Report};
use crate::mail::letter::Letter;

/// The format.
pub const FORMAT: Format = Format {
    name: "surfcontrol",
    tell: |letter| {
        letter
            .words()
            .trim_start()
            .starts_with("Your message could not be sent.")
            && letter.says("\nAddressed To:")
    },
    read,
};

/// Each recipient is looked for in all of the words.
const MAX_RECIPIENTS: usize = 100;

fn read(letter: &Letter<'_>) -> Option<Report> {
    let words = letter.words();
    let recipients = values(words, "Addressed To:")
        .take(MAX_RECIPIENTS)
        .filter_map(|value| {
            let address = block::mailbox(value)?;
            let attempts = values(words, value).filter_map(|rest| rest.strip_prefix(':'));
            let last = attempts.last().map(str::trim).unwrap_or_default();
            let (server, said) = match last.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
                Some((server, said)) => (Some(server.to_owned()), said.trim_start_matches([',', ' '])),
                None => (None, last),
            };
            Some(Recipient {
                remote_mta: server,
                ..block::failed(address, reply_in(said).unwrap_or(said))
            })
        });
    Some(Report {
        recipients: recipients.collect(),
        ..Report::default()
    })
}
