//! Operators' orders for lanes, their history, and what of lanes and domains goes into the feed.

use crate::stage::*;
use nixie::engine::decide::{Decision, Known};
use nixie::engine::throttle::plan::{self, Order, Steer};
use nixie::engine::throttle::{Lane, State, What};
use nixie::store::Store;
use nixie::store::contract::{Batch, Change, ChangeKind};

const CAP: Steer = Steer::Cap {
    per_second: Some(5.0),
    concurrency: Some(2),
};

fn order(what: Steer, author: &str, second: i64) -> Order {
    Order {
        what,
        author: author.into(),
        reason: "they \"called\"".into(),
        at: at(second),
    }
}

async fn kinds(store: &Store, after: i64) -> Vec<ChangeKind> {
    let changes: Vec<Change> = store.changes_since(after, 100).await.unwrap();
    changes.into_iter().map(|change| change.kind).collect()
}

pub async fn orders_stand_until_they_are_taken_back(stage: Stage) {
    let store = stage.open().await;
    let (lane, other) = (google("google"), google("yahoo"));
    let (cap, pause) = (order(CAP, "cli alice", 1), order(Steer::Pause, "cli bob", 2));
    assert_eq!(store.order(&lane, &cap).await.unwrap(), None);
    assert_eq!(
        store.order(&lane, &pause).await.unwrap(),
        None,
        "a pause leaves the cap"
    );
    assert_eq!(store.order(&other, &pause).await.unwrap(), None);
    let lower = order(
        Steer::Cap {
            per_second: Some(1.0 / 3.0),
            concurrency: None,
        },
        "cli bob",
        3,
    );
    assert_eq!(store.order(&lane, &lower).await.unwrap(), Some(cap));
    store.close().await;

    let store = stage.open().await;
    let standing = [
        (lane.clone(), lower.clone()),
        (lane.clone(), pause.clone()),
        (other.clone(), pause.clone()),
    ];
    assert_eq!(
        store.orders().await.unwrap(),
        standing,
        "exactly as they were given"
    );
    let by = ("cli carol", "all is well");
    let taken = store.withdraw(&lane, Steer::Pause, by, at(4)).await.unwrap();
    assert_eq!(taken, Some(pause.clone()));
    assert_eq!(
        store.withdraw(&lane, Steer::Pause, by, at(5)).await.unwrap(),
        None
    );
    assert_eq!(store.orders().await.unwrap(), [(lane, lower), (other, pause)]);
}

pub async fn who_ordered_what_stays(stage: Stage) {
    let store = stage.open().await;
    let lane = google("google");
    store.order(&lane, &order(CAP, "cli alice", 1)).await.unwrap();
    store
        .order(&lane, &order(Steer::Pause, "cli bob", 2))
        .await
        .unwrap();
    store
        .order(&google("yahoo"), &order(Steer::Pause, "cli bob", 2))
        .await
        .unwrap();
    let by = ("cli carol", "all is well");
    store.withdraw(&lane, Steer::Pause, by, at(3)).await.unwrap();
    store.order(&lane, &order(CAP, "cli dave", 4)).await.unwrap();
    let history = store.history(&lane, 10).await.unwrap();
    let told: Vec<_> = history
        .iter()
        .rev()
        .map(|change| (change.author.as_str(), change.at, change.kind.clone()))
        .collect();
    let ordered = |what| ChangeKind::Ordered {
        key: lane.clone(),
        what,
    };
    let withdrawn = |what| ChangeKind::Withdrawn {
        key: lane.clone(),
        what,
    };
    assert_eq!(
        told,
        [
            ("cli alice", at(1), ordered(CAP)),
            ("cli bob", at(2), ordered(Steer::Pause)),
            ("cli carol", at(3), withdrawn(Steer::Pause)),
            ("cli dave", at(4), withdrawn(CAP)),
            ("cli dave", at(4), ordered(CAP)),
        ]
    );
    assert_eq!(history[0].reason, "they \"called\"");
    assert_eq!(history[2].reason, "all is well");
    assert_eq!(store.history(&lane, 2).await.unwrap().len(), 2);
    assert_eq!(kinds(&store, 0).await.len(), 6, "and all of it is in the feed");
}

