//! Judging replies: labelled ones (`tests/data/replies/replies.jsonl`), the known traps, and every
//! example of every rule.

use nixie::engine::classify::{Phase, classify, classify_in};
use nixie::engine::provider::Providers;
use nixie::engine::rule::RuleSet;
use nixie::engine::verdict::{Cause, Remedy, Scope, Verdict};
use nixie::mail::reply::Reply;
use serde::Deserialize;
use std::collections::HashSet;
use std::sync::LazyLock;

#[derive(Deserialize)]
struct Sample {
    provider: String,
    reply: String,
    cause: String,
    also: Vec<String>,
    temporary: bool,
}

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
    let (inner, phase) = match text.split_once(" refused to talk to me: ") {
        Some((_, inner)) => (inner, Phase::Session),
        None => (
            text.split_once(" said: ").map_or(text, |(_, inner)| inner),
            Phase::Unknown,
        ),
    };
    match Reply::parse(inner) {
        reply if reply.code.is_some() => (reply, phase),
        _ => (Reply::parse(text), phase),
    }
}

fn judged(rules: &RuleSet, text: &str, provider: Option<&str>) -> Verdict {
    let (reply, phase) = said(text);
    match phase {
        Phase::Unknown => classify(rules, &reply, None, provider),
        phase => classify_in(rules, &reply, None, provider, phase),
    }
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
    let text = include_str!("data/replies/replies.jsonl");
    let samples: Vec<Sample> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for known in [true, false] {
        let (mut strict, mut lenient, mut permanence, mut missed) = (0, 0, 0, 0);
        let mut false_suppressions = Vec::new();
        for sample in &samples {
            let verdict = judged(
                &rules,
                &sample.reply,
                provider(&sample.provider).filter(|_| known),
            );
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
            if std::env::var_os("V").is_some()
                && (!accepted || verdict.permanent == sample.temporary || (dead && !acts))
            {
                eprintln!(
                    "{known} {} {:?} {} <> {cause} {} {} {} | {}",
                    sample.cause,
                    sample.also,
                    sample.temporary,
                    verdict.permanent,
                    verdict.remedy,
                    verdict.rule,
                    sample.reply
                );
            }
        }
        let share = |n: usize| n * 1000 / samples.len();
        let figures = format!(
            "provider known: {known}; of 1000: strict {}, lenient {}, permanence {}; dead missed {missed}",
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

#[test]
fn known_traps_are_avoided() {
    use Cause as C;
    let traps: &[(Option<&str>, &str, Cause, bool)] = &[
        (
            Some("godaddy"),
            "550 5.1.1 <u@x.test> has received too many recipients this hour IB607",
            C::RateLimited,
            false,
        ),
        (
            None,
            "550 5.1.1 <u@x.test> too many recipients this hour IB607",
            C::RateLimited,
            false,
        ),
        (None, "550 5.1.1 RCP-P2", C::PolicyRejected, true),
        (
            None,
            "550 5.2.1 Mailbox unavailable. Your IP address 192.0.2.44 is blacklisted using SPAMHAUS-XBL.",
            C::Blocklisted,
            true,
        ),
        (
            Some("gmx"),
            "550-Requested action not taken: mailbox unavailable 550-Reject due to policy restrictions. 550 For explanation visit",
            C::PolicyRejected,
            true,
        ),
        (
            Some("gmx"),
            "550 Requested action not taken: mailbox unavailable",
            C::UserUnknown,
            true,
        ),
        (
            Some("qq"),
            "550 Mailbox unavailable or access denied",
            C::RateLimited,
            false,
        ),
        (
            None,
            "550 Mailbox unavailable or access denied",
            C::RateLimited,
            false,
        ),
        (
            None,
            "550 Verification failed for <bounce@our.test>. The account or domain may not exist",
            C::SenderRejected,
            true,
        ),
        (
            None,
            "450 4.2.0 <u@x.test>: Recipient address rejected: Greylisted",
            C::Greylisted,
            false,
        ),
        (
            Some("google"),
            "450 4.2.1 The user you are trying to contact is receiving mail at a rate that",
            C::RateLimited,
            false,
        ),
        (
            None,
            "450 4.2.1 mailbox temporarily unavailable",
            C::MailboxUnavailable,
            false,
        ),
        (None, "550 5.2.2 Submission quota exceeded", C::RateLimited, false),
        (
            None,
            "452 4.3.1 Insufficient system storage",
            C::ServerUnavailable,
            false,
        ),
        (Some("yandex"), "550 5.7.1 No such user!", C::UserUnknown, true),
        (
            None,
            "554 5.7.1 <u@x.test>: Recipient address rejected: Not in recipient list",
            C::UserUnknown,
            true,
        ),
        (
            Some("microsoft365"),
            "550 5.4.1 Recipient address rejected: Access denied [x.outlook.com]",
            C::UserUnknown,
            true,
        ),
        (
            Some("microsoft365"),
            "550 5.1.10 RESOLVER.ADR.RecipientNotFound",
            C::UserUnknown,
            true,
        ),
        (
            None,
            "556 5.1.10 <u@x.test>: Recipient address rejected: Domain x.test does not accept mail (nullMX)",
            C::DomainNotFound,
            true,
        ),
        (
            Some("mimecast"),
            "451 Invalid Recipient - https://community.mimecast.com/docs/DOC-1369#451",
            C::UserUnknown,
            false,
        ),
        (
            Some("yahoo"),
            "552 1 Requested mail action aborted, mailbox not found",
            C::UserUnknown,
            true,
        ),
        (
            Some("google"),
            "550-5.2.1 The user you are trying to contact is receiving mail at a rate that 550 5.2.1 ReceivingRate",
            C::RateLimited,
            false,
        ),
        (
            Some("google"),
            "550 5.7.1 This email has been rate limited.",
            C::RateLimited,
            false,
        ),
        (
            Some("microsoft365"),
            "550 5.2.122 The recipient has reached their receiving limit.",
            C::RateLimited,
            false,
        ),
        (
            Some("yahoo"),
            "421 4.7.1 [TS03] All messages from 192.0.2.10 will be permanently deferred; Retrying will NOT succeed.",
            C::PoorReputation,
            true,
        ),
        (None, "550 4.2.2 mailbox full", C::MailboxFull, false),
        (
            None,
            "552 5.1.1 5.2.2 sorry, final recipient mailbox is full (chkuser)",
            C::MailboxFull,
            true,
        ),
        (None, "550", C::Unknown, true),
        (None, "550 Rejected", C::Unknown, true),
        (None, "554 Transaction failed", C::Unknown, true),
        (None, "550 5.0.0 no", C::Unknown, true),
        (None, "450 5.1.1 user unknown", C::UserUnknown, false),
        (None, "550 4.1.1 user unknown", C::UserUnknown, false),
        // the address says nothing about its own fate
        (
            None,
            "550 5.7.1 <no-such-user@x.test>: message looks like spam",
            C::ContentRejected,
            true,
        ),
        (
            None,
            "550 5.7.1 <mailbox-unavailable-unknown@x.test>: rejected",
            C::PolicyRejected,
            true,
        ),
    ];
    let rules = rules();
    for &(provider, text, cause, permanent) in traps {
        let verdict = judged(rules, text, provider);
        assert_eq!(
            (verdict.cause, verdict.permanent),
            (cause, permanent),
            "{text}: {}",
            verdict.rule
        );
        if !permanent || !matches!(verdict.scope, Scope::Recipient | Scope::Domain) {
            assert_ne!(verdict.remedy, Remedy::Suppress, "{text}");
        }
    }
}

/// An answer to something else than the recipient is not about the recipient.
#[test]
fn the_phase_guards_the_recipient() {
    let rules = rules();
    let said = Reply::parse("550 5.1.1 user unknown");
    let named = Reply::parse("554 delivery error: no such user u@x.test");
    let table = [
        (&said, Phase::Recipient, Cause::UserUnknown),
        (&said, Phase::Unknown, Cause::UserUnknown),
        (&said, Phase::Sender, Cause::SenderRejected),
        (&said, Phase::Session, Cause::PolicyRejected),
        (&said, Phase::Message, Cause::Unknown),
        (&named, Phase::Message, Cause::UserUnknown),
    ];
    for (reply, phase, cause) in table {
        assert_eq!(
            classify_in(rules, reply, None, None, phase).cause,
            cause,
            "{phase:?}"
        );
    }
    let quoted = Reply::parse("550 5.1.1 user unknown (in reply to MAIL FROM command)");
    assert_eq!(classify(rules, &quoted, None, None).cause, Cause::SenderRejected);
}

/// Postfix reports a 5xx greeting as 4.x: it goes on trying, and the refusal is of us.
#[test]
fn a_refused_connection_is_about_us() {
    let rules = rules();
    let reply = Reply::parse(
        "554 5.7.1 Your access to this mail system has been rejected due to the sending MTA's poor reputation.",
    );
    let verdict = classify(rules, &reply, "4.7.1".parse().ok(), None);
    assert_eq!(
        (verdict.cause, verdict.permanent, verdict.remedy),
        (Cause::PoorReputation, false, Remedy::Throttle)
    );
    let bare = classify(
        &rules,
        &Reply::parse("550 5.1.1 no such user"),
        "4.0.0".parse().ok(),
        None,
    );
    assert_eq!((bare.cause, bare.remedy), (Cause::PolicyRejected, Remedy::Retry));
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
