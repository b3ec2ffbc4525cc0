//! McAfee gateways: `--- The following addresses had delivery problems ---`, then `<address>   (reason)`.

use super::{Format, sendmail};

/// The format.
pub const FORMAT: Format = Format {
    name: "mcafee",
    tell: |letter| {
        let words = letter.words().trim_start();
        words.starts_with("--- The following addresses had delivery problems ---")
    },
    read: sendmail::read,
};
