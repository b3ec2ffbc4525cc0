//! The lab itself: a private Postfix and scripted providers do what the tests of Nixie rely on.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use nixie_lab::postfix::{Postfix, Setup};
use nixie_lab::provider::{Mailbox, Provider, Script, Stage};
use nixie_lab::smtp::{Client, Protocol};
use nixie_lab::{need, smtp};
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(60);
const SENDER: &str = "app@sender.example";

fn message(subject: &str) -> Vec<u8> {
    format!("From: {SENDER}\nSubject: {subject}\n\n.a line with a dot\nbye\n").into_bytes()
}

#[test]
fn postfix_delivers_bounces_and_defers_at_scripted_providers() {
    if !need::postfix("postfix and providers together") {
        return;
    }
    let gmail = Provider::start(Script::gmail().with(Mailbox::Dead, ["gone@gmail.example"])).unwrap();
    let small = Provider::start(Script::small().limited(60, 1)).unwrap();
    let setup = Setup::new()
        .route("gmail.example", &gmail)
        .route("small.example", &small)
        .discard("sender.example");
    let mut postfix = Postfix::launch(setup).unwrap();

    delivers(&postfix, &gmail);
    bounces(&postfix, &gmail);
    defers_and_then_delivers(&postfix, &small);
    refuses_what_has_no_route(&postfix);
    takes_mail_from_the_command_line(&postfix, &gmail);
    keeps_mail_over_a_restart(&mut postfix, &gmail);
}

fn delivers(postfix: &Postfix, gmail: &Provider) {
    let replies = postfix
        .inject(SENDER, &["bob@gmail.example"], &message("one"))
        .unwrap();
    assert_eq!(replies[0].code, 250, "{}", replies[0]);
    gmail
        .wait(WITHIN, "the first message", |t| t.has("bob@gmail.example"))
        .unwrap();
    let taken = &gmail.messages()[0];
    assert_eq!(taken.sender, SENDER);
    assert_eq!(taken.field("Subject").as_deref(), Some("one"));
    let content = String::from_utf8_lossy(&taken.content);
    assert!(
        content.ends_with("\r\n.a line with a dot\r\nbye\r\n"),
        "{content}"
    );
    let sent =
        r"to=<bob@gmail.example>, relay=gmail-smtp-in\.l\.google\.com\[127\.0\.0\.21\]:\d+, .*status=sent";
    postfix.wait_for_log(sent, WITHIN).unwrap();
}

fn bounces(postfix: &Postfix, gmail: &Provider) {
    postfix
        .inject(SENDER, &["gone@gmail.example"], &message("two"))
        .unwrap();
    let line = postfix
        .wait_for_log(r"to=<gone@gmail.example>.*status=bounced", WITHIN)
        .unwrap();
    for part in [
        "relay=gmail-smtp-in.l.google.com[127.0.0.21]:",
        "dsn=5.1.1",
        "550-5.1.1 The email account",
    ] {
        assert!(line.contains(part), "{part} is missing in {line}");
    }
    let tally = gmail.tally();
    let answers: Vec<_> = tally.about("gone@gmail.example").collect();
    assert_eq!(answers.len(), 1);
    assert_eq!((answers[0].stage, answers[0].code), (Stage::Recipient, 550));
}

fn defers_and_then_delivers(postfix: &Postfix, small: &Provider) {
    small.change(|script| script.limit_reply = Some(Script::gmail().limit()));
    for recipient in ["first@small.example", "second@small.example"] {
        postfix.inject(SENDER, &[recipient], &message("three")).unwrap();
    }
    let line = postfix
        .wait_for_log(r"@small.example>.*status=deferred", WITHIN)
        .unwrap();
    assert!(
        line.contains("dsn=4.7.28") && line.contains("421-4.7.28 Gmail has detected"),
        "{line}"
    );
    let both = |t: &nixie_lab::provider::Tally| t.has("first@small.example") && t.has("second@small.example");
    let tally = small.wait(WITHIN, "both messages", both).unwrap();
    assert!(tally.slow_downs() >= 1);
    assert_eq!(tally.times_accepted("first@small.example"), 1);
    assert_eq!(tally.times_accepted("second@small.example"), 1);
    postfix.wait_for_empty_queue(WITHIN).unwrap();
}

fn refuses_what_has_no_route(postfix: &Postfix) {
    let replies = postfix
        .submit(SENDER, &["someone@real.example"], &message("four"))
        .unwrap();
    assert_eq!(replies.recipients[0].code, 550, "{}", replies.recipients[0]);
}

fn takes_mail_from_the_command_line(postfix: &Postfix, gmail: &Provider) {
    postfix
        .sendmail(&["-f", SENDER, "carol@gmail.example"], &message("five"))
        .unwrap();
    gmail
        .wait(WITHIN, "mail by sendmail", |t| t.has("carol@gmail.example"))
        .unwrap();
}

