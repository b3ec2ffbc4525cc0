//! The contract of the stores: every promise that `src/store/mod.rs` makes, held against SQLite and
//! against a real Postgres. What needs Postgres says so and is left out where it is not installed, unless
//! `NIXIE_REQUIRE_ALL=1`.

use jiff::{SignedDuration, Timestamp};
use nixie::engine::decide::{self, Decision, Known, Policy, Record};
use nixie::engine::suppression::NewSuppression;
use nixie::engine::throttle::{Lane, LaneKey, Limits, Signal, State};
use nixie::engine::trust::Trust;
use nixie::engine::verdict::{Cause, Remedy, Scope, Verdict};
use nixie::mail::address::{Address, AddressKey, LocalPart};
use nixie::mail::event::{Event, EventId, Evidence, Outcome, Relay, Source};
use nixie::mail::reply::Reply;
use nixie::store::Store;
use nixie::store::contract::{Batch, ChangeKind, Filter, Position, StoreError, Unread};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const POLICY: Policy = Policy {
    local_part: LocalPart::Fold,
    limits: Limits {
        default_hold: Duration::from_secs(60),
        max_hold: Duration::from_secs(3600),
    },
};

/// A store of its own for one test; it can be opened any number of times.
struct Stage {
    url: String,
    _directory: Option<TempDir>,
}

impl Stage {
    fn sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self {
            url: format!("sqlite://{}/state/nixie.db", directory.path().display()),
            _directory: Some(directory),
        }
    }

    fn postgres(name: &str) -> Option<Self> {
        static SERVER: OnceLock<Option<nixie_lab::postgres::Postgres>> = OnceLock::new();
        let server = SERVER.get_or_init(|| postgres_wanted().then(start)).as_ref()?;
        Some(Self {
            url: server.create_database(name).unwrap(),
            _directory: None,
        })
    }

    async fn open(&self) -> Store {
        Store::open(&self.url).await.unwrap()
    }
}

fn start() -> nixie_lab::postgres::Postgres {
    nixie_lab::postgres::Postgres::start().unwrap()
}

/// Whether the tests with Postgres run; says so where they do not.
fn postgres_wanted() -> bool {
    let required = std::env::var_os("NIXIE_REQUIRE_ALL").is_some_and(|value| value == "1");
    let wanted = required || nixie_lab::postgres::installed().is_some();
    if !wanted {
        #[expect(
            clippy::print_stderr,
            reason = "a test that was left out must not look like one that ran"
        )]
        {
            eprintln!("left out: the store contract over Postgres, which is not installed");
        }
    }
    wanted
}

/// Each test of the contract over each store.
macro_rules! contract {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(super::Stage::sqlite()).await;
            })+
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                if let Some(stage) = super::Stage::postgres(stringify!($name)) {
                    super::$name(stage).await;
                }
            })+
        }
    };
}

contract!(
    a_second_arrival_counts_nothing,
    duplicates_within_a_batch_count_once,
    an_event_keeps_all_it_says,
    what_violates_is_written_not_even_in_part,
    nul_is_taken_out,
    the_log_and_the_bounce_are_one_failure,
    a_queue_id_used_again_is_another_failure,
    a_report_is_known_by_the_message_that_left,
    echoes_are_counted_and_not_kept,
    lanes_come_back_as_they_were,
    suppressions_are_written_once,
    an_expired_suppression_is_replaced,
    adding_keeps_what_is_there,
    lists_are_filtered_and_paged,
    removing_leaves_its_trace,
    positions_and_domains_are_kept,
    unread_messages_are_kept_once,
    concurrent_commits_count_once,
    concurrent_tellers_of_a_failure_count_once,
    concurrent_signals_are_all_counted,
    the_feed_has_no_gaps_and_never_looks_back,
    a_change_is_heard,
    all_is_there_after_opening_again,
    many_open_at_once,
);

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn key(address: &str) -> AddressKey {
    Address::parse(address).unwrap().key(LocalPart::Fold)
}

/// A record in the making: a final failure told by the log, unless said otherwise.
#[derive(Clone)]
struct Telling {
    event: Event,
    cause: Cause,
    provider: Option<&'static str>,
}

fn telling(name: &str, recipient: &str, second: i64) -> Telling {
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
    };
    Telling {
        event,
        cause: Cause::UserUnknown,
        provider: Some("google"),
    }
}

impl Telling {
    fn with(mut self, change: impl FnOnce(&mut Event)) -> Self {
        change(&mut self.event);
        self
    }

    fn delivered(self) -> Self {
        let mut telling = self.with(|event| {
            event.outcome = Outcome::Delivered;
            event.reply = Reply::parse("250 2.0.0 OK");
        });
        telling.cause = Cause::Delivered;
        telling
    }

