//! Active!hunter (TransWARE): Sendmail's sections, its recipients behind `>>>`.

use super::label::boundary;
use super::{Format, sendmail};

/// The format.
pub const FORMAT: Format = Format {
    name: "activehunter",
    tell: |letter| boundary(letter).contains("_Active!Hunter_") || letter.has("X-AhMailID"),
    read: sendmail::read,
};
