//! A milter over codec and session alone, with decisions of its own: what is recorded and what is replayed.

use nixie::postfix::milter::session::{Purpose, Session, Step, Transaction, bare};
use nixie::postfix::milter::{Decoder, Reply};

/// One side of a connection.
pub struct Driver {
    decoder: Decoder,
    session: Session,
    /// The messages that came to their end.
    pub messages: Vec<Transaction>,
    pub is_closed: bool,
}

impl Driver {
    pub fn new(purpose: Purpose) -> Self {
        Self {
            decoder: Decoder::default(),
            session: Session::new(purpose, 1 << 20),
            messages: Vec::new(),
            is_closed: false,
        }
    }

    /// Takes what arrived, gives what is answered.
    pub fn feed(&mut self, octets: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        self.decoder.feed(octets);
        while let Some(command) = self.decoder.decode().unwrap() {
            match self.session.receive(command).unwrap() {
                Step::Wait => {}
                Step::Continue => Reply::Continue.encode(&mut out),
                Step::Skip => Reply::Skip.encode(&mut out),
                Step::Agree(agreement) => agreement.encode(&mut out),
                Step::Decide(recipient) => self.decide(recipient).encode(&mut out),
                Step::Finish(message) => {
                    finish(&message).iter().for_each(|reply| reply.encode(&mut out));
                    self.messages.push(*message);
                }
                Step::Close => self.is_closed = true,
            }
        }
        out
    }

    fn decide(&mut self, recipient: Vec<u8>) -> Reply {
        let is_dead = bare(&recipient).0.starts_with(b"dead");
        let (is_smtp, is_bounce) = {
            let mail = self.session.transaction();
            (mail.smtp, mail.sender.is_empty())
        };
        if is_dead && is_smtp {
            return Reply::Code {
                code: 550,
                status: "5.1.1",
                text: "100% dead".into(),
            };
        }
        if is_dead {
            self.session.remove(recipient, "dead".into());
            return Reply::Continue;
        }
        if is_bounce {
            self.session.want_body();
        }
        self.session.take(recipient);
        Reply::Continue
    }
}

fn finish(message: &Transaction) -> Vec<Reply> {
    if message.recipients.is_empty() {
        return vec![Reply::Discard];
    }
    let mut replies = Vec::new();
    if message.sender == b"sign@app.example" {
        replies.push(Reply::ChangeSender("signed@bounces.example.org".into()));
    }
    if message.sender == b"later@app.example" {
        return vec![Reply::TempFail];
    }
    let removed = message.refused.iter();
    replies.extend(removed.map(|refused| Reply::DeleteRcpt(refused.recipient.clone())));
    replies.push(Reply::Accept);
    replies
}
