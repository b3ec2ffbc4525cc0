//! SQLite: the store of a single machine, with nothing to install.
//!
//! One connection writes, a few read; write-ahead logging lets them do so at the same time. Each commit
//! is synced to the disk before it returns (`synchronous=FULL`): what was acknowledged survives a power cut.
//! Other processes (the command line beside the daemon) are waited for.
//!
//! On failure: a database that stays locked, a full disk or a missing file is
//! [`StoreError::Unavailable`].

use super::contract::StoreError;
use super::session::{Fault, Session};
use sqlx::migrate::Migrator;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection};
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// How long a statement waits for another process's transaction.
const BUSY: Duration = Duration::from_secs(6);
/// How long a transaction waits for this process's own writers before it.
const ACQUIRE: Duration = Duration::from_secs(10);
/// How long opening waits for another process that brings the schema up to date.
const MIGRATION: Duration = Duration::from_secs(30);

/// After so many rows written, other processes get their turn. SQLite knows no queue: who waits looks
/// again every 100 ms at most, and may never find the file free while one transaction follows another.
const TURN: usize = 80_000;
/// How long that turn is.
const GAP: Duration = Duration::from_millis(110);

/// What the writer's cache of pages may take, in KiB: an import of millions touches the same index pages again.
const WRITER_CACHE: u32 = 32 * 1024;
/// The same for each reader. Reading the whole list fills the cache of every connection that takes a part in it, with
/// pages that are not read again; the system has them as well.
const READER_CACHE: u32 = 2 * 1024;

/// The schema's steps.
pub(super) static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// A database file.
#[derive(Debug, Clone)]
pub struct Sqlite {
    path: Arc<Path>,
    writer: SqlitePool,
    readers: SqlitePool,
    changed: Arc<Notify>,
    /// Rows written since others had their turn.
    written: Arc<AtomicUsize>,
    /// See [`super::veil`].
    pub(super) mark: Option<[u8; 16]>,
}

impl Sqlite {
    /// The URL.
    pub(super) fn describe(&self) -> String {
        format!("sqlite://{}", self.path.display())
    }

    /// Reads the URL; opens nothing.
    pub(super) fn new(url: &str) -> Result<Self, StoreError> {
        let refuse = |problem: &str| StoreError::Url {
            url: url.to_owned(),
            problem: problem.to_owned(),
        };
        let path = url
            .strip_prefix("sqlite://")
            .ok_or_else(|| refuse("it does not begin with sqlite://"))?;
        if !path.starts_with('/') || path.ends_with('/') {
            return Err(refuse("it names no absolute path of a file"));
        }
        let path: Arc<Path> = Path::new(path).into();
        let pool = |connections, cache| {
            SqlitePoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(ACQUIRE)
                .idle_timeout(None)
                .max_lifetime(None)
                .test_before_acquire(false)
                .connect_lazy_with(options(&path, cache))
        };
        Ok(Self {
            writer: pool(1, WRITER_CACHE),
            readers: pool(4, READER_CACHE),
            changed: Arc::default(),
            written: Arc::default(),
            mark: None,
            path,
        })
    }

    /// Creates what is missing, and brings the schema up to date.
    pub(super) async fn migrate(&self) -> Result<(), StoreError> {
        let passing =
            |error: std::io::Error| StoreError::Unavailable(format!("{}: {error}", self.path.display()));
        create(&self.path).map_err(passing)?;
        let _lock = lock(&self.path).await?;
        let failed = |error: sqlx::Error| StoreError::from(Fault::from(error));
        let mut connection = options(&self.path, WRITER_CACHE)
            .journal_mode(SqliteJournalMode::Wal)
            .connect()
            .await
            .map_err(failed)?;
        super::migrate(&MIGRATIONS, &mut connection).await?;
        connection.close().await.map_err(failed)
    }

    /// Whether there is a file.
    pub(super) fn exists(&self) -> bool {
        self.path.exists()
    }

    pub(super) async fn reader(&self) -> Result<Session, Fault> {
        let connection = self.readers.acquire().await.map_err(|error| self.fault(&error))?;
        Ok(Session::sqlite(connection))
    }

    pub(super) async fn writer(&self) -> Result<Session, Fault> {
        let connection = self.writer.acquire().await.map_err(|error| self.fault(&error))?;
        Ok(Session::sqlite(connection))
    }

    /// SQLite does not say which file it cannot open.
    fn fault(&self, error: &sqlx::Error) -> Fault {
        Fault::Passing(format!("{}: {error}", self.path.display()))
    }

    /// Rests for a moment after every [`TURN`] rows, without a transaction.
    pub(super) async fn give_way(&self, rows: usize) {
        if self.written.fetch_add(rows, Ordering::Relaxed) + rows >= TURN {
            self.written.store(0, Ordering::Relaxed);
            tokio::time::sleep(GAP).await;
        }
    }

    /// Wakes whoever waits in [`Self::wait_for_change`].
    pub(super) fn notify(&self) {
        self.changed.notify_waiters();
        self.changed.notify_one();
    }

    /// Returns when this process has changed a suppression. Other processes are not heard of.
    pub(super) async fn wait_for_change(&self) {
        self.changed.notified().await;
    }

    pub(super) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// `cache` is in KiB.
fn options(path: &Path, cache: u32) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY)
        .pragma("cache_size", format!("-{cache}"))
        .pragma("temp_store", "memory")
        .disable_statement_logging()
}

/// Creates the directory and the file, for nobody else to read: addresses are personal data. SQLite
/// gives its `-wal` and `-shm` the same permissions.
fn create(path: &Path) -> std::io::Result<()> {
    if let Some(directory) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    private(path).map(drop)
}

fn private(path: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

/// Keeps other processes from changing the schema, as long as the file returned is open. SQLite has no
/// lock of its own for this: a change of the journal mode fails at once where another is under way.
async fn lock(path: &Path) -> Result<File, StoreError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let name = PathBuf::from(name);
    let passing = |error: std::io::Error| StoreError::Unavailable(format!("{}: {error}", name.display()));
    let file = private(&name).map_err(passing)?;
    let mut beat = tokio::time::interval(Duration::from_millis(20));
    let locked = tokio::time::timeout(MIGRATION, async {
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(()),
                Err(TryLockError::WouldBlock) => drop(beat.tick().await),
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
    })
    .await;
    match locked {
        Ok(locked) => locked.map_err(passing)?,
        Err(_) => {
            let text = format!("another process holds {} for over {MIGRATION:?}", name.display());
            return Err(StoreError::Unavailable(text));
        }
    }
    Ok(file)
}
