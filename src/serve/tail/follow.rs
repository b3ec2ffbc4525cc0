//! Follows one log through its rotations; synchronous, so that each case can be driven step by step.
//!
//! - **Renamed**: the old file stays open. It is left when it is read to its end *and* the new one has
//!   content: a writer that has reopened writes to the new one only. Files that came between (two
//!   rotations at once) are read in the order of their last change.
//! - **Truncated** (`copytruncate`): the file is shorter than what was read, or its first line has
//!   changed. The rest is read from the copy with the old first line, then the file from its start.
//! - **Resumed**: the file is found again by its first line under whatever name; then as if renamed.
//!
//! A line without an end waits for it, except in a file that is being left. To read a line twice is
//! harmless (events have deterministic ids), to miss one is not: what is doubtful is read.

use super::position::{Candidate, Identity, Position, head, siblings};
use super::split::{Chunk, MAX_LINES, READ, Splitter};
use super::{CONTEXT, Start};
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Follows one log.
#[derive(Debug)]
pub(super) struct Follower {
    path: PathBuf,
    /// Where to begin, until that is known.
    begin: Option<Begin>,
    current: Option<Open>,
    /// What is to be read after the current file.
    later: VecDeque<Open>,
    buffer: Vec<u8>,
}

#[derive(Debug)]
enum Begin {
    At(Position),
    From(Start),
}

/// A file being read.
#[derive(Debug)]
struct Open {
    file: File,
    identity: Identity,
    /// Where the next line starts.
    offset: u64,
    /// How far beyond that has been read.
    ahead: u64,
    splitter: Splitter,
    head: Option<String>,
}

/// What a read came to.
enum Read {
    Lines(Vec<Vec<u8>>),
    End,
    /// The file is not the one that was read before.
    Replaced,
}

impl Follower {
    pub(super) fn new(path: &Path, position: Option<Position>, start: Start) -> Self {
        Self {
            path: path.to_owned(),
            begin: Some(position.map_or(Begin::From(start), Begin::At)),
            current: None,
            later: VecDeque::new(),
            buffer: vec![0; READ],
        }
    }

    /// The next lines that are there; `None` where there are none for now.
    pub(super) fn poll(&mut self) -> io::Result<Option<Chunk>> {
        loop {
            if self.current.is_none() && !self.begin()? {
                return Ok(None);
            }
            // The successor is looked at before the last read: all that was written to the old file
            // before the new one had content is then read.
            let successor = self.successor()?;
            let Some(current) = &mut self.current else {
                return Ok(None);
            };
            let lines = match current.read(&mut self.buffer)? {
                Read::Lines(lines) => lines,
                Read::Replaced => {
                    self.restart()?;
                    continue;
                }
                Read::End if successor.is_none() && self.later.is_empty() => return Ok(None),
                Read::End => match current.finish() {
                    Some(line) => vec![line],
                    None => {
                        self.advance(successor)?;
                        continue;
                    }
                },
            };
            return Ok(Some(Chunk {
                lines,
                position: Some(current.position()?),
                context: false,
            }));
        }
    }

    /// Finds the first file; whether there is one.
    fn begin(&mut self) -> io::Result<bool> {
        let live = Candidate::open(&self.path)?;
        let found = match &self.begin {
            Some(Begin::At(position)) => {
                let found = find(&self.path, live, position)?;
                if found.is_none() && !position.is_absent() {
                    tracing::warn!(
                        path = %self.path.display(),
                        offset = position.offset,
                        "the log was rotated away from its position; lines before the present file can be \
                         read with `nixie ingest`"
                    );
                }
                found
            }
            Some(Begin::From(Start::End)) => live
                .map(|live| {
                    let offset = last_line_end(&live.file, live.length)?;
                    Open::at(live, offset)
                })
                .transpose()?,
            Some(Begin::From(Start::Beginning)) | None => live.map(|live| Open::at(live, 0)).transpose()?,
        };
        // A log that appears, or is all that is left, is new from its start on.
        self.begin = None;
        self.current = match found {
            Some(open) => Some(open),
            None => Candidate::open(&self.path)?
                .map(|live| Open::at(live, 0))
                .transpose()?,
        };
        Ok(self.current.is_some())
    }

