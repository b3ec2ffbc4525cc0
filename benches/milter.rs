//! What the milter costs a real Postfix, against what does less, in the same run:
//!
//! - recipients and messages a second, asked about by the policy service and by the milter (both only refuse),
//! - 1,000 messages of 50 KB that leave signed, and with a milter of the same codec that says yes to everything.
//!
//! Rounds take turns, and medians are compared. It needs a Postfix that may be started; without one it says so.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement prints, and ends at the first surprise"
)]

use nixie::postfix::milter::session::{Purpose, Session, Step};
use nixie::postfix::milter::{Decoder, Reply};
use nixie_lab::need;
use nixie_lab::nixie::{Nixie, Setup as NixieSetup};
use nixie_lab::postfix::{Hooks, Postfix, Setup};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

const ROUNDS: usize = 7;
/// Clients at once.
const CLIENTS: usize = 4;
const RECIPIENTS: usize = 50;
const ENVELOPES: usize = 40;
const MESSAGES: usize = 250;
const LARGE: usize = 50 * 1024;

fn main() {
    if !need::postfix("the milter's cost") {
        return;
    }
    refusing();
    signing();
}

/// Policy service against milter.
fn refusing() {
    let nixie = Nixie::launch(NixieSetup::new(env!("CARGO_BIN_EXE_nixie"))).unwrap();
    let policy = Hooks {
        policy: nixie.hooks().policy,
        ..Hooks::default()
    };
    let (policy, milter) = (postfix(policy), postfix(nixie.milter()));
    compare("recipients", &policy, "policy", &milter, "milter", |postfix| {
        each(postfix, |client| {
            for _ in 0..ENVELOPES {
                client.command("MAIL FROM:<app@app.example>").unwrap();
                for n in 0..RECIPIENTS {
                    let reply = client
                        .command(&format!("RCPT TO:<user{n}@small.example>"))
                        .unwrap();
                    assert_eq!(reply.code, 250, "{reply}");
                }
                client.command("RSET").unwrap();
            }
            ENVELOPES * RECIPIENTS
        })
    });
    compare("messages", &policy, "policy", &milter, "milter", |postfix| {
        send(postfix, 1024)
    });
}

/// A milter that does nothing against one that signs.
fn signing() {
    let mut key = tempfile::NamedTempFile::new().unwrap();
    writeln!(key, "1 BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=").unwrap();
    let setup = NixieSetup::new(env!("CARGO_BIN_EXE_nixie"))
        .text("signing", "key_file", &key.path().display().to_string())
        .text("signing", "domain", "bounces.example.org")
        .value("milter", "sign.enabled", "true")
        .value("milter", "read.enabled", "true");
    let nixie = Nixie::launch(setup).unwrap();
    let (idle, signs) = (postfix(yes()), postfix(nixie.milter()));
    let what = "messages of 50 KB";
    compare(what, &idle, "no-op milter", &signs, "signing", |postfix| {
        send(postfix, LARGE)
    });
    let signed = nixie
        .metric("nixie_milter_signed_total")
        .unwrap()
        .unwrap_or_default();
    assert!(signed >= (MESSAGES * CLIENTS) as f64, "only {signed} were signed");
}

fn postfix(hooks: Hooks) -> Postfix {
    let setup = Setup::new().discard("small.example").discard("app.example");
    Postfix::launch(setup.hooked(hooks)).unwrap()
}

/// Hands in messages for one recipient each, by all clients at once.
fn send(postfix: &Postfix, size: usize) -> usize {
    let line = format!("{}\r\n", "x".repeat(76));
    let text = format!(
        "From: app@app.example\r\nSubject: x\r\n\r\n{}",
        line.repeat(size / line.len())
    );
    let sent = each(postfix, |client| {
        for n in 0..MESSAGES {
            let to = format!("user{n}@small.example");
            let said = client.send("app@app.example", &[&to], text.as_bytes()).unwrap();
            assert!(said.message[0].is_positive(), "{said:?}");
        }
        MESSAGES
    });
    postfix
        .wait_for_empty_queue(std::time::Duration::from_secs(120))
        .unwrap();
    sent
}

/// Has every client do its part; the sum.
fn each(postfix: &Postfix, work: impl Fn(&mut nixie_lab::smtp::Client) -> usize + Sync) -> usize {
    std::thread::scope(|scope| {
        let work = &work;
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| scope.spawn(move || work(&mut postfix.client().unwrap())))
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    })
}

/// Measures both in turns, and prints how many times as fast the second is.
fn compare(
    what: &str,
    first: &Postfix,
    its: &str,
    second: &Postfix,
    other: &str,
    work: impl Fn(&Postfix) -> usize,
) {
    let rate = |postfix: &Postfix| {
        let start = Instant::now();
        let done = work(postfix) as f64;
        done / start.elapsed().as_secs_f64()
    };
    // The first round of each warms up.
    let _ = (rate(first), rate(second));
    let (mut before, mut after, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (a, b) = (rate(first), rate(second));
        before.push(a);
        after.push(b);
        ratios.push(b / a);
    }
    println!(
        "{what} a second: {its} {:.0}, {other} {:.0}, ratio {:.3}",
        median(before),
        median(after),
        median(ratios)
    );
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A milter that hears what a signing one hears, and takes everything as it is.
fn yes() -> Hooks {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            std::thread::spawn(move || nod(stream));
        }
    });
    Hooks {
        milter: Some(format!("inet:{at}")),
        ..Hooks::default()
    }
}

fn nod(mut stream: TcpStream) {
    let purpose = Purpose {
        sign: true,
        read: true,
        header: false,
    };
    stream.set_nodelay(true).unwrap();
    let (mut decoder, mut session) = (Decoder::default(), Session::new(purpose, 1 << 20));
    let (mut buffer, mut out) = (vec![0; 1 << 16], Vec::new());
    while let Ok(octets @ 1..) = stream.read(&mut buffer) {
        decoder.feed(&buffer[..octets]);
        while let Some(command) = decoder.decode().unwrap() {
            match session.receive(command).unwrap() {
                Step::Wait => {}
                Step::Agree(agreement) => agreement.encode(&mut out),
                Step::Skip => Reply::Skip.encode(&mut out),
                Step::Decide(recipient) => {
                    session.take(recipient);
                    Reply::Continue.encode(&mut out);
                }
                Step::Continue | Step::Finish(_) => Reply::Continue.encode(&mut out),
                Step::Close => return,
            }
        }
        if out.is_empty() {
            // As the milter measured does: else both would measure how long the system waits with an acknowledgement.
            socket2::SockRef::from(&stream).set_tcp_quickack(true).unwrap();
        } else if stream.write_all(&std::mem::take(&mut out)).is_err() {
            return;
        }
    }
}
