//! Domino (Lotus Notes): `Your message`, its subject, `was not delivered to:`, the addresses, `because:`, the
//! reason; each indented by two, in the server's language. And the older SMTP MTA of Notes 4: a block between
//! `------- Failure Reasons --------` and the returned mail, of reasons and the addresses under them.

use super::{Format, block, phrase};
use crate::mail::address::Address;
use crate::mail::dsn::{self, Report};
use crate::mail::letter::{Letter, is_type};
use crate::mail::status::EnhancedStatus;

/// The format of today.
pub const DOMINO: Format = Format {
    name: "domino",
    tell: |letter| letter.is_from_daemon() && letter.says_any(&NOT_DELIVERED),
    read: read_domino,
};

/// The format of the SMTP MTA.
pub const NOTES: Format = Format {
    name: "notes",
    tell: |letter| letter.is_from_daemon() && letter.says_early(512, "-- Failure Reasons "),
    read: read_notes,
};

/// `was not delivered to:` as the language versions have it.
const NOT_DELIVERED: [&str; 12] = [
    "was not delivered to:",
    "wurde nicht zugestellt an:",
    "konnte nicht zugestellt werden an:",
    "n'a pas été remis à :",
    "n'a pas été distribué à :",
    "n'a pas été remis à:",
    "no se entregó a:",
    "no se ha entregado a:",
    "non è stato consegnato a:",
    "não foi entregue a:",
    "is niet afgeleverd bij:",
    "配信されませんでした",
];

fn read_domino(letter: &Letter<'_>) -> Option<Report> {
    let words = letter.words();
    let start = NOT_DELIVERED
        .iter()
        .find_map(|cue| memchr::memmem::find(words.as_bytes(), cue.as_bytes()))?;
    let (mut addresses, mut said) = (Vec::<Address>::new(), String::new());
    let mut in_reason = false;
    for line in words[start..].lines().skip(1) {
        let indented = line.starts_with([' ', '\t']);
        match (in_reason, line.trim().is_empty()) {
            (_, true) => {}
            (false, _) if indented => addresses.extend(named(line)),
            (false, _) if !addresses.is_empty() => in_reason = true,
            (true, _) if indented => {
                said.push_str(line.trim());
                said.push('\n');
            }
            (true, _) => break,
            _ => {}
        }
    }
    let status = status_below(letter);
    let said = phrase::peel(&said).unwrap_or(said);
    let shared = phrase::Shared::new(&said, &addresses);
    let recipients = addresses.iter().map(|address| {
        let mut recipient = shared.failed(address);
        recipient.status = status.or(recipient.status);
        recipient
    });
    Some(Report {
        recipients: recipients.collect(),
        ..Report::default()
    })
}

/// A recipient's line: an address, perhaps with the Notes name of the user before it.
fn named(line: &str) -> Option<Address> {
    phrase::lone_mailbox(line).or_else(|| block::address(line))
}

/// The status in the delivery status (RFC 3464), where a gateway has put the report one level deeper, out of
/// the reach of those who look for it.
fn status_below(letter: &Letter<'_>) -> Option<EnhancedStatus> {
    let mut parts = letter.message().parts.iter();
    let part = parts.find(|part| is_type(part, "message", "delivery-status"))?;
    let report = dsn::parse(part.contents());
    report.recipients.first()?.status
}

fn read_notes(letter: &Letter<'_>) -> Option<Report> {
    let (_, words) = letter.words().split_once("Failure Reasons")?;
    let (mut reason, mut recipients) = (String::new(), Vec::new());
    let mut complete = false;
    for line in words
        .lines()
        .skip(1)
        .map(str::trim)
        .filter(|line| !line.is_empty())
    {
        if let Some(address) = phrase::lone_mailbox(line) {
            recipients.push(block::failed(address, &reason));
            complete = true;
        } else {
            // A reason is about the addresses under it; the next reason begins after these.
            if complete {
                reason.clear();
                complete = false;
            }
            if reason.len() < 1024 {
                reason.push_str(line);
                reason.push('\n');
            }
        }
    }
    Some(Report {
        recipients,
        ..Report::default()
    })
}
