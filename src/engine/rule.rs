//! Rules: what replies mean, as data (`config/rules/*.toml`, and the operator's own directory).
//!
//! A rule names conditions (provider, code, status, text) that must all hold, and what follows from
//! them. Which rule wins is decided in this order:
//!
//! 1. the operator's rules before the shipped ones;
//! 2. rules with a text before rules with a status, and these before rules with a code only;
//! 3. a provider's rules before general ones;
//! 4. the order of the files, and within a file the order of the rules.
//!
//! Texts are regular expressions, matched without regard to case anywhere in the text of the reply, in
//! linear time. They see octets, not characters: a word boundary or a full stop that knew of Unicode
//! would cost each reply dearly. `…` stands for any words within a sentence. Letters beyond ASCII may stand anywhere but in `[…]`; texts that have
//! any are to be asked in lower case. What is wrong with a rule is refused with file and line, and then none is used: a set
//! of rules that is half there judges differently from what its author meant.

use super::provider::{Providers, line_of};
use super::verdict::{Cause, Remedy, Scope};
use crate::mail::reply::ReplyCode;
use crate::mail::status::EnhancedStatus;
use matcher::Matcher;
use regex_syntax::hir::Hir;
use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use toml::Spanned;

mod matcher;
mod pattern;
pub mod plain;
mod required;
mod shipped;
mod words;

pub use pattern::{CodePattern, StatusPattern};

/// The most states that a text may need, roughly: a text of a rule has a few hundred.
const MOST_STATES: usize = 10_000;

/// One rule.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Its name, unique in the set: `google.unusual-rate`.
    pub id: Arc<str>,
    /// The providers whose replies it is about; empty for all.
    pub providers: Vec<String>,
    /// The codes, one of which must be there; empty for any.
    pub codes: Vec<CodePattern>,
    /// The statuses, one of which must be there; empty for any.
    pub statuses: Vec<StatusPattern>,
    /// The texts, one of which must be there; empty for any.
    pub texts: Vec<String>,
    /// What it means.
    pub cause: Cause,
    /// Which kind of the cause. Where a text has a group `(?P<sub>…)`, what it matched is preferred.
    pub sub_cause: Option<Arc<str>>,
    /// Whether trying again is useless, where the codes do not tell.
    pub permanent: Option<bool>,
    /// What should come of it, where it is not what usually comes of the cause.
    pub remedy: Option<Remedy>,
    /// How long the lane should rest.
    pub hold: Option<Duration>,
    /// One sentence on what to put right.
    pub advice: Option<Arc<str>>,
    /// Where the provider documents it.
    pub link: Option<Arc<str>>,
    /// Replies that it is for.
    pub examples: Vec<String>,
    /// The file it stands in.
    pub file: Arc<str>,
    /// The line, from 1.
    pub line: usize,
}

/// What is asked of the rules.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The text of the reply.
    pub text: &'a str,
    /// Its code.
    pub code: Option<ReplyCode>,
    /// Its status.
    pub status: Option<EnhancedStatus>,
    /// Who runs the server; `None` where that is unknown, and then every provider's texts are tried.
    pub provider: Option<&'a str>,
}

/// A compiled set of rules.
#[derive(Debug, Clone)]
pub struct RuleSet {
    /// Best first.
    rules: Vec<Rule>,
    /// Every text of every rule, in their order.
    texts: Arc<Matcher>,
    /// The rule that a text belongs to, by the text's position.
    owners: Vec<usize>,
    /// Whether a text has a group named `sub`, by the text's position.
    named: Vec<bool>,
    /// The rules without a text.
    plain: Vec<usize>,
}

/// What is wrong with a rule, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {problem}")]
pub struct RuleError {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// What was expected, and what was found.
    pub problem: String,
}

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
    code: Option<Many>,
    status: Option<Many>,
    text: Option<Many>,
    cause: Spanned<String>,
    sub_cause: Option<String>,
    permanent: Option<bool>,
    remedy: Option<Spanned<String>>,
    hold: Option<Spanned<String>>,
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

impl RuleSet {
    /// Compiles the rules of files, given as (name, content), all of one standing.
    ///
    /// # Errors
    /// A [`RuleError`] for everything that is wrong.
    pub fn compile(files: &[(&str, &str)], providers: &Providers) -> Result<Self, Vec<RuleError>> {
        Self::compile_tiers(&[files], providers)
    }

    /// The rules that come with the program.
    ///
    /// # Errors
    /// Only for providers other than the shipped ones, where one that a rule names is missing.
    pub fn shipped(providers: &Providers) -> Result<Self, Vec<RuleError>> {
        Self::with_operator(&[], providers)
    }

    /// The operator's rules, and after them the shipped ones. An operator's rule takes the place of the
    /// shipped one with the same id.
    ///
    /// # Errors
    /// A [`RuleError`] for everything that is wrong.
    pub fn with_operator(files: &[(&str, &str)], providers: &Providers) -> Result<Self, Vec<RuleError>> {
        Self::compile_tiers(&[files, shipped::FILES], providers)
    }

