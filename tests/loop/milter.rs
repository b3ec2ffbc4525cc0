//! The milter with a real Postfix: what it refuses, removes, signs and reads.

use crate::stage::{SENDER, WITHIN, message};
use nixie_lab::login::{self, Login};
use nixie_lab::need;
use nixie_lab::nixie::{Nixie, Setup as NixieSetup};
use nixie_lab::postfix::{Postfix, Setup};
use nixie_lab::provider::{Message, Provider, Script};
use std::io::Write as _;
use tempfile::NamedTempFile;

/// A Postfix whose only hook is Nixie's milter.
fn stage(postfix: Setup, nixie: impl FnOnce(NixieSetup) -> NixieSetup) -> (Postfix, Nixie) {
    let mut postfix = Postfix::prepare(postfix).unwrap();
    let setup = NixieSetup::new(env!("CARGO_BIN_EXE_nixie")).log(postfix.log().path());
    let nixie = Nixie::launch(nixie(setup)).unwrap();
    postfix.hook(nixie.milter()).unwrap();
    postfix.start().unwrap();
    (postfix, nixie)
}

fn suppress(postfix: &Postfix, nixie: &Nixie, address: &str) {
    let reason = ["--cause", "user_unknown"];
    nixie
        .cli(&[&["suppress", "add", address], &reason[..]].concat())
        .unwrap();
    nixie_lab::wait::until(WITHIN, "the milter to know", || {
        Ok((ask(postfix, address)? == 550).then_some(()))
    })
    .unwrap();
}

/// What a recipient is answered, without a message.
fn ask(postfix: &Postfix, address: &str) -> anyhow::Result<u16> {
    let mut client = postfix.client()?;
    client.command(&format!("MAIL FROM:<{SENDER}>"))?;
    Ok(client.command(&format!("RCPT TO:<{address}>"))?.code)
}

/// Where no policy service runs, the milter refuses whom it would refuse, and nobody else.
#[test]
fn a_suppressed_recipient_is_refused_at_rcpt() {
    if !need::postfix("the milter refuses at RCPT") {
        return;
    }
    let small = Provider::start(Script::small()).unwrap();
    let (postfix, nixie) = stage(Setup::new().route("small.example", &small), |nixie| nixie);
    suppress(&postfix, &nixie, "dead@small.example");
    let content = message("both", "x");
    let both = ["dead@small.example", "alive@small.example", "Dead@Small.Example"];
    let said = postfix.submit(SENDER, &both, &content).unwrap();
    let codes: Vec<u16> = said.recipients.iter().map(|reply| reply.code).collect();
    assert_eq!(codes, [550, 250, 550]);
    for part in ["5.1.1", "suppressed since", "user_unknown", "NX-1"] {
        assert!(said.recipients[0].text.contains(part), "{}", said.recipients[0]);
    }
    small
        .wait(WITHIN, "the living", |tally| tally.has("alive@small.example"))
        .unwrap();
    assert!(!small.tally().has("dead@small.example"));
    let refused = nixie
        .metric("nixie_milter_recipients_total{answer=\"refused\"}")
        .unwrap();
    assert!(refused.unwrap() >= 3.0, "{refused:?}");
}

/// sendmail(1) cannot be refused anything: the dead are removed, the living get their mail.
#[test]
fn a_suppressed_recipient_of_sendmail_is_removed() {
    if !need::postfix("the milter removes recipients of sendmail(1)") {
        return;
    }
    let small = Provider::start(Script::small()).unwrap();
    let (postfix, nixie) = stage(Setup::new().route("small.example", &small), |nixie| nixie);
    suppress(&postfix, &nixie, "dead@small.example");
    let both = [
        "-f",
        "app@sender.example",
        "dead@small.example",
        "alive@small.example",
    ];
    postfix.sendmail(&both, &message("both", "x")).unwrap();
    small
        .wait(WITHIN, "the living", |tally| tally.has("alive@small.example"))
        .unwrap();
    let removed = |count: f64| {
        nixie_lab::wait::until(WITHIN, "the removal", || {
            Ok(nixie
                .metric("nixie_milter_removed_total")?
                .filter(|&n| n >= count))
        })
        .unwrap()
    };
    removed(1.0);
    // Whose every recipient is dead goes nowhere, and nothing stays behind.
    let alone = ["-f", "app@sender.example", "dead@small.example"];
    postfix.sendmail(&alone, &message("dead", "x")).unwrap();
    removed(2.0);
    postfix.wait_for_empty_queue(WITHIN).unwrap();
    assert!(!small.tally().has("dead@small.example"));
    // The log is written behind the answers.
    nixie_lab::wait::until(WITHIN, "the line in the log", || {
        Ok(nixie.printed().contains("removed from its message").then_some(()))
    })
    .unwrap();
}

/// A file with a key to sign with; nobody else may read it.
fn key() -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    writeln!(file, "1 BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=").unwrap();
    file
}

