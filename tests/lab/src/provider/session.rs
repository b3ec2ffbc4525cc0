//! One connection to a provider: SMTP's commands in their order (RFC 5321 §4.1.4).
//!
//! On failure: protocol errors are answered with SMTP's own codes, anything the network does ends the
//! session.

use super::{Answer, Mailbox, Message, Shared, Stage};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// How long a client may be silent: well beyond Postfix's connection cache.
const IDLE: Duration = Duration::from_secs(300);
/// The longest command line taken, in bytes.
const LINE: u64 = 4096;

/// The mail transaction under way.
struct Envelope {
    sender: String,
    recipients: Vec<String>,
}

struct Session<'a> {
    reader: BufReader<TcpStream>,
    /// Replies wait here while further commands are at hand (RFC 2920 §3.2).
    waiting: Vec<u8>,
    shared: &'a Shared,
    greeted: bool,
    envelope: Option<Envelope>,
}

/// Whether the connection goes on.
#[derive(PartialEq)]
enum Next {
    Go,
    Close,
}

/// Serves one connection to its end. `crowded`: it is one too many.
pub(super) fn serve(stream: TcpStream, shared: &Shared, crowded: bool) -> io::Result<()> {
    stream.set_read_timeout(Some(IDLE))?;
    stream.set_nodelay(true)?;
    let mut session = Session {
        reader: BufReader::new(stream),
        waiting: Vec::new(),
        shared,
        greeted: false,
        envelope: None,
    };
    if !session.greet(crowded)? {
        return session.flush();
    }
    while let Some(line) = session.line()? {
        let next = session.command(&line)?;
        if next == Next::Close {
            return session.flush();
        }
    }
    Ok(())
}

