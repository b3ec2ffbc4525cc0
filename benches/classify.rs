//! Replies judged a second on one thread, from text to verdict (target: 1,000,000), against a plain
//! `RegexSet` over the same rules on the same texts in the same run.
//!
//! The replies are those of the corpus, each varied two hundred times with fresh addresses, IPs, ids,
//! names and URLs, so that neither branch predictors nor caches nor an automaton's states learn a few
//! hot strings by heart. Not criterion: one pass over all of them is the sample, and what is asked is a
//! ratio. `cargo bench --bench classify -- 100` takes the mean of so many passes (20 unless told); `-- plain` measures
//! only what has that in its name.

#![allow(clippy::print_stdout, reason = "a bench reports")]

use nixie::engine::classify::classify;
use nixie::engine::normal::normalised;
use nixie::engine::provider::Providers;
use nixie::engine::rule::reference::PlainRules;
use nixie::engine::rule::{Question, RuleSet};
use nixie::mail::reply::Reply;
use regex::Regex;
use rustix::time::{ClockId, clock_gettime};
use std::cell::LazyCell;
use std::collections::HashSet;
use std::hint::black_box;
use std::time::Duration;

const VARIANTS: usize = 200;

/// The next of a sequence of numbers that look random (SplitMix64), the same in every run.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn word(&mut self, length: u64) -> String {
        (0..length)
            .map(|_| char::from(b"abcdefghijklmnopqrstuvwxyz0123456789"[self.below(36) as usize]))
            .collect()
    }

    /// Other letters for letters, other digits for digits.
    fn like(&mut self, token: &str) -> String {
        let hex = token
            .chars()
            .all(|c| c.is_ascii_hexdigit() || !c.is_ascii_alphanumeric());
        let letters = if hex { 6 } else { 26 };
        let other = |c: char| match c {
            'a'..='z' => char::from(b'a' + self.below(letters) as u8),
            'A'..='Z' => char::from(b'A' + self.below(letters) as u8),
            '0'..='9' => char::from(b'0' + self.below(10) as u8),
            other => other,
        };
        token.chars().map(other).collect()
    }
}

/// What differs from one reply to the next of the same kind.
struct Fresh {
    parts: Regex,
}

impl Fresh {
    fn new() -> Self {
        let parts = [
            r"(?P<address>[\w.+=-]+@[\w.-]+\w)",
            r"(?P<ip>\b\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}\b)",
            r"(?P<ip6>\b[0-9a-fA-F]{1,4}(?::[0-9a-fA-F]{0,4}){3,7}\b)",
            r"(?P<query>[?&][a-z]+=[0-9][\w.%-]*)",
            r"(?P<host>\b(?:[a-z0-9-]+\.)+(?:example|test|org|net|de)\b|\b[\w-]+(?:\.[\w-]+){3,}\b)",
            r"(?P<id>\b[\w-]{8,}(?:\.\d+)?\b)",
        ];
        Self {
            parts: Regex::new(&parts.join("|")).expect("a pattern"),
        }
    }

    fn vary(&self, reply: &str, dice: &mut Dice) -> String {
        let mut changed = false;
        let varied = self.parts.replace_all(reply, |found: &regex::Captures<'_>| {
            let old = &found[0];
            let new = if found.name("address").is_some() {
                let (local, host) = (3 + dice.below(12), 4 + dice.below(9));
                format!("{}@{}.example", dice.word(local), dice.word(host))
            } else if found.name("ip").is_some() {
                let mut part = || dice.below(256);
                format!("{}.{}.{}.{}", part(), part(), part(), part())
            } else if found.name("ip6").is_some() {
                let mut part = || dice.below(65536);
                format!("2001:db8:{:x}:{:x}::{:x}", part(), part(), part())
            } else if found.name("host").is_some() && !old.contains("spam") && !old.contains("barracuda") {
                let (first, rest) = old.split_once('.').unwrap_or((old, "test"));
                format!("{}.{rest}", dice.like(first))
            } else if found.name("query").is_some() || is_id(old) {
                dice.like(old)
            } else {
                old.to_owned()
            };
            changed |= new != old;
            new
        });
        // What names nothing is told apart by the id of its session, as many servers tell it.
        if changed {
            varied.into_owned()
        } else {
            format!("{varied} [{}.{}]", dice.word(10), dice.below(1_000_000))
        }
    }
}

fn is_id(token: &str) -> bool {
    token.bytes().filter(u8::is_ascii_digit).count() >= 3 && token.bytes().any(|b| b.is_ascii_alphabetic())
}

/// The replies, and the catalogue's name of who gave each.
fn corpus(providers: &Providers) -> Vec<(String, Option<&str>)> {
    let path = format!("{}/tests/data/replies/replies.jsonl", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).expect("the replies lie beside the tests");
    let (fresh, mut dice) = (Fresh::new(), Dice(3464));
    let samples: Vec<(String, Option<&str>)> = text
        .lines()
        .map(|line| {
            let sample: serde_json::Value = serde_json::from_str(line).expect("JSON");
            let field = |name: &str| sample[name].as_str().unwrap_or_default().to_owned();
            let provider = providers.get(&field("provider")).map(|p| p.id.as_str());
            (field("reply"), provider)
        })
        .collect();
    let varied = (0..VARIANTS).flat_map(|_| &samples);
    let mut replies: Vec<_> = varied
        .map(|(reply, provider)| (fresh.vary(reply, &mut dice), *provider))
        .collect();
    for i in (1..replies.len()).rev() {
        replies.swap(i, dice.below(i as u64 + 1) as usize);
    }
    replies
}

