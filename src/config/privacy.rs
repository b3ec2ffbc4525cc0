//! `[privacy]`: whether addresses are kept, or only keyed hashes of them.

use super::{Settings, secret};
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

impl Settings {
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
