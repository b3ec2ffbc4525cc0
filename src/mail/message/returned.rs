//! What is left of the mail that a report is about.

use super::{bare, unbracket};
use crate::mail::address::Address;
use crate::mail::field::{header, unfolded};
use crate::mail::letter::is_header_only;
use crate::mail::received::Hop;
use mail_parser::{MessagePart, PartType};

/// What is left of the mail that a report is about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Returned {
    /// Its Message-ID, without `<>`.
    pub message_id: Option<String>,
    /// Its `Return-Path`, without `<>`.
    pub return_path: Option<String>,
    /// Its `To`, as it stands.
    pub to: Option<String>,
    /// The address that it came to, by the system that delivered it last (`X-Original-To`).
    pub recipient: Option<String>,
    /// The recipient who complained of it, by their provider (`X-HmXmrOriginalRecipient`).
    pub complainant: Option<String>,
    /// Whether a mailing list distributed it (`List-Id`, `List-Post`): its `To` is the list.
    pub from_list: bool,
    /// Its way, the last hop first.
    pub hops: Vec<Hop>,
}

impl Returned {
    /// Reads what a part keeps of it; `None` where it is none.
    pub(super) fn of_part(part: &MessagePart<'_>) -> Option<Self> {
        match &part.body {
            PartType::Message(message) => {
                let root = message.root_part();
                let header = root.raw_header_offset() as usize..root.raw_body_offset() as usize;
                Some(Self::of_header(
                    message.raw_message.get(header).unwrap_or_default(),
                ))
            }
            _ if is_header_only(part) => Some(Self::of_header(part.contents())),
            _ => None,
        }
    }

    /// Reads what the words keep of it.
    pub(super) fn in_words(text: &str) -> Option<Self> {
        Some(Self::of_header(text.as_bytes()))
    }

    /// Reads a header (RFC 5322 §2.2) for the few fields that matter here, in one pass.
    pub(super) fn of_header(text: &[u8]) -> Self {
        let mut found = Self::default();
        for (name, content) in header(text) {
            let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
            let first = |slot: &mut Option<String>| {
                slot.get_or_insert_with(|| unfolded(content).into_owned());
            };
            if is("Received") {
                found.hops.push(Hop::of_field(content));
            } else if is("Message-ID") {
                first(&mut found.message_id);
            } else if is("Return-Path") {
                first(&mut found.return_path);
            } else if is("To") {
                first(&mut found.to);
            } else if is("X-Original-To") {
                first(&mut found.recipient);
            } else if is("X-HmXmrOriginalRecipient") {
                first(&mut found.complainant);
            } else if is("List-Id") || is("List-Post") {
                found.from_list = true;
            }
        }
        found.message_id = found.message_id.and_then(|id| bare(&id));
        found.return_path = found.return_path.map(|path| unbracket(&path));
        found
    }

    /// The only mailbox of `To`; several would be a guess.
    pub(super) fn only_to(&self) -> Option<String> {
        self.to.as_deref().and_then(only_mailbox)
    }
}

/// The only mailbox of a `To` field, with or without a display name.
fn only_mailbox(to: &str) -> Option<String> {
    let one = match (to.find('<'), to.rfind('>')) {
        (Some(start), Some(end)) if start < end => &to[start + 1..end],
        _ => to,
    };
    let name = to.split('<').next().unwrap_or_default();
    // A display name in quotes may hold a comma: `"Smith, Ann" <ann@example.com>`.
    let quoted = name.trim().starts_with('"') && name.trim().ends_with('"') && !one.contains(',');
    let single = (!to.contains(',') || quoted) && !one.contains([' ', ';']) && Address::parse(one).is_ok();
    single.then(|| one.to_owned())
}

#[cfg(test)]
mod tests {
    use super::only_mailbox;

    #[test]
    fn one_mailbox_is_no_guess() {
        let table = [
            ("ann@x.test", Some("ann@x.test")),
            ("Ann <ann@x.test>", Some("ann@x.test")),
            ("\"Smith, Ann\" <ann@x.test>", Some("ann@x.test")),
            ("ann@x.test, bob@x.test", None),
            ("Ann <ann@x.test>, Bob <bob@x.test>", None),
            ("undisclosed-recipients:;", None),
            ("<Undisclosed Recipients>", None),
        ];
        for (to, one) in table {
            assert_eq!(only_mailbox(to).as_deref(), one, "{to}");
        }
    }
}
