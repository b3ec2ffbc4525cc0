//! What a text must contain for a pattern to match it.
//!
//! From the syntax tree of a pattern follow sets of words: where the pattern matches, at least one word of
//! **each** set stands in the text. That is what the matcher looks for first; whether the pattern really
//! matches is asked only where all sets have been met. A pattern that is nothing but a choice of words is
//! settled by that alone ([`Required::exact`]).
//!
//! Everything is in lower case. All here is an over-approximation: sets may be missing, never wrong. The
//! proof is by structure, beside each case.

use super::words::SHORTEST;
use regex_syntax::hir::{Class, Hir, HirKind, Repetition};

/// The most words of a set. Beyond it a pattern's parts are taken one by one.
const MOST_WORDS: usize = 48;
/// The most characters that a class may stand for to be taken for a choice of words.
const MOST_OF_CLASS: usize = 10;
/// The longest word that is put together.
const LONGEST: usize = 48;

/// What a text must contain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Required {
    /// Sets, of each of which at least one word must be there. Empty where nothing is known.
    pub sets: Vec<Set>,
    /// Whether the only set decides: the pattern matches exactly the texts with one of its words.
    pub exact: bool,
}

/// Words, one of which must be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Set {
    /// The words: none is in another.
    pub words: Vec<Vec<u8>>,
    /// The most octets of a match that stand before such a word; `None` where there is no bound.
    pub before: Option<usize>,
}

/// What is known of a part of a pattern.
struct Part {
    /// Every string that the part can match, where these are few.
    all: Option<Vec<Vec<u8>>>,
    /// Whether `all` tells everything: nothing is asked of what stands around them.
    precise: bool,
    /// Sets of which one word each must be in what the part matches, beside `all`.
    sets: Vec<Set>,
}

impl Required {
    /// What a pattern (compiled without regard to case) requires.
    pub fn of(pattern: &Hir) -> Self {
        let part = Part::of(pattern);
        let exact = part.precise && part.all.is_some() && part.sets.is_empty();
        let sets: Vec<_> = part
            .into_sets()
            .into_iter()
            .filter(Set::worth_looking_for)
            .collect();
        Self {
            exact: exact && sets.len() == 1,
            sets,
        }
    }
}

impl Part {
    /// Any text.
    fn anything() -> Self {
        Self {
            all: None,
            precise: false,
            sets: Vec::new(),
        }
    }

    fn words(all: Vec<Vec<u8>>, precise: bool) -> Self {
        Self {
            all: Some(all),
            precise,
            sets: Vec::new(),
        }
    }

    fn of(hir: &Hir) -> Self {
        match hir.kind() {
            HirKind::Empty => Self::words(vec![Vec::new()], true),
            HirKind::Look(_) => Self::words(vec![Vec::new()], false),
            // A letter that stands as such minds its case: a pattern that does not has `[Aa]` for it.
            HirKind::Literal(literal) => Self::words(
                vec![literal.0.to_ascii_lowercase()],
                !literal.0.iter().any(u8::is_ascii_alphabetic),
            ),
            HirKind::Class(class) => of_class(class),
            HirKind::Capture(capture) => Self::of(&capture.sub),
            HirKind::Repetition(repetition) => Self::of_repetition(repetition),
            HirKind::Alternation(parts) => Self::of_choice(parts),
            HirKind::Concat(parts) => Self::of_sequence(parts),
        }
    }

    /// Once or not at all: what the part matches, or nothing. At least once: what one of them requires.
    fn of_repetition(repetition: &Repetition) -> Self {
        let sub = Self::of(&repetition.sub);
        match (repetition.min, repetition.max) {
            (0, Some(1)) if sub.sets.is_empty() => match sub.all {
                Some(mut all) => {
                    all.push(Vec::new());
                    Self::words(all, sub.precise)
                }
                None => Self::anything(),
            },
            (0, _) => Self::anything(),
            (1, Some(1)) => sub,
            // Once is the first time, too.
            _ => Self {
                sets: sub.into_sets(),
                ..Self::anything()
            },
        }
    }

    /// One of several: all their words together; or a set with a word of each, if each has one.
    fn of_choice(hirs: &[Hir]) -> Self {
        let parts: Vec<Self> = hirs.iter().map(Self::of).collect();
        let count: usize = parts.iter().map(|p| p.all.as_ref().map_or(0, Vec::len)).sum();
        if parts.iter().all(|p| p.all.is_some() && p.sets.is_empty()) && count <= MOST_WORDS * 4 {
            let precise = parts.iter().all(|p| p.precise);
            return Self::words(
                parts.into_iter().filter_map(|p| p.all).flatten().collect(),
                precise,
            );
        }
        let mut words = Vec::new();
        let mut before = Some(0);
        for part in parts {
            let sets = part.into_sets().into_iter().filter(Set::worth_looking_for);
            match sets.min_by(|a, b| a.share().total_cmp(&b.share())) {
                Some(best) => {
                    words.extend(best.words);
                    before = before.zip(best.before).map(|(a, b)| a.max(b));
                }
                None => return Self::anything(),
            }
        }
        Self {
            sets: vec![Set { words, before }],
            ..Self::anything()
        }
    }

