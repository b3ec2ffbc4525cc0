//! Rules that can never win, and are refused for it: an author who wrote one meant something else.
//!
//! What is decided here is what can be proven; a rule that passes may still be useless, but one that is
//! refused certainly is. A rule can never win if
//!
//! 1. each of its texts asks for what no normal form has (`engine::normal`): a mail address with its
//!    names, or `http://`; or
//! 2. each of its ways to hold (a provider, a status and a text of those that it lists) is taken by a
//!    rule that is asked earlier, of the same standing or a higher one: one whose providers, codes and
//!    statuses hold wherever its own do, and which has no text, or the same text, or one that is there
//!    whenever the later one is.
//!
//! That a text is there whenever another is, is known where the earlier one can be written out as a few
//! plain strings, and the later one contains one of them in each of its alternatives, at a place that no
//! operator makes optional.
//!
//! 3. it has examples, and wins none of them: then it is refused for what its author says of it.
//!
//! Rules of an operator are no reason to refuse those shipped: to outdo them is what they are for.

use super::{Rule, RuleError, RuleSet, pattern::piece};
use crate::engine::classify::classify;
use crate::engine::normal::folded;
use crate::mail::reply::{Reply, ReplyCode};

/// How many plain strings a pattern may stand for, to be compared by them.
const MOST_STRINGS: usize = 256;

/// A rule, ready to be compared.
struct Reach<'a> {
    rule: &'a Rule,
    codes: Vec<bool>,
    texts: Vec<Text>,
}

/// One text of a rule.
struct Text {
    /// As written, in small letters.
    pattern: String,
    /// All strings, one of which is there if and only if the text is; empty where there are too many.
    strings: Vec<String>,
    /// For each alternative of the pattern, the strings that must be there if it is.
    needs: Vec<Vec<String>>,
}

/// What is wrong with the rules of one standing, best first: the position of each that can never win, and
/// why.
pub(super) fn never_winning(rules: &[&Rule]) -> Vec<(usize, String)> {
    let reaches: Vec<Reach<'_>> = rules.iter().map(|rule| Reach::new(rule)).collect();
    let mut found = Vec::new();
    for (position, late) in reaches.iter().enumerate() {
        if let Some(why) = late.impossible() {
            found.push((position, why));
        } else if let Some(earlier) = late.taken_by(&reaches[..position]) {
            found.push((
                position,
                format!(
                    "can never win: wherever it holds, {:?} at {}:{} is asked first",
                    &*earlier.id, earlier.file, earlier.line
                ),
            ));
        }
    }
    found
}

/// What is wrong with those of the first `own` rules that win none of their own examples.
pub(super) fn lost_examples(set: &RuleSet, own: usize) -> Vec<RuleError> {
    let mut errors = Vec::new();
    for rule in set
        .rules
        .iter()
        .take(own)
        .filter(|rule| !rule.examples.is_empty())
    {
        // A general rule has its say where no provider's takes the reply: nobody's name has none.
        let provider = rule.providers.first().map_or("", String::as_str);
        let winners = rule.examples.iter();
        let winners = winners.map(|example| classify(set, &Reply::parse(example), None, Some(provider)).rule);
        let winners: Vec<_> = winners.collect();
        if winners
            .iter()
            .any(|winner| *winner == rule.id || winner.starts_with("guard."))
        {
            continue;
        }
        let by = winners
            .iter()
            .find_map(|id| set.rules.iter().find(|rule| rule.id == *id));
        let why = match by {
            Some(by) => format!(
                "can never win: {:?} at {}:{} wins each of its examples",
                &*by.id, by.file, by.line
            ),
            None => "can never win: no rule wins any of its examples".to_owned(),
        };
        errors.push(super::error(rule, why));
    }
    errors
}

impl<'a> Reach<'a> {
    fn new(rule: &'a Rule) -> Self {
        let codes = (199..=599).map(|number| {
            let code = ReplyCode::new(number);
            rule.codes.is_empty() || rule.codes.iter().any(|pattern| pattern.matches(code))
        });
        Self {
            rule,
            codes: codes.collect(),
            texts: rule.texts.iter().map(|text| Text::new(text)).collect(),
        }
    }

    /// Why no text can ever be there.
    fn impossible(&self) -> Option<String> {
        let never = |text: &Text| {
            let needs = &text.needs;
            !needs.is_empty()
                && needs
                    .iter()
                    .all(|needs| needs.iter().any(|need| is_taken_out(need)))
        };
        let all = !self.texts.is_empty() && self.texts.iter().all(never);
        all.then(|| {
            "can never win: its text asks for what is taken out of replies (an address is a lone @, \
             and links have no http://)"
                .to_owned()
        })
    }

