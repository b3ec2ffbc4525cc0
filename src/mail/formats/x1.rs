//! A gateway that does not tell its name: `---The following addresses had delivery errors---`, then
//! `address [reason]`.

use super::label::{has, head};
use super::{Format, sendmail};

/// The format.
pub const FORMAT: Format = Format {
    name: "x1",
    tell: |letter| {
        has(
            head(letter.words(), 600),
            "---The following addresses had delivery errors---",
        )
    },
    read: sendmail::read,
};