    fn throttled(self) -> Self {
        let mut telling = self.with(|event| {
            event.outcome = Outcome::Deferred;
            event.reply = Reply::parse("421 4.7.28 slow down");
        });
        telling.cause = Cause::RateLimited;
        telling
    }

    /// The same failure as a report that came by LMTP.
    fn reported(self, own: bool) -> Self {
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

    fn record(self) -> Record {
        let permanent = self.event.outcome == Outcome::Failed;
        let verdict = Verdict {
            cause: self.cause,
            sub_cause: None,
            scope: self.cause.scope(),
            permanent,
            remedy: self.cause.remedy(permanent),
            rule: "status.5.1.1".into(),
            hold: None,
            advice: None,
        };
        let lane = self.provider.map(google);
        Record::new(self.event, verdict, lane, POLICY.local_part)
    }
}

fn google(provider: &str) -> LaneKey {
    LaneKey {
        provider: provider.into(),
        egress: "default".into(),
    }
}

fn batch(tellings: impl IntoIterator<Item = Telling>) -> Batch {
    Batch {
        records: tellings.into_iter().map(Telling::record).collect(),
        ..Batch::default()
    }
}

/// What the daemon decides on the batch, a second after the last event.
fn decided(batch: &Batch) -> impl Fn(&Known) -> Decision + Send + Sync {
    let records = batch.records.clone();
    let now = records
        .iter()
        .map(|record| record.event.at)
        .max()
        .unwrap_or_default();
    move |known| {
        let now = now.saturating_add(SignedDuration::from_secs(1)).unwrap();
        decide::decide(&records, known, POLICY, &|_| None, now)
    }
}

async fn commit(store: &Store, batch: &Batch) -> nixie::store::contract::Committed {
    store.commit(batch, decided(batch)).await.unwrap()
}

async fn outcome(store: &Store, name: &str) -> u64 {
    let totals = store.totals().await.unwrap();
    let found = totals.outcomes.iter().find(|(outcome, _)| outcome == name);
    found.map_or(0, |&(_, n)| n)
}

fn entry(address: &str, cause: Cause) -> NewSuppression {
    NewSuppression {
        address: key(address),
        cause,
        since: at(0),
        expires: None,
        author: "cli alice".into(),
        reason: "said so".into(),
        event: None,
    }
}

async fn a_second_arrival_counts_nothing(stage: Stage) {
    let store = stage.open().await;
    let mut first = batch([
        telling("a", "dead@example.org", 0),
        telling("b", "alive@example.org", 1).delivered(),
    ]);
    first.positions = vec![position("log", "1")];
    let committed = commit(&store, &first).await;
    assert_eq!(committed.fresh, [true, true]);
    assert_eq!(committed.suppressed.len(), 1);
    assert_eq!(committed.suppressed[0].entry.address, key("dead@example.org"));
    let before = store.totals().await.unwrap();

    first.positions = vec![position("log", "2")];
    let again = commit(&store, &first).await;
    assert_eq!(again.fresh, [false, false]);
    assert_eq!((again.suppressed.len(), again.lanes.len()), (0, 0));
    assert_eq!(store.totals().await.unwrap(), before);
    assert_eq!(store.position("log").await.unwrap(), Some(position("log", "2")));
    assert_eq!(store.feed_position().await.unwrap(), 1);
    assert_eq!(before.failures, [(Cause::UserUnknown, 1)]);
    assert_eq!(before.outcomes, [("delivered".into(), 1), ("failed".into(), 1)]);
    assert_eq!(before.suppressions, [(Cause::UserUnknown, 1)]);
}

fn position(intake: &str, value: &str) -> Position {
    Position {
        intake: intake.into(),
        value: value.into(),
    }
}

async fn duplicates_within_a_batch_count_once(stage: Stage) {
    let store = stage.open().await;
    let one = telling("a", "dead@example.org", 0);
    let committed = commit(&store, &batch([one.clone(), one.clone(), one])).await;
    assert_eq!(committed.fresh, [true, false, false]);
    assert_eq!(outcome(&store, "failed").await, 1);
    assert_eq!(
        store.events_of(&key("dead@example.org"), 10).await.unwrap().len(),
        1
    );
}

async fn an_event_keeps_all_it_says(stage: Stage) {
    let store = stage.open().await;
    let told = telling("a", "Dead@Example.org", 5).with(|event| {
        event.original_recipient = Address::parse("alias@example.org").ok();
        event.reply = Reply::parse("550 5.1.1 \"quoted\" \\ back\tslash \u{1f4a9} {json}");
    });
    commit(
        &store,
        &batch([told.clone(), telling("b", "alias@example.org", 3).throttled()]),
    )
    .await;
    let kept = store.events_of(&key("alias@example.org"), 10).await.unwrap();
    assert_eq!(kept.len(), 2);
    assert_eq!(kept[0].id, told.event.id);
    assert_eq!(kept[0].at, at(5));
    assert_eq!(kept[0].outcome, Outcome::Failed);
    assert_eq!(kept[0].cause, Cause::UserUnknown);
    assert_eq!(kept[0].rule, "status.5.1.1");
    assert_eq!(kept[0].trust, Trust::Own);
    assert_eq!(kept[0].reply, told.event.reply);
    assert_eq!(kept[1].outcome, Outcome::Deferred);
    assert_eq!(
        store.events_of(&key("alias@example.org"), 1).await.unwrap().len(),
        1
    );
}

async fn what_violates_is_written_not_even_in_part(stage: Stage) {
    let store = stage.open().await;
    let mut whole = batch([
        telling("a", "dead@example.org", 0),
        telling("b", "x@example.org", 1).throttled(),
    ]);
    whole.positions = vec![position("log", "1")];
    let nameless = |known: &Known| {
        let mut decision = decided(&whole)(known);
        decision.suppress[0].address = AddressKey::from_stored("");
        decision
    };
    let refused = store.commit(&whole, nameless).await.unwrap_err();
    assert!(matches!(refused, StoreError::Refused(_)), "{refused}");
    let unjudged = store
        .commit(&whole, |_: &Known| Decision::default())
        .await
        .unwrap_err();
    assert!(matches!(unjudged, StoreError::Refused(_)), "{unjudged}");

    assert_eq!(
        store.totals().await.unwrap(),
        nixie::store::contract::Totals::default()
    );
    assert_eq!(store.position("log").await.unwrap(), None);
    assert_eq!(store.feed_position().await.unwrap(), 0);
    assert!(store.lanes().await.unwrap().is_empty());
    assert!(
        store
            .events_of(&key("dead@example.org"), 10)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        commit(&store, &whole).await.fresh,
        [true, true],
        "the ids were not used up"
    );
}

async fn nul_is_taken_out(stage: Stage) {
    let store = stage.open().await;
    let told = telling("a", "dead@example.org", 0).with(|event| {
        event.reply.text = "no\0such user".into();
        event.sender = Some("a@b\0c".into());
        event.queue_id = Some("\0".into());
    });
    let mut whole = batch([told]);
    whole.records[0].lane = Some(google("goo\0gle"));
    whole.positions = vec![position("log", "\0")];
    let throttled = |known: &Known| Decision {
        lanes: vec![(google("goo\0gle"), Lane::open(at(0)))],
        ..decided(&whole)(known)
    };
    assert_eq!(store.commit(&whole, throttled).await.unwrap().fresh, [true]);
    assert_eq!(
        store.events_of(&key("dead@example.org"), 1).await.unwrap()[0]
            .reply
            .text,
        "nosuch user"
    );
    assert_eq!(store.position("log").await.unwrap(), Some(position("log", "")));
    let mut whole = whole.clone();
    whole.records[0].event.id = EventId([7; 16]);
    assert_eq!(
        store.commit(&whole, throttled).await.unwrap().fresh,
        [true],
        "the lane is found again"
    );
    let foul = NewSuppression {
        address: AddressKey::from_stored("fo\0ul@example.org"),
        ..entry("x@example.org", Cause::UserUnknown)
    };
    assert_eq!(store.add(&[foul], at(0)).await.unwrap().added, 1);
    let changes = store.changes_since(1, 10).await.unwrap();
    assert!(
        matches!(&changes[0].kind, ChangeKind::Suppressed { address, .. } if *address == key("foul@example.org")),
        "{changes:?}"
    );
}

async fn the_log_and_the_bounce_are_one_failure(stage: Stage) {
    let store = stage.open().await;
    let log = telling("a", "dead@example.org", 0);
    let bounce = log.clone().reported(true).with(|event| event.at = at(2));
    commit(&store, &batch([log.clone()])).await;
    let committed = commit(&store, &batch([bounce.clone()])).await;
    assert_eq!(committed.fresh, [true]);
    assert!(committed.suppressed.is_empty());

    // within a batch, in either order
    let other = telling("b", "dead2@example.org", 0);
    let early = other.clone().reported(true);
    assert_eq!(commit(&store, &batch([early, other])).await.suppressed.len(), 1);

    let totals = store.totals().await.unwrap();
    assert_eq!(totals.failures, [(Cause::UserUnknown, 2)]);
    assert_eq!(totals.outcomes, [("failed".into(), 2), ("repeat".into(), 2)]);
    let kept = store.events_of(&key("dead@example.org"), 10).await.unwrap();
    assert_eq!(kept[0].repeat_of, Some(log.event.id));
    assert_eq!(kept[1].repeat_of, None);
}

async fn a_queue_id_used_again_is_another_failure(stage: Stage) {
    let store = stage.open().await;
    let day = 24 * 3600;
    let told = |name: &str, second| {
        telling(name, "full@example.org", second).with(|event| event.queue_id = Some("ABC".into()))
    };
    commit(&store, &batch([told("a", 0)])).await;
    commit(
        &store,
        &batch([told("b", day), told("c", day + 1), told("d", day + 2)]),
    )
    .await;
    let kept = store.events_of(&key("full@example.org"), 10).await.unwrap();
    let [d, c, b, a] = kept.as_slice() else {
        panic!("{kept:?}")
    };
    assert_eq!([a.repeat_of, b.repeat_of], [None, Some(a.id)]);
    assert_eq!([c.repeat_of, d.repeat_of], [None, Some(c.id)]);
}

async fn a_report_is_known_by_the_message_that_left(stage: Stage) {
    let store = stage.open().await;
    let left = telling("a", "gone@example.org", 0);
    commit(&store, &batch([left.clone().delivered()])).await;
    let forged = telling("forged", "alive@example.org", 3600).reported(false);
    let report = left.with(|event| event.queue_id = None).reported(false);
    let committed = commit(&store, &batch([forged.clone(), report])).await;
    assert_eq!(committed.suppressed.len(), 1);
    assert_eq!(committed.suppressed[0].entry.address, key("gone@example.org"));
    let trust = async |address| store.events_of(&key(address), 1).await.unwrap()[0].trust;
    assert_eq!(trust("gone@example.org").await, Trust::Correlated);
    assert_eq!(trust("alive@example.org").await, Trust::Unverified);

    // the message and the report on it in one batch
    let both = telling("c", "both@example.org", 10);
    let committed = commit(&store, &batch([both.clone().delivered(), both.reported(false)])).await;
    assert_eq!(committed.suppressed.len(), 1);
}

async fn echoes_are_counted_and_not_kept(stage: Stage) {
    let store = stage.open().await;
    let echo = telling("a", "dead@example.org", 0).with(|event| event.evidence = Evidence::Repeat);
    let committed = commit(&store, &batch([echo])).await;
    assert_eq!(committed.fresh, [true]);
    assert!(committed.suppressed.is_empty());
    assert_eq!(outcome(&store, "repeat").await, 1);
    assert!(
        store
            .events_of(&key("dead@example.org"), 10)
            .await
            .unwrap()
            .is_empty()
    );
    assert!(store.totals().await.unwrap().failures.is_empty());
}

async fn lanes_come_back_as_they_were(stage: Stage) {
    let store = stage.open().await;
    let committed = commit(&store, &batch([telling("a", "x@example.org", 0).throttled()])).await;
    assert_eq!(committed.lanes.len(), 1);
    assert_eq!(store.lanes().await.unwrap(), committed.lanes);
    assert!(committed.lanes[0].1.held_until(at(10)).is_some());
    assert_eq!(committed.domains, [("example.org".into(), "google".into())]);

    let odd = Lane {
        state: State::Recovering,
        repeats: 7,
        since: at(9),
        evidence: Some(Signal {
            rule: "r".into(),
            reply: String::new(),
            hold: Some(Duration::from_millis(1500)),
        }),
        signals: 12,
    };
    let empty = Batch::default();
    let decision = |_: &Known| Decision {
        lanes: vec![
            (google("google"), odd.clone()),
            (google("yahoo"), Lane::open(at(3))),
        ],
        ..Decision::default()
    };
    store.commit(&empty, decision).await.unwrap();
    let lanes = store.lanes().await.unwrap();
    assert_eq!(
        lanes,
        [(google("google"), odd), (google("yahoo"), Lane::open(at(3)))]
    );
}

async fn suppressions_are_written_once(stage: Stage) {
    let store = stage.open().await;
    let committed = commit(
        &store,
        &batch([
            telling("a", "dead@example.org", 0),
            telling("b", "Dead@Example.org", 60),
        ]),
    )
    .await;
    let [written] = committed.suppressed.as_slice() else {
        panic!("{committed:?}")
    };
    assert_eq!(written.entry.since, at(0));
    assert_eq!(written.entry.author, "rule status.5.1.1");
    assert_eq!(written.entry.reason, "550 5.1.1 no such user");
    let by_address = store.suppression(&key("dead@example.org")).await.unwrap();
    assert_eq!(by_address.as_ref(), Some(written));
    assert_eq!(store.suppression_by_id(written.id).await.unwrap(), by_address);

    let later = commit(&store, &batch([telling("c", "dead@example.org", 120)])).await;
    assert!(later.suppressed.is_empty());
    // a decision that does not know better changes nothing either
    let stubborn = |_: &Known| Decision {
        suppress: vec![entry("dead@example.org", Cause::Complaint)],
        ..Decision::default()
    };
    let again = store.commit(&Batch::default(), stubborn).await.unwrap();
    assert!(again.suppressed.is_empty());
    assert_eq!(
        store.suppression(&key("dead@example.org")).await.unwrap(),
        by_address
    );

    let changes = store.changes_since(0, 10).await.unwrap();
    assert_eq!(changes.len(), 1);
    assert_eq!(
        (changes[0].sequence, changes[0].author.as_str()),
        (1, "rule status.5.1.1")
    );
    assert_eq!(
        changes[0].kind,
        ChangeKind::Suppressed {
            id: written.id,
            address: key("dead@example.org"),
            cause: Cause::UserUnknown,
            since: at(0),
            expires: None,
        }
    );
}

async fn an_expired_suppression_is_replaced(stage: Stage) {
    let store = stage.open().await;
    let expiring = NewSuppression {
        expires: Some(at(100)),
        ..entry("dead@example.org", Cause::MailboxDisabled)
    };
    store.add(std::slice::from_ref(&expiring), at(0)).await.unwrap();
    let old = store
        .suppression(&key("dead@example.org"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(old.entry, expiring);
    assert_eq!(store.add(&[expiring], at(99)).await.unwrap().kept, 1);

    let committed = commit(&store, &batch([telling("a", "dead@example.org", 200)])).await;
    let [new] = committed.suppressed.as_slice() else {
        panic!("{committed:?}")
    };
    assert!(new.id > old.id, "a number is never given twice");
    assert_eq!(new.entry.cause, Cause::UserUnknown);
    assert_eq!(store.suppression_by_id(old.id).await.unwrap(), None);
    assert_eq!(
        store.totals().await.unwrap().suppressions,
        [(Cause::UserUnknown, 1)]
    );
    assert_eq!(store.changes_since(0, 10).await.unwrap().len(), 2);
}

async fn adding_keeps_what_is_there(stage: Stage) {
    let store = stage.open().await;
    store
        .add(&[entry("user7@example.org", Cause::Complaint)], at(0))
        .await
        .unwrap();
    let many: Vec<_> = (0..10_050)
        .map(|n| entry(&format!("user{n}@example.org"), Cause::UserUnknown))
        .chain([entry("user8@example.org", Cause::MailboxFull)])
        .collect();
    let added = store.add(&many, at(1)).await.unwrap();
    assert_eq!((added.added, added.kept), (10_049, 2));
    let again = store.add(&many, at(2)).await.unwrap();
    assert_eq!((again.added, again.kept), (0, 10_051));
    let cause = async |address| {
        store
            .suppression(&key(address))
            .await
            .unwrap()
            .unwrap()
            .entry
            .cause
    };
    assert_eq!(cause("user7@example.org").await, Cause::Complaint);
    assert_eq!(cause("user8@example.org").await, Cause::UserUnknown);
    assert_eq!(store.feed_position().await.unwrap(), 10_050);
    let totals = store.totals().await.unwrap();
    assert_eq!(
        totals.suppressions,
        [(Cause::Complaint, 1), (Cause::UserUnknown, 10_049)]
    );
    assert_eq!(store.add(&[], at(3)).await.unwrap().added, 0);
}

async fn lists_are_filtered_and_paged(stage: Stage) {
    let store = stage.open().await;
    let late = NewSuppression {
        since: at(500),
        ..entry("c@other_domain.example", Cause::MailboxFull)
    };
    let entries = [
        entry("a@example.org", Cause::UserUnknown),
        entry("b@sub.example.org", Cause::UserUnknown),
        late,
        entry("d@otherxdomain.example", Cause::UserUnknown),
    ];
    store.add(&entries, at(0)).await.unwrap();
    let list = async |filter: Filter| -> Vec<String> {
        let found = store.suppressions(&filter).await.unwrap();
        found.iter().map(|s| s.entry.address.to_string()).collect()
    };
    assert_eq!(list(Filter::default()).await.len(), 4);
    let domain = |domain: &str| Filter {
        domain: Some(domain.into()),
        ..Filter::default()
    };
    assert_eq!(list(domain("Example.ORG.")).await, ["a@example.org"]);
    assert_eq!(
        list(domain("other_domain.example")).await,
        ["c@other_domain.example"]
    );
    assert!(list(domain("%")).await.is_empty());
    let full = Filter {
        cause: Some(Cause::MailboxFull),
        ..Filter::default()
    };
    assert_eq!(list(full).await, ["c@other_domain.example"]);
    let since = Filter {
        since: Some(at(500)),
        ..Filter::default()
    };
    assert_eq!(list(since).await.len(), 1);
    let page = Filter {
        limit: 3,
        ..Filter::default()
    };
    let first = store.suppressions(&page).await.unwrap();
    let next = Filter {
        after: first.last().map(|s| s.id),
        ..page
    };
    assert_eq!(
        (first.len(), store.suppressions(&next).await.unwrap().len()),
        (3, 1)
    );
}

async fn removing_leaves_its_trace(stage: Stage) {
    let store = stage.open().await;
    store
        .add(&[entry("dead@example.org", Cause::UserUnknown)], at(0))
        .await
        .unwrap();
    let address = key("dead@example.org");
    let removed = store
        .remove(&address, "cli bob", "he is back", at(5))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(store.suppression(&address).await.unwrap(), None);
    assert_eq!(
        store.remove(&address, "cli bob", "again", at(6)).await.unwrap(),
        None
    );
    let changes = store.changes_since(1, 10).await.unwrap();
    let [lifted] = changes.as_slice() else {
        panic!("{changes:?}")
    };
    assert_eq!((lifted.sequence, lifted.at), (2, at(5)));
    assert_eq!(
        (lifted.author.as_str(), lifted.reason.as_str()),
        ("cli bob", "he is back")
    );
    assert_eq!(
        lifted.kind,
        ChangeKind::Lifted {
            id: removed.id,
            address: address.clone()
        }
    );
    assert!(store.totals().await.unwrap().suppressions.is_empty());
    // and may be suppressed anew
    let committed = commit(&store, &batch([telling("a", "dead@example.org", 10)])).await;
    assert_eq!(committed.suppressed.len(), 1);
}

async fn positions_and_domains_are_kept(stage: Stage) {
    let store = stage.open().await;
    let mut whole = Batch {
        positions: vec![
            position("b", "1"),
            position("a", "{\"offset\":1}"),
            position("b", "2"),
        ],
        ..Batch::default()
    };
    let domains = |provider: &str| {
        let domains = vec![("example.org".into(), provider.into())];
        move |_: &Known| Decision {
            domains: domains.clone(),
            ..Decision::default()
        }
    };
    store.commit(&whole, domains("google")).await.unwrap();
    let positions: Vec<_> = store
        .positions()
        .await
        .unwrap()
        .into_iter()
        .map(|(p, _)| p)
        .collect();
    assert_eq!(positions, [position("a", "{\"offset\":1}"), position("b", "2")]);
    assert_eq!(store.position("c").await.unwrap(), None);
    whole.positions = vec![position("a", "3")];
    store.commit(&whole, domains("yahoo")).await.unwrap();
    assert_eq!(store.position("a").await.unwrap(), Some(position("a", "3")));
    assert_eq!(
        store.domains().await.unwrap(),
        [("example.org".into(), "yahoo".into())]
    );
    let updated = store.positions().await.unwrap()[0].1;
    assert!(updated > at(0), "{updated}");
    store.check().await.unwrap();
}

async fn unread_messages_are_kept_once(stage: Stage) {
    let store = stage.open().await;
    let unread = Unread {
        id: [1; 16],
        at: at(0),
        intake: "lmtp".into(),
        sender: Some(String::new()),
        recipient: None,
        reason: "no report in it".into(),
        content: (0..=255).collect(),
    };
    let whole = Batch {
        unread: vec![
            unread.clone(),
            Unread {
                id: [2; 16],
                ..unread.clone()
            },
            unread,
        ],
        ..Batch::default()
    };
    let nothing = |_: &Known| Decision::default();
    store.commit(&whole, nothing).await.unwrap();
    store.commit(&whole, nothing).await.unwrap();
    assert_eq!(store.totals().await.unwrap().unread, 2);
}

/// Several tasks (and connections, and two openings of the store) bring the same events in different batches.
async fn concurrent_commits_count_once(stage: Stage) {
    let stores = [stage.open().await, stage.open().await];
    let tellings: Vec<Telling> = (0..200)
        .map(|n| {
            let told = telling(&format!("e{n}"), &format!("user{n}@example.org"), n);
            match n % 3 {
                0 => told,
                1 => told.throttled(),
                _ => told.delivered(),
            }
        })
        .collect();
    let tasks: Vec<_> = (0..6)
        .map(|task| {
            let store = stores[task % 2].clone();
            let mut mine = tellings.clone();
            mine.rotate_left(task * 37);
            if task % 2 == 1 {
                mine.reverse();
            }
            tokio::spawn(async move {
                let mut fresh = 0;
                for part in mine.chunks(25) {
                    let part = batch(part.to_vec());
                    fresh += commit(&store, &part)
                        .await
                        .fresh
                        .iter()
                        .filter(|&&fresh| fresh)
                        .count();
                }
                fresh
            })
        })
        .collect();
    let mut fresh = 0;
    for task in tasks {
        fresh += task.await.unwrap();
    }
    assert_eq!(fresh, 200);
    let totals = stores[0].totals().await.unwrap();
    assert_eq!(totals.outcomes.iter().map(|(_, n)| n).sum::<u64>(), 200);
    assert_eq!(totals.suppressions, [(Cause::UserUnknown, 67)]);
    assert_eq!(stores[0].feed_position().await.unwrap(), 67);
}

/// The log line and the bounce, committed at the same moment by two connections.
async fn concurrent_tellers_of_a_failure_count_once(stage: Stage) {
    let store = stage.open().await;
    for round in 0..20 {
        let log = telling(&format!("r{round}"), &format!("dead{round}@example.org"), round);
        let bounce = batch([log.clone().reported(true)]);
        let log = batch([log]);
        tokio::join!(commit(&store, &log), commit(&store, &bounce));
    }
    let totals = store.totals().await.unwrap();
    assert_eq!(totals.failures, [(Cause::UserUnknown, 20)]);
    assert_eq!(totals.suppressions, [(Cause::UserUnknown, 20)]);
}

async fn concurrent_signals_are_all_counted(stage: Stage) {
    let store = stage.open().await;
    let tasks: Vec<_> = (0..8)
        .map(|n| {
            let store = store.clone();
            let signal = batch([telling(&format!("s{n}"), "x@example.org", 0).throttled()]);
            tokio::spawn(async move { commit(&store, &signal).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(store.lanes().await.unwrap()[0].1.signals, 8);
}

/// While writers add, remove and commit, a reader follows: each number comes once, one after the other.
async fn the_feed_has_no_gaps_and_never_looks_back(stage: Stage) {
    let store = stage.open().await;
    let writers: Vec<_> = (0..3)
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                for n in 0..30 {
                    let address = format!("w{writer}n{n}@example.org");
                    if n % 2 == 0 {
                        store
                            .add(&[entry(&address, Cause::UserUnknown)], at(n))
                            .await
                            .unwrap();
                    } else {
                        let told = telling(&address, &address, n);
                        commit(&store, &batch([told])).await;
                    }
                    if n % 5 == 0 {
                        let removed = store.remove(&key(&address), "cli", "test", at(n)).await.unwrap();
                        assert!(removed.is_some());
                    }
                }
            })
        })
        .collect();
    let expected = 3 * (30 + 6);
    let follow = async {
        let mut seen = 0;
        while seen < expected {
            for change in store.changes_since(seen, 7).await.unwrap() {
                assert_eq!(change.sequence, seen + 1);
                seen = change.sequence;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), follow)
        .await
        .unwrap();
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(store.feed_position().await.unwrap(), expected);
    let left = store.suppressions(&Filter::default()).await.unwrap();
    assert_eq!(left.len(), 3 * (30 - 6));
}

/// A wait may end without cause; it must end with one.
async fn a_change_is_heard(stage: Stage) {
    let store = stage.open().await;
    let hear = {
        let store = store.clone();
        async move {
            while store.feed_position().await.unwrap() == 0 {
                store.wait_for_change().await;
            }
        }
    };
    let hearing = tokio::spawn(hear);
    let waiting = tokio::time::timeout(Duration::from_millis(300), async {
        while !hearing.is_finished() {
            tokio::task::yield_now().await
        }
    })
    .await;
    assert!(waiting.is_err(), "there was nothing to hear yet");
    store
        .add(&[entry("dead@example.org", Cause::UserUnknown)], at(0))
        .await
        .unwrap();
    tokio::time::timeout(Duration::from_secs(10), hearing)
        .await
        .unwrap()
        .unwrap();
}

async fn all_is_there_after_opening_again(stage: Stage) {
    let store = stage.open().await;
    let mut whole = batch([
        telling("a", "dead@example.org", 0),
        telling("b", "x@example.org", 1).throttled(),
        telling("c", "left@example.org", 1).delivered(),
    ]);
    whole.positions = vec![position("log", "9")];
    commit(&store, &whole).await;
    let before = (
        store.totals().await.unwrap(),
        store.lanes().await.unwrap(),
        store.positions().await.unwrap(),
        store.suppressions(&Filter::default()).await.unwrap(),
    );
    store.close().await;
    drop(store);

    let store = stage.open().await;
    let after = (
        store.totals().await.unwrap(),
        store.lanes().await.unwrap(),
        store.positions().await.unwrap(),
        store.suppressions(&Filter::default()).await.unwrap(),
    );
    assert_eq!(before, after);
    assert_eq!(commit(&store, &whole).await.fresh, [false; 3]);
    let report = batch([telling("c", "left@example.org", 1).reported(false)]);
    assert_eq!(commit(&store, &report).await.suppressed.len(), 1);
    store.migrate().await.unwrap();
}

async fn many_open_at_once(stage: Stage) {
    let openings: Vec<_> = (0..6)
        .map(|_| {
            let url = stage.url.clone();
            tokio::spawn(async move { Store::open(&url).await.unwrap().check().await.unwrap() })
        })
        .collect();
    for opening in openings {
        opening.await.unwrap();
    }
}

#[tokio::test]
async fn urls_say_what_is_wrong_with_them() {
    for url in [
        "mysql://host/db",
        "sqlite:nixie.db",
        "sqlite://nixie.db",
        "sqlite:///var/lib/",
        "postgres://nixie:secret@host:port/db",
        "",
    ] {
        let error = Store::connect_lazy(url).await.unwrap_err();
        assert!(matches!(error, StoreError::Url { .. }), "{url}: {error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    let store = Store::connect_lazy("postgres://nixie:secret@localhost/db")
        .await
        .unwrap();
    assert!(!format!("{store:?}").contains("secret"));
}

#[tokio::test]
async fn a_file_that_is_not_there_is_passing() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/nixie.db", directory.path().display());
    let store = Store::connect_lazy(&url).await.unwrap();
    assert!(store.check().await.unwrap_err().is_passing());
    store.migrate().await.unwrap();
    store.check().await.unwrap();
}

/// Addresses are personal data.
#[tokio::test]
async fn nobody_else_may_read_the_file() {
    use std::os::unix::fs::PermissionsExt;
    let stage = Stage::sqlite();
    let store = stage.open().await;
    commit(&store, &batch([telling("a", "dead@example.org", 0)])).await;
    let path = std::path::PathBuf::from(stage.url.strip_prefix("sqlite://").unwrap());
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    for file in std::fs::read_dir(path.parent().unwrap()).unwrap() {
        let file = file.unwrap().path();
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

/// One server of its own: stopped, started, frozen, thawed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_does_not_answer_is_found_out_and_forgiven() {
    if !postgres_wanted() {
        return;
    }
    let mut server = start();
    let store = Store::open(&server.url()).await.unwrap();
    let told = |n: i64| batch([telling(&format!("t{n}"), &format!("dead{n}@example.org"), n)]);
    commit(&store, &told(1)).await;

    server.stop().unwrap();
    unavailable(&store, &told(2)).await;
    let url = server.url();
    assert!(Store::open(&url).await.unwrap_err().is_passing());
    let late = Store::connect_lazy(&url).await.unwrap();
    assert!(late.check().await.unwrap_err().is_passing());
    server.start_again().unwrap();
    assert_eq!(commit(&store, &told(2)).await.fresh, [true]);
    late.migrate().await.unwrap();
    late.check().await.unwrap();

    // More often than the pool has connections: none of them may be lost for good.
    for round in 0..2 {
        server.freeze().unwrap();
        let begun = Instant::now();
        let calls: Vec<_> = (0..8)
            .map(|_| {
                let store = store.clone();
                let batch = told(3 + round);
                tokio::spawn(async move { unavailable(&store, &batch).await })
            })
            .collect();
        for call in calls {
            call.await.unwrap();
        }
        assert!(begun.elapsed() < Duration::from_secs(8));
        server.thaw().unwrap();
        let committed = recovered(&store, &told(3 + round)).await;
        assert_eq!(committed.fresh.len(), 1);
    }
    assert_eq!(outcome(&store, "failed").await, 4);
}

async fn unavailable(store: &Store, batch: &Batch) {
    let begun = Instant::now();
    let error = store.commit(batch, decided(batch)).await.unwrap_err();
    assert!(error.is_passing(), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
}

/// Commits as the daemon does: until it succeeds.
async fn recovered(store: &Store, batch: &Batch) -> nixie::store::contract::Committed {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match store.commit(batch, decided(batch)).await {
            Ok(committed) => return committed,
            Err(error) => assert!(error.is_passing() && Instant::now() < deadline, "{error}"),
        }
    }
}

/// The table of causes, the other way round: what only a remedy of scope recipient may write.
#[test]
fn the_stage_judges_as_the_rules_do() {
    let record = telling("a", "dead@example.org", 0).record();
    assert_eq!(record.verdict.scope, Scope::Recipient);
    assert_eq!(record.verdict.remedy, Remedy::Suppress);
    assert_eq!(
        telling("b", "x@example.org", 0)
            .throttled()
            .record()
            .verdict
            .remedy,
        Remedy::Throttle
    );
}
