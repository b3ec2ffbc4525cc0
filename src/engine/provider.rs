//! Providers: who runs a mailbox, told by the host name of its mail exchanger, and what they document
//! about how they want to be mailed.
//!
//! The catalogue is data (`config/providers.toml`). What is wrong with it is refused with file and
//! line, and nothing of it is used.

use serde::Deserialize;
use std::collections::HashMap;
use toml::Spanned;

/// The catalogue as shipped.
const SHIPPED: &str = include_str!("../../config/providers.toml");

/// One provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    /// How rules and lanes name it.
    pub id: String,
    /// How people call it.
    pub name: String,
    /// What it documents.
    pub limits: Documented,
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
}

impl Providers {
    /// Reads a catalogue; `file` is its name in errors.
    ///
    /// # Errors
    /// [`ProviderError`] for the first thing that is wrong: no TOML, an unknown or missing key, an id
    /// or a suffix that is malformed or given twice.
    pub fn parse(text: &str, file: &str) -> Result<Self, ProviderError> {
        let error = |start: usize, problem: String| ProviderError {
            file: file.to_owned(),
            line: line_of(text, start),
            problem,
        };
        let parsed: File = toml::from_str(text)
            .map_err(|e| error(e.span().map_or(0, |s| s.start), e.message().to_owned()))?;
        let mut providers = Self {
            list: Vec::new(),
            by_id: HashMap::new(),
            by_suffix: HashMap::new(),
        };
        for entry in parsed.provider {
            providers
                .add(entry)
                .map_err(|(start, problem)| error(start, problem))?;
        }
        Ok(providers)
    }

    /// The catalogue that comes with the program.
    ///
    /// # Errors
    /// None, as long as the tests pass: they read it.
    pub fn shipped() -> Result<Self, ProviderError> {
        Self::parse(SHIPPED, "config/providers.toml")
    }

    fn add(&mut self, entry: Entry) -> Result<(), (usize, String)> {
        let index = self.list.len();
        let id = entry.id.get_ref().clone();
        let at = entry.id.span().start;
        if id.is_empty()
            || !id
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        {
            let problem = format!("id: expected small letters, digits and `_`, found {id:?}");
            return Err((at, problem));
        }
        if self.by_id.insert(id.clone(), index).is_some() {
            return Err((at, format!("id: {id:?} is given twice")));
        }
        for suffix in entry.mx {
            let start = suffix.span().start;
            let name = canonical(suffix.get_ref());
            if name.is_empty() || name.starts_with('.') || !name.contains('.') {
                let problem = format!(
                    "mx: expected a domain like mail.example.com, found {:?}",
                    suffix.get_ref()
                );
                return Err((start, problem));
            }
            if let Some(other) = self.by_suffix.insert(name, index) {
                let owner = self.list.get(other).map_or(&id, |p| &p.id);
                return Err((
                    start,
                    format!("mx: {:?} belongs to {owner:?} already", suffix.get_ref()),
                ));
            }
        }
        self.list.push(Provider {
            id,
            name: entry.name,
            limits: Documented {
                connections: entry.connections,
                messages_per_connection: entry.messages_per_connection,
                messages_per_second: entry.messages_per_second,
                tls: entry.tls,
            },
        });
        Ok(())
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
        let host = canonical(host);
        let mut suffix = host.as_str();
        loop {
            if let Some(&index) = self.by_suffix.get(suffix) {
                return self.list.get(index);
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
