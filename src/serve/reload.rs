//! SIGHUP: takes over what can change while running, and says what cannot.
//!
//! A configuration with a mistake changes nothing: the error is logged, and the old one stays.

use super::hook::Hooks;
use super::keeper::Bench;
use crate::config::Settings;
use crate::engine::gate::Gate;
use parking_lot::RwLock;
use std::sync::Arc;
use tracing::{error, info, warn};

/// Takes over new settings: rules, providers, streams, terms, the guard, trust, the keys of return paths, warm-ups, holds, and what the policy hook
/// says on a hold.
pub fn reload(
    settings: &mut Settings,
    bench: &RwLock<Arc<Bench>>,
    hooks: &Hooks,
    gate: &Gate,
    new: anyhow::Result<Settings>,
) {
    let new = match new {
        Ok(new) => new,
        Err(error) => return error!("reload: {error:#}; nothing is changed"),
    };
    let mut next = match super::bench(&new) {
        Ok(next) => next,
        Err(error) => return error!("reload: {error:#}; nothing is changed"),
    };
    for section in settings.needs_restart(&new) {
        warn!("reload: {section} changed, and that takes a restart");
    }
    // What needs a restart stays as it was, in the judge as well.
    next.egress.clone_from(&settings.egress.name);
    next.policy.local_part = settings.address.local_part;
    next.policy.veil = bench.read().policy.veil.clone();
    settings.warm_up = new.warm_up;
    next.warm_ups = settings.warm_ups();
    info!(
        rules = next.rules.rules().len(),
        providers = next.providers.all().len(),
        "reloaded"
    );
    settings.stream = new.stream;
    settings.suppression = new.suppression;
    settings.guard = new.guard;
    settings.trust = new.trust;
    settings.signing = new.signing;
    super::set_gate(gate, settings, &next);
    settings.policy.on_hold = new.policy.on_hold;
    settings.policy.max_backlog = new.policy.max_backlog;
    settings.milter.take_over(new.milter);
    hooks.set_answers(super::answers(settings, &next));
    *bench.write() = Arc::new(next);
    settings.throttle = new.throttle;
    settings.rules = new.rules;
}
