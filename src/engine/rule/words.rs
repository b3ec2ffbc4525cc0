//! Finds which of some thousand words stand in a text, in one pass.
//!
//! Of each word one rare run of four octets (of three, if it has no more) is known: its gram. At each place
//! of the text the gram found there is looked up in a table of bits small enough for the fastest cache;
//! only where it is that of a word is the word itself compared. No step waits for the one before it, as
//! the steps of an automaton do, whose table for as many words takes megabytes.
//!
//! Nothing here fails. The time for a text is linear in its length times the number of words that share a
//! gram, which [`Words::new`] keeps small by taking the rarest.

use std::ops::Range;

/// The fewest octets of a word.
pub(super) const SHORTEST: usize = 3;
/// What follows a text, so that each of its places begins eight octets.
pub(super) const PADDING: [u8; 8] = [0; 8];
/// The bits of the numbers that grams are known by: one bit in a table of 16 KiB.
const BITS: u32 = 17;
/// How many numbers of 64 bits hold these bits.
const CELLS: usize = 1 << (BITS - 6);

/// Words to be found, in lower case.
#[derive(Debug)]
pub(super) struct Words {
    /// Whether some word has the gram of this number.
    known: Box<[u64; CELLS]>,
    /// How many known numbers there are before each word of `known`.
    before: Vec<u32>,
    /// Where the entries of each known number begin; one more at the end.
    begins: Vec<u32>,
    entries: Vec<Entry>,
    /// What words have beyond their first eight octets.
    octets: Vec<u8>,
}

/// A word, as its gram finds it.
#[derive(Debug, Clone)]
struct Entry {
    gram: u32,
    word: u32,
    /// Its first eight octets, or all of them, and which bits these are.
    head: u64,
    mask: u64,
    /// Where in the word its gram begins.
    offset: u32,
    /// The octets beyond the first eight.
    tail: Range<u32>,
}

/// The number of a gram of four octets.
fn long(gram: u32) -> usize {
    (gram.wrapping_mul(0x9E37_79B1) >> (32 - BITS)) as usize
}

/// The number of a gram of three octets, which are the lower three.
fn short(gram: u32) -> usize {
    ((gram << 8).wrapping_mul(0x85EB_CA77) >> (32 - BITS)) as usize
}

/// How often grams stand in texts, by their numbers.
struct Common(Vec<u32>);

impl Common {
    fn of<'a>(texts: impl Iterator<Item = &'a str>) -> Self {
        let mut counts = vec![0; 1 << BITS];
        for text in texts {
            let lower = text.to_ascii_lowercase();
            for size in [3, 4] {
                let grams = lower.as_bytes().windows(size);
                grams.for_each(|gram| counts[short_or_long(gram)] += 1);
            }
        }
        Self(counts)
    }
}

fn short_or_long(gram: &[u8]) -> usize {
    if gram.len() == 4 {
        long(number(gram))
    } else {
        short(number(gram))
    }
}

/// Up to four octets as one number.
fn number(gram: &[u8]) -> u32 {
    gram.iter()
        .rev()
        .fold(0, |number, &octet| number << 8 | u32::from(octet))
}

/// Up to eight octets as one number.
fn head_of(octets: &[u8]) -> u64 {
    octets
        .iter()
        .rev()
        .fold(0, |number, &octet| number << 8 | u64::from(octet))
}

