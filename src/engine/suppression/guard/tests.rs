//! The guard's test against exact probabilities and tables, and the walk of a site through an incident.

use super::*;
use proptest::prelude::*;

fn census(answers: u64, faults: u64) -> Census {
    Census { answers, faults }
}

fn normal(answers: u64, faults: u64) -> Normal {
    Normal {
        census: census(answers, faults),
        hours: 336,
    }
}

fn site() -> Site {
    Site {
        kind: Kind::Provider,
        name: "google".into(),
    }
}

/// An hour of some day, in minutes.
fn at(minute: i64) -> Timestamp {
    begins(472_200)
        .saturating_add(SignedDuration::from_mins(minute))
        .unwrap()
}

#[test]
fn what_trips_is_much_sudden_and_no_chance() {
    let guard = Guard::default();
    let table = [
        // nothing known yet: 5 % is normal, 10 % is no incident
        (normal(0, 0), census(50, 20), true),
        (normal(0, 0), census(49, 40), false),
        (normal(0, 0), census(1000, 19), false),
        (normal(0, 0), census(200, 40), false),
        (normal(0, 0), census(200, 60), true),
        // one in a hundred is normal
        (normal(100_000, 1000), census(10_000, 100), false),
        (normal(100_000, 1000), census(10_000, 250), false),
        (normal(100_000, 1000), census(10_000, 400), true),
        (normal(100_000, 1000), census(100, 20), true),
        // hardly anybody is unknown there: up to 2 % is nothing to speak of all the same
        (normal(1_000_000, 100), census(10_000, 200), false),
        (normal(1_000_000, 100), census(10_000, 300), true),
        // a third is unknown there, as with an old list
        (normal(30_000, 10_000), census(1000, 600), false),
        (normal(30_000, 10_000), census(1000, 800), true),
        // only bounces are seen: 30 an hour are normal
        (normal(10_000, 10_000), census(100, 100), false),
        (normal(10_000, 10_000), census(200, 200), true),
    ];
    for (normal, window, expected) in table {
        assert_eq!(guard.trips(window, 1, &normal), expected, "{normal:?} {window:?}");
    }
}

/// The sum of the binomial tail, term by term.
fn tail(n: u64, k: u64, p: f64) -> f64 {
    let mut term = (1.0 - p).powi(i32::try_from(n).unwrap());
    let mut sum = 0.0;
    for i in 0..=n {
        if i >= k {
            sum += term;
        }
        term *= real(n - i) / real(i + 1) * p / (1.0 - p);
    }
    sum
}

proptest! {
    #[test]
    fn the_bound_is_a_bound(n in 1..200u64, part in 0.0..1.0f64, p in 0.005..0.8f64) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of n")]
        let k = (real(n) * part).round() as u64;
        let exponent = binomial(census(n, k), p);
        prop_assert!(exponent.is_finite() && exponent >= 0.0);
        prop_assert!(tail(n, k, p) <= (-exponent).exp() * (1.0 + 1e-6), "{n} {k} {p}: {exponent}");
    }

    #[test]
    fn more_faults_are_more_surprising(n in 50..10_000u64, k in 0..5000u64, known in 0..100_000u64) {
        let (guard, normal) = (Guard::default(), normal(known, known / 50));
        let trips = |faults: u64| guard.trips(census(n, faults.min(n)), 1, &normal);
        prop_assert!(!trips(k) || trips(k + 1));
    }

    /// Whatever the counts are, judging never fails, and an incident that is over is not found again.
    #[test]
    fn judging_never_fails(
        hours in prop::collection::btree_map(472_195..472_240i64, (0..2000u64, 0..2000u64), 0..12),
        known in (0..u64::MAX, 0..u64::MAX),
        clock in 0..2400i64,
    ) {
        let hours: BTreeMap<i64, Census> = hours
            .into_iter()
            .map(|(at, (some, others))| (at, census(some + others, some)))
            .collect();
        let normal = Normal { census: census(known.0, known.1), hours: 300 };
        let guard = Guard::default();
        let sight = |incidents| Sight { hours: &hours, normal: &normal, incidents, clock: at(clock) };
        if let Some(Turn::Begins(mut incident)) = guard.turn(&site(), &sight(&[])) {
            prop_assert!(incident.census.faults >= guard.min_faults);
            incident.ended = Some((begins(472_240), End::Calm));
            prop_assert_eq!(guard.turn(&site(), &sight(&[incident])), None);
        }
    }
}

