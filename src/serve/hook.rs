//! The hooks: the policy and socketmap services, answering from memory on threads of their own.
//!
//! A hung map stops Postfix's queue manager for every domain (trivial-rewrite waits 100 s for each
//! look-up), so these threads do nothing else: each has a single-threaded runtime of its own, touches
//! neither store nor DNS nor files, and hands its log lines to another thread through a bounded queue
//! that it never waits for. Every thread beats a few times a second; [`Hooks::stalled`] tells the
//! supervisor which one has stopped.
//!
//! What a stranger may use is bounded: connections ([`HookSettings::max_connections`]; when they are
//! all taken, one that never made a request, else the one idle longest, makes room, so that those who do
//! talk are served),
//! the size of a request (the decoders), the time to finish one, and idle time. On a malformed request
//! policy closes without an answer and socketmap answers `PERM` and closes, as their protocols say.

mod count;
pub(in crate::serve) mod journal;
mod registry;
mod session;
mod worker;

pub use count::Counts;

use crate::clock;
use crate::engine::answer;
use crate::engine::memory::Memory;
use crate::serve::beat::{STALLED_AFTER, Stall};
use crate::serve::listen::Listener;
use count::Counters;
use journal::Journal;
use parking_lot::{Mutex, RwLock};
use registry::{Limits, Registry};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::watch;

/// How long the log may take to write its last lines at shutdown.
const LAST_LINES: Duration = Duration::from_secs(1);

/// What the operator may change about the hooks.
#[derive(Debug, Clone, PartialEq)]
pub struct HookSettings {
    /// How many threads answer.
    pub threads: usize,
    /// After how long without a request a connection is closed. Postfix closes first: idle policy
    /// connections after 300 s (`smtpd_policy_service_max_idle`), socketmap ones after 10 s. It should
    /// stay so, because a server that closes first costs Postfix a second attempt.
    pub idle_timeout: Duration,
    /// How long a request may take to arrive, and an answer to be taken. Postfix writes a request at once.
    pub request_timeout: Duration,
    /// The most connections to each service.
    pub max_connections: usize,
    /// How long the requests in hand may take at shutdown.
    pub grace: Duration,
    /// After how long without a beat a thread counts as stalled.
    pub stalled_after: Duration,
    /// What the answers depend on; [`Hooks::set_answers`] changes it later.
    pub answers: answer::Settings,
}

impl Default for HookSettings {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            threads: cores.clamp(2, 4),
            idle_timeout: Duration::from_secs(600),
            request_timeout: Duration::from_secs(10),
            max_connections: 2000,
            grace: Duration::from_secs(2),
            stalled_after: STALLED_AFTER,
            answers: answer::Settings::default(),
        }
    }
}

/// The sockets to answer on.
#[derive(Debug, Default)]
pub struct Listeners {
    /// For `check_policy_service`.
    pub policy: Option<Listener>,
    /// For `socketmap:`.
    pub socketmap: Option<Listener>,
}

/// Which service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// Access policy delegation.
    Policy,
    /// The socketmap maps.
    Socketmap,
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Service {
    /// Its name in metrics and in the log.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Socketmap => "socketmap",
        }
    }
}

/// What both services have done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HookCounters {
    /// Of the policy service.
    pub policy: Counts,
    /// Of the socketmap service.
    pub socketmap: Counts,
    /// Decisions that were taken and not logged, because the log did not keep up.
    pub unlogged: u64,
}

/// The running hooks. Dropping them stops them like [`Hooks::shutdown`].
#[derive(Debug)]
pub struct Hooks {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    stop: watch::Sender<bool>,
    /// Hangs up when all lines are written.
    written: Mutex<Receiver<()>>,
}

/// What all threads of the hooks have in common.
#[derive(Debug)]
struct Shared {
    seats: Vec<Seat>,
    memory: Arc<Memory>,
    answers: RwLock<answer::Settings>,
    policy: Registry,
    socketmap: Registry,
    journal: Arc<Journal>,
    /// Answer what is in hand and close.
    stopping: AtomicBool,
    started: Instant,
    /// When connections were last looked over, in milliseconds since `started`.
    swept: AtomicU64,
    grace: Duration,
    stalled_after: Duration,
}

