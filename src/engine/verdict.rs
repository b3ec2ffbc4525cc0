//! The vocabulary of judgement: cause, scope, remedy, verdict.

use super::throttle::Kind;
use std::sync::Arc;
use std::time::Duration;

/// Gives a field-less enum its stable names (files, logs, store) and the list of its values.
macro_rules! named {
    ($(#[$outer:meta])* $type:ident { $($(#[$inner:meta])* $variant:ident = $name:literal),+ $(,)? }) => {
        $(#[$outer])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $type { $($(#[$inner])* $variant),+ }
        impl $type {
            /// Every value, in the order of their listing.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
            /// The stable name.
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
        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.name())
            }
        }
    };
}
pub(crate) use named;

named! {
    /// Why a delivery failed (ARCHITECTURE.md, Causes).
    Cause {
        /// There is no such mailbox (5.1.1, 5.1.0, 5.1.10).
        UserUnknown = "user_unknown",
        /// The address is malformed (5.1.3).
        BadAddressSyntax = "bad_address_syntax",
        /// The mailbox has moved and does not forward (5.1.6, 551).
        RecipientMoved = "recipient_moved",
        /// The mailbox exists and is closed (5.2.1).
        MailboxDisabled = "mailbox_disabled",
        /// The mailbox is over its quota (x.2.2).
        MailboxFull = "mailbox_full",
        /// The mailbox cannot be reached just now (4.2.0, 450).
        MailboxUnavailable = "mailbox_unavailable",
        /// The domain takes no mail or is not there (5.1.2, 5.4.4, null MX).
        DomainNotFound = "domain_not_found",
        /// The server does not handle the recipient's domain.
        RelayDenied = "relay_denied",
        /// We send faster than the provider accepts.
        RateLimited = "rate_limited",
        /// Too many recipients in a transaction (4.5.3).
        TooManyRecipients = "too_many_recipients",
        /// A first attempt is put off on principle.
        Greylisted = "greylisted",
        /// SPF, DKIM, DMARC, reverse DNS, TLS or SMTP AUTH failed.
        AuthFailed = "auth_failed",
        /// The sending address is on a list.
        Blocklisted = "blocklisted",
        /// The provider thinks ill of the sending address or domain.
        PoorReputation = "poor_reputation",
        /// The envelope sender is refused (5.1.7, 5.1.8).
        SenderRejected = "sender_rejected",
        /// A policy of the receiver forbids it (5.7.1).
        PolicyRejected = "policy_rejected",
        /// The content is refused as spam or malware (5.7.0, 5.6.x).
        ContentRejected = "content_rejected",
        /// The message breaks the standards (5.6.0).
        MalformedMessage = "malformed_message",
        /// The message is too large (5.3.4, 5.2.3, 552).
        MessageTooLarge = "message_too_large",
        /// The server is out of order or out of room (4.3.x, 421, 451).
        ServerUnavailable = "server_unavailable",
        /// The connection failed (4.4.1, 4.4.2).
        NetworkError = "network_error",
        /// The name servers did not answer (4.4.3).
        DnsFailure = "dns_failure",
        /// The mail goes round in a circle (5.4.6, 5.4.14).
        RoutingLoop = "routing_loop",
        /// The mail grew too old (4.4.7, 5.4.7).
        Expired = "expired",
        /// The two servers misunderstand each other (5.5.x).
        ProtocolError = "protocol_error",
        /// The recipient reported the mail as abuse.
        Complaint = "complaint",
        /// The recipient wants no more mail of this kind. People and lists say so; no reply ever means it.
        Unsubscribed = "unsubscribed",
        /// An automatic answer, no bounce.
        AutoReply = "auto_reply",
        /// It was delivered.
        Delivered = "delivered",
        /// It is late, and may still arrive.
        Delayed = "delayed",
        /// Nothing known fits.
        Unknown = "unknown",
    }
}

named! {
    /// Whose failure it is. Only [`Scope::Recipient`] and [`Scope::Domain`] may ever suppress.
    Scope {
        /// The mailbox addressed.
        Recipient = "recipient",
        /// The domain addressed.
        Domain = "domain",
        /// The message sent.
        Message = "message",
        /// We, who send.
        Sender = "sender",
        /// The server or its rules.
        Receiver = "receiver",
        /// What lies between.
        Network = "network",
        /// Nobody's: nothing failed.
        None = "none",
    }
}

named! {
    /// What should come of it.
    Remedy {
        /// Never mail this address again, if the evidence can be trusted.
        Suppress = "suppress",
        /// As before, but only after several strikes.
        SuppressIfRepeated = "suppress_if_repeated",
        /// Try again later.
        Retry = "retry",
        /// Hold the lane back.
        Throttle = "throttle",
        /// The operator must put something right with the sending side.
        FixSender = "fix_sender",
        /// The author must put something right with the message.
        FixMessage = "fix_message",
        /// Nothing to do.
        None = "none",
    }
}

