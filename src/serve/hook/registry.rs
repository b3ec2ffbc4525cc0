//! The connections to one service: how many there may be, and which has to go.
//!
//! The threads share a registry; its lock is taken when a connection comes or goes and once a second,
//! never for a request. A connection is ended by aborting its task, which closes the socket.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::task::AbortHandle;

/// What connections may use. Times in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// How many there may be.
    pub(super) connections: usize,
    /// How long one may be silent.
    pub(super) idle: u64,
    /// How long a request may take to arrive, or an answer to be taken.
    pub(super) request: u64,
}

/// When a connection last did what, in the coarse milliseconds of its thread's beat.
#[derive(Debug)]
pub(super) struct Pulse {
    /// When it came, or its last request was complete.
    active: AtomicU64,
    /// Since when a request is half here or an answer half gone; [`NOTHING`] where none is.
    pending: AtomicU64,
    /// Whether it has ever made a request.
    talked: AtomicBool,
    /// Who it is; `None` over a socket file.
    pub(super) peer: Option<SocketAddr>,
}

const NOTHING: u64 = u64::MAX;

/// Why a connection had to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overdue {
    /// It said nothing for too long.
    Idle,
    /// It did not finish what it began.
    Unfinished,
}

/// The connections to one service.
#[derive(Debug)]
pub(super) struct Registry {
    limits: Limits,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    connections: HashMap<u64, Connection>,
}

#[derive(Debug)]
struct Connection {
    pulse: Arc<Pulse>,
    /// Absent for the moment between taking the connection and serving it.
    task: Option<AbortHandle>,
}

