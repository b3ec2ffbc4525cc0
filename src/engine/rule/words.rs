//! Finds which of some thousand words stand in a text, in one pass.
//!
//! Of each word one rare run of octets is known, its gram: six octets, or four or three of words that have
//! no more. At each place of the text the grams that begin there are looked up in tables of bits small
//! enough for the fastest cache. That is done for 64 places at a time and without a branch, for whether a
//! place has a gram cannot be predicted; then, at the places that have one, the words are compared. No step
//! waits for the one before it, as the steps of an automaton do, whose table for as many words takes
//! megabytes.
//!
//! Nothing here fails. The time for a text is linear in its length times the number of words that share a
//! gram, which [`Words::new`] keeps small by taking the rarest.

/// The fewest octets of a word.
pub(super) const SHORTEST: usize = 3;
/// What follows a text, so that each of its places begins eight octets.
pub(super) const PADDING: [u8; 8] = [0; 8];
/// How many places of a text are looked at together.
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
    four: Bits<256>,
    /// Those of three.
    three: Bits<64>,
    /// The words by the hash of their gram, each in the next free place: a table with one access to
    /// memory for most hits. At least half of it is free; its size is a power of two.
    entries: Box<[Entry]>,
    /// What words have beyond their first eight octets.
    octets: Vec<u8>,
}

/// A word, as its gram finds it.
#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    /// The gram; [`EMPTY`] where there is no word.
    gram: u64,
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
        let number = top(hash, Self::WIDTH);
        self.0[number / 64] >> (number % 64) & 1
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

/// How long the gram of a word of this length is.
fn size_of_gram(length: usize) -> usize {
    match length {
        6.. => 6,
        4 | 5 => 4,
        shorter => shorter,
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
        let grams = word.windows(size_of_gram(word.len()));
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
        let size = (words.len() * 2 + 1).next_power_of_two();
        let mut made = Self {
            six: Bits::new(),
            four: Bits::new(),
            three: Bits::new(),
            entries: vec![Entry::default(); size].into_boxed_slice(),
            octets: Vec::new(),
        };
        let mut taken = vec![0_u32; 1 << COUNT_BITS];
        for (text, word) in words.iter().zip(0_u32..) {
            // The more words share a gram, the more of them are compared wherever it stands.
            let cost = |gram: &[u8]| {
                let number = counted_at(gram);
                u64::from(common.counts[number] + 1) * u64::from(taken[number] + 1)
            };
            let grams = text.windows(size_of_gram(text.len())).enumerate();
            if let Some((offset, gram)) = grams.min_by_key(|(_, gram)| cost(gram)) {
                taken[counted_at(gram)] += 1;
                made.insert(text, word, offset, number(gram), gram.len());
            }
        }
        made
    }

    fn insert(&mut self, text: &[u8], word: u32, offset: usize, gram: u64, size: usize) {
        let hash = hash(gram);
        match size {
            6 => self.six.insert(hash),
            4 => self.four.insert(hash),
            _ => self.three.insert(hash),
        }
        let (head, tail) = text.split_at(text.len().min(8));
        let entry = Entry {
            gram,
            head: number(head),
            word,
            tail: self.octets.len() as u32,
            length: text.len() as u16,
            offset: offset as u16,
        };
        self.octets.extend_from_slice(tail);
        let mut places = places(hash, self.entries.len());
        if let Some(free) = places.find(|&place| self.entries[place].gram == EMPTY) {
            self.entries[free] = entry;
        }
    }

    /// Tells of every word in a text, and where it begins. The text is in lower case and has [`PADDING`]
    /// after its end.
    pub fn find(&self, text: &[u8], mut found: impl FnMut(u32, usize)) {
        let mut from = 0;
        while from + PADDING.len() < text.len() {
            let places = text[from..].array_windows().take(BLOCK);
            let (mut six, mut four, mut three) = (0, 0, 0);
            for (octets, place) in places.zip(0_u32..) {
                let octets = u64::from_le_bytes(*octets);
                six |= self.six.has(hash(octets & mask(6))) << place;
                four |= self.four.has(hash(octets & mask(4))) << place;
                three |= self.three.has(hash(octets & mask(3))) << place;
            }
            for (mut ones, size) in [(six, 6), (four, 4), (three, 3)] {
                while ones != 0 {
                    let at = from + ones.trailing_zeros() as usize;
                    ones &= ones - 1;
                    self.compare(text, at, eight_at(text, at) & mask(size), &mut found);
                }
            }
            from += BLOCK;
        }
    }

    /// Tells of the words whose gram stands at a place.
    fn compare(&self, text: &[u8], at: usize, gram: u64, found: &mut impl FnMut(u32, usize)) {
        for place in places(hash(gram), self.entries.len()) {
            let entry = &self.entries[place];
            if entry.gram == EMPTY {
                return;
            }
            if entry.gram == gram
                && let Some(start) = at.checked_sub(usize::from(entry.offset))
                && self.is_at(&text[start..], entry)
            {
                found(entry.word, start);
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
        bits + size_of_val(&*self.entries) + self.octets.len()
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
