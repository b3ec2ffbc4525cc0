//! What must hold of every message: any octets are read without panic; how a notification is wrapped changes
//! nothing of what it says; and what a message costs to read grows no faster than its size.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

use jiff::Timestamp;
use nixie::engine::classify::judge;
use nixie::engine::provider::Providers;
use nixie::engine::rule::RuleSet;
use nixie::mail::event::Source;
use nixie::mail::message::{Envelope, Kind, events, read};
use proptest::prelude::*;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

static JUDGES: LazyLock<(RuleSet, Providers)> = LazyLock::new(|| {
    let providers = Providers::shipped().unwrap();
    (RuleSet::shipped(&providers).unwrap(), providers)
});

/// What a message comes to: its kind, and the verdict on each recipient.
fn verdicts(raw: &[u8]) -> (Kind, Vec<String>) {
    let reading = read(raw);
    let now: Timestamp = "2026-11-22T00:00:00Z".parse().unwrap();
    let events = events(&reading, Envelope::default(), Source::File, now);
    let verdicts = events.iter().map(|event| {
        let verdict = judge(&JUDGES.0, &JUDGES.1, "default", event).0;
        let original = event.original_recipient.as_ref().map(ToString::to_string);
        format!(
            "{} {original:?} {:?} {:?} {} | {} {} {}",
            event.recipient,
            event.outcome,
            event.reported_status,
            event.reply,
            verdict.cause,
            verdict.remedy,
            verdict.rule
        )
    });
    (reading.kind, verdicts.collect())
}

/// How the parts of a notification are wrapped.
#[derive(Debug, Clone)]
struct Wrapping {
    line_end: &'static str,
    letter_case: u8,
    folds: bool,
    status_encoding: &'static str,
    words_charset: &'static str,
    boundary: Boundary,
    address_type: &'static str,
    nested: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Boundary {
    Right,
    Wrong,
    Missing,
    Unclosed,
}

const PLAIN: Wrapping = Wrapping {
    line_end: "\n",
    letter_case: 0,
    folds: false,
    status_encoding: "7bit",
    words_charset: "us-ascii",
    boundary: Boundary::Right,
    address_type: "rfc822",
    nested: false,
};

fn cased(name: &str, how: u8) -> String {
    match how {
        0 => name.to_owned(),
        1 => name.to_lowercase(),
        _ => name.to_uppercase(),
    }
}

impl Wrapping {
    fn field(&self, name: &str, value: &str) -> String {
        let value = if self.folds {
            value.replace("; ", ";\n  ")
        } else {
            value.to_owned()
        };
        format!("{}: {value}\n", cased(name, self.letter_case))
    }

    fn status(&self, recipients: &[(String, &str)]) -> String {
        let mut status = self.field("Reporting-MTA", "dns; mx.reporter.test");
        for (address, diagnostic) in recipients {
            status.push('\n');
            let kind = self.address_type;
            status.push_str(&self.field("Original-Recipient", &format!("{kind}; {address}")));
            status.push_str(&self.field("Final-Recipient", &format!("{kind}; {address}")));
            status.push_str(&self.field("Action", "failed"));
            status.push_str(&self.field("Status", "5.0.0"));
            status.push_str(&self.field("Remote-MTA", "dns; mx.remote.test"));
            status.push_str(&self.field("Diagnostic-Code", &format!("smtp; {diagnostic}")));
        }
        status
    }

    fn message(&self, recipients: &[(String, &str)]) -> Vec<u8> {
        let status = self.encoded(&self.status(recipients));
        let mut parts = format!(
            "--b1\n{}{}\nThis is the mail system.\n\n--b1\n{}{}\n{status}\n",
            self.field(
                "Content-Type",
                &format!("text/plain; charset={}", self.words_charset)
            ),
            self.field("Content-Transfer-Encoding", "7bit"),
            self.field("Content-Type", "message/delivery-status"),
            self.field("Content-Transfer-Encoding", self.status_encoding),
        );
        if self.nested {
            parts = format!("--b0\nContent-Type: multipart/mixed; boundary=b1\n\n{parts}--b1--\n");
        }
        let outer = if self.nested { "b0" } else { "b1" };
        let boundary = match self.boundary {
            Boundary::Right | Boundary::Unclosed => format!("; boundary=\"{outer}\""),
            Boundary::Wrong => "; boundary=\"of-another-mail\"".to_owned(),
            Boundary::Missing => String::new(),
        };
        let returned = "Content-Type: text/rfc822-headers\n\nFrom: news@app.test\nMessage-ID: <m@app.test>\n";
        let mut text = self.field("Return-Path", "<>");
        text.push_str(&self.field("From", "MAILER-DAEMON@mx.reporter.test (Mail Delivery System)"));
        text.push_str(&self.field("To", "news@app.test"));
        text.push_str(&self.field("Subject", "Undelivered Mail Returned to Sender"));
        text.push_str(&self.field("MIME-Version", "1.0"));
        text.push_str(&self.field(
            "Content-Type",
            &format!("multipart/report; report-type=delivery-status{boundary}"),
        ));
        text.push_str(&format!("\n{parts}"));
        if self.boundary == Boundary::Unclosed {
            return text.trim_end().replace('\n', self.line_end).into_bytes();
        }
        text.push_str(&format!("--{outer}\n{returned}\n--{outer}--\n"));
        text.replace('\n', self.line_end).into_bytes()
    }

