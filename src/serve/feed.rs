//! The feed follower: brings the memory up to the store, and keeps it there.
//!
//! At start it notes the feed's place, reads all there is, and from then on follows the changes from
//! that place: what is changed while it reads is met again, and applying it twice changes nothing.
//! Until the first reading is complete the hooks fail open. With the store down it waits and goes on
//! where it stood; the memory stays as it was.

use super::release::Bell;
use crate::clock;
use crate::engine::memory::{Entry, Memory};
use crate::engine::suppression::{Standing, Suppression, SuppressionId};
use crate::engine::throttle::LaneKey;
use crate::engine::throttle::plan::Orders;
use crate::store::Store;
use crate::store::contract::{Change, ChangeKind, Filter, StoreError};
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
/// Rows a page.
const PAGE: u32 = 10_000;

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
    let mut sequence = None;
    let mut failing = false;
    loop {
        let result = match sequence {
            None => load(&store, &memory, &migrated).await,
            Some(sequence) => catch_up(&store, &memory, sequence).await.inspect(|reached| {
                if *reached != sequence {
                    // A lane that is open again, or resumed, has mail to hand back.
                    bell.ring();
                }
            }),
        };
        let pause = match result {
            Ok(reached) => {
                if failing {
                    info!("the store answers again");
                    failing = false;
                }
                if sequence.replace(reached).is_none() {
                    loaded.send_replace(true);
                }
                INTERVAL
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
async fn load(store: &Store, memory: &Memory, migrated: &watch::Sender<bool>) -> Result<i64, StoreError> {
    store.migrate().await?;
    migrated.send_replace(true);
    let sequence = store.feed_position().await?;
    let mut filter = Filter {
        limit: PAGE,
        ..Filter::default()
    };
    let mut count = 0usize;
    loop {
        let page = store.suppressions(&filter).await?;
        count += page.len();
        for suppression in &page {
            remember(memory, suppression);
        }
        match page.last() {
            Some(last) => filter.after = Some(last.id),
            None => break,
        }
    }
    for (domain, provider) in store.domains().await? {
        memory.set_provider(&domain, &provider, clock::now());
    }
    for (key, lane) in store.lanes().await? {
        memory.learn_lane(key, lane, sequence, clock::now());
    }
    read_orders(store, memory, &BTreeSet::new()).await?;
    memory.set_loaded();
    info!(suppressions = count, "memory loaded");
    Ok(sequence)
}

/// Applies what changed since `sequence`; returns how far that is.
async fn catch_up(store: &Store, memory: &Memory, mut sequence: i64) -> Result<i64, StoreError> {
    loop {
        let changes = store.changes_since(sequence, PAGE).await?;
        let Some(last) = changes.last() else {
            return Ok(sequence);
        };
        let reached = last.sequence;
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
        sequence = reached;
    }
}

/// Reads the entries that were written at once.
async fn read_range(
    store: &Store,
    memory: &Memory,
    first: SuppressionId,
    last: SuppressionId,
) -> Result<(), StoreError> {
    let mut filter = Filter {
        after: Some(SuppressionId(first.0 - 1)),
        limit: PAGE,
        ..Filter::default()
    };
    loop {
        let page = store.suppressions(&filter).await?;
        for suppression in page.iter().filter(|suppression| suppression.id <= last) {
            remember(memory, suppression);
        }
        filter.after = page.last().map(|suppression| suppression.id);
        if filter.after.is_none_or(|reached| reached >= last) {
            return Ok(());
        }
    }
}

/// Has the memory know a stored entry: one in quarantine forbids nothing.
pub fn remember(memory: &Memory, suppression: &Suppression) {
    let subject = &suppression.entry.subject;
    match suppression.entry.standing {
        Standing::InForce => memory.suppress(subject, &entry_of(suppression)),
        Standing::Quarantined => drop(memory.lift(subject, suppression.id)),
    }
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
            standing: Standing::InForce,
        } => memory.suppress(
            &subject,
            &Entry {
                id,
                cause,
                since,
                expires,
            },
        ),
        ChangeKind::Lifted { id, subject } | ChangeKind::Suppressed { id, subject, .. } => {
            memory.lift(&subject, id);
        }
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
    }
}
