//! Signed return paths: the envelope sender that mail leaves with, so that what comes back to it brings a token along
//! (RFC 5321 §3.6.3 and §4.5.5: bounces go to the return path).
//!
//! Two styles: `replace`, where the address is one of the bounce domain (`b+TOKEN@bounces.example.org`), and `tag`, where
//! it is the application's own with the token behind a delimiter (`news+TOKEN@example.org`). In both the token is the
//! last [`LENGTH`] characters of the local part, behind a delimiter; what is none of ours has no token, and nothing here
//! fails.

use super::token::{Keyring, LENGTH, Token, TokenError};
use jiff::Timestamp;

/// What may stand before a token: the delimiters of addresses that mail systems know (Postfix's `recipient_delimiter`,
/// qmail's `-`), and those of VERP.
pub const DELIMITERS: [char; 4] = ['+', '-', '=', '.'];
/// The longest local part, in octets (RFC 5321 §4.5.3.1.1).
pub const LONGEST_LOCAL: usize = 64;

/// How a signed return path looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Style {
    /// An address of the bounce domain.
    #[default]
    Replace,
    /// The sender's own address with a tag.
    Tag,
}

/// The return paths that are ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReturnPaths {
    /// The local part before the delimiter, where the address is one of the bounce domain.
    pub local: String,
    /// What new ones have before their token; one of [`DELIMITERS`].
    pub delimiter: char,
    /// The bounce domain: lower case, A-labels.
    pub domain: String,
    /// How new ones look.
    pub style: Style,
    /// How long a token holds, in days.
    pub lifetime: u16,
}

/// All that signing and opening take. Clones share the keys.
#[derive(Debug, Clone, PartialEq)]
pub struct Signing {
    /// The keys.
    pub keyring: Keyring,
    /// The addresses.
    pub paths: ReturnPaths,
}

impl Signing {
    /// Opens the token of an address; `None` where it has none.
    #[must_use]
    pub fn open(&self, address: &str, now: Timestamp) -> Option<Result<Token, TokenError>> {
        let token = self.paths.token_of(address)?;
        Some(self.keyring.open(token, self.paths.lifetime, now))
    }
}

impl ReturnPaths {
    /// What looks like a token in an address, with or without `<>`, in any case of letters. It is to be opened still.
    #[must_use]
    pub fn token_of<'a>(&self, address: &'a str) -> Option<&'a str> {
        let (local, domain) = halves(address)?;
        let ours = self.style == Style::Tag || self.is_bounce_domain(domain);
        ours.then(|| split(local)).flatten().map(|(_, token)| token)
    }

    /// The return path with this token, of mail that would have left with that sender.
    #[must_use]
    pub fn path(&self, sender: &str, token: &str) -> String {
        let Self {
            local,
            delimiter,
            domain,
            ..
        } = self;
        match halves(sender).filter(|(own, _)| self.style == Style::Tag && takes_tag(own)) {
            Some((own, its)) => format!("{own}{delimiter}{token}@{its}"),
            None => format!("{local}{delimiter}{token}@{domain}"),
        }
    }

    /// The application's own return path, of one that was tagged. `None` for one that does not tell it.
    #[must_use]
    pub fn untagged(&self, address: &str) -> Option<String> {
        let (local, domain) = halves(address)?;
        let (own, _) = split(local).filter(|_| self.style == Style::Tag)?;
        let replaced = self.is_bounce_domain(domain) && own.eq_ignore_ascii_case(&self.local);
        (!replaced).then(|| format!("{own}@{domain}"))
    }

    fn is_bounce_domain(&self, domain: &str) -> bool {
        let domain = domain.strip_suffix('.').unwrap_or(domain);
        domain.eq_ignore_ascii_case(&self.domain)
    }
}

/// Local part and domain of an address that may stand in `<>`.
fn halves(address: &str) -> Option<(&str, &str)> {
    let address = address.trim();
    let bare = address
        .strip_prefix('<')
        .and_then(|address| address.strip_suffix('>'))
        .unwrap_or(address);
    let (local, domain) = bare.rsplit_once('@')?;
    (!local.is_empty() && !domain.is_empty()).then_some((local, domain))
}

