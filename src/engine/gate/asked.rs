//! What Postfix's queue manager was told last, and goes on believing.
//!
//! Its client of the address resolver (`resolve_clnt.c`) remembers one answer, for 30 s, by recipient (and class,
//! and sender): a recipient that was put off and is asked about again with nobody in between is put off again
//! without our being asked. Nothing outside Postfix can make it forget; but any other look-up does. So
//! a message whose one waiting recipient was put off last is passed over by the releaser: others go first, which is
//! cure enough, and where there are none in its lane, a message of another lane is handed over in vain, so that its
//! look-up takes the place ([`Gate::nudge`]). Only what waits quite alone, while no mail at all passes, waits for
//! the 30 s to be over: no longer, for what is remembered is not remembered anew.
//!
//! After a restart it is not known what was asked last. Such a message comes back at once, and rests a while
//! (`engine/backlog.rs`).

use super::look::{Passing, Release};
use super::{Gate, later};
use crate::engine::backlog::Mark;
use jiff::Timestamp;

/// How long an answer is remembered, in seconds.
const REMEMBERED: f64 = 30.0;
/// A message that was handed over in vain, and is asked about within so many seconds if it is asked about at all.
const NUDGED: f64 = 2.0;

/// The last answer, where it put somebody off.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Asked {
    mark: Mark,
    until: Timestamp,
    nudge: Timestamp,
}

impl Gate {
    /// This recipient was asked about, and so answered.
    pub(super) fn asked(&self, mark: Mark, passing: Passing, now: Timestamp) {
        *self.asked.lock() = (passing != Passing::Go).then(|| Asked {
            mark,
            until: later(now, REMEMBERED),
            nudge: now,
        });
    }

    /// Postfix asked about a recipient whose answer was none of a lane's: whatever it remembered of one is gone.
    pub fn asked_otherwise(&self) {
        *self.asked.lock() = None;
    }

    /// The recipient that Postfix would put off without asking, and until when.
    pub(super) fn stale(&self, now: Timestamp) -> Option<(Mark, Timestamp)> {
        let asked = *self.asked.lock();
        let asked = asked.filter(|asked| now < asked.until)?;
        Some((asked.mark, asked.until))
    }

    /// A message of any lane whose look-up will take the place of what is remembered; it has no ticket, and will be put
    /// off. At most one in a while.
    pub(super) fn nudge(&self, now: Timestamp) -> Option<Release> {
        let mark = {
            let mut asked = self.asked.lock();
            let asked = asked
                .as_mut()
                .filter(|asked| asked.nudge <= now && now < asked.until)?;
            asked.nudge = later(now, NUDGED);
            asked.mark
        };
        self.places().find_map(|place| {
            let way = place.way.lock();
            let queue_id = way.backlog.any_but(mark)?;
            Some(Release {
                lane: way.key.clone(),
                queue_id,
                tickets: 0,
            })
        })
    }
}
