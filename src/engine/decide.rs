//! From judged events to changes: whom to suppress, which lane to hold.
//!
//! [`decide`] is given what the store knows, in the transaction that will hold the changes, and says
//! what should change. It is pure: the same events over the same knowledge decide the same.

use super::suppression::{NewSuppression, Subject, Suppression};
use super::throttle::{self, Kind, Lane, LaneKey, Limits, Signal};
use super::trust::{self, Fingerprint, Trust};
use super::verdict::{Remedy, Scope, Verdict};
use crate::mail::address::{AddressKey, LocalPart};
use crate::mail::event::{Event, EventId, Evidence, Outcome};
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A judged event, as it goes to the store.
#[derive(Debug, Clone)]
pub struct Record {
    /// What happened.
    pub event: Event,
    /// What it means.
    pub verdict: Verdict,
    /// Whose limits it speaks of; `None` where no remote server was involved.
    pub lane: Option<LaneKey>,
    /// The key of the address that we mailed.
    pub mailed: AddressKey,
    /// Marks to remember (where the event says that a message left) or to look up (where it reports on one).
    pub correlations: Vec<Fingerprint>,
    /// The identity of the failure, where our own MTA reports it in more than one way.
    pub failure: Option<Fingerprint>,
    /// Whether the lane is counted although nothing limits it: it has a warm-up, of which each day's share is known
    /// only by what was sent.
    pub counts: bool,
}

/// What the store knows about a batch of records; the vectors go by the records' positions.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// Whether this is the first time that the event is seen.
    pub fresh: Vec<bool>,
    /// Whether a message that left matches the report.
    pub correlated: Vec<bool>,
    /// The event that told the same failure before.
    pub repeat_of: Vec<Option<EventId>>,
    /// The suppressions there already are for the addresses mailed, by what they are about.
    pub suppressed: HashMap<Subject, Suppression>,
    /// What reports that came unproven would have suppressed, and whose message is now seen to have left.
    pub proven: Vec<NewSuppression>,
    /// The lanes concerned, as stored.
    pub lanes: HashMap<LaneKey, Lane>,
}

/// What should change.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Decision {
    /// The trust of each record, by position.
    pub trust: Vec<Trust>,
    /// The positions of reports that would have suppressed, were they proved: to be kept for when they are.
    pub unproven: Vec<usize>,
    /// Addresses to suppress: none that is suppressed already, none twice.
    pub suppress: Vec<NewSuppression>,
    /// Lanes whose state is to be stored.
    pub lanes: Vec<(LaneKey, Lane)>,
    /// Domains whose provider an answer has shown, as (domain, provider).
    pub domains: Vec<(String, String)>,
}

/// What the operator may change about decisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// How local parts compare.
    pub local_part: LocalPart,
    /// Bounds of holds.
    pub limits: Limits,
}

impl Record {
    /// Puts together what the store needs to know of an event.
    #[must_use]
    pub fn new(event: Event, verdict: Verdict, lane: Option<LaneKey>, local_part: LocalPart) -> Self {
        let mailed = event.mailed().key(local_part);
        let correlations = trust::correlations(&event);
        let failure = trust::failure(&event);
        Self {
            event,
            verdict,
            lane,
            mailed,
            correlations,
            failure,
            counts: false,
        }
    }
}

/// Decides on a batch. `provider_of` tells which provider a domain is known to be at, so that only
/// news is written.
#[must_use]
pub fn decide(
    records: &[Record],
    known: &Known,
    policy: Policy,
    provider_of: &dyn Fn(&str) -> Option<Arc<str>>,
    now: Timestamp,
) -> Decision {
    let mut decision = Decision::default();
    let mut suppress: BTreeMap<Subject, NewSuppression> = BTreeMap::new();
    let mut lanes: BTreeMap<LaneKey, Lane> = BTreeMap::new();
    let mut domains: BTreeMap<String, String> = BTreeMap::new();
    for (index, record) in records.iter().enumerate() {
        let trust = trust::of(&record.event, known.correlated[index]);
        decision.trust.push(trust);
        let news = known.fresh[index] && known.repeat_of[index].is_none();
        if !news || record.event.evidence == Evidence::Repeat {
            continue;
        }
        if suppresses(record) && !trust.acts() {
            decision.unproven.push(index);
        } else if suppresses(record) {
            let entry = suppression(record);
            if !known.suppressed.contains_key(&entry.subject) {
                suppress.entry(entry.subject.clone()).or_insert(entry);
            }
        }
        if let Some(key) = record.lane.as_ref().filter(|_| trust == Trust::Own) {
            let before = lanes.get(key).or_else(|| known.lanes.get(key));
            if let Some(after) = lane_after(record, before, policy.limits, now) {
                lanes.insert(key.clone(), after);
            }
            let domain = record.event.recipient.domain();
            if provider_of(domain).as_deref() != Some(&key.provider) {
                domains.insert(domain.to_owned(), key.provider.clone());
            }
        }
    }
    for entry in &known.proven {
        if !known.suppressed.contains_key(&entry.subject) {
            suppress
                .entry(entry.subject.clone())
                .or_insert_with(|| entry.clone());
        }
    }
    decision.suppress = suppress.into_values().collect();
    decision.lanes = lanes.into_iter().collect();
    decision.domains = domains.into_iter().collect();
    decision
}

/// The first rule of the house: only a recipient's own permanent fault suppresses (if the evidence can be
/// trusted). A failure is `failed` **and** permanent: an expired message is neither.
fn suppresses(record: &Record) -> bool {
    let verdict = &record.verdict;
    record.event.outcome == Outcome::Failed
        && verdict.remedy == Remedy::Suppress
        && verdict.scope == Scope::Recipient
        && verdict.permanent
}

fn suppression(record: &Record) -> NewSuppression {
    let subject = Subject::address(record.mailed.clone());
    NewSuppression {
        author: format!("rule {}", record.verdict.rule),
        reason: record.event.reply.to_string(),
        event: Some(record.event.id),
        provider: record.lane.as_ref().map(|lane| lane.provider.clone()),
        ..NewSuppression::new(subject, record.verdict.cause, record.event.at)
    }
}

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

/// The lane after the record, where it changes. Only answers of the provider's own count: each used what it
/// allows; and only a temporary fault of ours says "slow down" (never one of a mailbox).
fn lane_after(record: &Record, before: Option<&Lane>, limits: Limits, now: Timestamp) -> Option<Lane> {
    let at = moment(record.event.at, now);
    let mut after = before.cloned().or_else(|| record.counts.then(|| Lane::open(at)));
    match (record.event.outcome, record.verdict.remedy) {
        (Outcome::Delivered, _) => drop(after.as_mut()?.delivered(at, 1)),
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
            };
            after
                .get_or_insert_with(|| Lane::open(at))
                .signalled(signal, limits, at, now);
        }
        (Outcome::Failed | Outcome::Deferred, _) if record.event.relay.is_some() => {
            drop(after.as_mut()?.answered(at, 1));
        }
        _ => return None,
    }
    after.filter(|after| before != Some(after))
}

#[cfg(test)]
mod tests {
    use super::*;

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
