//! The author of a mail (`From`, RFC 5322 §3.6.2), where there is one and no two readers could disagree about who it is.
//!
//! This is asked only where an author's word is to be believed, so it is strict: what a careless mail system might have
//! read as its own user's address when it signed, and we as its daemon's, is nobody's. On failure: `None`.

use super::address::Address;

/// The one author that the value of a `From` field names.
#[must_use]
pub fn author(value: &[u8]) -> Option<Address> {
    let text = std::str::from_utf8(value).ok()?;
    let text = text.replace("\r\n", " ");
    let Pieces { phrase, address } = Pieces::of(text.trim())?;
    let bare = match &address {
        // What stands in front is a name, and must not look like an address.
        Some(address) if !phrase.contains(['@', ',', ';', ':']) => address,
        Some(_) => return None,
        None => &phrase,
    };
    let bare = bare.trim();
    let of_address =
        |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '(' | ')' | ',' | ';' | ':' | '<' | '>' | '\\');
    if bare.matches('@').count() != 1 || !bare.chars().all(of_address) {
        return None;
    }
    Address::parse(bare).ok()
}

/// A field without its comments and quoted names: what stands outside of `<>`, and what stands within.
struct Pieces {
    phrase: String,
    address: Option<String>,
}

impl Pieces {
    fn of(text: &str) -> Option<Self> {
        let (mut phrase, mut address) = (String::new(), None::<String>);
        let mut characters = text.chars();
        while let Some(c) = characters.next() {
            match c {
                '"' => {
                    skip_quoted(&mut characters)?;
                    phrase.push(' ');
                }
                '(' => {
                    skip_comment(&mut characters)?;
                    phrase.push(' ');
                }
                '<' if address.is_none() => {
                    let mut inner = String::new();
                    loop {
                        match characters.next()? {
                            '>' => break,
                            c => inner.push(c),
                        }
                    }
                    address = Some(inner);
                }
                c if c.is_whitespace() => phrase.push(' '),
                c if c.is_control() || matches!(c, '<' | '>' | ')' | '\\') => return None,
                // Only comments may follow the address.
                _ if address.is_some() => return None,
                c => phrase.push(c),
            }
        }
        Some(Self { phrase, address })
    }
}

fn skip_quoted(characters: &mut std::str::Chars<'_>) -> Option<()> {
    loop {
        match characters.next()? {
            '"' => return Some(()),
            '\\' => drop(characters.next()?),
            _ => {}
        }
    }
}

fn skip_comment(characters: &mut std::str::Chars<'_>) -> Option<()> {
    let mut depth = 1;
    while depth > 0 {
        match characters.next()? {
            '(' => depth += 1,
            ')' => depth -= 1,
            '\\' => drop(characters.next()?),
            _ => {}
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_author_is_read() {
        for (value, expected) in [
            ("MAILER-DAEMON@x.test", "MAILER-DAEMON@x.test"),
            (
                " Mail Delivery System <mailer-daemon@x.test>\r\n",
                "mailer-daemon@x.test",
            ),
            ("\"Mail, Delivery <a@b.test>\" <p@x.test> (bounce)", "p@x.test"),
            (
                "MAILER-DAEMON@X.test (Mail Delivery System)",
                "MAILER-DAEMON@x.test",
            ),
            ("=?utf-8?q?Ann?=\r\n <ann@x.test>", "ann@x.test"),
        ] {
            let found = author(value.as_bytes()).map(|address| address.to_string());
            assert_eq!(found.as_deref(), Some(expected), "{value}");
        }
    }

    #[test]
    fn what_two_readers_could_take_differently_is_nobody() {
        for value in [
            "",
            "<>",
            "MAILER-DAEMON",
            "MAILER-DAEMON <>",
            "a@x.test, b@y.test",
            "a@x.test b@y.test",
            "postmaster@x.test <user@x.test>",
            "<postmaster@x.test> <user@x.test>",
            "<user@x.test> postmaster@x.test",
            "postmaster(x)@x.test",
            "<@y.test:postmaster@x.test>",
            "daemons: postmaster@x.test;",
            "<postmaster@x.test",
            "postmaster@x.test>",
            "\"postmaster@x.test",
            "(postmaster@x.test",
            "\"postmaster\"@x.test",
            "<\"a>\"@x.test>",
            "postmaster@x.test\0",
            "post\\master@x.test",
        ] {
            assert_eq!(author(value.as_bytes()), None, "{value}");
        }
        assert_eq!(author(b"\xff@x.test"), None);
    }
}
