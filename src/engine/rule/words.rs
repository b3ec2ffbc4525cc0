//! Finds which of some thousand words stand in a text, in one pass.
//!
//! Of each word two rare runs of octets are known that follow each other by one octet, its grams: of eight octets, or
//! of six or four of words that have no more. One of them begins at an even place wherever the word stands, so that
//! only these places are looked at. Grams are known by their fours that begin at even places of theirs: a table with
//! one octet for each hash of four octets tells of which kinds of grams they are a part, and as which; a gram may be
//! where its parts follow each other. So one access to a table small enough for the fastest cache serves all
//! lengths. Words of four and three octets have grams of three, which have tables of their own; those of three have
//! one gram only, looked up at the odd places, too. That is done for many places at a time and without a branch, for
//! whether a place has a gram cannot be predicted; then, at the places that have one, the words are compared. No step
//! waits for the one before it, as the steps of an automaton do, whose table for as many words takes megabytes.
//!
//! Nothing here fails. The time for a text is linear in its length times the number of words that share a
//! gram, which [`Words::new`] keeps small by taking the rarest.

use std::collections::BTreeMap;

/// The fewest octets of a word.
pub(super) const SHORTEST: usize = 3;
/// What follows a text, so that each of its places begins eight octets, and the eight that hold it are whole.
pub(super) const PADDING: [u8; 16] = [0; 16];
/// How many times eight octets are looked at together.
const BLOCK: usize = 32;
/// The even places of eight octets.
const PLACES: usize = 4;
/// The bits of the numbers that grams are counted by.
const COUNT_BITS: u32 = 17;
/// The bits of the hash of four octets.
const FOUR_BITS: u32 = 14;
/// Those of the hash of three.
const THREE_BITS: u32 = 12;
/// Those of the hash by which the words of a gram are found.
const GRAM_BITS: u32 = 15;
/// That an entry is the last one of its gram.
const LAST: u16 = 1 << 15;

/// Words to be found, in lower case.
#[derive(Debug)]
pub(super) struct Words {
    /// What four octets are, by their hash: bits of [`part`].
    fours: Box<[u8; 1 << FOUR_BITS]>,
    /// [`part::FIRST_THREE`] for three octets that are a gram, by their hash.
    first: Box<[u8; 1 << THREE_BITS]>,
    /// [`part::SECOND_THREE`] for those that are a whole word.
    second: Box<[u8; 1 << THREE_BITS]>,
    /// Where the words of each gram begin among the entries, by the hash of the gram. Those of grams with the same hash
    /// lie together: they are compared in vain.
    begins: Box<[u32]>,
    /// The words of each gram, one behind the other. The first is in no text, for grams without a word.
    entries: Vec<Entry>,
    /// What words have between their first eight octets and their last eight.
    octets: Vec<u8>,
}

/// A word, as its gram finds it.
#[derive(Debug, Clone, Copy)]
struct Entry {
    /// Its first eight octets, or all of them.
    head: u64,
    /// Its last eight, or all of them.
    tail: u64,
    word: u32,
    /// Where the octets between the first eight and the last eight are.
    middle: u32,
    /// How long it is.
    length: u16,
    /// Where in the word its gram begins, and [`LAST`].
    offset: u16,
}

/// What octets at a place are of grams: the first, second and third four of one of eight octets, the first and second
/// of one of six, all of one of four; a gram of three octets here, or one place further.
mod part {
    pub const FIRST_OF_EIGHT: u8 = 1;
    pub const FOUR: u8 = 1 << 1;
    pub const FIRST_THREE: u8 = 1 << 2;
    pub const SECOND_THREE: u8 = 1 << 3;
    pub const SECOND_OF_EIGHT: u8 = 1 << 4;
    pub const THIRD_OF_EIGHT: u8 = 1 << 5;
    pub const FIRST_OF_SIX: u8 = 1 << 6;
    pub const SECOND_OF_SIX: u8 = 1 << 7;
}

/// How many octets a gram has, by the bit that tells of it in [`grams_of`].
const MASKS: [u64; 8] = [mask(8), mask(4), mask(3), mask(3), mask(6), 0, 0, 0];

