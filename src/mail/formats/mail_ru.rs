//! mail.ru: Exim's notice, with the same in Russian above it, where local parts may stand without their domain.
//! The English half is read: a recipient indented by two, what was said of it by four.

use super::{Format, block, phrase};
use crate::mail::address::Address;
use crate::mail::dsn::{Recipient, Report};
use crate::mail::letter::Letter;

/// The format.
pub const FORMAT: Format = Format {
    name: "mail.ru",
    tell: |letter| {
        let sender = letter.sender();
        sender.starts_with("mailer-daemon@")
            && (sender.ends_with("mail.ru") || letter.has("X-Mailer-Daemon-Recipients"))
    },
    read,
};

fn read(letter: &Letter<'_>) -> Option<Report> {
    let words = letter.words();
    let english = memchr::memmem::rfind(words.as_bytes(), b"This message was created automatically");
    let words = english.map_or(words, |at| &words[at..]);
    let delayed = words.contains("not yet been delivered");
    let mut found: Vec<(Address, String)> = Vec::new();
    for line in words.lines() {
        let indent = line.len() - line.trim_start().len();
        match (indent, found.last_mut()) {
            (1..=3, _) => found.extend(phrase::lone_mailbox(line).map(|a| (a, String::new()))),
            (4.., Some((_, said))) => {
                said.push_str(line.trim());
                said.push('\n');
            }
            _ => {}
        }
    }
    let recipients = found
        .into_iter()
        .map(|(address, said)| recipient(address, &said, delayed));
    Some(Report {
        recipients: recipients.collect(),
        ..Report::default()
    })
}

fn recipient(address: Address, said: &str, delayed: bool) -> Recipient {
    let error = phrase::smtp_error(said);
    let reply = error.as_ref().map_or(said, |error| error.reply);
    let recipient = if delayed {
        phrase::delayed(address, reply)
    } else {
        block::failed(address, reply)
    };
    Recipient {
        remote_mta: error.as_ref().and_then(|error| error.host.clone()),
        ..phrase::answered(recipient, error.and_then(|error| error.command))
    }
}
