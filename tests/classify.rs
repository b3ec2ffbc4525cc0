//! Judging replies: labelled ones (`tests/data/replies/replies.jsonl`), the known traps, and every
//! example of every rule.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

use jiff::Timestamp;
use nixie::engine::classify::{Phase, classify, classify_in, judge};
use nixie::engine::provider::Providers;
use nixie::engine::rule::RuleSet;
use nixie::engine::verdict::{Cause, Remedy, Scope, Verdict};
use nixie::mail::address::Address;
use nixie::mail::event::{Event, EventId, Evidence, Outcome, Relay, Source};
use nixie::mail::formats::postfix::{ReasonKind, parse_reason};
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

/// What speaks of us, of our sender or of our message never suppresses, however much it sounds like it.
#[test]
fn words_about_us_never_suppress() {
    let table = [
        "550 Message rejected: From address is not valid",
        "550 Your message was rejected: unknown user agent",
        "550 5.7.1 Unable to deliver; the sending account does not exist",
        "550 5.1.0 Sender not found",
        "550 Your e-mail address is not listed as allowed",
        "550 5.1.1 Recipient rejected: you are not on the recipient's allowed senders list",
        "550 5.1.1 Mail rejected; HELO name does not exist in DNS",
        "550 5.1.1 too many unknown users from your IP",
        "550 Too many invalid recipients",
        "550 excessive invalid recipients from your host",
        "550 Callout verification failed: 550 no such user",
        "550 Mailbox of sender not found",
        "550 5.1.1 Unable to verify that user bounce@our.test exists",
        "550 5.7.1 Message contains unknown user reference",
        "550 Your account has been suspended",
        "550 Your email has been blocked",
        "550 5.1.1 User unknown; rejecting due to spam",
        "550 Server IP not found in user database",
        "550 Reverse lookup: address not found",
        "4.4.3 Host or domain name not found. Name service error for name=x.test type=MX: Host not found, try again",
        "554 5.7.1 The message from (<a@b.test>) with the subject of (User unknown) matches a profile the Internet community may consider spam",
    ];
    for text in table {
        let verdict = judged(rules(), text, None);
        assert_ne!(verdict.remedy, Remedy::Suppress, "{text}: {}", verdict.rule);
    }
}

fn event(outcome: Outcome, reply: &str, relay: Option<Relay>) -> Event {
    Event {
        id: EventId::new(Timestamp::UNIX_EPOCH, &[]),
        at: Timestamp::UNIX_EPOCH,
        source: Source::Log,
        outcome,
        evidence: Evidence::Fresh,
        recipient: Address::parse("ann@x.test").unwrap(),
        original_recipient: None,
        sender: None,
        queue_id: None,
        message_id: None,
        envelope_id: None,
        relay,
        command: None,
        reply: Reply::parse(reply),
        reported_status: None,
        reporting_mta: None,
        return_path: None,
        own: true,
    }
}

/// The very words that suppress in reply to RCPT say nothing of the recipient in reply to anything else.
#[test]
fn only_an_answer_to_rcpt_is_about_the_recipient() {
    let providers = Providers::shipped().unwrap();
    let remedy = |command: &str| {
        let event = Event {
            command: Some(command.to_owned()),
            ..event(
                Outcome::Failed,
                "550 5.1.1 no such user",
                relay("mx.x.test", Some("192.0.2.1")),
            )
        };
        judge(rules(), &providers, "default", &event).0.remedy
    };
    assert_eq!(remedy("RCPT TO"), Remedy::Suppress);
    for command in ["MAIL FROM", "DATA", "end of DATA", "EHLO", "greeting"] {
        assert_ne!(remedy(command), Remedy::Suppress, "{command}");
    }
}

fn relay(host: &str, ip: Option<&str>) -> Option<Relay> {
    Some(Relay {
        host: host.to_owned(),
        ip: ip.map(str::to_owned),
        port: Some(25),
    })
}

#[test]
fn events_are_judged_by_their_outcome() {
    let providers = Providers::shipped().unwrap();
    let table = [
        (Outcome::Delivered, "250 ok", Cause::Delivered, Remedy::None),
        (Outcome::Relayed, "250 ok", Cause::Delivered, Remedy::None),
        (
            Outcome::Expired,
            "550 5.1.1 no such user",
            Cause::Expired,
            Remedy::Retry,
        ),
        (Outcome::Complaint, "", Cause::Complaint, Remedy::Suppress),
        (
            Outcome::Failed,
            "550 5.1.1 no such user",
            Cause::UserUnknown,
            Remedy::Suppress,
        ),
        (
            Outcome::Deferred,
            "450 4.1.1 no such user",
            Cause::UserUnknown,
            Remedy::Retry,
        ),
    ];
    for (outcome, reply, cause, remedy) in table {
        let (verdict, _) = judge(rules(), &providers, "default", &event(outcome, reply, None));
        assert_eq!((verdict.cause, verdict.remedy), (cause, remedy), "{outcome:?}");
    }
    let echo = Event {
        evidence: Evidence::Repeat,
        ..event(Outcome::Failed, "550 5.1.1 no such user", None)
    };
    assert_eq!(
        judge(rules(), &providers, "default", &echo).0.remedy,
        Remedy::None
    );
}

/// A reply to the message counts for every recipient of it; only the one that it names can be dead.
#[test]
fn a_reply_to_the_message_condemns_only_whom_it_names() {
    let providers = Providers::shipped().unwrap();
    let said = |who: &str| format!("554 no such user {who} (in reply to end of DATA command)");
    let named = event(Outcome::Failed, &said("<Ann@X.test>"), None);
    assert_eq!(
        judge(rules(), &providers, "default", &named).0.cause,
        Cause::UserUnknown
    );
    for who in ["<bob@x.test>", "here"] {
        let (verdict, _) = judge(
            rules(),
            &providers,
            "default",
            &event(Outcome::Failed, &said(who), None),
        );
        assert_eq!(
            (verdict.cause, verdict.remedy),
            (Cause::Unknown, Remedy::None),
            "{who}"
        );
    }
}

#[test]
fn lanes_are_known_where_a_server_was_reached() {
    let providers = Providers::shipped().unwrap();
    let lane = |event: &Event| {
        judge(rules(), &providers, "out1", event)
            .1
            .map(|lane| (lane.provider, lane.egress))
    };
    let google = || relay("alt1.gmail-smtp-in.l.google.com", Some("192.0.2.1"));
    let table = [
        (google(), Some("google")),
        (relay("mx1.misc.test", Some("2001:db8::1")), Some("misc.test")),
        (relay("mx.misc.test", Some("private/dovecot-lmtp")), None),
        (relay("local", None), None),
        (None, None),
    ];
    for (relay, provider) in table {
        let found = lane(&event(Outcome::Deferred, "421 4.7.0 slow down", relay.clone()));
        let expected = provider.map(|provider| (provider.to_owned(), "out1".to_owned()));
        assert_eq!(found, expected, "{relay:?}");
    }
    let deferred = event(Outcome::Deferred, "421 4.7.0 slow down", google());
    assert_eq!(
        lane(&Event {
            evidence: Evidence::Repeat,
            ..deferred.clone()
        }),
        None
    );
    assert_eq!(
        lane(&Event {
            source: Source::Lmtp,
            ..deferred
        }),
        None,
        "reports come hours late"
    );
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
        rules,
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
