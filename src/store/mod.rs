//! Floor 4: what is kept. One contract, two stores behind it: SQLite for a single machine, Postgres
//! for a fleet. `sqlx::` appears only in this room, and no judgement does: a commit asks the
//! [`decide`](crate::engine::decide) function it is given what should change.
//!
//! **Invariants** (`tests/store` holds both stores to them):
//! - A commit is one transaction: events, the changes they cause and the intake's position appear
//!   together or not at all.
//! - An event id is counted once, ever. A second arrival changes nothing but the position.
//! - Every change of a suppression, and every operator's order for a lane, leaves a row in the change feed, in
//!   the order of commits; lanes and domains stand in it at their last change. A reader that has seen sequence
//!   `n` will never meet a smaller one later.
//!
//! On failure nothing is half-written; [`StoreError`] says whether trying again can help. Where the
//! answer to a commit was lost, the commit may stand: trying again is safe, and tells that nothing was new.

mod bulk;
mod census;
mod commit;
pub mod contract;
mod event;
pub mod forget;
mod history;
mod keep;
mod load;
mod operation;
mod order;
mod partition;
pub mod postgres;
mod prove;
mod query;
mod retell;
pub mod retention;
mod row;
mod schema;
mod selection;
mod session;
mod signed;
pub mod sqlite;
mod strike;
mod suppression;
mod veil;

use crate::clock;
use crate::engine::decide::{Decision, Known, Policy};
use crate::engine::suppression::guard::Incident;
use crate::engine::suppression::{NewSuppression, Subject, Suppression, SuppressionId};
use crate::engine::throttle::{Lane, LaneKey};
use crate::engine::verdict::Cause;
use crate::mail::address::AddressKey;
use contract::{
    Added, Batch, Change, Committed, Filter, History, Kept, Position, Settled, StoreError, Totals,
};
use jiff::Timestamp;
use postgres::Postgres;
use session::{Fault, Session};
use sqlite::Sqlite;
use sqlx::migrate::{Migrate, MigrateError, Migrator};
use std::time::Duration;

/// How often a transaction is tried that others stand in the way of.
const ATTEMPTS: u32 = 5;
/// The rest before the second attempt; each further one is twice as long.
const BACKOFF: Duration = Duration::from_millis(5);
/// An event is about so many rows: its id, its two marks, its part of a count.
const EVENT: usize = 4;
/// Entries added in one transaction.
const CHUNK: usize = 100_000;
/// From so many on they are told in the change feed as a range of numbers, and not one by one.
const BULK: usize = 1_000;

/// What is kept, and where. Clones share their connections.
#[derive(Debug, Clone)]
pub enum Store {
    /// A file on this machine.
    Sqlite(Sqlite),
    /// A database server.
    Postgres(Postgres),
}

