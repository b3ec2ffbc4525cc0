//! The conditions of a rule one by one, for those who want to know why it did or did not win. Judging does
//! not pass through here: patterns are compiled anew each time.

use super::matcher::compile;
use super::{CodePattern, Question, Rule, StatusPattern, parse_text};
use std::fmt::{self, Write as _};

/// A condition that does not hold, although the others do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unmet {
    /// The rule is for other providers.
    Provider,
    /// The rule is for other codes.
    Code,
    /// The rule is for other statuses.
    Status,
}

impl Rule {
    /// Whether it comes with the program.
    #[must_use]
    pub fn is_shipped(&self) -> bool {
        self.file.starts_with("config/rules/")
    }

    /// The first of its texts that a text holds.
    #[must_use]
    pub fn text_in(&self, text: &str) -> Option<&str> {
        let holds = |pattern: &&String| {
            let compiled = parse_text(pattern)
                .ok()
                .and_then(|(octets, _)| compile(&octets).ok());
            compiled.is_some_and(|compiled| compiled.is_match(text.as_bytes()))
        };
        self.texts.iter().find(holds).map(String::as_str)
    }

    /// Which conditions beside the text do not hold.
    #[must_use]
    pub fn unmet(&self, question: &Question<'_>) -> Vec<Unmet> {
        let provider = self.is_of(question.provider);
        let code = self.codes.is_empty() || self.codes.iter().any(|p| p.matches(question.code));
        let status = self.statuses.is_empty() || self.statuses.iter().any(|p| p.matches(question.status));
        [
            (provider, Unmet::Provider),
            (code, Unmet::Code),
            (status, Unmet::Status),
        ]
        .into_iter()
        .filter_map(|(met, unmet)| (!met).then_some(unmet))
        .collect()
    }

    /// Its conditions in the words of its file, but for the texts: `provider google, status 5.7.26`.
    #[must_use]
    pub fn conditions(&self) -> String {
        let mut words = Vec::new();
        if !self.providers.is_empty() {
            let anywhere = if self.anywhere { ", anywhere" } else { "" };
            words.push(format!("provider {}{anywhere}", self.providers.join(", ")));
        }
        if !self.codes.is_empty() {
            words.push(format!("code {}", listed::<CodePattern>(&self.codes)));
        }
        if !self.statuses.is_empty() {
            words.push(format!("status {}", listed::<StatusPattern>(&self.statuses)));
        }
        words.join("; ")
    }
}

fn listed<T: fmt::Display>(items: &[T]) -> String {
    let mut list = String::new();
    for item in items {
        let comma = if list.is_empty() { "" } else { ", " };
        let _ = write!(list, "{comma}{item}");
    }
    list
}
