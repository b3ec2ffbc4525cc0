//! A server that is stopped, or hangs.

use crate::stage::*;
use nixie::store::Store;
use nixie::store::contract::{Batch, Committed};
use std::time::{Duration, Instant};

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
async fn recovered(store: &Store, batch: &Batch) -> Committed {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match store.commit(batch, decided(batch)).await {
            Ok(committed) => return committed,
            Err(error) => assert!(error.is_passing() && Instant::now() < deadline, "{error}"),
        }
    }
}
