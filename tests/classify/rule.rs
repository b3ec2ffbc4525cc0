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
            // Cox's few rules are about codes of its own.
            let provider = rule.providers.first().map_or("cox", String::as_str);
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

/// A plain "too fast" in anybody's words names none: the lane measures and pauses for a moment.
#[test]
fn a_plain_limit_of_nobody_in_particular_names_no_hold() {
    let rules = rules();
    for text in [
        "421 Rate limit reached. Please try again later",
        "421 4.7.0 Too many connections from 192.0.2.10 in the last minute",
        "421 4.7.0 mx.example.com Error: too many connections from 192.0.2.10",
        "451 4.7.1 Ratelimit \"bounce_to\" exceeded",
        "421 4.7.28 -",
        "421 4.7.0 -",
    ] {
        let verdict = judged(rules, text, Some("example.net"));
        assert_eq!(
            (verdict.remedy, verdict.hold),
            (Remedy::Throttle, None),
            "{text}: {}",
            verdict.rule
        );
    }
    let google = judged(rules, "421 4.7.28 -", Some("google"));
    assert_eq!(google.hold.map(|hold| hold.as_secs() / 60), Some(30));
}

/// Every cause of the design that a reply can have is known to some rule.
#[test]
fn every_cause_has_a_rule() {
    let rules = rules();
    let known: HashSet<Cause> = rules.rules().iter().map(|rule| rule.cause).collect();
    let beyond_replies = [
        Cause::Complaint,
        Cause::Unsubscribed,
        Cause::AutoReply,
        Cause::Delayed,
    ];
    let missing: Vec<_> = Cause::ALL
        .iter()
        .filter(|c| !known.contains(c) && !beyond_replies.contains(c))
        .collect();
    assert_eq!(missing, Vec::<&Cause>::new());
}

/// The kind of a cause is the name of a list, or of what did not pass.
#[test]
fn kinds_are_named() {
    let table = [
        (
            "554 5.7.1 Client host [192.0.2.1] blocked using zen.spamhaus.org",
            "spamhaus-zen",
        ),
        (
            "554 5.7.1 Client host [192.0.2.1] blocked using sbl-xbl.spamhaus.org",
            "spamhaus-sbl",
        ),
        ("550 Your IP is blacklisted using SPAMHAUS-XBL", "spamhaus-xbl"),
        ("550 rejected due to listing in Spamhaus PBL", "spamhaus-pbl"),
        ("550 the domain is listed in the Spamhaus DBL", "spamhaus-dbl"),
        ("550 listed in Spamhaus CSS", "spamhaus-css"),
        ("554 blocked using b.barracudacentral.org", "barracuda"),
        ("554 blocked using bl.spamcop.net", "spamcop"),
        ("554 blocked using dnsbl.sorbs.net", "sorbs"),
        ("550 listed at UCEPROTECT-Level 1", "uceprotect"),
        ("554 rejected by Abusix Mail Intelligence", "abusix"),
        ("550 on the invaluement list", "invaluement"),
        ("550 message contains a domain on ivmURI", "invaluement"),
        ("550 SPFBL permanently blocked", "spfbl"),
        ("554 blocked using psbl.surriel.com", "psbl"),
        ("554 blocked using bl.mailspike.net", "mailspike"),
        ("550 link listed by SURBL", "surbl"),
        ("554 blocked using multi.uribl.com", "uribl"),
        ("554 blocked using ix.dnsbl.manitu.net", "nixspam"),
        (
            "550 IP blacklisted by CSI, see http://csi.cloudmark.com/reset-request/",
            "cloudmark-csi",
        ),
        ("554 blocked using bl.score.senderscore.com", "senderscore"),
        ("550 blocked using Trend Micro RBL+", "trendmicro-ers"),
        (
            "554 Blocked - see https://ipcheck.proofpoint.com/?ip=192.0.2.1",
            "proofpoint-pdr",
        ),
        (
            "554 SBRS score too low: http://www.senderbase.org/",
            "cisco-talos",
        ),
        ("554 blocked using bl.example.org", "bl.example.org"),
        ("550 5.7.23 -", "spf"),
        ("550 SPF check failed", "spf"),
        ("550 5.7.20 -", "dkim"),
        ("550 rejected by DMARC policy", "dmarc"),
        ("450 4.7.25 cannot find your hostname", "ptr"),
        ("530 5.7.0 Must issue a STARTTLS command first", "tls"),
        ("535 5.7.8 authentication failed", "smtp_auth"),
    ];
    for (text, kind) in table {
        let verdict = judged(rules(), text, Some("misc.test"));
        assert_eq!(
            verdict.sub_cause.as_deref(),
            Some(kind),
            "{text}: {}",
            verdict.rule
        );
    }
}
