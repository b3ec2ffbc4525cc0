//! Authentication of reports: whether a bounce or a complaint was written by a mail system of its author's domain, by
//! DKIM (RFC 6376), ARC (RFC 8617) or SPF (RFC 7208), aligned with the author as in DMARC (RFC 7489). The verifying is
//! mail-auth's, the names and keys come through the one resolver of [`super::dns`].
//!
//! It never refuses anything and never takes longer than `[authentication] timeout`: DNS that does not answer in time
//! makes a report [`Flaw::Unsure`]. What needs no look-up has none: mail without a signature, by people, or signed by
//! others than its author's domain, is told at once.
//!
//! Stricter than a receiver of mail would be, because this lets strangers take addresses off our lists: SHA-1 (RFC
//! 8301), a part of the body (`l=`), signatures older than mail may be, and fields that stand outside the signature
//! ([`crate::mail::signed`]) prove nothing.

use super::dns::Dns;
use super::keeper::Bench;
use crate::clock;
use crate::config::Authentication as Settings;
use crate::engine::alignment::{aligned, is_daemon, organizational};
use crate::mail::address::Address;
use crate::mail::attested::Attested;
use crate::mail::authentication_results::Results;
use crate::mail::author::author;
use crate::mail::dsn;
use crate::mail::event::{Authentication, Event, Flaw, Means};
use crate::mail::signed::{only, signed};
use jiff::{SignedDuration, Timestamp};
use mail_auth::common::crypto::Algorithm;
use mail_auth::spf::verify::SpfParameters;
use mail_auth::{AuthenticatedMessage, DkimResult, MessageAuthenticator, Parameters, SpfResult};
use parking_lot::RwLock;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tracing::debug;

/// The most signatures of the author's domain that are looked at. Honest mail has one or two (RSA and Ed25519); each
/// costs a look-up, and a stranger may write any number.
const SIGNATURES: usize = 4;
/// The longest header that is looked at, in octets, and the most names in one `h=`: what a signature covers is found by
/// going through the header once for each name.
const HEADER: usize = 256 * 1024;
const NAMES: usize = 128;
/// How old a signature may be. Queues give up after five days; what is older was kept, and tells how it was then.
const OLDEST: SignedDuration = SignedDuration::from_hours(14 * 24);
/// How far ahead another's clock may be.
const AHEAD: SignedDuration = SignedDuration::from_hours(24);

/// Who handed a mail over, for SPF: only whoever has the connection knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Its address.
    pub ip: IpAddr,
    /// How it greeted us (HELO or EHLO).
    pub helo: String,
    /// The envelope sender; empty is the null sender.
    pub sender: String,
    /// Our own name, for what `%{r}` stands for in a record.
    pub host: String,
}

/// Verifies reports.
pub struct Authenticator {
    dns: Dns,
    verifier: MessageAuthenticator,
    /// Half of the look-ups at most, so that others have their turn when a stranger's DNS is slow.
    places: Semaphore,
    timeout: Duration,
    trusted_sealers: Vec<String>,
    bench: Arc<RwLock<Arc<Bench>>>,
}

impl std::fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authenticator")
            .field("dns", &self.dns)
            .field("timeout", &self.timeout)
            .field("trusted_sealers", &self.trusted_sealers)
            .finish_non_exhaustive()
    }
}

/// Why nothing is proved, or what is, with the message that the proof is about.
type Proved = Result<(Means, Vec<u8>), Flaw>;

impl Authenticator {
    /// Verifies through that resolver; the bench has the feedback loops that are known.
    #[must_use]
    pub fn new(dns: Dns, settings: &Settings, bench: Arc<RwLock<Arc<Bench>>>) -> Self {
        Self {
            verifier: MessageAuthenticator(dns.resolver()),
            places: Semaphore::new(dns.parallel().div_ceil(2)),
            timeout: settings.timeout.0,
            trusted_sealers: settings.trusted_sealers.clone(),
            bench,
            dns,
        }
    }

    /// Tells each event of a message what the message proves about it. Those of our own MTA need no proof.
    pub async fn authenticate(&self, events: &mut [Event], message: &[u8], client: Option<&Client>) {
        if events.iter().all(|event| event.own) {
            return;
        }
        let (authentication, vouched) = self.prove(message, client).await;
        let attested = vouched.as_deref().map(Attested::of).unwrap_or_default();
        for event in events.iter_mut().filter(|event| !event.own) {
            let is_said = vouched.is_none() || attested.says(event);
            event.authentication = match is_said {
                true => authentication.clone(),
                false => Authentication::Failed(Flaw::Inferred),
            };
        }
    }