    fn encoded(&self, status: &str) -> String {
        match self.status_encoding {
            "base64" => base64(status.as_bytes()),
            "quoted-printable" => status.replace('=', "=3D").replace("5.", "=35."),
            _ => status.to_owned(),
        }
    }
}

/// RFC 4648 §4, in lines.
fn base64(octets: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for (index, group) in octets.chunks(3).enumerate() {
        let bits = group
            .iter()
            .enumerate()
            .fold(0u32, |bits, (i, &o)| bits | u32::from(o) << (16 - 8 * i));
        for digit in 0..4 {
            let known = digit <= group.len();
            text.push(if known {
                DIGITS[(bits >> (18 - 6 * digit) & 63) as usize].into()
            } else {
                '='
            });
        }
        if index % 18 == 17 {
            text.push('\n');
        }
    }
    text
}

fn wrapping() -> impl Strategy<Value = Wrapping> {
    let line_end = prop::sample::select(vec!["\n", "\r\n", "\r"]);
    let encoding = prop::sample::select(vec![
        "7bit",
        "8bit",
        "base64",
        "quoted-printable",
        "x-nobody-knows",
    ]);
    let charset = prop::sample::select(vec![
        "us-ascii",
        "UTF-8",
        "iso-8859-1",
        "windows-1252",
        "unknown-8bit",
    ]);
    let boundary = prop::sample::select(vec![
        Boundary::Right,
        Boundary::Wrong,
        Boundary::Missing,
        Boundary::Unclosed,
    ]);
    let kind = prop::sample::select(vec!["rfc822", "RFC822", "utf-8", "X-Unknown"]);
    (
        line_end,
        0..3u8,
        any::<bool>(),
        encoding,
        charset,
        boundary,
        kind,
        any::<bool>(),
    )
        .prop_map(
            |(
                line_end,
                letter_case,
                folds,
                status_encoding,
                words_charset,
                boundary,
                address_type,
                nested,
            )| Wrapping {
                line_end,
                letter_case,
                folds,
                status_encoding,
                words_charset,
                boundary,
                address_type,
                nested,
            },
        )
}

fn recipients() -> impl Strategy<Value = Vec<(String, &'static str)>> {
    let said = prop::sample::select(vec![
        "550 5.1.1 no such user",
        "552 5.2.2 mailbox full",
        "554 5.7.1 blocked using zen.spamhaus.org",
        "421 4.7.0 too many connections",
        "550 unknown",
    ]);
    let one =
        ("[a-z]{1,8}(\\+[a-z0-9]{1,4})?", said).prop_map(|(local, said)| (format!("{local}@ex.test"), said));
    prop::collection::vec(one, 1..5).prop_map(|mut recipients| {
        recipients.sort();
        recipients.dedup_by(|a, b| a.0 == b.0);
        recipients
    })
}

proptest! {
    #[test]
    fn wrapping_changes_no_verdict(wrapping in wrapping(), recipients in recipients()) {
        // What a cut part would have said in its encoding is lost with its end.
        let cut = wrapping.boundary == Boundary::Unclosed;
        prop_assume!(!(cut && matches!(wrapping.status_encoding, "base64" | "quoted-printable")));
        let raw = wrapping.message(&recipients);
        let plain = verdicts(&PLAIN.message(&recipients));
        prop_assert_eq!(plain.1.len(), recipients.len());
        prop_assert_eq!(verdicts(&raw), plain, "{}", String::from_utf8_lossy(&raw));
    }

    /// Octets that look like mail come further than any octets do.
    #[test]
    fn anything_that_looks_like_mail_is_read_without_panic(pieces in prop::collection::vec(piece(), 0..60)) {
        let raw = pieces.concat();
        let _ = verdicts(&raw);
    }
}

fn piece() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(vec![
        "From: MAILER-DAEMON@x.test\n",
        "Return-Path: <>\n",
        "Subject: Undelivered Mail\n",
        "\n",
        "\n\n",
        "\r",
        "\r\n",
        "Subject: =?utf-8?b?0L3QtQ==?=\n",
        "Content-Type: multipart/report; boundary=b\n",
        "--b\n",
        "--b--\n",
        "Content-Type: message/delivery-status\n\n",
        "Content-Type: message/rfc822\n\n",
        "Content-Type: text/html\n\n",
        "Content-Type: message/feedback-report\n\n",
        "Feedback-Type: abuse\n",
        "Original-Rcpt-To: <é@x.test>\n",
        "Final-Recipient: rfc822; a@b.test\n",
        "Final-Recipient: utf-8; \\x{e9}@b.test\n",
        "Action: failed\n",
        "Diagnostic-Code: smtp; 550-5.1.1 é\n",
        "<a@b.test>: 550 5.1.1 ü\n",
        "X-Failed-Recipients: a@b.test, ü\n",
        "Content-Transfer-Encoding: base64\n",
        "To: l+a=b.test@c.test\n",
        "Auto-Submitted: auto-replied\n",
        "<",
        ">",
        "@",
        "=",
        "550 ",
        "5.1.1",
        "<html><p>&#xe9;&",
        "<!--",
        "é",
        "\u{3000}",
        "\u{1f600}",
        "550é",
        "a@b",
        ">>> RCPT TO:<",
        "Received: from a by b (Postfix) id Q for <a@b.test>; now\n",
        "----- Unsent message follows -----\n",
        ": ",
    ]);
    prop_oneof![
        8 => known.prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..20),
    ]
}

