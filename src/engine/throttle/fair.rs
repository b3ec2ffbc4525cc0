//! Whose turn it is: start-time fair queueing over the streams of a lane.
//!
//! Each stream has a weight; a stream with something to send gets its share of the turns, however much the
//! others have waiting, and what a stream does not use the others share (Goyal, Vin and Cheng, 1996). A
//! stream that comes back after a pause begins at the present: it neither saved up turns nor lost them.
//!
//! Proof of the share: every turn moves its stream's tag on by 1 / weight, and the stream with the
//! smallest tag is next; so the tags of any two streams that wait all the time are never further apart than
//! one turn of the one plus one of the other. Over any span, a stream that waits all the time thus gets its
//! share of the turns up to one turn of its own and one of each other stream.
//!
//! Memory is one entry a stream; those idle for longest beyond [`Fair::CAPACITY`] are forgotten, at no more
//! cost than their place in the present turn.

use std::collections::HashMap;
use std::hash::Hash;

/// The picker. `K` names a stream.
#[derive(Debug, Clone)]
pub struct Fair<K> {
    streams: HashMap<K, Stream>,
    /// The tag of the turn that was given last.
    now: f64,
}

#[derive(Debug, Clone, Copy)]
struct Stream {
    weight: f64,
    /// The start tag of its next turn.
    tag: f64,
}

impl<K: Clone + Eq + Hash + Ord> Default for Fair<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Clone + Eq + Hash + Ord> Fair<K> {
    /// The most streams that are remembered.
    pub const CAPACITY: usize = 1024;
    /// The weights there are: what lies outside is drawn to the nearer end.
    pub const WEIGHTS: std::ops::RangeInclusive<f64> = 0.001..=1000.0;

    /// Without streams.
    #[must_use]
    pub fn new() -> Self {
        Self {
            streams: HashMap::new(),
            now: 0.0,
        }
    }

    /// The stream's share against others'. Streams of which nothing was said have 1.
    pub fn set_weight(&mut self, stream: K, weight: f64) {
        let weight = Self::weight(weight);
        let tag = self.now;
        self.make_room(&stream);
        self.streams
            .entry(stream)
            .and_modify(|known| known.weight = weight)
            .or_insert(Stream { weight, tag });
    }

    /// Which of the streams that have something to send (and may: ask their own buckets first) is next.
    /// Its turn is not over until [`Fair::took`] says so. `None` where none waits. Equal claims go by
    /// name, so that the same waiting gives the same order.
    #[must_use]
    pub fn next<'a>(&self, waiting: impl IntoIterator<Item = &'a K>) -> Option<&'a K>
    where
        K: 'a,
    {
        let tag = |stream: &K| self.streams.get(stream).map_or(self.now, |s| s.tag.max(self.now));
        waiting
            .into_iter()
            .min_by(|a, b| tag(a).total_cmp(&tag(b)).then_with(|| a.cmp(b)))
    }

    /// The stream took its turn.
    pub fn took(&mut self, stream: &K) {
        self.make_room(stream);
        let now = self.now;
        let known = self.streams.entry(stream.clone()).or_insert(Stream {
            weight: 1.0,
            tag: now,
        });
        let start = known.tag.max(now);
        known.tag = start + 1.0 / known.weight;
        self.now = start;
    }

    /// How many streams are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.streams.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    fn weight(weight: f64) -> f64 {
        if weight.is_nan() {
            return 1.0;
        }
        weight.clamp(*Self::WEIGHTS.start(), *Self::WEIGHTS.end())
    }

    /// Forgets the stream that is furthest in the past when another would be one too many.
    fn make_room(&mut self, stream: &K) {
        if self.streams.len() < Self::CAPACITY || self.streams.contains_key(stream) {
            return;
        }
        let oldest = self
            .streams
            .iter()
            .min_by(|(a, s), (b, t)| s.tag.total_cmp(&t.tag).then_with(|| a.cmp(b)))
            .map(|(name, _)| name.clone());
        oldest.map(|name| self.streams.remove(&name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn turns(fair: &mut Fair<&'static str>, waiting: &[&'static str], n: usize) -> Vec<&'static str> {
        (0..n)
            .map(|_| {
                let next = *fair.next(waiting).unwrap();
                fair.took(&next);
                next
            })
            .collect()
    }

    #[test]
    fn turns_go_by_weight() {
        let mut fair = Fair::new();
        fair.set_weight("mass", 1.0);
        fair.set_weight("receipt", 3.0);
        let order = turns(&mut fair, &["mass", "receipt"], 8);
        assert_eq!(order.iter().filter(|&&name| name == "receipt").count(), 6);
        assert!(fair.next([]).is_none());
    }

    #[test]
    fn who_was_away_is_neither_rich_nor_poor() {
        let mut fair = Fair::new();
        turns(&mut fair, &["mass"], 1000);
        let order = turns(&mut fair, &["mass", "receipt"], 10);
        let receipts = order.iter().filter(|&&name| name == "receipt").count();
        assert!((5..=6).contains(&receipts), "{order:?}");
        assert!(order[..2].contains(&"receipt"), "and does not wait");
    }

    #[test]
    fn strange_weights_are_drawn_in_and_memory_is_bounded() {
        let mut fair = Fair::new();
        for n in 0..5000u32 {
            fair.set_weight(n, if n % 2 == 0 { f64::NAN } else { -1.0 });
            fair.took(&n);
        }
        assert_eq!(fair.len(), Fair::<u32>::CAPACITY);
    }

    proptest! {
        /// Streams come and go; over any span in which a stream waits all the time it gets its share of
        /// the turns, up to one turn of its own and one of each of the others.
        #[test]
        fn no_stream_starves(
            weights in proptest::collection::vec(0.1..10.0f64, 2..8),
            away in proptest::collection::vec((0..8usize, 0..400usize, 1..200usize), 0..6),
            patient in 0..8usize,
        ) {
            let patient = patient % weights.len();
            let mut fair = Fair::new();
            for (stream, &weight) in weights.iter().enumerate() {
                fair.set_weight(stream, weight);
            }
            let total: f64 = weights.iter().sum();
            let (mut got, slack) = (0.0, weights[patient] * weights.iter().map(|w| 1.0 / w).sum::<f64>() + 1.0);
            for turn in 0..600 {
                let waiting: Vec<usize> = (0..weights.len())
                    .filter(|&s| s == patient || !away.iter().any(|&(who, from, span)| who == s && (from..from + span).contains(&turn)))
                    .collect();
                let next = *fair.next(&waiting).unwrap();
                fair.took(&next);
                got += f64::from(u8::from(next == patient));
                let share = weights[patient] / total * f64::from(turn as u32 + 1);
                prop_assert!(got + slack >= share, "turn {turn}: {got} of {share}");
            }
        }
    }
}
