//! The allow list: addresses that are mailed whatever is known of them, such as the postmaster's own test boxes.
//!
//! Patterns with `*` for any characters, none included; case does not matter. Nothing fails.

use crate::engine::gate::stream::matches;

/// Who is mailed come what may.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AllowList(Box<[Box<str>]>);

impl AllowList {
    /// The list of these patterns.
    #[must_use]
    pub fn new<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Self {
        Self(
            patterns
                .into_iter()
                .map(|pattern| pattern.to_lowercase().into())
                .collect(),
        )
    }

    /// Whether an address is on it.
    #[must_use]
    pub fn holds(&self, address: &str) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let address = address.to_lowercase();
        self.0.iter().any(|pattern| matches(pattern, &address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_and_addresses_are_held() {
        let list = AllowList::new(["Postmaster@Example.org", "*@test.example"]);
        let table = [
            ("postmaster@example.org", true),
            ("POSTMASTER@example.ORG", true),
            ("x@test.example", true),
            ("x@sub.test.example", false),
            ("xpostmaster@example.org", false),
            ("", false),
        ];
        for (address, expected) in table {
            assert_eq!(list.holds(address), expected, "{address}");
        }
        assert!(!AllowList::default().holds("a@b"));
    }
}