    /// The last of the earlier rules that take all that this one could win.
    fn taken_by(&self, earlier: &[Reach<'a>]) -> Option<&'a Rule> {
        let earlier: Vec<_> = earlier.iter().filter(|early| early.codes_cover(self)).collect();
        let mut last = None;
        let providers = match self.rule.providers.as_slice() {
            _ if self.rule.is_general() => vec![None],
            some => some.iter().map(Some).collect(),
        };
        let texts: Vec<Option<&Text>> = match self.texts.as_slice() {
            [] => vec![None],
            some => some.iter().map(Some).collect(),
        };
        let statuses = match self.rule.statuses.as_slice() {
            [] => vec![None],
            some => some.iter().map(|&status| Some(status)).collect(),
        };
        for provider in &providers {
            for status in &statuses {
                for text in &texts {
                    let by = earlier.iter().find(|early| {
                        early.provider_covers(provider.as_ref().map(|p| p.as_str()), self)
                            && (early.rule.statuses.is_empty()
                                || status.is_some_and(|s| early.rule.statuses.iter().any(|e| e.covers(s))))
                            && early.text_covers(*text)
                    })?;
                    last = Some(by.rule);
                }
            }
        }
        last
    }

    fn codes_cover(&self, late: &Self) -> bool {
        self.codes
            .iter()
            .zip(&late.codes)
            .all(|(&early, &late)| early || !late)
    }

    /// Whether this rule's providers hold for one of the later rule's; a rule with a text is also tried
    /// where nobody knows who answered.
    fn provider_covers(&self, provider: Option<&str>, late: &Self) -> bool {
        let named = provider.is_some_and(|name| self.rule.providers.iter().any(|own| own == name));
        let unknown_too = !self.texts.is_empty() || late.texts.is_empty();
        self.rule.is_general() || (named && unknown_too)
    }

    fn text_covers(&self, late: Option<&Text>) -> bool {
        if self.texts.is_empty() {
            return true;
        }
        late.is_some_and(|late| {
            let same = self.texts.iter().any(|early| early.pattern == late.pattern);
            same || (!late.needs.is_empty()
                && late.needs.iter().all(|needs| {
                    let strings = self.texts.iter().flat_map(|early| &early.strings);
                    strings
                        .into_iter()
                        .any(|string| needs.iter().any(|need| need.contains(string.as_str())))
                }))
        })
    }
}

impl Text {
    fn new(text: &str) -> Self {
        let pattern = folded(text).to_lowercase();
        let alternatives = piece::alternatives(text);
        let strings = piece::strings(text, MOST_STRINGS);
        // A pattern that can be written out needs one of its strings as a whole.
        let needs = match strings.is_empty() {
            false => strings.iter().map(|string| vec![string.clone()]).collect(),
            true => alternatives
                .iter()
                .map(|alternative| piece::needed(alternative))
                .collect(),
        };
        Self {
            pattern,
            strings,
            needs,
        }
    }
}

/// Whether a string holds what no normal form has.
fn is_taken_out(need: &str) -> bool {
    let octets = need.as_bytes();
    let named = |at: usize| octets.get(at).is_some_and(u8::is_ascii_alphanumeric);
    let address =
        memchr::memchr_iter(b'@', octets).any(|at| named(at + 1) || at.checked_sub(1).is_some_and(named));
    address || need.contains(" http://") || need.contains(" https://") || need.starts_with("http://")
}

#[cfg(test)]
mod tests {
    use crate::engine::provider::Providers;
    use crate::engine::rule::RuleSet;

    fn rule(id: &str, conditions: &str) -> String {
        format!("[[rule]]\nid = \"{id}\"\ncause = \"unknown\"\n{conditions}\n")
    }

    fn refused(first: &str, second: &str) -> Option<String> {
        let text = format!("{}{}", rule("first", first), rule("second", second));
        let providers = Providers::shipped().unwrap();
        RuleSet::compile(&[("x.toml", &text)], &providers)
            .err()
            .map(|errors| {
                errors
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join("\n")
            })
    }

    #[test]
    fn what_is_taken_is_refused() {
        let taken = [
            // the same conditions
            ("code = '550'", "code = '550'"),
            ("code = '5xx'", "code = ['550', '554']"),
            ("status = '5.1.*'", "status = ['5.1.1', '5.1.10']"),
            ("status = '*.1.1'", "status = '4.1.1'\ncode = '450'"),
            ("status = ['5.1.1', '5.1.2']", "status = ['5.1.2', '5.1.1']"),
            (
                "provider = ['google', 'yahoo']\ncode = '550'",
                "provider = 'google'\ncode = '550'",
            ),
            // the same text, a longer one, alternatives
            ("text = 'no such user'", "text = 'No such user'"),
            ("text = 'user'", "text = 'no such user'"),
            (
                "text = 'user'",
                "text = ['no such user', 'user unknown']\ncode = '550'",
            ),
            ("text = '(?:no such|unknown) user'", "text = 'unknown user here'"),
            ("text = 'no (?:such )?user'", "text = 'there is no user'"),
            ("text = ['full', 'quota']", "text = 'mailbox full|over quota'"),
            ("text = 'quota'", "text = 'over (?:its|the) quota.*[0-9]+'"),
            ("text = 'voll'", "text = 'postfach…voll'"),
            ("text = '[a-z]+ x'", "text = '[a-z]+ x'\ncode = '4xx'"),
            (
                "provider = 'google'\ntext = 'user'",
                "provider = 'google'\ntext = 'no user'\nstatus = '5.1.1'",
            ),
        ];
        for (first, second) in taken {
            let said = refused(first, second).unwrap_or_else(|| panic!("{first} | {second}"));
            let expected = "can never win: wherever it holds, \"first\" at x.toml:2 is asked first";
            assert!(said.starts_with("x.toml:") && said.contains(expected), "{said}");
        }
    }

    #[test]
    fn what_may_win_passes() {
        let free = [
            ("code = '550'", "code = '5xx'"),
            ("code = '550'", "code = ['550', 'none']"),
            ("status = '5.1.1'", "status = ['5.1.1', '5.1.2']"),
            ("status = '5.1.1'\ncode = '550'", "status = '5.1.1'"),
            ("provider = 'google'\ncode = '550'", "code = '550'"),
            (
                "provider = 'google'\ncode = '550'",
                "provider = ['google', 'yahoo']\ncode = '550'",
            ),
            ("text = 'no such user'", "text = 'user'"),
            ("text = 'no such user'", "text = ['no such user', 'gone']"),
            ("text = 'full'", "text = 'mailbox (?:full)?'"),
            ("text = 'full'", "text = 'mailbox fulls?|gone'"),
            ("text = 'full$'", "text = 'full today'"),
            ("text = '\\bser'", "text = 'user'"),
            ("text = 'full'\ncode = '4xx'", "text = 'full'"),
            ("text = 'a.c'", "text = 'abc'"),
            ("text = 'fulll'", "text = 'full*'"),
            ("code = '550'", "text = 'no such user'\ncode = '550'"),
        ];
        for (first, second) in free {
            assert_eq!(refused(first, second), None, "{first} | {second}");
        }
    }

    #[test]
    fn what_no_reply_has_is_refused() {
        for text in [
            "mail to postmaster@example.com",
            "<ann@",
            "see https://x.test",
            "http://x.test/no",
        ] {
            let said = refused("code = '550'", &format!("text = '{text}'")).unwrap_or_default();
            assert!(
                said.contains("x.toml:6: can never win: its text asks"),
                "{text}: {said}"
            );
        }
        assert_eq!(
            refused("code = '550'", "text = ['<@> unknown', 'x.test/no', 'us at @']"),
            None
        );
    }

    /// The operator's rules are meant to outdo the shipped ones, but not each other.
    #[test]
    fn tiers_are_apart() {
        let providers = Providers::shipped().unwrap();
        let over = rule("own", "status = '*.1.1'");
        assert!(RuleSet::with_operator(&[("own.toml", &over)], &providers).is_ok());
        let twice = format!("{over}{}", rule("again", "status = '5.1.1'"));
        assert!(RuleSet::with_operator(&[("own.toml", &twice)], &providers).is_err());
    }

    /// Examples are promises: a rule that keeps none of its own is refused.
    #[test]
    fn a_rule_that_loses_all_its_examples_is_refused() {
        let late = "text = 'user [a-z]+ unknown'\nexamples = ['550 no such user, user ann unknown']";
        let said = refused("text = 'no such user'", late).unwrap_or_default();
        assert!(
            said.starts_with("x.toml:6: can never win: \"first\" at x.toml:2 wins each of its examples"),
            "{said}"
        );
        let some = late.replace("= ['550", "= ['550 user bob unknown', '550");
        assert_eq!(refused("text = 'no such user'", &some), None);
        let none = late.replace("550 no such user, user ann unknown", "550 gone");
        let said = refused("text = 'no such user'", &none).unwrap_or_default();
        assert!(said.contains("no rule wins any of its examples"), "{said}");
    }
}
