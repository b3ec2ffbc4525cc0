//! One thread of the hooks: a runtime that does nothing but accept and answer.

use super::count::count;
use super::journal::{Line, Trouble};
use super::registry::{Overdue, Pulse};
use super::session::{self, Desk, Dialogue, Policy, Socketmap};
use super::{Service, Shared, WorkerState};
use crate::clock;
use crate::serve::beat::BEAT;
use crate::serve::listen::{Listener, SocketFile};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::runtime::{Handle, Runtime};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

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

/// A thread that has not started yet.
pub(super) struct Worker {
    runtime: Runtime,
    doors: Vec<(Service, Door)>,
}

impl Worker {
    /// Gets everything ready that can fail.
    pub(super) fn new(listeners: Vec<(Service, Listener)>) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()?;
        let mut doors = Vec::new();
        {
            let _context = runtime.enter();
            for (service, listener) in listeners {
                doors.push((service, open(listener)?));
            }
        }
        Ok(Self { runtime, doors })
    }

    /// The way to give it tasks.
    pub(super) fn handle(&self) -> Handle {
        self.runtime.handle().clone()
    }

    /// Starts the thread; it ends after `stopped` becomes true.
    pub(super) fn start(
        self,
        number: usize,
        shared: Arc<Shared>,
        stopped: watch::Receiver<bool>,
    ) -> io::Result<JoinHandle<()>> {
        std::thread::Builder::new()
            .name(name(number))
            .spawn(move || self.runtime.block_on(run(number, self.doors, shared, stopped)))
    }
}

/// What a thread is called.
pub(super) fn name(number: usize) -> String {
    format!("hook-{number}")
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
    number: usize,
    doors: Vec<(Service, Door)>,
    shared: Arc<Shared>,
    mut stopped: watch::Receiver<bool>,
) {
    let Some(state) = shared.seats.get(number).map(|seat| Arc::clone(&seat.state)) else {
        return;
    };
    let mut accepting = Vec::new();
    for (service, door) in doors {
        let (shared, state) = (Arc::clone(&shared), Arc::clone(&state));
        accepting.push(tokio::spawn(async move {
            match service {
                Service::Policy => accept::<Policy>(service, door, &shared, &state).await,
                Service::Socketmap => accept::<Socketmap>(service, door, &shared, &state).await,
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
async fn accept<D: Dialogue>(service: Service, door: Door, shared: &Arc<Shared>, state: &WorkerState) {
    loop {
        let taken = match &door {
            Door::Tcp(listener) => take_tcp::<D>(service, listener, shared).await,
            Door::Unix(listener, _file) => take_unix::<D>(service, listener, shared).await,
        };
        if let Err(error) = taken {
            if shared.registry(service).evict().is_some() {
                count(&state.counters(service).evicted);
            }
            tell(service, shared, Trouble::Accept, None, error.to_string());
            tokio::time::sleep(BACK_OFF).await;
        }
    }
}

async fn take_tcp<D: Dialogue>(
    service: Service,
    listener: &TcpListener,
    shared: &Arc<Shared>,
) -> io::Result<()> {
    let (stream, peer) = listener.accept().await?;
    stream.set_nodelay(true)?;
    // It leaves this thread's runtime and enters that of the thread that serves it.
    let stream = stream.into_std()?;
    admit::<D, _>(service, shared, Some(peer), || TcpStream::from_std(stream));
    Ok(())
}

async fn take_unix<D: Dialogue>(
    service: Service,
    listener: &UnixListener,
    shared: &Arc<Shared>,
) -> io::Result<()> {
    let (stream, _) = listener.accept().await?;
    let stream = stream.into_std()?;
    admit::<D, _>(service, shared, None, || UnixStream::from_std(stream));
    Ok(())
}

/// Gives a connection to the thread that has fewest, leaving out threads that do not beat.
fn admit<D: Dialogue, S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    service: Service,
    shared: &Arc<Shared>,
    peer: Option<SocketAddr>,
    enter: impl FnOnce() -> io::Result<S> + Send + 'static,
) {
    let Some(seat) = shared.least_busy(service) else {
        return;
    };
    let counters = seat.state.counters(service);
    count(&counters.accepted);
    let pulse = Arc::new(Pulse::new(seat.state.beat(), peer));
    let registry = shared.registry(service);
    let (number, evicted) = registry.admit(Arc::clone(&pulse));
    let place = Place::take(service, number, shared, &seat.state);
    let task = seat.handle.spawn(async move {
        // A descriptor that the runtime refuses is closed; the client sees that.
        if let Ok(stream) = enter() {
            session::serve::<D>(stream, &place.desk, &pulse).await;
        }
    });
    registry.began(number, task.abort_handle());
    if let Some(evicted) = evicted {
        count(&counters.evicted);
        let newcomer = peer.map_or_else(|| "somebody".to_owned(), |peer| peer.to_string());
        let detail = format!("made room for {newcomer}");
        tell(service, shared, Trouble::Full, evicted.peer, detail);
    }
}

/// A connection's place, given up however its task ends.
struct Place {
    desk: Desk,
    number: u64,
}

impl Place {
    fn take(service: Service, number: u64, shared: &Arc<Shared>, state: &Arc<WorkerState>) -> Self {
        state.counters(service).served.fetch_add(1, Ordering::Relaxed);
        Self {
            desk: Desk {
                service,
                shared: Arc::clone(shared),
                worker: Arc::clone(state),
            },
            number,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let desk = &self.desk;
        desk.worker
            .counters(desk.service)
            .served
            .fetch_sub(1, Ordering::Relaxed);
        desk.shared.registry(desk.service).left(self.number);
    }
}

fn tell(service: Service, shared: &Shared, kind: Trouble, peer: Option<SocketAddr>, detail: String) {
    shared.journal.tell(Line::Trouble {
        service: service.name(),
        kind,
        peer,
        detail,
    });
}
