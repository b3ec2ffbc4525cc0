//! What Postfix remembers, and what is heard before it is kept.

use super::*;

/// A Postfix's queue manager with its one remembered answer, as `resolve_clnt.c` has it.
#[derive(Default)]
struct Resolver {
    last: Option<(String, bool, Timestamp)>,
}

impl Resolver {
    /// Whether an attempt goes; what is remembered is not asked about.
    fn passes(&mut self, gate: &Gate, name: &str, now: Timestamp) -> bool {
        if let Some((last, passed, until)) = &self.last
            && last == name
            && now < *until
        {
            return *passed;
        }
        let passed = passes(gate, name, now);
        self.last = Some((name.to_owned(), passed, later(now, 30.0)));
        passed
    }
}

#[test]
fn who_was_put_off_last_goes_after_others() {
    let gate = capped(1.0);
    let mut postfix = Resolver::default();
    assert!(postfix.passes(&gate, "a", at(1.0)));
    for (queue_id, name) in [("QC", "c"), ("QB", "b")] {
        assert!(!postfix.passes(&gate, name, at(1.0)));
        put_off(&gate, queue_id, name, at(1.0));
    }
    // The oldest is asked about again in vain, so that Postfix remembers it.
    assert!(!postfix.passes(&gate, "c", at(1.5)));
    assert_eq!(released(&gate, at(2.0)), ["QB"]);
    assert!(postfix.passes(&gate, "b", at(2.0)));
    assert_eq!(
        released(&gate, at(3.0)),
        ["QC"],
        "as soon as another was asked about"
    );
    assert!(postfix.passes(&gate, "c", at(3.0)));
}

#[test]
fn who_waits_alone_goes_when_any_mail_has_passed() {
    let gate = capped(1.0);
    let mut postfix = Resolver::default();
    assert!(postfix.passes(&gate, "a", at(1.0)));
    assert!(!postfix.passes(&gate, "b", at(1.0)));
    put_off(&gate, "QB", "b", at(1.0));
    assert!(released(&gate, at(3.0)).is_empty(), "it would come back unasked");
    assert!(gate.due() <= Some(at(3.3)), "{:?}", gate.due());
    // Mail for another provider.
    assert!(
        gate.look_up(&Address::parse("x@other.test").unwrap(), Some("other"), at(4.0))
            .is_none()
    );
    postfix.last = None;
    assert_eq!(released(&gate, at(4.0)), ["QB"]);
    assert!(postfix.passes(&gate, "b", at(4.0)));
}

#[test]
fn who_waits_alone_in_silence_goes_when_postfix_has_forgotten() {
    let gate = capped(1.0);
    let mut postfix = Resolver::default();
    assert!(postfix.passes(&gate, "a", at(1.0)));
    assert!(!postfix.passes(&gate, "b", at(1.0)));
    put_off(&gate, "QB", "b", at(1.0));
    let mut now = 1.0;
    let gone = loop {
        now += 0.25;
        if let [queue_id] = &released(&gate, at(now))[..] {
            assert_eq!(queue_id, "QB");
            break now;
        }
        assert!(now < 60.0);
    };
    assert_eq!(gone, 31.0);
    assert!(postfix.passes(&gate, "b", at(gone)), "it is asked about");
}

#[test]
fn a_message_of_another_lane_takes_the_place_of_what_is_remembered() {
    let gate = capped(1.0);
    let signal = Signal::default();
    let other = LaneKey {
        provider: "other".into(),
        egress: "default".into(),
    };
    gate.set_lane(other, Lane::held(signal, at(600.0), at(0.0)), at(0.0));
    let waiting = Address::parse("x@other.test").unwrap();
    let deferred = Deferred {
        queue_id: "QX",
        sender: "app@sender.test",
        stream: None,
        recipient: &waiting,
        since: at(0.0),
    };
    assert!(gate.enter(&deferred, Some("other"), at(0.0)));
    let mut postfix = Resolver::default();
    assert!(postfix.passes(&gate, "a", at(1.0)));
    assert!(!postfix.passes(&gate, "b", at(1.0)));
    put_off(&gate, "QB", "b", at(1.0));
    assert!(released(&gate, at(1.5)).is_empty(), "there is no token yet");
    let nudge = gate.release(at(2.0)).unwrap();
    assert_eq!((&*nudge.queue_id, nudge.tickets), ("QX", 0));
    assert!(released(&gate, at(2.1)).is_empty(), "once");
    assert!(gate.look_up(&waiting, Some("other"), at(2.2)).is_some());
    postfix.last = None;
    assert_eq!(released(&gate, at(2.25)), ["QB"]);
    assert!(postfix.passes(&gate, "b", at(2.25)));
    assert_eq!(gate.backlog(), 2, "both are where they were");
}

/// An attempt that Postfix made on an answer that it remembered costs what every attempt costs.
#[test]
fn an_attempt_that_nobody_asked_about_uses_its_ticket() {
    let gate = capped(0.001);
    put_off(&gate, "QA", "a", at(0.0));
    assert_eq!(released(&gate, at(1000.0)), ["QA"]);
    refused(&gate, "QA", "a", at(1000.5));
    let look = gate.look(&google(), at(1000.5)).unwrap();
    assert_eq!((look.tickets, look.backlog), (0, 1));
    assert!(look.tokens < 0.5, "{}", look.tokens);
}

