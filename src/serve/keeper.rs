//! The keeper: the one place where events become changes.
//!
//! Intakes hand in what they read and wait; the keeper judges all that is waiting, commits it in one
//! transaction, brings the memory up to date, and only then lets the intakes acknowledge. Batches are
//! what is waiting, never a timer: a single bounce is committed at once.
//!
//! On failure nothing is acknowledged: the intake has its sender try again. What the store refuses for
//! its content is tried alone, and if it is refused even then it is kept as an unread message, so that
//! one bad line never stops the rest.

mod judge;

use super::alert::Alarm;
use super::feed;
use super::found::Found;
use super::recover::Recovery;
use super::release::Bell;
use crate::clock;
use crate::engine::decide::{self, Policy};
use crate::engine::memory::Memory;
use crate::engine::provider::Providers;
use crate::engine::return_path::Signing;
use crate::engine::rule::RuleSet;
use crate::engine::suppression::Suppression;
use crate::engine::suppression::guard::Incident;
use crate::engine::suppression::privacy::is_hash;
use crate::engine::throttle::State;
use crate::engine::throttle::plan::WarmUps;
use crate::engine::trust::Signed;
use crate::mail::event::{Event, Evidence, Outcome, Source};
use crate::mail::message::{Envelope, Reading};
use crate::store::Store;
use crate::store::contract::{Batch, Committed, Position, StoreError, Unread};
use jiff::Timestamp;
use judge::{judge, unread_event};
use parking_lot::RwLock;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;
use tracing::{debug, error, info, warn};

/// The most events judged and committed as one.
const MAX_BATCH: usize = 4000;
/// Submissions waiting; past it, intakes wait to hand in.
const QUEUE: usize = 256;
/// How often is settled what only time can.
const SETTLE: Duration = Duration::from_secs(600);

/// What judges: replaced as a whole by a reload.
#[derive(Debug)]
pub struct Bench {
    /// The rules.
    pub rules: RuleSet,
    /// The provider catalogue.
    pub providers: Providers,
    /// The name of our egress.
    pub egress: String,
    /// What the operator decides about decisions.
    pub policy: Policy,
    /// The warm-ups there are.
    pub warm_ups: WarmUps,
    /// What signs and opens return paths; `None` where nothing is signed.
    pub signing: Option<Signing>,
}

/// What an intake hands in, to be kept as one.
#[derive(Debug, Clone, Default)]
pub struct Intake {
    /// Events, in their order.
    pub events: Vec<Event>,
    /// What could not be read.
    pub unread: Vec<Unread>,
    /// How far the intake has read when all of this is kept.
    pub positions: Vec<Position>,
    /// Messages that leave with a signed return path.
    pub signed: Vec<Signed>,
}

/// Counters for the metrics; they only grow.
#[derive(Debug, Default)]
pub struct KeeperCounters {
    /// Events committed for the first time.
    pub events: AtomicU64,
    /// Events that had been seen before.
    pub duplicates: AtomicU64,
    /// Suppressions written.
    pub suppressions: AtomicU64,
    /// Suppressions lifted by deliveries, or because nothing confirmed them.
    pub lifted: AtomicU64,
    /// Incidents begun.
    pub incidents: AtomicU64,
    /// Incidents that last, as far as this node knows.
    pub open_incidents: AtomicU64,
    /// Holds begun.
    pub holds: AtomicU64,
    /// Transactions committed.
    pub commits: AtomicU64,
    /// Transactions that failed.
    pub failures: AtomicU64,
    /// What was found of reports.
    pub found: Found,
}

/// Why something was not kept.
#[derive(Debug, Clone, thiserror::Error)]
pub enum KeepError {
    /// The store does not answer.
    #[error("{0}")]
    Store(String),
    /// The daemon is stopping.
    #[error("Nixie is stopping")]
    Stopping,
}

/// The way to the keeper; cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    submissions: mpsc::Sender<Submission>,
    recovery: Recovery,
}

#[derive(Debug)]
struct Submission {
    intake: Intake,
    kept: oneshot::Sender<Result<(), KeepError>>,
}

/// The keeper itself.
#[derive(Debug)]
pub struct Keeper {
    store: Store,
    memory: Arc<Memory>,
    bench: Arc<RwLock<Arc<Bench>>>,
    counters: Arc<KeeperCounters>,
    bell: Bell,
    alarm: Alarm,
    submissions: mpsc::Receiver<Submission>,
}

