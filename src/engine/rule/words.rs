//! Finds which of some thousand words stand in a text, in one pass.
//!
//! Of each word two rare runs of octets are known that follow each other by one octet, its grams: of six octets, or
//! of four of words that have no more. One of them begins at an even place wherever the word stands, so that only at
//! these the grams that begin there are looked up in tables of bits small enough for the fastest cache. Words of four
//! and three octets have one gram of three, which is looked up everywhere. That is done for 64 places at a time and
//! without a branch, for whether a place has a gram cannot be predicted; then, at the places that have one, the words
//! are compared. No step waits for the one before it, as the steps of an automaton do, whose table for as many words
//! takes megabytes.
//!
//! Nothing here fails. The time for a text is linear in its length times the number of words that share a
//! gram, which [`Words::new`] keeps small by taking the rarest.

use std::collections::BTreeMap;

/// The fewest octets of a word.
pub(super) const SHORTEST: usize = 3;
/// What follows a text, so that each of its places begins eight octets.
pub(super) const PADDING: [u8; 8] = [0; 8];
/// How many places of a text are looked at together, each the first of two.
const BLOCK: usize = 64;
/// The bits of the numbers that grams are counted by.
const COUNT_BITS: u32 = 17;
/// No gram: of words with such octets none is looked for.
const EMPTY: u64 = 0;

/// Words to be found, in lower case.
#[derive(Debug)]
pub(super) struct Words {
    /// The grams of six octets, in a table of 16 KiB.
    six: Bits<2048>,
    /// Those of four: few words are that short.
    four: Bits<512>,
    /// Those of three.
    three: Bits<64>,
    /// The grams by their hashes, each in the next free place: a table with one access to memory for most hits. At
    /// least half of it is free; its size is a power of two.
    grams: Box<[Gram]>,
    /// The words of each gram, one behind the other.
    entries: Vec<Entry>,
    /// What words have beyond their first eight octets.
    octets: Vec<u8>,
}

/// A gram, and where its words are among the entries.
#[derive(Debug, Clone, Copy, Default)]
struct Gram {
    /// Its octets; [`EMPTY`] where there is none.
    octets: u64,
    begin: u32,
    end: u32,
}

/// A word, as its gram finds it.
#[derive(Debug, Clone, Copy)]
struct Entry {
    /// Its first eight octets, or all of them.
    head: u64,
    word: u32,
    /// Where the octets beyond the first eight are.
    tail: u32,
    /// How long it is.
    length: u16,
    /// Where in the word its gram begins.
    offset: u16,
}

/// Whether a word has a gram, by one bit in so many cells of 64.
#[derive(Debug)]
struct Bits<const CELLS: usize>(Box<[u64; CELLS]>);

impl<const CELLS: usize> Bits<CELLS> {
    /// How many bits of a hash tell its place.
    const WIDTH: u32 = CELLS.trailing_zeros() + 6;

    fn new() -> Self {
        Self(Box::new([0; CELLS]))
    }

    fn insert(&mut self, hash: u64) {
        let number = top(hash, Self::WIDTH);
        self.0[number / 64] |= 1 << (number % 64);
    }

    /// As 0 or 1.
    fn has(&self, hash: u64) -> u64 {
        let cell = self.0[top(hash, Self::WIDTH - 6) & (CELLS - 1)];
        cell >> (top(hash, Self::WIDTH) % 64) & 1
    }
}

/// The octets of a gram of so many among eight, the first of which is the lowest.
const fn mask(size: usize) -> u64 {
    u64::MAX >> (64 - 8 * size)
}

