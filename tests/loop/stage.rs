//! What the scenarios have in common: a Postfix that asks a Nixie that reads its log.

use nixie_lab::nixie::{Nixie, Setup as NixieSetup};
use nixie_lab::postfix::{Postfix, Setup as PostfixSetup};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long anything may take before a scenario fails.
pub const WITHIN: Duration = Duration::from_secs(60);
/// Who sends; its bounces come back to Nixie.
pub const SENDER: &str = "bounce+17@bounces.example.org";

/// Held by the scenarios that load the machine, and by the one that promises a time: they take turns.
pub fn quiet() -> MutexGuard<'static, ()> {
    static QUIET: Mutex<()> = Mutex::new(());
    QUIET.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A Postfix and its Nixie.
pub struct Stage {
    pub postfix: Postfix,
    pub nixie: Nixie,
}

impl Stage {
    /// Starts both, Nixie first: Postfix must not find its maps missing.
    pub fn set(postfix: PostfixSetup, nixie: impl FnOnce(NixieSetup) -> NixieSetup) -> Self {
        // The log's path is known before Postfix runs, so Nixie can wait for it.
        let mut postfix = Postfix::prepare(postfix).unwrap();
        let setup = NixieSetup::new(env!("CARGO_BIN_EXE_nixie"))
            .log(postfix.log().path())
            .releases(&postfix);
        let nixie = Nixie::launch(nixie(setup)).unwrap();
        postfix.hook(nixie.hooks()).unwrap();
        postfix.start().unwrap();
        Self { postfix, nixie }
    }

    /// Injects a message and returns the reply to its one recipient.
    pub fn send(&self, recipient: &str) -> nixie_lab::smtp::Reply {
        self.send_with(recipient, "hello")
    }

    /// The same with a text of one's own.
    pub fn send_with(&self, recipient: &str, text: &str) -> nixie_lab::smtp::Reply {
        let submission = self
            .postfix
            .submit(SENDER, &[recipient], &message(recipient, text))
            .unwrap();
        submission.recipients[0].clone()
    }

    /// What `nixie suppress check` says.
    pub fn check(&self, address: &str) -> String {
        self.nixie.cli(&["suppress", "check", address]).unwrap()
    }

    /// Waits until the address is suppressed.
    pub fn wait_for_suppression(&self, address: &str) -> String {
        nixie_lab::wait::until(WITHIN, &format!("{address} to be suppressed"), || {
            let said = self.check(address);
            Ok(said.contains("is suppressed").then_some(said))
        })
        .unwrap()
    }

    /// Waits until the address has a failure of that cause on record, and is not suppressed for it.
    pub fn wait_for_cause(&self, address: &str, cause: &str) {
        let said = nixie_lab::wait::until(WITHIN, &format!("{address} to fail for {cause}"), || {
            let said = self.check(address);
            Ok(said.contains(cause).then_some(said))
        })
        .unwrap();
        assert!(said.contains("is not suppressed"), "{said}");
    }
}

/// A message with a Message-ID of its own.
pub fn message(recipient: &str, text: &str) -> Vec<u8> {
    static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    format!("From: news@app.example\nTo: {recipient}\nMessage-ID: <{number}.{}@app.example>\nSubject: x\n\n{text}\n", std::process::id())
        .into_bytes()
}
