//! The log of a private instance, read while Postfix writes it.
//!
//! On failure: an error with the end of the log. A log that cannot be read counts as empty.

use crate::wait;
use anyhow::{Context, Result};
use regex::Regex;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A log file.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
}

impl Log {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How long it is now, in bytes: a mark to look from.
    #[must_use]
    pub fn mark(&self) -> u64 {
        fs::metadata(&self.path).map(|m| m.len()).unwrap_or_default()
    }

    /// All of it.
    #[must_use]
    pub fn text(&self) -> String {
        fs::read(&self.path)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// The lines that match a regular expression.
    ///
    /// # Errors
    /// When the expression is none.
    pub fn matches(&self, pattern: &str) -> Result<Vec<String>> {
        let pattern = Regex::new(pattern)?;
        let text = self.text();
        Ok(text
            .lines()
            .filter(|l| pattern.is_match(l))
            .map(str::to_owned)
            .collect())
    }

    /// Waits for a line after `mark` that matches a regular expression.
    ///
    /// # Errors
    /// When `within` passes first, or the expression is none.
    pub fn wait(&self, mark: u64, pattern: &str, within: Duration) -> Result<String> {
        let expression = Regex::new(pattern)?;
        let mut follower = Follower::from(self, mark);
        wait::until(within, &format!("a log line like {pattern:?}"), || {
            Ok(follower
                .lines()?
                .into_iter()
                .find(|line| expression.is_match(line)))
        })
        .with_context(|| format!("the log ends with:\n{}", self.tail(20)))
    }

    /// Its last lines.
    #[must_use]
    pub fn tail(&self, lines: usize) -> String {
        let text = self.text();
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// Reads it line by line as it grows, from `mark` on.
    #[must_use]
    pub fn follow(&self, mark: u64) -> Follower {
        Follower::from(self, mark)
    }
}

/// A reader that gives each complete line once.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    offset: u64,
}

impl Follower {
    fn from(log: &Log, mark: u64) -> Self {
        Self {
            path: log.path.clone(),
            offset: mark,
        }
    }

    /// The complete lines written since the last call.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn lines(&mut self) -> Result<Vec<String>> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.offset))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let complete = bytes
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |at| at + 1);
        self.offset += complete as u64;
        let text = String::from_utf8_lossy(&bytes[..complete]);
        Ok(text.lines().map(str::to_owned).collect())
    }
}
