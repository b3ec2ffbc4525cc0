//! From what an intake hands in to what a commit takes: each event judged, and behind the veil where there is one.

use super::{Bench, Intake};
use crate::engine::classify;
use crate::engine::decide::Record;
use crate::engine::suppression::privacy::Veil;
use crate::engine::trust;
use crate::mail::event::Event;
use crate::store::contract::{Batch, StoreError, Unread};
use jiff::Timestamp;
use std::sync::Arc;

/// Judges what was handed in.
pub(super) fn judge(
    intake: &Intake,
    bench: &Bench,
    provider_of: &dyn Fn(&str) -> Option<Arc<str>>,
    now: Timestamp,
) -> Batch {
    let policy = &bench.policy;
    let signing = bench.signing.as_ref();
    let records = intake
        .events
        .iter()
        .map(|event| {
            let (verdict, lane) = classify::judge(&bench.rules, &bench.providers, &bench.egress, event);
            let counts = lane.as_ref().is_some_and(|key| bench.warm_ups.of(key).is_some());
            let mut record = Record::new(event.clone(), verdict, lane, policy.local_part);
            let known = provider_of(event.mailed().domain());
            let (claim, marks) = trust::claim(
                event,
                signing,
                known.as_deref().and_then(|name| bench.providers.get(name)),
                now,
            );
            record.correlations.extend(marks);
            let known = || known.as_deref().map(Into::into);
            policy.veil.record(Record {
                counts,
                claim,
                provider: record.provider.clone().or_else(known),
                stream: stream_of(event, bench, now),
                ..record
            })
        })
        .collect();
    Batch {
        records,
        unread: intake
            .unread
            .iter()
            .map(|unread| veiled(unread, &policy.veil))
            .collect(),
        positions: intake.positions.clone(),
        signed: intake
            .signed
            .iter()
            .map(|signed| policy.veil.signed(signed.clone()))
            .collect(),
        guard: policy.guard,
    }
}

/// The stream that the mail was in: what left with a signed return path says so itself.
fn stream_of(event: &Event, bench: &Bench, now: Timestamp) -> Option<Box<str>> {
    let policy = &bench.policy;
    let signing = bench.signing.as_ref().filter(|_| policy.streams.is_told_apart());
    let paths = [event.sender.as_deref(), event.return_path.as_deref()];
    let token = signing.and_then(|signing| {
        let mut paths = paths.into_iter().flatten();
        paths.find_map(|path| signing.open(path, now)?.ok())
    });
    let sealed = token.and_then(|token| {
        let mut kinds = policy.streams.iter().map(|(_, kind)| kind.name.as_str());
        kinds.find(|name| token.is_in(Some(name)))
    });
    match sealed {
        Some(name) => Some(name.into()),
        None => policy.stream_of(event.sender.as_deref(), event.sasl_username.as_deref()),
    }
}

/// What is kept of a message that could not be read: behind a veil no more than that there was one. Nobody can tell
/// what addresses it holds, and in which form.
fn veiled(unread: &Unread, veil: &Veil) -> Unread {
    if !veil.is_drawn() {
        return unread.clone();
    }
    Unread {
        sender: None,
        recipient: None,
        reason: veil.text(&unread.reason),
        content: Vec::new(),
        ..unread.clone()
    }
}

/// An event that the store would not take, as an unread message.
pub(super) fn unread_event(event: &Event, error: &StoreError) -> Unread {
    Unread {
        id: event.id.0,
        at: event.at,
        intake: event.source.name().to_owned(),
        sender: None,
        recipient: None,
        reason: format!("an event that the store refuses: {error}"),
        content: format!("{event:?}").into_bytes(),
    }
}
