//! What every grammar that strangers write must stand, whatever the octets: the bodies of the fuzz targets.
//! `fuzz_targets/` runs them under cargo-fuzz; `tests/fuzz_corpus.rs` replays over the same functions what is
//! kept in `corpus/`, without a fuzzer.
//!
//! Each panics where a promise is broken.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each fuzz target uses one of these; a broken promise is told by a panic"
)]

use jiff::Timestamp;
use jiff::tz::TimeZone;
use mail_parser::MessageParser;
use nixie::engine::heard::Heard;
use nixie::engine::provider::Providers;
use nixie::engine::rule::RuleSet;
use nixie::engine::verdict::{Remedy, Scope, Verdict};
use nixie::mail::attested::Attested;
use nixie::mail::authentication_results::{Method, Results};
use nixie::mail::author::author;
use nixie::mail::dsn::Report;
use nixie::mail::event::{Event, Source};
use nixie::mail::formats::FORMATS;
use nixie::mail::letter::Letter;
use nixie::mail::message::{Envelope, events, read};
use nixie::mail::received::Hop;
use nixie::mail::reply::Reply;
use nixie::mail::signed::{Field, signed as mail_signed};
use nixie::postfix::log::{Calendar, Joiner, Line, decode};
use nixie::postfix::milter::session::{Purpose, Session, Step};
use nixie::postfix::milter::{self as milter_protocol, Decoder};
use nixie::postfix::{lmtp as lmtp_protocol, policy as policy_protocol, socketmap as socketmap_protocol};
use std::mem::{Discriminant, discriminant};
use std::sync::LazyLock;

/// What is run on any octets.
pub type Target = fn(&[u8]);

/// Every target, by its name.
pub const TARGETS: &[(&str, Target)] = &[
    ("arf", arf),
    ("authentication_results", authentication_results),
    ("dsn", dsn),
    ("formats", formats),
    ("lmtp", lmtp),
    ("log", log),
    ("message", message),
    ("milter", milter),
    ("policy", policy),
    ("reply", reply),
    ("signed", signed),
    ("socketmap", socketmap),
];

/// Any octets are a message: read and lowered to events, and no event holds what a store would refuse.
pub fn message(raw: &[u8]) {
    let reading = read(raw);
    let envelope = Envelope {
        sender: Some(""),
        recipient: Some("b@bounces.app.test"),
    };
    for event in events(&reading, envelope, Source::Lmtp, Timestamp::UNIX_EPOCH) {
        storable(&event);
    }
}

/// Any octets are a delivery-status part.
pub fn dsn(part: &[u8]) {
    clean(&nixie::mail::dsn::parse(part));
}

/// Any octets are a feedback-report part, alone and within a complaint.
pub fn arf(part: &[u8]) {
    if let Some(feedback) = nixie::mail::arf::parse(part) {
        let texts = [feedback.mail_from, feedback.envelope_id, feedback.reporter];
        assert!(
            texts
                .iter()
                .flatten()
                .chain(&feedback.recipients)
                .all(|text| !text.contains('\0'))
        );
    }
    let mut complaint =
        b"MIME-Version: 1.0\nContent-Type: multipart/report; report-type=feedback-report; boundary=b\n\n\
        --b\n\nThis is an abuse report.\n--b\nContent-Type: message/feedback-report\n\n"
            .to_vec();
    complaint.extend_from_slice(part);
    complaint.extend_from_slice(
        b"\n--b\nContent-Type: message/rfc822\n\nTo: a@x.test\nMessage-ID: <1@app.test>\n\nhi\n--b--\n",
    );
    message(&complaint);
}

/// Any text is what somebody found out about a mail: whom they saw sign is named in it.
pub fn authentication_results(octets: &[u8]) {
    let text = String::from_utf8_lossy(octets);
    if let Ok(results) = Results::parse(&text) {
        assert!(results.dkim_passed().all(|domain| domain.len() <= text.len()));
        let words = |method: &Method| !method.name.is_empty() && !method.result.is_empty();
        assert!(results.methods.iter().all(words));
    }
}

/// Any octets are a signed message: what a signature covers holds no field that it does not name, nor one twice, and
/// the author is one address.
pub fn signed(raw: &[u8]) {
    if let Some(author) = author(raw) {
        assert_eq!(author.to_string().matches('@').count(), 1, "{author}");
    }
    let end = raw
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .map_or(raw.len(), |at| at + 2);
    let (header, body) = raw.split_at(end);
    let mut fields: Vec<Field<'_>> = Vec::new();
    for line in header.split_inclusive(|&b| b == b'\n') {
        if let Some(colon) = line.iter().position(|&b| b == b':') {
            fields.push((&line[..colon], &line[colon + 1..]));
        }
    }
    let names = ["From", "Date", "Message-ID", "X-A"].map(str::to_owned);
    if let Ok(message) = mail_signed(&fields, body.strip_prefix(b"\r\n").unwrap_or(body), &names) {
        let froms = fields
            .iter()
            .filter(|(name, _)| name.trim_ascii().eq_ignore_ascii_case(b"from"));
        assert_eq!(froms.count(), 1);
        let _ = Attested::of(&message);
    }
}

