//! Mailman's refusals to post: the list is there, and does not take this mail. The list is named by the
//! sender, `list-bounces@`, `list-owner@` or `list-request@`.

use super::Format;
use super::block;
use super::label::{has, head};
use crate::mail::dsn::Report;
use crate::mail::letter::Letter;

const REFUSALS: [&str; 4] = [
    "You are not allowed to post to this mailing list",
    "Your message was rejected",
    "Non-members are not allowed to post messages to this list",
    "Your request to the ",
];

/// The format.
pub const FORMAT: Format = Format {
    name: "mailman",
    tell: |letter| {
        letter.has("X-Mailman-Version") && {
            let head = head(letter.words(), 400);
            REFUSALS.iter().any(|refusal| has(head, refusal)) && !has(head, "awaits moderator")
        }
    },
    read,
};

fn read(letter: &Letter<'_>) -> Option<Report> {
    let (local, domain) = letter.sender().split_once('@')?;
    let suffixes = ["-bounces", "-owner", "-request"];
    let list = suffixes.iter().find_map(|suffix| local.strip_suffix(suffix))?;
    let list = block::mailbox(&format!("{list}@{domain}"))?;
    let words = letter.words().trim_start();
    let said = words.split("\n\n").next().unwrap_or(words);
    Some(Report {
        recipients: vec![block::failed(list, said)],
        ..Report::default()
    })
}
