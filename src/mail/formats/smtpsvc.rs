//! Microsoft's SMTP service: IIS, Exchange 2000 and 2003, and Outlook.com (Hotmail). `Delivery to the following
//! recipients failed.` or `… has been delayed.`, and the addresses. What was said stands only in the delivery
//! status (RFC 3464); without one, it is known that mail failed, and nothing more.

use super::{Format, block, phrase};
use crate::mail::dsn::Report;
use crate::mail::letter::Letter;

/// The format.
pub const FORMAT: Format = Format {
    name: "smtpsvc",
    tell: |letter| {
        let mut phrases = [
            "Delivery to the following recipients ",
            "Unable to deliver message to the following recipients",
        ]
        .iter();
        letter.is_from_daemon() && phrases.any(|phrase| letter.says_early(1024, phrase))
    },
    read,
};

fn read(letter: &Letter<'_>) -> Option<Report> {
    let words = letter.words();
    let late = words.contains("has been delayed");
    let addresses = words
        .lines()
        .filter(|line| line.starts_with([' ', '\t']))
        .filter_map(phrase::lone_mailbox);
    let because = words
        .split_once("due to ")
        .map(|(_, why)| why.split("\n\n").next().unwrap_or(why));
    let said = because.unwrap_or_default();
    let recipients = addresses.map(|address| {
        if late {
            phrase::delayed(address, said)
        } else {
            block::failed(address, said)
        }
    });
    Some(Report {
        recipients: recipients.collect(),
        ..Report::default()
    })
}
