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

/// Who runs the mailboxes of a domain, as lanes name it: the provider whose all exchangers are, or the registrable
/// domain that all of them have in common. `None` is the domain itself.
#[must_use]
pub fn provider(providers: &Providers, domain: &str, exchangers: &Exchangers) -> Option<String> {
    let Exchangers::Hosts(hosts) = exchangers else {
        return None;
    };
    let mut all = hosts.iter().map(|host| providers.provider_of_relay(host));
    let first = all.next()?;
    (all.all(|other| other == first) && first != providers.provider_of_relay(domain)).then_some(first)
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
    /// `None` is the domain itself.
    provider: Option<Arc<str>>,
    until: Timestamp,
}

impl Cache {
    /// The domains of a generation: two of them take some 20 MB.
    pub const GENERATION: usize = 100_000;

    /// Remembers who runs a domain's mailboxes; `None` is the domain itself.
    pub fn insert(&mut self, domain: &str, provider: Option<&str>, until: Timestamp) {
        if self.young.len() >= Self::GENERATION {
            self.old = std::mem::take(&mut self.young);
            let old = &self.old;
            self.names = old.values().filter_map(|found| found.provider.clone()).collect();
        }
        let provider = provider.map(|provider| self.shared(provider));
        self.young.insert(domain.into(), Found { provider, until });
    }

    fn shared(&mut self, name: &str) -> Arc<str> {
        if let Some(name) = self.names.get(name) {
            return Arc::clone(name);
        }
        let name: Arc<str> = name.into();
        self.names.insert(Arc::clone(&name));
        name
    }

    /// Who runs a domain's mailboxes, where that is remembered and still believed: `Some(None)` is the domain
    /// itself.
    #[must_use]
    pub fn get(&self, domain: &str, now: Timestamp) -> Option<Option<Arc<str>>> {
        let found = self.young.get(domain).or_else(|| self.old.get(domain))?;
        (now < found.until).then(|| found.provider.clone())
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
        let table: &[(&str, &[&str], Option<&str>)] = &[
            (
                "shop.example",
                &["aspmx.l.google.com", "alt1.aspmx.l.google.com"],
                Some("google"),
            ),
            ("shop.example", &["ASPMX.L.GOOGLE.COM."], Some("google")),
            // mixed: by itself
            (
                "mail.shop.example",
                &["aspmx.l.google.com", "mx.shop.example"],
                None,
            ),
            (
                "shop.example",
                &["aspmx.l.google.com", "shop.mail.protection.outlook.com"],
                None,
            ),
            // nobody's in the catalogue: what they have in common
            (
                "shop.example",
                &["mx1.hoster.example", "mx2.hoster.example"],
                Some("hoster.example"),
            ),
            ("shop.example", &["mx1.hoster.example", "mx2.other.example"], None),
            ("shop.example", &["mx1.shop.example"], None),
            ("shop.example", &[], None),
        ];
        for (domain, hosts, expected) in table {
            let hosts = Exchangers::Hosts(hosts.iter().map(|&host| host.to_owned()).collect());
            let found = provider(&providers, domain, &hosts);
            assert_eq!(found.as_deref(), *expected, "{domain} {hosts:?}");
        }
        for nothing in [Exchangers::Nobody, Exchangers::Unknown] {
            assert_eq!(provider(&providers, "www.shop.example", &nothing), None);
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
        cache.insert("a.example", Some("google"), at(10));
        cache.insert("b.example", None, at(10));
        assert_eq!(cache.get("a.example", at(9)), Some(Some("google".into())));
        assert_eq!(cache.get("b.example", at(9)), Some(None));
        assert_eq!(cache.get("a.example", at(10)), None);
        for n in 0..Cache::GENERATION * 3 {
            cache.insert(&format!("d{n}.example"), Some("yahoo"), at(10));
        }
        assert!(cache.len() <= 2 * Cache::GENERATION);
        assert_eq!(cache.get("a.example", at(0)), None, "the oldest are forgotten");
        let last = format!("d{}.example", Cache::GENERATION * 3 - 1);
        assert_eq!(cache.get(&last, at(0)), Some(Some("yahoo".into())));
        assert!(cache.names.len() <= 2);
    }
}
