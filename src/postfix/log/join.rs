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
use super::memory::{Memory, Name, Recipient};
use crate::mail::address::Address;
use crate::mail::event::{Authentication, Event, EventId, Evidence, Outcome, Relay, Source};
use crate::mail::formats::postfix::{Endpoint, Reason, ReasonKind, parse_reason};
use crate::mail::reply::Reply;
use jiff::Timestamp;

/// Joins lines to events.
#[derive(Debug)]
pub struct Joiner {
    memory: Memory,
    unreadable: u64,
}

impl Joiner {
    /// A joiner that remembers about `capacity` messages and waiting recipients: the half of it that was
    /// touched last for certain, one and a half times as many at most (100,000: some 30 MB).
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            memory: Memory::new(capacity),
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
        let name = Name::from(line);
        match line.entry {
            // A new message: whatever had its queue id before is gone (short ids are used again).
            Entry::Accepted { sasl_username, .. } => {
                self.memory.forget(name);
                if let Some(user) = sasl_username {
                    self.memory.remember(name).set_sasl_username(user);
                }
            }
            Entry::Submitted { sender, .. } => {
                self.memory.forget(name);
                self.memory.remember(name).set_sender(sender);
            }
            Entry::MessageId(id) => self.memory.remember(name).set_message_id(id, false),
            Entry::ResentMessageId(id) => self.memory.remember(name).set_message_id(id, true),
            Entry::Queued { sender, .. } => self.memory.remember(name).set_sender(sender),
            Entry::Removed => self.memory.forget(name),
            Entry::Delivery(delivery) => self.deliver(line, &delivery, events),
            Entry::Expired { sender, .. } => self.expire(line, sender, events),
            Entry::Other => {}
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
        let name = Name::from(line);
        if outcome == Outcome::Deferred {
            self.memory.hold(name, recipient.clone());
        } else {
            self.memory.settle(name, &recipient);
        }
        let known = self.memory.known(name);
        events.push(Event {
            outcome,
            evidence: evidence(line, delivery, &reason),
            message_id: known.message_id,
            sender: known.sender,
            sasl_username: known.sasl_username,
            relay: relay(line, delivery, &reason),
            command: reason.answered(),
            reply: reason.reply,
            reported_status: delivery.dsn,
            ..event(line, recipient, &[])
        });
    }

    fn expire(&mut self, line: &Line<'_>, sender: &str, events: &mut Vec<Event>) {
        let name = Name::from(line);
        let known = self.memory.known(name);
        for recipient in self.memory.release(name) {
            let address = recipient.address.to_string();
            let original = recipient
                .original
                .as_ref()
                .map(Address::to_string)
                .unwrap_or_default();
            events.push(Event {
                outcome: Outcome::Expired,
                message_id: known.message_id.clone(),
                sender: Some(sender.to_owned()),
                sasl_username: known.sasl_username.clone(),
                reply: Reply {
                    text: "expired, returned to sender".to_owned(),
                    ..Reply::default()
                },
                ..event(line, recipient, &[address.as_bytes(), original.as_bytes()])
            });
        }
    }
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
        sasl_username: None,
        queue_id: Some(line.queue_id.to_owned()),
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
fn relay(line: &Line<'_>, delivery: &Delivery<'_>, reason: &Reason) -> Option<Relay> {
    if delivery.is_unattempted() {
        return Some(Relay {
            host: reason.host.as_ref()?.to_lowercase(),
            ip: reason.ip.clone(),
            port: reason.port,
        });
    }
    let endpoint = Endpoint::parse_prefix(delivery.relay).filter(|(_, rest)| rest.is_empty());
    // lmtp(8) speaks to mailbox servers of our own, over TCP or not: no provider's limits are met there.
    let ours = line.service == Some("lmtp");
    Some(match endpoint {
        Some((endpoint, _)) => Relay {
            host: endpoint.host.to_lowercase(),
            ip: Some(endpoint.ip.to_owned()).filter(|ip| !ours || ip.contains('/')),
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
    use std::collections::HashSet;

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
            "smtpd|DE8ABA48318: client=app[192.0.2.9], sasl_method=PLAIN, sasl_username=newsletter",
            "cleanup|DE8ABA48318: resent-message-id=<r@app.test>",
            "cleanup|DE8ABA48318: message-id=<m@app.test>",
            "qmgr|DE8ABA48318: from=<s@app.test>, size=304, nrcpt=1 (queue active)",
            "smtp|DE8ABA48318: to=<u@x.test>, orig_to=<Old@X.test>, relay=MX.x.test[2001:db8::1]:25, dsn=5.0.0, status=bounced (host MX.x.test[2001:db8::1] said: 550 4.2.2 odd (in reply to RCPT TO command))",
        ]);
        let event = &made[0];
        assert_eq!(event.message_id.as_deref(), Some("m@app.test"));
        assert_eq!(event.sender.as_deref(), Some("s@app.test"));
        assert_eq!(event.sasl_username.as_deref(), Some("newsletter"));
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
