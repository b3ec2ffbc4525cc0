//! Notices of the DragonFly Mail Agent (mail.c, net.c): `There was an error delivering your mail to <…>.`,
//! then `host [address] did not like our RCPT TO:` and the reply, or a reason of its own.

use super::Format;
use super::block;
use super::quoted::command;
use crate::mail::dsn::{Recipient, Report};
use crate::mail::letter::Letter;

/// The format.
pub const FORMAT: Format = Format {
    name: "dma",
    tell: |letter| {
        letter
            .words()
            .trim_start()
            .starts_with("This is the DragonFly Mail Agent")
    },
    read,
};

fn read(letter: &Letter<'_>) -> Option<Report> {
    let words = letter.words();
    let (introduction, rest) = words.split_once("There was an error delivering your mail to ")?;
    let (address, reason) = rest.split_once(".\n")?;
    let address = block::mailbox(address)?;
    let reason = reason.split("\nMessage headers follow").next().unwrap_or(reason);
    let reason = reason
        .split("\nOriginal message follows")
        .next()
        .unwrap_or(reason)
        .trim();
    let recipient = match reason.split_once(":\n") {
        Some((frame, reply)) if frame.contains(" did not like our ") => Recipient {
            command: command(frame).map(str::to_owned),
            remote_mta: frame.split([' ', '[']).next().map(str::to_ascii_lowercase),
            ..block::failed(address, reply)
        },
        _ => block::failed(address, reason),
    };
    let reporting_mta = introduction.split_once(" at ").and_then(|(_, host)| {
        let host = host.split_whitespace().next()?.trim_end_matches('.');
        Some(host.to_ascii_lowercase())
    });
    Some(Report {
        reporting_mta,
        recipients: vec![recipient],
        ..Report::default()
    })
}
