//! One connection: read what has arrived, answer every request in it in order, write the answers.
//!
//! Nothing is read while answers wait to be taken, so a client that does not read cannot make us hold
//! more than the answers to one read. An idle connection holds no buffer.

use super::count::count;
use super::journal::{Line, Subject, Trouble};
use super::registry::Pulse;
use super::{Service, Shared, WorkerState};
use crate::clock;
use crate::engine::answer::{self, Finding, Map};
use crate::postfix::{policy, socketmap};
use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::ready;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

/// How much is read at once: a dozen requests.
const CHUNK: usize = 8192;

/// How large a buffer for answers an idle connection may keep.
const KEPT: usize = 1024;

/// What a connection needs to answer.
#[derive(Debug, Clone)]
pub(super) struct Desk {
    pub(super) service: Service,
    pub(super) shared: Arc<Shared>,
    pub(super) worker: Arc<WorkerState>,
}

/// One of the two protocols, with what has arrived of the next request.
pub(super) trait Dialogue: Default + Send + 'static {
    /// Takes in what arrived.
    fn feed(&mut self, bytes: &[u8]);
    /// Answers the complete requests.
    fn answer(&mut self, desk: &Desk, out: &mut Vec<u8>) -> Answered;
    /// How much of an incomplete request is here.
    fn waiting(&self) -> usize;
}

/// What came of reading.
#[derive(Debug)]
pub(super) struct Answered {
    /// How many requests were answered.
    requests: usize,
    /// Why nothing more can be read from this connection.
    broken: Option<String>,
}

/// The dialogue of the policy service.
#[derive(Debug, Default)]
pub(super) struct Policy(policy::Decoder);

/// The dialogue of the socketmap service.
#[derive(Debug, Default)]
pub(super) struct Socketmap {
    decoder: socketmap::Decoder,
    /// The key that was let through last.
    before: String,
}

impl Dialogue for Policy {
    fn feed(&mut self, bytes: &[u8]) {
        self.0.feed(bytes);
    }

    fn waiting(&self) -> usize {
        self.0.waiting()
    }

    fn answer(&mut self, desk: &Desk, out: &mut Vec<u8>) -> Answered {
        let settings = desk.shared.answers.read();
        let mut requests = 0;
        let broken = loop {
            let request = match self.0.decode() {
                Ok(Some(request)) => request,
                Ok(None) => break None,
                // The protocol has no answer for what is no request: log and disconnect.
                Err(error) => break Some(error.to_string()),
            };
            let (finding, action) = answer::policy(&desk.shared.memory, &request, &settings, clock::now());
            action.encode(out);
            requests += 1;
            let subject = Subject {
                asked: "policy",
                address: request.recipient,
                sender: request.sender,
                queue_id: request.queue_id,
            };
            desk.note(subject, finding);
        };
        Answered { requests, broken }
    }
}

impl Dialogue for Socketmap {
    fn feed(&mut self, bytes: &[u8]) {
        self.decoder.feed(bytes);
    }

    fn waiting(&self) -> usize {
        self.decoder.waiting()
    }

    fn answer(&mut self, desk: &Desk, out: &mut Vec<u8>) -> Answered {
        let settings = desk.shared.answers.read();
        let mut requests = 0;
        let broken = loop {
            let request = match self.decoder.decode() {
                Ok(Some(request)) => request,
                Ok(None) => break None,
                Err(error) => {
                    socketmap::Answer::Perm(error.to_string()).encode(out);
                    break Some(error.to_string());
                }
            };
            requests += 1;
            let map = match Map::from_name(request.map) {
                Ok(map) => map,
                Err(error) => {
                    socketmap::Answer::Perm(error.to_string()).encode(out);
                    desk.no_map(&error);
                    continue;
                }
            };
            let (memory, before) = (&desk.shared.memory, &self.before);
            let (finding, answer) =
                answer::look_up(memory, map, request.key, before, &settings, clock::now());
            answer.encode(out);
            self.before.clear();
            if map == Map::Transport && answer == socketmap::Answer::NotFound && request.key.len() <= KEPT {
                self.before.push_str(request.key);
            }
            let subject = Subject {
                asked: map.name(),
                address: request.key,
                sender: "",
                queue_id: "",
            };
            desk.note(subject, finding);
        };
        Answered { requests, broken }
    }
}

