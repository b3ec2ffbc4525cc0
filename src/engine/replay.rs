//! Replay: what kept events would have come to under other rules, beside what they did come to.
//!
//! Both are played by the same [`decide`](super::decide::decide) that runs in the daemon, over the same events in
//! their order, once with the verdicts that were given and once with new ones. **Only where the two plays differ do the
//! rules make a difference**: whatever is not kept (deliveries are counted, not kept, and what was before the span
//! is not played) is missing in both alike.

use super::decide::{Known, Policy, Record, charge, decide};
use super::suppression::guard::Incident;
use super::suppression::{NewSuppression, Standing, Subject, Suppression, SuppressionId};
use super::trust::{Claim, Trust};
use super::verdict::Verdict;
use crate::mail::event::EventId;
use jiff::Timestamp;
use std::collections::{BTreeMap, HashSet};

/// Two plays side by side.
#[derive(Debug)]
pub struct Replay {
    given: Play,
    anew: Play,
    /// Events that were evidence and are no more.
    void: HashSet<EventId>,
    /// How often one verdict took the place of another, by their rules.
    turned: BTreeMap<(String, String), u64>,
}

/// One play.
#[derive(Debug)]
struct Play {
    policy: Policy,
    known: Known,
    next: i64,
}

/// An event to be judged again.
#[derive(Debug, Clone)]
pub struct Case {
    /// As it was judged.
    pub record: Record,
    /// How sure we are; what does not act is not played.
    pub trust: Trust,
    /// What is to be made of it now.
    pub verdict: Verdict,
    /// Whether all that the new verdict rests on is known. If not, it can take evidence back, and make none.
    pub is_whole: bool,
}

impl Replay {
    /// Begins with nothing. What providers said in these incidents is not believed, as it was not then.
    #[must_use]
    pub fn new(policy: &Policy, incidents: &[Incident]) -> Self {
        let play = || {
            let mut policy = policy.clone();
            // The incidents are known; none is to be found again in a part of what was counted.
            policy.guard.enabled = false;
            Play {
                policy,
                known: Known {
                    incidents: incidents.to_vec(),
                    ..Known::default()
                },
                next: 1,
            }
        };
        Self {
            given: play(),
            anew: play(),
            void: HashSet::new(),
            turned: BTreeMap::new(),
        }
    }

    /// Plays on, with events that come after those before.
    pub fn play(&mut self, cases: &[Case], now: Timestamp) {
        let cases: Vec<&Case> = cases.iter().filter(|case| case.trust.acts()).collect();
        let trusted = |case: &Case, record: Record| Record {
            claim: Claim {
                before: Some(case.trust),
                ..Claim::default()
            },
            ..record
        };
        let given = cases.iter().map(|case| trusted(case, case.record.clone()));
        let given: Vec<Record> = given.collect();
        let anew = cases.iter().map(|case| trusted(case, self.judged_anew(case)));
        let anew: Vec<Record> = anew.collect();
        self.given.play(&given, now);
        self.anew.play(&anew, now);
    }

    fn judged_anew(&mut self, case: &Case) -> Record {
        let anew = Record {
            verdict: case.verdict.clone(),
            ..case.record.clone()
        };
        let (was, is) = (charge(&case.record).is_some(), charge(&anew).is_some());
        if is && !was && !case.is_whole {
            return case.record.clone();
        }
        if was && !is {
            self.void.insert(case.record.event.id);
        }
        let (old, new) = (&case.record.verdict, &anew.verdict);
        if old.rule != new.rule || old.cause != new.cause {
            let name = |verdict: &Verdict| format!("{} ({})", verdict.rule, verdict.cause);
            *self.turned.entry((name(old), name(new))).or_default() += 1;
        }
        anew
    }

    /// How often one verdict took the place of another: by both rules and causes.
    pub fn turned(&self) -> impl Iterator<Item = (&(String, String), u64)> {
        self.turned.iter().map(|(verdicts, n)| (verdicts, *n))
    }

    /// Who would be suppressed by the new verdicts alone; whether they are already is not known here.
    #[must_use]
    pub fn added(&self) -> Vec<NewSuppression> {
        let mut added: Vec<NewSuppression> = self
            .anew
            .known
            .suppressed
            .iter()
            .filter(|(subject, _)| !self.given.known.suppressed.contains_key(*subject))
            .map(|(_, suppression)| suppression.entry.clone())
            .filter(|entry| entry.standing == Standing::InForce)
            .collect();
        added.sort_by(|one, other| one.subject.cmp(&other.subject));
        added
    }

    /// Whether an entry that a rule made rests on what the new verdicts do not say.
    #[must_use]
    pub fn lifts(&self, suppression: &Suppression) -> bool {
        let subject = &suppression.entry.subject;
        let void = suppression
            .entry
            .event
            .is_some_and(|event| self.void.contains(&event));
        let has = |play: &Play, subject: &Subject| play.known.suppressed.contains_key(subject);
        !has(&self.anew, subject) && (void || has(&self.given, subject))
    }
}

