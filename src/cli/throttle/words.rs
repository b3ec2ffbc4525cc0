//! How lanes are told to people.

use super::view::View;
use crate::engine::throttle::plan::{Order, Steer};
use crate::engine::throttle::{Ceiling, Evidence, LaneKey, Pace, Permit, Rate, State};
use crate::store::contract::{Change, ChangeKind};
use jiff::Timestamp;

/// `google/pool-1`.
pub fn name(key: &LaneKey) -> String {
    format!("{}/{}", key.provider, key.egress)
}

/// A time (UTC), to the second.
pub fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// A rate that was found out: to a tenth of what people count in.
fn rate(per_second: f64) -> String {
    if per_second * 60.0 >= 1.0 {
        format!("{:.1} a minute", per_second * 60.0)
    } else {
        format!("{:.1} an hour", per_second * 3600.0)
    }
}

fn connections(most: u32) -> String {
    match most {
        1 => "1 connection".into(),
        n => format!("{n} connections"),
    }
}

fn both(rate: Option<String>, most: Option<u32>) -> String {
    let said: Vec<String> = rate.into_iter().chain(most.map(connections)).collect();
    if said.is_empty() {
        return "no limit".into();
    }
    said.join(", ")
}

/// A pace.
pub fn pace(pace: &Pace) -> String {
    both(pace.per_second.map(rate), pace.concurrency)
}

/// A hold, with the time that is left of it.
fn hold(until: Timestamp, now: Timestamp) -> String {
    let left = (until.as_second() - now.as_second()).max(0);
    format!("held for {left} s more, until {}", time(until))
}

/// What a lane may do.
pub fn permit(permit: &Permit, now: Timestamp) -> String {
    match permit {
        Permit::Open => "no limit".into(),
        Permit::Limited(limit) => pace(limit),
        Permit::Held { until } => hold(*until, now),
        Permit::Paused => "paused".into(),
    }
}

/// A state.
pub fn state(state: State, now: Timestamp) -> String {
    match state {
        State::Open => "open".into(),
        State::Limited { rate, concurrency } => format!("limited to {}", pace(&Pace::new(rate, concurrency))),
        State::Recovering { .. } => "recovering: the hold is over, nothing delivered since".into(),
        State::Held { until } => hold(until, now),
    }
}

/// What was ordered.
pub fn steer(what: &Steer) -> String {
    match what {
        Steer::Pause => "pause".into(),
        Steer::Cap {
            per_second,
            concurrency,
        } => {
            let rate = per_second.map(|rate| Rate::of_seconds(rate).to_string());
            format!("at most {}", both(rate, *concurrency))
        }
    }
}

/// An order with who, when and why.
pub fn order(order: &Order) -> String {
    format!(
        "{} ({}, {}: {})",
        steer(&order.what),
        order.author,
        time(order.at),
        order.reason
    )
}

/// A bound, and whose it is.
pub fn ceiling(ceiling: &Ceiling, view: &View) -> String {
    match ceiling {
        Ceiling::Learned(limit) => format!("learned: {}", pace(limit)),
        Ceiling::Held(until) => format!(
            "{} asked us to slow down: held until {}",
            view.provider,
            time(*until)
        ),
        Ceiling::Documented(limit) => format!("{} documents it: {}", view.provider, pace(limit)),
        Ceiling::WarmUp {
            day,
            per_day,
            sent,
            ends,
        } => {
            let days = view.plan.warm_up.as_ref().map_or(0, |plan| plan.per_day.len());
            format!(
                "warm-up: day {day} of {days}, {sent} of {per_day} sent, the day ends {}",
                time(*ends)
            )
        }
        Ceiling::Operator(given) => format!("ordered: {}", order(given)),
    }
}

/// Why a lane is in its state.
pub fn evidence(evidence: &Evidence) -> String {
    let mut text = format!("{}, {}", time(evidence.at), evidence.what.name());
    if let Some(rule) = &evidence.rule {
        text.push_str(&format!(" ({rule})"));
    }
    if let Some(reply) = &evidence.reply {
        text.push_str(&format!(": {reply}"));
    }
    text
}

/// A line of a lane's history; `None` for what is none.
pub fn change(change: &Change) -> Option<String> {
    let what = match &change.kind {
        ChangeKind::Ordered { what, .. } => format!("ordered: {}", steer(what)),
        ChangeKind::Withdrawn { what, .. } => format!("taken back: {}", steer(what)),
        ChangeKind::Cleared { was, .. } => match was {
            Some(was) => format!("cleared; it was {}", state(was.state_at(change.at), change.at)),
            None => "cleared".into(),
        },
        ChangeKind::Turned { to, .. } => state(*to, change.at),
        _ => return None,
    };
    Some(format!(
        "{}  {}: {what}: {}",
        time(change.at),
        change.author,
        change.reason
    ))
}
