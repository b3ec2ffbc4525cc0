//! Whether a pattern matches, by an automaton that is built once.
//!
//! Nearly all patterns make small automata. Those need no state of their own while they search, and one
//! step an octet; an automaton that is built while it searches costs several times as much for texts as
//! short as replies. Patterns that would make a large one are left to that other kind.
//!
//! Nothing fails but the building, where a pattern is none; they were all checked when they were read.
//! Searching is linear in the text.

use super::matcher::compile;
use regex::bytes::Regex;
use regex_automata::Input;
use regex_automata::dfa::{Automaton as _, StartKind, dense};
use regex_automata::nfa::thompson;
use regex_automata::util::syntax;

/// The most octets of an automaton, and of what building it takes.
const LARGEST: usize = 128 << 10;
/// The most octets that building an automaton takes.
const LARGEST_BUILDING: usize = 1 << 20;

/// How all patterns are read.
pub(super) fn syntax() -> syntax::Config {
    syntax::Config::new()
        .case_insensitive(true)
        .unicode(false)
        .utf8(false)
}

/// How large an automaton may be.
pub(super) fn limits() -> dense::Config {
    dense::Config::new()
        .dfa_size_limit(Some(LARGEST))
        .determinize_size_limit(Some(LARGEST_BUILDING))
}

/// One pattern, compiled.
#[derive(Debug)]
pub(super) enum Automaton {
    /// Built at once.
    Whole(Box<dense::DFA<Vec<u32>>>),
    /// Built as far as texts need it.
    Growing(Regex),
}

impl Automaton {
    /// Compiles a pattern over octets, without regard to case.
    pub fn new(octets: &str) -> Option<Self> {
        let whole = dense::Builder::new()
            .syntax(syntax())
            .thompson(thompson::Config::new().utf8(false))
            .configure(limits().start_kind(StartKind::Unanchored))
            .build(octets);
        match whole {
            Ok(automaton) => Some(Self::Whole(Box::new(automaton))),
            Err(_) => compile(octets).ok().map(Self::Growing),
        }
    }

    /// Whether there is a match that begins at `from` or later.
    pub fn is_match(&self, text: &[u8], from: usize) -> bool {
        match self {
            Self::Whole(automaton) => {
                let input = Input::new(text).range(from..).earliest(true);
                // It gives up on no octet: it was not asked to.
                automaton
                    .try_search_fwd(&input)
                    .is_ok_and(|found| found.is_some())
            }
            Self::Growing(regex) => regex.is_match_at(text, from),
        }
    }

    /// The octets that it holds, as far as it says.
    pub fn memory_usage(&self) -> usize {
        match self {
            Self::Whole(automaton) => automaton.memory_usage(),
            Self::Growing(_) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_find_the_same() {
        let patterns = [
            r"\bspf\b[^.]*fail",
            "^full$",
            r"mail ?box(?: \w+){0,3} full\b",
            "(?P<sub>[a-z]+)-blocked",
        ];
        let texts = [
            "spf check failed",
            "xspf fail",
            "full",
            "a full",
            "The MailBox is not full",
            "mailbox full",
            "",
        ];
        for pattern in patterns {
            let whole = Automaton::new(pattern).unwrap();
            assert!(matches!(whole, Automaton::Whole(_)), "{pattern}");
            let growing = Automaton::Growing(compile(pattern).unwrap());
            for text in texts {
                for from in 0..=text.len() {
                    let found = [&whole, &growing].map(|kind| kind.is_match(text.as_bytes(), from));
                    assert_eq!(found[0], found[1], "{pattern} in {text} from {from}");
                }
            }
        }
    }

    #[test]
    fn a_large_one_is_not_built_at_once() {
        let automaton = Automaton::new("(?:[a-z]+ ){0,40}[a-e][a-z]{30}x").unwrap();
        assert!(matches!(automaton, Automaton::Growing(_)));
        assert!(automaton.is_match(b"so it is: abcdefghijklmnopqrstuvwxyzabcdex", 0));
    }
}
