//! Lines to events. One delivery is told by several lines (cleanup's has the Message-ID, the queue
//! manager's the sender, the agent's the outcome); the joiner remembers what the earlier ones said, by
//! host and queue id, in bounded memory.
//!
//! - An event's id is made of the line's time in whole seconds, host, process id and body: the same line
//!   read by another way, or again, is the same event.
//! - What Postfix did without an attempt (`error:` and `retry:` transports, `delivery temporarily
//!   suspended`) is [`Evidence::Repeat`].
//! - A message that expires is logged once, without recipients: each recipient seen deferred and not
//!   settled since gets an event.
//!
//! On failure: a line whose recipient is no address makes no event and is counted
//! ([`Joiner::unreadable`]); a message whose first lines were never seen, or have been forgotten, makes
//! events without Message-ID and sender.

use super::delivery::{Delivery, DeliveryStatus};
use super::line::{Entry, Line};
use crate::mail::address::Address;
use crate::mail::event::{Event, EventId, Evidence, Outcome, Relay, Source};
use crate::mail::formats::postfix::{Endpoint, Reason, ReasonKind, parse_reason};
use crate::mail::reply::Reply;
use hashbrown::{HashMap, HashSet};
use jiff::Timestamp;
use std::hash::Hash;

/// The longest Message-ID or sender that is kept, in octets (RFC 5322 §2.1.1: a line has at most 998).
const MAX_OCTETS: usize = 998;

/// Joins lines to events.
#[derive(Debug)]
pub struct Joiner {
    /// What was touched lately; when it holds half of the capacity it becomes `old`.
    young: Generation,
    /// What was touched before that; whoever is touched again moves back, the rest is forgotten next.
    old: Generation,
    half: usize,
    unreadable: u64,
}

#[derive(Debug, Default)]
struct Generation {
    messages: HashMap<Key, Message>,
    /// Messages and waiting recipients, roughly.
    weight: usize,
}

/// What is known of one message in the queue.
#[derive(Debug, Default)]
struct Message {
    message_id: Option<Box<str>>,
    /// Whether that is the Resent-Message-ID: the Message-ID proper outranks it.
    resent: bool,
    sender: Option<Box<str>>,
    deferred: HashSet<Recipient>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Recipient {
    address: Address,
    original: Option<Address>,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    host: Box<str>,
    queue_id: Box<str>,
}

/// A key that borrows. Hashes as [`Key`] does: the same fields in the same order.
#[derive(Debug, Clone, Copy, Hash)]
struct KeyRef<'a> {
    host: &'a str,
    queue_id: &'a str,
}

impl hashbrown::Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.queue_id == &*key.queue_id && self.host == &*key.host
    }
}

impl From<&KeyRef<'_>> for Key {
    fn from(key: &KeyRef<'_>) -> Self {
        Self {
            host: key.host.into(),
            queue_id: key.queue_id.into(),
        }
    }
}