/// One thread, as the others see it.
#[derive(Debug)]
struct Seat {
    state: Arc<WorkerState>,
    handle: Handle,
}

/// One thread's own state, in memory of its own: the threads do not disturb each other by counting.
#[derive(Debug, Default)]
struct WorkerState {
    /// The time of the last beat, in milliseconds since [`Shared::started`]. It is also the clock of
    /// the connections' time-outs: coarse, and free to read.
    beat: AtomicU64,
    policy: Counters,
    socketmap: Counters,
}

impl Listeners {
    fn try_clone(&self) -> io::Result<Vec<(Service, Listener)>> {
        let mut clones = Vec::new();
        for (service, listener) in [
            (Service::Policy, &self.policy),
            (Service::Socketmap, &self.socketmap),
        ] {
            if let Some(listener) = listener {
                clones.push((service, listener.try_clone()?));
            }
        }
        Ok(clones)
    }
}

impl Seat {
    fn new(handle: Handle) -> Self {
        let state = Arc::default();
        Self { state, handle }
    }
}

impl Shared {
    fn registry(&self, service: Service) -> &Registry {
        match service {
            Service::Policy => &self.policy,
            Service::Socketmap => &self.socketmap,
        }
    }

    /// The thread that serves the fewest connections. One that is silent gets no new ones, unless all are.
    fn least_busy(&self, service: Service) -> Option<&Seat> {
        let now = self.elapsed();
        let silent = |seat: &Seat| now.saturating_sub(seat.state.beat()) > milliseconds(self.stalled_after);
        let served = |seat: &Seat| seat.state.counters(service).served.load(Ordering::Relaxed);
        self.seats.iter().min_by_key(|seat| (silent(seat), served(seat)))
    }

    fn elapsed(&self) -> u64 {
        milliseconds(clock::monotonic().saturating_duration_since(self.started))
    }
}

impl WorkerState {
    fn counters(&self, service: Service) -> &Counters {
        match service {
            Service::Policy => &self.policy,
            Service::Socketmap => &self.socketmap,
        }
    }

    fn beat(&self) -> u64 {
        self.beat.load(Ordering::Relaxed)
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Hooks {
    /// Starts the threads and answers on the listeners.
    ///
    /// # Errors
    /// The system's, where it gives no thread or no descriptor. Nothing is left running then.
    pub fn start(listeners: Listeners, settings: &HookSettings, memory: Arc<Memory>) -> io::Result<Self> {
        let limits = Limits {
            connections: affordable(settings.max_connections),
            idle: milliseconds(settings.idle_timeout),
            request: milliseconds(settings.request_timeout),
        };
        let mut workers = Vec::new();
        for _ in 0..settings.threads.max(1) {
            workers.push(worker::Worker::new(listeners.try_clone()?)?);
        }
        let (journal, written) = Journal::start()?;
        let shared = Arc::new(Shared {
            seats: workers.iter().map(|worker| Seat::new(worker.handle())).collect(),
            memory,
            answers: RwLock::new(settings.answers.clone()),
            policy: Registry::new(limits),
            socketmap: Registry::new(limits),
            journal,
            stopping: AtomicBool::new(false),
            started: clock::monotonic(),
            swept: AtomicU64::new(0),
            grace: settings.grace,
            stalled_after: settings.stalled_after,
        });
        let (stop, stopped) = watch::channel(false);
        // From here on an error drops `hooks`, which stops what has started.
        let mut hooks = Self {
            shared,
            threads: Vec::new(),
            stop,
            written: Mutex::new(written),
        };
        for (number, worker) in workers.into_iter().enumerate() {
            let shared = Arc::clone(&hooks.shared);
            hooks.threads.push(worker.start(number, shared, stopped.clone())?);
        }
        Ok(hooks)
    }

    /// What was done so far.
    #[must_use]
    pub fn counters(&self) -> HookCounters {
        let sum = |service| {
            let mut counts = Counts::default();
            for seat in &self.shared.seats {
                seat.state.counters(service).add_to(&mut counts);
            }
            counts.open = self.shared.registry(service).len() as u64;
            counts
        };
        HookCounters {
            policy: sum(Service::Policy),
            socketmap: sum(Service::Socketmap),
            unlogged: self.shared.journal.lost(),
        }
    }

    /// The thread that has been silent longest at `now`, if that is too long. While there is one, the
    /// supervisor must not tell systemd that all is well.
    #[must_use]
    pub fn stalled(&self, now: Instant) -> Option<Stall> {
        let now = milliseconds(now.saturating_duration_since(self.shared.started));
        self.shared
            .seats
            .iter()
            .enumerate()
            .map(|(number, seat)| Stall {
                thread: worker::name(number),
                silent: Duration::from_millis(now.saturating_sub(seat.state.beat())),
            })
            .max_by_key(|stall| stall.silent)
            .filter(|stall| stall.silent > self.shared.stalled_after)
    }

    /// From now on answers depend on these settings.
    pub fn set_answers(&self, settings: answer::Settings) {
        *self.shared.answers.write() = settings;
    }

    /// Stops listening, answers what has arrived, closes the connections and waits for the threads:
    /// about a quarter of a second; where a client is slow, [`HookSettings::grace`], and where the log is, a
    /// second more at most. It blocks: call it where that does no harm.
    pub fn shutdown(self) {
        drop(self);
    }
}

impl Drop for Hooks {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        // Nobody listens any more where all threads have failed; then there is nothing to stop.
        let _ = self.stop.send(true);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the hooks ended in a panic");
            }
        }
        self.shared.journal.close();
        // A log that hangs must not keep us: its last lines are lost, nothing else is.
        let _ = self.written.get_mut().recv_timeout(LAST_LINES);
    }
}

