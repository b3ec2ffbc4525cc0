//! Letting go of what is old, a little at a time.
//!
//! What is kept under its time goes by it. What is kept under a hash is walked over from end to end, a step at a time
//! (an index on the time would cost every event more than it saves). On Postgres, whole days of events go at once with
//! their partition ([`super::partition`]).
//!
//! **Invariant**: what counts once counts once for ever. Before the first id of a time is let go, the horizon moves
//! there, in the same transaction; from then on what is older counts as seen ([`super::commit`]).

use super::contract::StoreError;
use super::retell::first_id;
use super::row::micros;
use super::session::{Args, Fault, Session, Value};
use super::{Store, load};
use crate::mail::event::EventId;
use jiff::Timestamp;

/// What can be let go of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Keepsake {
    /// Failures, deferrals and complaints.
    Event,
    /// The ids by which an event is counted once.
    Seen,
    /// The marks of what left.
    Sent,
    /// Whom signed messages went to.
    Signed,
    /// What waits for proof.
    Unproven,
    /// The marks of failures told.
    Failure,
    /// What was counted, by the minute.
    Tally,
    /// Messages that could not be read.
    Unread,
    /// Who changed what.
    Change,
}

/// What a step did, and where the next one begins.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Swept {
    /// Rows let go.
    pub gone: u64,
    /// Where to go on; `None` at the end.
    pub next: Option<Vec<u8>>,
}

impl Keepsake {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Event,
        Self::Seen,
        Self::Sent,
        Self::Signed,
        Self::Unproven,
        Self::Failure,
        Self::Tally,
        Self::Unread,
        Self::Change,
    ];

    /// The name in messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Seen => "seen",
            Self::Sent => "sent",
            Self::Signed => "signed",
            Self::Unproven => "unproven",
            Self::Failure => "failure",
            Self::Tally => "tally",
            Self::Unread => "unread",
            Self::Change => "change",
        }
    }
}

impl Store {
    /// Lets go of what is from before a time, `limit` rows at most (or looks at so many), from where the step before
    /// ended.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: nothing went; the same step may be done again.
    pub async fn sweep(
        &self,
        what: Keepsake,
        before: Timestamp,
        from: Option<&[u8]>,
        limit: u32,
    ) -> Result<Swept, StoreError> {
        let mut session = self.begin().await?;
        let swept = step(&mut session, what, before, from.unwrap_or_default(), limit).await?;
        session.commit().await?;
        self.written(usize::try_from(swept.gone).unwrap_or(usize::MAX), 0)
            .await;
        Ok(swept)
    }
}

/// The first id from which on all that were counted are known; `None` where all ever are.
pub(super) async fn horizon(session: &mut Session) -> Result<Option<EventId>, Fault> {
    let rows = session
        .fetch("SELECT first FROM horizon WHERE name = 'seen'", Args::None)
        .await?;
    let first = rows.first().map(|row| row.get::<Vec<u8>>(0)).transpose()?;
    first.map(|id| super::row::sixteen(&id).map(EventId)).transpose()
}

/// The walk over a table by its key, as statements that stand in the program.
macro_rules! walk {
    ($table:literal, $key:literal) => {
        Walk {
            look: concat!(
                "SELECT ",
                $key,
                " FROM ",
                $table,
                " WHERE ",
                $key,
                " > $1 ORDER BY ",
                $key,
                " LIMIT $2"
            ),
            drop: concat!(
                "DELETE FROM ",
                $table,
                " WHERE ",
                $key,
                " > $1 AND ",
                $key,
                " <= $2 AND at < $3"
            ),
        }
    };
}

