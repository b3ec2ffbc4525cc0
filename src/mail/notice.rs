//! A notice of our own to whoever handed mail in with `sendmail(1)`: recipients whom we took out of it (RFC 3464 within
//! `multipart/report`, RFC 6522; `message/global-delivery-status` where an address goes beyond ASCII, RFC 6533).
//!
//! It answers nobody's bounce: its sender is the null address, and who has none gets none. Nothing here fails; what is
//! quoted from outside is put on one line, without control characters.

use super::address::Address;
use super::field::clean;
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use mail_builder::MessageBuilder;
use mail_builder::headers::content_type::ContentType;
use mail_builder::headers::raw::Raw;
use mail_builder::mime::{BodyPart, MimePart};
use std::fmt::Write as _;

/// The most of the original's header that is returned, in octets.
const MAX_HEADER: usize = 16 * 1024;

/// What a notice says.
#[derive(Debug, Clone, Copy)]
pub struct Notice<'a> {
    /// The host that writes it.
    pub host: &'a str,
    /// Whom it is for: the envelope sender of the mail.
    pub sender: &'a Address,
    /// The mail's queue id.
    pub queue_id: &'a str,
    /// The recipients taken out, and why.
    pub recipients: &'a [(Address, String)],
    /// The mail's header, as it came.
    pub header: &'a [u8],
    /// When.
    pub at: Timestamp,
}

impl Notice<'_> {
    /// The whole message, with CRLF.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let header = &self.header[..self.header.len().min(MAX_HEADER)];
        let status = match self.is_ascii() {
            true => "message/delivery-status",
            false => "message/global-delivery-status",
        };
        let returned = match header.is_ascii() {
            true => "text/rfc822-headers",
            false => "message/global-headers",
        };
        let status = MimePart::new(ContentType::new(status), BodyPart::Text(self.status().into()))
            .transfer_encoding(if self.is_ascii() { "7bit" } else { "8bit" });
        let returned = MimePart::new(
            ContentType::new(returned),
            BodyPart::Text(String::from_utf8_lossy(header).into_owned().into()),
        )
        .transfer_encoding(if header.is_ascii() { "7bit" } else { "8bit" });
        let words = MimePart::new("text/plain", BodyPart::Text(self.words().into()));
        let report = ContentType::new("multipart/report").attribute("report-type", "delivery-status");
        let message = MessageBuilder::new()
            .message_id(self.message_id())
            .header("Date", Raw::new(date(self.at)))
            .header(
                "From",
                Raw::new(format!("MAILER-DAEMON@{} (Nixie)", one_line(self.host))),
            )
            .header("To", Raw::new(format!("<{}>", self.sender)))
            .subject("Undelivered Mail Returned to Sender")
            .header("Auto-Submitted", Raw::new("auto-replied"))
            .body(MimePart::new(
                report,
                BodyPart::Multipart(vec![words, status, returned]),
            ));
        // Writing to memory cannot fail.
        message.write_to_vec().unwrap_or_default()
    }

    /// The same mail gives the same notice, however often it is written.
    fn message_id(&self) -> String {
        let second = self.at.as_second();
        format!(
            "nixie.{}.{second}@{}",
            one_line(self.queue_id),
            one_line(self.host)
        )
    }

    fn is_ascii(&self) -> bool {
        self.recipients
            .iter()
            .all(|(address, _)| address.to_string().is_ascii())
    }

    fn words(&self) -> String {
        let mut text = String::from(
            "This is Nixie, which looks after the mail that this machine sends.\n\n\
             Your message was not sent to the recipients below: mail to them fails, or they do not want it. All other \
             recipients get it.\n",
        );
        for (address, why) in self.recipients {
            let _ = write!(text, "\n<{address}>: {}\n", one_line(why));
        }
        text
    }

    fn status(&self) -> String {
        let kind = if self.is_ascii() { "rfc822" } else { "utf-8" };
        let mut text = format!(
            "Reporting-MTA: dns; {}\nX-Nixie-Queue-ID: {}\nArrival-Date: {}\n",
            one_line(self.host),
            one_line(self.queue_id),
            date(self.at),
        );
        for (address, why) in self.recipients {
            let why = one_line(why);
            let _ = write!(
                text,
                "\nFinal-Recipient: {kind}; {address}\nAction: failed\nStatus: 5.1.1\nDiagnostic-Code: x-nixie; {why}\n"
            );
        }
        text
    }
}

