//! Weighing evidence against those who were mailed: what is a strike, what suppresses, what is quarantined, and what
//! a delivery puts right.
//!
//! The rules, in the order in which they are asked:
//! 1. Only a recipient's or a domain's own permanent fault, or a complaint, is evidence; none is against an address
//!    on the allow list.
//! 2. Of several outcomes for one address, what happened later counts: a delivery clears the strikes before it and
//!    lifts what a rule had suppressed for a time (the whole domain's as well), or had quarantined. What stands for
//!    good, what people wrote and what is about one stream stays.
//! 3. What is suppressed is not suppressed again. What is quarantined is confirmed by clear evidence from after the
//!    incident.
//! 4. In an incident, evidence that suppresses at once quarantines, and any other is no strike.
//! 5. The rest is counted by its cause's terms ([`strike::count`]).

use super::{Charge, Confirmed, Decision, Known, Lifted, NewStrike, Policy, Record};
use crate::engine::suppression::guard::{Incident, Kind};
use crate::engine::suppression::strike::{self, Strike};
use crate::engine::suppression::terms::Term;
use crate::engine::suppression::{NewSuppression, Standing, Subject, Suppression, Target};
use crate::engine::trust::Force;
use crate::engine::verdict::Cause;
use crate::mail::event::Outcome;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What begins the author of an entry that a rule made.
pub const RULE: &str = "rule ";
/// The author of what a delivery puts right.
pub const DELIVERY: &str = "delivery";

/// The scales for one batch.
pub(super) struct Scales<'a> {
    known: &'a Known,
    policy: &'a Policy,
    now: Timestamp,
    incidents: &'a [Incident],
    addresses: HashMap<&'a str, Timestamp>,
    domains: HashMap<&'a str, Timestamp>,
    suppress: BTreeMap<Subject, NewSuppression>,
    strikes: BTreeMap<(Subject, Cause), Vec<NewStrike>>,
    spent: BTreeSet<(Subject, Cause)>,
    confirmed: BTreeMap<Subject, Confirmed>,
    lifted: BTreeMap<Subject, Lifted>,
}

impl<'a> Scales<'a> {
    pub(super) fn new(
        known: &'a Known,
        policy: &'a Policy,
        incidents: &'a [Incident],
        now: Timestamp,
    ) -> Self {
        Self {
            known,
            policy,
            now,
            incidents,
            addresses: HashMap::new(),
            domains: HashMap::new(),
            suppress: BTreeMap::new(),
            strikes: BTreeMap::new(),
            spent: BTreeSet::new(),
            confirmed: BTreeMap::new(),
            lifted: BTreeMap::new(),
        }
    }

    /// Takes note of a proved delivery. All of a batch come before the first [`Scales::lift`].
    pub(super) fn delivered(&mut self, record: &'a Record) {
        if record.event.outcome != Outcome::Delivered {
            return;
        }
        let at = record.event.at;
        let later = |before: &mut Timestamp| *before = at.max(*before);
        self.addresses
            .entry(record.mailed.as_str())
            .and_modify(later)
            .or_insert(at);
        self.domains
            .entry(record.event.mailed().domain())
            .and_modify(later)
            .or_insert(at);
    }

    /// When the subject last took mail, in this batch.
    fn delivery(&self, subject: &Subject) -> Option<Timestamp> {
        let taken = match &subject.target {
            _ if subject.stream.is_some() => None,
            Target::Address(key) => self.addresses.get(key.as_str()),
            Target::Domain(name) => self.domains.get(&**name),
            Target::Pattern(_) => None,
        };
        taken.copied()
    }

    /// Lifts what the deliveries prove wrong.
    pub(super) fn lift(&mut self) {
        for (subject, suppression) in &self.known.suppressed {
            let entry = &suppression.entry;
            let taken = self
                .delivery(subject)
                .filter(|&at| is_soft(entry) && entry.since < at);
            if let Some(at) = taken {
                let lifted = Lifted {
                    suppression: suppression.clone(),
                    author: DELIVERY.to_owned(),
                    reason: format!("mail was taken at {at}"),
                };
                self.lifted.insert(subject.clone(), lifted);
            }
        }
    }

    /// Weighs evidence that may do so much.
    pub(super) fn weigh_with(&mut self, force: Force, mut charge: Charge) {
        match force {
            Force::Act => self.weigh(&charge),
            Force::Strike => {
                charge.doubtful = true;
                self.weigh(&charge);
            }
            Force::Keep => {}
        }
    }

    /// Weighs evidence against the address, and against its domain where that is not found.
    fn weigh(&mut self, charge: &Charge) {
        if self.policy.allow.holds(charge.mailed.as_str()) {
            return;
        }
        let policy = self.policy;
        let stream = charge.stream.as_deref().filter(|_| charge.cause.is_per_stream());
        let subject = Subject::address(charge.mailed.clone()).in_stream(stream);
        if let Some(term) = policy.terms.of(charge.cause) {
            self.weigh_subject(charge, subject, term);
        }
        let whole = charge.cause == Cause::DomainNotFound && charge.at_home && !charge.domain.is_empty();
        if whole && !policy.allow.holds(&format!("@{}", charge.domain)) {
            self.weigh_subject(charge, Subject::domain(&charge.domain), policy.terms.domain());
        }
    }

