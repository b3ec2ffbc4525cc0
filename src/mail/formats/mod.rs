//! The ways in which mail systems report without RFC 3464, one a file.
//!
//! Each has a name, a *tell* that costs next to nothing (a header field, the sender, a phrase), and a
//! reader that lowers it to a [`Report`] like that of RFC 3464, so that everything after knows one form
//! only. They are asked in the order of [`FORMATS`]; the first that finds a recipient wins. A reader that
//! finds none declines, and never guesses.

pub mod activehunter;
pub mod amazon_ses;
pub mod amazon_workmail;
pub mod barracuda;
pub mod biglobe;
pub mod communigate;
pub mod courier;
pub mod dma;
pub mod domino;
pub mod dovecot;
pub mod exchange_2003;
pub mod exchange_2007;
pub mod exim;
pub mod fml;
pub mod generic;
pub mod gmail;
pub mod google_groups;
pub mod groupwise;
pub mod hmailserver;
pub mod imail;
pub mod interscan;
pub mod ironport;
pub mod james;
pub mod kddi;
pub mod mail_ru;
pub mod mailenable;
pub mod mailfoundry;
pub mod mailman;
pub mod mailmarshal;
pub mod mcafee;
pub mod mdaemon;
pub mod messagelabs;
pub mod messagingserver;
pub mod mfilter;
pub mod momentum;
pub mod mtastatus;
pub mod opensmtpd;
pub mod postfix;
pub mod postfix_notice;
pub mod qmail;
pub mod sendgrid;
pub mod sendmail;
pub mod smail;
pub mod smartermail;
pub mod smtpsvc;
pub mod surfcontrol;
pub mod united_internet;
pub mod verizon;
pub mod x1;
pub mod x3;
pub mod x6;
pub mod yahoo;
pub mod zoho;

mod block;
mod label;
mod phrase;
mod quoted;
mod session;

use super::dsn::Report;
use super::field;
use super::letter::Letter;
pub use generic::speaks_of_failure;
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
    postfix_notice::FORMAT,
    postfix_notice::SESSION,
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
    verizon::FORMAT,
    smail::FORMAT,
    exchange_2007::FORMAT,
    exchange_2003::FORMAT,
    smtpsvc::FORMAT,
    activehunter::FORMAT,
    barracuda::FORMAT,
    biglobe::FORMAT,
    mcafee::FORMAT,
    x1::FORMAT,
    imail::FORMAT,
    interscan::FORMAT,
    mfilter::FORMAT,
    fml::FORMAT,
    james::FORMAT,
    mailfoundry::FORMAT,
    mailmarshal::FORMAT,
    surfcontrol::FORMAT,
    messagingserver::FORMAT,
    opensmtpd::FORMAT,
    dma::FORMAT,
    courier::FORMAT,
    dovecot::FORMAT,
    x3::FORMAT,
    x6::FORMAT,
    mdaemon::FORMAT,
    hmailserver::FORMAT,
    groupwise::FORMAT,
    communigate::FORMAT,
    mailenable::FORMAT,
    smartermail::FORMAT,
    mtastatus::FORMAT,
    mailman::FORMAT,
    exim::FORMAT,
    qmail::FORMAT,
    sendmail::FORMAT,
    generic::FORMAT,
];

/// Reads a message in the first format that finds a recipient in it.
#[must_use]
pub fn read(letter: &Letter<'_>) -> Option<(&'static str, Report)> {
    first_of(FORMATS, letter)
}

/// As [`read`], but for what the last reader ([`generic`]) finds: that is likely, not certain.
#[must_use]
pub fn read_surely(letter: &Letter<'_>) -> Option<(&'static str, Report)> {
    let sure = FORMATS.split_last().map_or(FORMATS, |(_, sure)| sure);
    first_of(sure, letter)
}

fn first_of(formats: &[Format], letter: &Letter<'_>) -> Option<(&'static str, Report)> {
    if is_talk(letter) {
        return None;
    }
    let by_person = std::cell::LazyCell::new(|| label::is_by_person(letter));
    formats
        .iter()
        .filter(|format| (format.tell)(letter))
        .filter(|format| !(TOLD_BY_WORDS.contains(&format.name) && *by_person))
        .find_map(|format| {
            let mut report = (format.read)(letter)?;
            clean(&mut report);
            doubt(letter, format.name, &mut report);
            (!report.recipients.is_empty()).then_some((format.name, report))
        })
}

/// Formats that only words tell, which people paste below their own when they ask about a notice.
const TOLD_BY_WORDS: [&str; 22] = [
    "barracuda",
    "biglobe",
    "communigate",
    "courier",
    "dma",
    "dovecot",
    "groupwise",
    "hmailserver",
    "james",
    "mailenable",
    "mailfoundry",
    "mailmarshal",
    "mcafee",
    "mdaemon",
    "messagingserver",
    "mtastatus",
    "opensmtpd",
    "smartermail",
    "surfcontrol",
    "x1",
    "x3",
    "x6",
];

/// Whether people seem to write to each other, perhaps about a bounce that they quote: an answer or a
/// forwarded message that no mail system sent.
fn is_talk(letter: &Letter<'_>) -> bool {
    const PREFIXES: [&str; 12] = [
        "re:", "re :", "fw:", "fwd:", "aw:", "wg:", "tr:", "rv:", "sv:", "vs:", "antw:", "odp:",
    ];
    let answers = || PREFIXES.iter().any(|prefix| letter.subject().starts_with(prefix));
    (letter.has("In-Reply-To") || answers()) && !letter.is_from_daemon()
}

/// Words name many addresses. Who got the notice has a mailbox: that this very one fails is doubtful. So are
/// words that anybody may have pasted, where nothing else says that a mail system wrote.
fn doubt(letter: &Letter<'_>, name: &str, report: &mut Report) {
    let by_anybody = TOLD_BY_WORDS.contains(&name) && !letter.is_from_daemon();
    for recipient in &mut report.recipients {
        let of_notice = recipient.final_recipient.as_ref();
        recipient.doubtful |=
            by_anybody || of_notice.is_some_and(|address| label::is_addressee(letter, address));
    }
}

/// Words may hold anything: no control character of theirs passes on, and what is no host name is no host.
fn clean(report: &mut Report) {
    let is_host = |host: &String| {
        let octets = || host.bytes();
        !host.is_empty()
            && host.len() <= 255
            && octets().all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b))
    };
    report.reporting_mta = report.reporting_mta.take().filter(is_host);
    for recipient in &mut report.recipients {
        recipient.remote_mta = recipient.remote_mta.take().filter(is_host);
        if let Some(diagnostic) = &mut recipient.diagnostic
            && diagnostic.text.contains(char::is_control)
        {
            diagnostic.text = field::clean(diagnostic.text.as_bytes()).into_owned();
        }
    }
}
