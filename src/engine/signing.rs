//! Which mail leaves with a signed return path. A message has one envelope sender whoever its recipients are, so this is
//! decided for the message as a whole.
//!
//! Left alone is what has no return path of its own to sign (the null sender, RFC 5321 §4.5.5), what bears one that must
//! come back as it is (signed by us, SRS, BATV's `prvs=`, VERP), mailing lists (their bounces are theirs to read), and
//! what others sent and we only carry. Nothing here fails: what is not told is taken as an outsider's.

use super::gate::stream::matches;
use super::return_path::{ReturnPaths, Signing};
use super::token::{MessageMark, Sealing};
use super::trust::{Named, Signed, marks, sealed_key};
use crate::mail::address::{Address, LocalPart};
use crate::postfix::milter::session::{Transaction, bare};
use ipnet::IpNet;
use jiff::Timestamp;
use std::collections::HashSet;
use std::fmt;
use std::net::IpAddr;

/// What the operator decides about signing.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rule {
    /// Whose mail is ours.
    pub networks: Vec<IpNet>,
    /// Our own domains, in canonical form; mail for nobody else stays as it is.
    pub inside: Vec<String>,
    /// Senders that are left alone: patterns in lower case, with `*` for any characters.
    pub senders: Vec<String>,
    /// Header fields that leave a message alone.
    pub headers: Vec<String>,
    /// Listeners that are left alone, by port or name.
    pub listeners: Vec<String>,
}

/// Why a message keeps its envelope sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Why {
    /// It has the null sender.
    NullSender,
    /// Its sender cannot be read.
    Unreadable,
    /// It is signed already.
    Signed,
    /// It was forwarded under the sender rewriting scheme (`SRS0=`, `SRS1=`).
    Srs,
    /// Its sender bears a tag that its own system wants back (`prvs=`).
    Tagged,
    /// Its client asks for a return path for each recipient (`XVERP`).
    Verp,
    /// A sender that the operator leaves alone.
    Sender,
    /// A header field that does so: a mailing list's, as a rule.
    Header,
    /// A listener that the operator leaves alone.
    Listener,
    /// Nobody who sends through us handed it in.
    Outsider,
    /// All its recipients are our own.
    Inside,
}

/// What becomes of a message's envelope sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It is replaced. Whom the mail is for, each once.
    Sign(Vec<Address>),
    /// It stays.
    Leave(Why),
}

impl Why {
    /// Each of them.
    pub const ALL: [Self; 11] = [
        Self::NullSender,
        Self::Unreadable,
        Self::Signed,
        Self::Srs,
        Self::Tagged,
        Self::Verp,
        Self::Sender,
        Self::Header,
        Self::Listener,
        Self::Outsider,
        Self::Inside,
    ];

