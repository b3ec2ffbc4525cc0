//! `[signing]`: the keys of signed return paths, and how these look.

use super::suppression::Expiry;
use super::{ConfigError, Retention, Settings, Span, secret};
use crate::engine::return_path::{DELIMITERS, LONGEST_LOCAL, ReturnPaths, Signing, Style};
use crate::engine::token::{Keyring, LENGTH};
use crate::mail::address::canonical_domain;
use anyhow::{Context as _, bail};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use std::path::PathBuf;

/// The longest file of keys that is read, in octets.
const LONGEST: u64 = 65_536;
const DAY: u64 = 86_400;
/// How long a token may hold, in days.
const LIFETIMES: std::ops::RangeInclusive<u16> = 1..=60;

/// How return paths are signed.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SigningSettings {
    /// The file of the keys; empty is none, and nothing is signed.
    pub key_file: PathBuf,
    /// The bounce domain.
    pub domain: String,
    /// The local part before the delimiter.
    pub local: String,
    /// What stands before the token.
    pub delimiter: char,
    /// How a signed return path looks.
    pub style: Style,
    /// How long a token holds.
    pub lifetime: Span,
}

impl Default for SigningSettings {
    fn default() -> Self {
        Self {
            key_file: PathBuf::new(),
            domain: String::new(),
            local: "b".into(),
            delimiter: '+',
            style: Style::default(),
            lifetime: Span::from_secs(14 * DAY),
        }
    }
}

