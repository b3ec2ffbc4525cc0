//! Many entries at once, as an import writes them: a hundred thousand in a statement, and one row of the change feed
//! for all of them, which names the range of their numbers.
//!
//! The entries go to the database sorted by their texts. The index of ten million texts then takes each chunk from
//! left to right, and touches a page once for all that belongs on it.

use super::contract::Added;
use super::keep::Totals;
use super::row::{self, micros};
use super::session::{Args, Fault, Lines, Row, Rows, Session, Value, clean};
use super::suppression::{CHANNEL, KIND, advance, columns};
use crate::engine::suppression::NewSuppression;
use crate::engine::verdict::Cause;
use jiff::Timestamp;
use std::time::Duration;

/// The table that Postgres' `COPY` fills, one for each connection. It is read from end to end, and so in the order in
/// which it was filled.
const GIVEN: &str = "CREATE TEMPORARY TABLE given_entry (
    address TEXT, cause TEXT, since BIGINT, expires BIGINT, author TEXT, reason TEXT, event BYTEA,
    provider TEXT, standing TEXT, term BIGINT, operation BIGINT) ON COMMIT DELETE ROWS";

/// How long a statement over a chunk may take: a slow disk has much to do.
const TIME: Duration = Duration::from_secs(60);

/// What a chunk's insertions wrote.
#[derive(Default)]
struct Written {
    totals: Totals,
    added: u64,
    range: Option<(i64, i64)>,
}

impl Written {
    /// `cause, count, least number, greatest number`, for each cause.
    fn read(&mut self, rows: &[Row]) -> Result<(), Fault> {
        for row in rows {
            let (n, first, last): (i64, i64, i64) = (row.get(1)?, row.get(2)?, row.get(3)?);
            self.totals
                .add(KIND, row::cause(&row.get::<String>(0)?).name(), n);
            self.added += u64::try_from(n).unwrap_or(0);
            self.range = Some(match self.range {
                None => (first, last),
                Some((least, greatest)) => (least.min(first), greatest.max(last)),
            });
        }
        Ok(())
    }
}

/// Writes entries for the subjects that have none in force at `now`. Of two for one subject, the first.
pub(super) async fn add(
    session: &mut Session,
    entries: &[NewSuppression],
    now: Timestamp,
) -> Result<Added, Fault> {
    let mut given: Vec<(String, &NewSuppression)> = entries
        .iter()
        .map(|entry| (clean(&entry.subject.to_string()), entry))
        .collect();
    // A stable sort: of equals, the first stays the first.
    given.sort_by(|(one, _), (other, _)| one.cmp(other));
    given.dedup_by(|(one, _), (other, _)| one == other);

    let mut written = Written::default();
    session.take_time(TIME).await?;
    if session.copies() {
        copy(session, &given).await?;
        insert_copied(session, &mut written).await?;
        let absent = given.len() as u64 - written.added;
        if absent > 0 && replace_copied(session, &mut written, now).await? {
            insert_copied(session, &mut written).await?;
        }
    } else {
        insert_given(session, &given, &mut written, now).await?;
    }
    written.totals.write(session).await?;
    if let Some((first, last)) = written.range {
        announce(session, entries, (first, last), now).await?;
    }
    Ok(Added {
        added: written.added,
        kept: entries.len() as u64 - written.added,
    })
}

async fn copy(session: &mut Session, given: &[(String, &NewSuppression)]) -> Result<(), Fault> {
    let known = session
        .fetch(
            "SELECT to_regclass('pg_temp.given_entry') IS NOT NULL",
            Args::None,
        )
        .await?;
    if !known.first().map_or(Ok(false), |row| row.get(0))? {
        session.run(GIVEN, Args::None).await?;
    }
    let mut lines = Lines::default();
    for (subject, entry) in given {
        lines
            .line()
            .text(Some(subject))
            .text(Some(entry.cause.name()))
            .int(Some(micros(entry.since)))
            .int(entry.expires.map(micros))
            .text(Some(&entry.author))
            .text(Some(&entry.reason))
            .octets(entry.event.as_ref().map(|id| id.0.as_slice()))
            .text(entry.provider.as_deref())
            .text(Some(entry.standing.name()))
            .int(Some(entry.term.into()))
            .int(entry.operation);
    }
    session.copy_in("given_entry", lines).await
}

async fn insert_copied(session: &mut Session, written: &mut Written) -> Result<(), Fault> {
    let rows = session
        .fetch(
            "WITH written AS (
                 INSERT INTO suppression
                     (address, cause, since, expires, author, reason, event, provider, standing, term, operation)
                 SELECT address, cause, since, expires, author, reason, event, provider, standing, term, operation
                 FROM given_entry
                 ON CONFLICT (address) DO NOTHING RETURNING id, cause)
             SELECT cause, count(*), min(id), max(id) FROM written GROUP BY cause",
            Args::None,
        )
        .await?;
    written.read(&rows)
}

