//! `[privacy]`: whether addresses are kept, or only keyed hashes of them.

use super::milter::OnReport;
use super::{ConfigError, Settings, secret};
use crate::engine::return_path::Style;
use crate::engine::suppression::privacy::Veil;
use anyhow::Context as _;
use serde::Deserialize;
use std::path::PathBuf;

/// The longest key that is read, in octets.
const LONGEST: u64 = 4096;

/// What is kept of addresses.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Privacy {
    /// The file of the key; empty is none, and addresses are kept in clear.
    pub key_file: PathBuf,
}

impl Privacy {
    /// Whether only hashes are kept.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.key_file.as_os_str().is_empty()
    }
}

impl Settings {
    /// What `[privacy]` takes away without a word where nobody says it: for people, at start and in `nixie check-config`.
    #[must_use]
    pub fn renounced(&self) -> Option<&'static str> {
        (self.privacy.is_on() && self.signing.is_on()).then_some(
            "[privacy] is on: a complaint whose recipient its provider redacted suppresses nobody, for only a hash is kept of whom \
             the message went to",
        )
    }

    /// What cannot be had together: of the return path that the application gave, only the domain is kept behind the veil.
    pub(super) fn validate_privacy(&self) -> Result<(), ConfigError> {
        let read = &self.milter.read;
        let passes = read.enabled && [read.proven, read.unproven].contains(&OnReport::Pass);
        let key = match (passes, self.submit.pass_on) {
            (true, _) => "[milter.read]",
            (_, true) => "[submit] pass_on",
            _ => return Ok(()),
        };
        if !self.privacy.is_on() || !self.signing.is_on() || self.signing.style == Style::Tag {
            return Ok(());
        }
        Err(ConfigError::Value {
            key,
            problem: "expected no passing on under [privacy], which keeps no return path to pass on to, or [signing] style = \
                      \"tag\", which carries it"
                .into(),
        })
    }

    /// The veil over addresses: none without a key.
    ///
    /// # Errors
    /// Where the key cannot be read, is too short, or is for others to read as well.
    pub fn veil(&self) -> anyhow::Result<Veil> {
        let path = &self.privacy.key_file;
        if path.as_os_str().is_empty() {
            return Ok(Veil::default());
        }
        let said = || format!("[privacy] key_file: {}", path.display());
        let key = secret::read(path, LONGEST).with_context(said)?;
        Veil::new(&key).with_context(said)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn what_cannot_be_passed_on_is_said_at_start() {
        let mut settings = Settings::default();
        settings.privacy.key_file = "/etc/nixie/privacy".into();
        settings.signing.key_file = "/etc/nixie/keys".into();
        let problem = |settings: &Settings| settings.validate_privacy().unwrap_err().to_string();
        assert!(settings.validate_privacy().is_ok());
        assert!(settings.renounced().unwrap().contains("redacted"));
        settings.submit.pass_on = true;
        assert!(
            problem(&settings).starts_with("[submit] pass_on: expected"),
            "{}",
            problem(&settings)
        );
        settings.submit.pass_on = false;
        settings.milter.read.proven = OnReport::Pass;
        assert!(settings.validate_privacy().is_ok(), "nothing is read");
        settings.milter.read.enabled = true;
        assert!(
            problem(&settings).starts_with("[milter.read]: expected"),
            "{}",
            problem(&settings)
        );
        settings.signing.style = Style::Tag;
        assert!(settings.validate_privacy().is_ok());
        settings.signing.style = Style::Replace;
        settings.privacy.key_file.clear();
        assert!(settings.validate_privacy().is_ok() && settings.renounced().is_none());
    }

    #[test]
    fn a_key_is_for_nobody_else_to_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let mut settings = Settings::default();
        assert!(!settings.veil().unwrap().is_drawn());
        settings.privacy.key_file.clone_from(&path);
        let problem = |settings: &Settings| format!("{:#}", settings.veil().unwrap_err());
        assert!(problem(&settings).contains("No such file"));
        std::fs::write(&path, [7; 32]).unwrap();
        let allow = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        allow(0o640);
        assert!(
            problem(&settings).contains("found 0640"),
            "{}",
            problem(&settings)
        );
        allow(0o600);
        assert!(settings.veil().unwrap().is_drawn());
        std::fs::write(&path, [7; 31]).unwrap();
        assert!(
            problem(&settings).contains("at least 32 octets, found 31"),
            "{}",
            problem(&settings)
        );
        std::fs::write(&path, [7; 4097]).unwrap();
        assert!(
            problem(&settings).contains("at most 4096 octets"),
            "{}",
            problem(&settings)
        );
    }
}
