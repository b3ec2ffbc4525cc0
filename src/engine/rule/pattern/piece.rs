//! Plain strings within patterns: what a text must hold if a pattern does. For proofs only, so that all
//! is left out that is not certain; matching itself is the business of regular expressions.

use crate::engine::normal::folded;

/// One piece of a sequence.
enum Piece {
    /// This character.
    Char(char),
    /// One of these sequences; `true` where it may be missing altogether.
    Group(Vec<Vec<Piece>>, bool),
    /// Something else, or a character that may be missing or repeated.
    Other,
}

/// The alternatives of a pattern, as written.
pub(in crate::engine::rule) fn alternatives(pattern: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let (mut depth, mut in_class, mut escaped) = (0_usize, false, false);
    for c in pattern.chars() {
        match c {
            _ if escaped => {}
            '[' => in_class = true,
            ']' => in_class = false,
            _ if in_class => {}
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            '|' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        escaped = c == '\\' && !escaped;
        if let Some(last) = parts.last_mut() {
            last.push(c);
        }
    }
    parts
}

/// All strings that a pattern stands for; empty if they are more than `most`, or if there is anything in
/// it but characters, groups and `?`.
pub(in crate::engine::rule) fn strings(pattern: &str, most: usize) -> Vec<String> {
    let mut all = Vec::new();
    for alternative in read(pattern) {
        match expanded(&alternative, most) {
            Some(more) if all.len() + more.len() <= most => all.extend(more),
            _ => return Vec::new(),
        }
    }
    all
}

/// The strings that a text must hold where one alternative of a pattern does.
pub(in crate::engine::rule) fn needed(alternative: &str) -> Vec<String> {
    let mut runs = vec![String::new()];
    for piece in read(alternative).into_iter().next().unwrap_or_default() {
        match (piece, runs.last_mut()) {
            (Piece::Char(c), Some(run)) => run.push(c),
            _ => runs.push(String::new()),
        }
    }
    runs.retain(|run| !run.is_empty());
    runs
}

fn expanded(pieces: &[Piece], most: usize) -> Option<Vec<String>> {
    let mut all = vec![String::new()];
    for piece in pieces {
        let tails = match piece {
            Piece::Char(c) => vec![c.to_string()],
            Piece::Other => return None,
            Piece::Group(choices, optional) => {
                let mut tails = Vec::new();
                for choice in choices {
                    tails.extend(expanded(choice, most)?);
                }
                tails.extend(optional.then(String::new));
                tails
            }
        };
        if all.len() * tails.len() > most {
            return None;
        }
        all = all
            .iter()
            .flat_map(|head| tails.iter().map(move |tail| format!("{head}{tail}")))
            .collect();
    }
    Some(all)
}

/// The alternatives of a pattern, in pieces.
fn read(pattern: &str) -> Vec<Vec<Piece>> {
    let folded = folded(pattern).to_lowercase();
    let mut rest = folded.chars().peekable();
    // Case is of no account, but `\S` is not `\s`: escapes are told apart by what they stand for alone.
    sequence(&mut rest)
}

type Rest<'a> = std::iter::Peekable<std::str::Chars<'a>>;

fn sequence(rest: &mut Rest<'_>) -> Vec<Vec<Piece>> {
    let mut all = vec![Vec::new()];
    while let Some(c) = rest.next() {
        let mut piece = match c {
            ')' => break,
            '|' => {
                all.push(Vec::new());
                continue;
            }
            '(' => group(rest),
            '[' => {
                class(rest);
                Piece::Other
            }
            '\\' => match rest.next() {
                Some(escaped) if !escaped.is_alphanumeric() => Piece::Char(escaped),
                _ => Piece::Other,
            },
            '.' | '^' | '$' | '…' => Piece::Other,
            plain => Piece::Char(plain),
        };
        match rest.peek() {
            Some('?') => {
                rest.next();
                piece = match piece {
                    Piece::Group(choices, _) => Piece::Group(choices, true),
                    Piece::Char(c) => Piece::Group(vec![vec![Piece::Char(c)]], true),
                    Piece::Other => Piece::Other,
                };
            }
            Some('*' | '+') => {
                rest.next();
                piece = Piece::Other;
            }
            Some('{') => {
                rest.by_ref().find(|&c| c == '}');
                piece = Piece::Other;
            }
            _ => {}
        }
        // `+?` and the like
        while rest.next_if(|&c| matches!(c, '?' | '*' | '+')).is_some() {
            piece = Piece::Other;
        }
        if let Some(last) = all.last_mut() {
            last.push(piece);
        }
    }
    all
}

fn group(rest: &mut Rest<'_>) -> Piece {
    let mut certain = true;
    if rest.next_if_eq(&'?').is_some() {
        // `(?:`, `(?P<name>`; flags as in `(?i)` make all uncertain
        match rest.next() {
            Some(':') => {}
            Some('p') => drop(rest.by_ref().find(|&c| c == '>')),
            _ => certain = false,
        }
    }
    let choices = sequence(rest);
    if certain {
        Piece::Group(choices, false)
    } else {
        Piece::Other
    }
}

fn class(rest: &mut Rest<'_>) {
    rest.next_if_eq(&'^');
    rest.next_if_eq(&']');
    while let Some(c) = rest.next() {
        match c {
            '\\' => drop(rest.next()),
            ']' => break,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_written_out() {
        let table: [(&str, &[&str]); 8] = [
            ("No such", &["no such"]),
            ("a|b(?:c|d)", &["a", "bc", "bd"]),
            ("ab?c", &["abc", "ac"]),
            (r"a\.b", &["a.b"]),
            ("Ü", &["u"]),
            ("a.b", &[]),
            ("ab*", &[]),
            (r"\bab", &[]),
        ];
        for (pattern, expected) in table {
            assert_eq!(strings(pattern, 9), expected, "{pattern}");
        }
        assert!(strings("(?:a|b)(?:a|b)(?:a|b)(?:a|b)", 9).is_empty());
    }

    #[test]
    fn needs_are_certain() {
        let table: [(&str, &[&str]); 6] = [
            ("over (?:its|the) quota.*[0-9]+", &["over ", " quota"]),
            ("full*", &["ful"]),
            ("fulls?", &["full"]),
            ("postfach…voll", &["postfach", "voll"]),
            ("a{0,3}b", &["b"]),
            ("(?i)a", &[]),
        ];
        for (pattern, expected) in table {
            let needs = needed(pattern);
            assert!(
                expected.iter().all(|need| needs.iter().any(|n| n == need)),
                "{pattern}: {needs:?}"
            );
        }
        assert_eq!(alternatives("a|(b|c)|[|]"), ["a", "(b|c)", "[|]"]);
    }
}
