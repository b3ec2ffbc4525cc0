//! What the daemon knows of lanes: `GET /lanes` for people's tools, and the lanes' part of `/metrics`.
//!
//! State and orders are in the store for everybody to read; tokens, backlog and the next release only here.

use crate::engine::gate::Look;
use crate::engine::provider::Providers;
use crate::engine::throttle::{Lane, Pace, Permit, State};
use jiff::Timestamp;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;

/// A lane as the daemon has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LaneNow {
    /// The provider.
    pub provider: String,
    /// The egress.
    pub egress: String,
    /// The name of its state.
    pub state: String,
    /// What it may do: `open`, `limited`, `held` or `paused`.
    pub permit: String,
    /// Attempts a minute that it may make; `null` is no limit of the rate.
    pub rate_per_minute: Option<f64>,
    /// Connections at a time; `null` is no limit.
    pub connections: Option<u32>,
    /// Until when nothing goes.
    pub held_until: Option<Timestamp>,
    /// Attempts that may go at once; `null` is no limit.
    pub tokens: Option<f64>,
    /// Recipients whose attempt is under way.
    pub under_way: usize,
    /// Recipients that wait for their turn.
    pub backlog: usize,
    /// Messages that wait, by stream.
    pub backlog_by_stream: BTreeMap<String, usize>,
    /// Since when the oldest waits.
    pub oldest: Option<Timestamp>,
    /// When the next message goes, as far as that is known.
    pub next_release: Option<Timestamp>,
}

/// What a permit says, in JSON's parts: its name, attempts a minute, connections, the end of a hold.
#[must_use]
pub fn parts(permit: &Permit) -> (&'static str, Option<f64>, Option<u32>, Option<Timestamp>) {
    match permit {
        Permit::Open => ("open", None, None, None),
        Permit::Limited(Pace {
            per_second,
            concurrency,
            ..
        }) => ("limited", per_second.map(|rate| rate * 60.0), *concurrency, None),
        Permit::Held { until } => ("held", None, None, Some(*until)),
        Permit::Paused => ("paused", None, None, None),
    }
}

impl From<Look> for LaneNow {
    fn from(look: Look) -> Self {
        let (permit, rate_per_minute, connections, held_until) = parts(&look.grant.permit);
        Self {
            provider: look.key.provider,
            egress: look.key.egress,
            state: look.state.name().to_owned(),
            permit: permit.to_owned(),
            rate_per_minute,
            connections,
            held_until,
            tokens: Some(look.tokens).filter(|tokens| tokens.is_finite()),
            under_way: look.under_way,
            backlog: look.backlog,
            backlog_by_stream: look.by_stream.into_iter().collect(),
            oldest: look.oldest,
            next_release: look.next_release,
        }
    }
}

/// The provider in labels of lanes whose provider is in no catalogue: strangers' domains must not make as many time
/// series as there are domains.
const OTHER: &str = "other";

type Labels = Vec<(String, String)>;
type Gauges = Family<Labels, Gauge<f64, AtomicU64>>;

/// The families of one scrape.
#[derive(Default)]
struct Families {
    state: Gauges,
    paused: Gauges,
    rate: Gauges,
    connections: Gauges,
    held: Gauges,
    hold_ends: Gauges,
    signals: Gauges,
    backlog: Gauges,
    under_way: Gauges,
    oldest: Gauges,
    tokens: Gauges,
}

/// Adds the lanes' metrics. Lanes of the catalogue's providers stand by name; the others are summed (of times, the
/// longest).
pub fn register(registry: &mut Registry, looks: &[Look], providers: &Providers, now: Timestamp) {
    let families = Families::default();
    for look in looks {
        let known = providers.get(&look.key.provider).is_some();
        let provider = if known { &look.key.provider } else { OTHER };
        let labels = vec![
            ("provider".to_owned(), provider.to_owned()),
            ("egress".to_owned(), look.key.egress.clone()),
        ];
        families.add(look, &labels, now);
    }
    families.register(registry);
}

impl Families {
    fn add(&self, look: &Look, labels: &Labels, now: Timestamp) {
        let add = |family: &Gauges, value: f64| {
            family.get_or_create(labels).inc_by(value);
        };
        let raise = |family: &Gauges, value: f64| {
            let gauge = family.get_or_create(labels);
            gauge.set(gauge.get().max(value));
        };
        for state in ["open", "limited", "held", "recovering"] {
            let mut labels = labels.clone();
            labels.push(("state".to_owned(), state.to_owned()));
            let one = f64::from(u8::from(state == look.state.name()));
            self.state.get_or_create(&labels).inc_by(one);
        }
        let (permit, per_minute, connections, until) = parts(&look.grant.permit);
        add(&self.paused, f64::from(u8::from(permit == "paused")));
        match look.grant.permit {
            Permit::Held { .. } | Permit::Paused => add(&self.rate, 0.0),
            Permit::Open | Permit::Limited(_) => {
                if let Some(per_minute) = per_minute {
                    add(&self.rate, per_minute / 60.0);
                }
            }
        }
        if let Some(connections) = connections {
            add(&self.connections, f64::from(connections));
        }
        let learned = match look.state {
            State::Held { until } => Some(until),
            _ => None,
        };
        let ends = until.into_iter().chain(learned).max();
        raise(&self.held, ends.map_or(0.0, |ends| seconds(ends) - seconds(now)));
        raise(&self.hold_ends, ends.map_or(0.0, seconds));
        let signals = |lane: &Lane| lane.signals as f64;
        add(&self.signals, look.lane.as_ref().map_or(0.0, signals));
        add(&self.backlog, look.backlog as f64);
        add(&self.under_way, look.under_way as f64);
        let waits = |since: Timestamp| (seconds(now) - seconds(since)).max(0.0);
        raise(&self.oldest, look.oldest.map_or(0.0, waits));
        if look.tokens.is_finite() {
            add(&self.tokens, look.tokens);
        }
    }