impl Connection {
    fn end(&self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Pulse {
    pub(super) fn new(now: u64, peer: Option<SocketAddr>) -> Self {
        Self {
            active: AtomicU64::new(now),
            pending: AtomicU64::new(NOTHING),
            talked: AtomicBool::new(false),
            peer,
        }
    }

    /// Something was begun at `now`: a request that is not complete, or an answer to be written.
    /// What is under way already keeps its time.
    pub(super) fn begin(&self, now: u64) {
        if self.pending.load(Ordering::Relaxed) == NOTHING {
            self.pending.store(now, Ordering::Relaxed);
        }
    }

    /// All that was begun is done.
    pub(super) fn finish(&self, now: u64) {
        self.talked.store(true, Ordering::Relaxed);
        self.active.store(now, Ordering::Relaxed);
        self.pending.store(NOTHING, Ordering::Relaxed);
    }

    /// The smallest goes first: those that never made a request before those that did, then those that
    /// have been idle longest. So no flood of silent connections, however fast, shuts out a client.
    fn claim(&self) -> (bool, u64) {
        (
            self.talked.load(Ordering::Relaxed),
            self.active.load(Ordering::Relaxed),
        )
    }

    /// Whether nothing is under way, and has not been for `span`.
    fn is_quiet(&self, now: u64, span: u64) -> bool {
        self.pending.load(Ordering::Relaxed) == NOTHING
            && now.saturating_sub(self.active.load(Ordering::Relaxed)) >= span
    }

    fn overdue(&self, now: u64, limits: Limits) -> Option<Overdue> {
        match self.pending.load(Ordering::Relaxed) {
            NOTHING => self.is_quiet(now, limits.idle).then_some(Overdue::Idle),
            since => (now.saturating_sub(since) >= limits.request).then_some(Overdue::Unfinished),
        }
    }
}

impl Registry {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            open: Mutex::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.open.lock().connections.len()
    }

    /// Takes in a connection and gives it a number; [`Registry::began`] and [`Registry::left`] are told
    /// of it. Where all places are taken, the connection with the least claim to its own
    /// ([`Pulse::claim`]) goes; it is returned.
    pub(super) fn admit(&self, pulse: Arc<Pulse>) -> (u64, Option<Arc<Pulse>>) {
        let mut open = self.open.lock();
        let evicted = if open.connections.len() >= self.limits.connections {
            open.evict()
        } else {
            None
        };
        let number = open.next;
        open.next += 1;
        open.connections.insert(number, Connection { pulse, task: None });
        (number, evicted)
    }

    /// This task serves the connection. If it had to go meanwhile, the task ends at once.
    pub(super) fn began(&self, number: u64, task: AbortHandle) {
        match self.open.lock().connections.get_mut(&number) {
            Some(connection) => connection.task = Some(task),
            None => task.abort(),
        }
    }

    /// Ends the connection with the least claim to its place, where there is one.
    pub(super) fn evict(&self) -> Option<Arc<Pulse>> {
        self.open.lock().evict()
    }

    /// The connection of this number has ended.
    pub(super) fn left(&self, number: u64) {
        self.open.lock().connections.remove(&number);
    }

    /// Ends the connections that are overdue at `now`, and tells of each.
    pub(super) fn sweep(&self, now: u64, mut tell: impl FnMut(Overdue, &Pulse)) {
        self.open.lock().connections.retain(|_, connection| {
            let Some(overdue) = connection.pulse.overdue(now, self.limits) else {
                return true;
            };
            connection.end();
            tell(overdue, &connection.pulse);
            false
        });
    }

    /// Ends the connections that have had nothing under way for `span`; whether none is left.
    pub(super) fn drain(&self, now: u64, span: u64) -> bool {
        let mut open = self.open.lock();
        open.connections.retain(|_, connection| {
            let quiet = connection.pulse.is_quiet(now, span);
            if quiet {
                connection.end();
            }
            !quiet
        });
        open.connections.is_empty()
    }
}

impl Open {
    fn evict(&mut self) -> Option<Arc<Pulse>> {
        let idlest = self
            .connections
            .iter()
            .min_by_key(|(number, c)| (c.pulse.claim(), **number))
            .map(|(number, _)| *number)?;
        let connection = self.connections.remove(&idlest)?;
        connection.end();
        Some(connection.pulse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        connections: 2,
        idle: 100,
        request: 10,
    };

    #[test]
    fn time_runs_from_the_first_octet_of_what_is_unfinished() {
        let pulse = Pulse::new(0, None);
        assert_eq!(pulse.overdue(99, LIMITS), None);
        assert_eq!(pulse.overdue(100, LIMITS), Some(Overdue::Idle));
        pulse.begin(50);
        pulse.begin(58);
        assert_eq!(pulse.overdue(59, LIMITS), None);
        assert_eq!(
            pulse.overdue(60, LIMITS),
            Some(Overdue::Unfinished),
            "dribbling octets does not buy time"
        );
        pulse.finish(60);
        assert_eq!(pulse.overdue(159, LIMITS), None);
        assert!(!pulse.is_quiet(69, 10));
        assert!(pulse.is_quiet(70, 10));
    }

    #[tokio::test]
    async fn who_never_talked_or_has_been_idle_longest_makes_room() {
        let registry = Registry::new(LIMITS);
        let pulses: Vec<_> = (0..3).map(|_| Arc::new(Pulse::new(0, None))).collect();
        let mut tasks = Vec::new();
        let mut admit = |index: usize| {
            let (number, evicted) = registry.admit(Arc::clone(&pulses[index]));
            let task = tokio::spawn(std::future::pending::<()>());
            registry.began(number, task.abort_handle());
            tasks.push(task);
            evicted
        };
        assert!(admit(0).is_none());
        assert!(admit(1).is_none());
        pulses[0].finish(0);
        let evicted = admit(2).unwrap();
        assert!(Arc::ptr_eq(&evicted, &pulses[1]), "it never talked");
        pulses[0].finish(5);
        pulses[2].finish(0);
        assert!(pulses[2].claim() < pulses[0].claim(), "idle for longer");
        assert_eq!(registry.len(), 2);
        assert!(tasks.remove(1).await.unwrap_err().is_cancelled());
        let mut overdue = 0;
        registry.sweep(100, |why, _| {
            assert_eq!(why, Overdue::Idle);
            overdue += 1;
        });
        assert_eq!(overdue, 1, "the one that was active at 5 may stay");
        assert!(registry.drain(200, 10));
        let late = tokio::spawn(std::future::pending::<()>());
        registry.began(0, late.abort_handle());
        assert!(
            late.await.unwrap_err().is_cancelled(),
            "its place was gone before it began"
        );
    }
}
