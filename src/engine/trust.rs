//! Trust: how sure we are that a report of a failure is real. Anyone can send a bounce; only what
//! can be proved may act.
//!
//! | trust | proof |
//! |---|---|
//! | own | our MTA's log, or a bounce that our MTA wrote itself and that never crossed a network |
//! | signed | it came back with a token of ours, about the recipient that it names |
//! | authenticated | the recipient's domain or its provider demonstrably wrote it (DKIM, ARC, SPF) |
//! | correlated | the report names a message that we saw leave for that recipient |
//! | unverified | none of these: kept and shown, never acts |
//!
//! What an automatic answer says is never more than unverified, whatever it answers: it is a person's word,
//! and no server's. Nor is a report with a token that is about somebody else, made up or too old, whatever else speaks
//! for it: whoever holds one of our tokens may know what names our mail to others as well.

pub mod claim;
pub mod force;
pub mod ground;
pub mod mark;

pub use claim::{AuthorClaim, Claim, TokenClaim, claim};
pub use force::{Force, Forces};
pub use ground::{Doubt, DoubtKind, Proof};
pub use mark::{Mark, Name, Named, Signed, correlations, failure, leaves, marks, sealed_key};

use crate::engine::verdict::named;
use crate::mail::event::{Event, Outcome, Source};
use std::fmt;

named! {
    /// How sure we are, best first.
    Trust {
        /// Our own MTA said so.
        Own = "own",
        /// It came back with a token of ours.
        Signed = "signed",
        /// The recipient's domain or its provider said so.
        Authenticated = "authenticated",
        /// The report matches a message that we sent to that recipient.
        Correlated = "correlated",
        /// Nothing proves it.
        Unverified = "unverified",
    }
}

/// What ties a report to a message that left: a hash over what both sides name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(pub [u8; 16]);

/// What was found of a report: all that proves it, the best first; or all that is missing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Finding {
    proofs: Vec<Proof>,
    doubts: Vec<Doubt>,
}

impl Trust {
    /// Whether evidence of this trust may suppress.
    #[must_use]
    pub fn acts(self) -> bool {
        self != Self::Unverified
    }
}

impl Finding {
    /// What these prove.
    #[must_use]
    pub fn proven(mut proofs: Vec<Proof>) -> Self {
        proofs.sort_by_key(Proof::trust);
        Self {
            proofs,
            doubts: Vec::new(),
        }
    }

    /// Nothing proves it, for these reasons.
    #[must_use]
    pub fn doubted(doubts: Vec<Doubt>) -> Self {
        Self {
            proofs: Vec::new(),
            doubts,
        }
    }

    /// How sure we are.
    #[must_use]
    pub fn trust(&self) -> Trust {
        self.proofs.first().map_or(Trust::Unverified, Proof::trust)
    }

    /// What proves it.
    #[must_use]
    pub fn proofs(&self) -> &[Proof] {
        &self.proofs
    }

    /// Why nothing proves it; empty where something does.
    #[must_use]
    pub fn doubts(&self) -> &[Doubt] {
        &self.doubts
    }

    /// Whether a message that is seen to leave later can prove it.
    #[must_use]
    pub fn may_wait(&self) -> bool {
        !self.doubts.iter().any(Doubt::contradicts)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let proofs = self.proofs.iter().map(|proof| proof as &dyn fmt::Display);
        let doubts = self.doubts.iter().map(|doubt| doubt as &dyn fmt::Display);
        for (index, ground) in proofs.chain(doubts).enumerate() {
            let between = if index == 0 { "" } else { "; " };
            write!(f, "{between}{ground}")?;
        }
        Ok(())
    }
}

/// What is found of an event that brings this along, given by what name its message was seen to leave.
#[must_use]
pub fn judge(event: &Event, claim: &Claim, seen: Option<Name>) -> Finding {
    if event.outcome == Outcome::AutoReply {
        return Finding::doubted(vec![Doubt::AutoReply]);
    }
    if let Some(trust) = claim.before {
        let proofs = trust.acts().then_some(Proof::Before(trust));
        return Finding::proven(proofs.into_iter().collect());
    }
    if event.own {
        let log = event.source == Source::Log;
        return Finding::proven(vec![if log { Proof::Log } else { Proof::Bounce }]);
    }
    let (mut proofs, mut doubts) = (Vec::new(), Vec::new());
    match &claim.token {
        TokenClaim::Untried => {}
        TokenClaim::Holds(proof) => proofs.push(proof.clone()),
        TokenClaim::NeedsMark(proof) if seen == Some(Name::Token) => proofs.push(proof.clone()),
        TokenClaim::NeedsMark(_) => doubts.push(Doubt::OtherMessage),
        TokenClaim::Fails(doubt) => doubts.push(doubt.clone()),
    }
    match &claim.author {
        AuthorClaim::Untried => {}
        AuthorClaim::Holds(proof) => proofs.push(proof.clone()),
        AuthorClaim::Fails(doubt) => doubts.push(doubt.clone()),
    }
    match seen {
        Some(Name::Token) => {}
        Some(name) => proofs.push(Proof::Seen(name)),
        None => doubts.push(Doubt::NoMark),
    }
    if proofs.is_empty() || doubts.iter().any(Doubt::contradicts) {
        Finding::doubted(doubts)
    } else {
        Finding::proven(proofs)
    }
}

/// Whether evidence of the event may do anything.
#[must_use]
pub fn acts(event: &Event, claim: &Claim, seen: Option<Name>) -> bool {
    let own = event.own && claim.before.is_none() && event.outcome != Outcome::AutoReply;
    own || judge(event, claim, seen).trust().acts()
}

#[cfg(test)]
mod tests;
