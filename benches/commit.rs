//! How fast events are committed, beside a raw bulk insert of the same rows in the same run.
//!
//! ```text
//! cargo bench --bench commit
//! ```
//!
//! A batch holds 1,000 events as a busy log tells them: 90 % delivered, the rest deferred, failed or
//! echoed. *Committed* is the whole way from an event to a transaction that is synced to the disk: marks,
//! look-ups, decision, counts, suppressions, feed. *Raw* writes the ids, marks and kept rows of the same
//! batch with three bulk inserts and nothing else, synced just the same. Both databases lie on the disk.
//! Likewise entries that are added, 10,000 to a transaction: raw writes each and a line about it.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use anyhow::{Context, Result};
use jiff::{SignedDuration, Timestamp};
use nixie::engine::decide::{self, Decision, Known, Policy, Record};
use nixie::engine::suppression::NewSuppression;
use nixie::engine::throttle::{LaneKey, Limits};
use nixie::engine::trust;
use nixie::engine::verdict::{Cause, Verdict};
use nixie::mail::address::{Address, LocalPart};
use nixie::mail::event::{Event, EventId, Evidence, Outcome, Relay, Source};
use nixie::mail::reply::Reply;
use nixie::store::Store;
use nixie::store::contract::{Batch, Position};
use nixie_lab::postgres::{Postgres, installed};
use sqlx::{Connection, Executor, PgConnection, SqliteConnection};
use std::path::Path;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

const BATCH: usize = 1_000;
const BATCHES: usize = 100;
const ENTRIES: usize = 200_000;
static POLICY: LazyLock<Policy> = LazyLock::new(|| Policy {
    limits: Limits {
        default_hold: Duration::from_secs(60),
        max_hold: Duration::from_secs(3600),
    },
    ..Policy::default()
});
const PROVIDERS: [&str; 5] = ["google", "microsoft365", "outlook", "yahoo", "example.net"];

fn start() -> Timestamp {
    Timestamp::UNIX_EPOCH
        .saturating_add(SignedDuration::from_hours(24 * 365 * 50))
        .unwrap_or(Timestamp::MAX)
}

/// What the log tells as its `n`th line.
fn event(n: usize) -> Result<(Event, Cause)> {
    let (outcome, reply, cause) = match n % 100 {
        0..90 => (
            Outcome::Delivered,
            "250 2.0.0 OK 1700000000 a1b2c3",
            Cause::Delivered,
        ),
        90..95 => (
            Outcome::Deferred,
            "450 4.2.0 greylisted, try again later",
            Cause::Greylisted,
        ),
        95..97 => (
            Outcome::Deferred,
            "delivery temporarily suspended",
            Cause::Unknown,
        ),
        97 => (
            Outcome::Deferred,
            "421 4.7.28 unusual rate of mail",
            Cause::RateLimited,
        ),
        _ => (
            Outcome::Failed,
            "550 5.1.1 The account does not exist",
            Cause::UserUnknown,
        ),
    };
    let at = start().saturating_add(SignedDuration::from_millis(i64::try_from(n)?))?;
    let evidence = match n % 100 {
        95..97 => Evidence::Repeat,
        _ => Evidence::Fresh,
    };
    let event = Event {
        id: EventId::new(at, &[b"log", &n.to_le_bytes()]),
        at,
        source: Source::Log,
        outcome,
        evidence,
        recipient: Address::parse(&format!("user{n}@domain{}.example", n % 997))?,
        original_recipient: None,
        sender: Some(format!("news@sender{}.example", n % 7)),
        queue_id: Some(format!("4bXyZ{n:09}")),
        message_id: Some(format!("20240101.{n}.abcdef@sender{}.example", n % 7)),
        envelope_id: None,
        sasl_username: None,
        command: None,
        relay: Some(Relay {
            host: "mx1.example.net".into(),
            ip: Some("192.0.2.25".into()),
            port: Some(25),
        }),
        reply: Reply::parse(reply),
        reported_status: "5.1.1".parse().ok(),
        reporting_mta: None,
        return_path: None,
        own: true,
        authentication: nixie::mail::event::Authentication::Untried,
    };
    Ok((event, cause))
}

fn batches() -> Result<Vec<Batch>> {
    (0..BATCHES)
        .map(|batch| {
            let records: Result<Vec<Record>> = (batch * BATCH..(batch + 1) * BATCH).map(record).collect();
            let position = Position {
                intake: "log:file:/var/log/mail.log".into(),
                value: format!("{{\"inode\":1,\"offset\":{batch}}}"),
            };
            Ok(Batch {
                records: records?,
                positions: vec![position],
                ..Batch::default()
            })
        })
        .collect()
}