/// Which grams may begin at eight even places, from what stands at them, at those from the second on, and at those from
/// the third on: for each place an octet, whose bits are those of [`part`], but that the fifth tells of six octets.
fn grams_of(here: u64, second: u64, third: u64) -> u64 {
    let all = |octet: u8| u64::from_le_bytes([octet; 8]);
    let short = here & all(part::FOUR | part::FIRST_THREE | part::SECOND_THREE);
    let eight = here & second >> 4 & third >> 5 & all(part::FIRST_OF_EIGHT);
    let six = here >> 2 & second >> 3 & all(part::FIRST_OF_SIX >> 2);
    short | eight | six
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

/// As [`hash`], for the lowest four octets.
fn hash_of_four(octets: u64) -> usize {
    ((octets as u32).wrapping_mul(0x9E37_79B1) >> (32 - FOUR_BITS)) as usize
}

/// As [`hash`], for the lowest three octets.
fn hash_of_three(octets: u64) -> usize {
    (((octets as u32) << 8).wrapping_mul(0x9E37_79B1) >> (32 - THREE_BITS)) as usize
}

/// How long a gram of a word of this length is, and how many of them that follow each other are looked for.
fn shape_of_grams(length: usize) -> (usize, usize) {
    match length {
        9.. => (8, 2),
        7 | 8 => (6, 2),
        5 | 6 => (4, 2),
        4 => (SHORTEST, 2),
        _ => (SHORTEST, 1),
    }
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
            for size in [3, 4, 6, 8] {
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
        let mut made = Self {
            fours: Box::new([0; 1 << FOUR_BITS]),
            first: Box::new([0; 1 << THREE_BITS]),
            second: Box::new([0; 1 << THREE_BITS]),
            begins: vec![0; 1 << GRAM_BITS].into_boxed_slice(),
            // No octet of a text is that (RFC 3629).
            entries: vec![Entry {
                head: u64::MAX,
                tail: u64::MAX,
                word: 0,
                middle: 0,
                length: 8,
                offset: LAST,
            }],
            octets: Vec::new(),
        };
        let mut found: BTreeMap<usize, Vec<Entry>> = BTreeMap::new();
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
            let ends = text.len().min(8);
            for (gram, offset) in run.windows(size).zip(offset..) {
                taken[counted_at(gram)] += 1;
                let gram = number(gram);
                made.mark(gram, size, text.len());
                found.entry(top(hash(gram), GRAM_BITS)).or_default().push(Entry {
                    head: number(&text[..ends]),
                    tail: number(&text[text.len() - ends..]),
                    word,
                    middle: made.octets.len() as u32,
                    length: text.len() as u16,
                    offset: offset as u16,
                });
            }
            made.octets
                .extend(text.iter().skip(8).take(text.len().saturating_sub(16)));
        }
        for (place, mut entries) in found {
            made.begins[place] = made.entries.len() as u32;
            entries
                .last_mut()
                .into_iter()
                .for_each(|last| last.offset |= LAST);
            made.entries.append(&mut entries);
        }
        made
    }

    /// Marks the parts of a gram of so many octets, of a word of so many.
    fn mark(&mut self, gram: u64, size: usize, length: usize) {
        let parts: &[u8] = match size {
            8 => &[part::FIRST_OF_EIGHT, part::SECOND_OF_EIGHT, part::THIRD_OF_EIGHT],
            6 => &[part::FIRST_OF_SIX, part::SECOND_OF_SIX],
            4 => &[part::FOUR],
            _ => {
                self.first[hash_of_three(gram)] |= part::FIRST_THREE;
                if length == SHORTEST {
                    self.second[hash_of_three(gram)] |= part::SECOND_THREE;
                }
                &[]
            }
        };
        for (part, shift) in parts.iter().zip([0, 16, 32]) {
            self.fours[hash_of_four(gram >> shift)] |= part;
        }
    }

    /// Tells of every word in a text, and where it begins, in no order. The text is in lower case and has
    /// [`PADDING`] after its end.
    pub fn find(&self, text: &[u8], mut found: impl FnMut(u32, usize)) {
        let end = text.len().saturating_sub(PADDING.len());
        let (mut rest, _) = text.as_chunks::<8>();
        // Two more, for the second and third part of a gram.
        let mut parts = [0_u8; PLACES * BLOCK + 2 + 8];
        let mut from = 0;
        while from < end && !rest.is_empty() {
            let (block, later) = rest.split_at(rest.len().min(BLOCK));
            self.parts_of(block, later.first().unwrap_or(&[0; 8]), &mut parts);
            let places = PLACES * block.len();
            for first in (0..places).step_by(8) {
                let [here, second, third] = [0, 1, 2].map(|further| eight_at(&parts, first + further));
                let mut grams = grams_of(here, second, third);
                if places - first < 8 {
                    grams &= mask(places - first);
                }
                while grams != 0 {
                    let one = grams.trailing_zeros() as usize;
                    grams &= grams - 1;
                    let (place, kind) = (first + one / 8, one % 8);
                    let at = from + 2 * place + usize::from(1 << kind == part::SECOND_THREE);
                    self.compare(text, at, eight_at(text, at) & MASKS[kind], &mut found);
                }
            }
            from += 2 * places;
            rest = later;
        }
    }

    /// What stands at each even place of a block, and at the two after it.
    fn parts_of(&self, block: &[[u8; 8]], after: &[u8; 8], parts: &mut [u8]) {
        let Some((first, others)) = block.split_first() else {
            return;
        };
        let mut next = u64::from_le_bytes(*first);
        let (eights, _) = parts.as_chunks_mut::<PLACES>();
        for (chunk, parts) in others.iter().chain([after]).zip(eights) {
            let this = next;
            next = u64::from_le_bytes(*chunk);
            for (part, shift) in parts.iter_mut().zip([0, 16, 32, 48]) {
                let octets = if shift < 48 {
                    this >> shift
                } else {
                    this >> shift | next << (64 - shift)
                };
                *part = self.fours[hash_of_four(octets)]
                    | self.first[hash_of_three(octets)]
                    | self.second[hash_of_three(octets >> 8)];
            }
        }
        for (part, shift) in parts[PLACES * block.len()..].iter_mut().zip([0, 16]) {
            *part = self.fours[hash_of_four(next >> shift)];
        }
    }

    /// Tells of the words whose gram stands at a place.
    #[inline]
    fn compare(&self, text: &[u8], at: usize, gram: u64, found: &mut impl FnMut(u32, usize)) {
        let begin = self.begins[top(hash(gram), GRAM_BITS)] as usize;
        for entry in &self.entries[begin..] {
            // Before the text it is a place behind it.
            let start = at.wrapping_sub(usize::from(entry.offset & !LAST));
            if self.is_at(text, start, entry) {
                found(entry.word, start);
            }
            if entry.offset & LAST != 0 {
                return;
            }
        }
    }

    /// Whether a word stands at a place.
    #[inline]
    fn is_at(&self, text: &[u8], start: usize, entry: &Entry) -> bool {
        let length = usize::from(entry.length);
        let unasked = 64_usize.saturating_sub(length * 8);
        let Some(text) = text.get(start..) else {
            return false;
        };
        let differing = |octets: u64, at: usize| {
            let there = text.get(at..).and_then(|rest| rest.first_chunk());
            there.is_none_or(|there| (u64::from_le_bytes(*there) ^ octets) << unasked != 0)
        };
        if differing(entry.head, 0) || length > 8 && differing(entry.tail, length - 8) {
            return false;
        }
        length <= 16 || text[8..length - 8] == self.octets[entry.middle as usize..][..length - 16]
    }

    /// The octets that it holds.
    pub fn memory_usage(&self) -> usize {
        let tables = self.fours.len() + self.first.len() + self.second.len();
        tables + size_of_val(&*self.begins) + size_of_val(&*self.entries) + self.octets.len()
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
        let words = ["spf", "full", "quota", "mailbox", "no such user"];
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
    #[test]
    fn what_has_no_word_has_none() {
        assert_eq!(found(&["spf", "mailbox full"], &"\0".repeat(100)), [0_u32; 0]);
    }

    proptest::proptest! {
        #[test]
        fn it_finds_what_a_plain_search_finds(
            words in proptest::collection::btree_set("[ab]{3,20}", 1..60),
            text in "[ab]{0,300}",
        ) {
            let words: Vec<Vec<u8>> = words.into_iter().map(String::into_bytes).collect();
            let padded = [text.as_bytes(), &PADDING].concat();
            let mut found = Vec::new();
            Words::new(&words, &Common::of([text.as_str()].into_iter()))
                .find(&padded, |word, at| found.push((word as usize, at)));
            found.sort_unstable();
            found.dedup();
            let plain: Vec<(usize, usize)> = (0..words.len())
                .flat_map(|word| (0..text.len()).map(move |at| (word, at)))
                .filter(|&(word, at)| text.as_bytes()[at..].starts_with(&words[word]))
                .collect();
            proptest::prop_assert_eq!(found, plain);
        }
    }
}
