//! Promise 6: kill -9 at random moments under load, twenty times, on both stores, and every log line and
//! every LMTP message is counted exactly once in the end. No Postfix is needed: the test writes the log
//! and hands in the bounces as Postfix would, which hands in again whatever was not answered with 250.

use crate::stage::{WITHIN, quiet};
use nixie_lab::need;
use nixie_lab::nixie::{Nixie, Setup};
use nixie_lab::postgres::Postgres;
use nixie_lab::smtp::{Client, Protocol};
use std::collections::hash_map::RandomState;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher, Hasher};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often it is killed.
const KILLS: usize = 20;

/// What was produced, by the outcome that it must be counted under.
#[derive(Debug, Default)]
struct Produced {
    delivered: AtomicU64,
    deferred: AtomicU64,
    bounced: AtomicU64,
    messages: AtomicU64,
}

#[test]
fn on_sqlite_every_event_counts_once() {
    survive(Setup::new(env!("CARGO_BIN_EXE_nixie")));
}

#[test]
fn on_postgres_every_event_counts_once() {
    let missing = nixie_lab::postgres::installed()
        .is_none()
        .then(|| "the package postgresql is not installed".to_owned());
    if !need::granted("kill -9 on Postgres", missing) {
        return;
    }
    let postgres = Postgres::start().unwrap();
    survive(Setup::new(env!("CARGO_BIN_EXE_nixie")).store(&postgres.url()));
}

fn survive(setup: Setup) {
    let _turn = quiet();
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("mail.log");
    File::create(&log).unwrap();
    let mut nixie = Nixie::launch(setup.log(&log)).unwrap();
    // A first start begins at the log's end, as it is when that is kept: what is written before is not promised.
    let place = format!("log:file:{}", log.display());
    nixie_lab::wait::until(WITHIN, "the place in the log to be kept", || {
        Ok(nixie.status()?.contains(&place).then_some(()))
    })
    .unwrap();
    let produced = Arc::new(Produced::default());
    let stop = Arc::new(AtomicBool::new(false));
    let writer = spawn_writer(log.clone(), Arc::clone(&produced), Arc::clone(&stop));
    let senders: Vec<JoinHandle<()>> = (0..2)
        .map(|number| {
            spawn_sender(
                number,
                nixie.address("lmtp"),
                Arc::clone(&produced),
                Arc::clone(&stop),
            )
        })
        .collect();
    let (_never, moment) = channel::<()>();
    for _ in 0..KILLS {
        // Anywhere from in the middle of starting up to in the middle of heavy work.
        wait_for_a_moment(&moment, random() % 300);
        nixie.kill_9().unwrap();
        nixie.start().unwrap();
    }
    stop.store(true, Ordering::Release);
    writer.join().unwrap();
    for sender in senders {
        sender.join().unwrap();
    }
    let expected = expected(&produced);
    let counted = wait_for_counts(&nixie, &expected);
    assert_eq!(counted, expected);
    nixie.restart().unwrap();
    assert_eq!(counts(&nixie), expected, "a restart counts nothing again");
    let total: u64 = expected.iter().map(|(_, count)| count).sum();
    assert!(total > 1000, "only {total} events: that was no load");
}

/// The present moment plus so many milliseconds: a moment that nothing else decides.
fn wait_for_a_moment(never: &Receiver<()>, milliseconds: u64) {
    let waited = never.recv_timeout(Duration::from_millis(milliseconds));
    assert_eq!(waited, Err(RecvTimeoutError::Timeout));
}

fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

fn expected(produced: &Produced) -> Vec<(&'static str, u64)> {
    let count = |counter: &AtomicU64| counter.load(Ordering::Acquire);
    vec![
        ("delivered", count(&produced.delivered)),
        ("deferred", count(&produced.deferred)),
        ("failed", count(&produced.bounced) + count(&produced.messages)),
    ]
}

/// The counts that `nixie status` shows under "outcomes".
fn counts(nixie: &Nixie) -> Vec<(&'static str, u64)> {
    let status = nixie.status().unwrap();
    let outcomes = status.split("outcomes").nth(1).unwrap();
    let count = |name: &str| {
        let line = outcomes.lines().find(|line| line.trim_start().starts_with(name));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
            .unwrap_or(0)
    };
    ["delivered", "deferred", "failed"]
        .map(|name| (name, count(name)))
        .to_vec()
}