    /// Its name in metrics and in the log.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NullSender => "null_sender",
            Self::Unreadable => "unreadable",
            Self::Signed => "signed",
            Self::Srs => "srs",
            Self::Tagged => "tagged",
            Self::Verp => "verp",
            Self::Sender => "sender",
            Self::Header => "header",
            Self::Listener => "listener",
            Self::Outsider => "outsider",
            Self::Inside => "inside",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whether a message is signed. Its recipients are those that were let through, its content begins with its header.
#[must_use]
pub fn decide(mail: &Transaction, rule: &Rule, paths: &ReturnPaths) -> Decision {
    let by_envelope = || by_sender(&mail.sender, rule, paths).or_else(|| by_origin(mail, rule));
    let has_field = || rule.headers.iter().any(|name| has_field(&mail.content, name));
    if let Some(why) = by_envelope().or_else(|| has_field().then_some(Why::Header)) {
        return Decision::Leave(why);
    }
    let readable = |recipient: &Vec<u8>| Address::parse(std::str::from_utf8(bare(recipient).0).ok()?).ok();
    let mut addresses: Vec<Address> = mail.recipients.iter().filter_map(readable).collect();
    let ours = || rule.inside.iter().chain([&paths.domain]);
    let is_inside = |address: &Address| ours().any(|domain| domain == address.domain());
    if addresses.len() < mail.recipients.len() || addresses.is_empty() {
        return Decision::Leave(Why::Unreadable);
    }
    if addresses.iter().all(is_inside) {
        return Decision::Leave(Why::Inside);
    }
    let mut known = HashSet::new();
    addresses.retain(|address| known.insert(sealed_key(address)));
    Decision::Sign(addresses)
}

/// What the sender itself says against signing.
fn by_sender(sender: &[u8], rule: &Rule, paths: &ReturnPaths) -> Option<Why> {
    if sender.is_empty() {
        return Some(Why::NullSender);
    }
    let Ok(sender) = std::str::from_utf8(sender) else {
        return Some(Why::Unreadable);
    };
    if Address::parse(sender).is_err() {
        return Some(Why::Unreadable);
    }
    if paths.token_of(sender).is_some() {
        return Some(Why::Signed);
    }
    let lower = sender.to_lowercase();
    let begins = |mark: &str| {
        lower
            .strip_prefix(mark)
            .is_some_and(|rest| rest.starts_with(['=', '+', '-']))
    };
    if begins("srs0") || begins("srs1") {
        Some(Why::Srs)
    } else if begins("prvs") {
        Some(Why::Tagged)
    } else if rule.senders.iter().any(|pattern| matches(pattern, &lower)) {
        Some(Why::Sender)
    } else {
        None
    }
}

/// What the way by which it came says against it.
fn by_origin(mail: &Transaction, rule: &Rule) -> Option<Why> {
    let is_verp = |parameter: &Vec<u8>| {
        let name = parameter.split(|&octet| octet == b'=').next().unwrap_or_default();
        name.eq_ignore_ascii_case(b"XVERP")
    };
    let is_listener = |name: &String| {
        let (name, known) = (name.as_bytes(), [&mail.port, &mail.daemon]);
        known.into_iter().any(|known| known.eq_ignore_ascii_case(name))
    };
    if mail.parameters.iter().any(is_verp) {
        Some(Why::Verp)
    } else if rule.listeners.iter().any(is_listener) {
        Some(Why::Listener)
    } else if mail.smtp && mail.user.is_empty() && !is_near(&mail.client, &rule.networks) {
        Some(Why::Outsider)
    } else {
        None
    }
}

/// Whether an address is in one of the networks.
#[must_use]
pub fn is_near(client: &[u8], networks: &[IpNet]) -> bool {
    let text = std::str::from_utf8(client).unwrap_or_default();
    let text = text.strip_prefix("IPv6:").unwrap_or(text);
    text.parse::<IpAddr>().is_ok_and(|ip| {
        networks
            .iter()
            .any(|network| network.contains(&ip.to_canonical()))
    })
}

/// Whether a header has a field of that name.
#[must_use]
pub fn has_field(content: &[u8], name: &str) -> bool {
    field(content, name).is_some()
}

/// The value of the first field of that name in a header, its first line.
fn field<'a>(content: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let lines = content
        .split(|&octet| octet == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    lines.take_while(|line| !line.is_empty()).find_map(|line| {
        let (its_name, value) = line.split_at(memchr::memchr(b':', line)?);
        let is_it = its_name.trim_ascii_end().eq_ignore_ascii_case(name.as_bytes());
        is_it.then(|| value[1..].trim_ascii())
    })
}

/// What is sealed into a message's return path, and when.
#[derive(Debug, Clone, Copy)]
pub struct Seal<'a> {
    /// A mark that was never used before.
    pub mark: MessageMark,
    /// The stream of the mail, `None` where streams are not told apart.
    pub stream: Option<&'a str>,
    /// How local parts compare.
    pub local_part: LocalPart,
    /// Now.
    pub now: Timestamp,
}

/// The signed return path of a message that goes to these recipients, and what is to be remembered of it. `None` is what
/// keys that seal and do not open would give.
#[must_use]
pub fn sign(
    signing: &Signing,
    mail: &Transaction,
    recipients: &[Address],
    seal: &Seal<'_>,
) -> Option<(String, Signed)> {
    let alone = match recipients {
        [alone] => Some(sealed_key(alone)),
        _ => None,
    };
    let sealing = Sealing {
        message: seal.mark,
        recipient: alone.as_ref(),
        stream: seal.stream,
    };
    let Signing { keyring, paths } = signing;
    let token = keyring.seal(&sealing, seal.now);
    let identity = keyring.open(&token, paths.lifetime, seal.now).ok()?.identity();
    let sender = String::from_utf8_lossy(&mail.sender);
    let path = paths.path(&sender, &token);
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    let message_id = field(&mail.content, "Message-ID").map(text);
    let message_id = message_id
        .as_deref()
        .map(|id| id.trim_start_matches('<').trim_end_matches('>'));
    let queue_id = text(&mail.queue_id);
    let envelope_id = envelope_id(&mail.parameters);
    let named = Named {
        message_id: message_id.filter(|id| !id.is_empty()),
        queue_id: Some(queue_id.as_str()).filter(|id| !id.is_empty()),
        envelope_id: envelope_id.as_deref(),
        identity: Some(&identity),
    };
    let signed = Signed {
        identity,
        mailed: recipients
            .iter()
            .map(|address| address.key(seal.local_part))
            .collect(),
        sender: sender.into_owned(),
        at: seal.now,
        marks: recipients
            .iter()
            .flat_map(|address| marks(&named, address))
            .collect(),
    };
    Some((path, signed))
}

