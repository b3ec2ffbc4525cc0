//! What a line of Postfix says, borrowed from its text.
//!
//! The entries of interest all start with `QUEUEID: ` and then words that Postfix alone writes there, so
//! that an entry is known by its start even where the header lost the service (RFC 5424 with rsyslog's
//! default template). Everything else of Postfix's is [`Entry::Other`]; other programs' lines are
//! [`LineError::Foreign`].

use super::calendar::{Calendar, Stamp};
use super::delivery::{Delivery, DeliveryError};
use super::header::{Header, HeaderError};
use jiff::Timestamp;

/// One line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Line<'a> {
    /// When it was written.
    pub at: Timestamp,
    /// The host as written; empty where there is none.
    pub host: &'a str,
    /// The program that wrote it (`smtp`, `qmgr`, `error`); `None` where the header lost it.
    pub service: Option<&'a str>,
    /// The process id as written; empty where there is none.
    pub pid: &'a str,
    /// The queue id; empty where there is none.
    pub queue_id: &'a str,
    /// All that the program said, from the queue id on.
    pub body: &'a str,
    /// What it means.
    pub entry: Entry<'a>,
}

/// What a line means.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Entry<'a> {
    /// smtpd(8), qmqpd(8): a message begins.
    Accepted {
        /// `name[address]` of the client.
        client: &'a str,
        /// Who logged in, where somebody did.
        sasl_username: Option<&'a str>,
    },
    /// pickup(8): a message begins that a local user submitted.
    Submitted {
        /// The user id.
        uid: &'a str,
        /// The envelope sender.
        sender: &'a str,
    },
    /// cleanup(8): the Message-ID, without `<>`.
    MessageId(&'a str),
    /// cleanup(8): the Resent-Message-ID, without `<>`.
    ResentMessageId(&'a str),
    /// qmgr(8): the message enters the active queue.
    Queued {
        /// The envelope sender; empty for the null sender.
        sender: &'a str,
        /// Octets.
        size: Option<u64>,
        /// How many recipients are left.
        recipients: Option<u32>,
    },
    /// qmgr(8): the message is given up for its age, with all recipients that are left.
    Expired {
        /// The envelope sender.
        sender: &'a str,
        /// Whether an operator forced it (`postsuper -f`).
        forced: bool,
    },
    /// A delivery agent: what became of one recipient.
    Delivery(Delivery<'a>),
    /// qmgr(8): the message has left the queue.
    Removed,
    /// Anything else of Postfix's.
    Other,
}

/// Why a line tells nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// It has no header that we know.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// Another program wrote it.
    #[error("expected a line of Postfix, found another program's")]
    Foreign,
    /// It is a delivery, but damaged or cut before its status.
    #[error(transparent)]
    Delivery(#[from] DeliveryError),
}

/// A message of the log with its header already apart, as the journal stores it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// When it was written.
    pub at: Timestamp,
    /// The host.
    pub host: &'a str,
    /// The syslog identifier: `postfix/smtp`.
    pub program: &'a str,
    /// The process id.
    pub pid: &'a str,
    /// The text.
    pub text: &'a str,
}

impl<'a> Line<'a> {
    /// Reads a line of a file; the calendar dates it.
    ///
    /// # Errors
    /// [`LineError`] where the line is not Postfix's, or is a delivery that cannot be read.
    pub fn parse(text: &'a str, calendar: &mut Calendar) -> Result<Self, LineError> {
        let header = Header::parse(text)?;
        let program = program(header.program).ok_or(LineError::Foreign)?;
        let at = match header.stamp {
            Stamp::Instant(at) => at,
            local => calendar.resolve(local)?,
        };
        Self::from_parts(at, header.host, program, header.pid, header.body)
    }

    /// Reads a message whose header is apart.
    ///
    /// # Errors
    /// [`LineError`] where it is not Postfix's, or is a delivery that cannot be read.
    pub fn from_message(message: Message<'a>) -> Result<Self, LineError> {
        let program = program(message.program).ok_or(LineError::Foreign)?;
        let body = message.text.trim_matches([' ', '\n', '\r']);
        Self::from_parts(message.at, message.host, program, message.pid, body)
    }

    fn from_parts(
        at: Timestamp,
        host: &'a str,
        service: Option<&'a str>,
        pid: &'a str,
        body: &'a str,
    ) -> Result<Self, LineError> {
        let (queue_id, entry) = match queue_id(body) {
            Some((queue_id, rest)) => (queue_id, entry(rest)?),
            None => ("", Entry::Other),
        };
        Ok(Self {
            at,
            host,
            service,
            pid,
            queue_id,
            body,
            entry,
        })
    }
}

/// Whether Postfix wrote it, and which service: names start with `postfix` (`postfix-out/smtp` is an
/// instance, `postfix/slow-gmail/smtp` a transport with a `syslog_name` of its own) or, for an instance
/// with any other `syslog_name`, end with one of Postfix's programs.
fn program(name: &str) -> Option<Option<&str>> {
    const PROGRAMS: &[&str] = &[
        "bounce", "cleanup", "discard", "error", "lmtp", "local", "pickup", "pipe", "qmgr", "qmqpd", "smtp",
        "smtpd", "virtual",
    ];
    let service = name.rsplit_once('/').map(|(_, service)| service);
    let ours = name.starts_with("postfix")
        || (!name.starts_with('/') && service.is_some_and(|service| PROGRAMS.contains(&service)));
    ours.then_some(service)
}

/// A queue id and `: ` at the start; what follows. Short ids are upper-case hexadecimal, long ones
/// (`enable_long_queue_ids`) base 52 without vowels, a `z` before the inode number.
fn queue_id(body: &str) -> Option<(&str, &str)> {
    let bytes = body.as_bytes();
    let end = memchr::memchr(b':', bytes.get(..bytes.len().min(32))?)?;
    let (id, rest) = (&body[..end], body[end..].strip_prefix(": ")?);
    let short = || id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F'));
    let long = || {
        let consonant = |byte: u8| byte.is_ascii_alphabetic() && !b"AEIOUaeiou".contains(&byte);
        id.len() >= 10 && id.bytes().all(|byte| byte.is_ascii_digit() || consonant(byte)) && id.contains('z')
    };
    (id.len() >= 6 && (short() || long())).then_some((id, rest))
}

/// Reads what follows the queue id.
fn entry(text: &str) -> Result<Entry<'_>, LineError> {
    if text.starts_with("to=<") {
        return Ok(Entry::Delivery(Delivery::parse(text)?));
    }
    if text == "removed" {
        return Ok(Entry::Removed);
    }
    if let Some(id) = text.strip_prefix("message-id=") {
        return Ok(Entry::MessageId(bare_message_id(id)));
    }
    if text.starts_with("from=<") {
        return Ok(from_queue_manager(text).unwrap_or(Entry::Other));
    }
    if let Some(rest) = text.strip_prefix("client=") {
        return Ok(accepted(rest));
    }
    if let Some(rest) = text.strip_prefix("uid=") {
        return Ok(submitted(rest).unwrap_or(Entry::Other));
    }
    if let Some(id) = text.strip_prefix("resent-message-id=") {
        return Ok(Entry::ResentMessageId(bare_message_id(id)));
    }
    Ok(Entry::Other)
}

