//! Settings: typed, validated once, and then passed down as values.
//!
//! Precedence: defaults < file < environment (`NIXIE_SECTION__KEY`) < flags. Layers are merged by the
//! `config` crate. Because it forgets line numbers and turns numbers into strings without a word, the
//! file is read strictly by `toml` first: an unknown key or a wrong type is an error that names file,
//! line and key.

pub mod authentication;
pub mod listen;
pub mod milter;
pub mod privacy;
pub mod retention;
mod secret;
pub mod section;
pub mod signing;
pub mod submit;
pub mod suppression;
pub mod trust;
pub mod warm_up;

pub use authentication::Authentication;
pub use milter::Milter;
pub use privacy::Privacy;
pub use retention::Retention;
pub use section::*;
pub use signing::SigningSettings;
pub use submit::Submit;
pub use suppression::{Alert, GuardSettings, Suppression};
pub use trust::TrustSettings;
pub use warm_up::WarmUp;

use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Where the configuration is looked for when no `--config` is given.
pub const DEFAULT_FILE: &str = "/etc/nixie/nixie.toml";
/// The prefix of environment variables that override the file.
const ENVIRONMENT: &str = "NIXIE";

/// Where each part listens when nothing is configured.
pub mod default_listen {
    /// The policy hook.
    pub const POLICY: &str = "127.0.0.1:7460";
    /// The socketmap hook.
    pub const SOCKETMAP: &str = "127.0.0.1:7461";
    /// The milter: nowhere, for Postfix asks the policy service as a rule.
    pub const MILTER: &str = "";
    /// The LMTP intake.
    pub const LMTP: &str = "127.0.0.1:7463";
    /// Health, metrics.
    pub const HTTP: &str = "127.0.0.1:7480";
}

/// All settings. Every key has a default; see `config/nixie.toml` for what each means.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// `[store]`
    pub store: Store,
    /// `[policy]`
    pub policy: Policy,
    /// `[socketmap]`
    pub socketmap: Socketmap,
    /// `[milter]`
    pub milter: Milter,
    /// `[lmtp]`
    pub lmtp: Lmtp,
    /// `[submit]`
    pub submit: Submit,
    /// `[http]`
    pub http: Listener,
    /// `[hooks]`
    pub hooks: Hooks,
    /// `[log]`
    pub log: Log,
    /// `[egress]`
    pub egress: Egress,
    /// `[address]`
    pub address: AddressSettings,
    /// `[throttle]`
    pub throttle: Throttle,
    /// `[suppression]`
    pub suppression: Suppression,
    /// `[guard]`
    pub guard: GuardSettings,
    /// `[alert]`
    pub alert: Alert,
    /// `[dns]`
    pub dns: Dns,
    /// `[authentication]`
    pub authentication: Authentication,
    /// `[release]`
    pub release: Release,
    /// `[[stream]]`
    pub stream: Vec<Stream>,
    /// `[[warm_up]]`
    pub warm_up: Vec<WarmUp>,
    /// `[rules]`
    pub rules: Rules,
    /// `[privacy]`
    pub privacy: Privacy,
    /// `[trust]`
    pub trust: TrustSettings,
    /// `[signing]`
    pub signing: SigningSettings,
    /// `[retention]`
    pub retention: Retention,
    /// `[trace]`
    pub trace: Trace,
}

/// Why the settings cannot be used. Each says where and what was expected.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path}: {problem}")]
    File {
        /// Which file.
        path: String,
        /// What the system says.
        problem: String,
    },
    /// A line of the file is wrong.
    #[error("{path}:{line}: {key}{problem}")]
    Line {
        /// Which file.
        path: String,
        /// Which line, from 1.
        line: usize,
        /// Which key, with a colon and a blank, or nothing.
        key: String,
        /// What was expected and what was found.
        problem: String,
    },
    /// An entry of a list is of the right type and still cannot be used.
    #[error("{place}{key}: {problem}")]
    Entry {
        /// Its file and line, with a colon and a blank, or nothing.
        place: String,
        /// Which key, as in `[[warm_up]] provider`.
        key: String,
        /// What was expected and what was found.
        problem: String,
    },
    /// The environment or a flag is wrong.
    #[error("environment or flag: {0}")]
    Layer(String),
    /// A value is of the right type and still cannot be used.
    #[error("{key}: {problem}")]
    Value {
        /// Which key, as in `[lmtp] max_size`.
        key: &'static str,
        /// What was expected and what was found.
        problem: String,
    },
}

