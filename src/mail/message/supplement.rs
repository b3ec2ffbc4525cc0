//! Notifications (RFC 3464) that leave out what they are for: recipients without an address, without what
//! was said, or with its first line only; and the SMTP command that was answered, for which there is no
//! field. Where the words of the same message tell, they fill the gaps; what a field says stands.

use crate::mail::address::{Address, LocalPart};
use crate::mail::dsn::{Diagnostic, Recipient, Report};
use crate::mail::formats;
use crate::mail::letter::Letter;

/// Fills the gaps of a report from the words beside it.
pub(super) fn supplement(report: &mut Report, letter: &Letter<'_>) {
    report.recipients.iter_mut().for_each(name_original);
    if !report.recipients.is_empty() && !report.recipients.iter().any(has_gap) {
        return;
    }
    let Some((_, told)) = formats::read(letter) else {
        return;
    };
    report.recipients.retain(|r| r.final_recipient.is_some());
    if report.recipients.is_empty() {
        report.recipients = told.recipients;
        return;
    }
    let alone = report.recipients.len() == 1 && told.recipients.len() == 1;
    for recipient in report.recipients.iter_mut().filter(|r| has_gap(r)) {
        let other = told.recipients.iter().find(|other| is_same(recipient, other));
        if let Some(other) = other.or_else(|| told.recipients.first().filter(|_| alone)) {
            fill(recipient, other);
        }
    }
}

/// Names the recipient by the address mailed where no other is given, or only one without a domain name,
/// as of a mail store behind a gateway (`user@store`).
fn name_original(recipient: &mut Recipient) {
    let named = recipient.final_recipient.as_ref();
    let is_local = named.is_none_or(|a| !a.domain().contains(['.', ':', '[']));
    let original = recipient.original_recipient.as_ref();
    if is_local && original.is_some_and(|a| a.domain().contains('.')) {
        recipient
            .final_recipient
            .clone_from(&recipient.original_recipient);
    }
}

/// Whether the words may tell more of a recipient.
fn has_gap(recipient: &Recipient) -> bool {
    recipient.final_recipient.is_none() || recipient.command.is_none() || says_nothing(&recipient.diagnostic)
}

/// Whether a diagnostic is none: empty, or a bare number such as a program's exit code.
fn says_nothing(diagnostic: &Option<Diagnostic>) -> bool {
    let text = diagnostic.as_ref().map_or("", |d| d.text.trim());
    text.len() <= 3 && text.bytes().all(|b| b.is_ascii_digit())
}

/// Whether both are about one recipient, by any of their addresses.
fn is_same(one: &Recipient, other: &Recipient) -> bool {
    let key = |address: &Option<Address>| address.as_ref().map(|a| a.key(LocalPart::Fold));
    let ours = [key(&one.final_recipient), key(&one.original_recipient)];
    let theirs = [key(&other.final_recipient), key(&other.original_recipient)];
    ours.iter()
        .flatten()
        .any(|k| theirs.iter().flatten().any(|t| t == k))
}

/// Fills the gaps about one recipient.
fn fill(recipient: &mut Recipient, told: &Recipient) {
    let text = |r: &Recipient| r.diagnostic.as_ref().map(|d| d.text.clone()).unwrap_or_default();
    let (given, words) = (text(recipient), text(told));
    if says_nothing(&recipient.diagnostic) && !words.is_empty() {
        recipient.diagnostic.clone_from(&told.diagnostic);
    } else if words.len() > given.len() && words.starts_with(given.as_str()) {
        // The field holds the first line of a reply only.
        if let Some(diagnostic) = &mut recipient.diagnostic {
            diagnostic.text = words;
        }
    }
    let code = |r: &Recipient| r.diagnostic.as_ref().and_then(|d| d.reply().code);
    if recipient.command.is_none() && code(recipient) == code(told) {
        recipient.command.clone_from(&told.command);
    }
    recipient.action = recipient.action.or(told.action);
    recipient.status = recipient.status.or(told.status);
    if recipient.remote_mta.is_none() {
        recipient.remote_mta.clone_from(&told.remote_mta);
    }
}
