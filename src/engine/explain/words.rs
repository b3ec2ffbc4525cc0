//! What judgement means, in sentences for people: causes, kinds of causes, scopes, and what comes of them.

use crate::engine::decide::Policy;
use crate::engine::throttle::Kind;
use crate::engine::verdict::{Cause, Remedy, Scope, Verdict};
use std::fmt::Write as _;
use std::time::Duration;

/// What a cause means.
#[must_use]
pub fn cause(cause: Cause) -> &'static str {
    match cause {
        Cause::UserUnknown => "There is no such mailbox.",
        Cause::BadAddressSyntax => "The address is malformed.",
        Cause::RecipientMoved => "The mailbox has moved and does not forward.",
        Cause::MailboxDisabled => "The mailbox exists and is closed.",
        Cause::MailboxFull => "The mailbox is over its quota.",
        Cause::MailboxUnavailable => "The mailbox cannot be reached just now.",
        Cause::DomainNotFound => "The domain is not there, or takes no mail.",
        Cause::RelayDenied => "The server does not take mail for the recipient's domain.",
        Cause::RateLimited => "We send faster, or more, than the provider accepts.",
        Cause::TooManyRecipients => "The message has too many recipients at once.",
        Cause::Greylisted => "The server puts off first attempts on principle, and takes a later one.",
        Cause::AuthFailed => "The sender could not be authenticated.",
        Cause::Blocklisted => "The sending address or domain is on a blocklist.",
        Cause::PoorReputation => "The provider thinks ill of the sending address or domain.",
        Cause::SenderRejected => "The envelope sender is refused.",
        Cause::PolicyRejected => "A policy of the receiver forbids it.",
        Cause::ContentRejected => "The content is refused as spam or malware.",
        Cause::MalformedMessage => "The message breaks the standards.",
        Cause::MessageTooLarge => "The message is too large.",
        Cause::ServerUnavailable => "The server is out of order, busy or out of room.",
        Cause::NetworkError => "The connection failed.",
        Cause::DnsFailure => "The name servers did not answer.",
        Cause::RoutingLoop => "The mail goes round in a circle.",
        Cause::Expired => "The mail grew too old before anybody took it.",
        Cause::ProtocolError => "The two servers misunderstand each other.",
        Cause::Complaint => "The recipient reported the mail as abuse.",
        Cause::Unsubscribed => "The recipient wants no more mail of this kind.",
        Cause::AutoReply => "An automatic answer, which is no bounce.",
        Cause::Delivered => "It was delivered.",
        Cause::Delayed => "It is late, and may still arrive.",
        Cause::Unknown => "Nothing known fits: it says no more than that it failed.",
    }
}

/// The kinds of causes, and what each means. Any other is the name of a blocklist.
pub const SUB_CAUSES: &[(&str, &str)] = &[
    (
        "spf",
        "SPF does not allow this host to send for the sender's domain.",
    ),
    ("dkim", "A DKIM signature is missing or does not verify."),
    (
        "dmarc",
        "Neither SPF nor DKIM stands for the domain in From, and its DMARC policy forbids that.",
    ),
    (
        "ptr",
        "The sending address has no reverse DNS name that leads back to it.",
    ),
    ("tls", "The server takes mail over TLS only."),
    ("smtp_auth", "The server wants a login, or refuses ours."),
];

/// What a kind of a cause means.
#[must_use]
pub fn sub_cause(of: Cause, name: &str) -> Option<String> {
    let known = SUB_CAUSES.iter().find(|(known, _)| *known == name);
    match known {
        Some((_, meaning)) => Some((*meaning).to_owned()),
        None if of == Cause::Blocklisted => Some(format!("The list is {name}.")),
        None => None,
    }
}

/// Whose failure it is.
#[must_use]
pub fn fault(scope: Scope) -> &'static str {
    match scope {
        Scope::Recipient => "the recipient's: this address alone",
        Scope::Domain => "the recipient's domain's",
        Scope::Message => "the message's",
        Scope::Sender => "ours, who send",
        Scope::Receiver => "the receiving server's, or its rules'",
        Scope::Network => "the network's, between the servers",
        Scope::None => "nobody's that could be told",
    }
}

