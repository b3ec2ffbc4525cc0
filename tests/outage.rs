//! An outage, played from end to end: a large provider answers `550 5.1.1` for 40 % of its live mailboxes for three
//! hours. Fewer than one in a thousand of them may end suppressed, and the really dead must be caught within a day.
//!
//! Played twice: over a model of the store, which shows what the judgement does by itself, and (a smaller one) over
//! the real SQLite store. A third play is a day like any other, with an old list in it: nothing may be quarantined.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use jiff::{SignedDuration, Timestamp};
use nixie::engine::decide::{self, Decision, Known, Past, Policy, Record};
use nixie::engine::suppression::guard::{self, Census, Incident, Kind, Normal, Site, Turn};
use nixie::engine::suppression::strike::Strike;
use nixie::engine::suppression::{Standing, Subject, Suppression, SuppressionId};
use nixie::engine::throttle::LaneKey;
use nixie::engine::verdict::{Cause, Verdict};
use nixie::mail::address::{Address, LocalPart};
use nixie::mail::event::{Event, EventId, Evidence, Outcome, Relay, Source};
use nixie::mail::reply::Reply;
use nixie::store::Store;
use nixie::store::contract::{Batch, Filter};
use std::collections::{BTreeMap, HashMap};

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// What keeps and judges.
trait Ground {
    fn commit(&mut self, records: Vec<Record>, now: Timestamp);
    /// What stands against an address: whether it acts.
    fn standing(&self, address: &str) -> Option<Standing>;
    fn incidents(&self) -> Vec<Incident>;
}

/// The store as a few maps.
#[derive(Default)]
struct Model {
    policy: Policy,
    entries: HashMap<Subject, Suppression>,
    strikes: HashMap<(Subject, Cause), Vec<Strike>>,
    census: BTreeMap<(Site, i64), Census>,
    incidents: Vec<Incident>,
    last: i64,
}

impl Model {
    fn known(&self, records: &[Record]) -> Known {
        let mut known = Known {
            fresh: vec![true; records.len()],
            correlated: vec![None; records.len()],
            repeat_of: vec![None; records.len()],
            incidents: self.incidents.clone(),
            ..Known::default()
        };
        for record in records {
            let domain = Subject::domain(record.event.mailed().domain());
            for subject in [Subject::from(record.mailed.clone()), domain] {
                if let Some(entry) = self.entries.get(&subject) {
                    known.suppressed.insert(subject.clone(), entry.clone());
                }
                for &cause in Cause::ALL {
                    let key = (subject.clone(), cause);
                    if let Some(strikes) = self.strikes.get(&key) {
                        known.strikes.insert(key, strikes.clone());
                    }
                }
            }
        }
        let tallies = decide::tally(records, &known);
        for (site, hour) in tallies.keys() {
            let past = self.past(site, *hour);
            known.sites.insert(site.clone(), past);
        }
        known
    }

    fn past(&self, site: &Site, now: i64) -> Past {
        let own: Vec<Incident> = self
            .incidents
            .iter()
            .filter(|i| i.site == *site)
            .cloned()
            .collect();
        let since = self.policy.guard.normal_since(&own, guard::begins(now));
        let covered = |hour: i64| own.iter().any(|i| i.covers(guard::begins(hour)));
        let range = |from, to| self.census.range((site.clone(), from)..(site.clone(), to));
        let mut normal = Normal::default();
        for ((_, hour), census) in range(since, now - 1) {
            if !covered(*hour) {
                normal.census = normal.census.plus(*census);
                normal.hours += 1;
            }
        }
        let hours = range(now - 3, now + 1)
            .map(|((_, hour), census)| (*hour, *census))
            .collect();
        Past { hours, normal }
    }

