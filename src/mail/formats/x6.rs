//! A client-side mailer that does not tell its name: `We had trouble delivering your message. Full details
//! follow:`, then `SMTP Server <host> rejected recipient <address> (Error following RCPT command). It
//! responded as follows: [reply]`.

use super::Format;
use super::block;
use super::quoted::command;
use crate::mail::dsn::{Recipient, Report};
use crate::mail::letter::Letter;

/// The format.
pub const FORMAT: Format = Format {
    name: "x6",
    tell: |letter| letter.says_early(300, "We had trouble delivering your message"),
    read,
};

fn read(letter: &Letter<'_>) -> Option<Report> {
    let words = letter.words();
    let recipients = words.split("SMTP Server <").skip(1).filter_map(|rest| {
        let (host, rest) = rest.split_once('>')?;
        let (frame, said) = rest.split_once("responded as follows:")?;
        let said = said.split("\n\n").next().unwrap_or(said).trim();
        let said = said.strip_prefix('[').unwrap_or(said);
        let said = said.rsplit_once(']').map_or(said, |(reply, _)| reply);
        Some(Recipient {
            remote_mta: Some(host.to_ascii_lowercase()),
            command: command(frame).map(str::to_owned),
            ..block::failed(block::address(frame)?, said)
        })
    });
    Some(Report {
        recipients: recipients.collect(),
        ..Report::default()
    })
}
