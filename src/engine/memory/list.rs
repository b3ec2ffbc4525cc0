//! The suppression list in memory: which subjects must not be mailed, read without locks.
//!
//! Subjects are not kept, only 64 bits of SipHash-1-3 of their canonical text under a key of this process: 18 to
//! 21 bytes an entry instead of about 80, nothing to leak, and nobody outside can choose addresses that collide. With
//! ten million entries a look-up hits a stranger's with probability 5e-13. Only patterns, of which operators write
//! a few, are kept as text: they must be matched.
//!
//! **Order of a look-up**: the address in all mail; the address in its stream; the domain in all mail; the domain
//! in its stream; patterns, in all mail and in the stream. The first entry in force answers. One in quarantine
//! answers only where there is none in force. What there are no entries of at all is not looked for.
//!
//! **Loading** fills a generation beside the one that answers, which takes over its parts one by one when it is complete;
//! what changes meanwhile is written to both. Each entry is in one part: a look-up meanwhile finds it as it was before or
//! as it is now.
//!
//! **Heights.** A change comes twice: from whoever committed it here, at once, and from the change feed. The first
//! may be late, and the feed may have lifted by then what it suppresses; so it counts only as long as its number
//! is above the generation's height, up to which the feed has been, or is just being, applied.

use super::Entry;
use super::detail::{Detail, Details};
use super::mark::Mark;
use super::table::Table;
use crate::engine::gate::stream::matches;
use crate::engine::suppression::{Standing, Subject, SuppressionId, Target};
use crate::engine::verdict::Cause;
use crate::mail::address::AddressKey;
use arc_swap::ArcSwap;
use jiff::Timestamp;
use parking_lot::Mutex;
use siphasher::sip::SipHasher13;
use std::hash::Hasher as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicIsize, Ordering};

/// The number of what the feed itself says: nothing is above it.
pub(super) const FEED: i64 = i64::MAX;

/// What is asked about.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// What the address is stored under.
    pub key: &'a AddressKey,
    /// The address in clear, for patterns: the same as its key, unless only hashes are kept.
    pub clear: &'a str,
    /// Its domain.
    pub domain: &'a str,
    /// The stream of the mail, where streams are told apart and it is known.
    pub stream: Option<&'a str>,
}

/// What forbids mailing an address, or makes it wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Why.
    pub cause: Cause,
    /// Whether it acts.
    pub standing: Standing,
    /// Until when; `None` is for good.
    pub expires: Option<Timestamp>,
    /// What else is known, if it was needed before.
    pub detail: Option<Detail>,
}

/// The list.
pub(super) struct List {
    hasher: SipHasher13,
    current: Generation,
    /// What is being loaded; held while anything is written, so that both get the same in one order.
    coming: Mutex<Option<Arc<Generation>>>,
    details: Details,
}

/// All entries as they were read at one time, and what was changed since.
#[derive(Debug, Default)]
struct Generation {
    table: Table,
    /// The changes up to this number come from the feed alone. Changed only while nothing is written.
    height: AtomicI64,
    /// Entries about one stream.
    streams: AtomicIsize,
    /// Entries about a domain.
    domains: AtomicIsize,
    /// Entries about a pattern.
    patterned: AtomicIsize,
    patterns: ArcSwap<Vec<Pattern>>,
    patterns_writer: Mutex<()>,
}

/// An operator's pattern; what is known of it stands in the table.
#[derive(Debug, Clone, PartialEq)]
struct Pattern {
    text: Box<str>,
    stream: Option<Box<str>>,
    fingerprint: u64,
}