    fn apply(&mut self, decision: Decision) {
        for (key, tally) in decision.census {
            let census = self.census.entry(key).or_default();
            *census = census.plus(tally.census);
        }
        for (site, turn) in decision.turns {
            match turn {
                Turn::Ends(at, end) => self
                    .incidents
                    .iter_mut()
                    .filter(|incident| incident.is_open() && incident.site == site)
                    .for_each(|incident| incident.ended = Some((at, end))),
                Turn::Begins(incident) => {
                    for stored in self.entries.values_mut() {
                        let of_site = match site.kind {
                            Kind::Provider => stored.entry.provider.as_deref() == Some(&*site.name),
                            Kind::Domain => stored.entry.subject.domain_name() == &*site.name,
                        };
                        if of_site && stored.entry.since >= incident.began {
                            stored.entry.standing = Standing::Quarantined;
                        }
                    }
                    self.incidents.push(incident);
                }
            }
        }
        for (subject, taken) in decision.cleared {
            for ((whose, _), strikes) in &mut self.strikes {
                strikes.retain(|strike| *whose != subject || strike.at >= taken);
            }
        }
        for key in decision.spent {
            self.strikes.remove(&key);
        }
        for new in decision.strikes {
            self.strikes
                .entry((new.subject, new.cause))
                .or_default()
                .push(new.strike);
        }
        for lifted in decision.lifted {
            self.entries.remove(&lifted.suppression.entry.subject);
        }
        for confirmed in decision.confirmed {
            let stored = self
                .entries
                .get_mut(&confirmed.suppression.entry.subject)
                .unwrap();
            stored.entry.standing = Standing::InForce;
        }
        for entry in decision.suppress {
            self.last += 1;
            let id = SuppressionId(self.last);
            self.entries
                .insert(entry.subject.clone(), Suppression { id, entry });
        }
    }
}

impl Ground for Model {
    fn commit(&mut self, records: Vec<Record>, now: Timestamp) {
        let known = self.known(&records);
        let decision = decide::decide(
            &records,
            &known,
            &self.policy,
            &|_| Some("google".into()),
            &|_| None,
            now,
        );
        self.apply(decision);
    }

    fn standing(&self, address: &str) -> Option<Standing> {
        let key = Address::parse(address).unwrap().key(LocalPart::Fold);
        self.entries.get(&key.into()).map(|stored| stored.entry.standing)
    }

    fn incidents(&self) -> Vec<Incident> {
        self.incidents.clone()
    }
}

/// The real store. What stands in it is read once an hour of the play: what is suppressed is still mailed a few times,
/// as what waits in a queue is.
struct Real {
    runtime: tokio::runtime::Runtime,
    store: Store,
    policy: Policy,
    standing: HashMap<String, Standing>,
    read: i64,
    _directory: tempfile::TempDir,
}

impl Real {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .unwrap();
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/nixie.db", directory.path().display());
        Self {
            store: runtime.block_on(Store::open(&url)).unwrap(),
            runtime,
            policy: Policy::default(),
            standing: HashMap::new(),
            read: 0,
            _directory: directory,
        }
    }

    fn read(&mut self) {
        let all = Filter {
            limit: 1_000_000,
            ..Filter::default()
        };
        let entries = self.runtime.block_on(self.store.suppressions(&all)).unwrap();
        self.standing = entries
            .into_iter()
            .map(|stored| (stored.entry.subject.to_string(), stored.entry.standing))
            .collect();
    }
}

impl Ground for Real {
    fn commit(&mut self, records: Vec<Record>, now: Timestamp) {
        let batch = Batch {
            records,
            guard: self.policy.guard,
            ..Batch::default()
        };
        let decide = |known: &Known| {
            decide::decide(
                &batch.records,
                known,
                &self.policy,
                &|_| Some("google".into()),
                &|_| None,
                now,
            )
        };
        self.runtime.block_on(self.store.commit(&batch, decide)).unwrap();
        if guard::hour(now) != self.read {
            self.read = guard::hour(now);
            self.read();
        }
    }

    fn standing(&self, address: &str) -> Option<Standing> {
        self.standing.get(address).copied()
    }

