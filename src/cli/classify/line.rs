//! What `nixie classify` says of one message, or of one reply. The field names are an interface.

use crate::engine::verdict::Verdict;
use crate::mail::event::Outcome;
use crate::mail::message::Kind;
use serde::Serialize;

/// One message.
#[derive(Debug, Serialize)]
pub(super) struct MessageLine<'a> {
    pub(super) source: String,
    pub(super) kind: &'static str,
    pub(super) format: Option<&'static str>,
    pub(super) recipients: Vec<RecipientLine<'a>>,
}

/// One recipient of a message.
#[derive(Debug, Serialize)]
pub(super) struct RecipientLine<'a> {
    pub(super) address: String,
    pub(super) original_address: Option<String>,
    pub(super) action: Option<&'static str>,
    pub(super) code: Option<u16>,
    pub(super) status: Option<String>,
    pub(super) reply: Option<String>,
    pub(super) provider: Option<&'a str>,
    #[serde(flatten)]
    pub(super) verdict: VerdictLine,
}

/// One reply.
#[derive(Debug, Serialize)]
pub(super) struct ReplyLine<'a> {
    pub(super) reply: &'a str,
    pub(super) provider: Option<&'a str>,
    pub(super) code: Option<u16>,
    pub(super) status: Option<String>,
    #[serde(flatten)]
    pub(super) verdict: VerdictLine,
}

/// What it means.
#[derive(Debug)]
pub(super) struct VerdictLine(pub(super) Verdict);

impl VerdictLine {
    pub(super) fn rule(&self) -> Option<&str> {
        Some(&*self.0.rule).filter(|&rule| rule != "none")
    }

    /// The cause, and its kind where there is one.
    pub(super) fn cause(&self) -> String {
        match &self.0.sub_cause {
            Some(sub_cause) => format!("{} ({sub_cause})", self.0.cause),
            None => self.0.cause.to_string(),
        }
    }
}

impl Serialize for VerdictLine {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct as _;
        let verdict = &self.0;
        let mut line = serializer.serialize_struct("verdict", 6)?;
        line.serialize_field("cause", verdict.cause.name())?;
        line.serialize_field("sub_cause", &verdict.sub_cause.as_deref())?;
        line.serialize_field("scope", verdict.scope.name())?;
        line.serialize_field("permanent", &verdict.permanent)?;
        line.serialize_field("remedy", verdict.remedy.name())?;
        line.serialize_field("rule", &self.rule())?;
        line.end()
    }
}

pub(super) fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Bounce => "bounce",
        Kind::Delay => "delay",
        Kind::Delivered => "delivered",
        Kind::Complaint => "complaint",
        Kind::AutoReply => "auto_reply",
        Kind::None => "none",
    }
}

/// The action (RFC 3464 §2.3.3); a complaint is none.
pub(super) fn action(outcome: Outcome) -> Option<&'static str> {
    match outcome {
        Outcome::Delivered => Some("delivered"),
        Outcome::Deferred => Some("delayed"),
        Outcome::Failed | Outcome::Expired => Some("failed"),
        Outcome::Relayed => Some("relayed"),
        Outcome::Complaint | Outcome::AutoReply => None,
    }
}