/// A gram as a number whose upper bits look random.
fn hash(gram: u64) -> u64 {
    gram.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// The upper bits of a hash.
fn top(hash: u64, bits: u32) -> usize {
    (hash >> (64 - bits)) as usize
}

/// How long a gram of a word of this length is, and how many of them that follow each other are looked for.
fn shape_of_grams(length: usize) -> (usize, usize) {
    match length {
        7.. => (6, 2),
        5 | 6 => (4, 2),
        _ => (SHORTEST, 1),
    }
}

/// Where in a table of a size that is a power of two an entry may be, the likeliest first.
fn places(hash: u64, size: usize) -> impl Iterator<Item = usize> {
    let first = top(hash, size.trailing_zeros());
    (first..first + size).map(move |place| place & (size - 1))
}

/// How often grams stand in texts, by their numbers.
pub(super) struct Common {
    counts: Vec<u32>,
    texts: u32,
}

impl Common {
    /// Counts the grams of texts.
    pub fn of<'a>(texts: impl Iterator<Item = &'a str>) -> Self {
        let mut counts = vec![0; 1 << COUNT_BITS];
        let mut number = 0;
        for text in texts {
            number += 1;
            let lower = text.to_ascii_lowercase();
            for size in [3, 4, 6] {
                let grams = lower.as_bytes().windows(size);
                grams.for_each(|gram| counts[counted_at(gram)] += 1);
            }
        }
        Self {
            counts,
            texts: number,
        }
    }

    /// In about which part of the texts a word stands: not more often than its rarest gram, and than
    /// once in twice as many texts as there are.
    pub fn share(&self, word: &[u8]) -> f64 {
        let (size, _) = shape_of_grams(word.len());
        let grams = word.windows(size);
        let least = grams.map(|gram| self.counts[counted_at(gram)]).min();
        (f64::from(least.unwrap_or(0)) + 0.5) / (f64::from(self.texts) + 0.5)
    }
}

fn counted_at(gram: &[u8]) -> usize {
    top(hash(number(gram)), COUNT_BITS)
}

/// Up to eight octets as one number.
fn number(octets: &[u8]) -> u64 {
    octets
        .iter()
        .rev()
        .fold(0, |number, &octet| number << 8 | u64::from(octet))
}

/// The eight octets at a place; none where the text ends before.
fn eight_at(text: &[u8], at: usize) -> u64 {
    let rest = text.get(at..).and_then(|rest| rest.first_chunk());
    rest.map_or(0, |octets| u64::from_le_bytes(*octets))
}

impl Words {
    /// Takes words of at least [`SHORTEST`] octets, and what is common in the texts in which they will be
    /// looked for.
    pub fn new(words: &[Vec<u8>], common: &Common) -> Self {
        let mut octets = Vec::new();
        let mut found: BTreeMap<u64, (usize, Vec<Entry>)> = BTreeMap::new();
        let mut taken = vec![0_u32; 1 << COUNT_BITS];
        for (text, word) in words.iter().zip(0_u32..) {
            // The more words share a gram, the more of them are compared wherever it stands.
            let cost = |gram: &[u8]| {
                let number = counted_at(gram);
                u64::from(common.counts[number] + 1) * u64::from(taken[number] + 1)
            };
            let (size, count) = shape_of_grams(text.len());
            let runs = text.windows(size + count - 1).enumerate();
            let cost = |run: &[u8]| run.windows(size).map(cost).sum::<u64>();
            let Some((offset, run)) = runs.min_by_key(|(_, run)| cost(run)) else {
                continue;
            };
            let (head, tail) = text.split_at(text.len().min(8));
            for (gram, offset) in run.windows(size).zip(offset..) {
                taken[counted_at(gram)] += 1;
                let (_, entries) = found.entry(number(gram)).or_insert((size, Vec::new()));
                entries.push(Entry {
                    head: number(head),
                    word,
                    tail: octets.len() as u32,
                    length: text.len() as u16,
                    offset: offset as u16,
                });
            }
            octets.extend_from_slice(tail);
        }
        let mut made = Self {
            six: Bits::new(),
            four: Bits::new(),
            three: Bits::new(),
            grams: vec![Gram::default(); (found.len() * 2 + 1).next_power_of_two()].into_boxed_slice(),
            entries: Vec::new(),
            octets,
        };
        for (gram, (size, entries)) in found {
            made.insert(gram, size, &entries);
        }
        made
    }

    fn insert(&mut self, gram: u64, size: usize, entries: &[Entry]) {
        let hash = hash(gram);
        match size {
            6 => self.six.insert(hash),
            4 => self.four.insert(hash),
            _ => self.three.insert(hash),
        }
        let mut places = places(hash, self.grams.len());
        if let Some(free) = places.find(|&place| self.grams[place].octets == EMPTY) {
            let begin = self.entries.len() as u32;
            self.entries.extend_from_slice(entries);
            self.grams[free] = Gram {
                octets: gram,
                begin,
                end: self.entries.len() as u32,
            };
        }
    }

