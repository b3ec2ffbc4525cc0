//! What rules accept, refuse, and decide.

use super::*;

const GOOD: &str = "[[rule]]\nid = \"a\"\ntext = \"no such user\"\ncause = \"user_unknown\"\n";

fn providers() -> Providers {
    Providers::shipped().unwrap()
}

fn ask<'a>(text: &'a str, code: u16, status: &str, provider: Option<&'a str>) -> Question<'a> {
    Question {
        text,
        code: ReplyCode::new(code),
        status: status.parse().ok(),
        provider,
    }
}

#[test]
fn mistakes_are_named_with_file_and_line() {
    let table = [
        (format!("{GOOD}colour = 1\n"), "x.toml:5: unknown field `colour`"),
        (
            format!("{GOOD}{GOOD}"),
            "x.toml:6: id: \"a\" is taken at x.toml:2",
        ),
        (
            GOOD.replace("no such user", "(no"),
            "x.toml:3: text: regex parse error",
        ),
        (
            GOOD.replace("no such user", "x*"),
            "x.toml:3: text: expected a pattern that needs some text",
        ),
        (
            GOOD.replace("user_unknown", "gone"),
            "x.toml:4: cause: expected a known name, found \"gone\"",
        ),
        (
            format!("{GOOD}provider = \"gogle\"\n"),
            "x.toml:5: provider: expected one of the catalogue, found \"gogle\"",
        ),
        (
            format!("{GOOD}code = [\"550\",\n\"9\"]\n"),
            "x.toml:6: code: expected 200 to 599",
        ),
        (
            format!("{GOOD}status = \"5.1\"\n"),
            "x.toml:5: status: expected one like 5.1.1",
        ),
        (
            format!("{GOOD}hold = \"soon\"\n"),
            "x.toml:5: hold: expected a time like 30m or 2h, found \"soon\"",
        ),
        (
            format!("{GOOD}throttle = \"rate\"\n"),
            "x.toml:5: throttle: expected a rule that throttles, found one of user_unknown",
        ),
        (
            format!("{GOOD}throttle = \"all\"\n").replace("user_unknown", "rate_limited"),
            "x.toml:5: throttle: expected a known name, found \"all\"",
        ),
        (
            format!("{GOOD}remedy = \"delete\"\n"),
            "x.toml:5: remedy: expected a known name, found \"delete\"",
        ),
        (
            GOOD.replace("text = \"no such user\"\n", ""),
            "x.toml:2: expected at least one of code, status and text, found none",
        ),
        (
            format!("{GOOD}remedy = \"suppress\"\n").replace("user_unknown", "blocklisted"),
            "x.toml:5: remedy: only a cause of the recipient or the domain may suppress",
        ),
        (
            format!("{GOOD}remedy = \"suppress\"\npermanent = false\n"),
            "x.toml:5: remedy: only a permanent fault may suppress",
        ),
        (
            GOOD.replace("id = \"a\"", "id = \"\""),
            "x.toml:2: id: expected a word",
        ),
        (
            GOOD.replace("id = \"a\"\n", "").to_owned(),
            "x.toml:1: missing field `id`",
        ),
        (
            format!("{GOOD}anywhere = true\n"),
            "x.toml:5: anywhere: expected a rule with a provider and a text",
        ),
        ("[[rule]".to_owned(), "x.toml:1: "),
    ];
    for (text, expected) in table {
        let errors = RuleSet::compile(&[("x.toml", &text)], &providers()).unwrap_err();
        let said = errors[0].to_string();
        assert!(said.starts_with(expected), "{said}\nexpected {expected}\n{text}");
    }
}

#[test]
fn every_mistake_is_told_at_once() {
    let text = format!(
        "{GOOD}hold = \"soon\"\n[[rule]]\nid = \"b\"\ncode = \"550\"\nstatus = \"9\"\ncause = \"gone\"\n"
    );
    let errors = RuleSet::compile(&[("x.toml", &text)], &providers()).unwrap_err();
    assert_eq!(errors.len(), 3, "{errors:?}");
}

