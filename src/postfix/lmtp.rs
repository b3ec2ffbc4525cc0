//! The server's side of LMTP (RFC 2033) as Postfix's `lmtp(8)` speaks it, with PIPELINING (RFC 2920),
//! 8BITMIME (RFC 6152), SMTPUTF8 (RFC 6531), ENHANCEDSTATUSCODES (RFC 2034), DSN (RFC 3461) and SIZE
//! (RFC 1870). Sans-IO: octets in, steps out.
//!
//! What arrives here are bounces, and a 5xx loses a bounce: Postfix does not bounce a bounce. So
//! nothing about a message is ever refused for good:
//! - SIZE is announced without a number, and what exceeds the limit is cut, not refused (the report
//!   stands at the beginning, the returned mail at the end).
//! - Every recipient is accepted up to a number; past it, 452 has Postfix try the rest again.
//! - Only commands that are no LMTP get a 5xx, and after [`MAX_ERRORS`] of them the session is closed.

use std::fmt::Write as _;

/// The longest command line, in octets: RFC 5321 §4.5.3.1.4 says 512, extensions add to it.
pub const MAX_LINE: usize = 8192;
/// The most recipients a transaction: RFC 5321 §4.5.3.1.8 asks for at least 100.
pub const MAX_RECIPIENTS: usize = 1000;
/// Errors after which a session is closed.
pub const MAX_ERRORS: usize = 20;

/// A message as handed over.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Message {
    /// The envelope sender; empty is the null sender.
    pub sender: String,
    /// The envelope recipients, in order: each must be answered.
    pub recipients: Vec<String>,
    /// The content, dots unstuffed, lines as they came, cut at the limit.
    pub content: Vec<u8>,
    /// Whether the content was longer than the limit.
    pub cut: bool,
}

/// What the shell must do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Send these octets.
    Send(String),
    /// Keep this message, then call [`Session::answer`]; feed nothing more before.
    Deliver(Message),
}

/// What became of a message, for one recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It is committed.
    Yes,
    /// It is not; Postfix must keep it.
    NotNow,
}

/// Where a session stands. Transitions: `Command → Data` by DATA with recipients, `Data → Delivering`
/// by the final dot, `Delivering → Command` by [`Session::answer`], any `→ Closed` by QUIT or too
/// many errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Command,
    Data,
    Delivering,
    Closed,
}

/// One session.
#[derive(Debug)]
pub struct Session {
    state: State,
    host: String,
    max_size: usize,
    greeted: bool,
    sender: Option<String>,
    message: Message,
    /// Whether the content stands at the start of a line: a dot there is stuffed or final.
    line_start: bool,
    errors: usize,
    buffer: Vec<u8>,
}

impl Session {
    /// A session that calls itself `host` and reads at most `max_size` octets of a message.
    #[must_use]
    pub fn new(host: &str, max_size: usize) -> Self {
        Self {
            state: State::Command,
            host: host.to_owned(),
            max_size,
            greeted: false,
            sender: None,
            message: Message::default(),
            line_start: true,
            errors: 0,
            buffer: Vec::new(),
        }
    }

    /// The greeting, to be sent when the connection is made.
    #[must_use]
    pub fn greeting(&self) -> String {
        format!("220 {} LMTP Nixie\r\n", self.host)
    }

