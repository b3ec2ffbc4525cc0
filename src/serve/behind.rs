//! What is remembered of a message behind the answer about it: whom it went to and who sent it.
//!
//! A message to one recipient proves itself by its token, so that nobody needs to wait for the commit. The first one after
//! a silence is kept at once; then there is a rest in which what leaves is gathered, for a commit for each would slow the
//! very Postfix whose disk it shares. Whoever needs to know of a message that may have left a moment ago waits until all
//! is kept ([`Behind::caught_up`]): a bounce can be quicker than the rest.
//!
//! On failure, and where more leaves than can be gathered, a message is not remembered: its bounce is as good as ever,
//! only the return path that the application gave is not known.

use super::keeper::{Handle, Intake};
use crate::engine::trust::Signed;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::timeout;
use tracing::debug;

/// How many messages may have left that are not kept yet: what a rest at 40,000 messages a second gathers.
const WAITING: usize = 4000;
/// How long is rested between two commits.
const REST: Duration = Duration::from_millis(100);

/// Where to hand in what has left. Clones share it.
#[derive(Debug, Clone)]
pub struct Behind {
    left: mpsc::Sender<Left>,
    /// Ends a rest.
    hurry: Arc<Notify>,
}

#[derive(Debug)]
enum Left {
    Message(Box<Signed>),
    /// All that was handed in before is to be kept, and this told of it.
    Mark(oneshot::Sender<()>),
}

/// What keeps it.
#[derive(Debug)]
pub struct Keeping {
    left: mpsc::Receiver<Left>,
    hurry: Arc<Notify>,
    keeper: Handle,
}

impl Behind {
    /// The way in, and what has to run for it.
    #[must_use]
    pub fn new(keeper: Handle) -> (Self, Keeping) {
        let (sender, left) = mpsc::channel(WAITING);
        let hurry = Arc::new(Notify::new());
        let keeping = Keeping {
            left,
            hurry: Arc::clone(&hurry),
            keeper,
        };
        let left = sender;
        (Self { left, hurry }, keeping)
    }

    /// A message has left. It never waits.
    pub fn remember(&self, signed: Signed) {
        if self.left.try_send(Left::Message(Box::new(signed))).is_err() {
            debug!("too much has left at once: a message is not remembered");
        }
    }

    /// Waits until all that was handed in before is kept, or given up.
    pub async fn caught_up(&self) {
        let (kept, is_kept) = oneshot::channel();
        self.hurry.notify_one();
        if self.left.send(Left::Mark(kept)).await.is_ok() {
            // An error says that nobody keeps anything any more.
            let _ = is_kept.await;
        }
    }
}

impl Keeping {
    /// Works until every [`Behind`] is gone and all is kept.
    pub async fn run(mut self) {
        while let Some(first) = self.left.recv().await {
            self.keep(first).await;
            let _ = timeout(REST, self.hurry.notified()).await;
        }
    }

    /// Keeps what waits, in one commit.
    async fn keep(&mut self, first: Left) {
        let (mut signed, mut marks) = (Vec::new(), Vec::new());
        let mut next = Ok(first);
        loop {
            match next {
                Ok(Left::Message(message)) => signed.push(*message),
                Ok(Left::Mark(mark)) => marks.push(mark),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
            next = self.left.try_recv();
        }
        if !signed.is_empty() {
            let intake = Intake {
                signed,
                ..Intake::default()
            };
            if let Err(error) = self.keeper.keep(intake).await {
                debug!(%error, "what has left is not remembered");
            }
        }
        for mark in marks {
            // Who asked may have gone.
            let _ = mark.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    fn signed(n: u8) -> Signed {
        Signed {
            identity: [n; 16],
            mailed: Vec::new(),
            sender: String::new(),
            at: jiff::Timestamp::UNIX_EPOCH,
            marks: Vec::new(),
        }
    }

    #[tokio::test]
    async fn the_first_goes_at_once_and_the_others_together() {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/nixie.db", directory.path().display());
        let store = Store::connect_lazy(&url).await.unwrap();
        let (handle, mut handed_in) = Handle::to_a_test(store);
        let (behind, keeping) = Behind::new(handle);
        let running = tokio::spawn(keeping.run());
        behind.remember(signed(0));
        let (first, kept) = handed_in.next().await;
        assert_eq!(first.signed, [signed(0)]);
        // Three leave while the first is committed, and somebody asks.
        (1..4).for_each(|n| behind.remember(signed(n)));
        let asking = behind.clone();
        let caught_up = tokio::spawn(async move { asking.caught_up().await });
        kept.send(Ok(())).unwrap();
        let (rest, kept) = handed_in.next().await;
        assert!(!caught_up.is_finished(), "nothing is kept yet");
        assert_eq!(rest.signed, [1, 2, 3].map(signed));
        kept.send(Ok(())).unwrap();
        caught_up.await.unwrap();
        // With nothing to keep there is nothing to wait for; and it ends with the last who may hand in.
        behind.caught_up().await;
        drop(behind);
        running.await.unwrap();
    }

    #[tokio::test]
    async fn what_cannot_be_kept_holds_nobody_up() {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/nixie.db", directory.path().display());
        let store = Store::connect_lazy(&url).await.unwrap();
        let (handle, mut handed_in) = Handle::to_a_test(store);
        let (behind, keeping) = Behind::new(handle);
        tokio::spawn(keeping.run());
        behind.remember(signed(0));
        let (_, kept) = handed_in.next().await;
        drop(kept);
        behind.caught_up().await;
    }
}