/// Signs with that key, and reads as well if `reads`.
fn signs(key: &NamedTempFile, reads: bool) -> impl Fn(NixieSetup) -> NixieSetup {
    let (path, reads) = (key.path().display().to_string(), reads.to_string());
    move |setup| {
        setup
            .text("signing", "key_file", &path)
            .text("signing", "domain", "bounces.example.org")
            .value("milter", "sign.enabled", "true")
            .value("milter", "read.enabled", &reads)
            .value("milter", "read.proven", "\"discard\"")
    }
}

/// A bounce as it arrives after a detour: with fields of its own in front, and from somebody who only passes it on.
fn forwarded(message: &Message, recipient: &str) -> Vec<u8> {
    let added = "Received: from a.example by b.example; Sun, 22 Nov 2026 00:00:00 +0000\r\n\
                 X-Forwarded-For: postmaster@b.example c@d.example\r\nX-Spam-Status: No\r\n";
    let bounce = message.bounce(recipient, "5.1.1", "550 5.1.1 no such user");
    [added.as_bytes(), &bounce[..]].concat()
}

/// What leaves is signed, and the bounce that comes later brings the proof back: over SMTP through the milter, or by
/// LMTP behind it.
fn a_late_bounce_is_proven(reads: bool) {
    let small = Provider::start(Script::small()).unwrap();
    let key = key();
    let mut postfix = Postfix::prepare(Setup::new().route("small.example", &small)).unwrap();
    // Without its log, nothing but the token ties a bounce to a message.
    let setup = NixieSetup::new(env!("CARGO_BIN_EXE_nixie"));
    let nixie = Nixie::launch(signs(&key, reads)(setup)).unwrap();
    let mut hooks = nixie.milter();
    if !reads {
        hooks.lmtp = nixie.hooks().lmtp;
    }
    postfix.hook(hooks).unwrap();
    postfix.start().unwrap();
    let app = "news@app.example";
    postfix
        .inject(app, &["gone@small.example"], &message("gone", "x"))
        .unwrap();
    postfix
        .inject(
            app,
            &["one@small.example", "two@small.example"],
            &message("both", "x"),
        )
        .unwrap();
    let all = ["gone", "one", "two"].map(|name| format!("{name}@small.example"));
    small
        .wait(WITHIN, "the messages", |tally| all.iter().all(|a| tally.has(a)))
        .unwrap();
    for message in small.messages() {
        let (local, domain) = message.sender.split_once('@').unwrap();
        assert!(
            local.starts_with("b+") && domain == "bounces.example.org",
            "{}",
            message.sender
        );
        // Whoever got the message may also make up a bounce of somebody else.
        let stranger = message.bounce("alive@small.example", "5.1.1", "550 5.1.1 no such user");
        postfix.inject("", &[&message.sender], &stranger).unwrap();
        for recipient in message.recipients.iter().filter(|r| !r.starts_with("one@")) {
            let bounce = forwarded(&message, recipient);
            postfix
                .inject("list@b.example", &[&message.sender], &bounce)
                .unwrap();
        }
    }
    let check = |address: &str| nixie.cli(&["suppress", "check", address]).unwrap();
    for address in ["gone@small.example", "two@small.example"] {
        let said = nixie_lab::wait::until(WITHIN, &format!("{address} to be suppressed"), || {
            let said = check(address);
            Ok(said.contains("is suppressed").then_some(said))
        })
        .unwrap();
        assert!(said.contains("signed"), "{said}");
    }
    for address in ["one@small.example", "alive@small.example"] {
        assert!(check(address).contains("is not suppressed"), "{}", check(address));
    }
    if reads {
        // A stranger's bounce of a message to one recipient counts as a forwarder's: it is held against whom we mailed.
        // Of one to several it proves nothing. (The last one is counted behind its commit.)
        let read = |proof: &str| nixie.metric(&format!("nixie_milter_read_total{{proof=\"{proof}\"}}"));
        nixie_lab::wait::until(WITHIN, "three to be proven, and one not", || {
            Ok((read("proven")? == Some(3.0) && read("unproven")? == Some(1.0)).then_some(()))
        })
        .unwrap();
    }
    postfix.wait_for_empty_queue(WITHIN).unwrap();
}

#[test]
fn a_late_bounce_is_proven_over_smtp() {
    if need::postfix("a late bounce is proven over SMTP") {
        a_late_bounce_is_proven(true);
    }
}

#[test]
fn a_late_bounce_is_proven_over_lmtp() {
    if need::postfix("a late bounce is proven over LMTP") {
        a_late_bounce_is_proven(false);
    }
}