    /// Whether a transaction is open: what a shutdown waits for.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.sender.is_some() || matches!(self.state, State::Data | State::Delivering)
    }

    /// Takes octets and says what to do. Ends at the first [`Step::Deliver`]; what was pipelined
    /// behind it is kept and worked on by the next call (with no octets, if need be).
    pub fn feed(&mut self, octets: &[u8]) -> Vec<Step> {
        self.buffer.extend_from_slice(octets);
        let mut steps = Vec::new();
        loop {
            let step = match self.state {
                State::Command => self.next_command(),
                State::Data => self.next_content(),
                State::Delivering | State::Closed => None,
            };
            match step {
                Some(step) => {
                    let pause = matches!(step, Step::Deliver(_));
                    steps.push(step);
                    if pause {
                        return steps;
                    }
                }
                None => return steps,
            }
        }
    }

    /// Answers for each recipient of the message delivered, in order; what is missing is not kept.
    #[must_use]
    pub fn answer(&mut self, kept: &[Kept]) -> String {
        let mut replies = String::new();
        for index in 0..self.message.recipients.len() {
            replies.push_str(match kept.get(index) {
                Some(Kept::Yes) => "250 2.0.0 kept\r\n",
                Some(Kept::NotNow) | None => "451 4.3.0 the store does not answer, try again later\r\n",
            });
        }
        self.reset();
        replies
    }

    fn reset(&mut self) {
        self.state = State::Command;
        self.sender = None;
        self.message = Message::default();
        self.line_start = true;
    }

    /// The next whole line of the buffer as a command.
    fn next_command(&mut self) -> Option<Step> {
        let Some(end) = memchr::memchr(b'\n', &self.buffer) else {
            if self.buffer.len() <= MAX_LINE {
                return None;
            }
            self.state = State::Closed;
            return Some(Step::Send("500 5.5.2 line too long\r\n".into()));
        };
        let line: Vec<u8> = self.buffer.drain(..=end).collect();
        let line = String::from_utf8_lossy(&line)
            .trim_end_matches(['\r', '\n'])
            .to_owned();
        Some(self.command(&line))
    }

    fn command(&mut self, line: &str) -> Step {
        let (verb, argument) = line.split_once(' ').unwrap_or((line, ""));
        match verb.to_ascii_uppercase().as_str() {
            "LHLO" => self.lhlo(argument),
            "MAIL" => self.mail(argument),
            "RCPT" => self.rcpt(argument),
            "DATA" => self.data(),
            "RSET" => {
                self.reset();
                Step::Send("250 2.0.0 forgotten\r\n".into())
            }
            "NOOP" => Step::Send("250 2.0.0 here\r\n".into()),
            "VRFY" => Step::Send("252 2.1.5 send it, and see\r\n".into()),
            "QUIT" => {
                self.state = State::Closed;
                Step::Send("221 2.0.0 goodbye\r\n".into())
            }
            "HELO" | "EHLO" => self.refuse("500 5.5.1 this is LMTP: say LHLO"),
            _ => self.refuse("500 5.5.1 no such command"),
        }
    }

    /// Refuses a command; after too many of them the session ends.
    fn refuse(&mut self, reply: &str) -> Step {
        self.errors += 1;
        if self.errors >= MAX_ERRORS {
            self.state = State::Closed;
            return Step::Send("421 4.7.0 too many errors\r\n".into());
        }
        Step::Send(format!("{reply}\r\n"))
    }

    /// Whether the session is over: the shell closes when all is sent.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    fn lhlo(&mut self, name: &str) -> Step {
        if name.trim().is_empty() {
            return self.refuse("501 5.5.4 expected LHLO and a host name");
        }
        self.reset();
        self.greeted = true;
        let mut reply = format!("250-{}\r\n", self.host);
        for extension in ["PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "DSN"] {
            let _ = write!(reply, "250-{extension}\r\n");
        }
        // RFC 1870 §3: without a number, no fixed limit. With one, Postfix itself would bounce.
        reply.push_str("250 SIZE\r\n");
        Step::Send(reply)
    }

    fn mail(&mut self, argument: &str) -> Step {
        if !self.greeted {
            return self.refuse("503 5.5.1 say LHLO first");
        }
        if self.sender.is_some() {
            return self.refuse("503 5.5.1 a transaction is open");
        }
        match path(argument, "FROM:") {
            Some(sender) => {
                self.sender = Some(sender);
                Step::Send("250 2.1.0 go on\r\n".into())
            }
            None => self.refuse("501 5.5.4 expected MAIL FROM:<address>"),
        }
    }

    fn rcpt(&mut self, argument: &str) -> Step {
        if self.sender.is_none() {
            return self.refuse("503 5.5.1 say MAIL first");
        }
        match path(argument, "TO:") {
            Some(recipient) if !recipient.is_empty() => {
                if self.message.recipients.len() >= MAX_RECIPIENTS {
                    return Step::Send("452 4.5.3 too many recipients\r\n".into());
                }
                self.message.recipients.push(recipient);
                Step::Send("250 2.1.5 go on\r\n".into())
            }
            _ => self.refuse("501 5.5.4 expected RCPT TO:<address>"),
        }
    }

    fn data(&mut self) -> Step {
        if self.message.recipients.is_empty() {
            return self.refuse("503 5.5.1 no recipients");
        }
        self.state = State::Data;
        self.line_start = true;
        Step::Send("354 end with a dot on a line of its own\r\n".into())
    }

    /// Moves whole lines (and long pieces of lines) of the buffer into the content.
    fn next_content(&mut self) -> Option<Step> {
        let mut from = 0;
        while let Some(length) = memchr::memchr(b'\n', &self.buffer[from..]) {
            let line = &self.buffer[from..=from + length];
            from += length + 1;
            if self.line_start && matches!(line, b".\r\n" | b".\n") {
                self.buffer.drain(..from);
                return Some(self.deliver());
            }
            let stuffed = self.line_start && line.starts_with(b".");
            self.line_start = true;
            append(&mut self.message, &line[usize::from(stuffed)..], self.max_size);
        }
        self.buffer.drain(..from);
        // A line without an end is moved on in pieces, so that it cannot fill the memory.
        if self.buffer.len() > MAX_LINE {
            let stuffed = self.line_start && self.buffer.starts_with(b".");
            append(
                &mut self.message,
                &self.buffer[usize::from(stuffed)..],
                self.max_size,
            );
            self.line_start = false;
            self.buffer.clear();
        }
        None
    }

    fn deliver(&mut self) -> Step {
        self.state = State::Delivering;
        let content = std::mem::take(&mut self.message.content);
        Step::Deliver(Message {
            sender: self.sender.clone().unwrap_or_default(),
            recipients: self.message.recipients.clone(),
            content,
            cut: self.message.cut,
        })
    }
}

