//! Stores: import, load, and the same rows with nothing around them.

use super::{CHUNK, chunk, directory, entries, rate, resident};
use anyhow::{Result, bail};
use nixie::clock;
use nixie::engine::memory::Memory;
use nixie::serve::feed;
use nixie::serve::release::Bell;
use nixie::store::Store;
use nixie_lab::postgres::Postgres;
use sqlx::{Connection as _, Executor as _, PgConnection, SqliteConnection};
use std::hint::black_box;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

async fn import(store: &Store) -> Result<Duration> {
    let begun = Instant::now();
    for from in (0..entries()).step_by(CHUNK) {
        let now = clock::now();
        store
            .add(&chunk(from, (from + CHUNK).min(entries()), now)?, now)
            .await?;
    }
    Ok(begun.elapsed())
}

async fn measure(name: &str, url: &str, raw: Duration) -> Result<()> {
    let store = Store::open(url).await?;
    let all = entries();
    let took = import(&store).await?;
    println!(
        "{name}: import {:.0} lines/s, raw {:.0} (ratio {:.2})",
        rate(all, took),
        rate(all, raw),
        raw.as_secs_f64() / took.as_secs_f64()
    );
    let again = import(&store).await?;
    println!("{name}: again {:.0} lines/s", rate(all, again));
    let begun = Instant::now();
    let mut reached = None;
    loop {
        reached = store
            .load(reached, None, |entry| {
                black_box(entry.subject.len());
            })
            .await?;
        if reached.is_none() {
            break;
        }
    }
    println!(
        "{name}: read and thrown away in {:.2} s",
        begun.elapsed().as_secs_f64()
    );
    store.close().await;
    let status = Command::new(std::env::current_exe()?)
        .args(["reader", url])
        .status()?;
    if !status.success() {
        bail!("the reader failed");
    }
    Ok(())
}

/// A process that loads, as the daemon does, and says what that took.
pub(super) async fn reader(url: &str) -> Result<()> {
    let store = Store::open(url).await?;
    let memory = Arc::new(Memory::new());
    let before = resident()?;
    let begun = Instant::now();
    let (migrated, _schema) = watch::channel(false);
    let (loaded, mut is_loaded) = watch::channel(false);
    let stop = CancellationToken::new();
    let follower = tokio::spawn(feed::follow(
        store,
        Arc::clone(&memory),
        migrated,
        loaded,
        Bell::default(),
        stop.clone(),
    ));
    is_loaded.wait_for(|loaded| *loaded).await?;
    let took = begun.elapsed();
    let grown = resident()?.saturating_sub(before);
    let n = memory.size().suppressions;
    println!(
        "  a new process: {n} entries answer after {:.2} s; resident {:.1} MB more, {:.1} octets an entry",
        took.as_secs_f64(),
        grown as f64 / 1e6,
        grown as f64 / n as f64
    );
    stop.cancel();
    follower.await?;
    Ok(())
}

/// The columns that an entry has.
const COLUMNS: &str = "address, cause, since, expires, author, reason, event, provider, standing, term";

pub(super) async fn sqlite() -> Result<()> {
    let directory = directory()?;
    let raw = directory.path().join("raw.db");
    let url = format!("sqlite://{}?mode=rwc", raw.display());
    let mut connection = SqliteConnection::connect(&url).await?;
    connection
        .execute(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -32768;
             CREATE TABLE raw (id INTEGER PRIMARY KEY AUTOINCREMENT, address TEXT NOT NULL UNIQUE, cause TEXT NOT NULL,
                 since INTEGER NOT NULL, expires INTEGER, author TEXT NOT NULL, reason TEXT NOT NULL, event BLOB,
                 provider TEXT, standing TEXT NOT NULL, term INTEGER NOT NULL) STRICT",
        )
        .await?;
    let begun = Instant::now();
    for from in (0..entries()).step_by(CHUNK) {
        let now = clock::now();
        let rows: Vec<_> = chunk(from, (from + CHUNK).min(entries()), now)?
            .iter()
            .map(|e| {
                serde_json::json!([
                    e.subject.to_string(),
                    e.cause.name(),
                    now.as_microsecond(),
                    e.author,
                    e.reason
                ])
            })
            .collect();
        sqlx::query(sqlx::AssertSqlSafe(format!(
            "INSERT INTO raw ({COLUMNS}) SELECT value ->> 0, value ->> 1, value ->> 2, NULL, value ->> 3, value ->> 4,
                 NULL, NULL, 'in_force', 1 FROM json_each($1)"
        )))
        .bind(serde_json::Value::Array(rows).to_string())
        .execute(&mut connection)
        .await?;
    }
    let raw_took = begun.elapsed();
    connection.close().await?;
    std::fs::remove_file(raw)?;
    let url = format!("sqlite://{}/nixie.db", directory.path().display());
    measure("sqlite", &url, raw_took).await
}

pub(super) async fn postgres() -> Result<()> {
    let parent = directory()?;
    // As Postgres comes, but for the size of its log of changes, which an operator of this size sets first of all.
    std::fs::set_permissions(parent.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let server = Postgres::start_in(parent.path(), &["max_wal_size=4GB", "shared_buffers=512MB"])?;
    let mut connection = PgConnection::connect(&server.create_database("raw")?).await?;
    connection
        .execute(
            "CREATE TABLE raw (id BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, address TEXT NOT NULL UNIQUE,
                 cause TEXT NOT NULL, since BIGINT NOT NULL, expires BIGINT, author TEXT NOT NULL, reason TEXT NOT NULL,
                 event BYTEA, provider TEXT, standing TEXT NOT NULL, term BIGINT NOT NULL)",
        )
        .await?;
    let begun = Instant::now();
    for from in (0..entries()).step_by(CHUNK) {
        let now = clock::now();
        let mut lines = String::new();
        for entry in chunk(from, (from + CHUNK).min(entries()), now)? {
            use std::fmt::Write as _;
            let (author, reason) = (&entry.author, &entry.reason);
            writeln!(
                lines,
                "{}\t{}\t{}\t\\N\t{author}\t{reason}\t\\N\t\\N\tin_force\t1",
                entry.subject,
                entry.cause,
                now.as_microsecond()
            )?;
        }
        let mut copy = connection
            .copy_in_raw(&format!("COPY raw ({COLUMNS}) FROM STDIN"))
            .await?;
        copy.send(lines.into_bytes()).await?;
        copy.finish().await?;
    }
    let raw = begun.elapsed();
    connection.close().await?;
    server.execute("DROP DATABASE raw")?;
    let url = server.create_database("nixie")?;
    measure("postgres", &url, raw).await
}
