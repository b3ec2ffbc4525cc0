//! The releaser: hands deferred messages back to Postfix, one by one, as their lanes' tokens come.
//!
//! Postfix tries deferred mail again on a schedule of its own, which knows nothing of a provider's pace: all at
//! once, or hours too late. The releaser asks the gate for the message whose turn it is and whose tokens are
//! there, and has Postfix try that one now. It sleeps until the next token of any lane, or until the bell rings
//! ([`Bell`]): outcomes, other lanes and new orders may bring a turn forward.
//!
//! **Ways.** flush(8)'s socket ([`crate::postfix::flush`]) takes 1,500 a second and needs the group `postdrop`;
//! `postqueue -i` takes 150. What fails gives way to the other; with neither, the gate is told, tokens
//! go to whoever asks, and the ways are tried again, soon at first ([`AGAIN`]).
//!
//! **What waits** is learned from the log. What the log does not tell (a restart, a gap, mail taken from the
//! queue by hand) is learned from `postqueue -j` (`release/list.rs`): at the start, every hour, and when the log is
//! heard again after a silence.
//!
//! On failure nothing is lost: a message that was not handed over waits in Postfix's queue, on its own
//! schedule.

mod list;

use super::keeper::Bench;
use crate::clock;
use crate::config::{Release as Settings, Via};
use crate::engine::gate::Gate;
use crate::engine::memory::Memory;
use crate::postfix::flush::{self, Status};
use anyhow::{Context as _, bail};
use jiff::Timestamp;
use list::Lister;
use parking_lot::RwLock;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::Command;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// How long to wait before what did not work is tried again: at first, and at most.
const AGAIN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// For how long nothing may work before the gate is told. While Postfix starts nobody asks, and once it has started
/// the ways are there: mail must not rush through in between.
const GRACE: Duration = Duration::from_secs(15);
/// How long Postfix may take to take a message back.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest sleep: the wall clock may be set.
const LONGEST: Duration = Duration::from_secs(30);

/// What wakes the releaser; clones ring the same.
#[derive(Debug, Clone, Default)]
pub struct Bell {
    turn: Arc<Notify>,
    listing: Arc<Notify>,
}

impl Bell {
    /// Something may go earlier than was thought.
    pub fn ring(&self) {
        self.turn.notify_one();
    }

    /// Something may wait that the log did not tell of.
    pub fn list(&self) {
        self.listing.notify_one();
    }
}

/// Counters for the metrics; they only grow.
#[derive(Debug, Default)]
pub struct ReleaseCounters {
    /// Messages handed back.
    pub released: AtomicU64,
    /// Messages that could not be handed back.
    pub failed: AtomicU64,
}

/// The releaser.
#[derive(Debug)]
pub struct Releaser {
    settings: Settings,
    memory: Arc<Memory>,
    bench: Arc<RwLock<Arc<Bench>>>,
    bell: Bell,
    counters: Arc<ReleaseCounters>,
    route: Option<Route>,
    /// When a way last worked, or was first looked for.
    worked: Instant,
    /// What was said last about what does not work, so that it is said once.
    said: String,
}

/// How messages get back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    Flush,
    Exec,
}

/// Where Postfix is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Home {
    queue: PathBuf,
    config: Option<PathBuf>,
}

impl Releaser {
    /// A releaser as configured.
    #[must_use]
    pub fn new(
        settings: Settings,
        memory: Arc<Memory>,
        bench: Arc<RwLock<Arc<Bench>>>,
        bell: Bell,
        counters: Arc<ReleaseCounters>,
    ) -> Self {
        Self {
            settings,
            memory,
            bench,
            bell,
            counters,
            route: None,
            worked: clock::monotonic(),
            said: String::new(),
        }
    }

    /// Works until told to stop; begins once the memory is loaded.
    pub async fn run(mut self, mut loaded: watch::Receiver<bool>, stop: CancellationToken) {
        if self.settings.via == Via::Off {
            return;
        }
        // Until the contrary has been seen for a while, it will work.
        self.gate().set_releasing(true);
        let run = async {
            if loaded.wait_for(|loaded| *loaded).await.is_err() {
                return;
            }
            let home = self.find().await;
            let lister = Lister {
                home: home.clone(),
                memory: Arc::clone(&self.memory),
                bench: Arc::clone(&self.bench),
                bell: self.bell.clone(),
            };
            tokio::join!(self.work(&home), lister.run());
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = run => {}
        }
    }

