//! Operators' orders for lanes, and the history of lanes.
//!
//! Orders stand in a table of their own; each one that is given or taken back leaves a row in the change feed with who
//! did it, when and why. Every function that writes runs within a transaction of its caller, and takes its locks in
//! one order: lane, orders, feed.

use super::contract::{Change, Cleared, StoreError};
use super::keep::{lane_rows, write};
use super::row::{self, Particulars, micros};
use super::session::{Args, Fault, Rows, Session, Value};
use super::suppression::{CHANNEL, advance};
use super::{Attempts, Store};
use crate::engine::throttle::plan::{Order, Steer};
use crate::engine::throttle::{Lane, LaneKey, What};
use jiff::Timestamp;

/// A line of the feed about a lane, in the making.
struct Line {
    kind: &'static str,
    author: String,
    reason: String,
    at: Timestamp,
    key: LaneKey,
    detail: String,
}

impl Store {
    /// An operator's order for a lane, over an earlier one of its kind (a pause leaves a cap as it was); returns that
    /// one. Who gave it and why stays in the change feed.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn order(&self, key: &LaneKey, order: &Order) -> Result<Option<Order>, StoreError> {
        let mut attempts = Attempts::new();
        loop {
            match self.try_order(key, order).await {
                Ok(before) => return Ok(before),
                Err(fault) => attempts.again(fault).await?,
            }
        }
    }

    async fn try_order(&self, key: &LaneKey, order: &Order) -> Result<Option<Order>, Fault> {
        let mut session = self.begin().await?;
        let before = put(&mut session, key, order).await?;
        session.commit().await?;
        self.written(1, 1).await;
        Ok(before)
    }

    /// Takes back the order of the kind of `what`; returns what it was, `None` where there was none. `by` is who does
    /// it and why; it stays in the change feed.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn withdraw(
        &self,
        key: &LaneKey,
        what: Steer,
        by: (&str, &str),
        now: Timestamp,
    ) -> Result<Option<Order>, StoreError> {
        let mut attempts = Attempts::new();
        loop {
            match self.try_withdraw(key, what, by, now).await {
                Ok(before) => return Ok(before),
                Err(fault) => attempts.again(fault).await?,
            }
        }
    }

    async fn try_withdraw(
        &self,
        key: &LaneKey,
        what: Steer,
        by: (&str, &str),
        now: Timestamp,
    ) -> Result<Option<Order>, Fault> {
        let mut session = self.begin().await?;
        let before = withdraw(&mut session, key, what, by, now).await?;
        session.commit().await?;
        self.written(1, usize::from(before.is_some())).await;
        Ok(before)
    }

    /// Forgets what was learned of a lane and takes back all orders; returns what they were. `by` is who does it and
    /// why; that and what was forgotten stay in the change feed.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn clear(
        &self,
        key: &LaneKey,
        by: (&str, &str),
        now: Timestamp,
    ) -> Result<Cleared, StoreError> {
        let mut attempts = Attempts::new();
        loop {
            match self.try_clear(key, by, now).await {
                Ok(cleared) => return Ok(cleared),
                Err(fault) => attempts.again(fault).await?,
            }
        }
    }

    async fn try_clear(&self, key: &LaneKey, by: (&str, &str), now: Timestamp) -> Result<Cleared, Fault> {
        let mut session = self.begin().await?;
        let cleared = clear(&mut session, key, by, now).await?;
        session.commit().await?;
        self.written(1, 1).await;
        Ok(cleared)
    }

    /// All orders that stand.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn orders(&self) -> Result<Vec<(LaneKey, Order)>, StoreError> {
        Ok(all(&mut self.reader().await?).await?)
    }

    /// What was ordered of a lane, what was taken back, and what signals and calms did to it, latest first.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn history(&self, key: &LaneKey, limit: u32) -> Result<Vec<Change>, StoreError> {
        Ok(history(&mut self.reader().await?, key, limit).await?)
    }
}

/// All orders that stand.
async fn all(session: &mut Session) -> Result<Vec<(LaneKey, Order)>, Fault> {
    let rows = session
        .fetch(
            "SELECT provider, egress, kind, per_day, connections, author, reason, at
             FROM lane_order ORDER BY provider, egress, kind",
            Args::None,
        )
        .await?;
    rows.iter().map(row::order).collect()
}

