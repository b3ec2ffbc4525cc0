//! A node of the fleet.

use crate::stage::key;
use nixie::clock;
use nixie::engine::memory::{Found, Memory, Question};
use nixie::serve::release::Bell;
use nixie::serve::{detail, feed};
use nixie::store::Store;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How long anything may take that must come.
pub(crate) const WITHIN: Duration = Duration::from_secs(60);
/// The key of all memories.
const KEY: [u64; 2] = [3, 4];

pub(crate) struct Node {
    pub(crate) store: Store,
    pub(crate) memory: Arc<Memory>,
    stop: CancellationToken,
}

impl Node {
    /// Starts one, and waits until it is loaded.
    pub(crate) async fn start(url: &str) -> Self {
        let store = Store::connect_lazy(url).await.unwrap();
        let memory = Arc::new(Memory::with_key(KEY));
        let stop = CancellationToken::new();
        let (migrated, _) = watch::channel(false);
        let (loaded, mut is_loaded) = watch::channel(false);
        let wanted = detail::listen(&memory);
        tokio::spawn(detail::fetch(
            store.clone(),
            Arc::clone(&memory),
            wanted,
            stop.clone(),
        ));
        tokio::spawn(feed::follow(
            store.clone(),
            Arc::clone(&memory),
            migrated,
            loaded,
            Bell::default(),
            stop.clone(),
        ));
        let in_time = tokio::time::timeout(WITHIN, is_loaded.wait_for(|loaded| *loaded)).await;
        in_time.expect("the memory is loaded").unwrap();
        Self { store, memory, stop }
    }

    pub(crate) fn find(&self, address: &str) -> Option<Found> {
        let key = key(address);
        let question = Question {
            key: &key,
            clear: key.as_str(),
            domain: key.domain(),
            stream: None,
        };
        self.memory.suppressed(&question, clock::now())
    }

    pub(crate) fn answers(&self, address: &str) -> bool {
        self.find(address).is_some()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Waits for what must become true.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + WITHIN;
    let mut beat = tokio::time::interval(Duration::from_millis(1));
    while !is_so() {
        assert!(Instant::now() < deadline, "{what} did not come");
        beat.tick().await;
    }
}

/// The digest of a memory that reads the store now.
pub(crate) async fn stored(store: &Store) -> (usize, u64) {
    let memory = Memory::with_key(KEY);
    let loading = memory.load(0, 0);
    let mut reached = None;
    loop {
        reached = store
            .load(reached, None, |entry| {
                loading.learn(
                    entry.subject,
                    entry.id,
                    entry.cause,
                    entry.standing,
                    entry.expires,
                );
            })
            .await
            .unwrap();
        if reached.is_none() {
            break;
        }
    }
    loading.finish();
    (memory.size().suppressions, memory.digest())
}

/// Waits until all nodes know what the store says, which nobody changes any more.
pub(crate) async fn agree(nodes: &[&Node]) {
    let expected = stored(&nodes[0].store).await;
    for node in nodes {
        let known = || (node.memory.size().suppressions, node.memory.digest());
        let deadline = Instant::now() + WITHIN;
        let mut beat = tokio::time::interval(Duration::from_millis(5));
        while known() != expected {
            assert!(
                Instant::now() < deadline,
                "{:?}, and the store {expected:?}",
                known()
            );
            beat.tick().await;
        }
    }
}
