//! What is in Postfix's queue: the lines of `postqueue -j` (postqueue(1), "JSON object format"; one object a
//! line).
//!
//! Unknown members are passed over, missing ones are empty. On failure (a line is no such object):
//! [`QueueError`]; the other lines are not concerned.

use jiff::Timestamp;
use serde::Deserialize;

/// A message in the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queued {
    /// Which queue: `active`, `deferred`, `incoming`, `hold`, `maildrop`.
    pub queue: String,
    /// Its queue id.
    pub id: String,
    /// When it arrived.
    pub arrived: Timestamp,
    /// The envelope sender; empty is the null sender.
    pub sender: String,
    /// The recipients that are left.
    pub recipients: Vec<Recipient>,
}

/// A recipient of a message in the queue.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Recipient {
    /// The address.
    #[serde(default)]
    pub address: String,
    /// Why it waits; empty where nothing was tried yet.
    #[serde(default)]
    pub delay_reason: String,
}

/// A line that is no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// It is no JSON object of this shape.
    #[error("expected a JSON object with queue_name, queue_id and recipients, found {found:?}: {problem}")]
    Json {
        /// Its beginning.
        found: String,
        /// What the reader says.
        problem: String,
    },
    /// The queue id is empty.
    #[error("expected a queue id, found none")]
    NoId,
}

#[derive(Deserialize)]
struct Object {
    #[serde(default)]
    queue_name: String,
    queue_id: String,
    #[serde(default)]
    arrival_time: i64,
    #[serde(default)]
    sender: String,
    #[serde(default)]
    recipients: Vec<Recipient>,
}

impl Queued {
    /// Reads a line. Octets that are not UTF-8 are replaced: addresses that had some match nothing.
    ///
    /// # Errors
    /// [`QueueError`].
    pub fn parse(line: &[u8]) -> Result<Self, QueueError> {
        let line = String::from_utf8_lossy(line);
        let object: Object = serde_json::from_str(&line).map_err(|error| QueueError::Json {
            found: line.chars().take(60).collect(),
            problem: error.to_string(),
        })?;
        if object.queue_id.is_empty() {
            return Err(QueueError::NoId);
        }
        Ok(Self {
            queue: object.queue_name,
            id: object.queue_id,
            arrived: Timestamp::from_second(object.arrival_time).unwrap_or(Timestamp::UNIX_EPOCH),
            sender: object.sender,
            recipients: object.recipients,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_of_a_real_queue_are_read() {
        let line = br#"{"queue_name": "deferred", "queue_id": "82A0798C0EE", "arrival_time": 1795286693, "message_size": 246, "forced_expire": false, "sender": "a@b.example", "recipients": [{"address": "r2@x.example", "delay_reason": "not now"}, {"address": "r3@x.example"}]}"#;
        let queued = Queued::parse(line).unwrap();
        assert_eq!(queued.queue, "deferred");
        assert_eq!(queued.id, "82A0798C0EE");
        assert_eq!(queued.arrived.as_second(), 1_795_286_693);
        assert_eq!(queued.sender, "a@b.example");
        let reasons: Vec<&str> = queued
            .recipients
            .iter()
            .map(|r| r.delay_reason.as_str())
            .collect();
        assert_eq!(reasons, ["not now", ""]);
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        for line in [
            "",
            "postqueue: warning: Mail system is down",
            "{}",
            "[1]",
            r#"{"queue_id": ""}"#,
        ] {
            assert!(Queued::parse(line.as_bytes()).is_err(), "{line}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_is_printed_breaks_it(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Queued::parse(&line);
        }
    }
}
