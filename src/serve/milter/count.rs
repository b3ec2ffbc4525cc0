//! What the milter has done, for the metrics; the counters only grow, but for the connections there are.

use crate::engine::signing::Why;
use crate::serve::http::{Labels, counter, gauge};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use std::sync::atomic::{AtomicU64, Ordering};

/// The milter's counters.
#[derive(Debug, Default)]
pub struct MilterCounters {
    /// Connections taken.
    pub connections: AtomicU64,
    /// Connections there are.
    pub open: AtomicU64,
    /// Commands read.
    pub commands: AtomicU64,
    /// Recipients that were let through.
    pub passed: AtomicU64,
    /// Recipients that were refused for good.
    pub refused: AtomicU64,
    /// Recipients that were put off.
    pub deferred: AtomicU64,
    /// Recipients that were removed from their message.
    pub removed: AtomicU64,
    /// Messages that were signed.
    pub signed: AtomicU64,
    /// Messages that were not, by [`Why`].
    left: [AtomicU64; Why::ALL.len()],
    /// Messages that were read, and kept.
    pub read: AtomicU64,
    /// Of these, the ones whose reports are proven.
    pub proven: AtomicU64,
    /// Messages of which our part failed.
    pub failures: AtomicU64,
    /// Connections closed over something that is no command.
    pub malformed: AtomicU64,
    /// Connections closed because a command did not arrive, or an answer was not taken, in time.
    pub timed_out: AtomicU64,
    /// Connections closed after a long silence.
    pub idle: AtomicU64,
    /// Connections closed to make room for a new one.
    pub evicted: AtomicU64,
}

/// One more.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl MilterCounters {
    /// One more message that keeps its sender.
    pub(super) fn left(&self, why: Why) {
        if let Some(at) = Why::ALL.iter().position(|&known| known == why) {
            count(&self.left[at]);
        }
    }

    /// How many messages kept their senders, and why.
    pub fn left_alone(&self) -> impl Iterator<Item = (Why, u64)> {
        let counts = self.left.iter().map(|counter| counter.load(Ordering::Relaxed));
        Why::ALL.into_iter().zip(counts)
    }
}

/// The metrics.
pub fn register(registry: &mut Registry, counters: &MilterCounters) {
    let plain = [
        (
            "milter_connections",
            "Milter connections taken",
            &counters.connections,
        ),
        ("milter_commands", "Milter commands read", &counters.commands),
        (
            "milter_removed",
            "Recipients removed from mail that could not be refused",
            &counters.removed,
        ),
        (
            "milter_signed",
            "Messages that left with a signed return path",
            &counters.signed,
        ),
        (
            "milter_failures",
            "Messages that the milter could not see to",
            &counters.failures,
        ),
    ];
    for (name, help, value) in plain {
        counter(registry, name, help, value);
    }
    let open = counters.open.load(Ordering::Relaxed);
    let open = i64::try_from(open).unwrap_or(i64::MAX);
    gauge(
        registry,
        "milter_open_connections",
        "Milter connections there are",
        open,
    );
    let family = |label: &str, values: &[(&str, u64)]| {
        let family: Family<Labels, Counter> = Family::default();
        for (value, count) in values {
            let labels = vec![(label.to_owned(), (*value).to_owned())];
            family.get_or_create(&labels).inc_by(*count);
        }
        family
    };
    let now = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let answers = [
        ("passed", now(&counters.passed)),
        ("refused", now(&counters.refused)),
        ("deferred", now(&counters.deferred)),
    ];
    let help = "Recipients answered about by the milter, by answer";
    registry.register("milter_recipients", help, family("answer", &answers));
    let left: Vec<_> = counters
        .left_alone()
        .map(|(why, count)| (why.name(), count))
        .collect();
    let help = "Messages that kept their envelope sender, by reason";
    registry.register("milter_unsigned", help, family("reason", &left));
    let proven = now(&counters.proven);
    let read = [
        ("proven", proven),
        ("unproven", now(&counters.read).saturating_sub(proven)),
    ];
    let help = "Messages read by the milter, by whether their reports are proven";
    registry.register("milter_read", help, family("proof", &read));
    let closed = [
        ("malformed", now(&counters.malformed)),
        ("timed_out", now(&counters.timed_out)),
        ("idle", now(&counters.idle)),
        ("evicted", now(&counters.evicted)),
    ];
    let help = "Milter connections that we closed, by reason";
    registry.register("milter_closed", help, family("reason", &closed));
}
