//! Who runs a domain's mailboxes, told by its mail exchangers before any of them has answered.
//!
//! A domain belongs to a provider only when **every** one of its exchangers does (RFC 5321 §5.1: any of them
//! may be tried): a vanity domain with one exchanger of its own beside Google's has limits of its own too,
//! and must not be held when Google holds. Such a domain, and one that DNS knows nothing of, is a lane by
//! itself.
//!
//! What was found is remembered for as long as DNS says, within bounds, in bounded memory: two generations,
//! the older of which is forgotten when the younger is full. Nothing here fails.

use super::provider::Providers;
use jiff::{SignedDuration, Timestamp};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

/// No answer is believed for less: a time to live of seconds is for balancing loads, not for moving.
pub const LEAST: Duration = Duration::from_secs(5 * 60);
/// No answer is believed for longer.
pub const MOST: Duration = Duration::from_secs(24 * 3600);
/// For how long a failure of DNS keeps us from asking again.
pub const FAILED: Duration = Duration::from_secs(60);

/// What DNS says of a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exchangers {
    /// The names of its exchangers. Without any in DNS the domain is its own (RFC 5321 §5.1).
    Hosts(Vec<String>),
    /// It takes no mail (RFC 7505), or there is no such domain.
    Nobody,
    /// DNS did not answer.
    Unknown,
}

/// Who runs the mailboxes of a domain, as lanes name it: the provider whose all exchangers are, else the
/// registrable domain that all of them have in common, else the domain's own.
#[must_use]
pub fn provider(providers: &Providers, domain: &str, exchangers: &Exchangers) -> String {
    let own = || providers.provider_of_relay(domain);
    let Exchangers::Hosts(hosts) = exchangers else {
        return own();
    };
    let mut all = hosts.iter().map(|host| providers.provider_of_relay(host));
    match all.next() {
        Some(first) if all.all(|other| other == first) => first,
        _ => own(),
    }
}

/// Until when an answer is believed, given how long DNS says that it is true.
#[must_use]
pub fn believed(exchangers: &Exchangers, ttl: Duration, now: Timestamp) -> Timestamp {
    let span = match exchangers {
        Exchangers::Unknown => FAILED,
        Exchangers::Hosts(_) | Exchangers::Nobody => ttl.clamp(LEAST, MOST),
    };
    let span = SignedDuration::try_from(span).unwrap_or(SignedDuration::MAX);
    now.saturating_add(span).unwrap_or(Timestamp::MAX)
}

/// What is remembered of domains, for a time.
#[derive(Debug, Default)]
pub struct Cache {
    young: HashMap<Box<str>, Found>,
    old: HashMap<Box<str>, Found>,
    names: HashSet<Arc<str>>,
}

#[derive(Debug, Clone)]
struct Found {
    provider: Arc<str>,
    until: Timestamp,
}

impl Cache {
    /// The domains of a generation: two of them take some 20 MB.
    pub const GENERATION: usize = 100_000;

    /// Remembers who runs a domain's mailboxes.
    pub fn insert(&mut self, domain: &str, provider: &str, until: Timestamp) {
        if self.young.len() >= Self::GENERATION {
            self.old = std::mem::take(&mut self.young);
            let old = &self.old;
            self.names = old.values().map(|found| Arc::clone(&found.provider)).collect();
        }
        let provider = match self.names.get(provider) {
            Some(name) => Arc::clone(name),
            None => {
                let name: Arc<str> = provider.into();
                self.names.insert(Arc::clone(&name));
                name
            }
        };
        self.young.insert(domain.into(), Found { provider, until });
    }

    /// Who runs a domain's mailboxes, where that is remembered and still believed.
    #[must_use]
    pub fn get(&self, domain: &str, now: Timestamp) -> Option<Arc<str>> {
        let found = self.young.get(domain).or_else(|| self.old.get(domain))?;
        (now < found.until).then(|| Arc::clone(&found.provider))
    }

    /// How many domains are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    #[test]
    fn a_domain_belongs_to_whom_all_its_exchangers_belong_to() {
        let providers = Providers::shipped().unwrap();
        let table: &[(&str, &[&str], &str)] = &[
            (
                "shop.example",
                &["aspmx.l.google.com", "alt1.aspmx.l.google.com"],
                "google",
            ),
            ("shop.example", &["ASPMX.L.GOOGLE.COM."], "google"),
            // mixed: its own
            (
                "mail.shop.example",
                &["aspmx.l.google.com", "mx.shop.example"],
                "shop.example",
            ),
            (
                "shop.example",
                &["aspmx.l.google.com", "shop.mail.protection.outlook.com"],
                "shop.example",
            ),
            // nobody's in the catalogue: what they have in common
            (
                "shop.example",
                &["mx1.hoster.example", "mx2.hoster.example"],
                "hoster.example",
            ),
            (
                "shop.example",
                &["mx1.hoster.example", "mx2.other.example"],
                "shop.example",
            ),
            ("shop.example", &[], "shop.example"),
        ];
        for (domain, hosts, expected) in table {
            let hosts = Exchangers::Hosts(hosts.iter().map(|&host| host.to_owned()).collect());
            assert_eq!(
                provider(&providers, domain, &hosts),
                *expected,
                "{domain} {hosts:?}"
            );
        }
        for nothing in [Exchangers::Nobody, Exchangers::Unknown] {
            assert_eq!(provider(&providers, "www.shop.example", &nothing), "shop.example");
        }
    }

    #[test]
    fn answers_are_believed_within_bounds() {
        let hosts = Exchangers::Hosts(Vec::new());
        let table = [
            (&hosts, 1, 300),
            (&hosts, 3600, 3600),
            (&hosts, 10_000_000, 86_400),
            (&Exchangers::Nobody, 10, 300),
            (&Exchangers::Unknown, 3600, 60),
        ];
        for (exchangers, ttl, expected) in table {
            let until = believed(exchangers, Duration::from_secs(ttl), at(0));
            assert_eq!(until, at(expected), "{exchangers:?} for {ttl}");
        }
    }

    #[test]
    fn what_is_remembered_ends_and_stays_bounded() {
        let mut cache = Cache::default();
        cache.insert("a.example", "google", at(10));
        assert_eq!(cache.get("a.example", at(9)).as_deref(), Some("google"));
        assert_eq!(cache.get("a.example", at(10)), None);
        for n in 0..Cache::GENERATION * 3 {
            cache.insert(&format!("d{n}.example"), "yahoo", at(10));
        }
        assert!(cache.len() <= 2 * Cache::GENERATION);
        assert_eq!(cache.get("a.example", at(0)), None, "the oldest are forgotten");
        let last = format!("d{}.example", Cache::GENERATION * 3 - 1);
        assert_eq!(cache.get(&last, at(0)).as_deref(), Some("yahoo"));
        assert!(cache.names.len() <= 2);
    }
}
