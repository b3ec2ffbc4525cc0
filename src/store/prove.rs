//! Reports that nothing proved when they came, and the proof that comes later.
//!
//! A bounce can be quicker than the log line of the delivery that it is about, above all when Nixie was
//! away and Postfix hands over the bounces that waited while the log is still being caught up with. What
//! such a report would have done is kept with its marks, and done when the message is seen to have left.
//!
//! Two transactions at the same moment, one with the report and one with the delivery, may miss each
//! other; one daemon commits one at a time.

use super::commit::Departed;
use super::keep::{Totals, write};
use super::row::{self, micros};
use super::session::{Args, Fault, Rows, Session};
use crate::engine::decide::{Charge, Decision, Proven, Record};
use crate::engine::trust::{Fingerprint, Proof, Trust};
use crate::engine::verdict::Remedy;
use crate::mail::address::AddressKey;
use crate::mail::event::EventId;
use crate::mail::reply::{Reply, ReplyCode};
use std::collections::BTreeMap;

/// What reports that waited for these marks tell.
pub(super) async fn find(session: &mut Session, departed: &Departed) -> Result<Vec<Proven>, Fault> {
    if departed.is_empty() {
        return Ok(Vec::new());
    }
    let rows = Rows::new().octets("mark", departed.keys().map(|mark| mark.0.as_slice()));
    let proven = session
        .fetch(
            "SELECT told.id, told.mailed, told.cause, told.at, told.rule, told.code, told.status, told.reply,
                    unproven.provider, told.remedy, told.recipient, unproven.stream, given.mark
             FROM {given} JOIN unproven ON unproven.mark = given.mark JOIN event AS told ON told.id = unproven.event
             ORDER BY told.id",
            Args::Rows(rows),
        )
        .await?;
    // A report waits under all of its marks, and may be met under several.
    let mut found: BTreeMap<EventId, Proven> = BTreeMap::new();
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
        let mark = Fingerprint(row::sixteen(&row.get::<Vec<u8>>(12)?)?);
        let Some(&(by, _)) = departed.get(&mark) else {
            continue;
        };
        let proven = found.entry(event).or_insert(Proven { charge, by });
        proven.by = proven.by.min(by);
    }
    Ok(found.into_values().collect())
}

/// Keeps what waits for proof, and lets go of what has found it.
pub(super) async fn keep(
    session: &mut Session,
    records: &[Record],
    decision: &Decision,
    proven: &[Proven],
    totals: &mut Totals,
) -> Result<(), Fault> {
    let waiting: BTreeMap<(Fingerprint, EventId), &Record> = decision
        .unproven
        .iter()
        .filter_map(|&index| records.get(index))
        .flat_map(|record| {
            let marks = record.correlations.iter();
            marks.map(move |mark| ((mark.print, record.event.id), record))
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
    let found: BTreeMap<EventId, Proof> = proven
        .iter()
        .map(|proven| (proven.charge.event, Proof::Seen(proven.by)))
        .collect();
    for proof in found.values() {
        totals.add(super::keep::TRUST, proof.trust().name(), 1);
        totals.add(super::keep::TRUST, Trust::Unverified.name(), -1);
    }
    let rows = || Rows::new().octets("event", found.keys().map(|event| event.0.as_slice()));
    let proofs: Vec<String> = found.values().map(|proof| format!("{proof} later")).collect();
    write(
        session,
        "UPDATE event SET trust = given.trust, proof = given.proof FROM {given} WHERE event.id = given.event",
        rows()
            .texts("trust", found.values().map(|proof| proof.trust().name()))
            .texts("proof", proofs.iter().map(String::as_str)),
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
