//! Patterns of codes, statuses and texts, as rules write them.

use crate::engine::normal::folded;
use crate::mail::reply::ReplyCode;
use crate::mail::status::EnhancedStatus;
use std::fmt;

pub(super) mod piece;

/// Codes: `550`, `55x`, `5xx`, or `none` for a reply without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodePattern(Option<(u16, u16)>);

/// Statuses: `5.1.1`, `5.1.*`, `*.1.1`, or `none` for a reply without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusPattern(Option<[Option<u16>; 3]>);

impl CodePattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What was expected and found.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self(None));
        }
        let expected = || format!("code: expected 200 to 599, 55x, 5xx or none, found {text:?}");
        let digits = text.trim_end_matches('x');
        let wild = text.len() - digits.len();
        if text.len() != 3 || wild > 2 || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(expected());
        }
        let span = 10_u16.pow(u32::try_from(wild).map_err(|_| expected())?);
        let first = digits.parse::<u16>().map_err(|_| expected())? * span;
        let (lowest, highest) = (first, first + span - 1);
        if ReplyCode::new(lowest).is_none() || ReplyCode::new(highest).is_none() {
            return Err(expected());
        }
        Ok(Self(Some((lowest, highest))))
    }

    /// Whether a code, or its absence, fits.
    #[must_use]
    pub fn matches(self, code: Option<ReplyCode>) -> bool {
        match (self.0, code) {
            (Some((lowest, highest)), Some(code)) => (lowest..=highest).contains(&code.get()),
            (None, None) => true,
            _ => false,
        }
    }
}

impl StatusPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What was expected and found.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self(None));
        }
        let expected = || format!("status: expected one like 5.1.1, 5.1.*, *.1.1 or none, found {text:?}");
        let mut parts = [None; 3];
        let mut given = text.split('.');
        for (index, part) in parts.iter_mut().enumerate() {
            let word = given.next().ok_or_else(expected)?;
            if word == "*" {
                continue;
            }
            let number: u16 = word.parse().map_err(|_| expected())?;
            let allowed = if index == 0 {
                matches!(number, 2 | 4 | 5)
            } else {
                number <= 999
            };
            if !allowed {
                return Err(expected());
            }
            *part = Some(number);
        }
        if given.next().is_some() || parts == [None; 3] {
            return Err(expected());
        }
        Ok(Self(Some(parts)))
    }

    /// Whether this pattern fits wherever another does.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        match (self.0, other.0) {
            (Some(wide), Some(narrow)) => wide.iter().zip(narrow).all(|(w, n)| w.is_none() || *w == n),
            (None, None) => true,
            _ => false,
        }
    }

    /// Whether a status, or its absence, fits.
    #[must_use]
    pub fn matches(self, status: Option<EnhancedStatus>) -> bool {
        match (self.0, status) {
            (Some(parts), Some(status)) => {
                let given = [status.class() as u16, status.subject(), status.detail()];
                parts
                    .iter()
                    .zip(given)
                    .all(|(part, n)| part.is_none_or(|p| p == n))
            }
            (None, None) => true,
            _ => false,
        }
    }
}

impl fmt::Display for CodePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("none"),
            Some((lowest, highest)) if lowest == highest => write!(f, "{lowest}"),
            Some((lowest, highest)) if highest - lowest < 10 => write!(f, "{}x", lowest / 10),
            Some((lowest, _)) => write!(f, "{}xx", lowest / 100),
        }
    }
}

impl fmt::Display for StatusPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(parts) = self.0 else {
            return f.write_str("none");
        };
        for (index, part) in parts.iter().enumerate() {
            let dot = if index > 0 { "." } else { "" };
            match part {
                Some(number) => write!(f, "{dot}{number}")?,
                None => write!(f, "{dot}*")?,
            }
        }
        Ok(())
    }
}

/// What `…` stands for: anything up to the end of the sentence. The dots within names and numbers do
/// not end it. Unlike `.{0,60}` it costs the automaton two states, not sixty for every start.
const WITHIN_SENTENCE: &str = r"(?:[^.;]|\.[^ ])*";

/// A regular expression over octets for one over characters: `…` becomes [`WITHIN_SENTENCE`]; letters
/// lose their accents, as they do in texts (`engine::normal`); and each other character beyond ASCII
/// becomes a group of its octets.
///
/// # Errors
/// Where such a character stands in a class, which would then match any one of its octets.
pub(super) fn octets(text: &str) -> Result<String, String> {
    let text = folded(text);
    let mut out = String::with_capacity(text.len());
    let mut in_class = false;
    let mut escaped = false;
    for c in text.chars() {
        if c.is_ascii() {
            match c {
                '[' if !escaped => in_class = true,
                ']' if !escaped => in_class = false,
                _ => {}
            }
            escaped = c == '\\' && !escaped;
            out.push(c);
            continue;
        }
        if c == '…' && !in_class && !escaped {
            out.push_str(WITHIN_SENTENCE);
            continue;
        }
        if in_class || escaped {
            return Err(format!(
                "expected (?:a|{c}) instead of [a{c}]: only ASCII may stand in brackets"
            ));
        }
        out.push_str("(?:");
        let mut buffer = [0; 4];
        for octet in c.encode_utf8(&mut buffer).bytes() {
            out.push_str(&format!("\\x{octet:02X}"));
        }
        out.push(')');
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_match_as_written() {
        let table = [
            ("550", "550", true),
            ("55x", "554", true),
            ("55x", "521", false),
            ("5xx", "599", true),
            ("5xx", "", false),
            ("none", "", true),
            ("none", "550", false),
        ];
        for (pattern, code, fits) in table {
            let code = code.parse().ok().and_then(ReplyCode::new);
            assert_eq!(
                CodePattern::parse(pattern).unwrap().matches(code),
                fits,
                "{pattern} {code:?}"
            );
        }
        for bad in ["", "5", "5x0", "xxx", "700", "6xx", "5500", "+55"] {
            assert!(CodePattern::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn patterns_are_written_as_they_are_read() {
        for code in ["none", "550", "55x", "5xx"] {
            assert_eq!(CodePattern::parse(code).unwrap().to_string(), code);
        }
        for status in ["none", "5.1.1", "*.2.2", "5.1.*", "4.*.*"] {
            assert_eq!(StatusPattern::parse(status).unwrap().to_string(), status);
        }
    }

    #[test]
    fn letters_beyond_ascii_become_octets() {
        assert_eq!(octets("voll|\\[Ü[aä]").unwrap(), r"voll|\[u[aa]");
        assert_eq!(octets("Я").unwrap(), r"(?:\xD1\x8F)");
        assert!(octets("[aя]").is_err());
    }

    #[test]
    fn statuses_match_as_written() {
        let table = [
            ("5.1.1", "5.1.1", true),
            ("5.1.*", "5.1.10", true),
            ("*.2.2", "4.2.2", true),
            ("5.1.1", "5.1.10", false),
            ("5.1.*", "", false),
            ("none", "", true),
        ];
        for (pattern, status, fits) in table {
            let status = status.parse().ok();
            assert_eq!(
                StatusPattern::parse(pattern).unwrap().matches(status),
                fits,
                "{pattern}"
            );
        }
        for bad in ["", "5", "5.1", "3.1.1", "*.*.*", "5.1.1.1", "5.1.1000", "a.b.c"] {
            assert!(StatusPattern::parse(bad).is_err(), "{bad}");
        }
    }
}
