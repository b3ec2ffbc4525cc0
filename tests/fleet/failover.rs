//! A server that restarts, and a replica that takes its place.

use crate::node::{self, Node, until};
use crate::stage::{at, entry, postgres_wanted, start};
use nixie::engine::verdict::Cause;
use nixie::store::Store;
use nixie_lab::postgres::Postgres;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

/// Adds as the daemon does: until it succeeds.
async fn add(store: &Store, address: &str) {
    let deadline = Instant::now() + node::WITHIN;
    let mut beat = tokio::time::interval(Duration::from_millis(50));
    while let Err(error) = store.add(&[entry(address, Cause::UserUnknown)], at(0)).await {
        assert!(error.is_passing() && Instant::now() < deadline, "{error}");
        beat.tick().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_the_server_is_outlived() {
    if !postgres_wanted() {
        return;
    }
    let mut server = start();
    let (one, other) = (Node::start(&server.url()).await, Node::start(&server.url()).await);
    add(&one.store, "before@example.org").await;
    until("the first entry", || other.answers("before@example.org")).await;
    server.stop().unwrap();
    assert!(other.answers("before@example.org"), "from memory");
    server.start_again().unwrap();
    add(&one.store, "after@example.org").await;
    until("the second entry", || other.answers("after@example.org")).await;
    node::agree(&[&one, &other]).await;
}

/// The name under which the nodes know the server, as a fleet has one in DNS.
fn point(name: &Path, server: &Postgres) {
    let _ = std::fs::remove_file(name);
    symlink(server.directory(), name).unwrap();
}

/// The server is lost with a commit that its replica never got, and which the nodes have read. The promoted replica
/// gives the same numbers to other changes: who went on from its place would never hear of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promoted_replica_is_followed_and_what_was_lost_is_forgotten() {
    if !postgres_wanted() {
        return;
    }
    let names = tempfile::tempdir().unwrap();
    let name = names.path().join("db");
    let mut primary = start();
    point(&name, &primary);
    let url = format!("postgres://nixie@localhost/postgres?host={}", name.display());
    let (one, other) = (Node::start(&url).await, Node::start(&url).await);
    add(&one.store, "kept@example.org").await;

    let mut replica = primary.replica().unwrap();
    let at_replica = format!(
        "postgres://nixie@localhost/postgres?host={}",
        replica.directory().display()
    );
    until("the replica", || {
        let n = replica.execute("SELECT count(*) FROM suppression").unwrap();
        n == "1"
    })
    .await;
    replica.stop().unwrap();
    add(&one.store, "lost@example.org").await;
    until("the lost entry", || other.answers("lost@example.org")).await;
    primary.stop().unwrap();
    replica.start_again().unwrap();
    replica.promote().unwrap();
    // Written before any node has noticed: the number of what was lost is taken again, and the feed is not behind.
    let elsewhere = Store::open(&at_replica).await.unwrap();
    add(&elsewhere, "another@example.org").await;
    point(&name, &replica);

    for node in [&one, &other] {
        until("the other entry", || node.answers("another@example.org")).await;
        assert!(!node.answers("lost@example.org"));
        assert!(node.answers("kept@example.org"));
    }
    add(&one.store, "next@example.org").await;
    until("the next entry", || other.answers("next@example.org")).await;
    node::agree(&[&one, &other]).await;
}
