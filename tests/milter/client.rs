//! Another client of the milter protocol than Postfix: miltertest(8), with Sendmail's own definitions.

use nixie_lab::need;
use nixie_lab::nixie::{Nixie, Setup};
use std::path::Path;
use std::process::Command;

fn play(setup: Setup, sign: bool) {
    let mut nixie = Nixie::prepare(setup).unwrap();
    nixie
        .cli(&["suppress", "add", "dead@example.net", "--reason", "a test"])
        .unwrap();
    nixie.start().unwrap();
    let at = nixie.address("milter");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/milter/client.lua");
    let define = |name: &str, value: String| ["-D".to_owned(), format!("{name}={value}")];
    let output = Command::new("miltertest")
        .args(define("where", format!("inet:{}@{}", at.port(), at.ip())))
        .args(define("dead", "dead@example.net".into()))
        .args(define("alive", "alive@example.net".into()))
        .args(define("signs", u8::from(sign).to_string()))
        .args(["-s", script])
        .output()
        .unwrap();
    let text = format!(
        "{}{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        nixie.printed()
    );
    assert!(output.status.success(), "{text}");
}

fn is_there(test: &str) -> bool {
    let missing = !Path::new("/usr/bin/miltertest").exists();
    need::granted(
        test,
        missing.then(|| "miltertest is not installed (apt-get install miltertest)".into()),
    )
}

fn setup() -> Setup {
    Setup::new(env!("CARGO_BIN_EXE_nixie"))
}

#[test]
fn another_client_is_served() {
    if is_there("another_client_is_served") {
        play(setup(), false);
    }
}

#[test]
fn another_client_is_served_and_its_mail_signed() {
    if !is_there("another_client_is_served_and_its_mail_signed") {
        return;
    }
    let keys = tempfile::tempdir().unwrap();
    let file = keys.path().join("keys");
    let path = file.to_str().unwrap();
    Nixie::prepare(setup())
        .unwrap()
        .cli(&["key", "new", path])
        .unwrap();
    let setup = setup()
        .text("signing", "key_file", path)
        .text("signing", "domain", "bounces.app.test")
        .value("milter.sign", "enabled", "true")
        .value("milter.read", "enabled", "true");
    play(setup, true);
}
