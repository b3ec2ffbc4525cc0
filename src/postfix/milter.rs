//! The milter protocol as Sendmail and Postfix speak it (Sendmail's `libmilter/README`, `mfapi.h`, `mfdef.h`; Postfix's
//! MILTER_README): packets of a length, a letter and data. Versions 2 to 6.
//!
//! This room turns octets into [`Command`]s and [`Reply`]s into octets; [`session`] keeps the order of things.
//! Reading is strict where the place of the next packet depends on it (the length) and lenient in what a packet
//! says: a command that nobody knows is [`Command::Other`], and a field that is missing reads as empty. What breaks
//! the framing is a [`MilterError`]; the connection is closed then, and the MTA does as its `milter_default_action` says.

mod negotiation;
mod reply;
pub mod session;

pub use negotiation::{Actions, Offer, Steps, VERSION, VERSION_OLDEST};
pub use reply::Reply;

/// The longest packet read: a body chunk of the largest agreed size (1 MiB less one, `MILTER_MAX_DATA_SIZE_1M`), with
/// room for its letter. Headers and macros are far shorter.
pub const MAX_PACKET: usize = 1024 * 1024;
/// Octets of the length before a packet.
const LENGTH: usize = 4;

/// The stage that macros are sent for, by the letter of its command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// The connection: lives as long as it.
    Connect,
    /// HELO or EHLO.
    Helo,
    /// MAIL FROM: lives as long as the message, like all that follow.
    Mail,
    /// RCPT TO: one recipient.
    Rcpt,
    /// DATA.
    Data,
    /// The end of the headers.
    EndOfHeader,
    /// The end of the message.
    EndOfMessage,
    /// Any other.
    Other(u8),
}

/// What the MTA says, borrowed from the octets it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command<'a> {
    /// `O`: what it offers.
    Negotiate(Offer),
    /// `D`: macros for the command that follows, as name and value.
    Macros {
        /// For which.
        stage: Stage,
        /// Them, `{}` around long names included.
        values: Vec<(&'a [u8], &'a [u8])>,
    },
    /// `C`: a client connected.
    Connect {
        /// Its name, or its address in brackets.
        host: &'a [u8],
        /// Its address; empty where it has none.
        address: &'a [u8],
    },
    /// `H`: HELO or EHLO.
    Helo(&'a [u8]),
    /// `M`: MAIL FROM, with its ESMTP parameters.
    Mail {
        /// The sender, in `<>` over SMTP.
        sender: &'a [u8],
        /// The parameters, as in `SIZE=1000`.
        parameters: Vec<&'a [u8]>,
    },
    /// `R`: RCPT TO, with its ESMTP parameters.
    Rcpt {
        /// The recipient, in `<>` over SMTP.
        recipient: &'a [u8],
        /// The parameters, as in `NOTIFY=NEVER`.
        parameters: Vec<&'a [u8]>,
    },
    /// `T`: DATA.
    Data,
    /// `L`: a header field.
    Header {
        /// Its name.
        name: &'a [u8],
        /// Its value, folded as it came, with LF.
        value: &'a [u8],
    },
    /// `N`: the header has ended.
    EndOfHeader,
    /// `B`: a piece of the body.
    Body(&'a [u8]),
    /// `E`: the message has ended; some MTAs send the last piece of the body with it.
    EndOfMessage(&'a [u8]),
    /// `A`: the message is given up, the connection is not.
    Abort,
    /// `Q`: good-bye.
    Quit,
    /// `K`: good-bye to this client; another one follows on the same connection.
    QuitNewConnection,
    /// `U`: an SMTP command that the MTA does not know.
    Unknown(&'a [u8]),
    /// A command that this version of the protocol does not have.
    Other(u8),
}

/// Why the stream cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MilterError {
    /// A packet without a letter.
    #[error("expected a packet with a command, found one of length 0")]
    Empty,
    /// A packet beyond [`MAX_PACKET`].
    #[error("expected a packet of at most {MAX_PACKET} octets, found a length of {0}")]
    TooLong(u32),
    /// An offer that is cut off.
    #[error("expected 12 octets of version, actions and steps, found {0}")]
    Offer(usize),
    /// A version of which we know nothing.
    #[error("expected protocol version {VERSION_OLDEST} or later, found {0}")]
    Version(u32),
    /// Something before the negotiation, or a second one.
    #[error("expected {expected}, found the command {found:?}")]
    Order {
        /// What should come.
        expected: &'static str,
        /// The letter that came.
        found: char,
    },
}

/// Cuts a byte stream into commands. It holds what is not yet complete.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// Where the next packet begins.
    start: usize,
}

impl Decoder {
    /// Takes in what arrived.
    pub fn feed(&mut self, octets: &[u8]) {
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.extend_from_slice(octets);
    }

    /// The next complete command; `None` where more must arrive first.
    ///
    /// # Errors
    /// [`MilterError`]: close the connection.
    pub fn decode(&mut self) -> Result<Option<Command<'_>>, MilterError> {
        let rest = &self.buffer[self.start..];
        let Some(length) = rest.first_chunk::<LENGTH>() else {
            self.release();
            return Ok(None);
        };
        let announced = u32::from_be_bytes(*length);
        let length = usize::try_from(announced).unwrap_or(usize::MAX);
        if length == 0 {
            return Err(MilterError::Empty);
        }
        if length > MAX_PACKET {
            return Err(MilterError::TooLong(announced));
        }
        let from = self.start + LENGTH;
        if self.buffer.len() < from + length {
            return Ok(None);
        }
        self.start = from + length;
        parse(self.buffer[from], &self.buffer[from + 1..from + length]).map(Some)
    }

    /// How many octets of an incomplete packet are held.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// Gives the memory of large packets back once nothing is held.
    fn release(&mut self) {
        const KEPT: usize = 16 * 1024;
        if self.waiting() == 0 && self.buffer.capacity() > KEPT {
            *self = Self::default();
        }
    }
}

