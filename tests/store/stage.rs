//! What the tests are played on: a store of its own for each, and events in the making.

use jiff::{SignedDuration, Timestamp};
use nixie::engine::decide::{self, Decision, Known, Policy, Record};
use nixie::engine::suppression::guard::Guard;
use nixie::engine::suppression::{NewSuppression, Subject};
use nixie::engine::throttle::{LaneKey, Limits};
use nixie::engine::verdict::{Cause, Verdict};
use nixie::mail::address::{Address, AddressKey, LocalPart};
use nixie::mail::event::{Event, EventId, Evidence, Outcome, Relay, Source};
use nixie::mail::reply::Reply;
use nixie::store::Store;
use nixie::store::contract::{Batch, Change, ChangeKind, Committed, Position};
use std::sync::{LazyLock, OnceLock};
use std::time::Duration;
use tempfile::TempDir;

pub static POLICY: LazyLock<Policy> = LazyLock::new(|| Policy {
    limits: Limits {
        default_hold: Duration::from_secs(60),
        max_hold: Duration::from_secs(3600),
    },
    guard: Guard {
        enabled: false,
        ..Guard::default()
    },
    ..Policy::default()
});

/// The same with the incident guard, as the daemon has it.
pub static GUARDED: LazyLock<Policy> = LazyLock::new(|| Policy {
    guard: Guard::default(),
    ..POLICY.clone()
});

/// A store of its own for one test; it can be opened any number of times.
pub struct Stage {
    pub url: String,
    _directory: Option<TempDir>,
}

impl Stage {
    pub fn sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self {
            url: format!("sqlite://{}/state/nixie.db", directory.path().display()),
            _directory: Some(directory),
        }
    }

    pub fn postgres(name: &str) -> Option<Self> {
        static SERVER: OnceLock<Option<nixie_lab::postgres::Postgres>> = OnceLock::new();
        let server = SERVER.get_or_init(|| postgres_wanted().then(start)).as_ref()?;
        Some(Self {
            url: server.create_database(name).unwrap(),
            _directory: None,
        })
    }

    pub async fn open(&self) -> Store {
        Store::open(&self.url).await.unwrap()
    }
}

pub fn start() -> nixie_lab::postgres::Postgres {
    nixie_lab::postgres::Postgres::start().unwrap()
}

/// Whether the tests with Postgres run; says so where they do not.
pub fn postgres_wanted() -> bool {
    let missing = nixie_lab::postgres::installed().is_none();
    let missing = missing.then(|| "the package postgresql is not installed".to_owned());
    nixie_lab::need::granted("the store contract over Postgres", missing)
}

pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

pub fn key(address: &str) -> AddressKey {
    Address::parse(address).unwrap().key(LocalPart::Fold)
}

/// A record in the making: a final failure told by the log, unless said otherwise.
#[derive(Clone)]
pub struct Telling {
    pub event: Event,
    cause: Cause,
    provider: Option<&'static str>,
}

pub fn telling(name: &str, recipient: &str, second: i64) -> Telling {
    let event = Event {
        id: EventId::new(at(second), &[name.as_bytes()]),
        at: at(second),
        source: Source::Log,
        outcome: Outcome::Failed,
        evidence: Evidence::Fresh,
        recipient: Address::parse(recipient).unwrap(),
        original_recipient: None,
        sender: Some("News@Sender.Example".into()),
        queue_id: Some(format!("q-{name}")),
        message_id: Some(format!("{name}@sender.example")),
        envelope_id: None,
        sasl_username: None,
        command: None,
        relay: Some(Relay {
            host: "mx.example.org".into(),
            ip: Some("192.0.2.1".into()),
            port: Some(25),
        }),
        reply: Reply::parse("550 5.1.1 no such user"),
        reported_status: "5.1.1".parse().ok(),
        reporting_mta: None,
        return_path: None,
        own: true,
        authentication: nixie::mail::event::Authentication::Untried,
    };
    Telling {
        event,
        cause: Cause::UserUnknown,
        provider: Some("google"),
    }
}

impl Telling {
    pub fn with(mut self, change: impl FnOnce(&mut Event)) -> Self {
        change(&mut self.event);
        self
    }

