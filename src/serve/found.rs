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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::trust::{Doubt, Proof};
    use crate::mail::address::Address;
    use crate::mail::event::{Authentication, EventId, Evidence, Outcome};
    use crate::mail::reply::Reply;
    use jiff::Timestamp;

    fn event(source: Source) -> Event {
        Event {
            id: EventId([0; 16]),
            at: Timestamp::UNIX_EPOCH,
            source,
            outcome: Outcome::Failed,
            evidence: Evidence::Fresh,
            recipient: Address::parse("a@b.test").unwrap(),
            original_recipient: None,
            sender: None,
            sasl_username: None,
            queue_id: None,
            message_id: None,
            envelope_id: None,
            relay: None,
            command: None,
            reply: Reply::default(),
            reported_status: None,
            reporting_mta: None,
            return_path: None,
            own: false,
            authentication: Authentication::Untried,
        }
    }

    #[test]
    fn reports_are_counted_by_trust_and_by_doubt() {
        let found = Found::default();
        let proven = Finding::proven(vec![Proof::Token { day: 1, key: 1 }]);
        let doubted = Finding::doubted(vec![Doubt::NoToken, Doubt::NoMark]);
        found.count(&event(Source::Lmtp), &proven);
        found.count(&event(Source::Lmtp), &doubted);
        found.count(&event(Source::File), &doubted);
        found.count(&event(Source::Log), &Finding::proven(vec![Proof::Log]));
        let mut registry = Registry::default();
        found.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "reports_total{trust=\"own\"} 0",
            "reports_total{trust=\"signed\"} 1",
            "reports_total{trust=\"unverified\"} 2",
            "doubts_total{doubt=\"no_token\"} 2",
            "doubts_total{doubt=\"no_mark\"} 2",
            "doubts_total{doubt=\"bad_seal\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }
}
