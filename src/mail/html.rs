//! The words of an HTML text (WHATWG HTML, as far as notices of mail systems use it): tags go, what they set
//! on lines of its own stands on lines of its own, entities become characters.
//!
//! `mail_parser` has a reader of its own, which runs all lines together: notices set the address, the reply and
//! their labels on lines of their own, and the readers of formats go by these.
//!
//! Reading takes one pass and never fails; what is no markup stays as it is.

/// Elements whose content nobody is shown.
const HIDDEN: [&str; 4] = ["script", "style", "title", "template"];
/// Elements that begin and end lines.
const BLOCK: [&str; 24] = [
    "p",
    "div",
    "br",
    "tr",
    "table",
    "li",
    "ul",
    "ol",
    "dl",
    "dt",
    "dd",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "hr",
    "pre",
    "blockquote",
    "body",
    "center",
    "address",
    "section",
];

/// Whether a text is HTML, whatever it is declared to be.
#[must_use]
pub(super) fn is_html(text: &str) -> bool {
    let start = text.trim_start();
    let start = start
        .get(..start.floor_char_boundary(9))
        .unwrap_or_default()
        .to_ascii_lowercase();
    ["<html", "<!doctype", "<body", "<head>"]
        .iter()
        .any(|tag| start.starts_with(tag))
}

/// The words of an HTML text.
#[must_use]
pub(super) fn text(html: &str) -> String {
    let mut out = Text::default();
    let mut rest = html;
    while let Some(at) = memchr::memchr(b'<', rest.as_bytes()) {
        out.words(&rest[..at]);
        rest = match markup(&rest[at..]) {
            Some((tag, after)) => out.tag(tag, after),
            None => {
                out.words("<");
                &rest[at + 1..]
            }
        };
    }
    out.words(rest);
    out.text
}

/// What stands between `<` and `>`, and what follows; `None` where no markup begins. A bare address in
/// angle brackets is none: careless notices write it so.
fn markup(text: &str) -> Option<(&str, &str)> {
    if let Some(comment) = text.strip_prefix("<!--") {
        return Some(
            comment
                .find("-->")
                .map_or(("!", ""), |end| ("!", &comment[end + 3..])),
        );
    }
    let inner = &text[1..];
    if !inner.starts_with(|c: char| c.is_ascii_alphabetic() || "/!?".contains(c)) {
        return None;
    }
    let end = memchr::memchr2(b'>', b'<', inner.as_bytes()).unwrap_or(inner.len());
    if !inner[end..].starts_with('>') {
        // A tag that is never closed: what looks like one is text.
        return None;
    }
    let tag = &inner[..end];
    let is_address = tag.contains('@') && !tag.contains(['=', ' ']);
    (!is_address).then_some((tag, &inner[end + 1..]))
}

#[derive(Default)]
struct Text {
    text: String,
    in_pre: bool,
}

impl Text {
    /// Takes a tag, and returns what follows it and is to be read.
    fn tag<'a>(&mut self, tag: &str, after: &'a str) -> &'a str {
        let closes = tag.starts_with('/');
        let name = tag.trim_start_matches('/');
        let name = name
            .split(|c: char| !c.is_ascii_alphanumeric())
            .next()
            .unwrap_or_default();
        let is = |known: &&str| name.eq_ignore_ascii_case(known);
        if name.eq_ignore_ascii_case("pre") {
            self.in_pre = !closes;
        }
        if BLOCK.iter().any(is) {
            self.line_ends();
            // A paragraph stands apart.
            if name.eq_ignore_ascii_case("p") && closes && !self.text.ends_with("\n\n") {
                self.text.push('\n');
            }
        } else if ["td", "th"].iter().any(is) {
            self.blank();
        }
        match HIDDEN.iter().find(|known| is(known)).filter(|_| !closes) {
            Some(hidden) => skip(after, hidden),
            None => after,
        }
    }

    fn line_ends(&mut self) {
        let end = self.text.trim_end_matches(' ').len();
        self.text.truncate(end);
        if !self.text.is_empty() && !self.text.ends_with("\n\n") {
            self.text.push('\n');
        }
    }

    fn blank(&mut self) {
        if !self.text.is_empty() && !self.text.ends_with([' ', '\n']) {
            self.text.push(' ');
        }
    }

    fn words(&mut self, words: &str) {
        let mut rest = words;
        while let Some(c) = rest.chars().next() {
            let length = c.len_utf8();
            match c {
                '&' => {
                    let (c, length) = entity(rest);
                    self.character(c);
                    rest = &rest[length..];
                    continue;
                }
                '\n' if self.in_pre => self.text.push('\n'),
                ' ' | '\t' | '\r' | '\n' => self.blank(),
                c => self.character(c),
            }
            rest = &rest[length..];
        }
    }

    fn character(&mut self, c: char) {
        if c == '\u{a0}' {
            self.blank()
        } else {
            self.text.push(c)
        }
    }
}

