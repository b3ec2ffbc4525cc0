//! Notifications (RFC 3464) that leave out what they are for: recipients without an address, without what
//! was said or done, or with its first line only; and the SMTP command that was answered, for which there
//! is no field. Where the words of the same message tell, they fill the gaps; what a field says stands. A
//! reply that a gateway has framed in words of its own is bared.

use crate::mail::address::{AddressKey, LocalPart};
use crate::mail::dsn::{Action, Diagnostic, Recipient, Report};
use crate::mail::formats;
use crate::mail::letter::Letter;
use crate::mail::reply::ReplyCode;
use crate::mail::status::Class;
use std::collections::HashMap;

/// Fills the gaps of a report from the words beside it.
pub(super) fn supplement(report: &mut Report, letter: &Letter<'_>) {
    report.recipients.iter_mut().for_each(name_original);
    report.recipients.iter_mut().for_each(drop_success);
    report.recipients.iter_mut().for_each(formats::peel_recipient);
    if let [recipient] = &mut *report.recipients {
        recipient.doubtful |= is_contradicted(recipient, letter);
    }
    let lacks_command = |report: &Report| report.recipients.iter().any(|r| r.command.is_none());
    let told = if report.recipients.is_empty() || report.recipients.iter().any(lacks_more) {
        formats::read(letter)
    } else if lacks_command(report) && tells_commands(letter) {
        // The last reader tells no command, and no reason where there is one.
        formats::read_surely(letter)
    } else {
        None
    };
    let Some((format, told)) = told else {
        return;
    };
    report.recipients.retain(|r| r.final_recipient.is_some());
    if report.recipients.is_empty() {
        report.recipients = told.recipients;
        return;
    }
    let told_of = by_address(&told.recipients);
    let alone = report.recipients.len() == 1 && told.recipients.len() == 1;
    for recipient in report.recipients.iter_mut().filter(|r| has_gap(r)) {
        let same = keys(recipient).find_map(|key| told_of(&key));
        let Some(other) = same.or(alone.then_some(0)) else {
            continue;
        };
        // What the last reader finds is likely, not certain: better than nothing, and no more.
        let guessed = format == formats::generic::FORMAT.name;
        if !guessed || recipient.diagnostic.as_ref().is_none_or(is_silent) {
            fill(recipient, &told.recipients[other]);
        }
    }
}

/// Whether the words beside a report speak of a full mailbox where its field, which says something, does not:
/// the one passes and the other does not, and who knows which was meant.
fn is_contradicted(recipient: &Recipient, letter: &Letter<'_>) -> bool {
    const FULL: [&str; 7] = [
        "disk space",
        "quota",
        "Quota",
        "ailbox is full",
        "ailbox full",
        "ailbox has exceeded",
        "ailbox exceeded",
    ];
    recipient.diagnostic.as_ref().is_some_and(|field| {
        letter.says_any(&FULL) && !is_silent(field) && !FULL.iter().any(|phrase| field.text.contains(phrase))
    })
}

/// Whether the words may tell to what a server answered: each reader of formats knows it by one of these.
fn tells_commands(letter: &Letter<'_>) -> bool {
    const SIGNS: [&str; 14] = [
        "in reply to",
        ">>> ",
        "RCPT",
        "Rcpt",
        "rcpt",
        "MAIL",
        "Mail From",
        "MAIL From",
        "mail from",
        "DATA",
        "after ",
        "end of data",
        "rejected",
        "refused to talk to me",
    ];
    letter.says_any(&SIGNS)
}

/// As many recipients as are looked through one by one.
const FEW: usize = 4;

/// Tells where in a list an address is spoken of first, by any of its recipient's addresses.
fn by_address(recipients: &[Recipient]) -> impl Fn(&AddressKey) -> Option<usize> {
    let spoken_of = recipients.iter().enumerate();
    let spoken_of = spoken_of.flat_map(|(at, recipient)| keys(recipient).map(move |key| (key, at)));
    let (mut few, mut index) = (Vec::new(), HashMap::new());
    if recipients.len() <= FEW {
        few.extend(spoken_of);
    } else {
        spoken_of.for_each(|(key, at)| {
            index.entry(key).or_insert(at);
        });
    }
    move |key| {
        let found = few.iter().find(|(known, _)| known == key).map(|&(_, at)| at);
        found.or_else(|| index.get(key).copied())
    }
}

