//! `nixie simulate`, as its users see it.

#![expect(clippy::unwrap_used, reason = "a failing test is a panic")]

use std::process::{Command, Output};

fn simulate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nixie"))
        .arg("simulate")
        .args(arguments)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_table_names_every_policy_and_is_the_same_for_a_seed() {
    let arguments = ["bucket", "--limit", "60", "--hours", "1", "--seed", "7"];
    let output = simulate(&arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let table = text(&output.stdout);
    for policy in ["nixie", "postfix", "tenth", "table-5m", "table-30m"] {
        assert!(table.contains(policy), "{table}");
    }
    assert_eq!(table, text(&simulate(&arguments).stdout));
}

#[test]
fn pictures_are_written_one_for_each_run() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pictures");
    let output = simulate(&[
        "outage",
        "quota",
        "--hours",
        "1",
        "--alone",
        "--svg",
        path.to_str().unwrap(),
    ]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    for name in ["outage-nixie.svg", "quota-nixie.svg"] {
        let picture = std::fs::read_to_string(path.join(name)).unwrap();
        assert!(
            picture.starts_with("<svg") && picture.contains("<polyline"),
            "{name}"
        );
    }
}

#[test]
fn bad_values_are_refused_with_the_allowed_range() {
    let table: [(&[&str], &str); 6] = [
        (&["--limit", "0"], "expected a number from 1 to 60000"),
        (&["--limit", "NaN"], "expected a number from 1 to 60000"),
        (&["--burst", "many"], "expected a number from 1 to 100000"),
        (&["--load", "11"], "expected a number from 0.01 to 10"),
        (&["--hours", "0.5"], "expected a number from 1 to 240"),
        (&["google"], "expected one of bucket, concurrency, quota"),
    ];
    for (arguments, said) in table {
        let output = simulate(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(text(&output.stderr).contains(said), "{}", text(&output.stderr));
    }
}
