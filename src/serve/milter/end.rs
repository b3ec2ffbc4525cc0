//! The end of a message: what is removed, signed and read, and what is answered.

use super::super::hook::journal::{Line, Trouble};
use super::count::count;
use super::{OnFailure, Removed, Rulings, Shared};
use crate::clock;
use crate::engine::signing::{self, Decision, Seal};
use crate::engine::token::MessageMark;
use crate::engine::trust::Signed;
use crate::mail::address::Address;
use crate::postfix::milter::Reply;
use crate::postfix::milter::session::{Transaction, bare};
use crate::serve::keeper::Intake;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How long our part of a message may take: Postfix waits 300 s (`milter_content_timeout`).
const PATIENCE: Duration = Duration::from_secs(60);

/// Why our part of a message failed.
pub(super) type Failure = String;

/// What is to be changed of a message.
#[derive(Debug, Default)]
pub(super) struct Changes {
    sender: Option<String>,
    added: Vec<String>,
    /// As the MTA spelled them.
    removed: Vec<Vec<u8>>,
}

impl Shared {
    /// Whether a message is read on account of this recipient, or of its sender.
    pub(super) fn is_read(&self, mail: &Transaction, recipient: &[u8], rulings: &Rulings) -> bool {
        self.settings.purpose.read && (mail.sender.is_empty() || rulings.is_for_bounces(recipient))
    }

    /// Does our part of a message, and gives the changes and the answer.
    pub(super) async fn finish(&self, mail: Transaction) -> Vec<Reply> {
        let (mail, rulings) = (Arc::new(mail), self.rulings.load_full());
        self.tell_removed(&mail);
        let done = timeout(PATIENCE, self.work(&mail, &rulings)).await;
        match done.unwrap_or_else(|_| Err(format!("nothing came of it in {PATIENCE:?}"))) {
            Ok(changes) => changes.replies(&mail),
            Err(why) => self.failed(&mail, rulings.on_failure, &why),
        }
    }

    /// The answer where our part failed. What is suppressed is removed all the same.
    fn failed(&self, mail: &Transaction, on_failure: OnFailure, why: &str) -> Vec<Reply> {
        count(&self.counters.failures);
        let queue_id = String::from_utf8_lossy(&mail.queue_id);
        self.trouble(Trouble::Failed, None, format!("{queue_id}: {why}"));
        match on_failure {
            OnFailure::Tempfail => vec![Reply::TempFail],
            OnFailure::Accept => Changes::of(mail).replies(mail),
        }
    }

    async fn work(&self, mail: &Arc<Transaction>, rulings: &Arc<Rulings>) -> Result<Changes, Failure> {
        let mut changes = Changes::of(mail);
        if self.is_report(mail, rulings) {
            self.read(mail, rulings, &mut changes).await?;
        }
        if self.settings.purpose.sign && !mail.recipients.is_empty() {
            changes.sender = self.sign(mail, rulings).await?;
        }
        Ok(changes)
    }

    /// Tells of the recipients that do not get the message.
    fn tell_removed(&self, mail: &Transaction) {
        if mail.refused.is_empty() {
            return;
        }
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        let mut recipients = Vec::new();
        for refused in &mail.refused {
            let recipient = text(bare(&refused.recipient).0);
            self.journal.tell(Line::Removed {
                queue_id: text(&mail.queue_id),
                sender: text(&mail.sender),
                recipient: recipient.clone(),
                text: refused.text.clone(),
            });
            recipients.push((recipient, refused.text.clone()));
        }
        let removed = Removed {
            sender: mail.sender.clone(),
            recipients,
            queue_id: mail.queue_id.clone(),
            header: mail.content.clone(),
        };
        if let Some(teller) = &self.removed
            && teller.try_send(removed).is_err()
        {
            let detail = format!(
                "{}: too many notices wait, the sender is not told",
                text(&mail.queue_id)
            );
            self.trouble(Trouble::Failed, None, detail);
        }
    }

