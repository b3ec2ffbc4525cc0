//! Notifications as real reporters write them: out of place, half of it missing, in the wrong words; and whom we
//! mailed where a report names somebody else.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

use jiff::Timestamp;
use nixie::mail::event::{Event, Source};
use nixie::mail::message::{Envelope, Kind, Reading, events, read};

const DAEMON: &str = "Return-Path: <>\nFrom: MAILER-DAEMON@mx.test (Mail Delivery System)\nTo: news@app.test\nSubject: failure\n";
const REPORT: &str = "Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n";

fn lowered(raw: &str, return_path: Option<&str>) -> (Reading, Vec<Event>) {
    let reading = read(raw.as_bytes());
    let now: Timestamp = "2026-11-22T00:00:00Z".parse().unwrap();
    let envelope = Envelope {
        sender: Some(""),
        recipient: return_path,
    };
    let events = events(&reading, envelope, Source::Lmtp, now);
    (reading, events)
}

/// What a message says, one line a recipient.
fn said(raw: &str) -> (Kind, Vec<String>) {
    let (reading, events) = lowered(raw, None);
    let lines = events.iter().map(|event| {
        let status = event.reported_status.map(|s| s.to_string()).unwrap_or_default();
        format!(
            "{} {:?} {status} | {}",
            event.recipient, event.outcome, event.reply
        )
    });
    (reading.kind, lines.collect())
}

#[track_caller]
fn assert_said(raw: &str, kind: Kind, lines: &[&str]) {
    let (found, recipients) = said(raw);
    assert_eq!(
        (found, recipients.iter().map(String::as_str).collect::<Vec<_>>()),
        (kind, lines.to_vec()),
        "{raw}"
    );
}

const FIELDS: &str = "Reporting-MTA: dns; mx.test\n\nFinal-Recipient: rfc822; ann@ex.test\nAction: failed\nStatus: 5.1.1\n\
    Diagnostic-Code: smtp; 550 5.1.1 no such user\n";
const ANN: &[&str] = &["ann@ex.test Failed 5.1.1 | 550 5.1.1 no such user"];

/// A report is known again by its time. One without, or from a clock that is years off, has that of the hop that
/// handed it over; and whoever hands it in again hands in the same.
#[test]
fn a_report_without_a_sensible_date_has_the_time_of_its_last_hop() {
    let body = format!("{DAEMON}{REPORT}--b\nContent-Type: message/delivery-status\n\n{FIELDS}\n--b--\n");
    let hop = "Received: from mx.test (mx.test [192.0.2.1])\n\tby mail.app.test (Postfix) with ESMTP id 4Q;\n\tSat, 21 Nov 2026 10:00:00 +0000 (UTC)\n";
    let at = |date: &str, hop: &str| {
        let (reading, events) = lowered(&format!("{hop}{date}{body}"), None);
        assert_eq!(events.len(), 1, "{date}{hop}");
        reading
            .stamp
            .map(|at| at.strftime("%F %R").to_string())
            .unwrap_or_default()
    };
    assert_eq!(at("", ""), "");
    assert_eq!(at("", hop), "2026-11-21 10:00");
    assert_eq!(
        at("Date: Sat, 1 Jan 2000 00:00:00 +0000\n", hop),
        "2026-11-21 10:00"
    );
    assert_eq!(
        at("Date: Sat, 1 Jan 2000 00:00:00 +0000\n", ""),
        "2000-01-01 00:00"
    );
    assert_eq!(
        at("Date: Fri, 20 Nov 2026 10:00:00 +0000\n", hop),
        "2026-11-20 10:00"
    );
    assert_eq!(
        at("Date: Tue, 1 Dec 2026 10:00:00 +0000\n", hop),
        "2026-11-21 10:00"
    );
}