fn bare_message_id(text: &str) -> &str {
    let text = text.trim();
    text.strip_prefix('<')
        .and_then(|id| id.strip_suffix('>'))
        .unwrap_or(text)
}

/// `from=<…>, size=304, nrcpt=1 (queue active)`, `from=<…>, status=expired, returned to sender`.
fn from_queue_manager(text: &str) -> Option<Entry<'_>> {
    let (sender, rest) = bracketed(text.strip_prefix("from=")?)?;
    let rest = rest.strip_prefix(", ")?;
    if let Some(status) = rest.strip_prefix("status=") {
        let forced = status.starts_with("force-expired,");
        return (forced || status.starts_with("expired,")).then_some(Entry::Expired { sender, forced });
    }
    let digits = |text: &'_ str| text.bytes().take_while(u8::is_ascii_digit).count();
    let size = rest.strip_prefix("size=")?;
    let (size, rest) = size.split_at(digits(size));
    let recipients = rest
        .strip_prefix(", nrcpt=")
        .and_then(|count| count[..digits(count)].parse().ok());
    Some(Entry::Queued {
        sender,
        size: size.parse().ok(),
        recipients,
    })
}

/// `unknown[192.0.2.1], sasl_method=PLAIN, sasl_username=NAME, sasl_sender=…`. The name is the user's
/// choice and goes to the end, or to the `sasl_sender=` that only Postfix writes last.
fn accepted(text: &str) -> Entry<'_> {
    let (client, rest) = text.split_once(", ").unwrap_or((text, ""));
    let name = rest.split_once("sasl_username=").map(|(_, name)| name);
    Entry::Accepted {
        client,
        sasl_username: name.map(|name| name.rsplit_once(", sasl_sender=").map_or(name, |(name, _)| name)),
    }
}

/// `0 from=<…>`.
fn submitted(text: &str) -> Option<Entry<'_>> {
    let (uid, rest) = text.split_once(" from=")?;
    let (sender, _) = bracketed(rest)?;
    Some(Entry::Submitted { uid, sender })
}

/// An address in `<>` at the start, as Postfix's external form writes it: a local part that holds anything
/// odd is quoted as a whole, `"` and `\` in it escaped. Returns the address and what follows. A quoted
/// local part that never ends was not quoted by Postfix (before 3.5 it logged the internal form): the
/// first `>` then ends the address.
pub(super) fn bracketed(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix('<')?;
    let quoted = if inner.starts_with('"') {
        quoted_end(inner)
    } else {
        None
    };
    let from = quoted.unwrap_or(0);
    let end = from + memchr::memchr(b'>', &inner.as_bytes()[from..])?;
    Some((&inner[..end], &inner[end + 1..]))
}

