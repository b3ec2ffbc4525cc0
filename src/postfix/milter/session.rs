//! The order of things in a milter connection: what was agreed on, which message is under way, and when an answer is due.
//!
//! [`Session::receive`] takes a command and says what comes next; whoever drives it decides about recipients and
//! messages and writes the replies. A step that was agreed to go unanswered is [`Step::Wait`]. Several messages may
//! follow each other on a connection; a message that is given up (`SMFIC_ABORT`), or whose successor begins, is
//! forgotten. Nothing fails but the order: what comes before the negotiation, and a second negotiation.
//!
//! Postfix sends addresses in `<>` where they came over SMTP, and bare where `sendmail(1)` or Postfix itself handed
//! the mail in: there, a recipient cannot be refused, only removed at the end.

use super::{Actions, Command, MilterError, Offer, Steps};

/// What the milter is there for: what it needs not hear of, it asks to be spared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Purpose {
    /// To replace envelope senders.
    pub sign: bool,
    /// To read messages.
    pub read: bool,
    /// To tell of messages from which recipients were removed: takes their headers.
    pub header: bool,
}

/// A recipient that is not to have the message, and the words of the refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// As the MTA spelled it.
    pub recipient: Vec<u8>,
    /// Why.
    pub text: String,
}

/// A message under way.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Transaction {
    /// The envelope sender, without `<>`; empty is the null sender.
    pub sender: Vec<u8>,
    /// The ESMTP parameters of MAIL, as in `XVERP=-=`.
    pub parameters: Vec<Vec<u8>>,
    /// Whether it came over SMTP: recipients can be refused.
    pub smtp: bool,
    /// Who logged in (SASL); empty for nobody.
    pub user: Vec<u8>,
    /// The address of whoever handed it in.
    pub client: Vec<u8>,
    /// What they called themselves in HELO or EHLO.
    pub helo: Vec<u8>,
    /// The port that it came in by.
    pub port: Vec<u8>,
    /// What the operator calls that listener (Postfix's `milter_macro_daemon_name`).
    pub daemon: Vec<u8>,
    /// Its queue id, once the MTA has told it.
    pub queue_id: Vec<u8>,
    /// The recipients that were let through, as the MTA spelled them.
    pub recipients: Vec<Vec<u8>>,
    /// Those that could not be refused and are to be removed.
    pub refused: Vec<Refused>,
    /// The message, as far as it is read, with CRLF: the header, and the body where that is wanted.
    pub content: Vec<u8>,
    /// Whether more came than is read.
    pub cut: bool,
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing is to be said.
    Wait,
    /// Say what is to be said by itself: go on.
    Continue,
    /// Say this: no more of the body is wanted.
    Skip,
    /// Send the agreement.
    Agree(Agreement),
    /// Decide about a recipient, as the MTA spelled it, and say so; [`Session::take`] it where it is let through.
    Decide(Vec<u8>),
    /// Decide about the message, and say so.
    Finish(Box<Transaction>),
    /// Close the connection.
    Close,
}

/// Our word in the negotiation, as it goes over the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agreement {
    offer: Offer,
    macros: &'static [(u32, &'static str)],
}

/// A connection.
#[derive(Debug)]
pub struct Session {
    purpose: Purpose,
    /// How much of a message is read, in octets.
    max_size: usize,
    agreed: Option<Offer>,
    helo: Vec<u8>,
    transaction: Transaction,
    /// Whether a message is under way.
    is_busy: bool,
    /// Whether the body of this message is read.
    is_wanted: bool,
}

/// The stages of MAIL, RCPT and the end of the message in an agreement (`SMFIM_*`).
const MAIL: u32 = 2;
const RCPT: u32 = 3;
const END: u32 = 5;
/// The macros that we want to hear. A stage without a list of its own gets the MTA's, which costs more: Postfix asks its
/// address resolver for `{mail_addr}`, `{mail_host}`, `{rcpt_addr}` and their like, at RCPT for each recipient anew
/// (`smtpd_milter_eval`). The sender is in MAIL itself.
const REFUSING: &[(u32, &str)] = &[(MAIL, "i {auth_authen}"), (RCPT, "i"), (END, "i")];
/// Those that tell besides who hands the mail in.
const SIGNING: &[(u32, &str)] = &[
    (MAIL, "i {auth_authen} {client_addr} {daemon_port} {daemon_name}"),
    (RCPT, "i"),
    (END, "i"),
];