impl Settings {
    /// Loads the layers. `file` is an explicit path and must exist; without one, [`DEFAULT_FILE`] is
    /// read if it is there. `flags` are `(section.key, value)` pairs that win over everything.
    ///
    /// # Errors
    /// [`ConfigError`], naming file, line and key where there is one.
    pub fn load(file: Option<&Path>, flags: &[(&str, String)]) -> Result<Self, ConfigError> {
        let default = Path::new(DEFAULT_FILE);
        let file = file.or_else(|| default.exists().then_some(default));
        let mut builder = config::Config::builder();
        let mut source = None;
        if let Some(path) = file {
            let (path, text) = (path.display().to_string(), read(path)?);
            check_text(&path, &text)?;
            builder = builder.add_source(config::File::from_str(&text, config::FileFormat::Toml));
            source = Some((path, text));
        }
        builder = builder.add_source(
            config::Environment::with_prefix(ENVIRONMENT)
                .prefix_separator("_")
                .separator("__")
                .try_parsing(true)
                .source(Some(environment())),
        );
        for (key, value) in flags {
            builder = builder
                .set_override(key, value.as_str())
                .map_err(|error| ConfigError::Layer(format!("{key}: {error}")))?;
        }
        let merged = builder
            .build()
            .map_err(|error| ConfigError::Layer(error.to_string()))?;
        let mut settings: Self = merged
            .try_deserialize()
            .map_err(|error| ConfigError::Layer(error.to_string()))?;
        if let Some((path, text)) = &source {
            settings.place_warm_ups(path, text);
        }
        settings.validate()?;
        Ok(settings)
    }

    /// What types cannot say.
    fn validate(&self) -> Result<(), ConfigError> {
        let wrong = |key, problem: String| Err(ConfigError::Value { key, problem });
        if self.lmtp.max_size < 64 * 1024 {
            return wrong(
                "[lmtp] max_size",
                format!("expected at least 65536 octets, found {}", self.lmtp.max_size),
            );
        }
        if self.hooks.threads > 64 {
            return wrong(
                "[hooks] threads",
                format!("expected 0 to 64, found {}", self.hooks.threads),
            );
        }
        if self.hooks.max_connections == 0 {
            return wrong("[hooks] max_connections", "expected at least 1, found 0".into());
        }
        if self.throttle.default_hold.0.is_zero() || self.throttle.max_hold.0 < self.throttle.default_hold.0 {
            return wrong(
                "[throttle] max_hold",
                "expected 0s < default_hold ≤ max_hold".into(),
            );
        }
        self.suppression.validate()?;
        self.guard.validate()?;
        self.alert.validate()?;
        self.retention.validate()?;
        self.submit.validate()?;
        self.milter.validate(self.signing.is_on())?;
        self.authentication.validate()?;
        self.signing.validate(&self.retention)?;
        self.validate_privacy()?;
        if !(1..=1000).contains(&self.dns.parallel) {
            return wrong(
                "[dns] parallel",
                format!("expected 1 to 1000, found {}", self.dns.parallel),
            );
        }
        if self.dns.timeout.0.is_zero() {
            return wrong("[dns] timeout", "expected more than 0s".into());
        }
        if self.release.max_backlog == 0 {
            return wrong("[release] max_backlog", "expected at least 1, found 0".into());
        }
        let mut names = std::collections::HashSet::new();
        for stream in &self.stream {
            let weights = crate::engine::throttle::Fair::<u16>::WEIGHTS;
            let problem = if !weights.contains(&stream.weight) {
                let (least, most) = (weights.start(), weights.end());
                format!(
                    "expected a weight from {least} to {most}, found {}",
                    stream.weight
                )
            } else if stream.name.is_empty() || !names.insert(&stream.name) {
                format!(
                    "expected a name of its own for each stream, found {:?}",
                    stream.name
                )
            } else if stream.name != crate::engine::gate::stream::DEFAULT
                && stream.senders.is_empty()
                && stream.users.is_empty()
            {
                format!(
                    "expected senders or users for the stream {:?}, found none",
                    stream.name
                )
            } else {
                continue;
            };
            return wrong("[[stream]]", problem);
        }
        if self.egress.name.is_empty() {
            return wrong("[egress] name", "expected a name, found none".into());
        }
        if !self.log.timezone.is_empty() {
            let found = jiff::tz::TimeZone::get(&self.log.timezone);
            found.map_err(|error| ConfigError::Value {
                key: "[log] timezone",
                problem: format!(
                    "expected a name like Europe/Berlin, found {:?}: {error}",
                    self.log.timezone
                ),
            })?;
        }
        Ok(())
    }

