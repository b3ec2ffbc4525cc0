//! Postfix's log as a real Postfix 3.7 wrote it: one run in three formats, another in a fourth, against
//! golden files; and lines made up to deceive or to break the reader.
//!
//! After a change that means to alter what is read: `UPDATE_GOLDEN=1 cargo test --test log`, then read
//! the difference.

use jiff::tz::TimeZone;
use nixie::mail::event::{Event, Evidence};
use nixie::postfix::log::{Calendar, Entry, Joiner, Line, decode};
use proptest::prelude::*;
use serde_json::json;
use std::path::{Path, PathBuf};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/log")
        .join(name)
}

fn calendar() -> Calendar {
    Calendar::new("2026-11-21T12:00:00Z".parse().expect("a time"), TimeZone::UTC)
}

/// All events of a file; every line of it must be readable.
fn events(name: &str) -> Vec<Event> {
    let bytes = std::fs::read(data(name)).expect("a log beside the tests");
    let (mut calendar, mut joiner, mut events) = (calendar(), Joiner::new(10_000), Vec::new());
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let text = decode(line);
        let line = Line::parse(&text, &mut calendar).unwrap_or_else(|error| panic!("{error}: {text}"));
        joiner.push(&line, &mut events);
    }
    assert_eq!(joiner.unreadable(), 0);
    events
}

fn shown(event: &Event) -> String {
    let relay = event.relay.as_ref().map(|relay| {
        let port = relay.port.map_or(String::new(), |port| format!(":{port}"));
        format!("{}[{}]{port}", relay.host, relay.ip.as_deref().unwrap_or(""))
    });
    let value = json!({
        "id": event.id.to_string(),
        "at": event.at.to_string(),
        "outcome": event.outcome.name(),
        "repeat": event.evidence == Evidence::Repeat,
        "recipient": event.recipient.to_string(),
        "original": event.original_recipient.as_ref().map(ToString::to_string),
        "sender": event.sender,
        "queue_id": event.queue_id,
        "message_id": event.message_id,
        "relay": relay,
        "reply": event.reply.to_string(),
        "dsn": event.reported_status.map(|status| status.to_string()),
    });
    value.to_string()
}

fn assert_golden(name: &str, found: &str) {
    let path = data(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, found).expect("a writable golden file");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    for (number, (found, expected)) in found.lines().zip(expected.lines()).enumerate() {
        assert_eq!(found, expected, "{name}, line {}", number + 1);
    }
    assert_eq!(found.lines().count(), expected.lines().count(), "lines of {name}");
}

#[test]
fn a_real_log_gives_the_expected_events() {
    for name in ["iso", "maillog_file"] {
        let lines: Vec<String> = events(&format!("{name}.log")).iter().map(shown).collect();
        assert_golden(&format!("{name}.events"), &(lines.join("\n") + "\n"));
    }
}

#[test]
fn each_format_gives_the_same_events() {
    let iso = events("iso.log");
    assert_eq!(events("rfc5424.log"), iso);
    let traditional = events("traditional.log");
    assert_eq!(traditional.len(), iso.len());
    for (coarse, fine) in traditional.into_iter().zip(iso) {
        assert_eq!(coarse.at.as_second(), fine.at.as_second());
        assert_eq!(
            Event {
                at: fine.at,
                ..coarse
            },
            fine
        );
    }
}

/// One line in each format.
fn in_each_format(body: &str) -> [String; 3] {
    [
        format!("Nov 21 09:40:56 mx postfix/smtp[7]: {body}"),
        format!("2026-11-21T09:40:56.5+00:00 mx postfix/smtp[7]: {body}"),
        format!("<22>1 2026-11-21T09:40:56.5+00:00 mx postfix 7 - -  {body}"),
    ]
}

fn events_of(text: &str) -> Vec<Event> {
    let mut events = Vec::new();
    if let Ok(line) = Line::parse(text, &mut calendar()) {
        Joiner::new(10).push(&line, &mut events);
    }
    events
}

/// A local part as Postfix logs it: quoted as a whole, `"` and `\` escaped.
fn quoted(local: &str) -> String {
    let escaped: String = local
        .chars()
        .flat_map(|c| matches!(c, '"' | '\\').then_some('\\').into_iter().chain([c]))
        .collect();
    format!("\"{escaped}\"")
}

