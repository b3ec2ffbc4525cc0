//! SendGrid: `This is an automatically generated message from SendGrid.`, then a line `user:id:<ann@x.test> : IP :
//! mx.x.test:[IP] : 550 5.1.1 no in RCPT TO` for each recipient. The delivery status (RFC 3464) beside it may have
//! `Action: expired` and an empty status.

use super::{Format, block, phrase, quoted};
use crate::mail::dsn::{Recipient, Report};
use crate::mail::letter::Letter;

/// The format.
pub const FORMAT: Format = Format {
    name: "sendgrid",
    tell: |letter| letter.is_from_daemon() && letter.says_early(512, "generated message from SendGrid"),
    read,
};

fn read(letter: &Letter<'_>) -> Option<Report> {
    Some(Report {
        recipients: letter.words().lines().filter_map(recipient).collect(),
        ..Report::default()
    })
}

fn recipient(line: &str) -> Option<Recipient> {
    let (who, said) = line.split_once("> : ")?;
    let address = block::mailbox(who.rsplit_once('<')?.1)?;
    let (said, command) = match said.trim_end().rsplit_once(" in ") {
        Some((rest, words)) => match quoted::command_first(words) {
            Some(command) => (rest, Some(command)),
            None => (said, None),
        },
        None => (said, None),
    };
    let mut steps = said.split(" : ");
    let host = steps.find_map(|step| {
        step.split_once(":[")
            .map(|(host, _)| host.trim().to_ascii_lowercase())
    });
    let reply = quoted::find_reply(said)
        .filter(|&at| quoted::says_reply(&said[at..]))
        .map_or_else(|| said.rsplit(" : ").next().unwrap_or(said), |at| &said[at..]);
    let failed = phrase::answered(block::failed(address, reply), command);
    Some(Recipient {
        remote_mta: host,
        ..failed
    })
}
