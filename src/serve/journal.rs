//! Postfix's log from the systemd journal: a `journalctl --follow --output=json` of our own, its cursor
//! for a position. The format is systemd's "Journal JSON Format".
//!
//! On failure: a journalctl that ends or cannot be started is started again after the last cursor, later
//! each time (250 ms to 30 s); an entry that is no JSON, or lacks what a line of a log has, is skipped
//! with a line in our own log.

use super::tail::{CONTEXT, MAX_LINES, Start, Stream};
use crate::postfix::log::decode;
use crate::postfix::log::line::Message;
use jiff::Timestamp;
use serde_json::Value;
use std::io;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::Instant;

const FIRST_DELAY: Duration = Duration::from_millis(250);
const LAST_DELAY: Duration = Duration::from_secs(30);

/// How many entries before the position are looked at for context.
const CONTEXT_ENTRIES: usize = 20_000;

/// The fields that are asked for; cursor and time of arrival come unasked.
const FIELDS: &str =
    "--output-fields=MESSAGE,SYSLOG_IDENTIFIER,SYSLOG_PID,_PID,_HOSTNAME,_SOURCE_REALTIME_TIMESTAMP";

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When the program wrote it.
    pub at: Timestamp,
    /// The host (`_HOSTNAME`).
    pub host: String,
    /// The program (`SYSLOG_IDENTIFIER`): `postfix/smtp`.
    pub program: String,
    /// The process id.
    pub pid: String,
    /// What it said.
    pub text: String,
    /// Where it stands in the journal.
    cursor: String,
}

/// Some entries, and how far the journal has been read with them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Batch {
    /// The entries; at most [`MAX_LINES`]. None where only the position is new.
    pub entries: Vec<Entry>,
    /// The cursor behind them, to be kept with what became of them; `None` for context, and as long as the
    /// journal has nothing of Postfix.
    pub position: Option<String>,
    /// Whether these entries lie before the position that was asked for: to be learnt from, not counted.
    pub context: bool,
}

/// The tail of the journal.
#[derive(Debug)]
pub struct Journal {
    /// The program and its first arguments.
    command: Vec<String>,
    /// The last arguments: which entries.
    matches: Vec<String>,
    cursor: Option<String>,
    start: Start,
    /// What is to be handed over before following.
    before: Option<Vec<Batch>>,
    following: Option<(Child, Stream<ChildStdout>)>,
    retry: Option<Instant>,
    first_delay: Duration,
    delay: Duration,
}

impl Entry {
    /// Reads one line of `journalctl --output=json`; `None` where it is no entry of a log.
    #[must_use]
    pub fn parse(json: &[u8]) -> Option<Self> {
        let entry: Value = serde_json::from_slice(json).ok()?;
        let text = |name: &str| {
            entry
                .get(name)
                .and_then(octets)
                .map(|octets| decode(&octets).into_owned())
        };
        let micros = |name: &str| text(name).and_then(|digits| digits.parse().ok());
        let at = micros("_SOURCE_REALTIME_TIMESTAMP").or_else(|| micros("__REALTIME_TIMESTAMP"))?;
        Some(Self {
            at: Timestamp::from_microsecond(at).ok()?,
            host: text("_HOSTNAME").unwrap_or_default(),
            program: text("SYSLOG_IDENTIFIER")?,
            pid: text("SYSLOG_PID").or_else(|| text("_PID")).unwrap_or_default(),
            text: text("MESSAGE")?,
            cursor: text("__CURSOR")?,
        })
    }

    /// The entry as a message of the log.
    #[must_use]
    pub fn message(&self) -> Message<'_> {
        Message {
            at: self.at,
            host: &self.host,
            program: &self.program,
            pid: &self.pid,
            text: &self.text,
        }
    }
}

/// The octets of a field: a string, or numbers where it is no printable UTF-8; of a field that an entry
/// has several times, the first.
fn octets(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::String(text) => Some(text.as_bytes().to_vec()),
        Value::Array(items) if items.first().is_some_and(Value::is_number) => items
            .iter()
            .map(|item| item.as_u64().and_then(|octet| u8::try_from(octet).ok()))
            .collect(),
        Value::Array(items) => octets(items.first().filter(|item| !item.is_array())?),
        _ => None,
    }
}

impl Journal {
    /// The mail facility's entries, by the system's journalctl, after a position that an earlier
    /// [`Batch`] had, or from `start`.
    #[must_use]
    pub fn open(position: Option<String>, start: Start) -> Self {
        let matches = vec!["SYSLOG_FACILITY=2".to_owned()];
        Self::with_command(vec!["journalctl".to_owned()], matches, position, start)
    }

    /// The same by a command of the caller's (a program and its first arguments, for a journal in another
    /// place) and with matches of the caller's (for a Postfix with another `syslog_facility`).
    #[must_use]
    pub fn with_command(
        command: Vec<String>,
        matches: Vec<String>,
        position: Option<String>,
        start: Start,
    ) -> Self {
        Self {
            command,
            matches,
            cursor: position,
            start,
            before: None,
            following: None,
            retry: None,
            first_delay: FIRST_DELAY,
            delay: FIRST_DELAY,
        }
    }

