//! `[submit]`: mail of Nixie's own.

use super::ConfigError;
use super::listen::ListenAddress;
use serde::Deserialize;
use std::net::SocketAddr;

/// Where mail of our own is handed in, and which.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Submit {
    /// A server that takes mail from us without a word; off is none.
    pub server: ListenAddress,
    /// Whether senders are told of recipients that were removed from their mail.
    pub notices: bool,
    /// Whether what comes back to a signed return path over LMTP goes on to the application's own.
    pub pass_on: bool,
}

impl Default for Submit {
    fn default() -> Self {
        Self {
            server: ListenAddress::Off,
            notices: true,
            pass_on: false,
        }
    }
}

impl Submit {
    /// The server, where there is one.
    #[must_use]
    pub fn server(&self) -> Option<SocketAddr> {
        match self.server {
            ListenAddress::Tcp(server) => Some(server),
            ListenAddress::Off | ListenAddress::Unix(_) => None,
        }
    }

    /// What types cannot say.
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let wrong = |key, problem: String| Err(ConfigError::Value { key, problem });
        match &self.server {
            ListenAddress::Unix(_) => wrong(
                "[submit] server",
                format!(
                    "expected an IP address with port (127.0.0.1:25), found \"{}\"",
                    self.server
                ),
            ),
            ListenAddress::Off if self.pass_on => wrong(
                "[submit] pass_on",
                "expected a [submit] server to pass mail on to, found none".into(),
            ),
            ListenAddress::Off | ListenAddress::Tcp(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_an_address_with_a_port() {
        let submit = |server: &str, pass_on| Submit {
            server: server.parse().unwrap(),
            pass_on,
            ..Submit::default()
        };
        assert!(submit("", false).validate().is_ok() && submit("127.0.0.1:25", true).validate().is_ok());
        for (bad, expected) in [
            (
                submit("unix:/run/x", false),
                "[submit] server: expected an IP address",
            ),
            (submit("", true), "[submit] pass_on: expected a [submit] server"),
        ] {
            let problem = bad.validate().unwrap_err().to_string();
            assert!(problem.starts_with(expected), "{problem}");
        }
    }
}