/// A bounce goes on to the return path that the application gave; and what must come back as it is leaves as it is.
#[test]
fn a_bounce_is_passed_on_to_the_application() {
    if !need::postfix("a bounce is passed on") {
        return;
    }
    let small = Provider::start(Script::small()).unwrap();
    let key = key();
    let routes = Setup::new()
        .route("small.example", &small)
        .route("app.example", &small);
    let (postfix, nixie) = stage(routes, |setup| {
        signs(&key, true)(setup).value("milter", "read.proven", "\"pass\"")
    });
    let content = message("gone", "x");
    postfix
        .inject("news@app.example", &["gone@small.example"], &content)
        .unwrap();
    small
        .wait(WITHIN, "the message", |tally| tally.has("gone@small.example"))
        .unwrap();
    // Whose return path it was is remembered behind the answer, the second one's after a rest: a bounce that is quicker is
    // passed on all the same.
    postfix
        .inject("news@app.example", &["soon@small.example"], &message("soon", "x"))
        .unwrap();
    small
        .wait(WITHIN, "the second message", |tally| {
            tally.has("soon@small.example")
        })
        .unwrap();
    let messages = small.messages();
    let its = |message: &&Message| message.recipients[0] == "soon@small.example";
    let sent = messages.iter().find(its).unwrap();
    let bounce = sent.bounce("soon@small.example", "5.1.1", "550 5.1.1 no such user");
    postfix.inject("", &[&sent.sender], &bounce).unwrap();
    small
        .wait(WITHIN, "the bounce", |tally| tally.has("news@app.example"))
        .unwrap();
    let rewritten = "SRS0=HHH=TT=x.example=ann@app.example";
    postfix
        .inject(rewritten, &["ann@small.example"], &message("ann", "x"))
        .unwrap();
    small
        .wait(WITHIN, "what was forwarded", |tally| {
            tally.has("ann@small.example")
        })
        .unwrap();
    let senders: Vec<String> = small
        .messages()
        .into_iter()
        .map(|message| message.sender)
        .collect();
    assert!(senders.iter().any(|sender| sender == rewritten), "{senders:?}");
    assert_eq!(
        nixie
            .metric("nixie_milter_unsigned_total{reason=\"srs\"}")
            .unwrap(),
        Some(1.0)
    );
    postfix.wait_for_empty_queue(WITHIN).unwrap();
}

/// Hands in a message after these lines of SMTP; the last one begins it.
fn hand_in(postfix: &Postfix, lines: &[&str], recipient: &str) {
    let mut client = postfix.client().unwrap();
    let to = format!("RCPT TO:<{recipient}>");
    for line in lines
        .iter()
        .chain(&[to.as_str(), "DATA", "Subject: x\r\n\r\nhi\r\n."])
    {
        let reply = client.command(line).unwrap();
        assert!(reply.is_positive(), "{line}: {reply}");
    }
}

/// Who logged in is one of ours wherever they are; who did not is a stranger, and leaves with the return path that they
/// gave. What has Postfix make a return path for each recipient (XVERP) leaves with that.
#[test]
fn logins_are_signed_and_verp_is_left_alone() {
    if !need::postfix("the milter knows logins and XVERP") {
        return;
    }
    let (small, login, key) = (
        Provider::start(Script::small()).unwrap(),
        Login::start().unwrap(),
        key(),
    );
    let setup = Setup::new()
        .route("small.example", &small)
        .set("smtpd_sasl_auth_enable", "yes")
        .set("smtpd_sasl_type", "dovecot")
        .set("smtpd_sasl_path", &login.path())
        .set("smtpd_authorized_verp_clients", "127.0.0.0/8");
    // The lab's clients come from 127.0.0.1, which is nobody's here.
    let (postfix, nixie) = stage(setup, |nixie| {
        signs(&key, false)(nixie).value("milter", "sign.networks", "[\"192.0.2.0/24\"]")
    });
    let mail = "MAIL FROM:<news@app.example>";
    let logs_in = login::command("app", login::PASSWORD);
    hand_in(&postfix, &[&logs_in, mail], "member@small.example");
    hand_in(&postfix, &[mail], "stranger@small.example");
    let verp = format!("{mail} XVERP=+=");
    hand_in(&postfix, &[&logs_in, &verp], "verp@small.example");
    let refused = postfix
        .client()
        .unwrap()
        .command(&login::command("app", "guess"))
        .unwrap();
    assert_eq!(refused.code, 535, "{refused}");
    let names = ["member", "stranger", "verp"].map(|name| format!("{name}@small.example"));
    small
        .wait(WITHIN, "the messages", |tally| {
            names.iter().all(|name| tally.has(name))
        })
        .unwrap();
    let messages = small.messages();
    let sender_of = |name: &String| {
        let its = |message: &&Message| message.recipients.contains(name);
        messages.iter().find(its).unwrap().sender.as_str()
    };
    let [member, stranger, verp] = [0, 1, 2].map(|at| sender_of(&names[at]));
    assert!(
        member.starts_with("b+") && member.ends_with("@bounces.example.org"),
        "{member}"
    );
    assert_eq!(stranger, "news@app.example");
    assert_eq!(verp, "news+verp=small.example@app.example");
    for reason in ["outsider", "verp"] {
        let left = nixie
            .metric(&format!("nixie_milter_unsigned_total{{reason=\"{reason}\"}}"))
            .unwrap();
        assert_eq!(left, Some(1.0), "{reason}");
    }
}
