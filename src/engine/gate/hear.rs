//! What the log has told and the store has not kept yet.
//!
//! A place under way is free as soon as its attempt has ended, and is worth nothing while nobody knows: in a
//! lane of five connections every hundredth of a second until the next message goes is a hundredth lost. So the end of
//! a delivery is heard before it is committed. That is safe, since nothing is acknowledged or counted by it: places
//! are this process's own, and a crash forgets them all. What an outcome *means* (limits, holds, the widening of the
//! window, tokens that come back) waits until it is kept, and a second hearing, where the commit has to be tried
//! again, changes nothing.

use super::Gate;
use super::lane::{Attempt, Landing};
use super::outcome::{Meaning, meaning};
use crate::engine::decide::Record;
use crate::engine::throttle::Kind;
use crate::mail::address::Address;
use crate::mail::event::Source;
use jiff::Timestamp;
use std::sync::Arc;

impl Gate {
    /// Hears of an attempt before what became of it is kept. `provider` is who handles the recipient's domain, where
    /// that is known. A refusal for the number of connections learns how many others were under way.
    pub fn hear(&self, record: &mut Record, provider: Option<&str>, now: Timestamp) {
        let event = &record.event;
        let Some(queue_id) = event.queue_id.as_deref().filter(|_| event.source == Source::Log) else {
            return;
        };
        let meaning = meaning(record);
        let delivered = meaning == Meaning::Settled(Landing::Delivered);
        let crowded = matches!(meaning, Meaning::Refused(Landing::Answered))
            && record.verdict.throttle == Some(Kind::Concurrency);
        if !delivered && !crowded {
            return;
        }
        let settings = Arc::clone(&self.settings.read());
        let domain = event.recipient.domain();
        let Some(place) = self.place(provider, domain, &settings.egress, now) else {
            return;
        };
        let (mark, attempt) = (
            self.mark(&event.recipient),
            self.attempt(queue_id, &event.recipient),
        );
        if delivered {
            self.with(&place, now, |way| {
                way.heard_delivered(queue_id, mark, attempt, now);
            });
        } else {
            record.beside = place.way.lock().heard_crowded(mark, attempt, now);
        }
    }

    pub(super) fn attempt(&self, queue_id: &str, recipient: &Address) -> Attempt {
        self.mark(recipient)
            .rotate_left(1)
            .wrapping_add(self.hasher.hash(queue_id.as_bytes()))
    }
}
