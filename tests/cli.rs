//! The command line, as its operators use it.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use nixie_lab::dns::Zone;
use nixie_lab::nixie::{Nixie, Setup};
use std::path::Path;
use std::process::Output;

fn nixie() -> Nixie {
    Nixie::prepare(Setup::new(env!("CARGO_BIN_EXE_nixie"))).unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn check(text: &str) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("nixie.toml");
    std::fs::write(&path, text).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_nixie"));
    command
        .env("HOME", directory.path())
        .current_dir(directory.path());
    command
        .args(["--config", "nixie.toml", "check-config"])
        .output()
        .unwrap()
}

#[test]
fn check_config_names_file_line_and_key() {
    let good = check("[egress]\nname = \"pool-1\"\n");
    assert!(good.status.success(), "{}", err(&good));
    assert!(out(&good).starts_with("nixie.toml: good, "), "{}", out(&good));
    let table = [
        ("[policy]\nlisten = 7460\n", "nixie.toml:2: [policy] listen: "),
        (
            "[policy]\nlisten = \"localhost:7460\"\n",
            "nixie.toml:2: [policy] listen: expected an IP address with port",
        ),
        ("[polizy]\n", "nixie.toml:1: [polizy]: unknown field `polizy`"),
        (
            "\n[throttle]\nmax_hold = 5\n",
            "nixie.toml:3: [throttle] max_hold: invalid type: integer `5`",
        ),
        (
            "[store]\nurl = \"mysql://x\"\n",
            "[store] url: expected sqlite:///path",
        ),
        (
            "[trace]\nfilter = \"nixie=loud\"\n",
            "[trace] filter: expected levels like",
        ),
        (
            "[rules]\ndir = \"/nowhere/at/all\"\n",
            "[rules] dir: /nowhere/at/all",
        ),
    ];
    for (text, expected) in table {
        let output = check(text);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(
            err(&output).contains(expected),
            "expected {expected:?} in {}",
            err(&output)
        );
    }
}

/// Who is only quarantined is suppressed by somebody's own word, as one operation that can be undone.
#[test]
fn adding_by_hand_ends_a_quarantine() {
    use nixie::engine::suppression::{NewSuppression, Standing, Subject};
    let nixie = nixie();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let url = format!("sqlite://{}", nixie.directory().join("quarantine.db").display());
    let now = nixie::clock::now();
    let address = nixie::mail::address::Address::parse("a@x.test").unwrap();
    let subject = Subject::address(address.key(nixie::mail::address::LocalPart::Fold));
    let held = NewSuppression {
        standing: Standing::Quarantined,
        author: "rule some".into(),
        ..NewSuppression::new(subject, nixie::engine::verdict::Cause::UserUnknown, now)
    };
    let store = runtime.block_on(nixie::store::Store::open(&url)).unwrap();
    runtime.block_on(store.add(&[held], now)).unwrap();
    let cli = |arguments: &[&str]| nixie.cli(&[&["--store", &url], arguments].concat()).unwrap();
    let said = cli(&["suppress", "add", "a@x.test", "--reason", "they left"]);
    assert!(
        said.contains("is suppressed; NX-1 was only quarantined"),
        "{said}"
    );
    let standing = || {
        let list: serde_json::Value = serde_json::from_str(&cli(&["suppress", "list", "--json"])).unwrap();
        assert_eq!(list["suppressions"].as_array().unwrap().len(), 1, "{list}");
        list["suppressions"][0]["standing"].as_str().unwrap().to_owned()
    };
    assert_eq!(standing(), "in_force");
    assert!(cli(&["suppress", "add", "a@x.test", "--reason", "twice"]).contains("was suppressed already"));
    cli(&["undo", "--operation", "1", "--apply"]);
    assert_eq!(standing(), "quarantined");
}

