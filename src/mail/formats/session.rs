//! The transcript in Sendmail's notices: what was sent (`>>> `), what a server answered (`<<< `), and what
//! Sendmail concludes in lines without arrows.
//!
//! Sendmail pipelines, and shows the command sent last: the refusal of a recipient often follows
//! `>>> DATA`. Where its conclusion on an address follows a reply, that reply answered that address's RCPT
//! TO. Only failures (4xx, 5xx) are kept.

use super::block;
use super::quoted::{command_sent, is_reply, reply_in};
use crate::mail::address::{Address, AddressKey, LocalPart};
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

/// A reply that a server gave.
#[derive(Debug, Default)]
pub(super) struct Exchange<'a> {
    /// The server, as `... while talking to` names it.
    pub host: Option<&'a str>,
    /// The command that was answered.
    pub command: Option<&'static str>,
    /// The recipient that it is about, where the transcript ties it to one.
    pub about: Option<Address>,
    /// The reply, all of its lines.
    pub reply: String,
}

/// A transcript. Its indices keep a notice on thousands of recipients linear.
#[derive(Debug, Default)]
pub(super) struct Session<'a> {
    exchanges: Vec<Exchange<'a>>,
    /// The last exchange about each recipient: the servers of a domain are tried in turn.
    about: HashMap<AddressKey, usize>,
    /// The first exchange whose reply names an address.
    naming: HashMap<AddressKey, usize>,
    /// The first exchange with each reply.
    replies: BTreeMap<String, usize>,
    /// Sendmail's own conclusions: on whom, if they tell, and what; each address once.
    own: Vec<(Option<Address>, &'a str)>,
    own_on: HashMap<AddressKey, usize>,
    /// The first conclusion on nobody that follows no server's reply: it is on something of Sendmail's own.
    own_apart: Option<usize>,
    /// What a program that delivers locally wrote: `procmail: Quota exceeded while writing "/var/mail/a"`.
    program: Option<&'a str>,
    warning: bool,
}

impl<'a> Session<'a> {
    /// Reads the lines of a transcript.
    pub(super) fn read(lines: &[&'a str]) -> Self {
        let mut session = Self::default();
        let (mut host, mut sent, mut rcpt) = (None, None, None);
        // Whether the next `<<<` continues the reply before it; whether a conclusion may be on that reply.
        let (mut continues, mut fresh) = (false, false);
        for line in lines {
            let text = line.trim();
            let talking = text.strip_prefix("... while talking to ");
            if let Some(rest) = talking.or_else(|| text.strip_prefix("While talking to ")) {
                host = rest
                    .split_whitespace()
                    .next()
                    .map(|h| h.trim_end_matches([':', '.']));
                (sent, rcpt, fresh) = (None, None, false);
            } else if let Some(command) = text.strip_prefix(">>>") {
                sent = command_sent(command);
                rcpt = (sent == Some("RCPT TO"))
                    .then(|| block::address(command))
                    .flatten();
                (continues, fresh) = (false, false);
            } else if let Some(reply) = text.strip_prefix("<<<") {
                let reply = reply.trim();
                let last = session.exchanges.last_mut().filter(|_| continues);
                match last {
                    Some(last) => {
                        last.reply.push('\n');
                        last.reply.push_str(reply);
                    }
                    None if is_reply(reply) => session.exchanges.push(Exchange {
                        host,
                        command: sent.or(host.map(|_| "greeting")),
                        about: rcpt.clone(),
                        reply: reply.to_owned(),
                    }),
                    None => {}
                }
                fresh = is_reply(reply) || (continues && fresh);
                continues = fresh && reply.as_bytes().get(3) == Some(&b'-');
            } else if !text.is_empty() {
                session.conclude(text, fresh);
                (continues, fresh) = (false, false);
            }
        }
        session.index();
        session
    }

    fn index(&mut self) {
        for (index, exchange) in self.exchanges.iter().enumerate() {
            if let Some(about) = &exchange.about {
                self.about.insert(key(about), index);
            }
            if let Some(named) = block::address(&exchange.reply) {
                self.naming.entry(key(&named)).or_insert(index);
            }
            self.replies.entry(exchange.reply.clone()).or_insert(index);
        }
    }

    /// Takes a line without arrows.
    fn conclude(&mut self, text: &'a str, on_last_reply: bool) {
        self.warning |= text.contains("message still undelivered after");
        let (named, said) = conclusion(text);
        if on_last_reply
            && let (Some(address), Some(last)) = (&named, self.exchanges.last_mut())
            && last.about.is_none()
            && !is_leftover(&last.reply)
        {
            last.about = Some(address.clone());
            if matches!(last.command, Some("DATA" | "BDAT")) {
                last.command = Some("RCPT TO");
            }
        }
        if let Some(address) = &named {
            let seen = self.own_on.len();
            self.own_on.entry(key(address)).or_insert(self.own.len());
            if self.own_on.len() > seen {
                self.own.push((named, said));
            }
        } else if is_reply(text) || text.contains("eferred") {
            if named.is_none() && !on_last_reply {
                self.own_apart.get_or_insert(self.own.len());
            }
            self.own.push((named, said));
        } else if !on_last_reply && by_program(text) {
            self.program.get_or_insert(text);
        }
    }

    /// The first words of a local program.
    pub(super) fn program(&self) -> Option<&'a str> {
        self.program
    }

