//! Where the words of a reporter end and the mail that they return begins, in one text: at a line that announces
//! it, or where a block of header fields (RFC 5322) stands. Where nothing tells, all are words.

/// Where the reporter's words end and where the returned mail begins.
pub(super) fn border(text: &str) -> Option<(usize, usize)> {
    let mut at = 0;
    while at < text.len() {
        let end = memchr::memchr(b'\n', &text.as_bytes()[at..]);
        let next = end.map_or(text.len(), |length| at + length + 1);
        let line = &text[at..next];
        if may_announce(line) && announces(line) {
            let gap = text[next..].len() - text[next..].trim_start_matches(['\n', ' ', '\t']).len();
            return Some((at, next + gap));
        }
        // Most lines of a notice are ruled out by their first octet, or by having no colon.
        let may_begin =
            line.as_bytes()[0].is_ascii_alphabetic() && memchr::memchr(b':', line.as_bytes()).is_some();
        if may_begin && begins_header(&text[at..]) {
            return Some((at, at));
        }
        at = next;
    }
    None
}

/// Whether a line may be a rule, by its first octet that is no blank.
fn may_announce(line: &str) -> bool {
    let first = line.bytes().find(|b| !b.is_ascii_whitespace());
    first.is_some_and(|b| b"-=*_+#\x0b".contains(&b) || !b.is_ascii())
}

/// Whether a line announces the returned mail: a rule of dashes or the like around such words.
fn announces(line: &str) -> bool {
    const WORDS: [&str; 16] = [
        "copy of the message",
        "copy of your message",
        "original message",
        "unsent message",
        "message header follows",
        "message headers follow",
        "headers of the message",
        "header of the message",
        "headers of your message",
        "returned message",
        "undelivered message",
        "message follows",
        "beginning of the original",
        "returned mail",
        "contents of the message",
        "original mail",
    ];
    let line = line.trim();
    if !line.starts_with(['-', '=', '*', '_', '+', '#']) || line.len() > 120 {
        return false;
    }
    let ruled = line.trim_matches(|c: char| "-=*_+#".contains(c)).trim();
    let lower = ruled.to_ascii_lowercase();
    ruled.len() + 3 <= line.len() && WORDS.iter().any(|words| lower.contains(words))
}

/// Whether a text begins with a header (RFC 5322 §2.2): fields line by line, at least two of them such
/// that every mail has, and one of these a trace of its way or its identity.
fn begins_header(text: &str) -> bool {
    const TRACE: [&str; 4] = ["received", "return-path", "message-id", "dkim-signature"];
    const COMMON: [&str; 8] = [
        "from",
        "to",
        "date",
        "subject",
        "mime-version",
        "content-type",
        "sender",
        "reply-to",
    ];
    let (mut traces, mut common) = (0, 0);
    for line in text.lines().take(40) {
        if line.starts_with([' ', '\t']) && traces + common > 0 {
            continue;
        }
        let Some((name, _)) = line.split_once(':').filter(|(n, _)| is_field_name(n)) else {
            break;
        };
        let is = |known: &&str| name.eq_ignore_ascii_case(known);
        if TRACE.iter().any(is) {
            traces += 1;
        } else if COMMON.iter().any(is) {
            common += 1;
        } else if !name.contains('-') && traces + common == 0 {
            break;
        }
        if traces >= 1 && traces + common >= 2 {
            return true;
        }
    }
    false
}

fn is_field_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 76 && name.bytes().all(|b| b.is_ascii_graphic())
}