fn date(at: Timestamp) -> String {
    // Only years beyond 9999 cannot be written.
    rfc2822::to_string(&at.to_zoned(jiff::tz::TimeZone::UTC)).unwrap_or_default()
}

fn one_line(text: &str) -> String {
    clean(text.as_bytes())
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::dsn::Action;
    use crate::mail::message::{self, Kind};

    fn encoded(recipients: &[&str], header: &str) -> String {
        let recipients: Vec<(Address, String)> = recipients
            .iter()
            .map(|address| {
                (
                    Address::parse(address).unwrap(),
                    "suppressed: user_unknown\r\n (NX-7)".into(),
                )
            })
            .collect();
        let notice = Notice {
            host: "mail.example.org",
            sender: &Address::parse("app@example.org").unwrap(),
            queue_id: "4QXyz",
            recipients: &recipients,
            header: header.as_bytes(),
            at: Timestamp::from_second(1_790_000_000).unwrap(),
        };
        String::from_utf8(notice.encode()).unwrap()
    }

    /// What we write, we read: the recipients, what became of them and of which message.
    #[test]
    fn a_notice_is_a_delivery_status_notification() {
        let header = "Message-ID: <1@app.example.org>\r\nSubject: Hello\r\n";
        let text = encoded(&["dead@example.net", "gone@example.com"], header);
        let reading = message::read(text.as_bytes());
        assert_eq!(
            (reading.kind, reading.format),
            (Kind::Bounce, Some("rfc3464")),
            "{text}"
        );
        let report = reading.report.unwrap();
        assert_eq!(report.reporting_mta.as_deref(), Some("mail.example.org"));
        let told: Vec<(String, Option<Action>, String)> = report
            .recipients
            .iter()
            .map(|recipient| {
                let address = recipient.final_recipient.as_ref().map(ToString::to_string);
                let diagnostic = recipient.diagnostic.as_ref().map(|d| d.text.clone());
                (
                    address.unwrap_or_default(),
                    recipient.action,
                    diagnostic.unwrap_or_default(),
                )
            })
            .collect();
        let said = "suppressed: user_unknown (NX-7)".to_owned();
        assert_eq!(
            told[0],
            ("dead@example.net".into(), Some(Action::Failed), said.clone())
        );
        assert_eq!(told[1], ("gone@example.com".into(), Some(Action::Failed), said));
        let returned = reading.returned.unwrap();
        assert_eq!(returned.message_id.as_deref(), Some("1@app.example.org"));
        for field in [
            "Auto-Submitted: auto-replied",
            "Date: Mon, 21 Sep 2026",
            "To: <app@example.org>",
        ] {
            assert!(text.contains(field), "{field}\n{text}");
        }
    }

    #[test]
    fn addresses_beyond_ascii_are_told_in_utf_8() {
        let text = encoded(&["jürgen@example.net"], "Subject: ä\r\n");
        assert!(text.contains("utf-8; jürgen@example.net"), "{text}");
        let recipients = message::read(text.as_bytes()).report.unwrap().recipients;
        assert_eq!(
            recipients[0].final_recipient.as_ref().unwrap().to_string(),
            "jürgen@example.net"
        );
    }

    #[test]
    fn nothing_from_outside_makes_a_line() {
        let text = encoded(&["dead@example.net"], &format!("X: {}", "y".repeat(40_000)));
        assert!(!text.contains("\n (NX-7)"), "{text}");
        assert!(text.len() < 20_000, "the header is cut");
    }
}
