//! A gateway that does not tell its name: `---The following addresses had delivery errors---`, then
//! `address [reason]`.

use super::label::head;
use super::{Format, sendmail};

/// The format.
pub const FORMAT: Format = Format {
    name: "x1",
    tell: |letter| head(letter.words(), 600).contains("---The following addresses had delivery errors---"),
    read: sendmail::read,
};
