//! Where a notification's machine-readable part (RFC 3464) stands: a part of its own beneath the top
//! multipart, as it should; or deeper, or under another type, or among the words, as careless reporters and
//! gateways leave it. Never within the returned mail: anybody can write one there.

use crate::mail::dsn::{self, Report};
use crate::mail::letter::{Letter, is_type};
use mail_parser::{MessagePart, MimeHeaders, PartType};

/// The fields that such a part begins with.
const FIRST: [&str; 7] = [
    "reporting-mta:",
    "final-recipient:",
    "original-recipient:",
    "arrival-date:",
    "original-envelope-id:",
    "dsn-gateway:",
    "received-from-mta:",
];

/// Reads the delivery status of a message; `None` where it holds none.
pub(super) fn read(letter: &Letter<'_>) -> Option<Report> {
    let mut found = Vec::new();
    for part in letter.parts() {
        collect(letter, part, 0, &mut found);
    }
    if let Some((first, more)) = found.split_first() {
        let mut report = dsn::parse(first.contents());
        for part in more {
            // Some reporters write one part for each recipient.
            report.recipients.extend(dsn::parse(part.contents()).recipients);
        }
        return Some(report);
    }
    if !is_declared(letter) && !letter.is_from_daemon() {
        return None;
    }
    mislabelled(letter).or_else(|| in_words(letter.words()))
}

/// Whether the message declares itself to be a report (RFC 6522).
pub(super) fn is_declared(letter: &Letter<'_>) -> bool {
    is_type(letter.message().root_part(), "multipart", "report")
}

fn collect<'a>(
    letter: &Letter<'a>,
    part: &'a MessagePart<'a>,
    depth: usize,
    found: &mut Vec<&'a MessagePart<'a>>,
) {
    if is_type(part, "message", "delivery-status") || is_type(part, "message", "global-delivery-status") {
        found.push(part);
    } else if let (PartType::Multipart(children), true) = (&part.body, depth < 3) {
        for &child in children.iter().filter(|&&child| child != 0) {
            if let Some(child) = letter.message().parts.get(child as usize) {
                collect(letter, child, depth + 1, found);
            }
        }
    }
}

/// A part of another type that holds nothing but a delivery status.
fn mislabelled(letter: &Letter<'_>) -> Option<Report> {
    letter.parts().find_map(|part| {
        if matches!(part.body, PartType::Multipart(_) | PartType::Message(_)) {
            return None;
        }
        let is_attached = part
            .content_type()
            .is_some_and(|t| t.ctype().eq_ignore_ascii_case("application"));
        let is_text = matches!(part.body, PartType::Text(_)) && !crate::mail::letter::is_header_only(part);
        if !is_attached && !is_text {
            return None;
        }
        let content = part.contents().trim_ascii_start();
        begins_field(content)
            .then(|| of_recipients(dsn::parse(content)))
            .flatten()
    })
}

fn begins_field(line: &[u8]) -> bool {
    FIRST.iter().any(|name| {
        line.get(..name.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(name.as_bytes()))
    })
}

/// A delivery status among the words: from the first of its fields on, to a boundary or to the end.
fn in_words(words: &str) -> Option<Report> {
    let mut at = 0;
    let mut start = None;
    let mut end = words.len();
    for line in words.split_inclusive('\n') {
        if start.is_none() && begins_field(line.as_bytes()) {
            start = Some(at);
        } else if start.is_some() && line.starts_with("--") {
            end = at;
            break;
        }
        at += line.len();
    }
    of_recipients(dsn::parse(words.get(start?..end)?.as_bytes()))
}

/// A report that names somebody, and says what became of them.
fn of_recipients(report: Report) -> Option<Report> {
    let mut recipients = report.recipients.iter();
    let tells = recipients.any(|r| {
        let named = r.final_recipient.is_some() || r.original_recipient.is_some();
        named && (r.action.is_some() || r.status.is_some() || r.diagnostic.is_some())
    });
    tells.then_some(report)
}
