//! Every transition by its name, and every guard.

use super::*;
use crate::engine::throttle::connection::USUAL;
use proptest::prelude::*;
use std::time::Duration;

const LIMITS: Limits = Limits {
    default_hold: Duration::from_secs(300),
    max_hold: Duration::from_secs(600),
};

fn at(second: f64) -> Timestamp {
    later(Timestamp::from_second(1_700_000_000).unwrap(), second)
}

fn signal(kind: Kind, hold: Option<u64>, recipient: u64) -> Signal {
    Signal {
        rule: "test".into(),
        reply: "421 slow down".into(),
        hold: hold.map(Duration::from_secs),
        kind,
        recipient,
        beside: None,
    }
}

/// A lane under a hand that knows the time.
struct Hand {
    lane: Lane,
    recipient: u64,
}

impl Hand {
    fn new() -> Self {
        Self {
            lane: Lane::open(at(0.0)),
            recipient: 0,
        }
    }

    /// Refused for the number of connections while so many others are under way; how many there may be then.
    fn crowded(&mut self, beside: impl Into<Option<u32>>, second: f64) -> Option<u32> {
        self.recipient += 1;
        let signal = Signal {
            beside: beside.into(),
            ..signal(Kind::Concurrency, None, self.recipient)
        };
        self.lane.signalled(signal, LIMITS, at(second), at(second));
        self.lane.law.connections.now()
    }

    fn refused(&mut self, kind: Kind, hold: Option<u64>, second: f64) -> Option<Change> {
        self.recipient += 1;
        let signal = signal(kind, hold, self.recipient);
        self.lane.signalled(signal, LIMITS, at(second), at(second))
    }

    /// Deliveries at a rate from one second to another.
    fn busy(&mut self, from: f64, to: f64, rate: f64) {
        for n in 0..((to - from) * rate) as u32 {
            self.lane.delivered(at(from + f64::from(n) / rate), 1);
        }
    }

    fn rate(&self) -> f64 {
        self.lane.law.rate().unwrap()
    }
}

/// A lane that rides at an estimate of about ten a second.
fn riding() -> Hand {
    let mut hand = Hand::new();
    hand.refused(Kind::Rate, None, 0.0);
    hand.busy(3.0, 13.0, 11.5);
    hand.refused(Kind::Rate, None, 13.0);
    hand.lane.delivered(at(16.0), 1);
    assert!(matches!(hand.lane.state, State::Limited { .. }));
    assert!((9.0..11.0).contains(&hand.rate()), "{}", hand.rate());
    hand
}

#[test]
fn open_to_held_on_a_signal() {
    let mut hand = Hand::new();
    let change = hand.refused(Kind::Rate, Some(30), 0.0).unwrap();
    assert_eq!(change.from, State::Open);
    assert_eq!(change.to, State::Held { until: at(30.0) });
    assert_eq!(change.evidence.what, What::Signal);
    assert_eq!(change.evidence.rule.as_deref(), Some("test"));
    assert_eq!(change.evidence.reply.as_deref(), Some("421 slow down"));
    assert_eq!(hand.lane.evidence, change.evidence);
}

#[test]
fn open_to_limited_on_too_many_connections() {
    let mut hand = Hand::new();
    let change = hand.refused(Kind::Concurrency, None, 0.0).unwrap();
    let limited = State::Limited {
        rate: None,
        concurrency: Some(USUAL / 2),
    };
    assert_eq!((change.from, change.to), (State::Open, limited));
    assert_eq!(change.evidence.what, What::Signal);
}

#[test]
fn limited_to_held_on_a_signal() {
    let mut hand = riding();
    let change = hand.refused(Kind::Rate, Some(30), 20.0).unwrap();
    assert!(matches!(change.from, State::Limited { .. }));
    assert_eq!(change.to, State::Held { until: at(50.0) });
}

