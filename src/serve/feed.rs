//! The feed follower: brings the memory up to the store, and keeps it there.
//!
//! At start it notes the feed's place, reads all there is, and from then on follows the changes from
//! that place: what is changed while it reads is met again, and applying it twice changes nothing.
//! Until the first reading is complete the hooks fail open. With the store down it waits and goes on
//! where it stood; the memory stays as it was.
//!
//! It reads everything anew, beside the memory that goes on answering, when it cannot go on where it stood: what
//! it has not read yet was cleared away; the feed is behind it (an older state was restored); or the
//! feed is another one, since a replica took the server's place, which may lack the last that was read here.

use super::release::Bell;
use crate::clock;
use crate::engine::memory::{Entry, Memory};
use crate::engine::suppression::{Suppression, SuppressionId};
use crate::engine::throttle::LaneKey;
use crate::engine::throttle::plan::Orders;
use crate::store::Store;
use crate::store::contract::{Change, ChangeKind, Feed, StoreError};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// How often the feed is looked at where nothing wakes us.
const INTERVAL: Duration = Duration::from_millis(200);
/// How long to rest between two looks all the same: lanes change with every commit of every node, and each is told.
const REST: Duration = Duration::from_millis(25);
/// How long to wait for a store that does not answer.
const RETRY: Duration = Duration::from_secs(1);
/// Changes a page.
const PAGE: u32 = 10_000;

/// What the follower knows of its place.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    sequence: i64,
    lineage: String,
}

/// Why it is not possible to go on from a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Broken {
    #[error("what comes next in the change feed was cleared away")]
    Cleared,
    #[error("the change feed is behind what was read from it")]
    Behind,
    #[error("the change feed is another server's")]
    Other,
}

/// What came of following.
enum Reached {
    /// All changes up to there are known.
    Place(Place),
    /// Everything is to be read anew.
    Broken(Broken),
}

impl Place {
    /// Whether what was read from the feed continues this place.
    fn check(&self, feed: &Feed) -> Result<(), Broken> {
        if feed.lineage != self.lineage {
            Err(Broken::Other)
        } else if feed.sequence < self.sequence {
            Err(Broken::Behind)
        } else if feed.floor > self.sequence {
            Err(Broken::Cleared)
        } else {
            Ok(())
        }
    }
}

/// Loads the memory and follows the feed until told to stop. `migrated` is set as soon as the schema is
/// there, `loaded` when all that was stored is in memory.
pub async fn follow(
    store: Store,
    memory: Arc<Memory>,
    migrated: watch::Sender<bool>,
    loaded: watch::Sender<bool>,
    bell: Bell,
    stop: CancellationToken,
) {
    let mut place: Option<Place> = None;
    let mut failing = false;
    loop {
        let result = match &place {
            None => load(&store, &memory, &migrated).await.map(Reached::Place),
            Some(place) => catch_up(&store, &memory, place).await,
        };
        let pause = match result {
            Ok(reached) => {
                if failing {
                    info!("the store answers again");
                    failing = false;
                }
                match reached {
                    Reached::Place(reached) => {
                        // A lane that is open again, or resumed, has mail to hand back.
                        if place.as_ref().is_some_and(|place| *place != reached) {
                            bell.ring();
                        }
                        place = Some(reached);
                        loaded.send_replace(true);
                        INTERVAL
                    }
                    Reached::Broken(why) => {
                        warn!(%why, "reading everything anew; hooks go on from memory meanwhile");
                        place = None;
                        Duration::ZERO
                    }
                }
            }
            Err(error) => {
                if !failing {
                    warn!(%error, loaded = memory.is_loaded(), "the store does not answer; hooks go on from memory");
                    failing = true;
                }
                RETRY
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
            () = store.wait_for_change(), if !failing => tokio::time::sleep(REST).await,
        }
    }
}

/// Reads everything; returns the place in the feed from which to follow.
async fn load(store: &Store, memory: &Memory, migrated: &watch::Sender<bool>) -> Result<Place, StoreError> {
    store.migrate().await?;
    migrated.send_replace(true);
    let begun = clock::monotonic();
    let feed = store.feed().await?;
    load_suppressions(store, memory, feed.sequence).await?;
    // What is committed from here on is told by the feed as well, whatever this takes back.
    memory.set_providers(&store.domains().await?, clock::now());
    // States of another feed, or of a later one that was lost, have no say in this one.
    memory.forget_heights();
    memory.learn_lanes(store.lanes().await?, feed.sequence, clock::now());
    let ordered = memory.gate().ordered().into_iter().collect();
    read_orders(store, memory, &ordered).await?;
    memory.set_loaded();
    let took = clock::monotonic().saturating_duration_since(begun);
    info!(suppressions = memory.size().suppressions, ?took, "memory loaded");
    Ok(Place {
        sequence: feed.sequence,
        lineage: feed.lineage,
    })
}

/// Reads all suppressions into fresh tables, and has them answer.
async fn load_suppressions(store: &Store, memory: &Memory, sequence: i64) -> Result<(), StoreError> {
    let totals = store.totals().await?;
    let count: u64 = totals.suppressions.iter().map(|(_, n)| n).sum();
    let loading = memory.load(usize::try_from(count).unwrap_or(0), sequence);
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
            .await?;
        if reached.is_none() {
            loading.finish();
            return Ok(());
        }
    }
}