/// Any octets are a letter, and each format may be asked to read it, whether its tell says so or not.
pub fn formats(raw: &[u8]) {
    let parser = MessageParser::new().with_mime_headers();
    let Some(parsed) = parser.parse(raw) else { return };
    let letter = Letter::new(&parsed);
    for format in FORMATS {
        let _ = (format.tell)(&letter);
        if let Some(report) = (format.read)(&letter) {
            clean(&report);
        }
    }
}

/// Any text is a reply: what is read of it can be written and read again, it is judged, and nobody but a
/// recipient or a domain is ever suppressed for it, nor without a permanent fault.
pub fn reply(octets: &[u8]) {
    static RULES: LazyLock<RuleSet> =
        LazyLock::new(|| RuleSet::shipped(&Providers::shipped().unwrap()).unwrap());
    let text = String::from_utf8_lossy(octets);
    let reply = Reply::parse(&text);
    assert_eq!(reply.code, Reply::parse(&reply.to_string()).code);
    let _ = Hop::parse(&text);
    for provider in [None, Some("google")] {
        harmless(&Heard::anywhere(&text).verdict(&RULES, provider));
    }
}

/// Octets as lines of a log: no event holds what a store would refuse.
pub fn log(data: &[u8]) {
    let mut calendar = Calendar::new(Timestamp::UNIX_EPOCH, TimeZone::UTC);
    let (mut joiner, mut events) = (Joiner::new(16), Vec::new());
    for bytes in data.split(|byte| *byte == b'\n') {
        let text = decode(bytes);
        if let Ok(line) = Line::parse(&text, &mut calendar) {
            joiner.push(&line, &mut events);
        }
    }
    events.iter().for_each(storable);
}

/// The policy decoder holds nothing beyond the limit, and the same octets mean the same requests whether they
/// come at once or in two pieces.
pub fn policy(input: &[u8]) {
    fn all(pieces: [&[u8]; 2]) -> (Vec<String>, Option<Discriminant<policy_protocol::PolicyError>>) {
        let mut decoder = policy_protocol::Decoder::default();
        let mut seen = Vec::new();
        for piece in pieces {
            decoder.feed(piece);
            loop {
                match decoder.decode() {
                    Ok(Some(request)) => seen.push(format!("{request:?}")),
                    Ok(None) => break,
                    Err(error) => return (seen, Some(discriminant(&error))),
                }
            }
            assert!(decoder.waiting() <= policy_protocol::MAX_REQUEST);
        }
        (seen, None)
    }
    let (first, second) = pieces(input);
    assert_eq!(all([&[first, second].concat(), b""]), all([first, second]));
}

/// The same of the socketmap decoder; its answers are ASCII.
pub fn socketmap(input: &[u8]) {
    // A length of six digits, the colon, and one octet that is awaited.
    const FRAMING: usize = 8;
    fn all(pieces: [&[u8]; 2]) -> (Vec<String>, bool) {
        let mut decoder = socketmap_protocol::Decoder::default();
        let mut seen = Vec::new();
        for piece in pieces {
            decoder.feed(piece);
            loop {
                match decoder.decode() {
                    Ok(Some(request)) => seen.push(request.to_string()),
                    Ok(None) => break,
                    Err(error) => {
                        let mut answer = Vec::new();
                        socketmap_protocol::Answer::Perm(error.to_string()).encode(&mut answer);
                        assert!(answer.is_ascii());
                        return (seen, true);
                    }
                }
            }
            assert!(decoder.waiting() <= socketmap_protocol::MAX_REQUEST + FRAMING);
        }
        (seen, false)
    }
    let (first, second) = pieces(input);
    assert_eq!(all([&[first, second].concat(), b""]), all([first, second]));
}

