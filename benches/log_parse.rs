//! Lines of Postfix's log a second on one thread: to typed lines (target: 1,000,000), and on to joined
//! events. The lines are those of a real run, repeated with fresh queue ids, addresses and times, so that
//! neither branch predictors nor caches learn them by heart; deliveries alone are the harder half.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use jiff::tz::TimeZone;
use nixie::postfix::log::{Calendar, Joiner, Line, decode};
use std::hint::black_box;

const LINES: usize = 50_000;

/// Lines of a real log, each different from all others.
fn varied(name: &str, keep: impl Fn(&str) -> bool) -> Vec<Vec<u8>> {
    let path = format!("{}/tests/data/log/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).expect("the log lies beside the tests");
    let lines: Vec<&str> = text.lines().filter(|line| keep(line)).collect();
    let once = |n: usize| {
        let mut line = lines[n % lines.len()].replacen(":40:", &format!(":{:02}:", n / 60 % 60), 1);
        if let Some((head, rest)) = line.split_once("A483") {
            line = format!("{head}{:06X}{rest}", n * 7919);
        }
        if let Some((head, rest)) = line.split_once("=<") {
            line = format!(
                "{head}=<r{n}{}",
                if rest.starts_with('>') { "@y.test>" } else { "" }
            ) + rest;
        }
        line.into_bytes()
    };
    (0..LINES).map(once).collect()
}

fn calendar() -> Calendar {
    Calendar::new("2026-11-21T12:00:00Z".parse().expect("a time"), TimeZone::UTC)
}

fn parse(c: &mut Criterion) {
    let mut group = c.benchmark_group("log_parse");
    group.throughput(Throughput::Elements(LINES as u64));
    for name in ["traditional", "iso", "rfc5424"] {
        let file = format!("{name}.log");
        for (what, lines) in [
            ("all", varied(&file, |_| true)),
            ("deliveries", varied(&file, |line| line.contains(" status="))),
        ] {
            let mut calendar = calendar();
            group.bench_function(format!("{name}/{what}"), |b| {
                b.iter(|| {
                    for line in &lines {
                        let text = decode(line);
                        let _ = black_box(Line::parse(&text, &mut calendar));
                    }
                });
            });
        }
    }
    group.finish();
}

fn join(c: &mut Criterion) {
    let mut group = c.benchmark_group("log_join");
    group.throughput(Throughput::Elements(LINES as u64));
    for (what, lines) in [
        ("all", varied("iso.log", |_| true)),
        ("deliveries", varied("iso.log", |line| line.contains(" status="))),
    ] {
        let (mut calendar, mut joiner) = (calendar(), Joiner::new(100_000));
        let mut events = Vec::new();
        group.bench_function(format!("iso/{what}"), |b| {
            b.iter(|| {
                for line in &lines {
                    events.clear();
                    let text = decode(line);
                    if let Ok(line) = Line::parse(&text, &mut calendar) {
                        joiner.push(&line, &mut events);
                    }
                    black_box(&events);
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, parse, join);
criterion_main!(benches);
