//! Postfix's notices as people read them, where no delivery status stands beside them: of Postfix before
//! 2.3 and of its relatives, or torn from it on the way. bounce(5) gives the texts.
//!
//! A paragraph for each recipient: `<address>: reason`, `<address> (expanded from <alias>): reason`, its
//! further lines indented. [`super::postfix`] reads the reasons.

use super::Format;
use super::block;
use super::label::{has, speaks};
use super::postfix::parse_reason;
use super::quoted::{command_sent, is_reply};
use crate::mail::address::Address;
use crate::mail::dsn::{Action, Recipient, Report};
use crate::mail::letter::Letter;

/// The format.
pub const FORMAT: Format = Format {
    name: "postfix",
    tell,
    read,
};

/// The notice to the postmaster about a session in which mail came in.
pub const SESSION: Format = Format {
    name: "postfix-session",
    tell: |letter| letter.subject().starts_with("postfix smtp server: errors from "),
    read: read_session,
};

const PROGRAMS: [&str; 3] = [
    "This is the mail system at host ",
    "This is the Postfix program at host ",
    "This is the Postfix",
];

fn tell(letter: &Letter<'_>) -> bool {
    let early = |words: &&str| letter.says_early(1500, words);
    let told = PROGRAMS.iter().any(early)
        || early(&" (in reply to ")
        || early(&"I'm sorry to have to inform you that")
        || [
            "undelivered mail returned to sender",
            "delayed mail (still being retried)",
        ]
        .iter()
        .any(|subject| letter.subject().starts_with(subject));
    told && speaks(letter, &PROGRAMS)
}

fn read(letter: &Letter<'_>) -> Option<Report> {
    let words = letter.words();
    let action = action(letter, words);
    let recipients = words.split("\n\n").filter_map(|paragraph| {
        Some(Recipient {
            action: Some(action),
            ..recipient(paragraph)?
        })
    });
    Some(Report {
        reporting_mta: reporter(words),
        recipients: recipients.collect(),
        ..Report::default()
    })
}

/// What the notice is: Postfix says so at its top, and in its subject.
fn action(letter: &Letter<'_>, words: &str) -> Action {
    if has(words, "THIS IS A WARNING ONLY") || letter.subject().starts_with("delayed mail") {
        Action::Delayed
    } else if letter.subject().starts_with("successful mail delivery") {
        Action::Delivered
    } else {
        Action::Failed
    }
}

fn reporter(words: &str) -> Option<String> {
    let (_, rest) = PROGRAMS[..2]
        .iter()
        .find_map(|program| words.split_once(program))?;
    let host = rest.split_whitespace().next()?.trim_end_matches('.');
    Some(host.to_ascii_lowercase())
}

fn recipient(paragraph: &str) -> Option<Recipient> {
    let rest = paragraph.trim_start_matches('\n').strip_prefix('<')?;
    let (address, rest) = rest.split_once('>')?;
    let address = Address::parse(address).ok()?;
    let (alias, rest) = match rest.trim_start().strip_prefix("(expanded from ") {
        Some(rest) => {
            let (alias, rest) = rest.split_once(')')?;
            (block::mailbox(alias), rest)
        }
        None => (None, rest),
    };
    let text = rest.strip_prefix(':')?;
    let reason = parse_reason(text);
    let said = match reason.reply.code {
        Some(_) => reason.reply.to_string(),
        None => text.to_owned(),
    };
    let differs = |a: &Address| *a != address;
    Some(Recipient {
        original_recipient: alias.filter(differs),
        remote_mta: reason.host.as_ref().map(|host| host.to_ascii_lowercase()),
        command: reason.answered(),
        ..block::failed(address, &said)
    })
}

/// A session that came to nothing for a fault of the moment at our own side. Refusals for good are
/// nothing to report: anybody can bring them about for anybody's address.
fn read_session(letter: &Letter<'_>) -> Option<Report> {
    let mut recipients: Vec<Address> = Vec::new();
    let mut last: Option<(&str, Option<&'static str>)> = None;
    let mut sent = None;
    for line in letter.words().lines() {
        let line = line.trim_start();
        if let Some(command) = line.strip_prefix("In:") {
            sent = command_sent(command);
            if sent == Some("RCPT TO") {
                recipients.extend(block::address(command));
            }
        } else if let Some(reply) = line.strip_prefix("Out:") {
            let reply = reply.trim();
            if reply.starts_with("354") {
                sent = Some("end of DATA");
            }
            if is_reply(reply) {
                last = Some((reply, sent));
            }
        }
    }
    let (reply, command) = last.filter(|(reply, _)| reply.starts_with('4'))?;
    let recipients = recipients.into_iter().map(|address| Recipient {
        action: Some(Action::Delayed),
        command: command.map(str::to_owned),
        ..block::failed(address, reply)
    });
    Some(Report {
        recipients: recipients.collect(),
        ..Report::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_tells_what_each_recipients_reply_answered() {
        let table = [
            (
                "<Ann@x.test>: host mx.x.test[192.0.2.1] said: 550 5.1.1 who is\n    this (in reply to MAIL FROM\n    command)",
                "Ann@x.test - MAIL FROM 550 5.1.1 who is this",
            ),
            (
                "\n<bob@x.test> (expanded from <b@y.test>): host mx.x.test[192.0.2.1] said:\n    550 5.1.1 gone (in reply to RCPT TO command)",
                "bob@x.test b@y.test RCPT TO 550 5.1.1 gone",
            ),
            (
                "<eve@x.test>: host mx.x.test[192.0.2.1] refused to talk to me: 554 no",
                "eve@x.test - greeting 554 no",
            ),
            (
                "<carl@x.test>: unknown user: \"carl\"",
                "carl@x.test - - unknown user: \"carl\"",
            ),
        ];
        for (paragraph, expected) in table {
            let r = recipient(paragraph).unwrap();
            let said = r.diagnostic.map_or_else(String::new, |d| d.text);
            let shown = format!(
                "{} {} {} {said}",
                r.final_recipient.unwrap(),
                r.original_recipient.map_or("-".to_owned(), |a| a.to_string()),
                r.command.as_deref().unwrap_or("-"),
            );
            assert_eq!(shown, expected);
        }
        assert!(recipient("I'm sorry <a@b.test>: not at the start").is_none());
        assert!(recipient("<a@b.test> without a colon").is_none());
    }
}
