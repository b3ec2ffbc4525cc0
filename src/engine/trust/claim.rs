//! Claims: what a report itself brings along as proof, read before the store is asked and before any veil falls.

use super::ground::{Doubt, Proof};
use super::mark::{self, Mark, Named};
use super::{Trust, mark::sealed_key};
use crate::engine::alignment;
use crate::engine::provider::Provider;
use crate::engine::return_path::Signing;
use crate::engine::token::{Token, TokenError};
use crate::mail::event::{Authentication, Event, Outcome};
use jiff::Timestamp;

/// What a report brings along.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Claim {
    /// A token.
    pub token: TokenClaim,
    /// Its author's word.
    pub author: AuthorClaim,
    /// What was found before, where it is judged again.
    pub before: Option<Trust>,
}

/// What its return path says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum TokenClaim {
    /// Nothing is signed, or it is no report.
    #[default]
    Untried,
    /// A token about this recipient.
    Holds(Proof),
    /// A token of a message to several: it proves something where the store knows this recipient as one of them.
    NeedsMark(Proof),
    /// None that proves anything.
    Fails(Doubt),
}

/// What its author's word is worth.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum AuthorClaim {
    /// Nobody looked.
    #[default]
    Untried,
    /// It is the word of the domain that was mailed, or of its provider.
    Holds(Proof),
    /// It proves nothing.
    Fails(Doubt),
}

/// What a report brings along, and the marks to look for beside its [`correlations`](super::correlations). `provider` is
/// the one that the mailed domain is known to be at. What our own MTA tells needs nothing else, and an automatic answer
/// is helped by nothing.
#[must_use]
pub fn claim(
    event: &Event,
    signing: Option<&Signing>,
    provider: Option<&Provider>,
    now: Timestamp,
) -> (Claim, Vec<Mark>) {
    let mut marks = Vec::new();
    if event.own || event.outcome == Outcome::AutoReply {
        return (Claim::default(), marks);
    }
    let token = signing.map_or(TokenClaim::Untried, |signing| match opened(event, signing, now) {
        None => TokenClaim::Fails(Doubt::NoToken),
        Some(Err(error)) => TokenClaim::Fails(Doubt::Token(error)),
        Some(Ok(token)) => {
            let proof = Proof::Token {
                day: token.day,
                key: token.key,
            };
            match signing.keyring.is_for(&token, &sealed_key(event.mailed())) {
                Some(true) => TokenClaim::Holds(proof),
                Some(false) => TokenClaim::Fails(Doubt::OtherRecipient),
                None => {
                    let identity = token.identity();
                    let named = Named {
                        identity: Some(&identity),
                        ..Named::default()
                    };
                    marks = mark::marks(&named, event.mailed());
                    TokenClaim::NeedsMark(proof)
                }
            }
        }
    });
    let claim = Claim {
        token,
        author: author(event, provider),
        before: None,
    };
    (claim, marks)
}

/// The token that a report came back with. Complaints come to an address of their own: there it stands in what they
/// say of the mail's envelope sender.
fn opened(event: &Event, signing: &Signing, now: Timestamp) -> Option<Result<Token, TokenError>> {
    let sender = event
        .sender
        .as_deref()
        .filter(|_| event.outcome == Outcome::Complaint);
    let mut found = None;
    for address in event.return_path.as_deref().into_iter().chain(sender) {
        let Some(opened) = signing.open(address, now) else {
            continue;
        };
        if opened.is_ok() {
            return Some(opened);
        }
        found = found.or(Some(opened));
    }
    found
}

fn author(event: &Event, provider: Option<&Provider>) -> AuthorClaim {
    match &event.authentication {
        Authentication::Untried => AuthorClaim::Untried,
        Authentication::Failed(flaw) => AuthorClaim::Fails(Doubt::Author(*flaw)),
        Authentication::Passed { means, domain }
            if alignment::vouches(domain, event.mailed().domain(), provider) =>
        {
            AuthorClaim::Holds(Proof::Author {
                means: *means,
                domain: domain.clone(),
            })
        }
        Authentication::Passed { domain, .. } => AuthorClaim::Fails(Doubt::OtherDomain(domain.clone())),
    }
}
