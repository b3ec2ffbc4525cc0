//! What people call providers, where they name one beside a reply. Nothing fails: who is not known is nobody.

use super::{Provider, Providers};

impl Providers {
    /// The provider that people call by a name: its id, a domain that its bounces are from, a word of how it is called, or
    /// any of these among others (`gmx/web.de`, `Mail.ru`, `Symantec (MessageLabs)`).
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Provider> {
        let name = name.to_lowercase();
        let squeezed = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).collect::<String>();
        let by_id = |text: &str| self.get(text).or_else(|| self.get(&squeezed(text)));
        let reports = |text: &str| {
            let mut all = self.list.iter();
            all.find(|provider| provider.reports_from.iter().any(|domain| domain == text))
        };
        let called = |text: &str| {
            // `GMX and WEB.DE`, `Outlook.com (Hotmail, Live, MSN)`, `Trend Micro Email Security`
            let is_it = |provider: &&Provider| {
                let mut names = provider
                    .name
                    .split(" and ")
                    .flat_map(|part| part.split(['(', ',', ')']));
                let first = provider.name.split(' ').next();
                first
                    .into_iter()
                    .chain(&mut names)
                    .any(|name| name.trim().to_lowercase() == text)
            };
            self.list.iter().find(is_it)
        };
        let known = |text: &str| {
            if text.is_empty() {
                return None;
            }
            let first = text.split_once('.').filter(|(_, rest)| !rest.contains('.'));
            by_id(text)
                .or_else(|| reports(text))
                .or_else(|| by_id(first?.0))
                .or_else(|| called(text))
        };
        let parts = name.split(['/', ',', '(', ')']).map(str::trim);
        let words = name
            .split([' ', '/', ',', '(', ')'])
            .filter(|word| word.len() > 2);
        std::iter::once(name.as_str())
            .chain(parts)
            .chain(words)
            .find_map(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_call_providers_by_many_names() {
        let providers = Providers::shipped().unwrap();
        let table = [
            ("google", Some("google")),
            ("Mail.ru", Some("mailru")),
            ("T-Online", Some("tonline")),
            ("free.fr", Some("free")),
            ("outlook.com", Some("outlook")),
            ("hotmail", Some("outlook")),
            ("AOL", Some("yahoo")),
            ("gmx/web.de", Some("gmx")),
            ("web.de", Some("gmx")),
            ("Cisco IronPort", Some("cisco")),
            ("trend micro", Some("trendmicro")),
            ("Symantec (MessageLabs)", Some("messagelabs")),
            ("Amazon SES receiving", Some("ses")),
            ("postfix (receiver)", None),
            ("mx.free.example", None),
            ("email", None),
            ("and", None),
            ("", None),
        ];
        for (name, id) in table {
            assert_eq!(
                providers.named(name).map(|provider| provider.id.as_str()),
                id,
                "{name:?}"
            );
        }
    }
}
