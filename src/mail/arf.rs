//! Complaints: the machine-readable part of an abuse report, `message/feedback-report` (RFC 5965).
//!
//! The grammar is `mail_auth`'s; this file takes from it what concerns a sender of bulk mail. What is
//! missing stays `None`: providers redact as they like.

use super::dsn::clean;
use mail_auth::report::{Feedback, FeedbackType};
use std::net::IpAddr;

/// What one complaint says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedbackReport {
    /// The kind of feedback, in RFC 5965's words (`abuse`, `fraud`, `not-spam` …).
    pub feedback_type: &'static str,
    /// The recipients who complained (`Original-Rcpt-To`), in the reporter's spelling.
    pub recipients: Vec<String>,
    /// The envelope sender of the mail complained of (`Original-Mail-From`).
    pub mail_from: Option<String>,
    /// Its envelope id (`Original-Envelope-Id`).
    pub envelope_id: Option<String>,
    /// The address that it came from (`Source-IP`).
    pub source_ip: Option<IpAddr>,
    /// Who reports (`Reporting-MTA`, else `User-Agent`).
    pub reporter: Option<String>,
}

impl FeedbackReport {
    /// Whether it tells that a recipient does not want the mail. `not-spam` is praise, and
    /// `auth-failure` (RFC 6591) is about forgeries.
    #[must_use]
    pub fn is_complaint(&self) -> bool {
        matches!(self.feedback_type, "abuse" | "fraud" | "virus" | "other")
    }
}

/// Reads the content of a feedback-report part; `None` where it names no feedback type that we know.
#[must_use]
pub fn parse(part: &[u8]) -> Option<FeedbackReport> {
    let feedback = Feedback::parse_arf(part)?;
    let text = |value: Option<&str>| value.map(bare).filter(|v| !v.is_empty());
    Some(FeedbackReport {
        feedback_type: match feedback.feedback_type() {
            FeedbackType::Abuse => "abuse",
            FeedbackType::AuthFailure => "auth-failure",
            FeedbackType::Fraud => "fraud",
            FeedbackType::NotSpam => "not-spam",
            FeedbackType::Other => "other",
            FeedbackType::Virus => "virus",
        },
        recipients: text(feedback.original_rcpt_to()).into_iter().collect(),
        mail_from: text(feedback.original_mail_from()),
        envelope_id: text(feedback.original_envelope_id()),
        source_ip: feedback.source_ip(),
        reporter: text(feedback.reporting_mta()).or_else(|| text(feedback.user_agent())),
    })
}

fn bare(value: &str) -> String {
    let value = value.trim();
    let inner = value.strip_prefix('<').and_then(|v| v.strip_suffix('>'));
    clean(inner.unwrap_or(value).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PART: &[u8] = b"Feedback-Type: Abuse\r\nUser-Agent: SomeGenerator/1.0\r\nVersion: 1\r\n\
        Original-Mail-From: <bounce+1@app.test>\r\nOriginal-Rcpt-To: <ann@example.test>\r\n\
        Reporting-MTA: dns; mail.example.test\r\nSource-IP: 192.0.2.1\r\n";

    #[test]
    fn reads_who_complained_of_what() {
        let report = parse(PART).unwrap();
        assert!(report.is_complaint());
        assert_eq!(report.recipients, ["ann@example.test"]);
        assert_eq!(report.mail_from.as_deref(), Some("bounce+1@app.test"));
        assert_eq!(report.source_ip, Some("192.0.2.1".parse().unwrap()));
    }

    #[test]
    fn praise_and_forgeries_are_no_complaints() {
        for kind in ["not-spam", "auth-failure"] {
            let text = format!("Feedback-Type: {kind}\nVersion: 1\nUser-Agent: x\n");
            assert!(!parse(text.as_bytes()).unwrap().is_complaint(), "{kind}");
        }
        assert_eq!(parse(b"Version: 1\n"), None);
    }
}