impl Store {
    /// Opens the store at a URL, creates it where it can, and brings its schema up to date.
    ///
    /// # Errors
    /// [`StoreError::Url`] for what is no URL of a store; otherwise as [`Store::migrate`].
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        let store = Self::connect_lazy(url).await?;
        store.migrate().await?;
        Ok(store)
    }

    /// Reads the URL and touches nothing: calls connect when they come, and answer
    /// [`StoreError::Unavailable`] while there is nothing to connect to.
    ///
    /// # Errors
    /// [`StoreError::Url`].
    #[expect(
        clippy::unused_async,
        reason = "its connections belong to the runtime it is called in"
    )]
    pub async fn connect_lazy(url: &str) -> Result<Self, StoreError> {
        match url.split_once("://") {
            Some(("sqlite", _)) => Sqlite::new(url).map(Self::Sqlite),
            Some(("postgres" | "postgresql", _)) => Postgres::new(url).map(Self::Postgres),
            _ => Err(StoreError::Url {
                url: postgres::redacted(url),
                problem: "it begins with neither".into(),
            }),
        }
    }

    /// The URL, without a password.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Sqlite(store) => store.describe(),
            Self::Postgres(store) => store.describe(),
        }
    }

    /// Brings the schema up to date; of several processes one does it and the others wait. For SQLite,
    /// creates the file and its directory (mode 0600 and 0700) where they are missing.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] where the database cannot be reached or the file not be created,
    /// [`StoreError::Migration`] where the schema is not one that this version can continue from,
    /// [`StoreError::Veil`] where it keeps addresses in another way than it is to.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(store) => store.migrate().await?,
            Self::Postgres(store) => store.migrate().await?,
        }
        self.agree().await
    }

    /// Keeps a batch and what `decide` makes of it, in one transaction that is on disk when this returns.
    /// `decide` may be asked more than once: only its last answer counts.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: nothing was kept, or the answer was lost; the same batch may be
    /// committed again. [`StoreError::Refused`]: nothing was kept, for something in the batch cannot be.
    pub async fn commit<F>(&self, batch: &Batch, decide: F) -> Result<Committed, StoreError>
    where
        F: Fn(&Known) -> Decision + Send + Sync,
    {
        let now = clock::now();
        let mut attempts = Attempts::new();
        loop {
            match self.try_commit(batch, &decide, now).await {
                Ok(committed) => return Ok(committed),
                Err(fault) => attempts.again(fault).await?,
            }
        }
    }

    async fn try_commit<F>(&self, batch: &Batch, decide: &F, now: Timestamp) -> Result<Committed, Fault>
    where
        F: Fn(&Known) -> Decision + Send + Sync,
    {
        let mut session = self.begin().await?;
        let committed = commit::work(&mut session, batch, decide, now).await?;
        session.commit().await?;
        self.written(batch.records.len() * EVENT, usize::from(committed.sequence > 0))
            .await;
        Ok(committed)
    }

    /// How far an intake stands; `None` where it never said.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], as for all that only read.
    pub async fn position(&self, intake: &str) -> Result<Option<Position>, StoreError> {
        Ok(query::position(&mut self.reader().await?, intake).await?)
    }

    /// How far every intake stands, and since when.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn positions(&self) -> Result<Vec<(Position, Timestamp)>, StoreError> {
        Ok(query::positions(&mut self.reader().await?).await?)
    }

    /// A page of suppressions by their numbers, the expired ones included.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn suppressions(&self, filter: &Filter) -> Result<Vec<Suppression>, StoreError> {
        Ok(selection::page(&mut self.reader().await?, filter).await?)
    }

    /// The entry of a subject, even if it has expired.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn suppression(&self, subject: &Subject) -> Result<Option<Suppression>, StoreError> {
        Ok(suppression::by_subject(&mut self.reader().await?, subject).await?)
    }

    /// The entry of a number, even if it has expired.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn suppression_by_id(&self, id: SuppressionId) -> Result<Option<Suppression>, StoreError> {
        Ok(suppression::by_id(&mut self.reader().await?, id).await?)
    }

    /// Adds entries, 100,000 to a transaction. A subject that has an entry in force keeps it; one that
    /// expired by `now` is replaced; of two for one subject the first is taken. On an error earlier
    /// transactions stand: adding all again is safe.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Refused`].
    pub async fn add(&self, entries: &[NewSuppression], now: Timestamp) -> Result<Added, StoreError> {
        let mut sum = Added::default();
        for chunk in entries.chunks(CHUNK) {
            let mut attempts = Attempts::new();
            let added = loop {
                match self.try_add(chunk, now).await {
                    Ok(added) => break added,
                    Err(fault) => attempts.again(fault).await?,
                }
            };
            sum.added += added.added;
            sum.kept += added.kept;
        }
        Ok(sum)
    }

    async fn try_add(&self, entries: &[NewSuppression], now: Timestamp) -> Result<Added, Fault> {
        let mut session = self.begin().await?;
        let added = if entries.len() < BULK {
            suppression::add(&mut session, entries, now).await?
        } else {
            bulk::add(&mut session, entries, now).await?
        };
        session.commit().await?;
        self.written(
            entries.len() / 4,
            usize::try_from(added.added).unwrap_or(usize::MAX),
        )
        .await;
        Ok(added)
    }

    /// Lifts the suppression of a subject; returns what it was, `None` where there was none. Who did it
    /// and why stays in the change feed.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn remove(
        &self,
        subject: &Subject,
        author: &str,
        reason: &str,
        now: Timestamp,
    ) -> Result<Option<Suppression>, StoreError> {
        let mut attempts = Attempts::new();
        loop {
            match self.try_remove(subject, author, reason, now).await {
                Ok(removed) => return Ok(removed),
                Err(fault) => attempts.again(fault).await?,
            }
        }
    }

    async fn try_remove(
        &self,
        subject: &Subject,
        author: &str,
        reason: &str,
        now: Timestamp,
    ) -> Result<Option<Suppression>, Fault> {
        let mut session = self.begin().await?;
        let removed = suppression::remove(&mut session, subject, author, reason, now).await?;
        session.commit().await?;
        self.written(1, usize::from(removed.is_some())).await;
        Ok(removed)
    }

    /// What is stored about these subjects over time, of the changes the latest `limit`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn story(&self, subjects: &[Subject], limit: u32) -> Result<History, StoreError> {
        Ok(history::of(&mut self.reader().await?, subjects, limit).await?)
    }

    /// All entries about patterns, the expired ones included.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn patterns(&self) -> Result<Vec<Suppression>, StoreError> {
        Ok(history::patterns(&mut self.reader().await?).await?)
    }

    /// The changes after `sequence`, in order, at most `limit`. A lane and a domain come once, as they are now,
    /// at the place of their last change.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn changes_since(&self, sequence: i64, limit: u32) -> Result<Vec<Change>, StoreError> {
        Ok(suppression::changes(&mut self.reader().await?, sequence, limit).await?)
    }

    /// The number of the last change; 0 where there was none. Whoever takes it first and then reads all
    /// suppressions misses nothing by following the changes after it.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn feed_position(&self) -> Result<i64, StoreError> {
        Ok(suppression::feed_position(&mut self.reader().await?).await?)
    }

    /// Returns when something has changed, as far as that is heard: on Postgres by any process, on
    /// SQLite by this one. It may return without cause, and what was not heard is not made up for: poll
    /// [`Store::changes_since`] as well.
    pub async fn wait_for_change(&self) {
        match self {
            Self::Sqlite(store) => store.wait_for_change().await,
            Self::Postgres(store) => store.wait_for_change().await,
        }
    }

    /// All lanes.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn lanes(&self) -> Result<Vec<(LaneKey, Lane)>, StoreError> {
        Ok(query::lanes(&mut self.reader().await?).await?)
    }

    /// All domains whose provider is known, as (domain, provider).
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn domains(&self) -> Result<Vec<(String, String)>, StoreError> {
        Ok(query::domains(&mut self.reader().await?).await?)
    }

    /// The running totals.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn totals(&self) -> Result<Totals, StoreError> {
        Ok(query::totals(&mut self.reader().await?).await?)
    }

    /// The latest failures, deferrals and complaints of an address that was mailed, latest first.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn events_of(&self, address: &AddressKey, limit: u32) -> Result<Vec<Kept>, StoreError> {
        Ok(event::of(&mut self.reader().await?, address, limit).await?)
    }

    /// Settles what only time can: ends incidents of those who fell silent, drops what nothing confirmed, and lets go
    /// of strikes and counts that are too old to matter. At most 1,000 entries at a time.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn settle(&self, policy: &Policy, now: Timestamp) -> Result<Settled, StoreError> {
        let mut attempts = Attempts::new();
        loop {
            match self.try_settle(policy, now).await {
                Ok(settled) => return Ok(settled),
                Err(fault) => attempts.again(fault).await?,
            }
        }
    }

    async fn try_settle(&self, policy: &Policy, now: Timestamp) -> Result<Settled, Fault> {
        let mut session = self.begin().await?;
        let settled = strike::settle(&mut session, policy, now).await?;
        session.commit().await?;
        self.written(settled.lifted.len(), usize::from(settled.sequence > 0))
            .await;
        Ok(settled)
    }

    /// The incidents that last or ended since then, the latest first.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn incidents(&self, since: Timestamp) -> Result<Vec<Incident>, StoreError> {
        Ok(census::incidents(&mut self.reader().await?, since).await?)
    }

    /// How many entries are in quarantine.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn quarantined(&self) -> Result<u64, StoreError> {
        Ok(strike::quarantined(&mut self.reader().await?).await?)
    }

    /// The strikes that stand against a subject, by cause, the earliest first.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn strikes(&self, subject: &Subject) -> Result<Vec<(Cause, Timestamp)>, StoreError> {
        Ok(strike::of(&mut self.reader().await?, subject).await?)
    }

    /// Whether the store answers and has its schema.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn check(&self) -> Result<(), StoreError> {
        suppression::feed_position(&mut self.reader().await?).await?;
        Ok(())
    }

    /// Closes all connections, once what they are doing is done.
    pub async fn close(&self) {
        match self {
            Self::Sqlite(store) => store.close().await,
            Self::Postgres(store) => store.close().await,
        }
    }

    async fn reader(&self) -> Result<Session, Fault> {
        match self {
            Self::Sqlite(store) => store.reader().await,
            Self::Postgres(store) => store.session().await,
        }
    }

    /// A session with an open transaction.
    async fn begin(&self) -> Result<Session, Fault> {
        let mut session = match self {
            Self::Sqlite(store) => store.writer().await?,
            Self::Postgres(store) => store.session().await?,
        };
        session.begin().await?;
        Ok(session)
    }

    /// What is left to do after a commit. Postgres tells its listeners by itself, and has a queue.
    async fn written(&self, rows: usize, changes: usize) {
        if let Self::Sqlite(store) = self {
            if changes > 0 {
                store.notify();
            }
            store.give_way(rows).await;
        }
    }
}