#[test]
fn keys_are_made_rotated_and_never_shown() {
    use std::os::unix::fs::PermissionsExt as _;
    let nixie = nixie();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys");
    let key = |arguments: &[&str]| {
        let file = path.to_str().unwrap();
        nixie.cli(&[&["key"], arguments, &[file]].concat())
    };
    let problem = key(&["list"]).unwrap_err().to_string();
    assert!(problem.contains("there is no such file"), "{problem}");
    for expected in ["key 0 is in", "key 1 is in", "key 2 is in"] {
        assert!(key(&["new"]).unwrap().contains(expected));
    }
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let text = std::fs::read_to_string(&path).unwrap();
    let listed = key(&["list"]).unwrap();
    let numbers: Vec<_> = listed
        .lines()
        .map(|line| line.split_whitespace().next().unwrap())
        .collect();
    assert_eq!(numbers, ["2", "1", "0"]);
    for line in text.lines() {
        let secret = line.split_whitespace().nth(1).unwrap();
        assert!(secret.len() >= 43 && !listed.contains(secret));
    }
    assert!(key(&["drop", "1"]).unwrap().contains("key 1 is out of"));
    assert!(
        key(&["drop", "1"])
            .unwrap_err()
            .to_string()
            .contains("expected one of [2, 0], found 1")
    );
    key(&["drop", "0"]).unwrap();
    assert!(
        key(&["drop", "2"])
            .unwrap_err()
            .to_string()
            .contains("the only one")
    );
    std::fs::write(&path, "2 short\n").unwrap();
    let problem = key(&["new"]).unwrap_err().to_string();
    assert!(
        problem.contains("line 1") && !problem.contains("short"),
        "{problem}"
    );
    let problem = nixie.cli(&["key", "list"]).unwrap_err().to_string();
    assert!(problem.contains("[signing] key_file"), "{problem}");
}

#[test]
fn an_operators_rules_are_checked_with_file_and_line() {
    let directory = tempfile::tempdir().unwrap();
    let rules = directory.path().join("mine.toml");
    std::fs::write(
        &rules,
        "[[rule]]\nid = \"mine\"\ntext = \"(unclosed\"\ncause = \"user_unknown\"\n",
    )
    .unwrap();
    let output = check(&format!("[rules]\ndir = {:?}\n", directory.path()));
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("mine.toml:3"), "{}", err(&output));
}

#[test]
fn the_environment_overrides_the_file() {
    let nixie = nixie();
    let status = |variable: &str, value: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_nixie"));
        command.env(variable, value).arg("--config").arg(nixie.config());
        command.arg("check-config").output().unwrap()
    };
    assert!(status("NIXIE_EGRESS__NAME", "pool-2").status.success());
    let wrong = status("NIXIE_HOOKS__THREADS", "many");
    assert!(
        !wrong.status.success() && err(&wrong).contains("threads"),
        "{}",
        err(&wrong)
    );
    let unknown = status("NIXIE_HOOKS__THREATS", "2");
    assert!(
        !unknown.status.success() && err(&unknown).contains("threats"),
        "{}",
        err(&unknown)
    );
    assert!(
        status("NIXIE_REQUIRE_ALL", "1").status.success(),
        "a variable without section is none of ours"
    );
}

#[test]
fn the_catalogue_is_checked_shown_and_asked() {
    let nixie = nixie();
    let good = nixie.cli(&["providers", "check"]).unwrap();
    assert!(good.starts_with("the shipped catalogue: good, "), "{good}");
    assert!(nixie.cli(&["providers", "list"]).unwrap().contains("google "));
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("p.toml");
    let entry = |id: &str, mx: &str| format!("[[provider]]\nid = \"{id}\"\nname = \"N\"\nmx = [{mx}]\n");
    let text = entry("a", "\"mx.a.test\", \"a.test\"") + &entry("b", "");
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    let said = nixie.cli(&["providers", "check", file]).unwrap_err().to_string();
    for part in [
        ":4: mx: \"mx.a.test\" can never match",
        ":6: mx: \"b\" has none and can never match",
    ] {
        assert!(said.contains(&format!("{file}{part}")), "{said}");
    }
    let dns = nixie_lab::dns::Dns::start([
        ("shop.test", Zone::mx(&["aspmx.l.google.com."])),
        ("mixed.test", Zone::mx(&["aspmx.l.google.com.", "mx.mixed.test."])),
    ])
    .unwrap();
    let servers = format!("dns.servers={}", dns.address());
    let of = nixie
        .cli(&[
            "--set",
            &servers,
            "providers",
            "of",
            "shop.test",
            "mixed.test",
            "nobody.test",
        ])
        .unwrap();
    let lines: Vec<Vec<&str>> = of.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["shop.test", "google", "aspmx.l.google.com"]);
    assert_eq!(lines[1][..2], ["mixed.test", "mixed.test"]);
    assert!(of.contains("there is no such domain"), "{of}");
}

