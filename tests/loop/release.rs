//! Releasing on a real Postfix: what its resolver remembers, `postqueue -i` as the fall-back, and transports of the
//! lanes' own.

use crate::stage::{SENDER, Stage, WITHIN, message};
use nixie_lab::need;
use nixie_lab::nixie::{Nixie, Setup as NixieSetup};
use nixie_lab::postfix::{Postfix, Setup};
use nixie_lab::provider::{Mailbox, Provider, Script};
use std::time::{Duration, Instant};

/// How often Postfix put the recipient off on our word.
fn put_off(postfix: &Postfix, recipient: &str) -> usize {
    let (to, ours) = (format!("to=<{recipient}>"), "(Throttled by Nixie: ");
    let text = postfix.log().text();
    text.lines()
        .filter(|line| line.contains(&to) && line.contains(ours))
        .count()
}

/// Six messages at once to a lane that has proved nothing: five go, and the sixth waits until one of them has ended.
/// Postfix would put it off for half a minute without asking, since it was the last that it asked about. So a message
/// that waits in another lane is asked about in between; and where there is none, any mail that comes along
/// will do.
#[test]
fn who_was_asked_about_last_does_not_wait_for_postfix_to_forget() {
    if !need::postfix("who was asked about last does not wait for Postfix to forget") {
        return;
    }
    let slow = |script: Script| Script {
        latency: Duration::from_secs(2),
        ..script
    };
    let gmail = Provider::start(slow(Script::gmail())).unwrap();
    let outlook = Provider::start(slow(Script::outlook())).unwrap();
    let yahoo = Provider::start(Script::yahoo()).unwrap();
    let setup = Setup::new()
        .backoff("300s", "4000s", "300s")
        .route("gmail.example", &gmail)
        .route("outlook.example", &outlook)
        .route("yahoo.example", &yahoo);
    let stage = Stage::set(setup, |nixie| nixie);
    let six = |provider: &Provider, domain: &str| {
        let mut client = stage.postfix.client().unwrap();
        for n in 0..6 {
            let recipient = format!("r{n}@{domain}");
            client
                .send(SENDER, &[&recipient], &message(&recipient, "x"))
                .unwrap();
        }
        provider
            .wait(WITHIN, "the first five", |t| t.accepted >= 5)
            .unwrap();
        let last = (0..6).find(|n| put_off(&stage.postfix, &format!("r{n}@{domain}")) > 0);
        format!("r{}@{domain}", last.unwrap())
    };

    // Alone, but for mail to somebody else that comes along.
    let last = six(&gmail, "gmail.example");
    assert_eq!(stage.send("first@yahoo.example").code, 250);
    let began = Instant::now();
    gmail.wait(WITHIN, "the sixth", |t| t.has(&last)).unwrap();
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert_eq!(
        put_off(&stage.postfix, &last),
        1,
        "it was never handed over in vain"
    );

    // With a message that waits elsewhere, and no mail at all.
    yahoo.wait(WITHIN, "the first", |t| t.accepted == 1).unwrap();
    stage
        .nixie
        .cli(&["throttle", "pause", "yahoo", "--reason", "test"])
        .unwrap();
    nixie_lab::wait::until(WITHIN, "the pause", || {
        let (_, lanes) = stage.nixie.get("/lanes")?;
        Ok(lanes.contains("paused").then_some(()))
    })
    .unwrap();
    assert_eq!(stage.send("waits@yahoo.example").code, 250);
    stage
        .postfix
        .wait_for_log(r"to=<waits@yahoo.example>.*status=deferred", WITHIN)
        .unwrap();
    let began = Instant::now();
    let last = six(&outlook, "outlook.example");
    outlook.wait(WITHIN, "the sixth", |t| t.has(&last)).unwrap();
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert_eq!(
        put_off(&stage.postfix, &last),
        1,
        "it was never handed over in vain"
    );
    assert_eq!(
        put_off(&stage.postfix, "waits@yahoo.example"),
        2,
        "asked about once more, and where it was"
    );
    assert_eq!(yahoo.tally().accepted, 1);
}