/// Reads one packet.
fn parse(letter: u8, data: &[u8]) -> Result<Command<'_>, MilterError> {
    Ok(match letter {
        b'O' => Command::Negotiate(Offer::parse(data)?),
        b'D' => macros(data),
        b'C' => connect(data),
        b'H' => Command::Helo(strings(data).next().unwrap_or_default()),
        b'M' => {
            let mut parts = strings(data);
            Command::Mail {
                sender: parts.next().unwrap_or_default(),
                parameters: parts.collect(),
            }
        }
        b'R' => {
            let mut parts = strings(data);
            Command::Rcpt {
                recipient: parts.next().unwrap_or_default(),
                parameters: parts.collect(),
            }
        }
        b'T' => Command::Data,
        b'L' => {
            let mut parts = strings(data);
            Command::Header {
                name: parts.next().unwrap_or_default(),
                value: parts.next().unwrap_or_default(),
            }
        }
        b'N' => Command::EndOfHeader,
        b'B' => Command::Body(data),
        b'E' => Command::EndOfMessage(data),
        b'A' => Command::Abort,
        b'Q' => Command::Quit,
        b'K' => Command::QuitNewConnection,
        b'U' => Command::Unknown(strings(data).next().unwrap_or_default()),
        other => Command::Other(other),
    })
}

/// Strings that each end with a NUL; the last one's may be missing.
fn strings(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let data = data.strip_suffix(b"\0").unwrap_or(data);
    data.split(|&octet| octet == 0)
}

fn macros(data: &[u8]) -> Command<'_> {
    let (letter, rest) = data.split_first().unwrap_or((&0, &[]));
    let mut parts = strings(rest);
    let mut values = Vec::new();
    while let Some(name) = parts.next().filter(|name| !name.is_empty()) {
        values.push((name, parts.next().unwrap_or_default()));
    }
    Command::Macros {
        stage: Stage::of(*letter),
        values,
    }
}

/// `host NUL family [port address NUL]`: the family `U` has no address, and `L` (a Unix socket) no port worth knowing.
fn connect(data: &[u8]) -> Command<'_> {
    let end = memchr::memchr(0, data).unwrap_or(data.len());
    let (host, rest) = data.split_at(end);
    // NUL, family, two octets of port.
    let address = match rest.get(1) {
        Some(b'4' | b'6' | b'L') => strings(rest.get(4..).unwrap_or_default()).next(),
        _ => None,
    };
    Command::Connect {
        host,
        address: address.unwrap_or_default(),
    }
}

impl Stage {
    fn of(letter: u8) -> Self {
        match letter {
            b'C' => Self::Connect,
            b'H' => Self::Helo,
            b'M' => Self::Mail,
            b'R' => Self::Rcpt,
            b'T' => Self::Data,
            b'N' => Self::EndOfHeader,
            b'E' => Self::EndOfMessage,
            other => Self::Other(other),
        }
    }
}

impl Command<'_> {
    /// Its letter on the wire.
    #[must_use]
    pub fn letter(&self) -> char {
        match self {
            Self::Negotiate(_) => 'O',
            Self::Macros { .. } => 'D',
            Self::Connect { .. } => 'C',
            Self::Helo(_) => 'H',
            Self::Mail { .. } => 'M',
            Self::Rcpt { .. } => 'R',
            Self::Data => 'T',
            Self::Header { .. } => 'L',
            Self::EndOfHeader => 'N',
            Self::Body(_) => 'B',
            Self::EndOfMessage(_) => 'E',
            Self::Abort => 'A',
            Self::Quit => 'Q',
            Self::QuitNewConnection => 'K',
            Self::Unknown(_) => 'U',
            Self::Other(letter) => char::from(*letter),
        }
    }
}

#[cfg(test)]
mod tests;
