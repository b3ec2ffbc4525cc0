//! The milter: refuses recipients at RCPT, signs outgoing mail, reads bounces (see [`crate::postfix::milter`]).
//!
//! It answers from memory, on threads of its own that nothing else can block; what takes the store or the names of
//! others is done beside them, bounded, and awaited. **On failure** a message is answered as `[milter] on_failure` says,
//! after a minute at the latest. Whatever ends a connection stands in the log and in the counters: the MTA does as its
//! `milter_default_action` says then, with the rest of that SMTP session.
//!
//! Mail that came by `sendmail(1)` cannot be refused. There, what is suppressed is removed at the end of the message,
//! and whoever cares is told through [`Milter::tell_removed_to`].

mod connection;
mod count;
mod end;
mod read;
mod ruling;

pub use count::{MilterCounters, register};
pub use read::Reader;

use super::accept::AsyncListener;
use super::beat::{Beat, STALLED_AFTER};
use super::behind::Behind;
use super::hook::journal::{Journal, Line, Trouble};
use super::keeper::Handle;
use super::listen::Listener;
use super::seat::Seats;
use crate::config::milter::{OnFailure, OnReport};
use crate::engine::answer;
use crate::engine::memory::Memory;
use crate::engine::return_path::Signing;
use crate::engine::signing::Rule;
use crate::postfix::milter::session::Purpose;
use arc_swap::ArcSwap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How many messages are read at once.
const READING: usize = 8;
/// How long a stop waits for messages that are on their way.
const GRACE: Duration = Duration::from_secs(10);
/// How long the log may take to write its last lines at shutdown.
const LAST_LINES: Duration = Duration::from_secs(1);

/// What does not change while it runs.
#[derive(Debug, Clone, PartialEq)]
pub struct MilterSettings {
    /// What it is there for.
    pub purpose: Purpose,
    /// The most connections; past that, the one idle longest makes room.
    pub max_connections: usize,
    /// After how long of silence a connection is closed.
    pub idle_timeout: Duration,
    /// How long a command may take to arrive, and an answer to be taken.
    pub request_timeout: Duration,
    /// How much of a message is read, in octets.
    pub max_size: usize,
}

/// What a reload replaces.
#[derive(Debug, Clone, Default)]
pub struct Rulings {
    /// What answers at RCPT depend on.
    pub answers: answer::Settings,
    /// What is answered where our part failed.
    pub on_failure: OnFailure,
    /// What signs; `None` where nothing is signed.
    pub signing: Option<Signing>,
    /// Which mail is signed.
    pub rule: Rule,
    /// Domains for bounces beside the bounce domain, in canonical form.
    pub domains: Vec<String>,
    /// What becomes of a proven report.
    pub proven: OnReport,
    /// What becomes of everything else to an address for bounces.
    pub unproven: OnReport,
}

/// What was removed from a message that could not be refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// The envelope sender; empty is the null sender, whom nobody may write to.
    pub sender: Vec<u8>,
    /// The recipients that the message does not go to, with the words of the refusal.
    pub recipients: Vec<(String, String)>,
    /// The queue id.
    pub queue_id: Vec<u8>,
    /// The header, with CRLF, as far as it was read.
    pub header: Vec<u8>,
}

/// A milter that runs.
#[derive(Debug)]
pub struct Milter {
    shared: Arc<Shared>,
}

/// What all connections have in common.
#[derive(Debug)]
struct Shared {
    settings: MilterSettings,
    rulings: ArcSwap<Rulings>,
    memory: Arc<Memory>,
    keeper: Handle,
    reader: Reader,
    /// Places for messages that are being read.
    reading: Semaphore,
    /// What is remembered of messages that have left.
    behind: Behind,
    counters: Arc<MilterCounters>,
    beat: Arc<Beat>,
    seats: Seats,
    journal: Arc<Journal>,
    stop: CancellationToken,
    removed: Option<mpsc::Sender<Removed>>,
}