    /// One after the other: their words put together as long as these are few; what each requires.
    fn of_sequence(hirs: &[Hir]) -> Self {
        let mut sets = Vec::new();
        let mut run = Run::new(Some(0));
        let (mut whole, mut precise) = (true, true);
        let mut passed = Some(0_usize);
        for hir in hirs {
            let part = Self::of(hir);
            precise &= part.precise;
            sets.extend(part.sets.into_iter().map(|set| Set {
                before: sum(set.before, passed),
                ..set
            }));
            let after = sum(passed, hir.properties().maximum_len());
            match part.all {
                None => {
                    whole = false;
                    sets.extend(std::mem::replace(&mut run, Run::new(after)).into_set());
                }
                Some(all) if !run.takes(&all) => {
                    whole = false;
                    let next = Run {
                        words: all,
                        before: passed,
                    };
                    sets.extend(std::mem::replace(&mut run, next).into_set());
                }
                Some(all) => run.push(&all),
            }
            passed = after;
        }
        let all = whole.then(|| std::mem::take(&mut run.words));
        if !whole {
            sets.extend(run.into_set());
        }
        Self {
            all,
            precise: whole && precise,
            sets,
        }
    }

    /// Everything that is required.
    fn into_sets(self) -> Vec<Set> {
        let own = self.all.and_then(|words| Set::of(words, Some(0)));
        self.sets.into_iter().chain(own).collect()
    }
}

/// Words that are put together, part by part.
struct Run {
    words: Vec<Vec<u8>>,
    /// The most octets of a match before them.
    before: Option<usize>,
}

impl Run {
    fn new(before: Option<usize>) -> Self {
        Self {
            words: vec![Vec::new()],
            before,
        }
    }

    /// Whether the words stay few and short with others behind them.
    fn takes(&self, others: &[Vec<u8>]) -> bool {
        let longest = |words: &[Vec<u8>]| words.iter().map(Vec::len).max().unwrap_or(0);
        self.words.len() * others.len() <= MOST_WORDS && longest(&self.words) + longest(others) <= LONGEST
    }

    fn push(&mut self, others: &[Vec<u8>]) {
        self.words = self
            .words
            .iter()
            .flat_map(|head| others.iter().map(move |tail| [head.as_slice(), tail].concat()))
            .collect();
    }

    fn into_set(self) -> Option<Set> {
        Set::of(self.words, self.before)
    }
}

fn sum(a: Option<usize>, b: Option<usize>) -> Option<usize> {
    a?.checked_add(b?)
}

/// About how many states an automaton for the pattern has; repetitions are written out for it.
pub(super) fn states(hir: &Hir) -> usize {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) | HirKind::Class(_) => 1,
        HirKind::Literal(literal) => literal.0.len(),
        HirKind::Capture(capture) => states(&capture.sub).saturating_add(2),
        HirKind::Repetition(r) => {
            let times = r.max.unwrap_or(r.min).max(1) as usize;
            states(&r.sub).saturating_add(1).saturating_mul(times)
        }
        HirKind::Concat(parts) | HirKind::Alternation(parts) => {
            parts.iter().map(states).fold(1, usize::saturating_add)
        }
    }
}

/// A class is a choice of words where it has few characters; upper and lower case are one.
fn of_class(class: &Class) -> Part {
    let octets: Vec<u8> = match class {
        Class::Bytes(class) => class.iter().flat_map(|r| r.start()..=r.end()).collect(),
        Class::Unicode(class) if class.is_ascii() => class
            .iter()
            .flat_map(|r| r.start()..=r.end())
            .filter_map(|c| u8::try_from(c).ok())
            .collect(),
        // Beyond ASCII a character is several octets.
        Class::Unicode(_) => return Part::anything(),
    };
    let mut all: Vec<Vec<u8>> = octets
        .iter()
        .map(|octet| vec![octet.to_ascii_lowercase()])
        .collect();
    all.sort();
    all.dedup();
    if all.is_empty() || all.len() > MOST_OF_CLASS {
        return Part::anything();
    }
    let other = |octet: &u8| {
        if octet.is_ascii_lowercase() {
            octet.to_ascii_uppercase()
        } else {
            octet.to_ascii_lowercase()
        }
    };
    Part::words(all, octets.iter().all(|octet| octets.contains(&other(octet))))
}