pub async fn a_lane_is_cleared_and_what_it_was_stays(stage: Stage) {
    let store = stage.open().await;
    let lane = google("google");
    let by = ("cli alice", "a new address");
    let nothing = store.clear(&lane, by, at(0)).await.unwrap();
    assert_eq!((nothing.lane, nothing.orders.len()), (None, 0));
    assert_eq!(
        store.feed_position().await.unwrap(),
        0,
        "nothing was there to clear"
    );

    commit(&store, &batch([telling("a", "x@example.org", 0).throttled()])).await;
    let held = store.lanes().await.unwrap()[0].1.clone();
    store.order(&lane, &order(CAP, "cli alice", 1)).await.unwrap();
    store
        .order(&lane, &order(Steer::Pause, "cli bob", 2))
        .await
        .unwrap();
    let before = store.feed_position().await.unwrap();
    let cleared = store.clear(&lane, by, at(5)).await.unwrap();
    assert_eq!(cleared.lane.as_ref(), Some(&held));
    assert_eq!(cleared.orders.len(), 2);
    assert!(store.orders().await.unwrap().is_empty());
    let (_, open) = store.lanes().await.unwrap().remove(0);
    assert_eq!((open.state, open.evidence.what), (State::Open, What::Operator));
    assert_eq!(open.evidence.rule.as_deref(), Some("cli alice"));
    assert_eq!(
        open.sent_on(plan::date(at(0))),
        held.sent_on(plan::date(at(0))),
        "what was sent is no opinion"
    );
    let told = kinds(&store, before).await;
    assert!(told.contains(&ChangeKind::Cleared {
        key: lane.clone(),
        was: Some(Box::new(held))
    }));
    assert!(told.contains(&ChangeKind::Lane {
        key: lane.clone(),
        lane: Box::new(open)
    }));
    assert_eq!(
        store.history(&lane, 10).await.unwrap().len(),
        6,
        "held, two orders, their ends, cleared"
    );
}

/// Of lanes and domains the feed tells the present state, at the place of the last change.
pub async fn lanes_and_domains_are_in_the_feed(stage: Stage) {
    let store = stage.open().await;
    let first = commit(&store, &batch([telling("a", "x@example.org", 0).throttled()])).await;
    assert_eq!(first.sequence, store.feed_position().await.unwrap());
    let told = kinds(&store, 0).await;
    let (key, held) = first.lanes[0].clone();
    let lane = |lane: &Lane| ChangeKind::Lane {
        key: key.clone(),
        lane: Box::new(lane.clone()),
    };
    assert!(told.contains(&lane(&held)), "{told:?}");
    assert!(told.contains(&ChangeKind::Turned {
        key: key.clone(),
        to: held.state
    }));
    assert!(told.contains(&ChangeKind::Domain {
        domain: "example.org".into(),
        provider: "google".into()
    }));
    let mut last = first.clone();
    for n in 0..5 {
        let told = telling(&format!("d{n}"), "x@example.org", 70 + n).delivered();
        last = commit(&store, &batch([told])).await;
    }
    let later = kinds(&store, first.sequence).await;
    assert_eq!(later, [lane(&last.lanes[0].1)], "once, and the domain is no news");
    assert_eq!(
        store.changes_since(last.sequence, 10).await.unwrap(),
        [],
        "there is nothing after the commit's own number"
    );
    let quiet = store
        .commit(&Batch::default(), |_: &Known| Decision::default())
        .await
        .unwrap();
    assert_eq!(
        (quiet.sequence, store.feed_position().await.unwrap()),
        (0, last.sequence)
    );
    let history = store.history(&key, 10).await.unwrap();
    assert_eq!(history.len(), 1, "deliveries are no history");
    assert_eq!(history[0].author, "rule status.5.1.1");
    assert!(history[0].reason.contains("slow down"), "{history:?}");
}