#[test]
fn suppressions_are_added_listed_explained_and_removed() {
    let nixie = nixie();
    assert!(
        nixie
            .cli(&["suppress", "add", "Dead@Example.org", "--reason", "asked us to"])
            .unwrap()
            .contains("NX-1")
    );
    assert!(
        nixie
            .cli(&["suppress", "add", "dead@example.org"])
            .unwrap()
            .contains("already")
    );
    let listed = nixie
        .cli(&[
            "suppress",
            "list",
            "--domain",
            "example.org",
            "--cause",
            "user_unknown",
        ])
        .unwrap();
    assert!(listed.contains("dead@example.org"), "{listed}");
    let checked = nixie.cli(&["suppress", "check", "DEAD@example.org"]).unwrap();
    assert!(
        checked.contains("is suppressed") && checked.contains("asked us to"),
        "{checked}"
    );
    assert!(
        nixie
            .cli(&["suppress", "remove", "dead@example.org"])
            .unwrap()
            .contains("may be mailed again")
    );
    assert!(
        nixie
            .cli(&["suppress", "check", "dead@example.org"])
            .unwrap()
            .contains("is not suppressed")
    );
    let again = nixie.run(&["suppress", "remove", "dead@example.org"]).unwrap();
    assert!(!again.status.success() && err(&again).contains("is not suppressed"));
    let bad = nixie.run(&["suppress", "add", "nobody"]).unwrap();
    assert!(
        !bad.status.success() && err(&bad).contains("no `@`"),
        "{}",
        err(&bad)
    );
    let cause = nixie
        .run(&["suppress", "add", "a@b.example", "--cause", "content_rejected"])
        .unwrap();
    assert!(
        !cause.status.success(),
        "a message's fault suppresses nobody, not even by hand"
    );
}

#[test]
fn an_import_names_bad_lines_and_can_be_run_twice() {
    let nixie = nixie();
    let file = nixie.directory().join("dead.csv");
    std::fs::write(
        &file,
        "address,cause\na@x.example,mailbox_disabled\nB@x.example\nnobody\nc@x.example,spam\n",
    )
    .unwrap();
    let path = file.to_str().unwrap();
    let first = nixie.run(&["suppress", "import", path]).unwrap();
    assert_eq!(first.status.code(), Some(1));
    assert!(
        out(&first).contains("2 added, 0 suppressed already, 2 lines rejected"),
        "{}",
        out(&first)
    );
    assert!(
        err(&first).contains("dead.csv:4: expected user@domain"),
        "{}",
        err(&first)
    );
    assert!(
        err(&first).contains("dead.csv:5: expected a recipient's"),
        "{}",
        err(&first)
    );
    let rejected = std::fs::read_to_string(nixie.directory().join("dead.csv.rejected")).unwrap();
    assert!(
        rejected.lines().nth(1).is_some_and(|line| line.starts_with("4,")),
        "{rejected}"
    );
    assert_eq!(rejected.lines().count(), 3);
    let second = nixie.run(&["suppress", "import", path]).unwrap();
    assert!(
        out(&second).contains("0 added, 2 suppressed already"),
        "{}",
        out(&second)
    );
}

