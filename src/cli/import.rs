//! `nixie suppress import`: reads the lists of addresses that services export, our own, and plain ones, and writes
//! them in bulk. What each line means is told by its columns (`import/format.rs`), its words (`import/reason.rs`) and
//! the rules; what says nothing of a recipient's own fault is skipped and said.
//!
//! Safe to run twice: what is suppressed already stays as it is. A bad line is kept with its number and what was
//! expected in FILE.rejected, the rest is imported, and the exit code is 1. Where the store fails, what was written
//! before stays.

pub mod column;
mod entry;
pub mod format;
mod objects;
mod reason;
mod record;
mod rejected;
mod table;
mod time;

use crate::clock;
use crate::config::Settings;
use crate::engine::rule::RuleSet;
use crate::engine::suppression::privacy::Veil;
use crate::engine::suppression::{NewSuppression, full_hour};
use crate::engine::verdict::Cause;
use crate::mail::address::LocalPart;
use crate::store::Store;
use crate::store::contract::{Added, By, OperationId};
use anyhow::Context as _;
use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use column::{Columns, Named, Place, Role};
use entry::{Audience, Entry, Outcome, Plan};
use format::Format;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use record::{Next, Record, Records};
use rejected::Rejected;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tokio::sync::mpsc;

/// Entries a transaction: as many as the store takes at once, since each transaction costs the same besides.
const CHUNK: usize = 100_000;
/// Chunks that wait for the store.
const AHEAD: usize = 2;

