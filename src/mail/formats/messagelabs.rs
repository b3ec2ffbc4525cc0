//! Symantec Email Security.cloud (MessageLabs): `This is the mail delivery agent at messagelabs.com.`, then
//! qmail's paragraphs `<ann@x.test>:`, with `IP does not like recipient.` and `Remote host said: 550 …`.

use super::{Format, block};
use crate::mail::address::Address;
use crate::mail::dsn::{Recipient, Report};
use crate::mail::letter::Letter;

/// The format.
pub const FORMAT: Format = Format {
    name: "messagelabs",
    tell: |letter| letter.is_from_daemon() && letter.says_early(512, "This is the mail delivery agent at "),
    read,
};

fn read(letter: &Letter<'_>) -> Option<Report> {
    let recipients = letter.words().split("\n\n").filter_map(recipient);
    Some(Report {
        recipients: recipients.collect(),
        ..Report::default()
    })
}

fn recipient(paragraph: &str) -> Option<Recipient> {
    let (address, said) = paragraph.trim_start().strip_prefix('<')?.split_once(">:")?;
    let address = Address::parse(address).ok()?;
    let Some((frame, reply)) = said.split_once("Remote host said:") else {
        return Some(block::failed(address, said));
    };
    let command = ["recipient", "sender", "message"]
        .iter()
        .find(|who| frame.contains(**who));
    let command = command.map(|who| match *who {
        "recipient" => "RCPT TO",
        "sender" => "MAIL FROM",
        _ => "end of DATA",
    });
    Some(super::phrase::answered(block::failed(address, reply), command))
}
