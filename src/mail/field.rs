//! Header fields (RFC 5322 §2.2) in octets, and lines like them in reports (RFC 3464, RFC 5965): where each stands,
//! its content unfolded (§2.2.3) and free of control characters.
//!
//! Nearly every field is printable ASCII on one line and is lent as it stands; only what was folded, or holds
//! other characters, is written anew. What is no field is passed over or handed on as it is: nothing fails.

use std::borrow::Cow;

/// Octets as text: UTF-8, or else ISO 8859-1, in which every octet means something; control
/// characters become blanks, so that none ever reaches a log or a store.
#[must_use]
pub(super) fn clean(octets: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(octets) {
        Ok(text) if is_printable(octets) => Cow::Borrowed(text),
        Ok(text) if text.is_ascii() => {
            let blank = |&b: &u8| if matches!(b, 0x20..0x7f) { b } else { b' ' };
            Cow::Owned(String::from_utf8(octets.iter().map(blank).collect()).unwrap_or_default())
        }
        Ok(text) => Cow::Owned(text.chars().map(blank_control).collect()),
        Err(_) => Cow::Owned(octets.iter().map(|&b| blank_control(char::from(b))).collect()),
    }
}

fn blank_control(c: char) -> char {
    if c.is_control() { ' ' } else { c }
}

/// Whether all octets are printable ASCII. Without an early end, which lets the compiler look at many at once.
fn is_printable(octets: &[u8]) -> bool {
    octets.iter().fold(true, |all, b| all & matches!(b, 0x20..0x7f))
}

/// The words of a field's content, with single blanks between them.
pub(super) fn unfolded(octets: &[u8]) -> Cow<'_, str> {
    let start = octets.iter().position(|&b| !is_blank(b)).unwrap_or(octets.len());
    let end = octets
        .iter()
        .rposition(|&b| !is_blank(b))
        .map_or(start, |at| at + 1);
    let octets = &octets[start..end];
    if is_printable(octets)
        && !has_double_blank(octets)
        && let Ok(text) = std::str::from_utf8(octets)
    {
        return Cow::Borrowed(text);
    }
    if octets.is_ascii() {
        return Cow::Owned(joined(octets));
    }
    Cow::Owned(clean(octets).split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Whether an ASCII octet is a blank, or a control character, which becomes one.
fn is_blank(octet: u8) -> bool {
    octet <= b' ' || octet == 0x7f
}

/// Without an early end, as [`is_printable`].
fn has_double_blank(octets: &[u8]) -> bool {
    let next = octets.get(1..).unwrap_or_default();
    octets
        .iter()
        .zip(next)
        .fold(false, |found, (&a, &b)| found | ((a == b' ') & (b == b' ')))
}

/// The words of an ASCII text that does not begin with a blank, with single blanks between them.
fn joined(octets: &[u8]) -> String {
    let mut text = Vec::with_capacity(octets.len());
    let mut after_blank = false;
    for &octet in octets {
        if is_blank(octet) {
            after_blank = true;
            continue;
        }
        if after_blank {
            text.push(b' ');
            after_blank = false;
        }
        text.push(octet);
    }
    String::from_utf8(text).unwrap_or_default()
}

/// The fields at the start of a text, with their contents as they stand, line ends and all: up to an empty line,
/// whatever ends the lines. A line that is no field is passed over.
pub(super) fn header(text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = text.trim_ascii_start();
    std::iter::from_fn(move || {
        loop {
            if matches!(rest.first()?, b'\r' | b'\n') {
                return None;
            }
            let mut end = 0;
            loop {
                end = memchr::memchr(b'\n', &rest[end..]).map_or(rest.len(), |at| end + at + 1);
                if !matches!(rest.get(end), Some(b' ' | b'\t')) {
                    break;
                }
            }
            let field = &rest[..end];
            rest = &rest[end..];
            if let Some(colon) = memchr::memchr(b':', field) {
                let name = field[..colon].trim_ascii_end();
                if !name.is_empty() && name.iter().all(u8::is_ascii_graphic) {
                    return Some((name, &field[colon + 1..]));
                }
            }
        }
    })
}

/// One unfolded line of a report.
pub(super) enum Line<'a> {
    Empty,
    Field(Cow<'a, str>, Cow<'a, str>),
    Other(Cow<'a, str>),
}

/// The lines of a report, unfolded, whether they end in LF, CRLF or CR.
pub(super) fn lines(part: &[u8]) -> impl Iterator<Item = Line<'_>> {
    let mut rest = part;
    std::iter::from_fn(move || {
        let first = cut_line(&mut rest)?;
        if first.trim_ascii().is_empty() {
            return Some(Line::Empty);
        }
        let mut text = clean(first);
        while matches!(rest.first(), Some(b' ' | b'\t')) {
            let before = rest;
            let Some(more) = cut_line(&mut rest).filter(|line| !line.trim_ascii().is_empty()) else {
                rest = before;
                break;
            };
            let text = text.to_mut();
            text.push(' ');
            text.push_str(clean(more).trim());
        }
        Some(field_in(text))
    })
}

