//! The suppression list at size: imported, loaded, asked, each beside the same done with nothing around it, in one
//! run.
//!
//! ```text
//! cargo bench --bench suppression
//! NIXIE_ENTRIES=10000000 NIXIE_BENCH_DIRECTORY=/var/tmp cargo bench --bench suppression
//! ```
//!
//! Without the variable 200,000 entries do, which fits into every cache and flatters; the figures that are promised
//! (README) are those of ten millions. Arguments choose among `table`, `sqlite`, `postgres` and `feed`.
//!
//! All of it runs as the unit file has the daemon run: with its `GLIBC_TUNABLES`, which ask for huge pages. Since that
//! is read before a program begins, the bench starts itself again; `as-is` is the look-up without it.
//!
//! - *import*: addresses parsed and added, 100,000 to a transaction, into a store on the disk. Raw: the same rows
//!   into a table of the same shape and indexes, by `COPY` (Postgres) or from JSON (SQLite), and nothing else.
//! - *again*: the same once more, when all is there.
//! - *load*: a new process reads all of it and answers. Raw: all pages are read and thrown away.
//! - *look-up*: of addresses in random order, half of them suppressed. Beside a single read from as much memory, a
//!   list of 10,000, and a plain hash map of the same size.
//! - *policy*: whole requests over a socket, from a list of this size and from one of 10,000, in turns.
//! - *feed*: from a commit on one node to the answer on another, on one Postgres. Raw: a row and a `NOTIFY` in a
//!   transaction, and whoever listens hears it.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

mod feed;
mod lookup;
mod policy;
mod stores;

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;
use nixie::engine::suppression::NewSuppression;
use nixie::engine::verdict::Cause;
use nixie::mail::address::{Address, LocalPart};
use nixie_lab::postgres::installed;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

const ENTRIES: usize = 200_000;
const FEW: usize = 10_000;
const CHUNK: usize = 100_000;
/// Where malloc reads what it is asked for.
const TUNABLES: &str = "GLIBC_TUNABLES";

/// A number that looks random and is the same in every run (splitmix64).
fn scramble(n: usize) -> u64 {
    let mut z = (n as u64).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The nth address, as long as people's are.
fn address(n: usize) -> String {
    let z = scramble(n);
    let domains = [
        "gmail.com",
        "yahoo.com",
        "hotmail.com",
        "example.org",
        "mail.example.co.uk",
    ];
    let domain = domains[(z >> 56) as usize % domains.len()];
    format!("User.{:x}.{n}@{domain}", z & 0xff_ffff)
}

fn entries() -> usize {
    let given = std::env::var("NIXIE_ENTRIES").ok();
    given.and_then(|n| n.parse().ok()).unwrap_or(ENTRIES)
}

fn chunk(from: usize, to: usize, now: Timestamp) -> Result<Vec<NewSuppression>> {
    (from..to)
        .map(|n| {
            let key = Address::parse(&address(n))?.key(LocalPart::Fold);
            Ok(NewSuppression {
                author: "import dead.csv".into(),
                reason: "imported".into(),
                ..NewSuppression::new(key.into(), Cause::UserUnknown, now)
            })
        })
        .collect()
}

/// So many a second.
fn rate(n: usize, took: Duration) -> f64 {
    n as f64 / took.as_secs_f64()
}

fn main() -> Result<()> {
    let mut words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    if words.first().is_some_and(|word| word == "reader") {
        let url = words.get(1).context("the URL of a store")?;
        return runtime()?.block_on(stores::reader(url));
    }
    if words.is_empty() {
        words = ["as-is", "table", "sqlite", "postgres", "feed"]
            .map(str::to_owned)
            .to_vec();
    }
    if words.first().is_some_and(|word| word == "as-is") {
        println!("{} entries", entries());
        println!("without huge pages:");
        lookup::table(false)?;
        words.remove(0);
    }
    let tunables = tunables()?;
    if !words.is_empty() && std::env::var(TUNABLES).ok().as_deref() != Some(tunables) {
        let mut again = Command::new(std::env::current_exe()?);
        return Err(again.args(&words).env(TUNABLES, tunables).exec().into());
    }
    for word in &words {
        match word.as_str() {
            "table" => {
                println!("{} entries, with {tunables}:", entries());
                lookup::table(true)?;
            }
            "sqlite" => runtime()?.block_on(stores::sqlite())?,
            "postgres" | "feed" if installed().is_none() => println!("{word}: Postgres is not installed"),
            "postgres" => runtime()?.block_on(stores::postgres())?,
            "feed" => runtime()?.block_on(feed::feed())?,
            other => bail!("expected as-is, table, sqlite, postgres or feed, found {other:?}"),
        }
    }
    Ok(())
}

/// What the unit file asks of malloc.
fn tunables() -> Result<&'static str> {
    let unit = include_str!("../../systemd/nixie.service");
    let mut lines = unit.lines();
    let set = lines.find_map(|line| line.strip_prefix("Environment=GLIBC_TUNABLES="));
    set.context("the unit file sets no tunables")
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?)
}

fn directory() -> Result<tempfile::TempDir> {
    let parent = std::env::var_os("NIXIE_BENCH_DIRECTORY").map_or_else(std::env::temp_dir, PathBuf::from);
    Ok(tempfile::Builder::new()
        .prefix("nixie-bench-")
        .tempdir_in(parent)?)
}

/// Octets of memory that this process holds.
fn resident() -> Result<usize> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: usize = statm.split_whitespace().nth(1).context("statm")?.parse()?;
    Ok(pages * 4096)
}