    fn incidents(&self) -> Vec<Incident> {
        self.runtime
            .block_on(self.store.incidents(Timestamp::MIN))
            .unwrap()
    }
}

/// Who is mailed, how often, and what goes wrong.
struct Play {
    live: usize,
    /// Dead from the first day on, and found out when they are first mailed.
    dead: usize,
    /// Each of these dies in some hour of the play.
    dying: usize,
    /// Each address is mailed once in so long.
    every: i64,
    days: i64,
    /// From when to when which tenths of the live are called unknown.
    outage: Option<(i64, i64, usize)>,
}

/// A day that began at midnight.
fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_699_920_000 + second).unwrap()
}

fn record(address: &str, second: i64, delivered: bool) -> Record {
    let reply = if delivered {
        "250 2.0.0 OK"
    } else {
        "550 5.1.1 no such user"
    };
    let event = Event {
        id: EventId::new(at(second), &[address.as_bytes()]),
        at: at(second),
        source: Source::Log,
        outcome: if delivered {
            Outcome::Delivered
        } else {
            Outcome::Failed
        },
        evidence: Evidence::Fresh,
        recipient: Address::parse(address).unwrap(),
        original_recipient: None,
        sender: Some("news@sender.example".into()),
        sasl_username: None,
        queue_id: Some(format!("q{second}{address}")),
        message_id: Some(format!("{second}.{address}")),
        envelope_id: None,
        relay: Some(Relay {
            host: "mx.mail.example".into(),
            ip: Some("192.0.2.1".into()),
            port: Some(25),
        }),
        command: Some("RCPT TO".into()),
        reply: Reply::parse(reply),
        reported_status: None,
        reporting_mta: None,
        return_path: None,
        own: true,
        authentication: nixie::mail::event::Authentication::Untried,
    };
    let cause = if delivered {
        Cause::Delivered
    } else {
        Cause::UserUnknown
    };
    let verdict = Verdict {
        cause,
        sub_cause: None,
        scope: cause.scope(),
        permanent: !delivered,
        remedy: cause.remedy(!delivered),
        rule: "status.5.1.1".into(),
        hold: None,
        throttle: None,
        advice: None,
    };
    let lane = LaneKey {
        provider: "google".into(),
        egress: "default".into(),
    };
    Record::new(event, verdict, Some(lane), LocalPart::Fold)
}