/// What Nixie does on such a failure, when it comes from a real delivery.
#[must_use]
pub fn action(verdict: &Verdict, policy: &Policy, lane: &str) -> String {
    let limits = policy.limits;
    let strikes = matches!(verdict.remedy, Remedy::Suppress | Remedy::SuppressIfRepeated);
    match (verdict.remedy, verdict.scope) {
        (_, Scope::Recipient | Scope::Domain) if strikes => suppression(verdict, policy),
        (Remedy::Suppress | Remedy::SuppressIfRepeated, _) => {
            "Nothing: only a recipient's or a domain's own fault suppresses.".to_owned()
        }
        (Remedy::Throttle, _) if !verdict.permanent => {
            let named = verdict.hold.map(|hold| hold.min(limits.max_hold));
            let hold = match (named, verdict.throttle.unwrap_or_else(|| Kind::of(verdict.cause))) {
                (_, Kind::PerConnection) => {
                    return "Nothing: Postfix reconnects by itself. Suppresses nobody.".to_owned();
                }
                (_, Kind::Concurrency) => {
                    return format!(
                        "Lets the lane {lane} open fewer connections at a time; its rate stays. Suppresses nobody."
                    );
                }
                (Some(hold), _) => hold,
                (None, Kind::Reputation) => limits.default_hold,
                (None, Kind::Rate) => {
                    return format!(
                        "Pauses the lane {lane} for a moment, and goes on just below the pace that was \
                         accepted. Suppresses nobody."
                    );
                }
            };
            format!(
                "Holds the lane {lane} for {}; twice as long each time it is said again before anything was \
                 delivered, up to {}. Suppresses nobody.",
                span(hold),
                span(limits.max_hold)
            )
        }
        (Remedy::Retry, _) if !verdict.permanent => {
            "Nothing: Postfix tries again by itself. Suppresses nobody.".to_owned()
        }
        (Remedy::FixSender | Remedy::FixMessage, _) => {
            "Suppresses nobody: the next message to the address is let through. Shows the cause to you."
                .to_owned()
        }
        (Remedy::Throttle | Remedy::Retry | Remedy::None, _) => "Nothing. Suppresses nobody.".to_owned(),
    }
}

/// Whom a fault of a recipient or a domain suppresses, and when.
fn suppression(verdict: &Verdict, policy: &Policy) -> String {
    if !verdict.permanent {
        return "Nothing: Postfix tries again by itself. Suppresses nobody.".to_owned();
    }
    let Some(term) = policy.terms.of(verdict.cause) else {
        return "Nothing. Suppresses nobody.".to_owned();
    };
    let mut text = match term.needed(verdict.remedy != Remedy::Suppress) {
        1 => "Suppresses the address at once".to_owned(),
        n => {
            let apart = match term.gap {
                gap if gap.is_zero() => String::new(),
                gap => format!(", at least {} apart", span(gap.unsigned_abs())),
            };
            let window = span(term.window.unsigned_abs());
            format!(
                "A strike against the address: {n} of them, on {n} days within {window}{apart}, suppress it"
            )
        }
    };
    text.push_str(
        ", if the failure is proven: by our own MTA's log, or by a bounce about a message that was seen to leave for \
         it; and not while its provider refuses far more recipients than ever.",
    );
    if verdict.cause == Cause::DomainNotFound {
        let n = policy.terms.domain().strikes;
        let _ = write!(
            text,
            " {n}, on {n} days, from whatever addresses, suppress the whole domain."
        );
    }
    text.push_str(&match term.expiry.map(|expiry| span(expiry.unsigned_abs())) {
        Some(expiry) if term.doubling => {
            format!(" For {expiry}, and twice as long each time; a delivery lifts it.")
        }
        Some(expiry) => format!(" For {expiry}; a delivery lifts it."),
        None => " Until somebody lifts it.".to_owned(),
    });
    text
}

