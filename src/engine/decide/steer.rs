//! What our own MTA's answers change about lanes, and about which provider a domain is at.
//!
//! Pure: what is stored and what is remembered of lanes come from outside. Nothing fails.

use super::{Decision, Record};
use crate::engine::throttle::{self, Kind, Lane, LaneKey, Limits, Signal};
use crate::engine::verdict::{Remedy, Scope};
use crate::mail::event::Outcome;
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// When within its second an event happened, where its stamp has whole seconds (as syslog's traditional ones): as
/// late as can be, and not in the future. A log that is followed is heard within milliseconds, and a
/// lane's pauses are shorter than a second.
fn moment(at: Timestamp, now: Timestamp) -> Timestamp {
    if at.subsec_nanosecond() != 0 || now <= at {
        return at;
    }
    let end = at.checked_add(SignedDuration::from_millis(999)).unwrap_or(at);
    now.min(end)
}

/// The lanes of a batch, and the homes of domains, as it goes through the answers of our own MTA.
pub(super) struct Lanes<'a> {
    stored: &'a HashMap<LaneKey, Lane>,
    remembered: &'a dyn Fn(&LaneKey) -> Option<Lane>,
    changed: BTreeMap<LaneKey, Lane>,
    unlimited: BTreeMap<LaneKey, Lane>,
    domains: BTreeMap<String, String>,
}

impl<'a> Lanes<'a> {
    pub(super) fn new(
        stored: &'a HashMap<LaneKey, Lane>,
        remembered: &'a dyn Fn(&LaneKey) -> Option<Lane>,
    ) -> Self {
        Self {
            stored,
            remembered,
            changed: BTreeMap::new(),
            unlimited: BTreeMap::new(),
            domains: BTreeMap::new(),
        }
    }

    /// Hears what a server answered.
    pub(super) fn answered(
        &mut self,
        record: &Record,
        limits: Limits,
        provider_of: &dyn Fn(&str) -> Option<Arc<str>>,
        now: Timestamp,
    ) {
        let Some(key) = record.lane.as_ref() else { return };
        self.hear(key, record, limits, now);
        let domain = record.event.recipient.domain();
        if provider_of(domain).as_deref() != Some(&key.provider) {
            self.domains.insert(domain.to_owned(), key.provider.clone());
        }
    }

    /// Puts into the decision what changed.
    pub(super) fn decide(self, decision: &mut Decision) {
        decision.lanes = self.changed.into_iter().collect();
        decision.unlimited = self.unlimited.into_iter().collect();
        decision.domains = self.domains.into_iter().collect();
    }

    /// Tells a lane of a record. Which lanes are worth a row of the store: those that were ever told to slow down,
    /// and those that must be counted. A healthy one costs no write for its deliveries.
    fn hear(&mut self, key: &LaneKey, record: &Record, limits: Limits, now: Timestamp) {
        let stored = self.changed.get(key).or_else(|| self.stored.get(key));
        if let Some(before) = stored {
            let after = lane_after(record, before, limits, now);
            if let Some(after) = after.filter(|after| after != before) {
                self.changed.insert(key.clone(), after);
            }
            return;
        }
        let before = self
            .unlimited
            .get(key)
            .cloned()
            .or_else(|| (self.remembered)(key));
        let before = before.unwrap_or_else(|| Lane::open(moment(record.event.at, now)));
        let Some(after) = lane_after(record, &before, limits, now) else {
            return;
        };
        if record.counts || after.signals > 0 {
            self.unlimited.remove(key);
            self.changed.insert(key.clone(), after);
        } else {
            self.unlimited.insert(key.clone(), after);
        }
    }
}