fn record(n: usize) -> Result<Record> {
    let (event, cause) = event(n)?;
    let permanent = event.outcome == Outcome::Failed;
    let verdict = Verdict {
        cause,
        sub_cause: None,
        scope: cause.scope(),
        permanent,
        remedy: cause.remedy(permanent),
        rule: "google.rule".into(),
        hold: None,
        throttle: None,
        advice: None,
    };
    let lane = LaneKey {
        provider: PROVIDERS[n % PROVIDERS.len()].into(),
        egress: "default".into(),
    };
    Ok(Record::new(event, verdict, Some(lane), POLICY.local_part))
}

fn entries() -> Result<Vec<NewSuppression>> {
    (0..ENTRIES)
        .map(|n| {
            let address = Address::parse(&format!("dead{n}@domain{}.example", n % 997))?;
            let subject = address.key(LocalPart::Fold).into();
            Ok(NewSuppression {
                author: "import dead.csv".into(),
                reason: "imported".into(),
                ..NewSuppression::new(subject, Cause::UserUnknown, start())
            })
        })
        .collect()
}

/// Commits all batches; returns events a second.
async fn commit(store: &Store, batches: &[Batch]) -> Result<f64> {
    let now = start().saturating_add(SignedDuration::from_secs(1))?;
    let begun = Instant::now();
    for batch in batches {
        let decide = |known: &Known| -> Decision {
            let provider_of = |_: &str| Some("google".into());
            decide::decide(&batch.records, known, &POLICY, &provider_of, &|_| None, now)
        };
        store.commit(batch, decide).await?;
    }
    Ok(rate(batches.len() * BATCH, begun))
}

