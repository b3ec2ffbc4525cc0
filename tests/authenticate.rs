//! Who wrote a report: keys and records come from a name server on loopback, signatures and seals are made here.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking, its helpers included"
)]

use mail_auth::{AuthenticatedMessage, DkimResult, MessageAuthenticator};
use nixie::config::{Authentication as AuthenticationSettings, Dns as DnsSettings, Settings};
use nixie::mail::event::{Authentication, Event, Flaw, Means, Source};
use nixie::mail::message::{self, Envelope};
use nixie::serve::authenticate::{Authenticator, Client};
use nixie::serve::bench;
use nixie::serve::dns::Dns;
use nixie_lab::dns::{self, Zone};
use nixie_lab::signer::{Signer, USUAL};
use parking_lot::RwLock;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// For all look-ups of a message.
const LIMIT: Duration = Duration::from_secs(1);
/// What a busy machine may add to that.
const SLACK: Duration = Duration::from_secs(4);

struct Rig {
    server: dns::Dns,
    authenticator: Authenticator,
}

impl Rig {
    fn new(zones: impl IntoIterator<Item = (String, Zone)>) -> Self {
        let server = dns::Dns::start(zones).unwrap();
        let authenticator = authenticator(&server);
        Self {
            server,
            authenticator,
        }
    }

    /// What a message proves, within the time that it may take.
    async fn verify(&self, message: &[u8], client: Option<&Client>) -> Authentication {
        let start = Instant::now();
        let found = self.authenticator.verify(message, client).await;
        assert!(start.elapsed() < LIMIT + SLACK, "it took {:?}", start.elapsed());
        found
    }

    /// What is proved of each of a message's events.
    async fn events(&self, message: &[u8], recipient: &str) -> Vec<Event> {
        let envelope = Envelope {
            sender: Some(""),
            recipient: Some(recipient),
        };
        let reading = message::read(message);
        let mut events = message::events(&reading, envelope, Source::Lmtp, nixie::clock::now());
        self.authenticator.authenticate(&mut events, message, None).await;
        events
    }
}

fn resolver(server: &dns::Dns) -> Dns {
    let settings = format!(
        "servers = \"{}\"\ntimeout = \"2s\"\nparallel = 4",
        server.address()
    );
    let settings: DnsSettings = toml::from_str(&settings).unwrap();
    Dns::new(&settings).unwrap()
}

fn authenticator(server: &dns::Dns) -> Authenticator {
    let settings = "timeout = \"1s\"\ntrusted_sealers = [\"forwarder.test\"]";
    let settings: AuthenticationSettings = toml::from_str(settings).unwrap();
    let bench = Arc::new(RwLock::new(Arc::new(bench(&Settings::default()).unwrap())));
    Authenticator::new(resolver(server), &settings, bench)
}

fn passed(means: Means, domain: &str) -> Authentication {
    let domain = domain.into();
    Authentication::Passed { means, domain }
}

const fn failed(flaw: Flaw) -> Authentication {
    Authentication::Failed(flaw)
}

fn dated() -> String {
    jiff::fmt::rfc2822::to_string(&nixie::clock::now().to_zoned(jiff::tz::TimeZone::UTC)).unwrap()
}

/// A bounce about `recipient`, from `author`.
fn bounce(author: &str, recipient: &str) -> Vec<u8> {
    let date = dated();
    format!(
        "From: Mail Delivery System <{author}>\r\nTo: b@bounces.app.test\r\nSubject: Undelivered Mail Returned to Sender\r\n\
         Date: {date}\r\nMessage-ID: <1@mx.x.test>\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=delivery-status; boundary=\"b1\"\r\n\r\n\
         --b1\r\n\r\nYour mail could not be delivered.\r\n\
         --b1\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.x.test\r\n\r\n\
         Final-Recipient: rfc822; {recipient}\r\nAction: failed\r\nStatus: 5.1.1\r\n\
         Diagnostic-Code: smtp; 550 5.1.1 no such user\r\n\r\n\
         --b1\r\nContent-Type: message/rfc822\r\n\r\nFrom: news@app.test\r\nTo: {recipient}\r\nMessage-ID: <9@app.test>\r\n\r\nhi\r\n\
         --b1--\r\n"
    )
    .into_bytes()
}

