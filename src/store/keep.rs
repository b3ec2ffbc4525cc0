//! The writing half of a commit: events, counts, lanes, domains, unread messages, positions, totals.

use super::commit::{is_kept, news};
use super::contract::Batch;
use super::row::{self, micros};
use super::session::{Args, Fault, Rows, Session, clean};
use crate::engine::decide::{Known, Record};
use crate::engine::throttle::{Lane, LaneKey};
use crate::engine::trust::Finding;
use crate::mail::event::{Evidence, Source};
use jiff::Timestamp;
use std::collections::{BTreeMap, HashSet};

/// Texts in keys are cut at so many octets: an index entry holds no more than about 2,700.
const KEY_OCTETS: usize = 255;
/// What an echo is counted as.
const REPEAT: &str = "repeat";
/// The kind of total that reports in messages are counted under, by how sure we are of them.
pub(super) const TRUST: &str = "trust";
/// The same, by why nothing proves them.
pub(super) const DOUBT: &str = "doubt";

/// Sums to add to `total`, by kind and name.
#[derive(Default)]
pub(super) struct Totals(BTreeMap<(&'static str, String), i64>);

impl Totals {
    pub(super) fn add(&mut self, kind: &'static str, name: &str, n: i64) {
        match self.0.get_mut(&(kind, name.to_owned())) {
            Some(sum) => *sum += n,
            None => drop(self.0.insert((kind, name.to_owned()), n)),
        }
    }

    pub(super) async fn write(&self, session: &mut Session) -> Result<(), Fault> {
        let rows = Rows::new()
            .texts("kind", self.0.keys().map(|(kind, _)| *kind))
            .texts("name", self.0.keys().map(|(_, name)| name.as_str()))
            .ints("n", self.0.values().copied());
        write(
            session,
            "INSERT INTO total (kind, name, n) SELECT kind, name, n FROM {given} WHERE true
             ON CONFLICT (kind, name) DO UPDATE SET n = total.n + excluded.n",
            rows,
        )
        .await
        .map(drop)
    }
}

/// Runs a statement over rows, where there are any.
pub(super) async fn write(session: &mut Session, sql: &'static str, rows: Rows) -> Result<u64, Fault> {
    if rows.len() == 0 {
        return Ok(0);
    }
    session.run(sql, Args::Rows(rows)).await
}

/// Keeps the failures, deferrals and complaints that are news.
pub(super) async fn events(
    session: &mut Session,
    records: &[Record],
    known: &Known,
    findings: &[Finding],
    now: Timestamp,
    totals: &mut Totals,
) -> Result<(), Fault> {
    let kept: Vec<(usize, &Record)> = news(records, &known.fresh)
        .filter(|(_, record)| is_kept(&record.event))
        .collect();
    for &(index, record) in &kept {
        if known.repeat_of[index].is_none() {
            totals.add("failure", record.verdict.cause.name(), 1);
        }
        if record.event.source != Source::Log {
            totals.add(TRUST, findings[index].trust().name(), 1);
            for doubt in findings[index].doubts() {
                totals.add(DOUBT, doubt.kind().name(), 1);
            }
        }
    }
    write(
        session,
        super::event::INSERT,
        super::event::rows(&kept, known, findings, now),
    )
    .await
    .map(drop)
}

/// Counts everything that is news.
pub(super) async fn count(
    session: &mut Session,
    records: &[Record],
    known: &Known,
    totals: &mut Totals,
) -> Result<(), Fault> {
    let mut tally: BTreeMap<(i64, String, String, String, &str), i64> = BTreeMap::new();
    for (index, record) in news(records, &known.fresh) {
        let echo = record.event.evidence == Evidence::Repeat || known.repeat_of[index].is_some();
        let outcome = if echo { REPEAT } else { record.event.outcome.name() };
        let (provider, egress) = record
            .lane
            .as_ref()
            .map_or_else(Default::default, |lane| (cut(&lane.provider), cut(&lane.egress)));
        let minute = record.event.at.as_second().div_euclid(60);
        let domain = sender_domain(record.event.sender.as_deref());
        *tally
            .entry((minute, provider, egress, domain, outcome))
            .or_default() += 1;
        totals.add("outcome", outcome, 1);
    }
    let rows = Rows::new()
        .ints("minute", tally.keys().map(|key| key.0))
        .texts("provider", tally.keys().map(|key| key.1.as_str()))
        .texts("egress", tally.keys().map(|key| key.2.as_str()))
        .texts("sender_domain", tally.keys().map(|key| key.3.as_str()))
        .texts("outcome", tally.keys().map(|key| key.4))
        .ints("n", tally.values().copied());
    write(
        session,
        "INSERT INTO tally (minute, provider, egress, sender_domain, outcome, n)
         SELECT minute, provider, egress, sender_domain, outcome, n FROM {given} WHERE true
         ON CONFLICT (minute, provider, egress, sender_domain, outcome) DO UPDATE SET n = tally.n + excluded.n",
        rows,
    )
    .await
    .map(drop)
}

/// The domain of the envelope sender in lower case; empty for the null sender and where there is none.
fn sender_domain(sender: Option<&str>) -> String {
    let domain = sender
        .and_then(|sender| sender.rsplit_once('@'))
        .map_or("", |(_, domain)| domain);
    cut(domain).to_ascii_lowercase()
}

/// The start of a text that goes into a key.
pub(super) fn cut(text: &str) -> String {
    clean(&text[..text.floor_char_boundary(KEY_OCTETS)])
}

/// Keeps the lanes' new states, with the feed's numbers from `first`. A lane that was looked for and not found must
/// still not be there.
pub(super) async fn lanes(
    session: &mut Session,
    lanes: &[(LaneKey, Lane)],
    known: &Known,
    met: &HashSet<LaneKey>,
    first: i64,
) -> Result<(), Fault> {
    let lanes: BTreeMap<&LaneKey, &Lane> = lanes.iter().map(|(key, lane)| (key, lane)).collect();
    let (new, old): (Vec<_>, Vec<_>) = lanes
        .into_iter()
        .partition(|(key, _)| met.contains(*key) && !known.lanes.contains_key(*key));
    let expected = new.len() as u64;
    let written = write(
        session,
        "INSERT INTO lane (provider, egress, lane, state, until, repeats, since, rule, reply, hold, signals, sequence)
         SELECT provider, egress, lane, state, until, repeats, since, rule, reply, hold, signals, sequence
         FROM {given} WHERE true ON CONFLICT (provider, egress) DO NOTHING",
        lane_rows(&new, first),
    )
    .await?;
    if written != expected {
        return Err(Fault::Conflict("a lane came to be in between".into()));
    }
    write(
        session,
        "INSERT INTO lane (provider, egress, lane, state, until, repeats, since, rule, reply, hold, signals, sequence)
         SELECT provider, egress, lane, state, until, repeats, since, rule, reply, hold, signals, sequence
         FROM {given} WHERE true
         ON CONFLICT (provider, egress) DO UPDATE SET
             lane = excluded.lane, state = excluded.state, until = excluded.until, repeats = excluded.repeats,
             since = excluded.since, rule = excluded.rule, reply = excluded.reply,
             hold = excluded.hold, signals = excluded.signals, sequence = excluded.sequence",
        lane_rows(&old, first + i64::try_from(expected).unwrap_or(0)),
    )
    .await
    .map(drop)
}

pub(super) fn lane_rows(lanes: &[(&LaneKey, &Lane)], first: i64) -> Rows {
    let whole: Vec<Option<String>> = lanes.iter().map(|(_, lane)| row::lane_json(lane)).collect();
    let lane = || lanes.iter().map(|&(_, lane)| lane);
    let signal = || lane().map(|lane| lane.signal.as_ref());
    Rows::new()
        .texts("provider", lanes.iter().map(|(key, _)| key.provider.as_str()))
        .texts("egress", lanes.iter().map(|(key, _)| key.egress.as_str()))
        .texts("lane", whole.iter().map(Option::as_deref))
        .texts("state", lane().map(|lane| lane.state.name()))
        .ints("until", lane().map(|lane| row::until(lane.state)))
        .ints("repeats", lane().map(|lane| i64::from(lane.repeats)))
        .ints("since", lane().map(|lane| micros(lane.since)))
        .texts("rule", signal().map(|signal| Some(signal?.rule.as_str())))
        .texts("reply", signal().map(|signal| Some(signal?.reply.as_str())))
        .ints("hold", signal().map(|signal| signal?.hold.map(row::span)))
        .ints(
            "signals",
            lane().map(|lane| i64::try_from(lane.signals).unwrap_or(i64::MAX)),
        )
        .ints("sequence", (first..).take(lanes.len()))
}

/// Keeps the domains' providers, with the feed's numbers from `first`. What was known already is no change.
pub(super) async fn domains(
    session: &mut Session,
    domains: &[(String, String)],
    first: i64,
) -> Result<(), Fault> {
    let domains: BTreeMap<String, &str> = domains
        .iter()
        .map(|(domain, provider)| (clean(domain), provider.as_str()))
        .collect();
    let rows = Rows::new()
        .texts("name", domains.keys().map(String::as_str))
        .texts("provider", domains.values().copied())
        .ints("sequence", (first..).take(domains.len()));
    write(
        session,
        "INSERT INTO domain (name, provider, sequence) SELECT name, provider, sequence FROM {given} WHERE true
         ON CONFLICT (name) DO UPDATE SET provider = excluded.provider, sequence = excluded.sequence
         WHERE domain.provider <> excluded.provider",
        rows,
    )
    .await
    .map(drop)
}

pub(super) async fn unread(session: &mut Session, batch: &Batch, totals: &mut Totals) -> Result<(), Fault> {
    let mut unread: Vec<_> = batch.unread.iter().collect();
    unread.sort_by_key(|message| message.id);
    let rows = Rows::new()
        .octets("id", unread.iter().map(|message| message.id.as_slice()))
        .ints("at", unread.iter().map(|message| micros(message.at)))
        .texts("intake", unread.iter().map(|message| message.intake.as_str()))
        .texts("sender", unread.iter().map(|message| message.sender.as_deref()))
        .texts(
            "recipient",
            unread.iter().map(|message| message.recipient.as_deref()),
        )
        .texts("reason", unread.iter().map(|message| message.reason.as_str()))
        .octets("content", unread.iter().map(|message| message.content.as_slice()));
    let kept = write(
        session,
        "INSERT INTO unread (id, at, intake, sender, recipient, reason, content)
         SELECT id, at, intake, sender, recipient, reason, content FROM {given} WHERE true
         ON CONFLICT (id) DO NOTHING",
        rows,
    )
    .await?;
    if kept > 0 {
        totals.add("unread", "", i64::try_from(kept).unwrap_or(i64::MAX));
    }
    Ok(())
}

pub(super) async fn positions(session: &mut Session, batch: &Batch, now: Timestamp) -> Result<(), Fault> {
    let positions: BTreeMap<String, &str> = batch
        .positions
        .iter()
        .map(|position| (clean(&position.intake), position.value.as_str()))
        .collect();
    let rows = Rows::new()
        .texts("intake", positions.keys().map(String::as_str))
        .texts("value", positions.values().copied())
        .ints("updated", positions.values().map(|_| micros(now)));
    write(
        session,
        "INSERT INTO position (intake, value, updated) SELECT intake, value, updated FROM {given} WHERE true
         ON CONFLICT (intake) DO UPDATE SET value = excluded.value, updated = excluded.updated",
        rows,
    )
    .await
    .map(drop)
}