/// Adds to the content up to the limit; the rest is passed over and noted.
fn append(message: &mut Message, octets: &[u8], max_size: usize) {
    let room = max_size.saturating_sub(message.content.len());
    message.cut |= octets.len() > room;
    message
        .content
        .extend_from_slice(&octets[..octets.len().min(room)]);
}

/// The path of `FROM:<path> PARAMETERS`: quoted local parts may hold blanks and `>`. Parameters are
/// taken as they come: none of them changes what is done.
fn path(argument: &str, keyword: &str) -> Option<String> {
    let head = argument.get(..keyword.len())?;
    if !head.eq_ignore_ascii_case(keyword) {
        return None;
    }
    let rest = argument[keyword.len()..].trim_start().strip_prefix('<')?;
    let (mut quoted, mut escaped) = (false, false);
    for (index, c) in rest.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            '>' if !quoted => return Some(rest[..index].to_owned()),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds all at once; messages are kept. Returns what was sent and the messages.
    fn talk(session: &mut Session, input: &[u8]) -> (String, Vec<Message>) {
        let (mut sent, mut messages) = (String::new(), Vec::new());
        let mut steps = session.feed(input);
        loop {
            let mut again = false;
            for step in steps {
                match step {
                    Step::Send(text) => sent.push_str(&text),
                    Step::Deliver(message) => {
                        let kept = vec![Kept::Yes; message.recipients.len()];
                        messages.push(message);
                        sent.push_str(&session.answer(&kept));
                        again = true;
                    }
                }
            }
            if !again {
                return (sent, messages);
            }
            steps = session.feed(b"");
        }
    }

    fn codes(sent: &str) -> Vec<&str> {
        sent.lines().map(|line| &line[..3]).collect()
    }

    const SESSION: &[u8] = b"LHLO mta.test\r\nMAIL FROM:<> BODY=8BITMIME SMTPUTF8 SIZE=99999999999\r\n\
        RCPT TO:<b+1@bounces.test> ORCPT=rfc822;b+2B1@bounces.test\r\nRCPT TO:<b+2@bounces.test>\r\nDATA\r\n\
        Subject: x\r\n\r\n..stuffed\r\n.almost\r\nend\r\n.\r\nQUIT\r\n";

    #[test]
    fn a_pipelined_session_is_answered_in_order() {
        let (sent, messages) = talk(&mut Session::new("nixie.test", 65536), SESSION);
        assert_eq!(
            codes(&sent),
            [
                "250", "250", "250", "250", "250", "250", "250", "250", "250", "250", "354", "250", "250",
                "221"
            ]
        );
        assert_eq!(messages.len(), 1);
        assert_eq!(messages[0].recipients, ["b+1@bounces.test", "b+2@bounces.test"]);
        assert_eq!(
            messages[0].content,
            b"Subject: x\r\n\r\n.stuffed\r\nalmost\r\nend\r\n"
        );
    }

    #[test]
    fn octet_by_octet_it_is_the_same() {
        let whole = talk(&mut Session::new("nixie.test", 65536), SESSION);
        let mut session = Session::new("nixie.test", 65536);
        let (mut sent, mut messages) = (String::new(), Vec::new());
        for octet in SESSION {
            let (text, more) = talk(&mut session, &[*octet]);
            sent.push_str(&text);
            messages.extend(more);
        }
        assert_eq!((sent, messages), whole);
    }

    #[test]
    fn what_is_not_kept_is_451_never_5xx() {
        let mut session = Session::new("n", 65536);
        session.feed(&SESSION[..SESSION.len() - 6]);
        assert_eq!(
            session.answer(&[Kept::Yes, Kept::NotNow]),
            "250 2.0.0 kept\r\n451 4.3.0 the store does not answer, try again later\r\n"
        );
    }

    #[test]
    fn too_long_is_cut_and_taken() {
        let mut session = Session::new("n", 10);
        let input = b"LHLO a\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\n0123456789abcdef\r\n.\r\n";
        let (_, messages) = talk(&mut session, input);
        assert_eq!(
            (messages[0].content.as_slice(), messages[0].cut),
            (b"0123456789".as_slice(), true)
        );
    }

    #[test]
    fn a_line_without_end_takes_no_memory() {
        let mut session = Session::new("n", 1000);
        talk(
            &mut session,
            b"LHLO a\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\n",
        );
        for _ in 0..1000 {
            session.feed(&[b'x'; 4096]);
            assert!(session.buffer.len() <= MAX_LINE + 4096 && session.message.content.len() <= 1000);
        }
        let mut session = Session::new("n", 1000);
        let steps: Vec<Step> = (0..10).flat_map(|_| session.feed(&[b'x'; 4096])).collect();
        assert_eq!(steps, [Step::Send("500 5.5.2 line too long\r\n".into())]);
        assert!(session.is_closed());
    }

    #[test]
    fn the_order_of_commands_matters() {
        let table: [(&[u8], &[&str]); 6] = [
            (b"MAIL FROM:<>\r\n", &["503"]),
            (b"LHLO\r\n", &["501"]),
            (b"EHLO a\r\n", &["500"]),
            (
                b"LHLO a\r\nRCPT TO:<a@b>\r\n",
                &["250", "250", "250", "250", "250", "250", "250", "503"],
            ),
            (b"NOOP\r\nVRFY a\r\nRSET\r\n", &["250", "252", "250"]),
            (b"\xff\xfe\r\n", &["500"]),
        ];
        for (input, expected) in table {
            assert_eq!(codes(&talk(&mut Session::new("n", 65536), input).0), expected);
        }
    }

    #[test]
    fn garbage_ends_the_session() {
        let (sent, _) = talk(&mut Session::new("n", 65536), &b"garbage\r\n".repeat(100));
        assert_eq!(sent.lines().count(), MAX_ERRORS);
        assert!(sent.ends_with("421 4.7.0 too many errors\r\n"));
    }

    #[test]
    fn paths_may_be_quoted() {
        assert_eq!(path("TO:<\"a> b\"@c> X=1", "TO:").as_deref(), Some("\"a> b\"@c"));
        assert_eq!(path("from: <a@b>", "FROM:").as_deref(), Some("a@b"));
        assert_eq!(path("TO:a@b", "TO:"), None);
    }

    proptest::proptest! {
        #[test]
        fn any_octets_are_survived(chunks in proptest::collection::vec(proptest::collection::vec(0u8.., 0..200), 0..20)) {
            let mut session = Session::new("n", 4096);
            for chunk in chunks {
                talk(&mut session, &chunk);
                proptest::prop_assert!(session.message.content.len() <= 4096);
            }
        }
    }
}
