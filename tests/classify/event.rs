//! What events come to: phases, outcomes, lanes.

use crate::rules;
use jiff::Timestamp;
use nixie::engine::classify::{Phase, classify, classify_in, judge};
use nixie::engine::provider::Providers;
use nixie::engine::verdict::{Cause, Remedy};
use nixie::mail::address::Address;
use nixie::mail::event::{Event, EventId, Evidence, Outcome, Relay, Source};
use nixie::mail::reply::Reply;

fn event(outcome: Outcome, reply: &str, relay: Option<Relay>) -> Event {
    Event {
        id: EventId::new(Timestamp::UNIX_EPOCH, &[]),
        at: Timestamp::UNIX_EPOCH,
        source: Source::Log,
        outcome,
        evidence: Evidence::Fresh,
        recipient: Address::parse("ann@x.test").unwrap(),
        original_recipient: None,
        sender: None,
        queue_id: None,
        message_id: None,
        envelope_id: None,
        sasl_username: None,
        relay,
        command: None,
        reply: Reply::parse(reply),
        reported_status: None,
        reporting_mta: None,
        return_path: None,
        own: true,
        authentication: nixie::mail::event::Authentication::Untried,
    }
}

/// The very words that suppress in reply to RCPT say nothing of the recipient in reply to anything else.
#[test]
fn only_an_answer_to_rcpt_is_about_the_recipient() {
    let providers = Providers::shipped().unwrap();
    let remedy = |command: &str| {
        let event = Event {
            command: Some(command.to_owned()),
            ..event(
                Outcome::Failed,
                "550 5.1.1 no such user",
                relay("mx.x.test", Some("192.0.2.1")),
            )
        };
        judge(rules(), &providers, "default", &event).0.remedy
    };
    assert_eq!(remedy("RCPT TO"), Remedy::Suppress);
    for command in ["MAIL FROM", "DATA", "end of DATA", "EHLO", "greeting"] {
        assert_ne!(remedy(command), Remedy::Suppress, "{command}");
    }
}

fn relay(host: &str, ip: Option<&str>) -> Option<Relay> {
    Some(Relay {
        host: host.to_owned(),
        ip: ip.map(str::to_owned),
        port: Some(25),
    })
}

#[test]
fn events_are_judged_by_their_outcome() {
    let providers = Providers::shipped().unwrap();
    let table = [
        (Outcome::Delivered, "250 ok", Cause::Delivered, Remedy::None),
        (Outcome::Relayed, "250 ok", Cause::Delivered, Remedy::None),
        (Outcome::Expired, "", Cause::Expired, Remedy::Retry),
        (
            Outcome::Expired,
            "550 5.1.1 no such user",
            Cause::UserUnknown,
            Remedy::Retry,
        ),
        (
            Outcome::Expired,
            "452 4.2.2 mailbox full",
            Cause::MailboxFull,
            Remedy::SuppressIfRepeated,
        ),
        (Outcome::Complaint, "", Cause::Complaint, Remedy::Suppress),
        (
            Outcome::Failed,
            "550 5.1.1 no such user",
            Cause::UserUnknown,
            Remedy::Suppress,
        ),
        (
            Outcome::Deferred,
            "450 4.1.1 no such user",
            Cause::UserUnknown,
            Remedy::Retry,
        ),
    ];
    for (outcome, reply, cause, remedy) in table {
        let (verdict, _) = judge(rules(), &providers, "default", &event(outcome, reply, None));
        assert_eq!((verdict.cause, verdict.remedy), (cause, remedy), "{outcome:?}");
    }
    let echo = Event {
        evidence: Evidence::Repeat,
        ..event(Outcome::Failed, "550 5.1.1 no such user", None)
    };
    assert_eq!(
        judge(rules(), &providers, "default", &echo).0.remedy,
        Remedy::None
    );
}

