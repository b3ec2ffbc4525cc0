//! Strikes, what deliveries put right, and incidents.

use crate::stage::*;
use jiff::{SignedDuration, Timestamp};
use nixie::engine::decide::Policy;
use nixie::engine::suppression::guard::{End, Guard, Kind};
use nixie::engine::suppression::{NewSuppression, Standing, Subject, Suppression};
use nixie::engine::verdict::Cause;
use nixie::mail::event::Outcome;
use nixie::store::Store;
use nixie::store::contract::{ChangeKind, Committed};

const DAY: i64 = 86_400;
const HOUR: i64 = 3_600;

fn failure(name: &str, recipient: &str, second: i64, cause: Cause) -> Telling {
    telling(name, recipient, second).for_cause(cause)
}

async fn tell(store: &Store, telling: Telling) -> Committed {
    commit(store, &batch([telling])).await
}

async fn entry_of(store: &Store, subject: &Subject) -> Option<Suppression> {
    store.suppression(subject).await.unwrap()
}

async fn strikes(store: &Store, subject: &Subject) -> usize {
    store.strikes(subject).await.unwrap().len()
}

pub async fn strikes_add_up_over_days(stage: Stage) {
    let store = stage.open().await;
    let full = about("full@example.org");
    for day in 0..4 {
        let told = failure(
            &format!("d{day}"),
            "full@example.org",
            day * DAY,
            Cause::MailboxFull,
        );
        assert!(tell(&store, told).await.suppressed.is_empty(), "day {day}");
        assert_eq!(strikes(&store, &full).await, usize::try_from(day).unwrap() + 1);
    }
    let last = failure("d4", "full@example.org", 4 * DAY, Cause::MailboxFull);
    let committed = tell(&store, last).await;
    let [written] = committed.suppressed.as_slice() else {
        panic!("{committed:?}")
    };
    let entry = &written.entry;
    assert_eq!(
        (entry.cause, entry.since, entry.term),
        (Cause::MailboxFull, at(4 * DAY), 1)
    );
    assert_eq!(entry.reason, "550 5.1.1 no such user (strike 5 of 5)");
    assert_eq!(entry.provider.as_deref(), Some("google"));
    let expires = entry.expires.unwrap();
    assert_eq!(expires.as_second() % HOUR, 0);
    let length = expires.duration_since(entry.since);
    let month = SignedDuration::from_hours(24 * 30);
    assert!(
        (month..month + SignedDuration::from_hours(1)).contains(&length),
        "{length:?}"
    );
    assert_eq!(strikes(&store, &full).await, 0, "they are spent");
}

