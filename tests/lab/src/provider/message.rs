//! A message that a provider took, and the notification (RFC 3464) with which it may take that back.

use std::time::Instant;

/// A message that was taken with a 250.
#[derive(Debug, Clone)]
pub struct Message {
    /// When.
    pub at: Instant,
    /// The envelope sender; empty for a notification.
    pub sender: String,
    /// The envelope recipients, as written.
    pub recipients: Vec<String>,
    /// Header and body, as sent: lines end in CRLF.
    pub content: Vec<u8>,
    /// Who took it.
    pub host: String,
}

impl Message {
    /// The delivery status notification for one recipient: to be sent from `<>` to [`Self::sender`].
    /// `status` is the enhanced status (`5.1.1`), `reply` the reply that the next server is said to
    /// have given (`550 5.1.1 no such user`).
    #[must_use]
    pub fn bounce(&self, recipient: &str, status: &str, reply: &str) -> Vec<u8> {
        let boundary = "=_lab_report_boundary";
        let host = &self.host;
        let mut text = format!(
            "From: Mail Delivery Subsystem <mailer-daemon@{host}>\r\n\
             To: {sender}\r\n\
             Subject: Delivery Status Notification (Failure)\r\n\
             Auto-Submitted: auto-replied\r\n\
             MIME-Version: 1.0\r\n\
             Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"{boundary}\"\r\n\
             \r\n\
             --{boundary}\r\n\
             Content-Type: text/plain; charset=utf-8\r\n\
             \r\n\
             Your message to {recipient} could not be delivered:\r\n\
             {reply}\r\n\
             \r\n\
             --{boundary}\r\n\
             Content-Type: message/delivery-status\r\n\
             \r\n\
             Reporting-MTA: dns; {host}\r\n\
             \r\n\
             Final-Recipient: rfc822; {recipient}\r\n\
             Action: failed\r\n\
             Status: {status}\r\n\
             Diagnostic-Code: smtp; {reply}\r\n\
             \r\n\
             --{boundary}\r\n\
             Content-Type: text/rfc822-headers\r\n\
             \r\n",
            sender = self.sender,
        )
        .into_bytes();
        text.extend_from_slice(self.header());
        text.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        text
    }

    /// The value of the first header field of that name, unfolded; `None` where there is none.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<String> {
        let header = String::from_utf8_lossy(self.header())
            .replace("\r\n ", " ")
            .replace("\r\n\t", " ");
        header.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    }

    /// The header with its last line's end, without the empty line.
    fn header(&self) -> &[u8] {
        let end = self.content.windows(4).position(|four| four == b"\r\n\r\n");
        &self.content[..end.map_or(self.content.len(), |at| at + 2)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bounce_returns_the_header_and_names_the_recipient() {
        let message = Message {
            at: Instant::now(),
            sender: "bounces+7@bounces.example".into(),
            recipients: vec!["bob@gmail.example".into()],
            content: b"Message-ID: <1@x>\r\nSubject: a\r\n\tb\r\n\r\nbody\r\n".to_vec(),
            host: "mx.example".into(),
        };
        assert_eq!(message.field("message-id").as_deref(), Some("<1@x>"));
        assert_eq!(message.field("SUBJECT").as_deref(), Some("a b"));
        let bounce = message.bounce("bob@gmail.example", "5.1.1", "550 5.1.1 gone");
        let text = String::from_utf8(bounce).unwrap();
        for part in [
            "Final-Recipient: rfc822; bob@gmail.example\r\n",
            "Status: 5.1.1\r\n",
            "<1@x>",
        ] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
        assert!(!text.contains("body"), "the body is not returned: {text}");
    }
}