#[test]
fn limited_to_limited_when_a_used_rate_is_raised() {
    let mut hand = riding();
    let before = hand.rate();
    let from = hand.lane.since;
    hand.busy(16.0, 80.0, before);
    assert!(hand.rate() > before);
    assert_eq!(
        hand.lane.state,
        State::Limited {
            rate: Some(hand.rate()),
            concurrency: None
        }
    );
    assert_eq!(hand.lane.since, from, "the same state");
}

#[test]
fn limited_to_limited_on_too_many_connections() {
    let mut hand = riding();
    let rate = hand.rate();
    hand.refused(Kind::Concurrency, None, 20.0).unwrap();
    assert_eq!(hand.rate(), rate, "connections are not the rate");
    assert_eq!(hand.lane.pace(at(20.0)).unwrap().concurrency, Some(10));
}

/// Refused while k others are under way: the limit is k at the most.
#[test]
fn a_refusal_with_others_under_way_bounds_the_connections() {
    let mut hand = Hand::new();
    assert_eq!(hand.crowded(Some(7), 0.0), Some(7));
    assert_eq!(hand.crowded(Some(6), 0.1), Some(7), "one cut");
    assert_eq!(hand.crowded(Some(9), 10.0), Some(3), "half: they tell nothing");
    assert_eq!(hand.crowded(Some(1), 20.0), Some(1), "a half of three is one");
    let mut blind = Hand::new();
    assert_eq!(blind.crowded(None, 0.0), Some(USUAL / 2));
    assert_eq!(blind.crowded(Some(9), 10.0), Some(9));
}

/// One more is tried, soon after the first refusal; where it is refused, the number before it stands.
#[test]
fn one_more_connection_is_tried() {
    let mut hand = Hand::new();
    // Five are taken; one was just being closed, and is taken for refused.
    assert_eq!(hand.crowded(4, 0.0), Some(4));
    hand.busy(0.5, 3.5, 4.0);
    assert_eq!(hand.lane.law.connections.now(), Some(5));
    hand.busy(3.5, 6.7, 5.0);
    assert_eq!(hand.lane.law.connections.now(), Some(6));
    assert_eq!(hand.crowded(5, 7.0), Some(5));
    // From now on it waits.
    hand.busy(7.0, 46.0, 5.0);
    assert_eq!(hand.lane.law.connections.now(), Some(5));
    hand.busy(46.0, 48.0, 5.0);
    assert_eq!(hand.lane.law.connections.now(), Some(6));
    // What is refused while no more are under way than were before the try says nothing about it.
    assert_eq!(hand.crowded(4, 50.0), Some(6));
    assert_eq!(hand.crowded(5, 53.0), Some(5));
}

/// Refusals that come together among deliveries are chance; if they go on, they are not.
#[test]
fn rare_refusals_at_a_proved_number_are_chance() {
    let mut hand = Hand::new();
    assert_eq!(hand.crowded(5, 0.0), Some(5));
    hand.busy(0.5, 3.5, 5.0);
    assert_eq!(hand.lane.law.connections.now(), Some(6));
    assert_eq!(hand.crowded(5, 4.0), Some(5), "the sixth");
    hand.busy(5.0, 15.0, 5.0);
    assert_eq!(hand.crowded(4, 16.0), Some(5));
    assert_eq!(hand.crowded(4, 16.1), Some(5));
    hand.busy(17.0, 20.0, 5.0);
    assert_eq!(hand.crowded(4, 21.0), Some(4));
}

#[test]
fn held_to_recovering_when_the_hold_is_over() {
    let mut hand = Hand::new();
    hand.refused(Kind::Rate, Some(30), 0.0);
    assert_eq!(hand.lane.advance(at(29.0)), None);
    assert_eq!(hand.lane.held_until(at(29.0)), Some(at(30.0)));
    assert!(matches!(hand.lane.state_at(at(30.0)), State::Recovering { .. }));
    let change = hand.lane.advance(at(31.0)).unwrap();
    assert!(matches!(change.to, State::Recovering { .. }));
    assert_eq!(change.evidence, Evidence::of(What::HoldOver, at(30.0)));
    assert_eq!(
        hand.lane.pace(at(31.0)).unwrap().concurrency,
        Some(1),
        "one at a time"
    );
}