fn replaced(message: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = std::str::from_utf8(message).unwrap();
    assert!(text.contains(from), "{from:?} is not in {text}");
    text.replacen(from, to, 1).into_bytes()
}

/// RFC 6376, appendix A with the key of appendix C; RFC 8463, appendix A.
#[tokio::test]
async fn the_examples_of_the_standards_hold() {
    let rsa = "v=DKIM1; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYtIxN2SnFCjxOCKG9v\
               3b4jYfcTNh5ijSsq631uBItLa7od+v/RtdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhitdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckcQ2QIDAQAB";
    let both = "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQi\
                Y/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB";
    let server = dns::Dns::start([
        ("brisbane._domainkey.example.com", Zone::text(rsa)),
        ("test._domainkey.football.example.com", Zone::text(both)),
        (
            "brisbane._domainkey.football.example.com",
            Zone::text("v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="),
        ),
    ])
    .unwrap();
    let verifier = MessageAuthenticator(resolver(&server).resolver());
    for (text, signatures) in [
        (include_str!("data/signed/rfc6376-a.eml"), 1),
        (include_str!("data/signed/rfc8463-a.eml"), 2),
    ] {
        let message = text.replace('\n', "\r\n");
        let verdicts = async |message: &str| {
            let parsed = AuthenticatedMessage::parse(message.as_bytes()).unwrap();
            let found = verifier.verify_dkim(&parsed).await;
            found
                .iter()
                .map(|output| output.result().clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(verdicts(&message).await, vec![DkimResult::Pass; signatures]);
        for (from, to) in [
            ("hungry", "angry"),
            ("Joe SixPack", "Joe Twelve"),
            ("dinner", "lunch"),
        ] {
            let found = verdicts(&message.replacen(from, to, 1)).await;
            assert_eq!(found.len(), signatures);
            assert!(
                found.iter().all(|verdict| *verdict != DkimResult::Pass),
                "{from}: {found:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_mail_system_that_signs_is_believed_and_nobody_else() {
    let (x, other, forwarder) = (signer("x.test"), signer("y.test"), signer("forwarder.test"));
    let suffix = signer("co.uk");
    let signers = [&x, &other, &forwarder, &suffix];
    let rig = Rig::new(signers.map(|signer| signer.record().unwrap()));
    let plain = bounce("MAILER-DAEMON@mx.x.test", "ann@x.test");
    let good = x.sign(&plain).unwrap();
    let user = x.sign(&bounce("user@x.test", "ann@x.test")).unwrap();
    let twice = replaced(&good, "From:", "From: b@y.test\r\nFrom:");
    let cut = x
        .sign_with(&plain, USUAL, |signer| signer.body_length(true))
        .unwrap();
    let expired = x.sign_with(&plain, USUAL, |signer| signer.expiration(1)).unwrap();
    let many: Vec<u8> = std::iter::repeat_n(other.sign(&plain).unwrap(), 1)
        .flat_map(|signed| {
            let length = signed.len() - plain.len();
            signed[..length].repeat(500)
        })
        .chain(good.clone())
        .collect();
    let table: Vec<(&str, Vec<u8>, Authentication)> = vec![
        ("signed", good.clone(), passed(Means::Dkim, "mx.x.test")),
        (
            "signed among 500 of others",
            many,
            passed(Means::Dkim, "mx.x.test"),
        ),
        ("unsigned", plain.clone(), failed(Flaw::Unsigned)),
        ("nothing", Vec::new(), failed(Flaw::Unsigned)),
        ("no header", b"\r\n\r\nhello".to_vec(), failed(Flaw::Unsigned)),
        ("by another", other.sign(&plain).unwrap(), failed(Flaw::Unaligned)),
        ("a user's", user, failed(Flaw::NoDaemon)),
        ("two authors", twice, failed(Flaw::NoAuthor)),
        (
            "changed body",
            replaced(&good, "5.1.1", "5.1.0"),
            failed(Flaw::Broken),
        ),
        (
            "changed header",
            replaced(&good, "Subject: U", "Subject: u"),
            failed(Flaw::Broken),
        ),
        ("a part of the body", cut, failed(Flaw::Broken)),
        ("expires", expired, passed(Means::Dkim, "mx.x.test")),
        (
            "a public suffix's",
            suffix.sign(&bounce("postmaster@co.uk", "ann@a.co.uk")).unwrap(),
            failed(Flaw::NoAuthor),
        ),
        (
            "below a public suffix",
            suffix.sign(&bounce("postmaster@a.co.uk", "ann@a.co.uk")).unwrap(),
            failed(Flaw::Unaligned),
        ),
        (
            "without From",
            x.sign_fields(&plain, &["Subject", "Date", "Message-ID", "Content-Type"])
                .unwrap(),
            failed(Flaw::Broken),
        ),
        (
            "without Content-Type, and with the boundary in front",
            x.sign_fields(&plain, &["From", "Date", "Message-ID"]).unwrap(),
            passed(Means::Dkim, "mx.x.test"),
        ),
        (
            "without Content-Type, and with another boundary",
            replaced(
                &x.sign_fields(&plain, &["From", "Date", "Message-ID"]).unwrap(),
                "boundary=\"b1\"",
                "boundary=\"b2\"",
            ),
            failed(Flaw::Broken),
        ),
        (
            "sealed",
            forwarder.seal(&plain, &["x.test"]).unwrap(),
            passed(Means::Arc, "mx.x.test"),
        ),
        (
            "sealed unseen",
            forwarder.seal(&plain, &["y.test"]).unwrap(),
            failed(Flaw::Unaligned),
        ),
        (
            "sealed by another",
            other.seal(&plain, &["x.test"]).unwrap(),
            failed(Flaw::UnknownSealer),
        ),
        (
            "sealed and changed",
            replaced(&forwarder.seal(&plain, &["x.test"]).unwrap(), "5.1.1", "5.1.0"),
            failed(Flaw::Broken),
        ),
        (
            "sealed, and the results changed",
            replaced(&forwarder.seal(&plain, &["y.test"]).unwrap(), "y.test", "x.test"),
            failed(Flaw::Broken),
        ),
    ];
    for (what, message, expected) in table {
        assert_eq!(rig.verify(&message, None).await, expected, "{what}");
    }
    assert_eq!(
        rig.server.asked("lab._domainkey.x.test"),
        1,
        "a key is kept while it is true"
    );
}

/// Of a chain of several links the last one counts: it must be trusted, and have seen the signature itself; and every
/// link before it must hold.
#[tokio::test]
async fn a_chain_is_as_good_as_its_last_link() {
    let (x, forwarder, other) = (signer("x.test"), signer("forwarder.test"), signer("y.test"));
    let unknown = signer("nokey.test");
    let rig = Rig::new([&x, &forwarder, &other].map(|signer| signer.record().unwrap()));
    let verifier = MessageAuthenticator(resolver(&rig.server).resolver());
    let further = async |message: &[u8], sealer: &Signer, passed: &[&str]| {
        let parsed = AuthenticatedMessage::parse(message).unwrap();
        let chain = verifier.verify_arc(&parsed).await;
        sealer.seal_behind(message, passed, &chain).unwrap()
    };
    let plain = bounce("MAILER-DAEMON@mx.x.test", "ann@x.test");
    let (saw, blind) = (&["x.test"][..], &["y.test"][..]);
    let by_other = other.seal(&plain, saw).unwrap();
    let by_forwarder = forwarder.seal(&plain, saw).unwrap();
    let both = further(&by_other, &forwarder, saw).await;
    let three = further(&both, &forwarder, saw).await;
    // The first link's fields stand last.
    let first = both.len() - by_other.len();
    let in_first = |from: &str, to: &str| [&both[..first], &replaced(&by_other, from, to)].concat();
    let broken = replaced(&by_other, "5.1.1", "5.1.0");
    let table = [
        ("two links", both.clone(), passed(Means::Arc, "mx.x.test")),
        ("three links", three, passed(Means::Arc, "mx.x.test")),
        (
            "by a stranger behind a trusted one",
            further(&by_forwarder, &other, saw).await,
            failed(Flaw::UnknownSealer),
        ),
        (
            "only the first one saw it",
            further(&by_other, &forwarder, blind).await,
            failed(Flaw::Unaligned),
        ),
        (
            "the results of the first one are changed",
            in_first("y.test", "z.test"),
            failed(Flaw::Broken),
        ),
        (
            "the first one is gone",
            [&both[..first], &plain].concat(),
            failed(Flaw::Broken),
        ),
        (
            "changed between the two, which the second one says",
            further(&broken, &forwarder, saw).await,
            failed(Flaw::Broken),
        ),
        (
            "changed behind both",
            replaced(&both, "5.1.1", "5.1.0"),
            failed(Flaw::Broken),
        ),
        (
            "the key of the first one is nowhere",
            further(&unknown.seal(&plain, saw).unwrap(), &forwarder, saw).await,
            failed(Flaw::Broken),
        ),
        (
            "the last one twice",
            [&both[..first], &both].concat(),
            failed(Flaw::Broken),
        ),
    ];
    for (what, message, expected) in table {
        assert_eq!(rig.verify(&message, None).await, expected, "{what}");
    }
}

fn signer(domain: &str) -> Signer {
    Signer::new(domain).unwrap()
}

/// Whoever provokes a genuine bounce chooses much of it: only what the signer says itself is proved.
#[tokio::test]
async fn what_others_say_in_a_signed_report_is_not_proved() {
    let x = signer("x.test");
    let rig = Rig::new([x.record().unwrap()]);
    let good = x.sign(&bounce("postmaster@x.test", "nobody@x.test")).unwrap();
    let proved = |events: &[Event]| {
        let is = |event: &Event| matches!(event.authentication, Authentication::Passed { .. });
        events
            .iter()
            .filter(|event| is(event))
            .map(|event| event.mailed().to_string())
            .collect::<Vec<_>>()
    };
    let events = rig.events(&good, "b@bounces.app.test").await;
    assert_eq!(proved(&events), ["nobody@x.test"]);
    // A return path that names another, and the address that the sender asked to be told of.
    let about = bounce("postmaster@x.test", "nobody@x.test");
    let forged = [
        (
            x.sign(&replaced(&about, "\r\nTo: nobody@x.test", "\r\nTo: ann@x.test"))
                .unwrap(),
            "b+ann=x.test@bounces.app.test",
        ),
        (
            x.sign(&replaced(
                &about,
                "Final-Recipient",
                "Original-Recipient: rfc822; ann@x.test\r\nFinal-Recipient",
            ))
            .unwrap(),
            "b@bounces.app.test",
        ),
    ];
    for (message, path) in forged {
        let events = rig.events(&message, path).await;
        assert_eq!(events[0].mailed().to_string(), "ann@x.test", "{path}");
        assert_eq!(events[0].authentication, failed(Flaw::Inferred), "{path}");
    }
}

fn client(ip: &str, helo: &str, sender: &str) -> Client {
    Client {
        ip: ip.parse().unwrap(),
        helo: helo.into(),
        sender: sender.into(),
        host: "mx.app.test".into(),
    }
}

#[tokio::test]
async fn a_client_that_may_send_for_the_author_is_believed() {
    let zone = |text: &str| Zone::text(text);
    let rig = Rig::new([
        (
            "x.test".to_owned(),
            zone("v=spf1 ip4:192.0.2.1 include:inc.test -all"),
        ),
        ("inc.test".to_owned(), zone("v=spf1 a:out.test ~all")),
        (
            "out.test".to_owned(),
            Zone::Addresses(vec!["192.0.2.7".parse().unwrap()]),
        ),
        ("mx.x.test".to_owned(), zone("v=spf1 ip4:192.0.2.2 -all")),
        ("y.test".to_owned(), zone("v=spf1 +all")),
        ("loop.x.test".to_owned(), zone("v=spf1 include:loop.x.test -all")),
        ("dead.x.test".to_owned(), Zone::Silent),
    ]);
    let message = bounce("MAILER-DAEMON@x.test", "ann@x.test");
    let table = [
        (
            client("192.0.2.1", "any.test", "bounce@x.test"),
            passed(Means::Spf, "x.test"),
        ),
        (
            client("192.0.2.7", "any.test", "bounce@x.test"),
            passed(Means::Spf, "x.test"),
        ),
        (client("192.0.2.2", "mx.x.test", ""), passed(Means::Spf, "x.test")),
        (
            client("192.0.2.9", "any.test", "bounce@x.test"),
            failed(Flaw::Unaligned),
        ),
        (client("192.0.2.9", "mx.x.test", ""), failed(Flaw::Unaligned)),
        // An envelope of the forger's own, and a greeting that nobody checks where there is an envelope.
        (client("192.0.2.9", "y.test", "a@y.test"), failed(Flaw::Unaligned)),
        (
            client("192.0.2.2", "mx.x.test", "a@y.test"),
            failed(Flaw::Unaligned),
        ),
        (client("192.0.2.9", "loop.x.test", ""), failed(Flaw::Unaligned)),
        (client("192.0.2.9", "none.x.test", ""), failed(Flaw::Unaligned)),
        (client("192.0.2.9", "dead.x.test", ""), failed(Flaw::Unsure)),
        (client("2001:db8::1", "[192.0.2.1]", ""), failed(Flaw::Unaligned)),
    ];
    for (client, expected) in table {
        assert_eq!(rig.verify(&message, Some(&client)).await, expected, "{client:?}");
    }
    let user = bounce("user@x.test", "ann@x.test");
    let allowed = client("192.0.2.1", "any.test", "user@x.test");
    assert_eq!(rig.verify(&user, Some(&allowed)).await, failed(Flaw::NoDaemon));
}

/// Whatever DNS does, a report is told of in time, and proves nothing.
#[tokio::test]
async fn dns_that_does_not_help_proves_nothing_and_holds_nobody_up() {
    let (late, slow) = (Duration::from_millis(200), Duration::from_secs(10));
    let signers = [
        "silent.test",
        "garbage.test",
        "fails.test",
        "missing.test",
        "slow.test",
        "late.test",
    ]
    .map(signer);
    let broken = [Zone::Silent, Zone::Garbage, Zone::Fails, Zone::Missing];
    let mut zones: Vec<(String, Zone)> = signers
        .iter()
        .zip(broken)
        .map(|(signer, zone)| (signer.record().unwrap().0, zone))
        .collect();
    for (signer, after) in signers[4..].iter().zip([slow, late]) {
        let (name, zone) = signer.record().unwrap();
        zones.push((name, Zone::Late(after, Box::new(zone))));
    }
    let text = signer("text.test");
    zones.push((text.record().unwrap().0, Zone::text("this is no key")));
    let rig = Rig::new(zones);
    let expected = [
        ("silent.test", failed(Flaw::Unsure)),
        ("garbage.test", failed(Flaw::Unsure)),
        ("fails.test", failed(Flaw::Unsure)),
        ("missing.test", failed(Flaw::Broken)),
        ("slow.test", failed(Flaw::Unsure)),
        ("late.test", passed(Means::Dkim, "late.test")),
    ];
    for (signer, (domain, expected)) in signers.iter().zip(expected) {
        let message = signer
            .sign(&bounce(&format!("postmaster@{domain}"), "ann@x.test"))
            .unwrap();
        assert_eq!(rig.verify(&message, None).await, expected, "{domain}");
    }
    let message = text.sign(&bounce("postmaster@text.test", "ann@x.test")).unwrap();
    assert_eq!(rig.verify(&message, None).await, failed(Flaw::Broken));
    // Many at once, whose keys never come: each is told of in time, those that wait for their turn as well.
    let message = signers[0]
        .sign(&bounce("postmaster@silent.test", "ann@x.test"))
        .unwrap();
    let (rig, message) = (Arc::new(rig), Arc::new(message));
    let all: Vec<_> = (0..40)
        .map(|_| {
            let (rig, message) = (Arc::clone(&rig), Arc::clone(&message));
            tokio::spawn(async move { rig.verify(&message, None).await })
        })
        .collect();
    for one in all {
        assert_eq!(one.await.unwrap(), failed(Flaw::Unsure));
    }
}

/// The header may be as long as a stranger likes: what would take long is not begun.
#[tokio::test]
async fn a_header_without_end_is_soon_told() {
    let x = signer("x.test");
    let rig = Rig::new([x.record().unwrap()]);
    let good = x.sign(&bounce("postmaster@x.test", "ann@x.test")).unwrap();
    let long = [b"X-A: b\r\n".repeat(1_000_000), good.clone()].concat();
    assert_eq!(rig.verify(&long, None).await, failed(Flaw::Broken));
    let names = format!("\r\n\th={}", "a:".repeat(100_000));
    let many = replaced(&good, "\r\n\th=", &names);
    assert_eq!(rig.verify(&many, None).await, failed(Flaw::Broken));
    let fields = [b"X-A: b\r\n".repeat(20_000), good].concat();
    assert_eq!(rig.verify(&fields, None).await, passed(Means::Dkim, "x.test"));
}