    fn gate(&self) -> &Gate {
        self.memory.gate()
    }

    /// Where Postfix is, as configured or as it says itself; waits until it can be told.
    async fn find(&mut self) -> Home {
        let mut rest = AGAIN.0;
        loop {
            match find(&self.settings).await {
                Ok(home) => return home,
                Err(error) => self.fails(&format!("{error:#}")),
            }
            tokio::time::sleep(rest).await;
            rest = (rest * 2).min(AGAIN.1);
        }
    }

    async fn work(&mut self, home: &Home) {
        let mut rest = AGAIN.0;
        loop {
            if self.route.is_none() {
                self.look_for_route(home).await;
            }
            while self.route.is_some()
                && let Some(release) = self.gate().release(clock::now())
            {
                let handed = self.hand_over(home, &release.queue_id).await;
                match handed {
                    // It was only to be asked about, and says so itself when it is.
                    Ok(Handed::Over) if release.tickets == 0 => {
                        debug!(lane = %release.lane.provider, queue_id = %release.queue_id, "nudged");
                    }
                    Ok(Handed::Over) => {
                        debug!(lane = %release.lane.provider, queue_id = %release.queue_id, tickets = release.tickets, "released");
                        self.counters.released.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(Handed::Unknown) => self.gate().gone(&release.queue_id, clock::now()),
                    Err(error) => {
                        self.counters.failed.fetch_add(1, Ordering::Relaxed);
                        self.gate().unrelease(&release, clock::now());
                        self.fails(&format!("{error:#}"));
                    }
                }
            }
            let pause = match self.route {
                Some(_) => {
                    rest = AGAIN.0;
                    self.worked = clock::monotonic();
                    pause(self.gate().due(), clock::now())
                }
                None => {
                    rest = (rest * 2).min(AGAIN.1);
                    rest
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.bell.turn.notified(), if self.route.is_some() => {}
            }
        }
    }

    /// Finds a way that works, the quicker one first.
    async fn look_for_route(&mut self, home: &Home) {
        let mut problems = Vec::new();
        if self.settings.via != Via::Exec {
            match tokio::time::timeout(PATIENCE, UnixStream::connect(home.socket())).await {
                Ok(Ok(_)) => return self.works(Route::Flush),
                Ok(Err(error)) => problems.push(format!("{}: {error}", home.socket().display())),
                Err(_) => problems.push(format!("{}: no answer", home.socket().display())),
            }
        }
        if self.settings.via != Via::Flush {
            // Listing needs the same rights, and does nothing.
            match succeed(home.command("postqueue").arg("-j")).await {
                Ok(()) => {
                    if self.settings.via == Via::Auto && self.said.is_empty() {
                        warn!(
                            "messages are released by postqueue -i, which is slower: {}",
                            problems.join("; ")
                        );
                    }
                    return self.works(Route::Exec);
                }
                Err(error) => problems.push(format!("{error:#}")),
            }
        }
        self.fails(&problems.join("; "));
    }

    fn works(&mut self, route: Route) {
        if !self.said.is_empty() {
            info!("deferred mail can be released again");
            self.said.clear();
        }
        self.route = Some(route);
        self.worked = clock::monotonic();
        self.gate().set_releasing(true);
        self.bell.list();
    }

    /// Deferred mail cannot be released; said once for each reason.
    fn fails(&mut self, why: &str) {
        self.route = None;
        if self.worked.elapsed() < GRACE {
            return;
        }
        self.gate().set_releasing(false);
        if self.said != why {
            warn!("deferred mail cannot be released and waits for Postfix's own schedule: {why}");
            why.clone_into(&mut self.said);
        }
    }

    async fn hand_over(&mut self, home: &Home, queue_id: &str) -> anyhow::Result<Handed> {
        let Some(request) = flush::send_file(queue_id) else {
            return Ok(Handed::Unknown);
        };
        if self.route == Some(Route::Flush) {
            let answer = tokio::time::timeout(PATIENCE, ask(&home.socket(), &request)).await;
            let problem = match answer {
                Ok(Ok(Status::Ok)) => return Ok(Handed::Over),
                Ok(Ok(Status::BadId)) => return Ok(Handed::Unknown),
                Ok(Ok(status)) => anyhow::anyhow!("{}: {status:?}", home.socket().display()),
                Ok(Err(error)) => error,
                Err(_) => anyhow::anyhow!("{}: no answer for {PATIENCE:?}", home.socket().display()),
            };
            if self.settings.via == Via::Flush {
                return Err(problem);
            }
            succeed(home.command("postqueue").args(["-i", queue_id]))
                .await
                .with_context(|| format!("{problem:#}"))?;
            warn!("messages are released by postqueue -i, which is slower: {problem:#}");
            self.route = Some(Route::Exec);
            return Ok(Handed::Over);
        }
        succeed(home.command("postqueue").args(["-i", queue_id])).await?;
        Ok(Handed::Over)
    }
}

/// What came of handing a message over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Handed {
    Over,
    Unknown,
}

/// How long to sleep until then.
fn pause(due: Option<Timestamp>, now: Timestamp) -> Duration {
    let until = due.map_or(LONGEST, |due| {
        Duration::try_from(due.duration_since(now)).unwrap_or(Duration::ZERO)
    });
    until.min(LONGEST)
}

/// One request to flush(8).
async fn ask(socket: &Path, request: &[u8]) -> anyhow::Result<Status> {
    let said = || socket.display().to_string();
    let mut stream = UnixStream::connect(socket).await.with_context(said)?;
    stream.write_all(request).await.with_context(said)?;
    let mut answer = flush::Answer::default();
    let mut bytes = [0; 512];
    loop {
        let count = stream.read(&mut bytes).await.with_context(said)?;
        if count == 0 {
            return Err(answer.cut()).with_context(said);
        }
        if let Some(status) = answer.feed(&bytes[..count]).with_context(said)? {
            return Ok(status);
        }
    }
}

impl Home {
    fn socket(&self) -> PathBuf {
        self.queue.join("public/flush")
    }

