//! A private Postfix: an instance with directories, ports and a log of its own, on loopback only, that
//! shares nothing with the machine's mail system but the programs.
//!
//! **Names without DNS.** smtp(8) runs chrooted into the queue directory and looks hosts up natively,
//! so that `etc/hosts` in there gives the providers their names: the log then says
//! `relay=gmail-smtp-in.l.google.com[127.0.0.21]:PORT`, as in real life. A static map behind Nixie's
//! socketmap leads each domain to its provider's port; a domain without a route is refused, so no mail
//! can leave the machine.
//!
//! Dropping it stops Postfix and removes its files. On failure: an error with the end of its log.

mod log;
mod setup;

pub use log::{Follower, Log};
pub use setup::{Hooks, Setup};

use crate::need::as_root;
use crate::smtp::{Client, Protocol, Reply, Submission};
use crate::{loopback, wait};
use anyhow::{Context, Result, bail};
use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long Postfix may take to come up or to go down.
const PATIENCE: Duration = Duration::from_secs(60);
/// The port its SMTP server listens on, at an address that no other instance has.
const PORT: u16 = 2525;

/// A private instance.
#[derive(Debug)]
pub struct Postfix {
    directory: tempfile::TempDir,
    claim: loopback::Claim,
    setup: Setup,
    log: Log,
    running: bool,
}

/// A message in the queue, as `postqueue -j` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queued {
    /// Which queue: `active`, `deferred`, `incoming`, `maildrop`, `hold`.
    pub queue: String,
    /// Its queue id.
    pub id: String,
    /// The envelope sender.
    pub sender: String,
    /// The recipients left, each with the reason for its delay (empty when there is none yet).
    pub recipients: Vec<(String, String)>,
}