fn keys(recipient: &Recipient) -> impl Iterator<Item = AddressKey> {
    let addresses = [&recipient.final_recipient, &recipient.original_recipient];
    addresses.into_iter().flatten().map(|a| a.key(LocalPart::Fold))
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

/// A success says nothing of a failure: some reporters put what their own server answered last (`250 OK`) in the
/// fields of a recipient that another one refused.
fn drop_success(recipient: &mut Recipient) {
    if !matches!(recipient.action, Some(Action::Failed | Action::Delayed)) {
        return;
    }
    let code = |diagnostic: &Diagnostic| diagnostic.reply().code;
    recipient.diagnostic = recipient
        .diagnostic
        .take()
        .filter(|diagnostic| !code(diagnostic).is_some_and(ReplyCode::is_success));
    recipient.status = recipient.status.filter(|status| status.class() != Class::Success);
}

/// Whether the words may tell more of a recipient.
fn has_gap(recipient: &Recipient) -> bool {
    recipient.command.is_none() || lacks_more(recipient)
}

/// Whether more is missing than the command, which hardly any report tells.
fn lacks_more(recipient: &Recipient) -> bool {
    recipient.final_recipient.is_none()
        || (recipient.action.is_none() && recipient.status.is_none())
        || recipient.diagnostic.as_ref().is_none_or(is_silent)
}

/// Whether a diagnostic says nothing that its numbers do not: nothing but codes (`smtp; 550`), a program's exit
/// code, or one of the phrases that reporters put where they know nothing.
fn is_silent(diagnostic: &Diagnostic) -> bool {
    const PHRASES: [&str; 6] = [
        "undefined status",
        "unknown",
        "none",
        "n/a",
        "other undefined status",
        "permanent failure: other undefined status",
    ];
    // What says something says it in more than the longest of these and a code.
    if diagnostic.text.len() > 64 {
        return false;
    }
    let text = diagnostic.reply().text;
    let text = text.trim_matches(|c: char| !c.is_alphanumeric());
    !text.contains(char::is_alphabetic) || PHRASES.iter().any(|phrase| text.eq_ignore_ascii_case(phrase))
}

/// Fills the gaps about one recipient.
fn fill(recipient: &mut Recipient, told: &Recipient) {
    if let Some(words) = &told.diagnostic {
        recipient.diagnostic = Some(match recipient.diagnostic.take() {
            Some(field) => joined(field, words),
            None => words.clone(),
        });
    }
    let code = |r: &Recipient| r.diagnostic.as_ref().and_then(|d| d.reply().code);
    recipient.action = recipient.action.or(told.action);
    recipient.status = recipient.status.or(told.status);
    // Who answered what is told of this very reply, not of another one in the words.
    if code(recipient) != code(told) {
        return;
    }
    if recipient.command.is_none() {
        recipient.command.clone_from(&told.command);
    }
    if recipient.remote_mta.is_none() && code(told).is_some() {
        recipient.remote_mta.clone_from(&told.remote_mta);
    }
}

/// What the field says; where that is the first line of what the words say, all of it; and where it is
/// nothing but codes, with the words after them, unless these have codes of their own.
fn joined(field: Diagnostic, words: &Diagnostic) -> Diagnostic {
    let (given, told) = (field.text.trim(), words.text.as_str());
    if !is_silent(&field) {
        let begun = told.len() > given.len() && told.starts_with(given);
        return if begun {
            Diagnostic {
                text: words.text.clone(),
                ..field
            }
        } else {
            field
        };
    }
    let (code, reply) = (field.reply().code, words.reply());
    let repeats = reply.code.is_some() || (code.is_none() && reply.status.is_some());
    // A number that is no reply's code is a program's exit code.
    let means_nothing = code.is_none() && field.reply().status.is_none();
    if told.is_empty() {
        return field;
    }
    if means_nothing || repeats {
        return words.clone();
    }
    let text = format!("{given} {told}");
    Diagnostic { text, ..field }
}
