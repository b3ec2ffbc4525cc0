//! The milter with a real Postfix: what it refuses, removes, signs and reads.

use crate::stage::{SENDER, WITHIN, message};
use nixie_lab::need;
use nixie_lab::nixie::{Nixie, Setup as NixieSetup};
use nixie_lab::postfix::{Postfix, Setup};
use nixie_lab::provider::{Provider, Script};

/// A Postfix whose only hook is Nixie's milter.
fn stage(postfix: Setup, nixie: impl FnOnce(NixieSetup) -> NixieSetup) -> (Postfix, Nixie) {
    let mut postfix = Postfix::prepare(postfix).unwrap();
    let setup = NixieSetup::new(env!("CARGO_BIN_EXE_nixie")).log(postfix.log().path());
    let nixie = Nixie::launch(nixie(setup)).unwrap();
    postfix.hook(nixie.milter()).unwrap();
    postfix.start().unwrap();
    (postfix, nixie)
}

fn suppress(postfix: &Postfix, nixie: &Nixie, address: &str) {
    let reason = ["--cause", "user_unknown"];
    nixie
        .cli(&[&["suppress", "add", address], &reason[..]].concat())
        .unwrap();
    nixie_lab::wait::until(WITHIN, "the milter to know", || {
        Ok((ask(postfix, address)? == 550).then_some(()))
    })
    .unwrap();
}

/// What a recipient is answered, without a message.
fn ask(postfix: &Postfix, address: &str) -> anyhow::Result<u16> {
    let mut client = postfix.client()?;
    client.command(&format!("MAIL FROM:<{SENDER}>"))?;
    Ok(client.command(&format!("RCPT TO:<{address}>"))?.code)
}

/// Where no policy service runs, the milter refuses whom it would refuse, and nobody else.
#[test]
fn a_suppressed_recipient_is_refused_at_rcpt() {
    if !need::postfix("the milter refuses at RCPT") {
        return;
    }
    let small = Provider::start(Script::small()).unwrap();
    let (postfix, nixie) = stage(Setup::new().route("small.example", &small), |nixie| nixie);
    suppress(&postfix, &nixie, "dead@small.example");
    let content = message("both", "x");
    let both = ["dead@small.example", "alive@small.example", "Dead@Small.Example"];
    let said = postfix.submit(SENDER, &both, &content).unwrap();
    let codes: Vec<u16> = said.recipients.iter().map(|reply| reply.code).collect();
    assert_eq!(codes, [550, 250, 550]);
    for part in ["5.1.1", "suppressed since", "user_unknown", "NX-1"] {
        assert!(said.recipients[0].text.contains(part), "{}", said.recipients[0]);
    }
    small
        .wait(WITHIN, "the living", |tally| tally.has("alive@small.example"))
        .unwrap();
    assert!(!small.tally().has("dead@small.example"));
    let refused = nixie
        .metric("nixie_milter_recipients_total{answer=\"refused\"}")
        .unwrap();
    assert!(refused.unwrap() >= 3.0, "{refused:?}");
}

/// sendmail(1) cannot be refused anything: the dead are removed, the living get their mail.
#[test]
fn a_suppressed_recipient_of_sendmail_is_removed() {
    if !need::postfix("the milter removes recipients of sendmail(1)") {
        return;
    }
    let small = Provider::start(Script::small()).unwrap();
    let (postfix, nixie) = stage(Setup::new().route("small.example", &small), |nixie| nixie);
    suppress(&postfix, &nixie, "dead@small.example");
    let both = [
        "-f",
        "app@sender.example",
        "dead@small.example",
        "alive@small.example",
    ];
    postfix.sendmail(&both, &message("both", "x")).unwrap();
    small
        .wait(WITHIN, "the living", |tally| tally.has("alive@small.example"))
        .unwrap();
    let removed = |count: f64| {
        nixie_lab::wait::until(WITHIN, "the removal", || {
            Ok(nixie
                .metric("nixie_milter_removed_total")?
                .filter(|&n| n >= count))
        })
        .unwrap()
    };
    removed(1.0);
    // Whose every recipient is dead goes nowhere, and nothing stays behind.
    let alone = ["-f", "app@sender.example", "dead@small.example"];
    postfix.sendmail(&alone, &message("dead", "x")).unwrap();
    removed(2.0);
    postfix.wait_for_empty_queue(WITHIN).unwrap();
    assert!(!small.tally().has("dead@small.example"));
    let printed = nixie.printed();
    assert!(printed.contains("removed from its message"), "{printed}");
}
