//! Exchange 5.5, 2000 and 2003: `did not reach the following recipient(s):`, then `ann@x.test on DATE`, a
//! sentence for people, and what the server has to say: `MSEXCH:IMS:ORG:SITE:HOST 0 (000C05A6) Unknown Recipient`
//! (5.5), or `<host.x.test #5.1.1 smtp;550 5.1.1 no>` (2000, 2003). The sentences come in the language of the
//! server, so recipients are told by their shape: an address, a word or two, and a date.
//!
//! Beside a delivery status (RFC 3464), which these servers write without a Diagnostic-Code, the reply in the
//! angle brackets is all there is.

use super::{Format, block, quoted};
use crate::mail::address::Address;
use crate::mail::dsn::{Recipient, Report};
use crate::mail::letter::Letter;
use crate::mail::status::EnhancedStatus;

/// The format.
pub const FORMAT: Format = Format {
    name: "exchange-2003",
    tell: |letter| {
        const PHRASES: [&str; 8] = [
            "MSEXCH:",
            "did not reach",
            "could not be reached",
            "cannot be reached",
            " #5.",
            " #4.",
            "<#5.",
            "<#4.",
        ];
        let of_exchange = || {
            letter.has("X-MS-Embedded-Report")
                || letter.has("X-DSNContext")
                || letter
                    .field("X-Mailer")
                    .is_some_and(|m| m.starts_with("Internet Mail Service"))
                || letter.field("X-MimeOLE").is_some_and(|m| m.contains("Exchange"))
        };
        letter.is_from_daemon() && (of_exchange() || letter.says_any(&PHRASES))
    },
    read,
};

fn read(letter: &Letter<'_>) -> Option<Report> {
    let mut found: Vec<(Address, String)> = Vec::new();
    for line in letter.words().lines() {
        if let Some(address) = dated_mailbox(line) {
            found.push((address, String::new()));
        } else if let Some((_, said)) = found.last_mut()
            && said.len() < 8192
        {
            said.push_str(line.trim());
            said.push('\n');
        }
    }
    let told = undelivered(letter);
    let recipients = found
        .into_iter()
        .filter_map(|(address, said)| recipient(address, &said, told));
    Some(Report {
        recipients: recipients.collect(),
        ..Report::default()
    })
}

/// `ann@x.test on Thu, 29 Apr 2010 00:00:00 +0000`, `'ann@x.test' am 29.04.2010 00:00`,
/// `Ann <ann@x.test> le 29/04/2010`.
fn dated_mailbox(line: &str) -> Option<Address> {
    let line = line.trim();
    let at = line.find('@')?;
    let end = line[at..].find([' ', '\t'])? + at;
    let (who, date) = line.split_at(end);
    let date = date.trim();
    let short = date.split_whitespace().count() <= 9 && date.len() <= 60;
    let digits = date.bytes().filter(u8::is_ascii_digit).count();
    let dated = short && (6..=24).contains(&digits) && date.contains([':', '/', '.', '-']);
    // A sentence may name an address too; it is no recipient's line unless nothing but a name precedes it.
    let named = who.split_whitespace().count() <= 5;
    (dated && named && !line.contains(['#', ';']))
        .then(|| block::address(who))
        .flatten()
}

/// Whether the notice says in so many words that mail did not arrive: delivery receipts have the same shape.
fn undelivered(letter: &Letter<'_>) -> bool {
    const PHRASES: [&str; 12] = [
        "did not reach",
        "could not be reached",
        "cannot be reached",
        "nicht erreicht",
        "n'a pas atteint",
        "n’a pas atteint",
        "no llegó",
        "no ha llegado",
        "non ha raggiunto",
        "não alcançou",
        "niet bereikt",
        "到達できませんでした",
    ];
    letter.subject().starts_with("undeliverable") || letter.says_any(&PHRASES)
}

/// A recipient that the server answered about, or, where the words tell that mail did not arrive, any.
fn recipient(address: Address, said: &str, undelivered: bool) -> Option<Recipient> {
    if let Some(found) = bracketed(&address, said) {
        return Some(found);
    }
    let Some((sentence, msexch)) = said.split_once("MSEXCH:") else {
        return undelivered.then(|| block::failed(address, first_paragraph(said)));
    };
    let sentence = sentence.lines().next().unwrap_or_default().trim_end_matches('.');
    let words = msexch
        .find(") ")
        .or_else(|| msexch.find(")\n"))
        .map_or("", |at| msexch[at + 2..].trim());
    let words = first_paragraph(words);
    if quoted::says_reply(words) {
        return Some(block::failed(address, words));
    }
    Some(block::failed(address, &format!("{sentence}: {words}")))
}

/// `<host.x.test #5.1.1 smtp;550 5.1.1 no>`; without a reply the sentence above says what the status means.
fn bracketed(address: &Address, said: &str) -> Option<Recipient> {
    let sharp = said
        .rfind(" #")
        .filter(|&at| said[at + 2..].starts_with(|c: char| c.is_ascii_digit()));
    let sharp = sharp.or_else(|| said.find("<#"))?;
    let open = said[..=sharp].rfind('<')?;
    let host = said[open + 1..sharp.max(open + 1)].trim();
    let inner = said[sharp..].trim_start_matches([' ', '<', '#']);
    let (status, rest) = EnhancedStatus::parse_prefix(inner)?;
    let rest = rest.rfind('>').map_or(rest, |end| &rest[..end]).trim();
    let reply = rest.split_once(';').map_or(rest, |(_, reply)| reply).trim();
    let sentence = first_paragraph(&said[..open]);
    let text = if reply.is_empty() {
        format!("{status} {sentence}")
    } else {
        reply.to_owned()
    };
    let failed = block::failed(address.clone(), &text);
    Some(Recipient {
        remote_mta: host.contains('.').then(|| host.to_ascii_lowercase()),
        status: failed.status.or(Some(status)),
        ..failed
    })
}

fn first_paragraph(text: &str) -> &str {
    let text = text.trim_start();
    text.split_once("\n\n").map_or(text, |(first, _)| first)
}
