//! Recorded sessions of a real Postfix, replayed: the same is answered, however the octets are cut, and the messages are
//! what was handed in.

use crate::driver::Driver;
use crate::record::{ALONE, FULL, lines, path};
use nixie::postfix::milter::session::{Purpose, Transaction};

/// What was said by each side, as octets and as lines.
struct Recording {
    commands: Vec<u8>,
    replies: String,
}

fn recording(name: &str) -> Recording {
    let text = std::fs::read_to_string(path(name)).unwrap();
    let (mut commands, mut replies) = (Vec::new(), String::new());
    for line in text.lines() {
        match line.split_at(2) {
            ("> ", packet) => {
                let packet = unescape(packet);
                let length = u32::try_from(packet.len()).unwrap();
                commands.extend_from_slice(&length.to_be_bytes());
                commands.extend_from_slice(&packet);
            }
            _ => {
                replies.push_str(line);
                replies.push('\n');
            }
        }
    }
    Recording { commands, replies }
}

/// The octets of what [`slice::escape_ascii`] made.
fn unescape(text: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        let octet = match octet {
            b'\\' => match rest.next().unwrap() {
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'x' => {
                    let digits = [rest.next().unwrap(), rest.next().unwrap()];
                    u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
                }
                other => other,
            },
            other => other,
        };
        octets.push(octet);
    }
    octets
}

/// Replays in pieces of that length; gives the messages.
fn replay(name: &str, purpose: Purpose, piece: usize) -> Vec<Transaction> {
    let recorded = recording(name);
    let (mut driver, mut replies) = (Driver::new(purpose), String::new());
    for octets in recorded.commands.chunks(piece) {
        lines('<', &driver.feed(octets), &mut replies);
    }
    assert!(
        replies == recorded.replies,
        "{name}: expected\n{}found\n{replies}",
        recorded.replies
    );
    assert!(driver.is_closed, "{name}: Postfix said good-bye");
    driver.messages
}

fn text(octets: &[u8]) -> &str {
    std::str::from_utf8(octets).unwrap()
}

#[test]
fn mail_over_smtp() {
    for piece in [1, 7, usize::MAX] {
        let messages = replay("smtpd.txt", FULL, piece);
        assert_eq!(messages.len(), 3);
        let [signed, bounce, later] = &messages[..] else {
            unreachable!()
        };
        assert!(signed.smtp && signed.client == b"127.0.0.1" && !signed.queue_id.is_empty());
        assert_eq!(text(&signed.sender), "sign@app.example");
        assert_eq!(text(&signed.helo), "client.lab.example");
        assert_eq!(text(&signed.port), "2525");
        assert_eq!(signed.recipients, [b"<alive@small.example>"]);
        let header = "From: a@app.example\r\nSubject: two\r\n\tlines\r\nX-Empty:\r\n\r\n";
        let expected = |line: &str| header.lines().any(|ours| ours == line);
        let seen = text(&signed.content);
        assert!(
            header.lines().all(|line| seen.lines().any(|its| its == line)),
            "{seen}"
        );
        let added = |line: &str| line.starts_with("Message-Id:") || line.starts_with("Date:");
        assert!(seen.lines().all(|line| expected(line) || added(line)), "{seen}");
        assert!(
            bounce.sender.is_empty() && bounce.content.len() > 70_000,
            "{}",
            bounce.content.len()
        );
        assert!(bounce.content.ends_with(b"xx\r\n") && !bounce.cut);
        assert_eq!(text(&later.sender), "later@app.example");
        assert_eq!(later.queue_id.len(), signed.queue_id.len());
    }
}

/// Without signing and reading, nothing but the envelope and the end is heard of, and Postfix resolves no address for us.
#[test]
fn the_envelope_only() {
    let messages = replay("rcpt.txt", ALONE, usize::MAX);
    let senders: Vec<&str> = messages.iter().map(|message| text(&message.sender)).collect();
    assert_eq!(senders, ["sign@app.example", "", "later@app.example"]);
    assert!(
        messages
            .iter()
            .all(|message| message.content.is_empty() && message.smtp)
    );
    let recorded = std::fs::read_to_string(path("rcpt.txt")).unwrap();
    let letters: std::collections::BTreeSet<char> = recorded
        .lines()
        .filter_map(|line| line.strip_prefix("> ")?.chars().next())
        .collect();
    assert_eq!(letters.into_iter().collect::<String>(), "ADEMOQR");
    let resolved = [
        "{mail_addr}",
        "{mail_host}",
        "{mail_mailer}",
        "{rcpt_addr}",
        "{rcpt_host}",
    ];
    assert!(resolved.iter().all(|name| !recorded.contains(name)));
}

#[test]
fn mail_by_sendmail() {
    for piece in [3, usize::MAX] {
        let messages = replay("sendmail.txt", FULL, piece);
        let [message] = &messages[..] else {
            panic!("{messages:?}")
        };
        assert!(!message.smtp);
        assert_eq!(text(&message.sender), "sign@app.example");
        assert_eq!(message.recipients, [b"alive@small.example"]);
        assert_eq!(message.refused[0].recipient, b"dead@small.example");
    }
}

/// A notification that Postfix makes itself, with `internal_mail_filter_classes = bounce`.
#[test]
fn a_bounce_of_postfix_itself() {
    let messages = replay("bounce.txt", FULL, usize::MAX);
    let [message] = &messages[..] else {
        panic!("{messages:?}")
    };
    assert!(!message.smtp && message.sender.is_empty());
    assert_eq!(message.recipients, [b"a@app.example"]);
    assert!(text(&message.content).contains("Final-Recipient: rfc822; gone@small.example"));
}
