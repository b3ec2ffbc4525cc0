//! What the group `(?P<sub>…)` of a text matched: the name of a block list, as a rule.
//!
//! Where a pattern ends with its group, automata tell: two where the match begins and ends, and with it the group,
//! and one where that ends which stands in front of the group. That takes a tenth of what an engine for groups of any
//! kind takes. Any other pattern, and a text in which what stands in front may end in several places, is left to
//! such an engine.
//!
//! Nothing fails but the building, where a pattern is none; they were all checked when they were read.

use super::automaton::{limits, syntax};
use super::matcher::compile;
use super::syntax_of;
use regex::bytes::Regex;
use regex_automata::dfa::regex::Regex as Span;
use regex_automata::dfa::{Automaton as _, StartKind, dense};
use regex_automata::nfa::thompson;
use regex_automata::{Anchored, Input, MatchKind};
use regex_syntax::hir::{Hir, HirKind};
use std::ops::Range;

/// The name of the group.
const NAME: &str = "sub";

/// A pattern that has the group.
#[derive(Debug)]
pub(super) struct Group {
    last: Option<Box<Last>>,
    any: Regex,
}

/// A pattern that ends with its group.
#[derive(Debug)]
struct Last {
    whole: Span<dense::DFA<Vec<u32>>>,
    /// What stands in front of the group, wherever it may end; `None` for nothing.
    front: Option<dense::DFA<Vec<u32>>>,
}

impl Group {
    /// Compiles a pattern over octets, without regard to case.
    pub fn new(octets: &str) -> Option<Self> {
        Some(Self {
            last: Last::new(octets).map(Box::new),
            any: compile(octets).ok()?,
        })
    }

    /// Where the group is in the first match that begins at `from` or later; `None` where it took no part.
    pub fn find(&self, text: &[u8], from: usize) -> Option<Range<usize>> {
        let last = self.last.as_ref().and_then(|last| last.find(text, from));
        last.or_else(|| Some(self.any.captures_at(text, from)?.name(NAME)?.range()))
    }
}

impl Last {
    fn new(octets: &str) -> Option<Self> {
        let hir = syntax_of(octets).ok()?;
        let parts = match hir.kind() {
            HirKind::Concat(parts) => parts.as_slice(),
            _ => std::slice::from_ref(&hir),
        };
        let is_group = |part: &Hir| match part.kind() {
            HirKind::Capture(capture) => capture.name.as_deref() == Some(NAME),
            _ => false,
        };
        let at = parts.iter().position(is_group)?;
        let ends = parts[at + 1..]
            .iter()
            .all(|part| part.properties().maximum_len() == Some(0));
        // An empty group may be anywhere.
        if !ends || parts[at].properties().minimum_len() == Some(0) {
            return None;
        }
        let front = match &parts[..at] {
            [] => None,
            parts => Some(front(&Hir::concat(parts.to_vec()))?),
        };
        let whole = Span::builder()
            .syntax(syntax())
            .thompson(thompson::Config::new().utf8(false))
            .dense(limits())
            .build(octets)
            .ok()?;
        Some(Self { whole, front })
    }

    /// Where the group is; `None` also where it is not known.
    fn find(&self, text: &[u8], from: usize) -> Option<Range<usize>> {
        let input = Input::new(text).range(from..);
        let found = self.whole.try_search(&input).ok()??;
        let start = match &self.front {
            None => found.start(),
            Some(front) => only_end(front, text, found.range())?,
        };
        Some(start..found.end())
    }
}

/// An automaton for all ends of a part of a pattern.
fn front(part: &Hir) -> Option<dense::DFA<Vec<u32>>> {
    let nfa = thompson::Compiler::new()
        .configure(thompson::Config::new().utf8(false))
        .build_from_hir(part)
        .ok()?;
    let config = limits()
        .start_kind(StartKind::Anchored)
        .match_kind(MatchKind::All);
    dense::Builder::new().configure(config).build_from_nfa(&nfa).ok()
}

/// The only place within a match where what the match begins with can end.
fn only_end(front: &dense::DFA<Vec<u32>>, text: &[u8], within: Range<usize>) -> Option<usize> {
    let input = Input::new(text).range(within.clone()).anchored(Anchored::Yes);
    let mut state = front.start_state_forward(&input).ok()?;
    let mut end = None;
    for at in within {
        state = front.next_state(state, text[at]);
        if front.is_match_state(state) {
            // It tells of a match one octet late.
            if end.replace(at).is_some() {
                return None;
            }
        } else if front.is_dead_state(state) {
            break;
        }
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn both(pattern: &str, text: &str) -> [Option<String>; 2] {
        let group = Group::new(pattern).unwrap();
        let by_any = group
            .any
            .captures_at(text.as_bytes(), 0)
            .and_then(|found| found.name(NAME))
            .map(|found| found.range());
        [group.find(text.as_bytes(), 0), by_any].map(|range| range.map(|range| text[range].to_owned()))
    }

    #[test]
    fn a_group_is_what_it_matched() {
        let table = [
            // the pattern, whether automata tell, a text, the group
            (
                r"listed (?:at|in) (?P<sub>(?:[a-z]+\.)+[a-z]{2,})",
                true,
                "is listed in ZEN.bl.org, ask",
                Some("ZEN.bl.org"),
            ),
            (r"(?P<sub>dronebl|wpbl)\b", true, "wpblx, wpbl", Some("wpbl")),
            (r"\bby (?P<sub>[a-z.]+)", true, "xby no, by x.y 1", Some("x.y")),
            (r"a+ ?(?P<sub>a?b)", true, "aaab", Some("b")),
            (r"x(?P<sub>[a-z]+) is", false, "xabc is", Some("abc")),
            (r"x(?P<sub>[a-z]*)", false, "x", Some("")),
            (r"(?:(?P<sub>a)|b)c", false, "bc", None),
        ];
        for (pattern, automata, text, name) in table {
            assert_eq!(Last::new(pattern).is_some(), automata, "{pattern}");
            assert_eq!(
                both(pattern, text),
                [name.map(str::to_owned), name.map(str::to_owned)],
                "{pattern}"
            );
        }
    }

    proptest! {
        #[test]
        fn automata_find_what_an_engine_for_groups_finds(
            front in "(a|b|ab|a[+]|[(][?]:a[|]ab[)]|b[?]|[\\\\]b| ){0,3}",
            group in "(a|b|[(][?]:a[|]ab[)]|[a-b][+]|[a-b][+][?]|\\.){1,3}",
            behind in "([\\\\]b|[$]|)",
            text in "[ab .]{0,12}",
        ) {
            let pattern = format!("{front}(?P<sub>{group}){behind}");
            let [fast, any] = both(&pattern, &text);
            prop_assert_eq!(fast, any, "{} in {:?}", pattern, text);
        }
    }
}
