//! What earlier lines said about the messages that are in the queue, by host and queue id, in bounded
//! memory: two generations, of which the older is forgotten when the younger is full. What is forgotten
//! is missing from later events; nothing else fails.

use super::line::Line;
use crate::mail::address::Address;
use hashbrown::{HashMap, HashSet};
use std::hash::Hash;

/// The longest Message-ID or sender that is kept, in octets (RFC 5322 §2.1.1: a line has at most 998).
const MAX_OCTETS: usize = 998;

/// The messages.
#[derive(Debug)]
pub(super) struct Memory {
    /// What was touched lately; when it weighs half of the capacity it becomes `old`.
    young: Generation,
    /// What was touched before that; whoever is touched again moves back, the rest is forgotten next.
    old: Generation,
    half: usize,
}

#[derive(Debug, Default)]
struct Generation {
    messages: HashMap<Key, Message>,
    /// Messages and waiting recipients.
    weight: usize,
}

/// What is known of one message.
#[derive(Debug, Default)]
pub(super) struct Message {
    message_id: Option<Box<str>>,
    /// Whether that is the Resent-Message-ID: the Message-ID proper outranks it.
    resent: bool,
    sender: Option<Box<str>>,
    sasl_username: Option<Box<str>>,
    waiting: HashSet<Recipient>,
}

/// A recipient as logged: `to=` and `orig_to=`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Recipient {
    pub(super) address: Address,
    pub(super) original: Option<Address>,
}

/// Message-ID, sender and who logged in, where known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Known {
    pub(super) message_id: Option<String>,
    pub(super) sender: Option<String>,
    pub(super) sasl_username: Option<String>,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    host: Box<str>,
    queue_id: Box<str>,
}

/// A message's name, borrowed. Hashes as [`Key`] does: the same fields in the same order.
#[derive(Debug, Clone, Copy, Hash)]
pub(super) struct Name<'a> {
    host: &'a str,
    queue_id: &'a str,
}

impl<'a> From<&Line<'a>> for Name<'a> {
    fn from(line: &Line<'a>) -> Self {
        Self {
            host: line.host,
            queue_id: line.queue_id,
        }
    }
}

impl hashbrown::Equivalent<Key> for Name<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.queue_id == &*key.queue_id && self.host == &*key.host
    }
}

impl From<Name<'_>> for Key {
    fn from(name: Name<'_>) -> Self {
        Self {
            host: name.host.into(),
            queue_id: name.queue_id.into(),
        }
    }
}

impl Memory {
    /// Room for about `capacity` messages and waiting recipients: the half of it that was touched last for
    /// certain, one and a half times as many at most.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            young: Generation::default(),
            old: Generation::default(),
            half: (capacity / 2).max(1),
        }
    }

    /// What is known of a message.
    pub(super) fn known(&mut self, name: Name<'_>) -> Known {
        self.touch(name, None);
        self.young
            .messages
            .get(&name)
            .map(Message::known)
            .unwrap_or_default()
    }

    /// What is known of a message, to be added to.
    pub(super) fn remember(&mut self, name: Name<'_>) -> &mut Message {
        self.touch(name, Some(Message::default()));
        let young = self.young.messages.raw_entry_mut().from_key(&name);
        young.or_insert_with(|| (name.into(), Message::default())).1
    }

    /// The message has left the queue.
    pub(super) fn forget(&mut self, name: Name<'_>) {
        if let Some(message) = self.young.messages.remove(&name) {
            self.young.weight = self.young.weight.saturating_sub(message.weight());
        } else {
            self.old.messages.remove(&name);
        }
    }

    /// A recipient waits for another attempt.
    pub(super) fn hold(&mut self, name: Name<'_>, recipient: Recipient) {
        // One message must not push out all others: beyond a quarter of the room it is not followed.
        let room = (self.half / 2).max(1);
        let waiting = &mut self.remember(name).waiting;
        let added = waiting.len() < room && waiting.insert(recipient);
        self.young.weight += usize::from(added);
    }

    /// A recipient waits no longer.
    pub(super) fn settle(&mut self, name: Name<'_>, recipient: &Recipient) {
        self.touch(name, None);
        let message = self.young.messages.get_mut(&name);
        let removed = message.is_some_and(|message| message.waiting.remove(recipient));
        self.young.weight = self.young.weight.saturating_sub(usize::from(removed));
    }

    /// All recipients that wait; they wait no longer. In the order of their addresses.
    pub(super) fn release(&mut self, name: Name<'_>) -> Vec<Recipient> {
        self.touch(name, None);
        let message = self.young.messages.get_mut(&name);
        let mut waiting: Vec<Recipient> =
            message.map_or_else(Vec::new, |message| message.waiting.drain().collect());
        self.young.weight = self.young.weight.saturating_sub(waiting.len());
        waiting.sort_by_cached_key(|recipient| recipient.address.to_string());
        waiting
    }

    /// Makes a message the latest one touched, the given one where none is known. Every growth passes
    /// here, so that the young generation exceeds its half by one message at most.
    fn touch(&mut self, name: Name<'_>, otherwise: Option<Message>) {
        let full = self.young.weight >= self.half;
        if !full && self.young.messages.contains_key(&name) {
            return;
        }
        let known = match self.young.messages.remove_entry(&name) {
            Some((key, message)) => {
                self.young.weight = self.young.weight.saturating_sub(message.weight());
                Some((key, message))
            }
            None => self.old.messages.remove_entry(&name),
        };
        let Some((key, message)) = known.or_else(|| Some((Key::from(name), otherwise?))) else {
            return;
        };
        if self.young.weight >= self.half {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.weight += message.weight();
        self.young.messages.insert(key, message);
    }
}