    /// The last reply that the transcript ties to an address.
    pub(super) fn about(&self, address: &Address) -> Option<&Exchange<'a>> {
        self.exchanges.get(*self.about.get(&key(address))?)
    }

    /// The reply that a `reason` quotes: its first line, perhaps cut.
    pub(super) fn quoted(&self, reason: &str) -> Option<&Exchange<'a>> {
        let from = (Bound::Included(reason), Bound::Unbounded);
        let (reply, index) = self.replies.range::<str, _>(from).next()?;
        reply
            .starts_with(reason)
            .then(|| self.exchanges.get(*index))
            .flatten()
    }

    /// The reply that names an address.
    pub(super) fn naming(&self, address: &Address) -> Option<&Exchange<'a>> {
        self.exchanges.get(*self.naming.get(&key(address))?)
    }

    /// The reply that ended the session for all: about nobody else, and not a complaint that nobody is left.
    pub(super) fn last(&self) -> Option<&Exchange<'a>> {
        let mut exchanges = self.exchanges.iter().rev();
        exchanges.find(|e| e.about.is_none() && !is_leftover(&e.reply))
    }

    /// What Sendmail itself says of an address.
    pub(super) fn concluded_on(&self, address: &Address) -> Option<&'a str> {
        let own = self.own.get(*self.own_on.get(&key(address))?);
        own.map(|&(_, said)| said)
    }

    /// What Sendmail says without naming anybody: `554 5.3.0 unknown mailer error 255`; rather than what it
    /// concludes from a server's reply (`554 5.0.0 Service unavailable`).
    pub(super) fn concluded_on_all(&self) -> Option<&'a str> {
        let apart = self.own_apart.and_then(|index| self.own.get(index));
        let own = apart.or_else(|| self.own.iter().find(|(named, _)| named.is_none()));
        own.map(|&(_, said)| said)
    }

    /// All conclusions on addresses, each address once.
    pub(super) fn conclusions(&self) -> impl Iterator<Item = (&Address, &'a str)> + '_ {
        let own = self.own.iter();
        own.filter_map(|(named, said)| Some((named.as_ref()?, *said)))
    }

    /// What Sendmail says of a host (v5): `421 example.test (smtp)... Deferred: …`.
    pub(super) fn about_host(&self, domain: &str) -> Option<&'a str> {
        let mut own = self.own.iter();
        own.find(|(_, said)| said.to_ascii_lowercase().contains(domain))
            .map(|&(_, said)| said)
    }

    /// Whether one server only was talked to.
    pub(super) fn is_with_one(&self) -> bool {
        let host = self.exchanges.first().and_then(|e| e.host);
        self.exchanges.iter().all(|e| e.host == host)
    }

    /// Whether Sendmail goes on trying.
    pub(super) fn is_warning(&self) -> bool {
        self.warning
    }
}

fn key(address: &Address) -> AddressKey {
    address.key(LocalPart::Fold)
}

