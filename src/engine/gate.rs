//! The gate: what is known of lanes and laid down for them, and what they may do.
//!
//! The hooks ask it through [`Memory`](super::memory::Memory). Nothing here fails: in doubt mail passes.

use super::provider::Documented;
use super::throttle::plan::{self, Order, WarmUp, WarmUps};
use super::throttle::{Grant, Lane, LaneKey, Permit, Plan, State};
use hashbrown::HashMap;
use jiff::Timestamp;
use parking_lot::RwLock;

/// Why an attempt has to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The provider asked us to.
    Held,
    /// An operator paused the lane.
    Paused,
}

/// How a lane stands, for people.
#[derive(Debug, Clone, PartialEq)]
pub struct Look {
    /// Which.
    pub key: LaneKey,
    /// What was learned of it, where anything was.
    pub lane: Option<Lane>,
    /// Its state now.
    pub state: State,
    /// What it may do, and why no more.
    pub grant: Grant,
    /// The tokens there are.
    pub tokens: f64,
    /// Recipients whose attempt is under way.
    pub under_way: usize,
    /// Recipients that wait.
    pub backlog: usize,
    /// Messages that wait, by stream.
    pub by_stream: Vec<(String, usize)>,
    /// Since when the oldest waits.
    pub oldest: Option<Timestamp>,
    /// When the next message goes, as far as that is known.
    pub next_release: Option<Timestamp>,
}

/// What is laid down for lanes, whether they are known yet or not.
#[derive(Debug, Default)]
struct Laid {
    documented: HashMap<String, Documented>,
    warm_ups: WarmUps,
    orders: HashMap<LaneKey, Order>,
}

/// The gate.
#[derive(Debug, Default)]
pub struct Gate {
    laid: RwLock<Laid>,
    lanes: RwLock<HashMap<LaneKey, Option<Lane>>>,
}

impl Gate {
    /// Nothing known.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What was learned of a lane.
    pub fn set_lane(&self, key: LaneKey, lane: Lane, _now: Timestamp) {
        self.lanes.write().insert(key, Some(lane));
    }

    /// What was learned of a lane, if anything was.
    #[must_use]
    pub fn lane(&self, key: &LaneKey) -> Option<Lane> {
        self.lanes.read().get(key).cloned().flatten()
    }

    /// All lanes of which something was learned, in order.
    #[must_use]
    pub fn lanes(&self) -> Vec<(LaneKey, Lane)> {
        let lanes = self.lanes.read();
        let learned = |(key, lane): (&LaneKey, &Option<Lane>)| Some((key.clone(), lane.clone()?));
        let mut all: Vec<_> = lanes.iter().filter_map(learned).collect();
        drop(lanes);
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }

    /// What the providers document.
    pub fn set_documented(&self, all: impl IntoIterator<Item = (String, Documented)>, _now: Timestamp) {
        self.laid.write().documented = all.into_iter().collect();
    }

    /// The warm-ups there are; those given before are over.
    pub fn set_warm_ups(&self, all: impl IntoIterator<Item = (LaneKey, WarmUp)>, _now: Timestamp) {
        self.laid.write().warm_ups = all.into_iter().collect();
    }

    /// What an operator says of a lane; `None` takes it back.
    pub fn set_order(&self, key: LaneKey, order: Option<Order>, _now: Timestamp) {
        match order {
            Some(order) => drop(self.laid.write().orders.insert(key.clone(), order)),
            None => drop(self.laid.write().orders.remove(&key)),
        }
        self.lanes.write().entry(key).or_default();
    }

    fn plan(&self, key: &LaneKey) -> Plan {
        let laid = self.laid.read();
        Plan {
            documented: laid.documented.get(&key.provider).copied().unwrap_or_default(),
            warm_up: laid.warm_ups.of(key).cloned(),
            order: laid.orders.get(key).cloned(),
        }
    }

    /// What the lane to a provider may do now; `None` where nothing is known of it.
    #[must_use]
    pub fn grant(
        &self,
        provider: &str,
        egress: &str,
        now: Timestamp,
    ) -> Option<(LaneKey, Option<Lane>, Grant)> {
        let key = LaneKey {
            provider: provider.to_owned(),
            egress: egress.to_owned(),
        };
        let lane = self.lanes.read().get(&key).cloned()?;
        let open = || Lane::open(now);
        let grant = plan::grant(lane.as_ref().unwrap_or(&open()), &self.plan(&key), now);
        Some((key, lane, grant))
    }

    /// How a lane stands.
    #[must_use]
    pub fn look(&self, key: &LaneKey, now: Timestamp) -> Option<Look> {
        let (key, lane, grant) = self.grant(&key.provider, &key.egress, now)?;
        Some(Look {
            state: lane.as_ref().map_or(State::Open, |lane| lane.state_at(now)),
            // Nothing is drawn here and nothing waits.
            tokens: match grant.permit {
                Permit::Limited(pace) => pace.burst,
                Permit::Open => f64::INFINITY,
                Permit::Held { .. } | Permit::Paused => 0.0,
            },
            under_way: 0,
            backlog: 0,
            by_stream: Vec::new(),
            oldest: None,
            next_release: None,
            key,
            lane,
            grant,
        })
    }

    /// How all lanes stand, in order.
    #[must_use]
    pub fn look_all(&self, now: Timestamp) -> Vec<Look> {
        let mut keys: Vec<LaneKey> = self.lanes.read().keys().cloned().collect();
        keys.sort();
        keys.iter().filter_map(|key| self.look(key, now)).collect()
    }
}