impl Cause {
    /// Whose failure this is, as a rule of the house.
    #[must_use]
    pub fn scope(self) -> Scope {
        use Cause as C;
        match self {
            C::UserUnknown
            | C::BadAddressSyntax
            | C::RecipientMoved
            | C::MailboxDisabled
            | C::MailboxFull
            | C::MailboxUnavailable
            | C::Complaint
            | C::Unsubscribed => Scope::Recipient,
            C::DomainNotFound | C::RelayDenied => Scope::Domain,
            C::RateLimited
            | C::TooManyRecipients
            | C::AuthFailed
            | C::Blocklisted
            | C::PoorReputation
            | C::SenderRejected
            | C::ProtocolError => Scope::Sender,
            C::Greylisted | C::PolicyRejected | C::ServerUnavailable | C::RoutingLoop => Scope::Receiver,
            C::ContentRejected | C::MalformedMessage | C::MessageTooLarge => Scope::Message,
            C::NetworkError | C::DnsFailure | C::Expired => Scope::Network,
            C::AutoReply | C::Delivered | C::Delayed | C::Unknown => Scope::None,
        }
    }

    /// Whether a suppression for it is about one stream, where streams are told apart, and not about all mail.
    #[must_use]
    pub fn is_per_stream(self) -> bool {
        matches!(self, Self::Complaint | Self::Unsubscribed)
    }

    /// What should come of a failure of this cause. A temporary one never suppresses: it is retried,
    /// or its lane is throttled where the fault is ours.
    #[must_use]
    pub fn remedy(self, permanent: bool) -> Remedy {
        use Cause as C;
        match self {
            C::Complaint => Remedy::Suppress,
            C::UserUnknown
            | C::BadAddressSyntax
            | C::RecipientMoved
            | C::MailboxDisabled
            | C::DomainNotFound
                if permanent =>
            {
                Remedy::Suppress
            }
            C::MailboxFull => Remedy::SuppressIfRepeated,
            C::RelayDenied if permanent => Remedy::SuppressIfRepeated,
            C::RateLimited | C::TooManyRecipients => Remedy::Throttle,
            C::AuthFailed | C::Blocklisted | C::PoorReputation | C::SenderRejected | C::ProtocolError
                if permanent =>
            {
                Remedy::FixSender
            }
            C::AuthFailed | C::Blocklisted | C::PoorReputation => Remedy::Throttle,
            C::PolicyRejected | C::RoutingLoop if permanent => Remedy::FixSender,
            C::ContentRejected | C::MalformedMessage | C::MessageTooLarge => Remedy::FixMessage,
            C::Unsubscribed | C::AutoReply | C::Delivered | C::Delayed | C::Unknown => Remedy::None,
            _ => Remedy::Retry,
        }
    }
}

/// The judgement of one reply: what it means and which rule said so.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// Why it failed.
    pub cause: Cause,
    /// Which kind of the cause: `spf`, `dkim`, `dmarc`, `ptr`, `tls`, `smtp_auth`, or the list's name.
    pub sub_cause: Option<Arc<str>>,
    /// Whose failure it is.
    pub scope: Scope,
    /// Whether trying again is useless.
    pub permanent: bool,
    /// What should come of it.
    pub remedy: Remedy,
    /// The id of the rule that said so (`google.user-unknown`, `status.5.1.1`, `code.550`).
    pub rule: Arc<str>,
    /// How long the lane should rest, where the remedy is [`Remedy::Throttle`] and the rule knows.
    pub hold: Option<Duration>,
    /// What of the lane it lowers, where the remedy is [`Remedy::Throttle`] and the rule says so; otherwise it
    /// follows from the cause.
    pub throttle: Option<Kind>,
    /// One sentence on what to put right, where the rule has one.
    pub advice: Option<Arc<str>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first rule of the house, as a table over every cause.
    #[test]
    fn only_recipient_and_domain_scopes_ever_suppress() {
        for &cause in Cause::ALL {
            for permanent in [false, true] {
                let remedy = cause.remedy(permanent);
                if matches!(remedy, Remedy::Suppress | Remedy::SuppressIfRepeated) {
                    assert!(
                        matches!(cause.scope(), Scope::Recipient | Scope::Domain),
                        "{cause}"
                    );
                }
                if remedy == Remedy::Suppress {
                    assert!(
                        permanent || cause == Cause::Complaint,
                        "{cause} suppresses on a 4xx"
                    );
                }
            }
        }
    }

    #[test]
    fn names_lead_back_to_their_values() {
        for &cause in Cause::ALL {
            assert_eq!(Cause::from_name(cause.name()), Some(cause));
        }
    }
}
