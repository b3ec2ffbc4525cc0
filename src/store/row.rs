//! Between the engine's types and columns.
//!
//! Times are microseconds since the epoch: what is finer is cut off. Reading back is lenient: a name
//! that this version does not know (a newer one wrote it) reads as the most harmless value.

use super::contract::{Change, ChangeKind, Kept};
use super::session::{Fault, Row};
use crate::engine::suppression::{NewSuppression, Standing, Subject, Suppression, SuppressionId};
use crate::engine::throttle::plan::{Order, Steer};
use crate::engine::throttle::{Lane, LaneKey, Rate, Signal, State};
use crate::engine::trust::Trust;
use crate::engine::verdict::Cause;
use crate::mail::event::{EventId, Outcome};
use crate::mail::reply::{Reply, ReplyCode};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A time as stored.
pub(super) fn micros(at: Timestamp) -> i64 {
    at.as_microsecond()
}

/// A stored time.
pub(super) fn timestamp(micros: i64) -> Timestamp {
    let limit = if micros < 0 {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    };
    Timestamp::from_microsecond(micros).unwrap_or(limit)
}

/// A time with the precision of the store.
pub(super) fn stored(at: Timestamp) -> Timestamp {
    timestamp(micros(at))
}

/// 16 octets; what has another length was not written by us.
pub(super) fn sixteen(octets: &[u8]) -> Result<[u8; 16], Fault> {
    octets
        .try_into()
        .map_err(|_| Fault::Passing(format!("expected an id of 16 octets, found {}", octets.len())))
}

pub(super) fn cause(name: &str) -> Cause {
    Cause::from_name(name).unwrap_or(Cause::Unknown)
}

/// `id, address, cause, since, expires, author, reason, event, provider, standing, term`.
pub(super) fn suppression(row: &Row) -> Result<Suppression, Fault> {
    let event: Option<Vec<u8>> = row.get(7)?;
    Ok(Suppression {
        id: SuppressionId(row.get(0)?),
        entry: NewSuppression {
            subject: Subject::from_stored(&row.get::<String>(1)?),
            cause: cause(&row.get::<String>(2)?),
            since: timestamp(row.get(3)?),
            expires: row.get::<Option<i64>>(4)?.map(timestamp),
            author: row.get(5)?,
            reason: row.get(6)?,
            event: event.map(|id| sixteen(&id).map(EventId)).transpose()?,
            provider: row.get(8)?,
            standing: Standing::from_name(&row.get::<String>(9)?),
            term: u32::try_from(row.get::<i64>(10)?).unwrap_or(1),
            operation: None,
        },
    })
}

/// `sequence, at, author, reason, kind, suppression, address, cause, since, expires, provider, egress, detail`.
pub(super) fn change(row: &Row) -> Result<Change, Fault> {
    Ok(Change {
        sequence: row.get(0)?,
        at: timestamp(row.get(1)?),
        author: row.get(2)?,
        reason: row.get(3)?,
        kind: change_kind(row)?,
    })
}

