//! The log intake: Postfix's log, followed (file, journal) or read to its end (standard input).
//!
//! A chunk of lines becomes events, which are committed together with the position behind it; only
//! then is the next chunk read. With the store down the intake waits and hands in the same chunk again.
//! A restart goes on at the committed position; lines before it are read once more for what they tell
//! about messages still in the queue, and make no events.

use super::journal::Journal;
use super::keeper::{Handle, Intake, KeepError};
use super::tail::{self, Start, Stream, Tail};
use crate::clock;
use crate::config::{Log, LogSource, LogStart};
use crate::mail::event::Event;
use crate::postfix::log::{Calendar, Joiner, Line, decode};
use crate::store::Store;
use crate::store::contract::Position;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Queue ids that are remembered, with what their earlier lines said.
const JOINED: usize = 200_000;
/// How long to wait where the store or the source does not answer: from, and up to.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

/// Counters for the metrics; they only grow.
#[derive(Debug, Default)]
pub struct LogCounters {
    /// Lines read.
    pub lines: AtomicU64,
    /// Lines about deliveries that could not be read.
    pub unreadable: AtomicU64,
}

/// The intake.
#[derive(Debug)]
pub struct LogIntake {
    source: LogSource,
    start: LogStart,
    name: String,
    store: Store,
    keeper: Handle,
    counters: Arc<LogCounters>,
    joiner: Joiner,
    calendar: Calendar,
}

impl LogIntake {
    /// An intake as configured.
    #[must_use]
    pub fn new(log: &Log, store: Store, keeper: Handle, counters: Arc<LogCounters>) -> Self {
        Self {
            source: log.source.clone(),
            start: log.start,
            name: format!("log:{}", log.source),
            store,
            keeper,
            counters,
            joiner: Joiner::new(JOINED),
            calendar: Calendar::new(clock::now(), log.zone()),
        }
    }

    /// Follows the log until told to stop, or until standard input ends; begins once the store has its
    /// schema.
    pub async fn run(mut self, mut migrated: watch::Receiver<bool>, stop: CancellationToken) {
        let run = async {
            if migrated.wait_for(|migrated| *migrated).await.is_err() {
                return;
            }
            let mut rest = RETRY.0;
            loop {
                match self.read().await {
                    Ok(()) => return info!(source = %self.source, "the log has ended"),
                    Err(Broken::Stopping) => return,
                    Err(Broken::Source(error)) => {
                        warn!(source = %self.source, %error, "the log cannot be read")
                    }
                    Err(Broken::Store(error)) => warn!(%error, "how far the log was read is not known yet"),
                }
                tokio::time::sleep(rest).await;
                rest = (rest * 2).min(RETRY.1);
            }
        };
        // A chunk that is being committed is committed, or not, whether or not we wait for the answer;
        // the position says which at the next start.
        tokio::select! {
            () = stop.cancelled() => {}
            () = run => {}
        }
    }

    /// Reads from the committed position until the source ends or fails.
    async fn read(&mut self) -> Result<(), Broken> {
        let position = self
            .store
            .position(&self.name)
            .await
            .map_err(|error| Broken::Store(error.to_string()))?;
        let position = position.map(|position| position.value);
        match self.source.clone() {
            LogSource::File(path) => self.follow(&path, position.as_deref()).await,
            LogSource::Journal => self.journal(position).await,
            LogSource::Stdin => self.stdin().await,
            LogSource::Off => Ok(()),
        }
    }

    fn start(&self) -> Start {
        match self.start {
            LogStart::End => Start::End,
            LogStart::Beginning => Start::Beginning,
        }
    }

    async fn follow(&mut self, path: &Path, position: Option<&str>) -> Result<(), Broken> {
        let mut tail = Tail::open(path, position, self.start())?;
        while let Some(chunk) = tail.next().await? {
            self.lines(&chunk.lines, chunk.position, chunk.context).await?;
        }
        Ok(())
    }

    async fn stdin(&mut self) -> Result<(), Broken> {
        let mut stream = Stream::new(tokio::io::stdin());
        while let Some(chunk) = stream.next().await? {
            self.lines(&chunk.lines, chunk.position, chunk.context).await?;
        }
        Ok(())
    }

    async fn journal(&mut self, position: Option<String>) -> Result<(), Broken> {
        let mut journal = Journal::open(position, self.start());
        loop {
            let batch = journal.next().await?;
            let mut events = Vec::new();
            for entry in &batch.entries {
                if let Ok(line) = Line::from_message(entry.message()) {
                    self.join(&line, batch.context, &mut events);
                }
            }
            self.keep(batch.entries.len(), events, batch.position).await?;
        }
    }

    async fn lines(
        &mut self,
        lines: &[Vec<u8>],
        position: Option<String>,
        context: bool,
    ) -> Result<(), Broken> {
        self.calendar.set_reference(clock::now());
        let mut events = Vec::new();
        for line in lines {
            if let Ok(line) = Line::parse(&decode(line), &mut self.calendar) {
                self.join(&line, context, &mut events);
            }
        }
        self.keep(if context { 0 } else { lines.len() }, events, position)
            .await
    }

    fn join(&mut self, line: &Line<'_>, context: bool, events: &mut Vec<Event>) {
        if context {
            self.joiner.learn(line);
        } else {
            self.joiner.push(line, events);
        }
    }

    /// Commits a chunk; with the store down, again and again.
    async fn keep(&self, lines: usize, events: Vec<Event>, position: Option<String>) -> Result<(), Broken> {
        self.counters
            .unreadable
            .store(self.joiner.unreadable(), Ordering::Relaxed);
        let positions = position.map(|value| Position {
            intake: self.name.clone(),
            value,
        });
        let intake = Intake {
            events,
            unread: Vec::new(),
            positions: positions.into_iter().collect(),
            ..Intake::default()
        };
        if intake.events.is_empty() && intake.positions.is_empty() {
            return Ok(());
        }
        let mut rest = RETRY.0;
        loop {
            match self.keeper.keep(intake.clone()).await {
                Ok(()) => break,
                Err(KeepError::Stopping) => return Err(Broken::Stopping),
                Err(KeepError::Store(_)) => tokio::time::sleep(rest).await,
            }
            rest = (rest * 2).min(RETRY.1);
        }
        self.counters.lines.fetch_add(lines as u64, Ordering::Relaxed);
        Ok(())
    }
}

/// Why reading broke off.
#[derive(Debug)]
enum Broken {
    /// The source cannot be read.
    Source(io::Error),
    /// The store does not say where to begin.
    Store(String),
    /// The daemon is stopping.
    Stopping,
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Source(error)
    }
}

/// How many octets of a followed file are still to be read; `None` where that cannot be told.
#[must_use]
pub fn lag(position: &Position) -> Option<u64> {
    let path = position.intake.strip_prefix("log:file:")?;
    tail::lag(Path::new(path), &position.value)
}