#[test]
fn domains_patterns_and_streams_are_suppressed_by_hand() {
    let nixie = nixie();
    let run = |arguments: &[&str]| nixie.cli(&[&["suppress"], arguments].concat()).unwrap();
    assert!(
        run(&["add", "--domain", "Dead.example"]).contains("every address at dead.example is suppressed")
    );
    assert!(run(&["add", "--pattern", "test-*@shop.example", "--expires", "90d"]).contains("NX-2"));
    assert!(
        run(&[
            "add",
            "a@shop.example",
            "--stream",
            "default",
            "--cause",
            "complaint"
        ])
        .contains("NX-3")
    );
    let checked = run(&["check", "test-7@shop.example"]);
    assert!(
        checked.contains("every address like test-*@shop.example is suppressed"),
        "{checked}"
    );
    assert!(run(&["check", "x@dead.example"]).contains("every address at dead.example"));
    assert!(run(&["check", "x@sub.dead.example"]).contains("is not suppressed"));
    let page = run(&["list", "--domain", "shop.example", "--json"]);
    assert!(
        page.contains("\"stream\": \"default\"") && page.contains("\"next\": null"),
        "{page}"
    );
    let page = run(&["list", "--limit", "2", "--json"]);
    assert!(page.contains("\"next\": \"NX-2\""), "{page}");
    assert!(run(&["list", "--after", "NX-2", "--csv"]).contains("NX-3,a@shop.example,default,complaint,"));
    assert!(
        !run(&["list", "--until", "1d"]).contains("NX-"),
        "nothing is that old"
    );
    assert!(run(&["list", "--source", "cli", "--since", "1h"]).contains("NX-3"));
    for bad in [
        &["suppress", "add"][..],
        &["suppress", "add", "a@b.example", "--domain", "c.example"],
        &["suppress", "add", "a@b.example", "--stream", "nosuch"],
        &["suppress", "add", "a@b.example", "--expires", "2020-01-01"],
        &["suppress", "add", "--pattern", "*@*"],
    ] {
        assert!(!nixie.run(bad).unwrap().status.success(), "{bad:?}");
    }
    assert!(run(&["remove", "--domain", "dead.example"]).contains("NX-1 is lifted"));
}

/// What one store exports another imports, and nothing is lost on the way.
#[test]
fn an_export_is_imported_as_it_was() {
    let (nixie, other) = (nixie(), crate::nixie());
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/import");
    for name in [
        "ses.csv",
        "sendgrid_bounces.csv",
        "sendgrid_blocks.csv",
        "plain.txt",
    ] {
        let file = data.join(name);
        let rejected = nixie.directory().join("rejected");
        let arguments = [
            "suppress",
            "import",
            file.to_str().unwrap(),
            "--rejected",
            rejected.to_str().unwrap(),
        ];
        let done = nixie.run(&arguments).unwrap();
        assert!(out(&done).contains("added"), "{}{}", out(&done), err(&done));
        let again = out(&nixie.run(&arguments).unwrap());
        assert!(again.contains("0 added"), "{again}");
    }
    let blocks = nixie
        .run(&[
            "suppress",
            "import",
            data.join("sendgrid_blocks.csv").to_str().unwrap(),
        ])
        .unwrap();
    assert!(out(&blocks).contains("2 skipped: a block"), "{}", out(&blocks));
    nixie
        .cli(&[
            "suppress",
            "add",
            "--domain",
            "gone.example",
            "--stream",
            "default",
        ])
        .unwrap();
    nixie
        .cli(&[
            "suppress",
            "add",
            "--pattern",
            "*@*.gone.example",
            "--expires",
            "2100-01-01",
        ])
        .unwrap();
    let export = |nixie: &Nixie| nixie.cli(&["suppress", "export"]).unwrap();
    let exported = export(&nixie);
    assert!(exported.lines().count() >= 12, "{exported}");
    let file = other.directory().join("all.csv");
    std::fs::write(&file, &exported).unwrap();
    let imported = other
        .cli(&["suppress", "import", file.to_str().unwrap()])
        .unwrap();
    assert!(
        imported.contains("read as nixie") && imported.contains(" 0 lines rejected"),
        "{imported}"
    );
    let without_ids = |text: &str| -> Vec<String> {
        let rest = |line: &str| line.split_once(',').map(|(_, rest)| rest.to_owned());
        let mut lines: Vec<String> = text.lines().filter_map(rest).collect();
        lines.sort();
        lines
    };
    assert_eq!(without_ids(&export(&other)), without_ids(&exported));
    let lines = other
        .cli(&["suppress", "export", "--json", "--cause", "complaint"])
        .unwrap();
    assert!(
        lines.lines().count() == 1 && lines.contains("annoyed@example.com"),
        "{lines}"
    );
}

