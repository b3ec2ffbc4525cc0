//! What a signature vouches for (DKIM, RFC 6376; ARC, RFC 8617): the fields that it covers, and the body, as a message
//! by itself. A signature that holds says nothing of the other fields. Whoever once had a signed bounce could send it
//! again with another `X-Failed-Recipients`, another `Delivered-To`, or another boundary, by which a report that they
//! had returned to them within it would be read instead.
//!
//! What could be read in two ways is no message ([`Uncovered`]): nothing is proved then.

/// Why a signature, though it may hold, does not vouch for a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Uncovered {
    /// A field that tells what the message is, or when it was sent, is not covered.
    #[error("expected a signature over {0}, found none")]
    Field(&'static str),
    /// A field that may be there once is there twice (RFC 5322 §3.6): the signature covers one of them.
    #[error("expected {0} once, found it again")]
    Twice(&'static str),
    /// The boundary of the parts is not covered, and not the one that the body begins with.
    #[error("expected the body to begin with the boundary that an unsigned Content-Type names")]
    Boundary,
    /// A CR or LF stands alone: signing passes over it, and readers may take it for the end of a line.
    #[error("expected lines that end in CRLF, found a CR or LF by itself")]
    LineEnd,
}

/// A header field: its name and its value, with the white space and the line end.
pub type Field<'a> = (&'a [u8], &'a [u8]);

/// Fields that a message has once, and that this reads.
const ONCE: [&str; 5] = [
    "From",
    "Date",
    "Message-ID",
    "Content-Type",
    "Content-Transfer-Encoding",
];

/// The message that a signature over `names` (its `h=`) vouches for.
///
/// # Errors
/// [`Uncovered`]: the signature leaves open what the message says.
pub fn signed(fields: &[Field<'_>], body: &[u8], names: &[String]) -> Result<Vec<u8>, Uncovered> {
    for name in ONCE {
        if named(fields, name).nth(1).is_some() {
            return Err(Uncovered::Twice(name));
        }
    }
    let covers = |name: &str| names.iter().any(|covered| covered.eq_ignore_ascii_case(name));
    // RFC 6376 §5.4: without From, a signature is void. The others tell a message from its repetition.
    for (name, must) in [("From", true), ("Date", true), ("Message-ID", false)] {
        let there = named(fields, name).next().is_some();
        if (must && !there) || (there && !covers(name)) {
            return Err(Uncovered::Field(name));
        }
    }
    let mut taken = vec![false; fields.len()];
    for name in names {
        // From the last to the first (RFC 6376 §5.4.2).
        let next = (0..fields.len())
            .rev()
            .find(|&at| !taken[at] && fields[at].0.eq_ignore_ascii_case(name.as_bytes()));
        if let Some(at) = next {
            taken[at] = true;
        }
    }
    if !covers("Content-Type") {
        let at = fields
            .iter()
            .position(|(name, _)| is_named(name, "Content-Type"))
            .ok_or(Uncovered::Field("Content-Type"))?;
        if !begins_with_its_boundary(fields[at].1, body) {
            return Err(Uncovered::Boundary);
        }
        taken[at] = true;
    }
    let mut message = Vec::with_capacity(body.len() + 1024);
    for ((name, value), _) in fields.iter().zip(taken).filter(|(_, taken)| *taken) {
        message.extend_from_slice(name);
        message.push(b':');
        message.extend_from_slice(value);
        if !value.ends_with(b"\n") {
            message.extend_from_slice(b"\r\n");
        }
    }
    message.extend_from_slice(b"\r\n");
    message.extend_from_slice(body);
    if has_bare_line_end(&message) {
        return Err(Uncovered::LineEnd);
    }
    Ok(message)
}

/// The value of a field that is there once; `None` where it is not there, or again.
#[must_use]
pub fn only<'a>(fields: &[Field<'a>], name: &str) -> Option<&'a [u8]> {
    let mut found = named(fields, name);
    let value = found.next();
    if found.next().is_some() {
        return None;
    }
    value
}

/// Some readers pass over white space in front of the colon, and some do not: here it counts.
fn named<'a>(fields: &[Field<'a>], name: &str) -> impl Iterator<Item = &'a [u8]> {
    let found = fields.iter().filter(move |(found, _)| is_named(found, name));
    found.map(|(_, value)| *value)
}

fn is_named(found: &[u8], name: &str) -> bool {
    found.trim_ascii().eq_ignore_ascii_case(name.as_bytes())
}

/// Google's bounces, for one, leave Content-Type unsigned. Whoever cannot change the body cannot make it begin with
/// another boundary than the one that it was written with.
fn begins_with_its_boundary(content_type: &[u8], body: &[u8]) -> bool {
    let Some(boundary) = boundary(content_type) else {
        return false;
    };
    let start = body
        .iter()
        .position(|b| !matches!(b, b'\r' | b'\n'))
        .unwrap_or(body.len());
    let first = body[start..].split(|&b| b == b'\n').next().unwrap_or_default();
    first
        .trim_ascii_end()
        .strip_prefix(b"--")
        .is_some_and(|rest| rest == boundary.as_bytes())
}

/// The boundary of a multipart type (RFC 2046 §5.1.1), where there is one and no two readers could take it for different
/// ones.
fn boundary(content_type: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(content_type).ok()?.trim();
    if text.contains(['(', '\\', '*', '\0']) {
        return None;
    }
    let mut quoted = false;
    let mut pieces = text.split(|c| {
        quoted ^= c == '"';
        c == ';' && !quoted
    });
    let kind = pieces.next()?.trim().to_ascii_lowercase();
    let mut boundaries = pieces.filter_map(|piece| {
        let (name, value) = piece.split_once('=')?;
        name.trim().eq_ignore_ascii_case("boundary").then(|| value.trim())
    });
    let (one, other) = (boundaries.next()?, boundaries.next());
    let bare = one
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(one);
    let is_plain = !bare.is_empty() && bare.len() <= 70 && !bare.contains(['"', '\r', '\n']);
    (kind.starts_with("multipart/") && other.is_none() && is_plain).then(|| bare.to_owned())
}

