//! Whole mails a second on one thread, from octets to verdicts, against bare `mail_parser` on the same
//! mails in the same run. Targets: 20,000 a second, and at least half the speed of bare parsing.
//!
//! The mails are those of the corpus, each many times over with fresh numbers, addresses and names, so
//! that neither branch predictors nor caches learn them by heart. The two take turns after every few hundred mails,
//! so that whatever else the machine does slows both alike; the figures are medians over the rounds, beside the
//! worst and the best ratio. The resident memory is printed round by round: it must not grow.

#![allow(clippy::print_stdout, reason = "a benchmark reports")]

use mail_parser::MessageParser;
use nixie::engine::classify::judge;
use nixie::engine::provider::Providers;
use nixie::engine::rule::RuleSet;
use nixie::mail::event::Source;
use nixie::mail::message::{self, Envelope};
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

/// How often each mail is varied, and how often all are read.
const VARIANTS: usize = 40;
const ROUNDS: usize = 9;
/// As many mails are read in one turn.
const TURN: usize = 218;

/// A generator of numbers that differ (Steele et al., SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// The mail with other digits in every number of five and more and at the ends of addresses, and with
/// other names in front of every `@`, of the same lengths. What was the same in a mail stays the same:
/// its boundaries above all, and whoever is named twice.
fn varied(mail: &[u8], seed: u64) -> Vec<u8> {
    let mut out = mail.to_vec();
    let vary = |run: &mut [u8], first: u8, many: u64| {
        let own = run.iter().fold(seed, |hash, &b| {
            (hash ^ u64::from(b)).wrapping_mul(0x100_0000_01b3)
        });
        let mut numbers = Numbers(own);
        for octet in run {
            *octet = first + (numbers.next() % many) as u8;
        }
    };
    let mut at = 0;
    while at < out.len() {
        let run = out[at..].iter().take_while(|b| b.is_ascii_digit()).count();
        if run >= 5 || (run > 0 && out[..at].ends_with(b"192.0.2.")) {
            vary(&mut out[at..at + run], b'0', 10);
        }
        at += run.max(1);
    }
    let ats: Vec<usize> = memchr::memchr_iter(b'@', &out).collect();
    for at in ats {
        let name = out[..at]
            .iter()
            .rev()
            .take_while(|b| b.is_ascii_lowercase())
            .count();
        vary(&mut out[at - name..at], b'a', 26);
    }
    out
}

fn mails() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/bounces");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the corpus lies beside the tests")
        .map(|entry| entry.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|e| e == "eml"))
        .collect();
    files.sort();
    let mut seed = Numbers(42);
    let originals: Vec<_> = files.iter().map(|f| std::fs::read(f).expect("a mail")).collect();
    (0..VARIANTS)
        .flat_map(|_| {
            originals
                .iter()
                .map(|mail| varied(mail, seed.next()))
                .collect::<Vec<_>>()
        })
        .collect()
}

fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * 4 / 1024
}

fn main() {
    let providers = Providers::shipped().expect("the shipped providers");
    let rules = RuleSet::shipped(&providers).expect("the shipped rules");
    let mails = mails();
    let octets: usize = mails.iter().map(Vec::len).sum();
    println!(
        "{} mails, {} octets each on average",
        mails.len(),
        octets / mails.len()
    );
    let now = "2026-11-21T12:00:00Z".parse().expect("a time");
    let (mut bare, mut read, mut whole, mut ratios) = (vec![], vec![], vec![], vec![]);
    let parser = MessageParser::new();
    let judged = |mail: &[u8]| {
        let reading = message::read(mail);
        for event in message::events(&reading, Envelope::default(), Source::Lmtp, now) {
            black_box(judge(&rules, &providers, "default", &event));
        }
    };
    for round in 0..ROUNDS {
        let mut seconds = [0.0; 3];
        for turn in mails.chunks(TURN) {
            let time = |run: &dyn Fn(&[u8])| {
                let begin = Instant::now();
                turn.iter().for_each(|mail| run(mail));
                begin.elapsed().as_secs_f64()
            };
            seconds[0] += time(&|mail| {
                black_box(parser.parse(mail));
            });
            seconds[1] += time(&|mail| {
                black_box(message::read(mail));
            });
            seconds[2] += time(&judged);
        }
        let [bare_rate, read_rate, whole_rate] = seconds.map(|seconds| mails.len() as f64 / seconds);
        println!(
            "round {round}: bare {bare_rate:.0}/s, read {read_rate:.0}/s, judged {whole_rate:.0}/s, ratio {:.2}, {} MiB resident",
            whole_rate / bare_rate,
            resident()
        );
        // The first round warms the caches.
        if round > 0 {
            bare.push(bare_rate);
            read.push(read_rate);
            whole.push(whole_rate);
            ratios.push(whole_rate / bare_rate);
        }
    }
    for list in [&mut bare, &mut read, &mut whole, &mut ratios] {
        list.sort_by(f64::total_cmp);
    }
    let median = |list: &[f64]| list[list.len() / 2];
    println!(
        "bare mail_parser {:.0}/s; read {:.0}/s; read, lowered and judged {:.0}/s: {:.2} of bare ({:.2} to {:.2})",
        median(&bare),
        median(&read),
        median(&whole),
        median(&ratios),
        ratios[0],
        ratios[ratios.len() - 1],
    );
}
