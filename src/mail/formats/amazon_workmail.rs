//! Amazon WorkMail: the delivery status (RFC 3464) stands as plain words under `Technical report:`, in a
//! message without a part of its own for it.

use super::{Format, phrase};
use crate::mail::dsn::{self, Report};
use crate::mail::letter::Letter;

/// The format.
pub const FORMAT: Format = Format {
    name: "amazon-workmail",
    tell: |letter| letter.is_from_daemon() && letter.says("Technical report:"),
    read,
};

fn read(letter: &Letter<'_>) -> Option<Report> {
    let (_, fields) = letter.words().split_once("Technical report:")?;
    let mut report = dsn::parse(fields.as_bytes());
    report.recipients.retain(|r| r.final_recipient.is_some());
    report.recipients.iter_mut().for_each(phrase::peel_recipient);
    Some(report)
}
