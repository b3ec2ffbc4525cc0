//! The lines that were not taken, for whoever puts them right: a CSV file with the columns line, problem, content,
//! that comes to be with its first line and is for its owner's eyes only.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

/// Lines told one by one on the standard error; the rest are counted, and all of them are in the file.
const TOLD: u64 = 20;

/// Where rejected lines go.
pub(super) struct Rejected {
    path: Option<PathBuf>,
    file: Option<csv::Writer<File>>,
    count: u64,
}

impl Rejected {
    /// Keeps them in a file, or tells them only.
    pub(super) fn new(path: Option<PathBuf>) -> Self {
        Self {
            path,
            file: None,
            count: 0,
        }
    }

    /// Keeps a line. Returns what to tell of it, where it is among the first.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub(super) fn keep(&mut self, line: u64, problem: &str, content: &str) -> io::Result<Option<String>> {
        self.count += 1;
        if let Some(path) = &self.path {
            let file = match &mut self.file {
                Some(file) => file,
                None => {
                    let open = OpenOptions::new()
                        .write(true)
                        .create(true)
                        .truncate(true)
                        .mode(0o600)
                        .open(path)?;
                    let mut writer = csv::Writer::from_writer(open);
                    writer.write_record(["line", "problem", "content"])?;
                    self.file.insert(writer)
                }
            };
            file.write_record([&line.to_string(), problem, content])?;
        }
        Ok(match self.count {
            n if n < TOLD => Some(problem.to_owned()),
            TOLD => Some(format!("{problem} (further bad lines are only counted)")),
            _ => None,
        })
    }

    /// How many there were, and in which file they are.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub(super) fn finish(mut self) -> io::Result<(u64, Option<PathBuf>)> {
        match &mut self.file {
            Some(file) => file.flush()?,
            None => self.path = None,
        }
        Ok((self.count, self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn what_is_rejected_is_kept_with_its_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.rejected");
        let untouched = Rejected::new(Some(path.clone()));
        assert_eq!(untouched.finish().unwrap(), (0, None));
        assert!(!path.exists());
        let mut rejected = Rejected::new(Some(path.clone()));
        let told: Vec<_> = (1..=30)
            .filter_map(|n| rejected.keep(n, "no", "a,\"b\"").unwrap())
            .collect();
        assert_eq!(told.len(), 20);
        assert_eq!(rejected.finish().unwrap(), (30, Some(path.clone())));
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with("line,problem,content\n1,no,\"a,\"\"b\"\"\"\n"),
            "{text}"
        );
        assert_eq!(text.lines().count(), 31);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}
