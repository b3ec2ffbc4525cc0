//! What Nixie does to the Postfix that it reads: promises 1 to 5.

use crate::stage::{SENDER, Stage, WITHIN, message, quiet};
use nixie_lab::need;
use nixie_lab::postfix::Setup;
use nixie_lab::provider::{Mailbox, Provider, Script};
use nixie_lab::smtp::{Client, Protocol};
use std::time::{Duration, Instant};

/// Promise 1: a 550 5.1.1 on delivery, and the next injection is refused within a second of the log line.
#[test]
fn a_dead_address_is_refused_at_rcpt_within_a_second() {
    if !need::postfix("a dead address is refused at RCPT") {
        return;
    }
    let _turn = quiet();
    let gmail = Provider::start(Script::gmail().with(Mailbox::Dead, ["gone@gmail.example"])).unwrap();
    let stage = Stage::set(Setup::new().route("gmail.example", &gmail), |nixie| nixie);
    assert_eq!(stage.send("gone@gmail.example").code, 250, "nothing is known yet");
    stage
        .postfix
        .wait_for_log(r"to=<gone@gmail.example>.*status=bounced", WITHIN)
        .unwrap();
    let logged = Instant::now();
    // Another case of the same address: it is the same mailbox.
    let refused = nixie_lab::wait::until(WITHIN, "the refusal", || {
        let reply = stage.send("Gone@Gmail.example");
        Ok((reply.code == 550).then_some(reply))
    })
    .unwrap();
    let elapsed = logged.elapsed();
    assert!(
        elapsed < Duration::from_secs(1),
        "refused {elapsed:?} after the log line"
    );
    for part in ["5.1.1", "user_unknown", "NX-1"] {
        assert!(refused.text.contains(part), "{part} is missing in {refused}");
    }
    assert!(
        stage
            .nixie
            .cli(&["suppress", "check", "NX-1"])
            .unwrap()
            .contains("gone@gmail.example")
    );
    // The others in the same message are not harmed.
    let both = ["gone@gmail.example", "alive@gmail.example"];
    let replies = stage
        .postfix
        .submit(SENDER, &both, &message("both", "x"))
        .unwrap();
    assert_eq!(
        (replies.recipients[0].code, replies.recipients[1].code),
        (550, 250)
    );
    gmail
        .wait(WITHIN, "the other recipient", |t| t.has("alive@gmail.example"))
        .unwrap();
}

/// Promise 2: mail that enters by sendmail(1), or that was queued before, is bounced without a connection.
#[test]
fn suppressed_mail_in_the_queue_bounces_without_a_connection() {
    if !need::postfix("suppressed mail in the queue bounces without a connection") {
        return;
    }
    let small = Provider::start(Script::small()).unwrap();
    let setup = Setup::new()
        .route("small.example", &small)
        .discard("sender.example")
        .set("defer_transports", "smtp");
    let mut stage = Stage::set(setup, |nixie| nixie);
    assert_eq!(stage.send("queued@small.example").code, 250);
    stage
        .postfix
        .wait_for_log(r"to=<queued@small.example>.*status=deferred", WITHIN)
        .unwrap();
    for address in ["queued@small.example", "by-sendmail@small.example"] {
        stage
            .nixie
            .cli(&["suppress", "add", address, "--cause", "mailbox_disabled"])
            .unwrap();
    }
    // What was added by hand reaches the daemon's memory by the change feed.
    nixie_lab::wait::until(WITHIN, "the daemon to know", || {
        Ok((stage.send("queued@small.example").code == 550).then_some(()))
    })
    .unwrap();
    stage.postfix.set("defer_transports", "").unwrap();
    stage.postfix.reload().unwrap();
    stage.postfix.flush().unwrap();
    let content = message("by-sendmail@small.example", "x");
    stage
        .postfix
        .sendmail(
            &["-f", "app@sender.example", "by-sendmail@small.example"],
            &content,
        )
        .unwrap();
    for address in ["queued", "by-sendmail"] {
        let pattern = format!(
            r"to=<{address}@small.example>, relay=none, .*dsn=5.1.1, status=bounced \(.*mailbox_disabled"
        );
        stage.postfix.wait_for_log(&pattern, WITHIN).unwrap();
    }
    assert_eq!(small.tally().connections, 0, "the provider was bothered");
}

