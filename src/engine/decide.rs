//! From judged events to changes: whom to suppress, which lane to hold.
//!
//! [`decide`] is given what the store knows, in the transaction that will hold the changes, and says
//! what should change. It is pure: the same events over the same knowledge decide the same.

mod census;
mod steer;
mod weigh;

pub use census::{Tallies, Tally, suspects, tally};
pub use weigh::{DELIVERY, RULE};

use super::gate::stream::Streams;
use super::suppression::guard::{Census, Guard, Incident, Normal, Site, Turn};
use super::suppression::privacy::Veil;
use super::suppression::strike::Strike;
use super::suppression::terms::{Term, Terms};
use super::suppression::{AllowList, NewSuppression, Subject, Suppression};
use super::throttle::{Lane, LaneKey, Limits};
use super::trust::{self, Claim, Finding, Fingerprint, Forces, Mark, Name, Proof, Trust};
use super::verdict::{Cause, Remedy, Scope};
use crate::engine::verdict::Verdict;
use crate::mail::address::{AddressKey, LocalPart};
use crate::mail::event::{Event, EventId, Evidence, Outcome};
use jiff::Timestamp;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use steer::Lanes;
use weigh::Scales;

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
    pub correlations: Vec<Mark>,
    /// What the report brings along as proof.
    pub claim: Claim,
    /// The identity of the failure, where our own MTA reports it in more than one way.
    pub failure: Option<Fingerprint>,
    /// Who answered, or whose mail goes there as far as that is known; `None` where nobody's does.
    pub provider: Option<Box<str>>,
    /// The stream that the mail was in; `None` where streams are not told apart.
    pub stream: Option<Box<str>>,
    /// Whether the lane is counted although nothing limits it: it has a warm-up, of which each day's share is known
    /// only by what was sent.
    pub counts: bool,
    /// Of a refusal for the number of connections: how many other attempts of its lane were under way, where that is
    /// known ([`crate::engine::gate::Gate::hear`]).
    pub beside: Option<u32>,
}

/// What the store knows about a batch of records; the vectors go by the records' positions.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// Whether this is the first time that the event is seen.
    pub fresh: Vec<bool>,
    /// By what name a message that left is known to be the one reported on, the best; `None` where none is.
    pub correlated: Vec<Option<Name>>,
    /// The event that told the same failure before.
    pub repeat_of: Vec<Option<EventId>>,
    /// The entries there are for those who were mailed and for their domains, the expired ones too.
    pub suppressed: HashMap<Subject, Suppression>,
    /// Their strikes.
    pub strikes: HashMap<(Subject, Cause), Vec<Strike>>,
    /// What reports that came unproven tell, and whose message is now seen to have left.
    pub proven: Vec<Proven>,
    /// What is known of the sites that the guard is to look at.
    pub sites: BTreeMap<Site, Past>,
    /// The incidents that last, and the latest that are over.
    pub incidents: Vec<Incident>,
    /// The lanes concerned, as stored.
    pub lanes: HashMap<LaneKey, Lane>,
}

/// What was counted at a site before a batch.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Past {
    /// The hours that the batch touches, each with the one before it, and the last three.
    pub hours: BTreeMap<i64, Census>,
    /// What is normal.
    pub normal: Normal,
}

/// Evidence against somebody who was mailed.
#[derive(Debug, Clone, PartialEq)]
pub struct Charge {
    /// The event that tells it.
    pub event: EventId,
    /// When it happened.
    pub at: Timestamp,
    /// Against whom.
    pub mailed: AddressKey,
    /// The domain that was mailed.
    pub domain: Box<str>,
    /// Whether that is also the domain that failed, and not one that the mail was passed on to.
    pub at_home: bool,
    /// Why it failed.
    pub cause: Cause,
    /// The id of the rule that said so.
    pub rule: String,
    /// In whose words.
    pub reply: String,
    /// Who answered.
    pub provider: Option<String>,
    /// Whether it never suppresses alone.
    pub doubtful: bool,
    /// The stream that the mail was in; `None` where streams are not told apart.
    pub stream: Option<Box<str>>,
}

/// Evidence that waited for proof, and has found it.
#[derive(Debug, Clone, PartialEq)]
pub struct Proven {
    /// The evidence.
    pub charge: Charge,
    /// By what name its message was now seen to leave.
    pub by: Name,
}

