//! The hooks over real sockets: sessions as Postfix holds them, and everything it would never send.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking, its helpers included"
)]

use nixie::config::listen::ListenAddress;
use nixie::engine::answer::{OnHeld, Settings};
use nixie::engine::memory::{Entry, Memory};
use nixie::engine::suppression::{Standing, SuppressionId};
use nixie::engine::throttle::{Lane, LaneKey, Signal};
use nixie::engine::verdict::Cause;
use nixie::mail::address::{Address, LocalPart};
use nixie::serve::hook::{HookCounters, HookSettings, Hooks, Listeners};
use nixie::serve::listen::{Inherited, Listener};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

const REAL: &str = include_str!("data/policy/rcpt.txt");
const REFUSED: &str =
    "550 5.1.1 suppressed since 2026-11-21: user_unknown (NX-123; the postmaster can look it up)";

/// What a client waits at most for an answer that must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// Running hooks, and where they listen.
struct Rig {
    hooks: Hooks,
    memory: Arc<Memory>,
    policy: SocketAddr,
    socketmap: SocketAddr,
}

fn suppress(memory: &Memory, address: &str) {
    memory.suppress(
        &Address::parse(address).unwrap().key(LocalPart::Fold).into(),
        &Entry {
            id: SuppressionId(123),
            cause: Cause::UserUnknown,
            since: "2026-11-21T10:00:00Z".parse().unwrap(),
            expires: None,
            standing: Standing::InForce,
        },
    );
}

fn memory() -> Arc<Memory> {
    let memory = Memory::new();
    suppress(&memory, "dead@example.org");
    suppress(&memory, "пётр@тест.example");
    let since = "2026-11-21T10:00:00Z".parse().unwrap();
    memory.set_provider("gmail.com", "google", since);
    let lane = LaneKey {
        provider: "google".into(),
        egress: "default".into(),
    };
    let signal = Signal {
        rule: "google.rate".into(),
        reply: "421 4.7.28".into(),
        ..Signal::default()
    };
    let held = Lane::held(signal, "9000-01-01T00:00:00Z".parse().unwrap(), since);
    memory.set_lane(lane, held, since);
    memory.set_loaded();
    Arc::new(memory)
}

fn listen(address: &str) -> Listener {
    let address: ListenAddress = address.parse().unwrap();
    Listener::bind("test", &address, &mut Inherited::default())
        .unwrap()
        .unwrap()
}

fn port(listener: &Listener) -> SocketAddr {
    match listener.address() {
        ListenAddress::Tcp(address) => address,
        other => panic!("{other}"),
    }
}

fn rig(settings: &HookSettings) -> Rig {
    let (policy, socketmap) = (listen("127.0.0.1:0"), listen("127.0.0.1:0"));
    let (policy_at, socketmap_at) = (port(&policy), port(&socketmap));
    let listeners = Listeners {
        policy: Some(policy),
        socketmap: Some(socketmap),
    };
    let memory = memory();
    Rig {
        hooks: Hooks::start(listeners, settings, Arc::clone(&memory)).unwrap(),
        memory,
        policy: policy_at,
        socketmap: socketmap_at,
    }
}

impl Rig {
    fn policy(&self) -> Client<TcpStream> {
        Client::tcp(self.policy)
    }

    fn socketmap(&self) -> Client<TcpStream> {
        Client::tcp(self.socketmap)
    }

    /// Waits until the counters say so; looks again with every answer of a client that goes on asking.
    fn wait_for(&self, what: &str, holds: impl Fn(HookCounters) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let mut client = self.socketmap();
        while !holds(self.hooks.counters()) {
            assert!(Instant::now() < deadline, "{what}: {:?}", self.hooks.counters());
            assert_eq!(client.look_up("access", "a@b.example"), "NOTFOUND ");
        }
    }
}

/// A client of either service.
struct Client<S>(S);

impl Client<TcpStream> {
    fn tcp(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }
}

impl<S: Read + Write> Client<S> {
    fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    fn octet(&mut self) -> u8 {
        let mut octet = [0];
        self.0.read_exact(&mut octet).unwrap();
        octet[0]
    }

