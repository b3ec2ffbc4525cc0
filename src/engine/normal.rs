//! Normal form of a reply's text: what differs from one refusal of the same kind to the next is taken
//! out, so that one pattern meets them all. Continuation lines and repeated codes are gone already
//! (`mail::reply`, RFC 5321 §4.2.1); here go
//!
//! - mail addresses, which become a lone `@`: what somebody calls a mailbox says nothing of its fate;
//! - IPv4 and IPv6 addresses, which become `%`;
//! - the ids of sessions, queues and servers, which become `*`: runs of twelve or more letters, digits,
//!   `-` and `_` that change between letters and digits at least three times. Reply codes of providers
//!   (`OFR004_405`, `AUP#In-1310`, `BL000010`, `AS16012607`) do not, and stay;
//! - `http://` and `https://`. What follows stays, for it often tells the cause (`?p=NoSuchUser`,
//!   `zen.spamhaus.org`);
//! - capitals, accents (`é` is read as `e`, `ß` as `ss`) and typographic quotes and blanks.
//!
//! One pass over the octets, into a buffer that the caller reuses; nothing is allocated for ASCII.
//! Nothing here fails: any text has a normal form, in time linear in its length.

use std::borrow::Cow;
use std::net::Ipv6Addr;

/// What stands for a mail address.
pub const ADDRESS: &str = "@";
/// What stands for an IP address.
pub const HOST: &str = "%";
/// What stands for an id.
pub const ID: &str = "*";

/// What an octet means to the one who looks for words.
const DIGIT: u8 = 1;
const AT: u8 = 2;
const COLON: u8 = 4;
const BETWEEN: u8 = 8;
const LETTER: u8 = 16;
/// What stands in ids beside letters and digits.
const JOINT: u8 = 32;
/// What ids are of.
const TOKEN: u8 = DIGIT | LETTER | JOINT;

static CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut octet = 0;
    while octet < 256 {
        #[allow(clippy::cast_possible_truncation, reason = "octet < 256")]
        let class = match octet as u8 {
            b'0'..=b'9' => DIGIT,
            b'a'..=b'z' | b'A'..=b'Z' => LETTER,
            b'-' | b'_' => JOINT,
            b'@' => AT,
            b':' => COLON,
            b' ' | b'\t' | b'\r' | b'\n' | b'<' | b'>' | b'(' | b')' | b'[' | b']' | b',' | b';' => BETWEEN,
            _ => 0,
        };
        classes[octet] = class;
        octet += 1;
    }
    classes
};

fn class(octet: u8) -> u8 {
    CLASSES[usize::from(octet)]
}

/// Where the next digit, colon or `@` is: most of a text has none, and goes by in sixteens, which the
/// compiler compares at once.
fn of_interest(octets: &[u8], from: usize) -> Option<usize> {
    // The colon follows upon the nine.
    let marked = |octet: u8| (octet.wrapping_sub(b'0') <= 10) | (octet == b'@');
    let mut at = from;
    while let Some(some) = octets[at..].first_chunk::<16>() {
        if some.iter().fold(0, |seen, &octet| seen | u8::from(marked(octet))) != 0 {
            break;
        }
        at += 16;
    }
    octets[at..]
        .iter()
        .position(|&octet| marked(octet))
        .map(|position| at + position)
}

/// Puts the normal form of a text into `out`, in place of what was there.
pub fn normalise_into(text: &str, out: &mut String) {
    out.clear();
    let text = folded(text);
    out.reserve(text.len() + 1);
    let mut copy = Copy {
        text: &text,
        out,
        from: 0,
    };
    let octets = text.as_bytes();
    let mut next = 0;
    while let Some(at) = of_interest(octets, next) {
        let before = octets[next..at]
            .iter()
            .rposition(|&octet| class(octet) == BETWEEN);
        let start = before.map_or(next, |position| next + position + 1);
        let mut seen = 0;
        let mut end = at;
        while end < octets.len() && class(octets[end]) != BETWEEN {
            seen |= class(octets[end]);
            end += 1;
        }
        // nothing that short is an IP address or an id
        if end - start >= 7 || seen & (AT | COLON) != 0 {
            copy.word(start, end, seen);
        }
        next = end;
    }
    copy.rest();
}

