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
                stream: bench.stream_of(event, now),
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

impl Bench {
    /// The stream that the mail was in, `None` where streams are not told apart. What left with a signed return path says
    /// so itself.
    #[must_use]
    pub fn stream_of(&self, event: &Event, now: Timestamp) -> Option<Box<str>> {
        let policy = &self.policy;
        let signing = self.signing.as_ref().filter(|_| policy.streams.is_told_apart());
        let token = signing.and_then(|signing| {
            let paths = [event.sender.as_deref(), event.return_path.as_deref()];
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::return_path::{ReturnPaths, Signing, Style};
    use crate::engine::token::{Keyring, Sealing};
    use crate::mail::address::Address;
    use crate::mail::event::{Authentication, EventId, Evidence, Outcome, Source};
    use crate::mail::reply::Reply;
    use data_encoding::BASE64;

    /// Streams are told by the sender, and what leaves signed has another.
    #[test]
    fn a_signed_sender_still_tells_its_stream() {
        let settings = "[[stream]]\nname = \"receipts\"\nsenders = [\"*@shop.test\"]\n";
        let settings: crate::config::Settings = toml::from_str(settings).unwrap();
        let signing = Signing {
            keyring: Keyring::parse(&format!("1 {}", BASE64.encode(&[1; 32])).into()).unwrap(),
            paths: ReturnPaths {
                local: "b".into(),
                delimiter: '+',
                domain: "bounces.shop.example".into(),
                style: Style::Replace,
                lifetime: 14,
            },
        };
        let now = Timestamp::from_second(1_790_000_000).unwrap();
        let mail = Sealing {
            message: [1; 6],
            recipient: None,
            stream: Some("receipts"),
        };
        let path = signing.paths.path("", &signing.keyring.seal(&mail, now));
        let bench = Bench {
            signing: Some(signing),
            ..crate::serve::bench(&settings).unwrap()
        };
        let event = |sender: &str| Event {
            id: EventId([0; 16]),
            at: now,
            source: Source::Log,
            outcome: Outcome::Deferred,
            evidence: Evidence::Fresh,
            recipient: Address::parse("a@b.test").unwrap(),
            original_recipient: None,
            sender: Some(sender.to_owned()),
            sasl_username: None,
            queue_id: None,
            message_id: None,
            envelope_id: None,
            relay: None,
            command: None,
            reply: Reply::default(),
            reported_status: None,
            reporting_mta: None,
            return_path: None,
            own: true,
            authentication: Authentication::Untried,
        };
        for (sender, stream) in [
            (path.as_str(), "receipts"),
            ("till@shop.test", "receipts"),
            ("b+x@bounces.shop.example", "default"),
        ] {
            assert_eq!(
                bench.stream_of(&event(sender), now).as_deref(),
                Some(stream),
                "{sender}"
            );
        }
    }
}
