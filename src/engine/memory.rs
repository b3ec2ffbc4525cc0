//! What the hooks answer from: suppressions, the providers of domains, and lanes, in memory.
//!
//! Reading takes nanoseconds, never waits for input or output and never fails. The store feeds it
//! (the shells call [`Memory::suppress_now`], [`Memory::suppress`], [`Memory::lift`], [`Memory::set_provider`] and
//! [`Memory::set_lane`] after a commit, and on what other nodes changed); until that feed has caught
//! up once, [`Memory::is_loaded`] says no and the hooks let mail pass.
//!
//! Suppressions are read without locks (`memory/list.rs`, `memory/table.rs`), about twenty bytes each.

use super::decide::Record;
use super::exchanger;
use super::gate::{Gate, Hold, Why};
use super::suppression::{Standing, Subject, SuppressionId};
use super::throttle::{Lane, LaneKey};
use super::verdict::Cause;
use crate::mail::address::Address;
use hashbrown::HashMap;
use jiff::Timestamp;
use parking_lot::{Mutex, RwLock};
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

mod detail;
mod list;
mod mark;
mod table;

pub use detail::Detail;
pub use list::{Found, Loading, Question};

use list::{FEED, List};
use mark::Mark;

/// An entry, as the store tells of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Its number.
    pub id: SuppressionId,
    /// Why.
    pub cause: Cause,
    /// Since when.
    pub since: Timestamp,
    /// Until when, a full hour; `None` is for good.
    pub expires: Option<Timestamp>,
    /// Whether it acts.
    pub standing: Standing,
}

/// How much is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Size {
    /// Suppressions, expired ones that were not lifted yet included.
    pub suppressions: usize,
    /// Domains whose provider is known.
    pub domains: usize,
    /// Lanes.
    pub lanes: usize,
}

/// The state that the hooks answer from.
#[derive(Debug)]
pub struct Memory {
    suppressions: List,
    domains: RwLock<Domains>,
    exchangers: RwLock<exchanger::Cache>,
    unknown: OnceLock<Unknown>,
    gate: Gate,
    /// How far in the change feed what is known of each lane stands.
    heights: Mutex<HashMap<LaneKey, i64>>,
    loaded: AtomicBool,
}

/// Who is told of domains of which nothing is known.
struct Unknown(Box<dyn Fn(&str) + Send + Sync>);

impl std::fmt::Debug for Unknown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Unknown")
    }
}

/// The provider of each domain; the few names of providers are shared.
#[derive(Debug, Default)]
struct Domains {
    provider: HashMap<Box<str>, Arc<str>, RandomState>,
    names: HashSet<Arc<str>>,
}