    /// What a message proves about its author. Of what it says, only what is signed is proved:
    /// [`authenticate`](Self::authenticate) tells.
    pub async fn verify(&self, message: &[u8], client: Option<&Client>) -> Authentication {
        self.prove(message, client).await.0
    }

    async fn prove(&self, message: &[u8], client: Option<&Client>) -> (Authentication, Option<Vec<u8>>) {
        let failed = |flaw| (Authentication::Failed(flaw), None);
        let Some(mail) = parse(message) else {
            return failed(Flaw::Broken);
        };
        let is_signed = !mail.dkim_headers.is_empty() || !mail.as_headers.is_empty();
        if !is_signed && !mail.has_dkim_errors && !mail.has_arc_errors && client.is_none() {
            return failed(Flaw::Unsigned);
        }
        let Some(author) = only(&mail.headers, "From").and_then(author) else {
            return failed(Flaw::NoAuthor);
        };
        if organizational(author.domain()).is_none() {
            return failed(Flaw::NoAuthor);
        }
        if !is_daemon(author.local()) && !self.bench.read().providers.sends_complaints(&author) {
            return failed(Flaw::NoDaemon);
        }
        let asked = async {
            let _turn = self.places.acquire().await.ok();
            let _place = self.dns.place().await;
            self.ask(mail, message, &author, client).await
        };
        match tokio::time::timeout(self.timeout, asked)
            .await
            .unwrap_or(Err(Flaw::Unsure))
        {
            Ok((means, vouched)) => {
                let domain = author.domain().into();
                (Authentication::Passed { means, domain }, Some(vouched))
            }
            Err(flaw) => {
                debug!(author = %author, flaw = flaw.name(), "a report proves nothing by itself");
                failed(flaw)
            }
        }
    }

    /// One after the other: there is never more than one look-up under way.
    async fn ask(
        &self,
        mut mail: AuthenticatedMessage<'_>,
        message: &[u8],
        author: &Address,
        client: Option<&Client>,
    ) -> Proved {
        let now = clock::now();
        let mut flaw = match self.dkim(&mut mail, message, author, now).await {
            Ok(proved) => return Ok(proved),
            Err(flaw) => flaw,
        };
        match self.arc(&mail, message, author, now).await {
            Ok(proved) => return Ok(proved),
            Err(other) => flaw = more_telling(flaw, other),
        }
        if let Some(client) = client {
            match self.spf(client, author).await {
                Ok(()) => return Ok((Means::Spf, message.to_vec())),
                Err(other) => flaw = more_telling(flaw, other),
            }
        }
        Err(flaw)
    }

    async fn dkim(
        &self,
        mail: &mut AuthenticatedMessage<'_>,
        message: &[u8],
        author: &Address,
        now: Timestamp,
    ) -> Proved {
        if mail.dkim_headers.is_empty() {
            return Err(if mail.has_dkim_errors {
                Flaw::Broken
            } else {
                Flaw::Unsigned
            });
        }
        mail.dkim_headers
            .retain(|field| aligned(author.domain(), &field.header.d));
        if mail.dkim_headers.is_empty() {
            return Err(Flaw::Unaligned);
        }
        let fresh = |t| is_fresh(t, &mail.headers, now);
        let mut usable = std::mem::take(&mut mail.dkim_headers);
        usable.retain(|field| {
            let signature = &field.header;
            signature.a != Algorithm::RsaSha1 && signature.h.len() <= NAMES && fresh(signature.t)
        });
        usable.truncate(SIGNATURES);
        for field in &mut usable {
            // What they ask for beyond a verdict costs look-ups: reports on failures, other domains' signatures.
            field.header.r = false;
            field.header.atps = None;
        }
        mail.dkim_headers = usable;
        mail.errors.clear();
        let mut flaw = Flaw::Broken;
        for output in self.verifier.verify_dkim(&*mail).await {
            match (output.result(), output.signature()) {
                (DkimResult::Pass, Some(signature)) => {
                    match signed(&mail.headers, body(mail, message), &signature.h) {
                        Ok(vouched) => return Ok((Means::Dkim, vouched)),
                        Err(error) => {
                            debug!(%error, domain = signature.d, "a signature leaves the report open")
                        }
                    }
                }
                (DkimResult::TempError(_), _) => flaw = Flaw::Unsure,
                _ => {}
            }
        }
        Err(flaw)
    }

