//! Promise 9: garbage on every port: random octets, endless lines, half requests, ten thousand idle
//! connections. Other clients are served, memory stays bounded, and the daemon lives.

use crate::stage::{WITHIN, quiet};
use nixie_lab::nixie::{Nixie, Setup};
use nixie_lab::smtp::{Client, Protocol};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

const PORTS: [&str; 4] = ["policy", "socketmap", "lmtp", "http"];
/// Idle connections, over all ports; each process may have about as many descriptors.
const IDLE: usize = 10_000;
/// How much the daemon may grow under all of this, in KiB.
const GROWTH: u64 = 128 * 1024;

#[test]
fn garbage_on_every_port_harms_nobody_else() {
    let _turn = quiet();
    let nixie = Nixie::launch(Setup::new(env!("CARGO_BIN_EXE_nixie"))).unwrap();
    nixie.cli(&["suppress", "add", "dead@x.example"]).unwrap();
    served(&nixie);
    let before = resident(&nixie);
    for port in PORTS {
        let at = nixie.address(port);
        for seed in 0..50 {
            pour(at, &noise(seed, 4096));
        }
        endless_line(at);
    }
    let half = half_requests(&nixie);
    served(&nixie);
    let idle = idle(&nixie);
    served(&nixie);
    assert!(
        idle.len() >= 1000,
        "only {} idle connections could be made",
        idle.len()
    );
    drop((half, idle));
    served(&nixie);
    let grown = resident(&nixie).saturating_sub(before);
    assert!(grown < GROWTH, "the daemon grew by {grown} KiB");
    let metrics = nixie.get("/metrics").unwrap().1;
    let malformed = metrics.lines().any(|line| {
        line.starts_with("nixie_hook_closed_total") && line.contains("malformed") && !line.ends_with(" 0")
    });
    assert!(malformed, "{metrics}");
}

/// Every service answers a proper client, at once.
fn served(nixie: &Nixie) {
    let asked = Instant::now();
    nixie_lab::wait::until(WITHIN, "the policy hook to refuse", || {
        let answer = ask(
            nixie.address("policy"),
            b"request=smtpd_access_policy\nprotocol_state=RCPT\nrecipient=dead@x.example\n\n",
        )?;
        Ok(answer.contains("action=550 5.1.1").then_some(()))
    })
    .unwrap();
    let answer = ask(nixie.address("socketmap"), b"21:access Dead@X.example,").unwrap();
    assert!(answer.contains("OK 550 5.1.1"), "{answer}");
    let answer = ask(nixie.address("socketmap"), b"14:nonsense a@b.c,").unwrap();
    assert!(answer.contains("PERM"), "{answer}");
    assert_eq!(nixie.get("/healthz").unwrap().0, 200);
    let mut lmtp = Client::connect(nixie.address("lmtp"), Protocol::Lmtp).unwrap();
    let content = format!("Subject: {:?}\r\n\r\nnothing\r\n", Instant::now());
    let answers = lmtp
        .send("", &["b@bounces.example.org"], content.as_bytes())
        .unwrap();
    assert_eq!(answers.message[0].code, 250);
    assert!(
        asked.elapsed() < Duration::from_secs(20),
        "served only after {:?}",
        asked.elapsed()
    );
}

fn connect(at: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&at, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.set_write_timeout(Some(Duration::from_secs(10)))?;
    Ok(stream)
}

/// One question, and what comes back first.
fn ask(at: SocketAddr, question: &[u8]) -> anyhow::Result<String> {
    let mut stream = connect(at)?;
    stream.write_all(question)?;
    let mut answer = vec![0; 4096];
    let length = stream.read(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
}

/// Sends octets and reads whatever comes until the other side has had enough, or says nothing more.
fn pour(at: SocketAddr, octets: &[u8]) {
    let Ok(mut stream) = connect(at) else { return };
    let _ = stream.write_all(octets);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut rest = [0; 4096];
    while matches!(stream.read(&mut rest), Ok(length) if length > 0) {}
}

/// A line without an end: the daemon must close, or swallow it in bounded memory.
fn endless_line(at: SocketAddr) {
    let Ok(mut stream) = connect(at) else { return };
    let piece = vec![b'x'; 64 * 1024];
    for _ in 0..512 {
        if stream.write_all(&piece).is_err() {
            return;
        }
    }
}

/// Requests that begin and do not go on.
fn half_requests(nixie: &Nixie) -> Vec<TcpStream> {
    let halves: [(&str, &[u8]); 4] = [
        ("policy", b"request=smtpd_access_policy\nrecipient=a@"),
        ("socketmap", b"30:access dead@"),
        (
            "lmtp",
            b"LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\nSubject: x",
        ),
        ("http", b"GET /metr"),
    ];
    let mut open = Vec::new();
    for (port, half) in halves {
        for _ in 0..20 {
            if let Ok(mut stream) = connect(nixie.address(port)) {
                let _ = stream.write_all(half);
                open.push(stream);
            }
        }
    }
    open
}

/// Connections that say nothing, as many as this process may open.
fn idle(nixie: &Nixie) -> Vec<TcpStream> {
    let mut open = Vec::new();
    for number in 0..IDLE {
        match connect(nixie.address(PORTS[number % 4])) {
            Ok(stream) => open.push(stream),
            // Out of descriptors on this side: as many as there are will do.
            Err(_) => break,
        }
    }
    open
}

/// Octets that look like nothing, the same for the same seed (xorshift64).
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}

/// The daemon's resident memory in KiB.
fn resident(nixie: &Nixie) -> u64 {
    let process = nixie.process().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
