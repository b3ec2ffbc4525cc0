//! Which patterns match a text: first the words they require, then the patterns themselves.
//!
//! One pass over the text finds all words of all patterns in it ([`Words`]). A pattern is a
//! candidate where one word of each of its sets was found ([`Required`]); only candidates are asked, in
//! their order, from where a match can begin, and most that are nothing but words need not be. A set of regular expressions, in
//! contrast, has to carry all patterns through the whole text, and as each text is different, its
//! automaton spends its time on building states.
//!
//! What is found is exactly what the patterns say: the words are a necessary condition, and the tests
//! compare with the plain way ([`super::reference`]). Time is linear in the text for each candidate. Memory
//! grows with the rules only: a pattern is compiled when it is first a candidate, and then kept.

use super::automaton::Automaton;
use super::group::Group;
use super::required::{Required, Set};
use super::words::{Common, PADDING, Words};
use regex::bytes::{Regex, RegexBuilder};
use regex_syntax::hir::Hir;
use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::OnceLock;

/// What asking a pattern costs, in comparisons of a word.
const COST_OF_PATTERN: f64 = 4.0;

/// A compiled set of patterns.
#[derive(Debug)]
pub(super) struct Matcher {
    words: Words,
    /// The patterns whose first set a word is of, for one word after the other.
    opens: Vec<Opening>,
    /// Where those of each word begin; one more at the end.
    begins: Vec<u32>,
    patterns: Vec<Pattern>,
    /// The patterns that require nothing.
    always: Vec<u32>,
}

/// A pattern that a word opens.
#[derive(Debug, Clone, Copy)]
struct Opening {
    pattern: u32,
    /// The most octets of a match that stand before the word.
    before: u32,
}

/// One pattern.
#[derive(Debug)]
struct Pattern {
    text: String,
    /// Sets of words beside the first, one word of each of which must be there, too.
    others: Vec<Vec<u32>>,
    /// Nothing but words: where they are found, it matches.
    exact: bool,
    /// What says whether it matches.
    automaton: OnceLock<Option<Automaton>>,
    /// What says where its group is, of one that has it.
    group: OnceLock<Option<Group>>,
}

/// What was found in a text; kept from one text to the next for its memory only.
#[derive(Debug, Default)]
struct Scratch {
    /// The text in lower case, with [`PADDING`].
    text: Vec<u8>,
    words: Bits,
    candidates: Bits,
    /// Where the match of each candidate may begin.
    from: Vec<u32>,
}

/// A pattern that matches, and where the match may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Match {
    /// The pattern's position.
    pub pattern: usize,
    /// No match begins before.
    pub from: usize,
}

/// A set of small numbers.
#[derive(Debug, Default)]
struct Bits(Vec<u64>);

impl Bits {
    fn clear(&mut self, count: usize) {
        self.0.clear();
        self.0.resize(count.div_ceil(64), 0);
    }

    fn insert(&mut self, n: u32) -> bool {
        let (place, bit) = (&mut self.0[n as usize / 64], 1 << (n % 64));
        let new = *place & bit == 0;
        *place |= bit;
        new
    }

    fn contains(&self, n: u32) -> bool {
        self.0[n as usize / 64] & (1 << (n % 64)) != 0
    }

    fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        let mut cells = self.0.iter().zip(0_u32..);
        let (mut bits, mut cell) = (0, 0);
        std::iter::from_fn(move || {
            while bits == 0 {
                let (&next, number) = cells.next()?;
                (bits, cell) = (next, number);
            }
            let lowest = bits.trailing_zeros();
            bits &= bits - 1;
            Some(cell * 64 + lowest)
        })
    }
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Words and the patterns that they open, while both are gathered.
#[derive(Default)]
struct Vocabulary {
    numbers: HashMap<Vec<u8>, u32>,
    words: Vec<Vec<u8>>,
    opens: Vec<Vec<Opening>>,
}

impl Vocabulary {
    fn number(&mut self, word: Vec<u8>) -> u32 {
        let Self {
            numbers,
            words,
            opens,
        } = self;
        *numbers.entry(word).or_insert_with_key(|word| {
            words.push(word.clone());
            opens.push(Vec::new());
            (words.len() - 1) as u32
        })
    }

    fn open(&mut self, set: Set, pattern: u32) {
        let before = set.before.and_then(|before| u32::try_from(before).ok());
        let opening = Opening {
            pattern,
            before: before.unwrap_or(u32::MAX),
        };
        for word in set.words {
            let number = self.number(word);
            self.opens[number as usize].push(opening);
        }
    }
}

/// The set of a pattern that is looked for first, because it is the rarest, and those of the others that
/// spare more in patterns asked for nothing than they cost in words compared.
fn chosen(sets: Vec<Set>, common: &Common) -> (Option<Set>, Vec<Set>) {
    let share = |set: &Set| set.words.iter().map(|word| common.share(word)).sum::<f64>();
    let mut sets: Vec<(f64, Set)> = sets.into_iter().map(|set| (share(&set), set)).collect();
    sets.sort_by(|(a, x), (b, y)| a.total_cmp(b).then_with(|| x.share().total_cmp(&y.share())));
    let mut sets = sets.into_iter();
    let Some((mut asked, first)) = sets.next() else {
        return (None, Vec::new());
    };
    let mut others = Vec::new();
    for (share, set) in sets {
        if asked * (1.0 - share) * COST_OF_PATTERN > share {
            asked *= share;
            others.push(set);
        }
    }
    (Some(first), others)
}

