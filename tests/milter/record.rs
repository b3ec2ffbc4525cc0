//! Records sessions of a real Postfix: `GOLDEN=write cargo test --test milter`. The files are `tests/data/milter/`, a
//! packet a line: `>` from Postfix, `<` from us.
//!
//! Nothing is written where there is no Postfix, or nobody asks.

use crate::driver::Driver;
use nixie::postfix::milter::session::Purpose;
use nixie_lab::need;
use nixie_lab::postfix::{Hooks, Postfix, Setup};
use nixie_lab::provider::{Mailbox, Provider, Script};
use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(30);

/// Everything, and the envelope only.
pub const FULL: Purpose = Purpose {
    sign: true,
    read: true,
    header: false,
};
pub const ALONE: Purpose = Purpose {
    sign: false,
    read: false,
    header: false,
};

pub fn path(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/data/milter", name]
        .iter()
        .collect()
}

/// The packets of a stream, a line each.
pub fn lines(direction: char, octets: &[u8], out: &mut String) {
    let mut rest = octets;
    while let Some((length, behind)) = rest.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap();
        let (packet, behind) = behind.split_at(length);
        writeln!(out, "{direction} {}", packet.escape_ascii()).unwrap();
        rest = behind;
    }
    assert!(rest.is_empty());
}

/// A milter that tells what was said on each connection, once it is over.
struct Recorder {
    hooks: Hooks,
    sessions: Receiver<String>,
}

impl Recorder {
    fn start(purpose: Purpose) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (tell, sessions) = channel();
        let hooks = Hooks {
            milter: Some(format!("inet:{}", listener.local_addr().unwrap())),
            ..Hooks::default()
        };
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let tell = tell.clone();
                std::thread::spawn(move || serve(stream, purpose, &tell));
            }
        });
        Self { hooks, sessions }
    }

    /// The next session in which a message was handed in.
    fn next(&self) -> String {
        loop {
            let text = self.sessions.recv_timeout(WITHIN).unwrap();
            if text.contains("\n> R") {
                return text;
            }
        }
    }
}

fn serve(mut stream: TcpStream, purpose: Purpose, tell: &Sender<String>) {
    let (mut driver, mut said) = (Driver::new(purpose), String::new());
    let (mut buffer, mut waiting) = (vec![0; 1 << 16], Vec::new());
    while !driver.is_closed {
        let octets = stream.read(&mut buffer).unwrap_or(0);
        if octets == 0 {
            break;
        }
        waiting.extend_from_slice(&buffer[..octets]);
        // A packet at a time, so that each answer stands behind what it answers.
        while let Some(length) = waiting.first_chunk::<4>() {
            let end = 4 + usize::try_from(u32::from_be_bytes(*length)).unwrap();
            if waiting.len() < end {
                break;
            }
            let packet: Vec<u8> = waiting.drain(..end).collect();
            lines('>', &packet, &mut said);
            let answer = driver.feed(&packet);
            lines('<', &answer, &mut said);
            stream.write_all(&answer).unwrap();
        }
    }
    let _ = tell.send(said);
}

fn message(size: usize) -> Vec<u8> {
    let line = format!("{}\r\n", "x".repeat(70));
    let mut text = b"From: a@app.example\r\nSubject: two\r\n\tlines\r\nX-Empty:\r\n\r\n".to_vec();
    while text.len() < size {
        text.extend_from_slice(line.as_bytes());
    }
    text
}

fn over_smtp(postfix: &Postfix) {
    let mut client = postfix.client().unwrap();
    let both = ["dead@small.example", "alive@small.example"];
    let said = client.send("sign@app.example", &both, &message(100)).unwrap();
    assert_eq!(said.recipients[0].code, 550);
    // Postfix holds to Sendmail's rule: `%%` in a reply is one `%`.
    assert_eq!(said.recipients[0].text, "5.1.1 100% dead");
    client
        .send("", &["alive@small.example"], &message(70_000))
        .unwrap();
    client.command("MAIL FROM:<a@app.example> SIZE=10").unwrap();
    client.command("RCPT TO:<alive@small.example>").unwrap();
    client.command("RSET").unwrap();
    let later = client
        .send("later@app.example", &["alive@small.example"], &message(10))
        .unwrap();
    assert_eq!(later.message[0].code, 451, "{later:?}");
}

#[test]
fn sessions_of_a_real_postfix_are_recorded() {
    if std::env::var_os("GOLDEN").is_none() || !need::postfix("recording milter sessions") {
        return;
    }
    let small = Provider::start(Script::small().with(Mailbox::Dead, ["gone@small.example"])).unwrap();
    let keep = |name: &str, text: &str| std::fs::write(path(name), text).unwrap();
    let launch = |recorder: &Recorder| {
        let setup = Setup::new()
            .route("small.example", &small)
            .discard("app.example")
            .discard("bounces.example.org")
            .set("internal_mail_filter_classes", "bounce");
        Postfix::launch(setup.hooked(recorder.hooks.clone())).unwrap()
    };
    let recorder = Recorder::start(FULL);
    let postfix = launch(&recorder);
    over_smtp(&postfix);
    keep("smtpd.txt", &recorder.next());
    let both = [
        "-f",
        "sign@app.example",
        "dead@small.example",
        "alive@small.example",
    ];
    postfix.sendmail(&both, &message(100)).unwrap();
    keep("sendmail.txt", &recorder.next());
    postfix
        .sendmail(&["-f", "a@app.example", "gone@small.example"], &message(100))
        .unwrap();
    recorder.next();
    keep("bounce.txt", &recorder.next());
    // What is not taken for now waits where sendmail(1) put it, and is tried again.
    let later = ["-f", "later@app.example", "alive@small.example"];
    postfix.sendmail(&later, &message(100)).unwrap();
    recorder.next();
    let waits = || {
        Ok(postfix
            .queue()?
            .iter()
            .any(|mail| mail.queue == "maildrop")
            .then_some(()))
    };
    nixie_lab::wait::until(WITHIN, "the message in the maildrop", waits).unwrap();
    let alone = Recorder::start(ALONE);
    let postfix = launch(&alone);
    over_smtp(&postfix);
    keep("rcpt.txt", &alone.next());
}