    /// A program of Postfix's, for this instance.
    fn command(&self, program: &str) -> Command {
        command(program, self.config.as_deref())
    }
}

fn command(program: &str, config: Option<&Path>) -> Command {
    // Postfix's programs are where services' PATH often is not.
    let sbin = Path::new("/usr/sbin").join(program);
    let mut command = if sbin.exists() {
        Command::new(sbin)
    } else {
        Command::new(program)
    };
    if let Some(config) = config {
        command.arg("-c").arg(config);
    }
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

async fn find(settings: &Settings) -> anyhow::Result<Home> {
    let config = &settings.config_directory;
    let config = (!config.as_os_str().is_empty()).then(|| config.clone());
    if !settings.queue_directory.as_os_str().is_empty() {
        return Ok(Home {
            queue: settings.queue_directory.clone(),
            config,
        });
    }
    let mut postconf = command("postconf", config.as_deref());
    let output = output(postconf.args(["-h", "queue_directory"])).await?;
    let queue = PathBuf::from(output.trim());
    if !queue.is_absolute() {
        bail!("postconf -h queue_directory: expected a path, found {output:?}");
    }
    Ok(Home { queue, config })
}

/// Runs a command to its end; gives what it printed.
async fn output(command: &mut Command) -> anyhow::Result<String> {
    let name = command.as_std().get_program().to_string_lossy().into_owned();
    let output = tokio::time::timeout(PATIENCE, command.output())
        .await
        .with_context(|| format!("{name}: no answer for {PATIENCE:?}"))?
        .with_context(|| name.clone())?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{name}: {}", said.trim().lines().next_back().unwrap_or("failed"));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

async fn succeed(command: &mut Command) -> anyhow::Result<()> {
    command.stdout(Stdio::null());
    output(command).await.map(drop)
}
