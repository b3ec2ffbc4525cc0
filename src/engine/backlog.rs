//! The backlog of one lane: messages in Postfix's deferred queue that wait for nothing but their turn, by
//! stream, oldest first.
//!
//! | a message is | when | leaves it by |
//! |---|---|---|
//! | ready | it was put off by us, or by a provider that said "slow down" | [`Backlog::release`] |
//! | out | it was handed to Postfix, with tickets for some of its recipients | their outcomes, or time |
//! | later | it was handed over and came back without an attempt | time |
//!
//! A recipient leaves with its outcome, a message with its last recipient. A message that comes back keeps its
//! place: its age counts from when it was first put off. One that was handed over in vain
//! ([`Backlog::FRUITLESS`] times: Postfix does not know it any more) leaves too.
//!
//! Every step is O(log n). Recipients are kept as 64 bits ([`Mark`]): about 200 octets a message. Nothing
//! here fails; what is not known is passed over.

use super::throttle::later;
use hashbrown::HashMap;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A recipient, as 64 bits that only this process can make.
pub type Mark = u64;
/// The number of a stream among those configured; 0 is the default stream.
pub type Stream = u16;

/// How long a message that was handed over is waited for, in seconds, the first time; twice as long each time that
/// nobody came. Tickets live as long. A message whose deferral was just logged may not be in the deferred queue
/// yet, and is handed over for nothing: a lane that recovers by one attempt at a time must not wait long for it.
const TICKET_SECONDS: f64 = 4.0;
/// How long the outcome of an attempt that began is waited for, in seconds.
const OUTCOME_SECONDS: f64 = 900.0;
/// How long a message that came back without an attempt rests, in seconds; doubled each time. (Postfix remembers our
/// last answer for up to 30 s where nothing else was asked in between. `gate/asked.rs` minds that, but does not know
/// what was asked before a restart.)
const REST_SECONDS: f64 = 1.0;
/// So many messages at the head of a line may be passed over.
const PASSED_OVER: usize = 8;

/// The waiting messages of one lane.
#[derive(Debug, Default)]
pub struct Backlog {
    messages: HashMap<Arc<str>, Message>,
    ready: BTreeMap<Stream, BTreeMap<Age, Arc<str>>>,
    later: BTreeSet<(Timestamp, Arc<str>)>,
    out: BTreeSet<(Timestamp, Arc<str>)>,
    recipients: usize,
    number: u64,
}

/// What messages go by: when they were first put off, then the order in which we heard.
type Age = (Timestamp, u64);

#[derive(Debug)]
struct Message {
    stream: Stream,
    age: Age,
    /// When it came here, by our own clock.
    entered: Timestamp,
    recipients: Vec<Waiting>,
    place: Place,
    fruitless: u32,
    /// Whether its outcome was overdue once already.
    slow: bool,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    mark: Mark,
    ticket: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Place {
    Ready,
    Later(Timestamp),
    Out(Timestamp),
}

/// The message whose turn it is in a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Its queue id.
    pub queue_id: Arc<str>,
    /// How many of its recipients wait.
    pub recipients: usize,
}

/// A message that was handed over and did not come back in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overdue {
    /// Its queue id.
    pub queue_id: Arc<str>,
    /// The recipients whose tickets nobody claimed.
    pub unused: Vec<Mark>,
    /// Whether it left for good.
    pub left: bool,
}

impl Backlog {
    /// How often a message may be handed over without any attempt before it is taken for gone.
    pub const FRUITLESS: u32 = 6;