impl Message {
    /// Notes the Message-ID.
    pub(super) fn set_message_id(&mut self, id: &str, resent: bool) {
        if !id.is_empty() && (!resent || self.message_id.is_none() || self.resent) {
            self.message_id = kept(id);
            self.resent = resent;
        }
    }

    /// Notes the envelope sender; empty is the null sender.
    pub(super) fn set_sender(&mut self, sender: &str) {
        self.sender = kept(sender);
    }

    /// Notes who logged in.
    pub(super) fn set_sasl_username(&mut self, name: &str) {
        self.sasl_username = kept(name);
    }

    fn weight(&self) -> usize {
        1 + self.waiting.len()
    }

    fn known(&self) -> Known {
        Known {
            message_id: self.message_id.as_deref().map(str::to_owned),
            sender: self.sender.as_deref().map(str::to_owned),
            sasl_username: self.sasl_username.as_deref().map(str::to_owned),
        }
    }
}

fn kept(text: &str) -> Option<Box<str>> {
    (text.len() <= MAX_OCTETS).then(|| text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(queue_id: &str) -> Name<'_> {
        Name { host: "h", queue_id }
    }

    fn recipient(n: usize) -> Recipient {
        Recipient {
            address: Address::parse(&format!("{n}@x.test")).unwrap(),
            original: None,
        }
    }

    fn held(memory: &Memory) -> usize {
        let generations = [&memory.young, &memory.old];
        generations
            .iter()
            .flat_map(|g| g.messages.values())
            .map(Message::weight)
            .sum()
    }

    #[test]
    fn memory_is_bounded_and_the_recent_is_kept() {
        let mut memory = Memory::new(100);
        for n in 0..10_000 {
            let id = format!("{n:06X}");
            memory.remember(name(&id)).set_message_id(&id, false);
            memory.hold(name(&id), recipient(n));
            memory.hold(name("FFFFFF"), recipient(n));
            memory.known(name(&format!("{:06X}", n / 2)));
            assert!(held(&memory) <= 150, "{} after {n}", held(&memory));
        }
        assert_eq!(
            memory
                .known(name(&format!("{:06X}", 9_990)))
                .message_id
                .as_deref(),
            Some("002706")
        );
        assert_eq!(memory.known(name("000001")), Known::default());
    }

    #[test]
    fn weights_are_what_is_held() {
        let mut memory = Memory::new(1000);
        for n in 0..90 {
            let id = format!("{:06X}", n % 7);
            match n % 5 {
                0 => memory.forget(name(&id)),
                1 => memory.settle(name(&id), &recipient(n - 1)),
                2 if n > 50 => drop(memory.release(name(&id))),
                _ => memory.hold(name(&id), recipient(n)),
            }
            assert_eq!(memory.young.weight, held(&memory), "after {n}");
        }
    }
}