impl Joiner {
    /// A joiner that remembers about `capacity` messages and waiting recipients: the half of it that was
    /// touched last for certain, one and a half times as many at most (100,000: some 30 MB).
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            young: Generation::default(),
            old: Generation::default(),
            half: (capacity / 2).max(1),
            unreadable: 0,
        }
    }

    /// How many deliveries had a recipient that is no address.
    #[must_use]
    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// Takes in a line that lies before the first to be counted: learns from it, makes no event.
    pub fn learn(&mut self, line: &Line<'_>) {
        let unreadable = self.unreadable;
        self.push(line, &mut Vec::new());
        self.unreadable = unreadable;
    }

    /// Takes in a line and appends the events that it makes. Lines of one message must come in order.
    pub fn push(&mut self, line: &Line<'_>, events: &mut Vec<Event>) {
        match line.entry {
            Entry::Accepted { .. } => self.start(line, None),
            Entry::Submitted { sender, .. } => self.start(line, Some(sender)),
            Entry::MessageId(id) => self.name(line, id, false),
            Entry::ResentMessageId(id) => self.name(line, id, true),
            Entry::Queued { sender, .. } => self.remember(line).sender = kept(sender),
            Entry::Removed => self.forget(line),
            Entry::Delivery(delivery) => self.deliver(line, &delivery, events),
            Entry::Expired { sender, .. } => self.expire(line, sender, events),
            Entry::Other => {}
        }
    }

    /// A new message under this queue id: whatever had it before is gone (short ids are used again).
    fn start(&mut self, line: &Line<'_>, sender: Option<&str>) {
        self.forget(line);
        if let Some(sender) = sender {
            self.remember(line).sender = kept(sender);
        }
    }

    fn name(&mut self, line: &Line<'_>, id: &str, resent: bool) {
        if id.is_empty() {
            return;
        }
        let message = self.remember(line);
        if !resent || message.message_id.is_none() || message.resent {
            message.message_id = kept(id);
            message.resent = resent;
        }
    }

    fn deliver(&mut self, line: &Line<'_>, delivery: &Delivery<'_>, events: &mut Vec<Event>) {
        let reason = parse_reason(delivery.reason);
        let Some(outcome) = outcome(delivery.status, &reason) else {
            return;
        };
        let Ok(address) = Address::parse(delivery.recipient) else {
            self.unreadable += 1;
            return;
        };
        let original = delivery
            .original
            .and_then(|original| Address::parse(original).ok());
        let recipient = Recipient { address, original };
        let known = if outcome == Outcome::Deferred {
            self.hold(line, recipient.clone())
        } else {
            self.settle(line, &recipient)
        };
        let (message_id, sender) = known;
        events.push(Event {
            outcome,
            evidence: evidence(line, delivery, &reason),
            message_id,
            sender,
            relay: relay(delivery, &reason),
            reply: reason.reply,
            reported_status: delivery.dsn,
            ..event(line, recipient, &[])
        });
    }

    fn expire(&mut self, line: &Line<'_>, sender: &str, events: &mut Vec<Event>) {
        let Some((message, weight)) = self.find(line) else {
            return;
        };
        let mut waiting: Vec<Recipient> = message.deferred.drain().collect();
        *weight = weight.saturating_sub(waiting.len());
        waiting.sort_by_cached_key(|recipient| recipient.address.to_string());
        let message_id = message.message_id.as_deref().map(str::to_owned);
        for recipient in waiting {
            let name = recipient.address.to_string();
            let original = recipient
                .original
                .as_ref()
                .map(Address::to_string)
                .unwrap_or_default();
            events.push(Event {
                outcome: Outcome::Expired,
                message_id: message_id.clone(),
                sender: Some(sender.to_owned()),
                reply: Reply {
                    text: "expired, returned to sender".to_owned(),
                    ..Reply::default()
                },
                ..event(line, recipient, &[name.as_bytes(), original.as_bytes()])
            });
        }
    }

    /// Notes a recipient that waits for another attempt; Message-ID and sender of the message.
    fn hold(&mut self, line: &Line<'_>, recipient: Recipient) -> (Option<String>, Option<String>) {
        let room = self.half;
        let message = self.remember(line);
        let known = message.known();
        // A single message must not push out all others: beyond half of the room it is not followed.
        let added = message.deferred.len() < room / 2 && message.deferred.insert(recipient);
        self.young.weight += usize::from(added);
        known
    }

    /// Notes that a recipient waits no longer; Message-ID and sender of the message.
    fn settle(&mut self, line: &Line<'_>, recipient: &Recipient) -> (Option<String>, Option<String>) {
        let Some((message, weight)) = self.find(line) else {
            return (None, None);
        };
        if message.deferred.remove(recipient) {
            *weight = weight.saturating_sub(1);
        }
        message.known()
    }

    /// What is known of a message, and the weight of its generation.
    fn find(&mut self, line: &Line<'_>) -> Option<(&mut Message, &mut usize)> {
        let key = key(line);
        self.touch(&key, None);
        let Generation { messages, weight } = &mut self.young;
        messages.get_mut(&key).map(|message| (message, weight))
    }

    /// What is known of a message, at least nothing.
    fn remember(&mut self, line: &Line<'_>) -> &mut Message {
        let key = key(line);
        self.touch(&key, Some(Message::default()));
        let young = self.young.messages.raw_entry_mut().from_key(&key);
        young.or_insert_with(|| (Key::from(&key), Message::default())).1
    }

    /// Makes a message the latest one touched, the given one where none is known. Every growth passes
    /// here, so that the young generation exceeds its half by one message at most, and both together hold
    /// at most one and a half times the capacity.
    fn touch(&mut self, key: &KeyRef<'_>, otherwise: Option<Message>) {
        let full = self.young.weight >= self.half;
        if !full && self.young.messages.contains_key(key) {
            return;
        }
        let known = match self.young.messages.remove_entry(key) {
            Some((key, message)) => {
                self.young.weight = self.young.weight.saturating_sub(message.weight());
                Some((key, message))
            }
            None => self.old.messages.remove_entry(key),
        };
        let Some((key, message)) = known.or_else(|| Some((Key::from(key), otherwise?))) else {
            return;
        };
        if self.young.weight >= self.half {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.weight += message.weight();
        self.young.messages.insert(key, message);
    }

    fn forget(&mut self, line: &Line<'_>) {
        let key = key(line);
        if let Some(message) = self.young.messages.remove(&key) {
            self.young.weight = self.young.weight.saturating_sub(message.weight());
        } else {
            self.old.messages.remove(&key);
        }
    }
}