/// An outage is undone, and the undoing too; and who asks why is told all of it.
#[test]
fn what_was_done_is_told_and_undone() {
    let nixie = nixie();
    let file = nixie.directory().join("mail.log");
    let line = |id: &str, user: &str, second: u32, reply: &str| {
        format!(
            "2026-11-21T09:00:{second:02}+00:00 mta postfix/smtp[7]: {id}: to=<{user}@x.example>, relay=mx.x.example[192.0.2.1]:25, \
             delay=1, delays=0/0/0/1, dsn={}, status=bounced (host mx.x.example[192.0.2.1] said: 550 {reply} (in reply to RCPT TO command))\n",
            &reply[..5]
        )
    };
    let log = line("4A1B2C3D4E51", "one", 1, "5.1.1 no such user")
        + &line("4A1B2C3D4E52", "two", 2, "5.1.1 no such user")
        + &line("4A1B2C3D4E53", "three", 3, "5.7.1 spam");
    std::fs::write(&file, log).unwrap();
    nixie.cli(&["ingest", file.to_str().unwrap()]).unwrap();
    nixie.cli(&["suppress", "add", "hand@x.example"]).unwrap();

    let listed = nixie
        .cli(&["suppress", "list", "--source", "rule", "--csv"])
        .unwrap();
    let rule = listed.lines().nth(1).unwrap().split("rule ").nth(1).unwrap();
    let rule = rule.split(',').next().unwrap();
    let dry = nixie.cli(&["undo", "--rule", rule]).unwrap();
    assert!(
        dry.contains("would lift 2,") && dry.contains("one@x.example"),
        "{dry}"
    );
    assert!(dry.contains("--apply does it"), "{dry}");
    let since = nixie
        .cli(&[
            "undo",
            "--since",
            "2026-11-21T09:00:02Z",
            "--until",
            "2026-11-21T10:00:00Z",
        ])
        .unwrap();
    assert!(since.contains("would lift 1,"), "{since}");
    let none = nixie.cli(&["undo", "--cause", "complaint", "--json"]).unwrap();
    assert!(none.contains("\"lift\": 0"), "{none}");
    assert!(
        !nixie.run(&["undo", "--apply"]).unwrap().status.success(),
        "undo what?"
    );
    assert!(
        !nixie
            .run(&["undo", "--operation", "77"])
            .unwrap()
            .status
            .success()
    );

    let done = nixie
        .cli(&["undo", "--rule", rule, "--reason", "an outage", "--apply"])
        .unwrap();
    assert!(
        done.contains("2 lifted") && done.contains("undo --operation 1"),
        "{done}"
    );
    assert!(
        nixie
            .cli(&["suppress", "list"])
            .unwrap()
            .contains("hand@x.example")
    );
    let why = nixie.cli(&["why", "One@x.example"]).unwrap();
    let lines: Vec<&str> = why.lines().map(str::trim).collect();
    assert_eq!(lines[0], "one@x.example is not suppressed", "{why}");
    let story = ["failed", "suppressed", "lifted"];
    for (line, what) in lines[1..].iter().zip(story) {
        assert!(line.contains(what), "{why}");
    }
    assert!(lines[3].contains("operation 1: an outage"), "{why}");

    let again = nixie
        .cli(&["undo", "--operation", "1", "--apply", "--json"])
        .unwrap();
    assert!(again.contains("\"added\": 2"), "{again}");
    let why = nixie.cli(&["why", "one@x.example", "--json"]).unwrap();
    assert!(
        why.contains("\"in_force\": true") && why.contains("\"what\": \"lifted\""),
        "{why}"
    );
    assert!(
        nixie
            .cli(&["why", "nobody@x.example"])
            .unwrap()
            .contains("nothing is known")
    );
    assert!(nixie.cli(&["migrate"]).unwrap().contains("done"));
}

