//! What the hooks answer from: suppressions, the providers of domains, and lanes, in memory.
//!
//! Reading takes nanoseconds, never waits for input or output and never fails. The store feeds it
//! (the shells call [`Memory::suppress`], [`Memory::lift`], [`Memory::set_provider`] and
//! [`Memory::set_lane`] after a commit, and on what other nodes changed); until that feed has caught
//! up once, [`Memory::is_loaded`] says no and the hooks let mail pass.
//!
//! Addresses are not kept, only 64 bits of SipHash-1-3 under a key of this process: 24 bytes an entry
//! instead of about 80, nothing to leak, and nobody outside can choose addresses that collide. With
//! ten million entries a look-up hits a stranger's with probability 5e-13.

use super::decide::Record;
use super::exchanger;
use super::gate::{Gate, Hold, Why};
use super::suppression::{Subject, SuppressionId};
use super::throttle::{Lane, LaneKey};
use super::verdict::Cause;
use crate::mail::address::{Address, AddressKey};
use hashbrown::{HashMap, HashTable};
use jiff::Timestamp;
use parking_lot::{Mutex, RwLock};
use siphasher::sip::SipHasher13;
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

mod slot;
mod table;

use slot::Slot;

/// Parts of the suppression table, each under its own lock: a writer makes at most one look-up in 64
/// wait, and a part grows in steps of a sixty-fourth.
const SHARDS: usize = 64;

/// What is known of a suppressed address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Its number.
    pub id: SuppressionId,
    /// Why.
    pub cause: Cause,
    /// Since when, to the second.
    pub since: Timestamp,
    /// Until when, to the second; `None` is for good.
    pub expires: Option<Timestamp>,
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
    hasher: SipHasher13,
    suppressions: Box<[RwLock<HashTable<Slot>>]>,
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
        Self {
            hasher: SipHasher13::new_with_keys(seed.hash_one(0), seed.hash_one(1)),
            suppressions: (0..SHARDS).map(|_| RwLock::default()).collect(),
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
            suppressions: self.suppressions.iter().map(|shard| shard.read().len()).sum(),
            domains: self.domains.read().provider.len(),
            lanes: self.gate.lanes().len(),
        }
    }

    /// Makes room for so many more suppressions, so that a bulk load does not grow the table in steps.
    pub fn reserve(&self, entries: usize) {
        for shard in &self.suppressions {
            shard.write().reserve(entries / SHARDS, |slot| slot.fingerprint);
        }
    }

    /// The address must not be mailed. What was known of it before is replaced.
    pub fn suppress(&self, subject: &Subject, entry: &Entry) {
        let fingerprint = self.fingerprint(&subject.to_string());
        let slot = Slot::pack(fingerprint, entry);
        self.shard(fingerprint)
            .write()
            .entry(fingerprint, |s| s.fingerprint == fingerprint, |s| s.fingerprint)
            .and_modify(|old| *old = slot)
            .or_insert(slot);
    }

    /// The address may be mailed again, if it is this entry that forbids it; whether it was. A lift
    /// that comes after the address was suppressed anew does not touch the new entry.
    pub fn lift(&self, subject: &Subject, id: SuppressionId) -> bool {
        let fingerprint = self.fingerprint(&subject.to_string());
        self.shard(fingerprint)
            .write()
            .find_entry(fingerprint, |s| {
                s.fingerprint == fingerprint && s.unpack().id == id
            })
            .map(|entry| entry.remove())
            .is_ok()
    }

    /// The entry that forbids mailing the address at `now`.
    #[must_use]
    pub fn suppressed(&self, address: &AddressKey, now: Timestamp) -> Option<Entry> {
        let fingerprint = self.fingerprint(&Subject::address_text(address));
        let slot = *self
            .shard(fingerprint)
            .read()
            .find(fingerprint, |s| s.fingerprint == fingerprint)?;
        Some(slot.unpack()).filter(|entry| entry.expires.is_none_or(|at| now < at))
    }

    /// The domain's mail is handled by this provider. The domain is in its canonical form.
    pub fn set_provider(&self, domain: &str, provider: &str, now: Timestamp) {
        {
            let mut domains = self.domains.write();
            let name = match domains.names.get(provider) {
                Some(name) => Arc::clone(name),
                None => {
                    let name: Arc<str> = provider.into();
                    domains.names.insert(Arc::clone(&name));
                    name
                }
            };
            domains.provider.insert(domain.into(), name);
        }
        self.gate.adopt(domain, provider, now);
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

    /// Hears what became of an attempt, after it was committed.
    pub fn observe(&self, record: &Record, now: Timestamp) {
        let provider = self.provider_at(record.event.recipient.domain(), now);
        self.gate.observe(record, provider.as_deref(), now);
    }

    fn fingerprint(&self, subject: &str) -> u64 {
        self.hasher.hash(subject.as_bytes())
    }

    /// The table takes its place from the low bits and its tag from the high ones: the shard is chosen
    /// by bits in between.
    fn shard(&self, fingerprint: u64) -> &RwLock<HashTable<Slot>> {
        &self.suppressions[(fingerprint >> 40) as usize % SHARDS]
    }
}

