//! What proves a report, and what speaks against it.

use super::*;
use crate::engine::provider::Providers;
use crate::engine::return_path::{ReturnPaths, Signing, Style};
use crate::engine::token::{Keyring, Sealing};
use crate::mail::address::Address;
use crate::mail::event::{Authentication, EventId, Evidence, Flaw, Means};
use crate::mail::reply::Reply;
use data_encoding::BASE64;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

fn at(days: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000).unwrap() + SignedDuration::from_hours(24 * days)
}

/// Keys of these numbers, the sealing one first.
fn signing(numbers: &[u8]) -> Signing {
    let line = |number: &u8| format!("{number} {}\n", BASE64.encode(&[*number; 32]));
    let text: String = numbers.iter().map(line).collect();
    Signing {
        keyring: Keyring::parse(&text.into()).unwrap(),
        paths: ReturnPaths {
            local: "b".into(),
            delimiter: '+',
            domain: "bounces.example.org".into(),
            style: Style::Replace,
            lifetime: 14,
        },
    }
}

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

/// The return path of a message to these recipients.
fn path(signing: &Signing, to: &[&str], now: Timestamp) -> String {
    let one = match to {
        [one] => Some(sealed_key(&address(one))),
        _ => None,
    };
    let mail = Sealing {
        message: *b"nonce!",
        recipient: one.as_ref(),
        stream: None,
    };
    let token = signing.keyring.seal(&mail, now);
    signing.paths.path("news@example.org", &token)
}

/// A bounce about Ann, who was mailed.
fn bounce() -> Event {
    Event {
        id: EventId::new(at(0), &[b"bounce"]),
        at: at(0),
        source: Source::Lmtp,
        outcome: Outcome::Failed,
        evidence: Evidence::Fresh,
        recipient: address("Ann@Dead.test"),
        original_recipient: None,
        sender: None,
        sasl_username: None,
        queue_id: None,
        message_id: None,
        envelope_id: None,
        relay: None,
        command: None,
        reply: Reply::parse("550 5.1.1 no such user"),
        reported_status: None,
        reporting_mta: None,
        return_path: None,
        own: false,
        authentication: Authentication::Untried,
    }
}

fn found(event: &Event, signing: Option<&Signing>, seen: Option<Name>, now: Timestamp) -> (Trust, String) {
    let (claim, _) = claim(event, signing, None, now);
    let finding = judge(event, &claim, seen);
    assert_eq!(acts(event, &claim, seen), finding.trust().acts());
    (finding.trust(), finding.to_string())
}

#[test]
fn a_token_proves_what_it_is_about_and_speaks_against_the_rest() {
    let keys = signing(&[3]);
    let ann = path(&keys, &["ann@dead.test"], at(0));
    let bob = path(&keys, &["bob@dead.test"], at(0));
    let both = path(&keys, &["ann@dead.test", "bob@dead.test"], at(0));
    let stranger = path(&signing(&[4]), &["ann@dead.test"], at(0));
    let forged = ann.replace('@', "").replace("bounces.example.org", "");
    let forged = format!(
        "{}{}@bounces.example.org",
        &forged[..41],
        if forged.ends_with('a') { 'b' } else { 'a' }
    );
    let seen = Some(Name::MessageId);
    // return path, what was seen, age in days, what is found
    type Row<'a> = (&'a str, Option<Name>, i64, Trust, &'a str);
    let table: [Row<'_>; 14] = [
        (&ann, None, 0, Trust::Signed, "token of 2026-09-21, key 3"),
        (
            &ann.to_uppercase(),
            None,
            14,
            Trust::Signed,
            "token of 2026-09-21, key 3",
        ),
        (
            &ann,
            seen,
            0,
            Trust::Signed,
            "token of 2026-09-21, key 3; message-id seen",
        ),
        (&ann, seen, 15, Trust::Unverified, "token: expired, 15 days old"),
        (
            &bob,
            None,
            0,
            Trust::Unverified,
            "token: of another recipient; no message of ours",
        ),
        (&bob, seen, 0, Trust::Unverified, "token: of another recipient"),
        (
            &both,
            None,
            0,
            Trust::Unverified,
            "token: of a message to others; no message of ours",
        ),
        (&both, seen, 0, Trust::Unverified, "token: of a message to others"),
        (
            &both,
            Some(Name::Token),
            0,
            Trust::Signed,
            "token of 2026-09-21, key 3",
        ),
        (&forged, seen, 0, Trust::Unverified, "token: bad seal"),
        (
            &stranger,
            None,
            0,
            Trust::Unverified,
            "token: unknown key 4; no message of ours",
        ),
        (&stranger, seen, 0, Trust::Correlated, "message-id seen"),
        (
            "b@bounces.example.org",
            None,
            0,
            Trust::Unverified,
            "no token; no message of ours",
        ),
        (
            "b@bounces.example.org",
            Some(Name::QueueId),
            0,
            Trust::Correlated,
            "queue-id seen",
        ),
    ];
    for (return_path, seen, days, trust, text) in table {
        let event = Event {
            return_path: Some(return_path.to_owned()),
            ..bounce()
        };
        let expected = (trust, text.to_owned());
        assert_eq!(
            found(&event, Some(&keys), seen, at(days)),
            expected,
            "{return_path}"
        );
    }
    assert_eq!(
        found(&bounce(), None, None, at(0)).1,
        "no message of ours",
        "where nothing is signed"
    );
}

