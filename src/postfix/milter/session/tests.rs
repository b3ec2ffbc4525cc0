//! What a session asks for, hears and forgets.

use super::super::Stage;
use super::*;

const POSTFIX: Offer = Offer {
    version: 6,
    actions: Actions(0x1ff),
    steps: Steps(0x1f_ffff),
};

fn session(purpose: Purpose) -> Session {
    let mut session = Session::new(purpose, 100);
    let step = session.receive(Command::Negotiate(POSTFIX)).unwrap();
    assert!(matches!(step, Step::Agree(_)), "{step:?}");
    session
}

fn all(session: &mut Session, commands: Vec<Command<'_>>) -> Vec<Step> {
    commands
        .into_iter()
        .map(|command| session.receive(command).unwrap())
        .collect()
}

fn macros<'a>(stage: Stage, values: &[(&'a [u8], &'a [u8])]) -> Command<'a> {
    Command::Macros {
        stage,
        values: values.to_vec(),
    }
}

fn rcpt(recipient: &[u8]) -> Command<'_> {
    Command::Rcpt {
        recipient,
        parameters: vec![],
    }
}

const SIGN: Purpose = Purpose {
    sign: true,
    read: false,
    header: false,
};
const READ: Purpose = Purpose {
    sign: false,
    read: true,
    header: false,
};

#[test]
fn who_only_refuses_hears_of_the_envelope_only() {
    let mut session = Session::new(Purpose::default(), 100);
    let Step::Agree(agreement) = session.receive(Command::Negotiate(POSTFIX)).unwrap() else {
        panic!("no agreement")
    };
    let spared = Steps::NO_HEADER
        .and(Steps::NO_END_OF_HEADER)
        .and(Steps::NO_BODY)
        .and(Steps::NO_CONNECT)
        .and(Steps::NO_HELO)
        .and(Steps::NO_DATA)
        .and(Steps::NO_UNKNOWN)
        .and(Steps::NO_REPLY_MAIL);
    assert!(agreement.offer.steps.contains(spared));
    assert!(!agreement.offer.steps.contains(Steps::NO_RCPT));
    assert!(!agreement.offer.actions.contains(Actions::CHANGE_SENDER));
    let mut out = Vec::new();
    agreement.encode(&mut out);
    // Nothing that has Postfix resolve an address.
    assert!(out.ends_with(b"\0\0\0\x02i {auth_authen}\0\0\0\0\x03i\0\0\0\0\x05i\0"));
    assert_eq!(out[..4], u32::try_from(out.len() - 4).unwrap().to_be_bytes());
    let mail = Command::Mail {
        sender: b"<a@app.test>",
        parameters: vec![],
    };
    let steps = all(
        &mut session,
        vec![
            macros(Stage::Mail, &[(b"{auth_authen}", b"app")]),
            mail,
            macros(Stage::Rcpt, &[(b"i", b"Q1")]),
            rcpt(b"<b@x.test>"),
        ],
    );
    let decide = Step::Decide(b"<b@x.test>".to_vec());
    assert_eq!(steps, [Step::Wait, Step::Wait, Step::Wait, decide]);
    let message = session.transaction();
    assert_eq!(
        (message.sender.as_slice(), message.user.as_slice(), message.smtp),
        (b"a@app.test".as_slice(), b"app".as_slice(), true)
    );
    assert_eq!(message.queue_id, b"Q1");
}

/// An MTA that cannot be told which macros to send, or that an answer is not needed, gets one.
#[test]
fn an_older_mta_is_answered() {
    let mut session = Session::new(Purpose::default(), 100);
    let old = Offer {
        version: 2,
        actions: Actions(0x3f),
        steps: Steps(0x7f),
    };
    let Step::Agree(agreement) = session.receive(Command::Negotiate(old)).unwrap() else {
        panic!("no agreement")
    };
    assert!(agreement.macros.is_empty() && !agreement.offer.steps.contains(Steps::NO_REPLY_MAIL));
    let mail = Command::Mail {
        sender: b"<a@app.test>",
        parameters: vec![],
    };
    assert_eq!(
        session.receive(mail),
        Ok(Step::Continue),
        "it did not agree to silence"
    );
    assert_eq!(session.transaction().sender, b"a@app.test");
}

