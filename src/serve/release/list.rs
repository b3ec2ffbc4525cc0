//! Lists Postfix's queue, for what waits that the log did not tell of.
//!
//! On failure (Postfix is down, a line cannot be read) nothing is dropped from the backlog, and the queue is listed
//! again soon.

use super::{AGAIN, Bell, Home};
use crate::clock;
use crate::engine::classify;
use crate::engine::decide::Record;
use crate::engine::gate::{self, Deferred};
use crate::engine::memory::Memory;
use crate::mail::address::Address;
use crate::mail::event::{Authentication, Event, EventId, Evidence, Outcome, Relay, Source};
use crate::mail::formats::postfix::parse_reason;
use crate::postfix::queue::Queued;
use crate::serve::keeper::Bench;
use anyhow::{Context as _, bail};
use jiff::Timestamp;
use parking_lot::RwLock;
use std::collections::HashSet;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tracing::{debug, info, warn};

/// How often the queue is listed.
const LISTING: Duration = Duration::from_secs(3600);
/// How long listing the queue may take without a line.
const LISTING_PATIENCE: Duration = Duration::from_secs(120);

/// Lists the queue when the log may not have told all.
#[derive(Debug)]
pub(super) struct Lister {
    pub home: Home,
    pub memory: Arc<Memory>,
    pub bench: Arc<RwLock<Arc<Bench>>>,
    pub bell: Bell,
}

impl Lister {
    /// Lists at once, and then again and again.
    pub async fn run(self) {
        let mut said = String::new();
        let mut rest = AGAIN.0;
        loop {
            let pause = match self.list().await {
                Ok((waiting, dropped)) => {
                    said.clear();
                    rest = AGAIN.0;
                    info!(waiting, dropped, "the queue was listed");
                    self.bell.ring();
                    LISTING
                }
                Err(error) => {
                    let why = format!("{error:#}");
                    if said != why {
                        warn!("the queue cannot be listed: {why}");
                        said = why;
                    }
                    rest = (rest * 2).min(AGAIN.1);
                    rest
                }
            };
            self.memory.gate().sweep(clock::now());
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.bell.listing.notified(), if pause == LISTING => {}
            }
        }
    }

    /// Reads the queue; how many recipients wait for their lanes, and how many messages have gone.
    async fn list(&self) -> anyhow::Result<(usize, usize)> {
        let began = clock::now();
        let mut child = self
            .home
            .command("postqueue")
            .arg("-j")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("postqueue -j")?;
        let stdout = child.stdout.take().context("postqueue -j has no output")?;
        let mut lines = BufReader::new(stdout).split(b'\n');
        let mut queued: HashSet<Box<str>> = HashSet::new();
        let (mut waiting, mut unread) = (0, 0);
        loop {
            let line = tokio::time::timeout(LISTING_PATIENCE, lines.next_segment()).await;
            let Some(line) = line.context("postqueue -j is silent")?? else {
                break;
            };
            match Queued::parse(&line) {
                Ok(message) => {
                    waiting += self.take(&message);
                    queued.insert(message.id.into());
                }
                Err(error) => {
                    unread += 1;
                    debug!(%error, "a line of postqueue -j");
                }
            }
        }
        let ended = child.wait_with_output().await?;
        if !ended.status.success() {
            let said = String::from_utf8_lossy(&ended.stderr);
            bail!(
                "postqueue -j: {}",
                said.trim().lines().next_back().unwrap_or("failed")
            );
        }
        if unread > 0 {
            // Messages may be missing: nothing is dropped for it.
            warn!(unread, "lines of postqueue -j could not be read");
            return Ok((waiting, 0));
        }
        let dropped = self.memory.gate().reconcile(&queued, began, clock::now());
        Ok((waiting, dropped))
    }

    /// Takes the recipients of a message that wait for their lane; how many.
    fn take(&self, message: &Queued) -> usize {
        if message.queue != "deferred" {
            return 0;
        }
        let bench = self.bench.read().clone();
        let mut waiting = 0;
        for recipient in &message.recipients {
            let Ok(address) = Address::parse(&recipient.address) else {
                continue;
            };
            let now = clock::now();
            let record = judged(message, &address, &recipient.delay_reason, &bench, now);
            if !gate::waits(&record) {
                continue;
            }
            let mut provider = self.memory.provider_at(address.domain(), now);
            if let (None, Some(lane)) = (&provider, &record.lane) {
                self.memory.set_provider(address.domain(), &lane.provider, now);
                provider = self.memory.provider_at(address.domain(), now);
            }
            let deferred = Deferred {
                queue_id: &message.id,
                sender: &message.sender,
                stream: record.stream.as_deref(),
                recipient: &address,
                since: message.arrived,
            };
            waiting += usize::from(self.memory.gate().enter(&deferred, provider.as_deref(), now));
        }
        waiting
    }
}

/// What the log would have said of a recipient that waits for this reason.
fn judged(message: &Queued, address: &Address, reason: &str, bench: &Bench, now: Timestamp) -> Record {
    let reason = parse_reason(reason);
    let ours = reason.reply.text.starts_with(gate::OURS);
    let event = Event {
        id: EventId::new(message.arrived, &[b"queue", message.id.as_bytes()]),
        at: message.arrived,
        source: Source::Log,
        outcome: Outcome::Deferred,
        evidence: if reason.suspended || ours {
            Evidence::Repeat
        } else {
            Evidence::Fresh
        },
        recipient: address.clone(),
        original_recipient: None,
        sender: Some(message.sender.clone()),
        // The queue does not tell.
        sasl_username: None,
        queue_id: Some(message.id.clone()),
        message_id: None,
        envelope_id: None,
        command: reason.answered(),
        relay: reason.host.map(|host| Relay {
            host: host.to_ascii_lowercase(),
            ip: reason.ip,
            port: reason.port,
        }),
        reply: reason.reply,
        reported_status: None,
        reporting_mta: None,
        return_path: None,
        own: true,
        authentication: Authentication::Untried,
    };
    let (verdict, lane) = classify::judge(&bench.rules, &bench.providers, &bench.egress, &event);
    Record {
        stream: bench.stream_of(&event, now),
        ..Record::new(event, verdict, lane, bench.policy.local_part)
    }
}
