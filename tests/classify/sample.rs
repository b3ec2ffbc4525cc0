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

/// Causes for which nobody's mail is lost if their address is suppressed.
pub(crate) const DEAD: [&str; 7] = [
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

/// What is known about who answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Provider,
    Nothing,
    /// A host that is no provider's.
    Host,
}

/// How a set of samples was judged.
struct Figures {
    strict: usize,
    lenient: usize,
    permanence: usize,
    missed: usize,
    count: usize,
    false_suppressions: Vec<String>,
    misses: String,
}

impl Figures {
    fn of(samples: &[Sample], known: Known) -> Self {
        let mut figures = Self {
            strict: 0,
            lenient: 0,
            permanence: 0,
            missed: 0,
            count: samples.len(),
            false_suppressions: Vec::new(),
            misses: String::new(),
        };
        for sample in samples {
            figures.add(sample, known);
        }
        figures
    }

    fn add(&mut self, sample: &Sample, known: Known) {
        let speaker = match known {
            Known::Provider => provider(&sample.provider),
            Known::Nothing => None,
            Known::Host => Some("mx.x.test"),
        };
        let verdict = judged(rules(), &sample.reply, speaker);
        let cause = verdict.cause.name();
        let accepted = cause == sample.cause || sample.also.iter().any(|also| also == cause);
        self.strict += usize::from(cause == sample.cause || finer(&sample.cause, cause));
        self.lenient += usize::from(accepted);
        self.permanence += usize::from(verdict.permanent != sample.temporary);
        let mut labels = std::iter::once(&sample.cause).chain(&sample.also);
        if verdict.remedy == Remedy::Suppress && !labels.any(|label| DEAD.contains(&label.as_str())) {
            self.false_suppressions
                .push(format!("{}: {}", verdict.rule, sample.reply));
        }
        let dead = matches!(sample.cause.as_str(), "user_unknown" | "mailbox_disabled") && !sample.temporary;
        let acts = matches!(verdict.remedy, Remedy::Suppress | Remedy::SuppressIfRepeated);
        self.missed += usize::from(dead && !acts);
        if !accepted || verdict.permanent == sample.temporary || (dead && !acts) {
            let label = (&sample.cause, &sample.also, sample.temporary);
            self.misses
                .push_str(&format!("\n{label:?} <> {verdict:?} | {}", sample.reply));
        }
    }

    fn share(&self, n: usize) -> usize {
        n * 1000 / self.count
    }
}

/// The figures, with and without knowing who answered. Not one live address is suppressed in either, nor where
/// providers' words come from a host that is none's.
fn check(text: &str) {
    let samples: Vec<Sample> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for known in [Known::Provider, Known::Nothing, Known::Host] {
        let figures = Figures::of(&samples, known);
        let shares = [figures.strict, figures.lenient, figures.permanence].map(|n| figures.share(n));
        let [strict, lenient, permanence] = shares;
        let said = format!(
            "known: {known:?}; of 1000: strict {strict}, lenient {lenient}, permanence {permanence}; \
             dead missed {}{}",
            figures.missed, figures.misses
        );
        assert_eq!(figures.false_suppressions, Vec::<String>::new(), "{said}");
        if known == Known::Host {
            continue;
        }
        assert!(strict >= 940, "{said}");
        assert!(lenient >= 980, "{said}");
        assert!(permanence >= 980, "{said}");
        assert!(figures.missed <= 1, "{said}");
    }
}

/// Replies of real servers.
#[test]
fn labelled_replies_are_judged_right() {
    check(include_str!("../data/replies/replies.jsonl"));
}

/// Replies composed after the wording of the software, in many languages, and look-alikes.
#[test]
fn composed_replies_are_judged_right() {
    let text = include_str!("../data/replies/own.jsonl");
    assert!(text.lines().count() >= 300);
    check(text);
}

/// What other lists of codes say: code, status, text, category, causes, remedies. Rows without causes
/// have an answer, unless they say nothing.
#[test]
fn listed_codes_have_their_answers() {
    /// Rows that say no more than "no": nothing is read into them.
    const SILENT: [(&str, &str); 13] = [
        ("550", ""),
        ("553", ""),
        ("554", ""),
        ("550", "5.0.0"),
        ("553", "5.0.0"),
        ("554", "5.0.0"),
        // "a remote server returned an error"
        ("550", "5.0.1"),
        ("550", "5.0.350"),
        // a subject that RFC 3463 does not have
        ("550", "5.8.1"),
        ("550", "5.8.2"),
        // numbers that nobody defines
        ("542", ""),
        ("701", ""),
        ("585", ""),
    ];
    let table = include_str!("../data/replies/seed-replies.tsv");
    let mut wrong = String::new();
    for row in table.lines().skip(1) {
        let mut cells = row.split('\t').map(str::trim).chain(std::iter::repeat(""));
        let [_, code, status, text, _, causes, remedies] = std::array::from_fn(|_| cells.next().unwrap());
        let reply = [code, status, text].into_iter().filter(|part| !part.is_empty());
        let reply = reply.collect::<Vec<_>>().join(" ");
        let provider = match text.split([':', ' ']).next().unwrap_or_default() {
            "Gmail" => Some("google"),
            "Outlook" => Some("outlook"),
            _ => None,
        };
        let verdict = judged(rules(), &reply, provider);
        let silent = text.is_empty() && SILENT.contains(&(code, status));
        let agrees = match causes {
            "" => silent || verdict.cause.name() != "unknown",
            causes => {
                causes.split('|').any(|cause| cause == verdict.cause.name())
                    && remedies.split('|').any(|remedy| remedy == verdict.remedy.name())
            }
        };
        if !agrees {
            wrong.push_str(&format!(
                "\n{row} <> {} {} {}",
                verdict.cause, verdict.remedy, verdict.rule
            ));
        }
    }
    assert_eq!(wrong, "");
}

#[derive(Deserialize)]
struct Diagnostic {
    diagnostic: String,
    causes: Vec<String>,
    suppress: Option<bool>,
    #[serde(default)]
    argued: Option<String>,
}

/// What bounces say in their own words, cut short and cleaned by another program. Where its label is
/// wrong, or where what is left of the text tells nothing, the file says so (`argued`).
#[test]
fn diagnostics_of_bounces_are_judged_right() {
    let text = include_str!("../data/replies/diagnostics.jsonl");
    let samples: Vec<Diagnostic> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let (mut right, mut count, mut misses) = (0, 0, String::new());
    for sample in &samples {
        let verdict = judged(rules(), &sample.diagnostic, None);
        let may_be_dead = sample.causes.iter().any(|cause| DEAD.contains(&cause.as_str()));
        if verdict.remedy == Remedy::Suppress && sample.suppress == Some(false) {
            assert!(may_be_dead, "{}: {}", verdict.rule, sample.diagnostic);
        }
        if sample.argued.is_some() {
            continue;
        }
        count += 1;
        if sample.causes.iter().any(|cause| cause == verdict.cause.name()) {
            right += 1;
        } else {
            misses.push_str(&format!(
                "\n{:?} <> {verdict:?} | {}",
                sample.causes, sample.diagnostic
            ));
        }
    }
    let argued = samples.len() - count;
    assert!(
        argued * 100 <= samples.len() * 6,
        "{argued} of {} are argued away",
        samples.len()
    );
    assert!(right * 1000 >= count * 970, "{right} of {count}{misses}");
}