/// Where the mail was passed on, the address that we mailed is what counts; whoever else failed proves nothing.
#[test]
fn another_final_recipient_is_tied_to_whom_we_mailed_or_to_nobody() {
    let keys = signing(&[3]);
    let event = Event {
        recipient: address("ann.new@elsewhere.test"),
        return_path: Some(path(&keys, &["ann@dead.test"], at(0))),
        ..bounce()
    };
    assert_eq!(found(&event, Some(&keys), None, at(0)).0, Trust::Unverified);
    let named = Event {
        original_recipient: Some(address("ann@dead.test")),
        ..event
    };
    assert_eq!(found(&named, Some(&keys), None, at(0)).0, Trust::Signed);
}

#[test]
fn own_stays_own_and_an_answer_is_never_proved() {
    let keys = signing(&[3]);
    let others = Some(path(&keys, &["bob@dead.test"], at(0)));
    let own = Event {
        own: true,
        return_path: others,
        ..bounce()
    };
    assert_eq!(
        found(&own, Some(&keys), None, at(0)),
        (Trust::Own, "our own MTA's bounce".into())
    );
    let log = Event {
        source: Source::Log,
        ..own
    };
    assert_eq!(
        found(&log, Some(&keys), None, at(0)),
        (Trust::Own, "our own log".into())
    );
    let answer = Event {
        outcome: Outcome::AutoReply,
        return_path: Some(path(&keys, &["ann@dead.test"], at(0))),
        ..bounce()
    };
    let expected = (Trust::Unverified, "an automatic answer".to_owned());
    assert_eq!(found(&answer, Some(&keys), Some(Name::Token), at(0)), expected);
}

#[test]
fn a_domain_answers_for_its_own_addresses() {
    let passed = |domain: &str| Authentication::Passed {
        means: Means::Dkim,
        domain: domain.into(),
    };
    let providers = Providers::shipped().unwrap();
    let google = providers.get("google");
    let table = [
        (
            passed("mail.dead.test"),
            None,
            Trust::Authenticated,
            "dkim mail.dead.test",
        ),
        (
            passed("googlemail.com"),
            google,
            Trust::Authenticated,
            "dkim googlemail.com",
        ),
        (
            passed("googlemail.com"),
            None,
            Trust::Unverified,
            "author has no say about the recipient: googlemail.com; no message of ours",
        ),
        (
            Authentication::Failed(Flaw::Unsigned),
            google,
            Trust::Unverified,
            "unsigned; no message of ours",
        ),
    ];
    for (authentication, provider, trust, text) in table {
        let event = Event {
            authentication,
            ..bounce()
        };
        let (claim, marks) = claim(&event, None, provider, at(0));
        let finding = judge(&event, &claim, None);
        assert_eq!((finding.trust(), finding.to_string().as_str()), (trust, text));
        assert!(finding.may_wait() && marks.is_empty());
    }
    let keys = signing(&[3]);
    let contradicted = Event {
        authentication: passed("dead.test"),
        return_path: Some(path(&keys, &["bob@dead.test"], at(0))),
        ..bounce()
    };
    assert_eq!(
        found(&contradicted, Some(&keys), None, at(0)).0,
        Trust::Unverified
    );
}

