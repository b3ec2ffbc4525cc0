//! A backlog of a hundred thousand.

use super::*;

/// What it costs in time is measured by `benches/gate.rs`; here, that nobody else waits, that it is released only as
/// fast as tokens come, and that it leaves nothing behind.
#[test]
fn a_long_backlog_is_its_own_lanes_affair() {
    let gate = capped(1.0);
    for n in 0..100_000 {
        put_off(&gate, &format!("Q{n}"), &format!("a{n}"), at(0.0));
    }
    assert_eq!((gate.backlog(), gate.left_alone()), (100_000, 0));
    let other = LaneKey {
        provider: "other".into(),
        egress: "default".into(),
    };
    gate.set_lane(other, Lane::open(at(0.0)), at(0.0));
    let passes = (0..100)
        .filter(|n| {
            gate.look_up(&address(&format!("x{n}")), Some("other"), at(1.0))
                .is_none()
        })
        .count();
    assert_eq!(passes, 5, "as many as with nothing deferred");
    assert_eq!(why(&gate, "x", at(1.0)), Why::Turn);
    // Each is used, and delivered within its second: one a second, and a burst of three at most.
    let mut handed = 0;
    for second in 2..=1000 {
        let now = at(f64::from(second));
        for queue_id in released(&gate, now) {
            let recipient = queue_id.replace('Q', "a");
            assert!(passes_once(&gate, &recipient, now));
            delivered(&gate, &queue_id, &recipient, now);
            handed += 1;
        }
    }
    assert!((998..=1001).contains(&handed), "{handed}");
    assert_eq!(gate.backlog(), 100_000 - handed);
    let gone = gate.reconcile(&HashSet::new(), at(2000.0), at(2000.0));
    assert_eq!((gone, gate.backlog()), (100_000 - handed, 0));
}

/// Whether exactly one attempt passes.
fn passes_once(gate: &Gate, name: &str, now: Timestamp) -> bool {
    passes(gate, name, now) && !passes(gate, name, now)
}