/// A strike to be kept.
#[derive(Debug, Clone, PartialEq)]
pub struct NewStrike {
    /// Against whom.
    pub subject: Subject,
    /// Why.
    pub cause: Cause,
    /// When.
    pub strike: Strike,
    /// The event that is the evidence.
    pub event: EventId,
}

/// An entry to be lifted.
#[derive(Debug, Clone, PartialEq)]
pub struct Lifted {
    /// Which.
    pub suppression: Suppression,
    /// Who lifts it.
    pub author: String,
    /// Why.
    pub reason: String,
}

/// A quarantined entry that acts from now on.
#[derive(Debug, Clone, PartialEq)]
pub struct Confirmed {
    /// Which.
    pub suppression: Suppression,
    /// Who says so.
    pub author: String,
    /// In whose words.
    pub reason: String,
}

/// What should change.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Decision {
    /// What was found of each record, by position.
    pub findings: Vec<Finding>,
    /// The positions of reports that would have been evidence, were they proved: to be kept for when they are.
    pub unproven: Vec<usize>,
    /// Whom to suppress: none that is suppressed already, none twice.
    pub suppress: Vec<NewSuppression>,
    /// Strikes to be kept: none on a day that has one.
    pub strikes: Vec<NewStrike>,
    /// Subjects that took mail: what of their strikes is older than that is to go.
    pub cleared: Vec<(Subject, Timestamp)>,
    /// Subjects whose strikes have made a suppression, and are to go.
    pub spent: Vec<(Subject, Cause)>,
    /// Entries to be lifted.
    pub lifted: Vec<Lifted>,
    /// Entries that were quarantined, and are to act.
    pub confirmed: Vec<Confirmed>,
    /// Incidents that begin or end. What rules wrote at the site since an incident began is to be quarantined.
    pub turns: Vec<(Site, Turn)>,
    /// What to add to the census.
    pub census: Tallies,
    /// Lanes whose state is to be stored.
    pub lanes: Vec<(LaneKey, Lane)>,
    /// Open lanes that nothing was ever said against: to be remembered and not stored, so that a first signal
    /// finds what was accepted before it.
    pub unlimited: Vec<(LaneKey, Lane)>,
    /// Domains whose provider an answer has shown, as (domain, provider).
    pub domains: Vec<(String, String)>,
}

/// What the operator may change about decisions.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Policy {
    /// How local parts compare.
    pub local_part: LocalPart,
    /// Bounds of holds.
    pub limits: Limits,
    /// How much evidence suppresses, and for how long.
    pub terms: Terms,
    /// When a provider is not believed.
    pub guard: Guard,
    /// The kinds of mail.
    pub streams: Streams,
    /// Who is never suppressed.
    pub allow: AllowList,
    /// What is kept of addresses.
    pub veil: Veil,
    /// What evidence may do, by how sure we are of it.
    pub forces: Forces,
}

impl Policy {
    /// The stream of mail from this sender, handed in by this user; `None` where streams are not told apart.
    #[must_use]
    pub fn stream_of(&self, sender: Option<&str>, user: Option<&str>) -> Option<Box<str>> {
        let of = || {
            self.streams
                .of(sender.unwrap_or_default(), user.unwrap_or_default())
        };
        self.streams
            .is_told_apart()
            .then(|| self.streams.name_of(of()).into())
    }
}

impl Record {
    /// Puts together what the store needs to know of an event.
    #[must_use]
    pub fn new(event: Event, verdict: Verdict, lane: Option<LaneKey>, local_part: LocalPart) -> Self {
        let mailed = event.mailed().key(local_part);
        let correlations = trust::correlations(&event);
        let failure = trust::failure(&event);
        let provider = lane.as_ref().map(|key| key.provider.as_str().into());
        Self {
            event,
            verdict,
            lane,
            mailed,
            correlations,
            claim: Claim::default(),
            failure,
            provider,
            stream: None,
            counts: false,
            beside: None,
        }
    }
}