impl Message {
    fn weight(&self) -> usize {
        1 + self.deferred.len()
    }

    fn known(&self) -> (Option<String>, Option<String>) {
        (
            self.message_id.as_deref().map(str::to_owned),
            self.sender.as_deref().map(str::to_owned),
        )
    }
}

fn key<'a>(line: &Line<'a>) -> KeyRef<'a> {
    KeyRef {
        host: line.host,
        queue_id: line.queue_id,
    }
}

fn kept(text: &str) -> Option<Box<str>> {
    (text.len() <= MAX_OCTETS).then(|| text.into())
}

/// An event with all that only the line knows; `more` are further parts of its identity.
fn event(line: &Line<'_>, recipient: Recipient, more: &[&[u8]]) -> Event {
    let second = Timestamp::from_second(line.at.as_second()).unwrap_or(line.at);
    let mut parts: Vec<&[u8]> = vec![
        b"log",
        line.host.as_bytes(),
        line.pid.as_bytes(),
        line.body.as_bytes(),
    ];
    parts.extend(more);
    Event {
        id: EventId::new(second, &parts),
        at: line.at,
        source: Source::Log,
        outcome: Outcome::Deferred,
        evidence: Evidence::Fresh,
        recipient: recipient.address,
        original_recipient: recipient.original,
        sender: None,
        queue_id: Some(line.queue_id.to_owned()),
        message_id: None,
        envelope_id: None,
        relay: None,
        reply: Reply::default(),
        reported_status: None,
        reporting_mta: None,
        return_path: None,
        own: true,
    }
}

/// The outcome; `None` for probes, which carry no mail, and for words that we do not know.
fn outcome(status: DeliveryStatus, reason: &Reason) -> Option<Outcome> {
    Some(match status {
        // local(8) has expanded an alias: the new message has lines of its own.
        DeliveryStatus::Sent
            if reason.kind == ReasonKind::Local && reason.reply.text.starts_with("forwarded as ") =>
        {
            Outcome::Relayed
        }
        DeliveryStatus::Sent => Outcome::Delivered,
        DeliveryStatus::Deferred | DeliveryStatus::SoftBounce => Outcome::Deferred,
        DeliveryStatus::Bounced => Outcome::Failed,
        DeliveryStatus::Expired => Outcome::Expired,
        DeliveryStatus::Deliverable | DeliveryStatus::Undeliverable | DeliveryStatus::Unknown => return None,
    })
}

/// Whether a line tells of an attempt. error(8) (which also serves as `retry`), discard(8) and the queue
/// manager make none. Where the header lost the service, a delivery without relay is taken for theirs
/// unless its reason can only stem from DNS or a connection: our own suppressions come back this way, and
/// must not count as evidence for themselves.
fn evidence(line: &Line<'_>, delivery: &Delivery<'_>, reason: &Reason) -> Evidence {
    let echo = match line.service {
        _ if reason.suspended => true,
        Some("error" | "retry" | "discard" | "qmgr" | "oqmgr" | "nqmgr") => true,
        Some(_) => false,
        None => delivery.is_unattempted() && !reason.kind.stems_from_attempt(),
    };
    if echo { Evidence::Repeat } else { Evidence::Fresh }
}

