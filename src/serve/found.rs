//! What is found of reports, counted for the metrics: how sure we were of them when they came, and why nothing proved
//! the others.

use crate::engine::trust::{DoubtKind, Finding, Trust};
use crate::mail::event::{Event, Source};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters; they only grow.
#[derive(Debug)]
pub struct Found {
    trust: Vec<AtomicU64>,
    doubts: Vec<AtomicU64>,
}

impl Default for Found {
    fn default() -> Self {
        let zeros = |n| std::iter::repeat_with(AtomicU64::default).take(n).collect();
        Self {
            trust: zeros(Trust::ALL.len()),
            doubts: zeros(DoubtKind::ALL.len()),
        }
    }
}

impl Found {
    /// Takes note of what was found of an event that is news. What the log tells is no report.
    pub fn count(&self, event: &Event, finding: &Finding) {
        if event.source == Source::Log {
            return;
        }
        let one = |counters: &[AtomicU64], index: usize| {
            if let Some(counter) = counters.get(index) {
                counter.fetch_add(1, Ordering::Relaxed);
            }
        };
        one(&self.trust, finding.trust() as usize);
        for doubt in finding.doubts() {
            one(&self.doubts, doubt.kind() as usize);
        }
    }

    /// Adds the counters to the metrics.
    pub fn register(&self, registry: &mut Registry) {
        type Labels = Vec<(&'static str, &'static str)>;
        let (reports, doubts): (Family<Labels, Counter>, Family<Labels, Counter>) = Default::default();
        for (trust, n) in Trust::ALL.iter().zip(&self.trust) {
            let label = vec![("trust", trust.name())];
            reports.get_or_create(&label).inc_by(n.load(Ordering::Relaxed));
        }
        for (doubt, n) in DoubtKind::ALL.iter().zip(&self.doubts) {
            let label = vec![("doubt", doubt.name())];
            doubts.get_or_create(&label).inc_by(n.load(Ordering::Relaxed));
        }
        registry.register(
            "reports",
            "Reports in messages, by how sure we were of them",
            reports,
        );
        registry.register(
            "doubts",
            "Why nothing proved a report when it came; one may have several reasons",
            doubts,
        );
    }
}
