//! `[retention]`: how long what is kept is kept.

use super::suppression::Expiry;
use super::{ConfigError, SigningSettings, Span};
use serde::Deserialize;
use std::time::Duration;

const DAY: u64 = 86_400;

/// How long what is kept is kept. Suppressions are not among it: they stay until they are lifted.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// Failures, deferrals and complaints, with what was said.
    pub events: Expiry,
    /// The ids by which an event is counted once.
    pub seen: Expiry,
    /// The marks of what left, by which a bounce is known to be real.
    pub sent: Expiry,
    /// What was counted, by the minute.
    pub counts: Expiry,
    /// Messages that could not be read.
    pub unread: Expiry,
    /// Who changed what.
    pub changes: Expiry,
}

impl Default for Retention {
    fn default() -> Self {
        let days = |n: u64| Expiry::After(Span::from_secs(n * DAY));
        Self {
            events: days(180),
            seen: days(90),
            sent: days(30),
            counts: days(400),
            unread: days(90),
            changes: Expiry::Never,
        }
    }
}

impl Retention {
    /// What types cannot say. Whatever a queue may still hold, a log may still tell and a person may still ask about
    /// must outlast that: Postfix tries for five days, rotated logs stay for four weeks.
    pub(super) fn validate(&self, signing: &SigningSettings) -> Result<(), ConfigError> {
        let table: [(&'static str, Expiry, u64); 6] = [
            ("[retention] events", self.events, 1),
            ("[retention] seen", self.seen, 30),
            ("[retention] sent", self.sent, 1),
            ("[retention] counts", self.counts, 1),
            ("[retention] unread", self.unread, 1),
            ("[retention] changes", self.changes, 1),
        ];
        for (key, expiry, least) in table {
            if let Expiry::After(Span(length)) = expiry
                && length < Duration::from_secs(least * DAY)
            {
                let problem = format!(
                    "expected at least {least}d, or \"never\", found {}s",
                    length.as_secs()
                );
                return Err(ConfigError::Value { key, problem });
            }
        }
        if let Expiry::After(Span(sent)) = self.sent
            && signing.is_on()
            && sent < signing.lifetime.0
        {
            let problem = format!(
                "expected at least as long as a token holds ([signing] lifetime, {}s), found {}s",
                signing.lifetime.0.as_secs(),
                sent.as_secs()
            );
            let key = "[retention] sent";
            return Err(ConfigError::Value { key, problem });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_goes_that_may_still_be_needed() {
        let read = |text: &str| {
            toml::from_str::<Retention>(text)
                .unwrap()
                .validate(&SigningSettings::default())
                .map_err(|e| e.to_string())
        };
        for good in [
            "",
            "seen = \"30d\"",
            "events = \"never\"",
            "changes = \"1d\"\nsent = \"168h\"",
        ] {
            assert_eq!(read(good), Ok(()), "{good}");
        }
        for (bad, key) in [
            ("seen = \"29d\"", "seen"),
            ("sent = \"12h\"", "sent"),
            ("events = \"1h\"", "events"),
        ] {
            assert!(read(bad).is_err_and(|problem| problem.contains(key)), "{bad}");
        }
        assert!(toml::from_str::<Retention>("event = \"30d\"").is_err());
        let signing = SigningSettings {
            key_file: "/etc/nixie/keys".into(),
            ..SigningSettings::default()
        };
        let days = |n: u64| Retention {
            sent: Expiry::After(Span::from_secs(n * DAY)),
            ..Retention::default()
        };
        assert!(days(14).validate(&signing).is_ok());
        let problem = days(13).validate(&signing).unwrap_err().to_string();
        assert!(
            problem.contains("1209600s") && problem.contains("[retention] sent"),
            "{problem}"
        );
    }
}