fn change_kind(row: &Row) -> Result<ChangeKind, Fault> {
    let text = |column| Ok::<_, Fault>(row.get::<Option<String>>(column)?.unwrap_or_default());
    let kind: String = row.get(4)?;
    let id = SuppressionId(row.get(5)?);
    let address: String = row.get(6)?;
    let key = LaneKey {
        provider: text(10)?,
        egress: text(11)?,
    };
    let detail = text(12)?;
    Ok(match kind.as_str() {
        LIFTED => ChangeKind::Lifted {
            id,
            subject: Subject::from_stored(&address),
        },
        SUPPRESSED | QUARANTINED => ChangeKind::Suppressed {
            id,
            subject: Subject::from_stored(&address),
            cause: cause(&row.get::<String>(7)?),
            since: timestamp(row.get(8)?),
            expires: row.get::<Option<i64>>(9)?.map(timestamp),
            standing: if kind == QUARANTINED {
                Standing::Quarantined
            } else {
                Standing::InForce
            },
        },
        BULK => match detail.parse() {
            Ok(last) => ChangeKind::Bulk {
                first: id,
                last: SuppressionId(last),
            },
            Err(_) => ChangeKind::Unknown,
        },
        "domain" => ChangeKind::Domain {
            domain: address,
            provider: key.provider,
        },
        "lane" => read(&detail).map_or(ChangeKind::Unknown, |lane| ChangeKind::Lane { key, lane }),
        CLEARED => ChangeKind::Cleared {
            key,
            was: read(&detail),
        },
        TURNED => read(&detail).map_or(ChangeKind::Unknown, |to| ChangeKind::Turned { key, to }),
        ORDERED | WITHDRAWN => match read::<Particulars>(&detail).map(Steer::from) {
            Some(what) if kind == ORDERED => ChangeKind::Ordered { key, what },
            Some(what) => ChangeKind::Withdrawn { key, what },
            None => ChangeKind::Unknown,
        },
        _ => ChangeKind::Unknown,
    })
}

/// What JSON says, where this version understands it.
fn read<T: serde::de::DeserializeOwned>(json: &str) -> Option<T> {
    serde_json::from_str(json).ok()
}

/// An order as the feed keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Particulars {
    #[serde(default)]
    pause: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    per_day: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    connections: Option<u32>,
}

impl From<Steer> for Particulars {
    fn from(what: Steer) -> Self {
        let pause = what == Steer::Pause;
        let (per_second, connections) = match what {
            Steer::Pause => (None, None),
            Steer::Cap {
                per_second,
                concurrency,
            } => (per_second, concurrency),
        };
        Self {
            pause,
            per_day: per_second.map(|rate| Rate::of_seconds(rate).per_day()),
            connections,
        }
    }
}

impl From<Particulars> for Steer {
    fn from(order: Particulars) -> Self {
        if order.pause {
            return Self::Pause;
        }
        Self::Cap {
            per_second: order.per_day.map(|n| Rate::of_days(n).per_second()),
            concurrency: order.connections,
        }
    }
}

impl Particulars {
    /// As JSON. It holds nothing that JSON cannot say.
    pub(super) fn json(self) -> String {
        serde_json::to_string(&self).unwrap_or_default()
    }

    /// Its columns: kind, messages a day, connections.
    pub(super) fn columns(self) -> (&'static str, Option<i64>, Option<i64>) {
        let kind = if self.pause { PAUSE } else { CAP };
        let per_day = self.per_day.and_then(|n| i64::try_from(n).ok());
        (kind, per_day, self.connections.map(i64::from))
    }
}

/// `provider, egress, kind, per_day, connections, author, reason, at`.
pub(super) fn order(row: &Row) -> Result<(LaneKey, Order), Fault> {
    let key = LaneKey {
        provider: row.get(0)?,
        egress: row.get(1)?,
    };
    let particulars = Particulars {
        pause: row.get::<String>(2)? == PAUSE,
        per_day: row.get::<Option<i64>>(3)?.and_then(|n| u64::try_from(n).ok()),
        connections: row.get::<Option<i64>>(4)?.and_then(|n| u32::try_from(n).ok()),
    };
    let order = Order {
        what: particulars.into(),
        author: row.get(5)?,
        reason: row.get(6)?,
        at: timestamp(row.get(7)?),
    };
    Ok((key, order))
}

/// The kinds of orders.
pub(super) const PAUSE: &str = "pause";
/// See [`PAUSE`].
pub(super) const CAP: &str = "cap";
/// The name of [`ChangeKind::Suppressed`] in force.
pub(super) const SUPPRESSED: &str = "suppressed";
/// The name of [`ChangeKind::Suppressed`] in quarantine: of its own, so that a node that knows no quarantine does
/// not act on it.
pub(super) const QUARANTINED: &str = "quarantined";
/// The name of [`ChangeKind::Bulk`]: the first number stands in the column `suppression`, the last in `detail`.
pub(super) const BULK: &str = "bulk";
/// The name of [`ChangeKind::Ordered`].
pub(super) const ORDERED: &str = "ordered";
/// The name of [`ChangeKind::Withdrawn`].
pub(super) const WITHDRAWN: &str = "withdrawn";
/// The name of [`ChangeKind::Cleared`].
pub(super) const CLEARED: &str = "cleared";
/// The name of [`ChangeKind::Turned`].
pub(super) const TURNED: &str = "turned";
/// The name of [`ChangeKind::Lifted`].
pub(super) const LIFTED: &str = "lifted";

