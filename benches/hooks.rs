//! How fast the hooks answer, against a responder that does nothing, in one run.
//!
//! A million suppressions are loaded. Clients as Postfix has them (a blocking connection with one
//! request outstanding each, diverse requests of about 560 octets, a tenth of them for suppressed
//! addresses) ask both servers in turns, so that whatever else the machine does falls on both. The
//! responder that does nothing runs on as many threads with the same kind of runtime, reads until the
//! request ends and gives always the same answer. Log lines are formatted and thrown away.
//!
//! `cargo bench --bench hooks` prints requests a second, p50, p99, the processor time of the server for
//! each request (which a busy machine disturbs least) and the ratios. Arguments after
//! `--`: `seconds=0.15 rounds=30`.
#![allow(clippy::print_stdout, reason = "a bench reports to whoever started it")]

use nixie::clock;
use nixie::config::listen::ListenAddress;
use nixie::engine::answer::{self, Settings};
use nixie::engine::memory::{Entry, Memory};
use nixie::engine::suppression::{Standing, SuppressionId};
use nixie::engine::throttle::{Lane, LaneKey, Signal};
use nixie::engine::verdict::Cause;
use nixie::mail::address::{Address, LocalPart};
use nixie::postfix::policy;
use nixie::serve::hook::{HookSettings, Hooks, Listeners};
use nixie::serve::listen::{Inherited, Listener};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const SUPPRESSIONS: usize = 1_000_000;
const DISTINCT: usize = 2_000;
const CONNECTIONS: [usize; 3] = [1, 16, 64];

/// The targets: throughput of at least this share of the other's, p99 of at most so many times it.
const LEAST_RATE: f64 = 0.8;
const MOST_P99: f64 = 2.0;

const DOMAINS: [&str; 8] = [
    "gmail.com",
    "outlook.com",
    "yahoo.com",
    "gmx.net",
    "example.org",
    "mail.example.co.uk",
    "bücher.example",
    "corp.example.com",
];

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A number that looks random and is the same in every run (splitmix64).
fn scramble(n: usize) -> u64 {
    let mut z = (n as u64).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The nth suppressed address, as people write it.
fn dead(n: usize) -> String {
    let domain = DOMAINS[n % DOMAINS.len()];
    format!("Dead.Person{:x}@{domain}", scramble(n) & 0xffff_ffff_ffff)
}

fn alive(n: usize) -> String {
    let domain = DOMAINS[n % DOMAINS.len()];
    format!("somebody.{:x}@{domain}", scramble(n) & 0xffff_ffff)
}

fn recipient(n: usize) -> String {
    let pick = usize::try_from(scramble(n ^ 0x5555)).unwrap_or(0);
    if n.is_multiple_of(10) {
        dead(pick % SUPPRESSIONS)
    } else {
        alive(pick)
    }
}

fn policy_request(n: usize) -> Vec<u8> {
    let (recipient, h) = (recipient(n), scramble(n));
    let (a, b, port) = (h as u8, (h >> 8) as u8, (h >> 16) as u16);
    let queue_id = if n.is_multiple_of(3) {
        String::new()
    } else {
        format!("4{:09X}", h & 0xf_ffff_ffff)
    };
    format!(
        "request=smtpd_access_policy\nprotocol_state=RCPT\nprotocol_name=ESMTP\n\
         client_address=192.0.{a}.{b}\nclient_name=a{a}.example.org\nclient_port={port}\n\
         reverse_client_name=a{a}.example.org\nserver_address=192.0.2.1\nserver_port=587\n\
         helo_name=a{a}\nsender=news+{a:x}{b:x}@example.org\nrecipient={recipient}\n\
         recipient_count=0\nqueue_id={queue_id}\ninstance={b:x}.{:x}.{port:x}.0\nsize={}\netrn_domain=\n\
         stress=\nsasl_method=\nsasl_username=\nsasl_sender=\nccert_subject=\nccert_issuer=\n\
         ccert_fingerprint=\nccert_pubkey_fingerprint=\nencryption_protocol=\nencryption_cipher=\n\
         encryption_keysize=0\npolicy_context=\n\n",
        h >> 32,
        h % 100_000
    )
    .into_bytes()
}

fn socketmap_request(n: usize) -> Vec<u8> {
    let text = format!("transport {}", recipient(n));
    format!("{}:{text},", text.len()).into_bytes()
}

/// One of the two services under test.
#[derive(Clone, Copy)]
struct Service {
    name: &'static str,
    request: fn(usize) -> Vec<u8>,
    /// Whether these octets are a whole request, cheaply.
    complete: fn(&[u8]) -> bool,
    /// Whether these octets are a whole answer.
    answered: fn(&[u8]) -> bool,
    /// The answer of the responder that does nothing.
    nothing: &'static [u8],
}

const POLICY: Service = Service {
    name: "policy",
    request: policy_request,
    complete: |bytes| bytes.ends_with(b"\n\n"),
    answered: |bytes| bytes.ends_with(b"\n\n"),
    nothing: b"action=DUNNO\n\n",
};

const SOCKETMAP: Service = Service {
    name: "socketmap",
    request: socketmap_request,
    complete: |bytes| bytes.ends_with(b","),
    answered: |bytes| bytes.ends_with(b","),
    nothing: b"9:NOTFOUND ,",
};

/// Resident memory, in octets.
fn resident() -> Option<usize> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    Some(statm.split_whitespace().nth(1)?.parse::<usize>().ok()? * 4096)
}

