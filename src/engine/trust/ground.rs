//! Grounds: what a report is known to be real by, and what is to be said against it. Each has a name to be counted
//! under and a phrase for people.

use super::Trust;
use super::mark::Name;
use crate::engine::token::TokenError;
use crate::engine::verdict::named;
use crate::mail::event::{Flaw, Means};
use jiff::{SignedDuration, Timestamp};
use std::fmt;

const SECONDS_A_DAY: i64 = 86_400;

/// What a report is known to be real by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// Our own MTA's log tells it.
    Log,
    /// Our own MTA wrote it, and it never crossed a network.
    Bounce,
    /// It came back with a token of ours, about this recipient.
    Token {
        /// The day when it was sealed, since the epoch (UTC).
        day: u16,
        /// The number of its key.
        key: u8,
    },
    /// The domain that was mailed, or its provider, stands behind it.
    Author {
        /// By what that is known.
        means: Means,
        /// The domain of the author.
        domain: Box<str>,
    },
    /// It names a message that we saw leave for this recipient.
    Seen(Name),
    /// It was found before, and is judged again.
    Before(Trust),
}

/// Why a report is not known to be real.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Doubt {
    /// It is an automatic answer: a person's word, and no server's.
    AutoReply,
    /// It came to an address without a token.
    NoToken,
    /// Its token does not open.
    Token(TokenError),
    /// Its token is about somebody else.
    OtherRecipient,
    /// Its token is of a message to several, and this recipient is not known to be one of them.
    OtherMessage,
    /// Its author's word proves nothing.
    Author(Flaw),
    /// Its author's domain stands behind it, and has no say about this recipient.
    OtherDomain(Box<str>),
    /// It names no message that we saw leave for this recipient.
    NoMark,
}

named! {
    /// A kind of doubt, by which they are counted.
    DoubtKind {
        /// [`Doubt::AutoReply`]
        AutoReply = "auto_reply",
        /// [`Doubt::NoToken`]
        NoToken = "no_token",
        /// [`TokenError::Shape`]
        NoSuchToken = "no_such_token",
        /// [`TokenError::Key`]
        UnknownKey = "unknown_key",
        /// [`TokenError::Seal`]
        BadSeal = "bad_seal",
        /// [`TokenError::Expired`]
        Expired = "expired",
        /// [`TokenError::Future`]
        Future = "future",
        /// [`Doubt::OtherRecipient`]
        OtherRecipient = "other_recipient",
        /// [`Doubt::OtherMessage`]
        OtherMessage = "other_message",
        /// [`Flaw::Unsigned`]
        Unsigned = "unsigned",
        /// [`Flaw::Broken`]
        Broken = "broken",
        /// [`Flaw::Unaligned`]
        Unaligned = "unaligned",
        /// [`Flaw::UnknownSealer`]
        UnknownSealer = "unknown_sealer",
        /// [`Flaw::NoAuthor`]
        NoAuthor = "no_author",
        /// [`Flaw::NoDaemon`]
        NoDaemon = "no_daemon",
        /// [`Flaw::Inferred`]
        Inferred = "inferred",
        /// [`Flaw::Unsure`]
        Unsure = "unsure",
        /// [`Doubt::OtherDomain`]
        OtherDomain = "other_domain",
        /// [`Doubt::NoMark`]
        NoMark = "no_mark",
    }
}

impl Proof {
    /// How sure it makes us.
    #[must_use]
    pub fn trust(&self) -> Trust {
        match self {
            Self::Log | Self::Bounce => Trust::Own,
            Self::Token { .. } | Self::Seen(Name::Token) => Trust::Signed,
            Self::Author { .. } => Trust::Authenticated,
            Self::Seen(_) => Trust::Correlated,
            Self::Before(trust) => *trust,
        }
    }
}

