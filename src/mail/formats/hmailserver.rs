//! hMailServer: after `The following recipient(s) could not be reached:` each address, then, indented,
//! `hMailServer sent: command` and `Remote server replied: reply`, or a reason of its own.

use super::Format;
use super::block;
use super::label::value_of;
use super::quoted::{command, command_sent};
use crate::mail::dsn::{Recipient, Report};
use crate::mail::letter::Letter;

/// The format.
pub const FORMAT: Format = Format {
    name: "hmailserver",
    tell: |letter| letter.subject().starts_with("message undeliverable") && letter.says("hMailServer"),
    read,
};

fn read(letter: &Letter<'_>) -> Option<Report> {
    let words = letter.words();
    let (_, list) = words.split_once("could not be reached:")?;
    let mut recipients: Vec<Recipient> = Vec::new();
    let mut said: Vec<&str> = Vec::new();
    for line in list.lines() {
        let text = line.trim();
        if text == "hMailServer" {
            break;
        }
        if let Some(address) = block::mailbox(text) {
            finish(recipients.last_mut(), &mut said);
            recipients.push(block::failed(address, ""));
        } else if let Some(last) = recipients.last_mut() {
            if let Some(reply) = value_of(text, "Remote server replied:") {
                said.clear();
                said.push(reply);
            } else if let Some(sent) = value_of(text, "hMailServer sent:") {
                let answered = command_sent(sent).or_else(|| command(sent));
                last.command = answered.map(str::to_owned);
            } else if let Some(server) = value_of(text, "Remote server (") {
                last.remote_mta = server.split(')').next().map(str::to_ascii_lowercase);
            } else if !text.is_empty() && value_of(text, "Error Type:").is_none() {
                said.push(text);
            }
        }
    }
    finish(recipients.last_mut(), &mut said);
    Some(Report {
        recipients,
        ..Report::default()
    })
}

/// Gives the recipient read last what was said of it.
fn finish(last: Option<&mut Recipient>, said: &mut Vec<&str>) {
    if let Some(last) = last
        && let Some(address) = last.final_recipient.clone()
    {
        let told = block::failed(address, &said.join(" "));
        last.diagnostic = told.diagnostic;
        last.status = told.status;
    }
    said.clear();
}