/// Rules that were wrong are put right, and what they did with them.
#[test]
fn kept_replies_are_judged_again() {
    let nixie = nixie();
    let line = |n: u32, reply: &str| {
        format!(
            "2026-11-21T09:00:{n:02}+00:00 mta postfix/smtp[7]: 4A1B2C3D4E5{n}: to=<user{n}@x.example>, relay=mx.x.example[192.0.2.1]:25, \
             delay=1, delays=0/0/0/1, dsn=5.7.1, status=bounced (host mx.x.example[192.0.2.1] said: {reply} (in reply to RCPT TO command))\n"
        )
    };
    let log = line(1, "550 5.7.1 wombat moved out")
        + &line(2, "550 5.1.1 no such user, says the numbat")
        + &line(3, "550 5.1.1 no such user");
    let file = nixie.directory().join("mail.log");
    std::fs::write(&file, log).unwrap();
    nixie.cli(&["ingest", file.to_str().unwrap()]).unwrap();
    let same = nixie.cli(&["replay", "--since", "2026-11-01"]).unwrap();
    assert!(
        same.contains("3 kept replies") && same.contains("would add 0, would lift 0"),
        "{same}"
    );

    let rules = nixie.directory().join("rules");
    std::fs::create_dir(&rules).unwrap();
    let rule = "[[rule]]\nid = \"our.wombat\"\ntext = 'wombat moved out'\ncause = \"user_unknown\"\nexamples = [\"550 wombat moved out\"]\n\n\
                [[rule]]\nid = \"our.numbat\"\ntext = 'says the numbat'\ncause = \"content_rejected\"\nexamples = [\"550 says the numbat\"]\n";
    std::fs::write(rules.join("our.toml"), rule).unwrap();
    let csv = nixie.directory().join("replay.csv");
    let arguments = [
        "replay",
        "--since",
        "2026-11-01",
        "--rules",
        rules.to_str().unwrap(),
    ];
    let dry = nixie
        .cli(&[&arguments[..], &["--csv", csv.to_str().unwrap()]].concat())
        .unwrap();
    assert!(
        dry.contains("would add 1, would lift 1") && dry.contains("nothing was changed"),
        "{dry}"
    );
    let csv = std::fs::read_to_string(&csv).unwrap();
    let lines: Vec<&str> = csv.lines().skip(1).collect();
    assert!(
        lines[0].starts_with("add,user1@x.example,user_unknown,rule our.wombat,"),
        "{csv}"
    );
    assert!(lines[1].starts_with("lift,user2@x.example,"), "{csv}");

    let before = nixie.cli(&["suppress", "list"]).unwrap();
    assert!(
        before.contains("user2@") && !before.contains("user1@"),
        "{before}"
    );
    let done = nixie.cli(&[&arguments[..], &["--apply"]].concat()).unwrap();
    assert!(done.contains("1 added, 1 lifted"), "{done}");
    let after = nixie.cli(&["suppress", "list"]).unwrap();
    assert!(
        after.contains("user1@") && !after.contains("user2@") && after.contains("user3@"),
        "{after}"
    );
    nixie.cli(&["undo", "--operation", "1", "--apply"]).unwrap();
    let back = nixie.cli(&["suppress", "list"]).unwrap();
    assert!(!back.contains("user1@") && back.contains("user2@"), "{back}");
}

