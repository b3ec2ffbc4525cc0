//! Complaints: the machine-readable part of an abuse report, `message/feedback-report` (RFC 5965), and the
//! form without one in which Hotmail (JMRP) sends them.
//!
//! Fields may repeat, several `Original-Rcpt-To` above all, and what is missing stays `None`: providers redact
//! as they like. A type of feedback that nobody has registered is a complaint like `other`.

use super::dsn::date;
use super::field::{clean, fields};
use super::letter::Letter;
use super::message::Returned;
use jiff::Timestamp;
use std::net::IpAddr;

/// The most recipients that one complaint is read for.
const MAX_RECIPIENTS: usize = 1000;

/// What one complaint says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FeedbackReport {
    /// The kind of feedback, in RFC 5965's words (`abuse`, `fraud`, `not-spam` …).
    pub feedback_type: &'static str,
    /// The recipients who complained (`Original-Rcpt-To`, `Removal-Recipient`), in the reporter's spelling.
    pub recipients: Vec<String>,
    /// The envelope sender of the mail complained of (`Original-Mail-From`).
    pub mail_from: Option<String>,
    /// Its envelope id (`Original-Envelope-Id`).
    pub envelope_id: Option<String>,
    /// The address that it came from (`Source-IP`).
    pub source_ip: Option<IpAddr>,
    /// When it arrived (`Arrival-Date`, or `Received-Date`).
    pub arrival_date: Option<Timestamp>,
    /// How many mails this is about (`Incidents`, RFC 5965 §3.2); one where nothing is said.
    pub incidents: u32,
    /// What failed to authenticate (`Auth-Failure`, RFC 6591; else `Authentication-Results`).
    pub detail: Option<String>,
    /// Who reports (`Reporting-MTA`, else `User-Agent`).
    pub reporter: Option<String>,
}

impl FeedbackReport {
    /// Whether it tells that a recipient does not want the mail. `not-spam` is praise, and
    /// `auth-failure` (RFC 6591) is about forgeries.
    #[must_use]
    pub fn is_complaint(&self) -> bool {
        matches!(
            self.feedback_type,
            "abuse" | "fraud" | "virus" | "opt-out" | "other"
        )
    }

    /// Whether it tells that mail failed to authenticate (RFC 6591), and nothing of what its recipient wants.
    #[must_use]
    pub fn is_auth_failure(&self) -> bool {
        self.feedback_type == "auth-failure"
    }
}

/// Reads the content of a feedback-report part; `None` where it names no feedback type.
#[must_use]
pub fn parse(part: &[u8]) -> Option<FeedbackReport> {
    let mut report = FeedbackReport {
        incidents: 1,
        ..FeedbackReport::default()
    };
    let mut agent = None;
    for (name, value) in fields(part) {
        let text = || Some(bare(&value)).filter(|text| !text.is_empty());
        match name.to_ascii_lowercase().as_str() {
            "feedback-type" if report.feedback_type.is_empty() => {
                report.feedback_type = feedback_type(&value)?
            }
            "original-rcpt-to" | "removal-recipient" | "original-recipient" => {
                report.add(text());
            }
            "original-mail-from" => report.mail_from = report.mail_from.or_else(text),
            "original-envelope-id" => report.envelope_id = report.envelope_id.or_else(text),
            "source-ip" | "source" => report.source_ip = report.source_ip.or_else(|| ip(&value)),
            "arrival-date" | "received-date" => {
                report.arrival_date = report.arrival_date.or_else(|| date(&value))
            }
            "incidents" => report.incidents = value.trim().parse().unwrap_or(1),
            "auth-failure" => report.detail = text(),
            "authentication-results" => report.detail = report.detail.or_else(text),
            "reporting-mta" => report.reporter = report.reporter.or_else(text),
            "user-agent" => agent = agent.or_else(text),
            _ => {}
        }
    }
    report.reporter = report.reporter.or(agent);
    (!report.feedback_type.is_empty()).then_some(report)
}

/// Reads a complaint that has no such part: Hotmail's, whose subject names the server that the mail came from,
/// and which returns the mail with the recipient in a field of its own. `None` where it is none.
#[must_use]
pub fn in_words(letter: &Letter<'_>, returned: Option<&Returned>) -> Option<FeedbackReport> {
    let (_, source) = letter
        .subject()
        .trim()
        .split_once("complaint about message from")?;
    let returned = returned?;
    Some(FeedbackReport {
        feedback_type: "abuse",
        recipients: returned.complainant.iter().map(|r| bare(r)).collect(),
        source_ip: ip(source),
        mail_from: returned.return_path.clone(),
        reporter: Some(letter.sender().to_owned()),
        incidents: 1,
        ..FeedbackReport::default()
    })
}

