//! What MTA and milter agree on at the beginning (`SMFIC_OPTNEG`): the version, the actions that the milter may take,
//! and the steps that it is spared or need not answer. Each side may only take away from what the other offers.

use super::MilterError;

/// The version that we speak (Sendmail 8.14 and later, Postfix 2.6 and later).
pub const VERSION: u32 = 6;
/// The oldest that we accept (Sendmail 8.12).
pub const VERSION_OLDEST: u32 = 2;

/// What a milter may do to a message (`SMFIF_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Actions(pub u32);

impl Actions {
    /// Add header fields.
    pub const ADD_HEADER: Self = Self(0x01);
    /// Replace the body.
    pub const CHANGE_BODY: Self = Self(0x02);
    /// Add recipients.
    pub const ADD_RCPT: Self = Self(0x04);
    /// Remove recipients.
    pub const DELETE_RCPT: Self = Self(0x08);
    /// Change and remove header fields.
    pub const CHANGE_HEADER: Self = Self(0x10);
    /// Quarantine the message.
    pub const QUARANTINE: Self = Self(0x20);
    /// Change the envelope sender.
    pub const CHANGE_SENDER: Self = Self(0x40);
    /// Say which macros to send (version 6).
    pub const SET_MACROS: Self = Self(0x100);

    /// Whether all of `other` is within.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Which steps a milter is spared, and which it does not answer (`SMFIP_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Steps(pub u32);

impl Steps {
    /// Spared: the connection.
    pub const NO_CONNECT: Self = Self(0x01);
    /// Spared: HELO.
    pub const NO_HELO: Self = Self(0x02);
    /// Spared: MAIL.
    pub const NO_MAIL: Self = Self(0x04);
    /// Spared: RCPT.
    pub const NO_RCPT: Self = Self(0x08);
    /// Spared: the body.
    pub const NO_BODY: Self = Self(0x10);
    /// Spared: header fields.
    pub const NO_HEADER: Self = Self(0x20);
    /// Spared: the end of the header.
    pub const NO_END_OF_HEADER: Self = Self(0x40);
    /// Not answered: header fields.
    pub const NO_REPLY_HEADER: Self = Self(0x80);
    /// Spared: unknown SMTP commands.
    pub const NO_UNKNOWN: Self = Self(0x100);
    /// Spared: DATA.
    pub const NO_DATA: Self = Self(0x200);
    /// The milter may say "no more of the body" ([`super::Reply::Skip`]).
    pub const SKIP: Self = Self(0x400);
    /// The milter hears of recipients that the MTA refuses itself.
    pub const REJECTED_RCPT: Self = Self(0x800);
    /// Not answered: the connection.
    pub const NO_REPLY_CONNECT: Self = Self(0x1000);
    /// Not answered: HELO.
    pub const NO_REPLY_HELO: Self = Self(0x2000);
    /// Not answered: MAIL.
    pub const NO_REPLY_MAIL: Self = Self(0x4000);
    /// Not answered: RCPT.
    pub const NO_REPLY_RCPT: Self = Self(0x8000);
    /// Not answered: DATA.
    pub const NO_REPLY_DATA: Self = Self(0x1_0000);
    /// Not answered: unknown SMTP commands.
    pub const NO_REPLY_UNKNOWN: Self = Self(0x2_0000);
    /// Not answered: the end of the header.
    pub const NO_REPLY_END_OF_HEADER: Self = Self(0x4_0000);
    /// Not answered: pieces of the body.
    pub const NO_REPLY_BODY: Self = Self(0x8_0000);
    /// Header values come with the space that stands before them.
    pub const LEADING_SPACE: Self = Self(0x10_0000);

    /// Whether all of `other` is within.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// One side's word in the negotiation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// The version.
    pub version: u32,
    /// The actions that are allowed, or wanted.
    pub actions: Actions,
    /// The steps that can be left out, or are.
    pub steps: Steps,
}

impl Offer {
    /// Reads the MTA's offer. What stands behind the three numbers (lists of macros) is a milter's to send.
    pub(super) fn parse(data: &[u8]) -> Result<Self, MilterError> {
        let number = |at: usize| {
            let octets = data.get(at..at + 4)?.try_into().ok()?;
            Some(u32::from_be_bytes(octets))
        };
        match (number(0), number(4), number(8)) {
            (Some(version), Some(actions), Some(steps)) => Ok(Self {
                version,
                actions: Actions(actions),
                steps: Steps(steps),
            }),
            _ => Err(MilterError::Offer(data.len())),
        }
    }

    /// What we answer, of what we would like: the lower version, and nothing that was not offered.
    ///
    /// # Errors
    /// [`MilterError::Version`] where the MTA is older than we understand.
    pub fn answer(&self, actions: Actions, steps: Steps) -> Result<Self, MilterError> {
        if self.version < VERSION_OLDEST {
            return Err(MilterError::Version(self.version));
        }
        Ok(Self {
            version: self.version.min(VERSION),
            actions: Actions(actions.0 & self.actions.0),
            steps: Steps(steps.0 & self.steps.0),
        })
    }

    /// Appends the packet.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&13u32.to_be_bytes());
        out.push(b'O');
        for number in [self.version, self.actions.0, self.steps.0] {
            out.extend_from_slice(&number.to_be_bytes());
        }
    }
}