/// `provider, egress, lane, state, until, repeats, since, rule, reply, hold, signals`. What is in `lane` tells
/// all; where it was written by a version that knew no such column, or by a newer one that this one does
/// not understand, the others tell what they can.
pub(super) fn lane(row: &Row) -> Result<(LaneKey, Lane), Fault> {
    let key = LaneKey {
        provider: row.get(0)?,
        egress: row.get(1)?,
    };
    let whole = row.get::<Option<String>>(2)?;
    match whole.and_then(|json| serde_json::from_str(&json).ok()) {
        Some(lane) => Ok((key, lane)),
        None => Ok((key, lane_of_columns(row)?)),
    }
}

fn lane_of_columns(row: &Row) -> Result<Lane, Fault> {
    let since = timestamp(row.get(6)?);
    let hold = row.get::<Option<i64>>(9)?;
    let signal = match (row.get::<Option<String>>(7)?, row.get::<Option<String>>(8)?) {
        (Some(rule), Some(reply)) => Signal {
            rule,
            reply,
            hold: hold.map(|micros| Duration::from_micros(micros.unsigned_abs())),
            ..Signal::default()
        },
        _ => Signal::default(),
    };
    let until: Option<i64> = row.get(4)?;
    let mut lane = match (row.get::<String>(3)?.as_str(), until) {
        ("held", Some(until)) => Lane::held(signal, timestamp(until), since),
        // Its hold is over; nothing was delivered since.
        ("recovering", _) => Lane::held(signal, since, since),
        _ => Lane::open(since),
    };
    lane.repeats = u32::try_from(row.get::<i64>(5)?).unwrap_or(0);
    lane.signals = u64::try_from(row.get::<i64>(10)?).unwrap_or(0);
    Ok(lane)
}

/// A lane as JSON. Its types hold nothing that JSON cannot say, so there is always one.
pub(super) fn lane_json(lane: &Lane) -> Option<String> {
    serde_json::to_string(lane).ok()
}

/// When a lane's hold ends.
pub(super) fn until(state: State) -> Option<i64> {
    match state {
        State::Held { until } => Some(micros(until)),
        _ => None,
    }
}

/// A span as stored.
pub(super) fn span(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// `id, at, outcome, cause, rule, trust, repeat_of, code, status, reply, proof`.
pub(super) fn kept(row: &Row) -> Result<Kept, Fault> {
    let outcome = row.get::<String>(2)?;
    let trust = row.get::<String>(5)?;
    let repeat_of: Option<Vec<u8>> = row.get(6)?;
    let code: Option<i64> = row.get(7)?;
    let status: Option<String> = row.get(8)?;
    Ok(Kept {
        id: EventId(sixteen(&row.get::<Vec<u8>>(0)?)?),
        at: timestamp(row.get(1)?),
        outcome: Outcome::from_name(&outcome).unwrap_or(Outcome::Deferred),
        cause: cause(&row.get::<String>(3)?),
        rule: row.get(4)?,
        trust: Trust::from_name(&trust).unwrap_or(Trust::Unverified),
        proof: row.get(10)?,
        repeat_of: repeat_of.map(|id| sixteen(&id).map(EventId)).transpose()?,
        reply: Reply {
            code: code.and_then(|code| ReplyCode::new(u16::try_from(code).ok()?)),
            status: status.and_then(|status| status.parse().ok()),
            text: row.get(9)?,
        },
    })
}
