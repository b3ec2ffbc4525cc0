//! Labelled replies. A label is a cause, other causes that are defensible, and whether waiting helps.

use crate::{judged, rules};
use nixie::engine::verdict::Remedy;
use serde::Deserialize;

#[derive(Deserialize)]
struct Sample {
    provider: String,
    reply: String,
    cause: String,
    also: Vec<String>,
    temporary: bool,
}

/// The catalogue's names of the providers that the samples name.
fn provider(name: &str) -> Option<&'static str> {
    Some(match name {
        "google" => "google",
        "yahoo" | "aol" => "yahoo",
        "yahoo_jp" => "yahoo_jp",
        "outlook.com" => "outlook",
        "microsoft365" => "microsoft365",
        "apple" => "apple",
        "gmx/web.de" | "web.de" => "gmx",
        "comcast" => "comcast",
        "cox" => "cox",
        "charter" => "charter",
        "att" => "att",
        "orange" => "orange",
        "laposte" => "laposte",
        "mail.ru" => "mailru",
        "yandex" => "yandex",
        "qq" => "qq",
        "netease" => "netease",
        "proofpoint" => "proofpoint",
        "mimecast" => "mimecast",
        "barracuda" => "barracuda",
        "godaddy" => "godaddy",
        "kpn" => "kpn",
        _ => return None,
    })
}

const DEAD: [&str; 7] = [
    "user_unknown",
    "mailbox_disabled",
    "recipient_moved",
    "bad_address_syntax",
    "domain_not_found",
    "dns_failure",
    "relay_denied",
];

/// Finer causes that the labels do not tell apart.
fn finer(label: &str, cause: &str) -> bool {
    matches!(
        (label, cause),
        ("user_unknown", "bad_address_syntax")
            | ("policy_rejected", "sender_rejected")
            | ("rate_limited", "too_many_recipients")
            | ("content_rejected", "malformed_message")
            | ("dns_failure", "domain_not_found")
            | ("server_unavailable", "mailbox_unavailable")
    )
}

/// The figures, with and without knowing who answered. Not one live address is suppressed in either.
#[test]
fn labelled_replies_are_judged_right() {
    let rules = rules();
    let text = include_str!("../data/replies/replies.jsonl");
    let samples: Vec<Sample> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for known in [true, false] {
        let (mut strict, mut lenient, mut permanence, mut missed) = (0, 0, 0, 0);
        let mut false_suppressions = Vec::new();
        let mut misses = String::new();
        for sample in &samples {
            let verdict = judged(rules, &sample.reply, provider(&sample.provider).filter(|_| known));
            let cause = verdict.cause.name();
            let accepted = cause == sample.cause || sample.also.iter().any(|also| also == cause);
            strict += usize::from(cause == sample.cause || finer(&sample.cause, cause));
            lenient += usize::from(accepted);
            permanence += usize::from(verdict.permanent != sample.temporary);
            let labels = std::iter::once(&sample.cause).chain(&sample.also);
            let may_be_dead = labels.into_iter().any(|label| DEAD.contains(&label.as_str()));
            if verdict.remedy == Remedy::Suppress && !may_be_dead {
                false_suppressions.push(&sample.reply);
            }
            let dead =
                matches!(sample.cause.as_str(), "user_unknown" | "mailbox_disabled") && !sample.temporary;
            let acts = matches!(verdict.remedy, Remedy::Suppress | Remedy::SuppressIfRepeated);
            missed += usize::from(dead && !acts);
            if !accepted || verdict.permanent == sample.temporary || (dead && !acts) {
                let label = (&sample.cause, &sample.also, sample.temporary);
                misses.push_str(&format!("\n{label:?} <> {verdict:?} | {}", sample.reply));
            }
        }
        let share = |n: usize| n * 1000 / samples.len();
        let figures = format!(
            "provider known: {known}; of 1000: strict {}, lenient {}, permanence {}; dead missed {missed}{misses}",
            share(strict),
            share(lenient),
            share(permanence)
        );
        assert_eq!(false_suppressions, Vec::<&String>::new(), "{figures}");
        assert!(share(strict) >= 900, "{figures}");
        assert!(share(lenient) >= 970, "{figures}");
        assert!(share(permanence) >= 970, "{figures}");
        assert!(missed <= 1, "{figures}");
    }
}
