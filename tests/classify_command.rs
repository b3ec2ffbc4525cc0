//! `nixie classify`, as its users and their scripts run it.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use assert_cmd::Command;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Output;

/// A program that finds no configuration but its own.
fn nixie(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nixie"));
    command.env("HOME", home).current_dir(home);
    command
}

fn run(home: &Path, arguments: &[&str], input: &[u8]) -> Output {
    nixie(home)
        .arg("classify")
        .args(arguments)
        .write_stdin(input)
        .output()
        .unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn lines(output: &Output) -> Vec<Value> {
    out(output)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn bounce() -> Vec<u8> {
    std::fs::read(data("dsn/remote.eml")).unwrap()
}

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

fn mbox(messages: &[&[u8]]) -> Vec<u8> {
    let mut mbox = Vec::new();
    for message in messages {
        mbox.extend_from_slice(b"From MAILER-DAEMON Sat Nov 21 09:00:00 2026\n");
        mbox.extend_from_slice(message);
        mbox.extend_from_slice(b"\n");
    }
    mbox
}

const LETTER: &[u8] = b"From: Ann <ann@x.test>\nSubject: hello\n\nNot a bounce.\n";

#[test]
fn a_bounce_is_one_line_with_every_field() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("1.eml"), bounce()).unwrap();
    let output = run(home.path(), &["--json", "1.eml"], b"");
    assert!(output.status.success(), "{}", err(&output));
    let lines = lines(&output);
    assert_eq!(lines.len(), 1);
    let line = &lines[0];
    assert_eq!(
        (&line["source"], &line["kind"], &line["format"]),
        (&"1.eml".into(), &"bounce".into(), &"rfc3464".into())
    );
    let recipient = line["recipients"][0].as_object().unwrap();
    let fields: Vec<&str> = recipient.keys().map(String::as_str).collect();
    let mut expected = [
        "address",
        "original_address",
        "action",
        "code",
        "status",
        "reply",
        "provider",
        "cause",
        "sub_cause",
        "scope",
        "permanent",
        "remedy",
        "rule",
    ];
    expected.sort_unstable();
    assert_eq!(fields, expected);
    assert_eq!(
        (&recipient["action"], &recipient["code"], &recipient["cause"]),
        (&"failed".into(), &550.into(), &"user_unknown".into())
    );
    assert!(recipient["sub_cause"].is_null() && recipient["provider"].is_null());
}