/// What stands before the delimiter, and the token.
fn split(local: &str) -> Option<(&str, &str)> {
    let at = local.len().checked_sub(LENGTH)?;
    let (before, token) = local.split_at_checked(at)?;
    let own = before.strip_suffix(DELIMITERS)?;
    let is_token = token
        .bytes()
        .all(|b| b.is_ascii_alphabetic() || matches!(b, b'2'..=b'7'));
    (!own.is_empty() && is_token).then_some((own, token))
}

/// Whether a tag can be put behind this local part: quoted ones and those that would become too long have none.
fn takes_tag(local: &str) -> bool {
    !local.contains('"') && local.len() + 1 + LENGTH <= LONGEST_LOCAL
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TOKEN: &str = "abcdefghijklmnopqrstuvwxyz234567abcdefgh";

    fn paths(style: Style) -> ReturnPaths {
        ReturnPaths {
            local: "b".into(),
            delimiter: '+',
            domain: "bounces.example.org".into(),
            style,
            lifetime: 14,
        }
    }

    #[test]
    fn a_token_is_found_however_the_address_comes_back() {
        let upper = TOKEN.to_ascii_uppercase();
        let long = format!("b+x{TOKEN}@bounces.example.org");
        let table: [(String, [bool; 2]); 9] = [
            (format!("b+{TOKEN}@bounces.example.org"), [true, true]),
            (format!("<B-{upper}@Bounces.Example.ORG.>"), [true, true]),
            (format!("b=x={TOKEN}@bounces.example.org"), [true, true]),
            (format!("news+{TOKEN}@app.example.org"), [false, true]),
            (format!("+{TOKEN}@bounces.example.org"), [false, false]),
            (format!("{TOKEN}@bounces.example.org"), [false, false]),
            (format!("b+{}1@bounces.example.org", &TOKEN[1..]), [false, false]),
            (format!("b+ö{}@bounces.example.org", &TOKEN[1..]), [false, false]),
            (long, [false, false]),
        ];
        for (address, expected) in table {
            let found = [Style::Replace, Style::Tag].map(|style| {
                let token = paths(style).token_of(&address).map(str::to_ascii_lowercase);
                token.as_deref() == Some(TOKEN)
            });
            assert_eq!(found, expected, "{address}");
        }
        assert_eq!(paths(Style::Tag).token_of("<>"), None);
    }

    #[test]
    fn a_path_is_the_senders_own_where_that_can_be() {
        let fits = format!("{}@example.org", "x".repeat(23));
        let long = format!("{}@example.org", "x".repeat(24));
        let replaced = format!("b+{TOKEN}@bounces.example.org");
        let tagged = |own: &str| format!("{own}+{TOKEN}@example.org");
        let table = [
            (Style::Replace, "news@example.org", replaced.clone(), None),
            (
                Style::Tag,
                "news@example.org",
                tagged("news"),
                Some("news@example.org"),
            ),
            (
                Style::Tag,
                "<news+x@example.org>",
                tagged("news+x"),
                Some("news+x@example.org"),
            ),
            (Style::Tag, &fits, tagged(&"x".repeat(23)), Some(fits.as_str())),
            (Style::Tag, &long, replaced.clone(), None),
            (Style::Tag, "\"a b\"@example.org", replaced.clone(), None),
            (Style::Tag, "", replaced, None),
        ];
        for (style, sender, path, own) in table {
            assert_eq!(paths(style).path(sender, TOKEN), path, "{sender}");
            assert_eq!(paths(style).token_of(&path), Some(TOKEN), "{sender}");
            assert_eq!(paths(style).untagged(&path).as_deref(), own, "{sender}");
        }
    }

    proptest! {
        /// Whatever comes: at most a token is found, and it is one by its looks.
        #[test]
        fn anything_may_be_asked(address in "\\PC{0,80}", local in "\\PC{0,60}") {
            for style in [Style::Replace, Style::Tag] {
                for address in [address.clone(), format!("{local}@bounces.example.org")] {
                    if let Some(token) = paths(style).token_of(&address) {
                        prop_assert_eq!(token.len(), LENGTH);
                    }
                    let _ = paths(style).untagged(&address);
                }
                let path = paths(style).path(&address, TOKEN);
                prop_assert_eq!(paths(style).token_of(&path), Some(TOKEN));
            }
        }
    }
}