/// The normal form, in a buffer of its own; [`normalise_into`] is the one for many.
#[must_use]
pub fn normalised(text: &str) -> String {
    let mut out = String::new();
    normalise_into(text, &mut out);
    out
}

/// Copies a text, but for what is to be replaced.
struct Copy<'a> {
    text: &'a str,
    out: &'a mut String,
    /// What is not copied yet begins here.
    from: usize,
}

impl Copy<'_> {
    fn replace(&mut self, start: usize, end: usize, with: &str) {
        // What stands before may have been replaced already, as the quoted half of an address.
        if start >= self.from {
            self.out.push_str(&self.text[self.from..start]);
            self.out.push_str(with);
        }
        self.from = self.from.max(end);
    }

    fn rest(self) {
        self.out.push_str(&self.text[self.from..]);
        self.out.make_ascii_lowercase();
    }

    /// A run of octets without blanks and brackets, in which there is something to look at.
    fn word(&mut self, mut start: usize, end: usize, seen: u8) {
        if seen & COLON != 0
            && let Some(scheme) = scheme(&self.text[start..end])
        {
            self.replace(start, start + scheme, "");
            start += scheme;
        }
        if seen & AT != 0 {
            self.addresses(start, end);
        } else if seen & DIGIT != 0 {
            if seen & COLON != 0 && self.ipv6(start, end) {
                return;
            }
            self.numbers(start, end);
        }
    }

    /// Every address in a word: up to a colon, and in a URL up to the ends of the parameter.
    fn addresses(&mut self, start: usize, end: usize) {
        let octets = self.text.as_bytes();
        let mut from = start;
        while let Some(at) = memchr::memchr(b'@', &octets[from..end]) {
            let at = from + at;
            let outside = |octet: &u8| matches!(octet, b':' | b'=' | b'&' | b'?');
            let before = octets[from..at].iter().rposition(outside);
            let first = match self.quoted(at) {
                Some(quote) => quote,
                None => before.map_or(from, |position| from + position + 1),
            };
            let after = octets[at + 1..end]
                .iter()
                .position(|octet| matches!(octet, b':' | b'&' | b'?'));
            from = after.map_or(end, |length| at + 1 + length);
            self.replace(first, from, ADDRESS);
        }
    }

    /// Where a quoted local part begins that ends before `at` (RFC 5321: at most 64 octets).
    fn quoted(&self, at: usize) -> Option<usize> {
        let octets = self.text.as_bytes();
        let close = at.checked_sub(1).filter(|&close| octets[close] == b'"')?;
        let floor = close.saturating_sub(66).max(self.from);
        let open = memchr::memrchr(b'"', octets.get(floor..close)?)?;
        Some(floor + open)
    }

    /// Whether there was an IPv6 address, which then is replaced: octets of hexadecimal digits, colons
    /// and dots, not in the midst of a word but for `IPv6:`.
    fn ipv6(&mut self, start: usize, end: usize) -> bool {
        let octets = self.text.as_bytes();
        let of_address = |octet: &u8| octet.is_ascii_hexdigit() || matches!(octet, b':' | b'.');
        let mut from = start;
        while from < end {
            let Some(skipped) = octets[from..end].iter().position(of_address) else {
                return false;
            };
            let mut first = from + skipped;
            let length = octets[first..end].iter().position(|octet| !of_address(octet));
            let stop = length.map_or(end, |length| first + length);
            if first > start && octets[first - 1].is_ascii_alphanumeric() {
                first = memchr::memchr(b':', &octets[first..stop]).map_or(stop, |colon| first + colon + 1);
            }
            let found = self.text[first..stop].trim_end_matches('.');
            let found = if found.ends_with("::") {
                found
            } else {
                found.trim_end_matches(':')
            };
            if found.len() >= 3 && found.parse::<Ipv6Addr>().is_ok() {
                self.replace(first, first + found.len(), HOST);
                return true;
            }
            from = stop.max(from + 1);
        }
        false
    }

    /// Every IPv4 address and every id in a word.
    fn numbers(&mut self, start: usize, end: usize) {
        let octets = self.text.as_bytes();
        let mut at = start;
        while at < end {
            let first = class(octets[at]);
            if first & TOKEN == 0 {
                at += 1;
                continue;
            }
            if first & DIGIT != 0
                && let Some(stop) = ipv4(octets, start, at, end)
            {
                self.replace(at, stop, HOST);
                at = stop;
                continue;
            }
            let token = token(&octets[at..end]);
            if token.is_id {
                self.replace(at, at + token.octets, ID);
            }
            at += token.octets;
        }
    }
}

