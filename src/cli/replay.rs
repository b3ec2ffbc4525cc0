//! `nixie replay`: judges kept replies again, by the rules as they are now or by others, and shows who would be
//! suppressed besides and who no more. Without `--apply` nothing is changed.
//!
//! Only a difference that the rules make is shown (`engine::replay`). Somebody whose entry was lifted after the evidence,
//! by a delivery or a person, is not suppressed anew. Deliveries as such are not kept by address: look at the table
//! before you apply it. Events that older versions kept without the command that was answered can lift and not add.

use super::suppress::author;
use super::when::When;
use crate::clock;
use crate::config::Settings;
use crate::engine::classify;
use crate::engine::decide::Record;
use crate::engine::replay::{Case, Replay};
use crate::engine::suppression::{NewSuppression, Subject, Suppression};
use crate::serve::keeper::Bench;
use crate::store::Store;
use crate::store::contract::{By, ChangeKind, Filter, Retold};
use anyhow::Context as _;
use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use jiff::Timestamp;
use std::collections::HashSet;
use std::path::PathBuf;
use std::process::ExitCode;

/// Events a page.
const PAGE: u32 = 10_000;
/// Subjects asked about at once: of the changes of all of them, the latest thousand are read.
const ASKED: usize = 50;
/// Lines of the table.
const SHOWN: usize = 40;

/// Arguments of `nixie replay`.
#[derive(Debug, Args)]
pub struct ReplayArguments {
    /// Events since then: a time, or how long ago: 2026-11-01, 30d
    #[arg(long, value_name = "WHEN")]
    since: When,
    /// Rule files to judge by, instead of [rules] dir
    #[arg(long, value_name = "DIR")]
    rules: Option<PathBuf>,
    /// Write all of it as CSV; - is the standard output
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Do it, in one transaction
    #[arg(long)]
    apply: bool,
    /// Why
    #[arg(long, default_value = "replayed by hand", value_parser = NonEmptyStringValueParser::new())]
    reason: String,
}

/// What would change.
struct Difference {
    added: Vec<NewSuppression>,
    lifted: Vec<Suppression>,
}

/// Runs the command.
///
/// # Errors
/// Where the rules are wrong, the store does not answer, or the CSV file cannot be written.
pub async fn run(options: &ReplayArguments, settings: &Settings) -> anyhow::Result<ExitCode> {
    let mut settings = settings.clone();
    if let Some(rules) = &options.rules {
        settings.rules.dir.clone_from(rules);
    }
    let bench = crate::serve::bench(&settings)?;
    let store = super::open(&settings).await?;
    let now = clock::now();
    let since = options.since.before(now);
    let (replay, events) = play(&store, &bench, since, now).await?;
    let difference = Difference {
        added: addable(&store, replay.added()).await?,
        lifted: liftable(&store, &replay, since).await?,
    };
    let to_output = options.csv.as_ref().is_some_and(|path| path.as_os_str() == "-");
    if let Some(path) = &options.csv {
        write_csv(path, &difference).with_context(|| path.display().to_string())?;
    }
    if !to_output {
        say_all(&replay, &difference, events);
    }
    if options.apply {
        apply(&store, options, &difference, since, now, to_output).await?;
    } else if !(to_output || difference.added.is_empty() && difference.lifted.is_empty()) {
        say!("\nnothing was changed: --apply does it");
    }
    Ok(ExitCode::SUCCESS)
}

async fn play(
    store: &Store,
    bench: &Bench,
    since: Timestamp,
    now: Timestamp,
) -> anyhow::Result<(Replay, u64)> {
    let incidents = store.incidents(since).await?;
    let mut replay = Replay::new(&bench.policy, &incidents);
    let mut events = 0;
    let mut after = None;
    loop {
        let (told, last) = store.retell(since, after, PAGE).await?;
        let Some(last) = last else {
            return Ok((replay, events));
        };
        after = Some(last);
        let cases: Vec<Case> = told
            .into_iter()
            .filter(|told| !told.is_repeat)
            .map(|told| case(told, bench))
            .collect();
        events += cases.len() as u64;
        replay.play(&cases, now);
    }
}

fn case(told: Retold, bench: &Bench) -> Case {
    let (verdict, _) = classify::judge(&bench.rules, &bench.providers, &bench.egress, &told.event);
    let policy = &bench.policy;
    let stream = policy.stream_of(told.event.sender.as_deref(), told.event.sasl_username.as_deref());
    let record = Record {
        mailed: told.mailed,
        provider: told.provider.map(Into::into),
        stream,
        ..Record::new(told.event, told.verdict, None, policy.local_part)
    };
    Case {
        record,
        trust: told.trust,
        verdict,
        is_whole: told.is_whole,
    }
}

