//! Providers: who runs a mailbox, told by the host name of its mail exchanger, and what they document
//! about how they want to be mailed.
//!
//! The catalogue is data (`config/providers.toml`). What is wrong with it is refused with file and
//! line, and nothing of it is used.

mod name;

use crate::mail::address::{Address, LocalPart};
use serde::Deserialize;
use std::collections::HashMap;
use toml::Spanned;

/// One provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    /// How rules and lanes name it.
    pub id: String,
    /// How people call it.
    pub name: String,
    /// What it documents.
    pub limits: Documented,
    /// The domains that its bounces are from (`From`), with all that is below them; lower case.
    pub reports_from: Vec<String>,
    /// The addresses that its feedback loop reports complaints from; lower case.
    pub complaints_from: Vec<String>,
}

impl Provider {
    /// Whether it reports as this domain, bounces or complaints.
    #[must_use]
    pub fn reports_as(&self, domain: &str) -> bool {
        let domain = canonical(domain);
        let below = |suffix: &String| {
            domain
                .strip_suffix(suffix.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        self.reports_from.iter().any(below)
            || self
                .complaints_from
                .iter()
                .any(|address| address.rsplit_once('@').is_some_and(|(_, at)| at == domain))
    }

    /// The name of a Postfix transport of its own, `nixie-google`; `None` where it documents nothing that such a
    /// transport could hold to.
    #[must_use]
    pub fn transport(&self) -> Option<String> {
        let Documented {
            connections,
            messages_per_connection,
            ..
        } = self.limits;
        (connections.is_some() || messages_per_connection.is_some()).then(|| format!("nixie-{}", self.id))
    }
}

/// What a provider documents per sending address; `None` where it says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Documented {
    /// Connections at a time.
    pub connections: Option<u32>,
    /// Messages in one connection.
    pub messages_per_connection: Option<u32>,
    /// Messages in a second.
    pub messages_per_second: Option<u32>,
    /// Whether it insists on TLS.
    pub tls: bool,
}

/// The catalogue.
#[derive(Debug, Clone)]
pub struct Providers {
    list: Vec<Provider>,
    by_id: HashMap<String, usize>,
    by_suffix: HashMap<String, usize>,
}

/// What is wrong with a catalogue, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {problem}")]
pub struct ProviderError {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// What was expected, and what was found.
    pub problem: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    provider: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: Spanned<String>,
    name: String,
    mx: Vec<Spanned<String>>,
    connections: Option<u32>,
    messages_per_connection: Option<u32>,
    messages_per_second: Option<u32>,
    #[serde(default)]
    tls: bool,
    #[serde(default)]
    reports_from: Vec<Spanned<String>>,
    #[serde(default)]
    complaints_from: Vec<Spanned<String>>,
}

impl Providers {
    /// The catalogue as shipped.
    pub const SHIPPED: &str = include_str!("../../config/providers.toml");

    /// Reads a catalogue; `file` is its name in errors.
    ///
    /// # Errors
    /// [`ProviderError`] for the first thing that is wrong: no TOML, an unknown or missing key, an id
    /// or a suffix that is malformed or given twice, an entry that can never match.
    pub fn parse(text: &str, file: &str) -> Result<Self, ProviderError> {
        let (providers, mistakes) = Self::read(text, file);
        match mistakes.into_iter().next() {
            Some(first) => Err(first),
            None => Ok(providers),
        }
    }

    /// Everything that is wrong with a catalogue, in the order of its lines.
    #[must_use]
    pub fn mistakes(text: &str, file: &str) -> Vec<ProviderError> {
        Self::read(text, file).1
    }

    fn read(text: &str, file: &str) -> (Self, Vec<ProviderError>) {
        let error = |start: usize, problem: String| ProviderError {
            file: file.to_owned(),
            line: line_of(text, start),
            problem,
        };
        let mut providers = Self {
            list: Vec::new(),
            by_id: HashMap::new(),
            by_suffix: HashMap::new(),
        };
        let parsed: File = match toml::from_str(text) {
            Ok(parsed) => parsed,
            Err(e) => {
                let start = e.span().map_or(0, |span| span.start);
                return (providers, vec![error(start, e.message().to_owned())]);
            }
        };
        let mut mistakes = Vec::new();
        for entry in parsed.provider {
            providers.add(entry, &mut |start, problem| mistakes.push(error(start, problem)));
        }
        mistakes.sort_by_key(|mistake| mistake.line);
        (providers, mistakes)
    }

