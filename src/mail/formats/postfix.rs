//! The reasons that Postfix gives for what became of a delivery: within `status=… (…)` of its log, in
//! the text of its DSNs, and in their `Diagnostic-Code: X-Postfix; …`. No standard describes them; the
//! shapes are those of Postfix's smtp(8), lmtp(8) and queue manager.
//!
//! A reason is a frame that Postfix writes (`host NAME[IP] said: `) around words that a stranger may
//! have chosen. Frames are therefore read from the outside in: the front one from the start, the
//! closing `(in reply to …)` from the very end, and nothing that stands between them is taken for one.
//! Reading never fails: what fits no frame is a local reason, its text kept. Reasons that were cut are
//! read as far as they go.

use crate::mail::reply::{Reply, ReplyCode};
use std::collections::HashMap;

/// Why, in Postfix's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReasonKind {
    /// A server's reply to a command, or bare.
    Said,
    /// A server's reply instead of a greeting, or to EHLO: `refused to talk to me`.
    RefusedToTalk,
    /// No connection came about.
    Connect,
    /// The connection was lost.
    Lost,
    /// The server fell silent.
    TimedOut,
    /// DNS gave no answer, or a negative one.
    Dns,
    /// The domain declares that it takes no mail (RFC 7505).
    NullMx,
    /// The best MX of the domain is this very MTA.
    Loop,
    /// The server lacks an extension that the message needs (SMTPUTF8).
    Unsupported,
    /// TLS was required and did not come about.
    Tls,
    /// Our own login at the server failed.
    Auth,
    /// The message is larger than the server said that it takes (RFC 1870).
    TooLarge,
    /// Anything that no network attempt brought about: local agents, `error:` and `retry:` transports.
    Local,
}

/// One reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// What sort of reason.
    pub kind: ReasonKind,
    /// Whether it is an echo: `delivery temporarily suspended: …`, another message's fault.
    pub suspended: bool,
    /// The server's name as given.
    pub host: Option<String>,
    /// The server's address, or the path of a socket.
    pub ip: Option<String>,
    /// The port, where the reason names it.
    pub port: Option<u16>,
    /// The command replied to: `RCPT TO`, `end of DATA`.
    pub command: Option<String>,
    /// The server's reply; for all other reasons the reason's text, without codes.
    pub reply: Reply,
}

const SUSPENDED: &str = "delivery temporarily suspended: ";
const IN_REPLY_TO: &str = " (in reply to ";

impl ReasonKind {
    /// Whether an attempt over the network (DNS included) brought it about.
    #[must_use]
    pub fn stems_from_attempt(self) -> bool {
        self != Self::Local
    }
}

impl Reason {
    /// The command that the reply answers; a server that refused to talk answered with its greeting.
    #[must_use]
    pub fn answered(&self) -> Option<String> {
        match self.kind {
            ReasonKind::RefusedToTalk => Some("greeting".to_owned()),
            _ => self.command.clone(),
        }
    }
}

/// The command that the reply about a recipient answered, from the words that Postfix addresses to people at
/// the top of its bounces: `<recipient>: host … said: … (in reply to MAIL FROM command)`, one paragraph a
/// recipient, perhaps with `(expanded from <alias>)`. The delivery status beside them does not tell it. Lines end
/// in LF.
#[must_use]
pub fn answered_in_notice(notice: &str) -> HashMap<String, String> {
    let mut answered = HashMap::new();
    for paragraph in notice.split("\n\n") {
        let told = paragraph.trim_start().strip_prefix('<').and_then(|rest| {
            let end = rest.find(">: ").into_iter().chain(rest.find("> (")).min()?;
            let (address, rest) = (&rest[..end], &rest[end..]);
            let (_, reason) = rest.split_once(": ")?;
            Some((address.to_ascii_lowercase(), parse_reason(reason).answered()?))
        });
        if let Some((address, command)) = told {
            answered.entry(address).or_insert(command);
        }
    }
    answered
}

/// Reads one reason; never fails (see the head of this file). Line breaks count as blanks.
#[must_use]
pub fn parse_reason(text: &str) -> Reason {
    let folded;
    let mut text = text.trim();
    if text.contains(['\n', '\r', '\t']) {
        folded = one_line(text);
        text = &folded;
    }
    let mut suspended = false;
    while let Some(inner) = text.strip_prefix(SUSPENDED) {
        suspended = true;
        text = inner;
    }
    let reason = about_server(text).or_else(|| about_route(text));
    Reason {
        suspended,
        ..reason.unwrap_or_else(|| local(ReasonKind::Local, text))
    }
}