async fn add(store: &Store, entries: &[NewSuppression]) -> Result<f64> {
    let begun = Instant::now();
    store.add(entries, start()).await?;
    Ok(rate(entries.len(), begun))
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn rate(n: usize, begun: Instant) -> f64 {
    n as f64 / begun.elapsed().as_secs_f64()
}

/// The bare content of a batch.
struct Bare {
    ids: Vec<Vec<u8>>,
    marks: Vec<Vec<u8>>,
    /// recipient, sender, queue id, message id, reply
    kept: Vec<[String; 5]>,
}

fn bare(batch: &Batch) -> Bare {
    let records = &batch.records;
    let left = records.iter().filter(|record| trust::leaves(&record.event));
    let kept = records.iter().filter(|record| !trust::leaves(&record.event));
    Bare {
        ids: records.iter().map(|record| record.event.id.0.to_vec()).collect(),
        marks: left
            .flat_map(|record| record.correlations.iter().map(|mark| mark.print.0.to_vec()))
            .collect(),
        kept: kept
            .map(|record| {
                [
                    record.event.recipient.to_string(),
                    record.event.sender.clone().unwrap_or_default(),
                    record.event.queue_id.clone().unwrap_or_default(),
                    record.event.message_id.clone().unwrap_or_default(),
                    record.event.reply.to_string(),
                ]
            })
            .collect(),
    }
}

const RAW_TABLES: &str =
    "CREATE TABLE raw_id (id BYTES PRIMARY KEY); CREATE TABLE raw_mark (mark BYTES PRIMARY KEY);
    CREATE TABLE raw_event (recipient TEXT, sender TEXT, queue_id TEXT, message_id TEXT, reply TEXT);
    CREATE TABLE raw_entry (address TEXT PRIMARY KEY, cause TEXT, author TEXT, reason TEXT);
    CREATE TABLE raw_change (address TEXT, cause TEXT, author TEXT, reason TEXT)";

async fn raw_postgres(url: &str, batches: &[Bare], addresses: &[String]) -> Result<(f64, f64)> {
    let mut connection = PgConnection::connect(url).await?;
    let tables = RAW_TABLES.replace("BYTES", "BYTEA");
    connection
        .execute(sqlx::raw_sql(sqlx::AssertSqlSafe(tables)))
        .await?;
    let begun = Instant::now();
    for batch in batches {
        let mut transaction = connection.begin().await?;
        sqlx::query("INSERT INTO raw_id SELECT * FROM UNNEST($1)")
            .bind(&batch.ids)
            .execute(&mut *transaction)
            .await?;
        sqlx::query("INSERT INTO raw_mark SELECT * FROM UNNEST($1)")
            .bind(&batch.marks)
            .execute(&mut *transaction)
            .await?;
        let column =
            |index: usize| -> Vec<&str> { batch.kept.iter().map(|row| row[index].as_str()).collect() };
        sqlx::query("INSERT INTO raw_event SELECT * FROM UNNEST($1, $2, $3, $4, $5)")
            .bind(column(0))
            .bind(column(1))
            .bind(column(2))
            .bind(column(3))
            .bind(column(4))
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
    }
    let events = rate(batches.len() * BATCH, begun);
    let begun = Instant::now();
    for chunk in addresses.chunks(10_000) {
        let mut transaction = connection.begin().await?;
        for statement in [
            "INSERT INTO raw_entry SELECT * FROM UNNEST($1, $2, $3, $4)",
            "INSERT INTO raw_change SELECT * FROM UNNEST($1, $2, $3, $4)",
        ] {
            sqlx::query(statement)
                .bind(chunk)
                .bind(vec!["user_unknown"; chunk.len()])
                .bind(vec!["import dead.csv"; chunk.len()])
                .bind(vec!["imported"; chunk.len()])
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
    }
    Ok((events, rate(addresses.len(), begun)))
}

async fn raw_sqlite(path: &Path, batches: &[Bare], addresses: &[String]) -> Result<(f64, f64)> {
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal)
        .synchronous(sqlx::sqlite::SqliteSynchronous::Full);
    let mut connection = SqliteConnection::connect_with(&options).await?;
    let tables = RAW_TABLES
        .replace("BYTES", "BLOB")
        .replace(" PRIMARY KEY)", " PRIMARY KEY) WITHOUT ROWID");
    connection
        .execute(sqlx::raw_sql(sqlx::AssertSqlSafe(tables)))
        .await?;
    let begun = Instant::now();
    for batch in batches {
        let mut transaction = connection.begin().await?;
        sqlx::query("INSERT INTO raw_id SELECT unhex(value) FROM json_each($1)")
            .bind(hex(&batch.ids)?)
            .execute(&mut *transaction)
            .await?;
        sqlx::query("INSERT INTO raw_mark SELECT unhex(value) FROM json_each($1)")
            .bind(hex(&batch.marks)?)
            .execute(&mut *transaction)
            .await?;
        sqlx::query(
            "INSERT INTO raw_event SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4
             FROM json_each($1)",
        )
        .bind(serde_json::to_string(&batch.kept)?)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
    }
    let events = rate(batches.len() * BATCH, begun);
    let begun = Instant::now();
    for chunk in addresses.chunks(10_000) {
        let mut transaction = connection.begin().await?;
        let rows = chunk
            .iter()
            .map(|address| [address.as_str(), "user_unknown", "import dead.csv", "imported"]);
        let rows = serde_json::to_string(&rows.collect::<Vec<_>>())?;
        for statement in [
            "INSERT INTO raw_entry SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM json_each($1)",
            "INSERT INTO raw_change SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM json_each($1)",
        ] {
            sqlx::query(statement)
                .bind(rows.as_str())
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
    }
    Ok((events, rate(addresses.len(), begun)))
}

fn hex(rows: &[Vec<u8>]) -> Result<String> {
    let hex = |row: &Vec<u8>| row.iter().map(|octet| format!("{octet:02x}")).collect::<String>();
    Ok(serde_json::to_string(&rows.iter().map(hex).collect::<Vec<_>>())?)
}

fn report(what: &str, target: f64, ours: f64, raw: f64) {
    let verdict = if ours >= target { "met" } else { "MISSED" };
    println!(
        "{what:<28} {ours:>9.0}/s   raw {raw:>9.0}/s   ratio {:.2}   target {target:>6.0}/s {verdict}",
        ours / raw
    );
}

#[tokio::main]
async fn main() -> Result<()> {
    let batches = batches()?;
    let entries = entries()?;
    let bares: Vec<Bare> = batches.iter().map(bare).collect();
    let addresses: Vec<String> = entries.iter().map(|entry| entry.subject.to_string()).collect();
    let directory = tempfile::Builder::new()
        .prefix("nixie-bench-")
        .tempdir_in("/tmp")?;

    let url = format!("sqlite://{}/nixie.db", directory.path().display());
    let store = Store::open(&url).await?;
    let ours = (commit(&store, &batches).await?, add(&store, &entries).await?);
    let raw = raw_sqlite(&directory.path().join("raw.db"), &bares, &addresses).await?;
    report("SQLite, events committed", 10_000.0, ours.0, raw.0);
    report("SQLite, entries added", 40_000.0, ours.1, raw.1);

    if installed().is_none() {
        println!("left out: Postgres, which is not installed");
        return Ok(());
    }
    let server = Postgres::start_in(Path::new("/tmp"), &["fsync=on"]).context("Postgres")?;
    let store = Store::open(&server.url()).await?;
    let ours = (commit(&store, &batches).await?, add(&store, &entries).await?);
    let raw = raw_postgres(&server.create_database("raw")?, &bares, &addresses).await?;
    report("Postgres, events committed", 20_000.0, ours.0, raw.0);
    report("Postgres, entries added", 80_000.0, ours.1, raw.1);
    Ok(())
}