impl Domains {
    fn insert(&mut self, domain: &str, provider: &str) {
        let name = match self.names.get(provider) {
            Some(name) => Arc::clone(name),
            None => {
                let name: Arc<str> = provider.into();
                self.names.insert(Arc::clone(&name));
                name
            }
        };
        self.provider.insert(domain.into(), name);
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl Memory {
    /// Nothing known, and not loaded.
    #[must_use]
    pub fn new() -> Self {
        // The standard library's keyed hasher is seeded by the operating system; two of its outputs
        // make the key.
        let seed = RandomState::new();
        Self::with_key([seed.hash_one(0), seed.hash_one(1)])
    }

    /// As [`Memory::new`], with a key of the caller's: memories that know the same then have the same
    /// [`Memory::digest`].
    #[must_use]
    pub fn with_key(key: [u64; 2]) -> Self {
        Self {
            suppressions: List::new(key),
            domains: RwLock::default(),
            exchangers: RwLock::default(),
            unknown: OnceLock::new(),
            gate: Gate::new(),
            heights: Mutex::default(),
            loaded: AtomicBool::new(false),
        }
    }

    /// Whether all that was stored is here.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        self.loaded.load(Ordering::Acquire)
    }

    /// All that was stored is here: from now on the hooks answer.
    pub fn set_loaded(&self) {
        self.loaded.store(true, Ordering::Release);
    }

    /// How much is known.
    #[must_use]
    pub fn size(&self) -> Size {
        Size {
            suppressions: self.suppressions.len(),
            domains: self.domains.read().provider.len(),
            lanes: self.gate.lanes().len(),
        }
    }

    /// The subject has this entry, says the change feed. What was known of it before is replaced.
    pub fn suppress(&self, subject: &Subject, entry: &Entry) {
        self.suppressions.suppress(subject, entry, FEED);
    }

    /// The subject has this entry, says who has just committed it as a change up to this number. What the feed has
    /// told by now is not told again: it may have been lifted since.
    pub fn suppress_now(&self, subject: &Subject, entry: &Entry, sequence: i64) {
        self.suppressions.suppress(subject, entry, sequence);
    }

    /// As [`Memory::lift`], says who has just committed it as a change up to this number.
    pub fn lift_now(&self, subject: &Subject, id: SuppressionId, sequence: i64) -> bool {
        self.suppressions.lift(subject, id, sequence)
    }

    /// The change feed is about to be applied up to this number.
    pub fn reach(&self, sequence: i64) {
        self.suppressions.reach(sequence);
    }

    /// The subject's entry was lifted, if it is this one; whether it was. A lift that comes after the subject was
    /// suppressed anew does not touch the new entry (but for one in 32, for as long as the feed is behind: the
    /// end of the number is all that is kept of it).
    pub fn lift(&self, subject: &Subject, id: SuppressionId) -> bool {
        self.suppressions.lift(subject, id, FEED)
    }

    /// One of many stored entries, given by the canonical text of its subject.
    pub fn learn(
        &self,
        subject: &str,
        id: SuppressionId,
        cause: Cause,
        standing: Standing,
        expires: Option<Timestamp>,
    ) {
        self.suppressions
            .learn(subject, Mark::new(id, cause, standing, expires));
    }

    /// Begins to load all suppressions, about so many, beside those that answer. The feed stood at `sequence` before
    /// the first of them was read.
    #[must_use]
    pub fn load(&self, entries: usize, sequence: i64) -> Loading<'_> {
        self.suppressions.load(entries, sequence)
    }

    /// What forbids mailing an address at `now`, or holds it in quarantine: the address before its domain before
    /// patterns, each in all mail before the stream, and those in force before those in quarantine.
    #[must_use]
    pub fn suppressed(&self, question: &Question<'_>, now: Timestamp) -> Option<Found> {
        self.suppressions.find(question, now)
    }

    /// Whether the stream of a mail can matter: there is an entry about one.
    #[must_use]
    pub fn has_streams(&self) -> bool {
        self.suppressions.has_streams()
    }

    /// Has somebody told of subjects whose entry answered and of which no [`Detail`] was at hand, while hooks are
    /// answering: it must not wait. The first to ask is told.
    pub fn when_wanted(&self, tell: impl Fn(Subject) + Send + Sync + 'static) {
        self.suppressions.details().when_wanted(tell);
    }

    /// What is known of a subject's entry, for the next who is refused.
    pub fn set_detail(&self, subject: &Subject, detail: Detail) {
        let fingerprint = self.suppressions.fingerprint_of(subject);
        self.suppressions.details().put(fingerprint, detail);
    }

