//! Handing mail to Postfix: notices of our own, and bounces that are passed on to whom they were meant for (RFC 5321,
//! by the `lettre` crate).
//!
//! The server is one that we trust and that trusts us, on loopback as a rule: nothing is encrypted, and nobody logs in.
//! What is sent has the null sender (RFC 5321 §4.5.5): nobody answers it. On failure whoever sends is told whether
//! trying again can help; nothing is kept here.

use lettre::address::{Address, Envelope};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

/// How long one mail may take.
const TIME: Duration = Duration::from_secs(30);

/// The way to Postfix; cheap to clone.
#[derive(Debug, Clone)]
pub struct Submitter {
    transport: AsyncSmtpTransport<Tokio1Executor>,
}

/// Why a mail was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// Its recipient cannot be mailed at all.
    #[error("expected an address that mail can be sent to, found {0:?}")]
    Recipient(String),
    /// Refused for good.
    #[error("refused: {0}")]
    Refused(String),
    /// Not now.
    #[error("not taken for now: {0}")]
    NotNow(String),
}

impl Submitter {
    /// A way to this server, whom we greet by the name of `host`.
    #[must_use]
    pub fn new(server: SocketAddr, host: &str) -> Self {
        let transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(server.ip().to_string())
            .port(server.port())
            .hello_name(ClientId::Domain(host.to_owned()))
            .timeout(Some(TIME))
            .build();
        Self { transport }
    }

    /// Sends a message from nobody to one recipient.
    ///
    /// # Errors
    /// [`SubmitError`].
    pub async fn send(&self, recipient: &str, message: &[u8]) -> Result<(), SubmitError> {
        let address =
            Address::from_str(recipient).map_err(|_| SubmitError::Recipient(recipient.to_owned()))?;
        let envelope =
            Envelope::new(None, vec![address]).map_err(|_| SubmitError::Recipient(recipient.to_owned()))?;
        // The client ends the last line itself.
        let message = message.strip_suffix(b"\n").unwrap_or(message);
        let message = message.strip_suffix(b"\r").unwrap_or(message);
        let sent = tokio::time::timeout(TIME, self.transport.send_raw(&envelope, message)).await;
        match sent {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) if error.is_permanent() => Err(SubmitError::Refused(error.to_string())),
            Ok(Err(error)) => Err(SubmitError::NotNow(error.to_string())),
            Err(_) => Err(SubmitError::NotNow(format!("no answer within {TIME:?}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
    use tokio::net::TcpListener;

    /// A server that answers RCPT so; what it was told, once the client has gone.
    async fn server(rcpt: &'static str) -> (SocketAddr, tokio::task::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let told = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = BufReader::new(stream);
            stream.write_all(b"220 mx.test\r\n").await.unwrap();
            let (mut told, mut in_data) = (Vec::new(), false);
            let mut line = String::new();
            while stream.read_line(&mut line).await.unwrap() > 0 {
                let said = line.trim_end().to_owned();
                line.clear();
                let answer = match (in_data, said.get(..4)) {
                    (true, _) if said != "." => None,
                    (true, _) => Some("250 taken"),
                    (_, Some("RCPT")) => Some(rcpt),
                    (_, Some("DATA")) => Some("354 go on"),
                    _ => Some("250 well"),
                };
                in_data = in_data && said != "." || said == "DATA";
                told.push(said);
                if let Some(answer) = answer {
                    stream
                        .write_all(format!("{answer}\r\n").as_bytes())
                        .await
                        .unwrap();
                }
            }
            told
        });
        (at, told)
    }

    #[tokio::test]
    async fn a_message_is_sent_from_nobody() {
        let (at, told) = server("250 well").await;
        let message = b"Subject: x\r\n\r\n.dotted\r\n";
        Submitter::new(at, "mail.example.org")
            .send("app@example.org", message)
            .await
            .unwrap();
        let told = told.await.unwrap();
        for line in [
            "EHLO mail.example.org",
            "MAIL FROM:<>",
            "RCPT TO:<app@example.org>",
            "..dotted",
        ] {
            assert!(told.iter().any(|said| said.starts_with(line)), "{line}: {told:?}");
        }
    }

    #[tokio::test]
    async fn failures_tell_whether_trying_again_can_help() {
        let (at, _told) = server("550 5.1.1 nobody").await;
        let submitter = Submitter::new(at, "mail.example.org");
        let error = submitter.send("app@example.org", b"x").await.unwrap_err();
        assert!(
            matches!(&error, SubmitError::Refused(text) if text.contains("nobody")),
            "{error}"
        );
        let (at, _told) = server("451 4.3.0 later").await;
        let error = Submitter::new(at, "a")
            .send("app@example.org", b"x")
            .await
            .unwrap_err();
        assert!(matches!(error, SubmitError::NotNow(_)), "{error}");
        let free = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap();
        let error = Submitter::new(free, "a")
            .send("app@example.org", b"x")
            .await
            .unwrap_err();
        assert!(matches!(error, SubmitError::NotNow(_)), "{error}");
        let error = submitter.send("nobody at all", b"x").await.unwrap_err();
        assert!(matches!(error, SubmitError::Recipient(_)), "{error}");
    }
}
