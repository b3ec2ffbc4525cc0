//! The steps of the schema, and which of them a database has.

use super::contract::{Step, StoreError};
use super::session::{Args, Fault, Session};
use super::{Store, postgres, sqlite};
use std::collections::BTreeMap;

impl Store {
    /// The steps that this version knows and those that the database has, by their numbers. Nothing is changed; a
    /// file that is not there has none.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn schema(&self) -> Result<Vec<Step>, StoreError> {
        let known = match self {
            Self::Sqlite(_) => sqlite::MIGRATIONS.iter(),
            Self::Postgres(_) => postgres::MIGRATIONS.iter(),
        };
        let applied = match self {
            Self::Sqlite(store) if !store.exists() => BTreeMap::new(),
            _ => applied(&mut self.reader().await?).await?,
        };
        let mut steps: BTreeMap<i64, Step> = applied
            .into_iter()
            .map(|(version, description)| {
                let step = Step {
                    version,
                    description,
                    known: false,
                    applied: true,
                };
                (version, step)
            })
            .collect();
        for migration in known {
            let step = steps.entry(migration.version).or_insert_with(|| Step {
                version: migration.version,
                description: String::new(),
                known: true,
                applied: false,
            });
            step.known = true;
            step.description = migration.description.to_string();
        }
        Ok(steps.into_values().collect())
    }
}

/// What is written in the migrator's own table; nothing where there is none yet.
async fn applied(session: &mut Session) -> Result<BTreeMap<i64, String>, Fault> {
    let table = match session.is_sqlite() {
        true => "SELECT COUNT(*) FROM sqlite_master WHERE name = '_sqlx_migrations'",
        false => "SELECT COUNT(*) FROM information_schema.tables WHERE table_name = '_sqlx_migrations'",
    };
    let rows = session.fetch(table, Args::None).await?;
    let is_there = rows.first().map(|row| row.get::<i64>(0)).transpose()?;
    if is_there.unwrap_or(0) == 0 {
        return Ok(BTreeMap::new());
    }
    let rows = session
        .fetch(
            "SELECT version, description FROM _sqlx_migrations WHERE success ORDER BY version",
            Args::None,
        )
        .await?;
    rows.iter().map(|row| Ok((row.get(0)?, row.get(1)?))).collect()
}