#[test]
fn a_delivery_status_is_found_out_of_its_place() {
    let b = Kind::Bounce;
    let words = "--b\nContent-Type: text/plain\n\nSorry.\n\n";
    for kind in [
        "text/plain",
        "text/plain; name=\"details.txt\"",
        "application/octet-stream",
        "text/x-status",
    ] {
        let part = format!("--b\nContent-Type: {kind}\n\n{FIELDS}\n--b--\n");
        assert_said(&format!("{DAEMON}{REPORT}{words}{part}"), b, ANN);
        let mixed = "Content-Type: multipart/mixed; boundary=b\n\n";
        assert_said(&format!("{DAEMON}{mixed}{words}{part}"), b, ANN);
    }
    // within the words themselves, with and without MIME
    assert_said(
        &format!(
            "{DAEMON}\nSorry.\n\n{FIELDS}\nReturn-Path: <news@app.test>\nReceived: by x; y\nSubject: z\n"
        ),
        b,
        ANN,
    );
    assert_said(&format!("{DAEMON}{REPORT}{words}{FIELDS}\n--b--\n"), b, ANN);
    // a declared report without a single boundary
    assert_said(&format!("{DAEMON}{REPORT}Sorry.\n\n{FIELDS}"), b, ANN);
    // one part for each recipient
    let part = |who: &str| {
        format!(
            "--b\nContent-Type: message/delivery-status\n\n{}",
            FIELDS.replace("ann", who)
        )
    };
    let both = [
        "ann@ex.test Failed 5.1.1 | 550 5.1.1 no such user",
        "bob@ex.test Failed 5.1.1 | 550 5.1.1 no such user",
    ];
    assert_said(
        &format!("{DAEMON}{REPORT}{words}{}{}--b--\n", part("ann"), part("bob")),
        b,
        &both,
    );
}

#[test]
fn nothing_within_the_returned_mail_is_a_delivery_status() {
    let forged = FIELDS.replace("ann", "victim");
    for kind in ["message/rfc822", "text/rfc822-headers"] {
        let returned =
            format!("--b\nContent-Type: {kind}\n\nFrom: x@y.test\nMessage-ID: <m@y.test>\n\n{forged}\n");
        let report = format!("--b\nContent-Type: message/delivery-status\n\n{FIELDS}\n");
        assert_said(
            &format!("{DAEMON}{REPORT}{returned}{report}--b--\n"),
            Kind::Bounce,
            ANN,
        );
        assert_said(&format!("{DAEMON}{REPORT}{returned}--b--\n"), Kind::None, &[]);
    }
    // nor is what somebody who is no mail system writes
    assert_said(
        &format!("From: eve@ex.test\nSubject: hello\n\nLook:\n\n{forged}"),
        Kind::None,
        &[],
    );
}

#[test]
fn what_fields_leave_out_is_told_otherwise() {
    let b = Kind::Bounce;
    let of = |fields: &str| {
        format!(
            "{DAEMON}{REPORT}--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.test\n\n{fields}--b--\n"
        )
    };
    let table: &[(&str, Kind, &[&str])] = &[
        (
            "Original-Recipient: rfc822; ann@ex.test\nAction: failed\nStatus: 5.1.1\n",
            b,
            &["ann@ex.test Failed 5.1.1 | "],
        ),
        (
            "Final-Recipient: local; ann\nX-Actual-Recipient: RFC822; ann@ex.test\nAction: failed\nStatus: 5.1.1\n",
            b,
            &["ann@ex.test Failed 5.1.1 | "],
        ),
        (
            "Original-Recipient: rfc822; ann@ex.test\nFinal-Recipient: rfc822; @relay.test:ann@server\nAction: failed\n\
             Status: 5.2.2\n",
            b,
            &["ann@ex.test Failed 5.2.2 | "],
        ),
        (
            "Final-Recipient: RFC822;<ann@ex.test>\nAction: failed (permanent)\nStatus: 5.0.0 (undefined status)\n\
             Diagnostic-Code: X-Postfix; unknown user: \"ann\"\n",
            b,
            &["ann@ex.test Failed 5.0.0 | unknown user: \"ann\""],
        ),
        (
            "Final-Recipient: ann@ex.test\nAction: bounced\nStatus: smtp; 550 5.1.1\nDiagnostic-Code: 550 5.1.1 gone\n",
            b,
            &["ann@ex.test Failed 5.1.1 | 550 5.1.1 gone"],
        ),
        (
            "Final-Recipient: rfc822; ann@ex.test\nDiagnostic-Code: smtp; 550 5.1.1 gone\n",
            b,
            &["ann@ex.test Failed  | 550 5.1.1 gone"],
        ),
        (
            "Final-Recipient: rfc822; ann@ex.test\nAction: delayed\nStatus: 4.4.1\n",
            Kind::Delay,
            &["ann@ex.test Deferred 4.4.1 | "],
        ),
        (
            "Final-Recipient: rfc822; ann@ex.test\nAction: relayed\nStatus: 2.0.0\n\nFinal-Recipient: rfc822; bob@ex.test\n\
             Action: expanded\nStatus: 2.0.0\n\nFinal-Recipient: rfc822; eve@ex.test\nAction: delivered\nStatus: 2.0.0\n",
            Kind::Delivered,
            &[
                "ann@ex.test Relayed 2.0.0 | ",
                "bob@ex.test Relayed 2.0.0 | ",
                "eve@ex.test Delivered 2.0.0 | ",
            ],
        ),
    ];
    for (fields, kind, lines) in table {
        assert_said(&of(fields), *kind, lines);
    }
}

