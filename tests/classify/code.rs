//! Codes and statuses where the text tells nothing, and the codes that other lists of them give.

use crate::rules;
use nixie::engine::classify::classify;
use nixie::engine::verdict::Cause;
use nixie::mail::reply::Reply;

/// Every code of the registry "SMTP Enhanced Status Codes" (RFC 3463, 4954, 5248, 6531, 6710, 7293, 7372,
/// 7504, 7505, 8601, 8617, 8689), with the cause that its registered meaning has. `4` and `5` alike.
const REGISTERED: &[(&str, Cause)] = {
    use Cause as C;
    &[
        ("1.0", C::UserUnknown),
        ("1.1", C::UserUnknown),
        ("1.2", C::DomainNotFound),
        ("1.3", C::BadAddressSyntax),
        ("1.4", C::UserUnknown),
        ("1.6", C::RecipientMoved),
        ("1.7", C::SenderRejected),
        ("1.8", C::SenderRejected),
        ("1.9", C::SenderRejected),
        ("1.10", C::DomainNotFound),
        ("2.0", C::MailboxUnavailable),
        ("2.1", C::MailboxDisabled),
        ("2.2", C::MailboxFull),
        ("2.3", C::MessageTooLarge),
        ("2.4", C::MailboxUnavailable),
        ("3.0", C::ServerUnavailable),
        ("3.1", C::ServerUnavailable),
        ("3.2", C::ServerUnavailable),
        ("3.3", C::ProtocolError),
        ("3.4", C::MessageTooLarge),
        ("3.5", C::ServerUnavailable),
        ("3.6", C::ProtocolError),
        ("4.0", C::NetworkError),
        ("4.2", C::NetworkError),
        ("4.3", C::DnsFailure),
        ("4.4", C::DomainNotFound),
        ("4.5", C::NetworkError),
        ("4.6", C::RoutingLoop),
        ("4.7", C::Expired),
        ("5.0", C::ProtocolError),
        ("5.1", C::ProtocolError),
        ("5.2", C::ProtocolError),
        ("5.3", C::TooManyRecipients),
        ("5.4", C::ProtocolError),
        ("5.5", C::ProtocolError),
        ("5.6", C::ProtocolError),
        ("6.0", C::MalformedMessage),
        ("6.1", C::MalformedMessage),
        ("6.2", C::MalformedMessage),
        ("6.3", C::MalformedMessage),
        ("6.4", C::MalformedMessage),
        ("6.5", C::MalformedMessage),
        ("6.6", C::MalformedMessage),
        ("6.7", C::MalformedMessage),
        ("6.8", C::MalformedMessage),
        ("6.9", C::MalformedMessage),
        ("6.10", C::MalformedMessage),
        ("7.2", C::PolicyRejected),
        ("7.3", C::PolicyRejected),
        ("7.4", C::PolicyRejected),
        ("7.5", C::AuthFailed),
        ("7.6", C::AuthFailed),
        ("7.7", C::ContentRejected),
        ("7.8", C::AuthFailed),
        ("7.9", C::AuthFailed),
        ("7.10", C::PolicyRejected),
        ("7.11", C::AuthFailed),
        ("7.12", C::AuthFailed),
        ("7.13", C::AuthFailed),
        ("7.14", C::AuthFailed),
        ("7.15", C::PolicyRejected),
        ("7.16", C::PolicyRejected),
        ("7.17", C::RecipientMoved),
        ("7.18", C::RecipientMoved),
        ("7.19", C::PolicyRejected),
        ("7.20", C::AuthFailed),
        ("7.21", C::AuthFailed),
        ("7.22", C::AuthFailed),
        ("7.23", C::AuthFailed),
        ("7.24", C::AuthFailed),
        ("7.25", C::AuthFailed),
        ("7.26", C::AuthFailed),
        ("7.27", C::SenderRejected),
        ("7.28", C::RateLimited),
        ("7.29", C::AuthFailed),
        ("7.30", C::PolicyRejected),
    ]
};

/// The class matters for these: Postfix and Microsoft say 5.4.1 of an address, and what is put off for
/// policy is greylisting or a rate.
const BY_CLASS: &[(&str, Cause)] = &[
    ("5.4.1", Cause::RelayDenied),
    ("4.4.1", Cause::NetworkError),
    ("5.7.0", Cause::PolicyRejected),
    ("4.7.0", Cause::RateLimited),
    ("5.7.1", Cause::PolicyRejected),
    ("4.7.1", Cause::Greylisted),
];

fn cause(text: &str) -> Cause {
    classify(rules(), &Reply::parse(text), None, None).cause
}

#[test]
fn every_registered_status_has_its_cause() {
    for (status, expected) in REGISTERED {
        assert_eq!(cause(&format!("550 5.{status} -")), *expected, "5.{status}");
        assert_eq!(cause(&format!("450 4.{status} -")), *expected, "4.{status}");
    }
    for (status, expected) in BY_CLASS {
        let code = if status.starts_with('5') { 550 } else { 450 };
        assert_eq!(cause(&format!("{code} {status} -")), *expected, "{status}");
    }
    assert_eq!(cause("250 2.1.5 -"), Cause::Delivered);
}

/// A detail that no registry knows means what x.y.0 does, but condemns nobody at once.
#[test]
fn unregistered_details_mean_what_their_subject_does() {
    for subject in 1..=7 {
        let text = format!("550 5.{subject}.99 -");
        let verdict = classify(rules(), &Reply::parse(&text), None, None);
        assert_ne!(verdict.cause, Cause::Unknown, "{text}");
        assert_ne!(verdict.remedy, nixie::engine::verdict::Remedy::Suppress, "{text}");
    }
}