fn load() -> Result<Arc<Memory>, Failure> {
    let keys = (0..SUPPRESSIONS)
        .map(|n| Ok(Address::parse(&dead(n))?.key(LocalPart::Fold)))
        .collect::<Result<Vec<_>, Failure>>()?;
    let since = "2026-11-21T10:00:00Z".parse()?;
    let (before, start) = (resident(), Instant::now());
    let memory = Memory::new();
    memory.load(SUPPRESSIONS, 0).finish();
    for (id, key) in (1..).zip(&keys) {
        let entry = Entry {
            id: SuppressionId(id),
            cause: Cause::UserUnknown,
            since,
            expires: None,
            standing: Standing::InForce,
        };
        memory.suppress(&key.clone().into(), &entry);
    }
    let took = start.elapsed();
    let each = resident()
        .zip(before)
        .map_or(0, |(now, then)| now.saturating_sub(then) / SUPPRESSIONS);
    println!("{SUPPRESSIONS} suppressions loaded in {took:.2?}, {each} octets each");
    for (n, domain) in DOMAINS.iter().enumerate() {
        let provider = format!("provider{n}");
        memory.set_provider(domain, &provider, since);
        let lane = LaneKey {
            provider,
            egress: "default".into(),
        };
        memory.set_lane(lane, Lane::open(since), since);
    }
    hold(&memory, "provider7")?;
    memory.set_loaded();
    Ok(Arc::new(memory))
}

fn hold(memory: &Memory, provider: &str) -> Result<(), Failure> {
    let lane = LaneKey {
        provider: provider.into(),
        egress: "default".into(),
    };
    let held = Lane::held(
        Signal {
            rule: "bench.rate".into(),
            reply: "421 4.7.28 slow down".into(),
            ..Signal::default()
        },
        "9000-01-01T00:00:00Z".parse()?,
        "2026-11-21T10:00:00Z".parse()?,
    );
    memory.set_lane(lane, held, "2026-11-21T10:00:00Z".parse()?);
    Ok(())
}

fn listen() -> Result<(Listener, SocketAddr), Failure> {
    let listener = Listener::bind(
        "bench",
        &"127.0.0.1:0".parse::<ListenAddress>()?,
        &mut Inherited::default(),
    )?
    .ok_or("off")?;
    match listener.address() {
        ListenAddress::Tcp(address) => Ok((listener, address)),
        other => Err(format!("expected an internet address, found {other}").into()),
    }
}

/// Starts a responder that does nothing, on as many threads, which take connections in turns.
fn do_nothing(service: Service, threads: usize) -> Result<SocketAddr, Failure> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let mut handles = Vec::new();
    for _ in 0..threads {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        handles.push(runtime.handle().clone());
        std::thread::Builder::new()
            .name("nothing-".into())
            .spawn(move || runtime.block_on(std::future::pending::<()>()))?;
    }
    std::thread::spawn(move || {
        for (handle, stream) in handles.iter().cycle().zip(listener.incoming().flatten()) {
            handle.spawn(respond(service, stream));
        }
    });
    Ok(address)
}