/// The fields among the lines of a report, as (name, value).
pub(super) fn fields(part: &[u8]) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    lines(part).filter_map(|line| match line {
        Line::Field(name, value) => Some((name, value)),
        Line::Empty | Line::Other(_) => None,
    })
}

/// Cuts at CRLF, LF and bare CR; `None` at the end.
fn cut_line<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    if rest.is_empty() {
        return None;
    }
    let text = *rest;
    let Some(end) = memchr::memchr2(b'\r', b'\n', text) else {
        *rest = &[];
        return Some(text);
    };
    let length = if text[end..].starts_with(b"\r\n") { 2 } else { 1 };
    *rest = &text[end + length..];
    Some(&text[..end])
}

/// The field that a line is, or the line.
fn field_in(text: Cow<'_, str>) -> Line<'_> {
    let is_name = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic());
    match text {
        Cow::Borrowed(line) => match line.split_once(':') {
            Some((name, value)) if is_name(name.trim_end()) => {
                Line::Field(Cow::Borrowed(name.trim_end()), Cow::Borrowed(value.trim()))
            }
            _ => Line::Other(text),
        },
        Cow::Owned(line) => match line.split_once(':') {
            Some((name, value)) if is_name(name.trim_end()) => Line::Field(
                Cow::Owned(name.trim_end().to_owned()),
                Cow::Owned(value.trim().to_owned()),
            ),
            _ => Line::Other(Cow::Owned(line)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn plain_content_is_lent() {
        assert!(matches!(
            unfolded(b" a plain value\r\n"),
            Cow::Borrowed("a plain value")
        ));
        assert_eq!(unfolded(b" folded\r\n\tand  spaced\n"), "folded and spaced");
        assert_eq!(
            unfolded("\u{a0}n\u{e4}h\u{85}er\u{2003}dran".as_bytes()),
            "n\u{e4}h er dran"
        );
        assert_eq!(unfolded(b"caf\xe9 au\0lait"), "caf\u{e9} au lait");
        assert_eq!(unfolded(b" \r\n"), "");
    }

    #[test]
    fn lines_of_a_report_are_unfolded() {
        let text = |line| match line {
            Line::Empty => "-".to_owned(),
            Line::Field(name, value) => format!("{name}={value}"),
            Line::Other(text) => format!("?{text}"),
        };
        let part = b"A : b\r\n c\r \nno field\n \n x: y\rD:\xe9\n\te";
        let all: Vec<String> = lines(part).map(text).collect();
        assert_eq!(all, ["A=b c", "-", "?no field", "-", "? x: y", "D=\u{e9} e"]);
    }

    proptest! {
        /// The short ways must lead where the plain one does.
        #[test]
        fn unfolding_is_cleaning_and_joining(octets: Vec<u8>, ascii in "[ -~\t\r\n]{0,40}") {
            for octets in [&*octets, ascii.as_bytes()] {
                let text: String = match std::str::from_utf8(octets) {
                    Ok(text) => text.chars().map(blank_control).collect(),
                    Err(_) => octets.iter().map(|&b| blank_control(char::from(b))).collect(),
                };
                prop_assert_eq!(&*clean(octets), &*text);
                prop_assert_eq!(unfolded(octets), text.split_whitespace().collect::<Vec<_>>().join(" "));
            }
        }
    }
}
