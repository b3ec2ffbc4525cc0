//! OpenSMTPD's notices (bounce.c): `This is the MAILER-DAEMON, please DO NOT REPLY to this email.`, then a
//! line `address: reason` for each recipient. Its delivery status holds no `Diagnostic-Code`.

use super::Format;
use super::block;
use super::label::has;
use crate::mail::dsn::{Action, Recipient, Report};
use crate::mail::letter::Letter;

/// The format.
pub const FORMAT: Format = Format {
    name: "opensmtpd",
    tell: |letter| letter.says_early(200, "This is the MAILER-DAEMON, please DO NOT REPLY"),
    read,
};

fn read(letter: &Letter<'_>) -> Option<Report> {
    let words = letter.words();
    let action = if has(words, "A message is delayed for more than") {
        Action::Delayed
    } else if has(words, "successfully delivered") {
        Action::Delivered
    } else {
        Action::Failed
    };
    let recipients = words.lines().filter_map(|line| {
        // Its own words are indented.
        let (address, reason) = line.split_once(": ")?;
        let address = (!line.starts_with([' ', '\t'])).then(|| block::mailbox(address))??;
        Some(Recipient {
            action: Some(action),
            ..block::failed(address, reason)
        })
    });
    Some(Report {
        recipients: recipients.collect(),
        ..Report::default()
    })
}