/// Takes the expired entries of the given subjects out, and what was written from the given table; whether there is
/// anything to write again. What has expired is found by its index, or else the texts one by one: never is the whole
/// list read for a chunk, whatever the planner thinks of a table that it knows nothing about.
async fn replace_copied(session: &mut Session, written: &mut Written, now: Timestamp) -> Result<bool, Fault> {
    session.run("SET LOCAL enable_seqscan = off", Args::None).await?;
    let before = written.range.map_or(i64::MAX, |(first, _)| first);
    let expired = session
        .fetch(
            "DELETE FROM suppression AS stored USING given_entry AS given
             WHERE stored.address = given.address AND stored.expires <= $1 AND stored.id < $2
             RETURNING stored.cause",
            Args::Values(vec![Value::Int(Some(micros(now))), Value::Int(Some(before))]),
        )
        .await?;
    for row in &expired {
        let cause = Cause::from_name(&row.get::<String>(0)?);
        written
            .totals
            .add(KIND, cause.unwrap_or(Cause::Unknown).name(), -1);
    }
    Ok(!expired.is_empty())
}

/// SQLite: all in JSON. A transaction that writes is alone, so that all numbers beyond the last are its own.
async fn insert_given(
    session: &mut Session,
    given: &[(String, &NewSuppression)],
    written: &mut Written,
    now: Timestamp,
) -> Result<(), Fault> {
    let rows = session
        .fetch("SELECT coalesce(max(id), 0) FROM suppression", Args::None)
        .await?;
    let before: i64 = rows.first().map_or(Ok(0), |row| row.get(0))?;
    let mut inserted = insert_json(session, given).await?;
    if inserted < given.len() as u64 {
        let rows = Rows::new()
            .texts("address", given.iter().map(|(subject, _)| subject.as_str()))
            .ints("now", given.iter().map(|_| micros(now)))
            .ints("before", given.iter().map(|_| before));
        let expired = session
            .fetch(
                "DELETE FROM suppression WHERE id IN (
                     SELECT stored.id FROM {given} JOIN suppression AS stored ON stored.address = given.address
                     WHERE stored.expires <= given.now AND stored.id <= given.before)
                 RETURNING cause",
                Args::Rows(rows),
            )
            .await?;
        for row in &expired {
            let cause = Cause::from_name(&row.get::<String>(0)?);
            written
                .totals
                .add(KIND, cause.unwrap_or(Cause::Unknown).name(), -1);
        }
        if !expired.is_empty() {
            inserted += insert_json(session, given).await?;
        }
    }
    if inserted > 0 {
        let rows = session
            .fetch(
                "SELECT cause, count(*), min(id), max(id) FROM suppression WHERE id > $1 GROUP BY cause",
                Args::Values(vec![Value::Int(Some(before))]),
            )
            .await?;
        written.read(&rows)?;
    }
    Ok(())
}

async fn insert_json(session: &mut Session, given: &[(String, &NewSuppression)]) -> Result<u64, Fault> {
    let rows = columns(given.iter().map(|(subject, entry)| (subject.as_str(), *entry)));
    session
        .run(
            "INSERT INTO suppression (address, cause, since, expires, author, reason, event, provider, standing, term,
                                      operation)
             SELECT address, cause, since, expires, author, reason, event, provider, standing, term, operation
             FROM {given} WHERE true ON CONFLICT (address) DO NOTHING",
            Args::Rows(rows),
        )
        .await
}

/// One row of the feed for all: who and why stand with each entry as well.
async fn announce(
    session: &mut Session,
    entries: &[NewSuppression],
    (first, last): (i64, i64),
    now: Timestamp,
) -> Result<(), Fault> {
    let sequence = advance(session, 1).await?;
    let said = |said: fn(&NewSuppression) -> &str| Value::text(entries.first().map_or("", said));
    session
        .run(
            "INSERT INTO change
                 (sequence, at, author, reason, kind, suppression, address, cause, since, expires, detail, operation)
             VALUES ($1, $2, $3, $4, $5, $6, '', '', $2, NULL, $7, $8)",
            Args::Values(vec![
                Value::Int(Some(sequence)),
                Value::Int(Some(micros(now))),
                said(|entry| &entry.author),
                said(|entry| &entry.reason),
                Value::text(row::BULK),
                Value::Int(Some(first)),
                Value::text(&last.to_string()),
                Value::Int(entries.first().and_then(|entry| entry.operation)),
            ]),
        )
        .await?;
    session.notify(CHANNEL).await
}
