//! Whether a mail of a system that we do not know is a notice at all. In doubt it is none: what is read here decides
//! over people's addresses, and a log line quoted in an alert names some too.

use super::answer::reply_in;
use super::wording;
use crate::mail::letter::{Letter, is_header_only, is_type};

/// Whether a mail seems to tell its sender of mail that was not delivered.
pub(super) fn is_notice(letter: &Letter<'_>) -> bool {
    let names_failed = letter.has("X-Failed-Recipients");
    if !names_failed && !letter.is_from_daemon() {
        return false;
    }
    let (subject, opening) = (letter.subject(), wording::opening(letter.words()));
    if !wording::fails(subject) && !wording::fails(opening) {
        return false;
    }
    if names_failed || returns_mail(letter) {
        return true;
    }
    if wording::is_talk_or_round_up(subject) || letter.has("List-Unsubscribe") {
        return false;
    }
    // Nobody as its sender is a sign of every automatic mail; who calls itself a mail system is more likely one.
    let surely = || {
        let subject_says = wording::fails(subject) && wording::tells_why(subject);
        subject_says || wording::fails_surely(subject) || wording::fails_surely(opening)
    };
    wording::speaks_to_sender(opening)
        || (letter.is_from_daemon_by_name() && (surely() || begins_with_refusal(opening)))
}

/// Whether a notice is as terse as one can be: its first line is the reply about an address.
fn begins_with_refusal(opening: &str) -> bool {
    let first = opening.trim_start().lines().next().unwrap_or_default();
    first.contains('@') && reply_in(first) == Some(0)
}

/// Whether the mail that it is about comes back with it, or it is declared to be a report.
fn returns_mail(letter: &Letter<'_>) -> bool {
    is_type(letter.message().root_part(), "multipart", "report")
        || letter.returned().is_some()
        || letter
            .parts()
            .any(|part| part.is_message() || is_header_only(part))
}
