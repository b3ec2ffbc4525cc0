//! What became of the recipients of a delivery status (RFC 3464 §2.3.3, §2.3.4), and what a notification is by
//! that. A recipient of whom nothing tells has no outcome.

use super::Kind;
use crate::mail::dsn::{Action, Diagnostic, Recipient, Report};
use crate::mail::event::Outcome;
use crate::mail::reply::ReplyCode;
use crate::mail::status::{Class, EnhancedStatus};
use std::cell::LazyCell;

/// What a notification is, by the worst that it says of any recipient.
pub(super) fn kind_of(report: &Report) -> Kind {
    let any = |outcomes: &[Outcome]| {
        let mut recipients = report.recipients.iter();
        recipients.any(|r| outcome(r).is_some_and(|o| outcomes.contains(&o)))
    };
    if any(&[Outcome::Failed, Outcome::Expired]) {
        Kind::Bounce
    } else if any(&[Outcome::Deferred]) {
        Kind::Delay
    } else if any(&[Outcome::Delivered, Outcome::Relayed]) {
        Kind::Delivered
    } else {
        Kind::None
    }
}

/// What became of a recipient. A failure is one of the mailbox only with a permanent status: Postfix
/// reports a message that grew too old as `failed` with the 4.x of its last attempt.
pub(super) fn outcome(recipient: &Recipient) -> Option<Outcome> {
    // Hardly ever needed.
    let reply = LazyCell::new(|| recipient.diagnostic.as_ref().map(Diagnostic::reply));
    let status = recipient.status.or_else(|| (*reply).as_ref()?.status);
    let class = status.map(EnhancedStatus::class);
    let is_transient = || (*reply).as_ref()?.code.map(ReplyCode::is_transient);
    match (recipient.action, class) {
        (Some(Action::Failed), Some(Class::Persistent)) => Some(Outcome::Expired),
        (Some(Action::Failed), None) if is_transient() == Some(true) => Some(Outcome::Expired),
        (Some(Action::Failed), _) | (None, Some(Class::Permanent)) => Some(Outcome::Failed),
        (Some(Action::Delayed), _) | (None, Some(Class::Persistent)) => Some(Outcome::Deferred),
        (Some(Action::Delivered), _) | (None, Some(Class::Success)) => Some(Outcome::Delivered),
        (Some(Action::Relayed | Action::Expanded), _) => Some(Outcome::Relayed),
        (None, None) => None,
    }
}
