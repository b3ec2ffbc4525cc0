//! Partitions of Postgres: events and the ids that were seen, a partition for each day (UTC) of the time that their
//! ids begin with, made ahead, and dropped whole when they are old. SQLite has none, and nothing here does anything
//! there.
//!
//! An older node beside this one notices nothing: it writes to the same names. What is for no day that has been made
//! goes to the partition for the rest, and is moved from there when its day is made.

use super::contract::StoreError;
use super::retell::first_id;
use super::retention::Keepsake;
use super::session::{Args, Fault, Session, Value};
use super::{Attempts, Store};
use jiff::Timestamp;
use std::fmt::Write as _;

/// Days that are made ahead.
const AHEAD: i64 = 7;
/// Seconds of a day.
const DAY: i64 = 86_400;
/// What is partitioned.
const TABLES: [(&str, Keepsake); 2] = [("event", Keepsake::Event), ("seen", Keepsake::Seen)];

impl Store {
    /// Makes the partitions of today and the days to come, where they are missing. Returns how many.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: some may have been made.
    pub async fn prepare_days(&self, now: Timestamp) -> Result<u64, StoreError> {
        let Self::Postgres(_) = self else { return Ok(0) };
        let today = now.as_second().div_euclid(DAY);
        let mut made = 0;
        for (table, _) in TABLES {
            for day in today..=today + AHEAD {
                let mut attempts = Attempts::new();
                loop {
                    match self.try_prepare(table, day).await {
                        Ok(new) => break made += u64::from(new),
                        Err(fault) => attempts.again(fault).await?,
                    }
                }
            }
        }
        Ok(made)
    }

    async fn try_prepare(&self, table: &str, day: i64) -> Result<bool, Fault> {
        let mut session = self.begin().await?;
        let new = make(&mut session, table, day).await?;
        session.commit().await?;
        Ok(new)
    }

    /// Drops the partitions of whole days before a time. Returns how many rows they had, as far as Postgres has
    /// counted them.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: some may have gone.
    pub async fn drop_days(&self, what: Keepsake, before: Timestamp) -> Result<u64, StoreError> {
        let table = TABLES.iter().find(|(_, keepsake)| *keepsake == what);
        let (Self::Postgres(_), Some((table, _))) = (self, table) else {
            return Ok(0);
        };
        let last = before.as_second().div_euclid(DAY);
        let mut gone = 0;
        let days = days(&mut self.reader().await?, table).await?;
        for (name, rows) in days
            .into_iter()
            .filter(|(name, _)| of_name(table, name).is_some_and(|day| day < last))
        {
            if what == Keepsake::Seen {
                // As in a sweep: first the horizon, then what lies behind it.
                self.sweep(what, before, None, 1).await?;
            }
            let mut session = self.begin().await?;
            session.run("SET LOCAL lock_timeout = 2000", Args::None).await?;
            session.run_text(&format!("DROP TABLE {name}")).await?;
            session.commit().await?;
            gone += rows;
        }
        Ok(gone)
    }
}

/// The name of a day's partition.
fn name_of(table: &str, day: i64) -> String {
    let at = Timestamp::from_second(day * DAY).unwrap_or(Timestamp::MAX);
    format!("{table}_d{}", at.strftime("%Y%m%d"))
}

/// The day of a partition's name; `None` for the others.
fn of_name(table: &str, name: &str) -> Option<i64> {
    let digits = name.strip_prefix(table)?.strip_prefix("_d")?;
    let date = jiff::civil::Date::strptime("%Y%m%d", digits).ok()?;
    let at = date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
    Some(at.as_second().div_euclid(DAY))
}

async fn days(session: &mut Session, table: &str) -> Result<Vec<(String, u64)>, Fault> {
    let rows = session
        .fetch(
            "SELECT child.relname::TEXT, GREATEST(child.reltuples, 0)::BIGINT
             FROM pg_inherits JOIN pg_class AS child ON child.oid = pg_inherits.inhrelid
             WHERE pg_inherits.inhparent = to_regclass($1) ORDER BY child.relname",
            Args::Values(vec![Value::text(table)]),
        )
        .await?;
    rows.iter()
        .map(|row| Ok((row.get(0)?, row.get::<i64>(1)?.unsigned_abs())))
        .collect()
}

/// The first id of a day, as a literal.
fn bound(day: i64) -> String {
    let at = Timestamp::from_second(day * DAY).unwrap_or(Timestamp::MAX);
    first_id(at).0.iter().fold("\\x".to_owned(), |mut text, octet| {
        let _ = write!(text, "{octet:02x}");
        text
    })
}

/// Makes a day's partition, and moves into it what came too early. A day within the oldest partition, which holds all
/// from before there were partitions, has its place already.
async fn make(session: &mut Session, table: &str, day: i64) -> Result<bool, Fault> {
    if has_place(session, table, day).await? {
        return Ok(false);
    }
    session.run("SET LOCAL lock_timeout = 2000", Args::None).await?;
    // Of several nodes one makes it, and the others look again.
    session
        .run_text(&format!("LOCK TABLE {table}_rest IN ACCESS EXCLUSIVE MODE"))
        .await?;
    if has_place(session, table, day).await? {
        return Ok(false);
    }
    let (name, first, next) = (name_of(table, day), bound(day), bound(day + 1));
    let statements = [
        format!("CREATE TABLE {name} (LIKE {table} INCLUDING ALL) WITH ({AUTOVACUUM})"),
        format!(
            "WITH early AS (DELETE FROM {table}_rest WHERE id >= '{first}' AND id < '{next}' RETURNING *)
             INSERT INTO {name} SELECT * FROM early"
        ),
        format!("ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ('{first}') TO ('{next}')"),
    ];
    for statement in statements {
        session.run_text(&statement).await?;
    }
    Ok(true)
}

/// Whether a day has a partition, or needs none.
async fn has_place(session: &mut Session, table: &str, day: i64) -> Result<bool, Fault> {
    let name = name_of(table, day);
    let rows = session
        .fetch(
            "SELECT to_regclass($1) IS NOT NULL OR NOT EXISTS (
                 SELECT 1 FROM pg_partitioned_table WHERE partrelid = to_regclass($2))
                 OR EXISTS (SELECT 1 FROM pg_class WHERE oid = to_regclass($3)
                     AND substring(pg_get_expr(relpartbound, oid) FROM 'TO \\(''(.*)''\\)') > $4)",
            Args::Values(vec![
                Value::text(&name),
                Value::text(table),
                Value::text(&format!("{table}_before")),
                Value::text(&bound(day)),
            ]),
        )
        .await?;
    rows.first().map_or(Ok(true), |row| row.get::<bool>(0))
}

/// A day's partition is written once and hardly changed: it is visited for its new rows (their visibility, so that
/// a look at an index is enough, and their age), not for dead ones.
const AUTOVACUUM: &str = "autovacuum_vacuum_insert_scale_factor = 0.1, autovacuum_analyze_scale_factor = 0.1";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_read_as_they_are_named() {
        for day in [0, 20_000, 20_779] {
            assert_eq!(of_name("event", &name_of("event", day)), Some(day));
        }
        assert_eq!(name_of("seen", 20_778), "seen_d20261121");
        for other in [
            "event_before",
            "event_rest",
            "event_d2026",
            "seen_d20261121x",
            "event",
        ] {
            assert_eq!(of_name("event", other), None, "{other}");
        }
        assert!(bound(20_778) < bound(20_779));
    }
}
