//! What the services call their reasons, and what each means for us.
//!
//! A list names the mailbox, and by what it says why: a word of the service's own, or the reply of the server. The
//! words are in the table below; replies are judged by the same rules as everybody's. **Only what says that the
//! mailbox or its domain is dead, or that its owner wants no mail, suppresses**: blocks and soft bounces, which
//! services list as well, are about the sender, the message or the day, and are skipped.

use crate::engine::heard::Heard;
use crate::engine::rule::RuleSet;
use crate::engine::verdict::{Cause, Remedy, Scope};

/// What a reason means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The address must not be mailed.
    Suppress(Cause),
    /// It may, for this reason.
    Skip(String),
}

/// Why a word does not suppress.
const SOFT: &str = "a soft bounce: another time it may be delivered";
/// See [`SOFT`].
const BLOCK: &str = "a block: the server refused the sender or the message, not the recipient";
/// See [`SOFT`].
const OTHER: &str = "not a failure of the recipient's";

/// The services' words, of letters and digits only, in lower case. SES: BOUNCE, COMPLAINT. Postmark:
/// HardBounce, SpamComplaint, ManualSuppression, and the types of its bounces. SparkPost: the sources of its
/// entries. Mailgun, SendGrid, Mandrill and others: what they call the same things.
const WORDS: &[(&[&str], Result<Cause, &str>)] = &[
    (
        &[
            "bounce",
            "bounced",
            "bouncerule",
            "hard",
            "hardbounce",
            "hardbounced",
            "permanent",
            "permanentfail",
            "permanentfailure",
            "invalidrecipient",
            "nosuchuser",
            "nomailbox",
            "unknownuser",
        ],
        Ok(Cause::UserUnknown),
    ),
    (
        &[
            "bademailaddress",
            "invalid",
            "invalidaddress",
            "invalidemail",
            "invalidemailaddress",
        ],
        Ok(Cause::BadAddressSyntax),
    ),
    (
        &[
            "abuse",
            "complained",
            "complaint",
            "feedbackloop",
            "spam",
            "spamcomplaint",
            "spamreport",
            "spamreported",
            "spamreports",
        ],
        Ok(Cause::Complaint),
    ),
    (
        &[
            "compliance",
            "customersuppression",
            "globalunsubscribe",
            "groupunsubscribe",
            "linkunsubscribe",
            "listunsubscribe",
            "manual",
            "manuallyadded",
            "manuallydeactivated",
            "manualsuppression",
            "optedout",
            "optout",
            "unsub",
            "unsubscribe",
            "unsubscribed",
            "unsubscribelink",
        ],
        Ok(Cause::Unsubscribed),
    ),
    (
        &[
            "deferral",
            "deferred",
            "dnserror",
            "mailboxfull",
            "soft",
            "softbounce",
            "softbounced",
            "temporary",
            "temporaryfailure",
            "transient",
            "undetermined",
        ],
        Err(SOFT),
    ),
    (
        &[
            "block",
            "blocked",
            "blocks",
            "content",
            "policy",
            "rejected",
            "reputation",
            "spamblock",
            "spamnotification",
            "technicalfailure",
        ],
        Err(BLOCK),
    ),
    (
        &[
            "addresschange",
            "autoresponder",
            "challengeverification",
            "inbounderror",
            "openrelaytest",
            "smtpapierror",
            "unconfirmed",
            "virusnotification",
        ],
        Err(OTHER),
    ),
];

/// Letters and digits in lower case: `Spam Complaint`, `spam_complaint` and `SpamComplaint` are one word.
pub(super) fn plain(text: &str) -> String {
    let kept = text.chars().filter(|c| c.is_alphanumeric());
    kept.flat_map(char::to_lowercase).collect()
}

/// What a word means: one of the table, or the name of a cause that suppresses. `None` for what is no such word.
pub(super) fn word(text: &str) -> Option<Meaning> {
    // None of them is longer, and most texts are whole replies.
    if text.len() > 40 {
        return None;
    }
    let word = plain(text);
    let known = WORDS.iter().find(|(words, _)| words.contains(&word.as_str()));
    if let Some((_, meaning)) = known {
        return Some(match meaning {
            Ok(cause) => Meaning::Suppress(*cause),
            Err(why) => Meaning::Skip((*why).to_owned()),
        });
    }
    let cause = Cause::from_name(text.trim().to_ascii_lowercase().as_str())?;
    Some(match cause.scope() {
        Scope::Recipient | Scope::Domain => Meaning::Suppress(cause),
        _ => Meaning::Skip(format!("{cause}: {OTHER}")),
    })
}