/// Counts how often a transaction was tried.
struct Attempts {
    left: u32,
    rest: Duration,
}

impl Attempts {
    fn new() -> Self {
        Self {
            left: ATTEMPTS - 1,
            rest: BACKOFF,
        }
    }

    /// Returns, after a while, where doing it all again can help.
    async fn again(&mut self, fault: Fault) -> Result<(), StoreError> {
        if !matches!(fault, Fault::Conflict(_)) || self.left == 0 {
            return Err(fault.into());
        }
        tokio::time::sleep(self.rest).await;
        self.left -= 1;
        self.rest *= 2;
        Ok(())
    }
}

/// Runs the steps that are missing. Steps that only a newer version knows are none of our business: it
/// adds before it takes away, so that we go on working beside it.
async fn migrate<C: Migrate>(steps: &Migrator, connection: &mut C) -> Result<(), StoreError> {
    let mut steps = Migrator::with_migrations(steps.iter().cloned().collect());
    steps.set_ignore_missing(true);
    steps
        .run_direct(None, connection, false)
        .await
        .map_err(|error| match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
                match Fault::from(error) {
                    Fault::Refused(text) => StoreError::Migration(text),
                    fault => fault.into(),
                }
            }
            error => StoreError::Migration(error.to_string()),
        })
}
