//! Operations: what people do to many entries at once, each with a row of its own that says who, when and why, and
//! reversible by its number.
//!
//! **Invariants**: what an operation lifts stays in the change feed with all that the entry was, so that it can be
//! put back; what it writes carries its number. A revision is one transaction; an operation may be several
//! revisions, where it is too large for one.

use super::contract::{By, Operation, OperationId, Revised, StoreError};
use super::keep::Totals;
use super::row::{self, micros};
use super::session::{Args, Fault, Row, Rows, Session, Value};
use super::suppression;
use super::{Attempts, Store};
use crate::engine::suppression::{NewSuppression, Standing, Subject, Suppression, SuppressionId};
use crate::mail::event::EventId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

impl Store {
    /// Begins an operation, which the entries written and lifted under its number belong to.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn begin_operation(
        &self,
        by: By<'_>,
        what: &str,
        now: Timestamp,
    ) -> Result<OperationId, StoreError> {
        let mut attempts = Attempts::new();
        loop {
            match self.try_begin(by, what, now).await {
                Ok(operation) => return Ok(operation),
                Err(fault) => attempts.again(fault).await?,
            }
        }
    }

    async fn try_begin(&self, by: By<'_>, what: &str, now: Timestamp) -> Result<OperationId, Fault> {
        let mut session = self.begin().await?;
        let operation = begin(&mut session, by, what, now).await?;
        session.commit().await?;
        Ok(operation)
    }

    /// The latest operations, the latest first.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn operations(&self, limit: u32) -> Result<Vec<Operation>, StoreError> {
        Ok(latest(&mut self.reader().await?, limit).await?)
    }

    /// The operation of a number; `None` where there is none.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn operation(&self, id: OperationId) -> Result<Option<Operation>, StoreError> {
        Ok(by_id(&mut self.reader().await?, id).await?)
    }

    /// Lifts entries and writes others under an operation, in one transaction. Numbers of entries that are gone are
    /// passed over; subjects that have an entry keep it.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Refused`]: nothing was changed.
    pub async fn revise(
        &self,
        operation: OperationId,
        by: By<'_>,
        lift: &[SuppressionId],
        add: &[NewSuppression],
        now: Timestamp,
    ) -> Result<Revised, StoreError> {
        let done = self
            .work(Under::Begun(operation), by, &Work { lift, add }, now)
            .await?;
        Ok(done.1)
    }

    /// Begins an operation, lifts entries and writes others: all of it in one transaction. See [`Store::revise`].
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Refused`]: nothing was changed.
    pub async fn operate(
        &self,
        by: By<'_>,
        what: &str,
        lift: &[SuppressionId],
        add: &[NewSuppression],
        now: Timestamp,
    ) -> Result<(OperationId, Revised), StoreError> {
        self.work(Under::New(what), by, &Work { lift, add }, now).await
    }

    async fn work(
        &self,
        under: Under<'_>,
        by: By<'_>,
        work: &Work<'_>,
        now: Timestamp,
    ) -> Result<(OperationId, Revised), StoreError> {
        let mut attempts = Attempts::new();
        loop {
            match self.try_work(under, by, work, now).await {
                Ok(done) => return Ok(done),
                Err(fault) => attempts.again(fault).await?,
            }
        }
    }

    async fn try_work(
        &self,
        under: Under<'_>,
        by: By<'_>,
        work: &Work<'_>,
        now: Timestamp,
    ) -> Result<(OperationId, Revised), Fault> {
        let mut session = self.begin().await?;
        let operation = match under {
            Under::Begun(operation) => operation,
            Under::New(what) => begin(&mut session, by, what, now).await?,
        };
        let revised = revise(&mut session, operation, by, work, now).await?;
        session.commit().await?;
        let changes = usize::try_from(revised.lifted + revised.added).unwrap_or(usize::MAX);
        self.written(work.lift.len() + work.add.len(), changes).await;
        Ok((operation, revised))
    }

    /// What an operation lifted, in order, after a place in the feed, each with its own place there.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]; [`StoreError::Refused`] where what it was is not kept.
    pub async fn lifted_by(
        &self,
        operation: OperationId,
        after: i64,
        limit: u32,
    ) -> Result<Vec<(i64, NewSuppression)>, StoreError> {
        Ok(lifted(&mut self.reader().await?, operation, after, limit).await?)
    }
}

/// What something is done under.
#[derive(Debug, Clone, Copy)]
enum Under<'a> {
    /// An operation that has begun.
    Begun(OperationId),
    /// One that begins with it, and is called so.
    New(&'a str),
}

/// What is done in one transaction.
#[derive(Debug, Clone, Copy)]
struct Work<'a> {
    lift: &'a [SuppressionId],
    add: &'a [NewSuppression],
}

/// Rows a statement.
const STEP: usize = 10_000;

/// What an entry was, as the feed keeps it beside its columns.
#[derive(Debug, Serialize, Deserialize)]
struct Was {
    author: String,
    reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    event: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    provider: Option<String>,
    standing: String,
    term: u32,
}

/// Begins an operation.
pub(super) async fn begin(
    session: &mut Session,
    by: By<'_>,
    what: &str,
    now: Timestamp,
) -> Result<OperationId, Fault> {
    let values = vec![
        Value::Int(Some(micros(now))),
        Value::text(by.author),
        Value::text(by.reason),
        Value::text(what),
    ];
    let rows = session
        .fetch(
            "INSERT INTO operation (at, author, reason, what) VALUES ($1, $2, $3, $4) RETURNING id",
            Args::Values(values),
        )
        .await?;
    let row = rows
        .first()
        .ok_or_else(|| Fault::Passing("an operation got no number".into()))?;
    Ok(OperationId(row.get(0)?))
}

/// The latest operations, the latest first.
pub(super) async fn latest(session: &mut Session, limit: u32) -> Result<Vec<Operation>, Fault> {
    let rows = session
        .fetch(
            "SELECT id, at, author, reason, what FROM operation ORDER BY id DESC LIMIT $1",
            Args::Values(vec![Value::Int(Some(limit.into()))]),
        )
        .await?;
    rows.iter().map(operation).collect()
}

/// The operation of a number.
pub(super) async fn by_id(session: &mut Session, id: OperationId) -> Result<Option<Operation>, Fault> {
    let rows = session
        .fetch(
            "SELECT id, at, author, reason, what FROM operation WHERE id = $1",
            Args::Values(vec![Value::Int(Some(id.0))]),
        )
        .await?;
    rows.first().map(operation).transpose()
}

fn operation(row: &Row) -> Result<Operation, Fault> {
    Ok(Operation {
        id: OperationId(row.get(0)?),
        at: row::timestamp(row.get(1)?),
        author: row.get(2)?,
        reason: row.get(3)?,
        what: row.get(4)?,
    })
}

/// Lifts entries and writes others, under an operation that has begun.
async fn revise(
    session: &mut Session,
    operation: OperationId,
    by: By<'_>,
    work: &Work<'_>,
    now: Timestamp,
) -> Result<Revised, Fault> {
    let Work { lift, add } = *work;
    let mut totals = Totals::default();
    let mut lifted = Vec::new();
    for step in lift.chunks(STEP) {
        lifted.extend(delete(session, step).await?);
    }
    let mut written = Vec::new();
    for step in add.chunks(STEP) {
        let entries: Vec<NewSuppression> = step.iter().map(|entry| under(entry, operation)).collect();
        let inserted = suppression::insert(session, &entries, now).await?;
        suppression::total(&inserted, &mut totals);
        written.extend(inserted.entries);
    }
    for entry in &lifted {
        totals.add("suppression", entry.entry.cause.name(), -1);
    }
    totals.write(session).await?;
    let n = lifted.len() + written.len();
    if n > 0 {
        let mut next = suppression::advance(session, n).await?;
        for step in lifted.chunks(STEP) {
            announce_lifted(session, step, operation, by, next, now).await?;
            next += i64::try_from(step.len()).unwrap_or(0);
        }
        for step in written.chunks(STEP) {
            suppression::announce(session, step, next, now).await?;
            next += i64::try_from(step.len()).unwrap_or(0);
        }
        session.notify(suppression::CHANNEL).await?;
    }
    Ok(Revised {
        lifted: lifted.len() as u64,
        added: written.len() as u64,
        kept: (add.len() - written.len()) as u64,
    })
}

fn under(entry: &NewSuppression, operation: OperationId) -> NewSuppression {
    NewSuppression {
        operation: Some(operation.0),
        ..entry.clone()
    }
}

async fn delete(session: &mut Session, ids: &[SuppressionId]) -> Result<Vec<Suppression>, Fault> {
    let mut ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
    ids.sort_unstable();
    let rows = session
        .fetch(
            "DELETE FROM suppression WHERE id IN (SELECT given.id FROM {given})
             RETURNING id, address, cause, since, expires, author, reason, event, provider, standing, term",
            Args::Rows(Rows::new().ints("id", ids)),
        )
        .await?;
    rows.iter().map(row::suppression).collect()
}

async fn announce_lifted(
    session: &mut Session,
    lifted: &[Suppression],
    operation: OperationId,
    by: By<'_>,
    first: i64,
    now: Timestamp,
) -> Result<(), Fault> {
    let details: Vec<Option<String>> = lifted.iter().map(|lifted| Some(was(&lifted.entry))).collect();
    tell_lifted(session, lifted, &details, operation, by, first, now).await
}

/// As [`announce_lifted`], without what the entries were: nothing puts them back.
pub(super) async fn announce_forgotten(
    session: &mut Session,
    lifted: &[Suppression],
    operation: OperationId,
    by: By<'_>,
    first: i64,
    now: Timestamp,
) -> Result<(), Fault> {
    let details = vec![None; lifted.len()];
    tell_lifted(session, lifted, &details, operation, by, first, now).await
}

async fn tell_lifted(
    session: &mut Session,
    lifted: &[Suppression],
    details: &[Option<String>],
    operation: OperationId,
    by: By<'_>,
    first: i64,
    now: Timestamp,
) -> Result<(), Fault> {
    let entries = || lifted.iter().map(|suppression| &suppression.entry);
    let subjects: Vec<String> = entries().map(|entry| entry.subject.to_string()).collect();
    let rows = Rows::new()
        .ints("sequence", (first..).take(lifted.len()))
        .ints("at", lifted.iter().map(|_| micros(now)))
        .texts("author", lifted.iter().map(|_| by.author))
        .texts("reason", lifted.iter().map(|_| by.reason))
        .texts("kind", lifted.iter().map(|_| row::LIFTED))
        .ints("suppression", lifted.iter().map(|suppression| suppression.id.0))
        .texts("address", subjects.iter().map(String::as_str))
        .texts("cause", entries().map(|entry| entry.cause.name()))
        .ints("since", entries().map(|entry| micros(entry.since)))
        .ints("expires", entries().map(|entry| entry.expires.map(micros)))
        .texts("detail", details.iter().map(Option::as_deref))
        .ints("operation", lifted.iter().map(|_| operation.0));
    session
        .run(
            "INSERT INTO change (sequence, at, author, reason, kind, suppression, address, cause, since, expires,
                                 detail, operation)
             SELECT sequence, at, author, reason, kind, suppression, address, cause, since, expires, detail, operation
             FROM {given}",
            Args::Rows(rows),
        )
        .await
        .map(drop)
}

fn was(entry: &NewSuppression) -> String {
    let was = Was {
        author: entry.author.clone(),
        reason: entry.reason.clone(),
        event: entry.event.map(|event| event.to_string()),
        provider: entry.provider.clone(),
        standing: entry.standing.name().to_owned(),
        term: entry.term,
    };
    // It holds nothing that JSON cannot say.
    serde_json::to_string(&was).unwrap_or_default()
}

/// What an operation lifted, in order, after a place in the feed: each with its place there.
pub(super) async fn lifted(
    session: &mut Session,
    operation: OperationId,
    after: i64,
    limit: u32,
) -> Result<Vec<(i64, NewSuppression)>, Fault> {
    let rows = session
        .fetch(
            "SELECT sequence, address, cause, since, expires, detail FROM change
             WHERE operation = $1 AND kind = $2 AND sequence > $3 AND detail IS NOT NULL ORDER BY sequence LIMIT $4",
            Args::Values(vec![
                Value::Int(Some(operation.0)),
                Value::text(row::LIFTED),
                Value::Int(Some(after)),
                Value::Int(Some(limit.into())),
            ]),
        )
        .await?;
    rows.iter().map(restored).collect()
}

fn restored(row: &Row) -> Result<(i64, NewSuppression), Fault> {
    let subject = Subject::from_stored(&row.get::<String>(1)?);
    let cause = row::cause(&row.get::<String>(2)?);
    let since = row::timestamp(row.get(3)?);
    let expires: Option<i64> = row.get(4)?;
    let detail: Option<String> = row.get(5)?;
    let was: Was = serde_json::from_str(&detail.unwrap_or_default())
        .map_err(|error| Fault::Refused(format!("what was lifted was not kept: {error}")))?;
    let entry = NewSuppression {
        expires: expires.map(row::timestamp),
        author: was.author,
        reason: was.reason,
        event: was.event.as_deref().and_then(event_id),
        provider: was.provider,
        standing: Standing::from_name(&was.standing),
        term: was.term,
        ..NewSuppression::new(subject, cause, since)
    };
    Ok((row.get(0)?, entry))
}

/// An event's id as it is displayed.
fn event_id(text: &str) -> Option<EventId> {
    let mut id = [0; 16];
    if text.len() != 32 || !text.is_ascii() {
        return None;
    }
    for (index, octet) in id.iter_mut().enumerate() {
        *octet = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(EventId(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_as_they_are_displayed() {
        let id = EventId::new(Timestamp::UNIX_EPOCH, &[b"x"]);
        assert_eq!(event_id(&id.to_string()), Some(id));
        for bad in ["", "zz", &"g".repeat(32), &"ä".repeat(16)] {
            assert_eq!(event_id(bad), None, "{bad}");
        }
    }
}