impl Play {
    fn play(&mut self, records: &[Record], now: Timestamp) {
        self.known.fresh = vec![true; records.len()];
        self.known.repeat_of = vec![None; records.len()];
        self.known.correlated = vec![None; records.len()];
        let decision = decide(records, &self.known, &self.policy, &|_| None, &|_| None, now);
        for entry in decision.suppress {
            self.known.strikes.remove(&(entry.subject.clone(), entry.cause));
            let id = SuppressionId(self.next);
            self.next += 1;
            self.known
                .suppressed
                .insert(entry.subject.clone(), Suppression { id, entry });
        }
        for new in decision.strikes {
            self.known
                .strikes
                .entry((new.subject, new.cause))
                .or_default()
                .push(new.strike);
        }
        for confirmed in decision.confirmed {
            if let Some(known) = self
                .known
                .suppressed
                .get_mut(&confirmed.suppression.entry.subject)
            {
                known.entry.standing = Standing::InForce;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::verdict::Cause;
    use crate::mail::address::{Address, LocalPart};
    use crate::mail::event::{Authentication, Event, Evidence, Outcome, Source};
    use crate::mail::reply::Reply;

    fn at(hour: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + hour * 3600).unwrap()
    }

    fn verdict(cause: Cause, rule: &str) -> Verdict {
        Verdict {
            cause,
            sub_cause: None,
            scope: cause.scope(),
            permanent: true,
            remedy: cause.remedy(true),
            rule: rule.into(),
            hold: None,
            throttle: None,
            advice: None,
        }
    }

    /// A failure that was judged to be one cause and is now another.
    fn case(address: &str, hour: i64, was: Cause, is: Cause) -> Case {
        let event = Event {
            id: EventId::new(at(hour), &[address.as_bytes()]),
            at: at(hour),
            source: Source::Log,
            outcome: Outcome::Failed,
            evidence: Evidence::Fresh,
            recipient: Address::parse(address).unwrap(),
            original_recipient: None,
            sender: None,
            sasl_username: None,
            queue_id: None,
            message_id: None,
            envelope_id: None,
            relay: None,
            command: Some("RCPT TO".into()),
            reply: Reply::parse("550 no"),
            reported_status: None,
            reporting_mta: None,
            return_path: None,
            own: true,
            authentication: Authentication::Untried,
        };
        Case {
            record: Record::new(event, verdict(was, "old"), None, LocalPart::Fold),
            trust: Trust::Own,
            verdict: verdict(is, "new"),
            is_whole: true,
        }
    }

    fn names(entries: &[NewSuppression]) -> Vec<String> {
        entries
            .iter()
            .map(|entry| format!("{} {}", entry.subject, entry.cause))
            .collect()
    }

    fn entry(case: &Case) -> Suppression {
        let subject = Subject::address(case.record.mailed.clone());
        Suppression {
            id: SuppressionId(7),
            entry: NewSuppression {
                event: Some(case.record.event.id),
                author: "rule old".into(),
                ..NewSuppression::new(subject, case.record.verdict.cause, case.record.event.at)
            },
        }
    }

    #[test]
    fn only_what_the_rules_change_changes() {
        use Cause::{ContentRejected, MailboxFull, UserUnknown};
        let cases = [
            case("dead@x.test", 0, ContentRejected, UserUnknown),
            case("alive@x.test", 1, UserUnknown, ContentRejected),
            case("same@x.test", 2, UserUnknown, UserUnknown),
            case("full@x.test", 3, UserUnknown, MailboxFull),
        ];
        let mut replay = Replay::new(&Policy::default(), &[]);
        for chunk in cases.chunks(2) {
            replay.play(chunk, at(100));
        }
        assert_eq!(names(&replay.added()), ["dead@x.test user_unknown"]);
        assert!(!replay.lifts(&entry(&cases[0])));
        assert!(replay.lifts(&entry(&cases[1])));
        assert!(!replay.lifts(&entry(&cases[2])));
        assert!(
            replay.lifts(&entry(&cases[3])),
            "one strike of five does not suppress"
        );
        let turned: Vec<_> = replay
            .turned()
            .map(|((old, new), n)| format!("{old} > {new} {n}"))
            .collect();
        assert_eq!(turned.len(), 4);
        assert!(turned.contains(&"old (content_rejected) > new (user_unknown) 1".to_owned()));
    }

    #[test]
    fn strikes_are_counted_over_all_that_is_played() {
        let mut replay = Replay::new(&Policy::default(), &[]);
        for day in 0..5 {
            let case = case("full@x.test", day * 24, Cause::Unknown, Cause::MailboxFull);
            assert!(replay.added().is_empty());
            replay.play(&[case], at(97));
        }
        assert_eq!(names(&replay.added()), ["full@x.test mailbox_full"]);
    }

    #[test]
    fn what_is_not_known_whole_makes_no_evidence() {
        let mut replay = Replay::new(&Policy::default(), &[]);
        let unknown = |is_whole, trust| Case {
            is_whole,
            trust,
            ..case("a@x.test", 0, Cause::SenderRejected, Cause::UserUnknown)
        };
        replay.play(
            &[unknown(false, Trust::Own), unknown(true, Trust::Unverified)],
            at(1),
        );
        assert!(replay.added().is_empty());
        let back = Case {
            is_whole: false,
            ..case("b@x.test", 0, Cause::UserUnknown, Cause::SenderRejected)
        };
        replay.play(std::slice::from_ref(&back), at(1));
        assert!(replay.lifts(&entry(&back)), "but takes it back");
    }
}
