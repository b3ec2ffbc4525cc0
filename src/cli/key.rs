//! `nixie key`: the file of the keys that sign return paths (see [`crate::engine::token`]). A key never appears in what
//! is printed; only its number does.
//!
//! The file is replaced as a whole: who reads it meanwhile finds the old keys or the new ones. Its owner stays, and
//! nobody else may read it.

use crate::config::Settings;
use crate::engine::token::{Keyring, LAST_KEY, LEAST_KEY};
use anyhow::{Context as _, bail};
use clap::Subcommand;
use data_encoding::BASE64;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The commands of `nixie key`.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Put a new key in front of the others: from the next reload on it signs, and the others still prove
    New {
        /// The file [default: `key_file` of the section `signing`]
        file: Option<PathBuf>,
    },
    /// Show the keys' numbers, the one that signs first
    List {
        /// The file [default: `key_file` of the section `signing`]
        file: Option<PathBuf>,
    },
    /// Take a key out: what it signed proves nothing from the next reload on
    Drop {
        /// The key's number
        number: u8,
        /// The file [default: `key_file` of the section `signing`]
        file: Option<PathBuf>,
    },
}

/// Runs the command.
///
/// # Errors
/// Where the file cannot be read or written, or a line of it is no key.
pub fn run(command: &KeyCommand, settings: &Settings) -> anyhow::Result<ExitCode> {
    let (KeyCommand::New { file } | KeyCommand::List { file } | KeyCommand::Drop { file, .. }) = command;
    let path = file.as_ref().unwrap_or(&settings.signing.key_file);
    if path.as_os_str().is_empty() {
        bail!("expected a file, or [signing] key_file in the configuration, found neither");
    }
    let text = read(path).with_context(|| path.display().to_string())?;
    let numbers = match &text {
        Some(text) => numbers(text).with_context(|| path.display().to_string())?,
        None => Vec::new(),
    };
    match command {
        KeyCommand::List { .. } => {
            if text.is_none() {
                bail!(
                    "{}: there is no such file; `nixie key new` makes it",
                    path.display()
                );
            }
            for (index, number) in numbers.iter().enumerate() {
                let role = if index == 0 { "signs and proves" } else { "proves" };
                say!("{number:>3}  {role}");
            }
        }
        KeyCommand::New { .. } => {
            let number =
                free(&numbers).context("expected a free number; drop keys that are of no use any more")?;
            let old = text.as_ref().map_or("", ExposeSecret::expose_secret);
            let line = Zeroizing::new(format!("{number} {}\n{old}", *random()?));
            replace(path, &line).with_context(|| path.display().to_string())?;
            say!(
                "key {number} is in {}; reload Nixie (SIGHUP) to sign with it",
                path.display()
            );
        }
        KeyCommand::Drop { number, .. } => {
            if !numbers.contains(number) {
                bail!("{}: expected one of {numbers:?}, found {number}", path.display());
            }
            if numbers.len() == 1 {
                bail!(
                    "{}: key {number} is the only one; add another first",
                    path.display()
                );
            }
            let old = text.as_ref().map_or("", ExposeSecret::expose_secret);
            replace(path, &without(old, *number)).with_context(|| path.display().to_string())?;
            say!("key {number} is out of {}; reload Nixie (SIGHUP)", path.display());
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn read(path: &Path) -> std::io::Result<Option<SecretString>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.into())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The numbers of the keys in a text; none in one without keys.
fn numbers(text: &SecretString) -> anyhow::Result<Vec<u8>> {
    match Keyring::parse(text) {
        Ok(keys) => Ok(keys.numbers().collect()),
        Err(crate::engine::token::KeyError::None) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

/// The number after the highest, or else the lowest that is free: one that was dropped lately is not taken again soon.
fn free(numbers: &[u8]) -> Option<u8> {
    let next = numbers.iter().max().map_or(0, |last| last + 1);
    (next..=LAST_KEY)
        .chain(0..=LAST_KEY)
        .find(|number| !numbers.contains(number))
}

fn random() -> anyhow::Result<Zeroizing<String>> {
    let mut secret = Zeroizing::new([0; LEAST_KEY]);
    getrandom::fill(&mut *secret).context("the system gives no random numbers")?;
    Ok(Zeroizing::new(BASE64.encode(&*secret)))
}

fn without(text: &str, number: u8) -> Zeroizing<String> {
    let is_it = |line: &&str| {
        line.split_whitespace()
            .next()
            .and_then(|first| first.parse().ok())
            == Some(number)
    };
    let lines = text.lines().filter(|line| !is_it(line));
    Zeroizing::new(lines.flat_map(|line| [line, "\n"]).collect())
}

/// Writes the text beside the file, and puts it in its place.
fn replace(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)
        .with_context(|| format!("{}: is another `nixie key` at work?", beside.display()))?;
    let written = write(&mut file, path, text);
    if written.is_ok() {
        std::fs::rename(&beside, path)?;
    } else {
        // What is said is why it could not be written.
        let _ = std::fs::remove_file(&beside);
    }
    written
}

fn write(file: &mut File, path: &Path, text: &str) -> anyhow::Result<()> {
    if let Ok(old) = std::fs::metadata(path)
        && (old.uid(), old.gid()) != (file.metadata()?.uid(), file.metadata()?.gid())
    {
        fchown(&*file, Some(old.uid()), Some(old.gid())).context("giving the file to its owner")?;
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_up_and_begin_anew() {
        assert_eq!(free(&[]), Some(0));
        assert_eq!(free(&[1, 0]), Some(2));
        assert_eq!(free(&[LAST_KEY, 0]), Some(1));
        assert_eq!(free(&(0..=LAST_KEY).collect::<Vec<_>>()), None);
    }

    #[test]
    fn only_the_key_of_the_number_is_taken_out() {
        assert_eq!(&**without("# two\n2 b\n12 c\n1 a\n", 2), "# two\n12 c\n1 a\n");
    }
}