/// `554 5.5.1 no valid recipients`: an answer to what was pipelined behind refused recipients.
fn is_leftover(reply: &str) -> bool {
    let reply = reply.to_ascii_lowercase();
    reply.starts_with("503") || reply.contains("no valid recipients") || reply.contains("need rcpt")
}

/// Whether a line begins with a program's name, as programs name themselves in what they complain of.
fn by_program(text: &str) -> bool {
    text.split_once(": ").is_some_and(|(name, _)| {
        let of_name = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-/".contains(&b);
        name.starts_with(|c: char| c.is_ascii_lowercase() || c == '/') && name.bytes().all(of_name)
    })
}

/// Whom a line concludes on, and what: all of it, or what it quotes (`<a@b>... Deferred: 450 later`,
/// `554 <a@b>... 550 Host unknown`).
fn conclusion(text: &str) -> (Option<Address>, &str) {
    let split = text.split_once("... ").or_else(|| text.split_once(">: "));
    let Some((front, said)) = split else {
        return (None, text);
    };
    let named = block::address(front);
    let quoted = said.strip_prefix("Deferred: ").unwrap_or(said);
    if is_reply(quoted) {
        return (named, reply_in(quoted).unwrap_or(quoted));
    }
    if is_reply(text) {
        (named, text)
    } else {
        (named, said)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(text: &str) -> Session<'_> {
        Session::read(&text.lines().collect::<Vec<_>>())
    }

    fn shown(found: Option<&Exchange<'_>>) -> String {
        found.map_or("-".to_owned(), |e| {
            format!(
                "{} {} | {}",
                e.host.unwrap_or("-"),
                e.command.unwrap_or("-"),
                e.reply.replace('\n', " / ")
            )
        })
    }

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    #[test]
    fn pipelined_refusals_belong_to_their_recipients() {
        let session = session(
            "... while talking to mx.b.test.:\n>>> DATA\n<<< 550-5.1.1 who\n<<< 550 5.1.1 is it\n\
             550 5.1.1 <a@b.test>... User unknown\n<<< 452 4.2.2 full\n<c@b.test>... Deferred: 452 4.2.2 full\n\
             <<< 503 5.0.0 Need RCPT (recipient)\n550 5.1.2 <e@c.test>... Host unknown",
        );
        let about = |who| shown(session.about(&address(who)));
        assert_eq!(
            about("a@b.test"),
            "mx.b.test RCPT TO | 550-5.1.1 who / 550 5.1.1 is it"
        );
        assert_eq!(about("C@b.test"), "mx.b.test RCPT TO | 452 4.2.2 full");
        assert_eq!(about("d@b.test"), "-");
        assert_eq!(about("e@c.test"), "-");
        assert_eq!(shown(session.last()), "-");
    }

    #[test]
    fn other_commands_are_about_nobody() {
        let session = session(
            "... while talking to mx.b.test.:\n>>> MAIL From:<x@y.test> SIZE=1\n<<< 552 5.2.3 too large\n\
             554 5.0.0 Service unavailable\n... while talking to mx2.b.test.:\n<<< 421 busy",
        );
        assert_eq!(
            shown(session.quoted("552 5.2.3 too")),
            "mx.b.test MAIL FROM | 552 5.2.3 too large"
        );
        assert_eq!(shown(session.last()), "mx2.b.test greeting | 421 busy");
    }

    #[test]
    fn conclusions_quote() {
        let session = session(
            "550 h.test (smtp)... 550 Host unknown\n554 <a@h.test>... 550 Host unknown (Authoritative)\n\
             <b@c.test>... Deferred: Connection refused by mx.c.test.\n550 5.1.2 <d@e.test>... Host unknown",
        );
        let found: Vec<String> = session
            .conclusions()
            .map(|(a, said)| format!("{a}: {said}"))
            .collect();
        let expected = [
            "a@h.test: 550 Host unknown (Authoritative)",
            "b@c.test: Deferred: Connection refused by mx.c.test.",
            "d@e.test: 550 5.1.2 <d@e.test>... Host unknown",
        ];
        assert_eq!(found, expected);
    }
}