    /// The next `action=`.
    fn action(&mut self) -> String {
        let mut answer = Vec::new();
        while !answer.ends_with(b"\n\n") {
            answer.push(self.octet());
        }
        let answer = String::from_utf8(answer).unwrap();
        answer
            .trim_end()
            .strip_prefix("action=")
            .unwrap_or_else(|| panic!("{answer:?}"))
            .to_owned()
    }

    fn ask(&mut self, recipient: &str) -> String {
        self.send(rcpt(recipient).as_bytes());
        self.action()
    }

    /// The next netstring.
    fn netstring(&mut self) -> String {
        let mut length = 0;
        loop {
            match self.octet() {
                b':' => break,
                digit => length = length * 10 + usize::from(digit - b'0'),
            }
        }
        let mut text = vec![0; length];
        self.0.read_exact(&mut text).unwrap();
        assert_eq!(self.octet(), b',');
        String::from_utf8(text).unwrap()
    }

    fn look_up(&mut self, map: &str, key: &str) -> String {
        self.send(&netstring(&format!("{map} {key}")));
        self.netstring()
    }

    /// Everything up to the end of the connection.
    fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            Ok(_) => rest,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => rest,
            Err(error) => panic!("expected the end of the connection, found {error}"),
        }
    }
}

fn rcpt(recipient: &str) -> String {
    REAL.replace("Kurt.Weiß@example.com", recipient)
}

fn netstring(text: &str) -> Vec<u8> {
    format!("{}:{text},", text.len()).into_bytes()
}

/// Noise that is the same in every run (splitmix64).
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    (0..length)
        .map(|_| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (z >> 32) as u8
        })
        .collect()
}

#[test]
fn policy_answers_a_real_session() {
    let rig = rig(&HookSettings::default());
    let mut client = rig.policy();
    assert_eq!(client.ask("Kurt.Weiß@example.com"), "DUNNO");
    assert_eq!(client.ask("dead@example.org"), REFUSED);
    assert_eq!(client.ask("DEAD@Example.ORG"), REFUSED);
    assert_eq!(client.ask("Пётр@тест.example"), REFUSED);
    assert_eq!(client.ask("пётр@xn--e1aybc.example"), REFUSED);
    assert_eq!(client.ask(""), "DUNNO");
    assert_eq!(client.ask("postmaster"), "DUNNO");
    assert_eq!(
        client.ask("somebody@gmail.com"),
        "DUNNO",
        "held lanes accept by default"
    );
    client.send(rcpt("dead@example.org").replace("=RCPT", "=DATA").as_bytes());
    assert_eq!(client.action(), "DUNNO");
    let counts = rig.hooks.counters().policy;
    assert_eq!((counts.passed, counts.refused, counts.held), (5, 4, 0));
    assert_eq!((counts.requests(), counts.open), (9, 1));
}

#[test]
fn socketmap_answers_a_real_session() {
    let rig = rig(&HookSettings::default());
    let mut client = rig.socketmap();
    let text = &REFUSED["550 5.1.1 ".len()..];
    assert_eq!(client.look_up("transport", "alive@example.org"), "NOTFOUND ");
    assert_eq!(
        client.look_up("transport", "Dead@Example.org"),
        format!("OK error:5.1.1 {text}")
    );
    assert_eq!(
        client.look_up("access", "dead@example.org"),
        format!("OK {REFUSED}")
    );
    assert_eq!(
        client.look_up("suppressed", "Пётр@тест.example"),
        "OK user_unknown"
    );
    assert_eq!(
        client.look_up("transport", "somebody@gmail.com"),
        "OK retry:4.7.1 Throttled by Nixie: google asked us to slow down: held until 9000-01-01T00:00:00Z (google.rate)"
    );
    assert_eq!(client.look_up("transport", "*"), "NOTFOUND ");
    assert_eq!(
        client.look_up("aliases", "dead@example.org"),
        "PERM expected one of the maps access, transport, suppressed, found \"aliases\""
    );
    assert_eq!(
        client.look_up("suppressed", "a@b.example"),
        "NOTFOUND ",
        "and goes on"
    );
    let counts = rig.hooks.counters().socketmap;
    assert_eq!(
        (counts.passed, counts.refused, counts.held, counts.no_map),
        (3, 3, 1, 1)
    );
}