/// The lane after the record, where the record concerns it. Only answers of the provider's own count: each used
/// what it allows; and only a temporary fault of ours says "slow down" (never one of a mailbox).
fn lane_after(record: &Record, before: &Lane, limits: Limits, now: Timestamp) -> Option<Lane> {
    let at = moment(record.event.at, now);
    let mut after = before.clone();
    match (record.event.outcome, record.verdict.remedy) {
        (Outcome::Delivered, _) => drop(after.delivered(at, 1)),
        (Outcome::Deferred, Remedy::Throttle) if record.verdict.scope != Scope::Recipient => {
            let signal = Signal {
                rule: record.verdict.rule.to_string(),
                reply: record.event.reply.to_string(),
                hold: record.verdict.hold,
                kind: record
                    .verdict
                    .throttle
                    .unwrap_or_else(|| Kind::of(record.verdict.cause)),
                recipient: throttle::recipient(record.mailed.as_str()),
                beside: record.beside,
            };
            after.signalled(signal, limits, at, now);
        }
        (Outcome::Failed | Outcome::Deferred, _) if record.event.relay.is_some() => {
            drop(after.answered(at, 1));
        }
        _ => return None,
    }
    Some(after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::decide::{Known, Policy, decide};
    use crate::engine::throttle::State;
    use crate::engine::verdict::{Cause, Verdict};
    use crate::mail::address::{Address, LocalPart};
    use crate::mail::event::{Authentication, Event, EventId, Evidence, Source};
    use crate::mail::reply::Reply;
    use std::time::Duration;

    fn policy() -> Policy {
        Policy {
            local_part: LocalPart::Fold,
            limits: Limits {
                default_hold: Duration::from_secs(300),
                max_hold: Duration::from_secs(3600),
            },
            ..Policy::default()
        }
    }

    fn moment_of(seconds: f64) -> Timestamp {
        throttle::later(Timestamp::from_second(1_700_000_000).unwrap(), seconds + 1e-3)
    }

    fn google() -> LaneKey {
        LaneKey {
            provider: "google".into(),
            egress: "default".into(),
        }
    }

    fn record(n: u32, outcome: Outcome, seconds: f64) -> Record {
        let (at, cause) = match outcome {
            Outcome::Delivered => (moment_of(seconds), Cause::Delivered),
            _ => (moment_of(seconds), Cause::RateLimited),
        };
        let event = Event {
            id: EventId::new(at, &[&n.to_be_bytes()]),
            at,
            source: Source::Log,
            outcome,
            evidence: Evidence::Fresh,
            recipient: Address::parse(&format!("r{n}@gmail.test")).unwrap(),
            original_recipient: None,
            sender: None,
            sasl_username: None,
            queue_id: Some("Q".into()),
            message_id: None,
            envelope_id: None,
            relay: None,
            command: None,
            reply: Reply::default(),
            reported_status: None,
            reporting_mta: None,
            return_path: None,
            own: true,
            authentication: Authentication::Untried,
        };
        let verdict = Verdict {
            cause,
            sub_cause: None,
            scope: cause.scope(),
            permanent: false,
            remedy: cause.remedy(false),
            rule: "test".into(),
            hold: None,
            throttle: None,
            advice: None,
        };
        Record::new(event, verdict, Some(google()), LocalPart::Fold)
    }

    fn decided(records: &[Record], stored: Option<Lane>, remembered: Option<Lane>, seconds: f64) -> Decision {
        let known = Known {
            fresh: vec![true; records.len()],
            correlated: vec![None; records.len()],
            repeat_of: vec![None; records.len()],
            lanes: stored.map(|lane| (google(), lane)).into_iter().collect(),
            ..Known::default()
        };
        let remembered = |_: &LaneKey| remembered.clone();
        decide(
            records,
            &known,
            &policy(),
            &|_| Some("google".into()),
            &remembered,
            moment_of(seconds),
        )
    }

    /// Deliveries of a lane that nothing limits are remembered and not stored; the first signal stores the lane with
    /// what passed before it, in its own batch and in those before, and from then on each answer is stored.
    #[test]
    fn a_first_signal_finds_what_was_accepted_before_it() {
        let delivered = |from: u32| -> Vec<Record> {
            let each = from..from + 40;
            each.map(|n| record(n, Outcome::Delivered, f64::from(n) / 10.0))
                .collect()
        };
        let first = decided(&delivered(0), None, None, 4.0);
        assert_eq!((first.lanes.len(), first.unlimited.len()), (0, 1));
        let mut second = delivered(40);
        second.push(record(80, Outcome::Deferred, 8.0));
        let second = decided(&second, None, Some(first.unlimited[0].1.clone()), 8.0);
        assert_eq!((second.lanes.len(), second.unlimited.len()), (1, 0));
        let lane = second.lanes[0].1.clone();
        assert!(matches!(lane.state, State::Held { .. }));
        let third = decided(&[record(81, Outcome::Delivered, 10.0)], Some(lane), None, 10.0);
        assert_eq!((third.lanes.len(), third.unlimited.len()), (1, 0));
        let rate = third.lanes[0].1.law.rate().unwrap();
        assert!((8.0..=10.5).contains(&rate), "{rate} of ten a second");

        let alone = decided(&[record(82, Outcome::Deferred, 8.0)], None, None, 8.0);
        let after = decided(
            &[record(83, Outcome::Delivered, 10.0)],
            Some(alone.lanes[0].1.clone()),
            None,
            10.0,
        );
        assert_eq!(after.lanes[0].1.law.rate(), Some(1.0), "nothing to go by");
    }

    /// One that must be counted for its warm-up is stored all the same.
    #[test]
    fn a_counted_lane_is_stored_from_its_first_delivery() {
        let record = Record {
            counts: true,
            ..record(0, Outcome::Delivered, 0.0)
        };
        let decision = decided(&[record], None, None, 0.0);
        assert_eq!((decision.lanes.len(), decision.unlimited.len()), (1, 0));
    }

    #[test]
    fn a_stamp_of_whole_seconds_is_read_as_late_as_can_be() {
        let at = |millis: i64| Timestamp::from_millisecond(1_700_000_000_000 + millis).unwrap();
        let table = [
            (0, 300, 300),
            (0, 1500, 999),
            (0, -5, 0),
            (0, 0, 0),
            (250, 900, 250),
        ];
        for (stamp, now, expected) in table {
            assert_eq!(moment(at(stamp), at(now)), at(expected), "{stamp} {now}");
        }
    }
}
