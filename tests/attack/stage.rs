//! The stage: a Nixie that reads a log of mail that left, opens tokens and verifies signatures; and what everybody on
//! it knows.

use data_encoding::BASE64;
use jiff::SignedDuration;
use nixie::engine::decide::{self, Policy};
use nixie::engine::token::{Keyring, Sealing};
use nixie::engine::trust::{Named, Signed, marks, sealed_key};
use nixie::mail::address::Address;
use nixie::store::Store;
use nixie::store::contract::Batch;
use nixie_lab::dns::{Dns, Zone};
use nixie_lab::nixie::{Nixie, Setup};
use nixie_lab::signer::Signer;
use nixie_lab::smtp::{Client, Protocol};
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

/// How long anything may take.
pub const WITHIN: Duration = Duration::from_secs(120);
/// Where bounces come back to.
pub const BOUNCES: &str = "bounces.app.test";
/// Who got a message to several.
pub const SEVERAL: [&str; 2] = ["several1@victim.test", "several2@victim.test"];
const KEY: [u8; 32] = [7; 32];

/// The daemon, the world around it, and its keys.
pub struct Stage {
    pub nixie: Nixie,
    pub victim: Signer,
    pub evil: Signer,
    pub lookalike: Signer,
    pub below: Signer,
    pub suffix: Signer,
    pub neighbour: Signer,
    pub forwarder: Signer,
    pub silent: Signer,
    pub revoked: Signer,
    keyring: Keyring,
    _dns: Dns,
    _files: tempfile::TempDir,
}

impl Stage {
    /// Starts everything; a message has left to each of `people`, and one to [`SEVERAL`].
    pub fn set(people: &[String]) -> Self {
        let signers = [
            "victim.test",
            "evil.test",
            "vict1m.test",
            "victim.test.evil.test",
            "test",
            "eve.github.io",
            "forwarder.test",
            "silent.test",
            "revoked.test",
        ]
        .map(|domain| Signer::new(domain).unwrap());
        let mut zones: Vec<(String, Zone)> = signers.iter().map(|signer| signer.record().unwrap()).collect();
        zones[7].1 = Zone::Silent;
        zones[8].1 = Zone::text("v=DKIM1; k=ed25519; p=");
        let dns = Dns::start(zones).unwrap();
        let files = tempfile::tempdir().unwrap();
        let keys = files.path().join("keys");
        let line = format!("1 {}\n", BASE64.encode(&KEY));
        std::fs::write(&keys, &line).unwrap();
        std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(0o600)).unwrap();
        let log = files.path().join("mail.log");
        std::fs::write(&log, log_of(people)).unwrap();
        let setup = Setup::new(env!("CARGO_BIN_EXE_nixie"))
            .log(&log)
            .text("dns", "servers", &dns.address().to_string())
            .text("authentication", "timeout", "1s")
            .value("authentication", "enabled", "true")
            .value("authentication", "trusted_sealers", "[\"forwarder.test\"]")
            .text("signing", "key_file", &keys.display().to_string())
            .text("signing", "domain", BOUNCES)
            // So many refusals in so short a time would be an incident, and hide what is looked for here.
            .value("guard", "enabled", "false");
        let mut nixie = Nixie::prepare(setup).unwrap();
        let keyring = Keyring::parse(&line.as_str().into()).unwrap();
        remember_several(&nixie, &keyring);
        nixie.start().unwrap();
        let [
            victim,
            evil,
            lookalike,
            below,
            suffix,
            neighbour,
            forwarder,
            silent,
            revoked,
        ] = signers;
        Self {
            nixie,
            victim,
            evil,
            lookalike,
            below,
            suffix,
            neighbour,
            forwarder,
            silent,
            revoked,
            keyring,
            _dns: dns,
            _files: files,
        }
    }

    /// The return path of the message that left to somebody, so many days ago.
    pub fn path(&self, to: &str, days: i64) -> String {
        path(&self.keyring, Some(to), days)
    }

    /// The return path of the message that left to [`SEVERAL`].
    pub fn path_of_several(&self) -> String {
        path(&self.keyring, None, 0)
    }

    /// Hands in a message as Postfix's lmtp(8) does, and gives the answers' codes.
    pub fn deliver(&self, sender: &str, path: &str, message: &[u8]) -> Vec<u16> {
        let mut client = Client::connect(self.nixie.address("lmtp"), Protocol::Lmtp).unwrap();
        let answers = client.send(sender, &[path], message).unwrap().message;
        answers.iter().map(|reply| reply.code).collect()
    }

    /// How many reports were doubted for a reason.
    pub fn doubted(&self, doubt: &str) -> u64 {
        let found = self
            .nixie
            .metric(&format!("nixie_doubts_total{{doubt=\"{doubt}\"}}"));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a small count"
        )]
        found.unwrap().map_or(0, |count| count as u64)
    }

    /// Waits until that many reports were doubted for a reason.
    pub fn wait_for_doubts(&self, doubt: &str, least: u64, what: &str) {
        let found = nixie_lab::wait::until(WITHIN, &format!("{what}: {least} doubts for {doubt}"), || {
            Ok((self.doubted(doubt) >= least).then_some(()))
        });
        found.unwrap_or_else(|error| panic!("{error:#}\n{}", self.nixie.status().unwrap()));
    }

    /// Waits until an address is suppressed.
    pub fn wait_for_suppression(&self, address: &str) {
        let mut said = String::new();
        let found = nixie_lab::wait::until(WITHIN, &format!("{address} to be suppressed"), || {
            said = self.nixie.cli(&["suppress", "check", address])?;
            Ok(said.contains("is suppressed").then_some(()))
        });
        found.unwrap_or_else(|error| panic!("{error:#}\n{said}"));
    }
}

