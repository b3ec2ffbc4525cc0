//! Why nothing may go through a lane, and how who has to wait meets it.

use super::Way;
use crate::engine::gate::{Hold, Why};
use crate::engine::throttle::{Ceiling, Permit};
use jiff::Timestamp;

impl Way {
    /// Until when, and why, nothing may go; `None` where something may.
    pub fn shut(&mut self, now: Timestamp) -> Option<(Option<Timestamp>, Why)> {
        self.refresh(now);
        match self.grant.permit {
            Permit::Held { until } => match self.grant.because {
                Some(Ceiling::WarmUp { .. }) => Some((Some(until), Why::WarmUp)),
                _ => Some((Some(until), Why::Held)),
            },
            Permit::Paused => Some((None, Why::Paused)),
            Permit::Open | Permit::Limited(_) => None,
        }
    }

    /// The lane as somebody meets it who has to wait.
    pub fn hold(&self, until: Option<Timestamp>, why: Why) -> Hold {
        let rule = self.lane.as_ref().filter(|_| why == Why::Held);
        Hold {
            lane: self.key.clone(),
            until,
            why,
            rule: rule.and_then(|lane| lane.evidence.rule.clone()),
        }
    }
}