/// Where what the milter needs from the rest of the daemon is.
#[derive(Debug)]
pub struct Surroundings {
    /// What answers come from.
    pub memory: Arc<Memory>,
    /// What keeps events and signed messages.
    pub keeper: Handle,
    /// What remembers messages behind the answers.
    pub behind: Behind,
    /// What reads bounces.
    pub reader: Reader,
    /// Who tells senders of removed recipients, where anybody does.
    pub removed: Option<mpsc::Sender<Removed>>,
    /// Stops it.
    pub stop: CancellationToken,
}

impl Milter {
    /// Starts the thread and answers on the listener. The receiver hears when all is over, after
    /// [`Surroundings::stop`].
    ///
    /// # Errors
    /// The system's, where it gives no thread or no descriptor.
    pub fn start(
        listener: Listener,
        settings: MilterSettings,
        rulings: Rulings,
        around: Surroundings,
    ) -> io::Result<(Self, oneshot::Receiver<()>)> {
        // What takes long is done on the daemon's own threads; the rest is answered at once, without another thread's
        // being woken for it.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (journal, written) = Journal::start()?;
        let shared = Arc::new(Shared {
            seats: Seats::new(settings.max_connections),
            settings,
            rulings: ArcSwap::from_pointee(rulings),
            memory: around.memory,
            keeper: around.keeper,
            reader: around.reader,
            reading: Semaphore::new(READING),
            behind: around.behind,
            counters: Arc::default(),
            beat: Arc::new(Beat::new("milter", STALLED_AFTER)),
            journal,
            stop: around.stop,
            removed: around.removed,
        });
        let listener = {
            let _within = runtime.enter();
            AsyncListener::new(listener)?
        };
        let (over, is_over) = oneshot::channel();
        let running = Arc::clone(&shared);
        std::thread::Builder::new().name("milter".into()).spawn(move || {
            let (journal, beat) = (Arc::clone(&running.journal), Arc::clone(&running.beat));
            runtime.block_on(run(running, listener));
            drop(runtime);
            beat.over();
            finish(&journal, &written);
            // Nobody waits where the daemon is gone.
            let _ = over.send(());
        })?;
        Ok((Self { shared }, is_over))
    }

    /// What it has done so far.
    #[must_use]
    pub fn counters(&self) -> Arc<MilterCounters> {
        Arc::clone(&self.shared.counters)
    }

    /// Whether its thread lives: it answers every connection.
    #[must_use]
    pub fn beat(&self) -> Arc<Beat> {
        Arc::clone(&self.shared.beat)
    }

    /// From now on it decides by these.
    pub fn set_rulings(&self, rulings: Rulings) {
        self.shared.rulings.store(Arc::new(rulings));
    }
}

/// Writes the last lines, if the log takes them.
fn finish(journal: &Journal, written: &Receiver<()>) {
    journal.close();
    // Hangs up when all is written; a log that hangs must not keep us.
    let _ = written.recv_timeout(LAST_LINES);
}

/// Takes connections until told to stop, then gives those that are in the middle of a message a while to finish.
async fn run(shared: Arc<Shared>, listener: AsyncListener) {
    let mut connections = JoinSet::new();
    // It ends with the runtime.
    let beat = Arc::clone(&shared.beat);
    tokio::spawn(async move { beat.keep().await });
    loop {
        let stream = tokio::select! {
            () = shared.stop.cancelled() => break,
            stream = listener.accept_patiently("milter") => stream,
            Some(_) = connections.join_next() => continue,
        };
        connections.spawn(connection::serve(Arc::clone(&shared), stream));
    }
    drop(listener);
    let _ = timeout(GRACE, async { while connections.join_next().await.is_some() {} }).await;
    connections.shutdown().await;
}

impl Shared {
    fn trouble(&self, kind: Trouble, peer: Option<std::net::SocketAddr>, detail: String) {
        self.journal.tell(Line::Trouble {
            service: "milter",
            kind,
            peer,
            detail,
        });
    }
}
