//! The sections of the configuration, each key with its type and default. `config/nixie.toml` says the
//! same in the operator's words, and a test holds the two together.

use super::listen::ListenAddress;
use crate::engine::answer::{OnHeld, OnUnloaded};
use crate::engine::gate::stream::Kind;
use crate::engine::throttle::{Limits, Rate};
use crate::mail::address::LocalPart;
use serde::Deserialize;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

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

/// The socketmap hook.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Socketmap {
    /// Where.
    pub listen: Option<ListenAddress>,
    /// Whether the transport map names a transport of the provider's own.
    pub lane_transports: bool,
}

/// The policy hook.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Where.
    pub listen: Option<ListenAddress>,
    /// What a recipient whose lane is held is told.
    pub on_hold: OnHeld,
    /// From how many waiting recipients of a lane on those for it are put off; 0 is never.
    pub max_backlog: usize,
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
    /// What hooks say until the suppressions are loaded at start.
    pub until_loaded: OnUnloaded,
}

impl Default for Hooks {
    fn default() -> Self {
        Self {
            threads: 0,
            max_connections: 2000,
            idle_timeout: Span::from_secs(600),
            request_timeout: Span::from_secs(10),
            until_loaded: OnUnloaded::default(),
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

impl fmt::Display for LogSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Journal => f.write_str("journal"),
            Self::Stdin => f.write_str("stdin"),
            Self::Off => f.write_str("off"),
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

/// Look-ups of mail exchangers.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dns {
    /// Whether the providers of domains are looked up before any of their servers has answered.
    pub lookups: bool,
    /// Whom to ask; empty is the system's servers.
    pub servers: NameServers,
    /// How long one look-up may take.
    pub timeout: Span,
    /// The most look-ups at once.
    pub parallel: usize,
}

impl Default for Dns {
    fn default() -> Self {
        Self {
            lookups: true,
            servers: NameServers::default(),
            timeout: Span::from_secs(5),
            parallel: 16,
        }
    }
}

/// Name servers: IP addresses, with or without a port, with commas between them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(try_from = "String")]
pub struct NameServers(pub Vec<SocketAddr>);

impl TryFrom<String> for NameServers {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let server = |text: &str| {
            let alone = || text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53));
            text.parse().or_else(|_| alone()).map_err(|_| {
                format!("expected addresses like \"192.0.2.53, [2001:db8::53]:5353\", found {text:?}")
            })
        };
        let servers = text.split(',').map(str::trim).filter(|text| !text.is_empty());
        servers.map(server).collect::<Result<_, _>>().map(Self)
    }
}

/// How deferred mail is handed back to Postfix.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Release {
    /// By which way.
    pub via: Via,
    /// Postfix's queue directory; empty is what `postconf -h queue_directory` says.
    pub queue_directory: PathBuf,
    /// Postfix's configuration directory; empty is Postfix's own.
    pub config_directory: PathBuf,
    /// The most recipients that are remembered as waiting.
    pub max_backlog: usize,
}

impl Default for Release {
    fn default() -> Self {
        Self {
            via: Via::default(),
            queue_directory: PathBuf::new(),
            config_directory: PathBuf::new(),
            max_backlog: 1_000_000,
        }
    }
}

/// By which way deferred mail is handed back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// The flush service where that is permitted, else `postqueue -i`.
    #[default]
    Auto,
    /// The flush service's socket.
    Flush,
    /// `postqueue -i`.
    Exec,
    /// Not at all: Postfix's own schedule.
    Off,
}

/// A kind of mail that shares lanes with others.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stream {
    /// Its name.
    pub name: String,
    /// Envelope senders, with `*` for any characters.
    #[serde(default)]
    pub senders: Vec<String>,
    /// Who logs in (SASL), with `*` for any characters.
    #[serde(default)]
    pub users: Vec<String>,
    /// Its share of a lane's turns against the others'.
    #[serde(default = "one")]
    pub weight: f64,
    /// Its own limit in each lane.
    #[serde(default)]
    pub rate: Option<Rate>,
}

fn one() -> f64 {
    1.0
}

impl From<&Stream> for Kind {
    fn from(stream: &Stream) -> Self {
        Self {
            name: stream.name.clone(),
            senders: stream.senders.clone(),
            users: stream.users.clone(),
            weight: stream.weight,
            per_second: stream.rate.map(Rate::per_second),
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

/// A length of time, written as in `90s`, `30m`, `1h 30m`, `30d`; a day is 24 hours.
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
        let span: jiff::Span = text.parse().map_err(|_| problem())?;
        let day = jiff::SpanRelativeTo::days_are_24_hours();
        let length = span.to_duration(day).map_err(|_| problem())?;
        Duration::try_from(length).map(Self).map_err(|_| problem())
    }
}
