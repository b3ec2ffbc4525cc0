//! The milter of a running Nixie over its socket: what a Postfix says, and everything that it would never say.

use nixie_lab::nixie::{Nixie, Setup};
use nixie_lab::wait::until;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

pub const WITHIN: Duration = Duration::from_secs(30);
const DEAD: &[u8] = b"<dead@small.example>\0";
const ALIVE: &[u8] = b"<alive@small.example>\0";

/// A Nixie that knows of `dead@small.example`.
fn nixie(setup: impl FnOnce(Setup) -> Setup) -> Nixie {
    let nixie = Nixie::launch(setup(Setup::new(env!("CARGO_BIN_EXE_nixie")))).unwrap();
    let add = ["suppress", "add", "dead@small.example", "--cause", "user_unknown"];
    nixie.cli(&add).unwrap();
    until(WITHIN, "the milter to know", || {
        let mut mta = Mta::greet(&nixie);
        mta.send(b'R', DEAD);
        Ok((mta.reply().0 == b'y').then_some(()))
    })
    .unwrap();
    nixie
}

/// The side of the MTA.
pub struct Mta(pub TcpStream);

impl Mta {
    pub fn connect(nixie: &Nixie) -> Self {
        let stream = TcpStream::connect(nixie.address("milter")).unwrap();
        stream.set_read_timeout(Some(WITHIN)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    /// As Postfix begins: with an offer of everything.
    pub fn greet(nixie: &Nixie) -> Self {
        let mut mta = Self::connect(nixie);
        mta.send(b'O', b"\0\0\0\x06\0\0\x01\xff\0\x1f\xff\xff");
        assert_eq!(mta.reply().0, b'O');
        mta
    }

    pub fn send(&mut self, letter: u8, data: &[u8]) {
        self.0.write_all(&packet(letter, data)).unwrap();
    }

    pub fn reply(&mut self) -> (u8, Vec<u8>) {
        let mut length = [0; 4];
        self.0.read_exact(&mut length).unwrap();
        let mut packet = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap()];
        self.0.read_exact(&mut packet).unwrap();
        (packet[0], packet[1..].to_vec())
    }

    fn ask(&mut self, letter: u8, data: &[u8]) -> u8 {
        self.send(letter, data);
        self.reply().0
    }

    /// Whether the other side has closed, and said no more.
    fn is_closed(&mut self) -> bool {
        match self.0.read(&mut [0]) {
            Ok(octets) => octets == 0,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }
}

fn packet(letter: u8, data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len() + 1).unwrap();
    [&length.to_be_bytes()[..], &[letter], data].concat()
}

/// Waits until a connection was closed for that reason, and the log says so.
fn wait_for(nixie: &Nixie, reason: &str, said: &str) {
    until(WITHIN, &format!("a connection closed as {reason}"), || {
        let closed = nixie.metric(&format!("nixie_milter_closed_total{{reason=\"{reason}\"}}"))?;
        Ok(closed.filter(|&count| count > 0.0 && nixie.printed().contains(said)))
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", nixie.printed()));
}

#[test]
fn several_messages_on_a_connection() {
    let nixie = nixie(|setup| setup);
    let mut mta = Mta::greet(&nixie);
    for _ in 0..3 {
        assert_eq!(mta.ask(b'R', ALIVE), b'c');
        mta.send(b'R', DEAD);
        let (letter, text) = mta.reply();
        assert!(
            letter == b'y' && text.starts_with(b"550 5.1.1 suppressed since "),
            "{text:?}"
        );
        assert_eq!(mta.ask(b'E', b""), b'a');
        mta.send(b'A', b"");
    }
    // One that is given up takes nothing along: the next is for the living only.
    assert_eq!(mta.ask(b'R', b"dead@small.example\0"), b'c', "removed at the end");
    mta.send(b'A', b"");
    assert_eq!(mta.ask(b'R', ALIVE), b'c');
    assert_eq!(mta.ask(b'E', b""), b'a');
    // Another client on the same connection needs no other agreement.
    mta.send(b'K', b"");
    assert_eq!(mta.ask(b'R', b"dead@small.example\0"), b'c');
    assert_eq!(mta.ask(b'R', b"alive@small.example\0"), b'c');
    mta.send(b'E', b"");
    assert_eq!(mta.reply(), (b'-', b"dead@small.example\0".to_vec()));
    assert_eq!(mta.reply().0, b'a');
    assert_eq!(mta.ask(b'R', b"dead@small.example\0"), b'c');
    assert_eq!(mta.ask(b'E', b""), b'd', "for nobody any more");
    mta.send(b'Q', b"");
    assert!(mta.is_closed());
}

#[test]
fn octets_come_as_they_come() {
    let nixie = nixie(|setup| setup);
    let mut mta = Mta::connect(&nixie);
    let all = [
        packet(b'O', b"\0\0\0\x06\0\0\x01\xff\0\x1f\xff\xff"),
        packet(b'D', b"Ri\0Q1\0"),
        packet(b'R', DEAD),
        packet(b'R', ALIVE),
        packet(b'E', b""),
    ]
    .concat();
    for octet in &all {
        mta.0.write_all(&[*octet]).unwrap();
    }
    let answers: Vec<u8> = (0..4).map(|_| mta.reply().0).collect();
    assert_eq!(answers, b"Oyca");
    // And all at once.
    let mut mta = Mta::connect(&nixie);
    mta.0.write_all(&all).unwrap();
    let answers: Vec<u8> = (0..4).map(|_| mta.reply().0).collect();
    assert_eq!(answers, b"Oyca");
}

#[test]
fn garbage_is_closed_with_a_reason() {
    let nixie = nixie(|setup| setup.text("hooks", "request_timeout", "1s"));
    let table: [(&[u8], &str, &str); 4] = [
        (
            b"GET / HTTP/1.0\r\n\r\n",
            "malformed",
            "expected a packet of at most",
        ),
        (b"\0\0\0\0", "malformed", "a packet with a command"),
        (&packet(b'R', DEAD), "malformed", "expected the negotiation first"),
        (
            b"\0\0\0\x10R<dea",
            "timed_out",
            "the rest of a command did not come",
        ),
    ];
    for (octets, reason, _) in table {
        let mut mta = Mta::connect(&nixie);
        mta.0.write_all(octets).unwrap();
        assert!(mta.is_closed(), "{octets:?}");
        wait_for(&nixie, reason, "hook=\"milter\"");
    }
    wait_for(&nixie, "timed_out", "the rest of a command did not come");
    // Whoever comes next is served.
    assert_eq!(Mta::greet(&nixie).ask(b'R', DEAD), b'y');
}

#[test]
fn who_is_silent_makes_room() {
    let nixie = nixie(|setup| {
        let setup = setup.value("milter", "max_connections", "2");
        setup.text("milter", "idle_timeout", "2s")
    });
    let mut held: Vec<Mta> = (0..2).map(|_| Mta::greet(&nixie)).collect();
    // One in the middle of a message stays.
    assert_eq!(held[0].ask(b'R', ALIVE), b'c');
    let mut third = Mta::greet(&nixie);
    assert!(held[1].is_closed());
    wait_for(&nixie, "evicted", "made room for another");
    assert_eq!(held[0].ask(b'E', b""), b'a');
    assert!(third.is_closed(), "it said nothing");
    wait_for(&nixie, "idle", "nothing came for too long");
}

/// A stop lets the message that is under way come to its end.
#[test]
fn a_stop_waits_for_the_message() {
    let mut nixie = nixie(|setup| setup);
    let (mut busy, mut idle) = (Mta::greet(&nixie), Mta::greet(&nixie));
    assert_eq!(busy.ask(b'R', ALIVE), b'c');
    nixie.signal("TERM").unwrap();
    assert!(idle.is_closed());
    assert_eq!(busy.ask(b'R', DEAD), b'y');
    assert_eq!(busy.ask(b'E', b""), b'a');
    assert!(busy.is_closed());
    assert!(nixie.terminate().unwrap().success());
}

/// Only what is a report, or may be one, is read; everything else is spared its body.
#[test]
fn a_body_comes_in_pieces_where_it_is_wanted() {
    let nixie = nixie(|setup| {
        let setup = setup.value("milter", "read.enabled", "true");
        setup.value("milter", "read.domains", "[\"bounces.example.org\"]")
    });
    let mut mta = Mta::greet(&nixie);
    let begin = |mta: &mut Mta, sender: &[u8], recipient: &[u8]| {
        mta.send(b'M', sender);
        assert_eq!(mta.ask(b'R', recipient), b'c');
        mta.send(b'L', b"Subject\0 hello\0");
        mta.send(b'N', b"");
        mta.ask(b'B', &[b'x'; 60_000])
    };
    assert_eq!(begin(&mut mta, b"<app@x.example>\0", ALIVE), b's');
    assert_eq!(mta.ask(b'E', b""), b'a');
    let read = || {
        nixie
            .metric("nixie_milter_read_total{proof=\"unproven\"}")
            .unwrap()
    };
    assert_eq!(read(), Some(0.0));
    assert_eq!(begin(&mut mta, b"<>\0", ALIVE), b'c');
    assert_eq!(mta.ask(b'B', &[b'y'; 60_000]), b'c');
    assert_eq!(mta.ask(b'E', b"z\r\n"), b'a');
    assert_eq!(read(), Some(1.0));
    let unread = || nixie.status().unwrap();
    assert!(
        !unread().contains("unread 1"),
        "none of ours to keep: {}",
        unread()
    );
    assert_eq!(
        begin(&mut mta, b"<list@x.example>\0", b"<b@bounces.example.org>\0"),
        b'c'
    );
    assert_eq!(mta.ask(b'E', b""), b'a');
    assert_eq!(read(), Some(2.0));
}
