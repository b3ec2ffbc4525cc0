//! The gate: what lets delivery attempts pass, and says which deferred message goes next.
//!
//! The hooks ask it about each attempt ([`Gate::look_up`]), the keeper tells it what became of them
//! ([`Gate::observe`]), the releaser asks for the next message that may go ([`Gate::release`]). All three share
//! a lane's tokens, tickets and backlog (`gate/lane.rs` says how), each lane under a lock of its own that is
//! held for microseconds: one lane's backlog, however long, costs the others nothing.
//!
//! A domain of which no provider is known is a lane of its own, without a name, until an answer shows whose it
//! is ([`Gate::adopt`]).
//!
//! Memory: the backlog is bounded ([`Settings::max_backlog`]; what is beyond it is left to Postfix's own
//! schedule, and counted), and so are the domains without a provider. Nothing here fails: in doubt mail passes.

mod asked;
mod hear;
mod lane;
mod look;
mod outcome;
mod place;
mod plan;
pub mod stream;

use look::Passing;
pub use look::{Deferred, Hold, Look, Release, Why};
pub use outcome::{OURS, is_ours, waits};

use super::backlog::Mark;
use super::decide::Record;
use super::throttle::{Lane, LaneKey, Plan, later};
use crate::mail::address::{Address, LocalPart};
use crate::mail::event::Source;
use asked::Asked;
use hashbrown::HashMap;
use jiff::Timestamp;
use lane::{Arrival, Ears, Way};
pub(crate) use lane::{FIRST_WINDOW, WIDENING};
use outcome::{Meaning, meaning};
use parking_lot::{Mutex, RwLock};
use place::{Agenda, Place};
use plan::{Laid, LaneName};
use siphasher::sip::SipHasher13;
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use stream::Streams;

/// The most domains without a known provider.
const STRANGERS: usize = 100_000;
/// Who hears of no outcome at all for so many seconds after an attempt is deaf.
const DEAF_SECONDS: i64 = 60;
/// A domain without a provider is forgotten when nothing was heard of it for so many seconds.
const STRANGER_SECONDS: f64 = 1800.0;

/// What the operator may change.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The name of our egress.
    pub egress: String,
    /// The kinds of mail.
    pub streams: Streams,
    /// The most recipients in all backlogs together.
    pub max_backlog: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            egress: "default".into(),
            streams: Streams::default(),
            max_backlog: 1_000_000,
        }
    }
}

