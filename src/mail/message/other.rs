//! Messages that are no reports on mail: automatic answers (RFC 3834) and everything else.

use super::Kind;
use crate::mail::letter::Letter;

/// What a message is that no reader of reports took, and the standard that it follows.
pub(super) fn kind(letter: &Letter<'_>) -> (Kind, Option<&'static str>) {
    let automatic = letter.field("Auto-Submitted");
    if automatic.is_some_and(|a| !a.trim().to_ascii_lowercase().starts_with("no")) {
        (Kind::AutoReply, Some("rfc3834"))
    } else {
        (Kind::None, None)
    }
}
