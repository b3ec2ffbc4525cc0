//! Reports that nothing proved when they came, and the proof that comes later.
//!
//! A bounce can be quicker than the log line of the delivery that it is about, above all when Nixie was
//! away and Postfix hands over the bounces that waited while the log is still being caught up with. What
//! such a report would have done is kept with its marks, and done when the message is seen to have left.
//!
//! Two transactions at the same moment, one with the report and one with the delivery, may miss each
//! other; one daemon commits one at a time.

use super::keep::write;
use super::row::{self, micros};
use super::session::{Args, Fault, Rows, Session};
use crate::engine::decide::{Charge, Decision, Record};
use crate::engine::trust::{Fingerprint, Trust};
use crate::engine::verdict::Remedy;
use crate::mail::address::AddressKey;
use crate::mail::event::EventId;
use crate::mail::reply::{Reply, ReplyCode};
use std::collections::{BTreeMap, BTreeSet};

/// What reports that waited for these marks tell.
pub(super) async fn find(
    session: &mut Session,
    marks: impl IntoIterator<Item = &Fingerprint>,
) -> Result<Vec<Charge>, Fault> {
    let rows = Rows::new().octets("mark", marks.into_iter().map(|mark| mark.0.as_slice()));
    if rows.len() == 0 {
        return Ok(Vec::new());
    }
    let proven = session
        .fetch(
            "SELECT told.id, told.mailed, told.cause, told.at, told.rule, told.code, told.status, told.reply,
                    unproven.provider, told.remedy, told.recipient, unproven.stream
             FROM {given} JOIN unproven ON unproven.mark = given.mark JOIN event AS told ON told.id = unproven.event
             ORDER BY told.id",
            Args::Rows(rows),
        )
        .await?;
    // A report waits under up to two marks, and may be met under both.
    let mut charges = BTreeMap::new();
    for row in &proven {
        let event = EventId(row::sixteen(&row.get::<Vec<u8>>(0)?)?);
        let code: Option<i64> = row.get(5)?;
        let status: Option<String> = row.get(6)?;
        let reply = Reply {
            code: code.and_then(|code| ReplyCode::new(u16::try_from(code).ok()?)),
            status: status.and_then(|status| status.parse().ok()),
            text: row.get(7)?,
        };
        let mailed = AddressKey::from_stored(&row.get::<String>(1)?);
        let recipient: String = row.get(10)?;
        let domain = mailed.domain().into();
        let charge = Charge {
            event,
            at: row::timestamp(row.get(3)?),
            at_home: recipient
                .rsplit_once('@')
                .is_some_and(|(_, domain)| domain == mailed.domain()),
            domain,
            mailed,
            cause: row::cause(&row.get::<String>(2)?),
            rule: row.get(4)?,
            reply: reply.to_string(),
            provider: row.get(8)?,
            doubtful: row.get::<String>(9)? != Remedy::Suppress.name(),
            stream: row.get::<Option<String>>(11)?.map(Into::into),
        };
        charges.insert(event, charge);
    }
    Ok(charges.into_values().collect())
}

/// Keeps what waits for proof, and lets go of what has found it.
pub(super) async fn keep(
    session: &mut Session,
    records: &[Record],
    decision: &Decision,
    proven: &[Charge],
) -> Result<(), Fault> {
    let waiting: BTreeMap<(Fingerprint, EventId), &Record> = decision
        .unproven
        .iter()
        .filter_map(|&index| records.get(index))
        .flat_map(|record| {
            let marks = record.correlations.iter();
            marks.map(move |&mark| ((mark, record.event.id), record))
        })
        .collect();
    let waits = || waiting.values();
    let rows = Rows::new()
        .octets("mark", waiting.keys().map(|(mark, _)| mark.0.as_slice()))
        .octets("event", waiting.keys().map(|(_, event)| event.0.as_slice()))
        .ints("at", waits().map(|record| micros(record.event.at)))
        .texts("provider", waits().map(|record| record.provider.as_deref()))
        .texts("stream", waits().map(|record| record.stream.as_deref()));
    write(
        session,
        "INSERT INTO unproven (mark, event, at, provider, stream)
         SELECT mark, event, at, provider, stream FROM {given} WHERE true
         ON CONFLICT (mark, event) DO NOTHING",
        rows,
    )
    .await?;
    let found: BTreeSet<EventId> = proven.iter().map(|charge| charge.event).collect();
    let rows = || Rows::new().octets("event", found.iter().map(|event| event.0.as_slice()));
    let trust = Rows::new()
        .octets("event", found.iter().map(|event| event.0.as_slice()))
        .texts("trust", found.iter().map(|_| Trust::Correlated.name()));
    write(
        session,
        "UPDATE event SET trust = given.trust FROM {given} WHERE event.id = given.event",
        trust,
    )
    .await?;
    write(
        session,
        "DELETE FROM unproven WHERE event IN (SELECT event FROM {given})",
        rows(),
    )
    .await
    .map(drop)
}