/// Those who have no entry, and had none lifted since the evidence.
async fn addable(store: &Store, added: Vec<NewSuppression>) -> anyhow::Result<Vec<NewSuppression>> {
    let mut addable = Vec::new();
    for chunk in added.chunks(ASKED) {
        let subjects: Vec<Subject> = chunk.iter().map(|entry| entry.subject.clone()).collect();
        let history = store.story(&subjects, 1_000).await?;
        let taken: HashSet<&Subject> = history.entries.iter().map(|entry| &entry.entry.subject).collect();
        let lifted = |entry: &NewSuppression| {
            history.changes.iter().any(|(change, _)| {
                matches!(&change.kind, ChangeKind::Lifted { subject, .. } if *subject == entry.subject)
                    && change.at >= entry.since
            })
        };
        let free = chunk
            .iter()
            .filter(|entry| !taken.contains(&entry.subject) && !lifted(entry));
        addable.extend(free.cloned());
    }
    Ok(addable)
}

/// Entries of rules that the new verdicts do not make.
async fn liftable(store: &Store, replay: &Replay, since: Timestamp) -> anyhow::Result<Vec<Suppression>> {
    let mut filter = Filter {
        source: Some("rule".into()),
        since: Some(since),
        limit: PAGE,
        ..Filter::default()
    };
    let mut lifted = Vec::new();
    loop {
        let page = store.suppressions(&filter).await?;
        let Some(last) = page.last() else {
            return Ok(lifted);
        };
        filter.after = Some(last.id);
        lifted.extend(page.into_iter().filter(|suppression| replay.lifts(suppression)));
    }
}

/// What CSV and the table show of each.
fn rows(difference: &Difference) -> impl Iterator<Item = [String; 6]> {
    let row = |what: &str, entry: &NewSuppression| {
        [
            what.to_owned(),
            entry.subject.to_string(),
            entry.cause.to_string(),
            entry.author.clone(),
            entry.since.to_string(),
            entry.reason.clone(),
        ]
    };
    let added = difference.added.iter().map(move |entry| row("add", entry));
    let lifted = difference
        .lifted
        .iter()
        .map(move |suppression| row("lift", &suppression.entry));
    added.chain(lifted)
}

const HEADER: [&str; 6] = ["change", "address", "cause", "author", "since", "reason"];

fn write_csv(path: &std::path::Path, difference: &Difference) -> anyhow::Result<()> {
    let out: Box<dyn std::io::Write> = match path.as_os_str() == "-" {
        true => Box::new(std::io::stdout()),
        false => Box::new(std::fs::File::create(path)?),
    };
    let mut writer = csv::Writer::from_writer(out);
    writer.write_record(HEADER)?;
    for row in rows(difference) {
        writer.write_record(row)?;
    }
    Ok(writer.flush()?)
}

fn say_all(replay: &Replay, difference: &Difference, events: u64) {
    say!("{events} kept replies judged again");
    let mut turned: Vec<_> = replay.turned().collect();
    turned.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    for ((old, new), n) in turned.into_iter().take(SHOWN) {
        say!("  {n:8}  {old} -> {new}");
    }
    say!(
        "would add {}, would lift {}",
        difference.added.len(),
        difference.lifted.len()
    );
    let mut table = comfy_table::Table::new();
    table
        .load_preset(comfy_table::presets::NOTHING)
        .set_header(HEADER);
    for row in rows(difference).take(SHOWN) {
        table.add_row(row);
    }
    let all = difference.added.len() + difference.lifted.len();
    if all > 0 {
        say!("{table}");
    }
    if all > SHOWN {
        say!("and {} more: --csv FILE has all", all - SHOWN);
    }
}

async fn apply(
    store: &Store,
    options: &ReplayArguments,
    difference: &Difference,
    since: Timestamp,
    now: Timestamp,
    quiet: bool,
) -> anyhow::Result<()> {
    let author = author();
    let by = By {
        author: &author,
        reason: &options.reason,
    };
    let lift: Vec<_> = difference
        .lifted
        .iter()
        .map(|suppression| suppression.id)
        .collect();
    let rules = options
        .rules
        .as_ref()
        .map_or(String::new(), |path| format!(" by {}", path.display()));
    let what = format!("replay since {since}{rules}");
    let (operation, done) = store.operate(by, &what, &lift, &difference.added, now).await?;
    if !quiet {
        say!("{} added, {} lifted", done.added, done.lifted);
        say!("`nixie undo --operation {operation}` takes that back");
    }
    Ok(())
}