/// Puts an order in the place of an earlier one of its kind; returns that one.
async fn put(session: &mut Session, key: &LaneKey, order: &Order) -> Result<Option<Order>, Fault> {
    let particulars = Particulars::from(order.what);
    let (kind, per_day, connections) = particulars.columns();
    let before = take(session, key, Some(kind)).await?;
    let rows = Rows::new()
        .texts("provider", [key.provider.as_str()])
        .texts("egress", [key.egress.as_str()])
        .texts("kind", [kind])
        .ints("per_day", [per_day])
        .ints("connections", [connections])
        .texts("author", [order.author.as_str()])
        .texts("reason", [order.reason.as_str()])
        .ints("at", [micros(order.at)]);
    // Another may have put one there in between: the later one stands.
    write(
        session,
        "INSERT INTO lane_order (provider, egress, kind, per_day, connections, author, reason, at)
         SELECT provider, egress, kind, per_day, connections, author, reason, at FROM {given} WHERE true
         ON CONFLICT (provider, egress, kind) DO UPDATE SET
             per_day = excluded.per_day, connections = excluded.connections, author = excluded.author,
             reason = excluded.reason, at = excluded.at",
        rows,
    )
    .await?;
    let (author, reason, at) = (&order.author, &order.reason, order.at);
    let mut lines = withdrawals(key, &before, author, reason, at);
    lines.push(Line {
        kind: row::ORDERED,
        author: author.clone(),
        reason: reason.clone(),
        at,
        key: key.clone(),
        detail: particulars.json(),
    });
    tell(session, &lines).await?;
    Ok(before.into_iter().next())
}

/// Takes back the order of a kind; returns what it was.
async fn withdraw(
    session: &mut Session,
    key: &LaneKey,
    what: Steer,
    (author, reason): (&str, &str),
    now: Timestamp,
) -> Result<Option<Order>, Fault> {
    let (kind, ..) = Particulars::from(what).columns();
    let before = take(session, key, Some(kind)).await?;
    tell(session, &withdrawals(key, &before, author, reason, now)).await?;
    Ok(before.into_iter().next())
}

/// Forgets what was learned of a lane, and takes back all orders.
async fn clear(
    session: &mut Session,
    key: &LaneKey,
    (author, reason): (&str, &str),
    now: Timestamp,
) -> Result<Cleared, Fault> {
    let lane = load(session, key).await?;
    let orders = take(session, key, None).await?;
    let mut lines = withdrawals(key, &orders, author, reason, now);
    if let Some(before) = &lane {
        lines.push(Line {
            kind: row::CLEARED,
            author: author.to_owned(),
            reason: reason.to_owned(),
            at: now,
            key: key.clone(),
            detail: row::lane_json(before).unwrap_or_default(),
        });
        let mut after = before.clone();
        after.forget(author, reason, now);
        let sequence = advance(session, 1).await?;
        write(
            session,
            "UPDATE lane SET lane = given.lane, state = given.state, until = given.until, repeats = given.repeats,
                 since = given.since, rule = given.rule, reply = given.reply, hold = given.hold,
                 signals = given.signals, sequence = given.sequence
             FROM {given} WHERE lane.provider = given.provider AND lane.egress = given.egress",
            lane_rows(&[(key, &after)], sequence),
        )
        .await?;
    }
    tell(session, &lines).await?;
    Ok(Cleared { lane, orders })
}

/// A lane, locked.
async fn load(session: &mut Session, key: &LaneKey) -> Result<Option<Lane>, Fault> {
    let rows = session
        .fetch(
            "SELECT stored.provider, stored.egress, stored.lane, stored.state, stored.until, stored.repeats,
                    stored.since, stored.rule, stored.reply, stored.hold, stored.signals
             FROM lane AS stored WHERE stored.provider = $1 AND stored.egress = $2 {lock}",
            Args::Values(vec![Value::text(&key.provider), Value::text(&key.egress)]),
        )
        .await?;
    Ok(rows.first().map(row::lane).transpose()?.map(|(_, lane)| lane))
}

