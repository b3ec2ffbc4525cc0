//! Rules: what replies mean, as data (`config/rules/*.toml`, and the operator's own directory).
//!
//! A rule names conditions (provider, code, status, text) that must all hold, and what follows from
//! them. Which rule wins is decided in this order:
//!
//! 1. the operator's rules before the shipped ones;
//! 2. rules with a text before rules with a status, and these before rules with a code only;
//! 3. a provider's rules before general ones. They hold for that provider's hosts, and where nobody knows
//!    who answered; for everybody's only where the rule says so (`anywhere`);
//! 4. the order of the files, and within a file the order of the rules.
//!
//! Texts are regular expressions, matched without regard to case anywhere in the normal form of a reply
//! (`engine::normal`), in linear time. They see octets, not characters: a word boundary or a full stop
//! that knew of Unicode would cost each reply dearly. `…` stands for any words within a sentence. Latin
//! letters lose their accents; others may stand anywhere but in `[…]`. A rule that can never win is
//! refused (`reach` says what is proven), and what is wrong with a rule is told with file and line, and
//! then none is used: a set
//! of rules that is half there judges differently from what its author meant.

use super::provider::Providers;
use super::throttle::Kind;
use super::verdict::{Cause, Remedy};
use crate::mail::reply::ReplyCode;
use crate::mail::status::EnhancedStatus;
use ask::Asks;
use matcher::Matcher;
use regex_syntax::hir::Hir;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

mod ask;
mod automaton;
mod condition;
mod group;
mod matcher;
mod pattern;
mod reach;
mod read;
pub mod reference;
mod required;
mod shipped;
mod words;

pub use condition::Unmet;
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
    /// Whether its texts give its providers away, and it holds whoever answered: software that runs under
    /// other names, too, or words that others hand on.
    pub anywhere: bool,
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
    /// What of a lane it lowers, where it is not what the cause does.
    pub throttle: Option<Kind>,
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
    /// Who runs the server: a provider's id, or any other name where it is none of the catalogue's
    /// (`Providers::speaker`), and then only general rules and those for anywhere hold. `None` where that
    /// is unknown, and then every provider's texts are tried.
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
    /// What a text's rule asks for besides.
    asks: Asks,
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
                let (rules, problems) = read::read(name, text, providers);
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
        for tier in ranked.chunk_by(|(a, _), (b, _)| a.0 == b.0) {
            let rules: Vec<&Rule> = tier.iter().map(|(_, rule)| rule).collect();
            let never = reach::never_winning(&rules).into_iter();
            errors.extend(never.map(|(position, why)| error(rules[position], why)));
        }
        // The shipped rules, of the last tier, have tests for their examples.
        let own = ranked
            .iter()
            .filter(|(rank, _)| tiers.len() == 1 || rank.0 + 1 < tiers.len())
            .count();
        let set = Self::build(ranked.into_iter().map(|(_, rule)| rule).collect())?;
        errors.extend(reach::lost_examples(&set, own));
        if errors.is_empty() { Ok(set) } else { Err(errors) }
    }

    fn build(rules: Vec<Rule>) -> Result<Self, Vec<RuleError>> {
        let mut owners = Vec::new();
        let mut texts = Vec::new();
        let mut named = Vec::new();
        let mut asks = Asks::default();
        let mut plain = Vec::new();
        for (index, rule) in rules.iter().enumerate() {
            if rule.texts.is_empty() {
                plain.push(index);
            }
            for text in &rule.texts {
                named.push(text.contains("(?P<sub>"));
                asks.push(rule);
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
            asks,
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

    /// Whether a text is about the words of this provider.
    #[must_use]
    pub fn is_about(&self, provider: &str) -> bool {
        self.asks.is_about(provider)
    }

    /// The rule that wins, and the kind of cause that it found in the text.
    #[must_use]
    pub fn find(&self, question: &Question<'_>) -> Option<(&Rule, Option<Arc<str>>)> {
        let octets = question.text.as_bytes();
        let bits = self.asks.bits_of(question.provider);
        let text = self.texts.first(octets, |text| {
            let rule = &self.rules[self.owners[text]];
            self.asks.hold(text, bits, rule, question)
        });
        let best = text.map(|found| (self.owners[found.pattern], found));
        let mut plain = self.plain.iter().copied();
        let before = best.map_or(usize::MAX, |(index, _)| index);
        let plain = plain.find(|&index| index > before || self.rules[index].applies(question));
        if let Some(index) = plain.filter(|&index| index < before) {
            let rule = &self.rules[index];
            return Some((rule, rule.sub_cause.clone()));
        }
        let (index, found) = best?;
        let rule = &self.rules[index];
        let group = self.named[found.pattern]
            .then(|| self.texts.group(found, octets))
            .flatten();
        let named = group.map(|group| lower(&octets[group]));
        Some((rule, named.or_else(|| rule.sub_cause.clone())))
    }
}

/// A name in lower case; the normal form of a text has no other.
fn lower(name: &[u8]) -> Arc<str> {
    let name = String::from_utf8_lossy(name);
    let is_lower = |octet: u8| octet.is_ascii() && !octet.is_ascii_uppercase();
    if name.bytes().all(is_lower) {
        return name.as_ref().into();
    }
    name.to_lowercase().into()
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

    /// Whether it is about the words of every provider.
    #[must_use]
    pub fn is_general(&self) -> bool {
        self.providers.is_empty() || self.anywhere
    }

    /// Whether it is about the words of a provider (`Question::provider`).
    fn is_of(&self, provider: Option<&str>) -> bool {
        match provider {
            _ if self.is_general() => true,
            Some(provider) => self.providers.iter().any(|p| p == provider),
            // A text can give its provider away; a bare number cannot.
            None => !self.texts.is_empty(),
        }
    }

    /// Whether all conditions but the text hold.
    fn applies(&self, question: &Question<'_>) -> bool {
        self.is_of(question.provider)
            && (self.codes.is_empty() || self.codes.iter().any(|p| p.matches(question.code)))
            && (self.statuses.is_empty() || self.statuses.iter().any(|p| p.matches(question.status)))
    }
}

/// Reads a text: as a regular expression over octets, and its syntax tree.
fn parse_text(text: &str) -> Result<(String, Hir), String> {
    let octets = pattern::octets(text).map_err(|problem| format!("text: {problem}"))?;
    let hir = syntax_of(&octets).map_err(|problem| format!("text: {problem}"))?;
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

/// The syntax tree of a pattern over octets, as all are read.
fn syntax_of(octets: &str) -> Result<Hir, Box<regex_syntax::Error>> {
    regex_syntax::ParserBuilder::new()
        .case_insensitive(true)
        .unicode(false)
        .utf8(false)
        .build()
        .parse(octets)
        .map_err(Box::new)
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