/// Hour by hour: what was counted, at which minute it is looked at, and what is said then.
#[test]
fn an_incident_begins_and_ends() {
    let guard = Guard::default();
    let normal = normal(100_000, 1000);
    let mut hours = BTreeMap::new();
    let mut incidents: Vec<Incident> = Vec::new();
    let story: [(i64, u64, u64, Option<&str>); 12] = [
        (0, 1000, 10, None),
        (60, 10, 9, None),
        (65, 60, 30, Some("begins 60")),
        (70, 500, 200, None),
        (119, 1000, 400, None),
        (125, 30, 12, None),
        (150, 300, 120, None),
        // the hour after was bad in its first half, and is only known when it is over
        (185, 40, 0, None),
        (239, 500, 4, None),
        (241, 10, 0, Some("ends calm")),
        (250, 20, 0, None),
        (299, 400, 5, None),
    ];
    for (minute, answers, faults, expected) in story {
        hours.insert(hour(at(minute)), census(answers, faults));
        let sight = Sight {
            hours: &hours,
            normal: &normal,
            incidents: &incidents,
            clock: at(minute),
        };
        let turn = guard.turn(&site(), &sight);
        let told = turn.as_ref().map(|turn| match turn {
            Turn::Begins(incident) => {
                format!("begins {}", incident.began.duration_since(at(0)).as_mins())
            }
            Turn::Ends(when, end) => {
                assert_eq!(*when, at(minute));
                format!("ends {end}")
            }
        });
        assert_eq!(told.as_deref(), expected, "minute {minute}");
        match turn {
            Some(Turn::Begins(incident)) => incidents.push(incident),
            Some(Turn::Ends(when, end)) => incidents[0].ended = Some((when, end)),
            None => {}
        }
    }
    let incident = &incidents[0];
    assert!(incident.covers(at(60)) && incident.covers(at(241)));
    assert!(!incident.covers(at(59)) && !incident.covers(at(242)));
}

#[test]
fn small_numbers_of_two_hours_add_up() {
    let guard = Guard::default();
    let normal = normal(5000, 50);
    let hours = BTreeMap::from([(hour(at(0)), census(30, 12)), (hour(at(60)), census(30, 12))]);
    let sight = Sight {
        hours: &hours,
        normal: &normal,
        incidents: &[],
        clock: at(100),
    };
    match guard.turn(&site(), &sight) {
        Some(Turn::Begins(incident)) => {
            assert_eq!((incident.began, incident.census), (at(0), census(60, 24)));
        }
        other => panic!("{other:?}"),
    }
    let off = Guard {
        enabled: false,
        ..guard
    };
    assert_eq!(off.turn(&site(), &sight), None);
}

#[test]
fn an_incident_ends_in_silence_and_in_the_long_run() {
    let guard = Guard::default();
    let normal = normal(100_000, 1000);
    let open = Incident {
        id: 7,
        site: site(),
        began: at(0),
        ended: None,
        census: census(100, 50),
        baseline: 0.01,
    };
    let bad = |hours: std::ops::Range<i64>| -> BTreeMap<i64, Census> {
        hours.map(|n| (hour(at(60 * n)), census(100, 50))).collect()
    };
    let table = [
        (bad(0..1), 90, None),
        (bad(0..1), 179, None),
        (bad(0..1), 180, Some(End::Quiet)),
        (bad(0..24), 1439, None),
        (bad(0..24), 1440, Some(End::Normal)),
        // a few bad answers do not make it calm, a few good ones do
        (BTreeMap::from([(hour(at(60)), census(9, 5))]), 125, None),
        (
            BTreeMap::from([(hour(at(60)), census(9, 0))]),
            125,
            Some(End::Calm),
        ),
    ];
    for (hours, minute, expected) in table {
        let sight = Sight {
            hours: &hours,
            normal: &normal,
            incidents: std::slice::from_ref(&open),
            clock: at(minute),
        };
        let turn = guard.turn(&site(), &sight);
        assert_eq!(turn, expected.map(|end| Turn::Ends(at(minute), end)), "{minute}");
    }
}

#[test]
fn what_lasts_becomes_normal() {
    let guard = Guard::default();
    let ended = |end| Incident {
        id: 1,
        site: site(),
        began: at(0),
        ended: Some((at(1440), end)),
        census: census(100, 90),
        baseline: 0.01,
    };
    let clock = at(2000);
    let days = hour(clock) - 14 * 24;
    assert_eq!(guard.normal_since(&[], clock), days);
    assert_eq!(guard.normal_since(&[ended(End::Calm)], clock), days);
    assert_eq!(
        guard.normal_since(&[ended(End::Normal), ended(End::Calm)], clock),
        hour(at(0))
    );
    // since then, all answers were faults: that they are is no news
    let normal = Normal {
        census: census(2400, 2300),
        hours: 24,
    };
    assert!(!guard.trips(census(100, 96), 1, &normal));
    assert!(guard.trips(census(3000, 2900), 1, &normal));
}
