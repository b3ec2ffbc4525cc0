//! Reading all suppressions into memory: as many as there are, in large pages, and of each only what the hooks
//! answer from.
//!
//! A page is a statement by itself, so that no snapshot of the database is held for the time that ten million
//! entries take, a lost connection costs one page, and a server that hangs is found out as by any statement. What
//! changes between two pages is in the change feed.

use super::Store;
use super::contract::{Change, Feed, Loaded, StoreError};
use super::row::{self, micros};
use super::session::{Args, Fault, Line, NULL, Rows, Session, Statement, Value};
use super::suppression::{changes, the_row};
use crate::engine::suppression::{Standing, Subject, Suppression, SuppressionId};
use jiff::Timestamp;

/// Entries a page on Postgres.
const COPIED: i64 = 50_000;
/// Entries a page on SQLite: glued, about a megabyte.
const GLUED: i64 = 20_000;

impl Store {
    /// Shows a page of the entries with numbers above `after` and up to `last`, in order, to `see`; returns the
    /// last number on it, `None` when there are no more. The expired ones are among them.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: some of the page may have been shown.
    pub async fn load(
        &self,
        after: Option<SuppressionId>,
        last: Option<SuppressionId>,
        mut see: impl FnMut(Loaded<'_>) + Send,
    ) -> Result<Option<SuppressionId>, StoreError> {
        let (after, last) = (after.map_or(0, |id| id.0), last.map_or(i64::MAX, |id| id.0));
        let mut session = self.reader().await?;
        let reached = page(&mut session, after, last, &mut see).await?;
        Ok(reached.map(SuppressionId))
    }

    /// The entries of some subjects, in no order, even if they have expired.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn suppressions_of(&self, subjects: &[Subject]) -> Result<Vec<Suppression>, StoreError> {
        let texts: Vec<String> = subjects.iter().map(ToString::to_string).collect();
        let rows = Rows::new().texts("address", texts.iter().map(String::as_str));
        let found = self
            .reader()
            .await?
            .fetch(
                "SELECT stored.id, stored.address, cause, since, expires, author, reason, event, provider, standing, term
                 FROM {given} JOIN suppression AS stored ON stored.address = given.address",
                Args::Rows(rows),
            )
            .await?;
        let found: Result<_, Fault> = found.iter().map(row::suppression).collect();
        Ok(found?)
    }

    /// Where the change feed stands. Whoever takes it first and then reads all suppressions misses nothing by
    /// following the changes after it.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn feed(&self) -> Result<Feed, StoreError> {
        Ok(feed(&mut self.reader().await?).await?)
    }

    /// The changes after `sequence`, as [`Store::changes_since`], and where the feed of the same server stood
    /// after they were read: they are all there were only if its floor is not above `sequence`, and they continue
    /// what was read before only if its lineage is the same.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn follow(&self, sequence: i64, limit: u32) -> Result<(Vec<Change>, Feed), StoreError> {
        let mut session = self.reader().await?;
        let changes = changes(&mut session, sequence, limit).await?;
        Ok((changes, feed(&mut session).await?))
    }

    /// Clears away at most `limit` of the oldest changes from before a time; returns how many. Whoever has not read
    /// them yet finds the floor of the feed above their place, and reads everything anew.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn prune_changes(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        let mut session = self.begin().await?;
        let pruned = prune(&mut session, before, limit).await?;
        session.commit().await?;
        self.written(usize::try_from(pruned).unwrap_or(usize::MAX), 0)
            .await;
        Ok(pruned)
    }
}

/// The floor goes up with the rows that go: in one transaction.
pub(super) async fn prune(session: &mut Session, before: Timestamp, limit: u32) -> Result<u64, Fault> {
    let rows = session
        .fetch(
            "UPDATE feed SET floor = reached FROM (
                 SELECT max(sequence) AS reached FROM (
                     SELECT sequence, at FROM change ORDER BY sequence LIMIT $2) AS oldest
                 WHERE at < $1) AS gone
             WHERE id = 1 AND reached > floor RETURNING floor",
            Args::Values(vec![
                Value::Int(Some(micros(before))),
                Value::Int(Some(limit.into())),
            ]),
        )
        .await?;
    let Some(row) = rows.first() else { return Ok(0) };
    let floor: i64 = row.get(0)?;
    session
        .run(
            "DELETE FROM change WHERE sequence <= $1",
            Args::Values(vec![Value::Int(Some(floor))]),
        )
        .await
}

/// A promoted replica goes on under a new timeline, and may lack the last commits of the server before it, whose
/// numbers it then gives to others; a server with another identity has another history altogether.
async fn feed(session: &mut Session) -> Result<Feed, Fault> {
    let sql = if session.copies() {
        "SELECT sequence, floor,
                (SELECT system_identifier::TEXT FROM pg_control_system())
                    || '-' || left(pg_walfile_name(pg_current_wal_lsn()), 8)
         FROM feed WHERE id = 1"
    } else {
        "SELECT sequence, floor, '' FROM feed WHERE id = 1"
    };
    let rows = session.fetch(sql, Args::None).await?;
    let row = the_row(&rows)?;
    Ok(Feed {
        sequence: row.get(0)?,
        floor: row.get(1)?,
        lineage: row.get(2)?,
    })
}

/// Shows a page of the entries with numbers from above `after` up to `last` to `see`; returns the last number
/// on it, `None` when there is no more.
async fn page(
    session: &mut Session,
    after: i64,
    last: i64,
    see: &mut (impl FnMut(Loaded<'_>) + Send),
) -> Result<Option<i64>, Fault> {
    let most = if session.copies() { COPIED } else { GLUED };
    let statement = Statement {
        copied: "SELECT id, cause, standing, expires, address FROM suppression
                 WHERE id > $1 AND id <= $2 ORDER BY id LIMIT $3",
        lite: "SELECT group_concat(id || char(9) || cause || char(9) || standing || char(9)
                   || coalesce(expires, '\\N') || char(9) || address, char(10))
               FROM (SELECT id, cause, standing, expires, address FROM suppression
                     WHERE id > $1 AND id <= $2 ORDER BY id LIMIT $3)",
        values: &[after, last, most],
    };
    let mut reached = None;
    session
        .lines(statement, &mut |line: &Line<'_>| {
            if let Some(id) = entry(line, see) {
                reached = reached.max(Some(id));
            }
        })
        .await?;
    Ok(reached)
}

/// Reads a line; returns its number. One that cannot be read is passed over: there is none that we write.
fn entry(line: &Line<'_>, see: &mut impl FnMut(Loaded<'_>)) -> Option<i64> {
    let [id, cause, standing, expires, subject] = line.fields()?;
    let id = id.parse().ok()?;
    let expires = (expires != NULL).then(|| expires.parse().ok().map(row::timestamp));
    see(Loaded {
        id: SuppressionId(id),
        subject: &subject,
        cause: row::cause(&cause),
        standing: Standing::from_name(&standing),
        expires: expires.flatten(),
    });
    Some(id)
}
