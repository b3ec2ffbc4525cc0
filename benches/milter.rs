//! What the milter costs a real Postfix, against what does less, in the same run:
//!
//! - recipients and messages a second, asked about by the policy service and by the milter (both only refuse),
//! - 1,000 messages of 50 KB that leave signed, and with a milter of the same codec that says yes to everything.
//!
//! Beside each stands its **floor**: a policy service and a milter of a few lines that answer at once, and a milter that
//! does nothing but give each message another sender. What separates the floors is what Postfix itself spends on a milter
//! and on a changed sender; what separates Nixie from its floor is ours.
//!
//! Rounds take turns; the median of each, and the median of its ratios to the first within the round. It needs a Postfix
//! that may be started; without one it says so.

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
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

const ROUNDS: usize = 7;
/// Clients at once.
const CLIENTS: usize = 4;
const RECIPIENTS: usize = 50;
const ENVELOPES: usize = 40;
const MESSAGES: usize = 250;
const LARGE: usize = 50 * 1024;
/// What only refuses hears no more than this.
const REFUSING: Purpose = Purpose {
    sign: false,
    read: false,
    header: false,
};
const SIGNING: Purpose = Purpose {
    sign: true,
    read: true,
    header: false,
};

/// A Postfix and what it is asked by.
type Subject<'a> = (&'a str, &'a Postfix);

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
    let asks = |policy| Hooks {
        policy,
        ..Hooks::default()
    };
    let (policy, milter) = (postfix(asks(nixie.hooks().policy)), postfix(nixie.milter()));
    let sockets = Sockets::new();
    let _near = Nixie::launch(sockets.listen(NixieSetup::new(env!("CARGO_BIN_EXE_nixie")))).unwrap();
    let (near_policy, near_milter) = (
        postfix(asks(Some(sockets.of("policy")))),
        postfix(sockets.milter()),
    );
    let (dunno, nod) = (postfix(dunno()), postfix(nods(REFUSING, false)));
    let subjects = [
        ("policy", &policy),
        ("milter", &milter),
        ("policy, Unix", &near_policy),
        ("milter, Unix", &near_milter),
        ("floor of policy", &dunno),
        ("floor of milter", &nod),
    ];
    compare("recipients", &subjects, |postfix| {
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
    compare("messages", &subjects, |postfix| send(postfix, 1024));
}

/// A milter that does nothing against one that signs.
fn signing() {
    let mut key = tempfile::NamedTempFile::new().unwrap();
    writeln!(key, "1 BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=").unwrap();
    let setup = || {
        NixieSetup::new(env!("CARGO_BIN_EXE_nixie"))
            .text("signing", "key_file", &key.path().display().to_string())
            .text("signing", "domain", "bounces.example.org")
            .value("milter", "sign.enabled", "true")
            .value("milter", "read.enabled", "true")
    };
    let nixie = Nixie::launch(setup()).unwrap();
    let sockets = Sockets::new();
    let _near = Nixie::launch(sockets.listen(setup())).unwrap();
    let (idle, signs) = (postfix(nods(SIGNING, false)), postfix(nixie.milter()));
    let (near, changes) = (postfix(sockets.milter()), postfix(nods(SIGNING, true)));
    let subjects = [
        ("no-op milter", &idle),
        ("signing", &signs),
        ("signing, Unix", &near),
        ("floor of signing", &changes),
    ];
    compare("messages of 50 KB", &subjects, |postfix| send(postfix, LARGE));
    let signed = nixie
        .metric("nixie_milter_signed_total")
        .unwrap()
        .unwrap_or_default();
    assert!(signed >= (MESSAGES * CLIENTS) as f64, "only {signed} were signed");
}

/// Socket files for the hooks, in a directory that Postfix can enter.
struct Sockets(tempfile::TempDir);

impl Sockets {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        Self(directory)
    }

    /// Where a hook is, as Postfix spells it.
    fn of(&self, hook: &str) -> String {
        format!("unix:{}", self.0.path().join(hook).display())
    }

    fn listen(&self, setup: NixieSetup) -> NixieSetup {
        ["policy", "milter"].into_iter().fold(setup, |setup, hook| {
            setup.text(hook, "listen", &format!("{}?mode=0666", self.of(hook)))
        })
    }

    fn milter(&self) -> Hooks {
        Hooks {
            milter: Some(self.of("milter")),
            ..Hooks::default()
        }
    }
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

/// Measures all in turns, and prints how many times as fast as the first each is.
fn compare(what: &str, subjects: &[Subject<'_>], work: impl Fn(&Postfix) -> usize) {
    let rate = |(_, postfix): &Subject<'_>| {
        let start = Instant::now();
        let done = work(postfix) as f64;
        done / start.elapsed().as_secs_f64()
    };
    // The first round of each warms up.
    let _: Vec<f64> = subjects.iter().map(rate).collect();
    let rounds: Vec<Vec<f64>> = (0..ROUNDS).map(|_| subjects.iter().map(rate).collect()).collect();
    println!("{what} a second:");
    for (at, (name, _)) in subjects.iter().enumerate() {
        let rates = median(rounds.iter().map(|round| round[at]).collect());
        let ratio = median(rounds.iter().map(|round| round[at] / round[0]).collect());
        println!("  {name:<16} {rates:>6.0}, {ratio:.3} of {}", subjects[0].0);
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A policy service that lets everything pass.
fn dunno() -> Hooks {
    let at = serve(|mut stream| {
        stream.set_nodelay(true).unwrap();
        let (mut buffer, mut end) = (vec![0; 1 << 13], [0; 2]);
        while let Ok(octets @ 1..) = stream.read(&mut buffer) {
            for &octet in &buffer[..octets] {
                end = [end[1], octet];
                // An empty line ends a request.
                if end == *b"\n\n" && stream.write_all(b"action=DUNNO\n\n").is_err() {
                    return;
                }
            }
        }
    });
    Hooks {
        policy: Some(at),
        ..Hooks::default()
    }
}

/// A milter that hears what ours hears for that purpose, and takes everything as it is, or all but its sender.
fn nods(purpose: Purpose, changes: bool) -> Hooks {
    Hooks {
        milter: Some(serve(move |stream| nod(stream, purpose, changes))),
        ..Hooks::default()
    }
}

/// Serves each connection on a thread of its own; where, as Postfix spells it.
fn serve(connection: impl Fn(TcpStream) + Clone + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let connection = connection.clone();
            std::thread::spawn(move || connection(stream));
        }
    });
    format!("inet:{at}")
}

fn nod(mut stream: TcpStream, purpose: Purpose, changes: bool) {
    static SENDERS: AtomicU64 = AtomicU64::new(0);
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
                Step::Continue => Reply::Continue.encode(&mut out),
                Step::Finish(_) => {
                    if changes {
                        let number = SENDERS.fetch_add(1, Ordering::Relaxed);
                        // As long as a token.
                        let sender = format!("b+{number:040}@bounces.example.org");
                        Reply::ChangeSender(sender).encode(&mut out);
                    }
                    Reply::Accept.encode(&mut out);
                }
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
