//! A delivery agent's line about one recipient:
//!
//! `to=<…>, orig_to=<…>, relay=…, conn_use=2, delay=1.2, delays=0/0/0.2/1, dsn=5.1.1, status=bounced (…)`
//!
//! Fields are taken in the order in which they stand; fields that we do not know are stepped over. The
//! status comes last, and all behind it is the reason. A line without a status (cut, or damaged) is a
//! [`DeliveryError`]; a reason without its closing parenthesis is one that the log cut short.

use super::line::bracketed;
use crate::mail::status::EnhancedStatus;

/// What became of one recipient, as logged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Delivery<'a> {
    /// The address that was tried, as Postfix quotes it, without `<>`.
    pub recipient: &'a str,
    /// The address before aliases and canonical maps, where it differs.
    pub original: Option<&'a str>,
    /// `name[address]:port`, `name[/path]`, `local`, `none` …
    pub relay: &'a str,
    /// How many deliveries this connection has seen, this one included; 1 where it is not logged.
    pub conn_use: u32,
    /// Seconds since the message arrived.
    pub delay: Option<f64>,
    /// Where they went: before the queue manager, in it, connecting, transmitting; `a/b/c/d` in seconds.
    pub delays: &'a str,
    /// `dsn=`: what Postfix made of the reply's status.
    pub dsn: Option<EnhancedStatus>,
    /// The outcome.
    pub status: DeliveryStatus,
    /// The text in parentheses.
    pub reason: &'a str,
    /// Whether the closing parenthesis is missing.
    pub cut: bool,
}

/// The words of `status=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeliveryStatus {
    /// `sent`
    Sent,
    /// `deferred`
    Deferred,
    /// `bounced`
    Bounced,
    /// `expired`, `force-expired`
    Expired,
    /// `SOFTBOUNCE`: it would have bounced, but `soft_bounce = yes`.
    SoftBounce,
    /// `deliverable`: a probe (`sendmail -bv`, address verification) that found the mailbox; no mail went.
    Deliverable,
    /// `undeliverable`: a probe that found none.
    Undeliverable,
    /// A word that we do not know.
    Unknown,
}

/// Why a `to=<…` line is no delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DeliveryError {
    /// The address never ends.
    #[error("expected `>` at the end of an address, found the end of the line")]
    Address,
    /// Something stands where a `name=value` should.
    #[error("expected `, name=value` until `status=`, found the end of the line or something else")]
    Field,
}

impl<'a> Delivery<'a> {
    /// Reads the line from `to=<` on.
    ///
    /// # Errors
    /// [`DeliveryError`] where no status is reached.
    pub fn parse(text: &'a str) -> Result<Self, DeliveryError> {
        let mut read = Self {
            recipient: "",
            original: None,
            relay: "",
            conn_use: 1,
            delay: None,
            delays: "",
            dsn: None,
            status: DeliveryStatus::Unknown,
            reason: "",
            cut: false,
        };
        let mut rest = text;
        loop {
            let (name, value) = field_name(rest)?;
            if name == "status" {
                read.take_status(value);
                return Ok(read);
            }
            let (value, after) = if value.starts_with('<') {
                let (address, after) = bracketed(value).ok_or(DeliveryError::Address)?;
                (address, after.strip_prefix(", ").ok_or(DeliveryError::Field)?)
            } else {
                plain_value(value).ok_or(DeliveryError::Field)?
            };
            read.take(name, value);
            rest = after;
        }
    }

    fn take(&mut self, name: &str, value: &'a str) {
        match name {
            "to" => self.recipient = value,
            "orig_to" => self.original = Some(value),
            "relay" => self.relay = value,
            "conn_use" => self.conn_use = value.parse().unwrap_or(1),
            "delay" => self.delay = value.parse().ok().filter(|delay: &f64| delay.is_finite()),
            "delays" => self.delays = value,
            "dsn" => self.dsn = value.parse().ok(),
            _ => {}
        }
    }