async fn respond(service: Service, stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    let mut stream = tokio::net::TcpStream::from_std(stream)?;
    let (mut buffer, mut held) = ([0; 8192], 0);
    loop {
        match stream.read(&mut buffer[held..]).await? {
            0 => return Ok(()),
            count => held += count,
        }
        if (service.complete)(&buffer[..held]) {
            held = 0;
            stream.write_all(service.nothing).await?;
        }
    }
}

/// The latencies of all requests of one turn, in nanoseconds.
fn turn(
    service: Service,
    clients: &mut [TcpStream],
    requests: &[Vec<u8>],
    length: Duration,
) -> Result<Vec<u64>, Failure> {
    let barrier = Barrier::new(clients.len());
    let mut all = Vec::new();
    std::thread::scope(|scope| {
        let mut running = Vec::new();
        for (number, client) in clients.iter_mut().enumerate() {
            let barrier = &barrier;
            let first = number * requests.len() / 64;
            running.push(scope.spawn(move || {
                barrier.wait();
                converse(service, client, requests, first, length)
            }));
        }
        for thread in running {
            all.extend(thread.join().map_err(|_| "a client panicked")??);
        }
        Ok(all)
    })
}

fn converse(
    service: Service,
    client: &mut TcpStream,
    requests: &[Vec<u8>],
    first: usize,
    length: Duration,
) -> Result<Vec<u64>, Failure> {
    let mut latencies = Vec::with_capacity(200_000);
    let mut buffer = [0; 1024];
    let begin = Instant::now();
    let mut asked = begin;
    for request in requests.iter().cycle().skip(first) {
        client.write_all(request)?;
        let mut held = 0;
        while !(service.answered)(&buffer[..held]) {
            match client.read(&mut buffer[held..])? {
                0 => return Err("the server closed the connection".into()),
                count => held += count,
            }
        }
        let now = Instant::now();
        latencies.push(u64::try_from((now - asked).as_nanos())?);
        asked = now;
        if now - begin >= length {
            break;
        }
    }
    Ok(latencies)
}

/// What one server did over all turns.
#[derive(Default)]
struct Tally {
    rates: Vec<f64>,
    latencies: Vec<u64>,
    p99s: Vec<f64>,
    /// Processor time of the server's threads for each request, in microseconds.
    costs: Vec<f64>,
}

/// The processor time that threads with such names have used, in nanoseconds (proc(5), schedstat).
fn processor_time(prefix: &str) -> f64 {
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else {
        return 0.0;
    };
    let used = threads.flatten().filter_map(|thread| {
        let name = std::fs::read_to_string(thread.path().join("comm")).ok()?;
        let stat = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        let nanoseconds = stat.split_whitespace().next()?.parse::<f64>().ok()?;
        name.starts_with(prefix).then_some(nanoseconds)
    });
    used.sum()
}

impl Tally {
    fn add(&mut self, mut latencies: Vec<u64>, length: Duration, cost: f64) {
        self.costs.push(cost / 1000.0 / latencies.len() as f64);
        latencies.sort_unstable();
        self.rates.push(latencies.len() as f64 / length.as_secs_f64());
        self.p99s.push(quantile(&latencies, 99));
        self.latencies.extend(latencies);
    }
}

/// A percentile of sorted latencies, in microseconds.
fn quantile(sorted: &[u64], percent: usize) -> f64 {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).map_or(0.0, |&ns| ns as f64 / 1000.0)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

fn ratios(ours: &[f64], theirs: &[f64]) -> f64 {
    median(ours.iter().zip(theirs).map(|(a, b)| a / b).collect())
}