/// What a server's reply means by the rules; `None` where they do not know it.
pub(super) fn reply(rules: &RuleSet, text: &str) -> Option<Meaning> {
    let heard = Heard::new(text);
    let verdict = heard.verdict(rules, None);
    if verdict.cause == Cause::Unknown {
        return None;
    }
    let own = matches!(verdict.scope, Scope::Recipient | Scope::Domain);
    Some(match verdict.remedy {
        Remedy::Suppress if own && verdict.permanent => Meaning::Suppress(verdict.cause),
        Remedy::SuppressIfRepeated => Meaning::Skip(format!("{}: only if it is repeated", verdict.cause)),
        _ if own => Meaning::Skip(format!("{}: it may pass", verdict.cause)),
        _ => Meaning::Skip(format!("{}: {OTHER}", verdict.cause)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::provider::Providers;

    #[test]
    fn words_of_all_services_are_known() {
        let suppress = |cause| Some(Ok(cause));
        let table = [
            ("BOUNCE", suppress(Cause::UserUnknown)),
            ("COMPLAINT", suppress(Cause::Complaint)),
            ("HardBounce", suppress(Cause::UserUnknown)),
            ("SpamComplaint", suppress(Cause::Complaint)),
            ("ManualSuppression", suppress(Cause::Unsubscribed)),
            ("Spam Complaint", suppress(Cause::Complaint)),
            ("List Unsubscribe", suppress(Cause::Unsubscribed)),
            ("Bounce Rule", suppress(Cause::UserUnknown)),
            ("mailbox_disabled", suppress(Cause::MailboxDisabled)),
            ("soft-bounce", Some(Err(SOFT))),
            ("Transient", Some(Err(SOFT))),
            ("Blocked", Some(Err(BLOCK))),
            ("SpamNotification", Some(Err(BLOCK))),
            ("AutoResponder", Some(Err(OTHER))),
            ("", None),
            ("whatever", None),
        ];
        for (text, expected) in table {
            let found = word(text).map(|meaning| match meaning {
                Meaning::Suppress(cause) => Ok(cause),
                Meaning::Skip(why) => Err(why),
            });
            let expected = expected.map(|meaning| meaning.map_err(str::to_owned));
            assert_eq!(found, expected, "{text}");
        }
        assert!(matches!(word("content_rejected"), Some(Meaning::Skip(_))));
    }

    /// Nothing but a recipient's or a domain's own fault, whatever the service calls it.
    #[test]
    fn no_word_suppresses_for_anybody_elses_fault() {
        let mut seen = std::collections::BTreeSet::new();
        for (words, meaning) in WORDS {
            for word in *words {
                assert_eq!(plain(word), *word);
                assert!(seen.insert(word), "{word} stands twice");
            }
            if let Ok(cause) = meaning {
                assert!(
                    matches!(cause.scope(), Scope::Recipient | Scope::Domain),
                    "{cause}"
                );
            }
        }
    }

    #[test]
    fn replies_are_judged_by_the_rules() {
        let rules = RuleSet::shipped(&Providers::shipped().unwrap()).unwrap();
        let suppress = |cause| Some(Meaning::Suppress(cause));
        let table = [
            (
                "550 5.1.1 The email account that you tried to reach does not exist",
                suppress(Cause::UserUnknown),
            ),
            (
                "550: 550-5.1.1 The email account that you tried to reach does not exist",
                suppress(Cause::UserUnknown),
            ),
            ("5.1.1 no such user", suppress(Cause::UserUnknown)),
            (
                "550 5.2.1 The mailbox is disabled",
                suppress(Cause::MailboxDisabled),
            ),
            ("550", None),
        ];
        for (text, expected) in table {
            assert_eq!(reply(&rules, text), expected, "{text}");
        }
        for skipped in [
            "552 5.2.2 mailbox full",
            "550 5.7.1 message rejected as spam",
            "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org",
            "450 4.2.1 The user you are trying to contact is receiving mail too quickly",
            "550 5.7.26 Unauthenticated email is not accepted due to the sender's DMARC policy",
        ] {
            assert!(
                matches!(reply(&rules, skipped), Some(Meaning::Skip(_))),
                "{skipped}"
            );
        }
    }
}