/// With a key nothing that is kept names a recipient, and everything works but listing in clear.
#[test]
fn behind_the_veil_no_address_is_kept() {
    let mut nixie = nixie();
    let key = nixie.directory().join("key");
    std::fs::write(&key, [7; 32]).unwrap();
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    nixie
        .set("privacy", "key_file", &format!("\"{}\"", key.display()))
        .unwrap();
    let line = "2026-11-21T09:00:01+00:00 mta postfix/smtp[7]: 4A1B2C3D4E51: to=<Wombat@x.example>, relay=mx.x.example[192.0.2.1]:25, \
                delay=1, delays=0/0/0/1, dsn=5.1.1, status=bounced (host mx.x.example[192.0.2.1] said: 550 5.1.1 <wombat@x.example>: \
                no such user wombat (in reply to RCPT TO command))\n";
    let file = nixie.directory().join("mail.log");
    std::fs::write(&file, line).unwrap();
    nixie.cli(&["ingest", file.to_str().unwrap()]).unwrap();
    std::fs::write(&file, "numbat@x.example,complaint\nquoll@x.example\n").unwrap();
    nixie
        .cli(&["suppress", "import", file.to_str().unwrap()])
        .unwrap();
    nixie.cli(&["suppress", "add", "Bilby@x.example"]).unwrap();

    for name in ["wombat", "numbat", "quoll", "bilby"] {
        let checked = nixie
            .cli(&["suppress", "check", &format!("{name}@X.example")])
            .unwrap();
        assert!(checked.contains("is suppressed"), "{checked}");
    }
    let why = nixie.cli(&["why", "wombat@x.example"]).unwrap();
    assert!(why.contains("failed") && why.contains("no such user"), "{why}");
    assert!(
        nixie
            .cli(&["replay", "--since", "2026-11-01"])
            .unwrap()
            .contains("would add 0, would lift 0")
    );
    let listed = nixie.cli(&["suppress", "list", "--csv"]).unwrap();
    assert!(listed.lines().skip(1).all(|line| line.contains(",#")), "{listed}");
    nixie
        .cli(&["suppress", "forget", "quoll@x.example", "--keep-hash"])
        .unwrap();
    assert!(
        nixie
            .cli(&["suppress", "check", "quoll@x.example"])
            .unwrap()
            .contains("is suppressed")
    );
    assert!(
        nixie
            .cli(&["suppress", "forget", "wombat@x.example"])
            .unwrap()
            .contains("1 entries lifted, 1 events")
    );
    let why = nixie.cli(&["why", "wombat@x.example"]).unwrap();
    assert!(
        why.contains("is not suppressed") && !why.contains("failed"),
        "{why}"
    );

    let mut looked = 0;
    for entry in std::fs::read_dir(nixie.directory()).unwrap() {
        let path = entry.unwrap().path();
        if !path.to_string_lossy().contains("nixie.db") {
            continue;
        }
        let octets = std::fs::read(&path).unwrap().to_ascii_lowercase();
        for name in ["wombat", "numbat", "quoll", "bilby"] {
            let found = octets.windows(name.len()).any(|window| window == name.as_bytes());
            assert!(!found, "{name} in {}", path.display());
        }
        looked += octets.len();
    }
    assert!(looked > 10_000, "the store was not looked at: {looked}");
    // Another key finds nobody: it is refused, and so is none.
    std::fs::write(&key, [8; 32]).unwrap();
    let other = nixie.run(&["suppress", "list"]).unwrap();
    assert!(
        !other.status.success() && err(&other).contains("another key"),
        "{}",
        err(&other)
    );
}

