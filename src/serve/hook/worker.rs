//! One thread of the hooks: a runtime that does nothing but accept and answer.

use super::count::count;
use super::journal::{Line, Trouble};
use super::registry::{Overdue, Pulse};
use super::session::{self, Desk, Dialogue, Policy, Socketmap};
use super::{Service, Shared, WorkerState};
use crate::clock;
use crate::serve::listen::{Listener, SocketFile};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

/// How often a thread beats.
const BEAT: Duration = Duration::from_millis(100);

/// How often connections are looked over, in milliseconds.
const SWEEP: u64 = 1000;

/// How long a connection must have been quiet to be closed at shutdown, in milliseconds: longer than
/// a beat, so that what had arrived before is answered.
const QUIET: u64 = 200;

/// How long to wait after an accept that failed (no descriptors, as a rule).
const BACK_OFF: Duration = Duration::from_millis(50);

/// A listener within the runtime, with the file that must live as long.
enum Door {
    Tcp(TcpListener),
    Unix(UnixListener, Option<Arc<SocketFile>>),
}

/// Starts the thread; it ends after `stopped` becomes true.
pub(super) fn start(
    number: usize,
    listeners: Vec<(Service, Listener)>,
    shared: Arc<Shared>,
    state: Arc<WorkerState>,
    stopped: watch::Receiver<bool>,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()?;
    let doors = {
        let _context = runtime.enter();
        let doors = listeners
            .into_iter()
            .map(|(service, listener)| Ok((service, open(listener)?)));
        doors.collect::<io::Result<Vec<_>>>()?
    };
    std::thread::Builder::new()
        .name(format!("hook-{number}"))
        .spawn(move || runtime.block_on(run(doors, shared, state, stopped)))
}

fn open(listener: Listener) -> io::Result<Door> {
    Ok(match listener {
        Listener::Tcp(tcp) => {
            tcp.set_nonblocking(true)?;
            Door::Tcp(TcpListener::from_std(tcp)?)
        }
        Listener::Unix(unix, file) => {
            unix.set_nonblocking(true)?;
            Door::Unix(UnixListener::from_std(unix)?, file)
        }
    })
}

async fn run(
    doors: Vec<(Service, Door)>,
    shared: Arc<Shared>,
    state: Arc<WorkerState>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut accepting = Vec::new();
    for (service, door) in doors {
        let desk = Desk {
            service,
            shared: Arc::clone(&shared),
            worker: Arc::clone(&state),
        };
        accepting.push(tokio::spawn(async move {
            match service {
                Service::Policy => accept::<Policy>(door, desk).await,
                Service::Socketmap => accept::<Socketmap>(door, desk).await,
            }
        }));
    }
    let beating = tokio::spawn(beat(Arc::clone(&shared), Arc::clone(&state)));
    // An error means that the sender is gone, which says the same.
    let _ = stopped.wait_for(|stop| *stop).await;
    for task in accepting {
        task.abort();
    }
    drain(&shared).await;
    beating.abort();
}

/// Closes the connections as they fall quiet, and leaves those behind that do not in time.
async fn drain(shared: &Shared) {
    let deadline = clock::monotonic() + shared.grace;
    let mut tick = interval(Duration::from_millis(10));
    while clock::monotonic() < deadline {
        tick.tick().await;
        let now = shared.elapsed();
        let policy = shared.policy.drain(now, QUIET);
        if shared.socketmap.drain(now, QUIET) && policy {
            return;
        }
    }
}

/// Shows that this thread is alive, and looks the connections over when nobody else has.
async fn beat(shared: Arc<Shared>, state: Arc<WorkerState>) {
    let mut tick = interval(BEAT);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let now = shared.elapsed();
        state.beat.store(now, Ordering::Relaxed);
        let last = shared.swept.load(Ordering::Relaxed);
        let ours = now >= last + SWEEP
            && shared
                .swept
                .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if ours {
            sweep(Service::Policy, &shared, &state, now);
            sweep(Service::Socketmap, &shared, &state, now);
        }
    }
}

fn sweep(service: Service, shared: &Shared, state: &WorkerState, now: u64) {
    let counters = state.counters(service);
    shared.registry(service).sweep(now, |why, pulse| match why {
        Overdue::Idle => count(&counters.idle),
        Overdue::Unfinished => {
            count(&counters.timed_out);
            tell(service, shared, Trouble::Unfinished, pulse.peer, String::new());
        }
    });
}

/// Takes connections until the task is aborted.
async fn accept<D: Dialogue>(door: Door, desk: Desk) {
    loop {
        let taken = match &door {
            Door::Tcp(listener) => listener.accept().await.map(|(stream, peer)| {
                // Only a matter of speed: answers are written whole.
                let _ = stream.set_nodelay(true);
                admit::<D>(stream, Some(peer), &desk);
            }),
            Door::Unix(listener, _file) => listener
                .accept()
                .await
                .map(|(stream, _)| admit::<D>(stream, None, &desk)),
        };
        if let Err(error) = taken {
            if desk.shared.registry(desk.service).evict().is_some() {
                count(&desk.worker.counters(desk.service).evicted);
            }
            tell(
                desk.service,
                &desk.shared,
                Trouble::Accept,
                None,
                error.to_string(),
            );
            tokio::time::sleep(BACK_OFF).await;
        }
    }
}

fn admit<D: Dialogue>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Option<SocketAddr>,
    desk: &Desk,
) {
    let counters = desk.worker.counters(desk.service);
    count(&counters.accepted);
    let pulse = Arc::new(Pulse::new(desk.worker.beat(), peer));
    let theirs = (desk.clone(), Arc::clone(&pulse));
    let registry = desk.shared.registry(desk.service);
    let evicted = registry.admit(pulse, |number| {
        let task = tokio::spawn(async move {
            let (desk, pulse) = theirs;
            session::serve::<D>(stream, &desk, &pulse).await;
            desk.shared.registry(desk.service).left(number);
        });
        task.abort_handle()
    });
    if let Some(evicted) = evicted {
        count(&counters.evicted);
        let newcomer = peer.map_or_else(|| "somebody".to_owned(), |peer| peer.to_string());
        let detail = format!("made room for {newcomer}");
        tell(desk.service, &desk.shared, Trouble::Full, evicted.peer, detail);
    }
}

fn tell(service: Service, shared: &Shared, kind: Trouble, peer: Option<SocketAddr>, detail: String) {
    shared.journal.tell(Line::Trouble {
        service,
        kind,
        peer,
        detail,
    });
}