/// The replies one behind the other, as whoever reads a log or a file has them: what is measured is
/// judging, not waiting for memory that lies about.
fn in_a_row<'a>(
    text: &'a mut String,
    replies: &[(String, Option<&'a str>)],
) -> Vec<(&'a str, Option<&'a str>)> {
    replies.iter().for_each(|(reply, _)| text.push_str(reply));
    let mut rest = text.as_str();
    let reply = |(reply, provider): &(String, Option<&'a str>)| {
        let (reply, others) = rest.split_at(reply.len());
        rest = others;
        (reply, *provider)
    };
    replies.iter().map(reply).collect()
}

/// The mean of several passes over all replies. Together they take seconds, for a kernel may count a thread's time in
/// ticks of some milliseconds.
fn measure(what: &str, count: usize, passes: usize, mut pass: impl FnMut()) {
    let asked: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| !arg.starts_with('-') && arg.parse::<usize>().is_err())
        .collect();
    if asked.iter().any(|part| !what.contains(part.as_str())) {
        return;
    }
    let once = |pass: &mut dyn FnMut()| {
        let start = running();
        pass();
        running() - start
    };
    let first = once(&mut pass);
    let all = once(&mut || (0..passes).for_each(|_| pass()));
    let mean = all / u32::try_from(passes.max(1)).unwrap_or(u32::MAX);
    let each = |took: Duration| took.as_nanos() as f64 / count as f64;
    println!(
        "{what:<44} {:>11.0}/s  {:>7.0} ns each  ({:.0} ns in the first pass)",
        1e9 / each(mean),
        each(mean),
        each(first)
    );
}

/// The time that the calling thread has run: what others do on the machine does not count.
fn running() -> Duration {
    let spent = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(spent).unwrap_or_default()
}

/// The memory of the process, in KiB (proc(5)).
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or(0)
}

fn main() {
    let passes = std::env::args()
        .filter_map(|arg| arg.parse().ok())
        .next()
        .unwrap_or(20);
    let providers = Providers::shipped().expect("the shipped providers");
    let start = running();
    let rules = RuleSet::shipped(&providers).expect("the shipped rules");
    let texts: usize = rules.rules().iter().map(|rule| rule.texts.len()).sum();
    println!(
        "{} rules with {texts} texts compiled in {:?}",
        rules.rules().len(),
        running() - start
    );
    let mut text = String::new();
    let replies = in_a_row(&mut text, &corpus(&providers));
    let distinct: HashSet<&str> = replies.iter().map(|(reply, _)| *reply).collect();
    let octets: usize = replies.iter().map(|(reply, _)| reply.len()).sum();
    println!(
        "{} replies, {} distinct, {} octets each",
        replies.len(),
        distinct.len(),
        octets / replies.len()
    );
    let parsed: Vec<(Reply, Option<&str>)> = replies
        .iter()
        .map(|(reply, provider)| {
            let mut reply = Reply::parse(reply);
            reply.text = normalised(&reply.text);
            (reply, *provider)
        })
        .collect();
    let forms: HashSet<&str> = parsed.iter().map(|(reply, _)| reply.text.as_str()).collect();
    println!("{} distinct in their normal form", forms.len());
    let count = replies.len();
    measure("Reply::parse alone", count, passes, || {
        for (reply, _) in &replies {
            black_box(Reply::parse(reply));
        }
    });
    measure("rules alone, provider known", count, passes, || {
        for (reply, provider) in &parsed {
            black_box(rules.find(&Question {
                text: &reply.text,
                code: reply.code,
                status: reply.status,
                provider: *provider,
            }));
        }
    });
    let plain = LazyCell::new(|| PlainRules::new(&rules, 16 << 20).expect("a set"));
    let few = &parsed[..300];
    measure("plain RegexSet, provider known", few.len(), 1, || {
        for (reply, provider) in few {
            black_box(plain.find(&Question {
                text: &reply.text,
                code: reply.code,
                status: reply.status,
                provider: *provider,
            }));
        }
    });
    println!("{} KiB resident", resident());
    for (what, known) in [("known", true), ("unknown", false)] {
        measure(
            &format!("text to verdict, provider {what}"),
            count,
            passes,
            || {
                for (reply, provider) in &replies {
                    let provider = provider.filter(|_| known);
                    black_box(classify(&rules, &Reply::parse(reply), None, provider));
                }
            },
        );
    }
    let (tables, compiled) = rules.size();
    println!(
        "{tables} octets of tables; {compiled} of {texts} texts compiled; {} KiB resident",
        resident()
    );
}
