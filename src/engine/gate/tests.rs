//! What passes the gate, what waits, and in what order it goes.

use super::*;
use crate::engine::throttle::plan::{Order, Steer, WarmUp};
use crate::engine::throttle::{Signal, later};
use crate::engine::verdict::{Cause, Remedy, Verdict};
use crate::mail::event::{Authentication, Event, EventId, Evidence, Outcome};
use crate::mail::reply::Reply;
use std::collections::BTreeMap;

mod asked;
mod long;
mod story;

fn at(seconds: f64) -> Timestamp {
    later(Timestamp::from_second(1_700_000_000).unwrap(), seconds)
}

fn address(name: &str) -> Address {
    Address::parse(&format!("{name}@gmail.test")).unwrap()
}

fn google() -> LaneKey {
    LaneKey {
        provider: "google".into(),
        egress: "default".into(),
    }
}

fn working() -> Gate {
    let gate = Gate::new();
    gate.set_releasing(true);
    gate.set_hearing(true);
    gate
}

/// Google's lane under an operator's cap of so many a second.
fn capped(per_second: f64) -> Gate {
    let gate = working();
    let what = Steer::Cap {
        per_second: Some(per_second),
        concurrency: None,
    };
    order(&gate, Some(what), at(0.0));
    gate
}

fn order(gate: &Gate, what: Option<Steer>, now: Timestamp) {
    let order = what.map(|what| Order {
        what,
        author: "test".into(),
        reason: "test".into(),
        at: now,
    });
    gate.set_order(google(), order, now);
}

fn passes(gate: &Gate, name: &str, now: Timestamp) -> bool {
    gate.look_up(&address(name), Some("google"), now).is_none()
}

fn why(gate: &Gate, name: &str, now: Timestamp) -> Why {
    match gate.look_up(&address(name), Some("google"), now) {
        Some(hold) => hold.why,
        None => panic!("{name} passes"),
    }
}

fn record(queue_id: &str, name: &str, outcome: Outcome, cause: Cause, text: &str, now: Timestamp) -> Record {
    let echo = text.starts_with(OURS) || text.starts_with("suspended");
    let event = Event {
        id: EventId::new(now, &[queue_id.as_bytes(), name.as_bytes()]),
        at: now,
        source: Source::Log,
        outcome,
        evidence: if echo { Evidence::Repeat } else { Evidence::Fresh },
        recipient: address(name),
        original_recipient: None,
        sender: Some("app@sender.test".into()),
        sasl_username: None,
        queue_id: Some(queue_id.into()),
        message_id: None,
        envelope_id: None,
        relay: None,
        command: None,
        reply: Reply {
            text: text.into(),
            ..Reply::default()
        },
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
        remedy: if echo { Remedy::None } else { cause.remedy(false) },
        rule: "test".into(),
        hold: None,
        throttle: None,
        advice: None,
    };
    Record::new(event, verdict, None, LocalPart::Fold)
}

fn tell(gate: &Gate, queue_id: &str, name: &str, outcome: Outcome, cause: Cause, text: &str, now: Timestamp) {
    gate.observe(
        &record(queue_id, name, outcome, cause, text, now),
        Some("google"),
        now,
    );
}

fn put_off(gate: &Gate, queue_id: &str, name: &str, now: Timestamp) {
    let text = format!("{OURS}google takes no more just now");
    tell(
        gate,
        queue_id,
        name,
        Outcome::Deferred,
        Cause::Unknown,
        &text,
        now,
    );
}

fn refused(gate: &Gate, queue_id: &str, name: &str, now: Timestamp) {
    tell(
        gate,
        queue_id,
        name,
        Outcome::Deferred,
        Cause::RateLimited,
        "421",
        now,
    );
}

fn delivered(gate: &Gate, queue_id: &str, name: &str, now: Timestamp) {
    tell(
        gate,
        queue_id,
        name,
        Outcome::Delivered,
        Cause::Delivered,
        "250",
        now,
    );
}

fn released(gate: &Gate, now: Timestamp) -> Vec<String> {
    std::iter::from_fn(|| gate.release(now))
        .map(|release| release.queue_id.to_string())
        .collect()
}

#[test]
fn an_unproved_lane_has_few_attempts_under_way_and_more_as_it_delivers() {
    let gate = working();
    let go = |names: std::ops::Range<u32>| names.filter(|n| passes(&gate, &format!("a{n}"), at(0.0))).count();
    assert_eq!(go(0..100), 5);
    assert_eq!(why(&gate, "b", at(0.0)), Why::UnderWay);
    for n in 0..5 {
        delivered(&gate, &format!("Q{n}"), &format!("a{n}"), at(1.0));
    }
    assert_eq!(go(100..200), 5);
    for n in 100..105 {
        delivered(&gate, &format!("Q{n}"), &format!("a{n}"), at(1.0));
    }
    assert_eq!(go(200..300), 6, "ten deliveries are worth one more");
    gate.set_hearing(false);
    assert_eq!(go(300..400), 100, "nobody waits for what cannot be heard");
}

