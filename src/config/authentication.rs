//! `[authentication]`: whether reports may prove by their own signatures who wrote them.

use super::{ConfigError, Span};
use crate::engine::alignment::organizational;
use serde::Deserialize;
use std::time::Duration;

/// The longest that a message may wait for it: Postfix's `lmtp(8)` waits ten minutes for an answer.
const LONGEST: Duration = Duration::from_secs(60);

/// What is looked up of a report's signatures.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Authentication {
    /// Whether signatures are looked at.
    pub enabled: bool,
    /// How long all look-ups for one message may take together.
    pub timeout: Span,
    /// Domains that are believed about what they saw before they changed a mail (ARC).
    pub trusted_sealers: Vec<String>,
}

impl Default for Authentication {
    fn default() -> Self {
        Self {
            enabled: true,
            timeout: Span::from_secs(5),
            trusted_sealers: Vec::new(),
        }
    }
}

impl Authentication {
    /// What types cannot say.
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let wrong = |key, problem: String| Err(ConfigError::Value { key, problem });
        if self.timeout.0.is_zero() || self.timeout.0 > LONGEST {
            return wrong(
                "[authentication] timeout",
                format!(
                    "expected more than 0s and at most 60s, found {:?}",
                    self.timeout.0
                ),
            );
        }
        let bad = self
            .trusted_sealers
            .iter()
            .find(|domain| organizational(domain).is_none());
        if let Some(domain) = bad {
            return wrong(
                "[authentication] trusted_sealers",
                format!("expected domains like example.org, found {domain:?}"),
            );
        }
        Ok(())
    }
}
