//! Who hands mail in with sendmail(1) is told of the recipients that it does not go to.

use crate::stage::{WITHIN, message};
use nixie_lab::need;
use nixie_lab::nixie::{Nixie, Setup as NixieSetup};
use nixie_lab::postfix::{Postfix, Setup};
use nixie_lab::provider::{Provider, Script};

#[test]
fn the_sender_is_told_of_removed_recipients() {
    if !need::postfix("notices of removed recipients") {
        return;
    }
    let small = Provider::start(Script::small()).unwrap();
    let home = Provider::start(Script::gmail()).unwrap();
    let routes = Setup::new()
        .route("small.example", &small)
        .route("sender.example", &home);
    let mut postfix = Postfix::prepare(routes).unwrap();
    let setup = NixieSetup::new(env!("CARGO_BIN_EXE_nixie")).text(
        "submit",
        "server",
        &postfix.smtp_address().to_string(),
    );
    let mut nixie = Nixie::prepare(setup).unwrap();
    let reason = ["--cause", "user_unknown", "--reason", "they left"];
    nixie
        .cli(&[&["suppress", "add", "dead@small.example"], &reason[..]].concat())
        .unwrap();
    nixie.start().unwrap();
    postfix.hook(nixie.milter()).unwrap();
    postfix.start().unwrap();
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
    home.wait(WITHIN, "the notice", |tally| tally.has("app@sender.example"))
        .unwrap();
    let notices = home.messages();
    let [notice] = notices.as_slice() else {
        panic!("expected one notice, found {notices:?}");
    };
    assert_eq!(notice.sender, "", "nobody answers a notice");
    let reading = nixie::mail::message::read(&notice.content);
    let recipients: Vec<String> = reading
        .report
        .iter()
        .flat_map(|report| &report.recipients)
        .filter_map(|recipient| recipient.final_recipient.as_ref().map(ToString::to_string))
        .collect();
    assert_eq!(recipients, ["dead@small.example"]);
    let text = String::from_utf8_lossy(&notice.content).into_owned();
    for part in ["user_unknown", "Subject: x"] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
}
