//! Reports as forgers write them, and as mail systems do: both look alike.

use std::sync::atomic::{AtomicU32, Ordering};

/// A delivery status notification (RFC 3464).
#[derive(Clone)]
pub struct Bounce {
    /// The value of `From`.
    pub author: String,
    /// The final recipient.
    pub about: String,
    /// The original recipient, where it names one.
    pub original: Option<String>,
    /// Whom the returned mail was `To`.
    pub returned_to: String,
    /// The returned mail's Message-ID.
    pub returned_id: String,
    /// The returned mail's fields beside these, each with its line end.
    pub returned_more: String,
    /// What the returned mail says.
    pub returned_text: String,
    /// Its own fields beside the usual ones, each with its line end.
    pub more: String,
    /// Who says that it reports.
    pub reporter: String,
}

impl Bounce {
    /// One about somebody at victim.test, of a message that nobody sent.
    pub fn about(about: &str) -> Self {
        Self {
            author: "Mail Delivery System <MAILER-DAEMON@mx.victim.test>".into(),
            about: about.into(),
            original: None,
            returned_to: about.into(),
            returned_id: format!("made-up-{}@app.test", number()),
            returned_more: String::new(),
            returned_text: "hello".into(),
            more: String::new(),
            reporter: "mx.victim.test".into(),
        }
    }

    /// By somebody else.
    pub fn by(mut self, author: &str) -> Self {
        self.author = author.into();
        self
    }

    /// With some change.
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// As octets.
    pub fn text(&self) -> Vec<u8> {
        let original = self.original.as_ref();
        let original = original.map_or(String::new(), |to| {
            format!("Original-Recipient: rfc822; {to}\r\n")
        });
        let status = format!(
            "Reporting-MTA: dns; {}\r\n\r\n{original}Final-Recipient: rfc822; {}\r\nAction: failed\r\n\
             Status: 5.1.1\r\nDiagnostic-Code: smtp; 550 5.1.1 no such user\r\n",
            self.reporter, self.about
        );
        let returned = format!(
            "From: news@app.test\r\nTo: {}\r\nMessage-ID: <{}>\r\n{}Subject: news\r\n\r\n{}\r\n",
            self.returned_to, self.returned_id, self.returned_more, self.returned_text
        );
        report(&self.author, &self.more, "delivery-status", &status, &returned)
    }
}

/// A complaint (RFC 5965) about mail to somebody.
pub fn complaint(author: &str, about: &str, message_id: &str) -> Vec<u8> {
    let fields = format!(
        "Feedback-Type: abuse\r\nUser-Agent: loop/1\r\nVersion: 1\r\nOriginal-Mail-From: <news@app.test>\r\n\
         Original-Rcpt-To: <{about}>\r\n"
    );
    let returned = format!(
        "From: news@app.test\r\nTo: {about}\r\nMessage-ID: <{message_id}>\r\nSubject: news\r\n\r\nhi\r\n"
    );
    report(author, "", "feedback-report", &fields, &returned)
}

fn report(author: &str, more: &str, kind: &str, fields: &str, returned: &str) -> Vec<u8> {
    let date = jiff::fmt::rfc2822::to_string(&nixie::clock::now().to_zoned(jiff::tz::TimeZone::UTC)).unwrap();
    let n = number();
    format!(
        "From: {author}\r\nTo: b@bounces.app.test\r\nSubject: Undelivered Mail Returned to Sender\r\nDate: {date}\r\n\
         Message-ID: <report-{n}@mx.victim.test>\r\nMIME-Version: 1.0\r\n{more}\
         Content-Type: multipart/report; report-type={kind}; boundary=\"b{n}\"\r\n\r\n\
         --b{n}\r\n\r\nThis is the mail system.\r\n--b{n}\r\nContent-Type: message/{kind}\r\n\r\n{fields}\r\n\
         --b{n}\r\nContent-Type: message/rfc822\r\n\r\n{returned}--b{n}--\r\n"
    )
    .into_bytes()
}

/// Words in place of a report.
pub fn words(author: &str, more: &str, subject: &str, text: &str) -> Vec<u8> {
    let date = jiff::fmt::rfc2822::to_string(&nixie::clock::now().to_zoned(jiff::tz::TimeZone::UTC)).unwrap();
    let n = number();
    format!(
        "From: {author}\r\nTo: b@bounces.app.test\r\nSubject: {subject}\r\nDate: {date}\r\n\
         Message-ID: <words-{n}@mx.victim.test>\r\n{more}\r\n{text}"
    )
    .into_bytes()
}

/// What our own Postfix writes above a message from outside.
pub fn from_outside(message: &[u8]) -> Vec<u8> {
    let n = number();
    let hop = format!(
        "Received: from mx.evil.test (mx.evil.test [203.0.113.9])\r\n\tby mx.app.test (Postfix) with ESMTP id 5B{n:08X}\r\n\t\
         for <b@bounces.app.test>; Sun, 22 Nov 2026 00:00:00 +0000 (UTC)\r\n"
    );
    [hop.as_bytes(), message].concat()
}

/// A message in which the first `from` is `to`.
pub fn replaced(message: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = String::from_utf8(message.to_vec()).unwrap();
    assert!(text.contains(from), "{from:?} is not in {text}");
    text.replacen(from, to, 1).into_bytes()
}

/// Fields in front of a message.
pub fn prefixed(fields: &str, message: &[u8]) -> Vec<u8> {
    [fields.as_bytes(), message].concat()
}

pub fn number() -> u32 {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    NUMBER.fetch_add(1, Ordering::Relaxed)
}