/// A notification around some words.
fn notice(words: &str) -> Vec<u8> {
    format!("Return-Path: <>\nFrom: MAILER-DAEMON@x.test\nTo: a@b.test\nSubject: Undelivered Mail\n\n{words}")
        .into_bytes()
}

/// The time that reading takes, at its best.
fn cost(raw: &[u8]) -> Duration {
    let once = || {
        let start = Instant::now();
        let reading = read(raw);
        std::hint::black_box(&reading);
        start.elapsed()
    };
    (0..2).map(|_| once()).min().unwrap_or_default()
}

/// Eight times as much takes about eight times as long; it would take 64 times as long if the cost grew with the
/// square.
#[test]
fn cost_grows_with_size_and_no_faster() {
    const SMALL: usize = 64 * 1024;
    const TIMES: usize = 8;
    type Shape<'a> = (&'a str, &'a dyn Fn(usize) -> Vec<u8>);
    let fill = |text: &str, size: usize| text.repeat(size / text.len() + 1);
    let shapes: [Shape<'_>; 15] = [
        ("one long line", &|n| notice(&fill("550 ", n))),
        ("one long word", &|n| notice(&fill("4", n))),
        ("open brackets", &|n| notice(&fill("<", n))),
        ("at signs", &|n| notice(&fill("@a ", n))),
        ("addresses", &|n| notice(&fill("<a@b.test>:\n", n))),
        ("replies", &|n| notice(&fill("c@d.test: 550 no such user\n\n", n))),
        ("deep quotes", &|n| notice(&format!("{} x", fill(">", n)))),
        ("markup", &|n| notice(&format!("<html>{}", fill("<p><a <!", n)))),
        ("comments", &|n| notice(&format!("<html>{}", fill("<!-", n)))),
        ("entities", &|n| notice(&format!("<html>{}", fill("&amp&#", n)))),
        ("header fields", &|n| {
            [fill("Precedence: bulk\n", n).into_bytes(), notice("")].concat()
        }),
        ("multiparts that never come", &|n| {
            let part = "--b\nContent-Type: multipart/mixed; boundary=never\n\n";
            format!("Content-Type: multipart/report; boundary=b\n\n{}", fill(part, n)).into_bytes()
        }),
        ("nested multiparts", &|n| {
            let mut text = "From: a@b.test\n".to_owned();
            for depth in 0..n / 60 {
                text.push_str(&format!(
                    "Content-Type: multipart/mixed; boundary=b{depth}\n\n--b{depth}\n"
                ));
            }
            text.into_bytes()
        }),
        ("nested messages", &|n| {
            fill("Content-Type: message/rfc822\n\n", n).into_bytes()
        }),
        ("recipients", &|n| {
            let group = "\nFinal-Recipient: rfc822; a@b.test\nAction: failed\nStatus: 5.0.0\n";
            let status = fill(group, n);
            let head = "From: MAILER-DAEMON@x.test\nContent-Type: multipart/report; boundary=b\n\n--b\n\n<a@b.test>: gone\n";
            format!(
                "{head}--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; x\n{status}--b--\n"
            )
            .into_bytes()
        }),
    ];
    for (name, make) in shapes {
        let (small, large) = (cost(&make(SMALL)), cost(&make(SMALL * TIMES)));
        let floor = Duration::from_millis(2);
        let ratio = large.as_secs_f64() / small.max(floor).as_secs_f64();
        assert!(
            ratio < 4.0 * TIMES as f64,
            "{name}: {small:?} for {SMALL} octets, {large:?} for {TIMES} times as many"
        );
    }
}
