//! Forged bounces and complaints against a running daemon: none suppresses anybody, and each is counted by what is
//! wrong with it. Beside them, what is genuine: one report for each kind of proof, which does suppress. Were everything
//! refused, the attacks would prove nothing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking, its helpers included"
)]

mod forge;
mod stage;
mod table;

use forge::{Bounce, complaint, from_outside, prefixed};
use nixie_lab::smtp::{Client, Protocol};
use stage::{BOUNCES, DEAD_IN_LOG, SEVERAL, Stage, message_id, queue_id};
use std::time::{Duration, Instant};
use table::{EVE, attacks};

/// How many attacks there are at least.
const LEAST: usize = 40;
/// The flood: so many reports, over so many connections, as Postfix opens by default.
const FLOOD: usize = 10_000;
const CONNECTIONS: usize = 20;
/// The attack is that many in a minute. It takes a few seconds, also on a machine that does much else; what took longer
/// would be a weaker attack than the one that must not matter.
const FLOOD_WITHIN: Duration = Duration::from_secs(60);

fn victims() -> Vec<String> {
    (0..80).map(|n| format!("v{n}@victim.test")).collect()
}

/// Reports that prove themselves: whom they suppress, and by which trust.
fn genuine(stage: &Stage) -> Vec<(&'static str, &'static str, String, Vec<u8>)> {
    let plain = format!("b@{BOUNCES}");
    let daemon = "MAILER-DAEMON@victim.test";
    let hop = |to: &str| {
        format!(
            "Received: from app (app [10.0.0.1])\r\n\tby mx.app.test (Postfix) with ESMTP id {};\r\n\t\
             Sun, 22 Nov 2026 00:00:00 +0000 (UTC)\r\n",
            queue_id(to)
        )
    };
    let (token, old) = ("token@victim.test", "old@victim.test");
    let (dkim, arc) = ("dkim@victim.test", "arc@victim.test");
    let (seen, queued) = ("seen@victim.test", "queued@victim.test");
    let (complains, own) = ("complains@victim.test", "own@victim.test");
    let ours = Bounce::about(own)
        .by("MAILER-DAEMON@mx.app.test")
        .with(|b| b.reporter = "mx.app.test".into());
    let local =
        "Received: by mx.app.test (Postfix)\r\n\tid 4A00000000; Sun, 22 Nov 2026 00:00:00 +0000 (UTC)\r\n";
    let bounce = |to: &str| from_outside(&Bounce::about(to).text());
    vec![
        (token, "signed", stage.path(token, 0), bounce(token)),
        (
            old,
            "signed",
            stage.path(old, 13).to_ascii_uppercase(),
            bounce(old),
        ),
        (SEVERAL[0], "signed", stage.path_of_several(), bounce(SEVERAL[0])),
        (
            dkim,
            "authenticated",
            plain.clone(),
            from_outside(&stage.victim.sign(&Bounce::about(dkim).by(daemon).text()).unwrap()),
        ),
        (
            arc,
            "authenticated",
            plain.clone(),
            from_outside(
                &stage
                    .forwarder
                    .seal(&Bounce::about(arc).by(daemon).text(), &["victim.test"])
                    .unwrap(),
            ),
        ),
        (
            seen,
            "correlated",
            plain.clone(),
            from_outside(
                &Bounce::about(seen)
                    .with(|b| b.returned_id = message_id(seen))
                    .text(),
            ),
        ),
        (
            queued,
            "correlated",
            plain.clone(),
            from_outside(
                &Bounce::about(queued)
                    .with(|b| b.returned_more = hop(queued))
                    .text(),
            ),
        ),
        (
            complains,
            "signed",
            stage.path(complains, 0),
            from_outside(&complaint("feedback@loop.test", complains, "x@app.test")),
        ),
        (own, "own", plain, prefixed(local, &ours.text())),
    ]
}

fn people() -> Vec<String> {
    let controls = ["seen@victim.test", "queued@victim.test"].map(str::to_owned);
    victims()
        .into_iter()
        .chain(controls)
        .chain([EVE.to_owned()])
        .collect()
}

