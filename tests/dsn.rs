//! Reading reports: each `tests/data/dsn/NAME.eml`, in the envelope `NAME.env`, says what stands in
//! `NAME.txt`. Most are what a real Postfix wrote. `GOLDEN=write cargo test --test dsn` rewrites the
//! answers; read the difference before you commit it.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

use jiff::Timestamp;
use nixie::engine::classify::judge;
use nixie::engine::provider::Providers;
use nixie::engine::rule::RuleSet;
use nixie::engine::verdict::Remedy;
use nixie::mail::event::{Event, Evidence, Outcome, Source};
use nixie::mail::message::{Envelope, Kind, Reading, events, read};
use proptest::prelude::*;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

const ARRIVED: &str = "2026-11-22T00:00:00Z";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/dsn")
}

fn received_at() -> Timestamp {
    ARRIVED.parse().unwrap()
}

/// The addresses of `MAIL FROM:<…>` and `RCPT TO:<…>`.
fn envelope(env: &str) -> (Option<String>, Option<String>) {
    let of = |command: &str| {
        let line = env.lines().find_map(|line| line.strip_prefix(command))?;
        let end = line.find('>')?;
        Some(line[1..end].to_owned())
    };
    (of("MAIL FROM:"), of("RCPT TO:"))
}

fn lowered(raw: &[u8], env: &str) -> (Reading, Vec<Event>) {
    let (sender, recipient) = envelope(env);
    let envelope = Envelope {
        sender: sender.as_deref(),
        recipient: recipient.as_deref(),
    };
    let reading = read(raw);
    let events = events(&reading, envelope, Source::Lmtp, received_at());
    (reading, events)
}

fn sample(name: &str) -> (Vec<u8>, String) {
    let path = folder().join(name);
    let raw = std::fs::read(path.with_extension("eml")).unwrap();
    let env = std::fs::read(path.with_extension("env")).unwrap();
    (raw, String::from_utf8_lossy(&env).into_owned())
}

fn described(reading: &Reading, events: &[Event]) -> String {
    static JUDGES: LazyLock<(RuleSet, Providers)> = LazyLock::new(|| {
        let providers = Providers::shipped().unwrap();
        (RuleSet::shipped(&providers).unwrap(), providers)
    });
    let mut out = format!("kind: {:?}\n", reading.kind);
    writeln!(out, "locally generated: {:?}", reading.locally_generated).unwrap();
    writeln!(
        out,
        "returned: {:?}",
        reading.returned.as_ref().and_then(|r| r.message_id.as_ref())
    )
    .unwrap();
    for refused in &reading.refused {
        writeln!(out, "refused: {refused}").unwrap();
    }
    for event in events {
        let (verdict, lane) = judge(&JUDGES.0, &JUDGES.1, "default", event);
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
        let original = event.original_recipient.as_ref().map(ToString::to_string);
        let status = event.reported_status.map(|s| s.to_string());
        let relay = event.relay.as_ref().map(|r| r.host.clone());
        writeln!(
            out,
            "\n{} {:?} {:?} own={}",
            event.recipient, event.outcome, event.evidence, event.own
        )
        .unwrap();
        writeln!(out, "  id {} at {}", event.id, event.at).unwrap();
        writeln!(
            out,
            "  original {}; sender {}; return path {}",
            text(&original),
            text(&event.sender),
            text(&event.return_path)
        )
        .unwrap();
        writeln!(
            out,
            "  message {}; queue {}; envelope {}",
            text(&event.message_id),
            text(&event.queue_id),
            text(&event.envelope_id)
        )
        .unwrap();
        writeln!(
            out,
            "  reporter {}; relay {}; status {}",
            text(&event.reporting_mta),
            text(&relay),
            text(&status)
        )
        .unwrap();
        writeln!(out, "  reply {}", event.reply).unwrap();
        writeln!(
            out,
            "  verdict {} {} {}; lane {}",
            verdict.cause,
            verdict.remedy,
            verdict.rule,
            lane.is_some()
        )
        .unwrap();
    }
    out
}

#[test]
fn reports_say_what_is_recorded() {
    let mut seen = 0;
    let mut names: Vec<_> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    names.sort();
    for path in names
        .iter()
        .filter(|path| path.extension().is_some_and(|e| e == "eml"))
    {
        let (raw, env) = sample(path.file_stem().unwrap().to_str().unwrap());
        let (reading, events) = lowered(&raw, &env);
        let said = described(&reading, &events);
        let golden = path.with_extension("txt");
        if std::env::var("GOLDEN").is_ok_and(|mode| mode == "write") {
            std::fs::write(&golden, &said).unwrap();
        }
        let expected = std::fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(said, expected, "{}", path.display());
        seen += 1;
    }
    assert!(seen >= 20, "only {seen} samples found");
}

/// The report of the mail itself counts, not the one that it returns.
#[test]
fn a_forged_report_in_the_returned_mail_is_not_read() {
    for name in ["forged", "forged-first"] {
        let (raw, env) = sample(name);
        let (_, events) = lowered(&raw, &env);
        let recipients: Vec<_> = events.iter().map(|e| e.recipient.to_string()).collect();
        assert_eq!(recipients, ["real@misc.test"], "{name}");
    }
    let (raw, env) = sample("forged-only");
    let (reading, events) = lowered(&raw, &env);
    assert_eq!((reading.kind, events.len()), (Kind::None, 0));
}

