//! `[milter]`: where the milter listens, and what it signs and reads.

use super::listen::ListenAddress;
use super::{ConfigError, Span};
use crate::engine::signing::Rule;
use crate::mail::address::canonical_domain;
use ipnet::IpNet;
use serde::Deserialize;
use std::net::IpAddr;

/// The milter.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Milter {
    /// Where; off where nothing is said.
    pub listen: Option<ListenAddress>,
    /// What is answered at the end of a message where our part of it failed.
    pub on_failure: OnFailure,
    /// The most connections; past that, the one idle longest makes room.
    pub max_connections: usize,
    /// After how long of silence a connection is closed.
    pub idle_timeout: Span,
    /// How much of a message is read, in octets.
    pub max_size: usize,
    /// Which outgoing mail is signed.
    pub sign: Sign,
    /// Which incoming mail is read, and what becomes of it.
    pub read: Read,
}

/// What is answered at the end of a message where our part of it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// The client is to come again.
    #[default]
    Tempfail,
    /// The message goes on: unsigned, or unread.
    Accept,
}

/// `[milter.sign]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sign {
    /// Whether any is.
    pub enabled: bool,
    /// Whose mail is, besides that of users who logged in and of `sendmail(1)`.
    pub networks: Networks,
    /// The domains that are our own: mail for nobody else is not signed.
    pub inside: Vec<String>,
    /// The senders whose mail is left alone, with `*` for any characters.
    pub leave_senders: Vec<String>,
    /// The names of header fields that leave a message alone.
    pub leave_headers: Vec<String>,
    /// The listeners whose mail is left alone: ports, or what `milter_macro_daemon_name` says.
    pub leave_listeners: Vec<String>,
}

/// `[milter.read]`
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Read {
    /// Whether any is.
    pub enabled: bool,
    /// Domains whose mail is read besides that of the bounce domain.
    pub domains: Vec<String>,
    /// What becomes of a report that is proven.
    pub proven: OnReport,
    /// What becomes of everything else to those addresses.
    pub unproven: OnReport,
}

/// What becomes of a message that was read, in an address of ours for bounces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnReport {
    /// It goes where Postfix would have it go.
    #[default]
    Accept,
    /// It is taken, and goes nowhere.
    Discard,
    /// It goes to the return path that the application had given, where that is known.
    Pass,
}

/// Networks: addresses with or without a length of prefix.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct Networks(pub Vec<IpNet>);

impl Default for Networks {
    fn default() -> Self {
        let loopback = ["127.0.0.0/8", "::1/128"];
        Self(loopback.iter().filter_map(|text| text.parse().ok()).collect())
    }
}

impl TryFrom<Vec<String>> for Networks {
    type Error = String;

    fn try_from(texts: Vec<String>) -> Result<Self, String> {
        let network = |text: &String| {
            let alone = || text.parse::<IpAddr>().map(IpNet::from);
            text.parse()
                .or_else(|_| alone())
                .map_err(|_| format!("expected a network like \"192.0.2.0/24\", found {text:?}"))
        };
        texts.iter().map(network).collect::<Result<_, _>>().map(Self)
    }
}

impl Default for Milter {
    fn default() -> Self {
        Self {
            listen: None,
            on_failure: OnFailure::default(),
            max_connections: 1000,
            idle_timeout: Span::from_secs(2 * 3600),
            max_size: 16 * 1024 * 1024,
            sign: Sign::default(),
            read: Read::default(),
        }
    }
}

impl Default for Sign {
    fn default() -> Self {
        Self {
            enabled: false,
            networks: Networks::default(),
            inside: Vec::new(),
            leave_senders: Vec::new(),
            leave_headers: vec!["List-Post".into()],
            leave_listeners: Vec::new(),
        }
    }
}

