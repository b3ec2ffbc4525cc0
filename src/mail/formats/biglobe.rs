//! Biglobe: Sendmail's section of recipients, then `----- Non-delivered information -----` with the reason
//! for all of them.

use super::{Format, sendmail};

/// The format.
pub const FORMAT: Format = Format {
    name: "biglobe",
    tell: |letter| letter.says_early(1000, "----- Non-delivered information -----"),
    read: sendmail::read,
};