impl Session<'_> {
    /// Greets; `false` when the greeting was a refusal.
    fn greet(&mut self, crowded: bool) -> io::Result<bool> {
        let (refusal, host) = {
            let state = self.shared.state.lock();
            let crowd = crowded.then(|| state.script.crowded());
            (state.script.greeting.clone().or(crowd), state.script.host.clone())
        };
        match refusal {
            Some(reply) => {
                self.decide("", Stage::Greeting, &reply);
                self.reply(&reply)?;
                Ok(false)
            }
            None => {
                self.reply(&format!("220 {host} ESMTP"))?;
                Ok(true)
            }
        }
    }

    fn command(&mut self, line: &str) -> io::Result<Next> {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" => return self.hello(true),
            "HELO" => return self.hello(false),
            "MAIL" => return self.mail(rest),
            "RCPT" => return self.rcpt(rest),
            "DATA" => return self.data(),
            "RSET" => {
                self.envelope = None;
                self.reply("250 2.0.0 OK")?;
            }
            "NOOP" => self.reply("250 2.0.0 OK")?,
            "VRFY" => self.reply("252 2.1.5 Send some mail, I will try my best")?,
            "QUIT" => {
                self.reply("221 2.0.0 closing connection")?;
                return Ok(Next::Close);
            }
            _ => self.reply("502 5.5.1 Unrecognized command")?,
        }
        Ok(Next::Go)
    }

    fn hello(&mut self, extended: bool) -> io::Result<Next> {
        self.greeted = true;
        self.envelope = None;
        let (host, size) = {
            let state = self.shared.state.lock();
            (state.script.host.clone(), state.script.max_size)
        };
        if extended {
            self.reply(&format!(
                "250-{host} at your service\n250-SIZE {size}\n250-8BITMIME\n250-ENHANCEDSTATUSCODES\n\
                 250-PIPELINING\n250 SMTPUTF8"
            ))?;
        } else {
            self.reply(&format!("250 {host} at your service"))?;
        }
        Ok(Next::Go)
    }

    fn mail(&mut self, rest: &str) -> io::Result<Next> {
        if !self.greeted || self.envelope.is_some() {
            self.reply("503 5.5.1 Bad sequence of commands")?;
            return Ok(Next::Go);
        }
        let Some((sender, parameters)) = path(rest, "FROM:") else {
            self.reply("501 5.5.4 Syntax: MAIL FROM:<address>")?;
            return Ok(Next::Go);
        };
        let declared = parameters
            .split_ascii_whitespace()
            .find_map(|p| p.strip_prefix("SIZE="))
            .and_then(|size| size.parse::<usize>().ok());
        let refusal = {
            let state = self.shared.state.lock();
            let max = state.script.max_size;
            declared
                .is_some_and(|size| size > max)
                .then(|| state.script.too_large())
        };
        if let Some(reply) = refusal {
            // Refused before any recipient is known: one refusal, of the message.
            self.decide("", Stage::Message, &reply);
            self.reply(&reply)?;
            return Ok(Next::Go);
        }
        self.envelope = Some(Envelope {
            sender: sender.to_owned(),
            recipients: Vec::new(),
        });
        self.reply("250 2.1.0 OK")?;
        Ok(Next::Go)
    }

    fn rcpt(&mut self, rest: &str) -> io::Result<Next> {
        let Some(envelope) = &self.envelope else {
            self.reply("503 5.5.1 MAIL first")?;
            return Ok(Next::Go);
        };
        let Some((recipient, _)) = path(rest, "TO:").filter(|(address, _)| !address.is_empty()) else {
            self.reply("501 5.5.4 Syntax: RCPT TO:<address>")?;
            return Ok(Next::Go);
        };
        let latency = self.shared.state.lock().script.latency;
        if !latency.is_zero() {
            std::thread::park_timeout(latency);
        }
        let reply = self.judge(&envelope.sender, recipient);
        self.decide(recipient, Stage::Recipient, &reply);
        self.reply(&reply)?;
        if let Some(envelope) = self.envelope.as_mut().filter(|_| reply.starts_with("250")) {
            envelope.recipients.push(recipient.to_owned());
        }
        // RFC 5321 §3.8: after a 421 the server closes the channel.
        Ok(if reply.starts_with("421") {
            Next::Close
        } else {
            Next::Go
        })
    }

    /// What the provider says to this recipient. Dead and full mailboxes are told before the limit is
    /// asked: they cost the provider nothing.
    fn judge(&self, sender: &str, recipient: &str) -> String {
        let mut state = self.shared.state.lock();
        let state = &mut *state;
        let key = recipient.to_lowercase();
        state.tally.rcpts += 1;
        match state.script.mailboxes.get(&key) {
            Some(Mailbox::Dead) => return state.script.dead(recipient),
            Some(Mailbox::Full) => return state.script.full(recipient),
            Some(Mailbox::Late) | None => {}
        }
        if state.script.greylist && state.greylist.insert((sender.to_lowercase(), key)) {
            return state.script.greylisted(recipient);
        }
        match state.script.rate {
            Some(rate) if !state.bucket.take(rate, Instant::now()) => state.script.limit(),
            _ => "250 2.1.5 OK".into(),
        }
    }

    fn data(&mut self) -> io::Result<Next> {
        if self.envelope.as_ref().is_none_or(|e| e.recipients.is_empty()) {
            self.reply("503 5.5.1 RCPT first")?;
            return Ok(Next::Go);
        }
        self.reply("354 Go ahead")?;
        self.flush()?;
        let content = self.content()?;
        // Present: asked above, and nothing has changed it since.
        let Some(envelope) = self.envelope.take() else {
            return Ok(Next::Close);
        };
        let refusal = self.examine(&content);
        let reply = refusal.clone().unwrap_or_else(|| "250 2.0.0 OK queued".into());
        let now = Instant::now();
        {
            let mut state = self.shared.state.lock();
            for recipient in &envelope.recipients {
                state.tally.record(answer(now, recipient, Stage::Message, &reply));
            }
            if refusal.is_none() {
                let host = state.script.host.clone();
                state.messages.push(Message {
                    at: now,
                    sender: envelope.sender,
                    recipients: envelope.recipients,
                    content,
                    host,
                });
            }
        }
        self.shared.changed.notify_all();
        self.reply(&reply)?;
        Ok(Next::Go)
    }

    /// The refusal that the content earns, if any.
    fn examine(&self, content: &[u8]) -> Option<String> {
        let state = self.shared.state.lock();
        let script = &state.script;
        if content.len() > script.max_size {
            return Some(script.too_large());
        }
        if script.unauthenticated {
            return Some(script.not_authenticated());
        }
        let spam = script
            .spam
            .as_ref()
            .map(|text| text.as_bytes())
            .filter(|text| !text.is_empty())?;
        content
            .windows(spam.len())
            .any(|window| window == spam)
            .then(|| script.spam_refused())
    }

    /// Reads up to the final dot and takes the doubled ones away (RFC 5321 §4.5.2).
    fn content(&mut self) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        loop {
            let mut line = Vec::new();
            if self.reader.read_until(b'\n', &mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if line == b".\r\n" {
                return Ok(content);
            }
            content.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
        }
    }

    /// Counts an answer and wakes who waits for it.
    fn decide(&self, recipient: &str, stage: Stage, reply: &str) {
        let answer = answer(Instant::now(), recipient, stage, reply);
        self.shared.state.lock().tally.record(answer);
        self.shared.changed.notify_all();
    }

    /// The next command line, without its end; `None` when the client has hung up.
    fn line(&mut self) -> io::Result<Option<String>> {
        if self.reader.buffer().is_empty() {
            self.flush()?;
        }
        let mut line = Vec::new();
        (&mut self.reader).take(LINE).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(None);
        }
        Ok(Some(String::from_utf8_lossy(&line).trim_end().to_owned()))
    }

    fn reply(&mut self, reply: &str) -> io::Result<()> {
        for line in reply.split('\n') {
            write!(self.waiting, "{line}\r\n")?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.reader.get_mut().write_all(&self.waiting)?;
        self.waiting.clear();
        Ok(())
    }
}

fn answer(at: Instant, recipient: &str, stage: Stage, reply: &str) -> Answer {
    Answer {
        at,
        recipient: recipient.to_lowercase(),
        stage,
        code: reply
            .get(..3)
            .and_then(|digits| digits.parse().ok())
            .unwrap_or_default(),
        reply: reply.to_owned(),
    }
}

/// The address between the angle brackets, and the parameters after them. A quoted local part may
/// contain a bracket, so quotes are minded.
fn path<'a>(rest: &'a str, keyword: &str) -> Option<(&'a str, &'a str)> {
    let start = rest
        .get(..keyword.len())
        .filter(|k| k.eq_ignore_ascii_case(keyword))?;
    let inner = rest[start.len()..].trim_start().strip_prefix('<')?;
    let (mut quoted, mut escaped) = (false, false);
    for (at, character) in inner.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '>' if !quoted => return Some((&inner[..at], inner[at + 1..].trim())),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_with_their_quotes() {
        let table = [
            ("FROM:<a@b> SIZE=3", "FROM:", Some(("a@b", "SIZE=3"))),
            ("from:<>", "FROM:", Some(("", ""))),
            ("TO:<\"a>b\"@c>", "TO:", Some(("\"a>b\"@c", ""))),
            ("TO:<\"a\\\">b\"@c> X", "TO:", Some(("\"a\\\">b\"@c", "X"))),
            ("TO:a@b", "TO:", None),
            ("TO:<a@b", "TO:", None),
            ("", "TO:", None),
        ];
        for (rest, keyword, expected) in table {
            assert_eq!(path(rest, keyword), expected, "{rest}");
        }
    }
}