#[test]
fn recovering_to_held_doubles_up_to_the_cap() {
    let mut hand = Hand::new();
    hand.refused(Kind::Rate, Some(100), 0.0);
    for (second, until) in [(100.0, 300.0), (300.0, 700.0), (700.0, 1300.0), (1300.0, 1900.0)] {
        let change = hand.refused(Kind::Rate, Some(100), second).unwrap();
        assert_eq!(change.to, State::Held { until: at(until) });
        assert_eq!(change.evidence.what, What::Repeat);
    }
}

#[test]
fn recovering_to_limited_on_a_delivery() {
    let mut hand = Hand::new();
    hand.refused(Kind::Rate, Some(30), 0.0);
    let change = hand.lane.delivered(at(31.0), 1).unwrap();
    assert!(matches!(change.from, State::Recovering { .. }));
    assert!(matches!(change.to, State::Limited { rate: Some(_), .. }));
    assert_eq!(change.evidence, Evidence::of(What::Delivery, at(31.0)));
    assert_eq!(hand.lane.repeats, 0);
}

#[test]
fn limited_to_open_after_a_long_calm() {
    let mut hand = riding();
    let day = 24.0 * 3600.0;
    assert_eq!(hand.lane.delivered(at(day - 60.0), 1), None);
    let change = hand.lane.delivered(at(day + 60.0), 1).unwrap();
    assert_eq!((change.to, change.evidence.what), (State::Open, What::Calm));
    // What was known comes back with the first refusal.
    let known = hand.lane.law.limit().unwrap();
    hand.refused(Kind::Rate, None, day + 70.0);
    assert_eq!(hand.lane.law.limit(), Some(known));
}

#[test]
fn a_hold_is_one_cut_however_many_signals_come() {
    let mut hand = riding();
    hand.refused(Kind::Rate, None, 20.0).unwrap();
    let once = hand.lane.law.limit();
    for n in 0..50 {
        assert_eq!(hand.refused(Kind::Rate, None, 20.0 + f64::from(n) * 0.009), None);
    }
    assert_eq!(hand.lane.law.limit(), once);
    assert_eq!(hand.lane.signals, 53);
}

#[test]
fn the_cut_starts_from_what_was_accepted() {
    let mut hand = riding();
    // From now on the provider gives out four a second: eight during each pause of two seconds.
    hand.lane.delivered(at(16.0), 10);
    let mut second = 16.0;
    for _ in 0..3 {
        hand.busy(second, second + 10.0, 4.0);
        second += 10.0;
        hand.refused(Kind::Rate, None, second).unwrap();
        assert!(hand.lane.held_until(at(second)).unwrap() <= at(second + 2.0));
        second += 2.0;
        hand.lane.delivered(at(second), 8);
    }
    let limit = hand.lane.law.limit().unwrap();
    assert!((3.5..4.3).contains(&limit), "{limit}");
}

/// An idle lane's few messages are no rate, however dear the refusal: the search begins as with nothing to go by.
#[test]
fn what_an_idle_lane_passed_is_no_estimate() {
    for hold in [None, Some(1800)] {
        let mut hand = Hand::new();
        hand.busy(0.0, 50.0, 0.1);
        hand.refused(Kind::Rate, hold, 50.0);
        hand.lane.delivered(at(2000.0), 1);
        assert_eq!((hand.lane.law.limit(), hand.rate()), (None, 1.0), "{hold:?}");
    }
}

