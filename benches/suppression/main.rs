//! The suppression list at size: imported, loaded, asked, each beside the same done with nothing around it, in one
//! run.
//!
//! ```text
//! cargo bench --bench suppression
//! NIXIE_ENTRIES=10000000 NIXIE_BENCH_DIRECTORY=/var/tmp cargo bench --bench suppression
//! ```
//!
//! Without the variable 200,000 entries do, which fits into every cache and flatters; the figures that are promised
//! (README) are those of ten millions. Arguments choose among `table`, `sqlite` and `postgres`.
//!
//! - *import*: addresses parsed and added, 100,000 to a transaction, into a store on the disk. Raw: the same rows
//!   into a table of the same shape and indexes, by `COPY` (Postgres) or from JSON (SQLite), and nothing else.
//! - *again*: the same once more, when all is there.
//! - *load*: a new process reads all of it and answers. Raw: all pages are read and thrown away.
//! - *look-up*: of addresses in random order, half of them suppressed. Beside a plain hash map of the
//!   same size, and a list of 10,000.
//! - *policy*: whole requests over a socket, from a list of this size and from one of 10,000, in turns.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use anyhow::{Context, Result, bail};
use hashbrown::HashMap;
use jiff::Timestamp;
use nixie::clock;
use nixie::config::listen::ListenAddress;
use nixie::engine::memory::{Memory, Question};
use nixie::engine::suppression::{NewSuppression, Standing, Subject, SuppressionId};
use nixie::engine::verdict::Cause;
use nixie::mail::address::{Address, LocalPart};
use nixie::serve::feed;
use nixie::serve::hook::{HookSettings, Hooks, Listeners};
use nixie::serve::listen::{Inherited, Listener};
use nixie::serve::release::Bell;
use nixie::store::Store;
use nixie_lab::postgres::{Postgres, installed};
use sqlx::{Connection, Executor, PgConnection, SqliteConnection};
use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const ENTRIES: usize = 200_000;
const FEW: usize = 10_000;
const CHUNK: usize = 100_000;
const LOOK_UPS: usize = 1_000_000;
/// Look-ups in a round.
const STEPS: usize = 20_000;
const ROUNDS: usize = 40;
const ROUND: Duration = Duration::from_millis(100);
const CLIENTS: usize = 4;

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
        return runtime()?.block_on(reader(url));
    }
    if words.is_empty() {
        words = ["table", "sqlite", "postgres"].map(str::to_owned).to_vec();
    }
    println!("{} entries", entries());
    for word in &words {
        match word.as_str() {
            "table" => table()?,
            "sqlite" => runtime()?.block_on(sqlite())?,
            "postgres" if installed().is_none() => println!("postgres: not installed"),
            "postgres" => runtime()?.block_on(postgres())?,
            other => bail!("expected table, sqlite or postgres, found {other:?}"),
        }
    }
    Ok(())
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

// --- The table by itself.

fn filled(n: usize) -> Result<Arc<Memory>> {
    let memory = Memory::new();
    let loading = memory.load(n, 0);
    for n in 0..n {
        let key = Address::parse(&address(n))?.key(LocalPart::Fold);
        let id = SuppressionId(i64::try_from(n)? + 1);
        loading.learn(
            &Subject::address_text(&key),
            id,
            Cause::UserUnknown,
            Standing::InForce,
            None,
        );
    }
    loading.finish();
    memory.set_loaded();
    Ok(Arc::new(memory))
}

/// Nanoseconds a look-up: the best of many short rounds, since everything else on the machine only adds. Each look-up
/// begins when the one before has answered, as they do in life; else they would wait for memory together.
fn best(n: usize, look_up: impl Fn(usize) -> bool) -> f64 {
    let mut at = 0;
    let mut round = || {
        let begun = Instant::now();
        for _ in 0..STEPS {
            at = (at + 1 + usize::from(look_up(at))) % n;
        }
        begun.elapsed().as_secs_f64() * 1e9 / STEPS as f64
    };
    (0..100).map(|_| round()).fold(f64::INFINITY, f64::min)
}

