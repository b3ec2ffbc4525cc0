//! Amazon SES notifications: JSON as the body of a mail, bare or within an SNS notification
//! (docs.aws.amazon.com/ses, "Amazon SNS notification contents" and "event data").
//!
//! A bounce, a late delivery, a delivery or a complaint (`notificationType`, or `eventType` of event
//! publishing). Any other event (`Send`, `Open`, `Click`, `Reject`) is none of ours. Mail systems break long
//! lines (Sendmail with `!` and a line end); what was broken is mended. What is not JSON of this shape is
//! declined.

use super::{block, phrase};
use crate::mail::address::Address;
use crate::mail::arf::FeedbackReport;
use crate::mail::dsn::{Action, Diagnostic, Recipient, Report};
use crate::mail::letter::Letter;
use serde::Deserialize;
use serde_json::Value;

/// The name of the format.
pub const NAME: &str = "amazon-ses";

/// What a notification says.
#[derive(Debug, Clone, PartialEq)]
pub struct Notification {
    /// What became of the mail, or who complained of it.
    pub content: Content,
    /// The Message-ID of the mail, without `<>`, where the header was included.
    pub message_id: Option<String>,
    /// The envelope sender of the mail.
    pub source: Option<String>,
}

/// The two sorts of notifications.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// A bounce, a delay or a delivery.
    Status(Report),
    /// A complaint.
    Complaint(FeedbackReport),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    #[serde(alias = "eventType")]
    notification_type: String,
    bounce: Option<Bounce>,
    complaint: Option<Complaint>,
    delivery: Option<Delivery>,
    delivery_delay: Option<Delay>,
    #[serde(default)]
    mail: Mail,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Bounce {
    bounce_type: String,
    bounce_sub_type: String,
    bounced_recipients: Vec<Bounced>,
    #[serde(rename = "reportingMTA")]
    reporting_mta: Option<String>,
    #[serde(rename = "remoteMtaIp")]
    remote_mta_ip: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Bounced {
    email_address: String,
    status: Option<String>,
    diagnostic_code: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Complaint {
    complained_recipients: Vec<Bounced>,
    user_agent: Option<String>,
    complaint_feedback_type: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Delivery {
    recipients: Vec<String>,
    smtp_response: Option<String>,
    #[serde(rename = "reportingMTA")]
    reporting_mta: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Delay {
    delay_type: String,
    delayed_recipients: Vec<Bounced>,
    #[serde(rename = "reportingMTA")]
    reporting_mta: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Mail {
    timestamp: Option<String>,
    source: Option<String>,
    common_headers: Value,
}

/// Reads a message; `None` where it is no such notification.
#[must_use]
pub fn read(letter: &Letter<'_>) -> Option<Notification> {
    let first = letter.parts().next()?.text_contents()?;
    if !first.trim_start().starts_with('{') {
        return None;
    }
    let mut value = parse(letter.words())?;
    // SNS puts the notification in a string, unless it delivers it raw.
    if let Some(inner) = value.get("Message").and_then(Value::as_str) {
        value = parse(inner)?;
    }
    // EventBridge puts it one level deeper.
    if let Some(detail) = value.get_mut("detail") {
        value = detail.take();
    }
    let body: Body = serde_json::from_value(value).ok()?;
    let header = body.mail.common_headers.get("messageId");
    let message_id = header.and_then(Value::as_str).map(bare);
    let source = body.mail.source.as_deref().map(bare);
    let content = match &*body.notification_type {
        "Bounce" => Content::Status(body.mail.report(bounce(body.bounce?))),
        "Delivery" => Content::Status(body.mail.report(delivery(body.delivery?))),
        "DeliveryDelay" => Content::Status(body.mail.report(delay(body.delivery_delay?))),
        "Complaint" => Content::Complaint(complaint(body.complaint?, source.clone())),
        _ => return None,
    };
    Some(Notification {
        content,
        message_id,
        source,
    })
}

/// The first JSON value of a text; what follows it (SNS adds how to unsubscribe) does not matter.
fn parse(text: &str) -> Option<Value> {
    let first = |text: &str| {
        let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
        values.next()?.ok()
    };
    first(text).or_else(|| {
        // A bare line end within a string is no JSON: a mail system has broken the line.
        let mended = text.replace("!\n ", "").replace('\n', "");
        first(&mended)
    })
}

impl Mail {
    fn report(&self, report: Report) -> Report {
        let arrival = self.timestamp.as_deref();
        Report {
            arrival_date: arrival.and_then(|t| t.parse().ok()),
            ..report
        }
    }
}

fn bounce(bounce: Bounce) -> Report {
    let said = |recipient: &Bounced| {
        let given = recipient.diagnostic_code.clone();
        given.unwrap_or_else(|| sub_type(&bounce.bounce_sub_type).to_owned())
    };
    let recipients = bounce.bounced_recipients.iter();
    let recipients = recipients.filter_map(|bounced| {
        let recipient = status(bounced, &said(bounced), Action::Failed)?;
        Some(Recipient {
            remote_mta: bounce.remote_mta_ip.clone(),
            ..recipient
        })
    });
    Report {
        recipients: recipients.collect(),
        extensions: vec![("Bounce-Type".to_owned(), bounce.bounce_type.clone())],
        reporting_mta: bounce.reporting_mta.as_deref().and_then(mta),
        ..Report::default()
    }
}

fn delay(delay: Delay) -> Report {
    let recipients = delay.delayed_recipients.iter().filter_map(|delayed| {
        let said = delayed.diagnostic_code.as_deref();
        status(
            delayed,
            said.unwrap_or(sub_type(&delay.delay_type)),
            Action::Delayed,
        )
    });
    Report {
        recipients: recipients.collect(),
        reporting_mta: delay.reporting_mta.as_deref().and_then(mta),
        ..Report::default()
    }
}

fn delivery(delivery: Delivery) -> Report {
    let said = delivery.smtp_response.unwrap_or_default();
    let recipients = delivery.recipients.iter().filter_map(|recipient| {
        Some(Recipient {
            action: Some(Action::Delivered),
            ..block::failed(Address::parse(recipient).ok()?, &said)
        })
    });
    Report {
        recipients: recipients.collect(),
        reporting_mta: delivery.reporting_mta.as_deref().and_then(mta),
        ..Report::default()
    }
}

fn status(bounced: &Bounced, said: &str, action: Action) -> Option<Recipient> {
    let address = block::address(&bounced.email_address)?;
    let given = bounced.status.as_deref().and_then(|s| s.trim().parse().ok());
    let diagnostic = Diagnostic::parse(said.trim());
    let mut recipient = Recipient {
        action: Some(action),
        diagnostic: (!diagnostic.text.is_empty()).then_some(diagnostic.clone()),
        ..block::failed(address, &diagnostic.text)
    };
    recipient.status = given.or(recipient.status);
    phrase::peel_recipient(&mut recipient);
    Some(recipient)
}

/// What the kinds of bounces and delays mean, where no server's words are given.
fn sub_type(name: &str) -> &'static str {
    match name {
        "NoEmail" => "Recipient address does not exist",
        "Suppressed" => "Amazon SES has suppressed sending to this address",
        "OnAccountSuppressionList" => "Address is on the account's suppression list",
        "MailboxFull" => "Mailbox full",
        "MessageTooLarge" => "Message too large",
        "ContentRejected" => "Message content rejected",
        "AttachmentRejected" => "Message attachment rejected",
        "InternalFailure" => "Internal error at Amazon SES",
        "IPFailure" => "The sending IP address has been blocked",
        "RecipientServerError" => "Temporary error of the recipient's server",
        "SamplingNotAllowed" | "SpamDetected" => "Message detected as spam",
        "TransientCommunicationFailure" => "Connection timed out",
        _ => "",
    }
}

fn complaint(complaint: Complaint, source: Option<String>) -> FeedbackReport {
    // With several, SES tells who *may* have complained: all recipients at the provider. It was one of them,
    // and none may be silenced by a guess.
    let recipients = match &*complaint.complained_recipients {
        [one] => std::slice::from_ref(one),
        _ => &[],
    };
    FeedbackReport {
        feedback_type: match complaint.complaint_feedback_type.as_deref() {
            // Many mailbox providers name no type; what they forward is a recipient's complaint.
            Some("abuse") | None => "abuse",
            Some("auth-failure") => "auth-failure",
            Some("fraud") => "fraud",
            Some("not-spam") => "not-spam",
            Some("virus") => "virus",
            Some(_) => "other",
        },
        recipients: recipients
            .iter()
            .map(|r| {
                block::address(&r.email_address).map_or_else(|| r.email_address.clone(), |a| a.to_string())
            })
            .collect(),
        mail_from: source,
        incidents: 1,
        reporter: complaint.user_agent.or_else(|| Some("Amazon SES".to_owned())),
        ..FeedbackReport::default()
    }
}

fn mta(name: &str) -> Option<String> {
    let name = name.rsplit(';').next()?.trim().to_ascii_lowercase();
    (!name.is_empty()).then_some(name)
}

fn bare(id: &str) -> String {
    let id = id.trim().trim_start_matches('<').trim_end_matches('>');
    crate::mail::field::clean(id.as_bytes()).into_owned()
}
