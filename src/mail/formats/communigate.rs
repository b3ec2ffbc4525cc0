//! CommuniGate Pro (Stalker): `Failed to deliver to 'address'`, then its module's report: `SMTP
//! module(domain d) reports:`, ` host h says:` and the reply.

use super::Format;
use super::block;
use super::label::has;
use super::quoted::reply_in;
use crate::mail::dsn::{Action, Recipient, Report};
use crate::mail::letter::Letter;

const MARKS: [(&str, Action); 2] = [
    ("Failed to deliver to '", Action::Failed),
    ("Delivery to '", Action::Delayed),
];

/// The format.
pub const FORMAT: Format = Format {
    name: "communigate",
    tell: |letter| MARKS.iter().any(|(mark, _)| letter.says_early(400, mark)),
    read,
};

fn read(letter: &Letter<'_>) -> Option<Report> {
    let words = letter.words();
    let (mark, action) = MARKS.iter().find(|(mark, _)| has(words, mark))?;
    let recipients = words.split(mark).skip(1).filter_map(|rest| {
        let (address, below) = rest.split_once('\'')?;
        let below = below.split("\n\n").next().unwrap_or(below);
        let (frame, said) = below.split_once(" says:").unwrap_or(("", below));
        let host = frame
            .split_once(" host ")
            .map(|(_, host)| host.trim().to_ascii_lowercase());
        Some(Recipient {
            action: Some(*action),
            remote_mta: host.filter(|host| !host.contains(char::is_whitespace)),
            ..block::failed(block::mailbox(address)?, reply_in(said).unwrap_or(said))
        })
    });
    Some(Report {
        recipients: recipients.collect(),
        ..Report::default()
    })
}