    fn compile_tiers(tiers: &[&[(&str, &str)]], providers: &Providers) -> Result<Self, Vec<RuleError>> {
        let mut ranked: Vec<((usize, u8, bool), Rule)> = Vec::new();
        let mut errors = Vec::new();
        let mut seen: HashMap<Arc<str>, (usize, Arc<str>, usize)> = HashMap::new();
        for (tier, files) in tiers.iter().enumerate() {
            for &(name, text) in *files {
                let (rules, problems) = read(name, text, providers);
                errors.extend(problems);
                for rule in rules {
                    let place = (tier, rule.file.clone(), rule.line);
                    match seen.get(&rule.id) {
                        Some((earlier, ..)) if *earlier < tier => continue,
                        Some((_, file, line)) => {
                            let problem = format!("id: {:?} is taken at {file}:{line}", rule.id);
                            errors.push(error(&rule, problem));
                        }
                        None => drop(seen.insert(rule.id.clone(), place)),
                    }
                    ranked.push(((tier, rule.standing(), rule.providers.is_empty()), rule));
                }
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        ranked.sort_by_key(|&(rank, _)| rank);
        Self::build(ranked.into_iter().map(|(_, rule)| rule).collect())
    }

    fn build(rules: Vec<Rule>) -> Result<Self, Vec<RuleError>> {
        let mut owners = Vec::new();
        let mut texts = Vec::new();
        let mut named = Vec::new();
        let mut plain = Vec::new();
        for (index, rule) in rules.iter().enumerate() {
            if rule.texts.is_empty() {
                plain.push(index);
            }
            for text in &rule.texts {
                named.push(text.contains("(?P<sub>"));
                owners.push(index);
                texts.push(parse_text(text).map_err(|problem| vec![error(rule, problem)])?);
            }
        }
        let examples = rules.iter().flat_map(|rule| &rule.examples).map(String::as_str);
        Ok(Self {
            texts: Arc::new(Matcher::new(texts, examples)),
            rules,
            owners,
            named,
            plain,
        })
    }

    /// Every rule, best first.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// What the compiled set holds: the octets of the tables that texts are looked up in, and how many texts
    /// of rules have been compiled so far, which happens once for each, when it may first match.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        self.texts.size()
    }

    /// The rule that wins, and the kind of cause that it found in the text.
    #[must_use]
    pub fn find(&self, question: &Question<'_>) -> Option<(&Rule, Option<Arc<str>>)> {
        let octets = question.text.as_bytes();
        let text = self
            .texts
            .first(octets, |text| self.rules[self.owners[text]].applies(question));
        let best = text.map(|text| (self.owners[text], text));
        let mut plain = self.plain.iter().copied();
        let before = best.map_or(usize::MAX, |(index, _)| index);
        let plain = plain.find(|&index| index > before || self.rules[index].applies(question));
        if let Some(index) = plain.filter(|&index| index < before) {
            let rule = &self.rules[index];
            return Some((rule, rule.sub_cause.clone()));
        }
        let (index, text) = best?;
        let rule = &self.rules[index];
        let regex = self.named[text].then(|| self.texts.pattern(text)).flatten();
        let captured = regex.and_then(|regex| {
            let found = regex.captures(octets)?.name("sub")?;
            Some(String::from_utf8_lossy(found.as_bytes()).to_lowercase().into())
        });
        Some((rule, captured.or_else(|| rule.sub_cause.clone())))
    }
}

impl Rule {
    /// Text before status before code.
    fn standing(&self) -> u8 {
        match (self.texts.is_empty(), self.statuses.is_empty()) {
            (false, _) => 0,
            (true, false) => 1,
            (true, true) => 2,
        }
    }

    /// Whether all conditions but the text hold.
    fn applies(&self, question: &Question<'_>) -> bool {
        let provider = match question.provider {
            _ if self.providers.is_empty() => true,
            Some(provider) => self.providers.iter().any(|p| p == provider),
            // A text can give its provider away; a bare number cannot.
            None => !self.texts.is_empty(),
        };
        provider
            && (self.codes.is_empty() || self.codes.iter().any(|p| p.matches(question.code)))
            && (self.statuses.is_empty() || self.statuses.iter().any(|p| p.matches(question.status)))
    }
}

/// Reads one file: its rules, and what is wrong with the others.
fn read(file: &str, text: &str, providers: &Providers) -> (Vec<Rule>, Vec<RuleError>) {
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
    if let Err(problem) = rule.harmless() {
        wrong.say(
            entry.remedy.as_ref().map_or(start, |r| r.span().start),
            problem.to_owned(),
        );
    }
    if wrong.0.is_empty() {
        Ok(rule)
    } else {
        Err(wrong.0)
    }
}

impl Rule {
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

/// Reads a text: as a regular expression over octets, and its syntax tree.
fn parse_text(text: &str) -> Result<(String, Hir), String> {
    let octets = pattern::octets(text).map_err(|problem| format!("text: {problem}"))?;
    let hir = regex_syntax::ParserBuilder::new()
        .case_insensitive(true)
        .unicode(false)
        .utf8(false)
        .build()
        .parse(&octets)
        .map_err(|problem| format!("text: {problem}"))?;
    if hir.properties().minimum_len().is_none_or(|least| least == 0) {
        return Err(format!(
            "text: expected a pattern that needs some text, found {text:?}"
        ));
    }
    if required::states(&hir) > MOST_STATES {
        return Err(format!("text: expected a smaller pattern, found {text:?}"));
    }
    Ok((octets, hir))
}

fn error(rule: &Rule, problem: String) -> RuleError {
    RuleError {
        file: rule.file.to_string(),
        line: rule.line,
        problem,
    }
}

#[cfg(test)]
mod tests;
