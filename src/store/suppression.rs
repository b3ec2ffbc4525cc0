//! Suppressions and the change feed.
//!
//! Every function that writes runs within a transaction of its caller. All of them take their locks in
//! one order: entries, totals, feed.

use super::contract::{Added, Change};
use super::keep::Totals;
use super::row::{self, micros};
use super::session::{Args, Fault, Rows, Session, Value, clean};
use crate::engine::suppression::{NewSuppression, Standing, Subject, Suppression, SuppressionId};
use crate::engine::verdict::Cause;
use jiff::Timestamp;
use std::collections::BTreeMap;

/// Where Postgres' listeners hear that the feed grew.
pub(super) const CHANNEL: &str = "nixie_change";

/// What [`insert`] wrote.
#[derive(Default)]
pub(super) struct Inserted {
    /// The new entries.
    pub(super) entries: Vec<Suppression>,
    /// The causes of the expired entries that they replaced.
    replaced: Vec<Cause>,
}

/// Writes entries for the addresses that have none in force at `now`. Of two for one address, the first.
pub(super) async fn insert(
    session: &mut Session,
    entries: &[NewSuppression],
    now: Timestamp,
) -> Result<Inserted, Fault> {
    let mut wanted: BTreeMap<String, &NewSuppression> = BTreeMap::new();
    for entry in entries {
        wanted.entry(clean(&entry.subject.to_string())).or_insert(entry);
    }
    let mut inserted = Inserted::default();
    insert_absent(session, &mut wanted, &mut inserted).await?;
    if wanted.is_empty() {
        return Ok(inserted);
    }
    let rows = Rows::new()
        .texts("address", wanted.keys().map(String::as_str))
        .ints("now", wanted.values().map(|_| micros(now)));
    let expired = session
        .fetch(
            "DELETE FROM suppression WHERE id IN (
                 SELECT stored.id FROM {given} JOIN suppression AS stored ON stored.address = given.address
                 WHERE stored.expires <= given.now)
             RETURNING cause",
            Args::Rows(rows),
        )
        .await?;
    if !expired.is_empty() {
        for row in &expired {
            let cause = Cause::from_name(&row.get::<String>(0)?);
            inserted.replaced.push(cause.unwrap_or(Cause::Unknown));
        }
        insert_absent(session, &mut wanted, &mut inserted).await?;
    }
    Ok(inserted)
}

/// Entries as a table of the columns that are written, each with the canonical text of its subject.
pub(super) fn columns<'a>(given: impl Iterator<Item = (&'a str, &'a NewSuppression)> + Clone) -> Rows {
    let entries = || given.clone().map(|(_, entry)| entry);
    Rows::new()
        .texts("address", given.clone().map(|(subject, _)| subject))
        .texts("cause", entries().map(|entry| entry.cause.name()))
        .ints("since", entries().map(|entry| micros(entry.since)))
        .ints("expires", entries().map(|entry| entry.expires.map(micros)))
        .texts("author", entries().map(|entry| entry.author.as_str()))
        .texts("reason", entries().map(|entry| entry.reason.as_str()))
        .octets(
            "event",
            entries().map(|entry| entry.event.as_ref().map(|id| id.0.as_slice())),
        )
        .texts("provider", entries().map(|entry| entry.provider.as_deref()))
        .texts("standing", entries().map(|entry| entry.standing.name()))
        .ints("term", entries().map(|entry| i64::from(entry.term)))
        .ints("operation", entries().map(|entry| entry.operation))
}

