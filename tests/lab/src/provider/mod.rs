//! Mailbox providers that follow a script: SMTP servers (RFC 5321) with EHLO, PIPELINING, 8BITMIME,
//! SMTPUTF8, ENHANCEDSTATUSCODES and SIZE, each on an address of its own.
//!
//! What they saw can be read and waited on ([`Provider::wait`]); messages they took are kept. A client
//! that breaks the protocol gets the protocol's own errors.

mod message;
mod script;
mod session;
mod tally;

pub use message::Message;
pub use script::{Flavour, Mailbox, Rate, Script};
pub use tally::{Answer, Stage, Tally};

use anyhow::{Context, Result, bail};
use parking_lot::{Condvar, Mutex};
use std::collections::{HashMap, HashSet};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A running provider. Dropping it closes its connections and frees its port.
#[derive(Debug)]
pub struct Provider {
    shared: Arc<Shared>,
    address: SocketAddr,
    host: String,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    script: Script,
    tally: Tally,
    messages: Vec<Message>,
    bucket: Bucket,
    /// Pairs of sender and recipient that were put off once.
    greylist: HashSet<(String, String)>,
    open: HashMap<u64, TcpStream>,
    stopping: bool,
}

/// The hidden limit's tokens.
#[derive(Debug)]
struct Bucket {
    tokens: Option<f64>,
    filled: Instant,
}

impl Bucket {
    /// Takes a token at `now`; `false` when there is none. A bucket starts full.
    fn take(&mut self, rate: Rate, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.filled).as_secs_f64();
        let refilled = self.tokens.unwrap_or(rate.burst) + elapsed * rate.per_minute / 60.0;
        let tokens = refilled.min(rate.burst);
        self.filled = now;
        let granted = tokens >= 1.0;
        self.tokens = Some(if granted { tokens - 1.0 } else { tokens });
        granted
    }
}

impl Provider {
    /// Starts a provider.
    ///
    /// # Errors
    /// When its address cannot be listened on.
    pub fn start(script: Script) -> Result<Self> {
        let listener = TcpListener::bind((script.address, 0))
            .with_context(|| format!("listening on {} for {}", script.address, script.host))?;
        let address = listener.local_addr()?;
        let host = script.host.clone();
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                script,
                tally: Tally::default(),
                messages: Vec::new(),
                bucket: Bucket {
                    tokens: None,
                    filled: Instant::now(),
                },
                greylist: HashSet::new(),
                open: HashMap::new(),
                stopping: false,
            }),
            changed: Condvar::new(),
        });
        let accepting = Arc::clone(&shared);
        let acceptor = std::thread::Builder::new()
            .name(format!("provider {host}"))
            .spawn(move || accept(&listener, &accepting))?;
        Ok(Self {
            shared,
            address,
            host,
            acceptor: Some(acceptor),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The host name of its mail exchanger.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Changes what it does from now on.
    pub fn change(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.shared.state.lock().script);
    }

    /// What it has seen and said so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.shared.state.lock().tally.clone()
    }

    /// Looks at what it has seen without copying it.
    pub fn look<T>(&self, at: impl FnOnce(&Tally) -> T) -> T {
        at(&self.shared.state.lock().tally)
    }

    /// The messages it has taken so far.
    #[must_use]
    pub fn messages(&self) -> Vec<Message> {
        self.shared.state.lock().messages.clone()
    }

    /// Sleeps until `condition` holds, woken by each thing the provider sees or says.
    ///
    /// # Errors
    /// When `within` passes first; the text has `what` and the counters.
    pub fn wait(&self, within: Duration, what: &str, condition: impl Fn(&Tally) -> bool) -> Result<Tally> {
        let deadline = Instant::now() + within;
        let mut state = self.shared.state.lock();
        while !condition(&state.tally) {
            if self.shared.changed.wait_until(&mut state, deadline).timed_out() && !condition(&state.tally) {
                let t = &state.tally;
                bail!(
                    "waited {within:?} for {what} at {}, in vain: {} connections, {} RCPTs, {} accepted, \
                     {} refused, {} deferred",
                    self.host,
                    t.connections,
                    t.rcpts,
                    t.accepted,
                    t.refused,
                    t.deferred
                );
            }
        }
        Ok(state.tally.clone())
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        {
            let mut state = self.shared.state.lock();
            state.stopping = true;
            for stream in state.open.values() {
                // It may be closed already, which is what we want.
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
        // Wakes the acceptor, which then sees that it should stop.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

/// Takes connections until told to stop; each has a thread of its own.
fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for (id, stream) in (0_u64..).zip(listener.incoming()) {
        // A client that is gone before we looked: the next one.
        let Ok(stream) = stream else { continue };
        let crowded = {
            let mut state = shared.state.lock();
            if state.stopping {
                return;
            }
            let Ok(copy) = stream.try_clone() else { continue };
            state.open.insert(id, copy);
            state.tally.connections += 1;
            state.tally.connected.push(Instant::now());
            let limit = state.script.max_connections;
            limit.is_some_and(|limit| state.open.len() > limit)
        };
        shared.changed.notify_all();
        let own = Arc::clone(shared);
        let spawned = std::thread::Builder::new().spawn(move || {
            // A session ends when its client hangs up, which is no failure of the provider's.
            let _ = session::serve(stream, &own, crowded);
            own.state.lock().open.remove(&id);
            own.changed.notify_all();
        });
        if spawned.is_err() {
            shared.state.lock().open.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let start = Instant::now();
        let rate = Rate {
            per_minute: 60.0,
            burst: 3.0,
        };
        let mut bucket = Bucket {
            tokens: None,
            filled: start,
        };
        let at = |ms| start + Duration::from_millis(ms);
        let table = [
            (0, true),
            (0, true),
            (0, true),
            (0, false),
            (900, false),
            (1100, true),
            (1200, false),
            (9000, true),
            (9000, true),
            (9000, true),
            (9000, false),
        ];
        for (ms, granted) in table {
            assert_eq!(bucket.take(rate, at(ms)), granted, "at {ms} ms");
        }
    }
}