/// Promise 3: a bounce that comes hours later, to the VERP address over LMTP.
#[test]
fn a_late_bounce_to_the_verp_address_suppresses() {
    if !need::postfix("a late bounce to the VERP address suppresses") {
        return;
    }
    let small = Provider::start(Script::small()).unwrap();
    let stage = Stage::set(Setup::new().route("small.example", &small), |nixie| nixie);
    assert_eq!(stage.send("later@small.example").code, 250);
    small
        .wait(WITHIN, "the message", |t| t.has("later@small.example"))
        .unwrap();
    stage
        .postfix
        .wait_for_log(r"to=<later@small.example>.*status=sent", WITHIN)
        .unwrap();
    // A forged one first: it names a message that we never sent.
    let forged = String::from_utf8(small.messages()[0].bounce(
        "victim@small.example",
        "5.1.1",
        "550 5.1.1 no such user",
    ))
    .unwrap()
    .replace("@app.example>", "@elsewhere.example>")
    .replace("later@small.example", "victim@small.example");
    stage.postfix.inject("", &[SENDER], forged.as_bytes()).unwrap();
    let bounce = small.messages()[0].bounce("later@small.example", "5.1.1", "550 5.1.1 no such user");
    stage.postfix.inject("", &[SENDER], &bounce).unwrap();
    let said = stage.wait_for_suppression("later@small.example");
    assert!(said.contains("correlated"), "{said}");
    stage.wait_for_cause("victim@small.example", "user_unknown");
    assert!(stage.check("victim@small.example").contains("unverified"));
}

/// Promise 4: a 421 4.7.28 holds that provider's lane and no other; everything is delivered afterwards.
#[test]
fn a_421_holds_its_lane_and_no_other() {
    if !need::postfix("a 421 holds its lane") {
        return;
    }
    let gmail = Provider::start(Script::gmail().limited(60, 1)).unwrap();
    let outlook = Provider::start(Script::outlook()).unwrap();
    // A retry must not fall between the 421 and the hold that it brings: an attempt that Postfix has begun
    // cannot be held any more, so the first retry comes well after.
    let setup = Setup::new()
        .backoff("5s", "6s", "1s")
        .route("gmail.example", &gmail)
        .route("outlook.example", &outlook);
    let stage = Stage::set(setup, |nixie| nixie.holds("20s", "20s"));
    for recipient in ["one@gmail.example", "two@gmail.example"] {
        assert_eq!(stage.send(recipient).code, 250);
    }
    gmail
        .wait(WITHIN, "the first 421", |t| t.slow_downs() > 0)
        .unwrap();
    let status = nixie_lab::wait::until(WITHIN, "the hold", || {
        let status = stage.nixie.status()?;
        Ok(status.contains("google from lab: held").then_some(status))
    })
    .unwrap();
    assert!(status.contains("4.7.28"), "{status}");
    let (held, connections) = (Instant::now(), gmail.tally().connections);
    gmail.change(|script| script.rate = None);
    for recipient in ["three@gmail.example", "four@gmail.example"] {
        assert_eq!(
            stage.send(recipient).code,
            250,
            "accepted into the queue all the same"
        );
    }
    stage
        .postfix
        .wait_for_log(
            r"to=<three@gmail.example>, relay=none, .*dsn=4.7.1, status=deferred",
            WITHIN,
        )
        .unwrap();
    assert_eq!(stage.send("quick@outlook.example").code, 250);
    outlook
        .wait(Duration::from_secs(10), "mail for the other provider", |t| {
            t.has("quick@outlook.example")
        })
        .unwrap();
    assert!(
        held.elapsed() < Duration::from_secs(15),
        "the machine is too slow for this test: the hold is over"
    );
    assert_eq!(
        gmail.tally().connections,
        connections,
        "connections during the hold"
    );
    let all = ["one", "two", "three", "four"].map(|name| format!("{name}@gmail.example"));
    let tally = gmail
        .wait(WITHIN, "everything", |t| all.iter().all(|a| t.has(a)))
        .unwrap();
    assert!(all.iter().all(|address| tally.times_accepted(address) == 1));
    stage.postfix.wait_for_empty_queue(WITHIN).unwrap();
    assert!(stage.nixie.status().unwrap().contains("google from lab: limited"));
}