fn compare(
    service: Service,
    servers: [SocketAddr; 2],
    connections: usize,
    length: Duration,
    rounds: usize,
) -> Result<bool, Failure> {
    let requests: Vec<_> = (0..DISTINCT).map(service.request).collect();
    let mut clients = Vec::new();
    for server in servers {
        let open = (0..connections).map(|_| {
            let client = TcpStream::connect(server)?;
            client.set_nodelay(true)?;
            Ok(client)
        });
        clients.push(open.collect::<std::io::Result<Vec<_>>>()?);
    }
    let mut tallies = [Tally::default(), Tally::default()];
    for round in 0..=rounds {
        for step in 0..2 {
            let which = (round + step) % 2;
            let threads = ["nothing-", "hook-"][which];
            let before = processor_time(threads);
            let latencies = turn(service, &mut clients[which], &requests, length)?;
            let cost = processor_time(threads) - before;
            // The first round only warms up.
            if round > 0 {
                tallies[which].add(latencies, length, cost);
            }
        }
    }
    let [nothing, ours] = &mut tallies;
    let rate = ratios(&ours.rates, &nothing.rates);
    let p99 = ratios(&ours.p99s, &nothing.p99s);
    for (name, tally) in [("does nothing", nothing), ("nixie", ours)] {
        tally.latencies.sort_unstable();
        println!(
            "{:9} {connections:3} connections {name:>12}: {:9.0} requests/s  p50 {:7.1} µs  p99 {:7.1} µs  processor {:5.1} µs each",
            service.name,
            median(tally.rates.clone()),
            quantile(&tally.latencies, 50),
            quantile(&tally.latencies, 99),
            median(tally.costs.clone()),
        );
    }
    let holds = rate >= LEAST_RATE && p99 <= MOST_P99;
    println!(
        "{:9} {connections:3} connections        ratio: {rate:.2} of the requests, {p99:.2} times the p99 — {}",
        service.name,
        if holds { "holds" } else { "MISSES" }
    );
    Ok(holds)
}

/// How long judging takes without sockets, on this thread: decode, look up, encode.
fn judge(memory: &Memory) -> Result<(), Failure> {
    let settings = Settings::default();
    let requests: Vec<_> = (0..DISTINCT).map(policy_request).collect();
    let (mut decoder, mut out) = (policy::Decoder::default(), Vec::new());
    let rounds = 50;
    let before = processor_time("hooks-");
    for request in requests.iter().cycle().take(rounds * DISTINCT) {
        decoder.feed(request);
        out.clear();
        while let Some(request) = decoder.decode()? {
            answer::policy(memory, &request, &settings, clock::now())
                .1
                .encode(&mut out);
        }
    }
    let each = (processor_time("hooks-") - before) / (rounds * DISTINCT) as f64;
    println!("judging a policy request takes {each:.0} ns of processor time, without sockets");
    Ok(())
}

fn argument(name: &str, default: f64) -> f64 {
    std::env::args()
        .find_map(|arg| arg.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
        .unwrap_or(default)
}

fn main() -> Result<(), Failure> {
    if !std::env::args().any(|arg| arg == "--bench") {
        println!("a load test, not a test: cargo bench --bench hooks");
        return Ok(());
    }
    tracing_subscriber::fmt().with_writer(std::io::sink).try_init()?;
    let memory = load()?;
    judge(&memory)?;
    let length = Duration::from_secs_f64(argument("seconds", 0.15));
    let rounds = argument("rounds", 30.0) as usize;
    let settings = HookSettings::default();
    let (policy, policy_at) = listen()?;
    let (socketmap, socketmap_at) = listen()?;
    let listeners = Listeners {
        policy: Some(policy),
        socketmap: Some(socketmap),
    };
    let hooks = Hooks::start(listeners, &settings, memory)?;
    println!(
        "{} threads a server; policy requests of {} octets on average; targets: {LEAST_RATE} of the requests, {MOST_P99} times the p99",
        settings.threads,
        (0..DISTINCT).map(|n| policy_request(n).len()).sum::<usize>() / DISTINCT
    );
    let mut hold = true;
    for (service, at) in [(POLICY, policy_at), (SOCKETMAP, socketmap_at)] {
        let nothing = do_nothing(service, settings.threads)?;
        for connections in CONNECTIONS {
            hold &= compare(service, [nothing, at], connections, length, rounds)?;
        }
    }
    let counters = hooks.counters();
    println!(
        "policy: {} passed, {} refused; socketmap: {} passed, {} refused, {} held; {} decisions not logged",
        counters.policy.passed,
        counters.policy.refused,
        counters.socketmap.passed,
        counters.socketmap.refused,
        counters.socketmap.held,
        counters.unlogged
    );
    println!("all targets hold: {}", if hold { "yes" } else { "no" });
    Ok(())
}