/// Writes the entries whose addresses have none, and takes them out of `wanted`.
async fn insert_absent(
    session: &mut Session,
    wanted: &mut BTreeMap<String, &NewSuppression>,
    inserted: &mut Inserted,
) -> Result<(), Fault> {
    if wanted.is_empty() {
        return Ok(());
    }
    let rows = columns(wanted.iter().map(|(subject, entry)| (subject.as_str(), *entry)));
    let written = session
        .fetch(
            "INSERT INTO suppression (address, cause, since, expires, author, reason, event, provider, standing, term,
                                      operation)
             SELECT address, cause, since, expires, author, reason, event, provider, standing, term, operation
             FROM {given} WHERE true
             ON CONFLICT (address) DO NOTHING RETURNING id, address",
            Args::Rows(rows),
        )
        .await?;
    for row in &written {
        let address: String = row.get(1)?;
        if let Some(entry) = wanted.remove(address.as_str()) {
            inserted.entries.push(Suppression {
                id: SuppressionId(row.get(0)?),
                entry: NewSuppression {
                    subject: Subject::from_stored(&address),
                    since: row::stored(entry.since),
                    expires: entry.expires.map(row::stored),
                    ..entry.clone()
                },
            });
        }
    }
    inserted.entries.sort_by_key(|entry| entry.id);
    Ok(())
}

/// Adds what was written to the totals.
pub(super) fn total(inserted: &Inserted, totals: &mut Totals) {
    for entry in &inserted.entries {
        totals.add(KIND, entry.entry.cause.name(), 1);
    }
    for cause in &inserted.replaced {
        totals.add(KIND, cause.name(), -1);
    }
}

/// The kind of the totals of suppressions.
pub(super) const KIND: &str = "suppression";

/// Appends new entries to the change feed, with the numbers from `first`. Their columns are sent once more, which
/// costs less than having the database look them up.
pub(super) async fn announce(
    session: &mut Session,
    written: &[Suppression],
    first: i64,
    now: Timestamp,
) -> Result<(), Fault> {
    if written.is_empty() {
        return Ok(());
    }
    let entries = || written.iter().map(|suppression| &suppression.entry);
    let subjects: Vec<String> = entries().map(|entry| entry.subject.to_string()).collect();
    let rows = Rows::new()
        .ints("sequence", (first..).take(written.len()))
        .ints("at", written.iter().map(|_| micros(now)))
        .texts("author", entries().map(|entry| entry.author.as_str()))
        .texts("reason", entries().map(|entry| entry.reason.as_str()))
        .ints("suppression", written.iter().map(|suppression| suppression.id.0))
        .texts("address", subjects.iter().map(String::as_str))
        .texts("cause", entries().map(|entry| entry.cause.name()))
        .ints("since", entries().map(|entry| micros(entry.since)))
        .ints("expires", entries().map(|entry| entry.expires.map(micros)))
        .texts("kind", entries().map(|entry| kind_of(entry.standing)));
    session
        .run(
            "INSERT INTO change (sequence, at, author, reason, kind, suppression, address, cause, since, expires)
             SELECT sequence, at, author, reason, kind, suppression, address, cause, since, expires FROM {given}",
            Args::Rows(rows),
        )
        .await
        .map(drop)
}

/// The feed's name of an entry of this standing.
pub(super) fn kind_of(standing: Standing) -> &'static str {
    match standing {
        Standing::InForce => row::SUPPRESSED,
        Standing::Quarantined => row::QUARANTINED,
    }
}

/// Takes the next `n` numbers of the feed and returns the first. Until the commit nobody else can take any.
pub(super) async fn advance(session: &mut Session, n: usize) -> Result<i64, Fault> {
    let n = i64::try_from(n).unwrap_or(i64::MAX);
    let rows = session
        .fetch(
            "UPDATE feed SET sequence = sequence + $1 WHERE id = 1 RETURNING sequence",
            Args::Values(vec![Value::Int(Some(n))]),
        )
        .await?;
    let last: i64 = the_row(&rows)?.get(0)?;
    Ok(last - n + 1)
}

pub(super) fn the_row(rows: &[super::session::Row]) -> Result<&super::session::Row, Fault> {
    rows.first()
        .ok_or_else(|| Fault::Passing("the row of the change feed is missing".into()))
}

