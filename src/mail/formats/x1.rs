//! A gateway that does not tell its name: `---The following addresses had delivery errors---`, then
//! `address [reason]`.

use super::{Format, sendmail};

/// The format.
pub const FORMAT: Format = Format {
    name: "x1",
    tell: |letter| letter.says_early(600, "---The following addresses had delivery errors---"),
    read: sendmail::read,
};