    /// The chain must hold, and whoever sealed it last must be trusted and have seen the author's signature hold: what
    /// it changed afterwards is its responsibility. What others before it say, it has passed on, and did not find.
    async fn arc(
        &self,
        mail: &AuthenticatedMessage<'_>,
        message: &[u8],
        author: &Address,
        now: Timestamp,
    ) -> Proved {
        if mail.has_arc_errors {
            return Err(Flaw::Broken);
        }
        let (Some(seal), Some(signature), Some(results)) = (
            mail.as_headers.last(),
            mail.ams_headers.last(),
            mail.aar_headers.last(),
        ) else {
            return Err(Flaw::Unsigned);
        };
        let said = std::str::from_utf8(results.value)
            .ok()
            .and_then(|text| Results::parse(text).ok());
        let Some(said) = said.filter(|said| said.instance == Some(seal.header.i)) else {
            return Err(Flaw::Broken);
        };
        if !said.dkim_passed().any(|domain| aligned(author.domain(), domain)) {
            return Err(Flaw::Unaligned);
        }
        if !self.trusts(&seal.header.d) || !self.trusts(&signature.header.d) {
            return Err(Flaw::UnknownSealer);
        }
        let is_weak = [seal.header.a, signature.header.a].contains(&Algorithm::RsaSha1);
        let is_usable = !is_weak && signature.header.h.len() <= NAMES;
        if !is_usable || !is_fresh(signature.header.t, &mail.headers, now) {
            return Err(Flaw::Broken);
        }
        match self.verifier.verify_arc(mail).await.result() {
            DkimResult::Pass => match signed(&mail.headers, body(mail, message), &signature.header.h) {
                Ok(vouched) => Ok((Means::Arc, vouched)),
                Err(_) => Err(Flaw::Broken),
            },
            DkimResult::TempError(_) => Err(Flaw::Unsure),
            _ => Err(Flaw::Broken),
        }
    }

    /// A sealer, or a name below its own.
    fn trusts(&self, sealer: &str) -> bool {
        let sealer = sealer.trim_end_matches('.');
        self.trusted_sealers.iter().any(|trusted| {
            let rest = sealer
                .len()
                .checked_sub(trusted.len())
                .and_then(|at| sealer.split_at_checked(at));
            rest.is_some_and(|(below, end)| {
                end.eq_ignore_ascii_case(trusted) && (below.is_empty() || below.ends_with('.'))
            })
        })
    }

    /// Of the domain in the envelope, or that the client greets with where there is none (RFC 7208 §2.4).
    async fn spf(&self, client: &Client, author: &Address) -> Result<(), Flaw> {
        let (host, helo) = (&client.host, &client.helo);
        let domain = client
            .sender
            .rsplit_once('@')
            .map_or(helo.as_str(), |(_, domain)| domain);
        if !aligned(author.domain(), domain) {
            return Err(Flaw::Unaligned);
        }
        let asked = match client.sender.contains('@') {
            true => SpfParameters::verify_mail_from(client.ip, helo, host, &client.sender),
            false => SpfParameters::verify_ehlo(client.ip, helo, host),
        };
        match self.verifier.verify_spf(Parameters::new(asked)).await.result() {
            SpfResult::Pass => Ok(()),
            SpfResult::TempError => Err(Flaw::Unsure),
            _ => Err(Flaw::Unaligned),
        }
    }
}

/// Takes a message apart; `None` where its header is too long to be a report's.
fn parse(message: &[u8]) -> Option<AuthenticatedMessage<'_>> {
    let end = memchr::memmem::find(message, b"\r\n\r\n").unwrap_or(message.len());
    if end > HEADER {
        return None;
    }
    AuthenticatedMessage::parse(message).filter(|mail| mail.body_offset as usize <= HEADER + 4)
}

fn body<'a>(mail: &AuthenticatedMessage<'_>, message: &'a [u8]) -> &'a [u8] {
    message.get(mail.body_offset as usize..).unwrap_or_default()
}

/// Whether a signature was made lately: by its own time (`t=`), or else by the Date, which it must cover.
fn is_fresh(time: u64, fields: &[(&[u8], &[u8])], now: Timestamp) -> bool {
    let own = i64::try_from(time).ok().filter(|&time| time > 0);
    let date = || {
        let value = only(fields, "Date").and_then(|value| std::str::from_utf8(value).ok())?;
        dsn::date(value.trim())
    };
    let made = own
        .and_then(|time| Timestamp::from_second(time).ok())
        .or_else(date);
    made.is_some_and(|made| {
        let age = now.duration_since(made);
        age <= OLDEST && age >= -AHEAD
    })
}

/// Which of two flaws tells an operator more of what could be put right.
fn more_telling(one: Flaw, other: Flaw) -> Flaw {
    let weight = |flaw: &Flaw| match flaw {
        Flaw::Unsure => 4,
        Flaw::UnknownSealer => 3,
        Flaw::Broken => 2,
        Flaw::Unaligned => 1,
        _ => 0,
    };
    [one, other].into_iter().max_by_key(weight).unwrap_or(one)
}
