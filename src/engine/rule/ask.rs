//! What the rules of texts ask beside the text, in one place and a few octets each.
//!
//! A reply's words open many patterns of which most are another provider's. The rules themselves lie all over the
//! memory, and to look into one only to pass it over costs more than the rest of the look.

use super::{Question, Rule};
use hashbrown::HashMap;

/// Providers that have a bit of their own; what further ones have is the last of these, and the rule is asked.
const OWN: usize = 62;
/// The bit of all providers that no rule names.
const OTHERS: u64 = 1 << 63;

/// The conditions of all texts.
#[derive(Debug, Clone, Default)]
pub(super) struct Asks {
    /// By the text's position.
    texts: Vec<Ask>,
    bits: HashMap<Box<str>, u64>,
}

/// The conditions of one text.
#[derive(Debug, Clone, Copy)]
struct Ask {
    /// The providers that it is for.
    providers: u64,
    /// Whether the rule is to be asked besides.
    more: bool,
}

impl Asks {
    /// Takes the rule of the next text.
    pub fn push(&mut self, rule: &Rule) {
        let mut ask = Ask {
            providers: if rule.is_general() { u64::MAX } else { 0 },
            more: !rule.codes.is_empty() || !rule.statuses.is_empty(),
        };
        for provider in &rule.providers {
            let next = 1 << self.bits.len().min(OWN);
            ask.providers |= *self.bits.entry(provider.as_str().into()).or_insert(next);
        }
        ask.more |= !rule.is_general() && ask.providers >> OWN != 0;
        self.texts.push(ask);
    }

    /// Whether a text is about this provider.
    pub fn is_about(&self, provider: &str) -> bool {
        self.bits.contains_key(provider)
    }

    /// The bits of the provider that a question is about. Where it is not known, every provider's texts are tried; where
    /// it is none that a rule names, nobody's but the general ones.
    pub fn bits_of(&self, provider: Option<&str>) -> u64 {
        provider.map_or(u64::MAX, |name| self.bits.get(name).copied().unwrap_or(OTHERS))
    }

    /// Whether all conditions beside the text hold, of a provider with these bits.
    pub fn hold(&self, text: usize, bits: u64, rule: &Rule, question: &Question<'_>) -> bool {
        let ask = self.texts[text];
        ask.providers & bits != 0 && (!ask.more || rule.applies(question))
    }
}

#[cfg(test)]
mod tests {
    use super::super::RuleSet;
    use super::*;
    use crate::engine::provider::Providers;
    use crate::mail::reply::ReplyCode;

    #[test]
    fn it_is_what_the_rules_say() {
        let mut rules = RuleSet::shipped(&Providers::shipped().unwrap()).unwrap().rules;
        // More providers than there are bits.
        for (n, rule) in rules.iter_mut().enumerate().filter(|(n, _)| n % 3 == 0) {
            rule.providers = vec![format!("p{}", n % 100), format!("p{}", (n + 1) % 100)];
            rule.texts = vec!["x".into()];
        }
        rules.retain(|rule| !rule.texts.is_empty());
        let mut asks = Asks::default();
        rules.iter().for_each(|rule| asks.push(rule));
        let mut providers: Vec<Option<String>> = (0..100).map(|n| Some(format!("p{n}"))).collect();
        providers.extend([None, Some("google".into()), Some("x.test".into())]);
        for provider in &providers {
            for (code, status) in [(None, None), (ReplyCode::new(550), "5.7.1".parse().ok())] {
                let question = Question {
                    text: "x",
                    code,
                    status,
                    provider: provider.as_deref(),
                };
                let bits = asks.bits_of(question.provider);
                for (text, rule) in rules.iter().enumerate() {
                    let held = asks.hold(text, bits, rule, &question);
                    assert_eq!(held, rule.applies(&question), "{} {question:?}", rule.id);
                }
            }
        }
    }
}
