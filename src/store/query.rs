//! What is only read: positions, lanes, domains, totals.

use super::contract::{Position, Totals};
use super::session::{Args, Fault, Row, Session, Value};
use super::{keep, row};
use crate::engine::throttle::{Lane, LaneKey};
use crate::engine::trust::{DoubtKind, Trust};
use crate::engine::verdict::Cause;
use jiff::Timestamp;

fn a_position(row: &Row) -> Result<(Position, Timestamp), Fault> {
    let position = Position {
        intake: row.get(0)?,
        value: row.get(1)?,
    };
    Ok((position, row::timestamp(row.get(2)?)))
}

pub(super) async fn position(session: &mut Session, intake: &str) -> Result<Option<Position>, Fault> {
    let rows = session
        .fetch(
            "SELECT intake, value, updated FROM position WHERE intake = $1",
            Args::Values(vec![Value::text(intake)]),
        )
        .await?;
    let found = rows.first().map(a_position).transpose()?;
    Ok(found.map(|(position, _)| position))
}

pub(super) async fn positions(session: &mut Session) -> Result<Vec<(Position, Timestamp)>, Fault> {
    let rows = session
        .fetch(
            "SELECT intake, value, updated FROM position ORDER BY intake",
            Args::None,
        )
        .await?;
    rows.iter().map(a_position).collect()
}

pub(super) async fn lanes(session: &mut Session) -> Result<Vec<(LaneKey, Lane)>, Fault> {
    let rows = session
        .fetch(
            "SELECT provider, egress, lane, state, until, repeats, since, rule, reply, hold, signals
             FROM lane ORDER BY provider, egress",
            Args::None,
        )
        .await?;
    rows.iter().map(row::lane).collect()
}

pub(super) async fn domains(session: &mut Session) -> Result<Vec<(String, String)>, Fault> {
    let rows = session
        .fetch("SELECT name, provider FROM domain ORDER BY name", Args::None)
        .await?;
    rows.iter().map(|row| Ok((row.get(0)?, row.get(1)?))).collect()
}

pub(super) async fn totals(session: &mut Session) -> Result<Totals, Fault> {
    let rows = session
        .fetch(
            "SELECT kind, name, n FROM total WHERE n <> 0 ORDER BY kind, name",
            Args::None,
        )
        .await?;
    let mut totals = Totals::default();
    for row in &rows {
        let name: String = row.get(1)?;
        let n = u64::try_from(row.get::<i64>(2)?).unwrap_or(0);
        let cause = Cause::from_name(&name).unwrap_or(Cause::Unknown);
        match row.get::<String>(0)?.as_str() {
            "suppression" => totals.suppressions.push((cause, n)),
            "failure" => totals.failures.push((cause, n)),
            "outcome" => totals.outcomes.push((name, n)),
            "unread" => totals.unread = n,
            keep::TRUST => totals
                .trust
                .extend(Trust::from_name(&name).map(|trust| (trust, n))),
            keep::DOUBT => totals
                .doubts
                .extend(DoubtKind::from_name(&name).map(|doubt| (doubt, n))),
            _ => {}
        }
    }
    totals.trust.sort_unstable();
    totals.doubts.sort_unstable();
    Ok(totals)
}
