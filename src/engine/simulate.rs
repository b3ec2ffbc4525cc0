//! A day of mail in seconds: the throttle against models of providers, and against other policies.
//!
//! A discrete-event simulation. The lane, its bucket and its plan are those that run in the daemon; the
//! providers are models of what is documented and observed: each knows a limit that it does not tell.
//! All chance comes from one seed: the same scenario gives the same numbers, to the last digit.
//!
//! What is simplified, and in whose favour: the other policies hand refused mail back at once, like our
//! own releaser (only Postfix's own backoff does not: that is what it is), and may use as many connections
//! as Postfix does by default; mail waits in a queue that never runs dry for long (`load` above 1). An
//! answer is known when Postfix has logged it, some tenths of a second after the provider gave it.

pub mod chance;
pub mod draw;
pub mod policy;
pub mod provider;
pub mod tally;
pub mod world;

pub use policy::Policy;
pub use provider::{Model, Provider};
pub use tally::{Summary, Tally};

use std::time::Duration;

/// What is to be simulated.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// The provider.
    pub model: Model,
    /// Its limit at the beginning, messages a minute (connections, for [`Model::Concurrency`]).
    pub limit: f64,
    /// What it lets through at once, in messages, at least 1.
    pub burst: f64,
    /// How much mail comes, as a share of the limit.
    pub load: f64,
    /// How long a refusal asks to be left alone, where it says so.
    pub hold: Option<Duration>,
    /// For how long.
    pub span: Duration,
    /// What all chance comes from.
    pub seed: u64,
}

impl Scenario {
    /// A day at a model's usual limits, with more mail than it takes.
    #[must_use]
    pub fn of(model: Model) -> Self {
        let limit = if model == Model::Concurrency { 5.0 } else { 300.0 };
        Self {
            model,
            limit,
            burst: 20.0,
            load: 1.3,
            hold: None,
            span: Duration::from_secs(24 * 3600),
            seed: 1,
        }
    }
}

/// Plays the scenario under a policy.
#[must_use]
pub fn run(scenario: &Scenario, policy: Policy) -> Tally {
    world::World::new(scenario, policy).play()
}
