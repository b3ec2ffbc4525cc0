//! The roll-up: finds out who runs a domain's mailboxes before any of its servers has answered.
//!
//! A hook that meets a domain of which nothing is known says so ([`Wanted::want`], which never waits) and
//! answers as if the domain were a lane by itself; this task asks DNS meanwhile and tells the memory. What is
//! wanted is bounded: beyond it a wish is dropped, and comes again with the domain's next mail. DNS that does
//! not answer leaves a domain a lane by itself, and it is asked again after a minute.

use super::dns::Dns;
use super::keeper::Bench;
use crate::clock;
use crate::engine::exchanger::{self, Exchangers};
use crate::engine::memory::Memory;
use parking_lot::RwLock;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::debug;

/// The most domains that wait to be asked about.
const WAITING: usize = 10_000;

/// Where hooks say which domains they would like to know; cheap to clone.
#[derive(Debug, Clone)]
pub struct Wanted {
    domains: mpsc::Sender<Box<str>>,
}

/// Counters for the metrics; they only grow.
#[derive(Debug, Default)]
pub struct ResolveCounters {
    /// Look-ups that were answered, with or without exchangers.
    pub answered: AtomicU64,
    /// Look-ups that were not.
    pub failed: AtomicU64,
}

/// The task that asks.
#[derive(Debug)]
pub struct Resolve {
    dns: Dns,
    memory: Arc<Memory>,
    bench: Arc<RwLock<Arc<Bench>>>,
    counters: Arc<ResolveCounters>,
    wanted: mpsc::Receiver<Box<str>>,
}

impl Wanted {
    /// Asks to find out about a domain. Never waits.
    pub fn want(&self, domain: &str) {
        // Where too many wait already, the domain's next mail asks again.
        let _ = self.domains.try_send(domain.into());
    }
}

impl Resolve {
    /// The task, and the way to it.
    #[must_use]
    pub fn new(
        dns: Dns,
        memory: Arc<Memory>,
        bench: Arc<RwLock<Arc<Bench>>>,
        counters: Arc<ResolveCounters>,
    ) -> (Self, Wanted) {
        let (domains, wanted) = mpsc::channel(WAITING);
        let task = Self {
            dns,
            memory,
            bench,
            counters,
            wanted,
        };
        (task, Wanted { domains })
    }

    /// Works until told to stop, or until nobody can want anything any more.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut asked: HashSet<Box<str>> = HashSet::new();
        let mut asking = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                // No more than can be asked at once: the others wait in the channel, which is bounded.
                wanted = self.wanted.recv(), if asking.len() < self.dns.parallel() => {
                    let Some(domain) = wanted else { return };
                    let known = self.memory.knows(&domain, clock::now());
                    if !known && asked.insert(domain.clone()) {
                        let dns = self.dns.clone();
                        asking.spawn(async move {
                            let answer = dns.exchangers(&domain).await;
                            (domain, answer)
                        });
                    }
                }
                Some(done) = asking.join_next() => {
                    if let Ok((domain, (exchangers, ttl))) = done {
                        asked.remove(&domain);
                        self.learn(&domain, &exchangers, ttl);
                    }
                }
            }
        }
    }

    fn learn(&self, domain: &str, exchangers: &Exchangers, ttl: Duration) {
        let bench = self.bench.read().clone();
        let provider = exchanger::provider(&bench.providers, domain, exchangers);
        let now = clock::now();
        let until = exchanger::believed(exchangers, ttl, now);
        debug!(domain, ?provider, ?exchangers, %until, "looked up");
        let counter = match exchangers {
            Exchangers::Unknown => &self.counters.failed,
            Exchangers::Hosts(_) | Exchangers::Nobody => &self.counters.answered,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.memory
            .set_exchangers(domain, provider.as_deref(), until, now);
    }
}