/// Frames that name a server.
fn about_server(text: &str) -> Option<Reason> {
    let starts_with_code = text
        .get(..3)
        .is_some_and(|digits| digits.parse().is_ok_and(|code| ReplyCode::new(code).is_some()))
        && matches!(text.as_bytes().get(3), None | Some(b' ' | b'-'));
    if starts_with_code {
        return Some(said(ReasonKind::Said, Server::default(), text));
    }
    if let Some(rest) = text.strip_prefix("host ") {
        let (server, rest) = server(rest)?;
        return match rest.strip_prefix(" said: ") {
            Some(reply) => Some(said(ReasonKind::Said, server, reply)),
            None => Some(said(
                ReasonKind::RefusedToTalk,
                server,
                rest.strip_prefix(" refused to talk to me: ")?,
            )),
        };
    }
    let frames = [
        ("connect to ", ReasonKind::Connect),
        ("lost connection with ", ReasonKind::Lost),
        ("conversation with ", ReasonKind::TimedOut),
        (
            "SMTPUTF8 is required, but was not offered by host ",
            ReasonKind::Unsupported,
        ),
        ("TLS is required, but was not offered by host ", ReasonKind::Tls),
    ];
    for (front, kind) in frames {
        if let Some(rest) = text.strip_prefix(front) {
            let (server, _) = server(rest).unwrap_or_default();
            return Some(with_server(local(kind, text), server));
        }
    }
    refused_feature(text)
}

/// Frames with a server's reply to STARTTLS or AUTH, and its size limit.
fn refused_feature(text: &str) -> Option<Reason> {
    if let Some(rest) = text.strip_prefix("TLS is required, but host ") {
        let (server, rest) = server(rest)?;
        return Some(said(
            ReasonKind::Tls,
            server,
            rest.strip_prefix(" refused to start TLS: ")?,
        ));
    }
    if let Some(rest) = text.strip_prefix("SASL authentication failed; server ") {
        let (server, rest) = server(rest)?;
        return Some(said(ReasonKind::Auth, server, rest.strip_prefix(" said: ")?));
    }
    if let Some(rest) = text.strip_prefix("message size ") {
        let (_, rest) = rest.split_once(" exceeds size limit ")?;
        let (server, _) = rest
            .split_once(" of server ")
            .and_then(|(_, rest)| server(rest))
            .unwrap_or_default();
        return Some(with_server(local(ReasonKind::TooLarge, text), server));
    }
    None
}

/// Frames without a server: DNS, routing, and our own side of TLS and SASL.
fn about_route(text: &str) -> Option<Reason> {
    let kind = match text {
        _ if text.starts_with("Host or domain name not found.") || text.starts_with("Host not found") => {
            ReasonKind::Dns
        }
        _ if text.starts_with("Name service error for ") || text.starts_with("unable to look up host ") => {
            ReasonKind::Dns
        }
        _ if text.starts_with("unable to find primary relay for ") => ReasonKind::Dns,
        _ if text.starts_with("mail for ") && text.ends_with(" loops back to myself") => ReasonKind::Loop,
        _ if text.starts_with("Domain ") && text.ends_with(" does not accept mail (nullMX)") => {
            ReasonKind::NullMx
        }
        _ if text.starts_with("TLS is required, but ") || text.starts_with("Cannot start TLS: ") => {
            ReasonKind::Tls
        }
        _ if text.starts_with("Server certificate not ") => ReasonKind::Tls,
        _ if text.starts_with("SASL authentication failed") => ReasonKind::Auth,
        _ => return None,
    };
    Some(local(kind, text))
}

/// A server as Postfix writes it: `name[address]`, perhaps with `:port`.
#[derive(Default)]
struct Server {
    host: Option<String>,
    ip: Option<String>,
    port: Option<u16>,
}

/// Reads a server at the start; what follows it. `None` where none stands there.
fn server(text: &str) -> Option<(Server, &str)> {
    let (endpoint, rest) = Endpoint::parse_prefix(text)?;
    let server = Server {
        host: Some(endpoint.host.to_owned()),
        ip: Some(endpoint.ip.to_owned()),
        port: endpoint.port,
    };
    Some((server, rest))
}

/// Where a delivery went, as Postfix writes it: `name[address]:port`, or `name[/path/of/socket]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint<'a> {
    /// The name.
    pub host: &'a str,
    /// The address, or the path of a local socket.
    pub ip: &'a str,
    /// The port; a socket has none.
    pub port: Option<u16>,
}

