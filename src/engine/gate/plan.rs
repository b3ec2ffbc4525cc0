//! What is laid down for lanes, whether they are known yet or not; and lanes looked up by a borrowed name.

use super::Gate;
use crate::engine::provider::Documented;
use crate::engine::throttle::plan::{Order, WarmUp, WarmUps};
use crate::engine::throttle::{LaneKey, Plan};
use hashbrown::{Equivalent, HashMap};
use jiff::Timestamp;
use std::hash::Hash;
use std::sync::Arc;

/// A lane whose name is borrowed; it hashes alike because fields are hashed in order and `str` as `String`.
#[derive(Hash)]
pub(super) struct LaneName<'a> {
    pub provider: &'a str,
    pub egress: &'a str,
}

impl Equivalent<LaneKey> for LaneName<'_> {
    fn equivalent(&self, key: &LaneKey) -> bool {
        self.provider == key.provider && self.egress == key.egress
    }
}

/// What is laid down for lanes, whether they are known yet or not.
#[derive(Debug, Default)]
pub(super) struct Laid {
    pub documented: HashMap<String, Documented>,
    pub warm_ups: WarmUps,
    pub orders: HashMap<LaneKey, Order>,
}

impl Laid {
    /// The plan of a lane.
    pub fn plan(&self, key: &LaneKey) -> Plan {
        Plan {
            documented: self.documented.get(&key.provider).copied().unwrap_or_default(),
            warm_up: self.warm_ups.of(key).cloned(),
            order: self.orders.get(key).cloned(),
        }
    }
}

impl Gate {
    /// What the providers document.
    pub fn set_documented(&self, all: impl IntoIterator<Item = (String, Documented)>, now: Timestamp) {
        self.laid.write().documented = all.into_iter().collect();
        self.replan(now);
    }

    /// The warm-ups there are; those given before are over.
    pub fn set_warm_ups(&self, all: impl IntoIterator<Item = (LaneKey, WarmUp)>, now: Timestamp) {
        self.laid.write().warm_ups = all.into_iter().collect();
        self.replan(now);
    }

    /// What an operator says of a lane; `None` takes it back.
    pub fn set_order(&self, key: LaneKey, order: Option<Order>, now: Timestamp) {
        match order {
            Some(order) => drop(self.laid.write().orders.insert(key.clone(), order)),
            None => drop(self.laid.write().orders.remove(&key)),
        }
        let place = self.lane_place(&key.provider, &key.egress, now);
        let plan = self.laid.read().plan(&key);
        self.with(&place, now, |way| way.set_plan(plan, now));
    }

    /// The lanes of which an operator has said something.
    #[must_use]
    pub fn ordered(&self) -> Vec<LaneKey> {
        self.laid.read().orders.keys().cloned().collect()
    }

    fn replan(&self, now: Timestamp) {
        let lanes: Vec<_> = self
            .lanes
            .read()
            .iter()
            .map(|(k, p)| (k.clone(), Arc::clone(p)))
            .collect();
        for (key, place) in lanes {
            let plan = self.laid.read().plan(&key);
            self.with(&place, now, |way| way.set_plan(plan, now));
        }
    }
}
