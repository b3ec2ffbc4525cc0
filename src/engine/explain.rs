//! Explanations: why a reply is judged as it is, and what the rules and the standards know of a code, a
//! status, a cause or a word.
//!
//! Nothing here judges: [`explain`] asks the same judgement as every intake, and then looks at the rules
//! once more for what else would have fitted. Nothing here fails; what nobody knows is said to be unknown.

pub mod lookup;
pub mod search;
pub mod words;

use super::classify::{Phase, agreeing, asked};
use super::heard::Heard;
use super::provider::{Provider, Providers};
use super::rule::{Question, Rule, RuleSet, Unmet};
use super::verdict::{Cause, Remedy, Verdict};
use crate::mail::status::EnhancedStatus;
use std::cmp::Ordering;

/// Near misses that are told.
const NEAR: usize = 8;

/// How it is known who runs the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KnownBy {
    /// Somebody said so.
    Name,
    /// By the host that answered.
    Host,
    /// By the words: the rule that won is that provider's.
    Words,
}

/// What a reply means, and why.
#[derive(Debug, Clone)]
pub struct Explanation<'a> {
    /// What was said, and the circumstances.
    pub heard: Heard,
    /// The status that was judged by.
    pub status: Option<EnhancedStatus>,
    /// Who runs the server, and how that is known.
    pub provider: Option<(&'a Provider, KnownBy)>,
    /// What it means.
    pub verdict: Verdict,
    /// The rule that fits best. The verdict may still be another: see [`Explanation::guard`].
    pub rule: Option<&'a Rule>,
    /// The pattern of that rule that the reply holds; `None` where it has none.
    pub text: Option<&'a str>,
    /// Why the verdict is not the rule's.
    pub guard: Option<&'static str>,
    /// What else fits or nearly does, the best first.
    pub near: Vec<NearMiss<'a>>,
}

/// A rule that did not win, and why.
#[derive(Debug, Clone)]
pub struct NearMiss<'a> {
    /// The rule.
    pub rule: &'a Rule,
    /// Why it lost.
    pub why: String,
}

/// Explains a reply. `named` is the provider that the asker names, as an id or an MX host that nobody need
/// know.
#[must_use]
pub fn explain<'a>(
    rules: &'a RuleSet,
    providers: &'a Providers,
    mut heard: Heard,
    named: Option<&str>,
) -> Explanation<'a> {
    let by_name = named.and_then(|name| providers.get(name).or_else(|| providers.of_host(name)));
    if by_name.is_none() {
        heard.host = heard.host.or_else(|| named.map(str::to_owned));
    }
    let by_host = || heard.host.as_deref().and_then(|host| providers.of_host(host));
    let known = by_name
        .map(|provider| (provider, KnownBy::Name))
        .or_else(|| by_host().map(|provider| (provider, KnownBy::Host)));
    let host = heard.host.clone();
    let id = known.map(|(provider, _)| provider.id.as_str());
    let id = id.or_else(|| providers.speaker(host.as_deref()?));
    let verdict = heard.verdict(rules, id);
    let text = asked(&heard.reply.text);
    let status = heard
        .reply
        .status
        .or_else(|| agreeing(heard.reported, heard.reply.code));
    let question = Question {
        text: &text,
        code: heard.reply.code,
        status,
        provider: id,
    };
    // The one that was obeyed, or that a guard overruled.
    let obeyed = rules.rules().iter().find(|rule| rule.id == verdict.rule);
    let rule = obeyed.or_else(|| rules.find(&question).map(|(rule, _)| rule));
    let by_words = || {
        let [only] = rule?.providers.as_slice() else {
            return None;
        };
        Some((providers.get(only)?, KnownBy::Words))
    };
    Explanation {
        status,
        provider: known.or_else(by_words),
        rule,
        text: rule.and_then(|rule| rule.text_in(&text)),
        guard: rule
            .is_none_or(|rule| rule.id != verdict.rule)
            .then(|| words::guard(&verdict.rule))
            .flatten(),
        near: near_misses(rules, &question, rule),
        verdict,
        heard,
    }
}

