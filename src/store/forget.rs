//! Forgetting a person: whatever is kept under their address goes, the hash of it included unless it is to stay.
//!
//! What lifts their entries is told in the change feed, where every node must have read it before it goes as well: it
//! stays there for an hour. Whoever has not read it by then finds the feed's floor above its place, and reads everything
//! anew. Nothing of it can be undone, and the operation that stays does not say who it was about.

use super::contract::{By, OperationId, StoreError};
use super::keep::Totals;
use super::operation;
use super::row::{self, micros};
use super::session::{Args, Fault, Rows, Session, Value};
use super::suppression;
use super::{Attempts, Store};
use crate::engine::suppression::Subject;
use crate::mail::address::AddressKey;
use jiff::{SignedDuration, Timestamp};

/// What an operation of forgetting is called.
const FORGET: &str = "forget";
/// How long the feed keeps what lifts a forgotten entry.
const TOLD: SignedDuration = SignedDuration::from_hours(1);
/// Rows looked at in a step.
const STEP: i64 = 20_000;

/// What was forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Forgotten {
    /// Entries lifted, or kept without a word of how they came to be.
    pub entries: u64,
    /// Events.
    pub events: u64,
    /// Changes that do not say any more whom they were about.
    pub changes: u64,
}

impl Store {
    /// Forgets an address, under all of these subjects; `keep` leaves the entries themselves.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: nothing was forgotten.
    pub async fn forget(
        &self,
        key: &AddressKey,
        subjects: &[Subject],
        keep: bool,
        by: By<'_>,
        now: Timestamp,
    ) -> Result<(OperationId, Forgotten), StoreError> {
        let mut attempts = Attempts::new();
        loop {
            match self.try_forget(key, subjects, keep, by, now).await {
                Ok(done) => return Ok(done),
                Err(fault) => attempts.again(fault).await?,
            }
        }
    }

    async fn try_forget(
        &self,
        key: &AddressKey,
        subjects: &[Subject],
        keep: bool,
        by: By<'_>,
        now: Timestamp,
    ) -> Result<(OperationId, Forgotten), Fault> {
        let mut session = self.begin().await?;
        let operation = operation::begin(&mut session, by, FORGET, now).await?;
        let events = forget_events(&mut session, key).await?;
        let changes = forget_changes(&mut session, subjects).await?;
        strikes(&mut session, subjects).await?;
        let entries = match keep {
            true => silence(&mut session, subjects).await?,
            false => lift(&mut session, subjects, operation, by, now).await?,
        };
        session.commit().await?;
        let rows = usize::try_from(entries + events + changes).unwrap_or(usize::MAX);
        self.written(rows, usize::from(entries > 0)).await;
        Ok((
            operation,
            Forgotten {
                entries,
                events,
                changes,
            },
        ))
    }

    /// Lets go of events that another's mail caused by being passed on to an address, a step of them at a time; returns
    /// how many. They are kept under whom we mailed, and so all are looked at.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: those before are gone.
    pub async fn forget_as_target(&self, address: &str) -> Result<u64, StoreError> {
        let mut after = vec![0; 16];
        let mut gone = 0;
        loop {
            let mut session = self.begin().await?;
            let values = vec![Value::Octets(after.clone()), Value::Int(Some(STEP))];
            let rows = session
                .fetch(
                    "SELECT id FROM event WHERE id > $1 ORDER BY id LIMIT $2",
                    Args::Values(values),
                )
                .await?;
            let Some(last) = rows.last() else { return Ok(gone) };
            let last: Vec<u8> = last.get(0)?;
            let values = vec![
                Value::Octets(after),
                Value::Octets(last.clone()),
                Value::text(address),
            ];
            gone += session
                .run(
                    "DELETE FROM event WHERE id > $1 AND id <= $2 AND recipient = $3",
                    Args::Values(values),
                )
                .await?;
            session.commit().await?;
            after = last;
        }
    }