impl Milter {
    /// What types cannot say. `keys` tells whether there are keys to sign with.
    pub(super) fn validate(&self, keys: bool) -> Result<(), ConfigError> {
        let wrong = |key, problem: String| Err(ConfigError::Value { key, problem });
        if self.max_size < 64 * 1024 {
            let problem = format!("expected at least 65536 octets, found {}", self.max_size);
            return wrong("[milter] max_size", problem);
        }
        if self.max_connections == 0 {
            return wrong("[milter] max_connections", "expected at least 1, found 0".into());
        }
        if self.idle_timeout.0.as_secs() == 0 {
            let problem = format!("expected at least 1s, found {:?}", self.idle_timeout.0);
            return wrong("[milter] idle_timeout", problem);
        }
        if self.sign.enabled && !keys {
            let problem = "expected keys to sign with ([signing] key_file), found none".into();
            return wrong("[milter.sign] enabled", problem);
        }
        domains("[milter.sign] inside", &self.sign.inside)?;
        domains("[milter.read] domains", &self.read.domains)?;
        let is_name =
            |name: &String| !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && b != b':');
        if let Some(name) = self.sign.leave_headers.iter().find(|name| !is_name(name)) {
            let problem = format!("expected names of header fields, found {name:?}");
            return wrong("[milter.sign] leave_headers", problem);
        }
        Ok(())
    }
}

impl Milter {
    /// Whether a running daemon takes over all that is different in `new`.
    pub(super) fn is_taken_over_from(&self, new: &Self) -> bool {
        let fixed = |milter: &Self| {
            let limits = (milter.max_connections, milter.idle_timeout, milter.max_size);
            (
                milter.listen.clone(),
                limits,
                milter.sign.enabled,
                milter.read.enabled,
            )
        };
        fixed(self) == fixed(new)
    }

    /// Takes over what can be while it runs.
    pub fn take_over(&mut self, new: Self) {
        *self = Self {
            listen: self.listen.take(),
            max_connections: self.max_connections,
            idle_timeout: self.idle_timeout,
            max_size: self.max_size,
            sign: Sign {
                enabled: self.sign.enabled,
                ..new.sign
            },
            read: Read {
                enabled: self.read.enabled,
                ..new.read
            },
            on_failure: new.on_failure,
        };
    }
}

/// Each must be a domain.
fn domains(key: &'static str, domains: &[String]) -> Result<(), ConfigError> {
    match domains.iter().find(|domain| canonical_domain(domain).is_none()) {
        Some(domain) => Err(ConfigError::Value {
            key,
            problem: format!("expected domains, found {domain:?}"),
        }),
        None => Ok(()),
    }
}

impl From<&Sign> for Rule {
    fn from(sign: &Sign) -> Self {
        let lower = |texts: &[String]| texts.iter().map(|text| text.to_lowercase()).collect();
        Self {
            networks: sign.networks.0.clone(),
            inside: sign
                .inside
                .iter()
                .filter_map(|domain| canonical_domain(domain))
                .collect(),
            senders: lower(&sign.leave_senders),
            headers: sign.leave_headers.clone(),
            listeners: sign.leave_listeners.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(), String> {
        let milter = toml::from_str::<Milter>(text).map_err(|error| error.to_string())?;
        milter.validate(false).map_err(|error| error.to_string())
    }

    #[test]
    fn mistakes_are_named() {
        for (bad, part) in [
            ("max_size = 1", "[milter] max_size: expected at least 65536"),
            ("max_connections = 0", "[milter] max_connections"),
            (
                "idle_timeout = \"0s\"",
                "[milter] idle_timeout: expected at least 1s",
            ),
            ("on_failure = \"reject\"", "tempfail"),
            ("[sign]\nenabled = true", "[signing] key_file"),
            ("[sign]\nnetworks = [\"here\"]", "expected a network like"),
            (
                "[sign]\ninside = [\"\"]",
                "[milter.sign] inside: expected domains",
            ),
            ("[sign]\nleave_headers = [\"X Y\"]", "[milter.sign] leave_headers"),
            ("[read]\nproven = \"bounce\"", "accept"),
        ] {
            let problem = read(bad).unwrap_err();
            assert!(problem.contains(part), "{bad}: {problem}");
        }
        assert_eq!(read(""), Ok(()));
        assert_eq!(
            read("[sign]\nnetworks = [\"192.0.2.1\", \"2001:db8::/32\"]"),
            Ok(())
        );
    }
}