/// What follows the end of a hidden element.
fn skip<'a>(text: &'a str, name: &str) -> &'a str {
    let mut from = 0;
    while let Some(at) = memchr::memmem::find(&text.as_bytes()[from..], b"</") {
        let start = from + at + 2;
        let end = start + name.len();
        if text
            .get(start..end)
            .is_some_and(|found| found.eq_ignore_ascii_case(name))
        {
            return text[end..].split_once('>').map_or("", |(_, after)| after);
        }
        from = start;
    }
    ""
}

/// The character that an entity at the start of a text stands for, and its length; `&` where it is none.
fn entity(text: &str) -> (char, usize) {
    const NAMED: [(&str, char); 12] = [
        ("lt", '<'),
        ("gt", '>'),
        ("amp", '&'),
        ("quot", '"'),
        ("apos", '\''),
        ("nbsp", '\u{a0}'),
        ("auml", 'ä'),
        ("ouml", 'ö'),
        ("uuml", 'ü'),
        ("szlig", 'ß'),
        ("eacute", 'é'),
        ("egrave", 'è'),
    ];
    let head = &text.as_bytes()[1..text.len().min(12)];
    let Some(end) = memchr::memchr(b';', head) else {
        return ('&', 1);
    };
    let Some(name) = text.get(1..=end) else {
        return ('&', 1);
    };
    let number = name
        .strip_prefix('#')
        .and_then(|number| match number.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16).ok(),
            None => number.parse().ok(),
        });
    let named = NAMED.iter().find(|(known, _)| *known == name).map(|&(_, c)| c);
    let c = named.or_else(|| number.and_then(char::from_u32).filter(|c| !c.is_control()));
    c.map_or(('&', 1), |c| (c, end + 2))
}

#[cfg(test)]
mod tests {
    use super::{is_html, text};

    #[test]
    fn words_stand_on_their_lines() {
        let table = [
            (
                "<html><head><title>x</title></head><body>a<br>b<br/>c</body></html>",
                "a\nb\nc\n",
            ),
            (
                "<p class=x>Your mail to <b>a@b.test</b></p><p>failed",
                "Your mail to a@b.test\n\nfailed",
            ),
            ("<table><tr><td>550<td>no</table>", "550 no\n"),
            (
                "&lt;a@b.test&gt;: 550&nbsp;no &#39;x&#x27; &bogus; &",
                "<a@b.test>: 550 no 'x' &bogus; &",
            ),
            ("<a@b.test>: 5 < 6", "<a@b.test>: 5 < 6"),
            ("<pre>a\n  b</pre>c", "a\nb\nc"),
            ("<style>p{}</style>a<!-- <b>no</b> -->b<script>1<2</script>", "ab"),
            ("<a href=\"mailto:x@y.test\">x@y.test</a>", "x@y.test"),
            ("a <b", "a <b"),
            ("", ""),
        ];
        for (html, words) in table {
            assert_eq!(text(html), words, "{html}");
        }
        assert!(is_html("\n <!DOCTYPE html>") && is_html("<HTML>") && !is_html("<a@b.test>") && !is_html(""));
    }
}
