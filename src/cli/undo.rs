//! `nixie undo`: lifts what a rule, a provider or a time caused, or takes an operation back. Without `--apply` it only
//! says what it would do, counted exactly and with a sample.
//!
//! By `--rule`, `--provider`, `--cause`, `--since` and `--until` it meets entries that rules made; what people and
//! imports wrote is met by `--operation` or `--source` only. An undo is an operation itself, and so is undone by
//! `--operation`. More than [`STEP`] entries are lifted in several transactions of one operation: where one fails,
//! running the same again does the rest.

use super::suppress::{author, cause};
use super::when::When;
use crate::clock;
use crate::config::Settings;
use crate::engine::suppression::{NewSuppression, Suppression, SuppressionId};
use crate::engine::verdict::Cause;
use crate::store::Store;
use crate::store::contract::{By, Filter, Operation, OperationId, Revised};
use anyhow::bail;
use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use serde_json::json;
use std::collections::{BTreeMap, HashSet};
use std::process::ExitCode;

/// Entries a transaction.
pub const STEP: usize = 50_000;
/// Entries a page.
const PAGE: u32 = 10_000;
/// Entries shown.
const SAMPLE: usize = 10;

/// Arguments of `nixie undo`.
#[derive(Debug, Args)]
#[group(skip)]
#[command(group(clap::ArgGroup::new("which").required(true).multiple(true)
    .args(["rule", "provider", "cause", "since", "until", "source", "operation"])))]
pub struct UndoArguments {
    /// What this rule caused
    #[arg(long, value_name = "ID")]
    rule: Option<String>,
    /// What this provider's replies caused
    #[arg(long)]
    provider: Option<String>,
    /// Entries of this cause
    #[arg(long, value_parser = cause)]
    cause: Option<Cause>,
    /// Entries since then: a time, or how long ago: 2026-11-21T09:00:00Z, 6h
    #[arg(long, value_name = "WHEN")]
    since: Option<When>,
    /// Entries since before then
    #[arg(long, value_name = "WHEN")]
    until: Option<When>,
    /// Entries by this author instead of by rules, as in 'cli alice' or import
    #[arg(long, value_name = "AUTHOR", conflicts_with = "rule")]
    source: Option<String>,
    /// What this operation did: what it wrote is lifted, what it lifted is written again
    #[arg(long, value_name = "N", conflicts_with_all = ["rule", "provider", "cause", "since", "until", "source"])]
    operation: Option<i64>,
    /// Do it
    #[arg(long)]
    apply: bool,
    /// Why
    #[arg(long, default_value = "undone by hand", value_parser = NonEmptyStringValueParser::new())]
    reason: String,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// What an undo comes to.
#[derive(Debug, Default)]
struct Plan {
    lift: Vec<SuppressionId>,
    add: Vec<NewSuppression>,
    by_cause: BTreeMap<&'static str, u64>,
    by_author: BTreeMap<String, u64>,
    sample: Vec<String>,
}

impl Plan {
    fn lift(&mut self, suppression: &Suppression) {
        self.count(&suppression.entry);
        if self.sample.len() < SAMPLE {
            let entry = &suppression.entry;
            self.sample.push(format!(
                "{} {} {} ({})",
                suppression.id, entry.subject, entry.cause, entry.author
            ));
        }
        self.lift.push(suppression.id);
    }

    fn add(&mut self, entry: NewSuppression) {
        self.count(&entry);
        if self.sample.len() < SAMPLE {
            self.sample.push(format!(
                "again: {} {} ({})",
                entry.subject, entry.cause, entry.author
            ));
        }
        self.add.push(entry);
    }