/// The envelope id that the application gave (`ENVID=`, RFC 3461 §4.4), as a report gives it back: without the escapes of
/// xtext (§4).
fn envelope_id(parameters: &[Vec<u8>]) -> Option<String> {
    let id = parameters.iter().find_map(|parameter| {
        let (name, value) = parameter.split_at_checked(b"ENVID=".len())?;
        name.eq_ignore_ascii_case(b"ENVID=").then_some(value)
    })?;
    let mut decoded = Vec::with_capacity(id.len());
    let mut rest = id;
    while let Some((&octet, after)) = rest.split_first() {
        let is_escape = |hex: &&[u8; 2]| octet == b'+' && hex.iter().all(u8::is_ascii_hexdigit);
        let escaped = after.first_chunk::<2>().filter(is_escape);
        let value = escaped.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        decoded.push(value.unwrap_or(octet));
        rest = if value.is_some() { &after[2..] } else { after };
    }
    String::from_utf8(decoded).ok().filter(|id| !id.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::return_path::Style;
    use crate::engine::token::Keyring;

    const TOKEN: &str = "abcdefghijklmnopqrstuvwxyz234567abcdefgh";

    fn signing() -> Signing {
        let keys = "1 BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
        Signing {
            keyring: Keyring::parse(&keys.into()).unwrap(),
            paths: ReturnPaths {
                local: "b".into(),
                delimiter: '+',
                domain: "bounces.example.org".into(),
                style: Style::Replace,
                lifetime: 14,
            },
        }
    }

    fn rule() -> Rule {
        Rule {
            networks: vec!["127.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
            inside: vec!["app.example".into()],
            senders: vec!["*-bounces@lists.example".into()],
            headers: vec!["List-Id".into()],
            listeners: vec!["10025".into(), "inbound".into()],
        }
    }

    fn mail() -> Transaction {
        Transaction {
            sender: b"news@app.example".to_vec(),
            smtp: true,
            client: b"127.0.0.1".to_vec(),
            port: b"25".to_vec(),
            daemon: b"mx.app.example".to_vec(),
            queue_id: b"Q1".to_vec(),
            recipients: vec![b"<ann@small.example>".to_vec(), b"<bob@app.example>".to_vec()],
            content: b"Subject: x\r\nMessage-ID:\r\n <1@app.example>\r\n\r\nList-Id: in the body\r\n"
                .to_vec(),
            ..Transaction::default()
        }
    }

    fn decided(change: impl FnOnce(&mut Transaction)) -> Result<usize, Why> {
        let mut mail = mail();
        change(&mut mail);
        match decide(&mail, &rule(), &signing().paths) {
            Decision::Sign(recipients) => Ok(recipients.len()),
            Decision::Leave(why) => Err(why),
        }
    }

    #[test]
    fn what_must_come_back_as_it_is_is_left_alone() {
        let sender = |text: &str| decided(|mail| mail.sender = text.as_bytes().to_vec());
        assert_eq!(sender("news@app.example"), Ok(2));
        for (text, why) in [
            ("", Why::NullSender),
            ("no address", Why::Unreadable),
            (&format!("b+{TOKEN}@bounces.example.org"), Why::Signed),
            ("SRS0=HHH=TT=x.example=ann@fwd.example", Why::Srs),
            ("srs1+HHH=x.example==HHH@fwd.example", Why::Srs),
            ("prvs=1234567890=ann@app.example", Why::Tagged),
            ("News-Bounces@lists.example", Why::Sender),
        ] {
            assert_eq!(sender(text), Err(why), "{text}");
        }
        assert_eq!(sender("srs0ann@app.example"), Ok(2), "a name that only begins so");
        let parameters = |given: &[&str]| {
            decided(|mail| mail.parameters = given.iter().map(|p| p.as_bytes().to_vec()).collect())
        };
        assert_eq!(parameters(&["SIZE=10", "BODY=8BITMIME"]), Ok(2));
        assert_eq!(parameters(&["SIZE=10", "xverp"]), Err(Why::Verp));
        assert_eq!(parameters(&["XVERP=+="]), Err(Why::Verp));
        let with = |content: &str| decided(|mail| mail.content = content.as_bytes().to_vec());
        assert_eq!(with("Subject: x\r\nlist-id : <a>\r\n\r\n"), Err(Why::Header));
        assert_eq!(with("Subject: x\r\n List-Id: folded\r\n\r\n"), Ok(2));
    }

    #[test]
    fn only_our_own_mail_is_signed() {
        let from = |client: &str, user: &str| {
            decided(|mail| {
                mail.client = client.into();
                mail.user = user.into();
            })
        };
        assert_eq!(from("2001:db8::7", ""), Ok(2));
        assert_eq!(from("::ffff:127.0.0.1", ""), Ok(2));
        assert_eq!(from("192.0.2.1", "app"), Ok(2));
        for stranger in ["192.0.2.1", "unknown", ""] {
            assert_eq!(from(stranger, ""), Err(Why::Outsider), "{stranger}");
        }
        let by_sendmail = |mail: &mut Transaction| {
            mail.client.clear();
            mail.smtp = false;
        };
        assert_eq!(decided(by_sendmail), Ok(2));
        assert_eq!(decided(|mail| mail.port = b"10025".to_vec()), Err(Why::Listener));
        assert_eq!(
            decided(|mail| mail.daemon = b"INBOUND".to_vec()),
            Err(Why::Listener)
        );
    }

    #[test]
    fn mail_for_nobody_else_is_left_alone() {
        let to = |recipients: &[&str]| {
            decided(|mail| mail.recipients = recipients.iter().map(|r| r.as_bytes().to_vec()).collect())
        };
        assert_eq!(
            to(&["bob@app.example", "<b@bounces.example.org>"]),
            Err(Why::Inside)
        );
        assert_eq!(
            to(&["<Ann@Small.Example>", "ann@small.example"]),
            Ok(1),
            "one mailbox"
        );
        assert_eq!(to(&["ann@small.example", "nonsense"]), Err(Why::Unreadable));
        assert_eq!(to(&[]), Err(Why::Unreadable));
    }

    #[test]
    fn what_is_signed_is_remembered_as_its_token_says() {
        let (signing, mail) = (signing(), mail());
        let now = Timestamp::from_second(1_795_000_000).unwrap();
        let seal = Seal {
            mark: *b"nonce!",
            stream: None,
            local_part: LocalPart::Keep,
            now,
        };
        let ann = Address::parse("Ann@small.example").unwrap();
        let bob = Address::parse("bob@app.example").unwrap();
        let (path, signed) = sign(&signing, &mail, std::slice::from_ref(&ann), &seal).unwrap();
        let token = signing.open(&path, now).unwrap().unwrap();
        assert_eq!(token.identity(), signed.identity);
        assert_eq!(signing.keyring.is_for(&token, &sealed_key(&ann)), Some(true));
        assert_eq!(
            (signed.sender.as_str(), signed.mailed[0].as_str()),
            ("news@app.example", "Ann@small.example")
        );
        let named = Named {
            queue_id: Some("Q1"),
            ..Named::default()
        };
        assert!(signed.marks.contains(&marks(&named, &ann)[0]));
        let (path, signed) = sign(&signing, &mail, &[ann, bob], &seal).unwrap();
        assert!(signing.open(&path, now).unwrap().unwrap().is_to_several());
        assert_eq!((signed.mailed.len(), signed.marks.len() % 2), (2, 0));
    }

    #[test]
    fn envelope_ids_are_as_reports_give_them_back() {
        for (parameter, expected) in [
            ("ENVID=QQ314159", Some("QQ314159")),
            ("envid=a+2Bb+3Dc+20d", Some("a+b=c d")),
            ("ENVID=a+", Some("a+")),
            ("ENVID=a+zz", Some("a+zz")),
            ("ENVID=a++4", Some("a++4")),
            ("ENVID=", None),
            ("SIZE=10", None),
        ] {
            let given = [b"BODY=8BITMIME".to_vec(), parameter.as_bytes().to_vec()];
            assert_eq!(envelope_id(&given).as_deref(), expected, "{parameter}");
        }
    }
}