/// The gate.
#[derive(Debug)]
pub struct Gate {
    hasher: SipHasher13,
    settings: RwLock<Arc<Settings>>,
    laid: RwLock<Laid>,
    agenda: Agenda,
    /// The recipient that was asked about last, where it was put off.
    asked: Mutex<Option<Asked>>,
    lanes: RwLock<HashMap<LaneKey, Arc<Place>>>,
    strangers: RwLock<HashMap<Box<str>, Arc<Place>>>,
    backlog: AtomicUsize,
    left_alone: AtomicU64,
    releasing: AtomicBool,
    hearing: AtomicBool,
    /// When the first attempt passed of which nothing was heard since, in seconds since 1970; 0 is none.
    unheard_since: AtomicI64,
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl Gate {
    /// Nothing known; the releaser is taken not to work and outcomes not to be heard, until somebody says
    /// otherwise.
    #[must_use]
    pub fn new() -> Self {
        let seed = RandomState::new();
        Self {
            hasher: SipHasher13::new_with_keys(seed.hash_one(0), seed.hash_one(1)),
            settings: RwLock::default(),
            laid: RwLock::default(),
            agenda: Agenda::default(),
            asked: Mutex::default(),
            lanes: RwLock::default(),
            strangers: RwLock::default(),
            backlog: AtomicUsize::new(0),
            left_alone: AtomicU64::new(0),
            releasing: AtomicBool::new(false),
            hearing: AtomicBool::new(false),
            unheard_since: AtomicI64::new(0),
        }
    }

    /// Takes over settings.
    pub fn configure(&self, settings: Settings, now: Timestamp) {
        let settings = Arc::new(settings);
        *self.settings.write() = Arc::clone(&settings);
        for place in self.places() {
            place.way.lock().set_streams(&settings.streams, now);
        }
    }

    /// Whether deferred mail is handed back. Where it is not, tokens go to whoever asks.
    pub fn set_releasing(&self, works: bool) {
        self.releasing.store(works, Ordering::Relaxed);
    }

    /// Whether outcomes are heard. Where they are not, what is under way is not bounded. Says whether they were
    /// before.
    pub fn set_hearing(&self, works: bool) -> bool {
        self.hearing.swap(works, Ordering::Relaxed)
    }

    /// Whether deferred mail is handed back.
    #[must_use]
    pub fn is_releasing(&self) -> bool {
        self.releasing.load(Ordering::Relaxed)
    }

    fn ears(&self, now: Timestamp) -> Ears {
        let since = self.unheard_since.load(Ordering::Relaxed);
        let deaf = since != 0 && now.as_second().saturating_sub(since) > DEAF_SECONDS;
        Ears {
            releasing: self.releasing.load(Ordering::Relaxed),
            hearing: self.hearing.load(Ordering::Relaxed) && !deaf,
            stale: self.stale(now),
        }
    }

    /// What was learned of a lane.
    pub fn set_lane(&self, key: LaneKey, lane: Lane, now: Timestamp) {
        let place = self.lane_place(&key.provider, &key.egress, now);
        self.with(&place, now, |way| way.set_lane(lane, now));
    }

    /// Nothing is learned of a lane, whatever was known before; what waits in it stays.
    pub fn unlearn(&self, key: &LaneKey, now: Timestamp) {
        let place = self.lanes.read().get(key).cloned();
        if let Some(place) = place {
            self.with(&place, now, |way| way.unlearn(now));
        }
    }

    /// What passed a lane of which nothing was learned yet. Of one that something was learned of since, it tells
    /// nothing new.
    pub fn set_unlimited(&self, key: &LaneKey, lane: Lane, now: Timestamp) {
        let place = self.lane_place(&key.provider, &key.egress, now);
        let mut way = place.way.lock();
        if way.lane.is_none() {
            way.unlimited = Some(Box::new(lane));
        }
    }

    /// What passed a lane of which nothing was learned yet, as far as it was heard here.
    #[must_use]
    pub fn unlimited(&self, key: &LaneKey) -> Option<Lane> {
        let place = self.lanes.read().get(key).cloned()?;
        let way = place.way.lock();
        way.unlimited.as_deref().cloned()
    }

    /// What was learned of a lane, if anything was.
    #[must_use]
    pub fn lane(&self, key: &LaneKey) -> Option<Lane> {
        let place = self.lanes.read().get(key).cloned()?;
        let way = place.way.lock();
        way.lane.clone()
    }

    /// All lanes of which something was learned, in order.
    #[must_use]
    pub fn lanes(&self) -> Vec<(LaneKey, Lane)> {
        let lanes = self.lanes.read();
        let learned =
            |(key, place): (&LaneKey, &Arc<Place>)| Some((key.clone(), place.way.lock().lane.clone()?));
        let mut all: Vec<_> = lanes.iter().filter_map(learned).collect();
        drop(lanes);
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }

    /// Why an attempt at this recipient has to wait; `None`, and it may go. `provider` is who handles its
    /// domain, where that is known.
    pub fn look_up(&self, address: &Address, provider: Option<&str>, now: Timestamp) -> Option<Hold> {
        let egress = Arc::clone(&self.settings.read());
        let place = self.place(provider, address.domain(), &egress.egress, now)?;
        let mark = self.mark(address);
        let ears = self.ears(now);
        let mut way = place.way.lock();
        let passing = way.look_up(mark, ears, now);
        self.asked(mark, passing, now);
        if passing == Passing::Go && self.unheard_since.load(Ordering::Relaxed) == 0 {
            self.unheard_since.store(now.as_second(), Ordering::Relaxed);
        }
        match passing {
            Passing::Go => None,
            Passing::Wait(until, why) => Some(way.hold(until, why)),
        }
    }

    /// Why nothing may go to a provider now, whoever asks; `None` where something may. Costs no token.
    #[must_use]
    pub fn held(&self, provider: &str, egress: &str, now: Timestamp) -> Option<Hold> {
        let place = self.lanes.read().get(&LaneName { provider, egress }).cloned()?;
        let mut way = place.way.lock();
        let (until, why) = way.shut(now)?;
        Some(way.hold(until, why))
    }

    /// Hears what became of an attempt. Only what Postfix's log says of a message in its queue counts.
    /// `provider` is who handles the recipient's domain, where that is known.
    pub fn observe(&self, record: &Record, provider: Option<&str>, now: Timestamp) {
        let event = &record.event;
        let Some(queue_id) = event.queue_id.as_deref().filter(|_| event.source == Source::Log) else {
            return;
        };
        self.unheard_since.store(0, Ordering::Relaxed);
        let settings = Arc::clone(&self.settings.read());
        let domain = event.recipient.domain();
        let Some(place) = self.place(provider, domain, &settings.egress, now) else {
            return;
        };
        let named = record
            .stream
            .as_deref()
            .and_then(|name| settings.streams.named(name));
        let arrival = Arrival {
            queue_id,
            attempt: self.attempt(queue_id, &event.recipient),
            mark: self.mark(&event.recipient),
            stream: named.unwrap_or_else(|| {
                settings.streams.of(
                    event.sender.as_deref().unwrap_or_default(),
                    event.sasl_username.as_deref().unwrap_or_default(),
                )
            }),
            since: event.at,
            admitted: self.admits(&settings),
        };
        let meaning = meaning(record);
        let full = self.with(&place, now, |way| {
            way.local |= event.relay.as_ref().is_some_and(|relay| relay.is_local());
            match meaning {
                Meaning::Settled(how) => way.settled(&arrival, how, now),
                Meaning::Refused(how) => way.refused(arrival, how, now),
                Meaning::PutOff => way.put_off(arrival, now),
            }
            !arrival.admitted && meaning.waits() && !way.backlog.has(queue_id, arrival.mark)
        });
        self.left_alone.fetch_add(u64::from(full), Ordering::Relaxed);
    }

    /// A deferred recipient that Postfix's queue has and that waits for its turn; whether it is here now.
    pub fn enter(&self, deferred: &Deferred<'_>, provider: Option<&str>, now: Timestamp) -> bool {
        let settings = Arc::clone(&self.settings.read());
        let domain = deferred.recipient.domain();
        let Some(place) = self.place(provider, domain, &settings.egress, now) else {
            return false;
        };
        let mark = self.mark(deferred.recipient);
        let named = deferred.stream.and_then(|name| settings.streams.named(name));
        let stream = named.unwrap_or_else(|| settings.streams.of(deferred.sender, ""));
        let admitted = self.admits(&settings);
        let there = self.with(&place, now, |way| {
            let there = way.backlog.has(deferred.queue_id, mark);
            if !there && admitted {
                way.backlog
                    .enter(deferred.queue_id, mark, stream, deferred.since, now);
            }
            there || admitted
        });
        self.left_alone.fetch_add(u64::from(!there), Ordering::Relaxed);
        there
    }

    /// Drops what waits for its turn and is not in the queue any more: `queued` are the ids that the queue
    /// has. Messages that came since `began`, when the queue was listed, stay. How many were dropped.
    pub fn reconcile(&self, queued: &HashSet<Box<str>>, began: Timestamp, now: Timestamp) -> usize {
        let mut dropped = 0;
        for place in self.places() {
            dropped += self.with(&place, now, |way| {
                let gone = way.backlog.vanished(|id| queued.contains(id), began);
                gone.iter().for_each(|id| way.gone(id));
                gone.len()
            });
        }
        dropped
    }

    fn admits(&self, settings: &Settings) -> bool {
        self.backlog.load(Ordering::Relaxed) < settings.max_backlog
    }

    /// The domain's mail is handled by this provider: what waits for the domain waits in the provider's lane.
    pub fn adopt(&self, domain: &str, provider: &str, now: Timestamp) {
        let Some(stranger) = self.strangers.write().remove(domain) else {
            return;
        };
        let egress = Arc::clone(&self.settings.read());
        let place = self.lane_place(provider, &egress.egress, now);
        let mut old = stranger.way.lock();
        self.backlog.fetch_sub(old.backlog.len(), Ordering::Relaxed);
        self.with(&place, now, |way| way.adopt(&mut old, now));
        self.agenda.set(&stranger, Timestamp::MAX);
    }

    /// The next message that may be handed back at `now`: of the lane that has been due longest.
    pub fn release(&self, now: Timestamp) -> Option<Release> {
        let ears = self.ears(now);
        loop {
            let place = self.agenda.first()?;
            if place.due().is_none_or(|due| due > now) {
                return None;
            }
            let (release, stuck) = self.with(&place, now, |way| {
                (way.release(ears, now), way.is_stuck(ears, now))
            });
            let nudge = || if stuck { self.nudge(now) } else { None };
            if let Some(release) = release.or_else(nudge) {
                return Some(release);
            }
            if place.due().is_some_and(|due| due <= now) {
                // Nothing went although it was due: it is looked at again when its time has moved on.
                self.agenda.set(&place, later(now, 0.001));
            }
        }
    }

    /// When [`Gate::release`] is to be asked again, if nothing happens before.
    #[must_use]
    pub fn due(&self) -> Option<Timestamp> {
        self.agenda.first()?.due()
    }

    /// Postfix was not reached: the message waits as before.
    pub fn unrelease(&self, release: &Release, now: Timestamp) {
        self.each_with(&release.queue_id, now, |way| way.unrelease(&release.queue_id));
    }

    /// Postfix does not know the message any more.
    pub fn gone(&self, queue_id: &str, now: Timestamp) {
        self.each_with(queue_id, now, |way| way.gone(queue_id));
    }

    /// How many recipients wait in the lane to a provider, and when the next of them goes; `None` where nothing is
    /// known of the lane.
    #[must_use]
    pub fn waiting(&self, provider: &str, egress: &str) -> Option<(LaneKey, usize, Option<Timestamp>)> {
        let place = self.lanes.read().get(&LaneName { provider, egress }).cloned()?;
        let way = place.way.lock();
        Some((way.key.clone(), way.backlog.len(), place.due()))
    }

    /// How a lane stands.
    #[must_use]
    pub fn look(&self, key: &LaneKey, now: Timestamp) -> Option<Look> {
        let place = self.lanes.read().get(key).cloned()?;
        let settings = Arc::clone(&self.settings.read());
        let ears = self.ears(now);
        Some(self.with(&place, now, |way| way.look(&settings.streams, ears, now)))
    }

    /// How all lanes stand, in order; domains of which no provider is known only where mail waits for them.
    #[must_use]
    pub fn look_all(&self, now: Timestamp) -> Vec<Look> {
        let settings = Arc::clone(&self.settings.read());
        let ears = self.ears(now);
        let look = |place: &Arc<Place>| self.with(place, now, |way| way.look(&settings.streams, ears, now));
        let lanes: Vec<_> = self.lanes.read().values().cloned().collect();
        let strangers: Vec<_> = self.strangers.read().values().cloned().collect();
        let mut all: Vec<Look> = lanes.iter().map(look).collect();
        all.extend(strangers.iter().map(look).filter(|look| look.backlog > 0));
        all.sort_by(|a, b| a.key.cmp(&b.key));
        all
    }

    /// How many recipients wait in all lanes together.
    #[must_use]
    pub fn backlog(&self) -> usize {
        self.backlog.load(Ordering::Relaxed)
    }

    /// How many deferrals were left to Postfix's own schedule because the backlog was full.
    #[must_use]
    pub fn left_alone(&self) -> u64 {
        self.left_alone.load(Ordering::Relaxed)
    }

    /// Forgets domains without a provider of which nothing was heard for long.
    pub fn sweep(&self, now: Timestamp) {
        self.strangers.write().retain(|_, place| {
            let way = place.way.lock();
            let quiet = super::throttle::seconds(way.touched, now);
            !way.is_idle() || quiet < STRANGER_SECONDS
        });
    }

    fn mark(&self, address: &Address) -> Mark {
        self.hasher.hash(address.key(LocalPart::Fold).as_str().as_bytes())
    }

    /// The lane of a domain; `None` where it is not known and there are too many of those.
    fn place(
        &self,
        provider: Option<&str>,
        domain: &str,
        egress: &str,
        now: Timestamp,
    ) -> Option<Arc<Place>> {
        if let Some(provider) = provider {
            return Some(self.lane_place(provider, egress, now));
        }
        if let Some(place) = self.strangers.read().get(domain) {
            return Some(Arc::clone(place));
        }
        let mut strangers = self.strangers.write();
        if strangers.len() >= STRANGERS {
            return None;
        }
        let place = strangers.entry(domain.into()).or_insert_with(|| {
            let key = LaneKey {
                provider: domain.to_owned(),
                egress: egress.to_owned(),
            };
            self.found(key, Plan::default(), now)
        });
        Some(Arc::clone(place))
    }

    fn lane_place(&self, provider: &str, egress: &str, now: Timestamp) -> Arc<Place> {
        if let Some(place) = self.lanes.read().get(&LaneName { provider, egress }) {
            return Arc::clone(place);
        }
        let key = LaneKey {
            provider: provider.to_owned(),
            egress: egress.to_owned(),
        };
        let plan = self.laid.read().plan(&key);
        let mut lanes = self.lanes.write();
        let found = || self.found(key.clone(), plan, now);
        Arc::clone(lanes.entry(key.clone()).or_insert_with(found))
    }

    fn found(&self, key: LaneKey, plan: Plan, now: Timestamp) -> Arc<Place> {
        let settings = Arc::clone(&self.settings.read());
        self.agenda.found(Way::new(key, plan, &settings.streams, now))
    }

    /// Does something to a lane, and keeps the total and its due time right.
    fn with<T>(&self, place: &Arc<Place>, now: Timestamp, act: impl FnOnce(&mut Way) -> T) -> T {
        let ears = self.ears(now);
        let mut way = place.way.lock();
        let before = way.backlog.len();
        let result = act(&mut way);
        let after = way.backlog.len();
        if after >= before {
            self.backlog.fetch_add(after - before, Ordering::Relaxed);
        } else {
            self.backlog.fetch_sub(before - after, Ordering::Relaxed);
        }
        self.agenda.set(place, way.due(ears, now));
        result
    }

    fn each_with(&self, queue_id: &str, now: Timestamp, act: impl Fn(&mut Way)) {
        for place in self.places() {
            let there = place.way.lock().backlog.knows(queue_id);
            if there {
                self.with(&place, now, &act);
            }
        }
    }

    fn places(&self) -> impl Iterator<Item = Arc<Place>> {
        let mut all: Vec<_> = self.lanes.read().values().cloned().collect();
        all.extend(self.strangers.read().values().cloned());
        all.into_iter()
    }
}

#[cfg(test)]
mod tests;
