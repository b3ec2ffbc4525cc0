//! Lanes as their operators see and steer them: the commands, and what a running daemon does on their word.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use nixie_lab::nixie::{Nixie, Setup};
use nixie_lab::wait;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Output;
use std::time::{Duration, Instant};

const WITHIN: Duration = Duration::from_secs(30);

/// How Postfix logs Google's "too fast".
const REFUSED: &str = "dsn=4.7.28, status=deferred (host gmail-smtp-in.l.google.com[192.0.2.1] said: 421-4.7.28 Gmail \
                       has detected an unusual rate of unsolicited mail (in reply to end of DATA command))";

fn setup() -> Setup {
    Setup::new(env!("CARGO_BIN_EXE_nixie")).environment("SUDO_USER", "alice")
}

fn prepared() -> Nixie {
    Nixie::prepare(setup()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn json(nixie: &Nixie, arguments: &[&str]) -> Value {
    serde_json::from_str(&nixie.cli(arguments).unwrap()).unwrap()
}

/// All of these stand in the text.
fn says(text: &str, all: &[&str]) {
    for part in all {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
}

#[test]
fn bad_values_are_refused_with_the_range_and_the_fix() {
    let nixie = prepared();
    let set = |more: &[&str]| {
        let mut arguments = vec!["throttle", "set", "google", "--reason", "test"];
        arguments.extend(more);
        nixie.run(&arguments).unwrap()
    };
    let table: [(&[&str], &[&str]); 9] = [
        (&["--rate", "fast"], &["5/s, 300/min or 1000/h", "\"fast\""]),
        (&["--rate", "300"], &["5/s, 300/min or 1000/h"]),
        (&["--rate", "300/fortnight"], &["5/s, 300/min or 1000/h"]),
        (&["--rate", "0/min"], &["from 1/h to 10000/s", "pause the lane"]),
        (&["--rate", "-5/s"], &["from 1/h to 10000/s", "pause the lane"]),
        (&["--rate", "99999/s"], &["from 1/h to 10000/s", "set none"]),
        (&["--connections", "0"], &["from 1 to 1000", "pause the lane"]),
        (&["--connections", "5000"], &["from 1 to 1000", "leave it out"]),
        (&[], &["--rate", "--connections"]),
    ];
    for (arguments, expected) in table {
        let output = set(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", err(&output));
        says(&err(&output), expected);
    }
    let lanes: [(&str, &[&str]); 6] = [
        ("gogle", &["as google", "did you mean \"google\"?"]),
        ("Google", &["did you mean \"google\"?"]),
        (
            "gmail-smtp-in.l.google.com",
            &["this is Google's, write \"google\""],
        ),
        ("google/", &["expected a provider, or a provider and an egress"]),
        ("/pool-1", &["expected a provider, or a provider and an egress"]),
        (
            "google/pool 1",
            &["expected a provider, or a provider and an egress"],
        ),
    ];
    for (lane, expected) in lanes {
        for command in [&["throttle", "pause", lane, "--reason", "x"][..], &["why", lane]] {
            let output = nixie.run(command).unwrap();
            assert_eq!(output.status.code(), Some(1), "{command:?}: {}", err(&output));
            says(&err(&output), expected);
        }
    }
    for command in [
        &["throttle", "pause", "google"][..],
        &["throttle", "pause", "google", "--reason", ""],
        &["throttle", "set", "google", "--rate", "5/s"],
    ] {
        let output = nixie.run(command).unwrap();
        assert_eq!(
            output.status.code(),
            Some(2),
            "an order has a reason: {command:?}"
        );
    }
    let listed = nixie.cli(&["throttle", "list"]).unwrap();
    says(&listed, &["no lanes yet"]);
}

#[test]
fn orders_are_given_shown_explained_and_taken_back() {
    let nixie = prepared();
    let throttle = |arguments: &[&str]| {
        let all: Vec<&str> = ["throttle"]
            .into_iter()
            .chain(arguments.iter().copied())
            .collect();
        nixie.cli(&all).unwrap()
    };
    let rate = ["--rate", "300/min", "--connections", "3"];
    let set = throttle(
        &[
            &["set", "google"],
            &rate[..],
            &["--reason", "their postmaster called"],
        ]
        .concat(),
    );
    says(&set, &["google/lab: at most 300/min, 3 connections from now on"]);
    let lower = throttle(&["set", "google", "--rate", "1/s", "--reason", "again"]);
    says(
        &lower,
        &[
            "at most 60/min",
            "before: at most 300/min, 3 connections (cli alice, ",
            ": their postmaster called)",
        ],
    );
    says(
        &throttle(&["pause", "google/lab", "--reason", "an incident"]),
        &["google/lab is paused", "nixie throttle resume google/lab"],
    );
    says(
        &throttle(&["set", "google", "--rate", "2/s", "--reason", "x"]),
        &["paused all the same", "an incident"],
    );
    says(
        &throttle(&["pause", "yahoo/pool-1", "--reason", "y"]),
        &["yahoo/pool-1 is paused"],
    );

    let listed = throttle(&["list"]);
    says(
        &listed,
        &[
            "google/lab",
            "yahoo/pool-1",
            "paused",
            "the daemon is not reached at",
        ],
    );
    let shown = throttle(&["show", "google"]);
    says(
        &shown,
        &[
            "paused",
            "order      pause (cli alice, ",
            "order      at most 120/min",
            "waiting    not known",
        ],
    );
    let status = nixie.status().unwrap();
    says(
        &status,
        &[
            "google from lab: open",
            "may send: paused (ordered: pause",
            "order: pause (cli alice",
            "what waits is not known",
        ],
    );
    let why = nixie.cli(&["why", "google"]).unwrap();
    says(
        &why,
        &[
            "google/lab may send: paused",
            "applies  ordered: pause (cli alice",
            "Google documents it: 5 connections",
            "when resumed: at most 120/min",
            "history",
            "cli alice: ordered: at most 300/min, 3 connections: their postmaster called",
            "cli alice: taken back: at most 300/min, 3 connections: again",
        ],
    );

    let resumed = throttle(&["resume", "google", "--reason", "it is over"]);
    says(
        &resumed,
        &[
            "google/lab is resumed",
            "before: pause",
            "just now: 120.0 a minute, 5 connections",
        ],
    );
    let again = nixie.run(&["throttle", "resume", "google"]).unwrap();
    assert!(!again.status.success() && err(&again).contains("google/lab is not paused"));
    let cleared = throttle(&["clear", "google", "--reason", "a new address"]);
    says(
        &cleared,
        &[
            "google/lab is open again",
            "taken back: at most 120/min",
            "just now: 5 connections",
        ],
    );
    let nothing = nixie.run(&["throttle", "clear", "google"]).unwrap();
    assert!(!nothing.status.success() && err(&nothing).contains("there is nothing to clear"));
    let why = nixie.cli(&["why", "google"]).unwrap();
    says(
        &why,
        &[
            "taken back: pause: it is over",
            "taken back: at most 120/min: a new address",
        ],
    );
}

#[test]
fn everything_is_there_for_programs_too() {
    let nixie = prepared();
    let reason = ["--reason", "x", "--json"];
    let cap = [&["throttle", "set", "google", "--rate", "90/min"][..], &reason].concat();
    let set = json(&nixie, &cap);
    assert_eq!(
        (&set["lane"], &set["permit"]),
        (&"google/lab".into(), &"limited".into())
    );
    assert_eq!(
        (&set["rate_per_minute"], &set["connections"]),
        (&90.0.into(), &5.into())
    );
    assert_eq!(
        (&set["because"]["kind"], &set["daemon"]),
        (&"operator".into(), &Value::Null)
    );
    let order = &set["orders"][0];
    assert_eq!(
        (&order["rate"], &order["author"]),
        (&"90/min".into(), &"cli alice".into())
    );
    let paused = json(&nixie, &[&["throttle", "pause", "google"][..], &reason].concat());
    assert_eq!(paused["permit"], "paused");
    let all = json(&nixie, &["throttle", "list", "--json"]);
    assert_eq!(
        (all.as_array().map(Vec::len), &all[0]["permit"]),
        (Some(1), &"paused".into())
    );
    let why = json(&nixie, &["why", "google", "--json"]);
    assert_eq!(why["history"].as_array().map(Vec::len), Some(2));
    assert_eq!(why["ceilings"].as_array().map(Vec::len), Some(2));
    let applies: Vec<&Value> = why["ceilings"].as_array().unwrap().iter().collect();
    assert_eq!(
        applies
            .iter()
            .filter(|ceiling| ceiling["applies"] == true)
            .count(),
        1
    );
    assert_eq!(
        json(&nixie, &["throttle", "resume", "google", "--json"])["permit"],
        "limited"
    );
    assert_eq!(
        json(&nixie, &["throttle", "clear", "google", "--json"])["orders"],
        Value::Array(vec![])
    );
}

/// A daemon that reads a log which the test writes.
struct Rig {
    nixie: Nixie,
    log: PathBuf,
    _directory: tempfile::TempDir,
}

impl Rig {
    fn start(more: &str) -> Self {
        Self::set_up(setup(), more)
    }

    fn set_up(setup: Setup, more: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("mail.log");
        std::fs::write(&log, "").unwrap();
        let mut nixie = Nixie::prepare(setup.log(&log)).unwrap();
        configure(&nixie, more);
        nixie.start().unwrap();
        Self {
            nixie,
            log,
            _directory: directory,
        }
    }

    /// Postfix logs an attempt at Google.
    fn logs(&self, queue_id: &str, recipient: &str, result: &str) {
        let now = nixie::clock::now().strftime("%Y-%m-%dT%H:%M:%S%.6f+00:00");
        let relay = "gmail-smtp-in.l.google.com[192.0.2.1]:25";
        let line = format!(
            "{now} mta postfix/smtp[7]: {queue_id}: to=<{recipient}>, relay={relay}, delay=1, delays=0/0/0/1, {result}\n"
        );
        let mut file = std::fs::File::options().append(true).open(&self.log).unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }

    fn delivers(&self, queue_id: &str, recipient: &str) {
        self.logs(queue_id, recipient, "dsn=2.0.0, status=sent (250 2.0.0 OK)");
    }

    /// What the transport map says of an address.
    fn transport(&self, address: &str) -> String {
        let mut stream = TcpStream::connect(self.nixie.address("socketmap")).unwrap();
        stream.set_read_timeout(Some(WITHIN)).unwrap();
        let request = format!("transport {address}");
        write!(stream, "{}:{request},", request.len()).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b",") {
            let mut octet = [0];
            stream.read_exact(&mut octet).unwrap();
            answer.push(octet[0]);
        }
        String::from_utf8(answer).unwrap()
    }

    /// Asks until the map says so; how long that took.
    fn until(&self, address: &str, what: &str) -> Duration {
        let began = Instant::now();
        wait::until(WITHIN, what, || {
            Ok(self.transport(address).contains(what).then_some(()))
        })
        .unwrap();
        began.elapsed()
    }

    fn knows_google(&self) {
        self.delivers("4A1B2C3D4E5F", "one@gmail.example");
        wait::until(WITHIN, "the delivery to be counted", || {
            Ok(self.nixie.status()?.contains("delivered").then_some(()))
        })
        .unwrap();
    }
}

/// Appends to the configuration.
fn configure(nixie: &Nixie, more: &str) {
    let mut file = std::fs::File::options()
        .append(true)
        .open(nixie.config())
        .unwrap();
    file.write_all(more.as_bytes()).unwrap();
}

#[test]
fn a_pause_reaches_the_running_daemon_within_a_second() {
    let rig = Rig::start("");
    rig.knows_google();
    assert!(rig.transport("two@gmail.example").contains("NOTFOUND"));
    rig.nixie
        .cli(&["throttle", "pause", "google", "--reason", "an incident"])
        .unwrap();
    let took = rig.until("two@gmail.example", "OK retry:4.7.1");
    assert!(took < Duration::from_secs(1), "the daemon paused after {took:?}");
    says(
        &rig.transport("two@gmail.example"),
        &["google is paused by an operator"],
    );
    assert!(rig.transport("two@elsewhere.example").contains("NOTFOUND"));

    let (status, body) = rig.nixie.get("/lanes").unwrap();
    let lanes: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &lanes[0]["permit"]), (200, &"paused".into()), "{body}");
    let paused = "nixie_lane_paused{provider=\"google\",egress=\"lab\"}";
    assert_eq!(rig.nixie.metric(paused).unwrap(), Some(1.0));
    let shown = json(&rig.nixie, &["throttle", "show", "google", "--json"]);
    assert_eq!(
        (&shown["daemon"]["permit"], &shown["daemon"]["backlog"]),
        (&"paused".into(), &0.into())
    );
    assert!(!rig.nixie.status().unwrap().contains("what waits is not known"));

    rig.nixie.cli(&["throttle", "resume", "google"]).unwrap();
    let took = rig.until("two@gmail.example", "NOTFOUND");
    assert!(took < Duration::from_secs(1), "the daemon resumed after {took:?}");
    assert_eq!(rig.nixie.metric(paused).unwrap(), Some(0.0));
}

/// A second daemon over the same store hears what the first has learned: the domain's provider, and its lane.
#[test]
fn another_node_hears_of_a_lane() {
    let rig = Rig::start("");
    let url = format!("sqlite://{}", rig.nixie.directory().join("nixie.db").display());
    let other = Rig::set_up(setup().store(&url), "");
    assert!(other.transport("two@gmail.example").contains("NOTFOUND"));
    rig.logs("4A1B2C3D4E5F", "one@gmail.example", REFUSED);
    rig.until("two@gmail.example", "asked us to slow down");
    let took = other.until("two@gmail.example", "asked us to slow down");
    assert!(
        took < Duration::from_secs(1),
        "the other node heard after {took:?}"
    );
}

#[test]
fn an_order_outlives_the_daemon() {
    let mut rig = Rig::start("");
    rig.knows_google();
    rig.nixie
        .cli(&["throttle", "pause", "google", "--reason", "x"])
        .unwrap();
    rig.nixie.restart().unwrap();
    rig.until("two@gmail.example", "google is paused by an operator");
}

#[test]
fn a_cleared_lane_is_open_and_says_what_it_was() {
    let rig = Rig::start("");
    rig.logs("4A1B2C3D4E5F", "one@gmail.example", REFUSED);
    rig.until("two@gmail.example", "asked us to slow down");
    let why = rig.nixie.cli(&["why", "google"]).unwrap();
    says(
        &why,
        &[
            "google/lab may send: held for",
            "applies  Google asked us to slow down",
            "4.7.28",
            ", signal (google.",
        ],
    );
    let cleared = rig
        .nixie
        .cli(&["throttle", "clear", "google", "--reason", "a new address"])
        .unwrap();
    says(
        &cleared,
        &[
            "google/lab is open again",
            "forgotten: held for",
            "1 signals",
            "4.7.28",
        ],
    );
    let began = Instant::now();
    wait::until(WITHIN, "the hold to end", || {
        let answer = rig.transport("two@gmail.example");
        Ok((!answer.contains("asked us to slow down")).then_some(()))
    })
    .unwrap();
    let took = began.elapsed();
    assert!(took < Duration::from_secs(1), "the daemon forgot after {took:?}");
    let why = rig.nixie.cli(&["why", "google"]).unwrap();
    says(
        &why,
        &[
            "an operator (cli alice): a new address",
            "cleared; it was held for",
            "rule google.",
            "unusual rate",
        ],
    );
}

#[test]
fn a_warm_up_counts_from_the_first_message_and_holds_when_its_day_is_spent() {
    let yesterday = nixie::clock::now()
        .strftime("%s")
        .to_string()
        .parse::<i64>()
        .unwrap()
        - 86_400;
    let yesterday = jiff::Timestamp::from_second(yesterday).unwrap().strftime("%F");
    let warm_up = |share: u64| {
        format!(
            "\n[[warm_up]]\nprovider = \"*\"\nbegan = \"{yesterday}\"\nper_day = [{share}, {share}, {share}]\n"
        )
    };
    let rig = Rig::start(&warm_up(2));
    rig.delivers("4A1B2C3D4E5F", "one@gmail.example");
    rig.delivers("4A1B2C3D4E60", "two@gmail.example");
    rig.until("three@gmail.example", "OK retry:4.7.1");
    let why = rig.nixie.cli(&["why", "google"]).unwrap();
    says(
        &why,
        &[
            "google/lab may send: held for",
            "applies  warm-up: day 2 of 3, 2 of 2 sent, the day ends",
        ],
    );
    let text = std::fs::read_to_string(rig.nixie.config()).unwrap();
    std::fs::write(rig.nixie.config(), text.replace(&warm_up(2), &warm_up(5000))).unwrap();
    rig.nixie.signal("HUP").unwrap();
    rig.until("three@gmail.example", "NOTFOUND");
    says(
        &rig.nixie.cli(&["why", "google"]).unwrap(),
        &["warm-up: day 2 of 3, 2 of 5000 sent"],
    );
}
