//! The lowest ceiling applies, and says whose it is.

use super::*;
use crate::engine::throttle::{Kind, Limits, Signal, later};
use std::time::Duration;

fn now() -> Timestamp {
    "2026-11-21T10:00:00Z".parse().unwrap()
}

fn order(what: Steer) -> Option<Order> {
    Some(Order {
        what,
        author: "cli alice".into(),
        reason: "the provider called".into(),
        at: now(),
    })
}

fn cap(per_second: f64) -> Option<Order> {
    order(Steer::Cap {
        per_second: Some(per_second),
        concurrency: None,
    })
}

fn documented(rate: Option<u32>, connections: Option<u32>) -> Documented {
    Documented {
        connections,
        messages_per_second: rate,
        ..Documented::default()
    }
}

fn rate(grant: &Grant) -> Option<f64> {
    match grant.permit {
        Permit::Limited(pace) => pace.per_second,
        _ => None,
    }
}

/// A lane that has learned a rate of some kind.
fn learned() -> Lane {
    let mut lane = Lane::open(now());
    let limits = Limits {
        default_hold: Duration::from_secs(300),
        max_hold: Duration::from_secs(3600),
    };
    lane.signalled(Signal::default(), limits, now(), now());
    lane.delivered(later(now(), 5.0), 1);
    lane
}

#[test]
fn a_pause_goes_before_a_cap_and_leaves_it() {
    let mut orders = Orders::default();
    assert_eq!(orders.in_force(), None);
    let (cap, pause) = (cap(5.0).unwrap(), order(Steer::Pause).unwrap());
    orders.put(cap.clone());
    orders.put(pause.clone());
    assert_eq!(orders.in_force(), Some(&pause));
    assert_eq!(orders.iter().collect::<Vec<_>>(), [&pause, &cap]);
    orders.pause = None;
    assert_eq!(orders.in_force(), Some(&cap));
}

#[test]
fn a_warm_up_of_ones_own_goes_before_that_for_all() {
    let key = |provider: &str, egress: &str| LaneKey {
        provider: provider.into(),
        egress: egress.into(),
    };
    let warm_up = |first| WarmUp {
        began: date(now()),
        per_day: vec![first],
    };
    let all: WarmUps = [
        (key(EVERY, "pool-1"), warm_up(1)),
        (key("google", "pool-1"), warm_up(2)),
    ]
    .into_iter()
    .collect();
    assert_eq!(all.of(&key("google", "pool-1")), Some(&warm_up(2)));
    assert_eq!(all.of(&key("example.org", "pool-1")), Some(&warm_up(1)));
    assert_eq!(all.of(&key("google", "pool-2")), None);
}

#[test]
fn nothing_laid_down_is_open() {
    let grant = grant(&Lane::open(now()), &Plan::default(), now());
    assert_eq!((grant.permit, grant.because), (Permit::Open, None));
    assert_eq!(grant.until, Timestamp::MAX);
}

#[test]
fn the_lowest_rate_applies_and_says_whose_it_is() {
    let lane = learned();
    let at = later(now(), 6.0);
    let of_lane = lane.pace(at).unwrap().per_second.unwrap();
    let table = [
        (documented(Some(10), None), None, of_lane, "Learned"),
        (documented(Some(10), None), cap(0.5), 0.5, "Operator"),
        (documented(Some(1), None), cap(20.0), of_lane.min(1.0), "Learned"),
    ];
    for (documented, order, expected, whose) in table {
        let plan = Plan {
            documented,
            warm_up: None,
            order,
        };
        let grant = grant(&lane, &plan, at);
        assert_eq!(rate(&grant), Some(expected));
        let because = format!("{:?}", grant.because.unwrap());
        assert!(because.starts_with(whose), "{because}");
    }
    let plan = Plan {
        documented: documented(Some(10), None),
        ..Plan::default()
    };
    let of_open = grant(&Lane::open(now()), &plan, now());
    assert_eq!(of_open.because, Some(Ceiling::Documented(Pace::at(10.0))));
}

#[test]
fn connections_have_a_ceiling_of_their_own() {
    let plan = Plan {
        documented: documented(None, Some(5)),
        warm_up: None,
        order: cap(3.0),
    };
    let of_open = grant(&Lane::open(now()), &plan, now());
    let Permit::Limited(pace) = of_open.permit else {
        panic!("{of_open:?}")
    };
    assert_eq!((pace.per_second, pace.concurrency), (Some(3.0), Some(5)));
    assert!(matches!(of_open.because, Some(Ceiling::Operator(_))));

    let mut lane = Lane::open(now());
    let limits = Limits {
        default_hold: Duration::from_secs(300),
        max_hold: Duration::from_secs(3600),
    };
    let crowded = Signal {
        kind: Kind::Concurrency,
        ..Signal::default()
    };
    lane.signalled(crowded, limits, now(), now());
    let fewer = Plan {
        documented: documented(None, Some(5)),
        ..Plan::default()
    };
    let grant = grant(&lane, &fewer, now());
    assert!(
        matches!(grant.because, Some(Ceiling::Documented(_))),
        "5 are fewer than what it learned"
    );
}

#[test]
fn a_pause_is_below_a_hold_and_a_hold_below_any_rate() {
    let until = later(now(), 60.0);
    let lane = Lane::held(Signal::default(), until, now());
    let held = grant(
        &lane,
        &Plan {
            order: cap(0.1),
            ..Plan::default()
        },
        now(),
    );
    assert_eq!((held.permit, held.until), (Permit::Held { until }, until));
    assert_eq!(held.because, Some(Ceiling::Held(until)));
    let paused = grant(
        &lane,
        &Plan {
            order: order(Steer::Pause),
            ..Plan::default()
        },
        now(),
    );
    assert_eq!(paused.permit, Permit::Paused);
    let Some(Ceiling::Operator(order)) = paused.because else {
        panic!()
    };
    assert_eq!(
        (order.author.as_str(), order.reason.as_str()),
        ("cli alice", "the provider called")
    );
}

#[test]
fn a_warm_up_gives_each_day_its_share_and_no_more() {
    let plan = Plan {
        warm_up: Some(WarmUp {
            began: "2026-11-20".parse().unwrap(),
            per_day: vec![200, 500],
        }),
        ..Plan::default()
    };
    let mut lane = Lane::open(now());
    let midnight: Timestamp = "2026-11-22T00:00:00Z".parse().unwrap();
    let second_day = grant(&lane, &plan, now());
    assert_eq!(rate(&second_day), Some(500.0 / 28_800.0));
    assert_eq!(second_day.until, midnight);
    lane.delivered(now(), 499);
    assert!(rate(&grant(&lane, &plan, now())).is_some());
    lane.delivered(now(), 1);
    let spent = grant(&lane, &plan, now());
    assert_eq!(spent.permit, Permit::Held { until: midnight });
    let expected = Ceiling::WarmUp {
        day: 2,
        per_day: 500,
        sent: 500,
        ends: midnight,
    };
    assert_eq!(spent.because, Some(expected));
    let after = grant(&lane, &plan, midnight);
    assert_eq!(after.permit, Permit::Open, "the schedule is over");
    let before: Timestamp = "2026-11-19T10:00:00Z".parse().unwrap();
    assert_eq!(plan.warm_up.unwrap().day(before), None);
}