impl Matcher {
    /// Compiles patterns, over octets and without regard to case, best first; `samples` are texts of the
    /// kind that they will be asked about.
    pub fn new<'a>(given: Vec<(String, Hir)>, samples: impl Iterator<Item = &'a str>) -> Self {
        let common = Common::of(samples);
        let mut vocabulary = Vocabulary::default();
        let mut patterns = Vec::with_capacity(given.len());
        let mut always = Vec::new();
        for ((text, hir), index) in given.into_iter().zip(0_u32..) {
            let required = Required::of(&hir);
            let (first, others) = chosen(required.sets, &common);
            match first {
                Some(first) => vocabulary.open(first, index),
                None => always.push(index),
            }
            let mut numbers = |set: Set| {
                set.words
                    .into_iter()
                    .map(|word| vocabulary.number(word))
                    .collect()
            };
            patterns.push(Pattern {
                text,
                others: others.into_iter().map(&mut numbers).collect(),
                exact: required.exact,
                automaton: OnceLock::new(),
                group: OnceLock::new(),
            });
        }
        let Vocabulary { words, opens, .. } = vocabulary;
        let lengths = opens.iter().map(|patterns| patterns.len() as u32);
        let lengths: Vec<u32> = std::iter::once(0).chain(lengths).collect();
        let begins = lengths.into_iter().scan(0, |sum, length| {
            *sum += length;
            Some(*sum)
        });
        Self {
            words: Words::new(&words, &common),
            begins: begins.collect(),
            opens: opens.into_iter().flatten().collect(),
            patterns,
            always,
        }
    }

    /// The first pattern that matches, of those that the caller wants.
    pub fn first(&self, text: &[u8], wanted: impl Fn(usize) -> bool) -> Option<Match> {
        SCRATCH.with_borrow_mut(|scratch| {
            self.look(text, scratch);
            let Scratch {
                words,
                candidates,
                from,
                ..
            } = scratch;
            candidates.iter().find_map(|n| {
                let found = Match {
                    pattern: n as usize,
                    from: from[n as usize] as usize,
                };
                let matches =
                    wanted(found.pattern) && self.patterns[found.pattern].matches(text, found.from, words);
                matches.then_some(found)
            })
        })
    }

    /// Finds the words of a text, and the patterns that they open.
    fn look(&self, text: &[u8], scratch: &mut Scratch) {
        let Scratch {
            text: lower,
            words,
            candidates,
            from,
        } = scratch;
        words.clear(self.begins.len());
        candidates.clear(self.patterns.len());
        // What was there is of no meaning: each candidate is set anew.
        from.resize(self.patterns.len(), 0);
        for &pattern in &self.always {
            candidates.insert(pattern);
            from[pattern as usize] = 0;
        }
        lower.clear();
        lower.extend_from_slice(text);
        lower.make_ascii_lowercase();
        lower.extend_from_slice(&PADDING);
        self.words.find(lower, |word, at| {
            let at = u32::try_from(at).unwrap_or(0);
            words.insert(word);
            for opening in self.opened_by(word as usize) {
                let start = at.saturating_sub(opening.before);
                let from = &mut from[opening.pattern as usize];
                *from = if candidates.insert(opening.pattern) {
                    start
                } else {
                    start.min(*from)
                };
            }
        });
    }

    fn opened_by(&self, word: usize) -> &[Opening] {
        &self.opens[self.begins[word] as usize..self.begins[word + 1] as usize]
    }

    /// Where the group of a pattern that matches is, which has one.
    pub fn group(&self, found: Match, text: &[u8]) -> Option<Range<usize>> {
        let Pattern {
            text: octets, group, ..
        } = &self.patterns[found.pattern];
        let group = group.get_or_init(|| Group::new(octets)).as_ref();
        group.and_then(|group| group.find(text, found.from))
    }

    /// The octets that finding words and the compiled patterns take, and how many patterns are compiled.
    pub fn size(&self) -> (usize, usize) {
        let opened = size_of_val(&*self.opens) + size_of_val(&*self.begins);
        let compiled = self
            .patterns
            .iter()
            .filter_map(|pattern| pattern.automaton.get()?.as_ref());
        let (octets, count) = compiled.fold((0, 0), |(octets, count), automaton| {
            (octets + automaton.memory_usage(), count + 1)
        });
        (self.words.memory_usage() + opened + octets, count)
    }
}

impl Pattern {
    fn matches(&self, text: &[u8], from: usize, words: &Bits) -> bool {
        let met = self
            .others
            .iter()
            .all(|set| set.iter().any(|&word| words.contains(word)));
        met && (self.exact
            || self
                .automaton()
                .is_some_and(|automaton| automaton.is_match(text, from)))
    }

    fn automaton(&self) -> Option<&Automaton> {
        self.automaton.get_or_init(|| Automaton::new(&self.text)).as_ref()
    }
}

/// Compiles a pattern as all are.
pub(super) fn compile(octets: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(octets)
        .case_insensitive(true)
        .unicode(false)
        .build()
}
