//! The contract of the stores: the types that cross it.

use crate::engine::decide::Record;
use crate::engine::suppression::guard::{Guard, Incident};
use crate::engine::suppression::{Standing, Subject, Suppression, SuppressionId};
use crate::engine::throttle::plan::{Order, Steer};
use crate::engine::throttle::{Lane, LaneKey, State};
use crate::engine::trust::{DoubtKind, Finding, Signed, Trust};
use crate::engine::verdict::{Cause, Verdict};
use crate::mail::address::AddressKey;
use crate::mail::event::{Event, EventId, Outcome};
use crate::mail::reply::Reply;
use jiff::Timestamp;

/// How far an intake has read, in its own words: the store keeps it and never looks inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The intake's name, as in `log:file:/var/log/mail.log`.
    pub intake: String,
    /// Where it stands (JSON of the intake's own making).
    pub value: String,
}

/// A message that no event could be read from: kept, so that nothing that was accepted is lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// A hash of the content, so that it is kept once.
    pub id: [u8; 16],
    /// When it arrived.
    pub at: Timestamp,
    /// Which intake took it.
    pub intake: String,
    /// The envelope sender, where there was one.
    pub sender: Option<String>,
    /// The envelope recipient, where there was one.
    pub recipient: Option<String>,
    /// What could not be read, in a sentence.
    pub reason: String,
    /// The message (or the log line).
    pub content: Vec<u8>,
}

/// What one transaction is to hold.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// The judged events, in the order in which they happened.
    pub records: Vec<Record>,
    /// What could not be read.
    pub unread: Vec<Unread>,
    /// How far the intakes stand when all of this is kept.
    pub positions: Vec<Position>,
    /// Messages that leave with a signed return path.
    pub signed: Vec<Signed>,
    /// What the census is asked for.
    pub guard: Guard,
}

/// Whom a signed message went to, and from whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentTo {
    /// The key of the address that was mailed.
    pub mailed: AddressKey,
    /// The application's own return path; behind a veil only its domain, with an `@`.
    pub sender: String,
}

/// What a commit did.
#[derive(Debug, Clone, Default)]
pub struct Committed {
    /// By the records' positions: whether the event was new.
    pub fresh: Vec<bool>,
    /// By the records' positions: what was found of the event.
    pub findings: Vec<Finding>,
    /// The suppressions written, with their numbers.
    pub suppressed: Vec<Suppression>,
    /// The entries that have another standing than before.
    pub changed: Vec<Suppression>,
    /// The entries that were lifted.
    pub lifted: Vec<Suppression>,
    /// The incidents that began or ended.
    pub incidents: Vec<Incident>,
    /// The lanes written.
    pub lanes: Vec<(LaneKey, Lane)>,
    /// The lanes that are remembered and not written.
    pub unlimited: Vec<(LaneKey, Lane)>,
    /// The domains written, as (domain, provider).
    pub domains: Vec<(String, String)>,
    /// The greatest number in the change feed that the commit took; 0 where it changed nothing.
    pub sequence: i64,
}

/// A line of the change feed; also the audit: who changed what, when and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Its place in the feed.
    pub sequence: i64,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub author: String,
    /// Why.
    pub reason: String,
    /// What.
    pub kind: ChangeKind,
}

/// What changed.
#[derive(Debug, Clone, PartialEq)]
pub enum ChangeKind {
    /// An entry was written, or has another standing now.
    Suppressed {
        /// The entry's number.
        id: SuppressionId,
        /// What it is about.
        subject: Subject,
        /// Why.
        cause: Cause,
        /// Since when.
        since: Timestamp,
        /// Until when; `None` is for good.
        expires: Option<Timestamp>,
        /// Whether it acts.
        standing: Standing,
    },
    /// An entry was lifted.
    Lifted {
        /// The entry's number.
        id: SuppressionId,
        /// What it was about.
        subject: Subject,
    },
    /// Many entries were written at once, all with numbers in this range (others' may lie between them).
    Bulk {
        /// The smallest number.
        first: SuppressionId,
        /// The greatest.
        last: SuppressionId,
    },
    /// This is the state of a lane now. What it was in between is not told: of many changes, the last.
    Lane {
        /// Which.
        key: LaneKey,
        /// Its state.
        lane: Box<Lane>,
    },
    /// The domain's mail goes to this provider.
    Domain {
        /// The domain.
        domain: String,
        /// The provider.
        provider: String,
    },
    /// An operator ordered something.
    Ordered {
        /// Of which lane.
        key: LaneKey,
        /// What.
        what: Steer,
    },
    /// An operator took an order back, or put another in its place.
    Withdrawn {
        /// Of which lane.
        key: LaneKey,
        /// What had been ordered.
        what: Steer,
    },
    /// An operator had forgotten what was learned of a lane.
    Cleared {
        /// Which.
        key: LaneKey,
        /// What was known.
        was: Option<Box<Lane>>,
    },
    /// A signal, or a long calm, changed the state of a lane: for the history. Author and reason are its evidence.
    Turned {
        /// Which.
        key: LaneKey,
        /// What its state became.
        to: State,
    },
    /// Something that only another version knows.
    Unknown,
}

/// A step of the schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its number.
    pub version: i64,
    /// What it is about.
    pub description: String,
    /// Whether this version knows it: if not, a newer one has been here.
    pub known: bool,
    /// Whether the database has it.
    pub applied: bool,
}

/// The number of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OperationId(pub i64);

impl std::fmt::Display for OperationId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// What somebody did to many entries at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Its number.
    pub id: OperationId,
    /// When it began.
    pub at: Timestamp,
    /// Who.
    pub author: String,
    /// Why.
    pub reason: String,
    /// What, as it was asked for.
    pub what: String,
}

