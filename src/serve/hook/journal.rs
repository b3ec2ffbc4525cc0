//! The hooks' log lines, written by a thread of its own.
//!
//! Writing a log line can block (a full pipe, a stopped journald, a slow disk), and a hook must not.
//! So lines go through a bounded queue; what does not fit is counted instead, and the count is logged.
//! Trouble made from outside (malformed requests, time-outs) is told once in a while for each kind, with
//! the number of those left out.

use crate::clock;
use crate::engine::answer::Finding;
use crate::engine::suppression::Standing;
use parking_lot::{Condvar, Mutex};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

/// How many lines may wait: some 5 MB of them, and 160,000 a second at the pace of [`COLLECT`].
const QUEUE: usize = 16_384;

/// How many octets of texts may wait.
const MAX_TEXT: usize = 4 << 20;

/// How long lines are collected before they are written.
const COLLECT: Duration = Duration::from_millis(100);

/// How often trouble of one kind is told.
const EVERY: Duration = Duration::from_secs(10);

/// Something to tell.
#[derive(Debug)]
pub(in crate::serve) enum Line {
    /// An answer that holds mail up.
    Decision(Decision),
    /// A connection that made trouble.
    Trouble {
        /// Where.
        service: &'static str,
        /// Which.
        kind: Trouble,
        /// Who.
        peer: Option<SocketAddr>,
        /// In detail, where there is more to say.
        detail: String,
    },
    /// A recipient that was removed from a message.
    Removed {
        /// The queue id.
        queue_id: String,
        /// The envelope sender.
        sender: String,
        /// Who.
        recipient: String,
        /// Why.
        text: String,
    },
}

/// An answer that holds mail up. Its texts lie one after the other in [`Queue::text`]: the threads that
/// answer then neither allocate for a line nor share what they allocated with the thread that writes.
#[derive(Debug, PartialEq)]
pub(in crate::serve) struct Decision {
    asked: &'static str,
    address: usize,
    sender: usize,
    queue_id: usize,
    finding: Finding,
}

/// Whom and what a decision was about; what is not known is empty.
#[derive(Debug, Clone, Copy)]
pub(in crate::serve) struct Subject<'a> {
    /// The policy service, or the map asked.
    pub(in crate::serve) asked: &'static str,
    /// About whom.
    pub(in crate::serve) address: &'a str,
    /// The envelope sender.
    pub(in crate::serve) sender: &'a str,
    /// The queue id.
    pub(in crate::serve) queue_id: &'a str,
}

/// Kinds of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::serve) enum Trouble {
    /// Something that is no request.
    Malformed,
    /// The connection ended within a request.
    Cut,
    /// A request that did not arrive, or an answer that was not taken, in time.
    Unfinished,
    /// All places are taken.
    Full,
    /// A connection could not be taken.
    Accept,
    /// A look-up in a map that there is not.
    NoMap,
    /// A connection that said nothing for too long.
    Silent,
    /// Our part of a message failed.
    Failed,
}

impl Trouble {
    fn text(self) -> &'static str {
        match self {
            Self::Malformed => "not a request, connection closed",
            Self::Cut => "the connection ended within a request",
            Self::Unfinished => "a request or its answer took too long, connection closed",
            Self::Full => "too many connections, closed one that was idle",
            Self::Accept => "cannot take a connection",
            Self::NoMap => "no such map",
            Self::Silent => "nothing came for too long, connection closed",
            Self::Failed => "a message could not be seen to",
        }
    }
}

/// The way to the log.
#[derive(Debug, Default)]
pub(in crate::serve) struct Journal {
    queue: Mutex<Queue>,
    /// Signalled when the queue is closed. Lines do not signal: to wake a thread for each costs more
    /// than to answer a request does.
    closing: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    lines: Vec<Line>,
    /// The texts of the decisions, in order.
    text: String,
    /// How many lines did not fit, from the start.
    lost: u64,
    closed: bool,
}

impl Journal {
    /// Starts the thread that writes. The receiver hangs up when, after [`Journal::close`], all is written.
    pub(in crate::serve) fn start() -> io::Result<(Arc<Self>, Receiver<()>)> {
        let journal = Arc::new(Self::default());
        let writer = Arc::clone(&journal);
        let (writing, written) = sync_channel(0);
        std::thread::Builder::new()
            .name("hook-log".into())
            .spawn(move || {
                writer.write();
                drop(writing);
            })?;
        Ok((journal, written))
    }

