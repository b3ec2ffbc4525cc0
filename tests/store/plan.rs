//! How Postgres goes about the hot statements: the plans that it really chose, as its own log tells them, beside
//! `tests/data/plan/postgres.txt`. A plan that reads a table from end to end where it used an index is a daemon that
//! gets slower every day; here it is a failing test. `GOLDEN=write` writes the file anew: read the diff.
//!
//! Costs and counts are left out, the days of partitions are all called `_day`, and what says the same again is said once.

use crate::stage::*;
use nixie::engine::trust::Signed;
use nixie::engine::verdict::Cause;
use nixie::store::Store;
use nixie::store::contract::{Batch, Filter};
use nixie::store::retention::Keepsake;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// Enough for an index to be worth it.
const MANY: i64 = 20_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hot_statements_go_by_their_indexes() {
    if !postgres_wanted() {
        return;
    }
    let settings = [
        "fsync=off",
        "jit=off",
        "max_parallel_workers_per_gather=0",
        "autovacuum=off",
        "session_preload_libraries=auto_explain",
        "auto_explain.log_min_duration=0",
        "client_min_messages=log",
    ];
    let server = nixie_lab::postgres::Postgres::start_in(Path::new("/tmp"), &settings).unwrap();
    let store = Store::open(&server.url()).await.unwrap();
    store.prepare_days(at(0)).await.unwrap();
    fill(&store).await;
    server.execute("ANALYZE").unwrap();
    // From here on the server's notices are heard.
    let heard = Heard::default();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(heard.clone())
        .with_env_filter("off,sqlx::postgres::notice=trace")
        .with_ansi(false)
        .without_time()
        .with_level(false)
        .with_target(false)
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    work(&store).await;
    store.close().await;
    let text = String::from_utf8(heard.0.lock().unwrap().clone()).unwrap();
    let found = plans(&text);
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/plan/postgres.txt");
    if std::env::var_os("GOLDEN").is_some() {
        std::fs::create_dir_all(golden.parent().unwrap()).unwrap();
        std::fs::write(&golden, &found).unwrap();
    }
    assert_eq!(found, std::fs::read_to_string(&golden).unwrap());
    for table in [
        "event",
        "seen",
        "suppression",
        "sent",
        "signed",
        "failure",
        "change",
    ] {
        let whole = format!("Seq Scan on {table}");
        let exact = |line: &str| {
            let node = line.trim_start_matches(['-', '>', ' ']);
            node == whole
                || node
                    .strip_prefix(&whole)
                    .is_some_and(|rest| rest.starts_with(' '))
        };
        assert!(!found.lines().any(exact), "{whole}:\n{found}");
    }
}

/// What was logged.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Heard {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> tracing_subscriber::fmt::MakeWriter<'a> for Heard {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

async fn fill(store: &Store) {
    for step in 0..MANY / 1_000 {
        let told = (0..1_000).map(|n| {
            let n = step * 1_000 + n;
            let telling = telling(&format!("t{n}"), &format!("u{n}@example{}.org", n % 50), n);
            if n % 3 == 0 { telling.delivered() } else { telling }
        });
        let signed = (0..1_000).map(|n| step * 1_000 + n).map(signed);
        let told = Batch {
            signed: signed.collect(),
            ..batch(told)
        };
        commit(store, &told).await;
    }
    let entries: Vec<_> = (0..MANY)
        .map(|n| entry(&format!("e{n}@example.net"), Cause::UserUnknown))
        .collect();
    store.add(&entries, at(1)).await.unwrap();
}

/// A message that left with a signed return path.
fn signed(n: i64) -> Signed {
    let mut identity = [0; 16];
    identity[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9).to_be_bytes());
    Signed {
        identity,
        mailed: vec![key(&format!("u{n}@example{}.org", n % 50))],
        sender: "news@sender.example".into(),
        at: at(n),
        marks: Vec::new(),
    }
}

/// Each of them once.
async fn work(store: &Store) {
    let told = [
        telling("w1", "fresh@example.org", 1),
        telling("w2", "u3@example3.org", 2).delivered(),
        telling("w3", "u4@example4.org", 3).reported(false),
    ];
    let told = Batch {
        signed: vec![signed(MANY)],
        ..batch(told)
    };
    commit(store, &told).await;
    store.signed(&signed(7).identity).await.unwrap();
    let subject = key("u4@example4.org").into();
    store
        .suppressions_of(std::slice::from_ref(&subject))
        .await
        .unwrap();
    store.suppression(&subject).await.unwrap();
    store.changes_since(MANY, 100).await.unwrap();
    store.events_of(&key("u4@example4.org"), 10).await.unwrap();
    store.story(std::slice::from_ref(&subject), 10).await.unwrap();
    store.patterns().await.unwrap();
    let page = Filter {
        limit: 100,
        ..Filter::default()
    };
    store.suppressions(&page).await.unwrap();
    store.retell(at(5), None, 100).await.unwrap();
    for what in Keepsake::ALL {
        store.sweep(what, at(1), None, 100).await.unwrap();
    }
}

/// The statements and their plans, by the statements.
fn plans(log: &str) -> String {
    let mut plans: BTreeMap<String, String> = BTreeMap::new();
    for told in log.split("Query Text: ").skip(1) {
        let told = told.split("duration: ").next().unwrap_or_default();
        let mut statement = String::new();
        let mut plan = String::new();
        for line in told.lines() {
            // The plan begins with the first line that tells a cost.
            if plan.is_empty() && !line.contains("(cost=") {
                statement.push_str(line.trim());
                statement.push(' ');
                continue;
            }
            let line = shape(line);
            let wanted =
                line.contains("->") || plan.is_empty() || line.trim_start().starts_with("Index Cond");
            if wanted && !plan.lines().any(|before| before == line) {
                writeln!(plan, "{line}").unwrap();
            }
        }
        if !plan.is_empty() && !statement.starts_with("COPY") {
            plans.entry(statement.trim().to_owned()).or_insert(plan);
        }
    }
    let mut all = String::new();
    for (statement, plan) in plans {
        writeln!(all, "{statement}\n{plan}").unwrap();
    }
    all
}

/// A line of a plan without what changes from day to day.
fn shape(line: &str) -> String {
    let line = line
        .split("  (cost=")
        .next()
        .unwrap_or_default()
        .trim_start_matches('\t');
    let mut shape = String::new();
    let mut rest = line;
    while let Some(at) = rest.find("_d2") {
        let digits = rest[at + 2..].bytes().take_while(u8::is_ascii_digit).count();
        shape.push_str(&rest[..at]);
        shape.push_str("_day");
        rest = &rest[at + 2 + digits..];
    }
    shape.push_str(rest);
    // Aliases of partitions are counted.
    let mut words: Vec<String> = Vec::new();
    for word in shape.split(' ') {
        let bare = word.trim_end_matches(|c: char| c.is_ascii_digit());
        let counted = bare.ends_with('_') && bare.len() < word.len();
        words.push(if counted {
            bare.trim_end_matches('_').to_owned()
        } else {
            word.to_owned()
        });
    }
    words.join(" ")
}