/// Arguments of `nixie suppress import`.
#[derive(Debug, Args)]
pub struct ImportArguments {
    /// The file, CSV or JSON; `-` is standard input
    pub file: PathBuf,
    /// What lines mean that do not say [default: user_unknown]
    #[arg(long, value_parser = super::suppress::cause)]
    pub cause: Option<Cause>,
    /// Whose export it is, where its columns do not tell: ses, sendgrid-bounces, sendgrid-blocks, sendgrid-invalid,
    /// sendgrid-spam, sendgrid-unsubscribes, mailgun-bounces, mailgun-complaints, mailgun-unsubscribes, postmark,
    /// sparkpost, nixie, plain
    #[arg(long)]
    pub format: Option<Format>,
    /// What stands in a column, as in --column address=E-Mail or --column reason=3
    #[arg(long, value_name = "ROLE=COLUMN")]
    pub column: Vec<Named>,
    /// The stream that complaints and unsubscribes are about; `*` is all mail
    #[arg(long, value_name = "STREAM")]
    pub stream: Option<String>,
    /// Where rejected lines go [default: FILE.rejected]
    #[arg(long, value_name = "PATH")]
    pub rejected: Option<PathBuf>,
    /// Why, in your own words
    #[arg(long, default_value = "imported by hand", value_parser = NonEmptyStringValueParser::new())]
    pub reason: String,
    /// Read all of it, write nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Runs the import.
///
/// # Errors
/// Where the file cannot be read, its format not be told, or the store does not answer.
pub async fn run(store: &Store, options: &ImportArguments, settings: &Settings) -> anyhow::Result<ExitCode> {
    let name = name(&options.file);
    let (input, size) = open(&options.file).with_context(|| name.clone())?;
    let template = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {msg} {eta}")?;
    let bar = ProgressBar::new(size).with_style(template);
    let now = clock::now();
    let operation = match options.dry_run {
        true => None,
        false => {
            let author = super::suppress::author();
            let by = By {
                author: &author,
                reason: &options.reason,
            };
            let what = format!("import {name}");
            Some(store.begin_operation(by, &what, now).await?)
        }
    };
    let (sender, mut chunks) = mpsc::channel(AHEAD);
    let reader = Reader {
        name: name.clone(),
        options: Options::new(options, settings)?,
        bar: bar.clone(),
        operation,
        sender,
    };
    let reading = tokio::task::spawn_blocking(move || reader.read(input));
    let mut total = Added::default();
    while let Some((entries, octets)) = chunks.recv().await {
        let entries: Vec<NewSuppression> = entries;
        if options.dry_run {
            total.added += entries.len() as u64;
        } else {
            let added = store.add(&entries, now).await?;
            total.added += added.added;
            total.kept += added.kept;
        }
        bar.set_position(octets);
        bar.set_message(format!("{} added", total.added));
    }
    bar.finish_and_clear();
    let tally = reading.await??;
    Ok(say(&total, &tally, operation))
}

fn name(file: &Path) -> String {
    if file.as_os_str() == "-" {
        "standard input".to_owned()
    } else {
        file.display().to_string()
    }
}

fn open(file: &Path) -> std::io::Result<(Box<dyn Read + Send>, u64)> {
    if file.as_os_str() == "-" {
        return Ok((Box::new(std::io::stdin()), 0));
    }
    let open = std::fs::File::open(file)?;
    let size = open.metadata().map_or(0, |metadata| metadata.len());
    Ok((Box::new(open), size))
}

fn say(total: &Added, tally: &Tally, operation: Option<OperationId>) -> ExitCode {
    say!("read as {}", tally.format);
    let added = if operation.is_none() { "to add" } else { "added" };
    let kept = match &tally.rejected.1 {
        Some(path) => format!(" ({})", path.display()),
        None => String::new(),
    };
    let rejected = tally.rejected.0;
    say!(
        "{} {added}, {} suppressed already, {rejected} lines rejected{kept}",
        total.added,
        total.kept
    );
    for (why, n) in &tally.skipped {
        say!("  {n} skipped: {why}");
    }
    if let Some(operation) = operation.filter(|_| total.added > 0) {
        say!("`nixie undo --operation {operation}` takes it back");
    }
    match rejected {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// What was read.
struct Tally {
    format: Format,
    rejected: (u64, Option<PathBuf>),
    skipped: BTreeMap<String, u64>,
}

/// What the reader needs of arguments and settings.
struct Options {
    cause: Option<Cause>,
    format: Option<Format>,
    named: Vec<Named>,
    audience: Audience,
    streams: Vec<String>,
    rejected: Option<PathBuf>,
    rules: RuleSet,
    veil: Veil,
    local_part: LocalPart,
    now: Timestamp,
}

impl Options {
    fn new(options: &ImportArguments, settings: &Settings) -> anyhow::Result<Self> {
        let bench = crate::serve::bench(settings)?;
        let beside = || {
            let mut path = options.file.as_os_str().to_owned();
            path.push(".rejected");
            (options.file.as_os_str() != "-").then(|| path.into())
        };
        Ok(Self {
            cause: options.cause,
            format: options.format,
            named: options.column.clone(),
            audience: match options.stream.as_deref() {
                None => Audience::Unsaid,
                Some("*") => Audience::All,
                Some(stream) => {
                    super::suppress::subject::check_stream(stream, settings)?;
                    Audience::Stream(stream.to_owned())
                }
            },
            streams: settings.stream.iter().map(|stream| stream.name.clone()).collect(),
            rejected: options.rejected.clone().or_else(beside),
            rules: bench.rules,
            veil: bench.policy.veil,
            local_part: settings.address.local_part,
            now: clock::now(),
        })
    }

    /// The format and the columns, told from the first record. Whether that record is a header.
    fn plan(&self, first: &Record, json: bool, file: &str) -> anyhow::Result<(Plan<'_>, bool)> {
        let names = first.names();
        let detect = |names: &[String]| match self.format {
            Some(format) => Ok(format),
            None => Format::detect(names, file, self.cause),
        };
        let known = |name: &String| {
            Format::Plain.role(name).is_some() || self.format.is_some_and(|f| f.role(name).is_some())
        };
        let header =
            !json && names.iter().any(known) && !first.values().iter().any(|value| value.contains('@'));
        let (format, columns) = if json {
            let format = detect(&names)?;
            (format, Columns::of_objects(format, &names, &self.named))
        } else if header {
            let format = detect(&names)?;
            (format, Columns::of_table(format, &names, &self.named))
        } else {
            (self.format.unwrap_or(Format::Plain), self.bare(first))
        };
        let plan = Plan {
            format,
            columns: columns.map_err(|problem| anyhow::anyhow!("{file}: {problem}"))?,
            cause: self.cause,
            stream: &self.audience,
            streams: &self.streams,
            rules: &self.rules,
            veil: &self.veil,
            local_part: self.local_part,
            now: self.now,
        };
        Ok((plan, header))
    }

    /// The columns of a table without a header: the first that looks like an address, and one with a word that is
    /// known.
    fn bare(&self, first: &Record) -> Result<Columns, String> {
        let row = first.values();
        let numbers: Vec<String> = (1..=row.len()).map(|n| n.to_string()).collect();
        let mut columns = match self.named.is_empty() {
            true => Columns::default(),
            false => Columns::of_table(Format::Plain, &numbers, &self.named)?,
        };
        let address = row.iter().position(|value| value.contains('@')).unwrap_or(0);
        columns.put(Role::Address, Place::Column(address));
        let word = |value: &&str| reason::word(value).is_some();
        if let Some(index) = row.iter().position(word) {
            columns.put(Role::Reason, Place::Column(index));
        }
        Ok(columns)
    }
}

/// Reads on a thread of its own, while the store writes.
struct Reader {
    name: String,
    options: Options,
    bar: ProgressBar,
    operation: Option<OperationId>,
    sender: mpsc::Sender<(Vec<NewSuppression>, u64)>,
}

impl Reader {
    fn read(self, input: Box<dyn Read + Send>) -> anyhow::Result<Tally> {
        let options = &self.options;
        let mut records = Records::open(input).with_context(|| self.name.clone())?;
        let mut rejected = Rejected::new(options.rejected.clone());
        let mut skipped: BTreeMap<String, u64> = BTreeMap::new();
        let mut plan: Option<Plan<'_>> = None;
        let mut record = Record::default();
        let mut chunk = Vec::with_capacity(CHUNK);
        loop {
            let mut next = records.next(&mut record).with_context(|| self.name.clone())?;
            if plan.is_none() && matches!(next, Next::Record) {
                let (told, header) = options.plan(&record, records.is_json(), &self.name)?;
                plan = Some(told);
                if header {
                    next = records.next(&mut record).with_context(|| self.name.clone())?;
                }
            }
            let outcome = match (next, &plan) {
                (Next::End, _) => break,
                (Next::Bad(problem), _) => Outcome::Reject(problem),
                (Next::Record, Some(plan)) => plan.read(&record),
                (Next::Record, None) => Outcome::Nothing,
            };
            match outcome {
                Outcome::Entry(entry) => chunk.push(self.entry(*entry)),
                Outcome::Skip(why) => *skipped.entry(why).or_default() += 1,
                Outcome::Reject(problem) => {
                    if let Some(told) = rejected.keep(record.line, &problem, &record.text())? {
                        let (name, line) = (&self.name, record.line);
                        self.bar.suspend(|| eprintln!("{name}:{line}: {told}"));
                    }
                }
                Outcome::Nothing => {}
            }
            if chunk.len() == CHUNK && !self.send(&mut chunk, records.octets()) {
                break;
            }
        }
        self.send(&mut chunk, records.octets());
        Ok(Tally {
            format: plan.map_or(options.format.unwrap_or(Format::Plain), |plan| plan.format),
            rejected: rejected.finish()?,
            skipped,
        })
    }

    /// Hands a chunk to the store; false where that has given up.
    fn send(&self, chunk: &mut Vec<NewSuppression>, octets: u64) -> bool {
        let full = std::mem::replace(chunk, Vec::with_capacity(CHUNK));
        full.is_empty() || self.sender.blocking_send((full, octets)).is_ok()
    }

    fn entry(&self, entry: Entry) -> NewSuppression {
        NewSuppression {
            expires: entry.expires.map(full_hour),
            author: entry.author.unwrap_or_else(|| format!("import {}", self.name)),
            reason: entry.reason,
            operation: self.operation.map(|operation| operation.0),
            ..NewSuppression::new(entry.subject, entry.cause, entry.since)
        }
    }
}

#[cfg(test)]
mod tests;