/// Nanoseconds that this machine takes to read from somewhere in so much memory: what no look-up can do without.
fn memory_access(octets: usize) -> f64 {
    let lines = (octets / 64).max(2);
    // One cycle through all lines in random order (Sattolo), so that each read tells where the next one is.
    let mut order: Vec<usize> = (0..lines).collect();
    for n in (1..lines).rev() {
        order.swap(n, scramble(n) as usize % n);
    }
    let mut next = vec![[0usize; 8]; lines];
    for (n, &line) in order.iter().enumerate() {
        next[line][0] = order[(n + 1) % lines];
    }
    let at = std::cell::Cell::new(0);
    best(1, |_| {
        at.set(next[at.get()][0]);
        false
    })
}

fn table() -> Result<()> {
    let all = entries();
    let before = resident()?;
    let begun = Instant::now();
    let (large, small) = (filled(all)?, filled(FEW)?);
    let took = begun.elapsed();
    let octets = resident()?.saturating_sub(before) as f64 / all as f64;
    println!(
        "table: {:.0} entries/s put in, {octets:.1} octets an entry resident",
        rate(all, took)
    );
    let now = clock::now();
    let asked = |of: usize| -> Result<Vec<_>> {
        // Every second one is nobody's.
        let pick = |n: usize| scramble(n) as usize % of + if n.is_multiple_of(2) { 0 } else { all.max(FEW) };
        (0..LOOK_UPS.min(4 * all))
            .map(|n| Ok(Address::parse(&address(pick(n)))?.key(LocalPart::Fold)))
            .collect()
    };
    let look_up = |memory: &Memory, keys: &[nixie::mail::address::AddressKey]| {
        best(keys.len(), |at| {
            let key = &keys[at];
            let question = Question {
                key,
                clear: key.as_str(),
                domain: key.domain(),
                stream: None,
            };
            memory.suppressed(&question, now).is_some()
        })
    };
    let few = look_up(&small, &asked(FEW)?);
    let many = look_up(&large, &asked(all)?);
    let plain: HashMap<u64, u32> = (0..all).map(|n| (scramble(n), 1)).collect();
    let keys: Vec<u64> = (0..LOOK_UPS)
        .map(|n| scramble(scramble(n + all) as usize % (2 * all)))
        .collect();
    let map = best(keys.len(), |at| plain.contains_key(&keys[at]));
    println!(
        "look-up: {many:.0} ns; of {FEW} entries {few:.0} ns (ratio {:.2}); a hash map of numbers {map:.0} ns (ratio {:.2})",
        many / few,
        many / map
    );
    let access = memory_access(16 * all);
    println!(
        "look-up: a single read from as much memory {access:.0} ns; what the look-up adds to it is {:.0} ns",
        many - access
    );
    drop(plain);
    policy(&large, &small)
}

fn resident() -> Result<usize> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: usize = statm.split_whitespace().nth(1).context("statm")?.parse()?;
    Ok(pages * 4096)
}

// --- Whole requests.

fn hooks(memory: &Arc<Memory>) -> Result<(Hooks, SocketAddr)> {
    let address: ListenAddress = "127.0.0.1:0".parse()?;
    let Listener::Tcp(listener) =
        Listener::bind("policy", &address, &mut Inherited::default())?.context("a listener")?
    else {
        bail!("expected a TCP listener");
    };
    let address = listener.local_addr()?;
    let listeners = Listeners {
        policy: Some(Listener::Tcp(listener)),
        socketmap: None,
    };
    let hooks = Hooks::start(listeners, &HookSettings::default(), Arc::clone(memory))?;
    Ok((hooks, address))
}

/// The processor time that the hooks' threads have used (proc(5), schedstat), in nanoseconds.
fn processor_time() -> f64 {
    let threads = std::fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten();
    let used = threads.filter_map(|thread| {
        let name = std::fs::read_to_string(thread.path().join("comm")).ok()?;
        let stat = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        let nanoseconds: f64 = stat.split_whitespace().next()?.parse().ok()?;
        name.starts_with("hook-").then_some(nanoseconds)
    });
    used.sum()
}