/// Pieces that mean something in a log line, in any order, between other characters.
fn imitation() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just(">, relay=x[192.0.2.9]:25, ".to_owned()),
        Just("to=<victim@x.test>, ".to_owned()),
        Just(">, orig_to=<victim@x.test>, ".to_owned()),
        Just("dsn=5.1.1, status=bounced (550 5.1.1 no".to_owned()),
        Just("status=sent (250 ok)".to_owned()),
        Just("(in reply to RCPT TO command)".to_owned()),
        Just("\"@x.test>, ".to_owned()),
        Just("delivery temporarily suspended: ".to_owned()),
        Just(" said: ".to_owned()),
        Just("\\".to_owned()),
        "[ -~]{0,12}",
        "\\PC{0,6}",
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        events_of(&decode(&bytes));
    }

    #[test]
    fn no_body_makes_it_panic(body in imitation(), cut in any::<prop::sample::Index>()) {
        for text in in_each_format(&format!("DE8ABA48318: to=<{body}")) {
            let text = &text[..text.floor_char_boundary(cut.index(text.len() + 1))];
            for event in events_of(text) {
                prop_assert!(!shown(&event).contains('\0'));
            }
        }
    }

    #[test]
    fn a_local_part_cannot_change_the_outcome(local in imitation(), bounced in any::<bool>()) {
        prop_assume!(!local.is_empty() && local.len() < 900 && !local.chars().any(char::is_control));
        let (word, reply) = if bounced { ("bounced", "550 5.1.1 no") } else { ("deferred", "450 4.2.0 later") };
        let body = format!(
            "DE8ABA48318: to=<{}@real.test>, relay=mx[192.0.2.1]:25, delay=1, delays=0/0/0/1, dsn=4.0.0, \
             status={word} (host mx[192.0.2.1] said: {reply} (in reply to RCPT TO command))",
            quoted(&local)
        );
        for text in in_each_format(&body) {
            let events = events_of(&text);
            prop_assert_eq!(events.len(), 1, "{}", text);
            prop_assert_eq!(events[0].recipient.domain(), "real.test");
            prop_assert_eq!(events[0].original_recipient.as_ref(), None);
            prop_assert_eq!(events[0].outcome.name(), if bounced { "failed" } else { "deferred" });
            prop_assert_eq!(events[0].reply.to_string(), reply);
            prop_assert_eq!(events[0].relay.as_ref().map(|relay| relay.host.as_str()), Some("mx"));
        }
    }

    #[test]
    fn a_reply_cannot_change_the_outcome(said in imitation(), sent in any::<bool>()) {
        let (word, code) = if sent { ("sent", 250) } else { ("bounced", 550) };
        let frame = if sent { String::new() } else { "host mx[192.0.2.1] said: ".to_owned() };
        let body = format!(
            "DE8ABA48318: to=<u@real.test>, relay=mx[192.0.2.1]:25, delay=1, delays=0/0/0/1, dsn=5.0.0, \
             status={word} ({frame}{code} {said} (in reply to DATA command))"
        );
        for text in in_each_format(&body) {
            let events = events_of(&text);
            prop_assert_eq!(events.len(), 1, "{}", text);
            prop_assert_eq!(events[0].recipient.to_string(), "u@real.test");
            prop_assert_eq!(events[0].outcome.name(), if sent { "delivered" } else { "failed" });
            prop_assert_eq!(events[0].evidence, Evidence::Fresh);
            prop_assert_eq!(events[0].reply.code.map(|code| code.get()), Some(code));
        }
    }

    #[test]
    fn a_message_id_or_user_name_makes_no_event(words in imitation()) {
        for start in ["message-id=<", "resent-message-id=", "client=u[192.0.2.1], sasl_method=PLAIN, sasl_username=", "from=<\""] {
            for text in in_each_format(&format!("DE8ABA48318: {start}{words}")) {
                prop_assert!(events_of(&text).is_empty(), "{}", text);
            }
        }
    }
}

#[test]
fn a_line_with_octets_of_no_charset_is_read() {
    let line = b"Nov 21 09:40:56 mx postfix/smtp[7]: DE8ABA48318: to=<u@real.test>, relay=none, dsn=5.1.1, status=bounced (host mx[192.0.2.1] said: 550 5.1.1 \xff\0\xfe)\r\n";
    let text = decode(line);
    let line = Line::parse(&text, &mut calendar()).unwrap();
    assert!(matches!(line.entry, Entry::Delivery(_)));
    assert_eq!(events_of(&text)[0].reply.text, "\u{fffd}?\u{fffd}");
}
