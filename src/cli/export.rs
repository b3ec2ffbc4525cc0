//! `nixie suppress export`: all entries, as CSV that `import` reads back, or as JSON Lines. Pages are read and written
//! one after the other: ten million entries take no more memory than ten thousand.

use super::suppress::list::{COLUMNS, FilterArguments, json, values};
use crate::config::Settings;
use crate::store::Store;
use clap::Args;
use std::io::{self, BufWriter, Write};

/// Entries a page.
const PAGE: u32 = 10_000;

/// Arguments of `nixie suppress export`.
#[derive(Debug, Args)]
pub struct ExportArguments {
    /// Which
    #[command(flatten)]
    pub filter: FilterArguments,
    /// As JSON Lines instead of CSV
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
///
/// # Errors
/// Where the store does not answer, or the standard output cannot be written.
pub async fn run(store: &Store, options: &ExportArguments, _settings: &Settings) -> anyhow::Result<()> {
    match write(store, options).await {
        // Who has read enough (`| head`) is no failure.
        Err(error) if is_pipe(&error) => Ok(()),
        other => other,
    }
}

fn is_pipe(error: &anyhow::Error) -> bool {
    let is = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
    error.chain().any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(is)
            || matches!(cause.downcast_ref::<csv::Error>().map(csv::Error::kind), Some(csv::ErrorKind::Io(error)) if is(error))
    })
}

async fn write(store: &Store, options: &ExportArguments) -> anyhow::Result<()> {
    let mut filter = options.filter.filter(None, PAGE);
    let mut out = BufWriter::new(io::stdout());
    if !options.json {
        csv::Writer::from_writer(&mut out).write_record(COLUMNS)?;
    }
    loop {
        let entries = store.suppressions(&filter).await?;
        let Some(last) = entries.last() else {
            return Ok(out.flush()?);
        };
        filter.after = Some(last.id);
        if options.json {
            for entry in &entries {
                writeln!(out, "{}", json(entry))?;
            }
        } else {
            let mut rows = csv::Writer::from_writer(&mut out);
            for entry in &entries {
                rows.write_record(values(entry))?;
            }
            rows.flush()?;
        }
    }
}
