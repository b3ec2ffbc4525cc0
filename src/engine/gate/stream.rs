//! Streams: the kinds of mail that share a lane, told apart by the envelope sender and by who logged in.
//!
//! A pattern is an address in which `*` stands for any characters, none included, as in
//! `*@news.example.org`; case does not matter. The first stream that has a matching pattern wins; what none
//! matches, and mail with the null sender, is in the stream `default`.

use crate::engine::backlog::Stream;
use crate::engine::throttle::Pace;

/// The stream of everything that no pattern matches.
pub const DEFAULT: &str = "default";

/// A stream as configured.
#[derive(Debug, Clone, PartialEq)]
pub struct Kind {
    /// Its name.
    pub name: String,
    /// The patterns of its senders.
    pub senders: Vec<String>,
    /// The patterns of who logs in to hand its mail in (SASL).
    pub users: Vec<String>,
    /// Its share of a lane's turns against the others'.
    pub weight: f64,
    /// Its own limit in each lane, in recipients a second.
    pub per_second: Option<f64>,
}

/// All streams; number 0 is [`DEFAULT`].
#[derive(Debug, Clone, PartialEq)]
pub struct Streams {
    kinds: Vec<Kind>,
}

impl Default for Streams {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl Kind {
    /// Its own limit as a pace.
    #[must_use]
    pub fn pace(&self) -> Option<Pace> {
        self.per_second.map(Pace::at)
    }
}

impl Streams {
    /// The streams in the order in which they are tried. One named [`DEFAULT`] says weight and limit of the
    /// rest. No more than 65,535 are kept.
    #[must_use]
    pub fn new(kinds: Vec<Kind>) -> Self {
        let (rest, mut named): (Vec<_>, Vec<_>) = kinds.into_iter().partition(|kind| kind.name == DEFAULT);
        let rest = rest.into_iter().next().unwrap_or(Kind {
            name: DEFAULT.to_owned(),
            senders: Vec::new(),
            users: Vec::new(),
            weight: 1.0,
            per_second: None,
        });
        for kind in &mut named {
            let patterns = kind.senders.iter_mut().chain(&mut kind.users);
            patterns.for_each(|pattern| *pattern = pattern.to_lowercase());
        }
        named.insert(0, rest);
        named.truncate(usize::from(Stream::MAX));
        Self { kinds: named }
    }

    /// The stream that mail from this sender, handed in by this user, is in. Nothing is empty.
    #[must_use]
    pub fn of(&self, sender: &str, user: &str) -> Stream {
        if self.kinds.len() == 1 {
            return 0;
        }
        let (sender, user) = (sender.to_lowercase(), user.to_lowercase());
        let any = |patterns: &[String], text: &str| {
            !text.is_empty() && patterns.iter().any(|pattern| matches(pattern, text))
        };
        let is_in = |kind: &Kind| any(&kind.senders, &sender) || any(&kind.users, &user);
        let found = self.kinds.iter().skip(1).position(is_in);
        found.map_or(0, |at| Stream::try_from(at + 1).unwrap_or(0))
    }

    /// The name of a stream.
    #[must_use]
    pub fn name(&self, stream: Stream) -> String {
        self.name_of(stream).to_owned()
    }

    /// As [`Streams::name`], for who only looks.
    #[must_use]
    pub fn name_of(&self, stream: Stream) -> &str {
        let kind = self.kinds.get(usize::from(stream));
        kind.map_or(DEFAULT, |kind| kind.name.as_str())
    }

    /// Whether any are told apart.
    #[must_use]
    pub fn is_told_apart(&self) -> bool {
        self.kinds.len() > 1
    }

    /// The stream of a name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<Stream> {
        let mut kinds = self.iter();
        kinds
            .find(|(_, kind)| kind.name == name)
            .map(|(stream, _)| stream)
    }

    /// Each with its number.
    pub fn iter(&self) -> impl Iterator<Item = (Stream, &Kind)> {
        (0..).zip(&self.kinds)
    }
}

/// Whether a pattern with `*` matches all of a text: greedy from the left, each part at its first place
/// after the one before, which finds a match if there is one.
#[must_use]
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(name: &str, senders: &[&str]) -> Kind {
        Kind {
            name: name.into(),
            senders: senders.iter().map(|&s| s.into()).collect(),
            users: Vec::new(),
            weight: 1.0,
            per_second: None,
        }
    }

    #[test]
    fn patterns_match_whole_addresses() {
        let table = [
            ("*@news.example.org", "bounce+1@news.example.org", true),
            ("*@news.example.org", "a@news.example.org.evil.test", false),
            ("bounce+*@x.test", "bounce+@x.test", true),
            ("bounce+*@x.test", "bounce@x.test", false),
            ("a@x.test", "a@x.test", true),
            ("a@x.test", "aa@x.test", false),
            ("*", "anything", true),
            ("*a*b*", "xaxbx", true),
            ("*a*b*", "xbxa", false),
            ("ab*ba", "aba", false),
        ];
        for (pattern, text, expected) in table {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn the_first_match_wins_and_the_rest_is_default() {
        let streams = Streams::new(vec![
            kind("news", &["*@News.example.org"]),
            Kind {
                weight: 3.0,
                ..kind(DEFAULT, &[])
            },
            Kind {
                users: vec!["Newsletter".into()],
                ..kind("all", &["*@*.example.org"])
            },
        ]);
        let name = |sender: &str| streams.name(streams.of(sender, ""));
        assert_eq!(name("a@NEWS.example.org"), "news");
        assert_eq!(name("a@shop.example.org"), "all");
        assert_eq!(name("a@example.com"), DEFAULT);
        assert_eq!(name(""), DEFAULT);
        let by = |sender: &str, user: &str| streams.name(streams.of(sender, user));
        assert_eq!(by("a@example.com", "newsletter"), "all");
        assert_eq!(by("", "newsletter"), "all");
        assert_eq!(by("a@news.example.org", "newsletter"), "news", "the first wins");
        assert_eq!(by("a@example.com", "newsletters"), DEFAULT);
        assert_eq!(streams.iter().next().map(|(_, kind)| kind.weight), Some(3.0));
    }
}