/// Applies what changed since a place; returns how far that is.
async fn catch_up(store: &Store, memory: &Memory, place: &Place) -> Result<Reached, StoreError> {
    let mut place = place.clone();
    loop {
        let (changes, feed) = store.follow(place.sequence, PAGE).await?;
        if let Err(why) = place.check(&feed) {
            return Ok(Reached::Broken(why));
        }
        let Some(last) = changes.last() else {
            return Ok(Reached::Place(place));
        };
        let reached = last.sequence;
        memory.reach(reached);
        let mut ordered = BTreeSet::new();
        for change in changes {
            if let ChangeKind::Bulk { first, last } = change.kind {
                read_range(store, memory, first, last).await?;
            }
            ordered.extend(apply(memory, change));
        }
        if !ordered.is_empty() {
            read_orders(store, memory, &ordered).await?;
        }
        place.sequence = reached;
    }
}

/// Reads the entries that were written at once.
async fn read_range(
    store: &Store,
    memory: &Memory,
    first: SuppressionId,
    last: SuppressionId,
) -> Result<(), StoreError> {
    let mut reached = Some(SuppressionId(first.0 - 1));
    while reached.is_some() {
        reached = store
            .load(reached, Some(last), |entry| {
                memory.learn(
                    entry.subject,
                    entry.id,
                    entry.cause,
                    entry.standing,
                    entry.expires,
                );
            })
            .await?;
    }
    Ok(())
}

/// Has the memory know an entry that was just committed, as a change up to this number of the feed.
pub fn remember(memory: &Memory, suppression: &Suppression, sequence: i64) {
    memory.suppress_now(&suppression.entry.subject, &entry_of(suppression), sequence);
}

/// Brings the memory up to a change. Returns the lane whose orders are to be read anew.
fn apply(memory: &Memory, change: Change) -> Option<LaneKey> {
    match change.kind {
        ChangeKind::Suppressed {
            id,
            subject,
            cause,
            since,
            expires,
            standing,
        } => memory.suppress(
            &subject,
            &Entry {
                id,
                cause,
                since,
                expires,
                standing,
            },
        ),
        ChangeKind::Lifted { id, subject } => drop(memory.lift(&subject, id)),
        ChangeKind::Lane { key, lane } => memory.learn_lane(key, *lane, change.sequence, clock::now()),
        ChangeKind::Domain { domain, provider } => memory.set_provider(&domain, &provider, clock::now()),
        ChangeKind::Ordered { key, .. } | ChangeKind::Withdrawn { key, .. } => return Some(key),
        ChangeKind::Cleared { .. }
        | ChangeKind::Turned { .. }
        | ChangeKind::Bulk { .. }
        | ChangeKind::Unknown => {}
    }
    None
}

/// Reads the orders that stand; `changed` are lanes that may have none any more.
async fn read_orders(store: &Store, memory: &Memory, changed: &BTreeSet<LaneKey>) -> Result<(), StoreError> {
    let mut standing: BTreeMap<LaneKey, Orders> = changed
        .iter()
        .map(|key| (key.clone(), Orders::default()))
        .collect();
    for (key, order) in store.orders().await? {
        standing.entry(key).or_default().put(order);
    }
    for (key, orders) in standing {
        if changed.contains(&key) {
            info!(lane = %key.provider, egress = %key.egress, orders = orders.iter().count(), "orders changed");
        }
        memory
            .gate()
            .set_order(key, orders.in_force().cloned(), clock::now());
    }
    Ok(())
}

/// What the memory keeps of a suppression.
fn entry_of(suppression: &Suppression) -> Entry {
    let entry = &suppression.entry;
    Entry {
        id: suppression.id,
        cause: entry.cause,
        since: entry.since,
        expires: entry.expires,
        standing: entry.standing,
    }
}
