//! Commits: what is counted, what is kept, what is known again.

use crate::stage::*;
use nixie::engine::decide::{Decision, Known};
use nixie::engine::suppression::NewSuppression;
use nixie::engine::throttle::{Lane, Signal};
use nixie::engine::trust::Trust;
use nixie::engine::verdict::Cause;
use nixie::mail::address::{Address, AddressKey};
use nixie::mail::event::{EventId, Evidence, Outcome};
use nixie::mail::reply::Reply;
use nixie::store::contract::{Batch, ChangeKind, Filter, StoreError, Totals, Unread};
use std::time::Duration;

pub async fn a_second_arrival_counts_nothing(stage: Stage) {
    let store = stage.open().await;
    let mut first = batch([
        telling("a", "dead@example.org", 0),
        telling("b", "alive@example.org", 1).delivered(),
    ]);
    first.positions = vec![position("log", "1")];
    let committed = commit(&store, &first).await;
    assert_eq!(committed.fresh, [true, true]);
    assert_eq!(committed.suppressed.len(), 1);
    assert_eq!(committed.suppressed[0].entry.subject, about("dead@example.org"));
    let before = store.totals().await.unwrap();
    let changes = store.feed_position().await.unwrap();

    first.positions = vec![position("log", "2")];
    let again = commit(&store, &first).await;
    assert_eq!(again.fresh, [false, false]);
    assert_eq!((again.suppressed.len(), again.lanes.len()), (0, 0));
    assert_eq!(store.totals().await.unwrap(), before);
    assert_eq!(store.position("log").await.unwrap(), Some(position("log", "2")));
    assert_eq!(store.feed_position().await.unwrap(), changes);
    assert_eq!(before.failures, [(Cause::UserUnknown, 1)]);
    assert_eq!(before.outcomes, [("delivered".into(), 1), ("failed".into(), 1)]);
    assert_eq!(before.suppressions, [(Cause::UserUnknown, 1)]);
}

