//! Whose mailboxes a domain's are, asked of a name server on loopback.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

use nixie::clock;
use nixie::config::{Dns as DnsSettings, NameServers, Settings};
use nixie::engine::exchanger::Exchangers;
use nixie::engine::memory::Memory;
use nixie::serve::bench;
use nixie::serve::dns::Dns;
use nixie::serve::resolve::{Resolve, ResolveCounters};
use nixie_lab::dns::{self, Zone};
use nixie_lab::nixie::{Nixie, Setup};
use nixie_lab::wait;
use parking_lot::RwLock;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

fn zones() -> dns::Dns {
    let google = ["aspmx.l.google.com.", "alt1.aspmx.l.google.com."];
    dns::Dns::start([
        ("gmail.test", Zone::mx(&["gmail-smtp-in.l.google.com."])),
        ("vanity.test", Zone::mx(&google)),
        ("mixed.test", Zone::mx(&[google[0], "mx.mixed.test."])),
        ("null.test", Zone::mx(&["."])),
        ("short.test", Zone::Exchangers(vec!["mx.hoster.test.".into()], 1)),
        ("empty.test", Zone::Empty),
        ("fails.test", Zone::Fails),
        ("silent.test", Zone::Silent),
    ])
    .unwrap()
}

fn settings(server: &dns::Dns) -> DnsSettings {
    let servers = format!("servers = \"{}\"\ntimeout = \"1s\"", server.address());
    let settings: DnsSettings = toml::from_str(&servers).unwrap();
    assert_eq!(settings.servers, NameServers(vec![server.address()]));
    settings
}

#[tokio::test]
async fn dns_is_asked_and_answers_within_its_time() {
    let server = zones();
    let dns = Dns::new(&settings(&server)).unwrap();
    let hosts = |hosts: &[&str]| Exchangers::Hosts(hosts.iter().map(|&host| host.to_owned()).collect());
    let table = [
        ("gmail.test", hosts(&["gmail-smtp-in.l.google.com"])),
        ("GMAIL.test", hosts(&["gmail-smtp-in.l.google.com"])),
        ("null.test", Exchangers::Nobody),
        ("missing.test", Exchangers::Nobody),
        ("empty.test", hosts(&["empty.test"])),
        ("fails.test", Exchangers::Unknown),
        ("silent.test", Exchangers::Unknown),
        ("not a name..test", Exchangers::Unknown),
    ];
    for (domain, expected) in table {
        let (found, ttl) = dns.exchangers(domain).await;
        assert_eq!(found, expected, "{domain}");
        assert!(ttl <= Duration::from_secs(3600), "{domain}: {ttl:?}");
    }
    dns.exchangers("gmail.test").await;
    assert_eq!(
        server.asked("gmail.test"),
        1,
        "an answer is kept while it is true"
    );
    dns.exchangers("missing.test").await;
    assert_eq!(server.asked("missing.test"), 1, "and so is that there is none");
}

#[tokio::test]
async fn the_roll_up_learns_whose_a_domain_is() {
    let server = zones();
    let memory = Arc::new(Memory::new());
    let counters = Arc::new(ResolveCounters::default());
    let bench = Arc::new(RwLock::new(Arc::new(bench(&Settings::default()).unwrap())));
    let dns = Dns::new(&settings(&server)).unwrap();
    let (task, wanted) = Resolve::new(dns, Arc::clone(&memory), bench, Arc::clone(&counters));
    let stop = CancellationToken::new();
    let task = tokio::spawn(task.run(stop.clone()));
    let table = [
        ("gmail.test", Some("google")),
        ("vanity.test", Some("google")),
        ("mixed.test", None),
        ("short.test", Some("hoster.test")),
        ("null.test", None),
        ("silent.test", None),
    ];
    // As hooks do: they look, and are told that nothing is known.
    memory.when_unknown(move |domain| wanted.want(domain));
    let learned = |domain: &str| memory.provider_at(domain, clock::now());
    for (domain, _) in table {
        // Many ask at once; DNS is asked once.
        assert!((0..50).all(|_| learned(domain).is_none()), "{domain}");
    }
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while table
        .iter()
        .any(|(domain, _)| !memory.knows(domain, clock::now()))
    {
        assert!(tokio::time::Instant::now() < deadline, "not all was learned");
        tokio::task::yield_now().await;
    }
    for (domain, provider) in table {
        assert_eq!(learned(domain).as_deref(), provider, "{domain}");
    }
    assert_eq!(server.asked("vanity.test"), 1);
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    assert_eq!((count(&counters.answered), count(&counters.failed)), (5, 1));
    // What a server said outranks DNS.
    memory.set_provider("mixed.test", "google", clock::now());
    assert_eq!(learned("mixed.test").as_deref(), Some("google"));
    stop.cancel();
    task.await.unwrap();
}

#[test]
fn a_daemon_counts_its_look_ups() {
    let server = zones();
    let setup = Setup::new(env!("CARGO_BIN_EXE_nixie"))
        .text("dns", "servers", &server.address().to_string())
        .text("dns", "timeout", "1s")
        .value("dns", "lookups", "true");
    let nixie = Nixie::launch(setup).unwrap();
    for domain in ["vanity.test", "null.test", "fails.test"] {
        let mut map = TcpStream::connect(nixie.address("socketmap")).unwrap();
        let request = format!("transport a@{domain}");
        write!(map, "{}:{request},", request.len()).unwrap();
        let mut answer = [0];
        map.read_exact(&mut answer).unwrap();
    }
    let (answered, failed) = ("nixie_mx_lookups_total", "nixie_mx_lookup_failures_total");
    wait::until(Duration::from_secs(20), "three look-ups to be counted", || {
        let counted = [nixie.metric(answered)?, nixie.metric(failed)?];
        Ok((counted == [Some(2.0), Some(1.0)]).then_some(()))
    })
    .unwrap();
}
