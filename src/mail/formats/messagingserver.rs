//! Notices of iPlanet, Sun and Oracle Messaging Server: `This report relates to a message you sent with
//! the following header fields`, then labelled lines for each recipient, `Recipient address:` first.

use super::Format;
use super::block;
use super::label::has;
use super::quoted::{command, is_reply};
use crate::mail::address::Address;
use crate::mail::dsn::{Action, Diagnostic, Recipient, Report};
use crate::mail::letter::Letter;

/// The format.
pub const FORMAT: Format = Format {
    name: "messagingserver",
    tell: |letter| {
        letter.says_early(400, "This report relates to a message you sent")
            || letter.subject().starts_with("delivery notification: delivery ")
    },
    read,
};

fn read(letter: &Letter<'_>) -> Option<Report> {
    let words = letter.words();
    let action = if has(words, "enqueued and undeliverable") || letter.subject().contains("delayed") {
        Action::Delayed
    } else if has(words, "successfully delivered") || letter.subject().contains("successful") {
        Action::Delivered
    } else {
        Action::Failed
    };
    let mut recipients: Vec<Recipient> = Vec::new();
    for line in words.lines() {
        let Some((label, value)) = line.trim_start().split_once(':') else {
            continue;
        };
        let value = value.trim();
        if label.eq_ignore_ascii_case("recipient address") {
            let address = block::mailbox(route_end(value));
            recipients.extend(address.map(|address| Recipient {
                action: Some(action),
                ..block::failed(address, "")
            }));
        } else if let Some(last) = recipients.last_mut() {
            add(last, &label.to_ascii_lowercase(), value);
        }
    }
    Some(Report {
        recipients,
        ..Report::default()
    })
}

/// The mailbox at the end of a source route: `@relay.example:user@host`.
fn route_end(value: &str) -> &str {
    match value.strip_prefix('@').and_then(|v| v.split_once(':')) {
        Some((_, address)) => address,
        None => value,
    }
}

/// Adds a labelled line about the last recipient.
fn add(recipient: &mut Recipient, label: &str, value: &str) {
    match label {
        // Where the recipient is a queue of the server's own (`ann@ims-ms-daemon`), the original is the address.
        "original address" => {
            let original = block::mailbox(value);
            let is_queue = |address: &Address| !address.domain().contains('.');
            if original.is_some() && recipient.final_recipient.as_ref().is_some_and(is_queue) {
                recipient.final_recipient = original;
            } else {
                recipient.original_recipient = original;
            }
        }
        "reason" => {
            recipient.command = command(value).map(str::to_owned);
            if recipient.diagnostic.is_none() {
                recipient.diagnostic = (!value.is_empty()).then(|| Diagnostic::parse(value));
            }
        }
        "diagnostic code" => {
            let diagnostic = Diagnostic::parse(value);
            recipient.status = diagnostic.reply().status;
            // Where no server spoke, the field repeats the reason.
            if !is_reply(&diagnostic.text) {
                recipient.command = None;
            }
            recipient.diagnostic = Some(diagnostic);
        }
        "remote system" => {
            let (_, host) = value.split_once(';').unwrap_or(("", value));
            let host = host.split([' ', '(']).next().unwrap_or_default();
            recipient.remote_mta = (!host.is_empty()).then(|| host.to_ascii_lowercase());
        }
        _ => {}
    }
}