    pub fn delivered(self) -> Self {
        let mut telling = self.with(|event| {
            event.outcome = Outcome::Delivered;
            event.reply = Reply::parse("250 2.0.0 OK");
        });
        telling.cause = Cause::Delivered;
        telling
    }

    pub fn throttled(self) -> Self {
        let mut telling = self.with(|event| {
            event.outcome = Outcome::Deferred;
            event.reply = Reply::parse("421 4.7.28 slow down");
        });
        telling.cause = Cause::RateLimited;
        telling
    }

    /// A failure of another cause.
    pub fn for_cause(mut self, cause: Cause) -> Self {
        self.cause = cause;
        self
    }

    /// The recipient's own report of abuse, about mail in this stream.
    pub fn complaint(self) -> Self {
        let mut telling = self.with(|event| event.outcome = Outcome::Complaint);
        telling.cause = Cause::Complaint;
        telling
    }

    /// The same failure as a report that came by LMTP.
    pub fn reported(self, own: bool) -> Self {
        let mut telling = self.with(|event| {
            event.id = EventId::new(event.at, &[b"report", &event.id.0]);
            event.source = Source::Lmtp;
            event.own = own;
            event.reporting_mta = Some("mx.example.org".into());
            event.return_path = Some("bounce+1@sender.example".into());
            event.relay = None;
        });
        telling.provider = None;
        telling
    }

    pub fn record(self) -> Record {
        let permanent = matches!(self.event.outcome, Outcome::Failed | Outcome::Complaint);
        let verdict = Verdict {
            cause: self.cause,
            sub_cause: None,
            scope: self.cause.scope(),
            permanent,
            remedy: self.cause.remedy(permanent),
            rule: "status.5.1.1".into(),
            hold: None,
            throttle: None,
            advice: None,
        };
        let lane = self.provider.map(google);
        Record::new(self.event, verdict, lane, POLICY.local_part)
    }
}

pub fn google(provider: &str) -> LaneKey {
    LaneKey {
        provider: provider.into(),
        egress: "default".into(),
    }
}

pub fn batch(tellings: impl IntoIterator<Item = Telling>) -> Batch {
    Batch {
        records: tellings.into_iter().map(Telling::record).collect(),
        ..Batch::default()
    }
}

/// What the daemon decides on the batch, a second after the last event.
pub fn decided(batch: &Batch) -> impl Fn(&Known) -> Decision + Send + Sync {
    decided_by(batch, &POLICY)
}

/// The same by another policy.
pub fn decided_by(batch: &Batch, policy: &'static Policy) -> impl Fn(&Known) -> Decision + Send + Sync {
    let records = batch.records.clone();
    let now = records
        .iter()
        .map(|record| record.event.at)
        .max()
        .unwrap_or_default();
    move |known| {
        let now = now.saturating_add(SignedDuration::from_secs(1)).unwrap();
        decide::decide(&records, known, policy, &|_| None, &|_| None, now)
    }
}

pub async fn commit(store: &Store, batch: &Batch) -> Committed {
    store.commit(batch, decided(batch)).await.unwrap()
}

/// The same with the incident guard.
pub async fn commit_guarded(store: &Store, batch: &Batch) -> Committed {
    store.commit(batch, decided_by(batch, &GUARDED)).await.unwrap()
}

pub async fn outcome(store: &Store, name: &str) -> u64 {
    let totals = store.totals().await.unwrap();
    let found = totals.outcomes.iter().find(|(outcome, _)| outcome == name);
    found.map_or(0, |&(_, n)| n)
}

/// The changes of suppressions after a place in the feed.
pub async fn suppression_changes(store: &Store, after: i64) -> Vec<Change> {
    let mut changes = store.changes_since(after, 100_000).await.unwrap();
    changes.retain(|change| {
        matches!(
            change.kind,
            ChangeKind::Suppressed { .. } | ChangeKind::Lifted { .. }
        )
    });
    changes
}

pub fn about(address: &str) -> Subject {
    key(address).into()
}

pub fn entry(address: &str, cause: Cause) -> NewSuppression {
    NewSuppression {
        author: "cli alice".into(),
        reason: "said so".into(),
        ..NewSuppression::new(about(address), cause, at(0))
    }
}

pub fn position(intake: &str, value: &str) -> Position {
    Position {
        intake: intake.into(),
        value: value.into(),
    }
}
