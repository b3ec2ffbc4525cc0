//! What is laid down for lanes, whether they are known yet or not; and lanes looked up by a borrowed name.

use crate::engine::provider::Documented;
use crate::engine::throttle::plan::{Order, WarmUps};
use crate::engine::throttle::{LaneKey, Plan};
use hashbrown::{Equivalent, HashMap};
use std::hash::Hash;

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