/// What is left for the operator to do, where the rule says nothing of its own.
#[must_use]
pub fn advice(cause: Cause, sub_cause: Option<&str>) -> &'static str {
    let of_kind = sub_cause.and_then(|name| match name {
        "spf" => Some("Publish an SPF record for the envelope sender's domain that names this egress."),
        "dkim" => Some("Sign every message with DKIM, and check that the public key is in DNS."),
        "dmarc" => {
            Some("Let SPF or DKIM pass for the very domain in From, or an organisational relative of it.")
        }
        "ptr" => Some("Give the sending address a PTR record whose name leads back to the address."),
        "tls" => Some("Offer TLS to this server (smtp_tls_security_level = may, at least)."),
        "smtp_auth" => Some("Check the login that Postfix uses at this server (smtp_sasl_password_maps)."),
        _ => None,
    });
    of_kind.unwrap_or(match cause {
        Cause::UserUnknown | Cause::RecipientMoved | Cause::MailboxDisabled | Cause::BadAddressSyntax => {
            "Take the address off your lists; where a person gave it, ask for another."
        }
        Cause::MailboxFull | Cause::MailboxUnavailable => "Nothing now; the mailbox may take mail again.",
        Cause::DomainNotFound => {
            "Look for a mistyped domain; where it has lapsed, take its addresses off your lists."
        }
        Cause::RelayDenied => "Look for a mistyped domain, or an MX record that leads to a wrong server.",
        Cause::RateLimited => {
            "Nothing now; if it goes on, send more slowly or warm the address up over days."
        }
        Cause::TooManyRecipients => "Put fewer recipients into a message (smtp_destination_recipient_limit).",
        Cause::Greylisted => "Nothing: the next attempts will be taken. Always send from the same address.",
        Cause::AuthFailed => "Check SPF, DKIM, DMARC and reverse DNS of the sending domain and address.",
        Cause::Blocklisted => {
            "Find out why the list has the address, put that right, then ask to be taken off."
        }
        Cause::PoorReputation => {
            "Send less, only to those who asked for it, and register with the provider's feedback."
        }
        Cause::SenderRejected => "Check that the envelope sender exists and that its domain takes mail.",
        Cause::PolicyRejected => {
            "Read what the reply says; ask the receiver's postmaster if it says too little."
        }
        Cause::ContentRejected => {
            "Look at what the message says and links to; test it against a spam filter."
        }
        Cause::MalformedMessage => "Let the program that writes the message follow RFC 5322 and MIME.",
        Cause::MessageTooLarge => "Send a link instead of the attachment.",
        Cause::ServerUnavailable | Cause::NetworkError | Cause::Expired => {
            "Nothing, if it passes; otherwise see whether it is one receiver or your own network."
        }
        Cause::DnsFailure => "Nothing, if it passes; otherwise check your resolver.",
        Cause::RoutingLoop => "Check the MX records and forwardings on the way, your own first.",
        Cause::ProtocolError => {
            "Check what stands between Postfix and the server: a firewall that meddles with SMTP?"
        }
        Cause::Complaint => "Stop mailing the address, and make it easier to unsubscribe.",
        Cause::Unsubscribed | Cause::AutoReply | Cause::Delivered | Cause::Delayed => "Nothing.",
        Cause::Unknown => "Read the reply; write a rule for it if it comes often (config/rules shows how).",
    })
}

/// A time in words: `30 minutes`, `24 hours`, `30 days`, `90 seconds`.
#[must_use]
pub fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    let (count, unit) = match seconds {
        s if s > 86_400 && s % 86_400 == 0 => (s / 86_400, "day"),
        s if s >= 3600 && s % 3600 == 0 => (s / 3600, "hour"),
        s if s >= 60 && s % 60 == 0 => (s / 60, "minute"),
        s => (s, "second"),
    };
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{plural}")
}

/// What a verdict means that no rule gave: the id, and why.
#[must_use]
pub fn guard(id: &str) -> Option<&'static str> {
    Some(match id {
        "none" => "No rule fits.",
        "guard.session" => {
            "The reply answered the connection, not a recipient: it is about us, whatever it says."
        }
        "guard.sender" => "The reply answered MAIL FROM: it is about the sender, whatever it says.",
        "guard.message" => "The reply answered the message and names no address: it condemns no recipient.",
        "guard.other-recipient" => "The reply answered the message and names another address.",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_its_sentences() {
        for &known in Cause::ALL {
            assert!(
                cause(known).ends_with('.') && advice(known, None).ends_with(['.', '?']),
                "{known}"
            );
        }
        assert_eq!(
            sub_cause(Cause::Blocklisted, "spamhaus").as_deref(),
            Some("The list is spamhaus.")
        );
        assert_eq!(sub_cause(Cause::AuthFailed, "else"), None);
    }

    #[test]
    fn times_are_put_into_words() {
        for (seconds, words) in [
            (1, "1 second"),
            (90, "90 seconds"),
            (1800, "30 minutes"),
            (3600, "1 hour"),
            (5400, "90 minutes"),
            (86_400, "24 hours"),
            (172_800, "2 days"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), words);
        }
    }
}
