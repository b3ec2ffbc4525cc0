//! The attacks, each against somebody who was mailed and is alive.

use crate::forge::{Bounce, complaint, from_outside, number, prefixed, replaced, words};
use crate::stage::{BOUNCES, Stage, foreign_path, message_id, queue_id};
use nixie_lab::signer::USUAL;

/// What is tried, and what is found wrong with it.
pub struct Attack {
    pub name: &'static str,
    pub path: String,
    pub sender: &'static str,
    pub message: Vec<u8>,
    /// The doubt that it is counted under; none where it makes no event at all.
    pub doubt: Option<&'static str>,
}

/// Whoever attacks, and got mail from us as well.
pub const EVE: &str = "eve@evil.test";
const DAEMON: &str = "MAILER-DAEMON@victim.test";
const EVIL: &str = "MAILER-DAEMON@evil.test";

/// Puts attacks together: each has a victim of its own.
struct Plot<'a> {
    stage: &'a Stage,
    victims: std::slice::Iter<'a, String>,
    plain: String,
    eve: String,
    attacks: Vec<Attack>,
}

impl Plot<'_> {
    /// An attack that arrives at a path; the victim is given.
    fn add(
        &mut self,
        name: &'static str,
        path: &str,
        doubt: &'static str,
        forge: impl FnOnce(&str) -> Vec<u8>,
    ) {
        let victim = self.victims.next().expect("a victim for each attack");
        self.attacks.push(Attack {
            name,
            path: path.to_owned(),
            sender: "",
            message: from_outside(&forge(victim)),
            doubt: Some(doubt).filter(|doubt| !doubt.is_empty()),
        });
    }

    /// At the plain bounce address.
    fn plain(&mut self, name: &'static str, doubt: &'static str, forge: impl FnOnce(&str) -> Vec<u8>) {
        let path = self.plain.clone();
        self.add(name, &path, doubt, forge);
    }

    /// With the token of the attacker's own mail.
    fn with_own_token(
        &mut self,
        name: &'static str,
        doubt: &'static str,
        forge: impl FnOnce(&str) -> Vec<u8>,
    ) {
        let path = self.eve.clone();
        self.add(name, &path, doubt, forge);
    }
}

/// All of them.
pub fn attacks(stage: &Stage, victims: &[String]) -> Vec<Attack> {
    let mut plot = Plot {
        stage,
        victims: victims.iter(),
        plain: format!("b@{BOUNCES}"),
        eve: stage.path(EVE, 0),
        attacks: Vec::new(),
    };
    tokens(&mut plot);
    other_recipients(&mut plot);
    signatures(&mut plot);
    coverage(&mut plot);
    chains(&mut plot);
    claims(&mut plot);
    names(&mut plot);
    complaints(&mut plot);
    shapes(&mut plot);
    plot.attacks
}

fn tokens(plot: &mut Plot<'_>) {
    let about = |victim: &str| Bounce::about(victim).text();
    let stage = plot.stage;
    let victim = |plot: &Plot<'_>| plot.victims.as_slice()[0].clone();
    plot.plain("no token", "no_token", about);
    let random = format!("b+{}@{BOUNCES}", "abcdefgh234567xyz".repeat(3).get(..40).unwrap());
    plot.add("a random token", &random, "unknown_key", about);
    let short = format!("b+{}@{BOUNCES}", "a".repeat(39));
    plot.add("a token cut short", &short, "no_token", about);
    let expired = stage.path(&victim(plot), 15);
    plot.add("an expired token", &expired, "expired", about);
    let future = stage.path(&victim(plot), -3);
    plot.add("a token from the future", &future, "future", about);
    let unknown = foreign_path(2, [7; 32], &victim(plot));
    plot.add("a token of an unknown key", &unknown, "unknown_key", about);
    let sealed = foreign_path(1, [8; 32], &victim(plot));
    plot.add("a token of the attacker's own key", &sealed, "bad_seal", about);
    let mut changed = stage.path(&victim(plot), 0);
    let last = if changed.as_bytes()[41] == b'a' { "b" } else { "a" };
    changed.replace_range(41..42, last);
    plot.add("a token with a letter changed", &changed, "bad_seal", about);
    let elsewhere = stage.path(&victim(plot), 0).replace(BOUNCES, "evil.test");
    plot.add("a token at another domain", &elsewhere, "no_token", about);
    let several = stage.path_of_several();
    plot.add("a token of a message to others", &several, "other_message", about);
}