#[test]
fn both_answer_on_socket_files_that_go_at_shutdown() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let at = |name: &str| listen(&format!("unix:{}?mode=0600", path(name).display()));
    let listeners = Listeners {
        policy: Some(at("policy")),
        socketmap: Some(at("socketmap")),
    };
    let hooks = Hooks::start(listeners, &HookSettings::default(), memory()).unwrap();
    let client = |name: &str| {
        let stream = UnixStream::connect(path(name)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Client(stream)
    };
    assert_eq!(client("policy").ask("dead@example.org"), REFUSED);
    assert_eq!(
        client("socketmap").look_up("suppressed", "dead@example.org"),
        "OK user_unknown"
    );
    hooks.shutdown();
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_change_in_memory_shows_in_the_next_answer() {
    let rig = rig(&HookSettings::default());
    let (mut policy, mut socketmap) = (rig.policy(), rig.socketmap());
    assert_eq!(policy.ask("new@example.org"), "DUNNO");
    suppress(&rig.memory, "new@example.org");
    assert_eq!(policy.ask("new@example.org"), REFUSED);
    assert_eq!(
        socketmap.look_up("suppressed", "new@example.org"),
        "OK user_unknown"
    );
    let key = Address::parse("new@example.org").unwrap().key(LocalPart::Fold);
    assert!(rig.memory.lift(&key.into(), SuppressionId(123)));
    assert_eq!(policy.ask("new@example.org"), "DUNNO");
    rig.hooks.set_answers(Settings {
        held: OnHeld::Defer,
        ..Settings::default()
    });
    assert_eq!(
        policy.ask("somebody@gmail.com"),
        "450 4.7.1 google asked us to slow down: held until 9000-01-01T00:00:00Z (google.rate)"
    );
}

#[test]
fn mail_passes_until_memory_is_loaded() {
    let listener = listen("127.0.0.1:0");
    let at = port(&listener);
    let listeners = Listeners {
        policy: Some(listener),
        socketmap: None,
    };
    let memory = Arc::new(Memory::new());
    suppress(&memory, "dead@example.org");
    let _hooks = Hooks::start(listeners, &HookSettings::default(), Arc::clone(&memory)).unwrap();
    let mut client = Client::tcp(at);
    assert_eq!(client.ask("dead@example.org"), "DUNNO");
    memory.set_loaded();
    assert_eq!(client.ask("dead@example.org"), REFUSED);
}

#[test]
fn requests_may_come_octet_by_octet() {
    let rig = rig(&HookSettings::default());
    let mut client = rig.policy();
    for octet in rcpt("dead@example.org").bytes() {
        client.send(&[octet]);
    }
    assert_eq!(client.action(), REFUSED);
    let mut client = rig.socketmap();
    for octet in netstring("suppressed dead@example.org") {
        client.send(&[octet]);
    }
    assert_eq!(client.netstring(), "OK user_unknown");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let rig = rig(&HookSettings::default());
    let dead = |n: usize| n.is_multiple_of(3);
    let address = |n| {
        if dead(n) {
            "dead@example.org"
        } else {
            "alive@example.org"
        }
    };
    let (mut policy, mut socketmap) = (rig.policy(), rig.socketmap());
    let requests: String = (0..500).map(|n| rcpt(address(n))).collect();
    policy.send(requests.as_bytes());
    let requests: Vec<u8> = (0..500)
        .flat_map(|n| netstring(&format!("suppressed {}", address(n))))
        .collect();
    socketmap.send(&requests);
    for n in 0..500 {
        assert_eq!(policy.action(), if dead(n) { REFUSED } else { "DUNNO" }, "{n}");
        let expected = if dead(n) { "OK user_unknown" } else { "NOTFOUND " };
        assert_eq!(socketmap.netstring(), expected, "{n}");
    }
}

#[test]
fn policy_closes_without_an_answer_on_what_is_no_request() {
    let rig = rig(&HookSettings::default());
    for garbage in [
        "\n",
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n\n\n",
        "request=junk\n\n",
        "recipient=dead@example.org\n\n",
    ] {
        let mut client = rig.policy();
        client.send(garbage.as_bytes());
        assert_eq!(client.rest(), b"", "{garbage:?}");
    }
    let mut client = rig.policy();
    client.send(format!("{}garbage\n\n", rcpt("dead@example.org")).as_bytes());
    assert_eq!(client.action(), REFUSED, "what came before it is answered");
    assert_eq!(client.rest(), b"");
    rig.wait_for("all are counted", |c| c.policy.malformed == 5);
}

#[test]
fn socketmap_answers_perm_and_closes_on_what_is_no_netstring() {
    let rig = rig(&HookSettings::default());
    for garbage in ["GET /", "05:map a,", "100001:", "9999999", "5:map ab,", "3:map,"] {
        let mut client = rig.socketmap();
        client.send(garbage.as_bytes());
        let answer = client.netstring();
        assert!(answer.starts_with("PERM expected "), "{garbage}: {answer}");
        assert_eq!(client.rest(), b"", "{garbage}");
    }
    rig.wait_for("all are counted", |c| c.socketmap.malformed == 6);
}

#[test]
fn noise_on_both_ports_ends_and_others_are_served() {
    let rig = rig(&HookSettings::default());
    for seed in 0..100 {
        for at in [rig.policy, rig.socketmap] {
            let mut client = Client::tcp(at);
            // The connection may be closed before all is written.
            let _ = client.0.write_all(&noise(seed, 2000));
            let _ = client.0.shutdown(std::net::Shutdown::Write);
            client.rest();
        }
    }
    assert_eq!(rig.policy().ask("dead@example.org"), REFUSED);
    assert_eq!(rig.socketmap().look_up("access", "a@b.example"), "NOTFOUND ");
}

#[test]
fn an_endless_line_ends_at_the_limit() {
    let rig = rig(&HookSettings::default());
    for (at, start) in [(rig.policy, "recipient="), (rig.socketmap, "99999:")] {
        let mut client = Client::tcp(at);
        client.send(start.as_bytes());
        let mut sent = 0;
        while client.0.write_all(&[b'x'; 8192]).is_ok() {
            sent += 8192;
            assert!(sent < 64 << 20, "nobody stops it");
        }
    }
    rig.wait_for("both are counted", |c| {
        (c.policy.malformed, c.socketmap.malformed) == (1, 1)
    });
}

#[test]
fn half_requests_time_out_however_slowly_they_go_on() {
    let settings = HookSettings {
        request_timeout: Duration::from_millis(500),
        ..HookSettings::default()
    };
    let rig = rig(&settings);
    let mut half = rig.policy();
    half.send(b"request=smtpd_access_policy\nrecip");
    let mut dribble = rig.socketmap();
    dribble.send(b"50000:");
    dribble
        .0
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    let deadline = Instant::now() + PATIENCE;
    let mut octet = [0];
    loop {
        assert!(Instant::now() < deadline, "it may go on for ever");
        match dribble.0.read(&mut octet) {
            Ok(0) => break,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if dribble.0.write_all(b"x").is_err() {
                    break;
                }
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(half.rest(), b"");
    rig.wait_for("both are counted", |c| {
        (c.policy.timed_out, c.socketmap.timed_out) == (1, 1)
    });
}

#[test]
fn a_client_that_does_not_read_is_closed_and_disturbs_nobody() {
    let settings = HookSettings {
        request_timeout: Duration::from_millis(500),
        ..HookSettings::default()
    };
    let rig = rig(&settings);
    let deaf = rig.socketmap();
    deaf.0.set_write_timeout(Some(Duration::from_secs(10))).unwrap();
    let requests = netstring("suppressed dead@example.org").repeat(1000);
    let mut writer = deaf.0.try_clone().unwrap();
    let writing = std::thread::spawn(move || while writer.write_all(&requests).is_ok() {});
    let mut other = rig.socketmap();
    let deadline = Instant::now() + PATIENCE;
    while rig.hooks.counters().socketmap.timed_out == 0 {
        assert!(Instant::now() < deadline, "it is still there");
        assert_eq!(other.look_up("access", "a@b.example"), "NOTFOUND ");
    }
    writing.join().unwrap();
}

#[test]
fn idle_connections_are_closed_in_the_end() {
    let settings = HookSettings {
        idle_timeout: Duration::from_millis(300),
        ..HookSettings::default()
    };
    let rig = rig(&settings);
    let mut client = rig.policy();
    assert_eq!(client.ask("dead@example.org"), REFUSED);
    assert_eq!(client.rest(), b"");
    rig.wait_for("it is counted", |c| (c.policy.idle, c.policy.timed_out) == (1, 0));
}

#[test]
fn thousands_of_idle_connections_do_not_shut_out_those_who_talk() {
    let settings = HookSettings {
        max_connections: 200,
        ..HookSettings::default()
    };
    let rig = rig(&settings);
    let mut idle = Vec::new();
    let mut talking = rig.policy();
    for n in 0..3000 {
        idle.push(TcpStream::connect(rig.policy).unwrap());
        if idle.len() > 300 {
            // Most were evicted by now; a test has few descriptors itself.
            idle.remove(0);
        }
        if n % 20 == 0 {
            assert_eq!(talking.ask("dead@example.org"), REFUSED, "after {n}");
        }
        if n % 500 == 0 {
            assert_eq!(
                rig.policy().ask("dead@example.org"),
                REFUSED,
                "a new one after {n}"
            );
        }
    }
    rig.wait_for("all are taken", |c| c.policy.accepted >= 3000);
    let counts = rig.hooks.counters().policy;
    assert!(counts.open <= 200, "{counts:?}");
    assert!(counts.evicted > 0, "{counts:?}");
    assert_eq!(rig.socketmap().look_up("access", "a@b.example"), "NOTFOUND ");
}

#[test]
fn requests_in_hand_are_answered_at_shutdown() {
    let rig = rig(&HookSettings::default());
    let mut client = rig.policy();
    let mut idle = rig.policy();
    assert_eq!(idle.ask("a@b.example"), "DUNNO");
    let request = rcpt("dead@example.org");
    let (first, second) = request.split_at(200);
    client.send(first.as_bytes());
    rig.wait_for("both are there", |c| c.policy.accepted == 2);
    let hooks = rig.hooks;
    let stopping = std::thread::spawn(move || hooks.shutdown());
    assert_eq!(idle.rest(), b"", "the idle one is closed at once");
    client.send(second.as_bytes());
    assert_eq!(client.action(), REFUSED);
    assert_eq!(client.rest(), b"");
    stopping.join().unwrap();
    assert!(TcpStream::connect(rig.policy).is_err(), "nobody listens any more");
}

/// Postfix's own socketmap client, where it is installed.
#[test]
fn postmap_understands_the_answers() {
    let postmap = std::path::Path::new("/usr/sbin/postmap");
    if !postmap.exists() {
        left_out("postmap_understands_the_answers: no /usr/sbin/postmap (Debian package postfix)");
        return;
    }
    let rig = rig(&HookSettings::default());
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("main.cf"), "compatibility_level = 3.6\n").unwrap();
    let ask = |map: &str, key: &str| {
        let table = format!("socketmap:inet:{}:{map}", rig.socketmap);
        let mut command = std::process::Command::new(postmap);
        command.arg("-c").arg(dir.path()).args(["-q", key, &table]);
        let output = command.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        (output.status.success(), text.trim_end().to_owned())
    };
    let text = &REFUSED["550 5.1.1 ".len()..];
    assert_eq!(ask("access", "Dead@example.org"), (true, REFUSED.to_owned()));
    assert_eq!(
        ask("transport", "dead@example.org"),
        (true, format!("error:5.1.1 {text}"))
    );
    assert_eq!(
        ask("suppressed", "пётр@тест.example"),
        (true, "user_unknown".to_owned())
    );
    assert_eq!(ask("access", "alive@example.org"), (false, String::new()));
    assert_eq!(ask("aliases", "dead@example.org"), (false, String::new()));
}

#[allow(clippy::print_stderr, reason = "what was left out must be said")]
fn left_out(what: &str) {
    eprintln!("left out: {what}");
}