fn has_bare_line_end(message: &[u8]) -> bool {
    memchr::memchr2_iter(b'\r', b'\n', message).any(|at| match message[at] {
        b'\n' => at == 0 || message[at - 1] != b'\r',
        _ => message.get(at + 1) != Some(&b'\n'),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = b"--b1\r\n\r\nhello\r\n--b1--\r\n";

    fn names(names: &str) -> Vec<String> {
        names.split(':').map(str::to_owned).collect()
    }

    fn fields(text: &str) -> Vec<Field<'_>> {
        let ends = text.match_indices("\r\n").map(|(at, _)| at + 2);
        let (mut found, mut start) = (Vec::new(), 0);
        for end in ends {
            if !text[end..].starts_with([' ', '\t']) {
                let (name, value) = text[start..end].split_once(':').unwrap();
                found.push((name.as_bytes(), value.as_bytes()));
                start = end;
            }
        }
        found
    }

    fn read(header: &str, covered: &str) -> Result<String, Uncovered> {
        let message = signed(&fields(header), BODY, &names(covered))?;
        let message = String::from_utf8(message).unwrap();
        Ok(message
            .strip_suffix(std::str::from_utf8(BODY).unwrap())
            .unwrap()
            .to_owned())
    }

    const HEADER: &str = "X-Failed-Recipients: ann@x.test\r\nFrom: a@x.test\r\nDate: now\r\nMessage-ID: <1@x.test>\r\n\
                          Content-Type: multipart/report; boundary=\"b1\"\r\n";

    #[test]
    fn only_what_is_covered_is_left() {
        let left = read(HEADER, "from:date:message-id:content-type:subject:subject").unwrap();
        assert!(!left.contains("ann"), "{left}");
        assert!(
            left.contains("From: a@x.test\r\n") && left.ends_with("\"b1\"\r\n\r\n"),
            "{left}"
        );
        let left = read(HEADER, "From:Date:Message-ID:X-Failed-Recipients").unwrap();
        assert!(left.contains("ann"), "{left}");
        // The last of several is the one that one name covers.
        let twice = format!("Subject: forged\r\n{HEADER}Subject: true\r\n");
        let left = read(&twice, "from:date:message-id:subject").unwrap();
        assert!(left.contains("true") && !left.contains("forged"), "{left}");
    }

    #[test]
    fn what_tells_what_it_is_must_be_covered() {
        let all = "from:date:message-id:content-type";
        for name in ["From", "Date", "Message-ID"] {
            let but: Vec<_> = all.split(':').filter(|n| !n.eq_ignore_ascii_case(name)).collect();
            assert_eq!(read(HEADER, &but.join(":")), Err(Uncovered::Field(name)));
        }
        for (name, again) in [
            ("From", "From: b@y.test\r\n"),
            ("From", "FROM : b@y.test\r\n"),
            ("Content-Type", "content-type: text/plain\r\n"),
            ("Date", "Date: then\r\n"),
        ] {
            let header = format!("{again}{HEADER}");
            assert_eq!(read(&header, all), Err(Uncovered::Twice(name)), "{again}");
        }
        let without = HEADER.replace("Date: now\r\n", "");
        assert_eq!(read(&without, all), Err(Uncovered::Field("Date")));
    }

    #[test]
    fn an_uncovered_boundary_must_be_the_one_the_body_begins_with() {
        let with = |content_type: &str| {
            let header = HEADER.replace("multipart/report; boundary=\"b1\"", content_type);
            read(&header, "from:date:message-id").map(|_| ())
        };
        for good in [
            "multipart/report; boundary=\"b1\"",
            "Multipart/Mixed;\r\n BOUNDARY = b1; x=y",
        ] {
            assert_eq!(with(good), Ok(()), "{good}");
        }
        for bad in [
            "multipart/report; boundary=b",
            "multipart/report; boundary=b2",
            "multipart/report; boundary=b2; boundary=b1",
            "multipart/report; boundary*=b1",
            "multipart/report; boundary=(b1)b2",
            "text/plain; boundary=b1",
            "multipart/report",
            "multipart/report; x=\"; boundary=b1\"",
        ] {
            assert_eq!(with(bad), Err(Uncovered::Boundary), "{bad}");
        }
        let without: String = HEADER
            .split_inclusive("\r\n")
            .filter(|l| !l.starts_with("Content"))
            .collect();
        assert_eq!(
            read(&without, "from:date:message-id"),
            Err(Uncovered::Field("Content-Type"))
        );
        assert!(read(&without, "from:date:message-id:content-type").is_ok());
    }

    #[test]
    fn lines_end_in_crlf() {
        let covered = names("from:date:message-id:content-type");
        for (body, expected) in [
            (&b"a\r\nb\r\n"[..], true),
            (b"a\nb", false),
            (b"a\rb", false),
            (b"a\r\r\n", false),
            (b"a\r", false),
            (b"", true),
        ] {
            let found = signed(&fields(HEADER), body, &covered);
            assert_eq!(found.is_ok(), expected, "{body:?}");
        }
    }

    #[test]
    fn a_field_is_there_once() {
        assert_eq!(only(&fields(HEADER), "date"), Some(&b" now\r\n"[..]));
        assert_eq!(only(&fields(HEADER), "Subject"), None);
        assert_eq!(only(&fields("A: 1\r\nA: 2\r\n"), "A"), None);
    }
}
