//! What must hold of proof: a genuine bounce comes to the same however it is proved, and a complaint that its provider
//! has redacted finds the recipient again.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use data_encoding::BASE64;
use jiff::Timestamp;
use nixie::engine::classify::judge;
use nixie::engine::decide::{Decision, Known, Policy, Record, decide};
use nixie::engine::provider::Providers;
use nixie::engine::return_path::{ReturnPaths, Signing, Style};
use nixie::engine::rule::RuleSet;
use nixie::engine::suppression::guard::Guard;
use nixie::engine::token::{Keyring, Sealing};
use nixie::engine::trust::{self, Name, Signed, Trust, sealed_key};
use nixie::engine::verdict::Verdict;
use nixie::mail::address::{Address, LocalPart};
use nixie::mail::event::{Event, Outcome, Source};
use nixie::mail::message::{Envelope, Reading, events, read};
use nixie::serve::keeper::Bench;
use nixie::serve::recover::Recovery;
use nixie::store::Store;
use nixie::store::contract::Batch;
use parking_lot::RwLock;
use std::path::Path;
use std::sync::{Arc, LazyLock};

static JUDGES: LazyLock<(RuleSet, Providers)> = LazyLock::new(|| {
    let providers = Providers::shipped().unwrap();
    (RuleSet::shipped(&providers).unwrap(), providers)
});

static POLICY: LazyLock<Policy> = LazyLock::new(|| Policy {
    guard: Guard {
        enabled: false,
        ..Guard::default()
    },
    ..Policy::default()
});

static SIGNING: LazyLock<Signing> = LazyLock::new(|| Signing {
    keyring: Keyring::parse(&format!("5 {}", BASE64.encode(&[5; 32])).into()).unwrap(),
    paths: ReturnPaths {
        local: "b".into(),
        delimiter: '+',
        domain: "bounces.example.org".into(),
        style: Style::Replace,
        lifetime: 14,
    },
});

fn now() -> Timestamp {
    "2026-11-22T00:00:00Z".parse().unwrap()
}

/// A token of a message to this address, or of one to several.
fn token(to: Option<&Address>) -> String {
    let to = to.map(sealed_key);
    let mail = Sealing {
        message: *b"nonce!",
        recipient: to.as_ref(),
        stream: None,
    };
    SIGNING.keyring.seal(&mail, now())
}

fn path(to: Option<&Address>) -> String {
    SIGNING.paths.path("news@example.org", &token(to))
}

/// What comes of an event with this proof.
fn outcome(event: &Event, seen: Option<Name>) -> (Trust, Verdict, Decision) {
    let (verdict, lane) = judge(&JUDGES.0, &JUDGES.1, "default", event);
    let mut record = Record::new(event.clone(), verdict.clone(), lane, LocalPart::Fold);
    let (claim, marks) = trust::claim(event, Some(&SIGNING), None, now());
    record.claim = claim;
    record.correlations.extend(marks);
    let known = Known {
        fresh: vec![true],
        correlated: vec![seen],
        repeat_of: vec![None],
        ..Known::default()
    };
    let decision = decide(&[record], &known, &POLICY, &|_| None, &|_| None, now());
    let trust = decision.findings[0].trust();
    (trust, verdict, decision)
}

/// What it does to recipients. Lanes hear our own MTA only.
fn done(decision: &Decision) -> Decision {
    Decision {
        suppress: decision.suppress.clone(),
        strikes: decision.strikes.clone(),
        unproven: decision.unproven.clone(),
        census: decision.census.clone(),
        ..Decision::default()
    }
}

#[test]
fn a_genuine_bounce_comes_to_the_same_however_it_is_proved() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/bounces");
    let mut files: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "eml"))
        .collect();
    files.sort();
    let (mut told, mut suppressed) = (0, 0);
    for file in &files {
        let reading = read(&std::fs::read(file).unwrap());
        for event in events(&reading, Envelope::default(), Source::Lmtp, now()) {
            if event.outcome == Outcome::AutoReply {
                continue;
            }
            let what = format!("{} {}", file.display(), event.recipient);
            let own = Event {
                own: true,
                ..event.clone()
            };
            let (trust, verdict, decision) = outcome(&own, None);
            assert_eq!(trust, Trust::Own, "{what}");
            let correlated = Event {
                own: false,
                ..event.clone()
            };
            let signed = Event {
                return_path: Some(path(Some(event.mailed()))),
                ..correlated.clone()
            };
            let of_several = Event {
                return_path: Some(path(None)),
                ..correlated.clone()
            };
            for (event, seen, expected) in [
                (&correlated, Some(Name::MessageId), Trust::Correlated),
                (&signed, None, Trust::Signed),
                (&of_several, Some(Name::Token), Trust::Signed),
            ] {
                let (trust, its, decided) = outcome(event, seen);
                assert_eq!((trust, &its), (expected, &verdict), "{what}");
                assert_eq!(done(&decided), done(&decision), "{what}: {expected}");
            }
            let (trust, its, decided) = outcome(&correlated, None);
            assert_eq!((trust, its), (Trust::Unverified, verdict), "{what}");
            assert_eq!(
                (&decided.suppress[..], &decided.strikes[..]),
                (&[][..], &[][..]),
                "{what}"
            );
            told += 1;
            suppressed += decision.suppress.len();
        }
    }
    assert!(
        told > 100 && suppressed > 30,
        "{told} events, {suppressed} of them suppress"
    );
}