/// A run of what ids are of.
struct Token {
    octets: usize,
    /// Whether it is an id: of twelve octets or more, in which letters and digits change at least three times.
    is_id: bool,
}

fn token(octets: &[u8]) -> Token {
    let (mut length, mut changes, mut last) = (0, 0, 0);
    for class in octets.iter().map(|&octet| class(octet)) {
        if class & TOKEN == 0 {
            break;
        }
        let kind = class & (DIGIT | LETTER);
        // Only of one and the other are both bits left.
        changes += usize::from(kind ^ last == DIGIT | LETTER);
        last = if kind == 0 { last } else { kind };
        length += 1;
    }
    Token {
        octets: length,
        is_id: length >= 12 && changes >= 3,
    }
}

/// Where the IPv4 address at `at` ends; `None` where there is none, or only a part of more numbers.
fn ipv4(octets: &[u8], start: usize, at: usize, end: usize) -> Option<usize> {
    let number = |from: usize| {
        let digits = octets[from..end]
            .iter()
            .take(4)
            .take_while(|o| o.is_ascii_digit())
            .count();
        (1..=3).contains(&digits).then_some(from + digits)
    };
    if at > start && octets[at - 1] == b'.' {
        return None;
    }
    let mut stop = number(at)?;
    for _ in 0..3 {
        if stop >= end || octets[stop] != b'.' {
            return None;
        }
        stop = number(stop + 1)?;
    }
    let next = octets[stop..end].first();
    let further = next == Some(&b'.') && octets[stop + 1..end].first().is_some_and(u8::is_ascii_digit);
    (!further && !next.is_some_and(|&octet| octet.is_ascii_alphanumeric())).then_some(stop)
}

/// The length of `http://` or `https://` at the start of a word.
fn scheme(word: &str) -> Option<usize> {
    let is = |scheme: &str| {
        word.get(..scheme.len())
            .is_some_and(|w| w.eq_ignore_ascii_case(scheme))
    };
    ["http://", "https://"]
        .into_iter()
        .find(|scheme| is(scheme))
        .map(str::len)
}

/// The text in small letters without accents, where it goes beyond ASCII. Patterns are folded alike.
pub(super) fn folded(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii() {
            out.push(c);
        } else {
            for lower in c.to_lowercase() {
                fold(lower, &mut out);
            }
        }
    }
    Cow::Owned(out)
}