pub async fn duplicates_within_a_batch_count_once(stage: Stage) {
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

pub async fn an_event_keeps_all_it_says(stage: Stage) {
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

pub async fn what_violates_is_written_not_even_in_part(stage: Stage) {
    let store = stage.open().await;
    let mut whole = batch([
        telling("a", "dead@example.org", 0),
        telling("b", "x@example.org", 1).throttled(),
    ]);
    whole.positions = vec![position("log", "1")];
    let nameless = |known: &Known| {
        let mut decision = decided(&whole)(known);
        decision.suppress[0].subject = AddressKey::from_stored("").into();
        decision
    };
    let refused = store.commit(&whole, nameless).await.unwrap_err();
    assert!(matches!(refused, StoreError::Refused(_)), "{refused}");
    let unjudged = store
        .commit(&whole, |_: &Known| Decision::default())
        .await
        .unwrap_err();
    assert!(matches!(unjudged, StoreError::Refused(_)), "{unjudged}");

    assert_eq!(store.totals().await.unwrap(), Totals::default());
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

pub async fn nul_is_taken_out(stage: Stage) {
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
        subject: AddressKey::from_stored("fo\0ul@example.org").into(),
        ..entry("x@example.org", Cause::UserUnknown)
    };
    assert_eq!(store.add(&[foul], at(0)).await.unwrap().added, 1);
    let changes = suppression_changes(&store, 0).await;
    assert!(
        matches!(&changes[1].kind, ChangeKind::Suppressed { subject, .. } if *subject == about("foul@example.org")),
        "{changes:?}"
    );
}

pub async fn the_log_and_the_bounce_are_one_failure(stage: Stage) {
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

pub async fn a_queue_id_used_again_is_another_failure(stage: Stage) {
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

pub async fn a_report_is_known_by_the_message_that_left(stage: Stage) {
    let store = stage.open().await;
    let left = telling("a", "gone@example.org", 0);
    commit(&store, &batch([left.clone().delivered()])).await;
    let forged = telling("forged", "alive@example.org", 3600).reported(false);
    let report = left.with(|event| event.queue_id = None).reported(false);
    let committed = commit(&store, &batch([forged.clone(), report])).await;
    assert_eq!(committed.suppressed.len(), 1);
    assert_eq!(committed.suppressed[0].entry.subject, about("gone@example.org"));
    let trust = async |address| store.events_of(&key(address), 1).await.unwrap()[0].trust;
    assert_eq!(trust("gone@example.org").await, Trust::Correlated);
    assert_eq!(trust("alive@example.org").await, Trust::Unverified);

    // the message and the report on it in one batch
    let both = telling("c", "both@example.org", 10);
    let committed = commit(&store, &batch([both.clone().delivered(), both.reported(false)])).await;
    assert_eq!(committed.suppressed.len(), 1);
}

/// A bounce that is quicker than the log line of its delivery acts when that line comes, and a forged one never.
pub async fn a_report_that_comes_first_is_proved_later(stage: Stage) {
    let store = stage.open().await;
    let left = telling("a", "gone@example.org", 0);
    let forged = telling("forged", "alive@example.org", 5).reported(false);
    let committed = commit(&store, &batch([left.clone().reported(false), forged])).await;
    assert_eq!(committed.suppressed, [], "nothing is proved yet");
    let again = commit(&store, &batch([left.clone().reported(false)])).await;
    assert_eq!((again.fresh, again.suppressed), (vec![false], vec![]));
    let other = telling("b", "other@example.org", 6).delivered();
    assert_eq!(commit(&store, &batch([other])).await.suppressed, []);
    let committed = commit(&store, &batch([left.clone().delivered()])).await;
    assert_eq!(committed.suppressed.len(), 1);
    let entry = &committed.suppressed[0].entry;
    assert_eq!(
        (&entry.subject, entry.cause),
        (&about("gone@example.org"), Cause::UserUnknown)
    );
    assert_eq!(
        (entry.author.as_str(), entry.reason.as_str()),
        ("rule status.5.1.1", "550 5.1.1 no such user")
    );
    let trust = async |address| store.events_of(&key(address), 1).await.unwrap()[0].trust;
    assert_eq!(trust("gone@example.org").await, Trust::Correlated);
    assert_eq!(trust("alive@example.org").await, Trust::Unverified);
    // Lifted by hand, it stays lifted: the proof was used up.
    store
        .remove(&about("gone@example.org"), "test", "alive after all", at(100))
        .await
        .unwrap();
    let resent = telling("a", "gone@example.org", 200).with(|event| event.queue_id = Some("another".into()));
    assert_eq!(commit(&store, &batch([resent.delivered()])).await.suppressed, []);
}

pub async fn echoes_are_counted_and_not_kept(stage: Stage) {
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

pub async fn lanes_come_back_as_they_were(stage: Stage) {
    let store = stage.open().await;
    let committed = commit(&store, &batch([telling("a", "x@example.org", 0).throttled()])).await;
    assert_eq!(committed.lanes.len(), 1);
    assert_eq!(store.lanes().await.unwrap(), committed.lanes);
    assert!(committed.lanes[0].1.held_until(at(1)).is_some());
    assert_eq!(committed.domains, [("example.org".into(), "google".into())]);

    let signal = Signal {
        rule: "r".into(),
        hold: Some(Duration::from_millis(1500)),
        ..Signal::default()
    };
    let mut odd = Lane::held(signal, at(9), at(9));
    (odd.repeats, odd.signals) = (7, 12);
    odd.delivered(at(11), 3);
    odd.delivered(at(12), 1);
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

pub async fn positions_and_domains_are_kept(stage: Stage) {
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

pub async fn unread_messages_are_kept_once(stage: Stage) {
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

pub async fn all_is_there_after_opening_again(stage: Stage) {
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