/// Where a field says nothing, the words beside it do.
#[test]
fn the_words_fill_an_empty_diagnostic() {
    let words = "--b\nContent-Type: text/plain\n\nYour mail was not delivered.\n\n<ann@ex.test>: 552 5.2.2 mailbox full\n\n";
    for diagnostic in [
        "",
        "Diagnostic-Code: smtp; 552\n",
        "Diagnostic-Code: smtp; 5.0.0 (undefined status)\n",
    ] {
        let fields =
            format!("Final-Recipient: rfc822; ann@ex.test\nAction: failed\nStatus: 5.0.0\n{diagnostic}");
        let part =
            format!("--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; x\n\n{fields}--b--\n");
        let raw = format!("{DAEMON}{REPORT}{words}{part}");
        assert_said(
            &raw,
            Kind::Bounce,
            &["ann@ex.test Failed 5.0.0 | 552 5.2.2 mailbox full"],
        );
    }
}

#[test]
fn utf8_notifications_are_read_in_both_spellings() {
    for address in [
        "utf-8; пётр@ex.test",
        "utf-8; \\x{43F}\\x{451}\\x{442}\\x{440}@ex.test",
        "rfc822; пётр@ex.test",
    ] {
        let part = format!(
            "--b\nContent-Type: message/global-delivery-status\n\nReporting-MTA: dns; x\n\nFinal-Recipient: {address}\nAction: failed\nStatus: 5.1.1\n--b--\n"
        );
        assert_said(
            &format!("{DAEMON}{REPORT}{part}"),
            Kind::Bounce,
            &["пётр@ex.test Failed 5.1.1 | "],
        );
    }
}

/// A report about `tried`, of which the reporter says that we mailed `told`, with a returned header.
fn forwarded(tried: &str, told: &str, returned: &str) -> String {
    let told = if told.is_empty() {
        String::new()
    } else {
        format!("Original-Recipient: rfc822; {told}\n")
    };
    let fields = format!("{told}Final-Recipient: rfc822; {tried}\nAction: failed\nStatus: 5.1.1\n");
    format!(
        "{DAEMON}{REPORT}--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.test\n\n{fields}\n--b\n\
         Content-Type: text/rfc822-headers\n\nMessage-ID: <m@app.test>\n{returned}\n--b--\n"
    )
}

