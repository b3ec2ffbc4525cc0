//! Courier's notices: `running the Courier mail server`, then for each recipient `<address>:`, the server
//! as `host [address]:`, and the session as `>>> command` and `<<< reply`.

use super::Format;
use super::block;
use super::label::has;
use super::quoted::command_sent;
use crate::mail::address::Address;
use crate::mail::dsn::{Action, Recipient, Report};
use crate::mail::letter::Letter;

/// The format.
pub const FORMAT: Format = Format {
    name: "courier",
    tell: |letter| {
        letter.says_early(600, "running the Courier mail server")
            || letter.says_early(600, "This is a delivery status notification from ")
    },
    read,
};

fn read(letter: &Letter<'_>) -> Option<Report> {
    let words = letter.words();
    let action = if has(words, "DELAYED MAIL") || letter.subject().contains("warning") {
        Action::Delayed
    } else {
        Action::Failed
    };
    let reporting_mta = words
        .split_once("notification from ")
        .and_then(|(_, rest)| rest.split([',', '\n']).next())
        .map(|host| host.trim().to_ascii_lowercase());
    let recipients = words.split("\n\n").filter_map(|paragraph| {
        Some(Recipient {
            action: Some(action),
            ..recipient(paragraph)?
        })
    });
    Some(Report {
        reporting_mta,
        recipients: recipients.collect(),
        ..Report::default()
    })
}

fn recipient(paragraph: &str) -> Option<Recipient> {
    let rest = paragraph.trim_start().strip_prefix('<')?;
    let (address, rest) = rest.split_once(">:")?;
    let address = Address::parse(address).ok()?;
    let (mut host, mut command, mut said) = (None, None, Vec::new());
    for line in rest.lines().map(str::trim) {
        if let Some(sent) = line.strip_prefix(">>>") {
            command = command_sent(sent);
        } else if let Some(reply) = line.strip_prefix("<<<") {
            said.push(reply.trim());
        } else if line.ends_with("]:") {
            host = line.split_whitespace().next();
        } else if !line.is_empty() {
            said.push(line);
        }
    }
    Some(Recipient {
        remote_mta: host.map(str::to_ascii_lowercase),
        command: command.map(str::to_owned),
        ..block::failed(address, &said.join("\n"))
    })
}