#[test]
fn who_hears_nothing_for_a_minute_is_deaf() {
    let gate = working();
    let go = |now| {
        (0..100)
            .filter(|n| passes(&gate, &format!("a{n}x{now}"), now))
            .count()
    };
    assert_eq!(go(at(0.0)), 5);
    assert_eq!(go(at(59.0)), 0);
    assert_eq!(go(at(62.0)), 100);
    delivered(&gate, "Q", "other", at(63.0));
    assert_eq!(go(at(64.0)), 0);
}

#[test]
fn with_a_backlog_everybody_joins_it_and_only_tickets_pass() {
    let gate = capped(1.0);
    assert!(passes(&gate, "a", at(1.0)));
    assert_eq!(why(&gate, "b", at(1.0)), Why::Pace);
    put_off(&gate, "QB", "b", at(1.0));
    assert_eq!(why(&gate, "c", at(2.0)), Why::Turn, "though there is a token");
    put_off(&gate, "QC", "c", at(2.0));
    assert_eq!(released(&gate, at(2.0)), ["QB"]);
    assert_eq!(why(&gate, "c", at(2.0)), Why::Turn);
    assert!(passes(&gate, "b", at(2.0)));
    assert!(!passes(&gate, "b", at(2.0)), "once");
    assert_eq!(released(&gate, at(3.0)), ["QC"]);
    assert!(passes(&gate, "c", at(3.0)));
    assert!(passes(&gate, "d", at(4.0)), "nobody waits any more");
    delivered(&gate, "QB", "b", at(4.0));
    delivered(&gate, "QC", "c", at(4.0));
    assert_eq!(gate.backlog(), 0);
}

#[test]
fn without_a_releaser_tokens_go_to_whoever_asks() {
    let gate = capped(1.0);
    put_off(&gate, "QB", "b", at(1.0));
    gate.set_releasing(false);
    assert!(passes(&gate, "c", at(1.0)));
    assert_eq!(why(&gate, "d", at(1.0)), Why::Pace);
}

#[test]
fn held_and_paused_lanes_let_nothing_pass_and_release_nothing() {
    let gate = working();
    let signal = Signal {
        rule: "google.rate".into(),
        ..Signal::default()
    };
    gate.set_lane(google(), Lane::held(signal, at(60.0), at(0.0)), at(0.0));
    assert_eq!(
        gate.look_up(&address("a"), Some("google"), at(1.0)),
        Some(Hold {
            lane: google(),
            until: Some(at(60.0)),
            why: Why::Held,
            rule: Some("google.rate".into()),
        })
    );
    put_off(&gate, "QA", "a", at(1.0));
    assert!(released(&gate, at(59.0)).is_empty());
    assert_eq!(gate.due(), Some(at(60.0)));
    assert!(released(&gate, at(60.0)).is_empty(), "nothing is brought along");
    assert_eq!(released(&gate, at(61.0)), ["QA"], "one, to see");
    order(&gate, Some(Steer::Pause), at(62.0));
    assert_eq!(why(&gate, "b", at(63.0)), Why::Paused);
    assert!(passes(&gate, "a", at(63.0)), "who has a ticket has a token");
    let look = gate.look(&google(), at(63.0)).unwrap();
    assert_eq!((look.backlog, look.tickets, look.under_way), (1, 0, 1));
    order(&gate, None, at(64.0));
    assert_eq!(why(&gate, "b", at(66.0)), Why::UnderWay, "one at a time");
    delivered(&gate, "QA", "a", at(66.0));
    assert!(passes(&gate, "b", at(66.0)));
}

#[test]
fn the_refused_come_back_to_their_place() {
    let gate = capped(1.0);
    for (queue_id, name) in [("QA", "a"), ("QB", "b")] {
        put_off(&gate, queue_id, name, at(1.0));
    }
    assert_eq!(released(&gate, at(1.0)), ["QA"]);
    assert!(passes(&gate, "a", at(1.0)));
    refused(&gate, "QA", "a", at(1.5));
    assert_eq!(released(&gate, at(2.0)), ["QA"], "the oldest is still the oldest");
}