fn keeps_mail_over_a_restart(postfix: &mut Postfix, gmail: &Provider) {
    postfix.set("defer_transports", "smtp").unwrap();
    postfix.reload().unwrap();
    postfix
        .inject(SENDER, &["dave@gmail.example"], &message("six"))
        .unwrap();
    postfix
        .wait_for_log(r"to=<dave@gmail.example>.*status=deferred", WITHIN)
        .unwrap();
    let queue = postfix.queue().unwrap();
    assert_eq!(queue.len(), 1);
    assert_eq!(queue[0].recipients[0].0, "dave@gmail.example");
    postfix.stop().unwrap();
    assert!(postfix.client().is_err(), "a stopped Postfix does not answer");
    postfix.set("defer_transports", "").unwrap();
    postfix.start().unwrap();
    postfix.flush().unwrap();
    gmail
        .wait(WITHIN, "the kept message", |t| t.has("dave@gmail.example"))
        .unwrap();
}

#[test]
fn several_instances_run_side_by_side() {
    if !need::postfix("two instances of Postfix") {
        return;
    }
    let provider = Provider::start(Script::yahoo()).unwrap();
    let setup = || Setup::new().route("yahoo.example", &provider);
    let one = Postfix::launch(setup()).unwrap();
    let two = Postfix::launch(setup()).unwrap();
    one.inject(SENDER, &["one@yahoo.example"], &message("x")).unwrap();
    drop(one);
    two.inject(SENDER, &["two@yahoo.example"], &message("x")).unwrap();
    provider
        .wait(WITHIN, "the second's mail", |t| t.has("two@yahoo.example"))
        .unwrap();
}

/// What a provider says to a message for `recipient`.
fn verdict(provider: &Provider, recipient: &str, content: &[u8]) -> Vec<smtp::Reply> {
    let mut client = Client::connect(provider.address(), Protocol::Smtp).unwrap();
    let submission = client.send(SENDER, &[recipient], content).unwrap();
    submission
        .recipients
        .into_iter()
        .chain(submission.message)
        .collect()
}

#[test]
fn providers_follow_their_script() {
    let provider = Provider::start(
        Script::outlook()
            .with(Mailbox::Dead, ["Dead@outlook.example"])
            .with(Mailbox::Full, ["full@outlook.example"])
            .with(Mailbox::Late, ["late@outlook.example"]),
    )
    .unwrap();
    let codes = |recipient: &str, content: &[u8]| -> Vec<u16> {
        verdict(&provider, recipient, content)
            .iter()
            .map(|reply| reply.code)
            .collect()
    };
    assert_eq!(codes("dead@outlook.example", b"x"), [550]);
    assert_eq!(codes("full@outlook.example", b"x"), [452]);
    assert_eq!(codes("late@outlook.example", b"x"), [250, 250]);
    provider.change(|s| s.spam = Some("viagra".into()));
    assert_eq!(codes("a@outlook.example", b"buy viagra now"), [250, 554]);
    assert_eq!(codes("a@outlook.example", b"buy nothing"), [250, 250]);
    provider.change(|s| s.max_size = 20);
    assert_eq!(codes("a@outlook.example", &[b'x'; 100]), [250, 552]);
    provider.change(|s| (s.max_size, s.unauthenticated) = (1000, true));
    assert_eq!(codes("a@outlook.example", b"x"), [250, 550]);
    provider.change(|s| (s.unauthenticated, s.greylist) = (false, true));
    assert_eq!(codes("a@outlook.example", b"x"), [450]);
    assert_eq!(codes("a@outlook.example", b"x"), [250, 250]);
    provider.change(|s| s.greeting = Some("554 5.7.1 No thanks".into()));
    let refused = Client::connect(provider.address(), Protocol::Smtp).unwrap_err();
    assert!(refused.to_string().contains("No thanks"), "{refused}");
    let late = &provider.messages()[0];
    assert_eq!(late.recipients, ["late@outlook.example"]);
    let tally = provider.tally();
    assert_eq!((tally.rcpts, tally.accepted), (9, 3));
    assert_eq!((tally.refused, tally.deferred), (5, 2));
}

#[test]
fn hidden_limits_and_crowds_are_refused() {
    let provider = Provider::start(Script::yahoo().limited(1, 2)).unwrap();
    let codes: Vec<u16> = (0..3)
        .map(|_| verdict_or_close(&provider, "a@yahoo.example"))
        .collect();
    assert_eq!(codes, [250, 250, 421]);
    provider.change(|s| s.max_connections = Some(1));
    provider
        .wait(WITHIN, "earlier connections to close", |t| t.slow_downs() == 1)
        .unwrap();
    let _first = nixie_lab::wait::until(WITHIN, "a first connection", || {
        Ok(Client::connect(provider.address(), Protocol::Smtp).ok())
    });
    let second = Client::connect(provider.address(), Protocol::Smtp).unwrap_err();
    assert!(second.to_string().contains("421"), "{second}");
}

/// The reply to RCPT; the provider may close the connection with it.
fn verdict_or_close(provider: &Provider, recipient: &str) -> u16 {
    let mut client = Client::connect(provider.address(), Protocol::Smtp).unwrap();
    client.command(&format!("MAIL FROM:<{SENDER}>")).unwrap();
    client.command(&format!("RCPT TO:<{recipient}>")).unwrap().code
}
