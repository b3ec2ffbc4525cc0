//! Messages that are read on their way through: bounces and complaints become events, and go where the operator says.
//!
//! They are parsed and authenticated on the daemon's own threads, a few at a time, and answered after the commit. A
//! message that proves nothing is kept and goes its way like any other: a refusal would make its MTA write to somebody
//! who never sent it.

use super::super::authenticate::{Authenticator, Client};
use super::super::behind::Behind;
use super::super::keeper::{self, Intake};
use super::super::reading::Mail;
use super::end::{Changes, Failure};
use super::{OnReport, Rulings, Shared};
use crate::clock;
use crate::engine::signing::{has_field, is_near};
use crate::engine::trust::sealed_key;
use crate::mail::event::{Authentication, Event, Source};
use crate::postfix::milter::session::{Transaction, bare};
use crate::store::Store;
use crate::store::contract::SentTo;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::runtime::Handle;

/// What reads bounces.
#[derive(Debug, Clone)]
pub struct Reader {
    /// What keeps events.
    pub keeper: keeper::Handle,
    /// Where it is known whom signed messages went to.
    pub store: Store,
    /// Those that left a moment ago.
    pub behind: Behind,
    /// What verifies their authors, where anything does.
    pub authenticator: Option<Arc<Authenticator>>,
    /// Our own name.
    pub host: String,
    /// The threads that they are read on.
    pub runtime: Handle,
}

/// What was read of a message.
struct Read {
    intake: Intake,
    is_proven: bool,
    /// Addresses for bounces, and the return paths that the application had given.
    sent: Vec<(Vec<u8>, Option<String>)>,
}

impl Shared {
    /// Whether the end of this message is one of a message that is read. What our own MTA writes about mail that it
    /// could not deliver stands in its log already; such a notification has been nowhere yet.
    pub(super) fn is_report(&self, mail: &Transaction, rulings: &Rulings) -> bool {
        let is_notice = || !mail.smtp && !has_field(&mail.content, "Received");
        let is_read = |recipient: &Vec<u8>| self.is_read(mail, recipient, rulings);
        mail.recipients.iter().any(is_read) && !is_notice()
    }

    /// Reads a message, keeps what comes of it, and changes whom it goes to.
    pub(super) async fn read(
        &self,
        mail: &Arc<Transaction>,
        rulings: &Arc<Rulings>,
        changes: &mut Changes,
    ) -> Result<(), Failure> {
        let _place = self.reading.acquire().await.map_err(|error| error.to_string())?;
        let work = read(self.reader.clone(), Arc::clone(mail), Arc::clone(rulings));
        let read = self.reader.runtime.spawn(work).await;
        let read = read.map_err(|error| format!("reading it failed: {error}"))??;
        self.keeper
            .keep(read.intake)
            .await
            .map_err(|error| error.to_string())?;
        self.counters.read.fetch_add(1, Ordering::Relaxed);
        let proven = u64::from(read.is_proven);
        self.counters.proven.fetch_add(proven, Ordering::Relaxed);
        let fate = match read.is_proven {
            true => rulings.proven,
            false => rulings.unproven,
        };
        for (recipient, sender) in read.sent {
            match (fate, sender) {
                (OnReport::Discard, _) => changes.remove(recipient),
                (OnReport::Pass, Some(sender)) => {
                    changes.remove(recipient);
                    changes.add(&sender);
                }
                (OnReport::Accept, _) | (OnReport::Pass, None) => {}
            }
        }
        Ok(())
    }
}

