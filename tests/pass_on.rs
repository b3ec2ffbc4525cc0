//! What comes back to a signed return path over LMTP goes on to the application's own, once it is kept.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use nixie::engine::return_path::{ReturnPaths, Style};
use nixie::engine::token::{Keyring, Sealing};
use nixie::mail::address::{Address, LocalPart};
use nixie_lab::nixie::{Nixie, Setup};
use nixie_lab::provider::{Message, Provider, Script};
use nixie_lab::smtp::{Client, Protocol};
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

const KEY: &str = "1 BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n";
const OTHER: &str = "1 CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg=\n";
const WITHIN: Duration = Duration::from_secs(20);

/// The return path of mail from the application to somebody, as this key seals it.
fn path(key: &str, recipient: &str) -> String {
    let paths = ReturnPaths {
        local: "b".into(),
        delimiter: '+',
        domain: "bounces.example.org".into(),
        style: Style::Tag,
        lifetime: 14,
    };
    let recipient = Address::parse(recipient).unwrap().key(LocalPart::Fold);
    let sealing = Sealing {
        message: *b"123456",
        recipient: Some(&recipient),
        stream: None,
    };
    let keys = Keyring::parse(&key.into()).unwrap();
    paths.path("app@app.example", &keys.seal(&sealing, nixie::clock::now()))
}

fn bounce(recipient: &str) -> Vec<u8> {
    let message = Message {
        at: nixie::clock::monotonic(),
        sender: "app@app.example".into(),
        recipients: vec![recipient.into()],
        content: b"Message-ID: <1@app.example>\r\n\r\ntext\r\n".to_vec(),
        host: "mx.small.example".into(),
    };
    message.bounce(recipient, "5.1.1", "550 5.1.1 no such user")
}

#[test]
fn a_bounce_goes_on_to_the_application_and_a_forged_one_does_not() {
    let mut script = Script::small();
    script.greylist = true;
    let home = Provider::start(script).unwrap();
    let keys = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(keys.path(), KEY).unwrap();
    std::fs::set_permissions(keys.path(), std::fs::Permissions::from_mode(0o600)).unwrap();
    let setup = Setup::new(env!("CARGO_BIN_EXE_nixie"))
        .text("signing", "key_file", keys.path().to_str().unwrap())
        .text("signing", "domain", "bounces.example.org")
        .text("signing", "style", "tag")
        .text("submit", "server", &home.address().to_string())
        .value("submit", "pass_on", "true");
    let nixie = Nixie::launch(setup).unwrap();
    let send = |path: &str, about: &str| {
        let mut client = Client::connect(nixie.address("lmtp"), Protocol::Lmtp).unwrap();
        client.send("", &[path], &bounce(about)).unwrap()
    };
    // Of a stranger's making: kept, and passed on to nobody.
    let forged = send(&path(OTHER, "alive@small.example"), "alive@small.example");
    assert!(forged.message.iter().all(|reply| reply.code == 250), "{forged:?}");
    // The application's server is busy the first time: the report is kept, and comes again.
    let genuine = path(KEY, "dead@small.example");
    let first = send(&genuine, "dead@small.example");
    assert!(first.message.iter().all(|reply| reply.code == 451), "{first:?}");
    let second = send(&genuine, "dead@small.example");
    assert!(second.message.iter().all(|reply| reply.code == 250), "{second:?}");
    home.wait(WITHIN, "the bounce", |tally| tally.has("app@app.example"))
        .unwrap();
    let taken = home.messages();
    assert_eq!(taken.len(), 1, "{taken:?}");
    assert_eq!(taken[0].sender, "");
    assert!(
        taken[0].content == bounce("dead@small.example"),
        "{}",
        String::from_utf8_lossy(&taken[0].content)
    );
    // And it did its work, once.
    let said = nixie.cli(&["suppress", "check", "dead@small.example"]).unwrap();
    assert!(said.contains("user_unknown") && said.contains("signed"), "{said}");
    assert_eq!(
        nixie
            .metric("nixie_suppressed_total")
            .unwrap()
            .unwrap_or_default(),
        1.0
    );
}
