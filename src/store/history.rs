//! What is stored about a subject over time: the entries, the changes, the strikes.

use super::contract::{History, OperationId};
use super::row;
use super::session::{Args, Fault, Rows, Session, Value};
use crate::engine::suppression::{Subject, Suppression};

/// Reads all of it about these subjects; of the changes the latest `limit`, at most 1,000.
pub(super) async fn of(session: &mut Session, subjects: &[Subject], limit: u32) -> Result<History, Fault> {
    let texts: Vec<String> = subjects.iter().map(ToString::to_string).collect();
    let given = || Args::Rows(Rows::new().texts("address", texts.iter().map(String::as_str)));
    let entries = session
        .fetch(
            "SELECT stored.id, stored.address, stored.cause, stored.since, stored.expires, stored.author,
                    stored.reason, stored.event, stored.provider, stored.standing, stored.term
             FROM {given} JOIN suppression AS stored ON stored.address = given.address ORDER BY stored.id",
            given(),
        )
        .await?;
    let changes = session
        .fetch(
            "SELECT sequence, at, author, reason, kind, suppression, change.address, cause, since, expires,
                    provider, egress, detail, operation
             FROM {given} JOIN change ON change.address = given.address AND change.address <> ''
             ORDER BY sequence DESC LIMIT 1000",
            given(),
        )
        .await?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let strikes = session
        .fetch(
            "SELECT strike.subject, strike.cause, strike.at
             FROM {given} JOIN strike ON strike.subject = given.address ORDER BY strike.at",
            given(),
        )
        .await?;
    let mut history = History {
        entries: entries.iter().map(row::suppression).collect::<Result<_, _>>()?,
        ..History::default()
    };
    for row in changes.iter().take(limit).rev() {
        let operation: Option<i64> = row.get(13)?;
        history
            .changes
            .push((row::change(row)?, operation.map(OperationId)));
    }
    for row in &strikes {
        let subject = Subject::from_stored(&row.get::<String>(0)?);
        let cause = row::cause(&row.get::<String>(1)?);
        history
            .strikes
            .push((subject, cause, row::timestamp(row.get(2)?)));
    }
    Ok(history)
}

/// All entries about patterns: there are few, and an index of their own finds them.
pub(super) async fn patterns(session: &mut Session) -> Result<Vec<Suppression>, Fault> {
    let rows = session
        .fetch(
            "SELECT id, address, cause, since, expires, author, reason, event, provider, standing, term
             FROM suppression WHERE SUBSTR(address, 1, 1) = ':' ORDER BY id LIMIT $1",
            Args::Values(vec![Value::Int(Some(PATTERNS))]),
        )
        .await?;
    rows.iter().map(row::suppression).collect()
}

/// More patterns than that nobody has.
const PATTERNS: i64 = 10_000;