/// Who does what and why: what an [`Operation`] begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct By<'a> {
    /// Who.
    pub author: &'a str,
    /// Why.
    pub reason: &'a str,
}

/// What came of a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Revised {
    /// Entries lifted.
    pub lifted: u64,
    /// Entries written.
    pub added: u64,
    /// Entries not written: their subjects have one already.
    pub kept: u64,
}

/// What is stored about a subject over time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    /// The entries that there are, the expired ones included.
    pub entries: Vec<Suppression>,
    /// What was changed, in order, and under which operation.
    pub changes: Vec<(Change, Option<OperationId>)>,
    /// The strikes that stand, as (subject, cause, when).
    pub strikes: Vec<(Subject, Cause, Timestamp)>,
}

/// What an operator's clearing of a lane undid.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cleared {
    /// What was known of the lane.
    pub lane: Option<Lane>,
    /// The orders that stood.
    pub orders: Vec<Order>,
}

/// A stored entry as the memory takes it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Loaded<'a> {
    /// Its number.
    pub id: SuppressionId,
    /// The canonical text of what it is about.
    pub subject: &'a str,
    /// Why.
    pub cause: Cause,
    /// Whether it acts.
    pub standing: Standing,
    /// Until when; `None` is for good.
    pub expires: Option<Timestamp>,
}

/// Where the change feed stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feed {
    /// The number of the last change; 0 where there was none.
    pub sequence: i64,
    /// Changes up to this number were cleared away.
    pub floor: i64,
    /// Whose feed it is: another one after a replica has taken its server's place. Empty for SQLite.
    pub lineage: String,
}

/// Which suppressions to list.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    /// Only this cause.
    pub cause: Option<Cause>,
    /// Only addresses of this domain, and the domain itself.
    pub domain: Option<String>,
    /// Only entries of this stream.
    pub stream: Option<String>,
    /// Only entries since then.
    pub since: Option<Timestamp>,
    /// Only entries since before then.
    pub until: Option<Timestamp>,
    /// Only entries by this author, or whose author's first word it is: `rule google.user-unknown`, `rule`.
    pub source: Option<String>,
    /// Only entries that this provider caused.
    pub provider: Option<String>,
    /// Only entries of this standing.
    pub standing: Option<Standing>,
    /// Only entries that this operation wrote.
    pub operation: Option<OperationId>,
    /// Only entries with a greater number: the cursor of a page.
    pub after: Option<SuppressionId>,
    /// At most so many; 0 is a page of [`Filter::PAGE`].
    pub limit: u32,
}

impl Filter {
    /// The entries of a page where no limit is given.
    pub const PAGE: u32 = 1_000;
}

/// A failure, deferral or complaint as it was kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    /// Its identity.
    pub id: EventId,
    /// When it happened.
    pub at: Timestamp,
    /// What happened.
    pub outcome: Outcome,
    /// Why.
    pub cause: Cause,
    /// The rule that said so.
    pub rule: String,
    /// How sure we are.
    pub trust: Trust,
    /// What proves it, or why nothing does; older versions did not keep that.
    pub proof: Option<String>,
    /// The event that told the same failure before: this one was not counted again.
    pub repeat_of: Option<EventId>,
    /// What was said.
    pub reply: Reply,
}

/// An event as it was kept, with all that judging it again takes.
#[derive(Debug, Clone, PartialEq)]
pub struct Retold {
    /// What happened.
    pub event: Event,
    /// The key of the address that was mailed.
    pub mailed: AddressKey,
    /// What was made of it.
    pub verdict: Verdict,
    /// The provider that it was counted at.
    pub provider: Option<String>,
    /// How sure we are.
    pub trust: Trust,
    /// Whether another event told the same failure before.
    pub is_repeat: bool,
    /// Whether all is known that the verdict rests on. Older versions did not keep which command was answered.
    pub is_whole: bool,
}

/// What came of adding entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Added {
    /// Written.
    pub added: u64,
    /// Suppressed already, and left as they were.
    pub kept: u64,
}

/// Numbers for `nixie status` and the metrics.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Totals {
    /// Suppressions by cause.
    pub suppressions: Vec<(Cause, u64)>,
    /// Failures, deferrals and complaints kept, by cause (repeats left out).
    pub failures: Vec<(Cause, u64)>,
    /// Outcomes counted, by name of the outcome (`delivered`, `deferred`, …; echoes as `repeat`).
    pub outcomes: Vec<(String, u64)>,
    /// Messages that could not be read.
    pub unread: u64,
    /// Reports in messages kept, by how sure we are of them.
    pub trust: Vec<(Trust, u64)>,
    /// Why nothing proved those that came unproven; each may have several reasons.
    pub doubts: Vec<(DoubtKind, u64)>,
}

/// What was settled without new evidence.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settled {
    /// Quarantined entries that nothing confirmed in time, and that are gone.
    pub lifted: Vec<Suppression>,
    /// Incidents that ended.
    pub incidents: Vec<Incident>,
    /// The greatest number in the change feed that it took; 0 where it changed nothing there.
    pub sequence: i64,
}

/// Why the store could not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database does not answer, or not in time. Trying again later helps.
    #[error("the store does not answer: {0}")]
    Unavailable(String),
    /// The database refuses this very content. Trying again does not help.
    #[error("the store refuses the data: {0}")]
    Refused(String),
    /// The URL is not one that we can open.
    #[error(
        "[store] url: expected sqlite:///path/to/nixie.db or postgres://user@host/database, found {url:?}: {problem}"
    )]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
    /// It keeps addresses in another way than it is told to, or under another key.
    #[error("[privacy] key_file: {0}")]
    Veil(&'static str),
    /// The schema could not be brought up to date.
    #[error("migrating the store: {0}")]
    Migration(String),
}

impl StoreError {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}
