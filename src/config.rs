//! Settings: typed, validated once, and then passed down as values.
//!
//! Precedence: defaults < file < environment (`NIXIE_SECTION__KEY`) < flags. Layers are merged by the
//! `config` crate. Because it forgets line numbers and turns numbers into strings without a word, the
//! file is read strictly by `toml` first: an unknown key or a wrong type is an error that names file,
//! line and key.

pub mod listen;

use crate::engine::throttle::Limits;
use crate::mail::address::LocalPart;
use listen::ListenAddress;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::time::Duration;

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
    pub socketmap: Listener,
    /// `[milter]`
    pub milter: Listener,
    /// `[lmtp]`
    pub lmtp: Lmtp,
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
    /// `[rules]`
    pub rules: Rules,
    /// `[trace]`
    pub trace: Trace,
}

/// Where state is kept.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    /// `sqlite:///path` or `postgres://…`; empty is SQLite in the state directory.
    pub url: String,
}

/// A section that only listens.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Listener {
    /// Where.
    pub listen: Option<ListenAddress>,
}

/// The policy hook.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Where.
    pub listen: Option<ListenAddress>,
    /// What a recipient whose lane is held is told.
    pub on_hold: OnHold,
}

/// What the policy hook says while a recipient's lane is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnHold {
    /// Let it into the queue; the transport map holds it there.
    #[default]
    Dunno,
    /// `450 4.7.1`: the sending application keeps it.
    Defer,
}

/// The LMTP intake.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lmtp {
    /// Where.
    pub listen: Option<ListenAddress>,
    /// How much of a message is read, in octets; the rest is passed over, never refused.
    pub max_size: usize,
}

impl Default for Lmtp {
    fn default() -> Self {
        Self {
            listen: None,
            max_size: 16 * 1024 * 1024,
        }
    }
}

/// What the policy and socketmap hooks share.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Hooks {
    /// Threads that do nothing else; 0 is one for each core, at least 2 and at most 4.
    pub threads: usize,
    /// Connections to each hook; past that, the longest idle one is closed.
    pub max_connections: usize,
    /// How long a connection may be idle between requests.
    pub idle_timeout: Span,
    /// How long a request may take to arrive once begun.
    pub request_timeout: Span,
}

impl Default for Hooks {
    fn default() -> Self {
        Self {
            threads: 0,
            max_connections: 2000,
            idle_timeout: Span::from_secs(1000),
            request_timeout: Span::from_secs(10),
        }
    }
}

/// The log intake.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// `file:/path`, `journal`, `stdin` or `off`.
    pub source: LogSource,
    /// Where to begin a file that was never read before.
    pub start: LogStart,
    /// The time zone of stamps that name none, as in `Europe/Berlin`; empty is the system's.
    pub timezone: String,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            source: LogSource::File("/var/log/mail.log".into()),
            start: LogStart::default(),
            timezone: String::new(),
        }
    }
}

impl Log {
    /// The time zone of stamps that name none. The name was checked when the settings were loaded.
    #[must_use]
    pub fn zone(&self) -> jiff::tz::TimeZone {
        match self.timezone.as_str() {
            "" => jiff::tz::TimeZone::system(),
            name => jiff::tz::TimeZone::get(name).unwrap_or(jiff::tz::TimeZone::UTC),
        }
    }
}

/// Where Postfix's log is read from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum LogSource {
    /// A file, followed through rotation.
    File(PathBuf),
    /// The systemd journal.
    Journal,
    /// Standard input.
    Stdin,
    /// Not at all.
    Off,
}

impl TryFrom<String> for LogSource {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "journal" => Ok(Self::Journal),
            "stdin" => Ok(Self::Stdin),
            "off" => Ok(Self::Off),
            other => match other.strip_prefix("file:") {
                Some(path) if path.starts_with('/') => Ok(Self::File(path.into())),
                _ => Err(format!(
                    "expected \"file:/path\", \"journal\", \"stdin\" or \"off\", found {text:?}"
                )),
            },
        }
    }
}

