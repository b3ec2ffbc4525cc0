//! `nixie suppress import`: reads `address,cause` lines, a header allowed, and writes them in bulk.
//! Safe to run twice: what is suppressed already stays as it is. A bad line is named with its number
//! and what was expected, the rest is imported, and the exit code is 1.

use crate::clock;
use crate::config::Settings;
use crate::engine::suppression::NewSuppression;
use crate::engine::verdict::{Cause, Scope};
use crate::mail::address::{Address, LocalPart};
use crate::store::Store;
use crate::store::contract::Added;
use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

/// Entries a transaction.
const CHUNK: usize = 10_000;
/// Bad lines told one by one; the rest are counted.
const TOLD: u64 = 20;

/// Runs the import.
///
/// # Errors
/// Where the file cannot be read or the store does not answer: what was written before stays.
pub async fn run(store: &Store, file: &Path, cause: Cause, settings: &Settings) -> anyhow::Result<ExitCode> {
    let standard_input = file.as_os_str() == "-";
    let name = if standard_input {
        "standard input".to_owned()
    } else {
        file.display().to_string()
    };
    let (input, size): (Box<dyn Read + Send>, u64) = if standard_input {
        (Box::new(std::io::stdin()), 0)
    } else {
        let open = std::fs::File::open(file).with_context(|| name.clone())?;
        let size = open.metadata().map_or(0, |metadata| metadata.len());
        (Box::new(open), size)
    };
    let template = Template {
        cause,
        author: format!("import {name}"),
        now: clock::now(),
        local_part: settings.address.local_part,
    };
    let bar = ProgressBar::new(size).with_style(
        ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {msg} {eta}")
            .context("the progress bar")?,
    );
    let (mut total, mut rejected) = (Added::default(), 0u64);
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .trim(csv::Trim::All)
        .from_reader(input);
    let mut record = csv::StringRecord::new();
    let mut chunk = Vec::with_capacity(CHUNK);
    loop {
        let more = match reader.read_record(&mut record) {
            Ok(more) => more,
            Err(error) if error.is_io_error() => return Err(error).with_context(|| name.clone()),
            Err(error) => {
                reject(&mut rejected, &name, reader.position().line(), &error.to_string());
                true
            }
        };
        if more && !record.is_empty() {
            let line = record.position().map_or(0, csv::Position::line);
            match template.entry(&record) {
                Ok(Some(entry)) => chunk.push(entry),
                Ok(None) => {}
                Err(problem) => reject(&mut rejected, &name, line, &problem),
            }
        }
        if chunk.len() == CHUNK || (!more && !chunk.is_empty()) {
            let added = store.add(&chunk, template.now).await?;
            total.added += added.added;
            total.kept += added.kept;
            bar.set_position(reader.position().byte());
            bar.set_message(format!("{} added", total.added));
            chunk.clear();
        }
        if !more {
            break;
        }
    }
    bar.finish_and_clear();
    say!(
        "{} added, {} suppressed already, {rejected} lines rejected",
        total.added,
        total.kept
    );
    Ok(if rejected == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn reject(rejected: &mut u64, file: &str, line: u64, problem: &str) {
    *rejected += 1;
    if *rejected <= TOLD {
        eprintln!("{file}:{line}: {problem}");
    }
    if *rejected == TOLD {
        eprintln!("{file}: further bad lines are only counted");
    }
}

/// What all entries of an import share.
struct Template {
    cause: Cause,
    author: String,
    now: Timestamp,
    local_part: LocalPart,
}

impl Template {
    /// The entry of a line; `None` for a header.
    fn entry(&self, record: &csv::StringRecord) -> Result<Option<NewSuppression>, String> {
        let address = record.get(0).unwrap_or("");
        let header =
            record.position().is_some_and(|position| position.record() == 0) && !address.contains('@');
        if header {
            return Ok(None);
        }
        let key = Address::parse(address)
            .map_err(|error| error.to_string())?
            .key(self.local_part);
        let cause = match record.get(1).filter(|cause| !cause.is_empty()) {
            None => self.cause,
            Some(name) => Cause::from_name(name)
                .filter(|cause| matches!(cause.scope(), Scope::Recipient | Scope::Domain))
                .ok_or_else(|| {
                    format!("expected a recipient's or a domain's cause like user_unknown, found {name:?}")
                })?,
        };
        Ok(Some(NewSuppression {
            author: self.author.clone(),
            reason: "imported".into(),
            ..NewSuppression::new(key.into(), cause, self.now)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(text: &str) -> Vec<Result<Option<String>, String>> {
        let template = Template {
            cause: Cause::UserUnknown,
            author: "import x".into(),
            now: Timestamp::UNIX_EPOCH,
            local_part: LocalPart::Fold,
        };
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .from_reader(text.as_bytes());
        let entry = |record: csv::StringRecord| {
            template
                .entry(&record)
                .map(|entry| entry.map(|entry| format!("{} {}", entry.subject, entry.cause)))
        };
        reader.records().map(|record| entry(record.unwrap())).collect()
    }

    #[test]
    fn lines_are_read_and_bad_ones_explained() {
        let read = entries("address,cause\nA@b.test,mailbox_full\nc@d.test\nnobody\ne@f.test,spam\n");
        assert_eq!(read[0], Ok(None));
        assert_eq!(read[1], Ok(Some("a@b.test mailbox_full".into())));
        assert_eq!(read[2], Ok(Some("c@d.test user_unknown".into())));
        assert_eq!(
            read[3],
            Err("expected user@domain, found no `@` in \"nobody\"".into())
        );
        assert!(
            read[4]
                .as_ref()
                .is_err_and(|problem| problem.contains("found \"spam\""))
        );
    }
}