/// Adds entries by hand or by import.
pub(super) async fn add(
    session: &mut Session,
    entries: &[NewSuppression],
    now: Timestamp,
) -> Result<Added, Fault> {
    let inserted = insert(session, entries, now).await?;
    let mut totals = Totals::default();
    total(&inserted, &mut totals);
    totals.write(session).await?;
    if !inserted.entries.is_empty() {
        let first = advance(session, inserted.entries.len()).await?;
        announce(session, &inserted.entries, first, now).await?;
        session.notify(CHANNEL).await?;
    }
    let added = inserted.entries.len() as u64;
    Ok(Added {
        added,
        kept: entries.len() as u64 - added,
    })
}

/// Lifts the entry of a subject, and says so in the feed.
pub(super) async fn remove(
    session: &mut Session,
    subject: &Subject,
    author: &str,
    reason: &str,
    now: Timestamp,
) -> Result<Option<Suppression>, Fault> {
    let rows = session
        .fetch(
            "DELETE FROM suppression WHERE address = $1
             RETURNING id, address, cause, since, expires, author, reason, event, provider, standing, term",
            Args::Values(vec![Value::text(&subject.to_string())]),
        )
        .await?;
    let Some(entry) = rows.first().map(row::suppression).transpose()? else {
        return Ok(None);
    };
    let mut totals = Totals::default();
    totals.add(KIND, entry.entry.cause.name(), -1);
    totals.write(session).await?;
    let sequence = advance(session, 1).await?;
    let values = vec![
        Value::Int(Some(sequence)),
        Value::Int(Some(micros(now))),
        Value::text(author),
        Value::text(reason),
        Value::text(row::LIFTED),
        Value::Int(Some(entry.id.0)),
        Value::text(&entry.entry.subject.to_string()),
        Value::text(entry.entry.cause.name()),
        Value::Int(Some(micros(entry.entry.since))),
        Value::Int(entry.entry.expires.map(micros)),
    ];
    session
        .run(
            "INSERT INTO change (sequence, at, author, reason, kind, suppression, address, cause, since, expires)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
            Args::Values(values),
        )
        .await?;
    session.notify(CHANNEL).await?;
    Ok(Some(entry))
}

pub(super) async fn by_subject(
    session: &mut Session,
    subject: &Subject,
) -> Result<Option<Suppression>, Fault> {
    let rows = session
        .fetch(
            "SELECT id, address, cause, since, expires, author, reason, event, provider, standing, term
             FROM suppression WHERE address = $1",
            Args::Values(vec![Value::text(&subject.to_string())]),
        )
        .await?;
    rows.first().map(row::suppression).transpose()
}

pub(super) async fn by_id(session: &mut Session, id: SuppressionId) -> Result<Option<Suppression>, Fault> {
    let rows = session
        .fetch(
            "SELECT id, address, cause, since, expires, author, reason, event, provider, standing, term
             FROM suppression WHERE id = $1",
            Args::Values(vec![Value::Int(Some(id.0))]),
        )
        .await?;
    rows.first().map(row::suppression).transpose()
}

/// The changes after `sequence`, in order. One statement and so one view of the database: a number that it does not
/// see was not committed when it began, nor any greater one.
pub(super) async fn changes(session: &mut Session, sequence: i64, limit: u32) -> Result<Vec<Change>, Fault> {
    let rows = session
        .fetch(
            "SELECT sequence, at, author, reason, kind, suppression, address, cause, since, expires,
                    provider, egress, detail
             FROM change WHERE sequence > $1
             UNION ALL
             SELECT sequence, since, '', '', 'lane', 0, '', '', since, NULL, provider, egress, lane
             FROM lane WHERE sequence > $1
             UNION ALL
             SELECT sequence, 0, '', '', 'domain', 0, name, '', 0, NULL, provider, NULL, NULL
             FROM domain WHERE sequence > $1
             ORDER BY sequence LIMIT $2",
            Args::Values(vec![Value::Int(Some(sequence)), Value::Int(Some(limit.into()))]),
        )
        .await?;
    rows.iter().map(row::change).collect()
}

/// The number of the last change; 0 where there was none.
pub(super) async fn feed_position(session: &mut Session) -> Result<i64, Fault> {
    let rows = session
        .fetch("SELECT sequence FROM feed WHERE id = 1", Args::None)
        .await?;
    the_row(&rows)?.get(0)
}