/// One small letter beyond ASCII, without its accent if it is a Latin one.
fn fold(c: char, out: &mut String) {
    let plain = match c {
        'à' | 'á' | 'â' | 'ã' | 'ä' | 'å' | 'ā' | 'ă' | 'ą' => "a",
        'ç' | 'ć' | 'č' => "c",
        'ď' | 'đ' => "d",
        'è' | 'é' | 'ê' | 'ë' | 'ē' | 'ė' | 'ę' | 'ě' => "e",
        'ğ' | 'ģ' => "g",
        'ì' | 'í' | 'î' | 'ï' | 'ī' | 'ı' => "i",
        'ķ' => "k",
        'ł' | 'ľ' | 'ĺ' | 'ļ' => "l",
        'ñ' | 'ń' | 'ň' | 'ņ' => "n",
        'ò' | 'ó' | 'ô' | 'õ' | 'ö' | 'ø' | 'ő' => "o",
        'ř' | 'ŕ' => "r",
        'ś' | 'š' | 'ş' | 'ș' => "s",
        'ß' => "ss",
        'ť' | 'ţ' | 'ț' => "t",
        'ù' | 'ú' | 'û' | 'ü' | 'ů' | 'ű' | 'ū' => "u",
        'ý' | 'ÿ' => "y",
        'ź' | 'ż' | 'ž' => "z",
        'æ' => "ae",
        'œ' => "oe",
        '‘' | '’' | '´' => "'",
        '“' | '”' | '„' | '«' | '»' => "\"",
        '\u{a0}' | '\u{2002}'..='\u{200a}' | '\u{202f}' | '\u{3000}' => " ",
        '–' | '—' => "-",
        // what a capital İ leaves behind, and marks of composed letters
        '\u{300}'..='\u{36f}' | '\u{200b}' | '\u{feff}' => "",
        other => return out.push(other),
    };
    out.push_str(plain);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_varies_is_taken_out() {
        let table = [
            // addresses
            ("<mailbox-full@x.test>: spam", "<@>: spam"),
            ("user a@x.test, and b@y.test", "user @, and @"),
            ("<\"no such user\"@x.test>: spam", "<@>: spam"),
            ("a@b@c d", "@ d"),
            ("für ü@x.test.", "fur @"),
            ("mailto:ann@x.test said", "mailto:@ said"),
            (
                "see https://x.test/?email=ann@y.test&id=7",
                "see x.test/?email=@&id=7",
            ),
            ("@", "@"),
            ("\"@", "@"),
            (
                "<000001321defbd2a-788e31c8-2be1@x.test>... Denied",
                "<@>... denied",
            ),
            // hosts
            ("Client host [192.0.2.44] blocked", "client host [%] blocked"),
            ("from 192.0.2.1.", "from %."),
            ("(192.0.2.0/24)", "(%/24)"),
            ("ip=192.0.2.1&x", "ip=%&x"),
            ("1.2.0.192.zen.spamhaus.org", "%.zen.spamhaus.org"),
            ("1.2.3.4.5", "1.2.3.4.5"),
            ("(#5.1.1) 5.7.1", "(#5.1.1) 5.7.1"),
            ("[2001:db8::1] [IPv6:2001:DB8:0:1::25]", "[%] [ipv6:%]"),
            ("ip 2001:db8::1: blocked at 11:12:39", "ip %: blocked at 11:12:39"),
            ("client=fe80::1.", "client=%."),
            ("::", "::"),
            // ids
            (
                "[AMS0EPF000001A7.eurprd05.prod.outlook.com 08DE6C12E206EF5D]",
                "[*.eurprd05.prod.outlook.com *]",
            ),
            ("c2-202229zmZBNM3agi23.222 - gsmtp", "*.222 - gsmtp"),
            ("[vH7Ns8biNg-p6EfZ0QaVMQ.us149]", "[*.us149]"),
            (
                "OFR004_405 LPN007_416 BL000010 (AS16012607)",
                "ofr004_405 lpn007_416 bl000010 (as16012607)",
            ),
            ("AUP#In-1310 resimta-po-11v.sys", "aup#in-1310 resimta-po-11v.sys"),
            // links keep what tells
            (
                "https://support.google.com/mail/?p=NoSuchUser",
                "support.google.com/mail/?p=nosuchuser",
            ),
            (
                "(HTTP://www.spamhaus.org/query/bl?ip=192.0.2.2)",
                "(www.spamhaus.org/query/bl?ip=%)",
            ),
            // letters
            ("Boîte pleine – groß", "boite pleine - gross"),
            ("ПОЛЬЗОВАТЕЛЬ не найден", "пользователь не найден"),
            ("user doesn’t\u{a0}exist", "user doesn't exist"),
            ("", ""),
        ];
        let mut out = String::from("what was there");
        for (text, normal) in table {
            normalise_into(text, &mut out);
            assert_eq!(out, normal, "{text}");
            let again = normalised(&out);
            assert_eq!(again, out, "the normal form has no other");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_has_a_normal_form(text in ".*") {
            let normal = normalised(&text);
            proptest::prop_assert!(!normal.bytes().any(|octet| octet.is_ascii_uppercase()));
        }

        #[test]
        fn signs_in_any_order_do_not_disturb(text in "[@\":.<> a1-9é/]{0,40}") {
            let normal = normalised(&text);
            proptest::prop_assert!(normal.len() <= text.len());
        }
    }
}