fn wait_for_counts(nixie: &Nixie, expected: &[(&'static str, u64)]) -> Vec<(&'static str, u64)> {
    nixie_lab::wait::until(WITHIN, &format!("the counts {expected:?}"), || {
        let counted = counts(nixie);
        let reached = counted
            .iter()
            .zip(expected)
            .all(|(counted, expected)| counted.1 >= expected.1);
        Ok(reached.then_some(counted))
    })
    .unwrap_or_else(|error| panic!("{error:#}; counted {:?}\n{}", counts(nixie), nixie.printed()))
}

/// Writes log lines without end: in bursts, with lines cut in the middle, and with a rotation now and then.
fn spawn_writer(log: PathBuf, produced: Arc<Produced>, stop: Arc<AtomicBool>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let (_never, pause) = channel::<()>();
        let mut file = append(&log);
        let mut number = 0u64;
        while !stop.load(Ordering::Acquire) {
            let mut burst = String::new();
            for _ in 0..=random() % 40 {
                number += 1;
                line(&mut burst, number, &produced);
            }
            let middle = (random() as usize) % burst.len();
            file.write_all(&burst.as_bytes()[..middle]).unwrap();
            wait_for_a_moment(&pause, random() % 60);
            file.write_all(&burst.as_bytes()[middle..]).unwrap();
            if random().is_multiple_of(40) {
                std::fs::rename(&log, log.with_extension(format!("log.{number}"))).unwrap();
                file = append(&log);
            }
        }
    })
}

fn append(path: &Path) -> File {
    OpenOptions::new().create(true).append(true).open(path).unwrap()
}

/// One line as Postfix writes it.
fn line(burst: &mut String, number: u64, produced: &Produced) {
    let time = format!(
        "2026-11-21T09:{:02}:{:02}.{:06}+00:00",
        number / 60 % 60,
        number % 60,
        number % 1_000_000
    );
    let (status, counter) = match number % 10 {
        0 => (
            "dsn=5.1.1, status=bounced (host mx.small.example[192.0.2.1] said: 550 5.1.1 no such user (in reply to RCPT TO command))",
            &produced.bounced,
        ),
        1 => (
            "dsn=4.7.1, status=deferred (host mx.small.example[192.0.2.1] said: 450 4.7.1 greylisted (in reply to RCPT TO command))",
            &produced.deferred,
        ),
        _ => ("dsn=2.0.0, status=sent (250 2.0.0 ok)", &produced.delivered),
    };
    writeln!(
        burst,
        "{time} mta postfix/smtp[{}]: {:011X}: to=<r{number}@small.example>, relay=mx.small.example[192.0.2.1]:25, delay=0.1, delays=0/0/0/0.1, {status}",
        100 + number % 7,
        number + 0x1_0000_0000,
    )
    .unwrap();
    counter.fetch_add(1, Ordering::AcqRel);
}

/// Hands in bounces without end, each until it is answered with 250, as Postfix does.
fn spawn_sender(
    number: usize,
    at: SocketAddr,
    produced: Arc<Produced>,
    stop: Arc<AtomicBool>,
) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut client = None;
        let mut sequence = 0u64;
        while !stop.load(Ordering::Acquire) {
            sequence += 1;
            let content = bounce(number, sequence);
            nixie_lab::wait::until(WITHIN, "a bounce to be taken", || {
                let mut session = match client.take() {
                    Some(session) => session,
                    None => match Client::connect(at, Protocol::Lmtp) {
                        Ok(session) => session,
                        Err(_) => return Ok(None),
                    },
                };
                match session.send("", &["bounce+1@bounces.example.org"], content.as_bytes()) {
                    Ok(answer) if answer.message.first().is_some_and(|reply| reply.code == 250) => {
                        client = Some(session);
                        Ok(Some(()))
                    }
                    _ => Ok(None),
                }
            })
            .unwrap();
            produced.messages.fetch_add(1, Ordering::AcqRel);
        }
    })
}

fn bounce(sender: usize, sequence: u64) -> String {
    format!(
        "From: mailer-daemon@mx.example\r\nTo: bounce+1@bounces.example.org\r\nSubject: failure\r\n\
         Date: Sat, 21 Nov 2026 09:00:00 +0000\r\nMessage-ID: <{sender}.{sequence}@mx.example>\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n--b\r\n\
         Content-Type: text/plain\r\n\r\nno\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n\
         Reporting-MTA: dns; mx.example\r\n\r\nFinal-Recipient: rfc822; l{sender}.{sequence}@lmtp.example\r\n\
         Action: failed\r\nStatus: 5.1.1\r\nDiagnostic-Code: smtp; 550 5.1.1 no such user\r\n\r\n--b--\r\n"
    )
}