    fn take_status(&mut self, text: &'a str) {
        let (word, reason) = text.split_once(' ').unwrap_or((text, ""));
        self.status = DeliveryStatus::from_word(word);
        let reason = reason.strip_prefix('(').unwrap_or(reason);
        let whole = reason.strip_suffix(')');
        self.cut = whole.is_none();
        self.reason = whole.unwrap_or(reason);
    }

    /// Whether the message went nowhere: no server, no agent.
    #[must_use]
    pub fn is_unattempted(&self) -> bool {
        matches!(self.relay, "none" | "")
    }
}

/// `name=` at the start; the name and what follows.
fn field_name(text: &str) -> Result<(&str, &str), DeliveryError> {
    let end = text
        .bytes()
        .take_while(|byte| byte.is_ascii_lowercase() || *byte == b'_')
        .count();
    let value = text[end..].strip_prefix('=').ok_or(DeliveryError::Field)?;
    Ok((&text[..end], value))
}

/// A value that ends at the next `, `; it and what follows.
fn plain_value(text: &str) -> Option<(&str, &str)> {
    let bytes = text.as_bytes();
    let end = memchr::memchr_iter(b',', bytes).find(|end| bytes.get(end + 1) == Some(&b' '))?;
    Some((&text[..end], &text[end + 2..]))
}

impl DeliveryStatus {
    /// The status of a word of Postfix's.
    #[must_use]
    pub fn from_word(word: &str) -> Self {
        match word {
            "sent" => Self::Sent,
            "deferred" => Self::Deferred,
            "bounced" => Self::Bounced,
            "expired" | "force-expired" => Self::Expired,
            "SOFTBOUNCE" => Self::SoftBounce,
            "deliverable" => Self::Deliverable,
            "undeliverable" => Self::Undeliverable,
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_all_fields() {
        let text = "to=<a@x.test>, orig_to=<b>, relay=mx[192.0.2.1]:25, conn_use=3, delay=0.02, delays=0/0.01/0/0.01, tls=secure:a, dsn=4.7.1, status=deferred (host said: 450 (no) (in reply to DATA command))";
        let read = Delivery::parse(text).unwrap();
        assert_eq!((read.recipient, read.original), ("a@x.test", Some("b")));
        assert_eq!(
            (read.relay, read.conn_use, read.delay),
            ("mx[192.0.2.1]:25", 3, Some(0.02))
        );
        assert_eq!(
            (read.delays, read.dsn.unwrap().to_string().as_str()),
            ("0/0.01/0/0.01", "4.7.1")
        );
        assert_eq!((read.status, read.cut), (DeliveryStatus::Deferred, false));
        assert_eq!(read.reason, "host said: 450 (no) (in reply to DATA command)");
    }

    #[test]
    fn imitations_stay_where_they_are() {
        let quoted = "to=<\"evil>, relay=x[192.0.2.9]:25, dsn=2.0.0, status=sent (250 ok\"@x.test>, relay=none, delay=1, delays=0/0/0/0, dsn=5.1.1, status=bounced (host mx[192.0.2.1] said: 550 to=<v@x.test>, relay=y, status=sent (250 ok))";
        let read = Delivery::parse(quoted).unwrap();
        assert_eq!(
            read.recipient,
            "\"evil>, relay=x[192.0.2.9]:25, dsn=2.0.0, status=sent (250 ok\"@x.test"
        );
        assert_eq!((read.relay, read.status), ("none", DeliveryStatus::Bounced));
        assert!(read.reason.ends_with("status=sent (250 ok)"));
    }

    #[test]
    fn cut_lines_are_read_as_far_as_they_go() {
        let whole = "to=<a@x.test>, relay=none, dsn=5.1.1, status=bounced (why)";
        let status = whole.find("status=").unwrap() + "status=".len();
        for end in 0..whole.len() {
            let read = Delivery::parse(&whole[..end]);
            assert_eq!(read.is_ok(), end >= status, "{}", &whole[..end]);
            assert!(read.is_err() || read.unwrap().cut, "{}", &whole[..end]);
        }
    }
}