    /// How many recipients are in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.recipients
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.recipients == 0
    }

    /// Whether a message waits for its turn (those that were handed over do not).
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.messages.len() > self.out.len()
    }

    /// How many messages wait, by stream.
    #[must_use]
    pub fn by_stream(&self) -> BTreeMap<Stream, usize> {
        let mut all: BTreeMap<Stream, usize> = self.ready.iter().map(|(s, ids)| (*s, ids.len())).collect();
        for (_, id) in &self.later {
            if let Some(message) = self.messages.get(id) {
                *all.entry(message.stream).or_default() += 1;
            }
        }
        all
    }

    /// Since when the oldest waits.
    #[must_use]
    pub fn oldest(&self) -> Option<Timestamp> {
        let heads = self.ready.values().filter_map(BTreeMap::first_key_value);
        heads.map(|(age, _)| age.0).min()
    }

    /// Whether the message waits here for that recipient.
    #[must_use]
    pub fn has(&self, queue_id: &str, recipient: Mark) -> bool {
        self.messages
            .get(queue_id)
            .is_some_and(|message| message.find(recipient).is_some())
    }

    /// Whether the message was handed over with a ticket for that recipient, whose outcome is not known yet.
    #[must_use]
    pub fn has_ticket(&self, queue_id: &str, recipient: Mark) -> bool {
        let message = self.messages.get(queue_id);
        message.is_some_and(|m| m.find(recipient).is_some_and(|at| m.recipients[at].ticket))
    }

    /// A recipient of a message was put off; whether it is new here. One that had a ticket has none any more.
    pub fn enter(
        &mut self,
        queue_id: &str,
        recipient: Mark,
        stream: Stream,
        since: Timestamp,
        now: Timestamp,
    ) -> bool {
        if let Some(message) = self.messages.get_mut(queue_id) {
            if message.find(recipient).is_some() {
                return false;
            }
            message.recipients.push(Waiting::new(recipient));
            self.recipients += 1;
            return true;
        }
        let id: Arc<str> = queue_id.into();
        self.number += 1;
        let message = Message {
            stream,
            age: (since, self.number),
            entered: now,
            recipients: vec![Waiting::new(recipient)],
            place: Place::Ready,
            fruitless: 0,
            slow: false,
        };
        self.recipients += 1;
        self.line_up(&id, stream, message.age);
        self.messages.insert(id, message);
        true
    }

    /// A recipient's outcome is known; whether it was here.
    pub fn settle(&mut self, queue_id: &str, recipient: Mark) -> bool {
        let Some((id, mut message)) = self.messages.remove_entry(queue_id) else {
            return false;
        };
        let at = message.find(recipient);
        if let Some(at) = at {
            message.recipients.swap_remove(at);
            self.recipients -= 1;
        }
        if message.recipients.is_empty() {
            self.unlist(&id, &message);
            return true;
        }
        self.messages.insert(Arc::clone(&id), message);
        self.back(&id, None);
        at.is_some()
    }

    /// A recipient with a ticket came back and waits again: after an attempt (`now` is `None`), or without one,
    /// and then it rests for a while.
    pub fn come_back(&mut self, queue_id: &str, recipient: Mark, without_attempt: Option<Timestamp>) {
        let Some((id, message)) = self.messages.get_key_value(queue_id) else {
            return;
        };
        let Some(at) = message
            .find(recipient)
            .filter(|&at| message.recipients[at].ticket)
        else {
            return;
        };
        let id = Arc::clone(id);
        if let Some(message) = self.messages.get_mut(&id) {
            message.recipients[at].ticket = false;
            message.fruitless = without_attempt.map_or(0, |_| message.fruitless + 1);
        }
        self.back(&id, without_attempt);
    }

    /// The streams in which a message is ready.
    pub fn streams(&self) -> impl Iterator<Item = &Stream> {
        self.ready.keys()
    }

    /// The message whose turn it is in a stream; those (of the first few) are passed over that wait for this recipient
    /// only.
    #[must_use]
    pub fn head(&self, stream: Stream, but: Option<Mark>) -> Option<Head> {
        let mut line = self.ready.get(&stream)?.values().take(PASSED_OVER);
        let (id, message) = line.find_map(|id| {
            let message = self.messages.get(id)?;
            but.is_none_or(|mark| !message.is_only_for(mark))
                .then_some((id, message))
        })?;
        Some(Head {
            queue_id: Arc::clone(id),
            recipients: message.recipients.len(),
        })
    }

    /// Any message in line that waits for somebody else than this recipient.
    #[must_use]
    pub fn any_but(&self, mark: Mark) -> Option<Arc<str>> {
        let mut streams = self.ready.keys();
        let head = streams.find_map(|&stream| self.head(stream, Some(mark)))?;
        Some(head.queue_id)
    }

    /// Hands over a message that is in line, with tickets for up to so many of its recipients: which.
    pub fn release(&mut self, queue_id: &str, tickets: usize, now: Timestamp) -> Vec<Mark> {
        let Some((id, message)) = self.messages.get_key_value(queue_id) else {
            return Vec::new();
        };
        if message.place != Place::Ready {
            return Vec::new();
        }
        let (id, stream) = (Arc::clone(id), message.stream);
        let Some(message) = self.messages.get_mut(&id) else {
            return Vec::new();
        };
        let patience = TICKET_SECONDS * 2f64.powi(message.fruitless.min(4) as i32);
        let deadline = later(now, patience);
        let age = message.age;
        message.place = Place::Out(deadline);
        message.slow = false;
        let chosen = message.recipients.iter_mut().take(tickets);
        let marks = chosen
            .map(|waiting| {
                waiting.ticket = true;
                waiting.mark
            })
            .collect();
        self.leave_line(stream, age);
        self.out.insert((deadline, id));
        marks
    }

    /// The message never reached Postfix: it waits again as if it had not been handed over. Gives the
    /// recipients that had tickets.
    pub fn unrelease(&mut self, queue_id: &str) -> Vec<Mark> {
        let Some((id, message)) = self.messages.get_key_value(queue_id) else {
            return Vec::new();
        };
        let id = Arc::clone(id);
        let marks = message.ticketed();
        if let Some(message) = self.messages.get_mut(&id) {
            message
                .recipients
                .iter_mut()
                .for_each(|waiting| waiting.ticket = false);
        }
        self.back(&id, None);
        marks
    }

    /// The message is not in Postfix's queue any more. Gives the recipients that had tickets.
    pub fn gone(&mut self, queue_id: &str) -> Vec<Mark> {
        let Some((id, message)) = self.messages.remove_entry(queue_id) else {
            return Vec::new();
        };
        self.unlist(&id, &message);
        self.recipients -= message.recipients.len();
        message.ticketed()
    }

    /// When something happens by time alone: a rest or a wait is over.
    #[must_use]
    pub fn alarm(&self) -> Option<Timestamp> {
        let first = |set: &BTreeSet<(Timestamp, Arc<str>)>| set.first().map(|(at, _)| *at);
        [first(&self.later), first(&self.out)].into_iter().flatten().min()
    }

    /// Puts messages that have rested into the line again.
    pub fn wake(&mut self, now: Timestamp) {
        while let Some((at, id)) = self.later.first().cloned().filter(|(at, _)| *at <= now) {
            self.later.remove(&(at, Arc::clone(&id)));
            if let Some(message) = self.messages.get_mut(&id) {
                message.place = Place::Ready;
                let (stream, age) = (message.stream, message.age);
                self.line_up(&id, stream, age);
            }
        }
    }

    /// The next message that was handed over and is overdue. `is_unused` says whether a recipient's ticket was
    /// never claimed. Where all were, its outcome is waited for; where none was, it rests and comes back, or
    /// leaves.
    pub fn overdue(&mut self, now: Timestamp, mut is_unused: impl FnMut(Mark) -> bool) -> Option<Overdue> {
        let (at, id) = self.out.first().cloned().filter(|(at, _)| *at <= now)?;
        let Some(message) = self.messages.get_mut(&id) else {
            self.out.remove(&(at, id));
            return None;
        };
        let mut unused = Vec::new();
        for waiting in message.recipients.iter_mut().filter(|waiting| waiting.ticket) {
            if is_unused(waiting.mark) {
                waiting.ticket = false;
                unused.push(waiting.mark);
            }
        }
        let under_way = message.recipients.iter().any(|waiting| waiting.ticket);
        let left = if under_way {
            std::mem::replace(&mut message.slow, true)
        } else {
            message.fruitless += 1;
            message.fruitless >= Self::FRUITLESS
        };
        if left {
            self.gone(&id);
        } else if under_way {
            let deadline = later(now, OUTCOME_SECONDS);
            message.place = Place::Out(deadline);
            self.out.remove(&(at, Arc::clone(&id)));
            self.out.insert((deadline, Arc::clone(&id)));
        } else {
            self.back(&id, Some(now));
        }
        Some(Overdue {
            queue_id: id,
            unused,
            left,
        })
    }

    /// Whether the message is here.
    #[must_use]
    pub fn knows(&self, queue_id: &str) -> bool {
        self.messages.contains_key(queue_id)
    }

    /// The messages that are not in the queue, and were here before it was listed.
    pub fn vanished(&self, is_queued: impl Fn(&str) -> bool, began: Timestamp) -> Vec<Arc<str>> {
        let all = self.messages.iter();
        let gone = all.filter(|(id, message)| message.entered < began && !is_queued(id));
        gone.map(|(id, _)| Arc::clone(id)).collect()
    }

    /// Empties it: each message with its stream, its age and its recipients.
    pub fn drain(&mut self) -> Vec<(Arc<str>, Stream, Timestamp, Vec<Mark>)> {
        let old = std::mem::take(self);
        self.number = old.number;
        let mut all: Vec<_> = old.messages.into_iter().collect();
        all.sort_by_key(|(_, message)| message.age);
        all.into_iter()
            .map(|(id, m)| {
                let marks = m.recipients.iter().map(|w| w.mark).collect();
                (id, m.stream, m.age.0, marks)
            })
            .collect()
    }

    /// Puts a message that is out into the line again, once none of its recipients has a ticket any more.
    fn back(&mut self, id: &Arc<str>, without_attempt: Option<Timestamp>) {
        let Some(message) = self.messages.get_mut(id) else {
            return;
        };
        let Place::Out(deadline) = message.place else {
            return;
        };
        if message.recipients.iter().any(|waiting| waiting.ticket) {
            return;
        }
        self.out.remove(&(deadline, Arc::clone(id)));
        let (stream, age) = (message.stream, message.age);
        match without_attempt {
            Some(now) => {
                let rest = REST_SECONDS * 2f64.powi(message.fruitless.clamp(1, 6) as i32 - 1);
                let until = later(now, rest);
                message.place = Place::Later(until);
                self.later.insert((until, Arc::clone(id)));
            }
            None => {
                message.place = Place::Ready;
                self.line_up(id, stream, age);
            }
        }
    }

    fn line_up(&mut self, id: &Arc<str>, stream: Stream, age: Age) {
        self.ready.entry(stream).or_default().insert(age, Arc::clone(id));
    }

    fn leave_line(&mut self, stream: Stream, age: Age) {
        if let Some(line) = self.ready.get_mut(&stream) {
            line.remove(&age);
            if line.is_empty() {
                self.ready.remove(&stream);
            }
        }
    }

    fn unlist(&mut self, id: &Arc<str>, message: &Message) {
        match message.place {
            Place::Ready => self.leave_line(message.stream, message.age),
            Place::Later(at) => drop(self.later.remove(&(at, Arc::clone(id)))),
            Place::Out(at) => drop(self.out.remove(&(at, Arc::clone(id)))),
        }
    }
}

impl Message {
    fn find(&self, recipient: Mark) -> Option<usize> {
        self.recipients
            .iter()
            .position(|waiting| waiting.mark == recipient)
    }

    fn is_only_for(&self, mark: Mark) -> bool {
        self.recipients.iter().all(|waiting| waiting.mark == mark)
    }

    fn ticketed(&self) -> Vec<Mark> {
        let with = self.recipients.iter().filter(|waiting| waiting.ticket);
        with.map(|waiting| waiting.mark).collect()
    }
}

impl Waiting {
    fn new(mark: Mark) -> Self {
        Self { mark, ticket: false }
    }
}
