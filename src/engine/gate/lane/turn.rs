//! Whose turn it is: which message of a lane may be handed back, with how many tickets, and when to ask again.
//!
//! Nothing here fails: where nothing may go, it says when something may.

use super::{Ears, FORGOTTEN, GRANT_SECONDS, STUCK_SECONDS, Way};
use crate::engine::backlog::{Head, Mark, Stream};
use crate::engine::gate::Release;
use crate::engine::throttle::{Permit, later};
use jiff::Timestamp;
use std::collections::BTreeMap;

impl Way {
    /// The message whose turn it is, of the streams that may; `but` is a recipient whose messages are passed over.
    fn turn(&mut self, but: Option<Mark>, now: Timestamp) -> Option<(Stream, Head)> {
        let (own, backlog) = (&mut self.own, &self.backlog);
        let mut heads: BTreeMap<Stream, Head> = backlog
            .streams()
            .copied()
            .filter(|stream| own.get_mut(stream).is_none_or(|bucket| bucket.next(now) <= now))
            .filter_map(|stream| Some((stream, backlog.head(stream, but)?)))
            .collect();
        let stream = *self.fair.next(heads.keys())?;
        heads.remove_entry(&stream)
    }

    /// The message whose turn it is, of those that Postfix will ask us about.
    fn askable(&mut self, ears: Ears, now: Timestamp) -> Option<(Stream, Head)> {
        self.turn(ears.stale.map(|(mark, _)| mark), now)
    }

    /// Whether something might go, if only Postfix asked about it.
    pub fn is_stuck(&mut self, ears: Ears, now: Timestamp) -> bool {
        if ears.stale.is_none() || self.askable(ears, now).is_some() {
            return false;
        }
        let Some((_, head)) = self.turn(None, now) else {
            return false;
        };
        let wanted = self.wanted(head.recipients, ears, now);
        wanted > 0 && self.tokens_due(wanted, now) <= now
    }

    /// How many tokens the next message is to wait for: one for each of its recipients, as far as the burst
    /// and what is under way allow.
    fn wanted(&self, recipients: usize, ears: Ears, now: Timestamp) -> usize {
        let burst = match self.grant.permit {
            Permit::Limited(pace) if pace.per_second.is_some() => pace.burst.max(1.0) as usize,
            _ => usize::MAX,
        };
        let room = if ears.window() { self.room(now) } else { None };
        recipients.min(burst).min(room.unwrap_or(usize::MAX))
    }

    /// Takes the tokens for the message whose turn it is and makes tickets of them, if there are enough.
    pub fn release(&mut self, ears: Ears, now: Timestamp) -> Option<Release> {
        self.advance(now);
        if now < self.next_start {
            return None;
        }
        let (stream, head) = self.askable(ears, now)?;
        let own = self.own.get_mut(&stream).map(|bucket| {
            let _ = bucket.next(now);
            (bucket.tokens() as usize).max(1)
        });
        let wanted = self
            .wanted(head.recipients, ears, now)
            .min(own.unwrap_or(usize::MAX));
        if wanted == 0 || self.tokens_due(wanted, now) > now {
            return None;
        }
        let taken = (0..wanted).take_while(|_| self.bucket.take(now).is_ok()).count();
        if taken == 0 {
            return None;
        }
        let queue_id = head.queue_id;
        let marks = self.backlog.release(&queue_id, taken, now);
        for &mark in &marks {
            *self.tickets.entry(mark).or_default() += 1;
            self.ticket_count += 1;
            if let Some(bucket) = self.own.get_mut(&stream) {
                // There are as many: asked above.
                let _ = bucket.take(now);
            }
        }
        self.fair.took(&stream);
        self.next_start = later(now, self.spacing());
        Some(Release {
            lane: self.key.clone(),
            queue_id,
            tickets: marks.len(),
        })
    }

    /// When so many tokens are there.
    fn tokens_due(&mut self, wanted: usize, now: Timestamp) -> Timestamp {
        let first = self.bucket.next(now);
        match self.grant.permit {
            Permit::Limited(pace) if first <= now => {
                let lacking = wanted as f64 - self.bucket.tokens() - 1e-6;
                match pace.per_second {
                    Some(rate) if lacking > 0.0 => later(now, lacking / rate),
                    _ => now,
                }
            }
            Permit::Limited(pace) => {
                let more = (wanted - 1) as f64;
                pace.per_second.map_or(first, |rate| later(first, more / rate))
            }
            _ => first,
        }
    }

    /// When something is to be done here next: a release, or what time alone brings.
    pub fn due(&mut self, ears: Ears, now: Timestamp) -> Timestamp {
        let alarm = self.backlog.alarm().unwrap_or(Timestamp::MAX);
        if !self.backlog.is_waiting() {
            return alarm;
        }
        self.refresh(now);
        // What the permit forbids now it may allow when it is asked for again.
        let again = self.grant.until.max(now);
        let askable = self.askable(ears, now);
        // What Postfix will not ask about waits until it has asked about another, or has forgotten.
        let stuck = match (&askable, ears.stale) {
            (None, Some((_, until))) => until.min(later(now, STUCK_SECONDS)),
            _ => now,
        };
        let Some((_, head)) = askable.or_else(|| self.turn(None, now)) else {
            let own = self.backlog.streams().copied().collect::<Vec<_>>();
            let next = own
                .iter()
                .filter_map(|stream| self.own.get_mut(stream).map(|bucket| bucket.next(now)))
                .min();
            return next.unwrap_or(Timestamp::MAX).min(alarm);
        };
        let wanted = self.wanted(head.recipients, ears, now);
        let tokens = if wanted == 0 {
            // An outcome makes room, or else being forgotten.
            let first = self.departures.front().map(|(at, _)| later(*at, FORGOTTEN));
            let first = [first, self.lingering.front().copied()]
                .into_iter()
                .flatten()
                .min();
            first.unwrap_or_else(|| later(now, GRANT_SECONDS))
        } else {
            self.tokens_due(wanted, now)
        };
        tokens
            .min(again.max(later(now, 0.001)))
            .max(stuck.max(self.next_start))
            .min(alarm)
    }
}