fn connections(most: u32) -> Gate {
    let gate = working();
    let what = Steer::Cap {
        per_second: None,
        concurrency: Some(most),
    };
    order(&gate, Some(what), at(0.0));
    gate
}

#[test]
fn a_place_is_free_before_its_delivery_is_kept_and_only_once() {
    let gate = connections(2);
    for name in ["a", "b"] {
        assert!(passes(&gate, name, at(0.0)));
    }
    // Two messages for the same mailbox: one's end is not the other's.
    assert!(passes(&gate, "b", at(0.0)));
    put_off(&gate, "QC", "c", at(0.0));
    assert!(released(&gate, at(0.5)).is_empty());
    let mut ended = record("QA", "a", Outcome::Delivered, Cause::Delivered, "250", at(1.0));
    for _ in 0..2 {
        gate.hear(&mut ended, Some("google"), at(1.0));
    }
    let under_way = || gate.look(&google(), at(1.0)).unwrap().under_way;
    assert_eq!(under_way(), 1);
    assert_eq!(released(&gate, at(1.0)), ["QC"]);
    gate.observe(&ended, Some("google"), at(1.1));
    let mut ended = record("QB", "b", Outcome::Delivered, Cause::Delivered, "250", at(1.0));
    gate.hear(&mut ended, Some("google"), at(1.1));
    gate.observe(&ended, Some("google"), at(1.2));
    assert_eq!(under_way(), 1, "the other message for b");
    assert_eq!(ended.beside, None);
}

#[test]
fn a_refusal_for_connections_learns_how_many_others_there_were() {
    let gate = connections(5);
    for n in 0..5 {
        assert!(passes(&gate, &format!("a{n}"), at(0.0)));
    }
    let beside = |n: u32| {
        let mut record = record(
            &format!("Q{n}"),
            &format!("a{n}"),
            Outcome::Deferred,
            Cause::RateLimited,
            "421 too many connections",
            at(0.1),
        );
        record.verdict.throttle = Some(crate::engine::throttle::Kind::Concurrency);
        gate.hear(&mut record, Some("google"), at(0.1));
        (record.beside, record)
    };
    let (first, record) = beside(3);
    assert_eq!(first, Some(4));
    assert_eq!(beside(3).0, Some(4), "the same again");
    assert_eq!(beside(4).0, Some(3), "one less, though neither is kept yet");
    gate.observe(&record, Some("google"), at(0.2));
    assert_eq!(gate.look(&google(), at(0.2)).unwrap().under_way, 4);
    assert_eq!(beside(4).0, Some(3));
    assert_eq!(beside(9).0, Some(3), "of which we knew nothing");
}

fn crowded(gate: &Gate, queue_id: &str, name: &str, now: Timestamp) {
    let text = "421 too many connections";
    let mut record = record(queue_id, name, Outcome::Deferred, Cause::RateLimited, text, now);
    record.verdict.throttle = Some(crate::engine::throttle::Kind::Concurrency);
    gate.hear(&mut record, Some("google"), now);
    gate.observe(&record, Some("google"), now);
}

#[test]
fn who_is_refused_though_there_is_room_waits_for_what_lingers() {
    let gate = connections(2);
    assert!(passes(&gate, "a", at(0.0)));
    assert!(passes(&gate, "b", at(0.0)));
    crowded(&gate, "QB", "b", at(0.1));
    assert!(
        released(&gate, at(0.2)).is_empty(),
        "one under way, one that we do not know of"
    );
    assert!(released(&gate, at(2.2)).is_empty());
    assert_eq!(released(&gate, at(2.4)), ["QB"]);
    // One more than there may be explains itself.
    let gate = connections(3);
    for name in ["a", "b", "c"] {
        assert!(passes(&gate, name, at(0.0)));
    }
    let fewer = Steer::Cap {
        per_second: None,
        concurrency: Some(2),
    };
    order(&gate, Some(fewer), at(0.1));
    crowded(&gate, "QC", "c", at(0.1));
    delivered(&gate, "QA", "a", at(1.0));
    assert_eq!(released(&gate, at(1.0)), ["QC"]);
}

#[test]
fn messages_of_a_lane_of_few_connections_do_not_start_together() {
    let gate = connections(4);
    let mut now = 0.0;
    for round in 0..30 {
        for n in 0..4 {
            assert!(passes(&gate, &format!("a{n}"), at(now)), "{round}");
        }
        now += 1.0;
        for n in 0..4 {
            let mut ended = record(
                "Q",
                &format!("a{n}"),
                Outcome::Delivered,
                Cause::Delivered,
                "",
                at(now),
            );
            ended.event.queue_id = Some(format!("Q{n}x{round}"));
            gate.hear(&mut ended, Some("google"), at(now));
            gate.observe(&ended, Some("google"), at(now));
        }
    }
    for n in 0..4 {
        put_off(&gate, &format!("Q{n}"), &format!("b{n}"), at(now));
    }
    let mut starts = Vec::new();
    for step in 0..30 {
        let moment = now + f64::from(step) * 0.01;
        starts.extend(released(&gate, at(moment)).iter().map(|_| step));
    }
    assert_eq!(starts, [0, 5, 10, 15]);
}