/// Removes the orders of a kind, or of all kinds, and returns them.
async fn take(session: &mut Session, key: &LaneKey, kind: Option<&str>) -> Result<Vec<Order>, Fault> {
    let rows = session
        .fetch(
            "DELETE FROM lane_order WHERE provider = $1 AND egress = $2 AND ($3 IS NULL OR kind = $3)
             RETURNING provider, egress, kind, per_day, connections, author, reason, at",
            Args::Values(vec![
                Value::text(&key.provider),
                Value::text(&key.egress),
                Value::Text(kind.map(str::to_owned)),
            ]),
        )
        .await?;
    rows.iter().map(|row| Ok(row::order(row)?.1)).collect()
}

fn withdrawals(key: &LaneKey, orders: &[Order], author: &str, reason: &str, now: Timestamp) -> Vec<Line> {
    let line = |order: &Order| Line {
        kind: row::WITHDRAWN,
        author: author.to_owned(),
        reason: reason.to_owned(),
        at: now,
        key: key.clone(),
        detail: Particulars::from(order.what).json(),
    };
    orders.iter().map(line).collect()
}

/// Whether a lane's change belongs to its history: what a signal or a calm did. (A hold that ends and the delivery
/// after it follow by themselves.)
pub(super) fn is_history(before: Option<&Lane>, after: &Lane) -> bool {
    matches!(after.evidence.what, What::Signal | What::Repeat | What::Calm)
        && before.is_none_or(|before| before.evidence != after.evidence)
}

/// Appends what signals and calms did to the feed, with the numbers from `first`.
pub(super) async fn turned(
    session: &mut Session,
    lanes: &[(&LaneKey, &Lane)],
    first: i64,
) -> Result<(), Fault> {
    let line = |(key, lane): &(&LaneKey, &Lane)| {
        let evidence = &lane.evidence;
        let rule = evidence.rule.as_ref();
        Line {
            kind: row::TURNED,
            author: rule.map_or_else(|| "throttle".to_owned(), |rule| format!("rule {rule}")),
            reason: evidence
                .reply
                .clone()
                .unwrap_or_else(|| evidence.what.name().to_owned()),
            at: evidence.at,
            key: (*key).clone(),
            detail: serde_json::to_string(&lane.state).unwrap_or_default(),
        }
    };
    let lines: Vec<Line> = lanes.iter().map(line).collect();
    append(session, &lines, first).await
}

/// Appends lines to the feed and tells the listeners.
async fn tell(session: &mut Session, lines: &[Line]) -> Result<(), Fault> {
    if lines.is_empty() {
        return Ok(());
    }
    let first = advance(session, lines.len()).await?;
    append(session, lines, first).await?;
    session.notify(CHANNEL).await
}

async fn append(session: &mut Session, lines: &[Line], first: i64) -> Result<(), Fault> {
    let rows = Rows::new()
        .ints("sequence", (first..).take(lines.len()))
        .ints("at", lines.iter().map(|line| micros(line.at)))
        .texts("author", lines.iter().map(|line| line.author.as_str()))
        .texts("reason", lines.iter().map(|line| line.reason.as_str()))
        .texts("kind", lines.iter().map(|line| line.kind))
        .texts("provider", lines.iter().map(|line| line.key.provider.as_str()))
        .texts("egress", lines.iter().map(|line| line.key.egress.as_str()))
        .texts("detail", lines.iter().map(|line| line.detail.as_str()));
    write(
        session,
        "INSERT INTO change (sequence, at, author, reason, kind, suppression, address, cause, since, provider,
                             egress, detail)
         SELECT sequence, at, author, reason, kind, 0, '', '', at, provider, egress, detail FROM {given}",
        rows,
    )
    .await
    .map(drop)
}

/// What happened to a lane, latest first.
async fn history(session: &mut Session, key: &LaneKey, limit: u32) -> Result<Vec<Change>, Fault> {
    let rows = session
        .fetch(
            "SELECT sequence, at, author, reason, kind, suppression, address, cause, since, expires,
                    provider, egress, detail
             FROM change WHERE provider = $1 AND egress = $2 ORDER BY sequence DESC LIMIT $3",
            Args::Values(vec![
                Value::text(&key.provider),
                Value::text(&key.egress),
                Value::Int(Some(limit.into())),
            ]),
        )
        .await?;
    rows.iter().map(row::change).collect()
}