fn complaint(named: &str, mail_from: &str) -> Reading {
    let text = format!(
        "From: <feedback@provider.test>\r\nTo: <fbl@example.org>\r\nSubject: complaint\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=feedback-report; boundary=x\r\n\r\n--x\r\n\
         Content-Type: text/plain\r\n\r\nA complaint.\r\n--x\r\nContent-Type: message/feedback-report\r\n\r\n\
         Feedback-Type: abuse\r\nUser-Agent: Loop/1\r\nVersion: 1\r\n{mail_from}{named}\r\n--x\r\n\
         Content-Type: text/rfc822-headers\r\n\r\nFrom: <news@example.org>\r\nSubject: News\r\n\r\n--x--\r\n"
    );
    read(text.as_bytes())
}

fn leaving(to: &[&str], token: &str) -> Batch {
    let identity = SIGNING.keyring.open(token, 14, now()).unwrap().identity();
    let named = trust::Named {
        identity: Some(&identity),
        ..trust::Named::default()
    };
    let recipients: Vec<Address> = to.iter().map(|to| Address::parse(to).unwrap()).collect();
    let marks = recipients.iter().flat_map(|to| trust::marks(&named, to));
    Batch {
        signed: vec![Signed {
            identity,
            mailed: recipients.iter().map(sealed_key).collect(),
            sender: "news@example.org".into(),
            at: now(),
            marks: marks.collect(),
        }],
        ..Batch::default()
    }
}

async fn recovery(directory: &Path) -> (Store, Recovery) {
    let store = Store::open(&format!("sqlite://{}/nixie.db", directory.display()))
        .await
        .unwrap();
    let settings = nixie::config::Settings::default();
    let bench = Bench {
        signing: Some(SIGNING.clone()),
        ..nixie::serve::bench(&settings).unwrap()
    };
    let bench = Arc::new(RwLock::new(Arc::new(bench)));
    let recovery = Recovery::new(store.clone(), bench);
    (store, recovery)
}

#[tokio::test]
async fn a_redacted_complaint_finds_its_recipient() {
    let directory = tempfile::tempdir().unwrap();
    let (store, recovery) = recovery(directory.path()).await;
    let ann = Address::parse("ann@provider.test").unwrap();
    let decide = |_: &Known| Decision::default();
    store
        .commit(&leaving(&["ann@provider.test"], &token(Some(&ann))), decide)
        .await
        .unwrap();
    let mail_from = format!("Original-Mail-From: <{}>\r\n", path(Some(&ann)));
    for named in [
        "",
        "Original-Rcpt-To: redacted@provider.test\r\n",
        "Original-Rcpt-To: <xxxxx>\r\n",
        "Original-Rcpt-To: no address@\r\n",
    ] {
        let mut reading = complaint(named, &mail_from);
        recovery
            .recover(&mut reading, Envelope::default(), now())
            .await
            .unwrap();
        let events = events(&reading, Envelope::default(), Source::Lmtp, now());
        let [event] = events.as_slice() else {
            panic!("{named}: {events:?}")
        };
        assert_eq!(event.recipient, ann, "{named}");
        assert_eq!(outcome(event, None).0, Trust::Signed, "{named}");
    }
    // the report itself came back to the token, and says nothing of the mail
    let mut reading = complaint("", "");
    let path = path(Some(&ann));
    let envelope = Envelope {
        sender: None,
        recipient: Some(&path),
    };
    recovery.recover(&mut reading, envelope, now()).await.unwrap();
    assert_eq!(reading.feedback.unwrap().recipients, ["ann@provider.test"]);
}

#[tokio::test]
async fn nobody_is_guessed() {
    let directory = tempfile::tempdir().unwrap();
    let (store, recovery) = recovery(directory.path()).await;
    let ann = Address::parse("ann@provider.test").unwrap();
    let both = ["ann@provider.test", "bob@provider.test"];
    let decide = |_: &Known| Decision::default();
    store.commit(&leaving(&both, &token(None)), decide).await.unwrap();
    let from = |path: &str| format!("Original-Mail-From: <{path}>\r\n");
    for (what, named, mail_from) in [
        ("one of several", "", from(&path(None))),
        ("what is not known any more", "", from(&path(Some(&ann)))),
        ("no token", "", from("news@example.org")),
        (
            "another token",
            "",
            from("b+aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa@bounces.example.org"),
        ),
        (
            "a name",
            "Original-Rcpt-To: eve@provider.test\r\n",
            from(&path(None)),
        ),
    ] {
        let mut reading = complaint(named, &mail_from);
        let before = reading.feedback.clone().unwrap().recipients;
        recovery
            .recover(&mut reading, Envelope::default(), now())
            .await
            .unwrap();
        assert_eq!(reading.feedback.unwrap().recipients, before, "{what}");
    }
}