/// Complaints come to an address of their own; the token stands in what they say of the mail.
#[test]
fn a_complaint_may_bring_the_token_of_its_mail() {
    let keys = signing(&[3]);
    let complaint = Event {
        outcome: Outcome::Complaint,
        return_path: Some("fbl@example.org".into()),
        sender: Some(path(&keys, &["ann@dead.test"], at(0))),
        ..bounce()
    };
    assert_eq!(found(&complaint, Some(&keys), None, at(0)).0, Trust::Signed);
    let failure = Event {
        outcome: Outcome::Failed,
        ..complaint
    };
    assert_eq!(found(&failure, Some(&keys), None, at(0)).0, Trust::Unverified);
}

#[test]
fn every_name_makes_a_mark_of_its_own() {
    let named = Named {
        message_id: Some("id"),
        queue_id: Some("id"),
        envelope_id: Some("id"),
        identity: None,
    };
    let marks = |named: &Named<'_>, to: &str| super::marks(named, &address(to));
    let ann = marks(&named, "Ann@dead.test");
    let names: Vec<Name> = ann.iter().map(|mark| mark.name).collect();
    assert_eq!(names, [Name::MessageId, Name::QueueId, Name::EnvelopeId]);
    assert_eq!(ann, marks(&named, "ann@DEAD.test"));
    let mut prints: Vec<Fingerprint> = ann.iter().map(|mark| mark.print).collect();
    prints.extend(marks(&named, "bob@dead.test").iter().map(|mark| mark.print));
    prints.sort_unstable();
    prints.dedup();
    assert_eq!(prints.len(), 6);
    let empty = Named {
        message_id: Some(""),
        ..Named::default()
    };
    assert_eq!(marks(&empty, "ann@dead.test"), []);
}

#[test]
fn kinds_of_doubt_have_names_of_their_own() {
    for &kind in DoubtKind::ALL {
        assert_eq!(DoubtKind::from_name(kind.name()), Some(kind));
        assert!(!kind.phrase().is_empty());
    }
}

#[derive(Debug, Clone)]
enum Step {
    Send,
    Days(i64),
    Rotate,
}

proptest! {
    /// However keys are changed and whenever bounces come back: as long as a key is kept for a lifetime after it sealed
    /// last, every bounce within the lifetime is proved.
    #[test]
    fn a_change_of_keys_loses_nothing(
        steps in prop::collection::vec(
            prop_oneof![Just(Step::Send), (0..20_i64).prop_map(Step::Days), Just(Step::Rotate)], 1..60),
    ) {
        let (mut day, mut numbers) = (0, vec![0_u8]);
        // when a key was replaced
        let mut replaced = std::collections::BTreeMap::new();
        let mut sent: Vec<(i64, String)> = Vec::new();
        for step in steps {
            match step {
                Step::Send => {
                    let path = path(&signing(&numbers), &["ann@dead.test"], at(day));
                    sent.push((day, path));
                }
                Step::Days(days) => day += days,
                Step::Rotate => {
                    replaced.insert(numbers[0], day);
                    let next = (0..=127).find(|n| !numbers.contains(n)).unwrap();
                    replaced.remove(&next);
                    numbers.insert(0, next);
                }
            }
            numbers.retain(|number| replaced.get(number).is_none_or(|since| day - since <= 14));
            let keys = signing(&numbers);
            for (since, path) in &sent {
                let event = Event { return_path: Some(path.clone()), ..bounce() };
                let expected = if day - since <= 14 { Trust::Signed } else { Trust::Unverified };
                prop_assert_eq!(found(&event, Some(&keys), None, at(day)).0, expected, "{} {}", since, day);
            }
        }
    }
}