/// The rules that fit, too, and those whose text is there while one other condition does not hold.
fn near_misses<'a>(rules: &'a RuleSet, question: &Question<'_>, winner: Option<&Rule>) -> Vec<NearMiss<'a>> {
    let mut found: Vec<(Vec<Unmet>, &Rule)> = Vec::new();
    for rule in rules.rules() {
        if winner.is_some_and(|winner| winner.id == rule.id) {
            continue;
        }
        let unmet = rule.unmet(question);
        // Two numbers in common make no near miss: without a text, all has to hold.
        let near = if rule.texts.is_empty() {
            unmet.is_empty()
        } else {
            unmet.len() <= 1 && rule.text_in(question.text).is_some()
        };
        if near {
            found.push((unmet, rule));
        }
    }
    // What fits in every respect first; and what has a text before what has a number only.
    found.sort_by(|(a, x), (b, y)| match (a.is_empty(), b.is_empty()) {
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        _ => x.texts.is_empty().cmp(&y.texts.is_empty()),
    });
    found.truncate(NEAR);
    let why = |unmet: &[Unmet], rule: &Rule| match (unmet.first(), winner) {
        (Some(unmet), _) => unfit(unmet, rule, question),
        (None, Some(winner)) => outranked(rule, winner),
        (None, None) => "it fits, and still did not win".to_owned(),
    };
    found
        .into_iter()
        .map(|(unmet, rule)| NearMiss {
            why: why(&unmet, rule),
            rule,
        })
        .collect()
}

/// Which of its conditions the reply does not meet.
fn unfit(unmet: &Unmet, rule: &Rule, question: &Question<'_>) -> String {
    let given = |what: Option<String>| what.unwrap_or_else(|| "none".to_owned());
    match unmet {
        Unmet::Provider => format!(
            "its text fits, but it is for {}, not for {}",
            rule.providers.join(", "),
            question.provider.unwrap_or("a provider that nobody knows")
        ),
        Unmet::Code => format!(
            "its text fits, but not its code ({}): the reply's is {}",
            rule.conditions(),
            given(question.code.map(|code| code.to_string()))
        ),
        Unmet::Status => format!(
            "its text fits, but not its status ({}): the reply's is {}",
            rule.conditions(),
            given(question.status.map(|status| status.to_string()))
        ),
    }
}

/// Why one rule that fits comes after another (`engine::rule` has the order).
fn outranked(rule: &Rule, winner: &Rule) -> String {
    let standing = |rule: &Rule| match (rule.texts.is_empty(), rule.statuses.is_empty()) {
        (false, _) => "a text",
        (true, false) => "a status",
        (true, true) => "a code",
    };
    let (ours, theirs) = (standing(rule), standing(winner));
    let reason = if rule.is_shipped() && !winner.is_shipped() {
        "yours come before the shipped ones".to_owned()
    } else if ours != theirs {
        format!("{ours} comes after {theirs}")
    } else if rule.providers.is_empty() && !winner.providers.is_empty() {
        "general comes after provider".to_owned()
    } else {
        "it stands further down".to_owned()
    };
    format!("ranked lower: {reason}")
}

/// The lane that a failure would hold: provider × egress.
#[must_use]
pub fn lane(explanation: &Explanation<'_>, providers: &Providers, egress: &str) -> String {
    let provider = match (explanation.provider, explanation.heard.host.as_deref()) {
        // The words of one may come from another's host.
        (Some((_, KnownBy::Words)) | None, Some(host)) => providers.provider_of_relay(host),
        (Some((provider, _)), _) => provider.id.clone(),
        (None, None) => "of the server that says so".to_owned(),
    };
    format!("{provider} × {egress}")
}

/// What the asker should know about the circumstances, where it changed the verdict.
#[must_use]
pub fn circumstance(phase: Phase) -> Option<&'static str> {
    match phase {
        Phase::Session => Some("in reply to the connection, EHLO, STARTTLS or AUTH"),
        Phase::Sender => Some("in reply to MAIL FROM"),
        Phase::Recipient => Some("in reply to RCPT TO"),
        Phase::Message => Some("in reply to the message (DATA)"),
        Phase::Unknown => None,
    }
}

/// What should come of a cause in general, permanent and not.
#[must_use]
pub fn remedies(cause: Cause) -> (Remedy, Remedy) {
    (cause.remedy(true), cause.remedy(false))
}
