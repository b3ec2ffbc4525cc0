//! A lane for people: what is stored, what is laid down and what the daemon says of it, put together.

use super::words;
use crate::cli::ask;
use crate::config::Settings;
use crate::engine::throttle::plan::{self, EVERY, Order, Orders, Plan};
use crate::engine::throttle::{Ceiling, Grant, Lane, LaneKey, Permit, State};
use crate::serve::lanes::{LaneNow, parts};
use crate::store::Store;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// One lane.
#[derive(Debug)]
pub struct View {
    /// Which.
    pub key: LaneKey,
    /// How people call its provider.
    pub provider: String,
    /// What was learned, where anything was.
    pub learned: Option<Lane>,
    /// The same, open where nothing was.
    pub lane: Lane,
    /// What is laid down.
    pub plan: Plan,
    /// The orders that stand.
    pub orders: Orders,
    /// What the daemon says.
    pub now: Option<LaneNow>,
}

/// All lanes.
#[derive(Debug)]
pub struct Views {
    /// They, in order.
    pub lanes: Vec<View>,
    /// Why the daemon does not say anything, where it does not.
    pub silence: Option<String>,
}

impl Views {
    /// Of all that is stored, ordered, planned or known to the daemon; `also` is among them in any case.
    ///
    /// # Errors
    /// Where the store does not answer, or the catalogue cannot be read.
    pub async fn gather(
        store: &Store,
        settings: &Settings,
        also: Option<&LaneKey>,
        now: Timestamp,
    ) -> anyhow::Result<Self> {
        let providers = crate::serve::providers(settings)?;
        let warm_ups = settings.warm_ups();
        let mut learned: BTreeMap<LaneKey, Option<Lane>> = BTreeMap::new();
        let mut orders: BTreeMap<LaneKey, Orders> = BTreeMap::new();
        for (key, order) in store.orders().await? {
            learned.insert(key.clone(), None);
            orders.entry(key).or_default().put(order);
        }
        let planned = warm_ups.iter().map(|(key, _)| key);
        for key in planned.filter(|key| key.provider != EVERY).chain(also) {
            learned.insert(key.clone(), None);
        }
        let (told, silence) = match ask::lanes(settings).await {
            Ok(told) => (told, None),
            Err(silence) => (Vec::new(), Some(silence)),
        };
        let mut told: BTreeMap<LaneKey, LaneNow> =
            told.into_iter().map(|lane| (key_of(&lane), lane)).collect();
        learned.extend(told.keys().map(|key| (key.clone(), None)));
        for (key, lane) in store.lanes().await? {
            learned.insert(key, Some(lane));
        }
        let view = |(key, learned): (LaneKey, Option<Lane>)| {
            let provider = providers.get(&key.provider);
            let orders = orders.remove(&key).unwrap_or_default();
            View {
                provider: provider.map_or(&key.provider, |provider| &provider.name).clone(),
                lane: learned.clone().unwrap_or_else(|| Lane::open(now)),
                learned,
                plan: Plan {
                    documented: provider.map(|provider| provider.limits).unwrap_or_default(),
                    warm_up: warm_ups.of(&key).cloned(),
                    order: orders.in_force().cloned(),
                },
                orders,
                now: told.remove(&key),
                key,
            }
        };
        Ok(Self {
            lanes: learned.into_iter().map(view).collect(),
            silence,
        })
    }

    /// One of them.
    #[must_use]
    pub fn take(mut self, key: &LaneKey) -> Option<View> {
        let index = self.lanes.iter().position(|view| view.key == *key)?;
        Some(self.lanes.swap_remove(index))
    }
}

fn key_of(lane: &LaneNow) -> LaneKey {
    LaneKey {
        provider: lane.provider.clone(),
        egress: lane.egress.clone(),
    }
}

impl View {
    /// What the lane may do.
    #[must_use]
    pub fn grant(&self, now: Timestamp) -> Grant {
        plan::grant(&self.lane, &self.plan, now)
    }

    /// All bounds on it.
    #[must_use]
    pub fn ceilings(&self, now: Timestamp) -> Vec<Ceiling> {
        plan::ceilings(&self.lane, &self.plan, now)
    }

    /// Whether a bound is the one that holds, or the one that holds for connections.
    #[must_use]
    pub fn applies(ceiling: &Ceiling, grant: &Grant) -> bool {
        let fewest = |permit: Permit| match permit {
            Permit::Limited(pace) => pace.concurrency,
            _ => None,
        };
        let connections = fewest(ceiling.permit());
        grant.because.as_ref() == Some(ceiling)
            || connections.is_some() && connections == fewest(grant.permit)
    }

    /// All of it, for programs.
    #[must_use]
    pub fn json(&self, now: Timestamp) -> Value {
        let (state, grant) = (self.lane.state_at(now), self.grant(now));
        let (permit, rate, connections, until) = parts(&grant.permit);
        let evidence = self.learned.as_ref().map(|lane| &lane.evidence);
        let orders: Vec<Value> = self.orders.iter().map(order_json).collect();
        let ceiling = |ceiling: &Ceiling| {
            let mut json = self.ceiling_json(ceiling);
            json["applies"] = json!(Self::applies(ceiling, &grant));
            json
        };
        json!({
            "lane": words::name(&self.key),
            "provider": self.key.provider,
            "egress": self.key.egress,
            "state": state.name(),
            "since": self.learned.as_ref().map(|lane| lane.since),
            "evidence": evidence,
            "signals": self.lane.signals,
            "sent_today": self.lane.sent_on(plan::date(now)),
            "permit": permit,
            "rate_per_minute": rate,
            "connections": connections,
            "held_until": until.or(match state {
                State::Held { until } => Some(until),
                _ => None,
            }),
            "because": grant.because.as_ref().map(|because| self.ceiling_json(because)),
            "ceilings": self.ceilings(now).iter().map(ceiling).collect::<Vec<_>>(),
            "orders": orders,
            "daemon": self.now,
        })
    }

    fn ceiling_json(&self, ceiling: &Ceiling) -> Value {
        let kind = match ceiling {
            Ceiling::Learned(_) => "learned",
            Ceiling::Held(_) => "held",
            Ceiling::Documented(_) => "documented",
            Ceiling::WarmUp { .. } => "warm_up",
            Ceiling::Operator(_) => "operator",
        };
        let (permit, rate, connections, until) = parts(&ceiling.permit());
        json!({
            "kind": kind,
            "permit": permit,
            "rate_per_minute": rate,
            "connections": connections,
            "held_until": until,
            "text": words::ceiling(ceiling, self),
        })
    }
}

/// An order, for programs.
fn order_json(order: &Order) -> Value {
    use crate::engine::throttle::Rate;
    use crate::engine::throttle::plan::Steer;
    let (what, rate, connections) = match order.what {
        Steer::Pause => ("pause", None, None),
        Steer::Cap {
            per_second,
            concurrency,
        } => (
            "cap",
            per_second.map(|rate| Rate::of_seconds(rate).to_string()),
            concurrency,
        ),
    };
    json!({
        "what": what,
        "rate": rate,
        "connections": connections,
        "author": order.author,
        "reason": order.reason,
        "at": order.at,
    })
}
