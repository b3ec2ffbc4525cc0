//! The change feed: how long after a commit on one node another answers accordingly.
//!
//! Two times are told: from the moment that the commit has returned, which is what is promised, and from the moment that
//! the first node began to write, which is what the raw case beside it has in common with it.

use super::{address, directory};
use anyhow::{Context as _, Result};
use nixie::clock;
use nixie::engine::memory::{Memory, Question};
use nixie::engine::suppression::NewSuppression;
use nixie::engine::verdict::Cause;
use nixie::mail::address::{Address, LocalPart};
use nixie::serve::feed;
use nixie::serve::release::Bell;
use nixie::store::Store;
use nixie_lab::postgres::Postgres;
use sqlx::postgres::PgListener;
use sqlx::{Connection as _, Executor as _, PgConnection};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const COMMITS: usize = 500;

/// The time in the middle, and the one that 99 of 100 keep.
fn shares(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |percent: usize| times[times.len() * percent / 100].as_secs_f64() * 1e3;
    format!("p50 {:.1} ms, p99 {:.1} ms", at(50), at(99))
}

/// A moment between two commits that is never the same, so that they meet the follower in all its moods.
async fn rest(n: usize) {
    tokio::time::sleep(Duration::from_micros(super::scramble(n) % 60_000)).await;
}

pub(super) async fn feed() -> Result<()> {
    let parent = directory()?;
    std::fs::set_permissions(parent.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let server = Postgres::start_in(parent.path(), &[])?;
    let raw = raw(&server.create_database("raw")?).await?;
    let (promised, whole) = nodes(&server.create_database("nixie")?).await?;
    println!("feed: commit to answer on another node: {}", shares(promised));
    println!(
        "feed: from before the commit: {}; a row and NOTIFY, heard: {}",
        shares(whole),
        shares(raw)
    );
    Ok(())
}

/// A row and a notice in one transaction, and who listens.
async fn raw(url: &str) -> Result<Vec<Duration>> {
    let mut writer = PgConnection::connect(url).await?;
    writer
        .execute("CREATE TABLE raw (id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, address TEXT NOT NULL UNIQUE)")
        .await?;
    let mut listener = PgListener::connect(url).await?;
    listener.listen("raw").await?;
    let mut times = Vec::new();
    for n in 0..COMMITS {
        rest(n).await;
        let begun = Instant::now();
        let mut transaction = writer.begin().await?;
        sqlx::query("INSERT INTO raw (address) VALUES ($1)")
            .bind(address(n))
            .execute(&mut *transaction)
            .await?;
        transaction.execute("NOTIFY raw").await?;
        transaction.commit().await?;
        listener.recv().await?;
        times.push(begun.elapsed());
    }
    Ok(times)
}

/// Commits through one store while a node follows by another.
async fn nodes(url: &str) -> Result<(Vec<Duration>, Vec<Duration>)> {
    let writer = Store::open(url).await?;
    let memory = Arc::new(Memory::new());
    let (migrated, _schema) = watch::channel(false);
    let (loaded, mut is_loaded) = watch::channel(false);
    let stop = CancellationToken::new();
    let follower = tokio::spawn(feed::follow(
        Store::open(url).await?,
        Arc::clone(&memory),
        migrated,
        loaded,
        Bell::default(),
        stop.clone(),
    ));
    is_loaded.wait_for(|loaded| *loaded).await?;
    let (mut promised, mut whole) = (Vec::new(), Vec::new());
    for n in 0..COMMITS {
        rest(n).await;
        let (now, key) = (clock::now(), Address::parse(&address(n))?.key(LocalPart::Fold));
        let question = Question {
            key: &key,
            clear: key.as_str(),
            domain: key.domain(),
            stream: None,
        };
        let entry = NewSuppression::new(key.clone().into(), Cause::UserUnknown, now);
        let begun = Instant::now();
        writer.add(&[entry], now).await?;
        let committed = Instant::now();
        let given_up = committed + Duration::from_secs(60);
        while memory.suppressed(&question, now).is_none() {
            (Instant::now() < given_up)
                .then_some(())
                .context("the feed stands still")?;
            tokio::time::sleep(Duration::from_micros(100)).await;
        }
        promised.push(committed.elapsed());
        whole.push(begun.elapsed());
    }
    stop.cancel();
    follower.await?;
    writer.close().await;
    Ok((promised, whole))
}
