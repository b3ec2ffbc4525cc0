//! What enhanced status codes mean by the standards: RFC 3463 and all that the IANA registry "Simple Mail
//! Transfer Protocol (SMTP) Enhanced Status Codes" adds to it.
//!
//! What a server means by one may be something else: the rules of `config/rules` know of that. A code that
//! is not registered has the meaning of its class and of its subject.

use super::{Class, EnhancedStatus};

/// What the standards say of a subject and detail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Enumerated {
    /// The subject.
    pub subject: u16,
    /// The detail.
    pub detail: u16,
    /// Its name in the registry.
    pub name: &'static str,
    /// What it means, in a sentence.
    pub meaning: &'static str,
    /// The RFC that says so.
    pub source: &'static str,
}

impl EnhancedStatus {
    /// The entry of the registry; `None` for a code that is not registered.
    #[must_use]
    pub fn enumerated(self) -> Option<&'static Enumerated> {
        let key = (self.subject(), self.detail());
        let found = REGISTRY.binary_search_by_key(&key, |entry| (entry.subject, entry.detail));
        found.ok().map(|index| &REGISTRY[index])
    }
}

impl Class {
    /// What the class says (RFC 3463 §3.1).
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Persistent => "persistent transient failure: a later attempt may succeed",
            Self::Permanent => "permanent failure: the same attempt will fail again",
        }
    }
}

/// What a subject is about (RFC 3463 §3.2); `None` where the standard knows none.
#[must_use]
pub fn subject(subject: u16) -> Option<&'static str> {
    Some(match subject {
        0 => "other or undefined",
        1 => "addressing",
        2 => "mailbox",
        3 => "mail system",
        4 => "network and routing",
        5 => "mail delivery protocol",
        6 => "message content or media",
        7 => "security or policy",
        _ => return None,
    })
}

const fn entry(
    subject: u16,
    detail: u16,
    name: &'static str,
    meaning: &'static str,
    source: &'static str,
) -> Enumerated {
    Enumerated {
        subject,
        detail,
        name,
        meaning,
        source,
    }
}