/// An LMTP session says the same whether octets come at once or in two pieces (lines beyond its limit aside,
/// which it need not wait for); no message is larger than what is taken.
pub fn lmtp(input: &[u8]) {
    const MAX_SIZE: usize = 512;
    fn all(pieces: [&[u8]; 2]) -> Vec<String> {
        let mut session = lmtp_protocol::Session::new("nixie.test", MAX_SIZE);
        let mut said = Vec::new();
        for mut piece in pieces {
            loop {
                let steps = session.feed(std::mem::take(&mut piece));
                let delivers = matches!(steps.last(), Some(lmtp_protocol::Step::Deliver(_)));
                for step in steps {
                    if let lmtp_protocol::Step::Deliver(message) = &step {
                        assert!(message.content.len() <= MAX_SIZE);
                    }
                    said.push(format!("{step:?}"));
                }
                if !delivers {
                    break;
                }
                said.push(session.answer(&[]));
            }
        }
        said
    }
    let (first, second) = pieces(input);
    let (at_once, in_two) = (all([&[first, second].concat(), b""]), all([first, second]));
    if input.len() <= lmtp_protocol::MAX_LINE {
        assert_eq!(at_once, in_two);
    }
}

/// A milter session says the same whether octets come at once or in two pieces, holds no more of a message than it is
/// to, and never writes anything but whole packets. The first octet says what the milter is there for.
pub fn milter(input: &[u8]) {
    const MAX_SIZE: usize = 512;
    let (bits, input) = input
        .split_first()
        .map_or((0, input), |(first, rest)| (*first, rest));
    let purpose = Purpose {
        sign: bits & 1 != 0,
        read: bits & 2 != 0,
        header: bits & 4 != 0,
    };
    let all = |pieces: [&[u8]; 2]| {
        let (mut decoder, mut session) = (Decoder::default(), Session::new(purpose, MAX_SIZE));
        let (mut said, mut out) = (Vec::new(), Vec::new());
        for piece in pieces {
            decoder.feed(piece);
            loop {
                let step = match decoder.decode() {
                    Ok(Some(command)) => session.receive(command),
                    Ok(None) => break,
                    Err(error) => Err(error),
                };
                said.push(format!("{step:?}"));
                match step {
                    Ok(Step::Agree(agreement)) => agreement.encode(&mut out),
                    Ok(Step::Decide(recipient)) if recipient.len() % 2 == 0 => {
                        session.remove(recipient, "100% dead\r\n".into());
                    }
                    Ok(Step::Decide(recipient)) => {
                        session.want_body();
                        session.take(recipient);
                    }
                    Ok(Step::Finish(message)) => {
                        assert!(message.content.len() <= MAX_SIZE && !session.is_busy());
                        for refused in message.refused {
                            let text = refused.text;
                            milter_protocol::Reply::DeleteRcpt(refused.recipient).encode(&mut out);
                            milter_protocol::Reply::Code {
                                code: 550,
                                status: "5.1.1",
                                text,
                            }
                            .encode(&mut out);
                        }
                    }
                    Ok(_) => {}
                    Err(_) => return said,
                }
            }
        }
        packets(&out);
        said
    };
    let (first, second) = pieces(input);
    assert_eq!(all([&[first, second].concat(), b""]), all([first, second]));
}

/// Octets that are nothing but packets, each with a letter.
fn packets(mut octets: &[u8]) {
    while let Some((length, rest)) = octets.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap();
        assert!(length >= 1);
        octets = rest.get(length..).unwrap();
    }
    assert!(octets.is_empty());
}

/// Two pieces: the first two octets say where they part.
fn pieces(input: &[u8]) -> (&[u8], &[u8]) {
    match input {
        [high, low, rest @ ..] => {
            rest.split_at(usize::from(u16::from_be_bytes([*high, *low])).min(rest.len()))
        }
        short => (short, b""),
    }
}

fn storable(event: &Event) {
    let own = [event.recipient.to_string(), event.reply.to_string()];
    let perhaps = [
        &event.sender,
        &event.message_id,
        &event.queue_id,
        &event.envelope_id,
        &event.command,
        &event.reporting_mta,
        &event.return_path,
    ];
    let texts = own.iter().chain(perhaps.into_iter().flatten());
    assert!(texts.into_iter().all(|text| !text.contains('\0')), "{event:?}");
}

fn clean(report: &Report) {
    for recipient in &report.recipients {
        let texts = [
            recipient.diagnostic.as_ref().map(|d| d.text.as_str()),
            recipient.remote_mta.as_deref(),
            recipient.command.as_deref(),
        ];
        assert!(
            texts.iter().flatten().all(|text| !text.contains('\0')),
            "{recipient:?}"
        );
    }
}

fn harmless(verdict: &Verdict) {
    let suppresses = matches!(verdict.remedy, Remedy::Suppress | Remedy::SuppressIfRepeated);
    assert!(
        !suppresses || matches!(verdict.scope, Scope::Recipient | Scope::Domain),
        "{verdict:?}"
    );
    assert!(
        verdict.remedy != Remedy::Suppress || verdict.permanent,
        "{verdict:?}"
    );
}
