//! What somebody on the way found out about a mail (`Authentication-Results`, RFC 8601, as it stands in the
//! `ARC-Authentication-Results` of RFC 8617 §4.1.1, behind `i=1;`).
//!
//! Strict where it matters: quotes and comments must close, and every clause must be `method=result` with what belongs
//! to it. Words of vendors that are no property (`action=none`) are passed over. On failure: a [`ResultsError`].

/// The longest value that is read, in octets.
pub const MAX_OCTETS: usize = 16 * 1024;

/// What was found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Results {
    /// Which link of an ARC chain this is, from 1; `None` where it is none.
    pub instance: Option<u32>,
    /// Who found it out (authserv-id).
    pub server: String,
    /// What each method found; one that ran twice is there twice.
    pub methods: Vec<Method>,
}

/// What one method found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Method {
    /// `dkim`, `spf`, `dmarc`, …; lower case.
    pub name: String,
    /// `pass`, `fail`, …; lower case.
    pub result: String,
    /// What it says of what it looked at, as `header.d`; names in lower case.
    pub properties: Vec<(String, String)>,
}

/// What is wrong with a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResultsError {
    /// It is too long.
    #[error("expected at most {MAX_OCTETS} octets, found {0}")]
    Long(usize),
    /// A quoted string or a comment does not end.
    #[error("expected an end of the quoted string or comment, found none")]
    Open,
    /// It names nobody.
    #[error("expected the name of a server, found {0:?}")]
    Server(String),
    /// A clause that is none.
    #[error("expected method=result, found {0:?}")]
    Method(String),
    /// A property that is none.
    #[error("expected name=value, found {0:?}")]
    Property(String),
}

impl Results {
    /// Reads the value of a field.
    ///
    /// # Errors
    /// [`ResultsError`], what was expected and what was found.
    pub fn parse(text: &str) -> Result<Self, ResultsError> {
        if text.len() > MAX_OCTETS {
            return Err(ResultsError::Long(text.len()));
        }
        let mut clauses = clauses(text)?.into_iter().peekable();
        let instance = clauses.next_if(|clause| matches!(clause.as_slice(), [one] if one.starts_with("i=")));
        let instance = match instance {
            None => None,
            Some(clause) => {
                let number = clause[0].strip_prefix("i=").and_then(|n| n.parse().ok());
                Some(number.ok_or_else(|| ResultsError::Method(clause[0].clone()))?)
            }
        };
        let server = clauses.next().unwrap_or_default();
        // Behind the name there may be a version.
        let (name, version) = match server.as_slice() {
            [name] => (name, None),
            [name, version] => (name, Some(version)),
            _ => return Err(ResultsError::Server(server.join(" "))),
        };
        let is_number = |text: &String| text.bytes().all(|b| b.is_ascii_digit());
        if name.contains('=') || !version.is_none_or(is_number) {
            return Err(ResultsError::Server(server.join(" ")));
        }
        let mut methods = Vec::new();
        for clause in clauses {
            // The last `;` may end the value; `none` says that nothing was looked at.
            match clause.as_slice() {
                [] => {}
                [none] if none.eq_ignore_ascii_case("none") => {}
                words => methods.push(Method::parse(words)?),
            }
        }
        Ok(Self {
            instance,
            server: name.clone(),
            methods,
        })
    }

    /// The domains whose signatures (DKIM) held: `header.d`, or else the domain of `header.i`.
    pub fn dkim_passed(&self) -> impl Iterator<Item = &str> {
        let passed = self
            .methods
            .iter()
            .filter(|method| method.name == "dkim" && method.result == "pass");
        passed.filter_map(|method| {
            let identity = || method.only("header.i").and_then(|i| i.rsplit_once('@'));
            method
                .only("header.d")
                .or_else(|| identity().map(|(_, domain)| domain))
        })
    }
}

impl Method {
    fn parse(words: &[String]) -> Result<Self, ResultsError> {
        let mut words = words.iter();
        let wrong = |word: &str| ResultsError::Method(word.to_owned());
        let first = words.next().map_or("", String::as_str);
        let (name, result) = first.split_once('=').ok_or_else(|| wrong(first))?;
        // A method may have a version: `dkim/1`.
        let name = name.split_once('/').map_or(name, |(name, _)| name);
        if !is_keyword(name) || !is_keyword(result) {
            return Err(wrong(first));
        }
        let property = |word: &String| {
            let (name, value) = word
                .split_once('=')
                .filter(|(name, _)| !name.is_empty())
                .ok_or_else(|| ResultsError::Property(word.clone()))?;
            Ok((name.to_ascii_lowercase(), value.to_owned()))
        };
        Ok(Self {
            name: name.to_ascii_lowercase(),
            result: result.to_ascii_lowercase(),
            properties: words.map(property).collect::<Result<_, _>>()?,
        })
    }

    /// The value of a property that is there once.
    fn only(&self, name: &str) -> Option<&str> {
        let mut values = self.properties.iter().filter(|(found, _)| found == name);
        let value = values.next();
        if values.next().is_some() {
            return None;
        }
        value.map(|(_, value)| value.as_str())
    }
}

