//! What the milter goes by, from the settings.

use super::{MilterSettings, Rulings};
use crate::config::Settings;
use crate::mail::address::canonical_domain;
use crate::postfix::milter::session::Purpose;
use crate::serve::keeper::Bench;

impl MilterSettings {
    /// What the settings say. `tells` is whether anybody tells senders of removed recipients.
    #[must_use]
    pub fn new(settings: &Settings, tells: bool) -> Self {
        let milter = &settings.milter;
        Self {
            purpose: Purpose {
                sign: milter.sign.enabled,
                read: milter.read.enabled,
                header: tells,
            },
            max_connections: milter.max_connections,
            idle_timeout: milter.idle_timeout.0,
            request_timeout: settings.hooks.request_timeout.0,
            max_size: milter.max_size,
        }
    }
}

impl Rulings {
    /// What settings and keys say.
    #[must_use]
    pub fn new(settings: &Settings, bench: &Bench) -> Self {
        let milter = &settings.milter;
        let domains = milter.read.domains.iter();
        Self {
            answers: crate::serve::answers(settings, bench),
            on_failure: milter.on_failure,
            signing: bench.signing.clone(),
            rule: (&milter.sign).into(),
            domains: domains.filter_map(|domain| canonical_domain(domain)).collect(),
            proven: milter.read.proven,
            unproven: milter.read.unproven,
        }
    }
}