    /// The catalogue that comes with the program.
    ///
    /// # Errors
    /// None, as long as the tests pass: they read it.
    pub fn shipped() -> Result<Self, ProviderError> {
        Self::parse(Self::SHIPPED, "config/providers.toml")
    }

    fn add(&mut self, entry: Entry, wrong: &mut dyn FnMut(usize, String)) {
        let index = self.list.len();
        let id = entry.id.get_ref().clone();
        let at = entry.id.span().start;
        let of_id = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if id.is_empty() || !id.bytes().all(of_id) {
            wrong(
                at,
                format!("id: expected small letters, digits and `_`, found {id:?}"),
            );
        }
        if self.by_id.insert(id.clone(), index).is_some() {
            wrong(at, format!("id: {id:?} is given twice"));
        }
        if entry.mx.is_empty() {
            wrong(at, format!("mx: {id:?} has none and can never match"));
        }
        for suffix in &entry.mx {
            let start = suffix.span().start;
            let name = canonical(suffix.get_ref());
            if let Err(problem) = suffix_problem(&name) {
                wrong(start, format!("mx: {problem}, found {:?}", suffix.get_ref()));
                continue;
            }
            if let Some(other) = self.by_suffix.insert(name, index) {
                let owner = self.list.get(other).map_or(&id, |p| &p.id);
                wrong(
                    start,
                    format!("mx: {:?} belongs to {owner:?} already", suffix.get_ref()),
                );
            }
        }
        for suffix in &entry.mx {
            let name = canonical(suffix.get_ref());
            if let Some((_, above)) = name.split_once('.')
                && self.owner(above) == Some(index)
            {
                let problem =
                    format!("mx: {name:?} can never match: a shorter one of {id:?} has all its hosts");
                wrong(suffix.span().start, problem);
            }
        }
        let reports_from = reporting(&entry.reports_from, wrong);
        let complaints_from = complaining(&entry.complaints_from, wrong);
        self.list.push(Provider {
            id,
            reports_from,
            complaints_from,
            name: entry.name,
            limits: Documented {
                connections: entry.connections,
                messages_per_connection: entry.messages_per_connection,
                messages_per_second: entry.messages_per_second,
                tls: entry.tls,
            },
        });
    }

    /// Every provider, in the order of the catalogue.
    #[must_use]
    pub fn all(&self) -> &[Provider] {
        &self.list
    }

    /// The provider of an id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Provider> {
        self.by_id.get(id).map(|&index| &self.list[index])
    }

    /// The provider that an MX host belongs to: the longest suffix wins, and only whole labels count
    /// (`notgoogle.com` is not Google's).
    #[must_use]
    pub fn of_host(&self, host: &str) -> Option<&Provider> {
        self.list.get(self.owner(&canonical(host))?)
    }

    /// Whom the rules are asked about where a host answered: its provider's id, or the host itself, which is then
    /// nobody's whose words any rule knows. `None` where that cannot be told: an address, or a single label.
    #[must_use]
    pub fn speaker<'a>(&'a self, host: &'a str) -> Option<&'a str> {
        match self.of_host(host) {
            Some(provider) => Some(&provider.id),
            None => is_name(host).then_some(host),
        }
    }

    /// Whether some provider's feedback loop reports complaints from this address.
    #[must_use]
    pub fn sends_complaints(&self, address: &Address) -> bool {
        let address = address.key(LocalPart::Fold);
        let is_it = |from: &String| from == address.as_str();
        self.list
            .iter()
            .any(|provider| provider.complaints_from.iter().any(is_it))
    }

    /// Whose longest suffix a name ends with.
    fn owner(&self, name: &str) -> Option<usize> {
        let mut suffix = name;
        loop {
            if let Some(&index) = self.by_suffix.get(suffix) {
                return Some(index);
            }
            suffix = suffix.split_once('.')?.1;
        }
    }

