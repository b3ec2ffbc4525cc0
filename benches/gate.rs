//! What a look-up of the gate costs: with nothing deferred, with 100,000 messages deferred in another lane, and with
//! as many in the same lane; and what it costs to hand one back. A long backlog must cost the other lanes nothing,
//! and its own next to nothing: look-ups are in microseconds, whatever waits.
//!
//! `cargo bench --bench gate` prints criterion's times, and then the ratios to the empty gate (timed in turns, so that
//! whatever else the machine does falls on all).
#![allow(clippy::print_stdout, reason = "a bench reports to whoever started it")]

use criterion::{Criterion, criterion_group};
use jiff::{SignedDuration, Timestamp};
use nixie::clock;
use nixie::engine::gate::{Deferred, Gate};
use nixie::engine::throttle::plan::{Order, Steer};
use nixie::engine::throttle::{Lane, LaneKey};
use nixie::mail::address::Address;
use std::hint::black_box;
use std::time::Duration;

const DEFERRED: usize = 100_000;
/// Look-ups in a turn, and turns.
const TURN: usize = 2_000;
const TURNS: usize = 50;

/// A gate under measurement: what it is, the gate, and the lane that is asked for.
type Case = (&'static str, Gate, &'static str);

fn at(seconds: f64) -> Timestamp {
    let span = SignedDuration::try_from_secs_f64(seconds).expect("a span");
    Timestamp::UNIX_EPOCH + span + SignedDuration::from_hours(480_000)
}

fn address(name: &str) -> Address {
    Address::parse(&format!("{name}@gmail.test")).expect("an address")
}

fn lane(provider: &str) -> LaneKey {
    LaneKey {
        provider: provider.into(),
        egress: "default".into(),
    }
}

/// A gate whose lane to Google is capped at one a second, with so many messages deferred in it.
fn gate(deferred: usize) -> Gate {
    let gate = Gate::new();
    gate.set_releasing(true);
    gate.set_hearing(true);
    let cap = Order {
        what: Steer::Cap {
            per_second: Some(1.0),
            concurrency: None,
        },
        author: "bench".into(),
        reason: "bench".into(),
        at: at(0.0),
    };
    gate.set_order(lane("google"), Some(cap), at(0.0));
    gate.set_lane(lane("other"), Lane::open(at(0.0)), at(0.0));
    for n in 0..deferred {
        let recipient = address(&format!("a{n}"));
        let deferred = Deferred {
            queue_id: &format!("Q{n}"),
            sender: "app@sender.test",
            stream: None,
            recipient: &recipient,
            since: at(0.0),
        };
        assert!(gate.enter(&deferred, Some("google"), at(0.0)));
    }
    gate
}

fn cases() -> [Case; 3] {
    [
        ("empty", gate(0), "google"),
        ("deferred in another lane", gate(DEFERRED), "other"),
        ("deferred in the same lane", gate(DEFERRED), "google"),
    ]
}

fn look_up((_, gate, provider): &Case, recipients: &[Address]) {
    for recipient in recipients {
        let _ = black_box(gate.look_up(recipient, Some(provider), at(0.5)));
    }
}

fn recipients() -> Vec<Address> {
    (0..TURN).map(|n| address(&format!("x{n}"))).collect()
}

fn look_ups(c: &mut Criterion) {
    let recipients = recipients();
    let mut group = c.benchmark_group("gate");
    for case in cases() {
        let mut n = 0;
        group.bench_function(format!("look_up, {}", case.0), |b| {
            b.iter(|| {
                n = (n + 1) % recipients.len();
                look_up(&case, &recipients[n..=n]);
            });
        });
    }
    let gate = gate(DEFERRED);
    let mut second = 0.0;
    group.bench_function("release of one in 100,000", |b| {
        b.iter(|| {
            second += 1.0;
            black_box(gate.release(at(second)))
        });
    });
    group.finish();
}

/// The ratios, of the shortest turns: those that nobody disturbed.
fn ratios() {
    let (cases, recipients) = (cases(), recipients());
    let mut least = [Duration::MAX; 3];
    for _ in 0..TURNS {
        for (case, least) in cases.iter().zip(&mut least) {
            let begun = clock::monotonic();
            look_up(case, &recipients);
            *least = begun.elapsed().min(*least);
        }
    }
    let each = |span: Duration| span.as_secs_f64() * 1e9 / TURN as f64;
    for ((name, ..), &span) in cases.iter().zip(&least) {
        println!(
            "look-up, {name}: {:.0} ns, {:.2} of that with nothing deferred",
            each(span),
            each(span) / each(least[0])
        );
    }
}

criterion_group!(benches, look_ups);

fn main() {
    benches();
    Criterion::default().configure_from_args().final_summary();
    ratios();
}
