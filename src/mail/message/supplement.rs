//! Notifications (RFC 3464) that leave out what they are for: recipients without an address, or without
//! what was said. Where the words of the same message tell, they fill the gaps; what a field says stands.

use crate::mail::address::{Address, AddressKey, LocalPart};
use crate::mail::dsn::{Diagnostic, Recipient, Report};
use crate::mail::formats;
use crate::mail::letter::Letter;
use std::collections::HashMap;

/// Fills the gaps of a report from the words beside it.
pub(super) fn supplement(report: &mut Report, letter: &Letter<'_>) {
    let gap = |r: &Recipient| r.final_recipient.is_none() || says_nothing(r.diagnostic.as_ref());
    if !report.recipients.is_empty() && !report.recipients.iter().any(gap) {
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
    let alone = match (&*report.recipients, &*told.recipients) {
        ([_], [other]) => Some(other),
        _ => None,
    };
    let key = |address: &Address| address.key(LocalPart::Fold);
    let others = told
        .recipients
        .iter()
        .filter_map(|r| Some((key(r.final_recipient.as_ref()?), r)));
    let others: HashMap<AddressKey, &Recipient> = others.collect();
    for recipient in report
        .recipients
        .iter_mut()
        .filter(|r| says_nothing(r.diagnostic.as_ref()))
    {
        let same = recipient
            .final_recipient
            .as_ref()
            .and_then(|a| others.get(&key(a)).copied());
        if let Some(other) = same.or(alone) {
            fill(recipient, other);
        }
    }
}

fn fill(recipient: &mut Recipient, other: &Recipient) {
    if !says_nothing(other.diagnostic.as_ref()) {
        recipient.diagnostic.clone_from(&other.diagnostic);
        recipient.command = recipient.command.take().or_else(|| other.command.clone());
    }
    recipient.action = recipient.action.or(other.action);
    recipient.status = recipient.status.or(other.status);
    recipient.remote_mta = recipient.remote_mta.take().or_else(|| other.remote_mta.clone());
}

/// Whether a diagnostic says nothing that its numbers do not: it is missing, or nothing but codes, or one of
/// the phrases that reporters put where they know nothing.
fn says_nothing(diagnostic: Option<&Diagnostic>) -> bool {
    const PHRASES: [&str; 6] = [
        "undefined status",
        "unknown",
        "none",
        "n/a",
        "other undefined status",
        "permanent failure: other undefined status",
    ];
    let Some(diagnostic) = diagnostic else {
        return true;
    };
    let text = diagnostic.reply().text;
    let text = text.trim_matches(|c: char| !c.is_alphanumeric());
    !text.contains(char::is_alphabetic) || PHRASES.iter().any(|phrase| text.eq_ignore_ascii_case(phrase))
}