    /// The place where reading begins, for the first start: kept at once, it makes a crash before the
    /// first line lose nothing.
    pub(super) fn here(&mut self) -> io::Result<Chunk> {
        let position = match &mut self.current {
            Some(current) => current.position()?,
            None => serde_json::to_string(&Position::ABSENT)?,
        };
        Ok(Chunk {
            position: Some(position),
            ..Chunk::default()
        })
    }

    /// The file under the log's name, where it is another one than the current and has content.
    fn successor(&self) -> io::Result<Option<Candidate>> {
        let Some(current) = &self.current else {
            return Ok(None);
        };
        let live = Candidate::open(&self.path)?;
        Ok(live.filter(|live| live.identity != current.identity && live.length > 0))
    }

    /// Leaves the current file for the next one.
    fn advance(&mut self, successor: Option<Candidate>) -> io::Result<()> {
        if self.later.is_empty()
            && let (Some(current), Some(successor)) = (&self.current, successor)
        {
            let since = current.file.metadata()?.modified()?;
            let mut between = siblings(&self.path)?;
            between.retain(|other| {
                let known = other.identity == current.identity || other.identity == successor.identity;
                other.numbered && !known && other.modified >= since
            });
            between.sort_by_key(|other| other.modified);
            for file in between.into_iter().chain([successor]) {
                self.later.push_back(Open::at(file, 0)?);
            }
        }
        self.current = self.later.pop_front();
        Ok(())
    }

    /// Goes on after a truncation: with the copy of what was there, or from the start.
    fn restart(&mut self) -> io::Result<()> {
        let Some(current) = self.current.take() else {
            return Ok(());
        };
        let mut copies = Vec::new();
        if current.head.is_some() {
            for other in siblings(&self.path)? {
                let same = other.identity != current.identity && other.length >= current.offset;
                if same && head(&other.file)? == current.head {
                    copies.push(other);
                }
            }
        }
        let copy = copies
            .into_iter()
            .max_by_key(|copy| (copy.numbered, copy.modified));
        self.current = match copy {
            Some(copy) => Some(Open::at(copy, current.offset)?),
            None => Some(Open {
                offset: 0,
                ahead: 0,
                splitter: Splitter::default(),
                head: None,
                ..current
            }),
        };
        Ok(())
    }

    /// Up to [`CONTEXT`] octets of lines before the place where reading begins, oldest first; if this file
    /// has fewer, from the file before it as well.
    pub(super) fn context(&mut self) -> io::Result<Vec<Chunk>> {
        if self.current.is_none() && !self.begin()? {
            return Ok(Vec::new());
        }
        let Some(current) = &self.current else {
            return Ok(Vec::new());
        };
        let mut lines = Vec::new();
        if current.offset < CONTEXT {
            let modified = current.file.metadata()?.modified()?;
            let mut before = siblings(&self.path)?;
            before.retain(|other| {
                other.numbered && other.identity != current.identity && other.modified <= modified
            });
            if let Some(before) = before.into_iter().max_by_key(|other| other.modified) {
                lines_before(&before.file, before.length, CONTEXT - current.offset, &mut lines)?;
            }
        }
        lines_before(&current.file, current.offset, CONTEXT, &mut lines)?;
        let chunk = |lines: &[Vec<u8>]| Chunk {
            lines: lines.to_vec(),
            position: None,
            context: true,
        };
        Ok(lines.chunks(MAX_LINES).map(chunk).collect())
    }
}

