//! What the hooks answer to whom.

use super::*;
use crate::engine::gate::Deferred;
use crate::engine::memory::Entry;
use crate::engine::suppression::SuppressionId;
use crate::engine::throttle::{Lane, LaneKey, Signal};
use crate::engine::verdict::Cause;
use crate::postfix::policy::Action;
use crate::postfix::socketmap::Answer;

const REFUSED: &str = "suppressed since 2026-11-21: user_unknown (NX-123; the postmaster can look it up)";
const HELD: &str = "google asked us to slow down: held until 2026-11-21T10:05:00Z (google.rate)";

fn now() -> Timestamp {
    "2026-11-21T10:00:00Z".parse().unwrap()
}

fn memory() -> Memory {
    let memory = Memory::new();
    for address in ["dead@example.org", "dead@gmail.com", "пётр@xn--e1aybc.example"] {
        memory.suppress(
            &Address::parse(address).unwrap().key(LocalPart::Fold).into(),
            &Entry {
                id: SuppressionId(123),
                cause: Cause::UserUnknown,
                since: now(),
                expires: None,
                standing: Standing::InForce,
            },
        );
    }
    memory.set_provider("gmail.com", "google", now());
    let lane = LaneKey {
        provider: "google".into(),
        egress: "default".into(),
    };
    let until = "2026-11-21T10:05:00Z".parse().unwrap();
    let signal = Signal {
        rule: "google.rate".into(),
        reply: "421".into(),
        ..Signal::default()
    };
    memory.set_lane(lane, Lane::held(signal, until, now()), now());
    memory.set_loaded();
    memory
}

fn action(state: &str, recipient: &str, settings: &Settings) -> Action {
    let request = policy::Request {
        protocol_state: state,
        recipient,
        ..policy::Request::default()
    };
    policy(&memory(), &request, settings, now()).1
}

fn answer(map: Map, key: &str) -> Answer {
    look_up(&memory(), map, key, "", &Settings::default(), now()).1
}

fn reject() -> Action {
    Action::Reject { text: REFUSED.into() }
}

#[test]
fn the_policy_refuses_the_suppressed_at_rcpt_in_any_spelling() {
    let settings = Settings::default();
    for spelling in [
        "dead@example.org",
        "DEAD@Example.ORG",
        "<dead@example.org>",
        "dead@example.org.",
        "Пётр@тест.example",
    ] {
        assert_eq!(action("RCPT", spelling, &settings), reject(), "{spelling}");
    }
}

/// Behind a veil memory knows hashes only; the allow list and patterns meet the address itself.
#[test]
fn the_hidden_are_found_by_those_who_have_the_key() {
    let veil = Veil::new(&secrecy::SecretSlice::from(vec![9; 32])).unwrap();
    let clear = Address::parse("dead@example.org").unwrap();
    let memory = open_memory();
    let entry = Entry {
        id: SuppressionId(7),
        cause: Cause::Complaint,
        since: now(),
        expires: None,
        standing: Standing::InForce,
    };
    memory.suppress(&veil.key(&clear, LocalPart::Fold).into(), &entry);
    memory.suppress(
        &crate::engine::suppression::Subject::pattern("test-*@shop.example"),
        &entry,
    );
    let asked = |recipient: &str, veil: &Veil, allow: &[&str]| {
        let settings = Settings {
            veil: veil.clone(),
            allow: AllowList::new(allow.iter().copied()),
            ..Settings::default()
        };
        let (finding, _) = look_up(&memory, Map::Suppressed, recipient, "", &settings, now());
        finding != Finding::Nothing
    };
    assert!(asked("Dead@Example.org", &veil, &[]));
    assert!(asked("test-1@shop.example", &veil, &[]));
    assert!(!asked("alive@example.org", &veil, &[]));
    assert!(!asked("dead@example.org", &Veil::default(), &[]));
    assert!(!asked("dead@example.org", &veil, &["dead@*"]));
}

/// A memory in which nothing is held.
fn open_memory() -> Memory {
    let memory = Memory::new();
    memory.set_provider("gmail.com", "google", now());
    memory.set_loaded();
    memory
}

#[test]
fn a_provider_with_a_transport_of_its_own_gets_its_mail_by_it() {
    let memory = open_memory();
    let settings = Settings {
        transports: HashMap::from([("google".to_owned(), "nixie-google".to_owned())]),
        ..Settings::default()
    };
    let said = |map, key: &str| look_up(&memory, map, key, "", &settings, now()).1;
    assert_eq!(
        said(Map::Transport, "alive@gmail.com"),
        Answer::Ok("nixie-google:".into())
    );
    assert_eq!(said(Map::Transport, "alive@example.org"), Answer::NotFound);
    assert_eq!(said(Map::Access, "alive@gmail.com"), Answer::NotFound);
    assert_eq!(said(Map::Transport, "*"), Answer::NotFound);
}

#[test]
fn a_full_backlog_pushes_back_at_injection() {
    let memory = open_memory();
    for name in ["a", "b", "c"] {
        let recipient = Address::parse(&format!("{name}@gmail.com")).unwrap();
        let deferred = Deferred {
            queue_id: name,
            sender: "app@sender.test",
            stream: None,
            recipient: &recipient,
            since: now(),
        };
        assert!(memory.gate().enter(&deferred, Some("google"), now()));
    }
    let said = |most, recipient| {
        let settings = Settings {
            max_backlog: most,
            ..Settings::default()
        };
        let request = policy::Request {
            protocol_state: "RCPT",
            recipient,
            ..policy::Request::default()
        };
        policy(&memory, &request, &settings, now()).1
    };
    let full = said(Some(3), "d@gmail.com");
    assert!(
        matches!(&full, Action::Defer { text } if text.starts_with("as many as may wait for google already")),
        "{full:?}"
    );
    for (most, recipient) in [
        (Some(4), "d@gmail.com"),
        (None, "d@gmail.com"),
        (Some(3), "d@example.org"),
    ] {
        assert_eq!(said(most, recipient), Action::Dunno, "{most:?} {recipient}");
    }
}

