//! Verizon Wireless (vtext.com, vzwpix.com) and gateways to text messages like it: `Undeliverable Message`, a
//! sentence such as `Message could not be delivered to mobile.` or `Error: No valid recipients for this MM`, and
//! `To: NUMBER@vtext.com` of the mail below it.

use super::{Format, block};
use crate::mail::dsn::{Recipient, Report};
use crate::mail::letter::Letter;

/// The format.
pub const FORMAT: Format = Format {
    name: "verizon",
    tell: |letter| {
        let sender = letter.sender();
        ["@vtext.com", "@vzwpix.com", "@mypixmessages.com", "@vzwmail.net"]
            .iter()
            .any(|domain| sender.ends_with(domain))
            && (letter.subject().contains("undeliverable") || letter.is_from_daemon())
    },
    read,
};

fn read(letter: &Letter<'_>) -> Option<Report> {
    let (words, returned) = (letter.words(), letter.returned().unwrap_or_default());
    let to = words.lines().chain(returned.lines()).find_map(|line| {
        let (name, value) = line.trim().split_once(':')?;
        // `To` of the mail, or `RCPT TO` of the session; not `Reply-To`, which is the author's.
        let name = name.trim_end().to_ascii_lowercase();
        let of_session = name == "rcpt to";
        let address = (of_session || name == "to").then(|| value.split(',').next())??;
        Some((block::address(address)?, of_session))
    });
    let sentence = |line: &&str| !line.is_empty() && !line.starts_with("--") && !line.contains('@');
    let mut lines = words.lines().map(str::trim).filter(sentence);
    let error = lines.clone().find_map(|line| line.strip_prefix("Error:"));
    let said = error.or_else(|| lines.find(|line| line.contains(' ') && !line.contains(": ")))?;
    // The `To` of the mail its author wrote.
    let failed = |(address, of_session): (_, bool)| Recipient {
        doubtful: !of_session,
        ..block::failed(address, said.trim())
    };
    Some(Report {
        recipients: to.map(failed).into_iter().collect(),
        ..Report::default()
    })
}
