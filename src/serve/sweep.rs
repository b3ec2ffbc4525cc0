//! The sweeper: lets go of what is older than `[retention]` says, a small batch at a time, with a rest after each, so
//! that it is in nobody's way. On Postgres it also makes the partitions of the days to come.
//!
//! On failure it tries again at the next round: nothing depends on when it is done. Several nodes may sweep one store.

use crate::clock;
use crate::config::Retention;
use crate::config::suppression::Expiry;
use crate::store::Store;
use crate::store::contract::StoreError;
use crate::store::retention::Keepsake;
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

/// How often a round begins.
const ROUND: Duration = Duration::from_secs(3600);
/// The rest after a batch.
const REST: Duration = Duration::from_millis(200);
/// Rows a batch.
const BATCH: u32 = 2_000;

/// Sweeps until told to stop.
pub async fn run(store: Store, retention: Retention, stop: CancellationToken) {
    let mut rounds = tokio::time::interval(ROUND);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = rounds.tick() => {}
        }
        let now = clock::now();
        if let Err(error) = store.prepare_days(now).await {
            debug!(%error, "no partitions were made; in an hour again");
        }
        if let Err(error) = store.finish_forgetting(now).await {
            debug!(%error, "the forgotten are still named in the feed; in an hour again");
        }
        for what in Keepsake::ALL {
            let Some(before) = horizon(&retention, what, now) else {
                continue;
            };
            tokio::select! {
                () = stop.cancelled() => return,
                swept = sweep(&store, what, before) => match swept {
                    Ok(0) => {}
                    Ok(gone) => info!(what = what.name(), gone, %before, "let go of what is old"),
                    Err(error) => debug!(what = what.name(), %error, "not swept; in an hour again"),
                }
            }
        }
    }
}

/// Before when it goes; `None` where it stays.
#[must_use]
pub fn horizon(retention: &Retention, what: Keepsake, now: Timestamp) -> Option<Timestamp> {
    let expiry = match what {
        Keepsake::Event => retention.events,
        Keepsake::Seen => retention.seen,
        Keepsake::Sent | Keepsake::Signed | Keepsake::Unproven | Keepsake::Failure => retention.sent,
        Keepsake::Tally => retention.counts,
        Keepsake::Unread => retention.unread,
        Keepsake::Change => retention.changes,
    };
    match expiry {
        Expiry::Never => None,
        Expiry::After(span) => now.checked_sub(SignedDuration::try_from(span.0).ok()?).ok(),
    }
}

/// Lets go of all that is from before a time; returns how much.
///
/// # Errors
/// [`StoreError`]: what went before has gone.
pub async fn sweep(store: &Store, what: Keepsake, before: Timestamp) -> Result<u64, StoreError> {
    let mut gone = store.drop_days(what, before).await?;
    let mut from: Option<Vec<u8>> = None;
    loop {
        let swept = store.sweep(what, before, from.as_deref(), BATCH).await?;
        gone += swept.gone;
        match swept.next {
            None => return Ok(gone),
            next => from = next,
        }
        tokio::time::sleep(REST).await;
    }
}