#[test]
fn a_message_is_read_to_its_end() {
    let mut session = session(READ);
    session.receive(Command::Helo(b"mx.x.test")).unwrap();
    let said: &[(&[u8], &[u8])] = &[
        (b"{auth_authen}", b"app"),
        (b"i", b"Q1"),
        (b"{client_addr}", b"192.0.2.1"),
        (b"{daemon_port}", b"25"),
    ];
    let mut steps = all(
        &mut session,
        vec![
            macros(Stage::Mail, said),
            Command::Mail {
                sender: b"<>",
                parameters: vec![b"SIZE=5"],
            },
            rcpt(b"<b@x.test>"),
        ],
    );
    session.want_body();
    session.take(b"<b@x.test>".to_vec());
    steps.extend(all(
        &mut session,
        vec![
            Command::Header {
                name: b"Subject",
                value: b" a\n b",
            },
            Command::EndOfHeader,
            Command::Body(b"text\r\n"),
        ],
    ));
    let expected = [
        Step::Wait,
        Step::Wait,
        Step::Decide(b"<b@x.test>".to_vec()),
        Step::Wait,
        Step::Wait,
        Step::Continue,
    ];
    assert_eq!(steps, expected);
    let Ok(Step::Finish(message)) = session.receive(Command::EndOfMessage(b"")) else {
        panic!("no end")
    };
    let from = (
        message.client.as_slice(),
        message.helo.as_slice(),
        message.port.as_slice(),
    );
    assert_eq!(
        from,
        (b"192.0.2.1".as_slice(), b"mx.x.test".as_slice(), b"25".as_slice())
    );
    assert_eq!(message.parameters, [b"SIZE=5".to_vec()]);
    assert_eq!(message.content, b"Subject: a\r\n b\r\n\r\ntext\r\n");
    assert_eq!(
        (
            message.sender.as_slice(),
            message.queue_id.as_slice(),
            message.smtp
        ),
        (b"".as_slice(), b"Q1".as_slice(), true)
    );
    assert!(!session.is_busy(), "the next message begins anew");
}

#[test]
fn no_more_is_read_than_is_wanted() {
    let mut session = session(READ);
    assert_eq!(
        session.receive(Command::Body(b"a")),
        Ok(Step::Skip),
        "nobody wants it"
    );
    session.receive(rcpt(b"<b@bounces.test>")).unwrap();
    session.want_body();
    let piece = [b'x'; 60];
    assert_eq!(session.receive(Command::Body(&piece)), Ok(Step::Continue));
    assert_eq!(session.receive(Command::Body(&piece)), Ok(Step::Skip));
    let Ok(Step::Finish(message)) = session.receive(Command::EndOfMessage(&piece)) else {
        panic!("no end")
    };
    assert_eq!((message.content.len(), message.cut), (100, true));
}

#[test]
fn what_is_given_up_is_forgotten() {
    let mut session = session(SIGN);
    for end in [Command::Abort, Command::QuitNewConnection] {
        let mail = Command::Mail {
            sender: b"a@app.test",
            parameters: vec![],
        };
        assert_eq!(session.receive(mail), Ok(Step::Wait));
        assert!(!session.transaction().smtp, "no brackets: sendmail(1)");
        session.take(b"b@x.test".to_vec());
        assert_eq!(session.receive(end), Ok(Step::Wait));
        assert!(!session.is_busy());
    }
    assert_eq!(session.receive(Command::Quit), Ok(Step::Close));
}

#[test]
fn the_order_is_kept() {
    let mut early = Session::new(SIGN, 100);
    let error = early.receive(Command::Data).unwrap_err().to_string();
    assert_eq!(error, "expected the negotiation first, found the command 'T'");
    let mut twice = session(SIGN);
    assert!(twice.receive(Command::Negotiate(POSTFIX)).is_err());
    assert_eq!(session(SIGN).receive(Command::Other(b'?')), Ok(Step::Continue));
}
