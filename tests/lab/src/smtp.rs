//! An SMTP client (RFC 5321) that keeps the reply to each recipient. Also speaks LMTP (RFC 2033).
//!
//! On failure (no connection, a time-out, a reply that is none): an error. Refusals are replies.

use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// How long a server may take for one reply.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server's reply: its code and its text, the lines joined by blanks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The three digits.
    pub code: u16,
    /// What follows them.
    pub text: String,
}

impl Reply {
    /// Whether it is a 2xx or 3xx.
    #[must_use]
    pub fn is_positive(&self) -> bool {
        (200..400).contains(&self.code)
    }
}

impl std::fmt::Display for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.code, self.text)
    }
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// The reply to MAIL FROM.
    pub sender: Reply,
    /// The replies to each RCPT TO, in the order of the recipients.
    pub recipients: Vec<Reply>,
    /// The reply after the message: one for SMTP, one an accepted recipient for LMTP; none when no
    /// recipient was accepted.
    pub message: Vec<Reply>,
}

/// Which of the two protocols.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// RFC 5321.
    Smtp,
    /// RFC 2033.
    Lmtp,
}

/// A connection that has said hello.
#[derive(Debug)]
pub struct Client {
    reader: BufReader<TcpStream>,
    protocol: Protocol,
}

impl Client {
    /// Connects and greets.
    ///
    /// # Errors
    /// When the server cannot be reached, or refuses to talk.
    pub fn connect(to: impl ToSocketAddrs, protocol: Protocol) -> Result<Self> {
        let stream = TcpStream::connect(to).context("connecting to the mail server")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let mut client = Self {
            reader: BufReader::new(stream),
            protocol,
        };
        let hello = match protocol {
            Protocol::Smtp => "EHLO client.lab.example",
            Protocol::Lmtp => "LHLO client.lab.example",
        };
        willing(&client.reply()?)?;
        willing(&client.command(hello)?)?;
        Ok(client)
    }

    /// Sends one message. The transaction is ended even when every recipient is refused.
    ///
    /// # Errors
    /// When the connection fails on the way.
    pub fn send(&mut self, sender: &str, recipients: &[&str], content: &[u8]) -> Result<Submission> {
        let international = !sender.is_ascii() || recipients.iter().any(|r| !r.is_ascii());
        let parameter = if international { " SMTPUTF8" } else { "" };
        let mut submission = Submission {
            sender: self.command(&format!("MAIL FROM:<{sender}>{parameter}"))?,
            recipients: Vec::new(),
            message: Vec::new(),
        };
        for recipient in recipients {
            submission
                .recipients
                .push(self.command(&format!("RCPT TO:<{recipient}>"))?);
        }
        let accepted = submission.recipients.iter().filter(|r| r.is_positive()).count();
        if accepted == 0 {
            self.command("RSET")?;
            return Ok(submission);
        }
        let ready = self.command("DATA")?;
        if ready.code != 354 {
            submission.message.push(ready);
            return Ok(submission);
        }
        self.write(&stuffed(content))?;
        let replies = if self.protocol == Protocol::Lmtp {
            accepted
        } else {
            1
        };
        for _ in 0..replies {
            submission.message.push(self.reply()?);
        }
        Ok(submission)
    }

    /// Sends one line and reads its reply.
    ///
    /// # Errors
    /// When the connection fails, or what comes is no reply.
    pub fn command(&mut self, line: &str) -> Result<Reply> {
        self.write(format!("{line}\r\n").as_bytes())?;
        self.reply().with_context(|| format!("after {line:?}"))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.reader.get_mut().write_all(bytes)?)
    }

    fn reply(&mut self) -> Result<Reply> {
        let mut text = String::new();
        loop {
            let mut line = String::new();
            if self.reader.read_line(&mut line)? == 0 {
                bail!("the server hung up");
            }
            let line = line.trim_end();
            let Some(code) = line.get(..3).and_then(|digits| digits.parse().ok()) else {
                bail!("expected a reply, found {line:?}");
            };
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(line.get(4..).unwrap_or_default());
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(Reply { code, text });
            }
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // A courtesy that keeps "lost connection" out of the server's log; nobody waits for the reply.
        let _ = self.write(b"QUIT\r\n");
    }
}

fn willing(reply: &Reply) -> Result<()> {
    if !reply.is_positive() {
        bail!("the server refuses to talk: {reply}");
    }
    Ok(())
}

/// The message as it goes over the wire: lines end in CRLF, dots are doubled (RFC 5321 §4.5.2), and
/// the final dot follows.
fn stuffed(content: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(content.len() + 64);
    let body = content.strip_suffix(b"\n").unwrap_or(content);
    for line in body.split(|&byte| byte == b'\n') {
        if line.first() == Some(&b'.') {
            wire.push(b'.');
        }
        wire.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b".\r\n");
    wire
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_are_doubled_and_lines_end_in_crlf() {
        let table: [(&[u8], &[u8]); 4] = [
            (b"a\n.b\nc\n", b"a\r\n..b\r\nc\r\n.\r\n"),
            (b"a\r\nb", b"a\r\nb\r\n.\r\n"),
            (b".\n", b"..\r\n.\r\n"),
            (b"a\n\n", b"a\r\n\r\n.\r\n"),
        ];
        for (content, wire) in table {
            assert_eq!(stuffed(content), wire, "{:?}", String::from_utf8_lossy(content));
        }
    }
}
