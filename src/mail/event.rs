//! The event: one outcome for one recipient at one time. Every intake lowers what it reads to
//! this type, and everything after it knows only this type.
//!
//! An event has a deterministic id, so that the same line or message read again is the same event.

use super::address::Address;
use super::reply::Reply;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use std::fmt;

/// The identity of an event: 6 octets of its time in milliseconds since the epoch, then 10 octets of
/// a SHA-256 over what identifies it at its source. Time first, so that stores append in order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId(pub [u8; 16]);

/// What became of the delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The remote server took it.
    Delivered,
    /// Put off; the MTA will try again.
    Deferred,
    /// Given up for a fault: Postfix's `status=bounced`, a DSN's `Action: failed`.
    Failed,
    /// Given up for its age. Not a hard bounce: nobody said that the mailbox is dead.
    Expired,
    /// Handed to a system that sends no DSNs, or expanded (RFC 3464 `relayed`, `expanded`).
    Relayed,
    /// The recipient reported the mail as abuse (RFC 5965).
    Complaint,
    /// Nothing became of it that we know of; but an automatic answer says that the mailbox is closed.
    AutoReply,
}

/// Where we learned of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// A line of the MTA's log.
    Log,
    /// A message handed over by LMTP.
    Lmtp,
    /// A message that the milter read on its way through.
    Milter,
    /// A message read from a file, an mbox or a Maildir.
    File,
}

/// Whether the event tells anything new.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Evidence {
    /// An outcome of an attempt of its own.
    Fresh,
    /// As fresh, but open to doubt: nobody named the recipient, who was inferred from the returned mail, or the
    /// words beside a report give another reason than its fields. Judged, and never strikes at once.
    Doubtful,
    /// An echo of an earlier failure (`postfix/error`, `delivery temporarily suspended`): counted, never judged.
    Repeat,
}

/// What the report itself proves about who wrote it, as whoever took it in has verified (RFC 6376, 7208, 7489, 8617).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Authentication {
    /// Nobody looked: it came in no mail, or nobody could.
    #[default]
    Untried,
    /// The author's domain stands behind it.
    Passed {
        /// By what that is known.
        means: Means,
        /// The domain of the author (`From`), lower case.
        domain: Box<str>,
    },
    /// Nothing is proved.
    Failed(Flaw),
}

/// By what an author's domain is known to stand behind a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Means {
    /// A signature (DKIM, RFC 6376) of the author's domain.
    Dkim,
    /// Such a signature, seen by somebody whom we trust to tell, before the mail was changed on its way (ARC, RFC 8617).
    Arc,
    /// The client was allowed to send for the author's domain (SPF, RFC 7208).
    Spf,
}

/// Why a report's own signatures prove nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flaw {
    /// It has none, and nobody vouches for its client.
    Unsigned,
    /// A signature does not hold.
    Broken,
    /// What holds is another domain's than the author's.
    Unaligned,
    /// Somebody whom we do not trust says that it held.
    UnknownSealer,
    /// It names no author, or several.
    NoAuthor,
    /// Its author is no mail system, but somebody with a mailbox there (RFC 5321 §4.5.1, RFC 2142).
    NoDaemon,
    /// Its author vouches for something else: whom we mailed is not what was signed, but what the envelope, the
    /// returned mail or a field without a signature says.
    Inferred,
    /// DNS did not answer in time.
    Unsure,
}

/// The server that took or refused the mail.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Relay {
    /// Its name (the MX host), lower case.
    pub host: String,
    /// Its address, or the path of a local socket.
    pub ip: Option<String>,
    /// Its port.
    pub port: Option<u16>,
}