/// Where the quoted string at the start ends, if `@` or `>` follows it.
fn quoted_end(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        match bytes[at] {
            b'\\' => at += 2,
            _ => {
                return bytes
                    .get(at + 1)
                    .is_some_and(|next| matches!(next, b'@' | b'>'))
                    .then_some(at + 1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::tz::TimeZone;

    fn calendar() -> Calendar {
        Calendar::new("2026-11-21T12:00:00Z".parse().unwrap(), TimeZone::UTC)
    }

    fn entry_of(body: &str) -> String {
        let text = format!("Nov 21 09:40:56 h postfix/x[1]: {body}");
        let line = Line::parse(&text, &mut calendar()).unwrap();
        format!("{} {:?}", line.queue_id, line.entry)
    }

    #[test]
    fn reads_each_entry() {
        let table = [
            ("DE8ABA48318: removed", "DE8ABA48318 Removed"),
            ("4jWnMV4vtlz1ZG6T: removed", "4jWnMV4vtlz1ZG6T Removed"),
            (
                "DE8ABA48318: message-id=<m1@app.test>",
                "DE8ABA48318 MessageId(\"m1@app.test\")",
            ),
            ("DE8ABA48318: message-id=<>", "DE8ABA48318 MessageId(\"\")"),
            (
                "DE8ABA48318: resent-message-id=m1",
                "DE8ABA48318 ResentMessageId(\"m1\")",
            ),
            (
                "DE8ABA48318: from=<>, size=304, nrcpt=2 (queue active)",
                "DE8ABA48318 Queued { sender: \"\", size: Some(304), recipients: Some(2) }",
            ),
            (
                "DE8ABA48318: from=<\"a>, size=1\"@x>, size=304, nrcpt=1 (queue active)",
                "DE8ABA48318 Queued { sender: \"\\\"a>, size=1\\\"@x\", size: Some(304), recipients: Some(1) }",
            ),
            (
                "DE8ABA48318: from=<a@x>, status=expired, returned to sender",
                "DE8ABA48318 Expired { sender: \"a@x\", forced: false }",
            ),
            (
                "DE8ABA48318: from=<a@x>, status=force-expired, returned to sender",
                "DE8ABA48318 Expired { sender: \"a@x\", forced: true }",
            ),
            (
                "DE8ABA48318: client=u[192.0.2.1], sasl_method=PLAIN, sasl_username=a, b=c, sasl_sender=d",
                "DE8ABA48318 Accepted { client: \"u[192.0.2.1]\", sasl_username: Some(\"a, b=c\") }",
            ),
            (
                "DE8ABA48318: client=unknown[127.0.0.1]",
                "DE8ABA48318 Accepted { client: \"unknown[127.0.0.1]\", sasl_username: None }",
            ),
            (
                "DE8ABA48318: uid=0 from=<root>",
                "DE8ABA48318 Submitted { uid: \"0\", sender: \"root\" }",
            ),
            (
                "DE8ABA48318: sender non-delivery notification: 1",
                "DE8ABA48318 Other",
            ),
            ("warning: to=<a@b>, relay=x, status=sent (250 ok)", " Other"),
            ("NOQUEUE: reject: to=<a@b>", " Other"),
            ("statistics: start", " Other"),
        ];
        for (body, expected) in table {
            assert_eq!(entry_of(body), expected, "{body}");
        }
    }

    #[test]
    fn knows_its_own_programs() {
        let table = [
            ("postfix/smtp", Some(Some("smtp"))),
            ("postfix", Some(None)),
            ("postfix-out/smtp", Some(Some("smtp"))),
            ("postfix/slow-gmail/smtp", Some(Some("smtp"))),
            ("mta2/smtp", Some(Some("smtp"))),
            ("dovecot", None),
            ("opendkim", None),
            ("/usr/sbin/smtp", None),
            ("amavis/x", None),
        ];
        for (name, expected) in table {
            assert_eq!(program(name), expected, "{name}");
        }
    }

    #[test]
    fn brackets_mind_quotes() {
        let table = [
            ("<a@b>, x", Some(("a@b", ", x"))),
            ("<>, x", Some(("", ", x"))),
            ("<\"a>b\"@c>, x", Some(("\"a>b\"@c", ", x"))),
            ("<\"a\\\">b\"@c>, x", Some(("\"a\\\">b\"@c", ", x"))),
            ("<\"a@b>, said \"x\"", Some(("\"a@b", ", said \"x\""))),
            ("<\"a\\", None),
            ("<a", None),
            ("a>", None),
        ];
        for (text, expected) in table {
            assert_eq!(bracketed(text), expected, "{text}");
        }
    }
}
