//! Fetches what people are told of an entry that refused their mail (its number, its date), behind the answer.
//!
//! The hooks never wait for it: they say which subject they knew too little about through a bounded queue, and what
//! does not fit is asked for again at the next refusal. With the store down, what was asked is forgotten.

use crate::engine::memory::{Detail, Memory};
use crate::engine::suppression::Subject;
use crate::store::Store;
use std::collections::HashSet;
use std::sync::Arc;
use tokio::sync::mpsc::{Receiver, channel};
use tokio_util::sync::CancellationToken;
use tracing::debug;

/// Subjects that may wait.
const QUEUE: usize = 1024;
/// Subjects in one question.
const PAGE: usize = 256;

/// Has the hooks' memory ask this task from now on.
#[must_use]
pub fn listen(memory: &Memory) -> Receiver<Subject> {
    let (tell, wanted) = channel(QUEUE);
    // A full queue: the next refusal asks again.
    memory.when_wanted(move |subject| drop(tell.try_send(subject)));
    wanted
}

/// Fetches until told to stop.
pub async fn fetch(
    store: Store,
    memory: Arc<Memory>,
    mut wanted: Receiver<Subject>,
    stop: CancellationToken,
) {
    let mut subjects = Vec::with_capacity(PAGE);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            n = wanted.recv_many(&mut subjects, PAGE) => if n == 0 { return },
        }
        // One that is refused often is asked for until the answer is there.
        let distinct: Vec<Subject> = subjects.drain(..).collect::<HashSet<_>>().into_iter().collect();
        match store.suppressions_of(&distinct).await {
            Ok(found) => {
                for suppression in found {
                    let detail = Detail {
                        id: suppression.id,
                        since: suppression.entry.since,
                    };
                    memory.set_detail(&suppression.entry.subject, detail);
                }
            }
            Err(error) => debug!(%error, "details of refusals not fetched"),
        }
    }
}