/// The attacker's own token holds; the report is about somebody else.
fn other_recipients(plot: &mut Plot<'_>) {
    plot.with_own_token("another's token", "other_recipient", |victim| {
        Bounce::about(victim).text()
    });
    plot.with_own_token(
        "another's token, and the victim's Message-ID",
        "other_recipient",
        |victim| {
            Bounce::about(victim)
                .with(|b| b.returned_id = message_id(victim))
                .text()
        },
    );
    plot.with_own_token(
        "the right token, and the victim as original recipient",
        "other_recipient",
        |victim| {
            Bounce::about(EVE)
                .with(|b| b.original = Some(victim.into()))
                .text()
        },
    );
    plot.with_own_token("the victim in X-Failed-Recipients", "other_recipient", |victim| {
        let text = format!(
            "This message was created automatically by mail delivery software.\r\n\r\nA message that you sent could not be \
             delivered to one or more of its\r\nrecipients. This is a permanent error. The following address(es) failed:\r\n\
             \r\n  {victim}\r\n    SMTP error from remote mail server after RCPT TO:<{victim}>:\r\n    550 5.1.1 no such user\r\n"
        );
        let more = format!("X-Failed-Recipients: {victim}\r\nAuto-Submitted: auto-replied\r\n");
        words("Mail Delivery System <Mailer-Daemon@mx.victim.test>", &more, "Mail delivery failed: returning message to sender", &text)
    });
    plot.with_own_token("the victim in qmail's words", "other_recipient", |victim| {
        let text = format!(
            "Hi. This is the qmail-send program at mx.victim.test.\r\nI'm afraid I wasn't able to deliver your message to \
             the following addresses.\r\nThis is a permanent error; I've given up. Sorry it didn't work out.\r\n\r\n\
             <{victim}>:\r\n192.0.2.9 does not like recipient.\r\nRemote host said: 550 5.1.1 no such user\r\nGiving up.\r\n\r\n\
             --- Below this line is a copy of the message.\r\n\r\nTo: {victim}\r\nSubject: x\r\n\r\nhi\r\n"
        );
        words("MAILER-DAEMON@mx.victim.test", "", "failure notice", &text)
    });
    plot.with_own_token("the victim in a complaint", "other_recipient", |victim| {
        complaint("abuse@evil.test", victim, "x@app.test")
    });
    plot.with_own_token(
        "a dead blind copy, and the victim in To",
        "other_recipient",
        |victim| {
            Bounce::about("other@evil.test")
                .with(|b| b.returned_to = victim.into())
                .text()
        },
    );
    plot.with_own_token(
        "the victim's address in other letters",
        "other_recipient",
        |victim| Bounce::about(&format!("<{}>", victim.to_ascii_uppercase())).text(),
    );
}