#[cfg(test)]
mod tests {
    use super::slot::ID_BITS;
    use super::*;
    use crate::engine::throttle::Signal;
    use proptest::prelude::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn key(text: &str) -> AddressKey {
        AddressKey::from_stored(text)
    }

    fn about(text: &str) -> Subject {
        Subject::address(key(text))
    }

    fn entry(id: i64, expires: Option<i64>) -> Entry {
        Entry {
            id: SuppressionId(id),
            cause: Cause::UserUnknown,
            since: at(0),
            expires: expires.map(at),
        }
    }

    #[test]
    fn a_suppression_holds_until_it_expires_or_is_lifted() {
        let memory = Memory::new();
        memory.suppress(&about("a@x"), &entry(1, None));
        memory.suppress(&about("b@x"), &entry(2, Some(10)));
        assert_eq!(memory.suppressed(&key("a@x"), at(99)), Some(entry(1, None)));
        assert_eq!(memory.suppressed(&key("b@x"), at(9)), Some(entry(2, Some(10))));
        assert_eq!(memory.suppressed(&key("b@x"), at(10)), None);
        assert_eq!(memory.suppressed(&key("c@x"), at(0)), None);
        assert!(memory.lift(&about("a@x"), SuppressionId(1)));
        assert_eq!(memory.suppressed(&key("a@x"), at(0)), None);
        assert_eq!(memory.size().suppressions, 1);
    }

    #[test]
    fn a_late_lift_leaves_the_newer_entry() {
        let memory = Memory::new();
        memory.suppress(&about("a@x"), &entry(1, None));
        memory.suppress(&about("a@x"), &entry(7, None));
        assert!(!memory.lift(&about("a@x"), SuppressionId(1)));
        assert_eq!(memory.suppressed(&key("a@x"), at(0)), Some(entry(7, None)));
        assert_eq!(memory.size().suppressions, 1);
    }

    #[test]
    fn every_cause_survives_packing() {
        for &cause in Cause::ALL {
            let entry = Entry {
                cause,
                ..entry((1 << ID_BITS) - 1, Some(5))
            };
            assert_eq!(Slot::pack(3, &entry).unpack(), entry);
        }
    }

    /// Times beyond what is kept must not become shorter: a suppression until 2200 is not one until 1970.
    #[test]
    fn times_outside_are_drawn_to_the_nearer_end() {
        let far = Entry {
            since: Timestamp::from_second(-5).unwrap(),
            expires: Some(Timestamp::from_second(7_000_000_000).unwrap()),
            ..entry(1, None)
        };
        let kept = Slot::pack(0, &far).unpack();
        assert_eq!(kept.since, Timestamp::UNIX_EPOCH);
        assert_eq!(kept.expires, None);
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

    #[derive(Debug, Clone)]
    enum Step {
        Suppress(u8, i64),
        Lift(u8, i64),
    }

    proptest! {
        /// Whatever comes in whatever order, the table answers like a plain map.
        #[test]
        fn the_table_is_a_map(steps in proptest::collection::vec(
            prop_oneof![
                (any::<u8>(), 1..5i64).prop_map(|(a, id)| Step::Suppress(a, id)),
                (any::<u8>(), 1..5i64).prop_map(|(a, id)| Step::Lift(a, id)),
            ],
            0..400,
        )) {
            let memory = Memory::new();
            let mut model = std::collections::BTreeMap::new();
            for step in steps {
                match step {
                    Step::Suppress(a, id) => {
                        memory.suppress(&about(&format!("{a}@x")), &entry(id, None));
                        model.insert(a, id);
                    }
                    Step::Lift(a, id) => {
                        let was = model.get(&a) == Some(&id);
                        prop_assert_eq!(memory.lift(&about(&format!("{a}@x")), SuppressionId(id)), was);
                        if was {
                            model.remove(&a);
                        }
                    }
                }
            }
            prop_assert_eq!(memory.size().suppressions, model.len());
            for a in 0..=u8::MAX {
                let found = memory.suppressed(&key(&format!("{a}@x")), at(0)).map(|e| e.id.0);
                prop_assert_eq!(found, model.get(&a).copied());
            }
        }
    }
}