/// Directories, a Maildir without its indexes and what is not delivered yet, an mbox with its numbers.
#[test]
fn every_place_of_mail_is_read_in_order() {
    let home = tempfile::tempdir().unwrap();
    let maildir = home.path().join("mail/Maildir");
    for name in ["cur", "new", "tmp", ".Junk/cur", ".Junk/new", ".Junk/tmp"] {
        std::fs::create_dir_all(maildir.join(name)).unwrap();
    }
    std::fs::write(maildir.join("dovecot-uidlist"), "3 V1 N2\n").unwrap();
    std::fs::write(maildir.join("tmp/9"), "half").unwrap();
    std::fs::write(maildir.join("cur/1:2,S"), bounce()).unwrap();
    std::fs::write(maildir.join("new/2"), LETTER).unwrap();
    std::fs::write(maildir.join(".Junk/cur/3"), LETTER).unwrap();
    std::fs::write(
        home.path().join("mail/a.mbox"),
        mbox(&[LETTER, &bounce(), LETTER]),
    )
    .unwrap();
    // An mbox line in front of a saved message does not make it an mbox.
    std::fs::write(home.path().join("mail/b.eml"), mbox(&[&bounce()])).unwrap();
    std::os::unix::fs::symlink("..", home.path().join("mail/circle")).unwrap();
    let output = run(home.path(), &["--json", "mail"], b"");
    assert!(output.status.success(), "{}", err(&output));
    let told: Vec<String> = lines(&output)
        .iter()
        .map(|line| {
            format!(
                "{} {}",
                line["source"].as_str().unwrap(),
                line["kind"].as_str().unwrap()
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            "mail/Maildir/.Junk/cur/3 none",
            "mail/Maildir/cur/1:2,S bounce",
            "mail/Maildir/new/2 none",
            "mail/a.mbox#1 none",
            "mail/a.mbox#2 bounce",
            "mail/a.mbox#3 none",
            "mail/b.eml bounce",
        ]
    );
}

#[test]
fn the_standard_input_is_a_message_or_an_mbox() {
    let home = tempfile::tempdir().unwrap();
    let one = run(home.path(), &["--json", "-"], &bounce());
    assert_eq!(
        (&lines(&one)[0]["source"], &lines(&one)[0]["kind"]),
        (&"-".into(), &"bounce".into())
    );
    let several = run(home.path(), &["--json", "-"], &mbox(&[&bounce(), LETTER]));
    let sources: Vec<Value> = lines(&several)
        .iter()
        .map(|line| line["source"].clone())
        .collect();
    assert_eq!(sources, ["-#1", "-#2"]);
    let nothing = run(home.path(), &["--json", "-"], b"");
    assert_eq!(lines(&nothing)[0]["kind"], "none");
}

#[test]
fn what_cannot_be_read_is_named_and_the_rest_is_done() {
    let home = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &[u8]| std::fs::write(home.path().join(name), content).unwrap();
    write(
        "mail.log",
        b"Nov 21 09:40:56 mta postfix/smtp[7]: 4A1B2C3D4E5F: removed\n",
    );
    write("messages", b"2026-11-21T09:40:56+00:00 mta cron[7]: hello\n");
    write("old.mbox.gz", &[0x1f, 0x8b, 8, 0]);
    write("z.eml", &bounce());
    std::os::unix::fs::symlink("nowhere", home.path().join("dangling")).unwrap();
    let output = run(home.path(), &["--json", "missing.eml", "."], b"");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(lines(&output).len(), 1, "the one that can be read");
    let said = err(&output);
    for (name, what) in [
        ("missing.eml: ", "No such file"),
        ("./mail.log: ", "found a log; `nixie ingest` reads logs"),
        ("./messages: ", "found a log"),
        ("./old.mbox.gz: ", "found compressed data; unpack it first"),
        ("./dangling: ", "No such file"),
    ] {
        let told: Vec<&str> = said.lines().filter(|line| line.starts_with(name)).collect();
        assert!(told.len() == 1 && told[0].contains(what), "{name} {what}: {said}");
    }
    assert_eq!(said.lines().count(), 5, "{said}");
    let replies = run(
        home.path(),
        &["--replies", "--json", "missing", ".", "-"],
        b"550 5.1.1 no such user\n",
    );
    assert_eq!(
        (
            replies.status.code(),
            lines(&replies).len(),
            err(&replies).lines().count()
        ),
        (Some(1), 1, 2)
    );
}

#[test]
fn each_reply_has_its_line() {
    let home = tempfile::tempdir().unwrap();
    let input = b"\xef\xbb\xbfgoogle\t550 5.1.1 no such user\r\n\
        \r\n\
        gmail-smtp-in.l.google.com\t421 4.7.28 slow down\n\
        nobody.test\t550 5.1.1 no such user\n\
        550 5.7.1\ttab within\n\
        host gmail-smtp-in.l.google.com[192.0.2.1] said: 550 5.1.1 no such user (in reply to MAIL FROM command)\n\
        connect to mx.x.test[192.0.2.1]:25: Connection timed out\n\
        550 5.1.1 caf\xe9 unknown user\n\
        \n\
        550 5.1.1 no such user";
    let output = run(home.path(), &["--replies", "--json", "-"], input);
    assert!(output.status.success(), "{}", err(&output));
    let lines = lines(&output);
    assert_eq!(lines.len(), 10);
    let fields: Vec<&str> = lines[0].as_object().unwrap().keys().map(String::as_str).collect();
    let mut expected = [
        "reply",
        "provider",
        "code",
        "status",
        "cause",
        "sub_cause",
        "scope",
        "permanent",
        "remedy",
        "rule",
    ];
    expected.sort_unstable();
    assert_eq!(fields, expected);
    let table = [
        ("550 5.1.1 no such user", "google", "user_unknown"),
        ("", "", "unknown"),
        ("421 4.7.28 slow down", "google", "rate_limited"),
        ("550 5.1.1 no such user", "", "user_unknown"),
        ("550 5.7.1\ttab within", "", "policy_rejected"),
        (
            "host gmail-smtp-in.l.google.com[192.0.2.1] said: 550 5.1.1 no such user (in reply to MAIL FROM command)",
            "google",
            "sender_rejected",
        ),
        (
            "connect to mx.x.test[192.0.2.1]:25: Connection timed out",
            "",
            "network_error",
        ),
        ("550 5.1.1 caf\u{fffd} unknown user", "", "user_unknown"),
        ("", "", "unknown"),
        ("550 5.1.1 no such user", "", "user_unknown"),
    ];
    for (line, (reply, provider, cause)) in lines.iter().zip(table) {
        let found = (
            line["reply"].as_str().unwrap(),
            line["provider"].as_str().unwrap_or(""),
            line["cause"].as_str().unwrap(),
        );
        assert_eq!(found, (reply, provider, cause));
    }
    assert_eq!(
        (&lines[0]["code"], &lines[0]["status"]),
        (&550.into(), &"5.1.1".into())
    );
    for absent in ["code", "status", "provider", "sub_cause", "rule"] {
        assert!(lines[1][absent].is_null(), "{absent}");
    }
}

#[test]
fn a_long_line_is_cut_and_costs_no_other() {
    let home = tempfile::tempdir().unwrap();
    let mut input = b"550 5.1.1 ".to_vec();
    input.extend(std::iter::repeat_n(b'x', 1_000_000));
    input.extend_from_slice(b"\n550 5.1.1 no such user\n");
    let output = run(home.path(), &["--replies", "--json", "-"], &input);
    let lines = lines(&output);
    assert_eq!(
        (lines.len(), &lines[1]["reply"]),
        (2, &"550 5.1.1 no such user".into())
    );
    assert!(lines[0]["reply"].as_str().unwrap().len() <= 64 * 1024);
}

#[test]
fn people_get_a_table() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("a.mbox"), mbox(&[LETTER, &bounce()])).unwrap();
    let output = run(home.path(), &["a.mbox"], b"");
    let said = out(&output);
    let rows: Vec<&str> = said.lines().collect();
    assert_eq!(rows.len(), 3, "{said}");
    assert!(
        rows[0].trim_start().starts_with("source") && rows[0].contains("rule"),
        "{said}"
    );
    assert!(rows[1].contains("a.mbox#1") && rows[1].contains("none"), "{said}");
    assert!(
        rows[2].contains("bounce") && rows[2].contains("user_unknown") && rows[2].contains("suppress"),
        "{said}"
    );
    let mut replies = b"550 5.1.1 no such user\x1b[31m\n".repeat(1200);
    replies.extend_from_slice(b"\n");
    let output = run(home.path(), &["--replies", "-"], &replies);
    let said = out(&output);
    assert_eq!(said.lines().count(), 1202, "a header, and a row for each");
    assert!(!said.contains('\x1b'), "what a server says moves no cursor");
}

/// `nixie classify … | head -1`
#[test]
fn a_reader_that_has_gone_is_no_failure() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(
        home.path().join("replies"),
        b"550 5.1.1 no such user\n".repeat(20_000),
    )
    .unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_nixie"));
    command.env("HOME", home.path()).current_dir(home.path());
    let output = command
        .args(["classify", "--replies", "--json", "replies"])
        .stdout(writer)
        .output()
        .unwrap();
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{}",
        err(&output)
    );
}