impl Handle {
    /// Gives a complaint that names nobody its recipient, where a token tells ([`super::recover`]): before its events
    /// are made.
    ///
    /// # Errors
    /// [`KeepError::Store`] where that is not known now.
    pub async fn recover(&self, reading: &mut Reading, envelope: Envelope<'_>) -> Result<(), KeepError> {
        let recovered = self.recovery.recover(reading, envelope, clock::now()).await;
        recovered.map_err(|error| KeepError::Store(error.to_string()))
    }

    /// Hands in and waits until it is committed.
    ///
    /// # Errors
    /// [`KeepError`] where it was not; nothing of it is then in the store.
    pub async fn keep(&self, intake: Intake) -> Result<(), KeepError> {
        let (kept, answer) = oneshot::channel();
        self.submissions
            .send(Submission { intake, kept })
            .await
            .map_err(|_| KeepError::Stopping)?;
        answer.await.unwrap_or(Err(KeepError::Stopping))
    }
}

impl Keeper {
    /// A keeper over a store, and the way to it.
    #[must_use]
    pub fn new(
        store: Store,
        memory: Arc<Memory>,
        bench: Arc<RwLock<Arc<Bench>>>,
        counters: Arc<KeeperCounters>,
        bell: Bell,
        alarm: Alarm,
    ) -> (Self, Handle) {
        let (sender, submissions) = mpsc::channel(QUEUE);
        let recovery = Recovery::new(store.clone(), Arc::clone(&bench));
        (
            Self {
                store,
                memory,
                bench,
                counters,
                bell,
                alarm,
                submissions,
            },
            Handle {
                submissions: sender,
                recovery,
            },
        )
    }

