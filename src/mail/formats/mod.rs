//! The ways in which mail systems report without RFC 3464, one a file.
//!
//! Each has a name, a *tell* that costs next to nothing (a header field, the sender, a phrase), and a
//! reader that lowers it to a [`Report`] like that of RFC 3464, so that everything after knows one form
//! only. They are asked in the order of [`FORMATS`]; the first that finds a recipient wins. A reader that
//! finds none declines, and never guesses.

pub mod amazon_ses;
pub mod amazon_workmail;
pub mod biglobe;
pub mod domino;
pub mod exchange_2003;
pub mod exchange_2007;
pub mod gmail;
pub mod google_groups;
pub mod ironport;
pub mod kddi;
pub mod mail_ru;
pub mod messagelabs;
pub mod momentum;
pub mod postfix;
pub mod qmail;
pub mod sendgrid;
pub mod smail;
pub mod smtpsvc;
pub mod united_internet;
pub mod verizon;
pub mod yahoo;
pub mod zoho;

mod block;
mod phrase;

use super::dsn::Report;
use super::letter::Letter;
pub use phrase::peel_recipient;

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
pub const FORMATS: &[Format] = &[
    qmail::FORMAT,
    yahoo::FORMAT,
    google_groups::FORMAT,
    gmail::FORMAT,
    mail_ru::FORMAT,
    united_internet::FORMAT,
    zoho::FORMAT,
    amazon_workmail::FORMAT,
    sendgrid::FORMAT,
    ironport::FORMAT,
    messagelabs::FORMAT,
    momentum::FORMAT,
    domino::DOMINO,
    domino::NOTES,
    kddi::KDDI,
    kddi::EZWEB,
    biglobe::FORMAT,
    verizon::FORMAT,
    smail::FORMAT,
    exchange_2007::FORMAT,
    exchange_2003::FORMAT,
    smtpsvc::FORMAT,
];

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
