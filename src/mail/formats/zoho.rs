//! Zoho Mail: Exim's introduction, then a line for each recipient with the reply broken into error codes:
//! `ann@x.test Invalid Address, ERROR_CODE :550, ERROR_CODE :5.1.1 no such user`, `ann@x.test, ERROR CODE :550 -
//! no`, or `[Status: Error, Address: <ann@x.test>, ResponseCode 421, , Host not reachable.]`.

use super::{Format, block};
use crate::mail::dsn::{Recipient, Report};
use crate::mail::letter::Letter;

/// The format.
pub const FORMAT: Format = Format {
    name: "zoho",
    tell: |letter| {
        (letter.sender().contains("zoho") || letter.has("X-ZohoMail"))
            && letter.is_from_daemon()
            && letter.says_any(&[
                "ERROR_CODE",
                "ERROR CODE",
                "ResponseCode",
                "could not be delivered",
            ])
    },
    read,
};

fn read(letter: &Letter<'_>) -> Option<Report> {
    let words = letter.words();
    let mut entries: Vec<String> = Vec::new();
    for line in words.lines().map(str::trim) {
        if begins(line) {
            entries.push(line.to_owned());
        } else if let (Some(entry), false) = (entries.last_mut(), line.is_empty()) {
            entry.push(' ');
            entry.push_str(line);
        }
    }
    Some(Report {
        recipients: entries.iter().filter_map(|entry| recipient(entry)).collect(),
        ..Report::default()
    })
}

/// Whether a line is the first about a recipient.
fn begins(line: &str) -> bool {
    let first = line.split([' ', ',', ':']).next().unwrap_or_default();
    line.starts_with("[Status:") || first.contains('@') && block::mailbox(first).is_some()
}

fn recipient(entry: &str) -> Option<Recipient> {
    let address = block::address(entry)?;
    if let Some((_, rest)) = entry.split_once("ResponseCode") {
        let (code, text) = rest.trim_start().split_once(',')?;
        let text = text.trim_matches([' ', ',', ']']);
        return Some(block::failed(address, &format!("{} {text}", code.trim())));
    }
    let codes: Vec<&str> = entry
        .split("ERROR_CODE")
        .flat_map(|part| part.split("ERROR CODE"))
        .collect();
    let reply = codes[1..]
        .iter()
        .map(|code| code.trim_matches([' ', ':', ',', '-']))
        .collect::<Vec<_>>()
        .join(" ");
    if reply.is_empty() {
        let (_, said) = entry.split_once([' ', ','])?;
        return Some(block::failed(
            address,
            said.trim_start_matches([' ', ',', ':', '-']),
        ));
    }
    Some(block::failed(address, &reply.replacen(" - ", " ", 1)))
}
