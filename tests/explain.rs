//! `nixie explain`, as its users and their scripts run it.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use assert_cmd::Command;
use serde_json::Value;
use std::process::Output;

fn run(arguments: &[&str]) -> Output {
    with_input(arguments, "")
}

fn with_input(arguments: &[&str], input: &str) -> Output {
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_nixie"));
    command.env("HOME", home.path()).current_dir(home.path());
    command
        .arg("explain")
        .args(arguments)
        .write_stdin(input)
        .output()
        .unwrap()
}

fn text(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(output.status.success(), "{}", err(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// Text with its line breaks taken for blanks: where it is wrapped is not what is tested.
fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn json(arguments: &[&str]) -> Value {
    let output = run(&[&["--json"], arguments].concat());
    assert!(output.status.success(), "{}", err(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const DMARC: &str = "550-5.7.26 Unauthenticated email from example.com is not accepted due to 550-5.7.26 domain's DMARC policy. \
                     Please contact the administrator of 550 5.7.26 example.com domain - gsmtp";

/// All that the look at one reply promises.
#[test]
fn a_reply_is_explained_from_its_code_to_its_near_misses() {
    let said = flat(&text(&[DMARC]));
    for words in [
        "550 Requested action not taken: mailbox unavailable",
        "5.7.26 Multiple authentication checks failed",
        "RFC 5321",
        "RFC 7372",
        "Google (google), by its words",
        "auth_failed (dmarc): The sender could not be authenticated.",
        "ours, who send",
        "permanent yes",
        "Suppresses nobody",
        "publish a DMARC policy",
        "https://support.google.com/",
        "google.dmarc (config/rules/google.toml:",
        "Near misses",
        "ranked lower: general comes after provider",
        "ranked lower: a status comes after a text",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[test]
fn the_same_is_told_to_programs() {
    let said = json(&[DMARC, "--provider", "gmail-smtp-in.l.google.com"]);
    let table = [
        ("kind", "reply"),
        ("cause", "auth_failed"),
        ("sub_cause", "dmarc"),
        ("scope", "sender"),
        ("remedy", "fix_sender"),
        ("rule", "google.dmarc"),
        ("file", "config/rules/google.toml"),
    ];
    for (key, value) in table {
        assert_eq!(said[key], value, "{key}");
    }
    assert_eq!(
        (&said["code"]["code"], &said["status"]["source"]),
        (&550.into(), &"RFC 7372".into())
    );
    assert_eq!(
        (&said["provider"]["id"], &said["provider"]["known_by"]),
        (&"google".into(), &"name".into())
    );
    assert!(said["line"].as_u64().unwrap() > 1 && said["permanent"] == true);
    assert!(
        said["near_misses"]
            .as_array()
            .unwrap()
            .iter()
            .all(|near| near["why"].is_string())
    );
}

#[test]
fn what_will_be_done_is_said_in_words() {
    let table = [
        (
            "550 5.1.1 no such user",
            "Suppresses the address at once, if the failure is proven",
        ),
        (
            "552 5.2.2 mailbox full",
            "A strike against the address: 5 of them, on 5 days within 30 days, suppress it",
        ),
        (
            "550 5.1.2 host unknown: domain not found",
            "2 of them, on 2 days within 30 days, at least 24 hours apart",
        ),
        ("452 4.2.2 mailbox full", "Postfix tries again by itself"),
        (
            "421 4.7.28 Our system has detected an unusual rate of unsolicited mail",
            "Holds the lane google × default for 30 minutes",
        ),
        ("450 4.7.1 greylisted", "Postfix tries again by itself"),
        (
            "552 5.3.4 message too large",
            "Suppresses nobody: the next message to the address is let through",
        ),
        ("250 ok", "Nothing."),
    ];
    for (reply, words) in table {
        let said = flat(&text(&[reply]));
        assert!(said.contains(words), "{reply}: {said}");
    }
}

/// Who said it, and in reply to what, comes from the MTA's words where they are there.
#[test]
fn circumstances_are_heard_and_told() {
    let said = flat(&text(&[
        "host mx-eu.mail.am0.yahoodns.net[192.0.2.1] said: 550 5.1.1 no such user (in reply to MAIL FROM command)",
    ]));
    for words in [
        "in reply to MAIL FROM",
        "(yahoo), by the host",
        "sender_rejected",
        "overruled",
        "guard.sender",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let log = "Nov 21 09:40:56 mta postfix/smtp[7]: 4A1B2C3D4E5F: to=<a@x.test>, relay=gmail-smtp-in.l.google.com[192.0.2.1]:25, \
               delay=1, delays=0/0/0/1, dsn=5.1.1, status=bounced (host gmail-smtp-in.l.google.com[192.0.2.1] said: 550 5.1.1 \
               no such user (in reply to RCPT TO command))";
    let said = json(&[log]);
    assert_eq!(
        (&said["cause"], &said["provider"]["id"]),
        (&"user_unknown".into(), &"google".into())
    );
    assert_eq!(said["reply"], "550 5.1.1 no such user");
}

#[test]
fn a_reply_may_come_from_the_standard_input_or_in_words() {
    let piped = with_input(&["--json", "-"], "550-5.1.1 no such\r\n550 5.1.1 user\r\n");
    let piped: Value = serde_json::from_slice(&piped.stdout).unwrap();
    assert_eq!(
        (&piped["reply"], &piped["cause"]),
        (&"550 5.1.1 no such user".into(), &"user_unknown".into())
    );
    assert_eq!(
        json(&["550", "5.1.1", "no", "such", "user"])["cause"],
        "user_unknown"
    );
    let nothing = with_input(&["-"], "\n");
    assert!(nothing.status.code() == Some(1) && err(&nothing).contains("found nothing"));
}

#[test]
fn what_is_a_hair_away_is_a_near_miss() {
    let said = json(&[
        "550 5.1.1 The email account that you tried to reach does not exist",
        "--provider",
        "yahoo",
    ]);
    let near = said["near_misses"].as_array().unwrap();
    let google = near
        .iter()
        .find(|near| near["rule"] == "google.user-unknown")
        .unwrap();
    assert_eq!(
        google["why"],
        "its text fits, but it is for google, not for yahoo"
    );
}

#[test]
fn codes_and_statuses_are_looked_up() {
    let said = flat(&text(&["5.7.26"]));
    for words in [
        "Multiple authentication checks failed",
        "auth_failed",
        "Rules that name it",
        "google.dmarc",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let said = flat(&text(&["550"]));
    assert!(
        said.contains("mailbox unavailable") && said.contains("microsoft.no-such-address"),
        "{said}"
    );
    let both = json(&["550 5.2.1"]);
    assert_eq!(
        (&both["kind"], &both["alone"]["cause"]),
        (&"number".into(), &"mailbox_disabled".into())
    );
    assert!(
        both["rules"]["naming"]
            .as_array()
            .unwrap()
            .contains(&"status.x.2.1".into())
    );
    assert!(
        both["rules"]["with_example"]
            .as_array()
            .unwrap()
            .contains(&"google.mailbox-disabled".into())
    );
    assert_eq!(json(&["x.2.1"])["status"]["name"], both["status"]["name"]);
    let own = json(&["5.7.515"]);
    assert_eq!(
        (&own["status"]["name"], &own["status"]["subject"]),
        (&Value::Null, &"security or policy".into())
    );
}

#[test]
fn names_are_looked_up() {
    let cause = flat(&text(&["user_unknown"]));
    assert!(
        cause.contains("There is no such mailbox.") && cause.contains("google.user-unknown"),
        "{cause}"
    );
    assert!(cause.contains("suppress if permanent, retry if not"), "{cause}");
    let rule = flat(&text(&["google.user-unknown"]));
    assert!(
        rule.contains("config/rules/google.toml:")
            && rule.contains("Examples")
            && rule.contains("p=NoSuchUser"),
        "{rule}"
    );
    assert_eq!(json(&["google.user-unknown"])["cause"], "user_unknown");
    assert!(flat(&text(&["google"])).contains("TLS only"));
    assert!(flat(&text(&["spf"])).contains("google.spf"));
    assert_eq!(json(&["spamhaus"])["cause"], "blocklisted");
}

#[test]
fn a_search_finds_the_best_first_and_says_so_where_there_is_nothing() {
    let first = |query: &str| {
        let said = json(&["--search", query]);
        let hit = said["hits"][0].clone();
        ["id", "cause", "status", "code", "sub_cause"]
            .iter()
            .filter_map(|key| hit[*key].as_str().map(str::to_owned))
            .next()
            .unwrap_or_default()
    };
    assert_eq!(first("greylist"), "greylist.words");
    assert_eq!(first("greylisting"), "greylist.words");
    assert_eq!(first("REQUIRETLS"), "x.7.30");
    assert_eq!(first("mailbox full"), "mailbox_full");
    let said = text(&["--search", "over", "quota"]);
    assert!(said.contains("google.over-quota"), "{said}");
    let nothing = run(&["--search", "qwertzuiop"]);
    assert_eq!(nothing.status.code(), Some(1));
    assert!(nothing.stdout.is_empty() && err(&nothing).contains("nothing is found for \"qwertzuiop\""));
    let nothing = run(&["--json", "--search", "qwertzuiop"]);
    let said: Value = serde_json::from_slice(&nothing.stdout).unwrap();
    assert!(nothing.status.code() == Some(1) && said["hits"].as_array().unwrap().is_empty());
}

#[test]
fn a_wrong_provider_is_named() {
    let output = run(&["550 5.1.1 no", "--provider", "gogle"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("expected an MX host or one of") && err(&output).contains("\"gogle\""));
    let unknown = flat(&text(&["550 5.1.1 no", "--provider", "mx.nobody.test"]));
    assert!(unknown.contains("none of the catalogue"), "{unknown}");
}

/// The operator's own rule wins, and the shipped one says why it lost.
#[test]
fn an_operators_rule_is_explained_from_its_file() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(
        directory.path().join("mine.toml"),
        "[[rule]]\nid = \"mine.user\"\ntext = 'no such user'\ncause = \"policy_rejected\"\nadvice = \"Ask Ann.\"\n",
    )
    .unwrap();
    let setting = format!("rules.dir={}", directory.path().display());
    let said = flat(&text(&["550 5.1.1 no such user", "--set", &setting]));
    assert!(
        said.contains("mine.user (") && said.contains("mine.toml:2)") && said.contains("Ask Ann."),
        "{said}"
    );
    assert!(
        said.contains("ranked lower: yours come before the shipped ones"),
        "{said}"
    );
}

/// What a server says moves no cursor.
#[test]
fn strangers_words_are_shown_without_control_characters() {
    let said = text(&["550 5.1.1 no such user \x1b[2J\x07"]);
    assert!(!said.contains(['\x1b', '\x07']), "{said:?}");
}
