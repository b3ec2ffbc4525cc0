//! The address that we mailed, where a report names another: mail is forwarded, and it is our recipient whom a
//! suppression is about, never somebody else's.
//!
//! What names it, best first: the return path that we made for it (VERP) where anything else in the report
//! agrees; what the reporter says that we mailed (RFC 3464 §2.3.1); the return path alone; the envelope's
//! traces in the returned header (`for` in its oldest hop, `X-Original-To`), unless a list distributed the mail.
//! `To` is what an author wrote: it confirms a return path and names nobody by itself, or a dead blind copy
//! would cost the recipient in `To` their mail.

use super::{Envelope, Reading};
use crate::mail::address::{Address, LocalPart};
use crate::mail::dsn;
use crate::mail::verp::Verp;
use std::cell::OnceCell;

/// What a report says of the addresses mailed, for all its recipients.
pub(super) struct Origin<'a> {
    reading: &'a Reading,
    envelope: Envelope<'a>,
    own: bool,
    verp: Option<Verp>,
    /// What the returned mail tells, which is asked for only where nothing surer does.
    returned: OnceCell<Told>,
    /// Whether the report is about one recipient: a path or a header says nothing of which of several.
    alone: bool,
}

/// Whom the returned mail names.
struct Told {
    /// The addresses that its envelope held, by its traces, best first.
    traces: Vec<Address>,
    /// The addresses in its `To`.
    named: Vec<Address>,
}

impl<'a> Origin<'a> {
    /// Looks at a report.
    pub(super) fn of(reading: &'a Reading, envelope: Envelope<'a>, own: bool) -> Self {
        let recipients = reading
            .report
            .as_ref()
            .map_or(0, |report| report.recipients.len());
        let verp = match envelope.recipient {
            Some(path) => Verp::decode(path),
            None => reading.addressed.iter().find_map(|to| Verp::decode(to)),
        };
        Self {
            reading,
            envelope,
            own,
            verp,
            returned: OnceCell::new(),
            alone: recipients == 1,
        }
    }

    /// What the returned mail tells. A report that our own MTA made names the original address itself.
    fn told(&self) -> &Told {
        self.returned.get_or_init(|| match self.own {
            true => Told {
                traces: Vec::new(),
                named: Vec::new(),
            },
            false => Told {
                traces: traces(self.reading, self.envelope),
                named: named(self.reading),
            },
        })
    }

    /// The address that we mailed for a recipient, where anything tells.
    pub(super) fn address(&self, recipient: &dsn::Recipient) -> Option<Address> {
        let told = recipient.original_recipient.as_ref();
        let tried = recipient.final_recipient.as_ref();
        let returned = || self.told().traces.iter().chain(&self.told().named);
        let known = || {
            let returned = self.alone.then(returned).into_iter().flatten();
            told.into_iter().chain(tried).chain(returned)
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
        let exact = self.verp.as_ref().and_then(Verp::exact);
        let exact = exact.filter(|_| returned().next().is_none());
        // The recipient that was tried is in the returned header: nobody forwarded it.
        let forwarded = !tried.is_some_and(|tried| returned().any(|a| same(a, tried)));
        exact
            .or_else(|| self.told().traces.first().filter(|_| forwarded))
            .cloned()
    }
}

/// Whom the traces of the envelope name: the oldest hop's was there before any forwarding. Our own sender is
/// no recipient, though they get a copy of what they send.
fn traces(reading: &Reading, envelope: Envelope<'_>) -> Vec<Address> {
    let Some(returned) = reading.returned.as_ref().filter(|r| !r.from_list) else {
        return Vec::new();
    };
    let hop = returned
        .hops
        .iter()
        .rev()
        .find_map(|hop| hop.recipient.as_deref());
    let found = [hop, returned.recipient.as_deref()].into_iter().flatten();
    let mut found: Vec<Address> = found.filter_map(|text| Address::parse(text).ok()).collect();
    if !found.is_empty() {
        let ours = reading.addressed.iter().map(String::as_str);
        let ours = ours
            .chain(envelope.recipient)
            .chain(returned.return_path.as_deref());
        let ours: Vec<Address> = ours.filter_map(|text| Address::parse(text).ok()).collect();
        found.retain(|address| !ours.iter().any(|our| same(our, address)));
    }
    found
}

/// Whom the author named, unless that is the list which distributed the mail.
fn named(reading: &Reading) -> Vec<Address> {
    let returned = reading.returned.as_ref().filter(|r| !r.from_list);
    let to = returned
        .and_then(|returned| returned.to.as_deref())
        .unwrap_or_default();
    let one = |text: &str| {
        let text = match (text.rfind('<'), text.rfind('>')) {
            (Some(start), Some(end)) if start < end => &text[start + 1..end],
            _ => text,
        };
        Address::parse(text).ok()
    };
    to.split(',').take(100).filter_map(one).collect()
}

fn same(one: &Address, other: &Address) -> bool {
    one.key(LocalPart::Fold) == other.key(LocalPart::Fold)
}
