//! `[suppression]`, `[guard]` and `[alert]`: when an address is suppressed, when a provider is not believed, and who is
//! told.
//!
//! What is left out has its default, for each key by itself. On failure: a value out of range is refused where it is
//! read, with the cause that it was given for.

use super::{ConfigError, Span};
use crate::engine::answer::OnQuarantined;
use crate::engine::suppression::AllowList;
use crate::engine::suppression::guard::{CALM, Guard, LEAST_FAULTS};
use crate::engine::suppression::terms::{Term, TermError, Terms};
use jiff::SignedDuration;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// Suppressions.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Suppression {
    /// Addresses that are never suppressed, with `*` for any characters.
    pub allow: Vec<String>,
    /// How much evidence suppresses, and for how long, by cause.
    pub terms: TermsSettings,
}

/// The terms of every cause, the defaults where nothing else is said.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(try_from = "BTreeMap<String, TermSettings>")]
pub struct TermsSettings(pub Terms);

/// What is said of the terms of one cause.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TermSettings {
    /// Strikes.
    pub strikes: Option<u32>,
    /// Within so long.
    pub window: Option<Span>,
    /// So long apart.
    pub gap: Option<Span>,
    /// How long the entry stands.
    pub expiry: Option<Expiry>,
    /// Whether the next one stands twice as long.
    pub doubling: Option<bool>,
}

/// How long something stands: a length of time, or `never` ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Expiry {
    /// Until somebody lifts it.
    Never,
    /// So long.
    After(Span),
}

impl TryFrom<String> for Expiry {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "never" => Ok(Self::Never),
            _ => Span::try_from(text)
                .map(Self::After)
                .map_err(|problem| format!("{problem}, nor is it \"never\"")),
        }
    }
}

/// A length of time as the engine counts it. What is longer than time itself is out of every range.
fn signed(span: Span) -> SignedDuration {
    SignedDuration::try_from(span.0).unwrap_or(SignedDuration::MAX)
}

impl TermSettings {
    fn over(self, term: Term) -> Term {
        Term {
            strikes: self.strikes.unwrap_or(term.strikes),
            window: self.window.map_or(term.window, signed),
            gap: self.gap.map_or(term.gap, signed),
            expiry: match self.expiry {
                None => term.expiry,
                Some(Expiry::Never) => None,
                Some(Expiry::After(span)) => Some(signed(span)),
            },
            doubling: self.doubling.unwrap_or(term.doubling),
        }
    }
}

/// The key of the terms of a whole domain, among those of causes.
const DOMAIN: &str = "domain";

impl TryFrom<BTreeMap<String, TermSettings>> for TermsSettings {
    type Error = String;

    fn try_from(given: BTreeMap<String, TermSettings>) -> Result<Self, String> {
        let mut terms = Terms::default();
        for (cause, settings) in given {
            let set = match cause.as_str() {
                DOMAIN => terms.set_domain(|term| settings.over(term)),
                _ => terms.set(&cause, |term| settings.over(term)),
            };
            set.map_err(|error| match error {
                TermError::Cause { .. } => format!("{error}; or {DOMAIN:?}, for a whole domain"),
                _ => format!("{cause}: {error}"),
            })?;
        }
        Ok(Self(terms))
    }
}

/// The incident guard. Its numbers are those of [`Guard`].
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GuardSettings {
    /// Whether it guards.
    pub enabled: bool,
    /// What becomes of mail to a quarantined address.
    pub quarantined: OnQuarantined,
    /// Answers that it takes.
    pub min_answers: u64,
    /// Faults that it takes.
    pub min_faults: u64,
    /// How unlikely chance must be, as an exponent of e.
    pub surprise: f64,
    /// How many times the normal share is still none.
    pub factor: f64,
    /// What share never is one.
    pub floor: f64,
    /// How many times the normal number is still none.
    pub rate_factor: f64,
    /// The days that are normal.
    pub days: u16,
    /// It ends when nothing was answered for so long.
    pub quiet: Span,
    /// None is longer.
    pub max_length: Span,
    /// How long a quarantined entry waits for more evidence.
    pub keep: Span,
}

impl Default for GuardSettings {
    fn default() -> Self {
        let guard = Guard::default();
        let span = |length: SignedDuration| Span(length.unsigned_abs());
        Self {
            enabled: guard.enabled,
            quarantined: OnQuarantined::default(),
            min_answers: guard.min_answers,
            min_faults: guard.min_faults,
            surprise: guard.surprise,
            factor: guard.factor,
            floor: guard.floor,
            rate_factor: guard.rate_factor,
            days: guard.days,
            quiet: span(guard.quiet),
            max_length: span(guard.max_length),
            keep: span(guard.keep),
        }
    }
}

