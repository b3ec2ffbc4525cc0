//! Postgres: the store of a fleet.
//!
//! A server that is gone, or hangs, is found out within five seconds: connections, statements and
//! transactions have limits on our side and on the server's. A process that is stopped in the middle of a
//! transaction loses it after ten seconds, so that its locks stop nobody for long.
//!
//! On failure: whatever concerns the server and not the data is [`StoreError::Unavailable`]; the pool
//! connects again by itself when the server is back. No message names the password.

use super::contract::StoreError;
use super::session::{Fault, Session};
use super::suppression::CHANNEL;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, Executor};
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// How long a call waits for a connection: one of the pool's, or a new one.
const ACQUIRE: Duration = Duration::from_secs(3);
/// How long a change of the schema may take.
const MIGRATION: Duration = Duration::from_secs(300);
/// How long the listener rests when it could not connect.
const RECONNECT: Duration = Duration::from_secs(1);
/// A process needs one connection to commit, one to read, and some for the command line's sake.
const CONNECTIONS: u32 = 8;

/// What every connection begins with. Plans are made for the arrays at hand: a plan that was made when a
/// table was small would stay, and read it from end to end when it has grown.
const SETTINGS: &str = "SET statement_timeout = 5000; SET idle_in_transaction_session_timeout = 10000; \
                        SET plan_cache_mode = force_custom_plan";

/// The schema's steps.
pub(super) static MIGRATIONS: Migrator = sqlx::migrate!("migrations/postgres");

/// A database on a server.
#[derive(Clone)]
pub struct Postgres {
    pool: PgPool,
    listener: Arc<Listener>,
    /// See [`super::veil`].
    pub(super) mark: Option<[u8; 16]>,
}

/// Hears of changes on a connection of its own, once somebody waits for one.
#[derive(Debug, Default)]
struct Listener {
    changed: Arc<Notify>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl fmt::Debug for Postgres {
    /// By hand: the options would show the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = self.pool.connect_options();
        let (host, database) = (options.get_host(), options.get_database());
        f.debug_struct("Postgres")
            .field("host", &host)
            .field("database", &database)
            .finish_non_exhaustive()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let task = self.task.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = task {
            task.abort();
        }
    }
}

impl Postgres {
    /// The server and the database, without a password.
    pub(super) fn describe(&self) -> String {
        let options = self.pool.connect_options();
        let database = options.get_database().unwrap_or("");
        match options.get_socket() {
            Some(directory) => format!("postgres:///{database}?host={}", directory.display()),
            None => format!(
                "postgres://{}:{}/{database}",
                options.get_host(),
                options.get_port()
            ),
        }
    }

    /// Reads the URL; connects to nothing.
    pub(super) fn new(url: &str) -> Result<Self, StoreError> {
        let options = PgConnectOptions::from_str(url)
            .map_err(|error| StoreError::Url {
                url: redacted(url),
                problem: match error {
                    sqlx::Error::Configuration(problem) => problem.to_string(),
                    other => other.to_string(),
                },
            })?
            .application_name("nixie")
            .disable_statement_logging();
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(ACQUIRE)
            .after_connect(|connection, _| {
                Box::pin(async move { connection.execute(sqlx::raw_sql(SETTINGS)).await.map(drop) })
            })
            .connect_lazy_with(options);
        Ok(Self {
            pool,
            listener: Arc::default(),
            mark: None,
        })
    }

    /// Brings the schema up to date; an advisory lock lets one process at a time do so.
    pub(super) async fn migrate(&self) -> Result<(), StoreError> {
        let failed = |error: sqlx::Error| StoreError::from(Fault::from(error));
        let late = |limit: Duration| StoreError::Unavailable(format!("no answer within {limit:?}"));
        // Not one of the pool's: their statements have no time for this.
        let mut connection = tokio::time::timeout(ACQUIRE, self.pool.connect_options().connect())
            .await
            .map_err(|_| late(ACQUIRE))?
            .map_err(failed)?;
        tokio::time::timeout(MIGRATION, super::migrate(&MIGRATIONS, &mut connection))
            .await
            .map_err(|_| late(MIGRATION))??;
        connection.close().await.map_err(failed)
    }

    pub(super) async fn session(&self) -> Result<Session, Fault> {
        let connection = self.pool.acquire().await.map_err(|error| match error {
            sqlx::Error::PoolTimedOut => {
                Fault::Passing(format!("no connection within {} s", ACQUIRE.as_secs()))
            }
            error => error.into(),
        })?;
        Ok(Session::postgres(connection))
    }

    /// Returns when a suppression was changed, by whomever. One that comes while nobody waits is told to
    /// the next who does; none is told while the listener's connection is lost.
    pub(super) async fn wait_for_change(&self) {
        self.listen();
        self.listener.changed.notified().await;
    }

    fn listen(&self) {
        let mut task = self.listener.task.lock().unwrap_or_else(PoisonError::into_inner);
        if task.as_ref().is_none_or(JoinHandle::is_finished) {
            let changed = Arc::clone(&self.listener.changed);
            *task = Some(tokio::spawn(listen(self.pool.connect_options(), changed)));
        }
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }
}

async fn listen(options: Arc<PgConnectOptions>, changed: Arc<Notify>) {
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(ACQUIRE)
        .connect_lazy_with(options.as_ref().clone());
    loop {
        if let Err(error) = hear(&pool, &changed).await {
            tracing::debug!(%error, "not listening for changes");
        }
        tokio::time::sleep(RECONNECT).await;
    }
}

/// Passes on what it hears until the connection is lost.
async fn hear(pool: &PgPool, changed: &Notify) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(CHANNEL).await?;
    loop {
        // What was said before the connection was there, or while it was lost, nobody repeats.
        changed.notify_waiters();
        changed.notify_one();
        if listener.try_recv().await?.is_none() {
            return Ok(());
        }
    }
}

/// The URL without its password.
pub(super) fn redacted(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let (authority, tail) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let authority = match authority.rsplit_once('@') {
        Some((user, host)) => format!("{}:***@{host}", user.split(':').next().unwrap_or_default()),
        None => authority.to_owned(),
    };
    let tail = match tail.split_once("password=") {
        Some((before, secret)) => {
            let after = secret.find('&').map_or("", |end| &secret[end..]);
            format!("{before}password=***{after}")
        }
        None => tail.to_owned(),
    };
    format!("{scheme}://{authority}{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_shown() {
        let table = [
            (
                "postgres://nixie:secret@db/nixie",
                "postgres://nixie:***@db/nixie",
            ),
            ("postgres://nixie:se@cret@db:5432", "postgres://nixie:***@db:5432"),
            (
                "postgres://db/nixie?password=secret&host=/run",
                "postgres://db/nixie?password=***&host=/run",
            ),
            ("postgres://db/nixie", "postgres://db/nixie"),
            ("nonsense", "nonsense"),
        ];
        for (url, shown) in table {
            assert_eq!(redacted(url), shown);
        }
    }
}