/// The registry, in the order of its numbers.
#[rustfmt::skip]
pub const REGISTRY: &[Enumerated] = &[
    entry(0, 0, "Other undefined status", "Nothing is said but the class.", "RFC 3463"),
    entry(1, 0, "Other address status", "Something about the address brought it about.", "RFC 3463"),
    entry(1, 1, "Bad destination mailbox address", "The mailbox does not exist: what stands left of the @ is wrong.", "RFC 3463"),
    entry(1, 2, "Bad destination system address", "The domain does not exist or takes no mail: what stands right of the @ is wrong.", "RFC 3463"),
    entry(1, 3, "Bad destination mailbox address syntax", "The address is not well formed.", "RFC 3463"),
    entry(1, 4, "Destination mailbox address ambiguous", "The address fits several mailboxes.", "RFC 3463"),
    entry(1, 5, "Destination address valid", "The address is right; for positive reports.", "RFC 3463"),
    entry(1, 6, "Destination mailbox has moved, no forwarding address", "The mailbox was there and is no longer, and mail is not forwarded.", "RFC 3463"),
    entry(1, 7, "Bad sender's mailbox address syntax", "The sender's address is not well formed.", "RFC 3463"),
    entry(1, 8, "Bad sender's system address", "The sender's domain does not exist or accepts no replies.", "RFC 3463"),
    entry(1, 9, "Message relayed to non-compliant mailer", "Handed on to a system that sends no reports in a standard form.", "RFC 3886"),
    entry(1, 10, "Recipient address has null MX", "The recipient's domain declares that it takes no mail.", "RFC 7505"),
    entry(2, 0, "Other or undefined mailbox status", "The mailbox exists, and something about it brought this about.", "RFC 3463"),
    entry(2, 1, "Mailbox disabled, not accepting messages", "The mailbox exists and takes no mail, for good or for a while.", "RFC 3463"),
    entry(2, 2, "Mailbox full", "The mailbox is over its quota.", "RFC 3463"),
    entry(2, 3, "Message length exceeds administrative limit", "The message is larger than this mailbox takes, be it full or not.", "RFC 3463"),
    entry(2, 4, "Mailing list expansion problem", "The address is a mailing list that could not be expanded.", "RFC 3463"),
    entry(3, 0, "Other or undefined mail system status", "The system exists, and something about it brought this about.", "RFC 3463"),
    entry(3, 1, "Mail system full", "The system's storage is full, for all mailboxes.", "RFC 3463"),
    entry(3, 2, "System not accepting network messages", "The host takes no mail now: a shutdown, load, maintenance.", "RFC 3463"),
    entry(3, 3, "System not capable of selected features", "The system cannot do what the message asks for.", "RFC 3463"),
    entry(3, 4, "Message too big for system", "The message is larger than the system takes, whoever it is for.", "RFC 3463"),
    entry(3, 5, "System incorrectly configured", "The system's configuration keeps it from taking the message.", "RFC 3463"),
    entry(3, 6, "Requested priority was changed", "The message was taken with another priority than it asked for.", "RFC 6710"),
    entry(4, 0, "Other or undefined network or routing status", "Something about the network brought it about.", "RFC 3463"),
    entry(4, 1, "No answer from host", "The host did not answer when it was called.", "RFC 3463"),
    entry(4, 2, "Bad connection", "The connection came about and broke.", "RFC 3463"),
    entry(4, 3, "Directory server failure", "A directory that routing needs, such as DNS, did not answer.", "RFC 3463"),
    entry(4, 4, "Unable to route", "No way to the next host is known: a domain without mail exchanger.", "RFC 3463"),
    entry(4, 5, "Mail system congestion", "The system is too busy.", "RFC 3463"),
    entry(4, 6, "Routing loop detected", "The message passed too many hosts: it goes round in a circle.", "RFC 3463"),
    entry(4, 7, "Delivery time expired", "The message waited too long and was given up.", "RFC 3463"),
    entry(5, 0, "Other or undefined protocol status", "Something about the protocol brought it about.", "RFC 3463"),
    entry(5, 1, "Invalid command", "A command came out of order or is not supported.", "RFC 3463"),
    entry(5, 2, "Syntax error", "A command could not be read.", "RFC 3463"),
    entry(5, 3, "Too many recipients", "The transaction has more recipients than the server takes at once.", "RFC 3463"),
    entry(5, 4, "Invalid command arguments", "A command has arguments that are wrong or out of range.", "RFC 3463"),
    entry(5, 5, "Wrong protocol version", "The two servers speak different versions of the protocol.", "RFC 3463"),
    entry(5, 6, "Authentication exchange line is too long", "The client's answer in AUTH was too long.", "RFC 4954"),
    entry(6, 0, "Other or undefined media error", "Something about the content brought it about.", "RFC 3463"),
    entry(6, 1, "Media not supported", "The content is of a type that is not taken.", "RFC 3463"),
    entry(6, 2, "Conversion required and prohibited", "The content must be converted on the way, and may not be.", "RFC 3463"),
    entry(6, 3, "Conversion required but not supported", "The content must be converted on the way, and cannot be.", "RFC 3463"),
    entry(6, 4, "Conversion with loss performed", "The content was converted and lost something.", "RFC 3463"),
    entry(6, 5, "Conversion failed", "The content was to be converted, and that failed.", "RFC 3463"),
    entry(6, 6, "Message content not available", "The content that BURL or CATENATE refers to could not be fetched.", "RFC 4468"),
    entry(6, 7, "Non-ASCII addresses not permitted", "An address beyond ASCII is not allowed for this sender or recipient.", "RFC 6531"),
    entry(6, 8, "UTF-8 string reply is required, but not permitted", "The reply would need UTF-8, which the client did not allow.", "RFC 6531"),
    entry(6, 9, "UTF-8 header message cannot be transferred", "The message has a header beyond ASCII, which a recipient's system cannot take.", "RFC 6531"),
    entry(6, 10, "Deprecated duplicate of X.6.8", "The same as X.6.8; no longer to be used.", "RFC 6531"),
    entry(7, 0, "Other or undefined security status", "Something about security or policy brought it about.", "RFC 3463"),
    entry(7, 1, "Delivery not authorized, message refused", "The sender may not send to this recipient: a policy, a filter, a relay that is closed.", "RFC 3463"),
    entry(7, 2, "Mailing list expansion prohibited", "The sender may not write to this mailing list.", "RFC 3463"),
    entry(7, 3, "Security conversion required but not possible", "One security protocol had to be turned into another, and could not be.", "RFC 3463"),
    entry(7, 4, "Security features not supported", "The message asks for security that the system cannot give.", "RFC 3463"),
    entry(7, 5, "Cryptographic failure", "Something could not be decrypted or verified for want of a key or the like.", "RFC 3463"),
    entry(7, 6, "Cryptographic algorithm not supported", "The algorithm is not known.", "RFC 3463"),
    entry(7, 7, "Message integrity failure", "The message was altered on the way, or a check says so.", "RFC 3463"),
    entry(7, 8, "Authentication credentials invalid", "The user name or password of the login is wrong.", "RFC 4954"),
    entry(7, 9, "Authentication mechanism is too weak", "The server asks for a stronger login than that.", "RFC 4954"),
    entry(7, 10, "Encryption needed", "The server takes mail over TLS only.", "RFC 5248"),
    entry(7, 11, "Encryption required for requested authentication mechanism", "This login is possible over TLS only.", "RFC 4954"),
    entry(7, 12, "A password transition is needed", "The user must log in once by another mechanism, or set a new password.", "RFC 4954"),
    entry(7, 13, "User account disabled", "The account is closed, by the administrator or by its user.", "RFC 5248"),
    entry(7, 14, "Trust relationship required", "The two systems need an agreement that they do not have.", "RFC 5248"),
    entry(7, 15, "Priority level is too low", "Messages of so low a priority are not taken now.", "RFC 6710"),
    entry(7, 16, "Message is too big for the specified priority", "Messages of that size are not taken with that priority.", "RFC 6710"),
    entry(7, 17, "Mailbox owner has changed", "The mailbox belongs to somebody else than when the sender knew it.", "RFC 7293"),
    entry(7, 18, "Domain owner has changed", "The domain belongs to somebody else than when the sender knew it.", "RFC 7293"),
    entry(7, 19, "RRVS test cannot be completed", "Since when the mailbox has belonged to its owner cannot be told.", "RFC 7293"),
    entry(7, 20, "No passing DKIM signature found", "The message has no DKIM signature that verifies.", "RFC 7372"),
    entry(7, 21, "No acceptable DKIM signature found", "There are DKIM signatures that verify, but none that the server accepts.", "RFC 7372"),
    entry(7, 22, "No valid author-matched DKIM signature found", "There are DKIM signatures that verify, but none of the author's domain.", "RFC 7372"),
    entry(7, 23, "SPF validation failed", "SPF says that this host may not send for the sender's domain.", "RFC 7372"),
    entry(7, 24, "SPF validation error", "SPF could not be evaluated: an error in DNS or in the record.", "RFC 7372"),
    entry(7, 25, "Reverse DNS validation failed", "The sending address has no name that leads back to it.", "RFC 7372"),
    entry(7, 26, "Multiple authentication checks failed", "More than one of SPF, DKIM, DMARC and the like failed.", "RFC 7372"),
    entry(7, 27, "Sender address has null MX", "The sender's domain declares that it takes no mail.", "RFC 7505"),
    entry(7, 28, "Mail flood detected", "The message seems to be part of a flood of mail.", "IANA registry"),
    entry(7, 29, "ARC validation failure", "The chain of ARC seals does not verify.", "RFC 8617"),
    entry(7, 30, "REQUIRETLS support required", "The message demands TLS all the way, which the next host does not promise.", "RFC 8689"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registry_is_in_order_and_found() {
        assert!(REGISTRY.is_sorted_by_key(|entry| (entry.subject, entry.detail)));
        for entry in REGISTRY {
            let status = EnhancedStatus::new(Class::Permanent, entry.subject, entry.detail).unwrap();
            assert_eq!(status.enumerated(), Some(entry));
            assert!(subject(entry.subject).is_some());
            assert!(entry.meaning.ends_with('.') && !entry.name.ends_with('.'));
        }
        // How many each subject has, x.0 included.
        let count = |s| REGISTRY.iter().filter(|entry| entry.subject == s).count();
        assert_eq!([0, 1, 2, 3, 4, 5, 6, 7].map(count), [1, 11, 5, 7, 8, 7, 11, 31]);
        let vendors_own: EnhancedStatus = "5.7.515".parse().unwrap();
        assert_eq!(vendors_own.enumerated(), None);
    }
}
