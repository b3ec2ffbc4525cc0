//! A throw-away Postgres: a cluster of its own in a directory of its own, reachable by a Unix socket
//! only, gone when it is dropped and also when its owner is killed.
//!
//! The server is the child of a shell that waits for the end of its standard input, which we hold: the
//! shell stops the server and removes the directory however we end. (A death signal would not do: it
//! follows the thread that started the server, and tests' threads are short-lived.)
//!
//! Postgres refuses to run as root; as root, everything runs as the user `postgres`.

use anyhow::{Context, Result, anyhow, bail, ensure};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a server may take to begin or to end.
const PATIENCE: Duration = Duration::from_secs(60);
/// Enough for hundreds of test databases.
const SHARED_MEMORY_KIB: u64 = 4 << 20;

/// Starts the server, says its number, and outlives it: on `stop`, stops it in an orderly way; at the end
/// of the input, at once and for good.
const KEEPER: &str = r#"
    directory=$1; shift
    "$@" </dev/null & server=$!
    echo "server $server" >&2
    while read -r word; do
        kill -INT $server; wait $server; exit 0
    done
    kill -QUIT $server; wait $server; rm -rf "$directory"
"#;

/// A running (or stopped) server with its data.
#[derive(Debug)]
pub struct Postgres {
    directory: TempDir,
    binaries: PathBuf,
    user: Option<(u32, u32)>,
    settings: Vec<String>,
    server: Option<Server>,
}

#[derive(Debug)]
struct Server {
    keeper: Child,
    number: u32,
}

/// The directory of Postgres' programs, the newest of several; `None` where Postgres is not installed.
#[must_use]
pub fn installed() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let mut found: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    found.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let newest_first = found.into_iter().rev().map(|(_, bin)| bin);
    newest_first
        .chain(std::env::split_paths(&path))
        .find(|bin| bin.join("initdb").is_file() && bin.join("postgres").is_file())
}

impl Postgres {
    /// Starts a server that is quick and forgets everything in a power cut.
    ///
    /// # Errors
    /// Where Postgres is not installed or does not start; the message holds what it said.
    pub fn start() -> Result<Self> {
        Self::start_in(&place(), &["fsync=off"])
    }

    /// Starts a server with its data in a new directory under `parent`, with settings (`name=value`) of
    /// your own.
    ///
    /// # Errors
    /// As [`Postgres::start`].
    pub fn start_in(parent: &Path, settings: &[&str]) -> Result<Self> {
        let settings = settings.iter().map(|&setting| setting.to_owned()).collect();
        let mut postgres = Self::empty(parent, settings)?;
        postgres.initialise()?;
        postgres.start_again()?;
        Ok(postgres)
    }