/// Ten failures of a morning, told by the log and by reports, in one batch and in several, at once: one strike.
pub async fn a_strike_a_day_however_many_tell(stage: Stage) {
    let stores = [stage.open().await, stage.open().await];
    let midnight = -at(0).as_second().rem_euclid(DAY);
    let morning: Vec<Telling> = (0..10)
        .map(|n| {
            failure(
                &format!("m{n}"),
                "full@example.org",
                midnight + n * 600,
                Cause::MailboxFull,
            )
        })
        .collect();
    let tasks: Vec<_> = (0..4)
        .map(|task: usize| {
            let store = stores[task % 2].clone();
            let mut mine = morning.clone();
            mine.rotate_left(task * 3);
            tokio::spawn(async move {
                for part in mine.chunks(3) {
                    commit(&store, &batch(part.to_vec())).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(strikes(&stores[0], &about("full@example.org")).await, 1);
    assert!(stores[0].totals().await.unwrap().suppressions.is_empty());
}

pub async fn a_delivery_clears_and_lifts(stage: Stage) {
    let store = stage.open().await;
    let (address, full) = ("full@example.org", about("full@example.org"));
    let fail = |name: &str, second| failure(name, address, second, Cause::MailboxFull);
    for day in 0..4 {
        tell(&store, fail(&format!("a{day}"), day * DAY)).await;
    }
    // what was delivered before the last of them clears only the ones before it
    tell(&store, telling("ok", address, 3 * DAY - 5).delivered()).await;
    assert_eq!(strikes(&store, &full).await, 1);
    for day in 4..8 {
        tell(&store, fail(&format!("a{day}"), day * DAY)).await;
    }
    let entry = entry_of(&store, &full).await.unwrap();
    // a delivery from before the entry, heard of late, does not lift it
    let late = tell(&store, telling("late", address, 7 * DAY - 1).delivered()).await;
    assert!(late.lifted.is_empty());
    let committed = tell(&store, telling("again", address, 9 * DAY).delivered()).await;
    assert_eq!(committed.lifted, std::slice::from_ref(&entry));
    assert_eq!(entry_of(&store, &full).await, None);
    assert!(store.totals().await.unwrap().suppressions.is_empty());
    let changes = suppression_changes(&store, 0).await;
    let [_, lifted] = changes.as_slice() else {
        panic!("{changes:?}")
    };
    assert_eq!(lifted.author, "delivery");
    assert!(
        matches!(&lifted.kind, ChangeKind::Lifted { id, subject } if *id == entry.id && *subject == full)
    );

    // failure and delivery in one batch: what came later counts, in whatever order it is told
    let both = [
        telling("t2", address, 20 * DAY + 60).delivered(),
        fail("t1", 20 * DAY),
        fail("t3", 20 * DAY + 120),
    ];
    commit(&store, &batch(both)).await;
    assert_eq!(strikes(&store, &full).await, 1);
}

pub async fn what_stands_for_good_survives_deliveries(stage: Stage) {
    let store = stage.open().await;
    tell(&store, telling("dead", "dead@example.org", 0)).await;
    let people = NewSuppression {
        expires: Some(at(90 * DAY)),
        ..entry("hand@example.org", Cause::MailboxFull)
    };
    let streamed = NewSuppression {
        author: "rule outcome.complaint".into(),
        ..NewSuppression::new(
            about("news@example.org").in_stream(Some("news")),
            Cause::Complaint,
            at(0),
        )
    };
    store.add(&[people, streamed], at(0)).await.unwrap();
    for (n, address) in ["dead@example.org", "hand@example.org", "news@example.org"]
        .iter()
        .enumerate()
    {
        let taken = telling(&format!("ok{n}"), address, DAY).delivered();
        let committed = tell(&store, taken).await;
        assert!(committed.lifted.is_empty(), "{address}");
    }
    assert_eq!(suppression_changes(&store, 0).await.len(), 3);
}

pub async fn a_domain_falls_by_three_days(stage: Stage) {
    let store = stage.open().await;
    let gone = Subject::domain("gone.example");
    let fail = |name: &str, second| {
        failure(
            name,
            &format!("{name}@gone.example"),
            second,
            Cause::DomainNotFound,
        )
    };
    commit(&store, &batch((0..5).map(|n| fail(&format!("a{n}"), n * 60)))).await;
    tell(&store, fail("b", DAY)).await;
    assert_eq!(strikes(&store, &gone).await, 2);
    let committed = tell(&store, fail("c", 2 * DAY)).await;
    let [written] = committed.suppressed.as_slice() else {
        panic!("{committed:?}")
    };
    assert_eq!(
        (&written.entry.subject, written.entry.cause),
        (&gone, Cause::DomainNotFound)
    );
    // an alias that leads elsewhere tells nothing of the domain that was mailed
    let aliased = fail("d", 3 * DAY).with(|event| {
        event.original_recipient = Some(nixie::mail::address::Address::parse("us@own.example").unwrap());
    });
    tell(&store, aliased).await;
    assert_eq!(strikes(&store, &Subject::domain("own.example")).await, 0);
    assert_eq!(strikes(&store, &about("us@own.example")).await, 1);
    // the domain is back
    let committed = tell(&store, telling("ok", "new@gone.example", 4 * DAY).delivered()).await;
    assert_eq!(committed.lifted.len(), 1);
    assert_eq!(
        strikes(&store, &about("b@gone.example")).await,
        1,
        "another address proves nothing for this one"
    );
}

pub async fn complaints_are_about_their_stream(stage: Stage) {
    let store = stage.open().await;
    let mut record = telling("c", "user@example.org", 0).complaint().record();
    record.stream = Some("news".into());
    let batch = nixie::store::contract::Batch {
        records: vec![record],
        ..nixie::store::contract::Batch::default()
    };
    let committed = commit(&store, &batch).await;
    let [written] = committed.suppressed.as_slice() else {
        panic!("{committed:?}")
    };
    assert_eq!(written.entry.subject.to_string(), "user@example.org news");
    assert_eq!(entry_of(&store, &about("user@example.org")).await, None);
    // where streams are not told apart, it is about all mail; and nobody's word alone suppresses
    let committed = tell(&store, telling("d", "other@example.org", 60).complaint()).await;
    assert_eq!(committed.suppressed[0].entry.subject, about("other@example.org"));
    let forged = telling("e", "third@example.org", 120)
        .complaint()
        .with(|event| event.own = false);
    assert!(tell(&store, forged).await.suppressed.is_empty());
}

pub async fn further_entries_stand_longer(stage: Stage) {
    let store = stage.open().await;
    let fail = |name: String, second| failure(&name, "full@example.org", second, Cause::MailboxFull);
    let mut since = 0;
    for (term, days) in [(1, 30), (2, 60), (3, 120), (4, 240), (5, 365), (6, 365)] {
        let mut last = Committed::default();
        for day in 0..5 {
            last = tell(&store, fail(format!("{term} {day}"), since + day * DAY)).await;
        }
        let [written] = last.suppressed.as_slice() else {
            panic!("{term}: {last:?}")
        };
        let entry = &written.entry;
        let hours = entry.expires.unwrap().duration_since(entry.since).as_hours();
        assert_eq!((entry.term, hours), (term, days * 24));
        since += (days + 6) * DAY;
    }
}

/// Deliveries and refusals of an hour, one a second.
fn hour(name: &str, from: i64, delivered: usize, refused: std::ops::Range<usize>) -> Vec<Telling> {
    let ok = (0..delivered).map(|n| {
        let second = from + i64::try_from(n).unwrap();
        telling(&format!("{name} ok{n}"), &format!("ok{n}@mail.example"), second).delivered()
    });
    let no = refused.map(|n| {
        let second = from + 1_000 + i64::try_from(n).unwrap();
        telling(&format!("{name} no{n}"), &format!("user{n}@mail.example"), second)
    });
    ok.chain(no).collect()
}

pub async fn an_incident_quarantines_and_lets_go(stage: Stage) {
    let store = stage.open().await;
    let from = HOUR - at(0).as_second().rem_euclid(HOUR);
    for n in 0..5 {
        let calm = hour(&format!("calm{n}"), from + n * HOUR, 200, 0..0);
        commit_guarded(&store, &batch(calm)).await;
    }
    // the first refusals are nothing special yet
    let outage = from + 5 * HOUR;
    let first = commit_guarded(&store, &batch(hour("o1", outage, 20, 0..10))).await;
    assert_eq!((first.suppressed.len(), first.incidents.len()), (10, 0));
    assert!(
        first
            .suppressed
            .iter()
            .all(|s| s.entry.standing == Standing::InForce)
    );
    let second = commit_guarded(&store, &batch(hour("o2", outage + 60, 30, 10..40))).await;
    let kinds: Vec<Kind> = second
        .incidents
        .iter()
        .map(|incident| incident.site.kind)
        .collect();
    assert_eq!(kinds, [Kind::Provider, Kind::Domain], "{:?}", second.incidents);
    assert_eq!(second.incidents[0].began, at(outage));
    assert!(
        second
            .suppressed
            .iter()
            .all(|s| s.entry.standing == Standing::Quarantined)
    );
    let ids = |all: &[Suppression]| all.iter().map(|s| s.id).collect::<Vec<_>>();
    assert_eq!(
        ids(&second.changed),
        ids(&first.suppressed),
        "those before it as well"
    );
    assert_eq!(store.quarantined().await.unwrap(), 40);
    // the same again begins nothing anew; soft evidence is no strike
    let third = commit_guarded(&store, &batch(hour("o3", outage + 120, 30, 40..60))).await;
    assert!(third.incidents.is_empty() && third.changed.is_empty());
    let full = failure("full", "full@mail.example", outage + 200, Cause::MailboxFull);
    commit_guarded(&store, &batch([full])).await;
    assert_eq!(strikes(&store, &about("full@mail.example")).await, 0);

    // two hours later all is well; it is over when a whole hour was
    commit_guarded(&store, &batch(hour("w1", outage + HOUR, 200, 0..0))).await;
    let calm = commit_guarded(&store, &batch(hour("w2", outage + 2 * HOUR, 5, 0..0))).await;
    assert_eq!(calm.incidents.len(), 2, "{calm:?}");
    assert!(
        calm.incidents
            .iter()
            .all(|i| matches!(i.ended, Some((_, End::Calm))))
    );

    // a delivery drops, a new refusal confirms, a doubtful one does not
    let later = outage + 3 * HOUR;
    let taken = telling("back", "user1@mail.example", later).delivered();
    let refused = telling("gone", "user2@mail.example", later);
    let judged = commit_guarded(&store, &batch([taken, refused])).await;
    assert_eq!(judged.lifted.len(), 1);
    assert_eq!(judged.changed.len(), 1);
    assert_eq!(entry_of(&store, &about("user1@mail.example")).await, None);
    let confirmed = entry_of(&store, &about("user2@mail.example")).await.unwrap();
    assert_eq!(confirmed, judged.changed[0]);
    assert_eq!(confirmed.entry.standing, Standing::InForce);
    let waiting = entry_of(&store, &about("user3@mail.example")).await.unwrap();
    assert_eq!(waiting.entry.standing, Standing::Quarantined);
    let changes = suppression_changes(&store, 0).await;
    let last: Vec<&str> = changes
        .iter()
        .rev()
        .take(2)
        .map(|change| change.author.as_str())
        .collect();
    assert_eq!(last, ["rule status.5.1.1", "delivery"]);
}

/// A report that comes a day after an incident and tells of it is believed no more than one that came in time.
pub async fn a_late_report_tells_of_its_incident(stage: Stage) {
    let store = stage.open().await;
    let from = HOUR - at(0).as_second().rem_euclid(HOUR);
    commit_guarded(&store, &batch(hour("calm", from, 500, 0..0))).await;
    commit_guarded(&store, &batch(hour("bad", from + HOUR, 60, 0..40))).await;
    commit_guarded(&store, &batch(hour("well", from + 2 * HOUR, 200, 0..0))).await;
    let ended = commit_guarded(&store, &batch(hour("next", from + 3 * HOUR, 50, 0..0))).await;
    assert_eq!(ended.incidents.len(), 2);
    let late = telling("late", "other@mail.example", from + HOUR + 1_800);
    let committed = commit_guarded(&store, &batch([late])).await;
    assert_eq!(committed.suppressed[0].entry.standing, Standing::Quarantined);
    assert!(committed.incidents.is_empty());
}

pub async fn time_settles_the_rest(stage: Stage) {
    let store = stage.open().await;
    let from = HOUR - at(0).as_second().rem_euclid(HOUR);
    commit_guarded(&store, &batch(hour("calm", from, 500, 0..0))).await;
    commit_guarded(&store, &batch(hour("bad", from + HOUR, 60, 0..40))).await;
    let full = failure("full", "full@else.example", from, Cause::MailboxFull).with(|event| {
        event.outcome = Outcome::Failed;
    });
    tell(&store, full).await;
    let policy = Policy {
        guard: Guard::default(),
        ..POLICY.clone()
    };
    let settle = async |second: i64| {
        let now: Timestamp = at(from + second);
        store.settle(&policy, now).await.unwrap()
    };
    assert_eq!(settle(2 * HOUR).await.incidents, []);
    let quiet = settle(4 * HOUR).await;
    assert_eq!(quiet.incidents.len(), 2);
    assert!(
        quiet
            .incidents
            .iter()
            .all(|i| matches!(i.ended, Some((_, End::Quiet))))
    );
    assert_eq!(quiet.lifted, []);
    assert_eq!(strikes(&store, &about("full@else.example")).await, 1);
    assert_eq!(store.quarantined().await.unwrap(), 40);
    let before = store.feed_position().await.unwrap();
    let dropped = settle(31 * DAY).await;
    assert_eq!(dropped.lifted.len(), 40);
    assert_eq!(dropped.sequence, before + 40);
    assert_eq!(strikes(&store, &about("full@else.example")).await, 0);
    assert_eq!(store.quarantined().await.unwrap(), 0);
    assert!(store.totals().await.unwrap().suppressions.is_empty());
    assert_eq!(
        settle(31 * DAY + 1).await,
        nixie::store::contract::Settled::default()
    );
}
