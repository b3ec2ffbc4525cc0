//! GMX, WEB.DE, mail.com, 1&1, IONOS and kundenserver.de (the MTA called Nemesis). The words are Exim's, the
//! layout is not: each address stands on a line of its own, with or without a colon, and under it `SMTP error
//! from remote server for RCPT TO command, host: NAME (IP) reason: 550 …`, a sentence of the MTA itself, or
//! `For the following reason:` and one. Also in German.

use super::{Format, block, phrase};
use crate::mail::address::Address;
use crate::mail::dsn::{Action, Recipient, Report};
use crate::mail::letter::Letter;

/// The format.
pub const FORMAT: Format = Format {
    name: "united-internet",
    tell: |letter| {
        const SENDERS: [&str; 11] = [
            "kundenserver",
            "gmx.",
            "@web.de",
            "1and1.",
            "1und1.",
            "ionos.",
            "@mail.com",
            "perfora.net",
            "schlund.",
            "@online.de",
            "ui-dsn",
        ];
        letter.is_from_daemon()
            && letter.says_any(&[
                "created automatically by ",
                "automatisch ",
                "could not be delivered",
                "SMTP error from remote",
            ])
            && (letter.has("X-UI-Out-Filterresults")
                || SENDERS.iter().any(|name| letter.sender().contains(name)))
    },
    read,
};

fn read(letter: &Letter<'_>) -> Option<Report> {
    let late = letter.says_any(&["not yet been delivered", "noch nicht zugestellt"]);
    let found = phrase::below_mailboxes(letter.words());
    // Several addresses above one reason share it.
    let last = found.iter().rfind(|(_, said)| !said.trim().is_empty())?.1.clone();
    let last = &last[..last.floor_char_boundary(1024)];
    let recipients = found.into_iter().map(|(address, said)| {
        let said = if said.trim().is_empty() { last } else { &said };
        Recipient {
            action: Some(if late { Action::Delayed } else { Action::Failed }),
            ..recipient(address, said)
        }
    });
    Some(Report {
        recipients: recipients.collect(),
        ..Report::default()
    })
}

fn recipient(address: Address, said: &str) -> Recipient {
    if let Some(error) = phrase::smtp_error(said) {
        let reply = until_blank_line(error.reply);
        let failed = block::failed(address, reply);
        return Recipient {
            remote_mta: error.host.clone(),
            ..phrase::answered(failed, error.command)
        };
    }
    let said = ["Explanation:", "Grund:", "reason:", "Begründung:"]
        .iter()
        .find_map(|cue| said.split_once(cue))
        .map_or(said, |(_, said)| said);
    let said = said.trim();
    let text = until_blank_line(said.trim_start());
    block::failed(address, text)
}

fn until_blank_line(text: &str) -> &str {
    text.split_once("\n\n").map_or(text, |(first, _)| first)
}