    /// Takes the addresses of those who were forgotten out of the change feed, once every node must have read them.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn finish_forgetting(&self, now: Timestamp) -> Result<u64, StoreError> {
        let mut session = self.begin().await?;
        let before = now.checked_sub(TOLD).unwrap_or(Timestamp::MIN);
        let rows = session
            .fetch(
                "SELECT change.sequence FROM operation JOIN change ON change.operation = operation.id
                 WHERE operation.what = $1 AND change.operation IS NOT NULL AND change.address <> '' AND change.at < $2
                 ORDER BY change.sequence",
                Args::Values(vec![Value::text(FORGET), Value::Int(Some(micros(before)))]),
            )
            .await?;
        let sequences: Vec<i64> = rows.iter().map(|row| row.get(0)).collect::<Result<_, Fault>>()?;
        let Some(&last) = sequences.last() else {
            return Ok(0);
        };
        let floor = Args::Values(vec![Value::Int(Some(last))]);
        session
            .run("UPDATE feed SET floor = $1 WHERE id = 1 AND floor < $1", floor)
            .await?;
        let gone = session
            .run(
                "UPDATE change SET address = '' WHERE sequence IN (SELECT given.sequence FROM {given})",
                Args::Rows(Rows::new().ints("sequence", sequences)),
            )
            .await?;
        session.commit().await?;
        Ok(gone)
    }
}

fn given(subjects: &[Subject]) -> Args {
    let texts: Vec<String> = subjects.iter().map(ToString::to_string).collect();
    Args::Rows(Rows::new().texts("address", texts.iter().map(String::as_str)))
}

/// The events, and what waits for proof of them. Their ids stay among those that were seen: none counts twice.
async fn forget_events(session: &mut Session, key: &AddressKey) -> Result<u64, Fault> {
    let key = || Args::Values(vec![Value::text(key.as_str())]);
    session
        .run(
            "DELETE FROM unproven WHERE event IN (SELECT id FROM event WHERE mailed = $1)",
            key(),
        )
        .await?;
    session
        .run("DELETE FROM unread WHERE recipient = $1", key())
        .await?;
    session.run("DELETE FROM event WHERE mailed = $1", key()).await
}

async fn forget_changes(session: &mut Session, subjects: &[Subject]) -> Result<u64, Fault> {
    session
        .run(
            "UPDATE change SET address = '', reason = 'forgotten', detail = NULL
             WHERE address <> '' AND address IN (SELECT given.address FROM {given})",
            given(subjects),
        )
        .await
}

async fn strikes(session: &mut Session, subjects: &[Subject]) -> Result<(), Fault> {
    session
        .run(
            "DELETE FROM strike WHERE subject IN (SELECT given.address FROM {given})",
            given(subjects),
        )
        .await
        .map(drop)
}

/// Leaves the entries, without a word of how they came to be.
async fn silence(session: &mut Session, subjects: &[Subject]) -> Result<u64, Fault> {
    session
        .run(
            "UPDATE suppression SET reason = 'forgotten', event = NULL
             WHERE address IN (SELECT given.address FROM {given})",
            given(subjects),
        )
        .await
}

async fn lift(
    session: &mut Session,
    subjects: &[Subject],
    operation: OperationId,
    by: By<'_>,
    now: Timestamp,
) -> Result<u64, Fault> {
    let rows = session
        .fetch(
            "DELETE FROM suppression WHERE address IN (SELECT given.address FROM {given})
             RETURNING id, address, cause, since, expires, author, reason, event, provider, standing, term",
            given(subjects),
        )
        .await?;
    let lifted = rows
        .iter()
        .map(row::suppression)
        .collect::<Result<Vec<_>, Fault>>()?;
    if lifted.is_empty() {
        return Ok(0);
    }
    let mut totals = Totals::default();
    for entry in &lifted {
        totals.add(suppression::KIND, entry.entry.cause.name(), -1);
    }
    totals.write(session).await?;
    let first = suppression::advance(session, lifted.len()).await?;
    operation::announce_forgotten(session, &lifted, operation, by, first, now).await?;
    session.notify(suppression::CHANNEL).await?;
    Ok(lifted.len() as u64)
}
