//! Any story at the gate: never more passes than tokens, and nothing waits for ever.

use super::*;
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    /// Somebody asks for a recipient.
    Ask(u8),
    /// The releaser looks, and Postfix asks for some of the recipients of what it got.
    Release(u8),
    /// The attempts under way end: delivered, refused, never left.
    End(u8),
    /// Time passes, in tenths of a second.
    Wait(u16),
    /// Postfix was not reached.
    Fail,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => any::<u8>().prop_map(Step::Ask),
        4 => any::<u8>().prop_map(Step::Release),
        4 => any::<u8>().prop_map(Step::End),
        3 => (0..100u16).prop_map(Step::Wait),
        1 => (300..1000u16).prop_map(Step::Wait),
        1 => Just(Step::Fail),
    ]
}

proptest! {
    /// Never more attempts reach the provider than there were tokens, whatever happens in whatever order;
    /// and once the world behaves, everything that waits is released and delivered.
    #[test]
    fn passes_are_tokens_and_nothing_waits_for_ever(steps in proptest::collection::vec(step(), 1..300)) {
        let gate = capped(2.0);
        let (mut now, mut reached, mut never) = (0.0, 0u32, 0u32);
        let mut waiting: BTreeMap<u8, bool> = BTreeMap::new();
        let mut under_way: Vec<u8> = Vec::new();
        let id = |n: u8| format!("Q{}", n % 40);
        let name = |n: u8| format!("a{n}");
        let ask = |n: u8, now: f64, waiting: &mut BTreeMap<u8, bool>, under_way: &mut Vec<u8>| {
            if passes(&gate, &name(n), at(now)) {
                under_way.push(n);
                waiting.remove(&n);
                true
            } else {
                put_off(&gate, &id(n), &name(n), at(now));
                waiting.insert(n, true);
                false
            }
        };
        for step in steps {
            match step {
                Step::Ask(n) if !under_way.contains(&n) => {
                    ask(n, now, &mut waiting, &mut under_way);
                }
                Step::Ask(_) => {}
                Step::Release(luck) => {
                    if let Some(release) = gate.release(at(now)) {
                        let of: Vec<u8> = waiting.keys().copied().filter(|&n| id(n) == *release.queue_id).collect();
                        for n in of {
                            if luck % 5 > 0 {
                                ask(n, now, &mut waiting, &mut under_way);
                            }
                        }
                    }
                }
                Step::End(how) => {
                    for n in std::mem::take(&mut under_way) {
                        match how % 3 {
                            0 => {
                                reached += 1;
                                delivered(&gate, &id(n), &name(n), at(now));
                            }
                            1 => {
                                reached += 1;
                                refused(&gate, &id(n), &name(n), at(now));
                                waiting.insert(n, true);
                            }
                            _ => {
                                never += 1;
                                tell(&gate, &id(n), &name(n), Outcome::Deferred, Cause::NetworkError, "lost", at(now));
                            }
                        }
                    }
                }
                Step::Wait(tenths) => now += f64::from(tenths) / 10.0,
                Step::Fail => {
                    if let Some(release) = gate.release(at(now)) {
                        gate.unrelease(&release, at(now));
                    }
                }
            }
            // A token came every half second, and the bucket began empty.
            let sent = reached + under_way.len() as u32;
            prop_assert!(f64::from(sent) <= now * 2.0 + 0.01, "{sent} (and {never} that never left) in {now} s");
        }
        // Nobody else asks, and everything that is tried is delivered.
        for n in std::mem::take(&mut under_way) {
            delivered(&gate, &id(n), &name(n), at(now));
        }
        for _ in 0..4000 {
            now += 0.5;
            while let Some(release) = gate.release(at(now)) {
                let of: Vec<u8> = waiting.keys().copied().filter(|&n| id(n) == *release.queue_id).collect();
                for n in of {
                    if ask(n, now, &mut waiting, &mut under_way) {
                        delivered(&gate, &id(n), &name(n), at(now));
                    }
                }
                under_way.clear();
            }
            if waiting.is_empty() && gate.backlog() == 0 {
                break;
            }
        }
        prop_assert!(gate.backlog() == 0, "{} wait for ever; the world has {waiting:?}", gate.backlog());
    }
}