    /// Tells of every word in a text, and where it begins, in no order. The text is in lower case and has
    /// [`PADDING`] after its end.
    pub fn find(&self, text: &[u8], mut found: impl FnMut(u32, usize)) {
        let end = text.len().saturating_sub(PADDING.len());
        let mut from = 0;
        while from < end {
            let count = (end - from).div_ceil(2).min(BLOCK);
            let (mut six, mut four, mut first, mut second) = (0_u64, 0_u64, 0_u64, 0_u64);
            // From the last to the first, whose bits come to lie lowest: moved by one place each, they cost an
            // addition, and no shift by a number that changes.
            for place in (0..count).rev() {
                let octets = eight_at(text, from + 2 * place);
                six = six + six + self.six.has(hash(octets & mask(6)));
                four = four + four + self.four.has(hash(octets & mask(4)));
                first = first + first + self.three.has(hash(octets & mask(3)));
                second = second + second + self.three.has(hash(octets >> 8 & mask(3)));
            }
            for (mut ones, size, after) in [(six, 6, 0), (four, 4, 0), (first, 3, 0), (second, 3, 1)] {
                while ones != 0 {
                    let at = from + 2 * ones.trailing_zeros() as usize + after;
                    ones &= ones - 1;
                    self.compare(text, at, eight_at(text, at) & mask(size), &mut found);
                }
            }
            from += 2 * BLOCK;
        }
    }

    /// Tells of the words whose gram stands at a place.
    fn compare(&self, text: &[u8], at: usize, gram: u64, found: &mut impl FnMut(u32, usize)) {
        for place in places(hash(gram), self.grams.len()) {
            let Gram { octets, begin, end } = self.grams[place];
            if octets == gram {
                for entry in &self.entries[begin as usize..end as usize] {
                    if let Some(start) = at.checked_sub(usize::from(entry.offset))
                        && self.is_at(&text[start..], entry)
                    {
                        found(entry.word, start);
                    }
                }
                return;
            }
            if octets == EMPTY {
                return;
            }
        }
    }

    /// Whether a text begins with a word.
    fn is_at(&self, text: &[u8], entry: &Entry) -> bool {
        let Some((head, rest)) = text.split_first_chunk() else {
            return false;
        };
        let unasked = 64_u32.saturating_sub(u32::from(entry.length) * 8);
        let differing = u64::from_le_bytes(*head) ^ entry.head;
        differing << unasked == 0 && (unasked > 0 || rest.starts_with(self.tail(entry)))
    }

    fn tail(&self, entry: &Entry) -> &[u8] {
        let length = usize::from(entry.length).saturating_sub(8);
        &self.octets[entry.tail as usize..entry.tail as usize + length]
    }

    /// The octets that it holds.
    pub fn memory_usage(&self) -> usize {
        let bits = size_of_val(&*self.six.0) + size_of_val(&*self.four.0) + size_of_val(&*self.three.0);
        bits + size_of_val(&*self.grams) + size_of_val(&*self.entries) + self.octets.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(words: &[&str], text: &str) -> Vec<u32> {
        let all: Vec<Vec<u8>> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
        let mut found = Vec::new();
        let padded = [text.as_bytes(), &PADDING].concat();
        Words::new(&all, &Common::of(["mailbox full"].into_iter())).find(&padded, |word, at| {
            assert!(text[at..].starts_with(words[word as usize]), "{text}");
            found.push(word);
        });
        found.sort_unstable();
        found.dedup();
        found
    }

    #[test]
    fn every_place_is_looked_at() {
        let words = ["spf", "mailbox", "no such user"];
        for length in 0..200 {
            for (word, text) in words.iter().enumerate() {
                let text = format!("{}{text}{}", "-".repeat(length), "-".repeat(200 - length));
                assert_eq!(found(&words, &text), [word as u32], "{text}");
                assert_eq!(found(&words, text.trim_end_matches('-')), [word as u32], "{text}");
            }
        }
    }

    #[test]
    fn words_are_found_wherever_they_stand() {
        let words = [
            "spf",
            "mail",
            "mailbox",
            "box full",
            "full",
            "no such user",
            "user",
        ];
        let table: &[(&str, &[u32])] = &[
            ("", &[]),
            ("sp", &[]),
            ("spf", &[0]),
            ("mailbox full", &[1, 2, 3, 4]),
            ("mail box", &[1]),
            ("x no such user", &[5, 6]),
            ("no such use", &[]),
            ("ser, no such user spf", &[0, 5, 6]),
        ];
        for &(text, expected) in table {
            assert_eq!(found(&words, text), expected, "{text}");
        }
    }
}
