//! Several at once: tasks, connections, openings of one store.

use crate::stage::*;
use nixie::engine::verdict::Cause;
use nixie::store::Store;
use nixie::store::contract::{ChangeKind, Filter};
use std::collections::HashSet;
use std::time::Duration;

/// Several tasks (and connections, and two openings of the store) bring the same events in different batches.
pub async fn concurrent_commits_count_once(stage: Stage) {
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
    assert_eq!(suppression_changes(&stores[0], 0).await.len(), 67);
}

/// The log line and the bounce, committed at the same moment by two connections.
pub async fn concurrent_tellers_of_a_failure_count_once(stage: Stage) {
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

pub async fn concurrent_signals_are_all_counted(stage: Stage) {
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

/// While writers add, remove and commit, a reader follows: numbers only grow, and no change is missed.
pub async fn the_feed_misses_nothing_and_never_looks_back(stage: Stage) {
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
                        let removed = store
                            .remove(&about(&address), "cli", "test", at(n))
                            .await
                            .unwrap();
                        assert!(removed.is_some());
                    }
                }
            })
        })
        .collect();
    let expected = 3 * (30 + 6);
    let follow = async {
        let (mut seen, mut met) = (0, HashSet::new());
        while met.len() < expected {
            for change in store.changes_since(seen, 7).await.unwrap() {
                assert!(change.sequence > seen, "{change:?} after {seen}");
                seen = change.sequence;
                let about = match change.kind {
                    ChangeKind::Suppressed { id, .. } => (id, true),
                    ChangeKind::Lifted { id, .. } => (id, false),
                    _ => continue,
                };
                assert!(met.insert(about), "{about:?} comes twice");
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), follow)
        .await
        .unwrap();
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(suppression_changes(&store, 0).await.len(), expected);
    let left = store.suppressions(&Filter::default()).await.unwrap();
    assert_eq!(left.len(), 3 * (30 - 6));
}

/// A wait may end without cause; it must end with one.
pub async fn a_change_is_heard(stage: Stage) {
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

pub async fn many_open_at_once(stage: Stage) {
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
