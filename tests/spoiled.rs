//! Spoiled samples: whatever is cut off or garbled, reading ends, and soon. No answer is checked here; a panic or
//! a hang is the failure.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

use nixie::mail::message::read;
use std::fmt::Write;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

fn samples() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/formats");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "eml"));
    paths.sort();
    let named = |path: std::path::PathBuf| (path.display().to_string(), std::fs::read(&path).unwrap());
    paths.into_iter().map(named).collect()
}

#[test]
fn any_prefix_is_read() {
    for (_, sample) in samples() {
        for end in (0..sample.len()).step_by(61) {
            black_box(read(&sample[..end]));
        }
    }
}

#[test]
fn octets_of_any_sort_are_read() {
    const SPOILS: [&[u8]; 6] = [
        "é".as_bytes(),
        b"\xff\xfe",
        b"\0",
        b"\r",
        "「".as_bytes(),
        b"@<>#'",
    ];
    for (_, sample) in samples() {
        for (turn, at) in (0..sample.len()).step_by(67).enumerate() {
            let mut spoiled = sample.clone();
            let spoil = SPOILS[turn % SPOILS.len()];
            let end = (at + 1).min(spoiled.len());
            spoiled.splice(at..end, spoil.iter().copied());
            black_box(read(&spoiled));
        }
    }
}

/// A notice about as many recipients as fit, and one of endless reasons, take no longer than their size allows:
/// six times as many lines may take some times longer where the machine is busy, but not thirty-six times.
#[test]
fn repeated_lines_cost_linear_time() {
    const NOTICEABLE: Duration = Duration::from_millis(150);
    let mut slow = String::new();
    for (name, sample) in samples() {
        let start = sample
            .windows(2)
            .position(|w| w == b"\n\n")
            .map_or(0, |at| at + 2);
        let mut at = start;
        for line in sample[start..].split_inclusive(|&b| b == b'\n') {
            let end = at + line.len();
            let took = |size: usize| {
                let repeated = line.repeat(size / line.len());
                let long = [&sample[..at], &repeated, &sample[at..]].concat();
                let begin = Instant::now();
                black_box(read(&long));
                begin.elapsed()
            };
            if line.len() > 8 && took(48 * 1024) > NOTICEABLE {
                let quickest = |size| (0..3).map(|_| took(size)).min().unwrap_or_default();
                let (short, long) = (quickest(8 * 1024), quickest(48 * 1024));
                if long > short * 24 {
                    let text = String::from_utf8_lossy(line);
                    writeln!(slow, "{name}: {short:?}, {long:?} for {text:?}").unwrap();
                }
            }
            at = end;
        }
    }
    assert!(slow.is_empty(), "{slow}");
}