    /// Queues a line; never waits for the log.
    pub(in crate::serve) fn tell(&self, line: Line) {
        let mut queue = self.queue.lock();
        if queue.lines.len() < QUEUE {
            queue.lines.push(line);
        } else {
            queue.lost += 1;
        }
    }

    /// Queues the line about a decision; never waits for the log.
    pub(in crate::serve) fn decided(&self, subject: Subject<'_>, finding: Finding) {
        let texts = [subject.address, subject.sender, subject.queue_id];
        let mut queue = self.queue.lock();
        if queue.lines.len() >= QUEUE || queue.text.len() >= MAX_TEXT {
            queue.lost += 1;
            return;
        }
        for text in texts {
            queue.text.push_str(text);
        }
        let [address, sender, queue_id] = texts.map(str::len);
        queue.lines.push(Line::Decision(Decision {
            asked: subject.asked,
            address,
            sender,
            queue_id,
            finding,
        }));
    }

    /// How many lines were not logged.
    pub(in crate::serve) fn lost(&self) -> u64 {
        self.queue.lock().lost
    }

    /// No more lines: the thread writes what is queued and ends.
    pub(in crate::serve) fn close(&self) {
        self.queue.lock().closed = true;
        self.closing.notify_all();
    }

    /// Writes until the queue is closed and empty.
    fn write(&self) {
        let mut ration = Ration::default();
        let mut told_lost = 0;
        let (mut lines, mut text) = (Vec::new(), String::new());
        loop {
            let (lost, closed) = self.collect(&mut lines, &mut text);
            let now = clock::monotonic();
            let mut rest = text.as_str();
            for line in lines.drain(..) {
                match line {
                    Line::Decision(decision) => rest = write_decision(&decision, rest),
                    Line::Removed {
                        queue_id,
                        sender,
                        recipient,
                        text,
                    } => {
                        tracing::info!(
                            hook = "milter",
                            queue_id,
                            sender,
                            recipient,
                            "removed from its message: {text}"
                        );
                    }
                    Line::Trouble {
                        service,
                        kind,
                        peer,
                        detail,
                    } => write_trouble(service, kind, peer, &detail, ration.take(service, kind, now)),
                }
            }
            text.clear();
            ration.catch_up(now);
            if lost > told_lost && (closed || ration.allows_lost(now)) {
                let news = lost - told_lost;
                tracing::warn!("{news} decisions of the hooks were not logged: the log is too slow");
                told_lost = lost;
            }
            if closed {
                return;
            }
        }
    }

    /// Waits a moment and takes what is queued; how many were lost so far, and whether this was all.
    fn collect(&self, lines: &mut Vec<Line>, text: &mut String) -> (u64, bool) {
        let mut queue = self.queue.lock();
        if !queue.closed {
            self.closing.wait_for(&mut queue, COLLECT);
        }
        std::mem::swap(&mut queue.lines, lines);
        std::mem::swap(&mut queue.text, text);
        (queue.lost, queue.closed)
    }
}

/// Writes one decision, whose texts `text` begins with; returns what follows them.
fn write_decision<'a>(decision: &Decision, text: &'a str) -> &'a str {
    let (address, text) = text.split_at(decision.address);
    let (sender, text) = text.split_at(decision.sender);
    let (queue_id, text) = text.split_at(decision.queue_id);
    let hook = decision.asked;
    match &decision.finding {
        Finding::Suppressed(found) | Finding::Quarantined(found) => {
            let detail = found.detail.as_ref();
            tracing::info!(
                hook,
                address,
                sender,
                queue_id,
                id = detail.map(|detail| detail.id.to_string()),
                cause = found.cause.name(),
                since = detail.map(|detail| detail.since.strftime("%F").to_string()),
                "{}",
                match found.standing {
                    Standing::InForce => "refused: suppressed",
                    Standing::Quarantined => "put off: in quarantine",
                },
            );
        }
        // The hold itself was logged when it began; a long one is asked about at every attempt.
        Finding::Held(hold) => tracing::debug!(
            hook,
            address,
            sender,
            queue_id,
            lane = hold.lane.provider,
            rule = hold.rule.as_deref().unwrap_or("-"),
            "{hold}",
        ),
        Finding::Nothing | Finding::Unloaded => {}
    }
    text
}

