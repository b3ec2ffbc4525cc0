//! Telling senders of recipients that were removed from their mail, which came by `sendmail(1)` and could not be refused.
//!
//! A notice is a courtesy: it waits in a bounded queue in memory, is tried [`ATTEMPTS`] times, and given up with a line in
//! the log, which told of each removed recipient already. The null sender gets none (RFC 5321 §4.5.5), and neither does
//! a return path of our own, to which it would only come back.

use super::milter::Removed;
use super::submit::{SubmitError, Submitter};
use crate::clock;
use crate::mail::address::Address;
use crate::mail::notice::Notice;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Notices that wait.
pub const QUEUE: usize = 256;
/// How often one is handed in until it is taken.
const ATTEMPTS: u32 = 4;
/// The rest before the second attempt; each further one is four times as long.
const REST: Duration = Duration::from_secs(2);

/// Writes notices until told to stop, or until nobody is left who could remove anybody.
pub async fn run(
    mut removed: mpsc::Receiver<Removed>,
    submitter: Submitter,
    host: String,
    stop: CancellationToken,
) {
    loop {
        let next = tokio::select! {
            () = stop.cancelled() => return,
            next = removed.recv() => next,
        };
        let Some(next) = next else { return };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tell(&next, &submitter, &host) => {}
        }
    }
}

async fn tell(removed: &Removed, submitter: &Submitter, host: &str) {
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    let (queue_id, sender) = (text(&removed.queue_id), text(&removed.sender));
    // Nobody to tell: the null sender, and what is no address.
    let Ok(address) = Address::parse(&sender) else {
        return;
    };
    let recipients = removed.recipients.iter();
    let recipients: Vec<(Address, String)> = recipients
        .filter_map(|(recipient, why)| Some((Address::parse(recipient).ok()?, why.clone())))
        .collect();
    if recipients.is_empty() {
        return;
    }
    let notice = Notice {
        host,
        sender: &address,
        queue_id: &queue_id,
        recipients: &recipients,
        header: &removed.header,
        at: clock::now(),
    };
    match send(submitter, &sender, &notice.encode()).await {
        Ok(()) => info!(
            queue_id,
            sender,
            recipients = recipients.len(),
            "the sender is told of removed recipients"
        ),
        Err(error) => warn!(queue_id, sender, %error, "the sender is not told of removed recipients"),
    }
}

async fn send(submitter: &Submitter, recipient: &str, message: &[u8]) -> Result<(), SubmitError> {
    let mut rest = REST;
    for _ in 1..ATTEMPTS {
        match submitter.send(recipient, message).await {
            Err(SubmitError::NotNow(_)) => tokio::time::sleep(rest).await,
            done => return done,
        }
        rest *= 4;
    }
    submitter.send(recipient, message).await
}