fn signatures(plot: &mut Plot<'_>) {
    let Stage {
        victim: own,
        evil,
        lookalike,
        below,
        suffix,
        neighbour,
        silent,
        revoked,
        ..
    } = plot.stage;
    let signed = |by: &nixie_lab::signer::Signer, author: &str, victim: &str| {
        by.sign(&Bounce::about(victim).by(author).text()).unwrap()
    };
    plot.plain("signed by another domain", "unaligned", |v| {
        signed(evil, DAEMON, v)
    });
    plot.plain("signed by its author, who has no say", "other_domain", |v| {
        signed(evil, EVIL, v)
    });
    plot.plain("signed by a lookalike", "other_domain", |v| {
        signed(lookalike, "postmaster@vict1m.test", v)
    });
    plot.plain("signed by a lookalike for the victim's", "unaligned", |v| {
        signed(lookalike, DAEMON, v)
    });
    plot.plain("signed by a domain that begins like it", "other_domain", |v| {
        signed(below, "postmaster@victim.test.evil.test", v)
    });
    plot.plain("signed by the public suffix", "unaligned", |v| {
        signed(suffix, DAEMON, v)
    });
    plot.plain("signed by a user", "no_daemon", |v| {
        signed(own, "user@victim.test", v)
    });
    plot.plain("signed by a user with a daemon's name", "no_daemon", |v| {
        signed(own, "\"MAILER-DAEMON@victim.test\" <user@victim.test>", v)
    });
    plot.plain(
        "signed by a user with a daemon's address before it",
        "no_author",
        |v| signed(own, "MAILER-DAEMON@victim.test <user@victim.test>", v),
    );
    plot.plain("signed by two authors", "no_author", |v| {
        signed(own, "MAILER-DAEMON@victim.test, user@victim.test", v)
    });
    plot.plain("a body changed behind the signature", "broken", |v| {
        replaced(
            &signed(own, DAEMON, "nobody@victim.test"),
            "nobody@victim.test",
            v,
        )
    });
    plot.plain("a field changed behind the signature", "broken", |v| {
        replaced(
            &signed(own, "MAILER-DAEMON@mx1.victim.test", v),
            "mx1.victim.test",
            "mx2.victim.test",
        )
    });
    plot.plain("a key that was revoked", "broken", |v| {
        signed(revoked, "postmaster@revoked.test", v)
    });
    plot.plain("a key that never comes", "unsure", |v| {
        signed(silent, "postmaster@silent.test", v)
    });
    plot.plain(
        "signed below a suffix where anybody registers",
        "other_domain",
        |_| signed(neighbour, "postmaster@eve.github.io", "ann@ann.github.io"),
    );
}

/// Genuine signatures over something else than what is read.
fn coverage(plot: &mut Plot<'_>) {
    let own = &plot.stage.victim;
    let nobody = || Bounce::about("nobody@victim.test").by(DAEMON);
    plot.plain("a part of the body signed", "broken", |v| {
        let signed = own
            .sign_with(&Bounce::about(v).by(DAEMON).text(), USUAL, |s| {
                s.body_length(true)
            })
            .unwrap();
        [signed, b"more\r\n".to_vec()].concat()
    });
    plot.plain("From twice", "no_author", |v| {
        prefixed(
            "From: user@evil.test\r\n",
            &own.sign(&Bounce::about(v).by(DAEMON).text()).unwrap(),
        )
    });
    plot.plain("From unsigned", "broken", |v| {
        let fields = ["Date", "Message-ID", "Subject", "Content-Type"];
        own.sign_fields(&Bounce::about(v).by(DAEMON).text(), &fields)
            .unwrap()
    });
    // What the attacker had returned to themselves, read as the report by another boundary.
    plot.plain("another boundary, a report in what was returned", "broken", |v| {
        let inner = format!(
            "--evil\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.victim.test\r\n\r\n\
             Final-Recipient: rfc822; {v}\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n--evil--"
        );
        let bounce = nobody().with(|b| b.returned_text = inner).text();
        let signed = own.sign_fields(&bounce, &["From", "Date", "Message-ID"]).unwrap();
        let text = String::from_utf8(signed).unwrap();
        let at = text.find("boundary=\"").unwrap();
        let end = at + text[at + 10..].find('"').unwrap() + 11;
        format!("{}boundary=\"evil\"{}", &text[..at], &text[end..]).into_bytes()
    });
    plot.plain(
        "an original recipient of the attacker's choice",
        "inferred",
        |v| {
            own.sign(&nobody().with(|b| b.original = Some(v.into())).text())
                .unwrap()
        },
    );
    let next = plot.victims.as_slice()[0].clone();
    let verp = format!("b+{}@{BOUNCES}", next.replace('@', "="));
    plot.add("a return path of the attacker's choice", &verp, "inferred", |v| {
        own.sign(&nobody().with(|b| b.returned_to = v.into()).text())
            .unwrap()
    });
    plot.plain("an unsigned X-Failed-Recipients", "", |v| {
        let text =
            "Delivery to the following recipient failed permanently:\r\n\r\n     550 5.1.1 no such user\r\n";
        let plain = words(
            DAEMON,
            "Content-Type: text/plain\r\n",
            "Delivery Status Notification (Failure)",
            text,
        );
        prefixed(
            &format!("X-Failed-Recipients: {v}\r\n"),
            &own.sign(&plain).unwrap(),
        )
    });
    plot.plain("a CR alone within a signed line", "broken", |v| {
        let signed = own.sign(&nobody().text()).unwrap();
        replaced(
            &signed,
            "Action: failed",
            &format!("\rFinal-Recipient: rfc822; {v}\rAction: failed"),
        )
    });
}