impl<'a> Endpoint<'a> {
    /// Reads an endpoint at the very start; returns it and what follows. `None` where there is none.
    #[must_use]
    pub fn parse_prefix(text: &'a str) -> Option<(Self, &'a str)> {
        let (host, rest) = text.split_once('[')?;
        if host.is_empty() || host.contains([' ', ':', '(', '<']) {
            return None;
        }
        let (ip, rest) = rest.split_once(']')?;
        if ip.is_empty() || ip.contains(' ') {
            return None;
        }
        let digits = rest
            .strip_prefix(':')
            .map_or(0, |port| port.bytes().take_while(u8::is_ascii_digit).count());
        let port = (digits > 0).then(|| rest[1..=digits].parse().ok()).flatten();
        let rest = if digits > 0 { &rest[digits + 1..] } else { rest };
        Some((Self { host, ip, port }, rest))
    }
}

/// A reason with a server's reply in it.
fn said(kind: ReasonKind, server: Server, text: &str) -> Reason {
    let (reply, command) = without_command(text);
    let reason = Reason {
        command: command.map(str::to_owned),
        reply: Reply::parse(reply),
        ..local(kind, "")
    };
    with_server(reason, server)
}

fn with_server(reason: Reason, server: Server) -> Reason {
    Reason {
        host: server.host,
        ip: server.ip,
        port: server.port,
        ..reason
    }
}

fn local(kind: ReasonKind, text: &str) -> Reason {
    Reason {
        kind,
        suspended: false,
        host: None,
        ip: None,
        port: None,
        command: None,
        reply: Reply {
            code: None,
            status: None,
            text: one_line(text),
        },
    }
}

