//! What reports say, read from their parts.

use super::*;

const REPORT: &str = "Reporting-MTA: dns; mta.app.test\n\
        Original-Envelope-Id: nixie+2B124\n\
        X-Postfix-Queue-ID: B351D99C0B6\n\
        X-Postfix-Sender: rfc822; bounce+0009@bounces.app.test\n\
        Arrival-Date: Sat, 21 Nov 2026 09:29:34 +0000 (UTC)\n\
        \n\
        Final-Recipient: rfc822; full5@misc.test\n\
        Original-Recipient: rfc822;list@misc.test\n\
        Action: failed\n\
        Status: 5.2.2\n\
        Remote-MTA: dns; mx1.misc.test\n\
        Diagnostic-Code: smtp; 552 5.2.2 Mailbox\n   full\n\
        X-Note: first\n\
        \n\
        Final-Recipient: rfc822; other@misc.test\n\
        Action: delayed\n\
        Status: 4.4.1\n";

#[test]
fn reads_every_field() {
    let report = parse(REPORT.as_bytes());
    assert_eq!(report.reporting_mta.as_deref(), Some("mta.app.test"));
    assert_eq!(report.envelope_id.as_deref(), Some("nixie+124"));
    assert_eq!(report.postfix_queue_id.as_deref(), Some("B351D99C0B6"));
    assert_eq!(
        report.postfix_sender.as_deref(),
        Some("bounce+0009@bounces.app.test")
    );
    assert_eq!(report.arrival_date.unwrap().to_string(), "2026-11-21T09:29:34Z");
    assert_eq!(report.broken, []);
    let [first, second] = &report.recipients[..] else {
        panic!("{report:?}")
    };
    assert_eq!(
        first.final_recipient.as_ref().unwrap().to_string(),
        "full5@misc.test"
    );
    assert_eq!(
        first.original_recipient.as_ref().unwrap().to_string(),
        "list@misc.test"
    );
    assert_eq!(first.remote_mta.as_deref(), Some("mx1.misc.test"));
    assert_eq!(
        first.diagnostic.as_ref().unwrap().reply().to_string(),
        "552 5.2.2 Mailbox full"
    );
    assert_eq!(first.extensions, [("X-Note".to_owned(), "first".to_owned())]);
    assert_eq!(second.action, Some(Action::Delayed));
}

#[test]
fn spelling_does_not_change_the_report() {
    let expected = parse(REPORT.as_bytes());
    let crlf = REPORT.replace('\n', "\r\n");
    assert_eq!(parse(crlf.as_bytes()), expected);
    assert_eq!(parse(REPORT.replace('\n', "\r").as_bytes()), expected);
    let capitals = REPORT
        .replace("rfc822;", "RFC822;")
        .replace("Action:", "ACTION :");
    assert_eq!(parse(capitals.as_bytes()), expected);
    assert_eq!(parse(REPORT.replace("rfc822;", "").as_bytes()), expected);
    let folded = REPORT
        .replace("Status: ", "Status:\n ")
        .replace("rfc822; ", "rfc822;\n\t<");
    let folded = folded.replace(".test\nAction", ".test>\nAction");
    assert_eq!(
        parse(folded.as_bytes()).recipients[1],
        expected.recipients[1],
        "{folded}"
    );
}

#[test]
fn groups_run_together_or_torn_apart_are_told_apart() {
    let run_together = "Reporting-MTA: dns; a.test\nFinal-Recipient: rfc822; a@x.test\nAction: failed\n\
            Final-Recipient: rfc822; b@x.test\nAction: delayed\n";
    let torn = "Reporting-MTA: dns; a.test\n\nFinal-Recipient: rfc822; a@x.test\n\nAction: failed\n\n\
            Final-Recipient: rfc822; b@x.test\n\nAction: delayed\n";
    let action_first = "Action: failed\nFinal-Recipient: rfc822; a@x.test\n\n\
            Action: delayed\nFinal-Recipient: rfc822; b@x.test\n";
    let original_first = "Original-Recipient: rfc822;a@x.test\nFinal-Recipient: rfc822; a@x.test\nAction: failed\n\n\
            Original-Recipient: rfc822;b@x.test\nFinal-Recipient: rfc822; b@x.test\nAction: delayed\n";
    for text in [run_together, torn, action_first, original_first] {
        let recipients: Vec<_> = parse(text.as_bytes())
            .recipients
            .iter()
            .map(|r| (r.final_recipient.as_ref().map(ToString::to_string), r.action))
            .collect();
        let expected = [
            (Some("a@x.test".to_owned()), Some(Action::Failed)),
            (Some("b@x.test".to_owned()), Some(Action::Delayed)),
        ];
        assert_eq!(recipients, expected, "{text}");
    }
}

