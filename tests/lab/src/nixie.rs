//! The built `nixie`, run as its operators run it: a process with a configuration file and a state
//! directory of its own, that can be killed at any moment and started again.
//!
//! Its listeners have an address that no other process uses, so they are the same after a restart.
//! Dropping it kills the process and removes its files. On failure: an error with the end of what it
//! printed.

use crate::postfix::{Hooks, Postfix};
use crate::{loopback, wait};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

/// How long it may take to become ready or to end.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long it may take to answer one HTTP request.
const ANSWER: Duration = Duration::from_secs(10);

/// The configuration of an instance: sections of keys, the values as TOML.
#[derive(Debug, Clone)]
pub struct Setup {
    binary: PathBuf,
    sections: BTreeMap<String, BTreeMap<String, String>>,
    environment: BTreeMap<String, String>,
}

/// An instance, running or not.
#[derive(Debug)]
pub struct Nixie {
    setup: Setup,
    directory: tempfile::TempDir,
    claim: loopback::Claim,
    child: Option<Child>,
}

impl Setup {
    /// An instance of the program at `binary` (from a test: `env!("CARGO_BIN_EXE_nixie")`) with SQLite
    /// in its own directory, every listener on, and no log to read.
    #[must_use]
    pub fn new(binary: impl AsRef<Path>) -> Self {
        let setup = Self {
            binary: binary.as_ref().to_owned(),
            sections: BTreeMap::new(),
            environment: BTreeMap::new(),
        };
        setup
            .text("log", "source", "off")
            .text("egress", "name", "lab")
            // Nothing of the lab leaves the machine.
            .value("dns", "lookups", "false")
            .value("authentication", "enabled", "false")
    }

    /// Sets a key to a text.
    #[must_use]
    pub fn text(self, section: &str, key: &str, value: &str) -> Self {
        // A JSON string of printable characters is a TOML basic string.
        let quoted = serde_json::Value::from(value).to_string();
        self.value(section, key, &quoted)
    }

    /// Sets a key to a value in TOML's notation: `5`, `true`, `"5s"`.
    #[must_use]
    pub fn value(mut self, section: &str, key: &str, toml: &str) -> Self {
        let keys = self.sections.entry(section.to_owned()).or_default();
        keys.insert(key.to_owned(), toml.to_owned());
        self
    }

    /// Uses that store: `postgres://…` or `sqlite:///…`.
    #[must_use]
    pub fn store(self, url: &str) -> Self {
        self.text("store", "url", url)
    }

    /// Reads that log from its beginning.
    #[must_use]
    pub fn log(self, path: &Path) -> Self {
        self.text("log", "source", &format!("file:{}", path.display()))
            .text("log", "start", "beginning")
    }

    /// Hands deferred mail back to that Postfix.
    #[must_use]
    pub fn releases(self, postfix: &Postfix) -> Self {
        let path = |path: PathBuf| path.display().to_string();
        self.text("release", "queue_directory", &path(postfix.queue_directory()))
            .text("release", "config_directory", &path(postfix.config_directory()))
    }

    /// Sets how long a lane is held when a rule names no time, and at most, in Nixie's notation (`5s`).
    #[must_use]
    pub fn holds(self, default: &str, max: &str) -> Self {
        self.text("throttle", "default_hold", default)
            .text("throttle", "max_hold", max)
    }

    /// Gives it an environment variable.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    fn toml(&self) -> String {
        let mut text = String::new();
        for (section, keys) in &self.sections {
            let _ = writeln!(text, "[{section}]");
            for (key, value) in keys {
                let _ = writeln!(text, "{key} = {value}");
            }
        }
        text
    }
}

/// The listeners and their ports.
const LISTENERS: &[(&str, u16)] = &[
    ("policy", 7460),
    ("socketmap", 7461),
    ("milter", 7462),
    ("lmtp", 7463),
    ("http", 7480),
];

