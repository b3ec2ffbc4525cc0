//! What the milter does without its store, and what a reload changes.

use crate::socket::{Mta, WITHIN};
use nixie_lab::need;
use nixie_lab::nixie::{Nixie, Setup};
use nixie_lab::postgres::Postgres;
use nixie_lab::wait::until;
use std::io::Write as _;
use tempfile::NamedTempFile;

const KEYS: [&str; 2] = [
    "1 BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n",
    "2 CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg=\n",
];

fn signing(keys: &NamedTempFile) -> Setup {
    Setup::new(env!("CARGO_BIN_EXE_nixie"))
        .text("signing", "key_file", &keys.path().display().to_string())
        .text("signing", "domain", "bounces.example.org")
        .value("milter", "sign.enabled", "true")
}

/// The answers at the end of a message to so many.
fn send(nixie: &Nixie, recipients: &[&str]) -> Vec<(u8, Vec<u8>)> {
    let mut mta = Mta::greet(nixie);
    mta.send(b'D', b"M{client_addr}\x00127.0.0.1\0");
    mta.send(b'M', b"<app@app.example>\0");
    for recipient in recipients {
        mta.send(b'R', format!("<{recipient}>\0").as_bytes());
        assert_eq!(mta.reply().0, b'c');
    }
    mta.send(b'L', b"Subject\0hello\0");
    mta.send(b'N', b"");
    mta.send(b'E', b"");
    let mut replies = Vec::new();
    loop {
        let reply = mta.reply();
        let is_last = matches!(reply.0, b'a' | b't' | b'd');
        replies.push(reply);
        if is_last {
            return replies;
        }
    }
}

fn letters(replies: &[(u8, Vec<u8>)]) -> String {
    replies.iter().map(|(letter, _)| char::from(*letter)).collect()
}

const BOTH: [&str; 2] = ["one@small.example", "two@small.example"];

/// A message to several must be remembered before it leaves; one to a single recipient proves itself.
#[test]
fn without_the_store_the_configured_answer_is_given() {
    let missing = nixie_lab::postgres::installed()
        .is_none()
        .then(|| "Postgres is not installed".to_owned());
    if !need::granted("a milter without its store", missing) {
        return;
    }
    let mut postgres = Postgres::start().unwrap();
    let mut keys = NamedTempFile::new().unwrap();
    keys.write_all(KEYS[0].as_bytes()).unwrap();
    let mut nixie = Nixie::launch(signing(&keys).store(&postgres.url())).unwrap();
    assert_eq!(letters(&send(&nixie, &BOTH)), "ea");
    postgres.stop().unwrap();
    assert_eq!(letters(&send(&nixie, &BOTH)), "t");
    assert_eq!(letters(&send(&nixie, &BOTH[..1])), "ea");
    nixie.set("milter", "on_failure", "\"accept\"").unwrap();
    nixie.signal("HUP").unwrap();
    until(WITHIN, "the new answer", || {
        Ok((letters(&send(&nixie, &BOTH)) == "a").then_some(()))
    })
    .unwrap();
    let failures = nixie.metric("nixie_milter_failures_total").unwrap();
    assert!(failures.unwrap() >= 2.0, "{failures:?}");
    assert!(
        nixie.printed().contains("a message could not be seen to"),
        "{}",
        nixie.printed()
    );
}

/// New keys seal from the reload on; nobody waits, and nothing is closed.
#[test]
fn keys_are_rotated_in_the_run() {
    let mut keys = NamedTempFile::new().unwrap();
    keys.write_all(KEYS[0].as_bytes()).unwrap();
    let nixie = Nixie::launch(signing(&keys)).unwrap();
    // The number of the key stands in the first octet: five bits a character, the highest first.
    let number = |path: &[u8]| {
        let digit = |at: usize| match path[at] {
            letter @ b'a'..=b'z' => letter - b'a',
            digit => digit - b'2' + 26,
        };
        (digit(2) << 3 | digit(3) >> 2) & 0x7f
    };
    let key = |nixie: &Nixie| {
        let replies = send(nixie, &BOTH[..1]);
        assert_eq!(letters(&replies), "ea");
        assert!(replies[0].1.starts_with(b"b+"), "{replies:?}");
        number(&replies[0].1)
    };
    assert_eq!(key(&nixie), 1);
    std::fs::write(keys.path(), [KEYS[1], KEYS[0]].concat()).unwrap();
    nixie.signal("HUP").unwrap();
    until(WITHIN, "the new key", || Ok((key(&nixie) == 2).then_some(()))).unwrap();
}