/// `mailed` is whom a suppression would be about.
#[test]
fn the_address_that_we_mailed_is_found() {
    let hop = "Received: from app.test by mx.ex.test with ESMTP id 1 for <ann@ex.test>; now\n";
    let plus = "bounce+ann=ex.test@app.test";
    let table: &[(&str, &str, &str, &str, &str)] = &[
        // return path, tried, told, returned header, mailed
        ("bounce@app.test", "ann@ex.test", "", "", "ann@ex.test"),
        (
            "bounce@app.test",
            "fwd@other.test",
            "ann@ex.test",
            "",
            "ann@ex.test",
        ),
        ("bounce@app.test", "fwd@other.test", "", hop, "ann@ex.test"),
        (
            "bounce@app.test",
            "fwd@other.test",
            "",
            "X-Original-To: ann@ex.test\n",
            "ann@ex.test",
        ),
        // The author's word alone moves nothing: this may be a blind copy.
        (
            "bounce@app.test",
            "fwd@other.test",
            "",
            "To: ann@ex.test\n",
            "fwd@other.test",
        ),
        (
            "bounce@app.test",
            "fwd@other.test",
            "",
            "List-Id: <l.test>\nX-Original-To: list@l.test\n",
            "fwd@other.test",
        ),
        // Our own sender, who gets a copy, is nobody's recipient.
        (
            "bounce@app.test",
            "fwd@other.test",
            "",
            "X-Original-To: news@app.test\n",
            "fwd@other.test",
        ),
        (plus, "fwd@other.test", "", "", "ann@ex.test"),
        (plus, "fwd@other.test", "", "To: ann@ex.test\n", "ann@ex.test"),
        (
            plus,
            "fwd@other.test",
            "fwd@other.test",
            "To: Ann <ann@ex.test>\n",
            "ann@ex.test",
        ),
        (
            plus,
            "fwd@other.test",
            "",
            "List-Id: <l.test>\nTo: list@l.test\n",
            "ann@ex.test",
        ),
        // A path that contradicts all else is not believed.
        (
            plus,
            "bob@ex.test",
            "bob@ex.test",
            "To: bob@ex.test\n",
            "bob@ex.test",
        ),
        (plus, "bob@ex.test", "", "To: bob@ex.test\n", "bob@ex.test"),
        (plus, "fwd@other.test", "bob@ex.test", "", "bob@ex.test"),
        (
            "list-return-17-ann=ex.test@app.test",
            "ann@ex.test",
            "",
            "",
            "ann@ex.test",
        ),
        (
            "bounce+17-ann=ex.test@app.test",
            "ann@ex.test",
            "",
            "",
            "ann@ex.test",
        ),
        (
            "list-return-17-ann=ex.test@app.test",
            "fwd@other.test",
            "",
            "To: ann@ex.test\n",
            "ann@ex.test",
        ),
        (
            "list-return-17-ann=ex.test@app.test",
            "fwd@other.test",
            "",
            "",
            "fwd@other.test",
        ),
        (
            "prvs=0123=ann=ex.test@app.test",
            "fwd@other.test",
            "",
            "",
            "fwd@other.test",
        ),
    ];
    for (path, tried, told, returned, mailed) in table {
        let raw = forwarded(tried, told, returned);
        let event = lowered(&raw, Some(path)).1.remove(0);
        assert_eq!(event.recipient.to_string(), *tried, "{path} {told} {returned}");
        assert_eq!(
            event.mailed().to_string(),
            *mailed,
            "{path} {tried} {told} {returned}"
        );
        // Without an envelope, the path stands in the report's own header.
        let raw = raw.replace(
            "To: news@app.test",
            &format!("To: news@app.test\nDelivered-To: {path}"),
        );
        assert_eq!(
            lowered(&raw, None).1[0].mailed().to_string(),
            *mailed,
            "{path} {tried} {told} {returned}"
        );
    }
}

/// A path is made for one recipient: of several it says nothing, but for the one that it names.
#[test]
fn a_return_path_speaks_of_one_recipient_only() {
    let raw = forwarded(
        "ann@ex.test\nAction: failed\n\nFinal-Recipient: rfc822; bob@ex.test",
        "",
        "To: x@ex.test\n",
    );
    let (_, events) = lowered(&raw, Some("bounce+ann=ex.test@app.test"));
    let mailed: Vec<_> = events.iter().map(|event| event.mailed().to_string()).collect();
    assert_eq!(mailed, ["ann@ex.test", "bob@ex.test"]);
}

#[test]
fn complaints_are_read_without_a_part_of_their_own() {
    let raw = "From: <staff@hotmail.test>\nTo: abuse@app.test\nSubject:  complaint about message from 192.0.2.7\n\
        MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: message/rfc822\n\n\
        X-HmXmrOriginalRecipient: ann@ex.test\nReturn-Path: <bounce@app.test>\nMessage-ID: <m@app.test>\nTo: Ann\n\
        Subject: offers\n\nHello\n--b--\n";
    let (reading, events) = lowered(raw, None);
    assert_eq!(reading.kind, Kind::Complaint);
    assert_eq!(reading.feedback.unwrap().source_ip, "192.0.2.7".parse().ok());
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].recipient.to_string(), "ann@ex.test");
    assert_eq!(events[0].message_id.as_deref(), Some("m@app.test"));
    assert_eq!(events[0].sender.as_deref(), Some("bounce@app.test"));
    let none = raw.replace("X-HmXmrOriginalRecipient: ann@ex.test\n", "");
    assert_eq!(lowered(&none, None).1, [], "redacted, nobody is named");
}