/// Decides on a batch. `provider_of` tells which provider a domain is known to be at, so that only
/// news is written.
#[must_use]
pub fn decide(
    records: &[Record],
    known: &Known,
    policy: &Policy,
    provider_of: &dyn Fn(&str) -> Option<Arc<str>>,
    unlimited: &dyn Fn(&LaneKey) -> Option<Lane>,
    now: Timestamp,
) -> Decision {
    let finding = |(index, record): (usize, &Record)| {
        trust::judge(&record.event, &record.claim, known.correlated[index])
    };
    let mut decision = Decision {
        findings: records.iter().enumerate().map(finding).collect(),
        census: tally(records, known),
        ..Decision::default()
    };
    decision.turns = census::turns(&decision.census, known, &policy.guard, now);
    let incidents = census::incidents(known, &decision.turns);
    let mut scales = Scales::new(known, policy, &incidents, now);
    let news = || news(records, known);
    let findings = &decision.findings;
    news()
        .filter(|&(index, _)| findings[index].trust().acts())
        .for_each(|(_, record)| scales.delivered(record));
    scales.lift();
    let unproven = weigh(&mut scales, news(), findings, policy);
    for proven in &known.proven {
        let finding = Finding::proven(vec![Proof::Seen(proven.by)]);
        let force = policy.forces.on(&finding, proven.charge.cause);
        scales.weigh_with(force, proven.charge.clone());
    }
    let own = |&(index, _): &(usize, &Record)| findings[index].trust() == Trust::Own;
    let answers: Vec<&Record> = news().filter(own).map(|(_, record)| record).collect();
    decision.unproven = unproven;
    scales.decide(&mut decision);
    let mut lanes = Lanes::new(&known.lanes, unlimited);
    for record in answers {
        lanes.answered(record, policy.limits, provider_of, now);
    }
    lanes.decide(&mut decision);
    decision
}

/// Weighs what the records hold against anybody, as much as its trust may do; returns the positions of what only proof is
/// missing of.
fn weigh<'a>(
    scales: &mut Scales<'_>,
    news: impl Iterator<Item = (usize, &'a Record)>,
    findings: &[Finding],
    policy: &Policy,
) -> Vec<usize> {
    let mut unproven = Vec::new();
    for (index, record) in news {
        let Some(charge) = charge(record).filter(|_| !policy.allow.holds(&record.event.mailed().to_string()))
        else {
            continue;
        };
        let finding = &findings[index];
        if finding.trust().acts() {
            let force = policy.forces.on(finding, charge.cause);
            scales.weigh_with(force, charge);
        } else if finding.may_wait() {
            unproven.push(index);
        }
    }
    unproven
}

/// The records that tell something new, with their positions.
fn news<'a>(records: &'a [Record], known: &'a Known) -> impl Iterator<Item = (usize, &'a Record)> {
    records.iter().enumerate().filter(|&(index, record)| {
        known.fresh[index] && known.repeat_of[index].is_none() && record.event.evidence != Evidence::Repeat
    })
}

/// The first rule of the house: only a recipient's or a domain's own permanent fault is evidence against anybody, and
/// a complaint. A failure is `failed` **and** permanent: an expired message is neither.
pub(super) fn charge(record: &Record) -> Option<Charge> {
    let (event, verdict) = (&record.event, &record.verdict);
    let evidence = match event.outcome {
        Outcome::Failed => census::blames(verdict),
        Outcome::Complaint => verdict.remedy == Remedy::Suppress && verdict.scope == Scope::Recipient,
        _ => false,
    };
    let domain = event.mailed().domain();
    evidence.then(|| Charge {
        event: event.id,
        at: event.at,
        mailed: record.mailed.clone(),
        domain: domain.into(),
        at_home: event.recipient.domain() == domain,
        cause: verdict.cause,
        rule: verdict.rule.to_string(),
        reply: event.reply.to_string(),
        provider: record.provider.as_deref().map(str::to_owned),
        doubtful: verdict.remedy != Remedy::Suppress,
        stream: record.stream.clone(),
    })
}

impl Charge {
    /// The entry that it makes, under these terms, the how-manieth in a row it is.
    fn entry(&self, subject: Subject, term: &Term, number: u32) -> NewSuppression {
        NewSuppression {
            expires: term.expires(self.at, number),
            author: format!("{RULE}{}", self.rule),
            reason: self.reply.clone(),
            event: Some(self.event),
            provider: self.provider.clone(),
            term: number,
            ..NewSuppression::new(subject, self.cause, self.at)
        }
    }
}
