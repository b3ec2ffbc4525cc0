//! How notices of services and groupware say things: who is meant, and what frames they set a server's reply in.
//!
//! Everything here looks at one line or one paragraph, in linear time, and declines with `None`.

use super::block;
use super::label::has;
use super::quoted::{command_first, says_reply};
use crate::mail::address::Address;
use crate::mail::dsn::{Action, Recipient};
use crate::mail::reply::{Reply, ReplyCode};
use crate::mail::status::EnhancedStatus;
use memchr::memmem::Finder;
use std::sync::LazyLock;

/// A recipient whose mail is late, with what was said of it.
pub(super) fn delayed(address: Address, said: &str) -> Recipient {
    Recipient {
        action: Some(Action::Delayed),
        ..block::failed(address, said)
    }
}

/// The same recipient, said to be answered to that command.
pub(super) fn answered(recipient: Recipient, command: Option<&str>) -> Recipient {
    Recipient {
        command: command.map(str::to_owned),
        ..recipient
    }
}

/// A line that holds one mailbox and nothing else, but for quotes, brackets, a colon, or the same mailbox
/// again as Outlook writes it: `ann@x.test (ann@x.test)<mailto:ann@x.test>`.
pub(super) fn lone_mailbox(line: &str) -> Option<Address> {
    let line = line.trim();
    if line.len() > 998 || !line.contains('@') {
        return None;
    }
    let mut words = line
        .split([' ', '\t', '<', '(', '['])
        .filter(|word| !word.is_empty());
    let bare = |word: &str| block::mailbox(word.trim_matches(['"', ':', '«', '»', '“', '”']));
    let address = bare(words.next()?)?;
    let same = |word: &str| bare(word).is_some_and(|a| a.domain() == address.domain());
    words.all(same).then_some(address)
}

/// As much as is kept of what is said of one recipient, in octets.
const MAX_SAID: usize = 8 * 1024;

/// The recipients of a notice in which each is a line of its own and what was said of it follows, up to the
/// next one.
pub(super) fn below_mailboxes(text: &str) -> Vec<(Address, String)> {
    let mut found: Vec<(Address, String)> = Vec::new();
    for line in text.lines() {
        if let Some(address) = lone_mailbox(line) {
            found.push((address, String::new()));
        } else if let Some((_, said)) = found.last_mut()
            && said.len() < MAX_SAID
        {
            said.push_str(line);
            said.push('\n');
        }
    }
    found
}

/// What an Exim or Nemesis (GMX, IONOS) says of a server: `SMTP error from remote mail server after RCPT
/// TO:<…>: host NAME [IP]: 550 …`, `SMTP error from remote server for TEXT command, host: NAME (IP) reason: …`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SmtpError<'a> {
    pub(super) command: Option<&'static str>,
    pub(super) host: Option<String>,
    pub(super) reply: &'a str,
}

/// Reads such a sentence; `None` where it is another.
pub(super) fn smtp_error(text: &str) -> Option<SmtpError<'_>> {
    let start = text.find("SMTP error from remote ")?;
    let text = &text[start + "SMTP error from remote ".len()..];
    let command = [" after ", " for ", " in reply to "]
        .iter()
        .filter_map(|cue| text.find(cue).map(|at| &text[at + cue.len()..]))
        .find_map(command_after_article);
    let host_at = text.find("host ").map(|at| at + 5);
    let host_at = text.find("host: ").map(|at| at + 6).or(host_at);
    let host = host_at
        .and_then(|at| text[at..].split([' ', '\n', '[', '(']).next())
        .map(|host| host.trim_end_matches([':', '.', ',']).to_ascii_lowercase())
        .filter(|host| !host.is_empty());
    let after_host = host_at.map_or(text, |at| &text[at..]);
    let reply = ["reason:", "]: ", "):", "\n"]
        .iter()
        .find_map(|cue| after_host.find(cue).map(|at| &after_host[at + cue.len()..]));
    Some(SmtpError {
        command,
        host,
        reply: reply.unwrap_or(after_host).trim(),
    })
}

