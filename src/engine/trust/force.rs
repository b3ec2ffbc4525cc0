//! Force: what evidence may do, by how sure we are of it and by its cause. The operator's table, over these defaults:
//!
//! | trust | force |
//! |---|---|
//! | own, signed, correlated | act |
//! | authenticated | act; a complaint strikes |
//! | unverified | keep, always |
//!
//! A provider that signs its reports says what its server said, about a mailbox that is its own. Of a complaint it only
//! passes on what somebody pressed, and no mail system is its author: until it comes again, or with a token, it may be
//! anybody's there. On failure: what cannot be is refused, with what was expected and found.

use super::{Finding, Trust};
use crate::engine::suppression::terms::can_suppress;
use crate::engine::verdict::{Cause, named};
use std::collections::BTreeMap;

named! {
    /// What evidence may do, the most first.
    Force {
        /// What its cause's terms say.
        Act = "act",
        /// A strike: as evidence that is open to doubt, it never suppresses at once.
        Strike = "strike",
        /// Nothing: it is kept and shown.
        Keep = "keep",
    }
}

/// What stands for every cause without an entry of its own.
pub const EVERY: &str = "every";

/// Force by trust and cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forces {
    every: BTreeMap<Trust, Force>,
    causes: BTreeMap<(Trust, Cause), Force>,
}

/// Why a table of forces cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForceError {
    /// There is no such trust.
    #[error("expected own, signed, authenticated, correlated or unverified, found {0:?}")]
    Trust(String),
    /// There is no such cause.
    #[error("{trust}: expected {EVERY:?} or a cause that can suppress, found {found:?}")]
    Cause {
        /// Of which trust.
        trust: Trust,
        /// What was given.
        found: String,
    },
    /// There is no such force.
    #[error("{trust}.{key}: expected act, strike or keep, found {found:?}")]
    Force {
        /// Of which trust.
        trust: Trust,
        /// Of which cause.
        key: String,
        /// What was given.
        found: String,
    },
    /// What nothing proves must not act.
    #[error("unverified.{key}: expected keep, for anybody can send such a report, found {found}")]
    Unverified {
        /// Of which cause.
        key: String,
        /// What was given.
        found: Force,
    },
}

impl Default for Forces {
    fn default() -> Self {
        let every = |&trust: &Trust| (trust, if trust.acts() { Force::Act } else { Force::Keep });
        Self {
            every: Trust::ALL.iter().map(every).collect(),
            causes: [((Trust::Authenticated, Cause::Complaint), Force::Strike)].into(),
        }
    }
}

impl Forces {
    /// Sets one, by the names in the configuration. What is set for every cause leaves alone what is set for one.
    ///
    /// # Errors
    /// [`ForceError`].
    pub fn set(&mut self, trust: &str, key: &str, force: &str) -> Result<(), ForceError> {
        let trust = Trust::from_name(trust).ok_or_else(|| ForceError::Trust(trust.into()))?;
        let force = Force::from_name(force).ok_or_else(|| ForceError::Force {
            trust,
            key: key.into(),
            found: force.into(),
        })?;
        if !trust.acts() && force != Force::Keep {
            let (key, found) = (key.into(), force);
            return Err(ForceError::Unverified { key, found });
        }
        if key == EVERY {
            self.every.insert(trust, force);
            return Ok(());
        }
        let cause = Cause::from_name(key).filter(|cause| can_suppress(*cause));
        let cause = cause.ok_or_else(|| ForceError::Cause {
            trust,
            found: key.into(),
        })?;
        self.causes.insert((trust, cause), force);
        Ok(())
    }

    /// What evidence of this trust and cause may do.
    #[must_use]
    pub fn of(&self, trust: Trust, cause: Cause) -> Force {
        let every = || self.every.get(&trust);
        *self
            .causes
            .get(&(trust, cause))
            .or_else(every)
            .unwrap_or(&Force::Keep)
    }

    /// What evidence may do by all that proves it: each proof is enough by itself.
    #[must_use]
    pub fn on(&self, finding: &Finding, cause: Cause) -> Force {
        let forces = finding.proofs().iter().map(|proof| self.of(proof.trust(), cause));
        forces.min().unwrap_or(Force::Keep)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Name, Proof};
    use super::*;

    #[test]
    fn the_table_is_read_over_the_defaults() {
        let mut forces = Forces::default();
        for (trust, key, force) in [
            ("correlated", "every", "strike"),
            ("correlated", "user_unknown", "act"),
            ("own", "complaint", "keep"),
            ("unverified", "every", "keep"),
        ] {
            forces.set(trust, key, force).unwrap();
        }
        for (trust, cause, expected) in [
            (Trust::Own, Cause::UserUnknown, Force::Act),
            (Trust::Own, Cause::Complaint, Force::Keep),
            (Trust::Signed, Cause::Complaint, Force::Act),
            (Trust::Authenticated, Cause::MailboxFull, Force::Act),
            (Trust::Authenticated, Cause::Complaint, Force::Strike),
            (Trust::Correlated, Cause::MailboxFull, Force::Strike),
            (Trust::Correlated, Cause::UserUnknown, Force::Act),
            (Trust::Unverified, Cause::UserUnknown, Force::Keep),
        ] {
            assert_eq!(forces.of(trust, cause), expected, "{trust} {cause}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (trust, key, force, expected) in [
            ("sure", "every", "act", "found \"sure\""),
            (
                "own",
                "rate_limited",
                "act",
                "own: expected \"every\" or a cause that can suppress",
            ),
            (
                "own",
                "every",
                "suppress",
                "own.every: expected act, strike or keep",
            ),
            ("unverified", "every", "act", "unverified.every: expected keep"),
            (
                "unverified",
                "complaint",
                "strike",
                "unverified.complaint: expected keep",
            ),
        ] {
            let problem = Forces::default().set(trust, key, force).unwrap_err().to_string();
            assert!(problem.contains(expected), "{problem}");
        }
    }

    #[test]
    fn the_strongest_proof_decides() {
        let author = Proof::Author {
            means: crate::mail::event::Means::Dkim,
            domain: "dead.test".into(),
        };
        let forces = Forces::default();
        let found = |proofs: Vec<Proof>| forces.on(&Finding::proven(proofs), Cause::Complaint);
        assert_eq!(found(vec![author.clone()]), Force::Strike);
        assert_eq!(found(vec![author, Proof::Seen(Name::MessageId)]), Force::Act);
        assert_eq!(found(Vec::new()), Force::Keep);
    }
}
