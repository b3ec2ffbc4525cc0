//! Lines with a label in front, as many reporters write (`Failed address: user@example.test`), and looking
//! for phrases.

use super::block;
use crate::mail::address::{Address, LocalPart};
use crate::mail::letter::Letter;
use mail_parser::MimeHeaders;

/// The values of all lines that begin with a label (whatever its case), in their order.
pub(super) fn values<'a>(words: &'a str, label: &'a str) -> impl Iterator<Item = &'a str> {
    words.lines().filter_map(move |line| value_of(line, label))
}

/// The first of them.
pub(super) fn value<'a>(words: &'a str, label: &'a str) -> Option<&'a str> {
    values(words, label).next()
}

/// What follows a label at the start of a line.
pub(super) fn value_of<'a>(line: &'a str, label: &str) -> Option<&'a str> {
    let line = line.trim();
    let front = line.get(..label.len())?;
    front
        .eq_ignore_ascii_case(label)
        .then(|| line[label.len()..].trim())
}

/// What follows a label, from the end of its line to the next empty line.
pub(super) fn paragraph_after<'a>(words: &'a str, label: &str) -> Option<&'a str> {
    let mut at = 0;
    for line in words.split_inclusive('\n') {
        at += line.len();
        if let Some(value) = value_of(line, label) {
            let below = words[at..].trim_start_matches(['\n', ' ', '\t']);
            let below = below.split("\n\n").next().unwrap_or(below);
            return Some(if value.is_empty() { below.trim() } else { value });
        }
    }
    None
}

/// The first octets of words, to look for a tell in.
pub(super) fn head(words: &str, octets: usize) -> &str {
    &words[..words.floor_char_boundary(octets)]
}

/// Whether a mail system seems to speak: its sender says so, or it begins with these very words. People who
/// write about a notice say something before they quote it.
pub(super) fn speaks(letter: &Letter<'_>, introductions: &[&str]) -> bool {
    let words = letter.words().trim_start();
    let begins = || introductions.iter().any(|front| words.starts_with(front));
    letter.is_from_daemon() || (begins() && !is_from_author(letter))
}

/// Whether a person seems to write, themselves or through a mailing list: what they quote is no report.
pub(super) fn is_by_person(letter: &Letter<'_>) -> bool {
    !letter.is_from_daemon() && (is_from_author(letter) || letter.has("List-Id") || letter.has("List-Post"))
}

/// Whether mail came from the very mailbox that wrote it, as people's does: some begin with what they ask about.
fn is_from_author(letter: &Letter<'_>) -> bool {
    let path = letter.field("Return-Path").and_then(|path| block::mailbox(&path));
    path.is_some_and(|path| letter.author().is_some_and(|author| author == path))
}

/// Whether a notice came to this very address: it was delivered there.
pub(super) fn is_addressee(letter: &Letter<'_>, address: &Address) -> bool {
    let to = letter.field("To").and_then(|to| block::address(&to));
    to.is_some_and(|to| to.key(LocalPart::Fold) == address.key(LocalPart::Fold))
}

/// The boundary between the parts of a message; empty where it has none.
pub(super) fn boundary<'a>(letter: &Letter<'a>) -> &'a str {
    let kind = letter.message().root_part().content_type();
    kind.and_then(|kind| kind.attribute("boundary"))
        .unwrap_or_default()
}

/// Whether a phrase stands in words. Tells ask this of every message, dozens of times.
pub(super) fn has(words: &str, phrase: &str) -> bool {
    memchr::memmem::find(words.as_bytes(), phrase.as_bytes()).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_stand_in_front() {
        let words = "To: you\n  Failed address: a@b.test\nfailed address:c@d.test\n\nReason:\n\n  550 no\n  such user\n\nBye";
        let all: Vec<&str> = values(words, "Failed address:").collect();
        assert_eq!(all, ["a@b.test", "c@d.test"]);
        assert_eq!(paragraph_after(words, "Reason:"), Some("550 no\n  such user"));
        assert_eq!(value(words, "Bye:"), None);
        assert_eq!(head("aé", 2), "a");
    }
}