/// What NetEase says of a server: `SMTP error, RCPT TO: host NAME(IP) RCPT TO said 550 …`.
fn smtp_error_said(text: &str) -> Option<SmtpError<'_>> {
    let rest = text.strip_prefix("SMTP error, ")?;
    let (front, reply) = rest.split_once(" said ")?;
    let host = front
        .split_once("host ")
        .and_then(|(_, host)| host.split(['(', '[', ' ']).next());
    says_reply(reply).then(|| SmtpError {
        command: command_first(rest),
        host: host
            .map(str::to_ascii_lowercase)
            .filter(|host| host.contains('.')),
        reply: reply.trim(),
    })
}

fn command_after_article(words: &str) -> Option<&'static str> {
    command_first(words.strip_prefix("pipelined ").unwrap_or(words))
}

/// Peels the frame off a reply that a gateway has put its own words around: `5.1.0 - Unknown address error
/// 550-'5.1.1 no such user' (delivery attempts: 0)` as IronPort writes it, `554 4.4.7 Message expired: unable to
/// deliver in 840 minutes.<421 4.4.2 Connection timed out>` as Amazon SES does. `None` where there is none.
pub fn peel(text: &str) -> Option<String> {
    ironport(text).or_else(|| angled(text)).or_else(|| domino(text))
}

/// `Error transferring to mx.x.test; SMTP Protocol Returned a Permanent Error 550 5.1.1 no`.
fn domino(text: &str) -> Option<String> {
    static FRAME: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new("SMTP Protocol Returned a "));
    let rest = &text[FRAME.find(text.as_bytes())? + FRAME.needle().len()..];
    let reply = rest
        .trim_start_matches("Permanent Error")
        .trim_start_matches("Transient Error");
    let reply = reply.trim_start();
    (says_reply(reply)).then(|| reply.to_owned())
}

/// Servers that pass such a reply on set a code of their own in front: `511 5.1.1 Unknown address error 550-'…'`.
fn ironport(text: &str) -> Option<String> {
    let text = text.trim_start();
    let coded = text.get(..4).is_some_and(|code| {
        code.ends_with(' ') && code.trim_end().bytes().all(|digit| digit.is_ascii_digit())
    });
    let (_, rest) = EnhancedStatus::parse_prefix(if coded { &text[4..] } else { text })?;
    let rest = rest.trim_start();
    let known = rest.starts_with("Unknown address error ").then_some(rest);
    let rest = rest.strip_prefix("- ").filter(|_| !coded).or(known)?;
    let quote = rest.find("-'")?;
    let code = rest.get(quote.checked_sub(3)?..quote)?;
    let code: u16 = code.parse().ok()?;
    ReplyCode::new(code)?;
    let inner = &rest[quote + 2..];
    let inner = inner.rfind('\'').map_or(inner, |end| &inner[..end]);
    Some(format!("{code} {}", inner.trim()))
}

fn angled(text: &str) -> Option<String> {
    let inner = text.trim_end().strip_suffix('>')?;
    let open = inner.rfind('<')?;
    let inner = &inner[open + 1..];
    (says_reply(inner)).then(|| inner.to_owned())
}

/// Peels the reply of a recipient, where it is framed. The status within is the server's; the one without is
/// what the gateway made of it, so it gives way.
pub fn peel_recipient(recipient: &mut Recipient) {
    let Some(diagnostic) = recipient.diagnostic.as_mut() else {
        return;
    };
    if diagnostic.text.starts_with("SMTP error")
        && let Some(error) = smtp_error(&diagnostic.text).or_else(|| smtp_error_said(&diagnostic.text))
    {
        let (text, command) = (error.reply.to_owned(), error.command.map(str::to_owned));
        recipient.remote_mta = recipient.remote_mta.take().or(error.host);
        recipient.command = recipient.command.take().or(command);
        diagnostic.text = text;
    }
    if let Some(text) = peel(&diagnostic.text) {
        recipient.status = Reply::parse(&text).status.or(recipient.status);
        diagnostic.text = text;
    }
}

/// As much of a reason as is kept of each recipient that shares it, in octets: thousands may.
const MAX_SHARED: usize = 1024;

/// What a notice says of several recipients at once.
pub(super) struct Shared {
    /// A recipient without an address, of whom all of it is said.
    said: Recipient,
    lower: String,
    names_any: bool,
}

