//! Judging replies: labelled ones, known traps, contradictions, codes and statuses, and every example of
//! every rule; and the labelled bounce mails.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod code;
mod contradiction;
mod event;
mod mail;
mod rule;
mod sample;
mod trap;

use nixie::engine::classify::{Phase, classify, classify_in};
use nixie::engine::provider::Providers;
use nixie::engine::rule::RuleSet;
use nixie::engine::verdict::Verdict;
use nixie::mail::formats::postfix::{ReasonKind, parse_reason};
use nixie::mail::reply::Reply;
use std::sync::LazyLock;

/// The shipped rules, compiled once for all tests.
fn rules() -> &'static RuleSet {
    static RULES: LazyLock<RuleSet> = LazyLock::new(compiled);
    &RULES
}

fn compiled() -> RuleSet {
    RuleSet::shipped(&Providers::shipped().unwrap()).unwrap_or_else(|errors| {
        let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
        panic!("{}", errors.join("\n"))
    })
}

/// A reply as it stands in a log: perhaps within Postfix's own words.
fn said(text: &str) -> (Reply, Phase) {
    let reason = parse_reason(text);
    if reason.kind == ReasonKind::Local {
        return (Reply::parse(text), Phase::Unknown);
    }
    let phase = reason
        .answered()
        .map_or(Phase::Unknown, |command| Phase::of_command(&command));
    (reason.reply, phase)
}

fn judged(rules: &RuleSet, text: &str, provider: Option<&str>) -> Verdict {
    let (reply, phase) = said(text);
    match phase {
        Phase::Unknown => classify(rules, &reply, None, provider),
        phase => classify_in(rules, &reply, None, provider, phase),
    }
}