    /// A sum over all suppressions: equal in memories of one key that know the same.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.suppressions.digest()
    }

    /// The domain's mail is handled by this provider. The domain is in its canonical form.
    pub fn set_provider(&self, domain: &str, provider: &str, now: Timestamp) {
        self.domains.write().insert(domain, provider);
        self.gate.adopt(domain, provider, now);
    }

    /// These are all the domains of which a provider is stored: what is known of others was taken back.
    pub fn set_providers(&self, all: &[(String, String)], now: Timestamp) {
        let mut fresh = Domains::default();
        for (domain, provider) in all {
            fresh.insert(domain, provider);
        }
        *self.domains.write() = fresh;
        for (domain, provider) in all {
            self.gate.adopt(domain, provider, now);
        }
    }

    /// Who handles the domain's mail, as far as answers have shown.
    #[must_use]
    pub fn provider_of(&self, domain: &str) -> Option<Arc<str>> {
        self.domains.read().provider.get(domain).cloned()
    }

    /// DNS says that the domain's mail is handled by this provider, or by the domain itself, and is believed
    /// until then.
    pub fn set_exchangers(&self, domain: &str, provider: Option<&str>, until: Timestamp, now: Timestamp) {
        self.exchangers.write().insert(domain, provider, until);
        if let Some(provider) = provider.filter(|_| self.provider_of(domain).is_none()) {
            self.gate.adopt(domain, provider, now);
        }
    }

    /// Who handles the domain's mail: as answers have shown, else as DNS says. `None` is the domain itself, or
    /// nobody knows yet; where nobody does, whoever asked to be told ([`Memory::when_unknown`]) is.
    #[must_use]
    pub fn provider_at(&self, domain: &str, now: Timestamp) -> Option<Arc<str>> {
        if let Some(provider) = self.provider_of(domain) {
            return Some(provider);
        }
        if let Some(found) = self.exchangers.read().get(domain, now) {
            return found;
        }
        if let Some(Unknown(tell)) = self.unknown.get() {
            tell(domain);
        }
        None
    }

    /// Whether it is known who handles the domain's mail.
    #[must_use]
    pub fn knows(&self, domain: &str, now: Timestamp) -> bool {
        self.provider_of(domain).is_some() || self.exchangers.read().get(domain, now).is_some()
    }

    /// Has somebody told of domains of which nothing is known, while hooks are answering: it must not wait. The
    /// first to ask is told.
    pub fn when_unknown(&self, tell: impl Fn(&str) + Send + Sync + 'static) {
        let _ = self.unknown.set(Unknown(Box::new(tell)));
    }

    /// What lets delivery attempts pass.
    #[must_use]
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// This is the state of the lane now.
    pub fn set_lane(&self, key: LaneKey, lane: Lane, now: Timestamp) {
        self.gate.set_lane(key, lane, now);
    }

    /// This was the state of the lane when the change feed was at `sequence`: what came later stays.
    pub fn learn_lane(&self, key: LaneKey, lane: Lane, sequence: i64, now: Timestamp) {
        // Held until the gate knows: two who bring states at once must not cross.
        let mut heights = self.heights.lock();
        let height = heights.entry(key.clone()).or_insert(i64::MIN);
        if *height <= sequence {
            *height = sequence;
            self.set_lane(key, lane, now);
        }
    }

    /// These were all the lanes that were stored when the change feed was at `sequence`: what was learned of others
    /// was taken back, unless it came later.
    pub fn learn_lanes(&self, all: Vec<(LaneKey, Lane)>, sequence: i64, now: Timestamp) {
        let stored: HashSet<LaneKey> = all.iter().map(|(key, _)| key.clone()).collect();
        for (key, lane) in all {
            self.learn_lane(key, lane, sequence, now);
        }
        let heights = self.heights.lock();
        for (key, _) in self.gate.lanes() {
            let later = heights.get(&key).is_some_and(|height| *height > sequence);
            if !later && !stored.contains(&key) {
                self.gate.unlearn(&key, now);
            }
        }
    }

    /// The change feed is another one: its numbers say nothing about what is known of lanes.
    pub fn forget_heights(&self) {
        self.heights.lock().clear();
    }

    /// The state of a lane.
    #[must_use]
    pub fn lane(&self, key: &LaneKey) -> Option<Lane> {
        self.gate.lane(key)
    }

    /// All lanes, in order.
    #[must_use]
    pub fn lanes(&self) -> Vec<(LaneKey, Lane)> {
        self.gate.lanes()
    }

    /// The hold, if one lasts at `now`, on the lane from `egress` to the domain's provider. Costs no token.
    #[must_use]
    pub fn held(&self, domain: &str, egress: &str, now: Timestamp) -> Option<Hold> {
        let provider = self.provider_at(domain, now)?;
        self.gate.held(&provider, egress, now)
    }

    /// The lane from `egress` to the domain's provider, where at least `most` recipients wait in it.
    #[must_use]
    pub fn full(&self, domain: &str, egress: &str, most: usize, now: Timestamp) -> Option<Hold> {
        let provider = self.provider_at(domain, now)?;
        let (lane, waiting, next) = self.gate.waiting(&provider, egress)?;
        (waiting >= most).then(|| Hold {
            lane,
            until: next.filter(|next| *next > now),
            why: Why::Full,
            rule: None,
        })
    }

    /// Asks for one delivery attempt at the address: `None`, and it may go. What has to wait costs no token.
    #[must_use]
    pub fn attempt(&self, address: &Address, now: Timestamp) -> Option<Hold> {
        let provider = self.provider_at(address.domain(), now);
        self.gate.look_up(address, provider.as_deref(), now)
    }

    /// Hears of attempts before what became of them is committed ([`Gate::hear`]).
    pub fn hear(&self, records: &mut [Record], now: Timestamp) {
        for record in records {
            let provider = self.provider_at(record.event.recipient.domain(), now);
            self.gate.hear(record, provider.as_deref(), now);
        }
    }

    /// Hears what became of an attempt, after it was committed.
    pub fn observe(&self, record: &Record, now: Timestamp) {
        let provider = self.provider_at(record.event.recipient.domain(), now);
        self.gate.observe(record, provider.as_deref(), now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::throttle::Signal;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    #[test]
    fn a_domain_is_held_through_its_providers_lane_on_this_egress() {
        let memory = Memory::new();
        let lane = LaneKey {
            provider: "google".into(),
            egress: "default".into(),
        };
        memory.set_provider("gmail.com", "google", at(0));
        memory.set_provider("outlook.com", "outlook", at(0));
        memory.set_lane(
            lane.clone(),
            Lane::held(
                Signal {
                    rule: "google.rate".into(),
                    reply: "421".into(),
                    ..Signal::default()
                },
                at(60),
                at(0),
            ),
            at(0),
        );
        let hold = Hold {
            lane,
            until: Some(at(60)),
            why: Why::Held,
            rule: Some("google.rate".into()),
        };
        assert_eq!(memory.held("gmail.com", "default", at(59)), Some(hold));
        assert_eq!(memory.held("gmail.com", "default", at(60)), None);
        assert_eq!(memory.held("gmail.com", "other", at(59)), None);
        assert_eq!(memory.held("outlook.com", "default", at(59)), None);
        assert_eq!(memory.held("unheard.of", "default", at(59)), None);
        assert_eq!(memory.provider_of("gmail.com").as_deref(), Some("google"));
        memory.set_provider("gmail.com", "moved", at(0));
        assert_eq!(memory.provider_of("gmail.com").as_deref(), Some("moved"));
        assert_eq!(
            memory.size(),
            Size {
                suppressions: 0,
                domains: 2,
                lanes: 1
            }
        );
    }

    #[test]
    fn a_state_of_earlier_does_not_come_back() {
        let memory = Memory::new();
        let lane = LaneKey {
            provider: "google".into(),
            egress: "default".into(),
        };
        let held = Lane::held(Signal::default(), at(60), at(0));
        memory.learn_lane(lane.clone(), held.clone(), 7, at(0));
        memory.learn_lane(lane.clone(), Lane::open(at(0)), 6, at(0));
        assert_eq!(memory.lane(&lane), Some(held));
        memory.learn_lane(lane.clone(), Lane::open(at(1)), 8, at(1));
        assert_eq!(memory.lane(&lane), Some(Lane::open(at(1))));
    }

    #[test]
    fn what_is_not_stored_any_more_is_not_known_any_more() {
        let memory = Memory::new();
        let lane = |provider: &str| LaneKey {
            provider: provider.into(),
            egress: "default".into(),
        };
        let held = Lane::held(Signal::default(), at(60), at(0));
        for (provider, sequence) in [("google", 7), ("yahoo", 7), ("outlook", 9)] {
            memory.learn_lane(lane(provider), held.clone(), sequence, at(0));
            memory.set_provider(&format!("{provider}.test"), provider, at(0));
        }
        // Everything is read anew, as of change 8.
        memory.learn_lanes(vec![(lane("google"), held.clone())], 8, at(1));
        memory.set_providers(&[("google.test".into(), "google".into())], at(1));
        assert_eq!(memory.lane(&lane("google")), Some(held.clone()));
        assert_eq!(memory.lane(&lane("yahoo")), None, "taken back");
        assert_eq!(
            memory.attempt(&Address::parse("a@yahoo.test").unwrap(), at(1)),
            None
        );
        assert_eq!(memory.lane(&lane("outlook")), Some(held), "committed meanwhile");
        assert_eq!(memory.provider_of("google.test").as_deref(), Some("google"));
        assert_eq!(memory.provider_of("yahoo.test"), None);
    }
}