impl Nixie {
    /// Lays out an instance without starting it: its listeners have their addresses.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn prepare(mut setup: Setup) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("nixie-state-").tempdir()?;
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
        let claim = loopback::claim()?;
        let database = format!("sqlite://{}", directory.path().join("nixie.db").display());
        let store = setup.sections.entry("store".into()).or_default();
        store
            .entry("url".into())
            .or_insert_with(|| format!("{database:?}"));
        for (section, port) in LISTENERS {
            let listen = format!("\"{}:{port}\"", claim.address());
            let keys = setup.sections.entry((*section).to_owned()).or_default();
            keys.entry("listen".into()).or_insert(listen);
        }
        let nixie = Self {
            setup,
            directory,
            claim,
            child: None,
        };
        fs::write(nixie.config(), nixie.setup.toml())?;
        Ok(nixie)
    }

    /// Lays out an instance, starts it and waits until it is ready.
    ///
    /// # Errors
    /// When it does not become ready in time.
    pub fn launch(setup: Setup) -> Result<Self> {
        let mut nixie = Self::prepare(setup)?;
        nixie.start()?;
        Ok(nixie)
    }

    /// Starts it and waits until `/readyz` says so.
    ///
    /// # Errors
    /// When it ends, or does not become ready in time.
    pub fn start(&mut self) -> Result<()> {
        self.spawn()?;
        let ready = wait::until(PATIENCE, "nixie to be ready", || {
            if let Some(status) = self.exited()? {
                bail!("nixie ended at once, {status}");
            }
            Ok(self.get("/readyz").ok().filter(|(status, _)| *status == 200))
        });
        ready.with_context(|| format!("nixie printed:\n{}", self.printed()))?;
        Ok(())
    }

    /// Starts it without waiting.
    ///
    /// # Errors
    /// When it runs already, or there is no such program.
    pub fn spawn(&mut self) -> Result<()> {
        if self.child.is_some() {
            bail!("nixie runs already");
        }
        let output = File::options().create(true).append(true).open(self.output())?;
        let child = self
            .command()
            .arg("serve")
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("starting {}", self.setup.binary.display()))?;
        self.child = Some(child);
        Ok(())
    }

    /// Changes a key, in TOML's notation; takes effect when it starts or reloads.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn set(&mut self, section: &str, key: &str, toml: &str) -> Result<()> {
        self.setup = self.setup.clone().value(section, key, toml);
        Ok(fs::write(self.config(), self.setup.toml())?)
    }

    /// Kills it as a power failure would (SIGKILL). Nothing happens when it does not run.
    ///
    /// # Errors
    /// When the process cannot be killed.
    pub fn kill_9(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Asks it to end (SIGTERM) and waits until it has.
    ///
    /// # Errors
    /// When it does not end in time: it is killed then.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        self.signal("TERM")?;
        let ended = wait::until(PATIENCE, "nixie to end", || self.exited());
        if ended.is_err() {
            self.kill_9()?;
        }
        ended.with_context(|| format!("nixie printed:\n{}", self.printed()))
    }

    /// Kills it and starts it again.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn restart(&mut self) -> Result<()> {
        self.kill_9()?;
        self.start()
    }

    /// Sends it a signal: `TERM`, `HUP`, `STOP`, `CONT`.
    ///
    /// # Errors
    /// When it does not run.
    pub fn signal(&self, name: &str) -> Result<()> {
        let child = self.child.as_ref().context("nixie does not run")?;
        // The shell's own kill: a bare Debian has no other.
        let status = Command::new("sh")
            .args(["-c", &format!("kill -{name} {}", child.id())])
            .status()?;
        if !status.success() {
            bail!("nixie (process {}) cannot be signalled", child.id());
        }
        Ok(())
    }

    /// Whether it runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Its process id, while it runs.
    #[must_use]
    pub fn process(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Where a listener is: `policy`, `socketmap`, `milter`, `lmtp` or `http`. Unknown names have port 0.
    #[must_use]
    pub fn address(&self, listener: &str) -> SocketAddr {
        let port = LISTENERS
            .iter()
            .find(|(name, _)| *name == listener)
            .map_or(0, |l| l.1);
        (self.claim.address(), port).into()
    }

    /// Its hooks but for the milter, for [`crate::postfix::Postfix::hook`].
    #[must_use]
    pub fn hooks(&self) -> Hooks {
        let inet = |listener: &str| Some(format!("inet:{}", self.address(listener)));
        Hooks {
            policy: inet("policy"),
            socketmap: inet("socketmap"),
            milter: None,
            lmtp: inet("lmtp"),
        }
    }

    /// Its milter and nothing else.
    #[must_use]
    pub fn milter(&self) -> Hooks {
        Hooks {
            milter: Some(format!("inet:{}", self.address("milter"))),
            ..Hooks::default()
        }
    }

    /// The configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.directory.path().join("nixie.toml")
    }

    /// The directory of its state.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What it has printed so far, over all its starts.
    #[must_use]
    pub fn printed(&self) -> String {
        fs::read_to_string(self.output()).unwrap_or_default()
    }

    /// Runs another of its commands with the same configuration: `["suppress", "list"]`.
    ///
    /// # Errors
    /// When the program cannot be run. A failed command is an output, not an error.
    pub fn run(&self, arguments: &[&str]) -> Result<Output> {
        Ok(self.command().args(arguments).stdin(Stdio::null()).output()?)
    }

    /// As [`Self::run`]; gives what it printed.
    ///
    /// # Errors
    /// Also when the command fails.
    pub fn cli(&self, arguments: &[&str]) -> Result<String> {
        let output = self.run(arguments)?;
        if !output.status.success() {
            bail!(
                "nixie {arguments:?}: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// What `nixie status` prints.
    ///
    /// # Errors
    /// When the command fails.
    pub fn status(&self) -> Result<String> {
        self.cli(&["status"])
    }

    /// Asks its HTTP listener; gives the status and the body.
    ///
    /// # Errors
    /// When there is no answer, or it is none of HTTP's.
    pub fn get(&self, path: &str) -> Result<(u16, String)> {
        let address = self.address("http");
        let mut stream = TcpStream::connect_timeout(&address, ANSWER)?;
        stream.set_read_timeout(Some(ANSWER))?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer.split_once("\r\n\r\n").context("expected an HTTP answer")?;
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        Ok((status.context("expected an HTTP status")?, body.to_owned()))
    }

    /// The value of a metric, by its name with its labels as `/metrics` writes them; `None` where there
    /// is no such line.
    ///
    /// # Errors
    /// When the listener does not answer.
    pub fn metric(&self, name: &str) -> Result<Option<f64>> {
        let (_, text) = self.get("/metrics")?;
        Ok(text.lines().find_map(|line| {
            let value = line.strip_prefix(name)?.strip_prefix(' ')?;
            value.split(' ').next()?.parse().ok()
        }))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.setup.binary);
        command.arg("--config").arg(self.config());
        command.env("STATE_DIRECTORY", self.directory.path());
        command.envs(&self.setup.environment);
        command
    }

    fn output(&self) -> PathBuf {
        self.directory.path().join("nixie.log")
    }

    /// Its exit status, once it has ended.
    fn exited(&mut self) -> Result<Option<ExitStatus>> {
        let Some(child) = &mut self.child else {
            bail!("nixie does not run");
        };
        let status = child.try_wait()?;
        if status.is_some() {
            self.child = None;
        }
        Ok(status)
    }
}

impl Drop for Nixie {
    fn drop(&mut self) {
        // Nobody is left to hear of a failure.
        let _ = self.kill_9();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_become_toml() {
        let setup = Setup::new("/bin/true")
            .text("log", "source", "file:/a \"b\"")
            .value("policy", "limit", "5")
            .holds("5s", "30s");
        let nixie = Nixie::prepare(setup).unwrap();
        let text = fs::read_to_string(nixie.config()).unwrap();
        let address = nixie.address("policy");
        for line in [
            "[log]\nsource = \"file:/a \\\"b\\\"\"\n",
            "[throttle]\ndefault_hold = \"5s\"\nmax_hold = \"30s\"\n",
            &format!("[policy]\nlimit = 5\nlisten = \"{address}\"\n"),
        ] {
            assert!(text.contains(line), "{line} is missing in {text}");
        }
        assert_eq!(nixie.hooks().policy, Some(format!("inet:{address}")));
    }

    #[test]
    fn a_program_that_ends_at_once_is_an_error() {
        let failure = Nixie::launch(Setup::new("/bin/false")).unwrap_err();
        assert!(format!("{failure:#}").contains("ended at once"), "{failure:#}");
    }
}