#[test]
fn a_delivery_during_the_hold_proves_nothing() {
    let mut hand = Hand::new();
    hand.refused(Kind::Rate, Some(30), 0.0);
    assert_eq!(hand.lane.delivered(at(10.0), 1), None);
    assert_eq!(hand.lane.held_until(at(10.0)), Some(at(30.0)));
}

#[test]
fn an_old_signal_is_counted_and_not_obeyed() {
    let mut lane = Lane::open(at(0.0));
    let old = signal(Kind::Rate, Some(30), 1);
    assert_eq!(lane.signalled(old.clone(), LIMITS, at(0.0), at(4000.0)), None);
    assert_eq!((lane.state, lane.signals), (State::Open, 1));
    lane.signalled(old, LIMITS, at(3990.0), at(4000.0));
    assert_eq!(
        lane.held_until(at(4000.0)),
        Some(at(4020.0)),
        "counted from when it was said"
    );
}

#[test]
fn one_recipients_repeated_deferral_is_no_signal() {
    let mut hand = riding();
    let stubborn = signal(Kind::Rate, None, 7777);
    assert!(
        hand.lane
            .signalled(stubborn.clone(), LIMITS, at(20.0), at(20.0))
            .is_some()
    );
    let limit = hand.lane.law.limit();
    hand.busy(30.0, 40.0, 5.0);
    for second in [40.0, 50.0, 60.0] {
        assert_eq!(
            hand.lane
                .signalled(stubborn.clone(), LIMITS, at(second), at(second)),
            None
        );
        hand.lane.delivered(at(second + 1.0), 1);
    }
    assert_eq!(hand.lane.law.limit(), limit);
    assert!(hand.refused(Kind::Rate, None, 70.0).is_some(), "another one's is");
}

#[test]
fn with_nothing_delivered_in_between_one_recipient_speaks_for_all() {
    let mut lane = Lane::open(at(0.0));
    let same = signal(Kind::Rate, None, 1);
    lane.signalled(same.clone(), LIMITS, at(0.0), at(0.0));
    assert!(lane.signalled(same, LIMITS, at(10.0), at(10.0)).is_some());
}

#[test]
fn messages_per_connection_lower_nothing() {
    let mut hand = riding();
    let before = hand.lane.law.clone();
    assert_eq!(hand.refused(Kind::PerConnection, None, 20.0), None);
    assert_eq!(hand.lane.law, before);
}

#[test]
fn a_rule_may_ask_for_a_single_connection_for_a_time() {
    let mut hand = Hand::new();
    hand.refused(Kind::Concurrency, Some(300), 0.0);
    assert_eq!(hand.lane.pace(at(299.0)).unwrap().concurrency, Some(1));
    assert_eq!(hand.lane.pace(at(301.0)).unwrap().concurrency, Some(10));
}

#[test]
fn an_idle_lane_is_not_raised() {
    let mut hand = riding();
    let before = hand.rate();
    hand.busy(16.0, 3600.0, before * 0.3);
    assert_eq!(hand.rate(), before);
}

#[test]
fn nor_is_one_whose_provider_is_out_of_order() {
    let mut hand = riding();
    let before = hand.rate();
    for n in 0..20_000 {
        hand.lane.answered(at(16.0 + f64::from(n) / before), 1);
    }
    assert_eq!(hand.rate(), before);
}

#[test]
fn what_was_sent_is_counted_by_the_day() {
    let mut lane = Lane::open(at(0.0));
    let today = super::super::plan::date(at(0.0));
    lane.delivered(at(0.0), 3);
    lane.answered(at(1.0), 2);
    assert_eq!(lane.sent_on(today), 5);
    lane.delivered(at(86_400.0), 1);
    assert_eq!(lane.sent_on(today), 0);
    assert_eq!(lane.sent_on(today.tomorrow().unwrap()), 1);
}

#[derive(Debug, Clone, Copy)]
enum Event {
    Delivered,
    Answered,
    Refused(Kind, Option<u64>, u64),
    Advance,
}

