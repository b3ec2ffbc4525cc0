//! Which patterns match a text: first the words they require, then the patterns themselves.
//!
//! One pass over the text finds all words of all patterns in it ([`Words`]). A pattern is a
//! candidate where one word of each of its sets was found ([`Required`]); only candidates are asked, in
//! their order, and most that are nothing but words need not be. A set of regular expressions, in
//! contrast, has to carry all patterns through the whole text, and as each text is different, its
//! automaton spends its time on building states.
//!
//! What is found is exactly what the patterns say: the words are a necessary condition, and the tests
//! compare with the plain way ([`super::plain`]). Time is linear in the text for each candidate. Memory
//! grows with the rules only: a pattern is compiled when it is first a candidate, and then kept.

use super::required::Required;
use super::words::{PADDING, Words};
use regex::bytes::{Regex, RegexBuilder};
use regex_syntax::hir::Hir;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::OnceLock;

/// A compiled set of patterns.
#[derive(Debug)]
pub(super) struct Matcher {
    words: Words,
    /// The patterns whose first set a word is of, for one word after the other.
    opens: Vec<u32>,
    /// Where those of each word begin; one more at the end.
    begins: Vec<u32>,
    patterns: Vec<Pattern>,
    /// The patterns that require nothing.
    always: Vec<u32>,
}

/// One pattern.
#[derive(Debug)]
struct Pattern {
    text: String,
    /// Sets of words beside the first, one word of each of which must be there, too.
    others: Vec<Vec<u32>>,
    /// Nothing but words: where they are found, it matches.
    exact: bool,
    compiled: OnceLock<Option<Regex>>,
}

/// What was found in a text; kept from one text to the next for its memory only.
#[derive(Debug, Default)]
struct Scratch {
    /// The text in lower case, with [`PADDING`].
    text: Vec<u8>,
    words: Bits,
    candidates: Bits,
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
        self.0.iter().zip(0_u32..).flat_map(|(&bits, index)| {
            let mut bits = bits;
            std::iter::from_fn(move || {
                let lowest = (bits != 0).then(|| bits.trailing_zeros())?;
                bits &= bits - 1;
                Some(index * 64 + lowest)
            })
        })
    }
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Matcher {
    /// Compiles patterns, over octets and without regard to case, best first; `samples` are texts of the
    /// kind that they will be asked about.
    pub fn new<'a>(given: Vec<(String, Hir)>, samples: impl Iterator<Item = &'a str>) -> Self {
        let mut numbers: HashMap<Vec<u8>, u32> = HashMap::new();
        let mut words: Vec<Vec<u8>> = Vec::new();
        let mut opens: Vec<Vec<u32>> = Vec::new();
        let mut patterns = Vec::with_capacity(given.len());
        let mut always = Vec::new();
        for ((text, hir), index) in given.into_iter().zip(0_u32..) {
            let required = Required::of(&hir);
            let mut sets = required.sets.into_iter().map(|set| {
                let number = |word: Vec<u8>| {
                    *numbers.entry(word).or_insert_with_key(|word| {
                        words.push(word.clone());
                        opens.push(Vec::new());
                        (words.len() - 1) as u32
                    })
                };
                set.into_iter().map(number).collect::<Vec<u32>>()
            });
            let first = sets.next();
            let others = sets.collect();
            match first {
                Some(first) => first.iter().for_each(|&word| opens[word as usize].push(index)),
                None => always.push(index),
            }
            patterns.push(Pattern {
                text,
                others,
                exact: required.exact,
                compiled: OnceLock::new(),
            });
        }
        let lengths = opens.iter().map(|patterns| patterns.len() as u32);
        let lengths: Vec<u32> = std::iter::once(0).chain(lengths).collect();
        let begins = lengths.into_iter().scan(0, |sum, length| {
            *sum += length;
            Some(*sum)
        });
        Self {
            words: Words::new(&words, samples),
            begins: begins.collect(),
            opens: opens.into_iter().flatten().collect(),
            patterns,
            always,
        }
    }

    /// The first pattern that matches, of those that the caller wants.
    pub fn first(&self, text: &[u8], wanted: impl Fn(usize) -> bool) -> Option<usize> {
        SCRATCH.with_borrow_mut(|scratch| {
            self.look(text, scratch);
            let Scratch {
                words, candidates, ..
            } = scratch;
            candidates
                .iter()
                .map(|n| n as usize)
                .find(|&n| wanted(n) && self.patterns[n].matches(text, words))
        })
    }

    /// Finds the words of a text, and the patterns that they open.
    fn look(&self, text: &[u8], scratch: &mut Scratch) {
        let Scratch {
            text: lower,
            words,
            candidates,
        } = scratch;
        words.clear(self.begins.len());
        candidates.clear(self.patterns.len());
        for &pattern in &self.always {
            candidates.insert(pattern);
        }
        lower.clear();
        lower.extend_from_slice(text);
        lower.make_ascii_lowercase();
        lower.extend_from_slice(&PADDING);
        self.words.find(lower, |word| {
            if words.insert(word) {
                for &pattern in self.opened_by(word as usize) {
                    candidates.insert(pattern);
                }
            }
        });
    }

    fn opened_by(&self, word: usize) -> &[u32] {
        &self.opens[self.begins[word] as usize..self.begins[word + 1] as usize]
    }

    /// A pattern, compiled.
    pub fn pattern(&self, index: usize) -> Option<&Regex> {
        self.patterns[index].compiled()
    }

    /// The octets that finding words takes, and how many patterns have been compiled so far.
    pub fn size(&self) -> (usize, usize) {
        let opened = size_of_val(&*self.opens) + size_of_val(&*self.begins);
        let compiled = self
            .patterns
            .iter()
            .filter(|pattern| pattern.compiled.get().is_some());
        (self.words.memory_usage() + opened, compiled.count())
    }
}

impl Pattern {
    fn matches(&self, text: &[u8], words: &Bits) -> bool {
        let met = self
            .others
            .iter()
            .all(|set| set.iter().any(|&word| words.contains(word)));
        met && (self.exact || self.compiled().is_some_and(|regex| regex.is_match(text)))
    }

    /// The pattern compiled. It was checked when it was read, so that there is always one.
    fn compiled(&self) -> Option<&Regex> {
        self.compiled.get_or_init(|| compile(&self.text).ok()).as_ref()
    }
}

/// Compiles a pattern as all are.
fn compile(octets: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(octets)
        .case_insensitive(true)
        .unicode(false)
        .build()
}
