//! Look-up: what a code, a status, a cause, a provider or a rule's name stands for.

use super::words::SUB_CAUSES;
use crate::engine::provider::{Provider, Providers};
use crate::engine::rule::{Rule, RuleSet};
use crate::engine::verdict::Cause;
use crate::mail::reply::{Reply, ReplyCode};
use crate::mail::status::EnhancedStatus;

/// What somebody asks about.
#[derive(Debug, Clone, Copy)]
pub enum Subject<'a> {
    /// A rule, by its id.
    Rule(&'a Rule),
    /// A cause.
    Cause(Cause),
    /// A kind of a cause: the cause, and the kind's name.
    SubCause(Cause, &'a str),
    /// A provider.
    Provider(&'a Provider),
    /// A code, a status, or both.
    Number(Option<ReplyCode>, Option<EnhancedStatus>),
    /// A reply in words.
    Reply,
}

impl<'a> Subject<'a> {
    /// Tells what is asked about. Anything that is no name and no number is a reply.
    #[must_use]
    pub fn of(text: &str, rules: &'a RuleSet, providers: &'a Providers) -> Self {
        let text = text.trim();
        if let Some(rule) = rules.rules().iter().find(|rule| &*rule.id == text) {
            return Self::Rule(rule);
        }
        let word = text.to_ascii_lowercase();
        if let Some(cause) = Cause::from_name(&word.replace(['-', ' '], "_")) {
            return Self::Cause(cause);
        }
        if let Some(&(name, _)) = SUB_CAUSES.iter().find(|(name, _)| *name == word) {
            return Self::SubCause(Cause::AuthFailed, name);
        }
        if let Some(provider) = providers.get(&word) {
            return Self::Provider(provider);
        }
        let mut kinds = rules
            .rules()
            .iter()
            .filter_map(|rule| Some((rule.cause, rule.sub_cause.as_deref()?)));
        if let Some((cause, name)) = kinds.find(|(_, name)| *name == word) {
            return Self::SubCause(cause, name);
        }
        // `x.1.1` is how people write a status of any class.
        let of_any_class = word.strip_prefix("x.").map(|rest| format!("5.{rest}"));
        let reply = Reply::parse(of_any_class.as_deref().unwrap_or(text));
        if reply.text.is_empty() && (reply.code.is_some() || reply.status.is_some()) {
            return Self::Number(reply.code, reply.status);
        }
        Self::Reply
    }
}

/// The rules that name a status or a code among their conditions, and those that know it from replies.
#[derive(Debug, Clone, Default)]
pub struct Named<'a> {
    /// Those that have it as a condition, or in a text.
    pub by_condition: Vec<&'a Rule>,
    /// Those with an example that has it.
    pub by_example: Vec<&'a Rule>,
}

/// Finds the rules that name a status; or, where only a code is asked about, the code.
#[must_use]
pub fn naming(rules: &RuleSet, code: Option<ReplyCode>, status: Option<EnhancedStatus>) -> Named<'_> {
    let mut named = Named::default();
    let written = status.map(|status| status.to_string().replace('.', "\\."));
    for rule in rules.rules() {
        let condition = match status {
            Some(_) => rule.statuses.iter().any(|pattern| pattern.matches(status)),
            None => rule.codes.iter().any(|pattern| pattern.matches(code)),
        };
        let in_text = written
            .as_deref()
            .is_some_and(|written| rule.texts.iter().any(|text| text.contains(written)));
        let in_example = || {
            rule.examples
                .iter()
                .map(|example| Reply::parse(example))
                .any(|reply| match status {
                    Some(_) => reply.status == status && (code.is_none() || reply.code == code),
                    None => reply.code == code,
                })
        };
        if condition || in_text {
            named.by_condition.push(rule);
        } else if in_example() {
            named.by_example.push(rule);
        }
    }
    named
}

/// The rules of a cause.
pub fn of_cause(rules: &RuleSet, cause: Cause) -> impl Iterator<Item = &Rule> {
    rules.rules().iter().filter(move |rule| rule.cause == cause)
}

/// The rules of a kind of a cause.
pub fn of_sub_cause<'a>(rules: &'a RuleSet, name: &str) -> impl Iterator<Item = &'a Rule> {
    rules
        .rules()
        .iter()
        .filter(move |rule| rule.sub_cause.as_deref() == Some(name))
}

/// The rules of a provider.
pub fn of_provider<'a>(rules: &'a RuleSet, id: &str) -> impl Iterator<Item = &'a Rule> {
    rules
        .rules()
        .iter()
        .filter(move |rule| rule.providers.iter().any(|provider| provider == id))
}