fn event() -> impl Strategy<Value = (u32, Event)> {
    let kind = prop_oneof![
        Just(Kind::Rate),
        Just(Kind::Concurrency),
        Just(Kind::PerConnection),
        Just(Kind::Reputation)
    ];
    let refused = (
        kind,
        prop_oneof![Just(None), (1u64..4000).prop_map(Some)],
        0u64..4,
    )
        .prop_map(|(kind, hold, who)| Event::Refused(kind, hold, who));
    let what = prop_oneof![
        6 => Just(Event::Delivered),
        1 => Just(Event::Answered),
        2 => refused,
        1 => Just(Event::Advance),
    ];
    (0u32..200_000, what)
}

/// Whether the table in the head of the room has this transition.
fn is_listed(change: &Change) -> bool {
    use State as S;
    matches!(
        (change.from, change.to, change.evidence.what),
        (S::Open | S::Limited { .. }, S::Held { .. }, What::Signal)
            | (S::Open | S::Limited { .. }, S::Limited { .. }, What::Signal)
            | (S::Held { .. }, S::Recovering { .. }, What::HoldOver)
            | (S::Recovering { .. }, S::Held { .. }, What::Repeat)
            | (S::Recovering { .. }, S::Limited { .. }, What::Delivery)
            | (S::Limited { .. }, S::Open, What::Calm)
    )
}

proptest! {
    /// Whatever comes in whatever order: only listed transitions, no hold beyond the longest, rates that are
    /// rates, and a stored form that is the same lane.
    #[test]
    fn any_story_keeps_to_the_table(events in proptest::collection::vec(event(), 1..300)) {
        let mut lane = Lane::open(at(0.0));
        let mut millis = 0u64;
        for (wait, event) in events {
            millis += u64::from(wait);
            let now = at(millis as f64 / 1000.0);
            let change = match event {
                Event::Delivered => lane.delivered(now, 1),
                Event::Answered => lane.answered(now, 1),
                Event::Advance => lane.advance(now),
                Event::Refused(kind, hold, who) => lane.signalled(signal(kind, hold, who), LIMITS, now, now),
            };
            if let Some(change) = &change {
                prop_assert!(is_listed(change), "{change:?}");
                prop_assert_eq!(lane.state, change.to);
                prop_assert_eq!(&lane.evidence, &change.evidence);
            }
            if let Some(until) = lane.held_until(now) {
                prop_assert!(until.duration_since(now).as_secs_f64() <= LIMITS.max_hold.as_secs_f64() + 1e-6);
            }
            if let Some(pace) = lane.pace(now) {
                prop_assert!(pace.per_second.is_none_or(|rate| rate.is_finite() && rate > 0.0));
                prop_assert!(pace.burst >= 1.0 && pace.concurrency.is_none_or(|most| most >= 1));
            }
        }
        let stored = serde_json::to_string(&lane).unwrap();
        prop_assert!(stored.len() < 4096, "{}", stored.len());
        prop_assert_eq!(serde_json::from_str::<Lane>(&stored).unwrap(), lane);
    }
}

#[test]
fn any_to_open_on_an_operators_word() {
    let mut hand = riding();
    hand.refused(Kind::Rate, None, 40.0);
    let sent = hand.lane.sent_on(crate::engine::throttle::plan::date(at(40.0)));
    let change = hand.lane.forget("cli alice", "a new address", at(41.0));
    assert!(matches!(change.from, State::Held { .. }));
    assert_eq!((change.to, hand.lane.state), (State::Open, State::Open));
    assert_eq!(change.evidence.what, What::Operator);
    assert_eq!(hand.lane.evidence.rule.as_deref(), Some("cli alice"));
    assert_eq!((hand.lane.signals, hand.lane.law.rate()), (0, None));
    assert!(sent > 0 && hand.lane.sent_on(crate::engine::throttle::plan::date(at(41.0))) == sent);
}
