//! Notifications (RFC 3464) that leave out what they are for: recipients without an address, or without
//! what was said or done. Where the words of the same message tell, they fill the gaps; what a field says
//! stands. A reply that a gateway has framed in words of its own is bared.

use crate::mail::address::{Address, LocalPart};
use crate::mail::dsn::{Diagnostic, Recipient, Report};
use crate::mail::formats;
use crate::mail::letter::Letter;

/// Fills the gaps of a report from the words beside it.
pub(super) fn supplement(report: &mut Report, letter: &Letter<'_>) {
    report.recipients.iter_mut().for_each(formats::peel_recipient);
    let untold = |r: &Recipient| is_silent(r) || (r.action.is_none() && r.status.is_none());
    let gap = |r: &Recipient| r.final_recipient.is_none() || untold(r);
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
    let alone = report.recipients.len() == 1 && told.recipients.len() == 1;
    let key = |address: &Option<Address>| address.as_ref().map(|a| a.key(LocalPart::Fold));
    for recipient in report.recipients.iter_mut().filter(|r| untold(r)) {
        let same =
            |other: &&Recipient| alone || key(&other.final_recipient) == key(&recipient.final_recipient);
        if let Some(other) = told.recipients.iter().find(same) {
            recipient.diagnostic = joined(recipient.diagnostic.take(), other.diagnostic.as_ref());
            recipient.command.clone_from(&other.command);
            recipient.action = recipient.action.or(other.action);
            recipient.status = recipient.status.or(other.status);
            recipient.remote_mta = recipient.remote_mta.take().or_else(|| other.remote_mta.clone());
        }
    }
}

/// Whether nothing is said of a recipient, or nothing but codes: `Diagnostic-Code: smtp; 550`.
fn is_silent(recipient: &Recipient) -> bool {
    let said = recipient.diagnostic.as_ref();
    said.is_none_or(|said| !said.text.contains(|c: char| c.is_alphabetic()))
}

/// What the field says; where that is nothing but codes, with what the words say after them, unless these
/// have codes of their own.
fn joined(field: Option<Diagnostic>, words: Option<&Diagnostic>) -> Option<Diagnostic> {
    let (Some(field), Some(words)) = (field.clone(), words) else {
        return field.or_else(|| words.cloned());
    };
    if field.text.contains(|c: char| c.is_alphabetic()) {
        return Some(field);
    }
    let (code, reply) = (field.reply().code, words.reply());
    let repeats = reply.code.is_some() || (code.is_none() && reply.status.is_some());
    if field.text.is_empty() || repeats {
        return Some(words.clone());
    }
    Some(Diagnostic {
        text: format!("{} {}", field.text, words.text),
        ..field
    })
}