    /// Works until every [`Handle`] is gone: what was handed in is finished first.
    pub async fn run(mut self) {
        let mut settle = tokio::time::interval(SETTLE);
        settle.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let first = tokio::select! {
                biased;
                _ = settle.tick() => {
                    self.settle().await;
                    continue;
                }
                first = self.submissions.recv() => first,
            };
            let Some(first) = first else { return };
            let mut waiting = vec![first];
            let mut events = waiting[0].intake.events.len();
            while events < MAX_BATCH
                && let Ok(next) = self.submissions.try_recv()
            {
                events += next.intake.events.len();
                waiting.push(next);
            }
            self.keep_all(waiting).await;
        }
    }

    /// Settles what only time can.
    async fn settle(&self) {
        let policy = self.bench.read().policy.clone();
        let now = clock::now();
        let settled = match self.store.settle(&policy, now).await {
            Ok(settled) => settled,
            Err(error) => return debug!(%error, "not settled; in ten minutes again"),
        };
        self.forget(&settled.lifted, settled.sequence);
        self.turned(&settled.incidents);
        match self.store.incidents(now).await {
            Ok(incidents) => {
                let open = incidents.iter().filter(|incident| incident.is_open()).count();
                self.counters.open_incidents.store(open as u64, Ordering::Relaxed);
            }
            Err(error) => debug!(%error, "incidents are not counted; in ten minutes again"),
        }
    }

    /// Keeps submissions in one transaction and answers them; where the store refuses the content,
    /// each on its own.
    async fn keep_all(&self, waiting: Vec<Submission>) {
        let merged = merge(waiting.iter().map(|submission| &submission.intake));
        match self.commit(&merged).await {
            Ok(()) => answer_all(waiting, &Ok(())),
            Err(error) if error.is_passing() => {
                warn!(%error, "not kept; whoever sent it will try again");
                answer_all(waiting, &Err(KeepError::Store(error.to_string())));
            }
            Err(_) => {
                for submission in waiting {
                    let result = self.keep_refused(&submission.intake).await;
                    let _ = submission.kept.send(result);
                }
            }
        }
    }

    /// Keeps, one by one, what was refused as a whole. What is refused even alone becomes an unread message.
    async fn keep_refused(&self, intake: &Intake) -> Result<(), KeepError> {
        for event in &intake.events {
            let alone = Intake {
                events: vec![event.clone()],
                ..Intake::default()
            };
            match self.commit(&alone).await {
                Err(error) if !error.is_passing() => {
                    error!(event = %event.id, %error, "an event cannot be stored; kept as unread");
                    let unread = unread_event(event, &error);
                    let alone = Intake {
                        unread: vec![unread],
                        ..Intake::default()
                    };
                    self.commit(&alone)
                        .await
                        .map_err(|error| KeepError::Store(error.to_string()))?;
                }
                other => other.map_err(|error| KeepError::Store(error.to_string()))?,
            }
        }
        let rest = Intake {
            events: Vec::new(),
            ..intake.clone()
        };
        self.commit(&rest)
            .await
            .map_err(|error| KeepError::Store(error.to_string()))
    }

    /// One transaction, and then the memory.
    async fn commit(&self, intake: &Intake) -> Result<(), StoreError> {
        let bench = self.bench.read().clone();
        let memory = &self.memory;
        let now = clock::now();
        let mut batch = judge(intake, &bench, &|domain| memory.provider_of(domain), now);
        memory.hear(&mut batch.records, now);
        // A place that has become free is not left empty for the length of a commit.
        self.bell.ring();
        let committed = self
            .store
            .commit(&batch, |known| {
                decide::decide(
                    &batch.records,
                    known,
                    &bench.policy,
                    &|domain| memory.provider_of(domain),
                    &|key| memory.gate().unlimited(key),
                    now,
                )
            })
            .await
            .inspect_err(|_| {
                self.counters.failures.fetch_add(1, Ordering::Relaxed);
                // Outcomes that are not kept are not heard of: nobody may wait for them.
                memory.gate().set_hearing(false);
            })?;
        let told = intake.positions.iter().any(|p| p.intake.starts_with("log:"))
            || intake.events.iter().any(|event| event.source == Source::Log);
        if told && !memory.gate().set_hearing(true) {
            self.bell.list();
        }
        self.remember(&batch, &committed, clock::now());
        Ok(())
    }

    /// Brings the memory and the counters up to date with what was committed, and says what matters. (Where the
    /// answer to a commit was lost, the change feed tells the memory what it changed.)
    fn remember(&self, batch: &Batch, committed: &Committed, now: Timestamp) {
        let fresh = committed.fresh.iter().filter(|&&fresh| fresh).count();
        self.counters.commits.fetch_add(1, Ordering::Relaxed);
        self.counters.events.fetch_add(fresh as u64, Ordering::Relaxed);
        self.counters
            .duplicates
            .fetch_add((committed.fresh.len() - fresh) as u64, Ordering::Relaxed);
        let news = batch
            .records
            .iter()
            .zip(&committed.findings)
            .zip(&committed.fresh);
        for ((record, finding), _) in news.filter(|(_, fresh)| **fresh) {
            self.counters.found.count(&record.event, finding);
        }
        self.forget(&committed.lifted, committed.sequence);
        for suppression in &committed.changed {
            feed::remember(&self.memory, suppression, committed.sequence);
            info!(address = %suppression.entry.subject, id = %suppression.id,
                standing = suppression.entry.standing.name(), "suppression changed");
        }
        self.turned(&committed.incidents);
        for suppression in &committed.suppressed {
            feed::remember(&self.memory, suppression, committed.sequence);
            self.counters.suppressions.fetch_add(1, Ordering::Relaxed);
            let entry = &suppression.entry;
            info!(address = %entry.subject, cause = %entry.cause, id = %suppression.id, author = %entry.author,
                standing = entry.standing.name(), reply = %entry.reason, "suppressed");
        }
        for (domain, provider) in &committed.domains {
            self.memory.set_provider(domain, provider, now);
        }
        for (key, lane) in &committed.lanes {
            let held = matches!(lane.state, State::Held { .. });
            let before = self.memory.lane(key).map(|before| before.state);
            self.memory
                .learn_lane(key.clone(), lane.clone(), committed.sequence, now);
            if before == Some(lane.state) {
                continue;
            }
            if let (State::Held { until }, Some(signal)) = (lane.state, &lane.signal) {
                self.counters.holds.fetch_add(u64::from(held), Ordering::Relaxed);
                info!(lane = %key.provider, egress = %key.egress, %until, rule = %signal.rule, reply = %signal.reply,
                    repeats = lane.repeats, "lane held");
            } else if lane.state == State::Open && before.is_some() {
                info!(lane = %key.provider, egress = %key.egress, "lane open");
            }
        }
        for (key, lane) in &committed.unlimited {
            self.memory.gate().set_unlimited(key, lane.clone(), now);
        }
        batch
            .records
            .iter()
            .for_each(|record| self.memory.observe(record, now));
        self.bell.ring();
        self.say(batch, committed);
    }

    /// What was lifted forbids nothing any more.
    fn forget(&self, lifted: &[Suppression], sequence: i64) {
        for suppression in lifted {
            let entry = &suppression.entry;
            self.memory.lift_now(&entry.subject, suppression.id, sequence);
            info!(address = %entry.subject, cause = %entry.cause, id = %suppression.id, "suppression lifted");
        }
        self.counters
            .lifted
            .fetch_add(lifted.len() as u64, Ordering::Relaxed);
    }

    /// Tells of incidents that began or ended.
    fn turned(&self, incidents: &[Incident]) {
        let (begun, open) = (&self.counters.incidents, &self.counters.open_incidents);
        for incident in incidents {
            if incident.is_open() {
                begun.fetch_add(1, Ordering::Relaxed);
                open.fetch_add(1, Ordering::Relaxed);
            } else {
                // Another node may have counted it: what is open is counted anew every while.
                let _ = open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
            }
            self.alarm.tell(incident);
        }
    }

    /// A line for each new failure that suppressed nobody: its cause is what the operator must see.
    fn say(&self, batch: &Batch, committed: &Committed) {
        let news = batch
            .records
            .iter()
            .zip(&committed.findings)
            .zip(&committed.fresh);
        for ((record, finding), _) in news.filter(|(_, fresh)| **fresh) {
            let event = &record.event;
            if event.outcome == Outcome::Delivered || event.evidence == Evidence::Repeat {
                continue;
            }
            let suppressed = committed
                .suppressed
                .iter()
                .any(|s| s.entry.event == Some(event.id));
            if !suppressed {
                let recipient = match is_hash(&record.mailed) {
                    true => record.mailed.to_string(),
                    false => event.recipient.to_string(),
                };
                info!(recipient, outcome = event.outcome.name(), cause = %record.verdict.cause,
                    remedy = %record.verdict.remedy, rule = %record.verdict.rule, trust = %finding.trust(), proof = %finding,
                    reply = %event.reply, "failure");
            }
        }
    }
}