/// Requests a second from some clients with one outstanding each, and the hooks' processor time for each.
fn ask(address: SocketAddr, requests: &[Vec<u8>]) -> Result<(f64, f64)> {
    let before = processor_time();
    let begun = Instant::now();
    let client = |first: usize| -> Result<usize> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let (mut n, mut answer) = (0, [0; 512]);
        while begun.elapsed() < ROUND {
            stream.write_all(&requests[(first + n) % requests.len()])?;
            let mut got = 0;
            while !answer[..got].ends_with(b"\n\n") {
                let more = stream.read(&mut answer[got..])?;
                if more == 0 {
                    bail!("the hook closed the connection");
                }
                got += more;
            }
            n += 1;
        }
        Ok(n)
    };
    let sum = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|n| scope.spawn(move || client(n * 1_000)))
            .collect();
        clients
            .into_iter()
            .map(|client| client.join().unwrap_or_else(|_| bail!("a client failed")))
            .sum::<Result<usize>>()
    })?;
    let took = begun.elapsed();
    Ok((rate(sum, took), (processor_time() - before) / sum as f64))
}

fn policy(large: &Arc<Memory>, small: &Arc<Memory>) -> Result<()> {
    let request = |n: usize, of: usize| {
        let recipient = address(scramble(n) as usize % (10 * of));
        format!(
            "request=smtpd_access_policy\nprotocol_state=RCPT\nprotocol_name=ESMTP\nclient_address=192.0.2.7\n\
             client_name=app.example.org\nhelo_name=app.example.org\nsender=news@example.org\n\
             recipient={recipient}\nrecipient_count=0\nqueue_id=\ninstance=1f2c.{n}.0\nsize=20480\n\n"
        )
        .into_bytes()
    };
    let requests = |of: usize| (0..20_000).map(|n| request(n, of)).collect::<Vec<_>>();
    let ((many, many_at), (few, few_at)) = (hooks(large)?, hooks(small)?);
    let (of_many, of_few) = (requests(entries()), requests(FEW));
    let (mut most, mut least) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        most.push(ask(many_at, &of_many)?);
        least.push(ask(few_at, &of_few)?);
    }
    let median = |turns: &[(f64, f64)], of: fn(&(f64, f64)) -> f64| {
        let mut values: Vec<f64> = turns.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let (rate, few_rate) = (median(&most, |turn| turn.0), median(&least, |turn| turn.0));
    let (cost, few_cost) = (median(&most, |turn| turn.1), median(&least, |turn| turn.1));
    println!(
        "policy: {rate:.0} requests/s, {cost:.0} ns of processor each; from {FEW} entries {few_rate:.0} (ratio {:.3}), \
         {few_cost:.0} ns (ratio {:.3})",
        rate / few_rate,
        cost / few_cost
    );
    many.shutdown();
    few.shutdown();
    Ok(())
}

// --- Stores.

async fn import(store: &Store) -> Result<Duration> {
    let begun = Instant::now();
    for from in (0..entries()).step_by(CHUNK) {
        let now = clock::now();
        store
            .add(&chunk(from, (from + CHUNK).min(entries()), now)?, now)
            .await?;
    }
    Ok(begun.elapsed())
}

async fn measure(name: &str, url: &str, raw: Duration) -> Result<()> {
    let store = Store::open(url).await?;
    let all = entries();
    let took = import(&store).await?;
    println!(
        "{name}: import {:.0} lines/s, raw {:.0} (ratio {:.2})",
        rate(all, took),
        rate(all, raw),
        raw.as_secs_f64() / took.as_secs_f64()
    );
    let again = import(&store).await?;
    println!("{name}: again {:.0} lines/s", rate(all, again));
    let begun = Instant::now();
    let mut reached = None;
    loop {
        reached = store
            .load(reached, None, |entry| {
                black_box(entry.subject.len());
            })
            .await?;
        if reached.is_none() {
            break;
        }
    }
    println!(
        "{name}: read and thrown away in {:.2} s",
        begun.elapsed().as_secs_f64()
    );
    store.close().await;
    let status = Command::new(std::env::current_exe()?)
        .args(["reader", url])
        .status()?;
    if !status.success() {
        bail!("the reader failed");
    }
    Ok(())
}