impl Doubt {
    /// Whether it speaks against the report, and not only leaves it unproven: a token that is about somebody else, or
    /// that is made up, or too old. Whoever holds one got mail from us, and may know what names our mail to others as
    /// well. (A key that is none of ours any more was taken out too soon; that speaks against nobody.)
    #[must_use]
    pub fn contradicts(&self) -> bool {
        match self {
            Self::AutoReply | Self::OtherRecipient | Self::OtherMessage => true,
            Self::Token(error) => !matches!(error, TokenError::Key(_) | TokenError::Shape),
            Self::NoToken | Self::Author(_) | Self::OtherDomain(_) | Self::NoMark => false,
        }
    }

    /// What it is counted under.
    #[must_use]
    pub fn kind(&self) -> DoubtKind {
        match self {
            Self::AutoReply => DoubtKind::AutoReply,
            Self::NoToken => DoubtKind::NoToken,
            Self::Token(TokenError::Shape) => DoubtKind::NoSuchToken,
            Self::Token(TokenError::Key(_)) => DoubtKind::UnknownKey,
            Self::Token(TokenError::Seal) => DoubtKind::BadSeal,
            Self::Token(TokenError::Expired { .. }) => DoubtKind::Expired,
            Self::Token(TokenError::Future) => DoubtKind::Future,
            Self::OtherRecipient => DoubtKind::OtherRecipient,
            Self::OtherMessage => DoubtKind::OtherMessage,
            Self::Author(Flaw::Unsigned) => DoubtKind::Unsigned,
            Self::Author(Flaw::Broken) => DoubtKind::Broken,
            Self::Author(Flaw::Unaligned) => DoubtKind::Unaligned,
            Self::Author(Flaw::UnknownSealer) => DoubtKind::UnknownSealer,
            Self::Author(Flaw::NoAuthor) => DoubtKind::NoAuthor,
            Self::Author(Flaw::NoDaemon) => DoubtKind::NoDaemon,
            Self::Author(Flaw::Inferred) => DoubtKind::Inferred,
            Self::Author(Flaw::Unsure) => DoubtKind::Unsure,
            Self::OtherDomain(_) => DoubtKind::OtherDomain,
            Self::NoMark => DoubtKind::NoMark,
        }
    }
}

impl DoubtKind {
    /// In a few words, for people.
    #[must_use]
    pub fn phrase(self) -> &'static str {
        match self {
            Self::AutoReply => "an automatic answer",
            Self::NoToken => "no token",
            Self::NoSuchToken => "token: none of ours",
            Self::UnknownKey => "token: unknown key",
            Self::BadSeal => "token: bad seal",
            Self::Expired => "token: expired",
            Self::Future => "token: from the future",
            Self::OtherRecipient => "token: of another recipient",
            Self::OtherMessage => "token: of a message to others",
            Self::Unsigned => "unsigned",
            Self::Broken => "signature broken",
            Self::Unaligned => "signature of another domain than the author's",
            Self::UnknownSealer => "ARC by an unknown sealer",
            Self::NoAuthor => "no author, or several",
            Self::NoDaemon => "author is no mail system",
            Self::Inferred => "signature: of words that do not name whom we mailed",
            Self::Unsure => "signature: DNS did not answer",
            Self::OtherDomain => "author has no say about the recipient",
            Self::NoMark => "no message of ours",
        }
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Log => f.write_str("our own log"),
            Self::Bounce => f.write_str("our own MTA's bounce"),
            Self::Token { day, key } => {
                let at = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(i64::from(*day) * SECONDS_A_DAY);
                write!(f, "token of {}, key {key}", at.strftime("%Y-%m-%d"))
            }
            Self::Author { means, domain } => write!(f, "{} {domain}", means.name()),
            Self::Seen(name) => write!(f, "{name} seen"),
            Self::Before(trust) => write!(f, "found {trust} before"),
        }
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind().phrase())?;
        match self {
            Self::Token(TokenError::Expired { age, .. }) => write!(f, ", {age} days old"),
            Self::Token(TokenError::Key(number)) => write!(f, " {number}"),
            Self::OtherDomain(domain) => write!(f, ": {domain}"),
            _ => Ok(()),
        }
    }
}
