//! What the commands that read mail find on disk: files beneath directories, Maildirs (without what is not
//! delivered yet, and without their indexes), mbox files (RFC 4155) and single messages, told apart by
//! their first octets.
//!
//! Nothing is held whole but one message, and of that no more than [`MAX_MESSAGE`]. What cannot be read is
//! told to the caller by name, and the rest is found all the same.

use crate::postfix::log::{Calendar, HeaderError, Line, LineError, decode};
use jiff::Timestamp;
use std::io::{self, BufRead, Cursor, Read};
use std::path::{Path, PathBuf};

/// The largest message that is read whole; what follows is passed over, as over LMTP.
pub const MAX_MESSAGE: u64 = 64 * 1024 * 1024;
/// As much as is looked at to tell what a file holds.
const HEAD: u64 = 4096;
/// As much of a line as is looked at in one go; a longer one counts as several, of which only the first
/// can begin a message.
const PIECE: u64 = 64 * 1024;

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Lines of a log.
    Log,
    /// Several messages, each after a line that starts with `From `.
    Mbox,
    /// One message.
    Message,
}

/// Data that would have to be unpacked first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, found compressed data; unpack it first")]
pub struct Compressed {
    /// What the command reads.
    pub expected: &'static str,
}

/// Adds the files of a path: itself, or all beneath it in the order of their names. Links to directories
/// are followed only where they are named themselves, so that no circle is walked. `wrong` is told of
/// what cannot be looked at.
pub fn collect(path: &Path, files: &mut Vec<PathBuf>, wrong: &mut dyn FnMut(&Path, &io::Error)) {
    match path.metadata() {
        Ok(metadata) if metadata.is_dir() => directory(path, files, wrong),
        Ok(_) => files.push(path.to_owned()),
        Err(error) => wrong(path, &error),
    }
}

fn directory(path: &Path, files: &mut Vec<PathBuf>, wrong: &mut dyn FnMut(&Path, &io::Error)) {
    let entries = std::fs::read_dir(path).and_then(|entries| entries.collect::<io::Result<Vec<_>>>());
    let mut entries = match entries {
        Ok(entries) => entries,
        Err(error) => return wrong(path, &error),
    };
    entries.sort_by_key(std::fs::DirEntry::file_name);
    let maildir = path.join("cur").is_dir() && path.join("new").is_dir();
    for entry in entries {
        let beneath = entry.path();
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        match beneath.metadata() {
            Ok(_) if is_directory && !(maildir && beneath.ends_with("tmp")) => {
                directory(&beneath, files, wrong);
            }
            // Beside its directories a Maildir holds what servers note for themselves.
            Ok(metadata) if metadata.is_file() && !maildir => files.push(beneath),
            // A pipe or a socket found on the way would be waited for.
            Ok(_) => {}
            Err(error) => wrong(&beneath, &error),
        }
    }
}

/// A reader with its first octets put back.
pub type Rewound<R> = io::Chain<Cursor<Vec<u8>>, R>;

/// A reader's first octets, and the reader with these octets put back.
///
/// # Errors
/// Where it cannot be read.
pub fn head<R: Read>(mut reader: R) -> io::Result<(Vec<u8>, Rewound<R>)> {
    let mut head = Vec::new();
    reader.by_ref().take(HEAD).read_to_end(&mut head)?;
    Ok((head.clone(), Cursor::new(head).chain(reader)))
}

/// Tells what a file holds, by its name and its first octets. `expected` says what the command reads.
///
/// # Errors
/// For compressed data.
pub fn form(file: &Path, head: &[u8], now: Timestamp, expected: &'static str) -> Result<Form, Compressed> {
    let packed: [&[u8]; 6] = [
        &[0x1f, 0x8b],
        b"BZh",
        b"\xfd7zXZ",
        b"\x28\xb5\x2f\xfd",
        b"\x04\x22\x4d\x18",
        b"PK\x03\x04",
    ];
    if packed.iter().any(|magic| head.starts_with(magic)) {
        return Err(Compressed { expected });
    }
    let named = |extension: &str| {
        file.extension()
            .is_some_and(|e| e.eq_ignore_ascii_case(extension))
    };
    if named("eml") {
        return Ok(Form::Message);
    }
    if head.starts_with(b"From ") {
        return Ok(Form::Mbox);
    }
    let first = head.split(|octet| *octet == b'\n').next().unwrap_or_default();
    let text = decode(first);
    let mut calendar = Calendar::new(now, jiff::tz::TimeZone::UTC);
    match Line::parse(&text, &mut calendar) {
        Err(LineError::Header(HeaderError::Time)) if !named("log") => Ok(Form::Message),
        // A foreign line is a log line all the same: the first of a mail.log is often another daemon's.
        _ => Ok(Form::Log),
    }
}

/// Reads a single message, without a line `From ` that an mbox left in front of it.
///
/// # Errors
/// Where it cannot be read.
pub fn message(reader: impl Read) -> io::Result<Vec<u8>> {
    let mut raw = Vec::new();
    reader.take(MAX_MESSAGE).read_to_end(&mut raw)?;
    if raw.starts_with(b"From ") {
        let end = memchr::memchr(b'\n', &raw).map_or(raw.len(), |end| end + 1);
        raw.drain(..end);
    }
    Ok(raw)
}