    /// A server that has no data yet.
    fn empty(parent: &Path, settings: Vec<String>) -> Result<Self> {
        let binaries = installed().ok_or_else(|| anyhow!("Postgres (initdb, postgres) is not installed"))?;
        // A short path: the name of a Unix socket holds 107 octets.
        let directory = tempfile::Builder::new().prefix("nixie-pg-").tempdir_in(parent)?;
        let user = if fs::metadata("/proc/self")?.uid() == 0 {
            Some(postgres_user()?)
        } else {
            None
        };
        if let Some((uid, gid)) = user {
            chown(directory.path(), Some(uid), Some(gid))?;
        }
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o711))?;
        Ok(Self {
            directory,
            binaries,
            user,
            settings,
            server: None,
        })
    }

    /// The URL of the database `postgres`, as its superuser.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_of("postgres")
    }

    fn url_of(&self, database: &str) -> String {
        format!(
            "postgres://nixie@localhost/{database}?host={}",
            self.directory.path().display()
        )
    }

    /// Starts a replica, in a directory of its own, which streams what this server writes. It answers questions, and
    /// takes changes from [`Postgres::promote`] on.
    ///
    /// # Errors
    /// Where this server does not run, or the replica does not start.
    pub fn replica(&self) -> Result<Self> {
        let mut replica = Self::empty(&place(), self.settings.clone())?;
        let output = replica
            .command(&self.binaries.join("pg_basebackup"))
            .args([
                "--write-recovery-conf",
                "--checkpoint=fast",
                "--no-sync",
                "-U",
                "nixie",
                "-h",
            ])
            .arg(self.directory.path())
            .arg("-D")
            .arg(replica.data())
            .output()
            .context("pg_basebackup")?;
        ensure!(
            output.status.success(),
            "pg_basebackup: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        replica.start_again()?;
        Ok(replica)
    }

    /// Makes a replica take changes: it is a server by itself, on a timeline of its own.
    ///
    /// # Errors
    /// Where it does not run, or is no replica.
    pub fn promote(&self) -> Result<()> {
        let promoted = self.execute("SELECT pg_promote()")?;
        ensure!(promoted == "t", "pg_promote: {promoted}");
        Ok(())
    }

    /// The directory in which the server's socket lies.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Creates an empty database, and returns its URL.
    ///
    /// # Errors
    /// Where the server does not run, or has one of that name.
    pub fn create_database(&self, name: &str) -> Result<String> {
        self.execute(&format!("CREATE DATABASE \"{name}\""))?;
        Ok(self.url_of(name))
    }

    /// Runs a statement in the database `postgres`.
    ///
    /// # Errors
    /// Where the server does not run or refuses.
    pub fn execute(&self, statement: &str) -> Result<String> {
        let output = self
            .command(&self.binaries.join("psql"))
            .args([
                "-X",
                "-q",
                "-A",
                "-t",
                "-v",
                "ON_ERROR_STOP=1",
                "-U",
                "nixie",
                "-d",
                "postgres",
            ])
            .arg("-h")
            .arg(self.directory.path())
            .args(["-c", statement])
            .output()
            .context("psql")?;
        ensure!(
            output.status.success(),
            "psql: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Stops the server in an orderly way, connections included; the data stays.
    ///
    /// # Errors
    /// Where it does not stop.
    pub fn stop(&mut self) -> Result<()> {
        let Some(mut server) = self.server.take() else {
            return Ok(());
        };
        if let Some(mut input) = server.keeper.stdin.take() {
            input.write_all(b"stop\n")?;
            // The keeper reads one word and never again; the end of the input changes nothing now.
        }
        server.keeper.wait()?;
        Ok(())
    }

    /// Starts a server that was stopped, and returns when it takes connections.
    ///
    /// # Errors
    /// As [`Postgres::start`].
    pub fn start_again(&mut self) -> Result<()> {
        if self.server.is_some() {
            return Ok(());
        }
        let mut command = self.command(Path::new("/bin/sh"));
        command.args(["-c", KEEPER, "keeper"]).arg(self.directory.path());
        command
            .arg(self.binaries.join("postgres"))
            .arg("-D")
            .arg(self.data());
        command.arg("-k").arg(self.directory.path());
        for setting in ["listen_addresses=", "max_connections=200", "log_min_messages=log"] {
            command.args(["-c", setting]);
        }
        for setting in &self.settings {
            command.args(["-c", setting]);
        }
        let mut keeper = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting Postgres")?;
        let lines = lines(keeper.stderr.take().context("the server's messages")?);
        match ready(&lines) {
            Ok(number) => {
                self.server = Some(Server { keeper, number });
                Ok(())
            }
            Err(error) => {
                drop(keeper.stdin.take());
                keeper.wait()?;
                Err(error)
            }
        }
    }

    /// Stops the server and all its processes in their tracks, as a machine that hangs: connections stay
    /// open and nothing answers.
    ///
    /// # Errors
    /// Where the server does not run.
    pub fn freeze(&self) -> Result<()> {
        // The postmaster first: from then on its children neither come nor go.
        let postmaster = self.number()?.to_string();
        signal("-STOP", &[postmaster])?;
        signal("-STOP", &self.children()?)
    }

    /// Lets a frozen server go on.
    ///
    /// # Errors
    /// Where the server does not run.
    pub fn thaw(&self) -> Result<()> {
        let postmaster = self.number()?.to_string();
        signal("-CONT", &self.children()?)?;
        signal("-CONT", &[postmaster])
    }

    fn number(&self) -> Result<u32> {
        Ok(self.server.as_ref().context("the server does not run")?.number)
    }

    fn children(&self) -> Result<Vec<String>> {
        let number = self.number()?;
        let children = fs::read_to_string(format!("/proc/{number}/task/{number}/children"))?;
        Ok(children.split_whitespace().map(str::to_owned).collect())
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn initialise(&self) -> Result<()> {
        let output = self
            .command(&self.binaries.join("initdb"))
            .args([
                "--auth=trust",
                "--username=nixie",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
            ])
            .arg("-D")
            .arg(self.data())
            .output()
            .context("initdb")?;
        ensure!(
            output.status.success(),
            "initdb: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    /// A command as the user who may run Postgres, in a directory that this one may read.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.directory.path());
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            // A frozen server does not hear that it is to end.
            drop(
                Command::new("/bin/kill")
                    .args(["-CONT", &server.number.to_string()])
                    .status(),
            );
            drop(server.keeper.stdin.take());
            drop(server.keeper.wait());
        }
    }
}

fn signal(signal: &str, processes: &[String]) -> Result<()> {
    // The shell's own kill: the program of that name is in a package that may be missing.
    let status = Command::new("/bin/sh")
        .args(["-c", "kill \"$@\"", "kill", signal])
        .args(processes)
        .status()?;
    ensure!(status.success(), "kill {signal} {}", processes.join(" "));
    Ok(())
}

/// Where the data lies: in memory where there is room.
fn place() -> PathBuf {
    let output = Command::new("df").args(["-Pk", "/dev/shm"]).output();
    let free = output.ok().and_then(|output| {
        let text = String::from_utf8(output.stdout).ok()?;
        text.lines()
            .nth(1)?
            .split_whitespace()
            .nth(3)?
            .parse::<u64>()
            .ok()
    });
    match free {
        Some(free) if free >= SHARED_MEMORY_KIB => "/dev/shm".into(),
        _ => "/tmp".into(),
    }
}

/// The ids of the user `postgres` and its group.
fn postgres_user() -> Result<(u32, u32)> {
    let users = fs::read_to_string("/etc/passwd")?;
    let line = users
        .lines()
        .find_map(|line| line.strip_prefix("postgres:"))
        .context("there is no user postgres, and Postgres does not run as root")?;
    let mut fields = line.split(':').skip(1);
    let mut number = || -> Result<u32> { Ok(fields.next().context("/etc/passwd")?.parse()?) };
    Ok((number()?, number()?))
}

/// The lines of a stream, as they come; read to the end, so that its writer never waits for us.
fn lines(stream: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            // Nobody listens once the server is ready.
            drop(sender.send(line));
        }
    });
    receiver
}

/// Waits until the server says that it is ready; returns its process number.
fn ready(lines: &Receiver<String>) -> Result<u32> {
    let deadline = Instant::now() + PATIENCE;
    let mut said = String::new();
    let mut number = None;
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            // A replica says "read-only connections".
            Ok(line) if line.contains("ready to accept") => {
                return number.ok_or_else(|| anyhow!("no process number: {said}"));
            }
            Ok(line) => {
                if let Some(word) = line.strip_prefix("server ") {
                    number = word.parse().ok();
                }
                said.push_str(&line);
                said.push('\n');
            }
            Err(RecvTimeoutError::Timeout) => bail!("Postgres is not ready after {PATIENCE:?}: {said}"),
            Err(RecvTimeoutError::Disconnected) => bail!("Postgres ended: {said}"),
        }
    }
}