#[test]
fn a_broken_field_loses_only_itself() {
    let report =
            parse(b"no field\nFinal-Recipient: rfc822; nobody\nAction: eaten\nStatus: 9.9\nRemote-MTA: dns; mx.x.test\n");
    assert_eq!(report.recipients.len(), 1);
    assert_eq!(report.recipients[0].remote_mta.as_deref(), Some("mx.x.test"));
    let said: Vec<_> = report.broken.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "expected a field like `Action: failed`, found \"no field\"",
            "Final-Recipient: expected user@domain, found no `@` in \"nobody\"",
            "Action: expected failed, delayed, delivered, relayed or expanded, found \"eaten\"",
            "Status: expected a status code like 5.1.1, found \"9.9\"",
        ]
    );
}

#[test]
fn tagged_addresses_stay_themselves() {
    let table = [
        ("rfc822;ann+41@x.test", "ann+41@x.test"),
        ("rfc822;bounce+2B0009@x.test", "bounce+0009@x.test"),
        ("rfc822;a+3Db@x.test", "a=b@x.test"),
        ("utf-8;\\x{43A}\\x{43E}@x.test", "ко@x.test"),
        ("utf-8; пользователь@utf8.test", "пользователь@utf8.test"),
    ];
    for (value, expected) in table {
        assert_eq!(mailbox(ORIGINAL, value).unwrap().to_string(), expected, "{value}");
    }
}

#[test]
fn control_characters_and_foreign_charsets_are_tamed() {
    let report =
        parse(b"Final-Recipient: rfc822; a@x.test\nDiagnostic-Code: smtp; 550 bo\xeete\0pleine\x07\n");
    let text = &report.recipients[0].diagnostic.as_ref().unwrap().text;
    assert_eq!(text, "550 boîte pleine");
}

#[test]
fn a_reply_in_the_reporters_frame_is_the_servers() {
    let table = [
        (
            "smtp; 5.1.0 - Unknown address error 550-'5.7.1 no access' (delivery attempts: 0)",
            "550 5.7.1 no access",
        ),
        (
            "smtp; 5.3.0 - Other mail system problem 554-'it's spam",
            "554 it's spam",
        ),
        ("smtp; 5.1.1 - no such user", "5.1.1 - no such user"),
        ("smtp; 550 5.1.1 a - b-'c'", "550 5.1.1 a - b-'c'"),
    ];
    for (diagnostic, reply) in table {
        assert_eq!(
            Diagnostic::parse(diagnostic).reply().to_string(),
            reply,
            "{diagnostic}"
        );
    }
}

#[test]
fn the_names_of_servers_come_without_what_stands_around_them() {
    let table = [
        (
            "dns; mx.ex.test (mx.ex.test. [192.0.2.1], the server for the domain ex.test.)",
            "mx.ex.test",
        ),
        ("DNS;MX.ex.test[192.0.2.1]:25", "mx.ex.test"),
        ("dns; [192.0.2.1] (192.0.2.1, the server)", "[192.0.2.1]"),
        ("smtp; <mx.ex.test.>", "mx.ex.test"),
        ("mx.ex.test:25", "mx.ex.test"),
        ("dns; 2001:db8::1", "2001:db8::1"),
    ];
    for (value, name) in table {
        let report = parse(format!("Final-Recipient: rfc822; a@b.test\nRemote-MTA: {value}\n").as_bytes());
        assert_eq!(report.recipients[0].remote_mta.as_deref(), Some(name), "{value}");
    }
}