/// Puts what several intakes handed in into one, in order. A later position of an intake stands for
/// its earlier ones.
fn merge<'a>(intakes: impl Iterator<Item = &'a Intake>) -> Intake {
    let mut merged = Intake::default();
    for intake in intakes {
        merged.events.extend(intake.events.iter().cloned());
        merged.unread.extend(intake.unread.iter().cloned());
        merged.signed.extend(intake.signed.iter().cloned());
        for position in &intake.positions {
            merged
                .positions
                .retain(|earlier| earlier.intake != position.intake);
            merged.positions.push(position.clone());
        }
    }
    merged
}

fn answer_all(waiting: Vec<Submission>, result: &Result<(), KeepError>) {
    for submission in waiting {
        // An intake that has gone away meanwhile will hand in again: its sender got no answer.
        let _ = submission.kept.send(result.clone());
    }
}

/// What is handed in, where a test is the keeper.
#[cfg(test)]
pub(super) struct HandedIn(mpsc::Receiver<Submission>);

#[cfg(test)]
impl HandedIn {
    /// The next, and where to say that it is kept.
    pub(super) async fn next(&mut self) -> (Intake, oneshot::Sender<Result<(), KeepError>>) {
        let Submission { intake, kept } = self.0.recv().await.unwrap();
        (intake, kept)
    }
}

#[cfg(test)]
impl Handle {
    /// The way to a test.
    pub(super) fn to_a_test(store: Store) -> (Self, HandedIn) {
        let (submissions, received) = mpsc::channel(QUEUE);
        let bench = crate::serve::bench(&crate::config::Settings::default()).unwrap();
        let recovery = Recovery::new(store, Arc::new(RwLock::new(Arc::new(bench))));
        let handle = Self {
            submissions,
            recovery,
        };
        (handle, HandedIn(received))
    }
}
