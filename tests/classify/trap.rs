//! Replies whose words mislead.

use crate::{judged, rules};
use nixie::engine::verdict::{Cause, Remedy, Scope};

#[test]
fn known_traps_are_avoided() {
    use Cause as C;
    let traps: &[(Option<&str>, &str, Cause, bool)] = &[
        (
            Some("godaddy"),
            "550 5.1.1 <u@x.test> has received too many recipients this hour IB607",
            C::RateLimited,
            false,
        ),
        (
            None,
            "550 5.1.1 <u@x.test> too many recipients this hour IB607",
            C::RateLimited,
            false,
        ),
        (None, "550 5.1.1 RCP-P2", C::PolicyRejected, true),
        (
            None,
            "550 5.2.1 Mailbox unavailable. Your IP address 192.0.2.44 is blacklisted using SPAMHAUS-XBL.",
            C::Blocklisted,
            true,
        ),
        (
            Some("gmx"),
            "550-Requested action not taken: mailbox unavailable 550-Reject due to policy restrictions. 550 For explanation visit",
            C::PolicyRejected,
            true,
        ),
        (
            Some("gmx"),
            "550 Requested action not taken: mailbox unavailable",
            C::UserUnknown,
            true,
        ),
        (
            Some("qq"),
            "550 Mailbox unavailable or access denied",
            C::RateLimited,
            false,
        ),
        (
            None,
            "550 Mailbox unavailable or access denied",
            C::RateLimited,
            false,
        ),
        (
            None,
            "550 Verification failed for <bounce@our.test>. The account or domain may not exist",
            C::SenderRejected,
            true,
        ),
        (
            None,
            "450 4.2.0 <u@x.test>: Recipient address rejected: Greylisted",
            C::Greylisted,
            false,
        ),
        (
            Some("google"),
            "450 4.2.1 The user you are trying to contact is receiving mail at a rate that",
            C::RateLimited,
            false,
        ),
        (
            None,
            "450 4.2.1 mailbox temporarily unavailable",
            C::MailboxUnavailable,
            false,
        ),
        (None, "550 5.2.2 Submission quota exceeded", C::RateLimited, false),
        (
            None,
            "452 4.3.1 Insufficient system storage",
            C::ServerUnavailable,
            false,
        ),
        (Some("yandex"), "550 5.7.1 No such user!", C::UserUnknown, true),
        (
            None,
            "554 5.7.1 <u@x.test>: Recipient address rejected: Not in recipient list",
            C::UserUnknown,
            true,
        ),
        (
            Some("microsoft365"),
            "550 5.4.1 Recipient address rejected: Access denied [x.outlook.com]",
            C::UserUnknown,
            true,
        ),
        (
            Some("microsoft365"),
            "550 5.1.10 RESOLVER.ADR.RecipientNotFound",
            C::UserUnknown,
            true,
        ),
        (
            None,
            "556 5.1.10 <u@x.test>: Recipient address rejected: Domain x.test does not accept mail (nullMX)",
            C::DomainNotFound,
            true,
        ),
        (
            Some("mimecast"),
            "451 Invalid Recipient - https://community.mimecast.com/docs/DOC-1369#451",
            C::UserUnknown,
            false,
        ),
        (
            Some("yahoo"),
            "552 1 Requested mail action aborted, mailbox not found",
            C::UserUnknown,
            true,
        ),
        (
            Some("google"),
            "550-5.2.1 The user you are trying to contact is receiving mail at a rate that 550 5.2.1 ReceivingRate",
            C::RateLimited,
            false,
        ),
        (
            Some("google"),
            "550 5.7.1 This email has been rate limited.",
            C::RateLimited,
            false,
        ),
        (
            Some("microsoft365"),
            "550 5.2.122 The recipient has reached their receiving limit.",
            C::RateLimited,
            false,
        ),
        (
            Some("yahoo"),
            "421 4.7.1 [TS03] All messages from 192.0.2.10 will be permanently deferred; Retrying will NOT succeed.",
            C::PoorReputation,
            true,
        ),
        (None, "550 4.2.2 mailbox full", C::MailboxFull, false),
        (
            None,
            "552 5.1.1 5.2.2 sorry, final recipient mailbox is full (chkuser)",
            C::MailboxFull,
            true,
        ),
        (None, "550", C::Unknown, true),
        (None, "550 Rejected", C::Unknown, true),
        (None, "554 Transaction failed", C::Unknown, true),
        (None, "550 5.0.0 no", C::Unknown, true),
        (None, "450 5.1.1 user unknown", C::UserUnknown, false),
        (None, "550 4.1.1 user unknown", C::UserUnknown, false),
        // the address says nothing about its own fate
        (
            None,
            "550 5.7.1 <no-such-user@x.test>: message looks like spam",
            C::ContentRejected,
            true,
        ),
        (
            None,
            "550 5.7.1 <mailbox-unavailable-unknown@x.test>: rejected",
            C::PolicyRejected,
            true,
        ),
    ];
    let rules = rules();
    for &(provider, text, cause, permanent) in traps {
        let verdict = judged(rules, text, provider);
        assert_eq!(
            (verdict.cause, verdict.permanent),
            (cause, permanent),
            "{text}: {}",
            verdict.rule
        );
        if !permanent || !matches!(verdict.scope, Scope::Recipient | Scope::Domain) {
            assert_ne!(verdict.remedy, Remedy::Suppress, "{text}");
        }
    }
}

/// What speaks of us, of our sender or of our message never suppresses, however much it sounds like it.
#[test]
fn words_about_us_never_suppress() {
    let table = [
        "550 Message rejected: From address is not valid",
        "550 Your message was rejected: unknown user agent",
        "550 5.7.1 Unable to deliver; the sending account does not exist",
        "550 5.1.0 Sender not found",
        "550 Your e-mail address is not listed as allowed",
        "550 5.1.1 Recipient rejected: you are not on the recipient's allowed senders list",
        "550 5.1.1 Mail rejected; HELO name does not exist in DNS",
        "550 5.1.1 too many unknown users from your IP",
        "550 Too many invalid recipients",
        "550 excessive invalid recipients from your host",
        "550 Callout verification failed: 550 no such user",
        "550 Mailbox of sender not found",
        "550 5.1.1 Unable to verify that user bounce@our.test exists",
        "550 5.7.1 Message contains unknown user reference",
        "550 Your account has been suspended",
        "550 Your email has been blocked",
        "550 5.1.1 User unknown; rejecting due to spam",
        "550 Server IP not found in user database",
        "550 Reverse lookup: address not found",
        "4.4.3 Host or domain name not found. Name service error for name=x.test type=MX: Host not found, try again",
        "554 5.7.1 The message from (<a@b.test>) with the subject of (User unknown) matches a profile the Internet community may consider spam",
    ];
    for text in table {
        let verdict = judged(rules(), text, None);
        assert_ne!(verdict.remedy, Remedy::Suppress, "{text}: {}", verdict.rule);
    }
}