    /// Signs a message, where that is to be. A message to several is remembered before it leaves, for its token cannot
    /// tell them apart; that to one proves itself, and is remembered beside.
    async fn sign(&self, mail: &Transaction, rulings: &Rulings) -> Result<Option<String>, Failure> {
        let Some(signing) = &rulings.signing else {
            return Ok(None);
        };
        let recipients = match signing::decide(mail, &rulings.rule, &signing.paths) {
            Decision::Sign(recipients) => recipients,
            Decision::Leave(why) => {
                self.counters.left(why);
                return Ok(None);
            }
        };
        let mut mark = MessageMark::default();
        getrandom::fill(&mut mark).map_err(|error| format!("no random octets: {error}"))?;
        let answers = &rulings.answers;
        let streams = &answers.streams;
        let text = |octets| String::from_utf8_lossy(octets);
        let stream = streams.of(&text(&mail.sender), &text(&mail.user));
        let seal = Seal {
            mark,
            stream: streams.is_told_apart().then(|| streams.name_of(stream)),
            local_part: answers.local_part,
            now: clock::now(),
        };
        let signed = signing::sign(signing, mail, &recipients, &seal);
        let (path, signed) = signed.ok_or("a token that does not open")?;
        self.remember(signed, &recipients).await?;
        count(&self.counters.signed);
        Ok(Some(path))
    }

    async fn remember(&self, signed: Signed, recipients: &[Address]) -> Result<(), Failure> {
        if recipients.len() > 1 {
            let intake = Intake {
                signed: vec![signed],
                ..Intake::default()
            };
            return self.keeper.keep(intake).await.map_err(|error| error.to_string());
        }
        // Without this a bounce is signed all the same; only the application's return path is not known.
        self.behind.remember(signed);
        Ok(())
    }
}

impl Rulings {
    /// Whether an address is one for bounces: of such a domain, or with a token.
    pub(super) fn is_for_bounces(&self, recipient: &[u8]) -> bool {
        let Ok(text) = std::str::from_utf8(bare(recipient).0) else {
            return false;
        };
        let paths = self.signing.as_ref().map(|signing| &signing.paths);
        let domain = text.rsplit_once('@').map_or("", |(_, domain)| domain);
        let domain = crate::mail::address::canonical_domain(domain).unwrap_or_default();
        let is_ours = self.domains.contains(&domain);
        is_ours || paths.is_some_and(|paths| paths.domain == domain || paths.token_of(text).is_some())
    }
}

impl Changes {
    /// Those that are made whatever else happens: who could not be refused goes.
    fn of(mail: &Transaction) -> Self {
        Self {
            removed: mail
                .refused
                .iter()
                .map(|refused| refused.recipient.clone())
                .collect(),
            ..Self::default()
        }
    }

    /// A recipient is not to have the message.
    pub(super) fn remove(&mut self, recipient: Vec<u8>) {
        self.removed.push(recipient);
    }

    /// Somebody else is to have it, once.
    pub(super) fn add(&mut self, address: &str) {
        let address = format!("<{address}>");
        if !self.added.contains(&address) {
            self.added.push(address);
        }
    }

    /// What is said: a message that is for nobody any more goes nowhere.
    fn replies(self, mail: &Transaction) -> Vec<Reply> {
        let before = mail.recipients.len() + mail.refused.len();
        let is_for_nobody = self.added.is_empty() && !self.removed.is_empty();
        if is_for_nobody && self.removed.len() >= before {
            return vec![Reply::Discard];
        }
        let sender = self.sender.into_iter().map(Reply::ChangeSender);
        let added = self.added.into_iter().map(Reply::AddRcpt);
        let removed = self.removed.into_iter().map(Reply::DeleteRcpt);
        sender
            .chain(added)
            .chain(removed)
            .chain([Reply::Accept])
            .collect()
    }
}