/// Splits off the closing `(in reply to RCPT TO command)`, which is Postfix's only at the very end. The
/// last parenthesis may be missing, since a cut line and a log's own closing one can cost it.
fn without_command(text: &str) -> (&str, Option<&str>) {
    let Some(at) = text.rfind(IN_REPLY_TO) else {
        return (text, None);
    };
    let tail = &text[at + IN_REPLY_TO.len()..];
    let tail = tail.strip_suffix(')').unwrap_or(tail);
    if !tail
        .bytes()
        .all(|byte| byte.is_ascii_alphabetic() || byte == b' ')
    {
        return (text, None);
    }
    let command = tail.strip_suffix(" command").unwrap_or_default();
    (&text[..at], (!command.is_empty()).then_some(command))
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_tells_what_each_recipients_reply_answered() {
        let notice = "I'm sorry to have to inform you\r\n\r\n<Ann@x.test>: host mx.x.test[192.0.2.1] said: 550 5.1.1 who is\r\n    \
                      this (in reply to MAIL FROM\r\n    command)\r\n\r\n<bob@x.test> (expanded from <b@y.test>): host \
                      mx.x.test[192.0.2.1] said:\r\n    550 5.1.1 gone (in reply to RCPT TO command)\r\n\r\n<eve@x.test>: \
                      host mx.x.test[192.0.2.1] refused to talk to me: 554 no\r\n";
        let notice = notice.replace('\r', "");
        let told = answered_in_notice(&notice);
        let answered = |recipient: &str| told.get(recipient).cloned();
        assert_eq!(answered("ann@x.test").as_deref(), Some("MAIL FROM"));
        assert_eq!(answered("bob@x.test").as_deref(), Some("RCPT TO"));
        assert_eq!(answered("eve@x.test").as_deref(), Some("greeting"));
        assert_eq!(answered("b@x.test"), None);
        assert!(answered_in_notice("").is_empty());
    }

    fn shown(text: &str) -> String {
        let r = parse_reason(text);
        let port = r.port.map_or(String::new(), |p| format!(":{p}"));
        format!(
            "{:?}{} {}[{}]{port} <{}> {}",
            r.kind,
            if r.suspended { "*" } else { "" },
            r.host.unwrap_or_default(),
            r.ip.unwrap_or_default(),
            r.command.unwrap_or_default(),
            r.reply
        )
    }

    #[test]
    fn reads_each_frame() {
        let table = [
            (
                "host mx1.misc.test[127.0.0.23] said: 550 5.1.1 no such user (in reply to RCPT TO command)",
                "Said mx1.misc.test[127.0.0.23] <RCPT TO> 550 5.1.1 no such user",
            ),
            (
                "host mx1.misc.test[2001:db8::1] said: 550 (in reply to MAIL FROM command)",
                "Said mx1.misc.test[2001:db8::1] <MAIL FROM> 550",
            ),
            (
                "host mx[192.0.2.1] said: 550-5.1.1 The account does 550 5.1.1 not exist (in reply to end of DATA command)",
                "Said mx[192.0.2.1] <end of DATA> 550 5.1.1 The account does not exist",
            ),
            (
                "host mx[192.0.2.1] refused to talk to me: 421 4.7.0 slow down",
                "RefusedToTalk mx[192.0.2.1] <> 421 4.7.0 slow down",
            ),
            (
                "connect to mx1.refused.test[127.0.0.99]:25: Connection refused",
                "Connect mx1.refused.test[127.0.0.99]:25 <> connect to mx1.refused.test[127.0.0.99]:25: Connection refused",
            ),
            (
                "connect to mta[/run/nixie/lmtp.sock]: No such file or directory",
                "Connect mta[/run/nixie/lmtp.sock] <> connect to mta[/run/nixie/lmtp.sock]: No such file or directory",
            ),
            (
                "lost connection with mx[192.0.2.1] while sending RCPT TO",
                "Lost mx[192.0.2.1] <> lost connection with mx[192.0.2.1] while sending RCPT TO",
            ),
            (
                "conversation with mx[192.0.2.1] timed\n    out while sending DATA command",
                "TimedOut mx[192.0.2.1] <> conversation with mx[192.0.2.1] timed out while sending DATA command",
            ),
            (
                "Host or domain name not found. Name service error for name=x.test type=MX: Host not found, try again",
                "Dns [] <> Host or domain name not found. Name service error for name=x.test type=MX: Host not found, try again",
            ),
            (
                "Domain nullmx.test does not accept mail (nullMX)",
                "NullMx [] <> Domain nullmx.test does not accept mail (nullMX)",
            ),
            (
                "mail for loop.test loops back to myself",
                "Loop [] <> mail for loop.test loops back to myself",
            ),
            (
                "SMTPUTF8 is required, but was not offered by host mx1.utf8.test[127.0.0.24]",
                "Unsupported mx1.utf8.test[127.0.0.24] <> SMTPUTF8 is required, but was not offered by host mx1.utf8.test[127.0.0.24]",
            ),
            (
                "TLS is required, but host mx[192.0.2.1] refused to start TLS: 454 4.7.0 not now",
                "Tls mx[192.0.2.1] <> 454 4.7.0 not now",
            ),
            (
                "SASL authentication failed; server mx[192.0.2.1] said: 535 5.7.8 bad",
                "Auth mx[192.0.2.1] <> 535 5.7.8 bad",
            ),
            (
                "message size 10 exceeds size limit 5 of server mx[192.0.2.1]",
                "TooLarge mx[192.0.2.1] <> message size 10 exceeds size limit 5 of server mx[192.0.2.1]",
            ),
            (
                "delivery temporarily suspended: host mx[192.0.2.1] refused to talk to me: 421 4.7.0 slow",
                "RefusedToTalk* mx[192.0.2.1] <> 421 4.7.0 slow",
            ),
            (
                "250 2.0.0 OK 1795254058 - gsmtp",
                "Said [] <> 250 2.0.0 OK 1795254058 - gsmtp",
            ),
            ("suppressed by nixie", "Local [] <> suppressed by nixie"),
            ("5.7.1 is how it starts", "Local [] <> 5.7.1 is how it starts"),
            ("", "Local [] <> "),
        ];
        for (text, expected) in table {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn a_reply_cannot_pass_for_a_frame() {
        let table = [
            (
                "host mx[192.0.2.1] said: 550 5.1.1 a (in reply to MAIL FROM command) b (in reply to RCPT TO command)",
                "Said mx[192.0.2.1] <RCPT TO> 550 5.1.1 a (in reply to MAIL FROM command) b",
            ),
            (
                "host mx[192.0.2.1] said: 550 host evil[198.51.100.1] said: 250 ok (in reply to RCPT TO command)",
                "Said mx[192.0.2.1] <RCPT TO> 550 host evil[198.51.100.1] said: 250 ok",
            ),
            (
                "host mx[192.0.2.1] said: 450 delivery temporarily suspended: x",
                "Said mx[192.0.2.1] <> 450 delivery temporarily suspended: x",
            ),
        ];
        for (text, expected) in table {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn every_cut_is_read_as_far_as_it_goes() {
        let whole = "host mx[192.0.2.1] said: 550 5.1.1 no such user (in reply to RCPT TO command)";
        let said = "host mx[192.0.2.1] said: 550";
        for end in said.len()..=whole.len() {
            let reason = parse_reason(&whole[..end]);
            assert_eq!(reason.kind, ReasonKind::Said, "{}", &whole[..end]);
            assert_eq!(reason.reply.code.map(|c| c.get()), Some(550), "{}", &whole[..end]);
        }
        assert_eq!(shown(&whole[..whole.len() - 1]), shown(whole));
        assert_eq!(
            parse_reason(&whole[..whole.len() - 10]).reply.text,
            "no such user"
        );
    }
}