fn is_keyword(word: &str) -> bool {
    !word.is_empty()
        && word
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// Clauses between `;`, each as its words: without comments, without quotes, and with nothing around `=`.
fn clauses(text: &str) -> Result<Vec<Vec<String>>, ResultsError> {
    let (mut clauses, mut clause, mut word) = (Vec::new(), Vec::new(), String::new());
    // White space ends a word, unless a `=` is what comes next, or came last.
    let mut ended = false;
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match c {
            '(' => {
                skip_comment(&mut characters)?;
                ended = true;
            }
            c if c.is_whitespace() => ended = true,
            ';' => {
                finish(&mut word, &mut clause);
                clauses.push(std::mem::take(&mut clause));
                ended = false;
            }
            c => {
                if ended && c != '=' && !word.ends_with('=') {
                    finish(&mut word, &mut clause);
                }
                ended = false;
                match c {
                    '"' => quoted(&mut characters, &mut word)?,
                    c => word.push(c),
                }
            }
        }
    }
    finish(&mut word, &mut clause);
    clauses.push(clause);
    Ok(clauses)
}

fn finish(word: &mut String, clause: &mut Vec<String>) {
    if !word.is_empty() {
        clause.push(std::mem::take(word));
    }
}

fn quoted(characters: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), ResultsError> {
    loop {
        match characters.next().ok_or(ResultsError::Open)? {
            '"' => return Ok(()),
            '\\' => word.push(characters.next().ok_or(ResultsError::Open)?),
            c => word.push(c),
        }
    }
}

fn skip_comment(characters: &mut std::str::Chars<'_>) -> Result<(), ResultsError> {
    let mut depth = 1;
    while depth > 0 {
        match characters.next().ok_or(ResultsError::Open)? {
            '(' => depth += 1,
            ')' => depth -= 1,
            '\\' => drop(characters.next()),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(text: &str) -> Vec<String> {
        Results::parse(text)
            .unwrap()
            .dkim_passed()
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn what_large_receivers_write_is_read() {
        let google = " i=1; mx.google.com;\r\n       dkim=pass header.i=@x.test header.s=s1 header.b=\"AB/c+\";\r\n       \
                      spf=pass (google.com: domain of \"a;b\"@x.test designates 192.0.2.1) smtp.mailfrom=\"a;b\"@x.test;\r\n       \
                      dmarc=pass (p=NONE sp=NONE dis=NONE) header.from=x.test\r\n";
        let results = Results::parse(google).unwrap();
        assert_eq!(
            (results.instance, results.server.as_str()),
            (Some(1), "mx.google.com")
        );
        assert_eq!(results.methods.len(), 3);
        assert_eq!(
            results.methods[1].properties,
            [("smtp.mailfrom".into(), "a;b@x.test".into())]
        );
        assert_eq!(passed(google), ["x.test"]);
        let microsoft = "i=2; mx.microsoft.com 1; spf=pass (sender ip is 192.0.2.1) smtp.mailfrom=x.test; dmarc=pass \
                         (p=none) action=none header.from=x.test; dkim=pass (signature was verified) header.d=x.test; \
                         arc=pass (0 oda=0 ltdi=0)";
        assert_eq!(Results::parse(microsoft).unwrap().instance, Some(2));
        assert_eq!(passed(microsoft), ["x.test"]);
        // Examples of RFC 8601, appendix B.
        assert_eq!(Results::parse("example.org 1; none").unwrap().methods, []);
        let several = "example.com; dkim=pass (good signature) header.d=mail-router.example.net; dkim = fail reason=\"bad \
                       signature\" header . d = newyork.example.com";
        assert!(
            Results::parse(several).is_err(),
            "blanks around a dot are nobody's"
        );
        let several = several.replace("header . d", "header.d");
        assert_eq!(passed(&several), ["mail-router.example.net"]);
    }

    #[test]
    fn what_proves_nothing_proves_nothing() {
        for text in [
            "a.test; dkim=fail header.d=x.test",
            "a.test; dkim=pass",
            "a.test; dkim=none header.d=x.test",
            "a.test; spf=pass header.d=x.test",
            "a.test; dkim=pass header.d=y.test header.d=x.test",
            "a.test; (dkim=pass header.d=x.test)",
            "a.test; spf=pass smtp.mailfrom=\"x; dkim=pass header.d=x.test\"",
            "a.test; dkim=passed header.d=x.test",
        ] {
            assert!(passed(text).is_empty(), "{text}");
        }
    }

    #[test]
    fn mistakes_are_told() {
        for (text, expected) in [
            ("", "expected the name of a server"),
            ("; dkim=pass", "expected the name of a server"),
            ("i=1; dkim=pass header.d=x.test", "expected the name of a server"),
            ("i=x; a.test", "expected method=result"),
            ("a.test; dkim", "expected method=result"),
            ("a.test; =pass", "expected method=result"),
            ("a.test; dkim=pass header.d", "expected name=value"),
            ("a.test; dkim=pass (header.d=x.test", "expected an end"),
            ("a.test; dkim=pass header.d=\"x.test", "expected an end"),
        ] {
            let error = Results::parse(text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
        assert_eq!(
            Results::parse(&"a".repeat(MAX_OCTETS + 1)),
            Err(ResultsError::Long(MAX_OCTETS + 1))
        );
    }
}
