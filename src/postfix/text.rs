//! Text that is fit for a reply or a log line.
//!
//! A reply is one line of printable ASCII (RFC 5321 §4.2: the text is HTAB and %d32-126); what is
//! quoted from the outside must not forge a second line. Nothing here fails: what does not fit
//! becomes `?`, as Postfix does it, or is cut.

/// The most octets of text in a reply. RFC 5321 §4.5.3.1.5 allows 512 for the whole line; Postfix
/// puts the code, the address and a few words before our part.
pub const MAX_REPLY_TEXT: usize = 400;

/// How much of an offending input an error quotes, in octets.
const MAX_EXCERPT: usize = 60;

/// Appends `text` to `out` as one line of printable ASCII of at most [`MAX_REPLY_TEXT`] octets.
pub fn push_line(out: &mut Vec<u8>, text: &str) {
    if text.len() <= MAX_REPLY_TEXT && text.bytes().all(|b| matches!(b, b' '..=b'~')) {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    let printable = text.chars().map(|c| match c {
        ' '..='~' => c as u8,
        _ => b'?',
    });
    out.extend(printable.take(MAX_REPLY_TEXT));
}

/// The beginning of an outside input, for an error message.
#[must_use]
pub fn excerpt(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(MAX_EXCERPT)];
    let mut text: String = String::from_utf8_lossy(shown)
        .chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect();
    if shown.len() < bytes.len() {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> String {
        let mut out = Vec::new();
        push_line(&mut out, text);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_line_is_one_line_of_printable_ascii() {
        assert_eq!(line("two\r\nlines\0"), "two??lines?");
        assert_eq!(line("Köln"), "K?ln");
        assert_eq!(line(&"x".repeat(1000)).len(), MAX_REPLY_TEXT);
    }

    #[test]
    fn an_excerpt_is_short_and_printable() {
        assert_eq!(excerpt(b"a\nb\xff"), "a?b\u{fffd}");
        assert_eq!(excerpt(&[b'x'; 100]), format!("{}…", "x".repeat(60)));
    }
}
