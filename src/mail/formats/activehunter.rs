//! Active!hunter (TransWARE): Sendmail's sections, its recipients behind `>>>`.

use super::{Format, sendmail};

/// The format.
pub const FORMAT: Format = Format {
    name: "activehunter",
    tell: |letter| {
        let kind = letter.field("Content-Type").unwrap_or_default();
        kind.contains("_Active!Hunter_") || letter.has("X-AHMAILID") || letter.has("X-AhMailID")
    },
    read: sendmail::read,
};