/// Whatever says that it is our own bounce must have been made by our Postfix and carry the sender
/// that bounces have.
#[test]
fn only_what_our_postfix_made_is_own() {
    let own = |name: &str, sender: &str| {
        let (raw, _) = sample(name);
        let (_, events) = lowered(
            &raw,
            &format!("MAIL FROM:<{sender}>\nRCPT TO:<b@bounces.app.test>\n"),
        );
        events[0].own
    };
    assert!(own("mailbox-full", ""));
    assert!(own("postmaster-copy", "double-bounce@mta.app.test"));
    assert!(!own("mailbox-full", "ann@evil.test"), "a bounce has no sender");
    assert!(!own("submitted-locally", ""), "a local user wrote it");
    assert!(!own("remote", ""), "it crossed the network");
    let (raw, _) = sample("mailbox-full");
    let relayed = [b"Received: from evil.test (unknown [192.0.2.66])\n\tby mta.app.test (Postfix) with ESMTP id 1; Sat, 21 Nov 2026 09:29:35 +0000\n", &raw[..]].concat();
    assert!(!lowered(&relayed, "MAIL FROM:<>\n").1[0].own);
    let other = String::from_utf8(raw)
        .unwrap()
        .replace("Reporting-MTA: dns; mta", "Reporting-MTA: dns; other");
    assert!(
        !lowered(other.as_bytes(), "MAIL FROM:<>\n").1[0].own,
        "it speaks for another host"
    );
}

/// An expired message is `failed` with a 4.x; our own refusal of a suppressed address is no evidence.
/// Postfix tells only people which command was answered: the same words in reply to MAIL FROM suppress nobody.
#[test]
fn what_the_notice_tells_of_the_command_is_heeded() {
    let (raw, env) = sample("mailbox-full");
    let providers = Providers::shipped().unwrap();
    let rules = RuleSet::shipped(&providers).unwrap();
    let text = String::from_utf8(raw).unwrap();
    // The same bounce, about a mailbox that is not there.
    let text = text
        .replace("552 5.2.2 Mailbox full", "550 5.1.1 no such user")
        .replace("Status: 5.2.2", "Status: 5.1.1");
    let remedy = |text: &str| {
        let (_, events) = lowered(text.as_bytes(), &env);
        assert_eq!(events.len(), 1, "{text}");
        judge(&rules, &providers, "default", &events[0]).0.remedy
    };
    assert_eq!(remedy(&text), Remedy::Suppress);
    let about_us = text
        .replace("RCPT TO", "MAIL FROM")
        .replace("RCPT\n    TO", "MAIL\n    FROM");
    assert_ne!(about_us, text);
    assert_ne!(remedy(&about_us), Remedy::Suppress);
}

#[test]
fn echoes_and_expiry_are_no_hard_bounces() {
    for name in ["expired-dns", "expired-suspended", "expired-greeting"] {
        let (raw, env) = sample(name);
        assert_eq!(lowered(&raw, &env).1[0].outcome, Outcome::Expired, "{name}");
    }
    let (raw, env) = sample("suppressed");
    let text = String::from_utf8(raw).unwrap();
    let ours = text.replace(
        "suppressed by nixie",
        "suppressed since 2026-11-20: user_unknown (NX-123)",
    );
    assert_eq!(lowered(ours.as_bytes(), &env).1[0].evidence, Evidence::Repeat);
    let remote = ours.replace("X-Postfix; suppressed", "smtp; 550 5.1.1 suppressed");
    assert_eq!(
        lowered(remote.as_bytes(), &env).1[0].evidence,
        Evidence::Fresh,
        "a server's words are its own"
    );
}

/// The same report is the same event, however its lines end and whoever hands it over.
#[test]
fn line_ends_change_nothing() {
    let paths: Vec<_> = std::fs::read_dir(folder())
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    for path in paths
        .iter()
        .filter(|path| path.extension().is_some_and(|e| e == "eml"))
    {
        let (raw, env) = sample(path.file_stem().unwrap().to_str().unwrap());
        let mut crlf = Vec::new();
        for &octet in raw.iter().filter(|&&o| o != b'\r') {
            crlf.extend_from_slice(if octet == b'\n' {
                b"\r\n"
            } else {
                std::slice::from_ref(&octet)
            });
        }
        crlf.extend_from_slice(b"\r\n\r\n");
        assert_eq!(
            lowered(&crlf, &env).1,
            lowered(&raw, &env).1,
            "{}",
            path.display()
        );
    }
}

proptest! {
    #[test]
    fn any_octets_are_read_without_panic(raw in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let _ = lowered(&raw, "");
        let _ = nixie::mail::dsn::parse(&raw);
        let _ = nixie::mail::arf::parse(&raw);
        let _ = nixie::mail::reply::Reply::parse(&String::from_utf8_lossy(&raw));
    }

    /// A report with octets changed, lost or doubled is still read without panic, and no control
    /// character ever comes out of it.
    #[test]
    fn damaged_reports_are_read_without_panic(
        name in prop::sample::select(vec!["mailbox-full", "remote", "complaint", "utf8-sender", "forged"]),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3u8), 0..20),
    ) {
        let (mut raw, env) = sample(name);
        for (at, octet, how) in damage {
            let at = at.index(raw.len());
            match how {
                0 => raw[at] = octet,
                1 => { raw.remove(at); }
                _ => raw.insert(at, octet),
            }
        }
        for event in lowered(&raw, &env).1 {
            let optional = [&event.sender, &event.queue_id, &event.message_id, &event.envelope_id, &event.reporting_mta];
            let mut said = format!("{}{}", event.recipient, event.reply);
            said.extend(optional.into_iter().flatten().map(String::as_str));
            prop_assert!(!said.contains(char::is_control), "{said:?}");
        }
    }
}