/// Who is suppressed, of all whom this test knows.
fn suppressed(stage: &Stage) -> Vec<String> {
    let listed = stage
        .nixie
        .cli(&["suppress", "list", "--limit", "10000"])
        .unwrap();
    let words = listed.split(|c: char| c.is_whitespace() || c == '│' || c == '|');
    let mut found: Vec<String> = words
        .filter(|word| word.contains('@'))
        .map(str::to_owned)
        .collect();
    found.sort();
    found.dedup();
    found
}

#[test]
fn nothing_forged_suppresses_and_what_is_genuine_does() {
    let victims = victims();
    let stage = Stage::set(&people());
    // The last line of the log is read: so all that left is known.
    stage.wait_for_suppression(DEAD_IN_LOG);
    let attacks = attacks(&stage, &victims);
    assert!(attacks.len() >= LEAST, "only {} attacks", attacks.len());
    for attack in &attacks {
        let before = attack.doubt.map(|doubt| stage.doubted(doubt));
        let codes = stage.deliver(attack.sender, &attack.path, &attack.message);
        assert_eq!(
            codes,
            [250],
            "{}: a refusal would be a bounce to somebody innocent",
            attack.name
        );
        if let (Some(doubt), Some(before)) = (attack.doubt, before) {
            stage.wait_for_doubts(doubt, before + 1, attack.name);
        }
        assert_eq!(suppressed(&stage), [DEAD_IN_LOG], "{}", attack.name);
    }
    flood(&stage);
    assert_eq!(suppressed(&stage), [DEAD_IN_LOG], "the flood");
    let mut expected = vec![DEAD_IN_LOG.to_owned()];
    for (to, trust, path, message) in genuine(&stage) {
        assert_eq!(stage.deliver("", &path, &message), [250], "{to}");
        stage.wait_for_suppression(to);
        let said = stage.nixie.cli(&["why", to]).unwrap();
        assert!(said.contains(trust), "{to}: expected {trust} in {said}");
        expected.push(to.to_owned());
    }
    expected.sort();
    assert_eq!(suppressed(&stage), expected);
    shown(&stage);
}

/// Ten thousand forged bounces, each about somebody else and each with a made-up token.
fn flood(stage: &Stage) {
    let before = stage.doubted("no_token");
    let (address, start) = (stage.nixie.address("lmtp"), Instant::now());
    std::thread::scope(|scope| {
        for connection in 0..CONNECTIONS {
            scope.spawn(move || {
                let mut client = Client::connect(address, Protocol::Lmtp).unwrap();
                for n in 0..FLOOD / CONNECTIONS {
                    let message =
                        from_outside(&Bounce::about(&format!("f{connection}.{n}@victim.test")).text());
                    let answers = client.send("", &[&format!("b@{BOUNCES}")], &message).unwrap();
                    assert_eq!(answers.message[0].code, 250);
                }
            });
        }
    });
    let took = start.elapsed();
    assert!(took < FLOOD_WITHIN, "the flood took {took:?}");
    stage.wait_for_doubts("no_token", before + FLOOD as u64, "the flood");
}

/// What was wrong is counted by kind, where operators look.
fn shown(stage: &Stage) {
    let status = stage.nixie.status().unwrap();
    let (_, metrics) = stage.nixie.get("/metrics").unwrap();
    for doubt in [
        "no_token",
        "unknown_key",
        "bad_seal",
        "expired",
        "future",
        "other_recipient",
        "other_message",
        "unsigned",
        "broken",
        "unaligned",
        "unknown_sealer",
        "no_author",
        "no_daemon",
        "inferred",
        "unsure",
        "other_domain",
        "no_mark",
        "auto_reply",
    ] {
        assert!(stage.doubted(doubt) > 0, "{doubt} is not counted: {metrics}");
        assert!(status.contains(doubt), "{doubt} is not shown: {status}");
    }
}