#[test]
fn text_outranks_status_outranks_code_and_a_provider_the_rest() {
    let text = r#"
        [[rule]]
        id = "code"
        code = "550"
        cause = "unknown"
        [[rule]]
        id = "status"
        status = "5.1.1"
        cause = "user_unknown"
        [[rule]]
        id = "text"
        text = "full"
        cause = "mailbox_full"
        [[rule]]
        id = "google.text"
        provider = "google"
        text = "full"
        cause = "mailbox_full"
        [[rule]]
        id = "google.status"
        provider = "google"
        status = "5.1.1"
        cause = "rate_limited"
    "#;
    let rules = RuleSet::compile(&[("x.toml", text)], &providers()).unwrap();
    let table = [
        (ask("x", 550, "", None), "code"),
        (ask("x", 550, "5.1.1", None), "status"),
        (ask("x", 550, "5.1.1", Some("yahoo")), "status"),
        (ask("x", 550, "5.1.1", Some("google")), "google.status"),
        (ask("FULL", 550, "5.1.1", Some("yahoo")), "text"),
        (ask("FULL", 550, "5.1.1", Some("google")), "google.text"),
        // nobody said who answered: the text may tell
        (ask("FULL", 550, "5.1.1", None), "google.text"),
    ];
    for (question, id) in table {
        assert_eq!(&*rules.find(&question).unwrap().0.id, id, "{question:?}");
    }
    assert!(rules.find(&ask("x", 450, "4.1.1", Some("google"))).is_none());
}

/// A host that is no provider's says none of theirs but what gives its provider away.
#[test]
fn nobodys_words_are_not_anothers() {
    let text = r#"
        [[rule]]
        id = "slow"
        text = "slow down"
        cause = "rate_limited"
        [[rule]]
        id = "google.slow"
        provider = "google"
        text = ["slow down", "p=slow"]
        cause = "rate_limited"
        [[rule]]
        id = "yahoo.slow"
        provider = "yahoo"
        anywhere = true
        text = "tss04"
        cause = "rate_limited"
    "#;
    let rules = RuleSet::compile(&[("x.toml", text)], &providers()).unwrap();
    let table = [
        ("slow down", Some("mx.x.test"), Some("slow")),
        ("slow down", Some("google"), Some("google.slow")),
        ("slow down", None, Some("google.slow")),
        ("p=slow", Some("mx.x.test"), None),
        ("slow down tss04", Some("mx.x.test"), Some("yahoo.slow")),
        ("slow down tss04", Some("yahoo"), Some("yahoo.slow")),
    ];
    for (text, provider, id) in table {
        let question = ask(text, 421, "", provider);
        let found = rules.find(&question).map(|(rule, _)| rule.id.to_string());
        assert_eq!(found.as_deref(), id, "{text} {provider:?}");
    }
}

#[test]
fn the_operator_wins_and_may_replace() {
    let own = "[[rule]]\nid = \"own\"\ncode = \"550\"\ncause = \"policy_rejected\"\n\
               [[rule]]\nid = \"status.x.1.1\"\nstatus = \"5.1.1\"\ncause = \"rate_limited\"\n";
    let rules = RuleSet::with_operator(&[("own.toml", own)], &providers()).unwrap();
    let found = rules.find(&ask("no such user here", 550, "", None)).unwrap();
    assert_eq!(&*found.0.id, "own", "even a code of theirs before a text of ours");
    let replaced: Vec<_> = rules
        .rules()
        .iter()
        .filter(|r| &*r.id == "status.x.1.1")
        .collect();
    assert_eq!(replaced.len(), 1);
    assert_eq!(&*replaced[0].file, "own.toml");
}

#[test]
fn a_named_group_tells_the_kind() {
    let text = "[[rule]]\nid = \"a\"\ntext = 'listed (?:at|in) (?P<sub>[a-z]+)'\ncause = \"blocklisted\"\nsub_cause = \"some\"\n";
    let rules = RuleSet::compile(&[("x.toml", text)], &providers()).unwrap();
    let (_, sub) = rules.find(&ask("is listed in SpamHaus", 554, "", None)).unwrap();
    assert_eq!(sub.as_deref(), Some("spamhaus"));
}
