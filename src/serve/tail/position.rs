//! Where in which file: a position outlives renames, because it names the file by its inode and by a
//! fingerprint of its first line. Names may lie (rotation), inodes may be used again; a first line with
//! its time stamp hardly repeats.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// How many octets of the first line count.
const HEAD: usize = 512;

/// A position in a log file, as kept with what was read up to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The file's inode.
    pub inode: u64,
    /// The device of the inode.
    pub dev: u64,
    /// Octets from its start: the start of the next line.
    pub offset: u64,
    /// The fingerprint of its first line; absent as long as the file has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<String>,
}

impl Position {
    /// Before the first line of a log that does not exist yet.
    pub(super) const ABSENT: Self = Self {
        inode: 0,
        dev: 0,
        offset: 0,
        head: None,
    };

    /// Whether this is [`Self::ABSENT`].
    pub(super) fn is_absent(&self) -> bool {
        *self == Self::ABSENT
    }
}

/// What tells a file from another while both exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) dev: u64,
    pub(super) inode: u64,
}

impl From<&Metadata> for Identity {
    fn from(metadata: &Metadata) -> Self {
        Self {
            dev: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

/// A file with what is known of it.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) file: File,
    pub(super) identity: Identity,
    pub(super) modified: SystemTime,
    pub(super) length: u64,
    /// Whether its name is the log's with nothing but a number or a date added.
    pub(super) numbered: bool,
}

impl Candidate {
    /// Opens a file; `None` where there is none (any more).
    pub(super) fn open(path: &Path) -> io::Result<Option<Self>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "expected a regular file, found something else at {}",
                    path.display()
                ),
            ));
        }
        Ok(Some(Self {
            identity: Identity::from(&metadata),
            modified: metadata.modified()?,
            length: metadata.len(),
            file,
            numbered: false,
        }))
    }

    /// Whether this file is the one that a position was taken in.
    pub(super) fn holds(&self, position: &Position) -> io::Result<bool> {
        if self.length < position.offset {
            return Ok(false);
        }
        match &position.head {
            Some(known) => Ok(head(&self.file)?.as_ref() == Some(known)),
            None => Ok(self.identity.inode == position.inode && self.identity.dev == position.dev),
        }
    }
}

/// The fingerprint of a file's first line (of its first 512 octets, where the line is longer); `None` as
/// long as the line has no end.
pub(super) fn head(file: &File) -> io::Result<Option<String>> {
    let mut bytes = [0; HEAD];
    let mut length = 0;
    while length < HEAD {
        match file.read_at(&mut bytes[length..], length as u64) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let line = match memchr::memchr(b'\n', &bytes[..length]) {
        Some(end) => &bytes[..end],
        None if length == HEAD => &bytes[..],
        None => return Ok(None),
    };
    let digest = Sha256::digest(line);
    Ok(Some(
        digest[..8].iter().map(|byte| format!("{byte:02x}")).collect(),
    ))
}

/// The files that rotation may have made of a log: in its directory, their names starting with its stem,
/// not compressed. The log itself is not among them.
pub(super) fn siblings(path: &Path) -> io::Result<Vec<Candidate>> {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        return Ok(Vec::new());
    };
    let (stem, extension) = match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => (stem, extension),
        _ => (name, ""),
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory(path))? {
        let entry = entry?;
        let file_name = entry.file_name();
        let Some(other) = file_name
            .to_str()
            .filter(|other| *other != name && other.starts_with(stem))
        else {
            continue;
        };
        let compressed = [".gz", ".xz", ".bz2", ".zst", ".lz4", ".Z"]
            .iter()
            .any(|end| other.ends_with(end));
        if compressed || !entry.file_type()?.is_file() {
            continue;
        }
        // A sibling that vanishes or that is not ours to read is none.
        if let Ok(Some(mut candidate)) = Candidate::open(&entry.path()) {
            candidate.numbered = numbered(other, name, stem, extension);
            found.push(candidate);
        }
    }
    Ok(found)
}

/// `mail.log.1`, `mail.log-20261121`, `mail-20261121.log`.
fn numbered(other: &str, name: &str, stem: &str, extension: &str) -> bool {
    let added = other.strip_prefix(name).or_else(|| {
        let middle = other.strip_prefix(stem)?.strip_suffix(extension)?;
        middle.strip_suffix('.')
    });
    added.is_some_and(|added| {
        added.contains(|c: char| c.is_ascii_digit())
            && added
                .chars()
                .all(|c| c.is_ascii_digit() || matches!(c, '.' | '-' | '_'))
    })
}

/// The directory that a file lies in.
pub(super) fn directory(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_names_of_rotated_files() {
        let table = [
            ("mail.log.1", true),
            ("mail.log-20261121", true),
            ("mail.log.2026-11-21", true),
            ("mail-20261121.log", true),
            ("mail.log.old", false),
            ("mail-debug.log", false),
            ("mail.logs", false),
            ("mail.", false),
        ];
        for (other, expected) in table {
            assert_eq!(numbered(other, "mail.log", "mail", "log"), expected, "{other}");
        }
        assert!(numbered("maillog-20261121", "maillog", "maillog", ""));
    }
}
