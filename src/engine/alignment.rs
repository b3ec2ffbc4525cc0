//! Alignment: whose word a domain is, as DMARC compares names (RFC 7489 §3.1, relaxed), and who may report for it.
//!
//! Names compare by their organizational domain: what somebody registered below a public suffix (RFC 7489 §3.2, by the
//! public suffix list, private suffixes as well: whoever rents `shop.github.io` is nobody else there). What has none, as
//! a public suffix itself, an address or a single label, is aligned with nothing.

use super::provider::Provider;
use crate::mail::address::canonical_domain;

/// The domain that somebody registered, lower case: `mail.example.co.uk` is `example.co.uk`'s.
#[must_use]
pub fn organizational(domain: &str) -> Option<String> {
    let domain = canonical_domain(domain.trim_end_matches('.'))?;
    if domain.starts_with('[') || domain.parse::<std::net::IpAddr>().is_ok() {
        return None;
    }
    psl::domain_str(&domain).map(str::to_owned)
}

/// Whether the signer (the `d=` of a signature, a domain that SPF passed for) speaks for the author's domain.
#[must_use]
pub fn aligned(author: &str, signer: &str) -> bool {
    let author = organizational(author);
    author.is_some() && author == organizational(signer)
}

/// Whether a report of this domain is to be believed about the addresses of the domain that we mailed: it is the same
/// organization's, or one that the provider of the mailed domain reports from.
#[must_use]
pub fn vouches(domain: &str, mailed_domain: &str, provider: Option<&Provider>) -> bool {
    aligned(mailed_domain, domain) || provider.is_some_and(|provider| provider.reports_as(domain))
}

/// Whether a local part is that of a mail system, and of nobody who merely has a mailbox: RFC 5321 §4.5.1 reserves
/// `postmaster` everywhere, and no system of size gives away `mailer-daemon`, as which nearly all others sign. Any other
/// name could be had by somebody (`mail-daemon@`, `no-reply@`, `bounce@`) and proves nothing.
#[must_use]
pub fn is_daemon(local_part: &str) -> bool {
    ["mailer-daemon", "postmaster"]
        .iter()
        .any(|name| name.eq_ignore_ascii_case(local_part))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::provider::Providers;

    #[test]
    fn names_compare_by_what_was_registered() {
        let table = [
            ("example.org", "example.org", true),
            ("EXAMPLE.org.", "mail.example.org", true),
            ("a.b.example.co.uk", "example.co.uk", true),
            ("bücher.example", "mail.xn--bcher-kva.example", true),
            // lookalikes, neighbours, suffixes
            ("example.org", "notexample.org", false),
            ("example.org", "example.org.evil.test", false),
            ("example.org", "org", false),
            ("one.co.uk", "two.co.uk", false),
            ("co.uk", "co.uk", false),
            ("one.github.io", "two.github.io", false),
            ("one.github.io", "github.io", false),
            ("localhost", "localhost", false),
            ("192.0.2.1", "192.0.2.1", false),
            ("[192.0.2.1]", "[192.0.2.1]", false),
            ("", "", false),
            ("example.org", "", false),
        ];
        for (author, signer, expected) in table {
            assert_eq!(aligned(author, signer), expected, "{author:?} {signer:?}");
            assert_eq!(aligned(signer, author), expected, "{signer:?} {author:?}");
        }
    }

    #[test]
    fn a_domain_vouches_for_its_own_and_a_provider_for_its_customers() {
        let providers = Providers::shipped().unwrap();
        let table = [
            ("example.org", "mail.example.org", None, true),
            ("googlemail.com", "vanity.test", Some("google"), true),
            ("googlemail.com", "vanity.test", None, false),
            ("googlemail.com", "vanity.test", Some("outlook"), false),
            ("mail.hotmail.com", "live.com", Some("outlook"), true),
            ("nothotmail.com", "live.com", Some("outlook"), false),
            // a customer of the provider is not the provider
            ("other.test", "vanity.test", Some("google"), false),
            (
                "tenant.onmicrosoft.com",
                "vanity.test",
                Some("microsoft365"),
                false,
            ),
            ("arf.mail.yahoo.com", "aol.com", Some("yahoo"), true),
        ];
        for (domain, mailed, provider, expected) in table {
            let provider = provider.map(|id| providers.get(id).unwrap());
            assert_eq!(
                vouches(domain, mailed, provider),
                expected,
                "{domain} about {mailed}"
            );
        }
    }

    #[test]
    fn only_names_that_nobody_can_have_are_mail_systems() {
        for name in ["MAILER-DAEMON", "mailer-daemon", "postmaster", "Postmaster"] {
            assert!(is_daemon(name), "{name}");
        }
        for name in [
            "",
            "mail-daemon",
            "mailer-daemon+x",
            "x-mailer-daemon",
            "daemon",
            "no-reply",
            "bounce",
        ] {
            assert!(!is_daemon(name), "{name}");
        }
    }
}
