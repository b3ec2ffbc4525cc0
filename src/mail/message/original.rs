//! The address that we mailed, where a report names another: mail is forwarded, and it is our recipient whom a
//! suppression is about, never somebody else's.
//!
//! What names it, best first: the return path that we made for it (VERP) where anything else in the report
//! agrees; what the reporter says that we mailed (RFC 3464 §2.3.1); the return path alone; what the returned
//! header says, unless a list distributed the mail: what it names is the list.

use super::{Envelope, Reading};
use crate::mail::address::{Address, LocalPart};
use crate::mail::dsn;
use crate::mail::verp::Verp;

/// What a report says of the addresses mailed, for all its recipients.
pub(super) struct Origin {
    verp: Option<Verp>,
    /// The addresses that the returned header gives, best first.
    returned: Vec<Address>,
    /// Whether the report is about one recipient: a path or a header says nothing of which of several.
    alone: bool,
}

impl Origin {
    /// Looks at a report. One that our own MTA made names the original address itself.
    pub(super) fn of(reading: &Reading, envelope: Envelope<'_>, own: bool) -> Self {
        let recipients = reading
            .report
            .as_ref()
            .map_or(0, |report| report.recipients.len());
        let verp = match envelope.recipient {
            Some(path) => Verp::decode(path),
            None => reading.addressed.iter().find_map(|to| Verp::decode(to)),
        };
        Self {
            verp,
            returned: if own { Vec::new() } else { in_returned(reading) },
            alone: recipients == 1,
        }
    }

    /// The address that we mailed for a recipient, where anything tells.
    pub(super) fn address(&self, recipient: &dsn::Recipient) -> Option<Address> {
        let told = recipient.original_recipient.as_ref();
        let tried = recipient.final_recipient.as_ref();
        let known = || {
            told.into_iter()
                .chain(tried)
                .chain(self.returned.iter().filter(|_| self.alone))
        };
        let confirmed = self.verp.as_ref().and_then(|verp| {
            let exact = verp
                .exact()
                .and_then(|exact| known().find(|known| same(exact, known)));
            exact.or_else(|| known().find(|known| verp.confirms(known)))
        });
        if let Some(address) = confirmed.or(told) {
            return Some(address.clone());
        }
        if !self.alone {
            return None;
        }
        // A path that nothing agrees with, though something might, is not believed.
        let exact = self
            .verp
            .as_ref()
            .and_then(Verp::exact)
            .filter(|_| self.returned.is_empty());
        // The recipient that was tried is in the returned header: nobody forwarded it.
        let tried_is_mailed = tried.is_some_and(|tried| self.returned.iter().any(|a| same(a, tried)));
        exact
            .or_else(|| self.returned.first().filter(|_| !tried_is_mailed))
            .cloned()
    }
}

/// Whom the returned header names as mailed. The oldest hop's `for` was there before any forwarding.
fn in_returned(reading: &Reading) -> Vec<Address> {
    let Some(returned) = reading.returned.as_ref().filter(|r| !r.from_list) else {
        return Vec::new();
    };
    let hop = returned
        .hops
        .iter()
        .rev()
        .find_map(|hop| hop.recipient.as_deref());
    let to = returned.only_to();
    let found = [hop, returned.recipient.as_deref(), to.as_deref()];
    found
        .into_iter()
        .flatten()
        .filter_map(|text| Address::parse(text).ok())
        .collect()
}

fn same(one: &Address, other: &Address) -> bool {
    one.key(LocalPart::Fold) == other.key(LocalPart::Fold)
}