impl std::fmt::Debug for List {
    /// By hand: the hasher would show its key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("List")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

impl List {
    pub(super) fn new(key: [u64; 2]) -> Self {
        Self {
            hasher: SipHasher13::new_with_keys(key[0], key[1]),
            current: Generation::default(),
            coming: Mutex::default(),
            details: Details::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.current.table.len()
    }

    /// Whether there is any entry about one stream.
    pub(super) fn has_streams(&self) -> bool {
        self.current.has_streams()
    }

    pub(super) fn details(&self) -> &Details {
        &self.details
    }

    /// The subject has this entry; what was known of it before is replaced.
    pub(super) fn suppress(&self, subject: &Subject, entry: &Entry, sequence: i64) {
        let fingerprint = self.fingerprint(&subject.to_string());
        let mark = Mark::new(entry.id, entry.cause, entry.standing, entry.expires);
        let written = self.write(sequence, |generation| {
            generation.insert(Some(subject), fingerprint, mark);
        });
        if written.is_some() {
            let detail = Detail {
                id: entry.id,
                since: entry.since,
            };
            self.details.put(fingerprint, detail);
        }
    }

    /// The subject's entry was lifted, if it is this one; whether it was.
    pub(super) fn lift(&self, subject: &Subject, id: SuppressionId, sequence: i64) -> bool {
        let fingerprint = self.fingerprint(&subject.to_string());
        let lifted = self.write(sequence, |generation| generation.remove(subject, fingerprint, id));
        if lifted == Some(true) {
            self.details.remove(fingerprint);
        }
        lifted == Some(true)
    }

    /// The feed is being applied up to here.
    pub(super) fn reach(&self, sequence: i64) {
        let coming = self.coming.lock();
        if let Some(coming) = &*coming {
            coming.height.store(sequence, Ordering::Relaxed);
        }
        self.current.height.store(sequence, Ordering::Relaxed);
    }

    /// A stored entry, given by the canonical text of its subject.
    pub(super) fn learn(&self, text: &str, mark: Mark) {
        let fingerprint = self.fingerprint(text);
        self.write(FEED, |generation| generation.learn(text, fingerprint, mark));
    }

    /// Does the same to what answers and to what is being loaded, where the feed has not been beyond it; returns
    /// what came of the former.
    fn write<T>(&self, sequence: i64, change: impl Fn(&Generation) -> T) -> Option<T> {
        let news = |generation: &Generation| generation.height.load(Ordering::Relaxed) < sequence;
        let coming = self.coming.lock();
        if let Some(coming) = coming.as_ref().filter(|generation| news(generation)) {
            change(coming);
        }
        news(&self.current).then(|| change(&self.current))
    }

    /// Begins to load about so many entries, as they are when the feed stands at `sequence` or later.
    pub(super) fn load(&self, entries: usize, sequence: i64) -> Loading<'_> {
        let generation = Arc::new(Generation {
            table: Table::with_capacity(entries),
            height: AtomicI64::new(sequence),
            ..Generation::default()
        });
        *self.coming.lock() = Some(Arc::clone(&generation));
        Loading {
            list: self,
            generation,
        }
    }

    /// What forbids the mail at `now`, or holds it in quarantine.
    pub(super) fn find(&self, question: &Question<'_>, now: Timestamp) -> Option<Found> {
        let mut search = Search {
            list: self,
            generation: &self.current,
            now,
            waiting: None,
        };
        search.run(question)
    }

    fn fingerprint(&self, text: &str) -> u64 {
        self.hasher.hash(text.as_bytes())
    }

    /// The fingerprint of a text given in parts.
    fn joined(&self, parts: &[&str]) -> u64 {
        let mut hasher = self.hasher;
        parts.iter().for_each(|part| hasher.write(part.as_bytes()));
        hasher.finish()
    }

    /// The fingerprint of a subject, for [`List::details`].
    pub(super) fn fingerprint_of(&self, subject: &Subject) -> u64 {
        self.fingerprint(&subject.to_string())
    }

    /// A sum over all entries, the same wherever the same is known under the same key, in whatever order it came.
    pub(super) fn digest(&self) -> u64 {
        let mut sum = 0u64;
        self.current.table.each(|fingerprint, mark| {
            let mut hasher = self.hasher;
            hasher.write(&fingerprint.to_le_bytes());
            hasher.write(&mark.to_le_bytes());
            sum = sum.wrapping_add(hasher.finish());
        });
        sum
    }
}

/// A look-up under way.
struct Search<'a> {
    list: &'a List,
    generation: &'a Generation,
    now: Timestamp,
    /// The first entry in quarantine.
    waiting: Option<Found>,
}

impl Search<'_> {
    fn run(&mut self, question: &Question<'_>) -> Option<Found> {
        let text = Subject::address_text(question.key);
        if let Some(found) = self.probe(self.list.fingerprint(&text), || {
            Subject::from(question.key.clone())
        }) {
            return Some(found);
        }
        let question = Question {
            stream: question.stream.filter(|_| self.generation.has_streams()),
            ..*question
        };
        if let Some(stream) = question.stream {
            let subject = || Subject::from(question.key.clone()).in_stream(Some(stream));
            if let Some(found) = self.probe(self.list.joined(&[&text, " ", stream]), subject) {
                return Some(found);
            }
        }
        if self.generation.domains.load(Ordering::Acquire) > 0 {
            let domain = || Subject::domain(question.domain);
            if let Some(found) = self.probe(self.list.joined(&["@", question.domain]), domain) {
                return Some(found);
            }
            if let Some(stream) = question.stream {
                let fingerprint = self.list.joined(&["@", question.domain, " ", stream]);
                if let Some(found) = self.probe(fingerprint, || domain().in_stream(Some(stream))) {
                    return Some(found);
                }
            }
        }
        self.patterns(&question).or(self.waiting)
    }

    fn patterns(&mut self, question: &Question<'_>) -> Option<Found> {
        if self.generation.patterned.load(Ordering::Acquire) <= 0 {
            return None;
        }
        let patterns = self.generation.patterns.load();
        let clear = question.clear.to_lowercase();
        for in_stream in [false, true] {
            for found in patterns.iter().filter(|pattern| match &pattern.stream {
                None => !in_stream,
                Some(stream) => in_stream && question.stream == Some(stream),
            }) {
                let subject = || Subject::pattern(&found.text).in_stream(found.stream.as_deref());
                if matches(&found.text, &clear)
                    && let Some(found) = self.probe(found.fingerprint, subject)
                {
                    return Some(found);
                }
            }
        }
        None
    }

    /// The entry of a fingerprint, if it is in force; one in quarantine is noted.
    fn probe(&mut self, fingerprint: u64, subject: impl Fn() -> Subject) -> Option<Found> {
        let mark = Mark(self.generation.table.get(fingerprint)?);
        if mark.is_past(self.now) {
            return None;
        }
        let detail = self.list.details.get(fingerprint);
        let detail = detail.filter(|detail| mark.may_be_of(detail.id));
        if detail.is_none() {
            self.list.details.want(&subject);
        }
        let found = Found {
            cause: mark.cause(),
            standing: mark.standing(),
            expires: mark.expires(),
            detail,
        };
        if found.standing == Standing::InForce {
            return Some(found);
        }
        self.waiting.get_or_insert(found);
        None
    }
}