    fn count(&mut self, entry: &NewSuppression) {
        *self.by_cause.entry(entry.cause.name()).or_default() += 1;
        // Of imports and people there may be many; of each kind the whole name where it is a rule's.
        *self.by_author.entry(entry.author.clone()).or_default() += 1;
    }
}

/// Runs the command.
///
/// # Errors
/// Where the store does not answer, or there is no such operation.
pub async fn run(options: &UndoArguments, settings: &Settings) -> anyhow::Result<ExitCode> {
    let store = super::open(settings).await?;
    let (plan, what) = match options.operation {
        Some(number) => of_operation(&store, OperationId(number)).await?,
        None => of_filter(&store, options).await?,
    };
    if !options.apply {
        say_plan(&plan, options.json);
        return Ok(ExitCode::SUCCESS);
    }
    if plan.lift.is_empty() && plan.add.is_empty() {
        bail!("there is nothing to undo");
    }
    let (operation, done) = apply(&store, &plan, &options.reason, &what).await?;
    if options.json {
        let done = json!({ "operation": operation.0, "lifted": done.lifted, "added": done.added });
        super::throttle::print_json(&done);
        return Ok(ExitCode::SUCCESS);
    }
    say!("{} lifted, {} suppressed again", done.lifted, done.added);
    say!("`nixie undo --operation {operation}` takes that back");
    Ok(ExitCode::SUCCESS)
}

async fn of_filter(store: &Store, options: &UndoArguments) -> anyhow::Result<(Plan, String)> {
    let now = clock::now();
    let rule = options.rule.as_ref().map(|rule| format!("rule {rule}"));
    let source = rule
        .or_else(|| options.source.clone())
        .unwrap_or_else(|| "rule".into());
    let mut filter = Filter {
        cause: options.cause,
        provider: options.provider.clone(),
        since: options.since.map(|when| when.before(now)),
        until: options.until.map(|when| when.before(now)),
        source: Some(source.clone()),
        limit: PAGE,
        ..Filter::default()
    };
    let mut what = vec![format!("undo of {source}")];
    what.extend(options.cause.map(|cause| format!("cause {cause}")));
    what.extend(
        options
            .provider
            .iter()
            .map(|provider| format!("provider {provider}")),
    );
    what.extend(filter.since.map(|at| format!("since {at}")));
    what.extend(filter.until.map(|at| format!("until {at}")));
    let mut plan = Plan::default();
    select(store, &mut filter, &mut plan).await?;
    Ok((plan, what.join(", ")))
}

async fn select(store: &Store, filter: &mut Filter, plan: &mut Plan) -> anyhow::Result<()> {
    loop {
        let page = store.suppressions(filter).await?;
        let Some(last) = page.last() else { return Ok(()) };
        filter.after = Some(last.id);
        page.iter().for_each(|suppression| plan.lift(suppression));
    }
}

/// What an operation wrote and still stands, and what it lifted. An entry that would have expired meanwhile is not
/// written again, nor one whose subject has another now.
async fn of_operation(store: &Store, id: OperationId) -> anyhow::Result<(Plan, String)> {
    let Some(Operation { what, .. }) = store.operation(id).await? else {
        bail!("there is no operation {id}: {}", known(store).await?);
    };
    let mut plan = Plan::default();
    let mut filter = Filter {
        operation: Some(id),
        limit: PAGE,
        ..Filter::default()
    };
    select(store, &mut filter, &mut plan).await?;
    let now = clock::now();
    let mut after = 0;
    // What it wrote makes way for what stood there before.
    let lifted: HashSet<i64> = plan.lift.iter().map(|id| id.0).collect();
    loop {
        let page = store.lifted_by(id, after, PAGE).await?;
        let Some(&(last, _)) = page.last() else { break };
        after = last;
        let subjects: Vec<_> = page.iter().map(|(_, entry)| entry.subject.clone()).collect();
        let taken = store.suppressions_of(&subjects).await?;
        let taken: HashSet<_> = taken
            .iter()
            .filter(|suppression| !lifted.contains(&suppression.id.0))
            .map(|suppression| &suppression.entry.subject)
            .collect();
        for (_, entry) in page {
            let over = entry.expires.is_some_and(|expires| expires <= now);
            if !over && !taken.contains(&entry.subject) {
                plan.add(entry);
            }
        }
    }
    Ok((plan, format!("undo of operation {id} ({what})")))
}

/// The latest operations, for whoever named a wrong one.
async fn known(store: &Store) -> anyhow::Result<String> {
    let latest = store.operations(5).await?;
    if latest.is_empty() {
        return Ok("there was none yet".into());
    }
    let names: Vec<String> = latest
        .iter()
        .map(|operation| format!("{} ({})", operation.id, operation.what))
        .collect();
    Ok(format!("the latest are {}", names.join(", ")))
}

async fn apply(
    store: &Store,
    plan: &Plan,
    reason: &str,
    what: &str,
) -> anyhow::Result<(OperationId, Revised)> {
    let author = author();
    let by = By {
        author: &author,
        reason,
    };
    let now = clock::now();
    let operation = store.begin_operation(by, what, now).await?;
    let mut done = Revised::default();
    // What is lifted first makes way for what is written.
    for step in plan.lift.chunks(STEP) {
        done.lifted += store.revise(operation, by, step, &[], now).await?.lifted;
    }
    for step in plan.add.chunks(STEP) {
        done.added += store.revise(operation, by, &[], step, now).await?.added;
    }
    Ok((operation, done))
}

fn say_plan(plan: &Plan, as_json: bool) {
    if as_json {
        let all = json!({
            "lift": plan.lift.len(), "add": plan.add.len(),
            "by_cause": plan.by_cause, "by_author": plan.by_author, "sample": plan.sample,
        });
        super::throttle::print_json(&all);
        return;
    }
    say!(
        "would lift {}, would suppress again {}",
        plan.lift.len(),
        plan.add.len()
    );
    for (name, n) in &plan.by_cause {
        say!("  {name:20} {n}");
    }
    for (author, n) in plan.by_author.iter().take(SAMPLE) {
        say!("  {author:40} {n}");
    }
    if !plan.sample.is_empty() {
        say!("\nsome of them:");
    }
    for line in &plan.sample {
        say!("  {line}");
    }
    if plan.lift.len() + plan.add.len() > 0 {
        say!("\nnothing was changed: --apply does it");
    }
}
