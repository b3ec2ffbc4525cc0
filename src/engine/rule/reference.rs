//! The rules asked in the plain way: all texts as one set of regular expressions.
//!
//! It says what the set of rules means, and is what the faster way is compared with, in the tests for
//! what it finds and in the benchmarks for how long that takes. Nothing else uses it.

use super::{Question, Rule, RuleSet, pattern};
use regex::bytes::{RegexSet, RegexSetBuilder};

/// Rules, with all their texts in one set.
#[derive(Debug)]
pub struct PlainRules<'a> {
    rules: &'a [Rule],
    texts: RegexSet,
    /// The rule that a text belongs to, by the text's position in the set.
    owners: Vec<usize>,
}

impl<'a> PlainRules<'a> {
    /// Compiles the texts of rules, with so many octets for the automaton's states.
    ///
    /// # Errors
    /// Where they are too many for one set.
    pub fn new(rules: &'a RuleSet, dfa_size_limit: usize) -> Result<Self, String> {
        let rules = rules.rules();
        let all = rules
            .iter()
            .enumerate()
            .flat_map(|(index, rule)| rule.texts.iter().map(move |text| (index, text)));
        let mut owners = Vec::new();
        let mut texts = Vec::new();
        for (index, text) in all {
            owners.push(index);
            texts.push(pattern::octets(text)?);
        }
        let texts = RegexSetBuilder::new(texts)
            .case_insensitive(true)
            .unicode(false)
            .size_limit(256 << 20)
            .dfa_size_limit(dfa_size_limit)
            .build()
            .map_err(|problem| problem.to_string())?;
        Ok(Self { rules, texts, owners })
    }

    /// The rule that wins: the first whose conditions all hold.
    #[must_use]
    pub fn find(&self, question: &Question<'_>) -> Option<&'a Rule> {
        let matches = self.texts.matches(question.text.as_bytes());
        let with_text = matches.iter().map(|text| self.owners[text]);
        let without = (0..self.rules.len()).filter(|&index| self.rules[index].texts.is_empty());
        let winner = with_text
            .chain(without)
            .filter(|&index| self.rules[index].applies(question))
            .min()?;
        Some(&self.rules[winner])
    }
}
