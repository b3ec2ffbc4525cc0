//! What happens when parts are gone: promises 7 and 8.

use crate::stage::{SENDER, Stage, WITHIN};
use nixie_lab::need;
use nixie_lab::postfix::Setup;
use nixie_lab::postgres::Postgres;
use nixie_lab::provider::{Mailbox, Provider, Script};
use nixie_lab::smtp::{Client, Protocol};
use std::time::{Duration, Instant};

/// Promise 7: with Postgres gone hooks answer as before, LMTP says 451, Postfix keeps the mail, and on
/// its return everything is counted once, unaided.
#[test]
fn with_postgres_gone_nothing_is_lost_and_hooks_answer() {
    if !need::postfix("Postgres gone for a while")
        || !need::granted("Postgres gone for a while", postgres_missing())
    {
        return;
    }
    let mut postgres = Postgres::start().unwrap();
    let dead = [
        "known@small.example",
        "while-gone@small.example",
        "bounced-late@small.example",
    ];
    let small = Provider::start(Script::small().with(Mailbox::Dead, dead[..2].iter().copied())).unwrap();
    let url = postgres.url();
    let stage = Stage::set(Setup::new().route("small.example", &small), |nixie| {
        nixie.store(&url)
    });
    stage.send("known@small.example");
    stage.wait_for_suppression("known@small.example");
    stage.send("bounced-late@small.example");
    small
        .wait(WITHIN, "the message", |t| t.has("bounced-late@small.example"))
        .unwrap();
    // The delivery is committed before the store goes: the late bounce is correlated with it.
    nixie_lab::wait::until(WITHIN, "the delivery to be counted", || {
        Ok(stage.nixie.status()?.contains("delivered").then_some(()))
    })
    .unwrap();

    postgres.stop().unwrap();
    let gone = Instant::now();
    nixie_lab::wait::until(WITHIN, "Nixie to notice", || {
        Ok((stage.nixie.get("/readyz")?.0 == 503).then_some(()))
    })
    .unwrap();
    stage.send("while-gone@small.example");
    stage
        .postfix
        .wait_for_log(r"to=<while-gone@small.example>.*status=bounced", WITHIN)
        .unwrap();
    let bounce = small.messages()[0].bounce("bounced-late@small.example", "5.1.1", "550 5.1.1 no such user");
    let mut lmtp = Client::connect(stage.nixie.address("lmtp"), Protocol::Lmtp).unwrap();
    let answers = lmtp.send("", &[SENDER], &bounce).unwrap();
    assert_eq!(answers.message[0].code, 451, "{}", answers.message[0]);
    stage.postfix.inject("", &[SENDER], &bounce).unwrap();
    stage
        .postfix
        .wait_for_log(
            r"to=<bounce\+17@bounces.example.org>.*status=deferred \(.*451 4.3.0",
            WITHIN,
        )
        .unwrap();
    // All the while, every answer comes from memory and at once.
    let mut slowest = Duration::ZERO;
    while gone.elapsed() < Duration::from_secs(60) {
        let asked = Instant::now();
        assert_eq!(stage.send("known@small.example").code, 550);
        assert_eq!(stage.send("alive@small.example").code, 250);
        slowest = slowest.max(asked.elapsed());
    }
    assert!(
        slowest < Duration::from_secs(1),
        "an answer took {slowest:?} with the store down"
    );

    postgres.start_again().unwrap();
    stage.wait_for_suppression("while-gone@small.example");
    stage.wait_for_suppression("bounced-late@small.example");
    stage.postfix.wait_for_empty_queue(WITHIN).unwrap();
    let accepted = small.tally().accepted;
    let delivered = nixie_lab::wait::until(WITHIN, "every delivery to be counted", || {
        let counted: u64 = postgres
            .execute("SELECT COALESCE(SUM(n), 0) FROM tally WHERE outcome = 'delivered' AND provider <> ''")?
            .trim()
            .parse()?;
        Ok((counted >= accepted).then_some(counted))
    })
    .unwrap();
    assert_eq!(delivered, accepted, "each delivery counts once");
    let suppressed = postgres.execute("SELECT COUNT(*) FROM suppression").unwrap();
    assert_eq!(suppressed.trim(), "3");
}

fn postgres_missing() -> Option<String> {
    nixie_lab::postgres::installed()
        .is_none()
        .then(|| "the package postgresql is not installed".to_owned())
}

/// Promise 8: Nixie stopped: mail is accepted and waits, nothing bounces; on its return all is delivered.
#[test]
fn with_nixie_gone_mail_waits_and_never_bounces() {
    if !need::postfix("Nixie gone for a while") {
        return;
    }
    let small = Provider::start(Script::small()).unwrap();
    let mut stage = Stage::set(Setup::new().route("small.example", &small), |nixie| nixie);
    stage.send("before@small.example");
    small
        .wait(WITHIN, "mail with Nixie there", |t| t.has("before@small.example"))
        .unwrap();
    assert!(stage.nixie.terminate().unwrap().success());
    let mark = stage.postfix.log().mark();
    assert_eq!(
        stage.send("meanwhile@small.example").code,
        250,
        "the policy hook fails open"
    );
    stage
        .postfix
        .log()
        .wait(
            mark,
            r"trivial-rewrite.*socketmap.*(refused|table lookup)",
            WITHIN,
        )
        .unwrap();
    stage.nixie.start().unwrap();
    stage.postfix.flush().unwrap();
    small
        .wait(WITHIN, "the mail that waited", |t| {
            t.has("meanwhile@small.example")
        })
        .unwrap();
    stage.postfix.wait_for_empty_queue(WITHIN).unwrap();
    assert!(
        !stage.postfix.log().text().contains("status=bounced"),
        "something bounced"
    );
}