    /// The next entries, as soon as there is one. First come what lies before (in batches that say so),
    /// and a batch without entries that has the position of the start. Dropping the future loses nothing.
    ///
    /// # Errors
    /// What starting journalctl says; the next call tries again.
    pub async fn next(&mut self) -> io::Result<Batch> {
        loop {
            if let Some(retry) = self.retry {
                tokio::time::sleep_until(retry).await;
                self.retry = None;
            }
            if self.before.is_none() {
                let before = self.look_back().await;
                self.before = Some(before.inspect_err(|_| self.later())?);
            }
            if let Some(batch) = self.before.as_mut().and_then(Vec::pop) {
                return Ok(batch);
            }
            if self.following.is_none() {
                self.following = Some(self.follow().inspect_err(|_| self.later())?);
            }
            let Some((_, stream)) = &mut self.following else {
                continue;
            };
            match stream.next().await {
                Ok(Some(chunk)) => {
                    if let Some(batch) = self.take_in(&chunk.lines) {
                        return Ok(batch);
                    }
                }
                ended => {
                    let error = ended.err().map(|error| error.to_string());
                    tracing::warn!(error, delay = ?self.delay, "journalctl ended; starting it again");
                    self.following = None;
                    self.later();
                }
            }
        }
    }

    /// Puts off the next attempt.
    fn later(&mut self) {
        self.retry = Some(Instant::now() + self.delay);
        self.delay = (self.delay * 2).min(LAST_DELAY);
    }

    fn take_in(&mut self, lines: &[Vec<u8>]) -> Option<Batch> {
        let entries = parse_all(lines);
        self.cursor = Some(entries.last()?.cursor.clone());
        self.delay = self.first_delay;
        Some(Batch {
            entries,
            position: self.cursor.clone(),
            context: false,
        })
    }

    fn journalctl(&self, arguments: &[&str]) -> Command {
        let mut words = self.command.iter();
        let mut command = Command::new(words.next().map_or("journalctl", String::as_str));
        command
            .args(words)
            .args(["--output=json", "--all", "--no-pager", "--quiet", FIELDS]);
        command.args(arguments).args(&self.matches);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    fn follow(&self) -> io::Result<(Child, Stream<ChildStdout>)> {
        let after = self
            .cursor
            .as_ref()
            .map(|cursor| format!("--after-cursor={cursor}"));
        // Without a cursor there is nothing before the start, or all of it is wanted.
        let mut arguments = vec!["--follow", "--no-tail"];
        arguments.extend(after.as_deref());
        spawn(self.journalctl(&arguments))
    }

    /// What lies before the start, the last batch first; and for a start at the end, where that is.
    async fn look_back(&mut self) -> io::Result<Vec<Batch>> {
        if self.cursor.is_none() && self.start == Start::Beginning {
            return Ok(Vec::new());
        }
        let from = self.cursor.as_ref().map(|cursor| format!("--cursor={cursor}"));
        let count = format!("--lines={CONTEXT_ENTRIES}");
        let mut arguments = vec!["--reverse", &count];
        arguments.extend(from.as_deref());
        let (_child, mut stream) = spawn(self.journalctl(&arguments))?;
        let (mut entries, mut room) = (Vec::new(), CONTEXT);
        while let Some(chunk) = stream.next().await? {
            for entry in parse_all(&chunk.lines) {
                room = room.saturating_sub(entry.text.len() as u64);
                entries.push(entry);
            }
            if room == 0 {
                break;
            }
        }
        if self.cursor.is_none() {
            self.cursor = entries.first().map(|entry: &Entry| entry.cursor.clone());
        }
        let mut batches = vec![Batch {
            position: self.cursor.clone(),
            ..Batch::default()
        }];
        batches.extend(entries.chunks(MAX_LINES).map(|entries| Batch {
            entries: entries.iter().rev().cloned().collect(),
            position: None,
            context: true,
        }));
        Ok(batches)
    }
}

fn spawn(mut command: Command) -> io::Result<(Child, Stream<ChildStdout>)> {
    let mut child = command.spawn()?;
    let output = child
        .stdout
        .take()
        .ok_or_else(|| io::Error::other("journalctl has no output"))?;
    Ok((child, Stream::new(output)))
}

fn parse_all(lines: &[Vec<u8>]) -> Vec<Entry> {
    let read = |line: &Vec<u8>| {
        let entry = Entry::parse(line);
        if entry.is_none() {
            tracing::debug!(
                octets = line.len(),
                "skipped an entry of the journal that is none of a log"
            );
        }
        entry
    };
    lines.iter().filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postfix::log::{Entry as LineEntry, Line};

    fn json(n: u32) -> String {
        format!(
            r#"{{"__CURSOR":"c{n}","__REALTIME_TIMESTAMP":"1795254058000000","_HOSTNAME":"mx","SYSLOG_IDENTIFIER":"postfix/qmgr","SYSLOG_PID":"7","MESSAGE":"DE8ABA4831{n}: removed"}}"#
        )
    }

    #[test]
    fn reads_entries() {
        let entry = Entry::parse(json(1).as_bytes()).unwrap();
        let line = Line::from_message(entry.message()).unwrap();
        assert_eq!((line.host, line.service, line.pid), ("mx", Some("qmgr"), "7"));
        assert_eq!((line.queue_id, line.entry), ("DE8ABA48311", LineEntry::Removed));
        let odd = r#"{"__CURSOR":"c","__REALTIME_TIMESTAMP":"1","_SOURCE_REALTIME_TIMESTAMP":"1795254058000001","SYSLOG_IDENTIFIER":["postfix/smtp","x"],"_PID":"8","MESSAGE":[97,0,255]}"#;
        let entry = Entry::parse(odd.as_bytes()).unwrap();
        assert_eq!(
            (entry.text.as_str(), entry.program.as_str(), entry.pid.as_str()),
            ("a?\u{fffd}", "postfix/smtp", "8")
        );
        assert_eq!(entry.at.as_microsecond(), 1_795_254_058_000_001);
    }

    #[test]
    fn what_is_no_entry_is_none() {
        for text in [
            "",
            "{",
            "[]",
            "{}",
            r#"{"MESSAGE":null}"#,
            r#"{"__CURSOR":"c","__REALTIME_TIMESTAMP":"x","SYSLOG_IDENTIFIER":"p","MESSAGE":"m"}"#,
            r#"{"__CURSOR":"c","__REALTIME_TIMESTAMP":"1","SYSLOG_IDENTIFIER":"p","MESSAGE":[[[1]]]}"#,
            r#"{"__CURSOR":"c","__REALTIME_TIMESTAMP":"1","SYSLOG_IDENTIFIER":"p","MESSAGE":[300]}"#,
        ] {
            assert_eq!(Entry::parse(text.as_bytes()), None, "{text}");
        }
    }

    /// A journal of five entries, whose follower dies after each entry.
    const SCRIPT: &str = r#"
        cd "$1"; after=0; last=3
        for word; do case $word in
            --after-cursor=c*) after=${word#*=c};;
            --cursor=c*) last=${word#*=c};;
            --reverse) reverse=1;;
        esac; done
        if [ "$reverse" ]; then
            while [ $last -gt 0 ]; do cat $last; last=$((last - 1)); done
            exit
        fi
        echo garbage; cat $((after + 1)) || exec cat /dev/zero > /dev/null
    "#;