/// A return path sealed with a key of somebody's own.
pub fn foreign_path(number: u8, key: [u8; 32], to: &str) -> String {
    let keyring = Keyring::parse(&format!("{number} {}", BASE64.encode(&key)).as_str().into()).unwrap();
    path(&keyring, Some(to), 0)
}

fn path(keyring: &Keyring, to: Option<&str>, days: i64) -> String {
    let recipient = to.map(|to| sealed_key(&Address::parse(to).unwrap()));
    let mail = Sealing {
        message: *b"attack",
        recipient: recipient.as_ref(),
        stream: None,
    };
    let sealed = nixie::clock::now() - SignedDuration::from_hours(24 * days);
    format!("b+{}@{BOUNCES}", keyring.seal(&mail, sealed))
}

/// The Message-ID of what left to somebody.
pub fn message_id(to: &str) -> String {
    format!("to.{}@app.test", to.replace('@', "."))
}

/// Its queue id.
pub fn queue_id(to: &str) -> String {
    let number = to.bytes().fold(0xcbf2_9ce4_u64, |hash, b| {
        (hash ^ u64::from(b)).wrapping_mul(0x0100_0193) & 0xffff_ffff
    });
    format!("4A{number:08X}")
}

/// Somebody whose death our own log tells of, after all others were mailed.
pub const DEAD_IN_LOG: &str = "log@victim.test";

fn log_of(people: &[String]) -> String {
    let mut log = String::new();
    let at = (nixie::clock::now() - SignedDuration::from_mins(30)).strftime("%Y-%m-%dT%H:%M:%S.000000+00:00");
    let mut mail = |to: &str, id: &str, how: &str| {
        let queue = queue_id(to);
        let _ = write!(
            log,
            "{at} mx postfix/cleanup[2]: {queue}: message-id=<{id}>\n\
             {at} mx postfix/qmgr[3]: {queue}: from=<b@{BOUNCES}>, size=304, nrcpt=1 (queue active)\n\
             {at} mx postfix/smtp[4]: {queue}: to=<{to}>, relay=mx.victim.test[192.0.2.9]:25, delay=1, \
             delays=0/0/0/1, {how}\n{at} mx postfix/qmgr[3]: {queue}: removed\n"
        );
    };
    for to in people {
        mail(to, &message_id(to), "dsn=2.0.0, status=sent (250 2.0.0 ok)");
    }
    mail(
        DEAD_IN_LOG,
        &message_id(DEAD_IN_LOG),
        "dsn=5.1.1, status=bounced (host mx.victim.test[192.0.2.9] said: 550 5.1.1 no such user (in reply to RCPT TO command))",
    );
    log
}

/// What the milter would have remembered of the message to [`SEVERAL`].
fn remember_several(nixie: &Nixie, keyring: &Keyring) {
    let token = path(keyring, None, 0);
    let text = token.split(['+', '@']).nth(1).unwrap();
    let now = nixie::clock::now();
    let identity = keyring.open(text, 14, now).unwrap().identity();
    let named = Named {
        identity: Some(&identity),
        ..Named::default()
    };
    let to = SEVERAL.map(|to| Address::parse(to).unwrap());
    let signed = Signed {
        identity,
        mailed: to.iter().map(sealed_key).collect(),
        sender: "news@app.test".into(),
        at: now,
        marks: to.iter().flat_map(|to| marks(&named, to)).collect(),
    };
    let batch = Batch {
        signed: vec![signed],
        ..Batch::default()
    };
    let url = format!("sqlite://{}", nixie.directory().join("nixie.db").display());
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let store = Store::open(&url).await.unwrap();
        let policy = Policy::default();
        let decided = |known: &decide::Known| decide::decide(&[], known, &policy, &|_| None, &|_| None, now);
        store.commit(&batch, decided).await.unwrap();
        store.close().await;
    });
}
