//! `nixie ingest`: a backlog. Logs, mbox files, Maildirs and single messages are told apart by their
//! first octets, read with a progress bar, and handed to the same keeper as the daemon's intakes.
//!
//! Safe to run twice, and safe beside a running daemon: every event has a deterministic id and counts
//! once. A file that cannot be read is named, the rest is done, and the exit code is 1.

use super::walk::{self, Form};
use crate::clock;
use crate::config::Settings;
use crate::engine::memory::Memory;
use crate::mail::event::Source;
use crate::mail::message::{self, Envelope};
use crate::postfix::log::{Calendar, Joiner, Line, decode};
use crate::serve::alert::Alarm;
use crate::serve::keeper::{Handle, Intake, KeepError, Keeper, KeeperCounters};
use crate::serve::release::Bell;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use parking_lot::RwLock;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Events handed in at once.
const CHUNK: usize = 2000;
/// Queue ids that the joiner remembers.
const JOINED: usize = 200_000;
/// The longest log line that is read, in octets; Postfix cuts its own at 2,050.
const MAX_LINE: usize = 64 * 1024;

/// Arguments of `nixie ingest`.
#[derive(Debug, Args)]
pub struct IngestArguments {
    /// Log files, mbox files, Maildirs, messages, or directories of any of them
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
}

/// What was read so far.
#[derive(Debug, Default)]
struct Tally {
    lines: u64,
    messages: u64,
    reports: u64,
    others: u64,
    unreadable: u64,
}

/// Runs the command.
///
/// # Errors
/// Where the store does not answer: what was committed before stays, and the next run goes on.
pub async fn run(options: &IngestArguments, settings: &Settings) -> anyhow::Result<ExitCode> {
    let mut failed = 0usize;
    let mut files = Vec::new();
    for path in &options.paths {
        walk::collect(path, &mut files, &mut |path, error| {
            eprintln!("{}: {error}", path.display());
            failed += 1;
        });
    }
    let store = super::open(settings).await?;
    let bench = Arc::new(RwLock::new(Arc::new(crate::serve::bench(settings)?)));
    let counters = Arc::new(KeeperCounters::default());
    let (keeper, handle) = Keeper::new(
        store,
        Arc::new(Memory::new()),
        bench,
        Arc::clone(&counters),
        Bell::default(),
        Alarm::default(),
    );
    let keeper = tokio::spawn(keeper.run());
    let total = files
        .iter()
        .filter_map(|file| file.metadata().ok())
        .map(|metadata| metadata.len())
        .sum();
    let style = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {msg} {eta}")?;
    let mut ingest = Ingest {
        handle,
        bar: ProgressBar::new(total).with_style(style),
        tally: Tally::default(),
        pending: Intake::default(),
    };
    for file in &files {
        if let Err(error) = ingest.file(file, settings).await {
            if error.is::<KeepError>() {
                // The store, and not the file: the others would fail as well.
                return Err(error);
            }
            ingest.bar.suspend(|| eprintln!("{}: {error:#}", file.display()));
            failed += 1;
        }
    }
    ingest.flush().await?;
    ingest.bar.finish_and_clear();
    let tally = ingest.tally;
    drop(ingest.handle);
    keeper.await?;
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    say!(
        "{} files, {} log lines, {} messages",
        files.len(),
        tally.lines,
        tally.messages
    );
    if tally.messages > 0 {
        say!(
            "{} reports; {} messages that are none",
            tally.reports,
            tally.others
        );
    }
    say!(
        "{} new events, {} seen before",
        count(&counters.events),
        count(&counters.duplicates)
    );
    say!("{} addresses suppressed", count(&counters.suppressions));
    if tally.unreadable > 0 {
        say!(
            "{} log lines about deliveries could not be read",
            tally.unreadable
        );
    }
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// An ingest under way.
struct Ingest {
    handle: Handle,
    bar: ProgressBar,
    tally: Tally,
    pending: Intake,
}

impl Ingest {
    async fn file(&mut self, file: &Path, settings: &Settings) -> anyhow::Result<()> {
        let open = File::open(file)?;
        let modified = open
            .metadata()?
            .modified()
            .ok()
            .and_then(|at| Timestamp::try_from(at).ok());
        let (head, open) = walk::head(open)?;
        let reader = BufReader::with_capacity(256 * 1024, open);
        match walk::form(file, &head, clock::now(), "a log or mail")? {
            Form::Log => {
                let calendar = Calendar::new(modified.unwrap_or_else(clock::now), settings.log.zone());
                self.log(reader, calendar).await
            }
            Form::Mbox => self.mbox(reader).await,
            Form::Message => {
                let raw = walk::message(reader)?;
                self.bar.inc(raw.len() as u64);
                self.message(&raw).await
            }
        }
    }

    async fn log(&mut self, mut reader: impl BufRead, mut calendar: Calendar) -> anyhow::Result<()> {
        let mut joiner = Joiner::new(JOINED);
        let mut line = Vec::new();
        loop {
            line.clear();
            let octets = (&mut reader).take(MAX_LINE as u64).read_until(b'\n', &mut line)?;
            if octets == 0 {
                break;
            }
            self.tally.lines += 1;
            self.bar.inc(octets as u64);
            if let Ok(line) = Line::parse(&decode(&line), &mut calendar) {
                joiner.push(&line, &mut self.pending.events);
            }
            self.flush_when_full().await?;
        }
        self.tally.unreadable += joiner.unreadable();
        Ok(())
    }

    async fn mbox(&mut self, reader: impl BufRead) -> anyhow::Result<()> {
        for message in walk::Mbox::new(reader) {
            let message = message?;
            self.bar.inc(message.len() as u64);
            self.message(&message).await?;
        }
        Ok(())
    }

    async fn message(&mut self, raw: &[u8]) -> anyhow::Result<()> {
        self.tally.messages += 1;
        let reading = message::read(raw);
        let events = message::events(&reading, Envelope::default(), Source::File, clock::now());
        if events.is_empty() {
            self.tally.others += 1;
        } else {
            self.tally.reports += 1;
        }
        self.pending.events.extend(events);
        self.flush_when_full().await
    }

    async fn flush_when_full(&mut self) -> anyhow::Result<()> {
        if self.pending.events.len() >= CHUNK {
            self.flush().await
        } else {
            Ok(())
        }
    }

    async fn flush(&mut self) -> anyhow::Result<()> {
        let intake = std::mem::take(&mut self.pending);
        if !intake.events.is_empty() {
            self.bar.set_message(format!(
                "{} lines, {} messages",
                self.tally.lines, self.tally.messages
            ));
            self.handle.keep(intake).await?;
        }
        Ok(())
    }
}
