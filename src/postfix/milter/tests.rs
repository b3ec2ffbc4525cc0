//! What the codec reads and writes, packet by packet; and that it stands any octets, however they are cut.

use super::*;
use proptest::prelude::*;

/// A packet as it stands on the wire.
fn packet(letter: u8, data: &[u8]) -> Vec<u8> {
    let mut out = u32::try_from(data.len() + 1).unwrap().to_be_bytes().to_vec();
    out.push(letter);
    out.extend_from_slice(data);
    out
}

fn only(octets: &[u8]) -> Result<Vec<String>, MilterError> {
    let mut decoder = Decoder::default();
    decoder.feed(octets);
    let mut seen = Vec::new();
    while let Some(command) = decoder.decode()? {
        seen.push(format!("{command:?}"));
    }
    Ok(seen)
}

#[test]
fn each_command_is_read() {
    let table: Vec<(u8, &[u8], Command<'_>)> = vec![
        (
            b'C',
            b"mail.example.org\x004\x00\x19192.0.2.1\0",
            Command::Connect {
                host: b"mail.example.org",
                address: b"192.0.2.1",
            },
        ),
        (
            b'C',
            b"[2001:db8::1]\x006\x00\x19IPv6:2001:db8::1\0",
            Command::Connect {
                host: b"[2001:db8::1]",
                address: b"IPv6:2001:db8::1",
            },
        ),
        (
            b'C',
            b"localhost\0U",
            Command::Connect {
                host: b"localhost",
                address: b"",
            },
        ),
        (
            b'M',
            b"<a@example.org>\0SIZE=10\0BODY=8BITMIME\0",
            Command::Mail {
                sender: b"<a@example.org>",
                parameters: vec![b"SIZE=10", b"BODY=8BITMIME"],
            },
        ),
        (
            b'R',
            b"b@example.org\0",
            Command::Rcpt {
                recipient: b"b@example.org",
                parameters: vec![],
            },
        ),
        (
            b'D',
            b"Ri\0Q1\0{auth_authen}\0news\0{empty}\0\0",
            Command::Macros {
                stage: Stage::Rcpt,
                values: vec![(b"i", b"Q1"), (b"{auth_authen}", b"news"), (b"{empty}", b"")],
            },
        ),
        (
            b'L',
            b"Subject\0two\n lines\0",
            Command::Header {
                name: b"Subject",
                value: b"two\n lines",
            },
        ),
        (b'B', b"a\0b", Command::Body(b"a\0b")),
        (b'E', b"", Command::EndOfMessage(b"")),
        (b'Z', b"?", Command::Other(b'Z')),
        // What is missing reads as empty.
        (b'H', b"", Command::Helo(b"")),
        (
            b'M',
            b"",
            Command::Mail {
                sender: b"",
                parameters: vec![],
            },
        ),
        (
            b'D',
            b"",
            Command::Macros {
                stage: Stage::Other(0),
                values: vec![],
            },
        ),
    ];
    for (letter, data, expected) in table {
        let mut decoder = Decoder::default();
        decoder.feed(&packet(letter, data));
        assert_eq!(decoder.decode(), Ok(Some(expected)));
        assert_eq!(decoder.decode(), Ok(None));
    }
}

#[test]
fn both_sides_agree_on_the_lesser() {
    let mut offer = Vec::new();
    for number in [6u32, 0x1ff, 0x1f_ffff] {
        offer.extend_from_slice(&number.to_be_bytes());
    }
    let mut decoder = Decoder::default();
    decoder.feed(&packet(b'O', &offer));
    let Ok(Some(Command::Negotiate(offer))) = decoder.decode() else {
        panic!("no offer")
    };
    let wanted = Actions::CHANGE_SENDER.and(Actions(0x1000));
    let answer = offer.answer(wanted, Steps::NO_BODY).unwrap();
    assert_eq!(
        (answer.version, answer.actions, answer.steps),
        (6, Actions::CHANGE_SENDER, Steps::NO_BODY)
    );
    let mut out = Vec::new();
    answer.encode(&mut out);
    assert_eq!(out, packet(b'O', b"\0\0\0\x06\0\0\0\x40\0\0\0\x10"));
    let old = Offer { version: 1, ..offer };
    assert_eq!(old.answer(wanted, Steps::default()), Err(MilterError::Version(1)));
    let older = Offer { version: 2, ..offer };
    assert_eq!(older.answer(wanted, Steps::default()).map(|o| o.version), Ok(2));
}

#[test]
fn replies_are_written() {
    let code = Reply::Code {
        code: 550,
        status: "5.1.1",
        text: "100% dead\r\n250 forged".into(),
    };
    let table: Vec<(Reply, u8, &[u8])> = vec![
        (Reply::Continue, b'c', b""),
        (Reply::Discard, b'd', b""),
        (code, b'y', b"550 5.1.1 100%% dead??250 forged\0"),
        (
            Reply::ChangeSender("b+x@é.example\n".into()),
            b'e',
            "b+x@é.example\0".as_bytes(),
        ),
        (Reply::DeleteRcpt(b"<a@b.test>".to_vec()), b'-', b"<a@b.test>\0"),
        (
            Reply::AddHeader {
                name: "X-A".into(),
                value: "b\r\nX-Forged: c".into(),
            },
            b'h',
            b"X-A\0bX-Forged: c\0",
        ),
    ];
    for (reply, letter, data) in table {
        let mut out = Vec::new();
        reply.encode(&mut out);
        assert_eq!(out, packet(letter, data), "{reply:?}");
    }
}

#[test]
fn errors_say_what_was_expected() {
    assert_eq!(only(&[0, 0, 0, 0]), Err(MilterError::Empty));
    assert_eq!(
        only(&[0xff; 4]).unwrap_err().to_string(),
        "expected a packet of at most 1048576 octets, found a length of 4294967295"
    );
    assert_eq!(only(&packet(b'O', b"short")), Err(MilterError::Offer(5)));
}

proptest! {
    /// Wherever the stream is cut, the same commands come out.
    #[test]
    fn pieces_make_the_same_whole(
        packets in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..40)), 0..8),
        cuts in prop::collection::vec(1usize..9, 1..60),
    ) {
        let stream: Vec<u8> = packets
            .iter()
            .filter(|(letter, _)| *letter != b'O')
            .flat_map(|(letter, data)| packet(*letter, data))
            .collect();
        let whole = only(&stream).unwrap();
        let mut decoder = Decoder::default();
        let mut seen = Vec::new();
        let (mut rest, mut cut) = (stream.as_slice(), cuts.iter().cycle());
        while !rest.is_empty() {
            let n = (*cut.next().unwrap()).min(rest.len());
            decoder.feed(&rest[..n]);
            rest = &rest[n..];
            while let Some(command) = decoder.decode().unwrap() {
                seen.push(format!("{command:?}"));
            }
        }
        prop_assert_eq!(seen, whole);
        prop_assert_eq!(decoder.waiting(), 0);
    }

    #[test]
    fn any_octets_are_read_or_refused(octets in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = only(&octets);
    }
}