/// A backlog of every form: read once, and a second time without counting anything.
#[test]
fn an_ingest_can_be_run_twice() {
    let nixie = nixie();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let directory = nixie.directory().join("backlog");
    let maildir = directory.join("Maildir");
    for name in ["cur", "new", "tmp"] {
        std::fs::create_dir_all(maildir.join(name)).unwrap();
    }
    let bounce = std::fs::read(data.join("dsn/remote.eml")).unwrap();
    std::fs::write(maildir.join("new/1.mail"), &bounce).unwrap();
    std::fs::write(maildir.join("tmp/2.mail"), "still being delivered").unwrap();
    let mut mbox = b"From MAILER-DAEMON Sat Nov 21 09:00:00 2026\n".to_vec();
    mbox.extend_from_slice(&bounce);
    mbox.extend_from_slice(b"\nFrom someone Sat Nov 21 09:00:00 2026\nSubject: hello\n\nnot a bounce\n");
    std::fs::write(directory.join("old.mbox"), mbox).unwrap();
    let log = "2026-11-21T09:00:00.5+00:00 mta postfix/smtp[7]: 4A1B2C3D4E5F: to=<dead@x.example>, relay=mx.x.example[192.0.2.1]:25, \
               delay=1, delays=0/0/0/1, dsn=5.1.1, status=bounced (host mx.x.example[192.0.2.1] said: 550 5.1.1 no such \
               user (in reply to RCPT TO command))\n";
    std::fs::write(directory.join("mail.log"), log).unwrap();
    std::fs::write(directory.join("mail.log.2.gz"), [0x1f, 0x8b, 8, 0]).unwrap();
    let path = directory.to_str().unwrap();
    let first = nixie.run(&["ingest", path]).unwrap();
    assert_eq!(first.status.code(), Some(1), "one file cannot be read");
    assert!(
        err(&first).contains("mail.log.2.gz: expected a log or mail, found compressed data"),
        "{}",
        err(&first)
    );
    let said = out(&first);
    assert!(
        said.contains("1 log lines, 3 messages") && said.contains("1 messages that are none"),
        "{said}"
    );
    assert!(said.contains("1 addresses suppressed"), "{said}");
    assert!(
        said.contains(" 1 seen before"),
        "the same bounce in the Maildir and in the mbox: {said}"
    );
    let second = nixie.run(&["ingest", path]).unwrap();
    assert!(
        out(&second).contains("0 new events, 3 seen before"),
        "{}",
        out(&second)
    );
    assert!(
        nixie
            .cli(&["suppress", "check", "dead@x.example"])
            .unwrap()
            .contains("own")
    );
}

#[test]
fn a_reload_takes_over_what_can_change_and_says_what_cannot() {
    let mut nixie = Nixie::launch(Setup::new(env!("CARGO_BIN_EXE_nixie"))).unwrap();
    let said = |nixie: &Nixie, what: &str| {
        nixie_lab::wait::until(std::time::Duration::from_secs(30), what, || {
            Ok(nixie.printed().contains(what).then_some(()))
        })
        .unwrap();
    };
    nixie.set("throttle", "max_hold", "\"1h\"").unwrap();
    nixie.set("egress", "name", "\"another\"").unwrap();
    nixie.signal("HUP").unwrap();
    said(&nixie, "[egress] changed, and that takes a restart");
    said(&nixie, "reloaded");
    nixie.set("throttle", "max_hold", "\"never\"").unwrap();
    nixie.signal("HUP").unwrap();
    said(&nixie, "nothing is changed");
    assert!(nixie.is_running());
}

/// `nixie status | head -1`: a reader that goes early is no accident.
#[test]
fn a_reader_that_has_gone_is_no_failure() {
    let nixie = nixie();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_nixie"));
    command.arg("--config").arg(nixie.config()).arg("postfix");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = command.stdout(writer).output().unwrap();
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{}",
        err(&output)
    );
}

#[test]
fn the_manual_page_names_every_command() {
    let output = nixie().run(&["man"]).unwrap();
    for command in [
        "serve", "check", "postfix", "ingest", "classify", "explain", "suppress", "throttle", "why", "status",
    ] {
        assert!(out(&output).contains(command), "{command}");
    }
    let directory = tempfile::tempdir().unwrap();
    nixie().cli(&["man", directory.path().to_str().unwrap()]).unwrap();
    let page = |name: &str| std::fs::read_to_string(directory.path().join(name)).unwrap();
    assert!(
        page("nixie-suppress-add.1").contains("expires"),
        "each command has a page with its options"
    );
    assert!(page("nixie.1").contains("suppress"));
}
