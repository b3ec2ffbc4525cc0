//! What reply codes mean by the standards: RFC 5321 §4.2.3, and the RFCs that added to it.
//!
//! A code that none of them knows has the meaning of its first two digits (RFC 5321 §4.2.1).

use super::ReplyCode;

/// What the standards say of a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Defined {
    /// The code.
    pub code: u16,
    /// What it means, in their words or nearly.
    pub meaning: &'static str,
    /// Where they say so.
    pub source: &'static str,
}

impl ReplyCode {
    /// What the standards say of it; `None` for a code that they do not know.
    #[must_use]
    pub fn defined(self) -> Option<&'static Defined> {
        let found = REGISTRY.binary_search_by_key(&self.get(), |entry| entry.code);
        found.ok().map(|index| &REGISTRY[index])
    }

    /// What its first digit says (RFC 5321 §4.2.1).
    #[must_use]
    pub fn severity(self) -> &'static str {
        match self.get() / 100 {
            2 => "success",
            3 => "go on: more is awaited",
            4 => "temporary failure: try again later",
            _ => "permanent failure: do not try again",
        }
    }

    /// What its second digit says (RFC 5321 §4.2.1); `None` where that is not specified.
    #[must_use]
    pub fn category(self) -> Option<&'static str> {
        match self.get() / 10 % 10 {
            0 => Some("syntax"),
            1 => Some("information"),
            2 => Some("connections"),
            5 => Some("mail system"),
            _ => None,
        }
    }
}

const fn defined(code: u16, meaning: &'static str, source: &'static str) -> Defined {
    Defined {
        code,
        meaning,
        source,
    }
}

/// The codes, in their order.
#[rustfmt::skip]
pub const REGISTRY: &[Defined] = &[
    defined(211, "System status, or system help reply", "RFC 5321"),
    defined(214, "Help message", "RFC 5321"),
    defined(220, "Service ready", "RFC 5321"),
    defined(221, "Service closing transmission channel", "RFC 5321"),
    defined(235, "Authentication succeeded", "RFC 4954"),
    defined(250, "Requested mail action okay, completed", "RFC 5321"),
    defined(251, "User not local; will forward", "RFC 5321"),
    defined(252, "Cannot verify the user, but will accept the message and attempt delivery", "RFC 5321"),
    defined(253, "Pending messages started", "RFC 1985"),
    defined(334, "Challenge of the server in an authentication", "RFC 4954"),
    defined(354, "Start mail input; end with <CRLF>.<CRLF>", "RFC 5321"),
    defined(421, "Service not available, closing transmission channel", "RFC 5321"),
    defined(432, "A password transition is needed", "RFC 4954"),
    defined(450, "Requested mail action not taken: mailbox unavailable (busy, or blocked for policy reasons for now)", "RFC 5321"),
    defined(451, "Requested action aborted: local error in processing", "RFC 5321"),
    defined(452, "Requested action not taken: insufficient system storage (or too many recipients)", "RFC 5321"),
    defined(453, "You have no mail", "RFC 2645"),
    defined(454, "Temporary authentication failure, or TLS not available for a temporary reason", "RFC 4954, RFC 3207"),
    defined(455, "Server unable to accommodate parameters", "RFC 5321"),
    defined(458, "Unable to queue messages for the node", "RFC 1985"),
    defined(459, "The node is not allowed", "RFC 1985"),
    defined(500, "Syntax error, command unrecognized (or too long)", "RFC 5321"),
    defined(501, "Syntax error in parameters or arguments", "RFC 5321"),
    defined(502, "Command not implemented", "RFC 5321"),
    defined(503, "Bad sequence of commands", "RFC 5321"),
    defined(504, "Command parameter not implemented", "RFC 5321"),
    defined(521, "The host does not accept mail", "RFC 7504"),
    defined(523, "Encryption needed", "RFC 5248"),
    defined(525, "User account disabled", "RFC 5248"),
    defined(530, "Authentication required, or STARTTLS must come first", "RFC 4954, RFC 3207"),
    defined(534, "Authentication mechanism is too weak", "RFC 4954"),
    defined(535, "Authentication credentials invalid", "RFC 4954"),
    defined(538, "Encryption required for the requested authentication mechanism", "RFC 4954"),
    defined(550, "Requested action not taken: mailbox unavailable (not found, no access, or rejected for policy reasons)", "RFC 5321"),
    defined(551, "User not local; please try another address", "RFC 5321"),
    defined(552, "Requested mail action aborted: exceeded storage allocation (the mailbox's, or the size of a message)", "RFC 5321"),
    defined(553, "Requested action not taken: mailbox name not allowed", "RFC 5321"),
    defined(554, "Transaction failed (as a greeting: no SMTP service here)", "RFC 5321"),
    defined(555, "MAIL FROM or RCPT TO parameters not recognized or not implemented", "RFC 5321"),
    defined(556, "The domain does not accept mail", "RFC 7504"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_are_in_order_and_found() {
        assert!(REGISTRY.is_sorted_by_key(|entry| entry.code));
        for entry in REGISTRY {
            assert_eq!(ReplyCode::new(entry.code).unwrap().defined(), Some(entry));
        }
        let unknown = ReplyCode::new(571).unwrap();
        assert_eq!((unknown.defined(), unknown.category()), (None, None));
        assert!(unknown.severity().starts_with("permanent"));
    }
}