impl Agreement {
    /// Appends the packet.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let at = out.len();
        self.offer.encode(out);
        for (stage, names) in self.macros {
            out.extend_from_slice(&stage.to_be_bytes());
            out.extend_from_slice(names.as_bytes());
            out.push(0);
        }
        let length = u32::try_from(out.len() - at - 4).unwrap_or(u32::MAX);
        out[at..at + 4].copy_from_slice(&length.to_be_bytes());
    }
}

impl Session {
    /// A connection that nothing was said on yet. Of each message at most `max_size` octets are read.
    #[must_use]
    pub fn new(purpose: Purpose, max_size: usize) -> Self {
        Self {
            purpose,
            max_size,
            agreed: None,
            helo: Vec::new(),
            transaction: Transaction::default(),
            is_busy: false,
            is_wanted: false,
        }
    }

    /// Whether a message is under way.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.is_busy
    }

    /// The message under way.
    #[must_use]
    pub fn transaction(&self) -> &Transaction {
        &self.transaction
    }

    /// A recipient was let through.
    pub fn take(&mut self, recipient: Vec<u8>) {
        self.transaction.recipients.push(recipient);
    }

    /// A recipient that cannot be refused is to be removed at the end.
    pub fn remove(&mut self, recipient: Vec<u8>, text: String) {
        self.transaction.refused.push(Refused { recipient, text });
    }

    /// The body of this message is to be read. Without this, as little of it is sent as can be.
    pub fn want_body(&mut self) {
        self.is_wanted = true;
    }

    /// Takes a command.
    ///
    /// # Errors
    /// [`MilterError`]: close the connection.
    pub fn receive(&mut self, command: Command<'_>) -> Result<Step, MilterError> {
        let Some(agreed) = self.agreed else {
            return self.negotiate(&command);
        };
        let steps = agreed.steps;
        let unless = |silent: Steps| {
            if steps.contains(silent) {
                Step::Wait
            } else {
                Step::Continue
            }
        };
        Ok(match command {
            Command::Negotiate(_) => {
                return Err(MilterError::Order {
                    expected: "one negotiation",
                    found: 'O',
                });
            }
            Command::Macros { values, .. } => self.learn(&values),
            Command::Connect { .. } => unless(Steps::NO_REPLY_CONNECT),
            Command::Helo(name) => {
                self.helo = name.to_vec();
                unless(Steps::NO_REPLY_HELO)
            }
            Command::Mail { sender, parameters } => {
                self.begin(sender, &parameters);
                unless(Steps::NO_REPLY_MAIL)
            }
            Command::Rcpt { recipient, .. } => self.rcpt(recipient),
            Command::Data => unless(Steps::NO_REPLY_DATA),
            Command::Unknown(_) => unless(Steps::NO_REPLY_UNKNOWN),
            Command::Header { name, value } => {
                self.header(name, value, steps.contains(Steps::LEADING_SPACE));
                unless(Steps::NO_REPLY_HEADER)
            }
            Command::EndOfHeader => {
                self.append(b"\r\n");
                unless(Steps::NO_REPLY_END_OF_HEADER)
            }
            Command::Body(piece) => self.body(piece, steps),
            Command::EndOfMessage(piece) => {
                if self.is_wanted {
                    self.append(piece);
                }
                Step::Finish(Box::new(self.end()))
            }
            Command::Abort => {
                self.end();
                Step::Wait
            }
            Command::QuitNewConnection => {
                self.end();
                self.helo.clear();
                Step::Wait
            }
            Command::Quit => Step::Close,
            Command::Other(_) => Step::Continue,
        })
    }

    fn negotiate(&mut self, command: &Command<'_>) -> Result<Step, MilterError> {
        let Command::Negotiate(offer) = command else {
            return match command {
                Command::Quit => Ok(Step::Close),
                other => Err(MilterError::Order {
                    expected: "the negotiation first",
                    found: other.letter(),
                }),
            };
        };
        let agreed = offer.answer(self.wanted(), self.spared())?;
        self.agreed = Some(agreed);
        let macros = match agreed.actions.contains(Actions::SET_MACROS) {
            true if self.purpose.sign || self.purpose.read => SIGNING,
            true => REFUSING,
            false => &[],
        };
        Ok(Step::Agree(Agreement {
            offer: agreed,
            macros,
        }))
    }

    /// The actions that we may need. A recipient that `sendmail(1)` brought is removed at the end.
    fn wanted(&self) -> Actions {
        let mut wanted = Actions::DELETE_RCPT.and(Actions::SET_MACROS);
        if self.purpose.sign {
            wanted = wanted.and(Actions::CHANGE_SENDER);
        }
        if self.purpose.read {
            wanted = wanted.and(Actions::ADD_RCPT);
        }
        wanted
    }

    /// The steps that we need not hear of, or answer. MAIL costs nothing where it is not answered: it travels with RCPT.
    fn spared(&self) -> Steps {
        let mut spared = Steps::NO_CONNECT
            .and(Steps::NO_DATA)
            .and(Steps::NO_UNKNOWN)
            .and(Steps::SKIP)
            .and(Steps::NO_REPLY_CONNECT)
            .and(Steps::NO_REPLY_HELO)
            .and(Steps::NO_REPLY_DATA)
            .and(Steps::NO_REPLY_UNKNOWN)
            .and(Steps::NO_REPLY_MAIL)
            .and(Steps::NO_REPLY_HEADER)
            .and(Steps::NO_REPLY_END_OF_HEADER);
        if self.purpose.read {
            // What is signed by DKIM must come as it stands.
            spared = spared.and(Steps::LEADING_SPACE);
        } else {
            spared = spared.and(Steps::NO_BODY).and(Steps::NO_HELO);
            if !self.purpose.sign && !self.purpose.header {
                spared = spared.and(Steps::NO_HEADER).and(Steps::NO_END_OF_HEADER);
            }
        }
        spared
    }

    fn learn(&mut self, values: &[(&[u8], &[u8])]) -> Step {
        let message = &mut self.transaction;
        for (name, value) in values {
            let name = name.strip_prefix(b"{").unwrap_or(name);
            let name = name.strip_suffix(b"}").unwrap_or(name);
            let field = match name {
                b"i" => &mut message.queue_id,
                b"auth_authen" => &mut message.user,
                b"client_addr" => &mut message.client,
                b"daemon_port" => &mut message.port,
                b"daemon_name" => &mut message.daemon,
                _ => continue,
            };
            *field = value.to_vec();
        }
        Step::Wait
    }

    /// A message begins. What the macros said beforehand of who hands it in stays: they come first.
    fn begin(&mut self, sender: &[u8], parameters: &[&[u8]]) {
        let (sender, smtp) = bare(sender);
        let before = self.end();
        self.is_busy = true;
        self.transaction = Transaction {
            sender: sender.to_vec(),
            parameters: parameters.iter().map(|parameter| parameter.to_vec()).collect(),
            smtp,
            helo: self.helo.clone(),
            user: before.user,
            client: before.client,
            port: before.port,
            daemon: before.daemon,
            queue_id: before.queue_id,
            ..Transaction::default()
        };
    }

    /// The message is over.
    fn end(&mut self) -> Transaction {
        self.is_busy = false;
        self.is_wanted = false;
        std::mem::take(&mut self.transaction)
    }

    fn rcpt(&mut self, recipient: &[u8]) -> Step {
        self.is_busy = true;
        self.transaction.smtp = bare(recipient).1;
        Step::Decide(recipient.to_vec())
    }

    fn header(&mut self, name: &[u8], value: &[u8], spaced: bool) {
        self.append(name);
        self.append(if spaced { b":" } else { b": " });
        // Folded lines come with LF alone.
        for (n, line) in value.split(|&octet| octet == b'\n').enumerate() {
            if n > 0 {
                self.append(b"\r\n");
            }
            self.append(line.strip_suffix(b"\r").unwrap_or(line));
        }
        self.append(b"\r\n");
    }

    fn body(&mut self, piece: &[u8], steps: Steps) -> Step {
        if self.is_wanted {
            self.append(piece);
        }
        let enough = self.transaction.cut || !self.is_wanted;
        if enough && steps.contains(Steps::SKIP) {
            Step::Skip
        } else if steps.contains(Steps::NO_REPLY_BODY) {
            Step::Wait
        } else {
            Step::Continue
        }
    }

    fn append(&mut self, octets: &[u8]) {
        let room = self.max_size.saturating_sub(self.transaction.content.len());
        let taken = octets.len().min(room);
        self.transaction.content.extend_from_slice(&octets[..taken]);
        self.transaction.cut |= taken < octets.len();
    }
}

/// An address without its `<>`, and whether it had them.
#[must_use]
pub fn bare(address: &[u8]) -> (&[u8], bool) {
    let inner = address
        .strip_prefix(b"<")
        .and_then(|rest| rest.strip_suffix(b">"));
    inner.map_or((address, false), |inner| (inner, true))
}

#[cfg(test)]
mod tests;