/// Who answered: the relay, or without one the host that the reason names. Local agents have their name
/// for a host and no address, sockets their path for an address ([`Relay::is_local`]).
fn relay(delivery: &Delivery<'_>, reason: &Reason) -> Option<Relay> {
    if delivery.is_unattempted() {
        return Some(Relay {
            host: reason.host.as_ref()?.to_lowercase(),
            ip: reason.ip.clone(),
            port: reason.port,
        });
    }
    let endpoint = Endpoint::parse_prefix(delivery.relay).filter(|(_, rest)| rest.is_empty());
    Some(match endpoint {
        Some((endpoint, _)) => Relay {
            host: endpoint.host.to_lowercase(),
            ip: Some(endpoint.ip.to_owned()),
            port: endpoint.port,
        },
        None => Relay {
            host: delivery.relay.to_lowercase(),
            ip: None,
            port: None,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postfix::log::Calendar;
    use jiff::tz::TimeZone;

    /// The events of some lines, each `service|body`; an empty service is a lost one.
    fn events_with(joiner: &mut Joiner, lines: &[&str]) -> Vec<Event> {
        let mut calendar = Calendar::new("2026-11-21T12:00:00Z".parse().unwrap(), TimeZone::UTC);
        let mut events = Vec::new();
        for line in lines {
            let (service, body) = line.split_once('|').unwrap();
            let program = if service.is_empty() {
                "postfix".to_owned()
            } else {
                format!("postfix/{service}")
            };
            let text = format!("Nov 21 09:40:56 h {program}[1]: {body}");
            joiner.push(&Line::parse(&text, &mut calendar).unwrap(), &mut events);
        }
        events
    }

    fn events(lines: &[&str]) -> Vec<Event> {
        events_with(&mut Joiner::new(1000), lines)
    }

    fn deferred(id: &str, to: &str) -> String {
        format!(
            "smtp|{id}: to=<{to}>, relay=mx[192.0.2.1]:25, dsn=4.2.2, status=deferred (host mx[192.0.2.1] said: 452 full (in reply to RCPT TO command))"
        )
    }

    #[test]
    fn joins_what_earlier_lines_said() {
        let made = events(&[
            "cleanup|DE8ABA48318: resent-message-id=<r@app.test>",
            "cleanup|DE8ABA48318: message-id=<m@app.test>",
            "qmgr|DE8ABA48318: from=<s@app.test>, size=304, nrcpt=1 (queue active)",
            "smtp|DE8ABA48318: to=<u@x.test>, orig_to=<Old@X.test>, relay=MX.x.test[2001:db8::1]:25, dsn=5.0.0, status=bounced (host MX.x.test[2001:db8::1] said: 550 4.2.2 odd (in reply to RCPT TO command))",
        ]);
        let event = &made[0];
        assert_eq!(event.message_id.as_deref(), Some("m@app.test"));
        assert_eq!(event.sender.as_deref(), Some("s@app.test"));
        assert_eq!(event.mailed().to_string(), "Old@x.test");
        let relay = event.relay.clone().unwrap();
        assert_eq!(
            (relay.host.as_str(), relay.ip.as_deref(), relay.port),
            ("mx.x.test", Some("2001:db8::1"), Some(25))
        );
        assert!(!relay.is_local());
        assert_eq!(
            (event.outcome, event.reply.to_string().as_str()),
            (Outcome::Failed, "550 4.2.2 odd")
        );
        assert_eq!(event.reported_status.unwrap().to_string(), "5.0.0");
    }

    #[test]
    fn tells_evidence_from_echoes() {
        let none = |reason: &str| {
            format!("DE8ABA48318: to=<u@x.test>, relay=none, dsn=5.1.1, status=bounced ({reason})")
        };
        let table = [
            (
                "smtp",
                "Host or domain name not found. Name service error for name=x type=MX: Host not found",
                Evidence::Fresh,
            ),
            (
                "",
                "Host or domain name not found. Name service error for name=x type=MX: Host not found",
                Evidence::Fresh,
            ),
            (
                "",
                "connect to mx[192.0.2.1]:25: Connection refused",
                Evidence::Fresh,
            ),
            (
                "",
                "delivery temporarily suspended: connect to mx[192.0.2.1]:25: Connection refused",
                Evidence::Repeat,
            ),
            (
                "smtp",
                "delivery temporarily suspended: host mx[192.0.2.1] said: 421 no",
                Evidence::Repeat,
            ),
            ("error", "suppressed by nixie", Evidence::Repeat),
            ("", "suppressed by nixie", Evidence::Repeat),
            (
                "error",
                "Host or domain name not found. Name service error for name=x type=MX: Host not found",
                Evidence::Repeat,
            ),
            ("retry", "no", Evidence::Repeat),
            ("qmgr", "mail transport unavailable", Evidence::Repeat),
            ("smtp", "something new", Evidence::Fresh),
        ];
        for (service, reason, expected) in table {
            let line = format!("{service}|{}", none(reason));
            assert_eq!(events(&[&line])[0].evidence, expected, "{line}");
        }
        let local =
            "|DE8ABA48318: to=<u@x.test>, relay=local, dsn=5.1.1, status=bounced (unknown user: \"u\")";
        let event = &events(&[local])[0];
        assert_eq!(event.evidence, Evidence::Fresh);
        assert!(event.relay.as_ref().unwrap().is_local());
    }

    #[test]
    fn an_expired_message_expires_for_each_waiting_recipient() {
        let made = events(&[
            "qmgr|DE8ABA48318: from=<s@app.test>, size=304, nrcpt=3 (queue active)",
            &deferred("DE8ABA48318", "b@x.test"),
            &deferred("DE8ABA48318", "a@x.test"),
            &deferred("DE8ABA48318", "c@x.test"),
            "smtp|DE8ABA48318: to=<c@x.test>, relay=mx[192.0.2.1]:25, dsn=2.0.0, status=sent (250 ok)",
            "qmgr|DE8ABA48318: from=<s@app.test>, status=expired, returned to sender",
            "qmgr|DE8ABA48318: from=<s@app.test>, status=expired, returned to sender",
        ]);
        let expired: Vec<String> = made
            .iter()
            .filter(|e| e.outcome == Outcome::Expired)
            .map(|e| e.recipient.to_string())
            .collect();
        assert_eq!(expired, ["a@x.test", "b@x.test"]);
        let ids: HashSet<EventId> = made.iter().map(|event| event.id).collect();
        assert_eq!(ids.len(), made.len());
    }

    #[test]
    fn a_queue_id_used_again_is_another_message() {
        for first in [
            "smtpd|DE8ABA48318: client=u[192.0.2.1]",
            "qmgr|DE8ABA48318: removed",
            "pickup|DE8ABA48318: uid=0 from=<s>",
        ] {
            let made = events(&[
                "cleanup|DE8ABA48318: message-id=<m@app.test>",
                &deferred("DE8ABA48318", "a@x.test"),
                first,
                &deferred("DE8ABA48318", "b@x.test"),
                "qmgr|DE8ABA48318: from=<s@app.test>, status=expired, returned to sender",
            ]);
            assert_eq!(made.len(), 3, "{first}");
            assert_eq!(
                (made[1].message_id.as_deref(), made[2].recipient.local()),
                (None, "b"),
                "{first}"
            );
        }
    }

    #[test]
    fn memory_is_bounded_and_the_recent_is_kept() {
        let mut joiner = Joiner::new(100);
        for n in 0..10_000 {
            events_with(
                &mut joiner,
                &[
                    &format!("cleanup|{n:06X}: message-id=<{n}@app.test>"),
                    &deferred(&format!("{n:06X}"), "a@x.test"),
                ],
            );
            events_with(&mut joiner, &[&deferred("FFFFFF", &format!("{n}@x.test"))]);
            let held: usize = [&joiner.young, &joiner.old]
                .iter()
                .flat_map(|generation| generation.messages.values())
                .map(Message::weight)
                .sum();
            assert!(held <= 160, "{held} after {n}");
        }
        let made = events_with(&mut joiner, &[&deferred(&format!("{:06X}", 9_990), "a@x.test")]);
        assert_eq!(made[0].message_id.as_deref(), Some("9990@app.test"));
        let made = events_with(&mut joiner, &[&deferred(&format!("{:06X}", 1), "a@x.test")]);
        assert_eq!(made[0].message_id, None);
    }

    #[test]
    fn what_is_no_address_is_counted() {
        let mut joiner = Joiner::new(100);
        let made = events_with(
            &mut joiner,
            &["smtp|DE8ABA48318: to=<nobody>, relay=none, dsn=5.1.1, status=bounced (x)"],
        );
        assert!(made.is_empty());
        assert_eq!(joiner.unreadable(), 1);
    }

    #[test]
    fn probes_and_expansions_are_no_deliveries() {
        let probe =
            "smtp|DE8ABA48318: to=<u@x.test>, relay=mx[192.0.2.1]:25, dsn=2.1.5, status=deliverable (250 ok)";
        assert!(events(&[probe]).is_empty());
        let alias = "local|DE8ABA48318: to=<root@x.test>, relay=local, dsn=2.0.0, status=sent (forwarded as 1111A48318)";
        assert_eq!(events(&[alias])[0].outcome, Outcome::Relayed);
    }
}