    /// Whether a lane may go by this name: an id of the catalogue, or the domain or address of hosts that are in none.
    ///
    /// # Errors
    /// What was expected and what was found, with the id that may have been meant.
    pub fn check_name(&self, name: &str) -> Result<(), String> {
        if self.get(name).is_some() || name.parse::<std::net::IpAddr>().is_ok() {
            return Ok(());
        }
        if let Some(owner) = self.of_host(name) {
            let (owner, id) = (&owner.name, &owner.id);
            return Err(format!(
                "expected the id of a provider, found {name:?}: this is {owner}'s, write {id:?}"
            ));
        }
        let label = |label: &str| {
            !label.is_empty()
                && label
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        if name.len() <= 253 && name.contains('.') && name.split('.').all(label) {
            return Ok(());
        }
        let meant = self
            .list
            .iter()
            .map(|provider| (distance(&provider.id, &name.to_ascii_lowercase()), &provider.id))
            .min()
            .filter(|(apart, _)| *apart <= 2);
        let meant = meant.map_or(String::new(), |(_, id)| format!(" (did you mean {id:?}?)"));
        Err(format!(
            "expected the id of a provider of the catalogue, as google, or a domain in small letters, as example.org; \
             found {name:?}{meant}"
        ))
    }

    /// Whose limits a host speaks for: the provider's id, or the registrable domain of a host that no
    /// provider claims, or the host itself where that cannot be told (an address, a single label).
    #[must_use]
    pub fn provider_of_relay(&self, host: &str) -> String {
        if let Some(provider) = self.of_host(host) {
            return provider.id.clone();
        }
        let host = canonical(host);
        if host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok() {
            return host;
        }
        psl::domain_str(&host).map_or_else(|| host.clone(), str::to_owned)
    }
}

/// Whether this is a host's full name.
fn is_name(host: &str) -> bool {
    let host = host.trim_end_matches('.');
    let address = host.trim_start_matches("[IPv6:").trim_matches(['[', ']']);
    host.contains('.') && !host.contains('/') && address.parse::<std::net::IpAddr>().is_err()
}

/// The domains that bounces are from; what is none is told.
fn reporting(entries: &[Spanned<String>], wrong: &mut dyn FnMut(usize, String)) -> Vec<String> {
    let mut domains = Vec::with_capacity(entries.len());
    for entry in entries {
        let domain = canonical(entry.get_ref());
        match suffix_problem(&domain) {
            Ok(()) => domains.push(domain),
            Err(problem) => wrong(
                entry.span().start,
                format!("reports_from: {problem}, found {:?}", entry.get_ref()),
            ),
        }
    }
    domains
}

/// The addresses that complaints are from; what is none is told.
fn complaining(entries: &[Spanned<String>], wrong: &mut dyn FnMut(usize, String)) -> Vec<String> {
    let mut addresses = Vec::with_capacity(entries.len());
    for entry in entries {
        match Address::parse(entry.get_ref()) {
            Ok(address) => addresses.push(address.key(LocalPart::Fold).as_str().to_owned()),
            Err(problem) => wrong(entry.span().start, format!("complaints_from: {problem}")),
        }
    }
    addresses
}

/// What keeps a suffix from being that of a provider's hosts (RFC 1123 §2.1).
fn suffix_problem(name: &str) -> Result<(), &'static str> {
    let of_label = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(of_label)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if !name.contains('.') || name.len() > 253 || !name.split('.').all(is_label) {
        return Err("expected a domain like mail.example.com");
    }
    if name.parse::<std::net::IpAddr>().is_ok() {
        return Err("expected the end of host names, not an address");
    }
    if psl::suffix_str(name) == Some(name) && psl::suffix(name.as_bytes()).is_some_and(|s| s.is_known()) {
        return Err("expected the domain of one provider, not one in which everybody registers");
    }
    Ok(())
}

/// The line, from 1, in which an offset lies.
pub(super) fn line_of(text: &str, offset: usize) -> usize {
    let before = &text.as_bytes()[..offset.min(text.len())];
    before.iter().filter(|&&b| b == b'\n').count() + 1
}