fn chains(plot: &mut Plot<'_>) {
    let Stage { forwarder, evil, .. } = plot.stage;
    let about = |v: &str| Bounce::about(v).by(DAEMON).text();
    plot.plain("sealed by somebody unknown", "unknown_sealer", |v| {
        evil.seal(&about(v), &["victim.test"]).unwrap()
    });
    plot.plain("sealed, and changed", "broken", |v| {
        replaced(
            &forwarder
                .seal(&about("nobody@victim.test"), &["victim.test"])
                .unwrap(),
            "nobody@victim.test",
            v,
        )
    });
    plot.plain("sealed by somebody who saw another sign", "unaligned", |v| {
        forwarder.seal(&about(v), &["evil.test"]).unwrap()
    });
    plot.plain("sealed, and what was seen changed", "broken", |v| {
        replaced(
            &forwarder.seal(&about(v), &["evil.test"]).unwrap(),
            "evil.test",
            "victim.test",
        )
    });
}

/// Fields that claim what they should prove.
fn claims(plot: &mut Plot<'_>) {
    plot.plain("Authentication-Results that says pass", "unsigned", |v| {
        let field = "Authentication-Results: mx.app.test; dkim=pass header.d=victim.test; dmarc=pass header.from=victim.test\r\n";
        prefixed(field, &Bounce::about(v).by(DAEMON).text())
    });
    plot.plain("Received-SPF that says pass", "unsigned", |v| {
        let field = "Received-SPF: pass (mx.app.test: domain of victim.test designates 203.0.113.9 as permitted sender)\r\n";
        prefixed(field, &Bounce::about(v).by(DAEMON).text())
    });
    let local =
        "Received: by mx.app.test (Postfix)\r\n\tid 4A00000000; Sun, 22 Nov 2026 00:00:00 +0000 (UTC)\r\n";
    plot.plain("Received that says that we wrote it", "no_token", |v| {
        let bounce = Bounce::about(v)
            .by("MAILER-DAEMON@mx.app.test")
            .with(|b| b.reporter = "mx.app.test".into());
        prefixed(local, &bounce.text())
    });
    plot.plain("a copy for the postmaster, from outside", "no_token", |v| {
        let bounce = Bounce::about(v)
            .by("MAILER-DAEMON@mx.app.test")
            .with(|b| b.reporter = "mx.app.test".into());
        prefixed(local, &bounce.text())
    });
    if let Some(last) = plot.attacks.last_mut() {
        last.sender = "double-bounce@mx.app.test";
    }
}

/// Names of messages: guessed, or of the attacker's own.
fn names(plot: &mut Plot<'_>) {
    let hop = |id: &str| {
        format!(
            "Received: from app (app [10.0.0.1])\r\n\tby mx.app.test (Postfix) with ESMTP id {id};\r\n\t\
             Sun, 22 Nov 2026 00:00:00 +0000 (UTC)\r\n"
        )
    };
    plot.plain("a guessed Message-ID", "no_mark", |v| {
        Bounce::about(v)
            .with(|b| b.returned_id = "to.somebody@app.test".into())
            .text()
    });
    plot.plain("the attacker's own Message-ID", "no_mark", |v| {
        Bounce::about(v).with(|b| b.returned_id = message_id(EVE)).text()
    });
    plot.plain("a guessed queue id", "no_mark", |v| {
        Bounce::about(v)
            .with(|b| b.returned_more = hop("4AFFFFFFFF"))
            .text()
    });
    plot.plain("the attacker's own queue id", "no_mark", |v| {
        Bounce::about(v)
            .with(|b| b.returned_more = hop(&queue_id(EVE)))
            .text()
    });
    plot.plain(
        "the right Message-ID, and the victim only as the target of a forward",
        "no_mark",
        |v| {
            Bounce::about(v)
                .with(|b| {
                    b.original = Some("forward@victim.test".into());
                    b.returned_id = message_id(v);
                })
                .text()
        },
    );
    plot.plain("a guessed envelope id", "no_mark", |v| {
        replaced(
            &Bounce::about(v).text(),
            "Reporting-MTA:",
            "Original-Envelope-Id: 4A00000000\r\nReporting-MTA:",
        )
    });
}