/// One outcome for one recipient at one time.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its deterministic identity.
    pub id: EventId,
    /// When it happened, by its source.
    pub at: Timestamp,
    /// Where it came from.
    pub source: Source,
    /// What happened.
    pub outcome: Outcome,
    /// Whether it is evidence or an echo.
    pub evidence: Evidence,
    /// The address that was tried.
    pub recipient: Address,
    /// The address that we mailed, where it differs (Postfix `orig_to=`, ORCPT, Original-Recipient).
    pub original_recipient: Option<Address>,
    /// The envelope sender that the mail left with; `Some("")` is the null sender.
    pub sender: Option<String>,
    /// Who logged in to hand the mail in (SASL), where the log says that somebody did.
    pub sasl_username: Option<String>,
    /// The queue id at the MTA that reports.
    pub queue_id: Option<String>,
    /// The Message-ID of the mail, without `<>`.
    pub message_id: Option<String>,
    /// The envelope id (RFC 3461 ENVID).
    pub envelope_id: Option<String>,
    /// Who answered.
    pub relay: Option<Relay>,
    /// The command that was answered, in Postfix's words (`RCPT TO`, `end of DATA`), or `greeting`: an answer
    /// to anything else than RCPT is hardly about the recipient.
    pub command: Option<String>,
    /// What was said.
    pub reply: Reply,
    /// The enhanced status in the reporter's words (`dsn=`, `Status:`); the reply's own outranks it.
    pub reported_status: Option<super::status::EnhancedStatus>,
    /// The MTA that reported (RFC 3464 Reporting-MTA), for messages.
    pub reporting_mta: Option<String>,
    /// The envelope recipient that a report was sent to (VERP), for messages.
    pub return_path: Option<String>,
    /// Whether our own MTA demonstrably wrote this: its log, or a DSN that never crossed a network.
    pub own: bool,
    /// What the report proves about its author, for messages.
    pub authentication: Authentication,
}

impl EventId {
    /// Hashes what identifies the event at its source. Parts are length-prefixed, so that no two
    /// lists of parts can be mistaken for each other.
    #[must_use]
    pub fn new(at: Timestamp, parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        let digest = hash.finalize();
        let millis = at.as_millisecond().max(0).to_be_bytes();
        let mut id = [0; 16];
        id[..6].copy_from_slice(&millis[2..]);
        id[6..].copy_from_slice(&digest[..10]);
        Self(id)
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Relay {
    /// Whether the mail stayed on this host: a local agent (no address) or a socket (a path, perhaps from
    /// Postfix's queue directory: `private/lmtp`).
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.ip.as_ref().is_none_or(|ip| ip.contains('/'))
    }
}

impl Source {
    /// Whether it tells of what happens now, as nothing that is read from a file does.
    #[must_use]
    pub fn is_live(self) -> bool {
        match self {
            Self::Lmtp | Self::Milter => true,
            Self::Log | Self::File => false,
        }
    }
}

impl Event {
    /// The address that we mailed: what a suppression is about. A forwarder's dead target must never
    /// cost somebody else their mail.
    #[must_use]
    pub fn mailed(&self) -> &Address {
        self.original_recipient.as_ref().unwrap_or(&self.recipient)
    }
}

/// Gives a field-less enum its stable names.
macro_rules! names {
    ($type:ident { $($variant:ident = $name:literal),+ $(,)? }) => {
        impl $type {
            /// The name in files, logs and the store.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
            /// The value of a name; `None` where there is none.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

names!(Outcome {
    Delivered = "delivered", Deferred = "deferred", Failed = "failed", Expired = "expired",
    Relayed = "relayed", Complaint = "complaint", AutoReply = "auto_reply",
});
names!(Source { Log = "log", Lmtp = "lmtp", Milter = "milter", File = "file" });
names!(Means { Dkim = "dkim", Arc = "arc", Spf = "spf" });
names!(Flaw {
    Unsigned = "unsigned", Broken = "broken", Unaligned = "unaligned", UnknownSealer = "unknown_sealer",
    NoAuthor = "no_author", NoDaemon = "no_daemon", Inferred = "inferred", Unsure = "unsure",
});