/// A number that looks like chance, the same for the same: Steele and Vigna's SplitMix64.
fn draw(n: usize) -> usize {
    let mut z = (n as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    usize::try_from((z ^ (z >> 31)) >> 16).unwrap()
}

fn address(n: usize) -> String {
    format!("user{n}@mail{}.example", n % 3)
}

impl Play {
    /// When an address dies: never, at once, or in some hour.
    fn death(&self, n: usize) -> Option<i64> {
        match n.checked_sub(self.live) {
            None => None,
            Some(n) if n < self.dead => Some(0),
            Some(n) => Some(DAY / 2 + i64::try_from(draw(n)).unwrap() % (self.days * DAY - DAY * 3 / 2)),
        }
    }

    fn is_refused(&self, n: usize, second: i64) -> bool {
        let out =
            |(from, to, tenths): (i64, i64, usize)| (from..to).contains(&second) && draw(n * 7) % 10 < tenths;
        self.death(n).is_some_and(|death| death <= second) || self.outage.is_some_and(out)
    }

    /// Mails everybody who is not suppressed, minute by minute.
    fn run(&self, ground: &mut dyn Ground) {
        let all = self.live + self.dead + self.dying;
        let mut turns: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
        for n in 0..all {
            let turn = i64::try_from(draw(n)).unwrap() % self.every;
            turns.entry(turn / MINUTE).or_default().push(n);
        }
        for minute in 0..self.days * DAY / MINUTE {
            let mine = turns.get(&(minute % (self.every / MINUTE)));
            let records: Vec<Record> = mine
                .into_iter()
                .flatten()
                .filter(|&&n| ground.standing(&address(n)) != Some(Standing::InForce))
                .enumerate()
                .map(|(index, &n)| {
                    let second = minute * MINUTE + i64::try_from(index).unwrap() % MINUTE;
                    record(&address(n), second, !self.is_refused(n, second))
                })
                .collect();
            if !records.is_empty() {
                let now = at((minute + 1) * MINUTE);
                ground.commit(records, now);
            }
        }
    }

    /// Live addresses that act as suppressed at the end.
    fn wronged(&self, ground: &dyn Ground) -> usize {
        (0..self.live)
            .filter(|&n| ground.standing(&address(n)) == Some(Standing::InForce))
            .count()
    }

    /// Dead addresses that are still mailed more than a day after they died.
    fn missed(&self, ground: &dyn Ground) -> Vec<usize> {
        let end = self.days * DAY;
        (self.live..self.live + self.dead + self.dying)
            .filter(|&n| self.death(n).is_some_and(|death| death < end - DAY))
            .filter(|&n| ground.standing(&address(n)) != Some(Standing::InForce))
            .collect()
    }
}

fn outage(play: &Play, ground: &mut dyn Ground) {
    play.run(ground);
    let incidents = ground.incidents();
    let (from, to, _) = play.outage.unwrap();
    let provider: Vec<&Incident> = incidents
        .iter()
        .filter(|i| i.site.kind == Kind::Provider)
        .collect();
    let [incident] = provider.as_slice() else {
        panic!("one incident of the provider: {incidents:?}")
    };
    assert!(
        incident.covers(at(from + 10 * MINUTE)) && incident.covers(at(to - 1)),
        "{incident}"
    );
    let (ended, _) = incident.ended.unwrap();
    assert!(
        ended.duration_since(at(to)) <= SignedDuration::from_hours(3),
        "{incident}"
    );
    let wronged = play.wronged(ground);
    assert!(
        wronged * 1000 < play.live,
        "{wronged} of {} live addresses are suppressed",
        play.live
    );
    assert_eq!(
        play.missed(ground),
        [] as [usize; 0],
        "dead addresses are still mailed"
    );
}

#[test]
fn an_outage_costs_nobody_their_mail() {
    let play = Play {
        live: 3_000,
        dead: 60,
        dying: 90,
        every: 4 * HOUR,
        days: 4,
        outage: Some((
            2 * DAY + 12 * HOUR + 20 * MINUTE,
            2 * DAY + 15 * HOUR + 20 * MINUTE,
            4,
        )),
    };
    outage(&play, &mut Model::default());
}

/// What the guard is there for.
#[test]
fn without_the_guard_it_would() {
    let play = Play {
        live: 500,
        dead: 0,
        dying: 0,
        every: 2 * HOUR,
        days: 1,
        outage: Some((12 * HOUR, 15 * HOUR, 4)),
    };
    let mut unguarded = Model::default();
    unguarded.policy.guard.enabled = false;
    play.run(&mut unguarded);
    assert!(play.wronged(&unguarded) > 150);
}

#[test]
fn nor_does_it_over_a_real_store() {
    let play = Play {
        live: 1_100,
        dead: 24,
        dying: 24,
        every: 2 * HOUR,
        days: 3,
        outage: Some((DAY + 9 * HOUR, DAY + 12 * HOUR, 4)),
    };
    let mut real = Real::new();
    outage(&play, &mut real);
}

/// An old list: one in twelve is dead, and found out in the first hours. That is no incident.
#[test]
fn a_bad_list_is_no_incident() {
    let play = Play {
        live: 3_000,
        dead: 270,
        dying: 30,
        every: 4 * HOUR,
        days: 2,
        outage: None,
    };
    let mut model = Model::default();
    play.run(&mut model);
    assert_eq!(model.incidents(), []);
    assert_eq!((play.wronged(&model), play.missed(&model)), (0, Vec::new()));
}
