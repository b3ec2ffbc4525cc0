//! Signs of life of the threads that Postfix waits for: each beats a few times a second, and one that is silent for long
//! hangs. The supervisor does not feed systemd's watchdog then, and `/healthz` says so.
//!
//! A beat is a task among the others of its thread: it shows that the thread still takes turns, whatever it does in them.
//! Nothing here fails.

use crate::clock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::time::{MissedTickBehavior, interval};

/// How often a thread beats.
pub const BEAT: Duration = Duration::from_millis(100);
/// After how long without a beat a thread counts as stalled.
pub const STALLED_AFTER: Duration = Duration::from_secs(5);

/// A thread that has stopped beating.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stall {
    /// The name of the thread.
    pub thread: String,
    /// For how long.
    pub silent: Duration,
}

/// The beat of one thread.
#[derive(Debug)]
pub struct Beat {
    thread: &'static str,
    started: Instant,
    stalled_after: Duration,
    /// The time of the last beat, in milliseconds since `started`; [`OVER`] once the thread has ended.
    last: AtomicU64,
}

const OVER: u64 = u64::MAX;

impl Beat {
    /// Of a thread that starts now, and may be silent for as long as `stalled_after`.
    #[must_use]
    pub fn new(thread: &'static str, stalled_after: Duration) -> Self {
        Self {
            thread,
            started: clock::monotonic(),
            stalled_after,
            last: AtomicU64::new(0),
        }
    }

    /// Beats for as long as it is polled: to be run on the thread itself.
    pub async fn keep(&self) {
        let mut tick = interval(BEAT);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.last
                .store(self.since_start(clock::monotonic()), Ordering::Relaxed);
        }
    }

    /// The thread has ended as it should: nobody is to wait for it.
    pub fn over(&self) {
        self.last.store(OVER, Ordering::Relaxed);
    }

    /// Whether it has been silent for too long at `now`.
    #[must_use]
    pub fn stalled(&self, now: Instant) -> Option<Stall> {
        let silent = self
            .since_start(now)
            .saturating_sub(self.last.load(Ordering::Relaxed));
        let silent = Duration::from_millis(silent);
        (silent > self.stalled_after).then(|| Stall {
            thread: self.thread.to_owned(),
            silent,
        })
    }

    fn since_start(&self, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.started);
        u64::try_from(passed.as_millis()).unwrap_or(OVER - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    /// Waits for what the beat says; a test that waits for long has failed.
    fn wait(beat: &Beat, stalled: bool) {
        let deadline = clock::monotonic() + Duration::from_secs(10);
        while beat.stalled(clock::monotonic()).is_some() != stalled {
            assert!(clock::monotonic() < deadline, "stalled: {}", !stalled);
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_thread_that_hangs_in_one_of_its_tasks_is_noticed() {
        let beat = Arc::new(Beat::new("a thread", Duration::from_millis(400)));
        let lock = Arc::new(Mutex::new(()));
        let held = lock.lock().unwrap();
        let (its, contended) = (Arc::clone(&beat), Arc::clone(&lock));
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let beats = Arc::clone(&its);
            runtime.block_on(async move {
                let beating = tokio::spawn(async move { beats.keep().await });
                drop(contended.lock().unwrap());
                let _ = ended.await;
                beating.abort();
            });
            its.over();
        });
        wait(&beat, true);
        assert_eq!(beat.stalled(clock::monotonic()).unwrap().thread, "a thread");
        drop(held);
        wait(&beat, false);
        drop(end);
        thread.join().unwrap();
        let much_later = clock::monotonic() + Duration::from_secs(3600);
        assert_eq!(beat.stalled(much_later), None, "what has ended does not hang");
    }
}