impl Set {
    /// Words without those that contain another of them, as a text that has them has that other, too.
    /// `None` where one of them is empty, and so in every text.
    fn of(mut words: Vec<Vec<u8>>, before: Option<usize>) -> Option<Self> {
        words.sort_by(|a, b| a.len().cmp(&b.len()).then_with(|| a.cmp(b)));
        let (shortest, longest) = (words.first()?.len(), words.last()?.len());
        if shortest == 0 {
            return None;
        }
        let mut kept: Vec<Vec<u8>> = Vec::new();
        for word in words {
            if !kept.iter().any(|k| memchr::memmem::find(&word, k).is_some()) {
                kept.push(word);
            }
        }
        Some(Self {
            words: kept,
            // The one that is contained may stand at the end of the one that is matched.
            before: sum(before, Some(longest - shortest)),
        })
    }

    /// Whether it tells some texts from others.
    fn worth_looking_for(&self) -> bool {
        self.words
            .iter()
            .all(|word| word.len() >= SHORTEST && !word.contains(&0))
            && self.share() < 0.5
    }

    /// About how many of a hundred places in a text begin one of the words, by their letters.
    pub fn share(&self) -> f64 {
        let places = |word: &Vec<u8>| word.iter().map(|&octet| common(octet)).product::<f64>();
        self.words.iter().map(places).sum::<f64>() * 100.0
    }
}

/// About how often an octet stands at a place in a reply.
fn common(octet: u8) -> f64 {
    match octet {
        b' ' => 0.16,
        b'e' | b'a' | b't' | b'o' | b'i' | b'n' | b's' | b'r' => 0.07,
        b'd' | b'l' | b'c' | b'm' | b'u' | b'p' => 0.035,
        b'a'..=b'z' => 0.02,
        b'0'..=b'9' | b'.' | b'-' => 0.015,
        _ => 0.005,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use regex_syntax::ParserBuilder;

    fn parsed(pattern: &str) -> Hir {
        ParserBuilder::new()
            .case_insensitive(true)
            .unicode(false)
            .utf8(false)
            .build()
            .parse(pattern)
            .unwrap()
    }

    fn required(pattern: &str) -> (Vec<Vec<String>>, bool) {
        let required = Required::of(&parsed(pattern));
        let word = |word: &Vec<u8>| String::from_utf8_lossy(word).into_owned();
        let sets = required
            .sets
            .iter()
            .map(|set| set.words.iter().map(word).collect())
            .collect();
        (sets, required.exact)
    }

    #[test]
    fn what_a_match_has_before_a_word_is_bounded() {
        let table: &[(&str, &str, Option<usize>)] = &[
            ("full", "full", Some(0)),
            (r"\bspf\b", "spf", Some(0)),
            ("(?: [^ ;]+){0,4} full", " full", None),
            ("\\w{2} full", " full", Some(2)),
            ("mail ?box", "mailbox", Some(1)),
            ("(?:(?:a|b.*) sail|\\w sail)x", " sail", None),
            ("(?:\\w\\w full|\\w sail)x", " full", Some(2)),
            ("(?:the |.)full", "full", Some(4)),
            ("(?:no|such)+ .full", "full", None),
        ];
        for &(pattern, word, before) in table {
            let required = Required::of(&parsed(pattern));
            let set = required.sets.iter().find(|set| set.words.contains(&word.into()));
            assert_eq!(set.map(|set| set.before), Some(before), "{pattern}: {required:?}");
        }
    }

    #[test]
    fn words_that_must_be_there_are_found() {
        let table: &[(&str, &[&[&str]], bool)] = &[
            ("Mailbox full", &[&["mailbox full"]], true),
            ("black ?list(?:ed)?", &[&["blacklist", "black list"]], true),
            (r"\bSPF\b", &[&["spf"]], false),
            (
                "gr[ea]y-?list",
                &[&["graylist", "greylist", "gray-list", "grey-list"]],
                true,
            ),
            (
                "(?:user|alias)[^.]*(?:unknown|gone)",
                &[&["user", "alias"], &["gone", "unknown"]],
                false,
            ),
            ("(?:a big|b.*c) sail", &[&[" sail"]], false),
            ("(?:tall|x.*ship) sail", &[&[" sail"], &["ship", "tall"]], false),
            ("(?P<sub>spamcop|sorbs)", &[&["sorbs", "spamcop"]], true),
            (r"\d+", &[], false),
            ("(?:full)?", &[], false),
            ("(?:full){2,}", &[&["full"]], false),
            ("^full$", &[&["full"]], false),
        ];
        for &(pattern, sets, exact) in table {
            let (mut found, is_exact) = required(pattern);
            let mut sets: Vec<Vec<String>> = sets
                .iter()
                .map(|set| set.iter().map(|&word| word.to_owned()).collect())
                .collect();
            found.iter_mut().chain(&mut sets).for_each(|set| set.sort());
            found.sort();
            sets.sort();
            assert_eq!((found, is_exact), (sets, exact), "{pattern}");
        }
    }
}
