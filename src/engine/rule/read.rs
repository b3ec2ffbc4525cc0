//! Reading rules from their files (TOML): what they say, and everything that is wrong with them, with the line.
//! A file that is no TOML has no rules; one bad rule does not keep the others' mistakes from being told.

use super::{CodePattern, Rule, RuleError, StatusPattern, parse_text};
use crate::engine::provider::{Providers, line_of};
use crate::engine::throttle::Kind;
use crate::engine::verdict::{Cause, Remedy, Scope};
use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use toml::Spanned;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    rule: Vec<Spanned<Entry>>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: Spanned<String>,
    provider: Option<Many>,
    anywhere: Option<Spanned<bool>>,
    code: Option<Many>,
    status: Option<Many>,
    text: Option<Many>,
    cause: Spanned<String>,
    sub_cause: Option<String>,
    permanent: Option<bool>,
    remedy: Option<Spanned<String>>,
    hold: Option<Spanned<String>>,
    throttle: Option<Spanned<String>>,
    advice: Option<String>,
    link: Option<String>,
    #[serde(default)]
    examples: Vec<String>,
}

/// One value or a list of them, and where they stand.
type Many = Spanned<Values>;

enum Values {
    One(String),
    List(Vec<Spanned<String>>),
}

impl<'de> Deserialize<'de> for Values {
    // By hand: serde's untagged enums lose the positions.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Values;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of texts")
            }

            fn visit_str<E>(self, one: &str) -> Result<Values, E> {
                Ok(Values::One(one.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Values, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(Values::List(list))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// What is wrong, and at which offset.
type Problem = (usize, String);

/// Reads one file: its rules, and what is wrong with the others.
pub(super) fn read(file: &str, text: &str, providers: &Providers) -> (Vec<Rule>, Vec<RuleError>) {
    let error = |start: usize, problem: String| RuleError {
        file: file.to_owned(),
        line: line_of(text, start),
        problem,
    };
    let parsed: File = match toml::from_str(text) {
        Ok(parsed) => parsed,
        Err(e) => {
            let start = e.span().map_or(0, |span| span.start);
            return (Vec::new(), vec![error(start, e.message().to_owned())]);
        }
    };
    let name: Arc<str> = file.into();
    let mut rules = Vec::new();
    let mut errors = Vec::new();
    for entry in parsed.rule {
        let line = line_of(text, entry.get_ref().id.span().start);
        match rule(entry.into_inner(), providers, name.clone(), line) {
            Ok(rule) => rules.push(rule),
            Err(problems) => errors.extend(problems.into_iter().map(|(at, problem)| error(at, problem))),
        }
    }
    (rules, errors)
}

/// Checks one rule.
fn rule(entry: Entry, providers: &Providers, file: Arc<str>, line: usize) -> Result<Rule, Vec<Problem>> {
    let mut wrong = Wrong(Vec::new());
    let start = entry.id.span().start;
    let id = entry.id.get_ref().as_str();
    if id.is_empty() || !id.bytes().all(|b| b.is_ascii_graphic() && b != b'"') {
        wrong.say(
            start,
            format!("id: expected a word like google.unusual-rate, found {id:?}"),
        );
    }
    let rule = Rule {
        id: id.into(),
        providers: wrong.list(entry.provider, |name| match providers.get(name) {
            Some(provider) => Ok(provider.id.clone()),
            None => Err(format!("provider: expected one of the catalogue, found {name:?}")),
        }),
        anywhere: entry
            .anywhere
            .as_ref()
            .is_some_and(|anywhere| *anywhere.get_ref()),
        codes: wrong.list(entry.code, CodePattern::parse),
        statuses: wrong.list(entry.status, StatusPattern::parse),
        texts: wrong.list(entry.text, |text| parse_text(text).map(|_| text.to_owned())),
        cause: wrong
            .name(&entry.cause, "cause", Cause::from_name)
            .unwrap_or(Cause::Unknown),
        sub_cause: entry.sub_cause.map(Into::into),
        permanent: entry.permanent,
        remedy: entry
            .remedy
            .as_ref()
            .and_then(|remedy| wrong.name(remedy, "remedy", Remedy::from_name)),
        hold: entry.hold.as_ref().and_then(|hold| wrong.hold(hold)),
        throttle: entry
            .throttle
            .as_ref()
            .and_then(|kind| wrong.name(kind, "throttle", Kind::from_name)),
        advice: entry.advice.map(Into::into),
        link: entry.link.map(Into::into),
        examples: entry.examples,
        file,
        line,
    };
    if rule.codes.is_empty() && rule.statuses.is_empty() && rule.texts.is_empty() {
        wrong.say(
            start,
            "expected at least one of code, status and text, found none".to_owned(),
        );
    }
    if let Some(anywhere) = entry
        .anywhere
        .filter(|_| rule.providers.is_empty() || rule.texts.is_empty())
    {
        let problem = "anywhere: expected a rule with a provider and a text".to_owned();
        wrong.say(anywhere.span().start, problem);
    }
    if let Err(problem) = rule.harmless() {
        wrong.say(
            entry.remedy.as_ref().map_or(start, |r| r.span().start),
            problem.to_owned(),
        );
    }
    if let Some(kind) = entry.throttle.filter(|_| !rule.throttles()) {
        wrong.say(
            kind.span().start,
            format!(
                "throttle: expected a rule that throttles, found one of {}",
                rule.cause
            ),
        );
    }
    if wrong.0.is_empty() {
        Ok(rule)
    } else {
        Err(wrong.0)
    }
}

impl Rule {
    /// Whether it may slow a lane down.
    fn throttles(&self) -> bool {
        match self.remedy {
            Some(remedy) => remedy == Remedy::Throttle,
            None => self.cause.remedy(false) == Remedy::Throttle,
        }
    }

    /// The first rule of the house holds for rules, too: only a recipient's or a domain's own fault
    /// costs anybody their mail.
    fn harmless(&self) -> Result<(), &'static str> {
        let suppresses = matches!(self.remedy, Some(Remedy::Suppress | Remedy::SuppressIfRepeated));
        if suppresses && !matches!(self.cause.scope(), Scope::Recipient | Scope::Domain) {
            return Err("remedy: only a cause of the recipient or the domain may suppress");
        }
        if self.remedy == Some(Remedy::Suppress) && self.permanent == Some(false) {
            return Err("remedy: only a permanent fault may suppress");
        }
        Ok(())
    }
}

/// Collects what is wrong with a rule, so that all of it is told at once.
struct Wrong(Vec<Problem>);

impl Wrong {
    fn say(&mut self, at: usize, problem: String) {
        self.0.push((at, problem));
    }

    fn list<T>(&mut self, values: Option<Many>, parse: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        let span = values.as_ref().map_or(0..0, Spanned::span);
        let values = match values.map(Spanned::into_inner) {
            None => Vec::new(),
            Some(Values::One(value)) => vec![Spanned::new(span, value)],
            Some(Values::List(values)) => values,
        };
        let mut read = Vec::with_capacity(values.len());
        for value in values {
            match parse(value.get_ref()) {
                Ok(item) => read.push(item),
                Err(problem) => self.say(value.span().start, problem),
            }
        }
        read
    }

    fn name<T>(
        &mut self,
        value: &Spanned<String>,
        key: &str,
        from_name: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let read = from_name(value.get_ref());
        if read.is_none() {
            self.say(
                value.span().start,
                format!("{key}: expected a known name, found {:?}", value.get_ref()),
            );
        }
        read
    }

    fn hold(&mut self, value: &Spanned<String>) -> Option<Duration> {
        let parsed: Result<jiff::SignedDuration, _> = value.get_ref().parse();
        let hold = parsed.ok().and_then(|hold| Duration::try_from(hold).ok());
        if hold.is_none_or(|hold| hold.is_zero()) {
            let problem = format!(
                "hold: expected a time like 30m or 2h, found {:?}",
                value.get_ref()
            );
            self.say(value.span().start, problem);
        }
        hold
    }
}