async fn step(
    session: &mut Session,
    what: Keepsake,
    before: Timestamp,
    from: &[u8],
    limit: u32,
) -> Result<Swept, Fault> {
    match what {
        Keepsake::Event => {
            let sql =
                "DELETE FROM event WHERE id IN (SELECT id FROM event WHERE id < $1 ORDER BY id LIMIT $2)";
            by_id(session, sql, before, limit).await
        }
        Keepsake::Seen => {
            move_horizon(session, before).await?;
            let sql = "DELETE FROM seen WHERE id IN (SELECT id FROM seen WHERE id < $1 ORDER BY id LIMIT $2)";
            by_id(session, sql, before, limit).await
        }
        Keepsake::Sent => walk!("sent", "mark").step(session, before, from, limit).await,
        Keepsake::Signed => {
            walk!("signed", "identity")
                .step(session, before, from, limit)
                .await
        }
        Keepsake::Unproven => walk!("unproven", "mark").step(session, before, from, limit).await,
        Keepsake::Failure => walk!("failure", "mark").step(session, before, from, limit).await,
        Keepsake::Unread => walk!("unread", "id").step(session, before, from, limit).await,
        Keepsake::Tally => tally(session, before, limit).await,
        Keepsake::Change => {
            let gone = load::prune(session, before, limit).await?;
            Ok(Swept {
                gone,
                next: next(gone, limit),
            })
        }
    }
}

/// Whether a step that let go of so many was the last.
fn next(gone: u64, limit: u32) -> Option<Vec<u8>> {
    (gone >= u64::from(limit)).then(Vec::new)
}

async fn by_id(
    session: &mut Session,
    sql: &'static str,
    before: Timestamp,
    limit: u32,
) -> Result<Swept, Fault> {
    let EventId(id) = first_id(before);
    let values = vec![Value::Octets(id.to_vec()), Value::Int(Some(limit.into()))];
    let gone = session.run(sql, Args::Values(values)).await?;
    Ok(Swept {
        gone,
        next: next(gone, limit),
    })
}

/// It never moves back: what was let go does not return.
async fn move_horizon(session: &mut Session, before: Timestamp) -> Result<(), Fault> {
    session
        .run(
            "INSERT INTO horizon (name, first) VALUES ('seen', $1)
             ON CONFLICT (name) DO UPDATE SET first = excluded.first WHERE horizon.first < excluded.first",
            Args::Values(vec![Value::Octets(first_id(before).0.to_vec())]),
        )
        .await
        .map(drop)
}

/// A walk over a table that is kept under a hash.
struct Walk {
    /// The keys of the next few rows.
    look: &'static str,
    /// Lets go of the old ones among them.
    drop: &'static str,
}

impl Walk {
    async fn step(
        &self,
        session: &mut Session,
        before: Timestamp,
        from: &[u8],
        limit: u32,
    ) -> Result<Swept, Fault> {
        let values = vec![Value::Octets(from.to_vec()), Value::Int(Some(limit.into()))];
        let rows = session.fetch(self.look, Args::Values(values)).await?;
        let Some(last) = rows.last() else {
            return Ok(Swept::default());
        };
        let last: Vec<u8> = last.get(0)?;
        let values = vec![
            Value::Octets(from.to_vec()),
            Value::Octets(last.clone()),
            Value::Int(Some(micros(before))),
        ];
        let gone = session.run(self.drop, Args::Values(values)).await?;
        Ok(Swept {
            gone,
            next: (rows.len() as u64 >= u64::from(limit)).then_some(last),
        })
    }
}

/// Whole minutes: of each there are as many rows as providers, egresses and senders.
async fn tally(session: &mut Session, before: Timestamp, limit: u32) -> Result<Swept, Fault> {
    let minute = before.as_second().div_euclid(60);
    let minutes = i64::from(limit / 50).max(1);
    let values = vec![Value::Int(Some(minute)), Value::Int(Some(minutes))];
    let gone = session
        .run(
            "DELETE FROM tally WHERE minute IN (
                 SELECT minute FROM tally WHERE minute < $1 GROUP BY minute ORDER BY minute LIMIT $2)",
            Args::Values(values),
        )
        .await?;
    Ok(Swept {
        gone,
        next: (gone > 0).then(Vec::new),
    })
}