impl Shared {
    /// Takes the reason that stands above or below all of these.
    pub(super) fn new(text: &str, all: &[Address]) -> Self {
        let text = text.trim();
        let text = &text[..text.floor_char_boundary(MAX_SHARED)];
        let mut shared = Self {
            said: block::said(text),
            lower: text.to_lowercase(),
            names_any: false,
        };
        shared.names_any = all.len() > 1 && all.iter().any(|address| shared.names(address));
        shared
    }

    /// A recipient that was given up. All of it is said of each, unless it names another and not this one:
    /// what is true of one mailbox must not be held against its neighbours.
    pub(super) fn failed(&self, address: &Address) -> Recipient {
        let told = !self.names_any || self.names(address);
        Recipient {
            final_recipient: Some(address.clone()),
            ..if told { self.said.clone() } else { block::said("") }
        }
    }

    fn names(&self, address: &Address) -> bool {
        self.lower.contains(&address.to_string().to_lowercase())
    }
}

/// Whether one of the phrases stands in a text.
pub(super) fn has_any(text: &str, phrases: &[&str]) -> bool {
    phrases.iter().any(|phrase| has(text, phrase))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mailbox_stands_alone() {
        for line in [
            "  ann@x.test",
            "\"ann@x.test\":",
            "<ann@x.test>:",
            "ann@x.test<mailto:ann@x.test>",
            "ann@x.test (ann@x.test)<mailto:ann@x.test>",
        ] {
            assert_eq!(lone_mailbox(line).unwrap().to_string(), "ann@x.test", "{line}");
        }
        for line in ["write to ann@x.test", "ann@x.test is full", "", "ann"] {
            assert_eq!(lone_mailbox(line), None, "{line}");
        }
    }

    #[test]
    fn frames_come_off() {
        let table = [
            (
                "5.1.0 - Unknown address error 550-'5.7.1 <a@b>... Access denied' (delivery attempts: 0)",
                "550 5.7.1 <a@b>... Access denied",
            ),
            (
                "511 5.1.1 Unknown address error 550-'5.1.1 <a@b>... User unknown' (delivery attempts: 0)",
                "550 5.1.1 <a@b>... User unknown",
            ),
            (
                "Error transferring to mx.x.test; SMTP Protocol Returned a Permanent Error 550 5.7.1 no",
                "550 5.7.1 no",
            ),
            (
                "554 4.4.7 Message expired: unable to deliver in 840 minutes.<421 4.4.2 Connection timed out>",
                "421 4.4.2 Connection timed out",
            ),
        ];
        for (framed, bare) in table {
            assert_eq!(peel(framed).as_deref(), Some(bare));
        }
        for text in [
            "550 5.1.1 <a@b>",
            "550 mail from <450@x.test>",
            "5.1.0 - 'x'",
            "4.4.7 - x 4-'y",
        ] {
            assert_eq!(peel(text), None, "{text}");
        }
    }

    #[test]
    fn sentences_about_servers_are_read() {
        let exim = smtp_error("SMTP error from remote mail server after RCPT TO:<a@b.test>:\n host Mx.B.test [192.0.2.1]: 550 no").unwrap();
        assert_eq!(
            (exim.command, exim.host.as_deref(), exim.reply),
            (Some("RCPT TO"), Some("mx.b.test"), "550 no")
        );
        let nemesis = smtp_error(
            "SMTP error from remote server for TEXT command, host: mx.b.test (192.0.2.1) reason: 550 no",
        )
        .unwrap();
        assert_eq!(
            (nemesis.command, nemesis.host.as_deref(), nemesis.reply),
            (Some("end of DATA"), Some("mx.b.test"), "550 no")
        );
        assert_eq!(smtp_error("550 no"), None);
        let netease =
            smtp_error_said("SMTP error, RCPT TO: host Mx.B.test(192.0.2.1) RCPT TO said 550 User not found")
                .unwrap();
        assert_eq!(
            (netease.command, netease.host.as_deref(), netease.reply),
            (Some("RCPT TO"), Some("mx.b.test"), "550 User not found")
        );
    }
}
