//! The fast way to the rule that wins finds what the plain way finds: for every labelled reply, every
//! example, and texts put together from the words of the rules.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

use nixie::engine::provider::Providers;
use nixie::engine::rule::reference::PlainRules;
use nixie::engine::rule::{Question, RuleSet};
use nixie::mail::reply::{Reply, ReplyCode};
use proptest::prelude::*;
use std::sync::LazyLock;

static RULES: LazyLock<RuleSet> =
    LazyLock::new(|| RuleSet::shipped(&Providers::shipped().unwrap()).expect("the shipped rules"));
static PLAIN: LazyLock<PlainRules<'static>> = LazyLock::new(|| PlainRules::new(&RULES, 64 << 20).unwrap());

/// What texts are put together from: the replies and examples, and the words of the patterns.
static REPLIES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/replies/replies.jsonl");
    let labelled = std::fs::read_to_string(path).unwrap();
    let reply = |line: &str| {
        serde_json::from_str::<serde_json::Value>(line).unwrap()["reply"]
            .as_str()
            .map(str::to_owned)
    };
    let examples = RULES.rules().iter().flat_map(|rule| rule.examples.clone());
    labelled.lines().filter_map(reply).chain(examples).collect()
});
static WORDS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let texts = RULES.rules().iter().flat_map(|rule| &rule.texts);
    let all = texts.chain(REPLIES.iter()).flat_map(|text| {
        text.split(|c: char| "()|[]?*\\^$ {}…+".contains(c))
            .map(str::to_lowercase)
    });
    let mut words: Vec<String> = all.filter(|word| !word.is_empty()).collect();
    words.sort();
    words.dedup();
    words
});

/// Asks both ways, with the provider unknown and with each of some.
fn compare(text: &str, code: Option<ReplyCode>, status: Option<&str>) {
    for provider in [
        None,
        Some("google"),
        Some("yahoo"),
        Some("microsoft365"),
        Some("x.test"),
    ] {
        let question = Question {
            text,
            code,
            status: status.and_then(|status| status.parse().ok()),
            provider,
        };
        let fast = RULES.find(&question).map(|(rule, _)| &*rule.id);
        let plain = PLAIN.find(&question).map(|rule| &*rule.id);
        assert_eq!(fast, plain, "{question:?}");
    }
}

#[test]
fn replies_and_examples() {
    for reply in REPLIES.iter() {
        let reply = Reply::parse(reply);
        let status = reply.status.map(|status| status.to_string());
        compare(&reply.text.to_lowercase(), reply.code, status.as_deref());
        compare(&reply.text.to_lowercase(), None, None);
        if reply.text.is_ascii() {
            compare(&reply.text.to_uppercase(), ReplyCode::new(450), Some("4.2.0"));
        }
        // a word less, and what was matched may not be any more
        for (at, _) in reply.text.match_indices(' ').step_by(3) {
            compare(&reply.text[..at].to_lowercase(), reply.code, None);
            compare(&reply.text[at + 1..].to_lowercase(), reply.code, None);
        }
    }
}

/// Every shape that a pattern may have, and that the words it requires are taken from.
#[test]
fn shapes_of_patterns() {
    let patterns = [
        "full",
        "(?:a|b)c",
        "(?i)Ab",
        "(?-i:AB)c",
        "x{2,3}y",
        "(?:ab){2}",
        "a…b",
        "^ab",
        "ab$",
        r"\bab\b",
        r"a\d{1,2}b",
        "[ab]c[xy]",
        "(?:ab)?c",
        "ab*c",
        "a.c",
        "(?:ab|a.*c)b",
        "ü",
        "(?:abc|ab)",
        "[^a]bc",
        "(?:abc|b?)a",
        r"(?:x|\d)abc",
        "(?s).abc",
    ];
    let providers = Providers::shipped().unwrap();
    let letters = ["a", "b", "c", "x", "y", "1", ". ", " ", "A", "ü", "full"];
    for pattern in patterns {
        let file = format!("[[rule]]\nid = \"a\"\ntext = '{pattern}'\ncause = \"unknown\"\n");
        let rules = RuleSet::compile(&[("a.toml", &file)], &providers).unwrap();
        let plain = PlainRules::new(&rules, 1 << 20).unwrap();
        for n in 0..letters.len().pow(4) {
            let letter = |place: u32| letters[n / letters.len().pow(place) % letters.len()];
            let text: String = (0..4).map(letter).collect();
            let question = Question {
                text: &text,
                code: None,
                status: None,
                provider: None,
            };
            let fast = rules.find(&question).is_some();
            assert_eq!(fast, plain.find(&question).is_some(), "{pattern} in {text:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn words_of_the_rules(
        picked in prop::collection::vec((any::<prop::sample::Index>(), 0..12_usize), 1..12),
        code in prop::option::of(200..599_u16),
        status in prop::option::of("[45]\\.[0-7]\\.[0-9]{1,2}"),
    ) {
        let blanks = [" ", " ", " ", " ", " ", " ", " ", "", "-", ". ", ": ", " @ "];
        let word = |(index, blank): &(prop::sample::Index, usize)| [index.get(&WORDS).as_str(), blanks[*blank]].concat();
        let text: String = picked.iter().map(word).collect();
        compare(&text, code.and_then(ReplyCode::new), status.as_deref());
    }

    #[test]
    fn pieces_of_replies(
        picked in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 1..60_usize), 1..5),
        code in prop::option::of(200..599_u16),
    ) {
        let piece = |(reply, from, length): &(prop::sample::Index, prop::sample::Index, usize)| {
            let text: Vec<char> = reply.get(&REPLIES).to_lowercase().chars().collect();
            let from = from.index(text.len());
            text[from..text.len().min(from + length)].iter().collect::<String>()
        };
        let text: String = picked.iter().map(piece).collect();
        compare(&text, code.and_then(ReplyCode::new), None);
    }
}
