//! MailEnable, and others that write so: `Recipient: [SMTP:address]` and `Reason: reason` for each
//! recipient.

use super::Format;
use super::block;
use super::label::value_of;
use super::quoted::reply_in;
use crate::mail::dsn::{Recipient, Report};
use crate::mail::letter::Letter;

/// The format.
pub const FORMAT: Format = Format {
    name: "mailenable",
    tell: |letter| letter.says_early(1000, "Recipient: [SMTP:"),
    read,
};

fn read(letter: &Letter<'_>) -> Option<Report> {
    let mut recipients: Vec<Recipient> = Vec::new();
    for line in letter.words().lines() {
        if let Some(address) = value_of(line, "Recipient: [SMTP:") {
            recipients.extend(block::mailbox(address).map(|a| block::failed(a, "")));
        } else if let Some(reason) = value_of(line, "Reason:") {
            let said = reply_in(reason).unwrap_or(reason);
            if let Some(last) = recipients.last_mut()
                && let Some(address) = last.final_recipient.clone()
            {
                *last = block::failed(address, said);
            }
        }
    }
    Some(Report {
        recipients,
        ..Report::default()
    })
}
