//! Messages that report on nobody's delivery: automatic answers (RFC 3834), read receipts (RFC 8098), reports
//! of DMARC (RFC 7489) and of TLS (RFC 8460), and what people write, bounces that they forward or discuss
//! included. They act on nothing.
//!
//! [`certain`] is asked before any reader of bounces, so that none takes an answer or a forwarded bounce for
//! one; it says nothing of mail that a daemon may have sent, whatever else it carries: Exim marks its bounces
//! as `auto-replied`. [`rest`] is what remains when no reader found a recipient.

mod auto_reply;
mod closed;

use super::{Answer, Kind};
use crate::mail::formats;
use crate::mail::letter::{Letter, is_type};
use mail_parser::MimeHeaders;

/// The standard of read receipts.
const RECEIPT: &str = "rfc8098";

/// What such a message is.
pub(super) struct Other {
    pub(super) kind: Kind,
    pub(super) format: Option<&'static str>,
    pub(super) answer: Option<Answer>,
}

/// What a message certainly is; `None` where it may be a bounce.
pub(super) fn certain(letter: &Letter<'_>) -> Option<Other> {
    let report = other_report(letter);
    // Dovecot returns what a user's rules reject as a receipt (RFC 5429): a failure, in the words beside it.
    let rejects = || is_from_machine(letter) && letter.words().contains("rejected");
    if let Some(format) = report.filter(|&format| format != RECEIPT || !rejects()) {
        return Some(none(Some(format)));
    }
    if is_from_machine(letter) {
        if is_passed_on(letter) {
            return Some(none(None));
        }
        // Postmasters go on holiday too. What a mail system returns, it returns whatever its subject says.
        let returns = || {
            letter.has("X-Failed-Recipients")
                || letter.returned().is_some()
                || letter.parts().any(|p| p.is_message())
        };
        let format = auto_reply::by_subject(letter).filter(|_| !returns());
        return format.map(|format| answered(letter, format));
    }
    if let Some(format) = auto_reply::tell(letter) {
        return Some(answered(letter, format));
    }
    (is_by_human(letter) || is_from_list(letter) || is_of_ticket(letter)).then(|| none(None))
}

/// What a message is that nobody else could read.
pub(super) fn rest(letter: &Letter<'_>) -> Other {
    match auto_reply::tell(letter) {
        Some(format) => answered(letter, format),
        None => none(other_report(letter)),
    }
}

/// How people's programs begin the subjects of what they pass on, and of what they answer.
const FORWARD: [&str; 16] = [
    "fwd:", "fw:", "wg:", "tr:", "rv:", "enc:", "i:", "doorst:", "vs:", "vb:", "vl:", "pd:", "转发", "轉寄",
    "轉發", "fyi:",
];
const ANSWER: [&str; 14] = [
    "re:", "re[", "aw:", "antw:", "sv:", "ref:", "rif:", "r:", "res:", "odp:", "ynt:", "答复", "回复", "回覆",
];

/// Whether somebody behind a mail system's name, a postmaster, passes on a notice or answers one. Systems that
/// take over the subject of the mail that they return may begin theirs so too, but then it speaks of other things.
fn is_passed_on(letter: &Letter<'_>) -> bool {
    let subject = letter.subject().trim_start();
    let mut marks = FORWARD.iter().chain(&ANSWER);
    let rest = marks.find_map(|mark| subject.strip_prefix(mark));
    let declared =
        || is_type(letter.message().root_part(), "multipart", "report") || letter.has("X-Failed-Recipients");
    rest.is_some_and(formats::speaks_of_failure) && !declared()
}

/// Whether a ticket system tells of a request, and perhaps repeats it: it may be about a bounce. A bounce that takes over
/// the subject of such mail says first what it is.
fn is_of_ticket(letter: &Letter<'_>) -> bool {
    const MARKS: [&str; 5] = ["[ticket", "ticket#", "ticket #", "[case ", "[request "];
    let subject = letter.subject().trim_start();
    let front = MARKS
        .iter()
        .find_map(|mark| subject.find(mark))
        .map(|at| &subject[..at]);
    let answers = || ANSWER.iter().any(|mark| subject.starts_with(mark));
    front.is_some_and(|front| answers() || !formats::speaks_of_failure(front))
}

/// Whether a person seems to forward or to answer something: a bounce that they pass on or discuss is theirs
/// to tell of.
pub(super) fn is_by_human(letter: &Letter<'_>) -> bool {
    if is_from_machine(letter) {
        return false;
    }
    let subject = letter.subject().trim_start();
    let begins = |marks: &[&str]| marks.iter().any(|mark| subject.starts_with(mark));
    begins(&FORWARD)
        || (begins(&ANSWER) && (letter.has("In-Reply-To") || letter.has("References")))
        || subject.starts_with("[fwd:")
}

/// Whether a mail system may have sent this: nobody as its sender, or a daemon's name in `From`, or no author
/// at all, or a field that only bounces have.
fn is_from_machine(letter: &Letter<'_>) -> bool {
    letter.is_from_daemon_by_name() || letter.has("X-Failed-Recipients")
}

/// Whether a list distributed this (RFC 2369, RFC 2919), on somebody's behalf: what list servers refuse they
/// say in mails of their own, some of them with such fields too.
fn is_from_list(letter: &Letter<'_>) -> bool {
    let distributed = letter.has("List-Id") && letter.has("List-Post");
    distributed && !letter.has("X-MLServer") && !letter.is_from_daemon()
}

/// The standard of a report that is about something else than a delivery.
fn other_report(letter: &Letter<'_>) -> Option<&'static str> {
    let root = letter.message().root_part();
    let kind = root.content_type().and_then(|t| t.attribute("report-type"));
    let is = |name: &str| kind.is_some_and(|k| k.eq_ignore_ascii_case(name));
    if is("disposition-notification")
        || letter
            .parts()
            .any(|p| is_type(p, "message", "disposition-notification"))
    {
        return Some(RECEIPT);
    }
    if is("tlsrpt") || letter.has("TLS-Report-Domain") {
        return Some("rfc8460");
    }
    // RFC 7489 §7.2.1.1: `Report Domain: x Submitter: y Report-ID: <z>`; many leave out the last.
    let subject = letter.subject().trim_start();
    (subject.starts_with("report domain:") && subject.contains("submitter:")).then_some("rfc7489")
}

fn none(format: Option<&'static str>) -> Other {
    Other {
        kind: Kind::None,
        format,
        answer: None,
    }
}

fn answered(letter: &Letter<'_>, format: &'static str) -> Other {
    let text = auto_reply::text(letter);
    Other {
        kind: Kind::AutoReply,
        format: Some(format),
        answer: Some(Answer {
            address: letter.author(),
            closed: closed::says(&text),
            text,
        }),
    }
}
