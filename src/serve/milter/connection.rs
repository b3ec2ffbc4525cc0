//! One connection: read what has arrived, take every command in it in order, write the answers.
//!
//! Nothing is read while a message is decided about or an answer waits to be taken, so that a client that does not read
//! cannot make us hold more than the answers to one read.

use super::super::accept::Stream;
use super::super::hook::journal::{Subject, Trouble};
use super::super::seat::Seat;
use super::Shared;
use super::count::count;
use crate::clock;
use crate::engine::answer::{self, Finding};
use crate::postfix::milter::session::{Session, Step, bare};
use crate::postfix::milter::{Decoder, MilterError, Reply};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;
use tracing::debug;

/// How much is read at once: a good part of a header.
const CHUNK: usize = 16 * 1024;
/// Up to which length changes and answers are collected before they are written.
const KEPT: usize = 4096;

/// How a connection ended.
#[derive(Debug)]
enum End {
    /// The MTA said good-bye, or closed between two messages.
    Quit,
    /// It closed within a message or a command.
    Cut(String),
    /// What it says is no milter protocol.
    Broken(MilterError),
    /// It was silent for too long.
    Silent,
    /// A command did not arrive, or an answer was not taken.
    Unfinished(&'static str),
    /// Another connection needed the room.
    Evicted,
    /// We stop.
    Stopping,
    /// The system says so.
    Lost(io::Error),
}

struct Conversation {
    shared: Arc<Shared>,
    seat: Seat,
    decoder: Decoder,
    session: Session,
    out: Vec<u8>,
}

/// Serves a connection to its end, and tells of it.
pub(super) async fn serve(shared: Arc<Shared>, mut stream: Stream) {
    let settings = &shared.settings;
    let mut conversation = Conversation {
        seat: shared.seats.take(),
        decoder: Decoder::default(),
        session: Session::new(settings.purpose, settings.max_size),
        out: Vec::new(),
        shared: Arc::clone(&shared),
    };
    let open = Open::new(&shared);
    let peer = stream.peer();
    let end = conversation.run(&mut stream).await;
    drop(open);
    tell(&shared, peer, &end);
}

/// Counts a connection as long as it is there.
struct Open<'a>(&'a Shared);

