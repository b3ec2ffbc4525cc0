//! What comes of a mail that an intake takes: events, or an unread message. What the intakes of mail (LMTP, milter) share.
//!
//! Nothing fails: what cannot be read is kept as it stands, with the reason.

use super::authenticate::{Authenticator, Client};
use super::keeper::{Handle, Intake, KeepError};
use crate::clock;
use crate::mail::event::Source;
use crate::mail::message::{self, Envelope, Kind, Reading};
use crate::store::contract::Unread;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

/// A mail as it was handed in.
#[derive(Debug, Clone, Copy)]
pub struct Mail<'a> {
    /// The envelope sender; empty is the null sender.
    pub sender: &'a str,
    /// The recipients that are ours. The first is the return path that the report came back to.
    pub recipients: &'a [String],
    /// Header and body.
    pub content: &'a [u8],
    /// By which way.
    pub source: Source,
}

impl Mail<'_> {
    /// Reads it. Only where our MTA has put its `Received` field on top can that tell that it made a report itself: a
    /// milter sees the message without.
    #[must_use]
    pub fn parse(&self) -> Reading {
        let mut reading = message::read(self.content);
        if self.source == Source::Milter {
            reading.locally_generated = None;
        }
        reading
    }

    /// Lowers what was read of it to events, and tells each what the message proves; what yields none is kept as unread,
    /// once for each recipient.
    ///
    /// # Errors
    /// [`KeepError`] where the store is needed, and does not answer.
    pub async fn lower(
        &self,
        mut reading: Reading,
        keeper: &Handle,
        authenticator: Option<&Authenticator>,
        client: Option<&Client>,
    ) -> Result<Intake, KeepError> {
        let envelope = Envelope {
            sender: Some(self.sender),
            recipient: self.recipients.first().map(String::as_str),
        };
        keeper.recover(&mut reading, envelope).await?;
        let now = clock::now();
        let mut events = message::events(&reading, envelope, self.source, now);
        if events.is_empty() {
            return Ok(self.unread(&reading, now));
        }
        if let Some(authenticator) = authenticator {
            authenticator
                .authenticate(&mut events, self.content, client)
                .await;
        }
        Ok(Intake {
            events,
            ..Intake::default()
        })
    }

    fn unread(&self, reading: &Reading, now: Timestamp) -> Intake {
        let unread = self.recipients.iter().map(|recipient| Unread {
            id: identity(self.content, recipient),
            at: now,
            intake: self.source.name().into(),
            sender: Some(self.sender.to_owned()),
            recipient: Some(recipient.clone()),
            reason: problem(reading),
            content: self.content.to_vec(),
        });
        Intake {
            unread: unread.collect(),
            ..Intake::default()
        }
    }
}

/// Why no event came of a message, in a sentence.
fn problem(reading: &Reading) -> String {
    match (reading.kind, reading.refused.is_empty()) {
        (_, false) => reading.refused.join("; "),
        (Kind::AutoReply, true) => "an automatic reply, no bounce".into(),
        (Kind::None, true) => "neither a bounce nor a complaint that we can read".into(),
        (_, true) => "a report without a recipient".into(),
    }
}

/// The same message to the same recipient is the same unread message, however often it comes.
fn identity(content: &[u8], recipient: &str) -> [u8; 16] {
    let mut hash = Sha256::new();
    hash.update((recipient.len() as u64).to_le_bytes());
    hash.update(recipient);
    hash.update(content);
    let mut id = [0; 16];
    id.copy_from_slice(&hash.finalize()[..16]);
    id
}
