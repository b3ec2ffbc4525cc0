//! Biglobe: Sendmail's section of recipients, then `----- Non-delivered information -----` with the reason
//! for all of them.

use super::label::head;
use super::{Format, sendmail};

/// The format.
pub const FORMAT: Format = Format {
    name: "biglobe",
    tell: |letter| head(letter.words(), 1000).contains("----- Non-delivered information -----"),
    read: sendmail::read,
};