/// How many letters differ, are missing or too many (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let cost = corner + usize::from(a != *b);
            corner = row[j + 1];
            row[j + 1] = cost.min(corner + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

fn canonical(host: &str) -> String {
    host.trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_speaks_is_a_provider_or_a_host_of_nobodys() {
        let providers = Providers::shipped().unwrap();
        let table = [
            ("mx00.emig.gmx.net", Some("gmx")),
            ("mx.misc.test", Some("mx.misc.test")),
            ("localhost", None),
            ("private/lmtp", None),
            ("192.0.2.1", None),
            ("[2001:db8::1]", None),
            ("[IPv6:2001:db8::1.2.3.4]", None),
            ("", None),
        ];
        for (host, speaker) in table {
            assert_eq!(providers.speaker(host), speaker, "{host:?}");
        }
    }

    #[test]
    fn hosts_belong_to_the_longest_suffix() {
        let providers = Providers::shipped().unwrap();
        let table = [
            ("gmail-smtp-in.l.google.com", "google"),
            ("ALT1.ASPMX.L.Google.com.", "google"),
            ("outlook-com.olc.protection.outlook.com", "outlook"),
            ("contoso-com.mail.protection.outlook.com", "microsoft365"),
            ("contoso-com.a-v1.mx.microsoft", "microsoft365"),
            ("mta5.am0.yahoodns.net", "yahoo"),
            ("mx-in-hfd.yahoo.co.jp", "yahoo_jp"),
            ("mx01.mail.icloud.com", "apple"),
            ("mx00.emig.gmx.net", "gmx"),
            ("eu-smtp-inbound-1.mimecast.com", "mimecast"),
            // nobody's: the registrable domain, the host, the address
            ("notgoogle.com", "notgoogle.com"),
            ("mx1.mail.example.co.uk", "example.co.uk"),
            ("mx1.misc.test", "misc.test"),
            ("localhost", "localhost"),
            ("192.0.2.1", "192.0.2.1"),
            ("[2001:db8::1]", "[2001:db8::1]"),
            ("", ""),
        ];
        for (host, provider) in table {
            assert_eq!(providers.provider_of_relay(host), provider, "{host}");
        }
    }

    #[test]
    fn documented_limits_are_kept() {
        let providers = Providers::shipped().unwrap();
        let limits = providers.get("yahoo_jp").unwrap().limits;
        assert_eq!(limits.messages_per_second, Some(10));
        assert_eq!(limits.connections, Some(2));
        assert!(providers.get("google").unwrap().limits.tls);
    }

    #[test]
    fn all_mistakes_are_told_in_order() {
        let text = "[[provider]]\nid = \"A\"\nname = \"A\"\nmx = [\"x y\", \"a.test\"]\n\
                    [[provider]]\nid = \"b\"\nname = \"B\"\nmx = []\n";
        let lines: Vec<usize> = Providers::mistakes(text, "x").iter().map(|m| m.line).collect();
        assert_eq!(lines, [2, 4, 6]);
        assert_eq!(Providers::mistakes(Providers::SHIPPED, "x"), []);
    }

    #[test]
    fn mistakes_are_named_with_file_and_line() {
        let good = "[[provider]]\nid = \"a\"\nname = \"A\"\nmx = [\"a.test\"]\n";
        let table = [
            (format!("{good}colour = 1\n"), 5, "unknown field `colour`"),
            (format!("{good}{good}"), 6, "id: \"a\" is given twice"),
            (
                good.replace("id = \"a\"", "id = \"A b\""),
                2,
                "id: expected small letters",
            ),
            (
                format!("{good}{}", good.replace("\"a\"", "\"b\"")),
                8,
                "mx: \"a.test\" belongs to \"a\" already",
            ),
            (
                good.replace("a.test", "com"),
                4,
                "mx: expected a domain like mail.example.com",
            ),
            (
                good.replace("a.test", "*.a.test"),
                4,
                "mx: expected a domain like mail.example.com",
            ),
            (
                good.replace("a.test", "co.uk"),
                4,
                "mx: expected the domain of one provider, not one in which everybody registers",
            ),
            (
                good.replace("a.test", "192.0.2.1"),
                4,
                "mx: expected the end of host names, not an address",
            ),
            (
                format!("{good}reports_from = [\"a.test\", \"co.uk\"]\n"),
                5,
                "reports_from: expected the domain of one provider",
            ),
            (
                format!("{good}complaints_from = [\"staff\"]\n"),
                5,
                "complaints_from: expected user@domain",
            ),
            (
                good.replace("\"a.test\"", ""),
                2,
                "mx: \"a\" has none and can never match",
            ),
            (
                good.replace("\"a.test\"", "\"mx.a.test\", \"a.test\""),
                4,
                "mx: \"mx.a.test\" can never match: a shorter one of \"a\" has all its hosts",
            ),
            ("provider = 1".to_owned(), 1, "invalid type"),
            ("[[provider]]\nid = ".to_owned(), 2, ""),
        ];
        for (text, line, problem) in table {
            let error = Providers::parse(&text, "x.toml").unwrap_err();
            assert!(
                error
                    .to_string()
                    .starts_with(&format!("x.toml:{line}: {problem}")),
                "{error}"
            );
        }
    }
}