impl Postfix {
    /// Lays out an instance without starting it, so that its log has a path and its server an address.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn prepare(setup: Setup) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("nixie-postfix-").tempdir()?;
        let root = directory.path();
        // Postfix's own user must get in.
        fs::set_permissions(root, fs::Permissions::from_mode(0o755))?;
        for name in ["etc", "queue", "queue/etc", "data", "log"] {
            fs::create_dir(root.join(name))?;
        }
        let log = root.join("log/mail.log");
        // Made by us, so that we can read what root writes into it.
        fs::write(&log, "")?;
        fs::set_permissions(&log, fs::Permissions::from_mode(0o644))?;
        run(as_root("chown").arg("postfix").arg(root.join("data")))?;
        let postfix = Self {
            claim: loopback::claim()?,
            log: Log::new(log),
            setup,
            directory,
            running: false,
        };
        postfix.write()?;
        Ok(postfix)
    }

    /// Lays out an instance and starts it.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn launch(setup: Setup) -> Result<Self> {
        let mut postfix = Self::prepare(setup)?;
        postfix.start()?;
        Ok(postfix)
    }

    /// Starts it and waits for its SMTP server.
    ///
    /// # Errors
    /// When it does not come up in time.
    pub fn start(&mut self) -> Result<()> {
        // Queue files belong to root and to Postfix: only the directory itself is ours.
        run(as_root("chown").arg("root").arg(self.path("queue")))?;
        self.running = true;
        self.control("start")?;
        let address = self.smtp_address();
        wait::until(PATIENCE, "Postfix's SMTP server", || {
            Ok(Client::connect(address, Protocol::Smtp).ok())
        })
        .with_context(|| format!("starting Postfix; its log ends with:\n{}", self.log.tail(20)))?;
        Ok(())
    }

    /// Stops it; deliveries under way are finished.
    ///
    /// # Errors
    /// When `postfix stop` fails.
    pub fn stop(&mut self) -> Result<()> {
        self.control("stop")?;
        self.running = false;
        Ok(())
    }

    /// Has it read its configuration again.
    ///
    /// # Errors
    /// When `postfix reload` fails.
    pub fn reload(&self) -> Result<()> {
        self.control("reload")
    }

    /// Writes another value into main.cf, as `postconf -e` does; most need a [`Self::reload`].
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn set(&mut self, name: &str, value: &str) -> Result<()> {
        self.setup.main.insert(name.to_owned(), value.to_owned());
        self.write()
    }

    /// Adds services, as lines of master.cf. Needs a [`Self::reload`] when it runs.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn serve(&mut self, lines: &str) -> Result<()> {
        self.setup.services.push_str(lines);
        self.write()
    }

    /// Sets the hooks; `Hooks::default()` takes them out. Needs a [`Self::reload`] when it runs.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn hook(&mut self, hooks: Hooks) -> Result<()> {
        self.setup.hooks = hooks;
        self.write()
    }

    /// The configuration directory: `postfix -c`, `postconf -c`.
    #[must_use]
    pub fn config_directory(&self) -> PathBuf {
        self.path("etc")
    }

    /// The queue directory; sockets for chrooted services belong under it.
    #[must_use]
    pub fn queue_directory(&self) -> PathBuf {
        self.path("queue")
    }

    /// Its log.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Where its SMTP server listens.
    #[must_use]
    pub fn smtp_address(&self) -> SocketAddr {
        (self.claim.address(), PORT).into()
    }

    /// Submits a message with `sendmail -C DIR ARGS…`.
    ///
    /// # Errors
    /// When sendmail refuses it.
    pub fn sendmail(&self, arguments: &[&str], message: &[u8]) -> Result<()> {
        let mut child = as_root("/usr/sbin/sendmail")
            .arg("-C")
            .arg(self.config_directory())
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(message)?;
        }
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!("sendmail: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }

    /// Submits one message over SMTP; gives the reply to each recipient.
    ///
    /// # Errors
    /// When the connection fails, or the sender or the message as a whole is refused.
    pub fn inject(&self, sender: &str, recipients: &[&str], content: &[u8]) -> Result<Vec<Reply>> {
        let submission = self.submit(sender, recipients, content)?;
        let whole = std::iter::once(&submission.sender).chain(&submission.message);
        if let Some(refusal) = whole.into_iter().find(|reply| !reply.is_positive()) {
            bail!("the message is refused: {refusal}");
        }
        Ok(submission.recipients)
    }

    /// Submits one message over SMTP and gives every reply.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn submit(&self, sender: &str, recipients: &[&str], content: &[u8]) -> Result<Submission> {
        self.client()?.send(sender, recipients, content)
    }

    /// A connection to its SMTP server, for many messages.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn client(&self) -> Result<Client> {
        Client::connect(self.smtp_address(), Protocol::Smtp)
    }

    /// What is in the queue.
    ///
    /// # Errors
    /// When `postqueue -j` fails or prints what cannot be read.
    pub fn queue(&self) -> Result<Vec<Queued>> {
        let output = run(self.tool("postqueue").arg("-j"))?;
        output.lines().map(queued).collect()
    }

    /// Waits until nothing is queued.
    ///
    /// # Errors
    /// When `within` passes first; the text has the number of messages left.
    pub fn wait_for_empty_queue(&self, within: Duration) -> Result<()> {
        let what = format!("an empty queue in {}", self.directory.path().display());
        wait::until(within, &what, || Ok(self.queue()?.is_empty().then_some(()))).with_context(|| {
            let left = self.queue().unwrap_or_default();
            format!(
                "{} messages are left, the first is {:?}",
                left.len(),
                left.first()
            )
        })
    }

    /// Tries every deferred message now.
    ///
    /// # Errors
    /// When `postqueue -f` fails.
    pub fn flush(&self) -> Result<()> {
        run(self.tool("postqueue").arg("-f")).map(drop)
    }

    /// Waits for a line of the log that matches the regular expression, looking from its beginning.
    ///
    /// # Errors
    /// When `within` passes first; the text has the end of the log.
    pub fn wait_for_log(&self, pattern: &str, within: Duration) -> Result<String> {
        self.log.wait(0, pattern, within)
    }

    /// A Postfix program, as root, told of this instance.
    #[must_use]
    pub fn tool(&self, name: &str) -> Command {
        let mut command = as_root(&format!("/usr/sbin/{name}"));
        command.arg("-c").arg(self.config_directory());
        command
    }

    fn control(&self, verb: &str) -> Result<()> {
        // Its daemons inherit our standard error: a pipe would stay open as long as they run.
        let status = self
            .tool("postfix")
            .arg(verb)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        if !status.success() {
            bail!("postfix {verb} failed; its log ends with:\n{}", self.log.tail(20));
        }
        Ok(())
    }

    fn write(&self) -> Result<()> {
        self.setup.write(self.directory.path(), self.smtp_address())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        if self.running {
            // Nobody is left to hear of a failure; `abort` does not wait for deliveries.
            let _ = self.control("abort");
        }
        let _ = as_root("rm").arg("-rf").arg(self.directory.path()).status();
    }
}

/// One line of `postqueue -j`.
fn queued(line: &str) -> Result<Queued> {
    let value: serde_json::Value = serde_json::from_str(line).with_context(|| format!("reading {line:?}"))?;
    let text = |of: &serde_json::Value, key: &str| of[key].as_str().unwrap_or_default().to_owned();
    let recipients = value["recipients"].as_array().cloned().unwrap_or_default();
    Ok(Queued {
        queue: text(&value, "queue_name"),
        id: text(&value, "queue_id"),
        sender: text(&value, "sender"),
        recipients: recipients
            .iter()
            .map(|r| (text(r, "address"), text(r, "delay_reason")))
            .collect(),
    })
}

/// Runs a command to its end; gives what it printed.
fn run(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("running {:?}", command.get_program()))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{:?} failed: {}", command, stderr.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Replaces a file in one step, so that Postfix never reads half of it.
fn replace(path: &Path, content: &str) -> Result<()> {
    let fresh = path.with_extension("new");
    fs::write(&fresh, content).with_context(|| format!("writing {}", fresh.display()))?;
    fs::rename(&fresh, path).with_context(|| format!("replacing {}", path.display()))
}