impl Desk {
    /// Counts an answer, and logs it where it holds mail up.
    fn note(&self, subject: Subject<'_>, finding: Finding) {
        self.worker.counters(self.service).answered(&finding);
        let telling = matches!(
            finding,
            Finding::Suppressed(_) | Finding::Quarantined(_) | Finding::Held(_)
        );
        if telling && tracing::enabled!(tracing::Level::INFO) {
            self.shared.journal.decided(subject, finding);
        }
    }

    fn no_map(&self, error: &answer::NoSuchMap) {
        count(&self.worker.counters(self.service).no_map);
        self.shared.journal.tell(Line::Trouble {
            service: self.service.name(),
            kind: Trouble::NoMap,
            peer: None,
            detail: error.to_string(),
        });
    }

    fn trouble(&self, kind: Trouble, pulse: &Pulse, detail: String) {
        self.shared.journal.tell(Line::Trouble {
            service: self.service.name(),
            kind,
            peer: pulse.peer,
            detail,
        });
    }
}

/// Serves a connection until the client closes it, breaks the protocol, or the hooks stop.
pub(super) async fn serve<D: Dialogue>(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    desk: &Desk,
    pulse: &Pulse,
) {
    let mut dialogue = D::default();
    // An error here means that the client is gone: nobody is left to tell, and no mail depends on it.
    let Ok(broken) = converse(&mut stream, &mut dialogue, desk, pulse).await else {
        return;
    };
    if let Some(why) = broken {
        count(&desk.worker.counters(desk.service).malformed);
        desk.trouble(Trouble::Malformed, pulse, why);
    } else if dialogue.waiting() > 0 {
        let held = format!("{} octets of it had arrived", dialogue.waiting());
        desk.trouble(Trouble::Cut, pulse, held);
    }
}

/// The conversation itself; `Some` says what was wrong with a request.
async fn converse<D: Dialogue>(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    dialogue: &mut D,
    desk: &Desk,
    pulse: &Pulse,
) -> io::Result<Option<String>> {
    let mut out = Vec::new();
    loop {
        let count = read(stream, dialogue).await?;
        if count == 0 {
            return Ok(None);
        }
        pulse.begin(desk.worker.beat());
        let answered = dialogue.answer(desk, &mut out);
        if !out.is_empty() {
            stream.write_all(&out).await?;
            out.clear();
            out.shrink_to(KEPT);
        }
        if answered.broken.is_some() {
            return Ok(answered.broken);
        }
        if answered.requests > 0 {
            pulse.finish(desk.worker.beat());
        }
        if dialogue.waiting() > 0 {
            pulse.begin(desk.worker.beat());
        } else if desk.shared.stopping.load(Ordering::Relaxed) {
            return Ok(None);
        }
        if count == CHUNK {
            // More has arrived than fits: let the others have their turn first.
            tokio::task::yield_now().await;
        }
    }
}

/// Waits for bytes and feeds them, through a buffer that exists only while there are some.
async fn read(stream: &mut (impl AsyncRead + Unpin), dialogue: &mut impl Dialogue) -> io::Result<usize> {
    poll_fn(|context| {
        let mut chunk = [const { MaybeUninit::uninit() }; CHUNK];
        let mut buffer = ReadBuf::uninit(&mut chunk);
        ready!(Pin::new(&mut *stream).poll_read(context, &mut buffer))?;
        dialogue.feed(buffer.filled());
        io::Result::Ok(buffer.filled().len()).into()
    })
    .await
}
