//! Google Groups: a mail to a group that does not exist, or that its sender may not post to, is answered in the
//! words of the sender's language (`We're writing to let you know that the group you tried to contact …`).
//!
//! The notice never tells which of the two it is, so it proves nothing about the address. It is read by what
//! is the same in every language: Google's daemon writes, signs as Google Groups, and names the group in
//! `X-Failed-Recipients`. What was said is given in English, so that one rule knows it.

use super::{Format, block, quoted};
use crate::mail::dsn::Report;
use crate::mail::letter::Letter;

/// The format.
pub const FORMAT: Format = Format {
    name: "google-groups",
    tell: |letter| {
        letter.sender().starts_with("mailer-daemon@google")
            && letter.has("X-Failed-Recipients")
            && letter.says("groups.google.com")
    },
    read,
};

/// What the notice says in any language.
const SAID: &str = "The group you tried to contact may not exist, or you may not have permission to post \
                    messages to the group";

fn read(letter: &Letter<'_>) -> Option<Report> {
    let words = letter.words();
    // A bounce with a server's reply links to the help pages as well; that one is Gmail's.
    if quoted::reply_line(words).is_some() || words.contains("Technical details of") {
        return None;
    }
    let named = letter.fields("X-Failed-Recipients").collect::<Vec<_>>().join(",");
    let recipients = named.split(',').filter_map(block::mailbox);
    Some(Report {
        recipients: recipients.map(|address| block::failed(address, SAID)).collect(),
        ..Report::default()
    })
}
