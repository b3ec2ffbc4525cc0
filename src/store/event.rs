//! Kept events: failures, deferrals and complaints, one row each, with all that a verdict rests on.

use super::contract::Kept;
use super::keep::cut;
use super::row::{self, micros};
use super::session::{Args, Fault, Rows, Session, Value};
use crate::engine::decide::{Known, Record};
use crate::engine::suppression::privacy::is_hash;
use crate::engine::throttle::LaneKey;
use crate::engine::trust::Finding;
use crate::mail::address::AddressKey;
use crate::mail::event::{Evidence, Relay};
use jiff::Timestamp;

/// Writes the rows of [`rows`].
pub(super) const INSERT: &str = "
    INSERT INTO event (id, at, received_at, source, outcome, recipient, mailed, sender, queue_id, message_id,
                       envelope_id, relay_host, relay_ip, provider, egress, code, status, reported_status,
                       reply, rule, cause, sub_cause, scope, permanent, remedy, trust, repeat_of, failure,
                       return_path, reporting_mta, command, sasl_username, evidence, proof)
    SELECT id, at, received_at, source, outcome, recipient, mailed, sender, queue_id, message_id,
           envelope_id, relay_host, relay_ip, provider, egress, code, status, reported_status,
           reply, rule, cause, sub_cause, scope, permanent, remedy, trust, repeat_of, failure,
           return_path, reporting_mta, command, sasl_username, evidence, proof
    FROM {given}";

/// The rows of the records, which stand beside their positions in the batch.
pub(super) fn rows(kept: &[(usize, &Record)], known: &Known, findings: &[Finding], now: Timestamp) -> Rows {
    let records = || kept.iter().map(|&(_, record)| record);
    let events = || records().map(|record| &record.event);
    let verdicts = || records().map(|record| &record.verdict);
    let relay = |of: fn(&Relay) -> Option<&str>| events().map(move |e| e.relay.as_ref().and_then(of));
    let lane = |of: fn(&LaneKey) -> String| -> Vec<Option<String>> {
        records().map(|record| record.lane.as_ref().map(of)).collect()
    };
    let providers = lane(|key| cut(&key.provider));
    let egresses = lane(|key| cut(&key.egress));
    // Of whom only a hash is kept, nothing else is.
    let recipients: Vec<String> = records()
        .map(|record| match is_hash(&record.mailed) {
            true => record.mailed.to_string(),
            false => record.event.recipient.to_string(),
        })
        .collect();
    let statuses: Vec<Option<String>> = events().map(|e| e.reply.status.map(|s| s.to_string())).collect();
    let reported: Vec<Option<String>> = events()
        .map(|e| e.reported_status.map(|s| s.to_string()))
        .collect();
    let proofs: Vec<String> = kept
        .iter()
        .map(|&(index, _)| findings[index].to_string())
        .collect();
    Rows::new()
        .octets("id", events().map(|e| e.id.0.as_slice()))
        .ints("at", events().map(|e| micros(e.at)))
        .ints("received_at", events().map(|_| micros(now)))
        .texts("source", events().map(|e| e.source.name()))
        .texts("outcome", events().map(|e| e.outcome.name()))
        .texts("recipient", recipients.iter().map(String::as_str))
        .texts("mailed", records().map(|record| record.mailed.as_str()))
        .texts("sender", events().map(|e| e.sender.as_deref()))
        .texts("queue_id", events().map(|e| e.queue_id.as_deref()))
        .texts("message_id", events().map(|e| e.message_id.as_deref()))
        .texts("envelope_id", events().map(|e| e.envelope_id.as_deref()))
        .texts("relay_host", relay(|relay| Some(&relay.host)))
        .texts("relay_ip", relay(|relay| relay.ip.as_deref()))
        .texts("provider", providers.iter().map(Option::as_deref))
        .texts("egress", egresses.iter().map(Option::as_deref))
        .ints(
            "code",
            events().map(|e| e.reply.code.map(|code| i64::from(code.get()))),
        )
        .texts("status", statuses.iter().map(Option::as_deref))
        .texts("reported_status", reported.iter().map(Option::as_deref))
        .texts("reply", events().map(|e| e.reply.text.as_str()))
        .texts("rule", verdicts().map(|v| &*v.rule))
        .texts("cause", verdicts().map(|v| v.cause.name()))
        .texts("sub_cause", verdicts().map(|v| v.sub_cause.as_deref()))
        .texts("scope", verdicts().map(|v| v.scope.name()))
        .ints("permanent", verdicts().map(|v| i64::from(v.permanent)))
        .texts("remedy", verdicts().map(|v| v.remedy.name()))
        .texts(
            "trust",
            kept.iter().map(|&(index, _)| findings[index].trust().name()),
        )
        .octets(
            "repeat_of",
            kept.iter()
                .map(|&(index, _)| known.repeat_of[index].as_ref().map(|id| id.0.as_slice())),
        )
        .octets(
            "failure",
            records().map(|record| record.failure.as_ref().map(|mark| mark.0.as_slice())),
        )
        .texts("return_path", events().map(|e| e.return_path.as_deref()))
        .texts("reporting_mta", events().map(|e| e.reporting_mta.as_deref()))
        .texts("command", events().map(|e| e.command.as_deref()))
        .texts("sasl_username", events().map(|e| e.sasl_username.as_deref()))
        .texts("evidence", events().map(|e| evidence_name(e.evidence)))
        .texts("proof", proofs.iter().map(String::as_str))
}

/// The name of evidence in the store.
pub(super) fn evidence_name(evidence: Evidence) -> &'static str {
    match evidence {
        Evidence::Fresh => "fresh",
        Evidence::Doubtful => "doubtful",
        Evidence::Repeat => "repeat",
    }
}

/// The latest events kept of an address that was mailed, latest first.
pub(super) async fn of(session: &mut Session, address: &AddressKey, limit: u32) -> Result<Vec<Kept>, Fault> {
    let rows = session
        .fetch(
            "SELECT id, at, outcome, cause, rule, trust, repeat_of, code, status, reply, proof
             FROM event WHERE mailed = $1 ORDER BY at DESC LIMIT $2",
            Args::Values(vec![
                Value::text(address.as_str()),
                Value::Int(Some(limit.into())),
            ]),
        )
        .await?;
    rows.iter().map(row::kept).collect()
}
