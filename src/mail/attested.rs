//! What whoever wrote a report says in it themselves: who failed, who complained.
//!
//! A report tells more than that, and much of it in the words of others: the envelope that it came in, the return path
//! that the mail reported on was given, the address that its sender asked to be told of (ORCPT, RFC 3461 §4.2), the
//! header that came back with it. Whoever provokes a genuine, signed bounce chooses all of these. So what a signature is
//! taken for ends at the address that the signer itself tried and names.

use super::address::{Address, AddressKey, LocalPart};
use super::arf;
use super::event::{Event, Evidence, Outcome, Source};
use super::letter::is_type;
use super::message::{Envelope, events, read};
use jiff::Timestamp;
use mail_parser::MessageParser;

/// Of whom the author of a message says what.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attested(Vec<(Outcome, AddressKey)>);

impl Attested {
    /// Reads a message that its author vouches for; never fails.
    #[must_use]
    pub fn of(message: &[u8]) -> Self {
        let reading = read(message);
        let complained = complained(message);
        let found = events(&reading, Envelope::default(), Source::Lmtp, Timestamp::UNIX_EPOCH);
        let said = found.into_iter().filter_map(|event| {
            let key = event.recipient.key(LocalPart::Fold);
            let by_author = match event.outcome {
                // Many feedback loops leave the address out, and the returned header, which tells it, is the sender's.
                Outcome::Complaint => complained.contains(&key),
                Outcome::AutoReply => false,
                _ => event.evidence == Evidence::Fresh,
            };
            by_author.then_some((event.outcome, key))
        });
        Self(said.collect())
    }

    /// Whether the author says what an event does, of the address that we mailed.
    #[must_use]
    pub fn says(&self, event: &Event) -> bool {
        let tried = event.recipient.key(LocalPart::Fold);
        let is_forwarded = event.mailed().key(LocalPart::Fold) != tried;
        !is_forwarded
            && self
                .0
                .iter()
                .any(|(outcome, of)| *outcome == event.outcome && *of == tried)
    }
}

/// Who complained, by the report's own fields (RFC 5965 §3.2).
fn complained(message: &[u8]) -> Vec<AddressKey> {
    let Some(parsed) = MessageParser::new().with_mime_headers().parse(message) else {
        return Vec::new();
    };
    let root = parsed.root_part();
    let parts = root.sub_parts().unwrap_or_default();
    let parts = parts.iter().filter_map(|&part| parsed.part(part));
    let feedback = parts
        .filter(|part| is_type(part, "message", "feedback-report"))
        .find_map(|part| arf::parse(part.contents()));
    let named = feedback.map(|feedback| feedback.recipients).unwrap_or_default();
    let keys = named.iter().filter_map(|text| Address::parse(text).ok());
    keys.map(|address| address.key(LocalPart::Fold)).collect()
}
