//! What is no bounce: `tests/data/negatives/KIND-NAME.eml` is nobody's failure, and acts on nothing. `reply-` is
//! an automatic answer, `closed-` one that says that its mailbox is closed, `none-` anything else.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

use jiff::Timestamp;
use nixie::engine::classify::judge;
use nixie::engine::decide::{Known, Policy, Record, decide};
use nixie::engine::provider::Providers;
use nixie::engine::rule::RuleSet;
use nixie::engine::throttle::Limits;
use nixie::engine::trust::{self, Claim, Name, Trust};
use nixie::engine::verdict::{Cause, Remedy};
use nixie::mail::address::LocalPart;
use nixie::mail::event::{Event, Outcome, Source};
use nixie::mail::message::{Envelope, Kind, Reading, events, read};
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

static JUDGES: LazyLock<(RuleSet, Providers)> = LazyLock::new(|| {
    let providers = Providers::shipped().unwrap();
    (RuleSet::shipped(&providers).unwrap(), providers)
});

/// All samples by their names.
fn samples() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/negatives");
    let mut samples: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "eml"))
        .map(|path| {
            (
                path.file_stem().unwrap().to_string_lossy().into_owned(),
                std::fs::read(&path).unwrap(),
            )
        })
        .collect();
    samples.sort();
    assert!(samples.len() >= 60, "{} samples", samples.len());
    samples
}

fn now() -> Timestamp {
    "2026-11-22T00:00:00Z".parse().unwrap()
}

fn lowered(raw: &[u8], envelope: Envelope<'_>) -> (Reading, Vec<Event>) {
    let reading = read(raw);
    let events = events(&reading, envelope, Source::Lmtp, now());
    (reading, events)
}

/// Whether an event suppresses anybody, were it proved that our own mail brought it about.
fn suppresses(event: &Event) -> bool {
    let (verdict, lane) = judge(&JUDGES.0, &JUDGES.1, "default", event);
    let record = Record::new(event.clone(), verdict, lane, LocalPart::Fold);
    let known = Known {
        fresh: vec![true],
        correlated: vec![Some(Name::MessageId)],
        repeat_of: vec![None],
        ..Known::default()
    };
    let policy = Policy {
        limits: Limits {
            default_hold: Duration::from_secs(60),
            max_hold: Duration::from_secs(3600),
        },
        ..Policy::default()
    };
    let decision = decide(&[record], &known, &policy, &|_| None, &|_| None, now());
    !decision.suppress.is_empty() || !decision.unproven.is_empty() || !decision.lanes.is_empty()
}

#[test]
fn what_is_no_bounce_acts_on_nothing() {
    for (name, raw) in samples() {
        let (reading, events) = lowered(&raw, Envelope::default());
        let kind = match name.split_once('-').unwrap().0 {
            "reply" | "closed" => Kind::AutoReply,
            "none" => Kind::None,
            other => panic!("{other}"),
        };
        assert_eq!(reading.kind, kind, "{name}: {:?}", reading.report);
        assert_eq!(events.len(), usize::from(name.starts_with("closed-")), "{name}");
        assert!(!events.iter().any(suppresses), "{name}");
        let answers = reading
            .answer
            .as_ref()
            .is_some_and(|answer| answer.address.is_some());
        assert_eq!(answers, kind == Kind::AutoReply, "{name}");
        let shown = usize::from(name.starts_with("reply-"));
        assert_eq!(
            reading.mentions().len(),
            shown,
            "{name}: an answer is shown once, as event or as mention"
        );
    }
}

/// However surely we know that it answers mail of ours: a person's word suppresses nobody.
#[test]
fn an_answer_is_never_trusted() {
    for (name, raw) in samples().iter().filter(|(name, _)| name.starts_with("closed-")) {
        for envelope in [
            Envelope::default(),
            Envelope {
                sender: Some(""),
                recipient: Some("bounce+paul.young=corp.test@shop.test"),
            },
        ] {
            let mut event = lowered(raw, envelope).1.remove(0);
            assert_eq!(event.outcome, Outcome::AutoReply, "{name}");
            let verdict = judge(&JUDGES.0, &JUDGES.1, "default", &event).0;
            assert_eq!(
                (verdict.cause, verdict.remedy),
                (Cause::MailboxDisabled, Remedy::None),
                "{name}"
            );
            for own in [false, true] {
                event.own = own;
                for seen in [None, Some(Name::Token), Some(Name::MessageId)] {
                    let finding = trust::judge(&event, &Claim::default(), seen);
                    assert_eq!(finding.trust(), Trust::Unverified, "{name}");
                }
                assert!(!suppresses(&event), "{name}");
            }
        }
    }
}

/// Who answers stands in `From`; what they quote is not what they say.
#[test]
fn an_answer_names_its_author() {
    let samples = samples();
    let of = |name: &str| {
        let (_, raw) = samples.iter().find(|(sample, _)| sample == name).unwrap();
        read(raw).answer.unwrap()
    };
    let answer = of("reply-en-exchange");
    assert_eq!(answer.address.unwrap().to_string(), "karen.miller@contoso.test");
    assert!(
        answer
            .text
            .starts_with("I am out of the office until 30 November"),
        "{}",
        answer.text
    );
    assert_eq!(of("reply-bare-cr-quoted").text, "On holiday!");
    assert_eq!(
        of("reply-ja-jidou").text,
        "ただいま不在にしております。戻り次第ご連絡いたします。"
    );
}
