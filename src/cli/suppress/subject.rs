//! Whom a command is about: an address, a domain or a pattern, in all mail or in one stream.

use crate::config::Settings;
use crate::engine::gate::stream;
use crate::engine::suppression::{Subject, Target};
use crate::mail::address::{Address, AddressKey, canonical_domain};
use anyhow::bail;
use clap::{ArgGroup, Args};

/// An address, a domain or a pattern, and a stream.
#[derive(Debug, Args)]
#[group(skip)]
#[command(group(ArgGroup::new("whom").required(true).args(["address", "domain", "pattern"])))]
pub struct SubjectArguments {
    /// An address
    pub address: Option<String>,
    /// Every address of a domain (not of those below it)
    #[arg(long)]
    pub domain: Option<String>,
    /// Every address that a pattern matches, as in '*@*.example.org'; * is any characters
    #[arg(long)]
    pub pattern: Option<String>,
    /// Only mail of this stream ([[stream]] of the configuration, or default)
    #[arg(long)]
    pub stream: Option<String>,
}

impl SubjectArguments {
    /// The subject.
    ///
    /// # Errors
    /// What was expected and what was found.
    pub fn read(&self, settings: &Settings) -> anyhow::Result<Subject> {
        let subject = match (&self.address, &self.domain, &self.pattern) {
            (Some(address), _, _) => whom(address, settings)?.key.into(),
            (_, Some(domain), _) => domain_of(domain)?,
            (_, _, Some(pattern)) => pattern_of(pattern)?,
            (None, None, None) => bail!("expected an address, --domain or --pattern"),
        };
        let stream = self.stream.as_deref();
        if let Some(name) = stream {
            check_stream(name, settings)?;
        }
        Ok(subject.in_stream(stream))
    }
}

/// An address that somebody named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whom {
    /// As it compares.
    pub clear: AddressKey,
    /// As it is kept.
    pub key: AddressKey,
}

/// Reads an address.
///
/// # Errors
/// What was expected and what was found; whatever is wrong with the key of `[privacy]`.
pub fn whom(address: &str, settings: &Settings) -> anyhow::Result<Whom> {
    let clear = Address::parse(address)?.key(settings.address.local_part);
    let key = settings.veil()?.over(clear.clone());
    Ok(Whom { clear, key })
}

fn domain_of(text: &str) -> anyhow::Result<Subject> {
    let bare = text.strip_prefix('@').unwrap_or(text);
    match canonical_domain(bare).filter(|domain| domain.contains('.') && !domain.contains('*')) {
        Some(domain) => Ok(Subject::domain(&domain)),
        None => bail!("--domain: expected a domain like example.org, found {text:?}"),
    }
}

/// Letters that a pattern must have behind its `@` at least: one that matches everybody is no suppression but a
/// stop, and there are better ways to stop.
fn pattern_of(text: &str) -> anyhow::Result<Subject> {
    let problem =
        || format!("--pattern: expected one like '*@*.example.org' or 'test-*@example.org', found {text:?}");
    let Some((local, domain)) = text.rsplit_once('@') else {
        bail!(problem());
    };
    let letters = |part: &str| part.chars().filter(|c| c.is_alphanumeric()).count();
    if local.is_empty() || text.chars().any(|c| c.is_whitespace() || c.is_control()) || letters(domain) < 2 {
        bail!(problem());
    }
    Ok(Subject::pattern(text))
}

/// Whether a stream of this name is configured.
///
/// # Errors
/// Which there are.
pub fn check_stream(name: &str, settings: &Settings) -> anyhow::Result<()> {
    let known: Vec<&str> = settings
        .stream
        .iter()
        .map(|stream| stream.name.as_str())
        .collect();
    if name == stream::DEFAULT || known.contains(&name) {
        return Ok(());
    }
    let known = [known.as_slice(), &[stream::DEFAULT]].concat();
    bail!("--stream: expected one of {}, found {name:?}", known.join(", "))
}

/// All subjects that mail to an address is looked up under, patterns left out: itself and its domain, in all mail and
/// in each stream, in the order of the look-up.
#[must_use]
pub fn all_of(whom: &Whom, settings: &Settings) -> Vec<Subject> {
    let streams: Vec<&str> = settings
        .stream
        .iter()
        .map(|stream| stream.name.as_str())
        .filter(|name| *name != stream::DEFAULT)
        .chain([stream::DEFAULT])
        .collect();
    let mut subjects = Vec::new();
    for whom in [
        Subject::address(whom.key.clone()),
        Subject::domain(whom.clear.domain()),
    ] {
        subjects.push(whom.clone());
        subjects.extend(streams.iter().map(|name| whom.clone().in_stream(Some(name))));
    }
    subjects
}

/// A subject as people say it.
#[must_use]
pub fn name(subject: &Subject) -> String {
    let whom = match &subject.target {
        Target::Address(key) => key.to_string(),
        Target::Domain(domain) => format!("every address at {domain}"),
        Target::Pattern(pattern) => format!("every address like {pattern}"),
    };
    match &subject.stream {
        Some(stream) => format!("{whom}, in the stream {stream},"),
        None => whom,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_and_patterns_are_checked() {
        for (text, subject) in [
            ("@Example.ORG.", "@example.org"),
            ("köln.example", "@xn--kln-sna.example"),
        ] {
            assert_eq!(domain_of(text).unwrap().to_string(), subject);
        }
        for bad in ["", "org", "a b.org", "*.example.org", "a@b.org"] {
            assert!(domain_of(bad).is_err(), "{bad}");
        }
        assert_eq!(
            pattern_of("*@*.Example.org").unwrap().to_string(),
            ":*@*.example.org"
        );
        for bad in ["", "*", "*@*", "*@*.*", "@example.org", "a b@example.org", "x"] {
            assert!(pattern_of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_look_up_goes_from_the_address_to_its_domain() {
        let whom = whom("a@b.test", &Settings::default()).unwrap();
        let texts: Vec<String> = all_of(&whom, &Settings::default())
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            texts,
            ["a@b.test", "a@b.test default", "@b.test", "@b.test default"]
        );
    }
}