impl<'a> Open<'a> {
    fn new(shared: &'a Shared) -> Self {
        count(&shared.counters.connections);
        count(&shared.counters.open);
        Self(shared)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.counters.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// No connection ends without its reason in the log.
fn tell(shared: &Shared, peer: Option<SocketAddr>, end: &End) {
    let counters = &shared.counters;
    let (counter, kind, detail) = match end {
        End::Quit => return debug!(?peer, "milter: connection over"),
        End::Stopping => return debug!(?peer, "milter: connection closed, for we stop"),
        End::Lost(error) => (None, Trouble::Cut, error.to_string()),
        End::Cut(held) => (None, Trouble::Cut, held.clone()),
        End::Broken(error) => (Some(&counters.malformed), Trouble::Malformed, error.to_string()),
        End::Silent => (Some(&counters.idle), Trouble::Silent, String::new()),
        End::Unfinished(what) => (Some(&counters.timed_out), Trouble::Unfinished, (*what).into()),
        End::Evicted => (
            Some(&counters.evicted),
            Trouble::Full,
            "made room for another".into(),
        ),
    };
    counter.into_iter().for_each(count);
    shared.trouble(kind, peer, detail);
}

impl Conversation {
    async fn run(&mut self, stream: &mut Stream) -> End {
        let mut chunk = vec![0; CHUNK];
        loop {
            match self.perform_all().await {
                Ok(false) => {}
                Ok(true) => return End::Quit,
                Err(error) => return End::Broken(error),
            }
            if self.out.is_empty() {
                stream.acknowledge();
            }
            if let Some(end) = self.flush(stream).await {
                return end;
            }
            self.seat.touch(self.session.is_busy());
            match self.read(stream, &mut chunk).await {
                Ok(0) => return self.closed(),
                Ok(octets) => self.decoder.feed(&chunk[..octets]),
                Err(end) => return end,
            }
        }
    }

    /// Waits for octets; the reason to give up where none come.
    async fn read(&self, stream: &mut Stream, chunk: &mut [u8]) -> Result<usize, End> {
        let settings = &self.shared.settings;
        let is_partial = self.decoder.waiting() > 0;
        let patience = match is_partial {
            true => settings.request_timeout,
            false => settings.idle_timeout,
        };
        tokio::select! {
            read = timeout(patience, stream.read(chunk)) => match read {
                Ok(read) => read.map_err(End::Lost),
                Err(_) if is_partial => Err(End::Unfinished("the rest of a command did not come")),
                Err(_) => Err(End::Silent),
            },
            () = self.shared.stop.cancelled(), if !self.session.is_busy() => Err(End::Stopping),
            () = self.seat.asked_to_leave() => Err(End::Evicted),
        }
    }

    /// How it stood when the other side closed.
    fn closed(&self) -> End {
        let queue_id = String::from_utf8_lossy(&self.session.transaction().queue_id);
        match (self.decoder.waiting(), self.session.is_busy()) {
            (0, false) => End::Quit,
            (0, true) => End::Cut(format!("within the message {queue_id:?}")),
            (octets, _) => End::Cut(format!("{octets} octets of a command had arrived")),
        }
    }

    async fn flush(&mut self, stream: &mut Stream) -> Option<End> {
        if self.out.is_empty() {
            return None;
        }
        let patience: Duration = self.shared.settings.request_timeout;
        let written = timeout(patience, stream.write_all(&self.out)).await;
        self.out.clear();
        self.out.shrink_to(KEPT);
        match written {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(End::Lost(error)),
            Err(_) => Some(End::Unfinished("an answer was not taken")),
        }
    }

    /// Takes the commands that are complete; true where the last of them is good-bye.
    async fn perform_all(&mut self) -> Result<bool, MilterError> {
        while let Some(command) = self.decoder.decode()? {
            count(&self.shared.counters.commands);
            match self.session.receive(command)? {
                Step::Wait => {}
                Step::Continue => Reply::Continue.encode(&mut self.out),
                Step::Skip => Reply::Skip.encode(&mut self.out),
                Step::Agree(agreement) => agreement.encode(&mut self.out),
                Step::Decide(recipient) => self.decide(recipient),
                Step::Finish(mail) => {
                    self.seat.touch(true);
                    for reply in self.shared.finish(*mail).await {
                        reply.encode(&mut self.out);
                    }
                }
                Step::Close => return Ok(true),
            }
        }
        Ok(false)
    }

    /// Answers about a recipient. Over SMTP a refusal is said; else who is suppressed is removed in the end, and nobody
    /// can be put off.
    fn decide(&mut self, recipient: Vec<u8>) {
        let shared = &self.shared;
        let rulings = shared.rulings.load();
        let mail = self.session.transaction();
        let text = |octets| String::from_utf8_lossy(octets);
        let (address, sender) = (text(bare(&recipient).0), text(&mail.sender));
        let by = (&*sender, &*text(&mail.user));
        let (finding, reply) = answer::rcpt(&shared.memory, &address, by, &rulings.answers, clock::now());
        let subject = Subject {
            asked: "milter",
            address: &address,
            sender: &sender,
            queue_id: &text(&mail.queue_id),
        };
        shared.note(subject, finding);
        let is_smtp = mail.smtp;
        match reply {
            Reply::Code {
                code: 500.., text, ..
            } if !is_smtp => {
                count(&shared.counters.removed);
                self.session.remove(recipient, text);
                Reply::Continue.encode(&mut self.out);
            }
            reply @ Reply::Code { code, .. } if is_smtp => {
                count(match code {
                    500.. => &shared.counters.refused,
                    _ => &shared.counters.deferred,
                });
                reply.encode(&mut self.out);
            }
            _ => {
                count(&shared.counters.passed);
                if self
                    .shared
                    .is_read(self.session.transaction(), &recipient, &rulings)
                {
                    self.session.want_body();
                }
                self.session.take(recipient);
                Reply::Continue.encode(&mut self.out);
            }
        }
    }
}

impl Shared {
    /// Logs what holds mail up.
    fn note(&self, subject: Subject<'_>, finding: Finding) {
        let telling = matches!(
            finding,
            Finding::Suppressed(_) | Finding::Quarantined(_) | Finding::Held(_)
        );
        if telling && tracing::enabled!(tracing::Level::INFO) {
            self.journal.decided(subject, finding);
        }
    }
}
