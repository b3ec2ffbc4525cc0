//! MailFoundry: `Unable to deliver message to: <address>`, `Delivery failed for the following reason:`, and
//! `Server host[address] failed with: reply` or `host[address] responded with failure: reply`.

use super::Format;
use super::block;
use super::label::{paragraph_after, value};
use super::postfix::Endpoint;
use crate::mail::dsn::{Recipient, Report};
use crate::mail::letter::Letter;

/// The format.
pub const FORMAT: Format = Format {
    name: "mailfoundry",
    tell: |letter| {
        letter
            .words()
            .trim_start()
            .starts_with("Unable to deliver message to: <")
    },
    read,
};

fn read(letter: &Letter<'_>) -> Option<Report> {
    let words = letter.words();
    let address = block::mailbox(value(words, "Unable to deliver message to:")?)?;
    let reason = paragraph_after(words, "Delivery failed for the following reason:")?;
    let server = Endpoint::parse_prefix(reason.strip_prefix("Server ").unwrap_or(reason));
    let reply = match (&server, reason.split_once(": ")) {
        (Some(_), Some((frame, reply))) if frame.contains(" fail") => reply,
        _ => reason,
    };
    let recipient = Recipient {
        remote_mta: server.map(|(server, _)| server.host.to_ascii_lowercase()),
        ..block::failed(address, reply)
    };
    Some(Report {
        recipients: vec![recipient],
        ..Report::default()
    })
}