/// A reply to the message counts for every recipient of it; only the one that it names can be dead.
/// What a server says that is no provider's means what it says, but holds nobody as its provider wants to be held.
#[test]
fn nobodys_server_is_not_taken_for_a_provider() {
    let providers = Providers::shipped().unwrap();
    let table = [
        ("mx.x.test", "421 too many connections", Cause::RateLimited, false),
        (
            "mx00.gmx.net",
            "421 too many connections",
            Cause::RateLimited,
            true,
        ),
        (
            "mx.x.test",
            "451 4.7.1 Service unavailable - try again later",
            Cause::RateLimited,
            false,
        ),
        (
            "mx01.mail.icloud.com",
            "451 4.7.1 Service unavailable - try again later",
            Cause::RateLimited,
            true,
        ),
        // An Exchange of one's own, and words that others hand on.
        (
            "mx.x.test",
            "550 5.1.10 RESOLVER.ADR.RecipientNotFound; not found",
            Cause::UserUnknown,
            false,
        ),
        (
            "mx.x.test",
            "421 4.7.28 Our system has detected an unusual rate of unsolicited mail",
            Cause::RateLimited,
            false,
        ),
    ];
    for (host, reply, cause, held) in table {
        let event = event(Outcome::Deferred, reply, relay(host, Some("192.0.2.1")));
        let verdict = judge(rules(), &providers, "default", &event).0;
        assert_eq!(
            (verdict.cause, verdict.hold.is_some()),
            (cause, held),
            "{host}: {verdict:?}"
        );
    }
}

#[test]
fn a_reply_to_the_message_condemns_only_whom_it_names() {
    let providers = Providers::shipped().unwrap();
    let said = |who: &str| format!("554 no such user {who} (in reply to end of DATA command)");
    let named = event(Outcome::Failed, &said("<Ann@X.test>"), None);
    assert_eq!(
        judge(rules(), &providers, "default", &named).0.cause,
        Cause::UserUnknown
    );
    for who in ["<bob@x.test>", "here"] {
        let (verdict, _) = judge(
            rules(),
            &providers,
            "default",
            &event(Outcome::Failed, &said(who), None),
        );
        assert_eq!(
            (verdict.cause, verdict.remedy),
            (Cause::Unknown, Remedy::None),
            "{who}"
        );
    }
}

#[test]
fn lanes_are_known_where_a_server_was_reached() {
    let providers = Providers::shipped().unwrap();
    let lane = |event: &Event| {
        judge(rules(), &providers, "out1", event)
            .1
            .map(|lane| (lane.provider, lane.egress))
    };
    let google = || relay("alt1.gmail-smtp-in.l.google.com", Some("192.0.2.1"));
    let table = [
        (google(), Some("google")),
        (relay("mx1.misc.test", Some("2001:db8::1")), Some("misc.test")),
        (relay("mx.misc.test", Some("private/dovecot-lmtp")), None),
        (relay("local", None), None),
        (None, None),
    ];
    for (relay, provider) in table {
        let found = lane(&event(Outcome::Deferred, "421 4.7.0 slow down", relay.clone()));
        let expected = provider.map(|provider| (provider.to_owned(), "out1".to_owned()));
        assert_eq!(found, expected, "{relay:?}");
    }
    let deferred = event(Outcome::Deferred, "421 4.7.0 slow down", google());
    assert_eq!(
        lane(&Event {
            evidence: Evidence::Repeat,
            ..deferred.clone()
        }),
        None
    );
    assert_eq!(
        lane(&Event {
            source: Source::Lmtp,
            ..deferred
        }),
        None,
        "reports come hours late"
    );
}

/// An answer to something else than the recipient is not about the recipient.
#[test]
fn the_phase_guards_the_recipient() {
    let rules = rules();
    let said = Reply::parse("550 5.1.1 user unknown");
    let named = Reply::parse("554 delivery error: no such user u@x.test");
    let table = [
        (&said, Phase::Recipient, Cause::UserUnknown),
        (&said, Phase::Unknown, Cause::UserUnknown),
        (&said, Phase::Sender, Cause::SenderRejected),
        (&said, Phase::Session, Cause::PolicyRejected),
        (&said, Phase::Message, Cause::Unknown),
        (&named, Phase::Message, Cause::UserUnknown),
    ];
    for (reply, phase, cause) in table {
        assert_eq!(
            classify_in(rules, reply, None, None, phase).cause,
            cause,
            "{phase:?}"
        );
    }
    let quoted = Reply::parse("550 5.1.1 user unknown (in reply to MAIL FROM command)");
    assert_eq!(classify(rules, &quoted, None, None).cause, Cause::SenderRejected);
}