/// A process that loads, as the daemon does, and says what that took.
async fn reader(url: &str) -> Result<()> {
    let store = Store::open(url).await?;
    let memory = Arc::new(Memory::new());
    let before = resident()?;
    let begun = Instant::now();
    let (migrated, _schema) = watch::channel(false);
    let (loaded, mut is_loaded) = watch::channel(false);
    let stop = CancellationToken::new();
    let follower = tokio::spawn(feed::follow(
        store,
        Arc::clone(&memory),
        migrated,
        loaded,
        Bell::default(),
        stop.clone(),
    ));
    is_loaded.wait_for(|loaded| *loaded).await?;
    let took = begun.elapsed();
    let grown = resident()?.saturating_sub(before);
    let n = memory.size().suppressions;
    println!(
        "  a new process: {n} entries answer after {:.2} s; resident {:.1} MB more, {:.1} octets an entry",
        took.as_secs_f64(),
        grown as f64 / 1e6,
        grown as f64 / n as f64
    );
    stop.cancel();
    follower.await?;
    Ok(())
}

/// The columns that an entry has.
const COLUMNS: &str = "address, cause, since, expires, author, reason, event, provider, standing, term";

async fn sqlite() -> Result<()> {
    let directory = directory()?;
    let raw = directory.path().join("raw.db");
    let url = format!("sqlite://{}?mode=rwc", raw.display());
    let mut connection = SqliteConnection::connect(&url).await?;
    connection
        .execute(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -32768;
             CREATE TABLE raw (id INTEGER PRIMARY KEY AUTOINCREMENT, address TEXT NOT NULL UNIQUE, cause TEXT NOT NULL,
                 since INTEGER NOT NULL, expires INTEGER, author TEXT NOT NULL, reason TEXT NOT NULL, event BLOB,
                 provider TEXT, standing TEXT NOT NULL, term INTEGER NOT NULL) STRICT",
        )
        .await?;
    let begun = Instant::now();
    for from in (0..entries()).step_by(CHUNK) {
        let now = clock::now();
        let rows: Vec<_> = chunk(from, (from + CHUNK).min(entries()), now)?
            .iter()
            .map(|e| {
                serde_json::json!([
                    e.subject.to_string(),
                    e.cause.name(),
                    now.as_microsecond(),
                    e.author,
                    e.reason
                ])
            })
            .collect();
        sqlx::query(sqlx::AssertSqlSafe(format!(
            "INSERT INTO raw ({COLUMNS}) SELECT value ->> 0, value ->> 1, value ->> 2, NULL, value ->> 3, value ->> 4,
                 NULL, NULL, 'in_force', 1 FROM json_each($1)"
        )))
        .bind(serde_json::Value::Array(rows).to_string())
        .execute(&mut connection)
        .await?;
    }
    let raw_took = begun.elapsed();
    connection.close().await?;
    std::fs::remove_file(raw)?;
    let url = format!("sqlite://{}/nixie.db", directory.path().display());
    measure("sqlite", &url, raw_took).await
}

async fn postgres() -> Result<()> {
    let parent = directory()?;
    // As Postgres comes, but for the size of its log of changes, which an operator of this size sets first of all.
    std::fs::set_permissions(parent.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let server = Postgres::start_in(parent.path(), &["max_wal_size=4GB", "shared_buffers=512MB"])?;
    let mut connection = PgConnection::connect(&server.create_database("raw")?).await?;
    connection
        .execute(
            "CREATE TABLE raw (id BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, address TEXT NOT NULL UNIQUE,
                 cause TEXT NOT NULL, since BIGINT NOT NULL, expires BIGINT, author TEXT NOT NULL, reason TEXT NOT NULL,
                 event BYTEA, provider TEXT, standing TEXT NOT NULL, term BIGINT NOT NULL)",
        )
        .await?;
    let begun = Instant::now();
    for from in (0..entries()).step_by(CHUNK) {
        let now = clock::now();
        let mut lines = String::new();
        for entry in chunk(from, (from + CHUNK).min(entries()), now)? {
            use std::fmt::Write as _;
            let (author, reason) = (&entry.author, &entry.reason);
            writeln!(
                lines,
                "{}\t{}\t{}\t\\N\t{author}\t{reason}\t\\N\t\\N\tin_force\t1",
                entry.subject,
                entry.cause,
                now.as_microsecond()
            )?;
        }
        let mut copy = connection
            .copy_in_raw(&format!("COPY raw ({COLUMNS}) FROM STDIN"))
            .await?;
        copy.send(lines.into_bytes()).await?;
        copy.finish().await?;
    }
    let raw = begun.elapsed();
    connection.close().await?;
    server.execute("DROP DATABASE raw")?;
    let url = server.create_database("nixie")?;
    measure("postgres", &url, raw).await
}