impl From<&GuardSettings> for Guard {
    fn from(settings: &GuardSettings) -> Self {
        Self {
            enabled: settings.enabled,
            min_answers: settings.min_answers,
            min_faults: settings.min_faults,
            surprise: settings.surprise,
            factor: settings.factor,
            floor: settings.floor,
            rate_factor: settings.rate_factor,
            days: settings.days,
            quiet: signed(settings.quiet),
            max_length: signed(settings.max_length),
            keep: signed(settings.keep),
        }
    }
}

impl GuardSettings {
    /// What types cannot say.
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let spans =
            |least: u64, most: u64| Duration::from_secs(least * 3600)..=Duration::from_secs(most * 3600);
        let table: [(&'static str, bool, String); 9] = [
            (
                "[guard] min_answers",
                self.min_answers >= self.min_faults,
                format!(
                    "expected at least min_faults ({}), found {}",
                    self.min_faults, self.min_answers
                ),
            ),
            (
                "[guard] min_faults",
                self.min_faults >= LEAST_FAULTS,
                format!("expected at least {LEAST_FAULTS}, found {}", self.min_faults),
            ),
            (
                "[guard] surprise",
                (CALM..=1000.0).contains(&self.surprise),
                format!("expected {CALM} to 1000, found {}", self.surprise),
            ),
            (
                "[guard] factor",
                (1.0..=100.0).contains(&self.factor),
                format!("expected 1 to 100, found {}", self.factor),
            ),
            (
                "[guard] floor",
                (0.0..=0.9).contains(&self.floor),
                format!("expected 0 to 0.9, found {}", self.floor),
            ),
            (
                "[guard] rate_factor",
                (1.0..=100.0).contains(&self.rate_factor),
                format!("expected 1 to 100, found {}", self.rate_factor),
            ),
            (
                "[guard] days",
                (1..=90).contains(&self.days),
                format!("expected 1 to 90, found {}", self.days),
            ),
            (
                "[guard] max_length",
                self.quiet.0 <= self.max_length.0
                    && spans(1, 24 * 14).contains(&self.max_length.0)
                    && spans(1, 24).contains(&self.quiet.0),
                "expected 1h ≤ quiet ≤ 24h, quiet ≤ max_length ≤ 14d".into(),
            ),
            (
                "[guard] keep",
                spans(24, 24 * 365).contains(&self.keep.0),
                "expected 1d to 365d".into(),
            ),
        ];
        match table.into_iter().find(|(_, good, _)| !good) {
            Some((key, _, problem)) => Err(ConfigError::Value { key, problem }),
            None => Ok(()),
        }
    }
}

impl Suppression {
    /// Who is never suppressed.
    #[must_use]
    pub fn allow_list(&self) -> AllowList {
        AllowList::new(self.allow.iter().map(String::as_str))
    }

    /// What types cannot say.
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let wrong = |pattern: &&String| match pattern.rsplit_once('@') {
            Some((local, domain)) => {
                local.is_empty() || domain.is_empty() || pattern.contains(char::is_whitespace)
            }
            None => true,
        };
        match self.allow.iter().find(wrong) {
            Some(pattern) => Err(ConfigError::Value {
                key: "[suppression] allow",
                problem: format!(
                    "expected addresses like \"postmaster@example.org\" or \"*@test.example\", found {pattern:?}"
                ),
            }),
            None => Ok(()),
        }
    }
}

/// Who is told of what cannot wait.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Alert {
    /// The URL that alerts are posted to; empty is none.
    pub webhook: String,
    /// How long one attempt may take.
    pub timeout: Span,
}

impl Default for Alert {
    fn default() -> Self {
        Self {
            webhook: String::new(),
            timeout: Span::from_secs(10),
        }
    }
}

impl Alert {
    /// What types cannot say.
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let url = &self.webhook;
        if !(url.is_empty() || url.starts_with("https://") || url.starts_with("http://")) {
            return Err(ConfigError::Value {
                key: "[alert] webhook",
                problem: format!("expected a URL like https://example.org/hook, found {url:?}"),
            });
        }
        if self.timeout.0.is_zero() || self.timeout.0 > Duration::from_secs(60) {
            return Err(ConfigError::Value {
                key: "[alert] timeout",
                problem: "expected more than 0s and at most 60s".into(),
            });
        }
        Ok(())
    }
}