/// The messages of an mbox. A message begins after a line `From …` at the start, after an empty line, or
/// with a time in it (writers that leave out the empty line are many); `>From ` loses one `>`.
#[derive(Debug)]
pub struct Mbox<R> {
    reader: R,
    line: Vec<u8>,
    /// Whether the line in `line` opens the next message.
    opened: bool,
}

impl<R: BufRead> Mbox<R> {
    /// Reads from there on.
    pub fn new(reader: R) -> Self {
        Self {
            reader,
            line: Vec::new(),
            opened: false,
        }
    }

    /// The next piece of a line into `line`; whether there was one.
    fn piece(&mut self) -> io::Result<bool> {
        self.line.clear();
        let read = (&mut self.reader).take(PIECE).read_until(b'\n', &mut self.line)?;
        Ok(read > 0)
    }

    fn next_message(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut raw = Vec::new();
        // What stands in front of the first `From ` belongs to no message.
        let mut within = std::mem::take(&mut self.opened);
        let (mut line_starts, mut after_empty) = (true, !within);
        while self.piece()? {
            let line = self.line.as_slice();
            let opens = line_starts && line.starts_with(b"From ") && (after_empty || is_dated(line));
            if opens && within {
                self.opened = true;
                return Ok(Some(raw));
            }
            after_empty = line_starts && matches!(line, b"\n" | b"\r\n");
            let piece = if line_starts { unquoted(line) } else { line };
            line_starts = line.ends_with(b"\n");
            if opens {
                within = true;
            } else if within && raw.len() as u64 + piece.len() as u64 <= MAX_MESSAGE {
                raw.extend_from_slice(piece);
            }
        }
        Ok(within.then_some(raw))
    }
}

impl<R: BufRead> Iterator for Mbox<R> {
    type Item = io::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_message().transpose()
    }
}

/// Whether a line `From …` has a time of day, as the asctime(3) of RFC 4155 does.
fn is_dated(line: &[u8]) -> bool {
    line.windows(5)
        .any(|w| w[2] == b':' && [w[0], w[1], w[3], w[4]].iter().all(u8::is_ascii_digit))
}

fn unquoted(line: &[u8]) -> &[u8] {
    let quotes = line.iter().take_while(|&&octet| octet == b'>').count();
    if quotes > 0 && line[quotes..].starts_with(b"From ") {
        &line[1..]
    } else {
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<String> {
        Mbox::new(text.as_bytes())
            .map(|message| String::from_utf8(message.unwrap()).unwrap())
            .collect()
    }

    #[test]
    fn an_mbox_is_parted_where_messages_begin() {
        let dated = "From a@b.test Sat Nov 21 09:00:00 2026\n";
        let table: [(String, &[&str]); 6] = [
            (
                format!("{dated}A: 1\n\nx\n\n{dated}B: 2\n\ny\n"),
                &["A: 1\n\nx\n\n", "B: 2\n\ny\n"],
            ),
            (
                format!("{dated}A: 1\n\nx\n{dated}B: 2\n"),
                &["A: 1\n\nx\n", "B: 2\n"],
            ),
            (
                format!("{dated}A: 1\n\nx\nFrom here on\n>From me\n>>From you\n>no\n"),
                &["A: 1\n\nx\nFrom here on\nFrom me\n>From you\n>no\n"],
            ),
            (
                "From x\r\nA: 1\r\n\r\nFrom y\r\nB: 2\r\n".into(),
                &["A: 1\r\n\r\n", "B: 2\r\n"],
            ),
            (dated.to_owned(), &[""]),
            (String::new(), &[]),
        ];
        for (text, messages) in table {
            assert_eq!(read(&text), messages, "{text}");
        }
    }

    #[test]
    fn a_message_without_end_is_cut() {
        let endless = io::repeat(b'x').take(MAX_MESSAGE + PIECE * 4);
        let mbox = b"From x\n"
            .chain(endless)
            .chain(&b"\nFrom y Sat Nov 21 09:00:00 2026\nB: 2\n"[..]);
        let sizes: Vec<usize> = Mbox::new(io::BufReader::new(mbox))
            .map(|message| message.unwrap().len())
            .collect();
        assert_eq!(sizes.len(), 2);
        assert!(sizes[0] as u64 <= MAX_MESSAGE && sizes[1] == 5, "{sizes:?}");
    }

    #[test]
    fn forms_are_told_apart() {
        let log = b"Nov 21 09:40:56 mta postfix/smtp[7]: 4A1B2C3D4E5F: removed\n";
        let table: [(&str, &[u8], Option<Form>); 8] = [
            ("mail.log", log, Some(Form::Log)),
            (
                "messages",
                b"Nov 21 09:40:56 mta cron[7]: hello\n",
                Some(Form::Log),
            ),
            ("x.log", b"anything", Some(Form::Log)),
            ("old", b"From a Sat Nov 21 09:00:00 2026\n", Some(Form::Mbox)),
            (
                "old.eml",
                b"From a Sat Nov 21 09:00:00 2026\n",
                Some(Form::Message),
            ),
            ("1", b"Return-Path: <>\n", Some(Form::Message)),
            ("empty", b"", Some(Form::Message)),
            ("mail.log.2.gz", &[0x1f, 0x8b, 8], None),
        ];
        for (name, head, expected) in table {
            let found = form(Path::new(name), head, Timestamp::UNIX_EPOCH, "mail").ok();
            assert_eq!(found, expected, "{name}");
        }
    }
}
