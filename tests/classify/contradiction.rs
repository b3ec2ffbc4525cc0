//! Replies that contradict themselves: which number counts for what (see `engine::classify`).

use crate::rules;
use nixie::engine::classify::{Phase, classify, classify_in};
use nixie::engine::verdict::{Cause, Remedy};
use nixie::mail::reply::Reply;

/// Postfix reports a 5xx greeting as 4.x: it goes on trying, and the refusal is of us.
#[test]
fn a_refused_connection_is_about_us() {
    let rules = rules();
    let reply = Reply::parse(
        "554 5.7.1 Your access to this mail system has been rejected due to the sending MTA's poor reputation.",
    );
    let verdict = classify(rules, &reply, "4.7.1".parse().ok(), None);
    assert_eq!(
        (verdict.cause, verdict.permanent, verdict.remedy),
        (Cause::PoorReputation, false, Remedy::Throttle)
    );
    let bare = classify(
        rules,
        &Reply::parse("550 5.1.1 no such user"),
        "4.0.0".parse().ok(),
        None,
    );
    assert_eq!((bare.cause, bare.remedy), (Cause::PolicyRejected, Remedy::Retry));
}

/// Code and status, the reporter's status, the phase; then cause, permanence and remedy.
#[test]
fn contradicting_numbers_are_resolved_as_stated() {
    use Cause as C;
    use Remedy as R;
    let table = [
        // agreement
        (
            "550 5.1.1 no such user",
            "",
            Phase::Recipient,
            C::UserUnknown,
            true,
            R::Suppress,
        ),
        (
            "450 4.1.1 no such user",
            "",
            Phase::Recipient,
            C::UserUnknown,
            false,
            R::Retry,
        ),
        (
            "550 5.1.1 no such user",
            "5.1.1",
            Phase::Recipient,
            C::UserUnknown,
            true,
            R::Suppress,
        ),
        // nothing of a recipient's is permanent while either number says that it is not
        (
            "550 4.1.1 no such user",
            "",
            Phase::Recipient,
            C::UserUnknown,
            false,
            R::Retry,
        ),
        (
            "450 5.1.1 no such user",
            "",
            Phase::Recipient,
            C::UserUnknown,
            false,
            R::Retry,
        ),
        (
            "550 4.2.1 account closed",
            "",
            Phase::Recipient,
            C::MailboxDisabled,
            false,
            R::Retry,
        ),
        (
            "450 5.2.1 account closed",
            "",
            Phase::Recipient,
            C::MailboxDisabled,
            false,
            R::Retry,
        ),
        (
            "550 5.1.1 no such user",
            "4.0.0",
            Phase::Recipient,
            C::UserUnknown,
            false,
            R::Retry,
        ),
        // a full mailbox adds up either way
        (
            "550 4.2.2 mailbox full",
            "",
            Phase::Recipient,
            C::MailboxFull,
            false,
            R::SuppressIfRepeated,
        ),
        (
            "452 5.2.2 mailbox full",
            "",
            Phase::Recipient,
            C::MailboxFull,
            false,
            R::SuppressIfRepeated,
        ),
        // of us, the three digits decide: the MTA acts on them
        (
            "550 4.7.1 rejected by policy",
            "",
            Phase::Unknown,
            C::PolicyRejected,
            true,
            R::FixSender,
        ),
        (
            "450 5.7.1 rejected by policy",
            "",
            Phase::Unknown,
            C::PolicyRejected,
            false,
            R::Retry,
        ),
        (
            "554 4.7.1 blocked using zen.spamhaus.org",
            "",
            Phase::Unknown,
            C::Blocklisted,
            true,
            R::FixSender,
        ),
        (
            "421 5.7.1 blocked using zen.spamhaus.org",
            "",
            Phase::Unknown,
            C::Blocklisted,
            false,
            R::Throttle,
        ),
        (
            "552 4.3.4 message too large",
            "",
            Phase::Unknown,
            C::MessageTooLarge,
            true,
            R::FixMessage,
        ),
        // what the MTA goes on trying is not permanent, and a refused session is about us
        (
            "554 5.7.1 go away",
            "4.0.0",
            Phase::Unknown,
            C::PolicyRejected,
            false,
            R::Retry,
        ),
        (
            "550 5.1.1 no such user",
            "4.0.0",
            Phase::Unknown,
            C::PolicyRejected,
            false,
            R::Retry,
        ),
        (
            "554 no such user",
            "",
            Phase::Session,
            C::PolicyRejected,
            false,
            R::Retry,
        ),
        // the reporter's status fills a gap, unless the digits gainsay it
        (
            "550 -",
            "5.1.1",
            Phase::Recipient,
            C::UserUnknown,
            true,
            R::Suppress,
        ),
        (
            "450 -",
            "5.1.1",
            Phase::Recipient,
            C::MailboxUnavailable,
            false,
            R::Retry,
        ),
        ("-", "5.1.1", Phase::Recipient, C::UserUnknown, true, R::Suppress),
        (
            "550 5.2.2 -",
            "5.1.1",
            Phase::Recipient,
            C::MailboxFull,
            true,
            R::SuppressIfRepeated,
        ),
        // words outrank numbers
        (
            "550 5.1.1 mailbox full",
            "",
            Phase::Recipient,
            C::MailboxFull,
            true,
            R::SuppressIfRepeated,
        ),
        (
            "552 5.2.2 no such user",
            "",
            Phase::Recipient,
            C::UserUnknown,
            true,
            R::Suppress,
        ),
        (
            "550 5.7.1 no such user",
            "",
            Phase::Recipient,
            C::UserUnknown,
            true,
            R::Suppress,
        ),
        (
            "550 5.1.1 5.7.1 listed at bl.example.org",
            "",
            Phase::Recipient,
            C::Blocklisted,
            true,
            R::FixSender,
        ),
        // a quoted reply outranks the words around it
        (
            "rejected by the server. It said: 450 4.2.2 mailbox full",
            "5.0.0",
            Phase::Unknown,
            C::MailboxFull,
            false,
            R::SuppressIfRepeated,
        ),
        // classes that mean nothing in a refusal
        (
            "550 2.1.5 no such user",
            "",
            Phase::Recipient,
            C::UserUnknown,
            true,
            R::Suppress,
        ),
    ];
    for (text, reported, phase, cause, permanent, remedy) in table {
        let reply = Reply::parse(text);
        let verdict = match phase {
            Phase::Unknown => classify(rules(), &reply, reported.parse().ok(), None),
            phase => classify_in(rules(), &reply, reported.parse().ok(), None, phase),
        };
        assert_eq!(
            (verdict.cause, verdict.permanent, verdict.remedy),
            (cause, permanent, remedy),
            "{text} ({reported}, {phase:?}): {}",
            verdict.rule
        );
    }
}