impl Words {
    /// Takes words of at least [`SHORTEST`] octets, and texts of the kind in which they will be looked for.
    pub fn new<'a>(words: &[Vec<u8>], samples: impl Iterator<Item = &'a str>) -> Self {
        let mut octets = Vec::new();
        let mut entries = Vec::with_capacity(words.len());
        let common = Common::of(samples);
        let mut taken = vec![0_u32; 1 << BITS];
        for (text, word) in words.iter().zip(0_u32..) {
            let size = text.len().min(4);
            // The more words share a gram, the more of them are compared wherever it stands.
            let cost = |gram: &[u8]| {
                let number = short_or_long(gram);
                u64::from(common.0[number] + 1) * u64::from(taken[number] + 1)
            };
            let cheapest = text.windows(size).enumerate().min_by_key(|(_, gram)| cost(gram));
            let Some((offset, gram)) = cheapest else { continue };
            taken[short_or_long(gram)] += 1;
            let gram = number(gram);
            let head = text.len().min(8);
            let tail = octets.len() as u32..(octets.len() + text.len() - head) as u32;
            octets.extend_from_slice(&text[head..]);
            let entry = Entry {
                gram,
                word,
                head: head_of(&text[..head]),
                mask: u64::MAX >> (64 - 8 * head),
                offset: offset as u32,
                tail,
            };
            entries.push((if size == 4 { long(gram) } else { short(gram) }, entry));
        }
        entries.sort_by_key(|(number, _)| *number);
        let mut known = Box::new([0_u64; CELLS]);
        let mut begins = Vec::new();
        for (index, (number, _)) in entries.iter().enumerate() {
            let (place, bit) = (&mut known[number / 64], 1 << (number % 64));
            if *place & bit == 0 {
                begins.push(index as u32);
            }
            *place |= bit;
        }
        begins.push(entries.len() as u32);
        let counts = known.iter().map(|bits| bits.count_ones());
        let before = counts.scan(0, |sum, count| Some(std::mem::replace(sum, *sum + count)));
        Self {
            before: before.collect(),
            known,
            begins,
            entries: entries.into_iter().map(|(_, entry)| entry).collect(),
            octets,
        }
    }

    /// Tells of every word in a text, which is in lower case and has [`PADDING`] after its end.
    pub fn find(&self, text: &[u8], mut found: impl FnMut(u32)) {
        let known = |number: usize| self.known[number / 64] >> (number % 64) & 1;
        for (at, gram) in text.array_windows().enumerate() {
            let gram = u32::from_le_bytes(*gram);
            let (four, three) = (long(gram), short(gram));
            let (is_four, is_three) = (known(four), known(three));
            if is_four | is_three == 0 {
                continue;
            }
            if is_four != 0 {
                self.compare(text, at, gram, four, &mut found);
            }
            if is_three != 0 {
                self.compare(text, at, gram & 0x00FF_FFFF, three, &mut found);
            }
        }
    }

    /// Tells of the words whose gram stands at a place. One of three octets has a fourth of zero.
    fn compare(&self, text: &[u8], at: usize, gram: u32, number: usize, found: &mut impl FnMut(u32)) {
        let lower = self.known[number / 64] & ((1 << (number % 64)) - 1);
        let index = (self.before[number / 64] + lower.count_ones()) as usize;
        let entries = self.begins[index] as usize..self.begins[index + 1] as usize;
        for entry in &self.entries[entries] {
            if entry.gram != gram || at < entry.offset as usize {
                continue;
            }
            let Some((head, rest)) = text[at - entry.offset as usize..].split_first_chunk() else {
                continue;
            };
            let same = u64::from_le_bytes(*head) & entry.mask == entry.head;
            if same && (entry.tail.is_empty() || rest.starts_with(self.tail(entry))) {
                found(entry.word);
            }
        }
    }

    fn tail(&self, entry: &Entry) -> &[u8] {
        &self.octets[entry.tail.start as usize..entry.tail.end as usize]
    }

    /// The octets that it holds.
    pub fn memory_usage(&self) -> usize {
        size_of_val(&*self.known)
            + size_of_val(&*self.before)
            + size_of_val(&*self.begins)
            + size_of_val(&*self.entries)
            + self.octets.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(words: &[&str], text: &str) -> Vec<u32> {
        let words: Vec<Vec<u8>> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
        let mut found = Vec::new();
        let text = [text.as_bytes(), &PADDING].concat();
        Words::new(&words, ["mailbox full"].into_iter()).find(&text, |word| found.push(word));
        found.sort_unstable();
        found.dedup();
        found
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
