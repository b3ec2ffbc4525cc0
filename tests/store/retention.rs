//! What is old goes, and nothing counts twice for it.

use crate::stage::*;
use jiff::{SignedDuration, Timestamp};
use nixie::engine::verdict::Cause;
use nixie::serve::sweep;
use nixie::store::Store;
use nixie::store::contract::Filter;
use nixie::store::retention::Keepsake;

const DAY: i64 = 86_400;

fn before(days: i64) -> Timestamp {
    at(days * DAY)
}

async fn sweep_all(store: &Store, what: Keepsake, before: Timestamp) -> u64 {
    let mut gone = 0;
    let mut from: Option<Vec<u8>> = None;
    loop {
        // Few at a time: nothing may depend on how many.
        let swept = store.sweep(what, before, from.as_deref(), 2).await.unwrap();
        gone += swept.gone;
        match swept.next {
            None => return gone,
            next => from = next,
        }
    }
}

pub async fn what_is_old_goes_and_counts_once_all_the_same(stage: Stage) {
    let store = stage.open().await;
    let old: Vec<Telling> = (0..7)
        .map(|n| telling(&format!("old{n}"), &format!("o{n}@example.org"), n))
        .collect();
    let young: Vec<Telling> = (0..3)
        .map(|n| telling(&format!("new{n}"), &format!("n{n}@example.org"), 100 * DAY + n))
        .collect();
    commit(&store, &batch(old.clone())).await;
    commit(&store, &batch(young.clone())).await;
    let totals = store.totals().await.unwrap();

    assert_eq!(sweep_all(&store, Keepsake::Event, before(50)).await, 7);
    assert!(
        store
            .events_of(&key("o1@example.org"), 10)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        store.events_of(&key("n1@example.org"), 10).await.unwrap().len(),
        1
    );
    assert_eq!(sweep_all(&store, Keepsake::Seen, before(50)).await, 7);
    assert_eq!(
        sweep_all(&store, Keepsake::Seen, before(40)).await,
        0,
        "and never back"
    );

    // Told again, and one that nobody ever told: both are from before what can be known.
    let again = commit(&store, &batch(old)).await;
    assert!(again.fresh.iter().all(|fresh| !fresh), "{:?}", again.fresh);
    let late = commit(&store, &batch([telling("late", "late@example.org", 49 * DAY)])).await;
    assert_eq!(late.fresh, [false]);
    // What an MTA hands over now bears whatever time its author's clock told, or none: it is news, once.
    let mut undated = telling("undated", "undated@example.org", 0);
    undated.event.source = nixie::mail::event::Source::Lmtp;
    assert_eq!(commit(&store, &batch([undated.clone()])).await.fresh, [true]);
    assert_eq!(commit(&store, &batch([undated])).await.fresh, [false]);
    let now = commit(&store, &batch([telling("now", "now@example.org", 50 * DAY)])).await;
    assert_eq!(now.fresh, [true]);
    assert!(
        commit(&store, &batch(young))
            .await
            .fresh
            .iter()
            .all(|fresh| !fresh)
    );
    let after = store.totals().await.unwrap();
    assert_eq!(
        after.suppressions,
        [(Cause::UserUnknown, 12)],
        "suppressions stay"
    );
    assert_eq!(after.outcomes[0].1, totals.outcomes[0].1 + 2);
}

pub async fn marks_counts_and_changes_go_by_their_time(stage: Stage) {
    let store = stage.open().await;
    for (day, name) in [(0, "old"), (100, "new")] {
        let left: Vec<Telling> = (0..5)
            .map(|n| telling(&format!("{name}{n}"), "a@example.org", day * DAY + n).delivered())
            .collect();
        commit(&store, &batch(left)).await;
        let entries = [entry(&format!("{name}@example.org"), Cause::UserUnknown)];
        store.add(&entries, at(day * DAY)).await.unwrap();
    }
    let marks = sweep_all(&store, Keepsake::Sent, before(50)).await;
    assert!(marks >= 5, "{marks}");
    assert_eq!(sweep_all(&store, Keepsake::Sent, before(50)).await, 0);
    assert_eq!(sweep_all(&store, Keepsake::Sent, before(200)).await, marks);
    assert!(sweep_all(&store, Keepsake::Tally, before(50)).await > 0);
    assert_eq!(sweep_all(&store, Keepsake::Tally, before(50)).await, 0);
    assert!(sweep_all(&store, Keepsake::Change, before(50)).await > 0);
    let left = suppression_changes(&store, 0).await;
    assert!(left.iter().all(|change| change.at >= before(50)), "{left:?}");
    assert_eq!(store.suppressions(&Filter::default()).await.unwrap().len(), 2);
    assert_eq!(sweep_all(&store, Keepsake::Unread, before(50)).await, 0);
    assert_eq!(sweep_all(&store, Keepsake::Failure, before(50)).await, 0);
}

pub async fn days_are_made_ahead_and_dropped_whole(stage: Stage) {
    let store = stage.open().await;
    let now = nixie::clock::now();
    let made = store.prepare_days(now).await.unwrap();
    assert_eq!(store.prepare_days(now).await.unwrap(), 0, "each is made once");
    let partitioned = stage.url.starts_with("postgres");
    assert_eq!(made > 0, partitioned, "{made}");
    // One in a day of its own, one that came too early for its day, one of long ago.
    let second = |days: i64| now.as_second() + days * DAY - at(0).as_second();
    let told: Vec<Telling> = [("soon", 4), ("far", 20), ("old", -300)]
        .map(|(name, days)| telling(name, &format!("{name}@example.org"), second(days)))
        .into();
    assert_eq!(commit(&store, &batch(told.clone())).await.fresh, [true; 3]);
    let later = now.checked_add(SignedDuration::from_hours(15 * 24)).unwrap();
    assert_eq!(store.prepare_days(later).await.unwrap() > 0, partitioned);
    assert_eq!(
        commit(&store, &batch(told)).await.fresh,
        [false; 3],
        "moved, and still known"
    );
    assert_eq!(
        store.events_of(&key("far@example.org"), 10).await.unwrap().len(),
        1
    );

    let end = now.checked_add(SignedDuration::from_hours(10 * 24)).unwrap();
    for what in [Keepsake::Event, Keepsake::Seen] {
        sweep::sweep(&store, what, end).await.unwrap();
    }
    for (name, kept) in [("soon", 0), ("old", 0), ("far", 1)] {
        let events = store
            .events_of(&key(&format!("{name}@example.org")), 10)
            .await
            .unwrap();
        assert_eq!(events.len(), kept, "{name}");
    }
}
