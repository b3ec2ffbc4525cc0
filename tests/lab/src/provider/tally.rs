//! What a provider has seen and said, to be read and waited on.

use std::time::Instant;

/// At which command an answer was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// In place of the greeting: no recipient is known yet.
    Greeting,
    /// To RCPT TO.
    Recipient,
    /// At the end of the message: one answer a recipient.
    Message,
}

/// One answer about one recipient.
#[derive(Debug, Clone)]
pub struct Answer {
    /// When.
    pub at: Instant,
    /// About whom, lower-cased; empty at [`Stage::Greeting`].
    pub recipient: String,
    /// To which command.
    pub stage: Stage,
    /// The three digits.
    pub code: u16,
    /// The whole reply; lines are separated by `\n`.
    pub reply: String,
}

/// What a provider has seen and said since it started.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Connections taken, refused greetings included.
    pub connections: u64,
    /// When each of them came.
    pub connected: Vec<Instant>,
    /// RCPT commands.
    pub rcpts: u64,
    /// Recipients of messages taken with a 250.
    pub accepted: u64,
    /// Permanent refusals: 5xx to a recipient, or to a message (counted for each recipient).
    pub refused: u64,
    /// Temporary refusals, counted likewise; a greeting counts once.
    pub deferred: u64,
    /// Every answer that decided something, in order: each refusal, each recipient taken.
    pub answers: Vec<Answer>,
}

impl Tally {
    /// The answers about one recipient.
    pub fn about<'a>(&'a self, recipient: &'a str) -> impl Iterator<Item = &'a Answer> {
        self.answers
            .iter()
            .filter(move |answer| answer.recipient.eq_ignore_ascii_case(recipient))
    }

    /// Whether a message to this recipient was taken.
    #[must_use]
    pub fn has(&self, recipient: &str) -> bool {
        self.times_accepted(recipient) > 0
    }

    /// How often a message to this recipient was taken: more than once is a duplicate.
    #[must_use]
    pub fn times_accepted(&self, recipient: &str) -> usize {
        self.about(recipient)
            .filter(|a| a.stage == Stage::Message && a.code == 250)
            .count()
    }

    /// Temporary and permanent refusals together.
    #[must_use]
    pub fn refusals(&self) -> u64 {
        self.refused + self.deferred
    }

    /// Refusals that say that we send too fast (421 and 451, and 450 4.7.x).
    #[must_use]
    pub fn slow_downs(&self) -> usize {
        self.answers.iter().filter(|a| is_slow_down(a)).count()
    }

    /// When the first refusal of that kind was given.
    #[must_use]
    pub fn first_slow_down(&self) -> Option<Instant> {
        self.answers.iter().find(|a| is_slow_down(a)).map(|a| a.at)
    }

    pub(super) fn record(&mut self, answer: Answer) {
        match answer.code {
            400..=499 => self.deferred += 1,
            500..=599 => self.refused += 1,
            _ if answer.stage == Stage::Message => self.accepted += 1,
            _ => {}
        }
        self.answers.push(answer);
    }
}

fn is_slow_down(answer: &Answer) -> bool {
    matches!(answer.code, 421 | 451) || answer.reply.starts_with("450 4.7")
}
