//! Why mail was not delivered, where no server's reply tells: a recipient's own words, if they say it; of one
//! recipient, what stands behind a label (`Reason: …`), or in any sentence that says it; else the one that speaks of
//! failure. What notices only guess at (`possible reasons are …`), or ask their readers to look after (`please check
//! that …`), is nothing that happened: it is left out, and where nothing remains, nothing is said.

use super::wording;
use std::cell::OnceCell;

/// As many letters as make words.
const MIN_LETTERS: usize = 6;
/// As many lines as belong to one reason, and labels that are asked for it.
const MAX_LINES: usize = 12;
const MAX_REASONS: usize = 16;

/// The reasons in a notice.
pub(super) struct Reasons<'a> {
    lines: &'a [&'a str],
    /// The sentence that stands for all whose own words say nothing.
    sentence: OnceCell<String>,
}

impl<'a> Reasons<'a> {
    /// Looks at the lines of a notice.
    pub(super) fn in_lines(lines: &'a [&'a str]) -> Self {
        Self {
            lines,
            sentence: OnceCell::new(),
        }
    }

    /// What is said of a recipient, by its own words, or by those for all; `alone` where there is no other.
    pub(super) fn of(&self, own: String, alone: bool) -> String {
        let own = certain(own);
        let says = own.chars().filter(|c| c.is_alphabetic()).count() >= MIN_LETTERS;
        if says && (!alone || wording::tells_why(&own)) {
            return own;
        }
        let sentence = self.sentence.get_or_init(|| self.find_sentence());
        if let Some(reason) = alone.then(|| self.labelled()).flatten() {
            // `It was rejected as spam. Reason: score 9.9`: neither says it all.
            let explains = !wording::tells_why(&reason) && wording::tells_why(sentence);
            return match explains && !sentence.contains(&*reason) {
                true => format!("{sentence} {reason}"),
                false => reason,
            };
        }
        match says && !wording::tells_why(sentence) {
            true => own,
            false => sentence.clone(),
        }
    }

    /// What a label announces as the reason, on its line or beneath it.
    fn labelled(&self) -> Option<String> {
        let lines = self.lines.iter().enumerate();
        let reasons = lines.filter_map(|(at, line)| {
            let reason = wording::reason(line).filter(|_| !wording::invites(line))?;
            Some(match reason.is_empty() {
                true => paragraph(&self.lines[at + 1..]),
                false => reason.to_owned(),
            })
        });
        let says = |reason: &String| reason.chars().any(char::is_alphabetic);
        // Where several announce it in a sentence, the last one is the most particular.
        let announced = || {
            let at = self
                .lines
                .iter()
                .rposition(|line| wording::announces_reason(line))?;
            Some(certain(paragraph(&self.lines[at + 1..])))
        };
        let mut reasons = reasons.take(MAX_REASONS).map(certain);
        reasons.find(says).or_else(announced).filter(says)
    }

    fn find_sentence(&self) -> String {
        let is_words = |line: &&str| !line.starts_with("--") && !wording::is_boilerplate(line);
        let blocks = self
            .lines
            .split(|line| line.is_empty())
            .filter(|block| !block.is_empty());
        let mut announced = false;
        let mut failure = None;
        for block in blocks {
            let text = block
                .iter()
                .copied()
                .filter(is_words)
                .collect::<Vec<_>>()
                .join(" ");
            // `Possible reasons:`, and beneath it the list of them.
            let guesses = std::mem::replace(
                &mut announced,
                wording::hedges(&text) && text.ends_with([':', '\u{ff1a}']),
            );
            for sentence in sentences(&text).filter(|sentence| !wording::hedges(sentence)) {
                if !guesses && wording::tells_why(sentence) && !wording::invites(sentence) {
                    return sentence.to_owned();
                }
                if failure.is_none() && wording::fails(sentence) {
                    failure = Some(sentence.to_owned());
                }
            }
        }
        failure.unwrap_or_default()
    }
}

/// A text without the sentences that guess.
fn certain(text: String) -> String {
    if !wording::hedges(&text) {
        return text;
    }
    let kept: Vec<&str> = sentences(&text)
        .filter(|sentence| !wording::hedges(sentence))
        .collect();
    kept.join(" ")
}

/// The lines up to an empty one, as far as they are one reason.
fn paragraph(lines: &[&str]) -> String {
    let lines = lines.iter().skip_while(|line| line.is_empty());
    lines
        .take_while(|line| !line.is_empty())
        .take(MAX_LINES)
        .copied()
        .collect::<Vec<_>>()
        .join(" ")
}

/// The sentences of a text.
fn sentences(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let ends = |(at, c): (usize, char)| {
            let next = at + c.len_utf8();
            let ends = match c {
                '.' | '!' | '?' => rest[next..].starts_with(' '),
                '。' | '！' | '？' => true,
                _ => false,
            };
            ends.then_some(next)
        };
        let end = rest.char_indices().find_map(ends).unwrap_or(rest.len());
        let (sentence, more) = rest.split_at(end);
        rest = more.trim_start();
        Some(sentence.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(notice: &str, own: &str) -> String {
        let lines: Vec<&str> = notice.lines().map(str::trim).collect();
        Reasons::in_lines(&lines).of(own.to_owned(), true)
    }

    #[test]
    fn guesses_and_advice_are_no_reasons() {
        let undelivered = "Your mail to a@b.test could not be delivered.";
        for guess in [
            "Possible reasons are that the address does not exist or that the mailbox is full.",
            "Possible reasons:\n\n- the user is unknown\n- the mailbox is full",
            "Please check that the address is not misspelled: the user may be unknown there.",
            "Bitte prüfen Sie die Adresse. Möglicherweise ist der Empfänger unbekannt.",
            "Reason: the user may be unknown",
        ] {
            assert_eq!(
                told(&format!("{undelivered}\n\n{guess}"), ""),
                undelivered,
                "{guess}"
            );
        }
        assert_eq!(told("Sorry.", "The user may be unknown."), "");
    }

    #[test]
    fn reasons_are_found() {
        let table = [
            (
                "Not delivered.\n\nThe user is unknown. Please check the address.",
                "",
                "The user is unknown.",
            ),
            ("Was rejected.\n\nReason: user unknown", "", "user unknown"),
            (
                "Was rejected as spam.\n\nReason: score 9.9",
                "",
                "Was rejected as spam. score 9.9",
            ),
            (
                "Not delivered.\nReason:\n\nno room\nleft here",
                "",
                "no room left here",
            ),
            (
                "Not delivered.\n\nThe mailbox of the\nrecipient is full.",
                "",
                "The mailbox of the recipient is full.",
            ),
            ("Not delivered.\nReason: spam", "mailbox full", "mailbox full"),
            ("Not delivered.", "by the way", "by the way"),
            (
                "Not delivered for the following reason:\n\nIt was refused.\nThe server gave the following reason:\n\nno such user",
                "",
                "no such user",
            ),
        ];
        for (notice, own, reason) in table {
            assert_eq!(told(notice, own), reason, "{notice}");
        }
    }
}