/// As many connections a service as the process has descriptors for: the two services together leave
/// half of them to the rest of the daemon.
fn affordable(wanted: usize) -> usize {
    let Some(descriptors) = descriptor_limit() else {
        return wanted;
    };
    let share = (descriptors / 4).max(1);
    if share < wanted {
        tracing::warn!(
            "the limit of {descriptors} open files allows {share} connections to each hook, not {wanted}: raise it (LimitNOFILE=)"
        );
    }
    wanted.min(share)
}

/// The soft limit of open files (proc(5)).
fn descriptor_limit() -> Option<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hooks(settings: &HookSettings) -> Hooks {
        Hooks::start(Listeners::default(), settings, Arc::new(Memory::new())).unwrap()
    }

    #[test]
    fn a_silent_thread_is_noticed() {
        let hooks = hooks(&HookSettings::default());
        let now = clock::monotonic();
        assert_eq!(hooks.stalled(now), None);
        let later = now + Duration::from_secs(60);
        let stall = hooks.stalled(later).unwrap();
        assert!(stall.silent > Duration::from_secs(50), "{stall:?}");
    }

    /// A thread that hangs (here in a connection that waits for a lock) stops beating.
    #[test]
    fn a_hanging_thread_is_noticed() {
        let settings = HookSettings {
            threads: 1,
            stalled_after: Duration::from_millis(400),
            ..HookSettings::default()
        };
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let listeners = Listeners {
            policy: Some(Listener::Tcp(listener)),
            socketmap: None,
        };
        let hooks = Hooks::start(listeners, &settings, Arc::new(Memory::new())).unwrap();
        let lock = hooks.shared.answers.write();
        let mut client = std::net::TcpStream::connect(address).unwrap();
        io::Write::write_all(&mut client, b"request=smtpd_access_policy\n\n").unwrap();
        client.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let deadline = clock::monotonic() + Duration::from_secs(10);
        let mut byte = [0];
        while hooks.stalled(clock::monotonic()).is_none() {
            assert!(clock::monotonic() < deadline, "the stall went unnoticed");
            assert!(io::Read::read(&mut client, &mut byte).is_err(), "answered");
        }
        drop(lock);
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        assert_eq!(io::Read::read(&mut client, &mut byte).unwrap(), 1);
        while hooks.stalled(clock::monotonic()).is_some() {
            assert!(clock::monotonic() < deadline, "the recovery went unnoticed");
            std::thread::yield_now();
        }
    }

    #[test]
    fn the_limit_of_open_files_is_known() {
        assert!(descriptor_limit().is_some_and(|limit| limit > 0));
        assert_eq!(affordable(1), 1);
    }
}
