//! Gmail and Google Workspace in words: the text of 2006 to 2016 (`Delivery to the following recipient failed
//! permanently:`, `Technical details of permanent failure:`, `The error that the other server returned was:`),
//! and the one since (`** Address not found **`, `The response was:`), which comes in the sender's language.
//!
//! The new one is read by its shape, not by its words: the recipient is that of `X-Failed-Recipients`, and
//! what was said is the last paragraph after a line that ends in a colon. A delay tells itself by the
//! subject, which is never translated.

use super::{Format, block, phrase, quoted};
use crate::mail::address::Address;
use crate::mail::dsn::{Action, Recipient, Report};
use crate::mail::letter::Letter;

/// The format.
pub const FORMAT: Format = Format {
    name: "gmail",
    tell: |letter| {
        let sender = letter.sender();
        sender == "mailer-daemon@googlemail.com" || sender == "mailer-daemon@google.com"
    },
    read,
};

/// What stands before the server's own words in the old text.
const RETURNED: [&str; 4] = [
    "The error that the other server returned was:",
    "The response from the remote server was:",
    "The response was:",
    "The error the other server returned was:",
];

fn read(letter: &Letter<'_>) -> Option<Report> {
    let words = letter.words();
    let late = letter.subject().contains("(delay)")
        || words.contains("has been delayed")
        || words.contains("Message will be retried for")
        || words.contains("Gmail will retry for");
    let said = said(words);
    let server = server(words);
    let all = recipients(letter);
    let shared = phrase::Shared::new(&said, &all);
    let action = Some(if late { Action::Delayed } else { Action::Failed });
    let recipients = all.iter().map(|address| Recipient {
        action,
        remote_mta: server.clone(),
        ..shared.failed(address)
    });
    Some(Report {
        recipients: recipients.collect(),
        ..Report::default()
    })
}

/// Who failed: the header says it, or else the addresses that stand alone on indented lines.
fn recipients(letter: &Letter<'_>) -> Vec<Address> {
    let named: Vec<Address> = letter
        .fields("X-Failed-Recipients")
        .flat_map(|field| field.split(',').filter_map(block::mailbox).collect::<Vec<_>>())
        .collect();
    if !named.is_empty() {
        return named;
    }
    let words = letter.words();
    let indented = words.lines().filter(|line| line.starts_with([' ', '\t']));
    let alone: Vec<Address> = indented.filter_map(phrase::lone_mailbox).collect();
    if !alone.is_empty() {
        return alone;
    }
    // `Your message wasn't delivered to ann@x.test because …`, in any language.
    let start = words.find("** ").map_or(words, |at| &words[at..]);
    block::address(start).into_iter().collect()
}

/// What was said: the server's reply, or what Google says itself.
fn said(words: &str) -> String {
    let returned = RETURNED.iter().find_map(|cue| words.split_once(cue));
    if let Some((_, reply)) = returned {
        return once(reply);
    }
    if let Some((_, details)) = words.split_once("Technical details of ") {
        let details = details.split_once(':').map_or(details, |(_, details)| details);
        // `PERM_FAILURE: SMTP Error (state 9): 550 550 5.1.1 no`
        return once(
            details
                .find("(state ")
                .and_then(|at| inner(&details[at..]))
                .or_else(|| doubled(details))
                .unwrap_or(details),
        );
    }
    let after_colon = words
        .rmatch_indices([':', '：'])
        .map(|(at, colon)| &words[at + colon.len()..]);
    let mut after_colon = after_colon.filter(|rest| rest.starts_with('\n') && !rest.trim().is_empty());
    once(after_colon.next().unwrap_or(words))
}

/// A reply behind Google's own sentence: it tells by the code, which Google says twice.
fn doubled(details: &str) -> Option<&str> {
    let at_word = details
        .match_indices([' ', '\n'])
        .map(|(at, _)| &details[at + 1..]);
    let mut replies = at_word.filter(|rest| quoted::says_reply(rest));
    replies.find(|rest| rest.len() >= 8 && rest.get(..4) == rest.get(4..8))
}

fn inner(details: &str) -> Option<&str> {
    details
        .split_once("): ")
        .map(|(_, rest)| rest)
        .filter(|rest| quoted::says_reply(rest))
}

/// The reply without what Google repeats or adds: `550 550 5.1.1 no (state 14).`
fn once(reply: &str) -> String {
    let mut text = reply.split_whitespace().collect::<Vec<_>>().join(" ");
    let repeated = text
        .get(..8)
        .is_some_and(|t| quoted::says_reply(t) && t.get(..4) == t.get(4..));
    if repeated {
        text.drain(..4);
    }
    let state = text.trim_end_matches('.');
    if let Some((before, state)) = state.rsplit_once(" (state ")
        && state.len() <= 4
    {
        text.truncate(before.len());
    }
    text
}

/// The server that the text names: `by the server for the recipient domain x.test by mx.x.test. [192.0.2.1]`.
fn server(words: &str) -> Option<String> {
    let (_, rest) = words.split_once("for the recipient domain ")?;
    let (_, rest) = rest.split_once(" by ")?;
    let host = rest.split_whitespace().next()?.trim_end_matches('.');
    host.contains('.').then(|| host.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_bared() {
        let table = [
            ("550 550 5.1.1 user unknown (state 14).", "550 5.1.1 user unknown"),
            ("\n450 4.2.1 slow\n down\n", "450 4.2.1 slow down"),
            ("550 room 550", "550 room 550"),
            ("é é é é", "é é é é"),
        ];
        for (said, bare) in table {
            assert_eq!(once(said), bare);
        }
        assert_eq!(
            said(
                "x\nTechnical details of permanent failure:\nPERM_FAILURE: SMTP Error (state 9): 550 550 5.1.1 no\n"
            ),
            "550 5.1.1 no"
        );
        assert_eq!(
            said(
                "Technical details of permanent failure: \nMessage rejected by x.test. 552 552 5.3.4 too big (state 18).\n"
            ),
            "552 5.3.4 too big"
        );
        assert_eq!(
            said("** Adresse nicht gefunden **\n\nx\n\nDie Antwort lautete:\n\n550 5.1.1 no\n"),
            "550 5.1.1 no"
        );
    }
}