impl From<LogSource> for String {
    fn from(source: LogSource) -> Self {
        match source {
            LogSource::File(path) => format!("file:{}", path.display()),
            LogSource::Journal => "journal".into(),
            LogSource::Stdin => "stdin".into(),
            LogSource::Off => "off".into(),
        }
    }
}

/// Where a log that was never read before is begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogStart {
    /// At its end: only what happens from now on.
    #[default]
    End,
    /// At its beginning.
    Beginning,
}

/// The sending identity of this machine.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Egress {
    /// Its name: what providers limit is a source address or a pool of them.
    pub name: String,
}

impl Default for Egress {
    fn default() -> Self {
        Self {
            name: "default".into(),
        }
    }
}

/// How addresses compare.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AddressSettings {
    /// `fold` or `keep` the case of local parts.
    pub local_part: LocalPart,
}

/// Holds.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Throttle {
    /// The hold where the rule names none.
    pub default_hold: Span,
    /// No hold is longer.
    pub max_hold: Span,
}

impl Default for Throttle {
    fn default() -> Self {
        Self {
            default_hold: Span::from_secs(300),
            max_hold: Span::from_secs(4 * 3600),
        }
    }
}

impl From<&Throttle> for Limits {
    fn from(throttle: &Throttle) -> Self {
        Self {
            default_hold: throttle.default_hold.0,
            max_hold: throttle.max_hold.0,
        }
    }
}

/// The operator's own rules and providers.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rules {
    /// A directory of `*.toml` rule files that win over the shipped ones; empty is none.
    pub dir: PathBuf,
    /// A provider catalogue to use instead of the shipped one; empty is the shipped one.
    pub providers: PathBuf,
}

/// Nixie's own log.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Trace {
    /// How lines look.
    pub format: TraceFormat,
    /// What is logged, as in `info` or `nixie=debug,sqlx=warn`.
    pub filter: String,
}

impl Default for Trace {
    fn default() -> Self {
        Self {
            format: TraceFormat::default(),
            filter: "info".into(),
        }
    }
}

/// How Nixie's own log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TraceFormat {
    /// For people, on standard error.
    #[default]
    Human,
    /// One JSON object a line, on standard error.
    Json,
    /// Straight to the journal, with fields.
    Journald,
}

/// A length of time, written as in `90s`, `30m`, `1h 30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Span(pub Duration);

impl Span {
    /// So many seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let problem = || format!("expected a length of time like \"30s\", \"5m\" or \"2h\", found {text:?}");
        let span: jiff::SignedDuration = text.parse().map_err(|_| problem())?;
        Duration::try_from(span).map(Self).map_err(|_| problem())
    }
}

impl From<Span> for String {
    fn from(span: Span) -> Self {
        jiff::SignedDuration::try_from(span.0).map_or_else(|_| "0s".into(), |span| format!("{span:#}"))
    }
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
        if let Some(path) = file {
            let text = read(path)?;
            check_text(&path.display().to_string(), &text)?;
            builder = builder.add_source(config::File::from_str(&text, config::FileFormat::Toml));
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
        let settings: Self = merged
            .try_deserialize()
            .map_err(|error| ConfigError::Layer(error.to_string()))?;
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
        if self.egress.name.is_empty() {
            return wrong("[egress] name", "expected a name, found none".into());
        }
        if let Some(listen) = self
            .milter
            .listen
            .as_ref()
            .filter(|listen| **listen != ListenAddress::Off)
        {
            let problem = format!("this version has no milter yet: leave it empty, found \"{listen}\"");
            return wrong("[milter] listen", problem);
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
            ("[lmtp]", self.lmtp != new.lmtp),
            ("[http]", self.http != new.http),
            ("[hooks]", self.hooks != new.hooks),
            ("[log]", self.log != new.log),
            ("[egress]", self.egress != new.egress),
            ("[address]", self.address != new.address),
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