#[test]
fn unused_tickets_expire_and_give_their_token_back() {
    let gate = capped(0.001);
    order(
        &gate,
        Some(Steer::Cap {
            per_second: Some(0.001),
            concurrency: None,
        }),
        at(0.0),
    );
    put_off(&gate, "QA", "a", at(0.0));
    put_off(&gate, "QB", "b", at(0.0));
    assert_eq!(released(&gate, at(1000.0)), ["QA"]);
    assert!(released(&gate, at(1003.0)).is_empty());
    assert_eq!(
        released(&gate, at(1005.0)),
        ["QB"],
        "the token is there again; the first one rests"
    );
    assert!(passes(&gate, "b", at(1005.0)));
    assert!(!passes(&gate, "a", at(1005.0)), "its ticket has gone");
}

#[test]
fn a_message_that_postfix_does_not_know_leaves() {
    let gate = capped(10.0);
    put_off(&gate, "QA", "a", at(0.0));
    let mut handed = 0;
    for second in 1..1000 {
        handed += released(&gate, at(f64::from(second))).len();
    }
    assert_eq!(handed, 6);
    assert_eq!(gate.backlog(), 0);
    put_off(&gate, "QB", "b", at(1000.0));
    let release = gate.release(at(1001.0)).unwrap();
    gate.gone(&release.queue_id, at(1001.0));
    assert_eq!(gate.backlog(), 0);
}

#[test]
fn tokens_come_back_for_what_never_reached_the_provider() {
    for (cause, text, back) in [
        (
            Cause::NetworkError,
            "connect to mx[192.0.2.1]:25: Connection timed out",
            true,
        ),
        (Cause::DnsFailure, "Name service error", true),
        (Cause::RateLimited, "suspended: 421", true),
        (Cause::RateLimited, "421 slow down", false),
        (Cause::MailboxFull, "452 full", false),
    ] {
        let gate = capped(0.001);
        assert!(passes(&gate, "a", at(1000.0)));
        tell(&gate, "QA", "a", Outcome::Deferred, cause, text, at(1000.0));
        let look = gate.look(&google(), at(1000.0)).unwrap();
        assert_eq!(look.tokens > 0.5, back, "{text}");
        let waits = cause == Cause::RateLimited;
        assert_eq!(
            gate.backlog(),
            usize::from(waits),
            "{text}: others keep Postfix's own schedule"
        );
    }
}

#[test]
fn a_suppressed_recipient_gives_its_ticket_back() {
    let gate = capped(0.001);
    put_off(&gate, "QA", "a", at(0.0));
    assert_eq!(released(&gate, at(1000.0)), ["QA"]);
    let mut bounced = record(
        "QA",
        "a",
        Outcome::Failed,
        Cause::Unknown,
        "suppressed",
        at(1000.0),
    );
    bounced.event.evidence = Evidence::Repeat;
    gate.observe(&bounced, Some("google"), at(1000.0));
    let look = gate.look(&google(), at(1000.0)).unwrap();
    assert_eq!((look.tickets, look.backlog), (0, 0));
    assert!(look.tokens > 0.5);
}

#[test]
fn a_message_waits_for_tokens_for_all_its_recipients_within_the_burst() {
    let gate = capped(2.0);
    for name in ["a", "b", "c", "d"] {
        put_off(&gate, "Q", name, at(0.0));
    }
    assert!(released(&gate, at(1.5)).is_empty());
    assert_eq!(gate.due(), Some(at(2.0)));
    let release = gate.release(at(2.0)).unwrap();
    assert_eq!(release.tickets, 4);
    let many = capped(1.0);
    for n in 0..100 {
        put_off(&many, "Q", &format!("r{n}"), at(0.0));
    }
    assert_eq!(many.release(at(3.0)).unwrap().tickets, 3, "the burst");
    for n in 0..100 {
        let name = format!("r{n}");
        if passes(&many, &name, at(3.0)) {
            delivered(&many, "Q", &name, at(3.5));
        } else {
            put_off(&many, "Q", &name, at(3.5));
        }
    }
    assert_eq!(many.backlog(), 97);
    assert_eq!(
        many.release(at(7.0)).unwrap().tickets,
        3,
        "the others, once these are settled"
    );
}