/// What failed to authenticate is shown, and is no complaint of whom it names.
#[test]
fn a_report_of_failed_authentication_acts_on_nothing() {
    let raw = "From: <dmarc@ex.test>\nTo: ruf@app.test\nSubject: FW: offers\nMIME-Version: 1.0\n\
        Content-Type: multipart/report; report-type=feedback-report; boundary=b\n\n--b\n\
        Content-Type: message/feedback-report\n\nFeedback-Type: auth-failure\nAuth-Failure: dmarc\n\
        Original-Rcpt-To: ann@ex.test\nVersion: 1\nUser-Agent: x\n--b--\n";
    let (reading, events) = lowered(raw, None);
    assert_eq!((reading.kind, events), (Kind::Complaint, vec![]));
    let mentions = reading.mentions();
    assert_eq!(
        (
            mentions[0].address.to_string().as_str(),
            mentions[0].text,
            mentions[0].answers
        ),
        ("ann@ex.test", "dmarc", false)
    );
}

/// Somebody whose address stands only in the returned `To` may not be the one who could not be reached.
#[test]
fn an_inferred_recipient_is_not_suppressed_at_once() {
    use nixie::engine::{classify::judge, provider::Providers, rule::RuleSet, verdict::Remedy};
    let providers = Providers::shipped().unwrap();
    let rules = RuleSet::shipped(&providers).unwrap();
    let words = "Your mail could not be delivered.\n550 5.1.1 no such user\n\n";
    for (who, mail, remedy) in [
        ("", "To: ann@ex.test\n", Remedy::SuppressIfRepeated),
        ("", "X-Original-To: ann@ex.test\n", Remedy::Suppress),
        ("ann@ex.test\n", "To: ann@ex.test\n", Remedy::Suppress),
    ] {
        let raw = format!(
            "{DAEMON}\n{who}{words}Return-Path: <news@app.test>\nReceived: by x; now\n{mail}\nHello\n"
        );
        let events = lowered(&raw, None).1;
        assert_eq!(events[0].recipient.to_string(), "ann@ex.test");
        assert_eq!(
            judge(&rules, &providers, "", &events[0]).0.remedy,
            remedy,
            "{raw}"
        );
    }
}

/// In a transcript, what the server took is no failure, and each has their own reply.
#[test]
fn recipients_of_one_notice_are_not_mistaken_for_each_other() {
    let session = ">>> RCPT TO:<ann@ex.test>\n<<< 250 ok\n>>> RCPT TO:<bob@ex.test>\n<<< 550 5.1.1 no such user\n\
        >>> RCPT TO:<eve@ex.test>\n<<< 452 4.2.2 mailbox full\n";
    let raw = format!("{DAEMON}\nYour mail could not be delivered:\n\n{session}");
    let both = [
        "bob@ex.test Failed 5.1.1 | 550 5.1.1 no such user",
        "eve@ex.test Expired 4.2.2 | 452 4.2.2 mailbox full",
    ];
    assert_said(&raw, Kind::Bounce, &both);
    let list =
        "These mailboxes refused it:\n\n<eve@ex.test>\n<bob@ex.test>\n\nTo: ann@ex.test, bob@ex.test\n\n";
    let raw = format!("{DAEMON}\nYour mail could not be delivered:\n\n{list}{session}");
    let both = [
        "eve@ex.test Expired 4.2.2 | 452 4.2.2 mailbox full",
        "bob@ex.test Failed 5.1.1 | 550 5.1.1 no such user",
    ];
    assert_said(&raw, Kind::Bounce, &both);
    // One reply of which nobody knows whose it is: of none.
    let raw =
        format!("{DAEMON}\nNot delivered:\n\n<eve@ex.test>\n<bob@ex.test>\n\n550 5.1.1 one\n552 5.2.2 two\n");
    let (_, lines) = said(&raw);
    assert!(
        lines
            .iter()
            .all(|line| !line.contains("5.1.1") && !line.contains("5.2.2")),
        "{lines:?}"
    );
}