impl SigningSettings {
    /// Whether mail is signed.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.key_file.as_os_str().is_empty()
    }

    /// What types cannot say.
    pub(super) fn validate(&self, retention: &Retention) -> Result<(), ConfigError> {
        let wrong = |key, problem: String| Err(ConfigError::Value { key, problem });
        let is_atom = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*/?^_`{|}~+-=.".contains(c);
        let longest = LONGEST_LOCAL - LENGTH - 1;
        let fits = (1..=longest).contains(&self.local.len());
        if !fits || !self.local.chars().all(is_atom) || self.local.starts_with('.') {
            let problem = format!(
                "expected 1 to {longest} letters, digits and signs of a local part, found {:?}",
                self.local
            );
            return wrong("[signing] local", problem);
        }
        if !DELIMITERS.contains(&self.delimiter) {
            let problem = format!("expected one of + - = and ., found {:?}", self.delimiter);
            return wrong("[signing] delimiter", problem);
        }
        if self.days().is_none() {
            let (least, most) = (LIFETIMES.start(), LIFETIMES.end());
            let problem = format!(
                "expected whole days, {least}d to {most}d, found {:?}",
                self.lifetime.0
            );
            return wrong("[signing] lifetime", problem);
        }
        if self.is_on() && self.bounce_domain().is_none() {
            let problem = format!(
                "expected a domain for bounces, as in bounces.example.org, found {:?}",
                self.domain
            );
            return wrong("[signing] domain", problem);
        }
        // A token of a message to several proves something only as long as it is known to whom.
        if let Expiry::After(sent) = retention.sent
            && self.is_on()
            && sent.0 < self.lifetime.0
        {
            let problem = format!(
                "expected at least as long as a token holds ([signing] lifetime, {}s), found {}s",
                self.lifetime.0.as_secs(),
                sent.0.as_secs()
            );
            return wrong("[retention] sent", problem);
        }
        Ok(())
    }

    /// The lifetime in days.
    fn days(&self) -> Option<u16> {
        let seconds = self.lifetime.0.as_secs();
        let days = u16::try_from(seconds / DAY).ok()?;
        (seconds.is_multiple_of(DAY) && LIFETIMES.contains(&days)).then_some(days)
    }

    fn bounce_domain(&self) -> Option<String> {
        canonical_domain(&self.domain).filter(|domain| domain.contains('.') && !domain.starts_with('['))
    }
}

impl Settings {
    /// What signs and opens return paths: nothing without keys.
    ///
    /// # Errors
    /// Where the keys cannot be read, are for others to read as well, or are none.
    pub fn signing(&self) -> anyhow::Result<Option<Signing>> {
        let settings = &self.signing;
        if !settings.is_on() {
            return Ok(None);
        }
        let path = &settings.key_file;
        let said = || format!("[signing] key_file: {}", path.display());
        let octets = secret::read(path, LONGEST).with_context(said)?;
        let text = std::str::from_utf8(octets.expose_secret()).with_context(said)?;
        let text = SecretString::from(text);
        let keyring = Keyring::parse(&text).with_context(said)?;
        let (Some(domain), Some(lifetime)) = (settings.bounce_domain(), settings.days()) else {
            bail!("[signing]: expected a domain and a lifetime");
        };
        let paths = ReturnPaths {
            local: settings.local.to_ascii_lowercase(),
            delimiter: settings.delimiter,
            domain,
            style: settings.style,
            lifetime,
        };
        Ok(Some(Signing { keyring, paths }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    const KEY: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";

    #[test]
    fn keys_are_for_nobody_else_to_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys");
        let mut settings = Settings::default();
        assert_eq!(settings.signing().unwrap(), None);
        settings.signing.key_file.clone_from(&path);
        settings.signing.domain = "Bounces.Example.org".into();
        let problem = |settings: &Settings| format!("{:#}", settings.signing().unwrap_err());
        assert!(problem(&settings).contains("No such file"));
        std::fs::write(&path, format!("7 {KEY}\n")).unwrap();
        let allow = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        allow(0o640);
        assert!(
            problem(&settings).contains("found 0640"),
            "{}",
            problem(&settings)
        );
        allow(0o600);
        let signing = settings.signing().unwrap().unwrap();
        assert_eq!(signing.keyring.numbers().collect::<Vec<_>>(), [7]);
        assert_eq!(
            (signing.paths.domain.as_str(), signing.paths.lifetime),
            ("bounces.example.org", 14)
        );
        assert!(!format!("{signing:?} {settings:?}").contains(&KEY[..8]));
        std::fs::write(&path, format!("7 {KEY}\nsecond {KEY}\n")).unwrap();
        assert!(problem(&settings).contains("line 2"), "{}", problem(&settings));
        assert!(!problem(&settings).contains(&KEY[..8]));
    }

    #[test]
    fn mistakes_are_named() {
        let read = |text: &str| {
            let settings = toml::from_str::<SigningSettings>(text).map_err(|error| error.to_string())?;
            settings
                .validate(&Retention::default())
                .map_err(|error| error.to_string())
        };
        let good = "key_file = \"/k\"\ndomain = \"b.example.org\"\nstyle = \"tag\"\ndelimiter = \"=\"";
        assert_eq!((read(""), read(good)), (Ok(()), Ok(())));
        for (bad, key) in [
            ("key_file = \"/k\"", "[signing] domain"),
            ("key_file = \"/k\"\ndomain = \"[192.0.2.1]\"", "[signing] domain"),
            ("local = \"\"", "[signing] local"),
            ("local = \"a b\"", "[signing] local"),
            ("local = \"abcdefghijklmnopqrstuvwx\"", "1 to 23"),
            ("delimiter = \"%\"", "[signing] delimiter"),
            ("delimiter = \"++\"", "delimiter"),
            ("lifetime = \"61d\"", "[signing] lifetime"),
            ("lifetime = \"36h\"", "whole days"),
            ("style = \"verp\"", "style"),
        ] {
            let problem = read(bad).unwrap_err();
            assert!(problem.contains(key), "{bad}: {problem}");
        }
        let settings = toml::from_str::<SigningSettings>(good).unwrap();
        let days = |n: u64| Retention {
            sent: Expiry::After(Span::from_secs(n * DAY)),
            ..Retention::default()
        };
        assert!(settings.validate(&days(14)).is_ok());
        let problem = settings.validate(&days(13)).unwrap_err().to_string();
        assert!(
            problem.contains("[retention] sent") && problem.contains("1209600s"),
            "{problem}"
        );
        assert!(SigningSettings::default().validate(&days(1)).is_ok());
    }
}
