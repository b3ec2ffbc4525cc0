//! Vendor formats, one a file.

pub mod postfix;