/// Promise 5: what is nobody's dead mailbox suppresses nobody, and is shown with its cause.
#[test]
fn no_other_failure_suppresses_and_each_shows_its_cause() {
    if !need::postfix("no other failure suppresses") {
        return;
    }
    let gmail = Provider::start(Script {
        unauthenticated: true,
        ..Script::gmail()
    })
    .unwrap();
    let outlook = Provider::start(Script {
        max_size: 2000,
        ..Script::outlook()
    })
    .unwrap();
    let yahoo = Provider::start(Script {
        spam: Some("cheap watches".into()),
        ..Script::yahoo()
    })
    .unwrap();
    let small = Provider::start(Script {
        greylist: true,
        ..Script::small()
    })
    .unwrap();
    let setup = Setup::new()
        .route("gmail.example", &gmail)
        .route("outlook.example", &outlook)
        .route("yahoo.example", &yahoo)
        .route("small.example", &small);
    let stage = Stage::set(setup, |nixie| nixie);
    stage.send("a@gmail.example");
    stage.send_with("b@outlook.example", &"long ".repeat(1000));
    stage.send_with("c@yahoo.example", "cheap watches");
    stage.send("d@small.example");
    stage.wait_for_cause("a@gmail.example", "auth_failed");
    stage.wait_for_cause("b@outlook.example", "message_too_large");
    stage.wait_for_cause("c@yahoo.example", "content_rejected");
    stage.wait_for_cause("d@small.example", "greylisted");
    small
        .wait(WITHIN, "the greylisted message", |t| t.has("d@small.example"))
        .unwrap();
    assert!(stage.nixie.status().unwrap().contains("suppressed 0"));
    for address in [
        "a@gmail.example",
        "b@outlook.example",
        "c@yahoo.example",
        "d@small.example",
    ] {
        assert_eq!(stage.send(address).code, 250, "{address}");
    }
}

/// The lines that `nixie postfix` prints are the lines that `nixie postfix --check` wants.
#[test]
fn the_check_finds_what_a_postfix_lacks() {
    if !need::postfix("nixie postfix --check") {
        return;
    }
    let small = Provider::start(Script::small()).unwrap();
    let routes = Setup::new().route("small.example", &small);
    let stage = Stage::set(routes, |nixie| nixie.text("milter", "listen", ""));
    let directory = stage.postfix.config_directory();
    let directory = directory.to_str().unwrap();
    let good = stage
        .nixie
        .run(&["postfix", "--check", "--postfix-config", directory])
        .unwrap();
    let said = String::from_utf8_lossy(&good.stdout);
    assert!(said.contains("ok       main.cf: transport_maps"), "{said}");
    assert!(good.status.success() && !said.contains("missing"), "{said}");
    let bare = tempfile::tempdir().unwrap();
    for file in ["main.cf", "master.cf"] {
        std::fs::write(bare.path().join(file), "").unwrap();
    }
    let lacking = stage
        .nixie
        .run(&[
            "postfix",
            "--check",
            "--postfix-config",
            bare.path().to_str().unwrap(),
        ])
        .unwrap();
    assert!(!lacking.status.success());
    assert!(String::from_utf8_lossy(&lacking.stdout).contains("missing  main.cf: transport_maps"));
}

/// The LMTP intake under the hand of a client that is not Postfix.
#[test]
fn lmtp_answers_each_recipient() {
    let setup = nixie_lab::nixie::Setup::new(env!("CARGO_BIN_EXE_nixie"));
    let nixie = nixie_lab::nixie::Nixie::launch(setup).unwrap();
    let mut client = Client::connect(nixie.address("lmtp"), Protocol::Lmtp).unwrap();
    let content = b"From: a@b.example\r\nSubject: what is this\r\n\r\nnot a bounce\r\n";
    let answers = client
        .send(
            "",
            &["one@bounces.example.org", "two@bounces.example.org"],
            content,
        )
        .unwrap();
    assert_eq!(
        answers.message.iter().map(|reply| reply.code).collect::<Vec<_>>(),
        [250, 250]
    );
    assert!(nixie.status().unwrap().contains("unread     2"));
}
