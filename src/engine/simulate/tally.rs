//! What came of it: counts in steps of ten seconds, and the few numbers that say how good it was.

use super::provider::Answer;
use std::time::Duration;

/// A step, in seconds.
pub const STEP: f64 = 10.0;
/// What happens in the first so many seconds is not judged: nothing was known yet.
pub const LEARNING: f64 = 600.0;

/// The counts of one step.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Count {
    /// Attempts that were answered.
    pub attempts: u32,
    /// Of these: taken.
    pub taken: u32,
    /// Of these: refused for haste, or for connections.
    pub refused: u32,
    /// The provider's limit, a second, as last seen.
    pub limit: f64,
    /// The rate that the policy allowed, a second, as last seen; `None` is no limit.
    pub rate: Option<f64>,
}

/// The counts of a whole simulation.
#[derive(Debug, Clone, PartialEq)]
pub struct Tally {
    /// Step by step.
    pub counts: Vec<Count>,
    rises: Option<f64>,
    seen: usize,
}

/// How good it was, after the first ten minutes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// Messages taken.
    pub taken: u64,
    /// Messages taken, as a share of what the limit would have allowed.
    pub goodput: f64,
    /// Attempts.
    pub attempts: u64,
    /// Refusals.
    pub refused: u64,
    /// Refusals, as a share of attempts.
    pub refusals: f64,
    /// How long it took to come to nine tenths of a limit that rose, in seconds; `None` where it never
    /// rose, or never came to that.
    pub recovery: Option<f64>,
    /// The most that was taken in a minute, as a share of the limit, bursts included.
    pub peak: f64,
    /// Refusals in the first ten minutes.
    pub learning: u64,
}

impl Tally {
    /// For so long; where the limit rises at a time, in seconds.
    #[must_use]
    pub fn new(span: Duration, rises: Option<f64>) -> Self {
        let steps = (span.as_secs_f64() / STEP).ceil() as usize;
        Self {
            counts: vec![Count::default(); steps.max(1)],
            rises,
            seen: 0,
        }
    }

    fn step(&self, at: f64) -> usize {
        ((at / STEP) as usize).min(self.counts.len() - 1)
    }

    /// The limit and the rate at a time; they last until they are shown again.
    pub(super) fn show(&mut self, at: f64, limit: f64, rate: Option<f64>) {
        let step = self.step(at);
        let last = self.counts[self.seen];
        for count in &mut self.counts[self.seen..step] {
            if count.limit == 0.0 {
                (count.limit, count.rate) = (last.limit, last.rate);
            }
        }
        self.seen = step;
        (self.counts[step].limit, self.counts[step].rate) = (limit, rate);
    }

    pub(super) fn answered(&mut self, at: f64, answer: Answer) {
        let step = self.step(at);
        let count = &mut self.counts[step];
        count.attempts += 1;
        count.taken += u32::from(answer == Answer::Taken);
        count.refused += u32::from(matches!(answer, Answer::TooFast | Answer::TooMany));
    }

    /// Sums it up. What would have been allowed is what the provider itself said: where it shrank, what it
    /// could have been at the beginning.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let learned = ((LEARNING / STEP) as usize).min(self.counts.len() / 2);
        let (learning, judged) = self.counts.split_at(learned);
        let whole = self.counts.iter().map(|count| count.limit).fold(0.0, f64::max);
        let shrank = self.rises.is_none();
        let allowed: f64 = judged
            .iter()
            .map(|count| STEP * if shrank { whole } else { count.limit })
            .sum();
        let sum = |get: fn(&Count) -> u32| judged.iter().map(|count| u64::from(get(count))).sum::<u64>();
        let (taken, attempts, refused) = (sum(|c| c.taken), sum(|c| c.attempts), sum(|c| c.refused));
        Summary {
            taken,
            goodput: taken as f64 / allowed.max(1.0),
            attempts,
            refused,
            refusals: refused as f64 / attempts.max(1) as f64,
            recovery: self.rises.and_then(|rise| self.recovery(rise)),
            peak: self.peak(learned, whole),
            learning: learning.iter().map(|count| u64::from(count.refused)).sum(),
        }
    }

    /// The time from a rise until a minute (or twenty messages, if those take longer) in which nine tenths
    /// of the limit were taken.
    fn recovery(&self, rise: f64) -> Option<f64> {
        let first = self.step(rise + STEP / 2.0);
        let limit = self.counts.get(first + 1)?.limit;
        let window = ((20.0 / limit).max(60.0) / STEP).ceil() as usize;
        let enough = 0.9 * limit * window as f64 * STEP;
        (first + window..=self.counts.len()).find_map(|end| {
            let taken: u32 = self.counts[end - window..end]
                .iter()
                .map(|count| count.taken)
                .sum();
            (f64::from(taken) >= enough).then_some(end as f64 * STEP - rise)
        })
    }

    fn peak(&self, from: usize, limit: f64) -> f64 {
        let minute = (60.0 / STEP) as usize;
        let most = self.counts[from..]
            .windows(minute)
            .map(|steps| steps.iter().map(|count| count.taken).sum::<u32>())
            .max();
        f64::from(most.unwrap_or(0)) / (limit * 60.0)
    }
}