/// Parses a message, authenticates it, and looks up whose return paths it came back to.
async fn read(reader: Reader, mail: Arc<Transaction>, rulings: Arc<Rulings>) -> Result<Read, Failure> {
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    let sender = text(&mail.sender);
    let ours = mail
        .recipients
        .iter()
        .filter(|recipient| rulings.is_for_bounces(recipient));
    let ours: Vec<Vec<u8>> = ours.cloned().collect();
    let paths: Vec<String> = ours.iter().map(|recipient| text(bare(recipient).0)).collect();
    let from = Mail {
        sender: &sender,
        recipients: &paths,
        content: &mail.content,
        source: Source::Milter,
    };
    let content = Arc::clone(&mail);
    let parsed = tokio::task::spawn_blocking(move || {
        let alone = Mail {
            sender: "",
            recipients: &[],
            content: &content.content,
            source: Source::Milter,
        };
        alone.parse()
    });
    let reading = parsed
        .await
        .map_err(|error| format!("parsing it failed: {error}"))?;
    let client = client(&mail, &rulings, &reader.host);
    let (keeper, authenticator) = (&reader.keeper, reader.authenticator.as_deref());
    let intake = from.lower(reading, keeper, authenticator, client.as_ref()).await;
    let intake = intake.map_err(|error| error.to_string())?;
    let mut is_proven = intake.events.iter().any(is_authenticated);
    let mut sent = Vec::new();
    for recipient in ours {
        let path = text(bare(&recipient).0);
        let (is_signed, original) = look_up(&reader, &rulings, &path, &intake.events).await?;
        is_proven |= is_signed;
        sent.push((recipient, original));
    }
    Ok(Read {
        intake,
        is_proven,
        sent,
    })
}

fn is_authenticated(event: &Event) -> bool {
    matches!(event.authentication, Authentication::Passed { .. })
}

/// Who handed it in, where that is somebody else.
fn client(mail: &Transaction, rulings: &Rulings, host: &str) -> Option<Client> {
    if !mail.smtp || is_near(&mail.client, &rulings.rule.networks) {
        return None;
    }
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    let ip = text(&mail.client);
    Some(Client {
        ip: ip.strip_prefix("IPv6:").unwrap_or(&ip).parse().ok()?,
        helo: text(&mail.helo),
        sender: text(&mail.sender),
        host: host.to_owned(),
    })
}

/// Whether a return path proves what one of the events says, and which return path the application had given.
async fn look_up(
    reader: &Reader,
    rulings: &Rulings,
    path: &str,
    events: &[Event],
) -> Result<(bool, Option<String>), Failure> {
    let Some(signing) = &rulings.signing else {
        return Ok((false, None));
    };
    let (keys, paths) = (&signing.keyring, &signing.paths);
    let untagged = paths.untagged(path);
    let opened = paths
        .token_of(path)
        .map(|token| keys.open(token, paths.lifetime, clock::now()));
    let Some(Ok(token)) = opened else {
        return Ok((false, untagged));
    };
    let is_for = |event: &Event| keys.is_for(&token, &sealed_key(event.mailed()));
    let says = events.iter().any(|event| is_for(event) == Some(true));
    if !token.is_to_several() && untagged.is_some() {
        return Ok((says, untagged));
    }
    reader.behind.caught_up().await;
    let known = reader
        .store
        .signed(&token.identity())
        .await
        .map_err(|error| error.to_string())?;
    let answers = &rulings.answers;
    let is_known = |event: &Event| {
        let key = answers.veil.over(event.mailed().key(answers.local_part));
        known.iter().any(|sent| sent.mailed == key)
    };
    let is_signed = match token.is_to_several() {
        true => events.iter().any(is_known),
        false => says,
    };
    Ok((is_signed, untagged.or_else(|| original(&known, rulings))))
}

/// The return path of a message that left, if it can be written to: behind a veil only its domain is known, and mail
/// must not come back here for ever.
fn original(known: &[SentTo], rulings: &Rulings) -> Option<String> {
    let sender = &known.first()?.sender;
    let is_whole = sender
        .rsplit_once('@')
        .is_some_and(|(local, _)| !local.is_empty());
    (is_whole && !rulings.is_for_bounces(sender.as_bytes())).then(|| sender.clone())
}
