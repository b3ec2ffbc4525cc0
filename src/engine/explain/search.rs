//! Search in free text over all that is known: rules (ids, texts, examples, advice), causes and their
//! kinds, providers, and the standards' codes and statuses.
//!
//! Every word asked for has to be found, at the beginning of a word if possible; where nothing has them
//! all, words lose their endings (`greylisting`, `greylisted`). A rule is also found by the words that its
//! pattern stands for.

use super::words;
use crate::engine::provider::{Provider, Providers};
use crate::engine::rule::{Rule, RuleSet};
use crate::engine::verdict::Cause;
use crate::mail::reply::registry::{self as codes, Defined};
use crate::mail::status::registry::{self as statuses, Enumerated};

/// What was found.
#[derive(Debug, Clone, Copy)]
pub enum Found<'a> {
    /// A rule.
    Rule(&'a Rule),
    /// A cause.
    Cause(Cause),
    /// A kind of a cause, and what it means.
    SubCause(&'static str, &'static str),
    /// A provider.
    Provider(&'a Provider),
    /// A status of the registry.
    Status(&'static Enumerated),
    /// A code of the standards.
    Code(&'static Defined),
}

/// One thing found.
#[derive(Debug, Clone, Copy)]
pub struct Hit<'a> {
    /// What.
    pub found: Found<'a>,
    /// How well it fits: more is better, and comparable within one search only.
    pub score: u32,
}

/// Searches, the best first; nothing for a query without a word.
#[must_use]
pub fn search<'a>(query: &str, rules: &'a RuleSet, providers: &'a Providers) -> Vec<Hit<'a>> {
    let query = query.trim().to_lowercase();
    let words: Vec<&str> = query.split_whitespace().collect();
    if words.is_empty() {
        return Vec::new();
    }
    let documents = documents(&query, rules, providers);
    let mut hits = ranked(&words, &documents);
    if hits.is_empty() {
        let stems: Vec<&str> = words.iter().map(|word| stem(word)).collect();
        hits = ranked(&stems, &documents);
    }
    hits
}

/// What can be found, by fields with their weights.
struct Document<'a> {
    found: Found<'a>,
    fields: Vec<(u32, String)>,
    /// What it has beforehand.
    bonus: u32,
}

fn documents<'a>(query: &str, rules: &'a RuleSet, providers: &'a Providers) -> Vec<Document<'a>> {
    let plain = |found, fields| Document {
        found,
        fields,
        bonus: 0,
    };
    let causes = Cause::ALL.iter().map(|&cause| {
        let name = cause.name();
        let names = format!("{name} {}", name.replace('_', " "));
        let fields = vec![
            (12, names),
            (5, words::cause(cause).to_lowercase()),
            (1, words::advice(cause, None).to_lowercase()),
        ];
        plain(Found::Cause(cause), fields)
    });
    let kinds = words::SUB_CAUSES.iter().map(|&(name, meaning)| {
        let names = format!("{name} {}", name.replace('_', " "));
        plain(
            Found::SubCause(name, meaning),
            vec![(10, names), (4, meaning.to_lowercase())],
        )
    });
    let standards = statuses::REGISTRY.iter().map(|status| {
        let number = format!("x.{0}.{1} 4.{0}.{1} 5.{0}.{1}", status.subject, status.detail);
        let fields = vec![
            (9, number),
            (6, status.name.to_lowercase()),
            (4, status.meaning.to_lowercase()),
            (2, status.source.to_lowercase()),
        ];
        plain(Found::Status(status), fields)
    });
    let replies = codes::REGISTRY.iter().map(|code| {
        let fields = vec![
            (9, code.code.to_string()),
            (5, code.meaning.to_lowercase()),
            (2, code.source.to_lowercase()),
        ];
        plain(Found::Code(code), fields)
    });
    let named = providers.all().iter().map(|provider| {
        let fields = vec![(8, provider.id.clone()), (8, provider.name.to_lowercase())];
        plain(Found::Provider(provider), fields)
    });
    let rules = rules.rules().iter().map(|rule| of_rule(rule, query));
    causes
        .chain(kinds)
        .chain(standards)
        .chain(replies)
        .chain(named)
        .chain(rules)
        .collect()
}

fn of_rule<'a>(rule: &'a Rule, query: &str) -> Document<'a> {
    let mut fields = vec![(8, format!("{} {}", rule.id, rule.id.replace(['.', '-'], " ")))];
    let cause = rule.cause.name();
    fields.push((
        3,
        format!(
            "{cause} {} {}",
            cause.replace('_', " "),
            rule.sub_cause.as_deref().unwrap_or("")
        ),
    ));
    fields.push((4, rule.texts.join("\n").to_lowercase()));
    fields.push((4, rule.examples.join("\n").to_lowercase()));
    fields.push((2, rule.advice.as_deref().unwrap_or("").to_lowercase()));
    fields.push((1, rule.link.as_deref().unwrap_or("").to_lowercase()));
    fields.push((3, rule.conditions()));
    let by_pattern = rule.text_in(query).is_some();
    if by_pattern {
        fields.push((4, query.to_owned()));
    }
    Document {
        found: Found::Rule(rule),
        fields,
        bonus: if by_pattern { 6 } else { 0 },
    }
}

fn ranked<'a>(words: &[&str], documents: &[Document<'a>]) -> Vec<Hit<'a>> {
    let mut hits: Vec<Hit<'a>> = documents
        .iter()
        .filter_map(|document| {
            let mut score = document.bonus;
            for word in words {
                let best = document
                    .fields
                    .iter()
                    .map(|(weight, field)| weight * fit(field, word));
                score += best.max().filter(|&best| best > 0)?;
            }
            Some(Hit {
                found: document.found,
                score,
            })
        })
        .collect();
    hits.sort_by_key(|hit| std::cmp::Reverse(hit.score));
    hits
}

/// How well a word fits: 4 as a whole word, 3 as the beginning of one, 1 within one.
fn fit(field: &str, word: &str) -> u32 {
    let mut best = 0;
    for (at, _) in field.match_indices(word) {
        let is_edge = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && c != '.');
        let begins = is_edge(field[..at].chars().next_back());
        let ends = is_edge(field[at + word.len()..].chars().next());
        best = best.max(match (begins, ends) {
            (true, true) => 4,
            (true, false) => 3,
            _ => 1,
        });
    }
    best
}

/// A word without an ending that another form of it may not have.
fn stem(word: &str) -> &str {
    ["ing", "ed", "es", "s"]
        .iter()
        .find_map(|ending| word.strip_suffix(ending).filter(|stem| stem.chars().count() >= 4))
        .unwrap_or(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_fit_by_where_they_stand() {
        assert_eq!(fit("no such user", "user"), 4);
        assert_eq!(fit("no such users", "user"), 3);
        assert_eq!(fit("superuser", "user"), 1);
        assert_eq!(fit("15.1.1", "5.1.1"), 1);
        assert_eq!(fit("nothing", "user"), 0);
    }

    #[test]
    fn endings_are_no_obstacle() {
        assert_eq!(
            (stem("greylisting"), stem("blocked"), stem("spf"), stem("users")),
            ("greylist", "block", "spf", "user")
        );
    }
}