/// The file that holds a position: the log itself, or what rotation made of it.
fn find(path: &Path, live: Option<Candidate>, position: &Position) -> io::Result<Option<Open>> {
    let mut found = Vec::new();
    for candidate in live.into_iter().chain(siblings(path)?) {
        if candidate.holds(position)? {
            found.push(candidate);
        }
    }
    // Logs of other priorities may start with the same line (`mail.info`): the inode tells, else the name.
    let best = found
        .into_iter()
        .max_by_key(|file| (file.identity.inode == position.inode, file.numbered));
    best.map(|file| Open::at(file, position.offset)).transpose()
}

impl Open {
    fn at(candidate: Candidate, offset: u64) -> io::Result<Self> {
        Ok(Self {
            head: if offset > 0 { head(&candidate.file)? } else { None },
            file: candidate.file,
            identity: candidate.identity,
            offset,
            ahead: 0,
            splitter: Splitter::default(),
        })
    }

    /// Reads on, until there are lines, or the end.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Read> {
        let mut lines = Vec::new();
        loop {
            let from = self.offset + self.ahead;
            let read = match self.file.read_at(buffer, from) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read?,
            };
            // Checked behind the read, so that nothing read is of a file replaced meanwhile.
            if self.replaced(from + read as u64)? {
                return Ok(Read::Replaced);
            }
            if read == 0 {
                return Ok(Read::End);
            }
            let (taken, ended) = self.splitter.feed(&buffer[..read], &mut lines);
            if ended > 0 {
                self.offset = from + ended as u64;
                self.ahead = (taken - ended) as u64;
            } else {
                self.ahead += taken as u64;
            }
            if !lines.is_empty() {
                return Ok(Read::Lines(lines));
            }
        }
    }

    /// Whether the file is shorter than what was read of it, or starts with another line.
    fn replaced(&mut self, read: u64) -> io::Result<bool> {
        if self.file.metadata()?.len() < read {
            return Ok(true);
        }
        if self.offset == 0 {
            return Ok(false);
        }
        let found = head(&self.file)?;
        if self.head.is_none() {
            self.head = found;
            return Ok(false);
        }
        Ok(found != self.head)
    }

    /// The last line of a file that is being left, where it has no end.
    fn finish(&mut self) -> Option<Vec<u8>> {
        let line = self.splitter.finish()?;
        self.offset += std::mem::take(&mut self.ahead);
        Some(line)
    }

    /// The position after the last line that was given out.
    fn position(&mut self) -> io::Result<String> {
        if self.head.is_none() {
            self.head = head(&self.file)?;
        }
        let position = Position {
            inode: self.identity.inode,
            dev: self.identity.dev,
            offset: self.offset,
            head: self.head.clone(),
        };
        Ok(serde_json::to_string(&position)?)
    }
}

/// Where the last ended line of a file ends.
fn last_line_end(file: &File, length: u64) -> io::Result<u64> {
    let mut end = length;
    let mut buffer = vec![0; READ];
    while end > 0 {
        let start = end.saturating_sub(READ as u64);
        let part = &mut buffer[..(end - start) as usize];
        file.read_exact_at(part, start)?;
        if let Some(newline) = memchr::memrchr(b'\n', part) {
            return Ok(start + newline as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// Appends the lines that lie within `room` octets before `end`.
fn lines_before(file: &File, end: u64, room: u64, lines: &mut Vec<Vec<u8>>) -> io::Result<()> {
    let start = end.saturating_sub(room);
    let mut bytes = vec![0; (end - start) as usize];
    file.read_exact_at(&mut bytes, start)?;
    let mut bytes = bytes.as_slice();
    if start > 0 {
        // Most likely in the middle of a line.
        let first = memchr::memchr(b'\n', bytes).map_or(bytes.len(), |newline| newline + 1);
        bytes = &bytes[first..];
    }
    let ended = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    if !ended.is_empty() {
        lines.extend(ended.split(|byte| *byte == b'\n').map(<[u8]>::to_vec));
    }
    Ok(())
}
