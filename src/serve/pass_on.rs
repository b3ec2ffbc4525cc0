//! Passing on what came back to a signed return path to the return path that the application gave: it reads its bounces
//! as it did before.
//!
//! Only what bears a token that opens is passed on, so that nobody makes us write to strangers. With the server busy the
//! LMTP client is asked to come again; what it refuses for good is given up with a line in the log, for the report itself
//! is kept by then.

use super::behind::Behind;
use super::keeper::Bench;
use super::submit::{SubmitError, Submitter};
use crate::clock;
use crate::store::Store;
use crate::store::contract::StoreError;
use parking_lot::RwLock;
use std::sync::Arc;
use tracing::{debug, warn};

/// What passes on.
#[derive(Debug, Clone)]
pub struct PassOn {
    submitter: Submitter,
    store: Store,
    behind: Behind,
    bench: Arc<RwLock<Arc<Bench>>>,
}

/// Why a message could not be passed on for now.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// Whose it is, is not known.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The server does not take it.
    #[error("{0}")]
    Submit(SubmitError),
}

impl PassOn {
    /// Passes on over this way, by the keys of the bench, from what the store remembers, and will in a moment.
    #[must_use]
    pub fn new(submitter: Submitter, store: Store, behind: Behind, bench: Arc<RwLock<Arc<Bench>>>) -> Self {
        Self {
            submitter,
            store,
            behind,
            bench,
        }
    }

    /// Passes a message on to whoever gave the return paths that it came back to.
    ///
    /// # Errors
    /// [`PassError`]: it is to be handed in again.
    pub async fn pass(&self, recipients: &[String], message: &[u8]) -> Result<(), PassError> {
        for recipient in recipients {
            let Some(original) = self.original(recipient).await? else {
                continue;
            };
            match self.submitter.send(&original, message).await {
                Ok(()) => debug!(recipient, original, "passed on"),
                Err(error @ SubmitError::NotNow(_)) => return Err(PassError::Submit(error)),
                Err(error) => warn!(recipient, original, %error, "not passed on"),
            }
        }
        Ok(())
    }

    /// The application's own return path. `None` where the address has no token that opens, where nothing is remembered,
    /// and where it would come back here.
    async fn original(&self, path: &str) -> Result<Option<String>, StoreError> {
        let bench = self.bench.read().clone();
        let Some(signing) = &bench.signing else {
            return Ok(None);
        };
        let Some(Ok(token)) = signing.open(path, clock::now()) else {
            return Ok(None);
        };
        let original = match signing.paths.untagged(path) {
            Some(original) => Some(original),
            None => {
                self.behind.caught_up().await;
                let sent = self.store.signed(&token.identity()).await?;
                sent.into_iter().next().map(|sent| sent.sender)
            }
        };
        let is_fit = |original: &String| {
            let is_whole = original
                .rsplit_once('@')
                .is_some_and(|(local, _)| !local.is_empty());
            is_whole && signing.paths.token_of(original).is_none()
        };
        Ok(original.filter(is_fit))
    }
}