#[test]
fn streams_take_turns_by_weight_and_keep_their_own_limit() {
    let gate = capped(10.0);
    let kind = |name: &str, weight, per_second| stream::Kind {
        name: name.into(),
        senders: vec![format!("*@{name}.test")],
        users: Vec::new(),
        weight,
        per_second,
    };
    let streams = Streams::new(vec![
        kind("news", 1.0, None),
        kind("receipt", 3.0, None),
        kind("slow", 1.0, Some(0.5)),
    ]);
    let settings = Settings {
        streams,
        ..Settings::default()
    };
    gate.configure(settings, at(0.0));
    for n in 0..400 {
        for (prefix, sender) in [
            ("N", "a@news.test"),
            ("R", "a@receipt.test"),
            ("S", "a@slow.test"),
        ] {
            let recipient = address(&format!("{prefix}{n}"));
            let queue_id = format!("{prefix}{n}");
            let deferred = Deferred {
                queue_id: &queue_id,
                sender,
                stream: None,
                recipient: &recipient,
                since: at(0.0),
            };
            assert!(gate.enter(&deferred, Some("google"), at(0.0)));
        }
    }
    let mut count: BTreeMap<char, u32> = BTreeMap::new();
    for tenth in 1..=400 {
        let now = at(f64::from(tenth) / 10.0);
        for queue_id in released(&gate, now) {
            *count.entry(queue_id.chars().next().unwrap()).or_default() += 1;
            let recipient = queue_id.to_lowercase();
            assert!(passes(&gate, &recipient, now));
            delivered(&gate, &queue_id, &recipient, now);
        }
    }
    assert!((18..=22).contains(&count[&'S']), "{count:?}");
    assert!((90..=100).contains(&count[&'N']), "{count:?}");
    assert!((275..=290).contains(&count[&'R']), "{count:?}");
    let look = gate.look(&google(), at(40.0)).unwrap();
    assert_eq!(look.by_stream.len(), 3);
}

/// What an unlimited lane passed is remembered until something is learned of it, and never brought back.
#[test]
fn what_an_unlimited_lane_passed_gives_way_to_what_is_learned() {
    let gate = working();
    let mut lane = Lane::open(at(0.0));
    lane.delivered(at(0.0), 1);
    gate.set_unlimited(&google(), lane.clone(), at(0.0));
    assert_eq!(gate.unlimited(&google()), Some(lane.clone()));
    assert_eq!((gate.lane(&google()), gate.lanes().len()), (None, 0));
    gate.set_lane(google(), Lane::held(Signal::default(), at(9.0), at(1.0)), at(1.0));
    gate.set_unlimited(&google(), lane, at(1.0));
    assert_eq!(gate.unlimited(&google()), None);
}

#[test]
fn a_spent_day_of_a_warm_up_is_not_blamed_on_the_provider() {
    let gate = working();
    let day = at(0.0).to_zoned(jiff::tz::TimeZone::UTC).date();
    let warm_up = WarmUp {
        began: day,
        per_day: vec![1],
    };
    gate.set_warm_ups([(google(), warm_up)], at(0.0));
    let mut lane = Lane::open(at(0.0));
    lane.delivered(at(0.0), 1);
    gate.set_lane(google(), lane, at(0.0));
    assert_eq!(why(&gate, "a", at(1.0)), Why::WarmUp);
}

#[test]
fn a_stranger_becomes_its_providers_lane() {
    let gate = working();
    let go = |n: u32, provider| {
        gate.look_up(&address(&format!("a{n}")), provider, at(0.0))
            .is_none()
    };
    assert_eq!((0..50).filter(|&n| go(n, None)).count(), 5, "nothing is proved");
    for n in 5..50 {
        let name = format!("a{n}");
        let text = format!("{OURS}as many as may be are under way");
        let record = record(&name, &name, Outcome::Deferred, Cause::Unknown, &text, at(0.0));
        gate.observe(&record, None, at(0.0));
    }
    gate.adopt("gmail.test", "google", at(1.0));
    assert_eq!(gate.backlog(), 45);
    let look = gate.look(&google(), at(1.0)).unwrap();
    assert_eq!((look.backlog, look.under_way), (45, 5));
    delivered(&gate, "A0", "a0", at(1.0));
    assert_eq!(released(&gate, at(1.0)), ["a5"]);
}

#[test]
fn what_is_beyond_the_cap_is_left_alone_and_counted() {
    let gate = capped(1.0);
    let settings = Settings {
        max_backlog: 10,
        ..Settings::default()
    };
    gate.configure(settings, at(0.0));
    for n in 0..15 {
        put_off(&gate, &format!("Q{n}"), &format!("a{n}"), at(0.0));
    }
    assert_eq!((gate.backlog(), gate.left_alone()), (10, 5));
}

#[test]
fn the_queue_settles_what_is_there() {
    let gate = capped(1.0);
    put_off(&gate, "OLD", "a", at(0.0));
    put_off(&gate, "HERE", "b", at(0.0));
    put_off(&gate, "NEW", "c", at(10.0));
    let queued = HashSet::from(["HERE".into()]);
    assert_eq!(gate.reconcile(&queued, at(5.0), at(11.0)), 1);
    assert_eq!(gate.backlog(), 2);
}