impl Generation {
    /// As [`Generation::insert`], given the canonical text. Nearly all are addresses in all mail, which shows
    /// without taking the text apart.
    fn learn(&self, text: &str, fingerprint: u64, mark: Mark) {
        let octets = text.as_bytes();
        let plain =
            !matches!(octets.first(), Some(b':' | b'@' | b'\\')) && memchr::memchr(b' ', octets).is_none();
        if plain {
            self.insert(None, fingerprint, mark);
        } else {
            self.insert(Some(&Subject::from_stored(text)), fingerprint, mark);
        }
    }

    /// The entry of a subject, `None` for an address in all mail. It is counted first: whoever sees it knows that
    /// there are such.
    fn insert(&self, subject: Option<&Subject>, fingerprint: u64, mark: Mark) {
        subject.iter().for_each(|subject| self.count(subject, 1));
        let known = self.table.insert(fingerprint, mark.0).is_some();
        let Some(subject) = subject else { return };
        if known {
            self.count(subject, -1);
        }
        if let Target::Pattern(text) = &subject.target {
            let pattern = Pattern {
                text: text.clone(),
                stream: subject.stream.clone(),
                fingerprint,
            };
            self.change_patterns(|patterns| {
                if !patterns.contains(&pattern) {
                    patterns.push(pattern);
                }
            });
        }
    }

    fn remove(&self, subject: &Subject, fingerprint: u64, id: SuppressionId) -> bool {
        let is_it = |mark| Mark(mark).may_be_of(id);
        if self.table.remove_if(fingerprint, is_it).is_none() {
            return false;
        }
        self.count(subject, -1);
        if let Target::Pattern(_) = subject.target {
            self.change_patterns(|patterns| patterns.retain(|pattern| pattern.fingerprint != fingerprint));
        }
        true
    }

    /// Takes over what another one knows, which is given up; while nothing is written to either.
    fn adopt(&self, other: &Self) {
        // Before the entries, as when one is inserted: what both have is counted all the while.
        for (count, new) in [
            (&self.streams, &other.streams),
            (&self.domains, &other.domains),
            (&self.patterned, &other.patterned),
        ] {
            count.store(new.load(Ordering::Acquire), Ordering::Release);
        }
        self.table.adopt(&other.table);
        self.patterns.store(other.patterns.load_full());
        self.height
            .store(other.height.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    fn has_streams(&self) -> bool {
        self.streams.load(Ordering::Acquire) > 0
    }

    fn count(&self, subject: &Subject, change: isize) {
        if subject.stream.is_some() {
            self.streams.fetch_add(change, Ordering::AcqRel);
        }
        match subject.target {
            Target::Address(_) => {}
            Target::Domain(_) => drop(self.domains.fetch_add(change, Ordering::AcqRel)),
            Target::Pattern(_) => drop(self.patterned.fetch_add(change, Ordering::AcqRel)),
        }
    }

    fn change_patterns(&self, change: impl FnOnce(&mut Vec<Pattern>)) {
        let _alone = self.patterns_writer.lock();
        let mut patterns = Vec::clone(&self.patterns.load());
        change(&mut patterns);
        self.patterns.store(Arc::new(patterns));
    }
}

/// A list being loaded. Dropped unfinished it leaves everything as it was.
#[derive(Debug)]
pub struct Loading<'a> {
    list: &'a List,
    generation: Arc<Generation>,
}

impl Loading<'_> {
    /// A stored entry, given by the canonical text of its subject.
    pub fn learn(
        &self,
        subject: &str,
        id: SuppressionId,
        cause: Cause,
        standing: Standing,
        expires: Option<Timestamp>,
    ) {
        let mark = Mark::new(id, cause, standing, expires);
        self.generation
            .learn(subject, self.list.fingerprint(subject), mark);
    }

    /// Everything is here: from now on it answers.
    pub fn finish(self) {
        let mut coming = self.list.coming.lock();
        if coming
            .take_if(|coming| Arc::ptr_eq(coming, &self.generation))
            .is_some()
        {
            self.list.current.adopt(&self.generation);
        }
    }
}

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        let mut coming = self.list.coming.lock();
        coming.take_if(|coming| Arc::ptr_eq(coming, &self.generation));
    }
}

#[cfg(test)]
mod tests;
