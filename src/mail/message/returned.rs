//! What is left of the mail that a report is about.

use super::{bare, unbracket};
use crate::mail::address::Address;
use crate::mail::letter::{fields, is_header_only};
use crate::mail::received::Hop;
use mail_parser::{Message, MessageParser, MessagePart, PartType};

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
        if let PartType::Message(message) = &part.body {
            return Some(Self::of(message));
        }
        if !is_header_only(part) {
            return None;
        }
        let message = MessageParser::new().parse_headers(part.contents())?;
        Some(Self::of(&message))
    }

    /// Reads what the words keep of it.
    pub(super) fn in_words(text: &str) -> Option<Self> {
        let message = MessageParser::new().parse_headers(text.as_bytes())?;
        Some(Self::of(&message))
    }

    fn of(message: &Message<'_>) -> Self {
        let first = |name: &'static str| fields(message, name).next();
        Self {
            message_id: first("Message-ID").and_then(|id| bare(&id)),
            return_path: first("Return-Path").map(|path| unbracket(&path)),
            to: first("To"),
            recipient: first("X-Original-To"),
            complainant: first("X-HmXmrOriginalRecipient"),
            from_list: first("List-Id").or_else(|| first("List-Post")).is_some(),
            hops: fields(message, "Received")
                .map(|value| Hop::parse(&value))
                .collect(),
        }
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