    /// The store's URL: the one configured, or SQLite in the state directory.
    ///
    /// # Errors
    /// Where no state directory can be named (no `HOME`).
    pub fn store_url(&self) -> Result<String, ConfigError> {
        if !self.store.url.is_empty() {
            return Ok(self.store.url.clone());
        }
        let directory = state_directory(|name| std::env::var(name).ok()).ok_or(ConfigError::Value {
            key: "[store] url",
            problem: "expected a URL, for none of $STATE_DIRECTORY, $XDG_STATE_HOME and $HOME is set".into(),
        })?;
        Ok(format!("sqlite://{}", directory.join("nixie.db").display()))
    }

    /// The sections that differ and that a running daemon cannot take over without a restart.
    #[must_use]
    pub fn needs_restart(&self, new: &Self) -> Vec<&'static str> {
        let fixed = [
            ("[store]", self.store != new.store),
            ("[policy] listen", self.policy.listen != new.policy.listen),
            ("[socketmap]", self.socketmap != new.socketmap),
            ("[milter]", !self.milter.is_taken_over_from(&new.milter)),
            ("[lmtp]", self.lmtp != new.lmtp),
            ("[submit]", self.submit != new.submit),
            ("[http]", self.http != new.http),
            ("[hooks]", self.hooks != new.hooks),
            ("[log]", self.log != new.log),
            ("[egress]", self.egress != new.egress),
            ("[address]", self.address != new.address),
            ("[dns]", self.dns != new.dns),
            ("[authentication]", self.authentication != new.authentication),
            ("[release]", self.release != new.release),
            ("[alert]", self.alert != new.alert),
            ("[privacy]", self.privacy != new.privacy),
            ("[retention]", self.retention != new.retention),
            ("[trace]", self.trace != new.trace),
        ];
        fixed
            .into_iter()
            .filter_map(|(section, differs)| differs.then_some(section))
            .collect()
    }
}

/// `$STATE_DIRECTORY` (systemd), else `$XDG_STATE_HOME/nixie`, else `~/.local/state/nixie`.
fn state_directory(env: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let set = |name: &str| env(name).filter(|value| !value.is_empty());
    if let Some(directory) = set("STATE_DIRECTORY") {
        // systemd separates several directories by colons; the first is ours
        return directory.split(':').next().map(PathBuf::from);
    }
    set("XDG_STATE_HOME")
        .map(|base| PathBuf::from(base).join("nixie"))
        .or_else(|| set("HOME").map(|home| PathBuf::from(home).join(".local/state/nixie")))
}

/// The variables that name a section and a key; others that begin with `NIXIE_` are none of ours.
fn environment() -> config::Map<String, String> {
    let ours = |name: &str| name.starts_with(ENVIRONMENT) && name.contains("__");
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| ours(name))
        .collect()
}

fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|error| ConfigError::File {
        path: path.display().to_string(),
        problem: error.to_string(),
    })
}

/// Reads the text strictly and reports the first thing wrong with its line and key.
fn check_text(path: &str, text: &str) -> Result<(), ConfigError> {
    toml::from_str::<Settings>(text).map(|_| ()).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let before = &text[..at.min(text.len())];
        let line = before.matches('\n').count() + 1;
        let key = key_at(text, line);
        ConfigError::Line {
            path: path.into(),
            line,
            key,
            problem: error.message().replace('\n', "; "),
        }
    })
}

/// `[section] key: ` for a line of a TOML text, as far as it can be told.
fn key_at(text: &str, line: usize) -> String {
    let mut section = "";
    for current in text.lines().take(line) {
        if current.trim_start().starts_with('[') {
            section = current.trim();
        }
    }
    let current = text.lines().nth(line - 1).unwrap_or("").trim();
    match current.split_once('=') {
        Some((key, _)) => format!("{section} {}: ", key.trim()),
        None if current.starts_with('[') => format!("{current}: "),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests;
