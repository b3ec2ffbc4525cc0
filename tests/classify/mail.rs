//! The labelled bounce mails (`tests/data/bounces`, BSD-2-Clause, `LICENSE.sisimai` beside them): how many
//! are read and judged as their labels say. The labels are another program's, and can be wrong: a figure
//! short of 100 % is no bug by itself, a live address suppressed is one.

#![allow(clippy::print_stdout, reason = "a test tells its figures")]

use super::sample::DEAD;
use nixie::engine::classify::judge;
use nixie::engine::provider::Providers;
use nixie::engine::rule::RuleSet;
use nixie::engine::verdict::{Remedy, Verdict};
use nixie::mail::event::{Event, Source};
use nixie::mail::message::{self, Envelope, Kind};
use serde::Deserialize;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

#[derive(Deserialize)]
struct Truth {
    file: String,
    kind: String,
    recipients: Vec<Expected>,
}

#[derive(Deserialize)]
struct Expected {
    address: Option<String>,
    status: Option<String>,
    code: Option<String>,
    causes: Option<Vec<String>>,
    suppress: Option<bool>,
}

/// Stands where the labels' program found no address because the reporter had removed it.
const REDACTED: &str = "undisclosed-recipient-in-headers@libsisimai.org.invalid";

#[derive(Default)]
struct Share {
    right: usize,
    of: usize,
    misses: String,
}

impl Share {
    fn count(&mut self, right: bool, miss: impl FnOnce() -> String) {
        self.of += 1;
        self.right += usize::from(right);
        if !right {
            let _ = writeln!(self.misses, "  {}", miss());
        }
    }

    fn at_least(&self, share: f64, what: &str) {
        let got = self.right as f64 / self.of as f64;
        println!("{what}: {} of {} ({:.1} %)", self.right, self.of, got * 100.0);
        assert!(
            got >= share,
            "{what}: {got:.3} of {}, expected {share}:\n{}",
            self.of,
            self.misses
        );
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/bounces")
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Bounce | Kind::Delay => "bounce",
        Kind::Delivered => "delivered",
        Kind::Complaint => "complaint",
        Kind::AutoReply => "auto_reply",
        Kind::None => "none",
    }
}

#[test]
fn labelled_mails_are_read_and_judged_right() {
    let providers = Providers::shipped().unwrap();
    let rules = RuleSet::shipped(&providers).unwrap();
    let now = "2026-11-21T12:00:00Z".parse().unwrap();
    let truth = std::fs::read_to_string(folder().join("truth.jsonl")).unwrap();
    let mut shares: [Share; 6] = Default::default();
    let [kinds, addresses, statuses, codes, causes, suppressed] = &mut shares;
    let mut wronged = String::new();
    for line in truth.lines() {
        let truth: Truth = serde_json::from_str(line).unwrap();
        let raw = std::fs::read(folder().join(&truth.file)).unwrap();
        let reading = message::read(&raw);
        let events = message::events(&reading, Envelope::default(), Source::File, now);
        let judged: Vec<(&Event, Verdict)> = events
            .iter()
            .map(|event| (event, judge(&rules, &providers, "", event).0))
            .collect();
        let file = &truth.file;
        kinds.count(name(reading.kind) == truth.kind, || {
            format!("{file}: {} <> {:?}", truth.kind, reading.kind)
        });
        if truth.kind != "bounce" {
            continue;
        }
        for (index, expected) in truth.recipients.iter().enumerate() {
            let address = expected.address.clone().unwrap_or_default().to_lowercase();
            let found = judged
                .iter()
                .find(|(event, _)| event.recipient.to_string().to_lowercase() == address);
            if address != REDACTED {
                addresses.count(found.is_some(), || format!("{file}: {address}"));
            }
            let found = found.or_else(|| judged.get(index));
            let status = found.and_then(|(e, _)| e.reply.status.or(e.reported_status));
            if let Some(expected) = &expected.status {
                let status = status.map(|s| s.to_string()).unwrap_or_default();
                statuses.count(status == *expected, || format!("{file}: {expected} <> {status}"));
            }
            if let Some(expected) = &expected.code {
                let code = found.and_then(|(e, _)| e.reply.code);
                let code = code.map(|c| c.to_string()).unwrap_or_default();
                codes.count(code == *expected, || format!("{file}: {expected} <> {code}"));
            }
            let verdict = found.map(|(_, verdict)| verdict);
            let cause = verdict.map_or("none", |v| v.cause.name());
            let accepted = expected.causes.clone().unwrap_or_default();
            if !accepted.is_empty() {
                causes.count(accepted.iter().any(|c| c == cause), || {
                    format!("{file}: {accepted:?} <> {cause} {found:?}")
                });
            }
            let Some(dead) = expected.suppress else { continue };
            let suppress = verdict.is_some_and(|v| v.remedy == Remedy::Suppress);
            suppressed.count(suppress == dead, || {
                format!("{file}: {dead} <> {cause} {found:?}")
            });
            if suppress && !dead && !accepted.iter().any(|c| DEAD.contains(&c.as_str())) {
                let _ = writeln!(wronged, "  {file}: {accepted:?} <> {cause}");
            }
        }
    }
    assert!(wronged.is_empty(), "live addresses suppressed:\n{wronged}");
    let [kinds, addresses, statuses, codes, causes, suppressed] = &shares;
    kinds.at_least(0.99, "kind");
    addresses.at_least(0.99, "address");
    statuses.at_least(0.98, "status");
    codes.at_least(0.97, "code");
    causes.at_least(0.96, "cause");
    suppressed.at_least(0.98, "suppress or not");
}