/// The flush service's socket is lost in the middle: postqueue(1) goes on, as it does where only its group has the right
/// to that socket.
#[test]
fn postqueue_releases_where_the_flush_service_cannot_be_reached() {
    if !need::postfix("postqueue -i releases") {
        return;
    }
    const ALL: u64 = 40;
    let gmail = Provider::start(Script::gmail()).unwrap();
    let setup = Setup::new()
        .backoff("300s", "4000s", "300s")
        .route("gmail.example", &gmail);
    let mut postfix = Postfix::launch(setup).unwrap();
    let way = tempfile::tempdir().unwrap();
    let socket = way.path().join("public/flush");
    std::fs::create_dir(way.path().join("public")).unwrap();
    std::os::unix::fs::symlink(postfix.queue_directory().join("public/flush"), &socket).unwrap();
    let nixie = NixieSetup::new(env!("CARGO_BIN_EXE_nixie"))
        .log(postfix.log().path())
        .releases(&postfix)
        .text("release", "queue_directory", way.path().to_str().unwrap());
    let nixie = Nixie::launch(nixie).unwrap();
    postfix.hook(nixie.hooks()).unwrap();
    postfix.reload().unwrap();
    let stage = Stage { postfix, nixie };
    stage
        .nixie
        .cli(&["throttle", "set", "google", "--rate", "3/s", "--reason", "test"])
        .unwrap();
    let mut client = stage.postfix.client().unwrap();
    for n in 0..ALL {
        let recipient = format!("r{n}@gmail.example");
        client
            .send(SENDER, &[&recipient], &message(&recipient, "x"))
            .unwrap();
    }
    gmail
        .wait(WITHIN, "the middle", |t| t.accepted >= ALL / 2)
        .unwrap();
    let by_socket = stage.nixie.metric("nixie_released_total").unwrap().unwrap();
    assert!(by_socket >= 1.0, "released before the middle");
    assert!(
        !stage.nixie.printed().contains("which is slower"),
        "{}",
        stage.nixie.printed()
    );
    std::fs::remove_file(&socket).unwrap();
    let tally = gmail.wait(WITHIN, "everything", |t| t.accepted >= ALL).unwrap();
    let printed = stage.nixie.printed();
    assert!(
        printed.contains("messages are released by postqueue -i"),
        "{printed}"
    );
    for n in 0..ALL {
        assert_eq!(tally.times_accepted(&format!("r{n}@gmail.example")), 1, "r{n}");
    }
    stage.postfix.wait_for_empty_queue(WITHIN).unwrap();
}

/// What `nixie postfix --lanes` prints, put into a Postfix: mail goes through the lane's transport, and its outcomes are
/// heard from there.
#[test]
fn mail_goes_through_the_transports_that_are_printed() {
    if !need::postfix("mail goes through the transports that are printed") {
        return;
    }
    let gone = "gone@gmail.example";
    let gmail = Provider::start(Script {
        latency: Duration::from_millis(300),
        ..Script::gmail().with(Mailbox::Dead, [gone])
    })
    .unwrap();
    // The lab has no DNS: what `nixie-google:` cannot find out about the domain, it asks of this host.
    let relay = format!("[{}]:{}", gmail.host(), gmail.address().port());
    let setup = Setup::new()
        .route("gmail.example", &gmail)
        .set("smtp_fallback_relay", &relay);
    let mut postfix = Postfix::prepare(setup).unwrap();
    let nixie = NixieSetup::new(env!("CARGO_BIN_EXE_nixie"))
        .log(postfix.log().path())
        .releases(&postfix)
        .value("socketmap", "lane_transports", "true");
    let nixie = Nixie::launch(nixie).unwrap();
    let printed = nixie.cli(&["postfix", "--lanes"]).unwrap();
    let (master, main) = printed.split_once("# /etc/postfix/main.cf\n").unwrap();
    postfix.serve(master).unwrap();
    for line in main.lines() {
        let (name, value) = line.split_once(" = ").unwrap();
        postfix.set(name, value).unwrap();
    }
    postfix.hook(nixie.hooks()).unwrap();
    postfix.start().unwrap();
    let stage = Stage { postfix, nixie };

    // Whose the domain is, its first server tells.
    assert_eq!(stage.send("first@gmail.example").code, 250);
    stage
        .postfix
        .wait_for_log(
            r"postfix/smtp\[\d+\]: .*to=<first@gmail.example>.*status=sent",
            WITHIN,
        )
        .unwrap();
    nixie_lab::wait::until(WITHIN, "the provider to be known", || {
        let (_, lanes) = stage.nixie.get("/lanes")?;
        Ok(lanes.contains("google").then_some(()))
    })
    .unwrap();
    let all: Vec<String> = (0..20).map(|n| format!("r{n}@gmail.example")).collect();
    for recipient in &all {
        assert_eq!(stage.send(recipient).code, 250);
    }
    assert_eq!(stage.send(gone).code, 250);
    let tally = gmail.wait(WITHIN, "everything", |t| t.accepted >= 21).unwrap();
    assert!(all.iter().all(|recipient| tally.times_accepted(recipient) == 1));
    stage.postfix.wait_for_empty_queue(WITHIN).unwrap();
    let log = stage.postfix.log().text();
    for recipient in &all {
        let to = format!("to=<{recipient}>");
        let sent = log
            .lines()
            .find(|line| line.contains(&to) && line.contains("status=sent"));
        assert!(
            sent.is_some_and(|line| line.contains("postfix/nixie-google/smtp[")),
            "{sent:?}"
        );
    }
    stage.wait_for_suppression(gone);
    let (_, lanes) = stage.nixie.get("/lanes").unwrap();
    assert!(
        lanes.contains("google") && !lanes.contains("gmail.example"),
        "{lanes}"
    );
}