    fn journal(directory: &std::path::Path, position: Option<&str>, start: Start) -> Journal {
        for n in 1..=5 {
            std::fs::write(directory.join(n.to_string()), json(n) + "\n").unwrap();
        }
        let directory = directory.to_str().unwrap();
        let command = ["/bin/sh", "-c", SCRIPT, "journalctl", directory].map(str::to_owned);
        Journal {
            first_delay: Duration::from_millis(1),
            delay: Duration::from_millis(1),
            ..Journal::with_command(command.to_vec(), Vec::new(), position.map(str::to_owned), start)
        }
    }

    async fn until(journal: &mut Journal, last: &str) -> (Vec<String>, Vec<String>) {
        let (mut context, mut entries) = (Vec::new(), Vec::new());
        loop {
            let batch = journal.next().await.unwrap();
            let cursors = batch.entries.iter().map(|entry| entry.cursor.clone());
            if batch.context {
                context.extend(cursors)
            } else {
                entries.extend(cursors)
            }
            if batch.position.as_deref() == Some(last) {
                return (context, entries);
            }
        }
    }

    #[tokio::test]
    async fn a_journalctl_that_dies_is_started_after_the_last_cursor() {
        let directory = tempfile::tempdir().unwrap();
        let mut all = journal(directory.path(), None, Start::Beginning);
        assert_eq!(
            until(&mut all, "c5").await,
            (vec![], ["c1", "c2", "c3", "c4", "c5"].map(str::to_owned).to_vec())
        );
        let mut rest = journal(directory.path(), Some("c2"), Start::End);
        let (context, entries) = until(&mut rest, "c5").await;
        assert_eq!(
            (context, entries),
            (
                vec!["c1".to_owned(), "c2".to_owned()],
                ["c3", "c4", "c5"].map(str::to_owned).to_vec()
            )
        );
    }

    #[tokio::test]
    async fn a_start_at_the_end_knows_where_that_is() {
        let directory = tempfile::tempdir().unwrap();
        let mut end = journal(directory.path(), None, Start::End);
        assert_eq!(until(&mut end, "c3").await.0.len(), 3);
        assert_eq!(until(&mut end, "c4").await.1, ["c4"]);
    }

    #[tokio::test]
    async fn a_missing_journalctl_is_an_error_each_time() {
        let mut journal = Journal::with_command(
            vec!["/nonexistent/journalctl".to_owned()],
            Vec::new(),
            None,
            Start::End,
        );
        for _ in 0..3 {
            assert_eq!(journal.next().await.unwrap_err().kind(), io::ErrorKind::NotFound);
        }
    }
}