    fn weigh_subject(&mut self, charge: &Charge, subject: Subject, term: &Term) {
        let needed = term.needed(charge.doubtful);
        let at_once_for_good = needed == 1 && term.expiry.is_none();
        if !at_once_for_good && self.delivery(&subject).is_some_and(|taken| charge.at < taken) {
            return;
        }
        let believed = charge.cause.is_per_stream() || !self.is_in_incident(charge);
        let old = self
            .known
            .suppressed
            .get(&subject)
            .filter(|_| !self.lifted.contains_key(&subject));
        if let Some(standing) = old.filter(|old| old.entry.expires.is_none_or(|at| self.now < at)) {
            let clear = !charge.doubtful || term.strikes > 1;
            let later = standing.entry.since < charge.at;
            if standing.entry.standing == Standing::Quarantined && believed && clear && later {
                self.confirm(charge, subject, standing);
            }
            return;
        }
        if self.suppress.contains_key(&subject) || (!believed && needed > 1) {
            return;
        }
        let count = self.count(charge, &subject, term);
        if count.is_met() {
            let before = old
                .filter(|old| old.entry.cause == charge.cause)
                .map(|old| old.entry.term);
            let mut entry = charge.entry(subject.clone(), term, term.next(before));
            if entry.expires.is_some_and(|at| at <= self.now) {
                return;
            }
            if !believed {
                entry.standing = Standing::Quarantined;
            }
            if count.needed > 1 {
                entry.reason = format!("{} (strike {} of {})", entry.reason, count.counted, count.needed);
            }
            let key = (subject.clone(), charge.cause);
            self.strikes.remove(&key);
            if self.known.strikes.contains_key(&key) {
                self.spent.insert(key);
            }
            self.suppress.insert(subject, entry);
        } else if count.strikes {
            let strike = NewStrike {
                subject: subject.clone(),
                cause: charge.cause,
                strike: self.strike(charge),
                event: charge.event,
            };
            self.strikes
                .entry((subject, charge.cause))
                .or_default()
                .push(strike);
        }
    }

    /// A stamp from the future is as good as one of now: it must not make two days of one.
    fn strike(&self, charge: &Charge) -> Strike {
        Strike::new(charge.at.min(self.now))
    }

    fn count(&self, charge: &Charge, subject: &Subject, term: &Term) -> strike::Count {
        let key = (subject.clone(), charge.cause);
        let taken = self.delivery(subject);
        let stored = self.known.strikes.get(&key).into_iter().flatten().copied();
        let new = self.strikes.get(&key).into_iter().flatten().map(|new| new.strike);
        let before: Vec<Strike> = stored
            .chain(new)
            .filter(|strike| taken.is_none_or(|taken| taken <= strike.at))
            .collect();
        strike::count(term, charge.doubtful, &before, self.strike(charge))
    }

    fn confirm(&mut self, charge: &Charge, subject: Subject, standing: &Suppression) {
        let confirmed = Confirmed {
            suppression: standing.clone(),
            author: format!("{RULE}{}", charge.rule),
            reason: charge.reply.clone(),
        };
        self.confirmed.entry(subject).or_insert(confirmed);
    }

    /// Whether what the provider or the domain said at that time is not believed.
    fn is_in_incident(&self, charge: &Charge) -> bool {
        let provider = charge.provider.as_deref().unwrap_or_default();
        self.incidents.iter().any(|incident| {
            let named = match incident.site.kind {
                Kind::Provider => *incident.site.name == *provider,
                Kind::Domain => incident.site.name == charge.domain,
            };
            named && incident.covers(charge.at)
        })
    }

    /// What is to change.
    pub(super) fn decide(self, decision: &mut Decision) {
        let cleared = self.known.strikes.iter().filter_map(|((subject, _), strikes)| {
            let taken = self.delivery(subject)?;
            strikes
                .iter()
                .any(|strike| strike.at < taken)
                .then(|| (subject.clone(), taken))
        });
        decision.cleared = cleared.collect::<BTreeMap<_, _>>().into_iter().collect();
        decision.suppress = self.suppress.into_values().collect();
        decision.strikes = self.strikes.into_values().flatten().collect();
        decision.spent = self.spent.into_iter().collect();
        decision.confirmed = self.confirmed.into_values().collect();
        decision.lifted = self.lifted.into_values().collect();
    }
}

/// Whether a delivery lifts an entry: one that a rule made, about all mail, and for a time or in quarantine.
fn is_soft(entry: &NewSuppression) -> bool {
    entry.author.starts_with(RULE)
        && entry.subject.stream.is_none()
        && (entry.expires.is_some() || entry.standing == Standing::Quarantined)
}
