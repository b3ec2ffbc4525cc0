//! The shipped rules: their examples, their holds, what they cover.

use crate::{judged, rules};
use nixie::engine::verdict::{Cause, Remedy};
use std::collections::HashSet;

/// Each shipped rule is for something, and wins there.
#[test]
fn every_example_is_judged_by_its_own_rule() {
    let rules = rules();
    for rule in rules.rules() {
        assert!(!rule.examples.is_empty(), "{} has no example", rule.id);
        for example in &rule.examples {
            let provider = rule.providers.first().map_or("misc.test", String::as_str);
            let verdict = judged(rules, example, Some(provider));
            assert_eq!(verdict.rule, rule.id, "{example}");
        }
    }
}

/// Holds are the ones that work for the provider.
#[test]
fn holds_come_with_the_rule() {
    let rules = rules();
    let table = [
        (
            "google",
            "421-4.7.28 Our system has detected an unusual rate of unsolicited mail",
            30,
        ),
        (
            "google",
            "421-4.7.0 Our system has detected that this message is suspicious",
            60,
        ),
        (
            "yahoo",
            "421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred due to unexpected volume",
            120,
        ),
        (
            "yahoo",
            "421 4.7.0 [IPTS05] Messages from 192.0.2.1 temporarily deferred",
            240,
        ),
        (
            "outlook",
            "451 4.7.650 The mail server [192.0.2.10] has been temporarily rate limited due to IP reputation.",
            30,
        ),
        (
            "apple",
            "451 [BS02] Temporary server error. Please try again later.",
            15,
        ),
        (
            "orange",
            "421 Trop de connexions. Too many connections, slow down. OFR004_104 [104]",
            60,
        ),
    ];
    for (provider, text, minutes) in table {
        let verdict = judged(rules, text, Some(provider));
        assert_eq!(verdict.remedy, Remedy::Throttle, "{text}: {}", verdict.rule);
        assert_eq!(
            verdict.hold.map(|hold| hold.as_secs() / 60),
            Some(minutes),
            "{text}: {}",
            verdict.rule
        );
    }
}

/// Every cause of the design that a reply can have is known to some rule.
#[test]
fn every_cause_has_a_rule() {
    let rules = rules();
    let known: HashSet<Cause> = rules.rules().iter().map(|rule| rule.cause).collect();
    let beyond_replies = [Cause::Complaint, Cause::AutoReply, Cause::Delayed];
    let missing: Vec<_> = Cause::ALL
        .iter()
        .filter(|c| !known.contains(c) && !beyond_replies.contains(c))
        .collect();
    assert_eq!(missing, Vec::<&Cause>::new());
}
