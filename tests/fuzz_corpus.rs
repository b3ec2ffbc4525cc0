//! What fuzzing has found worth keeping (`tests/fuzz/corpus/TARGET/`), and repetitions that would uncover
//! quadratic work, over the same functions that the fuzzer runs.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[path = "fuzz/targets.rs"]
mod targets;

use std::path::Path;
use std::time::{Duration, Instant};

/// No input of the corpus may take longer, on a machine that does much else. What hangs takes for ever.
const PATIENCE: Duration = Duration::from_secs(20);
/// Octets of a long repetition, and how many times as long as a short one it is.
const LONG: usize = 128 * 1024;
const TIMES: u32 = 4;
/// What is quicker than that is not measured: it would be noise.
const FLOOR: Duration = Duration::from_millis(150);

#[test]
fn the_corpus_of_every_target_is_stood() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    for (name, target) in targets::TARGETS {
        let mut files: Vec<_> = std::fs::read_dir(corpus.join(name))
            .unwrap_or_else(|error| panic!("{name}: {error}"))
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        assert!(!files.is_empty(), "{name} has no corpus");
        for file in files {
            let input = std::fs::read(&file).unwrap();
            within_patience(&file.display().to_string(), || target(&input));
        }
    }
}

#[test]
fn nothing_grows_with_the_square_of_its_input() {
    let pieces: [&[u8]; 28] = [
        b"a",
        b"\n",
        b"\r\n",
        b"\r",
        b" ",
        b"\0",
        b"<",
        b">",
        b"(",
        b"\"",
        b"@",
        b"a@b.c ",
        b"<a@b.test>:\n",
        b"\xff",
        b"--b\n",
        b"A: b\n",
        b"A:",
        b"550-",
        b"550-5.1.1 x ",
        b" 550 5.1.1",
        b"5.1.1 ",
        b"(in reply to ",
        b"From x\n",
        b"\n\n<a@b.test>: no\n",
        b"=?utf-8?q?=61?= ",
        b"Final-Recipient: rfc822; a@b.test\n\n",
        b"Received: from a (b [1.2.3.4]) by c\n\tfor <d@e.test>;\n",
        "ä…".as_bytes(),
    ];
    let frames: [(&[u8], &[u8]); 4] = [
        (b"", b""),
        (b"From: MAILER-DAEMON@x.test\nSubject: Undelivered Mail Returned to Sender\n\n", b"\n"),
        (b"From: MAILER-DAEMON@x.test\nSubject: ", b"\n\nx\n"),
        (
            b"From: MAILER-DAEMON@x.test\nMIME-Version: 1.0\nContent-Type: multipart/report; boundary=b\n\n--b\n\n",
            b"\n--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; x\n\nFinal-Recipient: rfc822; a@b.test\n\
              Action: failed\nStatus: 5.0.0\n\n--b--\n",
        ),
    ];
    for (name, target) in targets::TARGETS {
        let is_mail = matches!(*name, "message" | "formats");
        for (head, tail) in if is_mail { &frames[..] } else { &frames[..1] } {
            for piece in pieces {
                let input = |octets: usize| [*head, &piece.repeat(octets / piece.len()), *tail].concat();
                let what = format!("{name}: {:?}", String::from_utf8_lossy(piece));
                grows_with_its_input(&what, *target, &input(LONG / TIMES as usize), &input(LONG));
            }
        }
    }
}

/// A long input may take as many times as long as it is longer, and then some; squared would be [`TIMES`] times
/// that. What else the machine does can make a measurement wrong, but hardly three in a row.
fn grows_with_its_input(what: &str, target: fn(&[u8]), short: &[u8], long: &[u8]) {
    let mut measured = Vec::new();
    for _ in 0..3 {
        let took = within_patience(what, || target(long));
        if took < FLOOR {
            return;
        }
        let before = within_patience(what, || target(short));
        if took < before * TIMES * 2 {
            return;
        }
        measured.push((before, took));
    }
    panic!("{what}: {TIMES} times the input took {measured:?}");
}

fn within_patience(what: &str, work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    let took = start.elapsed();
    assert!(took < PATIENCE, "{what} took {took:?}");
    took
}
