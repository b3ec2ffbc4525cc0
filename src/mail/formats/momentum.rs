//! Momentum (Ecelerity), which senders of bulk mail and some mailbox providers run: `This message was created
//! automatically by the mail system (ecelerity).`, then `>>> ann@x.test (reading RCPT TO response): 550 5.1.1 no`
//! for each recipient.

use super::{Format, block, phrase, quoted};
use crate::mail::dsn::{Recipient, Report};
use crate::mail::letter::Letter;

/// The format.
pub const FORMAT: Format = Format {
    name: "momentum",
    tell: |letter| letter.is_from_daemon() && letter.says("created automatically by the mail system"),
    read,
};

fn read(letter: &Letter<'_>) -> Option<Report> {
    let words = letter.words();
    let late = words.contains("not yet been delivered") || words.contains("temporary error");
    let entries = words.split("\n>>> ").skip(1);
    Some(Report {
        recipients: entries.filter_map(|entry| recipient(entry, late)).collect(),
        ..Report::default()
    })
}

fn recipient(entry: &str, late: bool) -> Option<Recipient> {
    let entry = entry.split_once("\n\n").map_or(entry, |(first, _)| first);
    let (who, rest) = entry.split_once([' ', '\n'])?;
    let address = block::mailbox(who)?;
    let (context, reply) = match rest
        .trim_start()
        .strip_prefix('(')
        .and_then(|r| r.split_once("):"))
    {
        Some((context, reply)) => (context, reply),
        None => ("", rest),
    };
    let context = context
        .trim_start_matches("reading ")
        .trim_start_matches("after ");
    let command = match context {
        // The answer to the dot that ends the mail.
        "confirmation" => Some("end of DATA"),
        _ => quoted::command_first(context),
    };
    let failed = if late {
        phrase::delayed(address, reply)
    } else {
        block::failed(address, reply)
    };
    Some(phrase::answered(failed, command))
}
