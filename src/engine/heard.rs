//! A reply as people pass it on: bare, within the words of an MTA (`host mx[192.0.2.1] said: 550 … (in
//! reply to RCPT TO command)`), or within a whole line of Postfix's log.
//!
//! Reading never fails: what is nothing of the kind is a reply without a code.

use super::classify::{Phase, classify, classify_in};
use super::rule::RuleSet;
use super::verdict::Verdict;
use crate::mail::event::Event;
use crate::mail::formats::postfix::{Reason, ReasonKind, parse_reason};
use crate::mail::reply::Reply;
use crate::mail::status::EnhancedStatus;
use crate::postfix::log::{Calendar, Joiner, Line};
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// What was said, and what is known about the circumstances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// What was said.
    pub reply: Reply,
    /// What it answered.
    pub phase: Phase,
    /// The host that said it, where that is told.
    pub host: Option<String>,
    /// The status in the MTA's words (`dsn=`), where a log line tells it.
    pub reported: Option<EnhancedStatus>,
}

impl Heard {
    /// Reads a reply, perhaps within an MTA's words.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let reason = parse_reason(text);
        let phase = phase(&reason);
        let reply = match reason.kind {
            ReasonKind::Local => Reply::parse(text),
            _ => reason.reply,
        };
        Self {
            reply,
            phase,
            host: reason.host,
            reported: None,
        }
    }

    /// Reads what [`Heard::new`] reads, or a line of Postfix's log about a delivery.
    #[must_use]
    pub fn anywhere(text: &str) -> Self {
        delivery(text).map_or_else(
            || Self::new(text),
            |event| Self {
                phase: event.command.as_deref().map_or(Phase::Unknown, Phase::of_command),
                host: event.relay.map(|relay| relay.host),
                reported: event.reported_status,
                reply: event.reply,
            },
        )
    }

    /// What it means, where `provider` runs the server that said it (`Question::provider`).
    #[must_use]
    pub fn verdict(&self, rules: &RuleSet, provider: Option<&str>) -> Verdict {
        match self.phase {
            Phase::Unknown => classify(rules, &self.reply, self.reported, provider),
            phase => classify_in(rules, &self.reply, self.reported, provider, phase),
        }
    }
}

fn phase(reason: &Reason) -> Phase {
    reason
        .answered()
        .map_or(Phase::Unknown, |command| Phase::of_command(&command))
}

/// The delivery that a log line tells of. When it was does not matter here.
fn delivery(text: &str) -> Option<Event> {
    let mut calendar = Calendar::new(Timestamp::UNIX_EPOCH, TimeZone::UTC);
    let line = Line::parse(text, &mut calendar).ok()?;
    let mut events = Vec::new();
    Joiner::new(1).push(&line, &mut events);
    events.pop()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_found_in_what_is_said_of_them() {
        let log = "Nov 21 09:40:56 mta postfix/smtp[7]: 4A1B2C3D4E5F: to=<a@x.test>, relay=mx.x.test[192.0.2.1]:25, delay=1, \
                   delays=0/0/0/1, dsn=5.1.1, status=bounced (host mx.x.test[192.0.2.1] said: 550 5.1.1 no such user (in \
                   reply to RCPT TO command))";
        let table = [
            ("550 5.1.1 no", "550 5.1.1 no", Phase::Unknown, None),
            (
                "host mx[192.0.2.1] said: 550 5.1.1 no (in reply to RCPT TO command)",
                "550 5.1.1 no",
                Phase::Recipient,
                Some("mx"),
            ),
            (
                "host mx[192.0.2.1] refused to talk to me: 554 no",
                "554 no",
                Phase::Session,
                Some("mx"),
            ),
            ("5.1.1 no", "5.1.1 no", Phase::Unknown, None),
            (
                "connect to mx[192.0.2.1]:25: Connection timed out",
                "connect to mx[192.0.2.1]:25: Connection timed out",
                Phase::Unknown,
                Some("mx"),
            ),
            (log, "550 5.1.1 no such user", Phase::Recipient, Some("mx.x.test")),
            ("", "", Phase::Unknown, None),
        ];
        for (text, reply, phase, host) in table {
            let heard = Heard::anywhere(text);
            assert_eq!(
                (
                    heard.reply.to_string().as_str(),
                    heard.phase,
                    heard.host.as_deref()
                ),
                (reply, phase, host),
                "{text}"
            );
        }
    }
}
