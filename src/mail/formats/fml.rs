//! fml (a Japanese mailing list manager): its refusals to post name the list in `<>`, in their first
//! paragraph. They say that the list is there, and does not take this mail.

use super::Format;
use super::{block, label};
use crate::mail::dsn::Report;
use crate::mail::letter::Letter;

/// The format.
pub const FORMAT: Format = Format {
    name: "fml",
    tell: |letter| {
        let is_fml = letter
            .field("X-MLServer")
            .is_some_and(|s| s.to_ascii_lowercase().contains("fml"));
        let subject = letter.subject();
        is_fml
            && (SUBJECTS.iter().any(|words| subject.contains(words))
                || REFUSALS.iter().any(|refusal| letter.says(refusal)))
    },
    read,
};

/// The subjects of refusals.
const SUBJECTS: [&str; 6] = [
    "not member",
    "not a member",
    "loop alert",
    "reject",
    "does not accept",
    "forbidden",
];

/// What refusals say.
const REFUSALS: [&str; 7] = [
    "not a member of this mailing list",
    "not member of this mailing list",
    "uplicated Message-ID",
    "Loop Alert",
    "The following message is rejected",
    "your mail is rejected",
    "WARNING AND REJECT",
];

fn read(letter: &Letter<'_>) -> Option<Report> {
    let words = letter.words();
    let said = words.trim_start().split("\n\n").next()?;
    let of_sender = || {
        let (local, domain) = letter.sender().split_once('@')?;
        let list = local
            .strip_suffix("-admin")
            .or_else(|| local.strip_suffix("-request"))?;
        block::mailbox(&format!("{list}@{domain}"))
    };
    // Some address the author first: `You <author> are not member.`
    let named = block::address(said).filter(|named| !label::is_addressee(letter, named));
    let list = named.or_else(of_sender)?;
    Some(Report {
        recipients: vec![block::failed(list, said)],
        ..Report::default()
    })
}