#[test]
fn the_policy_has_no_opinion_elsewhere() {
    let settings = Settings {
        held: OnHeld::Defer,
        ..Settings::default()
    };
    for state in ["CONNECT", "EHLO", "MAIL", "DATA", "END-OF-MESSAGE", "VRFY", ""] {
        assert_eq!(
            action(state, "dead@example.org", &settings),
            Action::Dunno,
            "{state}"
        );
    }
    for address in [
        "",
        "<>",
        "postmaster",
        "alive@example.org",
        "@",
        "dead@",
        "@example.org",
    ] {
        assert_eq!(action("RCPT", address, &settings), Action::Dunno, "{address}");
    }
}

#[test]
fn the_policy_defers_behind_a_held_lane_only_where_configured() {
    let defer = Settings {
        held: OnHeld::Defer,
        ..Settings::default()
    };
    assert_eq!(action("RCPT", "a@gmail.com", &Settings::default()), Action::Dunno);
    assert_eq!(
        action("RCPT", "a@gmail.com", &defer),
        Action::Defer { text: HELD.into() }
    );
    assert_eq!(
        action("RCPT", "dead@gmail.com", &defer),
        reject(),
        "refusing comes first"
    );
}

#[test]
fn maps_answer_in_their_own_words() {
    let found = |prefix: &str| Answer::Ok(format!("{prefix}{REFUSED}"));
    assert_eq!(answer(Map::Access, "Dead@example.org"), found("550 5.1.1 "));
    assert_eq!(answer(Map::Transport, "Dead@example.org"), found("error:5.1.1 "));
    assert_eq!(
        answer(Map::Suppressed, "Dead@example.org"),
        Answer::Ok("user_unknown".into())
    );
    assert_eq!(
        answer(Map::Transport, "a@gmail.com"),
        Answer::Ok(format!("retry:4.7.1 Throttled by Nixie: {HELD}"))
    );
    assert_eq!(answer(Map::Access, "a@gmail.com"), Answer::NotFound);
    assert_eq!(answer(Map::Suppressed, "a@gmail.com"), Answer::NotFound);
}

#[test]
fn keys_that_are_no_address_are_not_found() {
    for map in Map::ALL {
        for key in [
            "*",
            "example.org",
            ".example.org",
            "gmail.com",
            "dead",
            "dead@",
            "@gmail.com",
            "",
        ] {
            assert_eq!(answer(map, key), Answer::NotFound, "{key}");
        }
    }
}

#[test]
fn before_memory_is_loaded_mail_passes_or_waits_as_configured() {
    let memory = Memory::new();
    memory.suppress(
        &Address::parse("dead@example.org")
            .unwrap()
            .key(LocalPart::Fold)
            .into(),
        &Entry {
            id: SuppressionId(1),
            cause: Cause::UserUnknown,
            since: now(),
            expires: None,
            standing: Standing::InForce,
        },
    );
    let request = policy::Request {
        protocol_state: "RCPT",
        recipient: "dead@example.org",
        ..policy::Request::default()
    };
    let both = |settings: &Settings| {
        (
            policy(&memory, &request, settings, now()).1,
            look_up(&memory, Map::Transport, request.recipient, "", settings, now()).1,
        )
    };
    assert_eq!(both(&Settings::default()), (Action::Dunno, Answer::NotFound));
    let settings = Settings {
        unloaded: OnUnloaded::Defer,
        ..Settings::default()
    };
    let text = UNLOADED.to_owned();
    assert_eq!(
        both(&settings),
        (Action::Defer { text: text.clone() }, Answer::Temp(text))
    );
}

#[test]
fn an_extension_and_its_base_are_one_attempt() {
    let table = [
        ("a+b@x.test", "a@x.test", true),
        ("A+b@X.test", "a@x.test", true),
        ("a-b@x.test", "a@x.test", true),
        ("ab@x.test", "a@x.test", false),
        ("a@x.test", "a@x.test", false),
        ("a+b@y.test", "a@x.test", false),
        ("", "a@x.test", false),
        ("a+b@x.test", "@x.test", false),
        ("é+b@x.test", "é@x.test", true),
        ("é+b@x.test", "a@x.test", false),
    ];
    for (before, key, expected) in table {
        assert_eq!(is_extended(before, key), expected, "{before} {key}");
    }
    let held = |before| {
        let settings = Settings::default();
        look_up(&memory(), Map::Transport, "a@gmail.com", before, &settings, now()).1 != Answer::NotFound
    };
    assert!(held("") && !held("a+x@gmail.com"));
    assert_eq!(
        look_up(
            &memory(),
            Map::Transport,
            "dead@gmail.com",
            "dead+x@gmail.com",
            &Settings::default(),
            now()
        )
        .1,
        Answer::Ok(format!("error:5.1.1 {REFUSED}"))
    );
}

#[test]
fn maps_are_found_by_name_and_listed_when_not() {
    for map in Map::ALL {
        assert_eq!(Map::from_name(map.name()), Ok(map));
    }
    assert_eq!(
        Map::from_name("acess").unwrap_err().to_string(),
        "expected one of the maps access, transport, suppressed, found \"acess\""
    );
}