    fn register(self, registry: &mut Registry) {
        let all = [
            ("lane_state", "Lanes in this state", self.state),
            ("lane_paused", "Lanes that an operator paused", self.paused),
            (
                "lane_rate",
                "Attempts a second that the lane may make, 0 where it is held; absent where there is no limit",
                self.rate,
            ),
            (
                "lane_connections",
                "Connections at a time that the lane may open; absent where there is no limit",
                self.connections,
            ),
            (
                "lane_held_seconds",
                "Seconds until the lane's hold ends, 0 where it is not held",
                self.held,
            ),
            (
                "lane_hold_ends_timestamp_seconds",
                "When the lane's hold ends, 0 where it is not held",
                self.hold_ends,
            ),
            (
                "lane_signals",
                "Signals since the lane was last open",
                self.signals,
            ),
            (
                "lane_backlog",
                "Recipients that wait for their turn in the lane",
                self.backlog,
            ),
            (
                "lane_under_way",
                "Recipients whose attempt is under way",
                self.under_way,
            ),
            (
                "lane_oldest_seconds",
                "How long the oldest in the backlog waits",
                self.oldest,
            ),
            (
                "lane_tokens",
                "Attempts that may go at once; absent where there is no limit",
                self.tokens,
            ),
        ];
        for (name, help, family) in all {
            registry.register(name, help, family);
        }
    }
}

fn seconds(at: Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::gate::Gate;
    use crate::engine::throttle::plan::{Order, Steer};
    use crate::engine::throttle::{LaneKey, Signal};

    fn now() -> Timestamp {
        "2026-11-21T10:00:00Z".parse().unwrap()
    }

    fn key(provider: &str) -> LaneKey {
        LaneKey {
            provider: provider.into(),
            egress: "default".into(),
        }
    }

    fn gate() -> Gate {
        let gate = Gate::new();
        let held = Lane::held(Signal::default(), "2026-11-21T10:01:30Z".parse().unwrap(), now());
        gate.set_lane(key("google"), held.clone(), now());
        for n in 0..50 {
            gate.set_lane(key(&format!("domain{n}.example")), held.clone(), now());
        }
        let order = |what| Order {
            what,
            author: "cli alice".into(),
            reason: "test".into(),
            at: now(),
        };
        gate.set_order(key("yahoo"), Some(order(Steer::Pause)), now());
        let cap = Steer::Cap {
            per_second: Some(5.0),
            concurrency: Some(2),
        };
        gate.set_order(key("outlook"), Some(order(cap)), now());
        gate
    }

    #[test]
    fn strangers_are_summed_and_the_catalogue_stands_by_name() {
        let mut registry = Registry::with_prefix("nixie");
        let providers = Providers::shipped().unwrap();
        register(&mut registry, &gate().look_all(now()), &providers, now());
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "nixie_lane_state{provider=\"google\",egress=\"default\",state=\"held\"} 1.0",
            "nixie_lane_state{provider=\"other\",egress=\"default\",state=\"held\"} 50.0",
            "nixie_lane_held_seconds{provider=\"google\",egress=\"default\"} 90.0",
            "nixie_lane_held_seconds{provider=\"other\",egress=\"default\"} 90.0",
            "nixie_lane_signals{provider=\"other\",egress=\"default\"} 50.0",
            "nixie_lane_paused{provider=\"yahoo\",egress=\"default\"} 1.0",
            "nixie_lane_rate{provider=\"outlook\",egress=\"default\"} 5.0",
            "nixie_lane_connections{provider=\"outlook\",egress=\"default\"} 2.0",
        ] {
            assert!(text.contains(line), "{line} is missing in {text}");
        }
        assert!(!text.contains("domain7.example"));
        assert!(text.contains("nixie_lane_rate{provider=\"google\",egress=\"default\"} 0.0"));
    }

    #[test]
    fn what_is_written_can_be_read() {
        for look in gate().look_all(now()) {
            let lane = LaneNow::from(look);
            let json = serde_json::to_string(&lane).unwrap();
            assert_eq!(serde_json::from_str::<LaneNow>(&json).unwrap(), lane);
        }
    }
}
