//! What the readers of formats share: finding addresses and replies in lines that people read.

use crate::mail::address::Address;
use crate::mail::dsn::{Action, Diagnostic, Recipient};
use crate::mail::field::{header, unfolded};
use crate::mail::reply::Reply;

/// The first mailbox in a text: in `<>`, or a bare word with an `@`; punctuation around it is no part.
#[must_use]
pub(super) fn address(text: &str) -> Option<Address> {
    let bracketed = text.split('<').skip(1).filter_map(|rest| rest.split_once('>'));
    let bracketed = bracketed.map(|(inner, _)| inner);
    let bare = text.split(|c: char| c.is_whitespace() || "<>()[],;:\"'".contains(c) || is_wide_mark(c));
    bracketed
        .chain(bare)
        .filter(|word| word.contains('@'))
        .find_map(mailbox)
}

/// Whether a character is a mark of Eastern scripts: it joins words as it ends them, and is no part of an address
/// although an international one may hold any character (RFC 6531).
#[must_use]
pub(super) fn is_wide_mark(c: char) -> bool {
    "\u{ff1a}\u{ff1b}\u{ff0c}\u{ff08}\u{ff09}\u{ff1c}\u{ff1e}、。「」『』【】〈〉《》".contains(c)
}

/// A mailbox that is the whole of a word, but for punctuation and `mailto:` or `rfc822;` around it.
#[must_use]
pub(super) fn mailbox(word: &str) -> Option<Address> {
    let word = word.trim_matches(|c: char| c.is_whitespace() || "<>()[],;:'`".contains(c) || is_wide_mark(c));
    let word = word.trim_end_matches('.');
    let lower = word.get(..7).unwrap_or_default().to_ascii_lowercase();
    let word = match &*lower {
        "mailto:" | "rfc822;" => &word[7..],
        _ => word,
    };
    // Words around an address are no part of it; blanks may stand in a quoted local part only.
    let parts = |c: char| c.is_whitespace() || c == '<' || c == '>' || is_wide_mark(c);
    let one = word.starts_with('"') || !word.contains(parts);
    (one && word.contains('@'))
        .then(|| Address::parse(word).ok())
        .flatten()
}

/// A recipient that was given up, with what was said of it. Blanks and line ends become single blanks.
#[must_use]
pub(super) fn failed(address: Address, text: &str) -> Recipient {
    Recipient {
        final_recipient: Some(address),
        ..said(text)
    }
}

/// What was said of a recipient that was given up, whoever it is.
#[must_use]
pub(super) fn said(text: &str) -> Recipient {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let reply = Reply::parse(&text);
    Recipient {
        action: Some(Action::Failed),
        status: reply.status,
        diagnostic: (!text.is_empty()).then_some(Diagnostic { kind: None, text }),
        ..Recipient::default()
    }
}

/// The addressee of a returned mail, if it has one only. Its `To` is what an author wrote, and a blind copy
/// may be meant: whoever takes the recipient from it is to make it `doubtful`.
#[must_use]
pub(super) fn only_addressee(returned: &str) -> Option<Address> {
    let mut named = header(returned.as_bytes()).filter(|(name, _)| name.eq_ignore_ascii_case(b"To"));
    let to = unfolded(named.next()?.1);
    (!to.contains(',')).then(|| address(&to)).flatten()
}