/// Writes about trouble, unless that would be too often; `before` tells how many were left out.
fn write_trouble(
    service: &'static str,
    kind: Trouble,
    peer: Option<SocketAddr>,
    detail: &str,
    before: Option<u64>,
) {
    let Some(left_out) = before else {
        return;
    };
    let peer = peer.map_or_else(|| "socket file".to_owned(), |p| p.to_string());
    tracing::warn!(hook = service, peer, left_out, "{}: {detail}", kind.text());
}

/// How much was told of each kind of trouble.
#[derive(Debug, Default)]
struct Ration {
    told: HashMap<(&'static str, Trouble), Told>,
    lost: Option<Instant>,
}

#[derive(Debug)]
struct Told {
    last: Instant,
    left_out: u64,
}

impl Ration {
    /// Whether this one may be told, and if so, how many were left out since the last.
    fn take(&mut self, service: &'static str, kind: Trouble, now: Instant) -> Option<u64> {
        match self.told.get_mut(&(service, kind)) {
            None => {
                self.told.insert(
                    (service, kind),
                    Told {
                        last: now,
                        left_out: 0,
                    },
                );
                Some(0)
            }
            Some(told) if now.saturating_duration_since(told.last) < EVERY => {
                told.left_out += 1;
                None
            }
            Some(told) => {
                told.last = now;
                Some(std::mem::take(&mut told.left_out))
            }
        }
    }

    /// Tells how many were left out where nothing came since.
    fn catch_up(&mut self, now: Instant) {
        self.told.retain(|(service, kind), told| {
            let due = now.saturating_duration_since(told.last) >= EVERY;
            if due && told.left_out > 0 {
                tracing::warn!(hook = service, "{}: {} more", kind.text(), told.left_out);
            }
            !due
        });
    }

    fn allows_lost(&mut self, now: Instant) -> bool {
        let due = self
            .lost
            .is_none_or(|last| now.saturating_duration_since(last) >= EVERY);
        if due {
            self.lost = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_of_one_kind_is_told_once_in_a_while() {
        let start = clock::monotonic();
        let mut ration = Ration::default();
        let mut take = |kind, seconds| ration.take("policy", kind, start + Duration::from_secs(seconds));
        assert_eq!(take(Trouble::Malformed, 0), Some(0));
        assert_eq!(take(Trouble::Malformed, 1), None);
        assert_eq!(take(Trouble::Malformed, 9), None);
        assert_eq!(take(Trouble::Cut, 9), Some(0), "each kind for itself");
        assert_eq!(take(Trouble::Malformed, 10), Some(2));
        ration.catch_up(start + Duration::from_secs(30));
        assert!(ration.told.is_empty(), "nothing is remembered for long");
    }

    #[test]
    fn a_full_queue_counts_and_does_not_wait() {
        let journal = Journal::default();
        for _ in 0..QUEUE + 3 {
            journal.tell(Line::Trouble {
                service: "policy",
                kind: Trouble::Full,
                peer: None,
                detail: String::new(),
            });
        }
        assert_eq!(journal.lost(), 3);
        journal.close();
        let mut lines = Vec::new();
        assert_eq!(journal.collect(&mut lines, &mut String::new()), (3, true));
        assert_eq!(lines.len(), QUEUE);
    }

    #[test]
    fn each_decision_finds_its_own_texts() {
        let journal = Journal::default();
        for address in ["a@x", "пётр@y"] {
            let subject = Subject {
                asked: "policy",
                address,
                sender: "s",
                queue_id: "",
            };
            journal.decided(subject, Finding::Unloaded);
        }
        journal.close();
        let (mut lines, mut text) = (Vec::new(), String::new());
        journal.collect(&mut lines, &mut text);
        assert_eq!(text, "a@xsпётр@ys");
        let mut rest = text.as_str();
        for (line, expected) in lines.iter().zip(["пётр@ys", ""]) {
            let Line::Decision(decision) = line else {
                panic!("{line:?}");
            };
            rest = write_decision(decision, rest);
            assert_eq!(rest, expected);
        }
    }
}
