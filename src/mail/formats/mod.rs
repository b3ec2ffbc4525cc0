//! The ways in which mail systems report without RFC 3464, one a file.
//!
//! Each has a name, a *tell* that costs next to nothing (a header field, the sender, a phrase), and a
//! reader that lowers it to a [`Report`] like that of RFC 3464, so that everything after knows one form
//! only. They are asked in the order of [`FORMATS`]; the first that finds a recipient wins. A reader that
//! finds none declines, and never guesses.

pub mod generic;
pub mod postfix;
pub mod qmail;

mod block;

use super::dsn::Report;
use super::letter::Letter;

/// One way of reporting.
#[derive(Debug, Clone, Copy)]
pub struct Format {
    /// Its name in output: the software or service that writes so.
    pub name: &'static str,
    /// Whether a message may be of this format. Asked of every message, so it looks at little.
    pub tell: fn(&Letter<'_>) -> bool,
    /// Reads it; `None` where it is of another format after all.
    pub read: fn(&Letter<'_>) -> Option<Report>,
}

/// All of them, the most particular first.
pub const FORMATS: &[Format] = &[qmail::FORMAT, generic::FORMAT];

/// Reads a message in the first format that finds a recipient in it.
#[must_use]
pub fn read(letter: &Letter<'_>) -> Option<(&'static str, Report)> {
    FORMATS
        .iter()
        .filter(|format| (format.tell)(letter))
        .find_map(|format| {
            let report = (format.read)(letter)?;
            (!report.recipients.is_empty()).then_some((format.name, report))
        })
}