fn complaints(plot: &mut Plot<'_>) {
    let evil = &plot.stage.evil;
    let loops = "staff@hotmail.com";
    plot.plain("a complaint", "no_token", |v| {
        complaint("feedback@loop.test", v, "x@app.test")
    });
    plot.plain("a complaint in a feedback loop's name", "unsigned", |v| {
        complaint(loops, v, "x@app.test")
    });
    plot.plain("a complaint in its name, signed by another", "unaligned", |v| {
        evil.sign(&complaint(loops, v, "x@app.test")).unwrap()
    });
    plot.plain("a complaint signed by its author", "no_daemon", |v| {
        evil.sign(&complaint("abuse@evil.test", v, "x@app.test")).unwrap()
    });
    plot.plain("a complaint with the attacker's own Message-ID", "no_mark", |v| {
        complaint("feedback@loop.test", v, &message_id(EVE))
    });
}

/// What readers stumble over.
fn shapes(plot: &mut Plot<'_>) {
    let victim = plot.victims.as_slice()[0].clone();
    let own = plot.stage.path(&victim, 0);
    plot.add("an automatic answer that says that the mailbox is closed", &own, "auto_reply", |v| {
        let text = "This mailbox is closed. The user has left the company and this address is no longer in use.\r\n";
        let more = "Auto-Submitted: auto-replied\r\nPrecedence: bulk\r\nX-Autoreply: yes\r\n";
        words(v, more, "Automatic reply: I have left the company", text)
    });
    plot.plain("a report within the returned mail", "no_mark", |v| {
        let inner = Bounce::about(v).with(|b| b.returned_id = message_id(v)).text();
        let inner = String::from_utf8(inner).unwrap();
        Bounce::about("nobody@evil.test")
            .with(|b| b.returned_text = inner)
            .text()
    });
    plot.plain("parts ten thousand deep", "", |v| {
        let mut message = String::from("From: MAILER-DAEMON@victim.test\r\nMIME-Version: 1.0\r\n");
        for depth in 0..10_000 {
            message.push_str(&format!("Content-Type: multipart/report; boundary=\"d{depth}\"\r\n\r\n--d{depth}\r\n"));
        }
        message.push_str(&format!(
            "Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; x\r\n\r\nFinal-Recipient: rfc822; {v}\r\n\
             Action: failed\r\nStatus: 5.1.1\r\n"
        ));
        message.into_bytes()
    });
    plot.plain("a header without end", "no_token", |v| {
        let fields = format!("X-Filler-{}: {}\r\n", number(), "x".repeat(900)).repeat(10_000);
        prefixed(&fields, &Bounce::about(v).text())
    });
    plot.plain("a header without end, signed", "broken", |v| {
        let signed = plot_signed(v);
        prefixed(
            &format!("X-Filler: {}\r\n", "x".repeat(900)).repeat(1000),
            &signed,
        )
    });
    let victims: Vec<String> = plot.victims.as_slice().iter().take(3).cloned().collect();
    plot.with_own_token("five thousand recipients at once", "other_recipient", |v| {
        let all = victims
            .iter()
            .cloned()
            .chain([v.to_owned()])
            .chain((0..4_996).map(|n| format!("bomb{n}@victim.test")));
        let groups: String = all
            .map(|to| format!("Final-Recipient: rfc822; {to}\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n"))
            .collect();
        replaced(
            &Bounce::about(v).text(),
            "Final-Recipient:",
            &format!("{groups}Final-Recipient:"),
        )
    });
}

/// Something with a signature field, whatever it is worth.
fn plot_signed(victim: &str) -> Vec<u8> {
    let field = "DKIM-Signature: v=1; a=rsa-sha256; d=victim.test; s=lab; h=from:date; bh=AAAA; b=AAAA\r\n";
    prefixed(field, &Bounce::about(victim).by(DAEMON).text())
}