impl FeedbackReport {
    /// Adds recipients: the field repeats, or holds several between commas. None is added twice, since
    /// providers name the same one in several fields.
    fn add(&mut self, value: Option<String>) {
        let Some(value) = value else {
            return;
        };
        for recipient in value.split(',').map(bare).filter(|r| r.contains('@')) {
            let known = |r: &String| r.eq_ignore_ascii_case(&recipient);
            if self.recipients.len() < MAX_RECIPIENTS && !self.recipients.iter().any(known) {
                self.recipients.push(recipient);
            }
        }
    }
}

/// The kind of feedback in our own words; `None` where the field is empty.
fn feedback_type(value: &str) -> Option<&'static str> {
    const TYPES: [(&str, &str); 9] = [
        ("abuse", "abuse"),
        ("fraud", "fraud"),
        ("virus", "virus"),
        ("not-spam", "not-spam"),
        ("auth-failure", "auth-failure"),
        ("dmarc", "auth-failure"),
        ("opt-out-list", "opt-out"),
        ("opt-out", "opt-out"),
        ("unsubscribe", "opt-out"),
    ];
    let word = value.split([' ', ';', '(']).find(|word| !word.is_empty())?;
    let known = TYPES.iter().find(|(name, _)| word.eq_ignore_ascii_case(name));
    Some(known.map_or("other", |&(_, kind)| kind))
}

fn ip(value: &str) -> Option<IpAddr> {
    let value = value.split_whitespace().next()?;
    let value = value.trim_matches(['[', ']']);
    value.strip_prefix("IPv6:").unwrap_or(value).parse().ok()
}

fn bare(value: &str) -> String {
    let value = value.trim();
    let value = match value.get(..7) {
        Some(kind) if kind.eq_ignore_ascii_case("rfc822;") => value[7..].trim(),
        _ => value,
    };
    let inner = value.strip_prefix('<').and_then(|v| v.strip_suffix('>'));
    clean(inner.unwrap_or(value).as_bytes()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PART: &[u8] = b"Feedback-Type: Abuse\r\nUser-Agent: SomeGenerator/1.0\r\nVersion: 1\r\n\
        Original-Mail-From: <bounce+1@app.test>\r\nOriginal-Rcpt-To: <ann@example.test>\r\n\
        Reporting-MTA: dns; mail.example.test\r\nSource-IP: 192.0.2.1\r\n\
        Arrival-Date: Sat, 21 Nov 2026 10:00:00 +0000\r\n";

    #[test]
    fn reads_who_complained_of_what() {
        let report = parse(PART).unwrap();
        assert!(report.is_complaint());
        assert_eq!(report.recipients, ["ann@example.test"]);
        assert_eq!(report.mail_from.as_deref(), Some("bounce+1@app.test"));
        assert_eq!(report.source_ip, Some("192.0.2.1".parse().unwrap()));
        assert_eq!(report.reporter.as_deref(), Some("dns; mail.example.test"));
        assert_eq!(report.arrival_date, "2026-11-21T10:00:00Z".parse().ok());
    }

    #[test]
    fn all_recipients_are_read_once_each() {
        let part =
            b"Feedback-Type: opt-out\nOriginal-Rcpt-To: a@x.test\nOriginal-Rcpt-To: <b@x.test>, c@x.test\n\
            Removal-Recipient: rfc822; A@x.test\nSource-IP: [IPv6:2001:db8::1]\nIncidents: 3\n";
        let report = parse(part).unwrap();
        assert_eq!(report.recipients, ["a@x.test", "b@x.test", "c@x.test"]);
        assert_eq!((report.feedback_type, report.incidents), ("opt-out", 3));
        assert_eq!(report.source_ip, "2001:db8::1".parse().ok());
    }

    #[test]
    fn praise_and_forgeries_are_no_complaints() {
        for (kind, complaint) in [
            ("not-spam", false),
            ("auth-failure", false),
            ("x-new", true),
            ("Virus", true),
        ] {
            let text = format!("Feedback-Type: {kind}\nVersion: 1\nUser-Agent: x\n");
            assert_eq!(
                parse(text.as_bytes()).unwrap().is_complaint(),
                complaint,
                "{kind}"
            );
        }
        assert_eq!(parse(b"Version: 1\n"), None);
        assert_eq!(parse(b"Feedback-Type:\n"), None);
    }
}
