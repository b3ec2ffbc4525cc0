//! One commit, step by step, in one transaction.
//!
//! 1. Claim the events' ids: those that were claimed before are no news.
//! 2. Learn what the store knows about the news, and lock what a decision will rest on.
//! 3. Ask [`decide`](crate::engine::decide) what should change.
//! 4. Write events, counts, changes and positions.
//!
//! Every step writes or locks its rows in the order of their keys, and the steps always come in this
//! order, the feed last: two commits wait for each other, and hardly ever in a circle. Where they do,
//! or where two met a lane at its first signal, [`Fault::Conflict`] says to do it all again.

use super::contract::{Batch, Committed};
use super::row::{self, micros};
use super::session::{Args, Fault, Rows, Session, clean};
use super::suppression;
use crate::engine::decide::{Decision, Known, Record};
use crate::engine::throttle::{Lane, LaneKey};
use crate::engine::trust::{self, Fingerprint, Trust};
use crate::mail::address::AddressKey;
use crate::mail::event::{Event, EventId, Evidence, Outcome};
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// Two reports of one failure are at most so far apart: after it, the MTA may have given the queue id anew.
const SAME_FAILURE: SignedDuration = SignedDuration::from_hours(24);
/// Texts in keys are cut at so many octets: an index entry holds no more than about 2,700.
const KEY_OCTETS: usize = 255;
/// What an echo is counted as.
const REPEAT: &str = "repeat";

/// Does all of it but the final `COMMIT`.
pub(super) async fn work<F>(
    session: &mut Session,
    batch: &Batch,
    decide: &F,
    now: Timestamp,
) -> Result<Committed, Fault>
where
    F: Fn(&Known) -> Decision + Send + Sync,
{
    let records = &batch.records;
    let mut known = Known {
        fresh: claim(session, records).await?,
        correlated: vec![false; records.len()],
        repeat_of: vec![None; records.len()],
        ..Known::default()
    };
    remember(session, records, &known.fresh).await?;
    correlate(session, records, &mut known).await?;
    find_repeats(session, records, &mut known).await?;
    load_suppressions(session, records, &mut known, now).await?;
    let met = load_lanes(session, records, &mut known).await?;

    let decision = decide(&known);
    if decision.trust.len() != records.len() {
        let (found, expected) = (decision.trust.len(), records.len());
        return Err(Fault::Refused(format!(
            "a decision on {found} of {expected} records"
        )));
    }

    let mut totals = Totals::default();
    keep_events(session, records, &known, &decision.trust, now, &mut totals).await?;
    count(session, records, &known, &mut totals).await?;
    keep_lanes(session, &decision.lanes, &known, &met).await?;
    keep_domains(session, &decision.domains).await?;
    keep_unread(session, batch, &mut totals).await?;
    keep_positions(session, batch, now).await?;
    let suppressed = suppression::insert(session, &decision.suppress, now).await?;
    suppression::total(&suppressed, &mut totals);
    totals.write(session).await?;
    suppression::announce(session, &suppressed.ids(), now).await?;
    Ok(Committed {
        fresh: known.fresh,
        suppressed: suppressed.entries,
        lanes: decision
            .lanes
            .iter()
            .map(|(key, lane)| (key.clone(), row::stored_lane(lane)))
            .collect(),
        domains: decision.domains,
    })
}

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
async fn write(session: &mut Session, sql: &'static str, rows: Rows) -> Result<u64, Fault> {
    if rows.len() == 0 {
        return Ok(0);
    }
    session.run(sql, Args::Rows(rows)).await
}

/// Which of the events are seen for the first time; of two with one id in the batch, the first is.
async fn claim(session: &mut Session, records: &[Record]) -> Result<Vec<bool>, Fault> {
    let ids: BTreeSet<EventId> = records.iter().map(|record| record.event.id).collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let rows = Rows::new().octets("id", ids.iter().map(|id| id.0.as_slice()));
    let claimed = session
        .fetch(
            "INSERT INTO seen (id) SELECT id FROM {given} WHERE true
             ON CONFLICT (id) DO NOTHING RETURNING id",
            Args::Rows(rows),
        )
        .await?;
    let mut claimed: HashSet<[u8; 16]> = claimed
        .iter()
        .map(|row| row::sixteen(&row.get::<Vec<u8>>(0)?))
        .collect::<Result<_, Fault>>()?;
    Ok(records
        .iter()
        .map(|record| claimed.remove(&record.event.id.0))
        .collect())
}

/// Keeps the marks of what left.
async fn remember(session: &mut Session, records: &[Record], fresh: &[bool]) -> Result<(), Fault> {
    let marks: BTreeMap<Fingerprint, i64> = news(records, fresh)
        .filter(|(_, record)| trust::leaves(&record.event))
        .flat_map(|(_, record)| {
            let at = micros(record.event.at);
            record.correlations.iter().map(move |&mark| (mark, at))
        })
        .collect();
    let rows = Rows::new()
        .octets("mark", marks.keys().map(|mark| mark.0.as_slice()))
        .ints("at", marks.values().copied());
    write(
        session,
        "INSERT INTO sent (mark, at) SELECT mark, at FROM {given} WHERE true ON CONFLICT (mark) DO NOTHING",
        rows,
    )
    .await
    .map(drop)
}

fn news<'a>(records: &'a [Record], fresh: &'a [bool]) -> impl Iterator<Item = (usize, &'a Record)> {
    records.iter().enumerate().filter(|&(index, _)| fresh[index])
}

/// Looks for the messages that foreign reports are about among those that left.
async fn correlate(session: &mut Session, records: &[Record], known: &mut Known) -> Result<(), Fault> {
    let reports: Vec<(usize, &Record)> = news(records, &known.fresh)
        .filter(|(_, record)| !record.event.own && !trust::leaves(&record.event))
        .collect();
    let marks: BTreeSet<Fingerprint> = reports
        .iter()
        .flat_map(|(_, record)| record.correlations.iter().copied())
        .collect();
    if marks.is_empty() {
        return Ok(());
    }
    let rows = Rows::new().octets("mark", marks.iter().map(|mark| mark.0.as_slice()));
    let left = session
        .fetch(
            "SELECT sent.mark FROM {given} JOIN sent ON sent.mark = given.mark",
            Args::Rows(rows),
        )
        .await?;
    let left: HashSet<[u8; 16]> = left
        .iter()
        .map(|row| row::sixteen(&row.get::<Vec<u8>>(0)?))
        .collect::<Result<_, Fault>>()?;
    for (index, record) in reports {
        known.correlated[index] = record.correlations.iter().any(|mark| left.contains(&mark.0));
    }
    Ok(())
}

/// Whether the event itself is kept, and not only counted.
fn is_kept(event: &Event) -> bool {
    event.evidence == Evidence::Fresh && !matches!(event.outcome, Outcome::Delivered | Outcome::Relayed)
}

/// Finds the failures that were told before, in the store or earlier in the batch.
async fn find_repeats(session: &mut Session, records: &[Record], known: &mut Known) -> Result<(), Fault> {
    let failures: Vec<(usize, Fingerprint, &Event)> = news(records, &known.fresh)
        .filter(|(_, record)| is_kept(&record.event))
        .filter_map(|(index, record)| Some((index, record.failure?, &record.event)))
        .collect();
    if failures.is_empty() {
        return Ok(());
    }
    let mut first: BTreeMap<Fingerprint, (EventId, Timestamp)> = BTreeMap::new();
    for &(_, mark, event) in &failures {
        first.entry(mark).or_insert((event.id, event.at));
    }
    // Two statements: the insert waits for whoever tells the same failure just now, and what that one
    // wrote is visible to the statement after it.
    write(
        session,
        "INSERT INTO failure (mark, event, at) SELECT mark, event, at FROM {given} WHERE true
         ON CONFLICT (mark) DO NOTHING",
        failure_rows(&first),
    )
    .await?;
    let rows = Rows::new().octets("mark", first.keys().map(|mark| mark.0.as_slice()));
    let told = session
        .fetch(
            "SELECT failure.mark, failure.event, failure.at
             FROM {given} JOIN failure ON failure.mark = given.mark",
            Args::Rows(rows),
        )
        .await?;
    for row in &told {
        let mark = Fingerprint(row::sixteen(&row.get::<Vec<u8>>(0)?)?);
        let event = EventId(row::sixteen(&row.get::<Vec<u8>>(1)?)?);
        first.insert(mark, (event, row::timestamp(row.get(2)?)));
    }
    let mut renewed = BTreeMap::new();
    for (index, mark, event) in failures {
        match first.get(&mark) {
            Some((teller, _)) if *teller == event.id => {}
            Some((teller, at)) if event.at.duration_since(*at).abs() <= SAME_FAILURE => {
                known.repeat_of[index] = Some(*teller);
            }
            _ => {
                first.insert(mark, (event.id, event.at));
                renewed.insert(mark, (event.id, event.at));
            }
        }
    }
    write(
        session,
        "INSERT INTO failure (mark, event, at) SELECT mark, event, at FROM {given} WHERE true
         ON CONFLICT (mark) DO UPDATE SET event = excluded.event, at = excluded.at",
        failure_rows(&renewed),
    )
    .await
    .map(drop)
}

fn failure_rows(failures: &BTreeMap<Fingerprint, (EventId, Timestamp)>) -> Rows {
    Rows::new()
        .octets("mark", failures.keys().map(|mark| mark.0.as_slice()))
        .octets("event", failures.values().map(|(event, _)| event.0.as_slice()))
        .ints("at", failures.values().map(|(_, at)| micros(*at)))
}

/// What a decision can be about: news that is no echo.
fn evidence<'a>(records: &'a [Record], known: &'a Known) -> impl Iterator<Item = &'a Record> {
    news(records, &known.fresh)
        .filter(|&(index, record)| {
            known.repeat_of[index].is_none() && record.event.evidence == Evidence::Fresh
        })
        .map(|(_, record)| record)
}

/// Loads and locks the entries that are in force for the addresses that failed.
async fn load_suppressions(
    session: &mut Session,
    records: &[Record],
    known: &mut Known,
    now: Timestamp,
) -> Result<(), Fault> {
    let failed: BTreeSet<&AddressKey> = evidence(records, known)
        .filter(|record| matches!(record.event.outcome, Outcome::Failed | Outcome::Complaint))
        .map(|record| &record.mailed)
        .collect();
    if failed.is_empty() {
        return Ok(());
    }
    let rows = Rows::new()
        .texts("address", failed.iter().map(|address| address.as_str()))
        .ints("now", failed.iter().map(|_| micros(now)));
    let entries = session
        .fetch(
            "SELECT stored.id, stored.address, stored.cause, stored.since, stored.expires, stored.author,
                    stored.reason, stored.event
             FROM {given} JOIN suppression AS stored ON stored.address = given.address
             WHERE stored.expires IS NULL OR stored.expires > given.now
             ORDER BY stored.address {lock}",
            Args::Rows(rows),
        )
        .await?;
    for row in &entries {
        let entry = row::suppression(row)?;
        known.suppressed.insert(entry.entry.address.clone(), entry);
    }
    Ok(())
}

/// Loads and locks the lanes of the records; returns the keys that were asked for.
async fn load_lanes(
    session: &mut Session,
    records: &[Record],
    known: &mut Known,
) -> Result<HashSet<LaneKey>, Fault> {
    // The database knows a key without its NULs; the records may have them.
    let keys: BTreeMap<(String, String), LaneKey> = evidence(records, known)
        .filter_map(|record| record.lane.as_ref())
        .map(|key| ((clean(&key.provider), clean(&key.egress)), key.clone()))
        .collect();
    if keys.is_empty() {
        return Ok(HashSet::new());
    }
    let rows = Rows::new()
        .texts("provider", keys.keys().map(|(provider, _)| provider.as_str()))
        .texts("egress", keys.keys().map(|(_, egress)| egress.as_str()));
    let lanes = session
        .fetch(
            "SELECT stored.provider, stored.egress, stored.state, stored.until, stored.repeats, stored.since,
                    stored.rule, stored.reply, stored.hold, stored.signals
             FROM {given} JOIN lane AS stored
               ON stored.provider = given.provider AND stored.egress = given.egress
             ORDER BY stored.provider, stored.egress {lock}",
            Args::Rows(rows),
        )
        .await?;
    for row in &lanes {
        let (key, lane) = row::lane(row)?;
        if let Some(key) = keys.get(&(key.provider, key.egress)) {
            known.lanes.insert(key.clone(), lane);
        }
    }
    Ok(keys.into_values().collect())
}

/// Keeps the failures, deferrals and complaints that are news.
async fn keep_events(
    session: &mut Session,
    records: &[Record],
    known: &Known,
    trust: &[Trust],
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
    }
    write(
        session,
        super::event::INSERT,
        super::event::rows(&kept, known, trust, now),
    )
    .await
    .map(drop)
}

/// Counts everything that is news.
async fn count(
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

/// Keeps the lanes' new states. A lane that was looked for and not found must still not be there.
async fn keep_lanes(
    session: &mut Session,
    lanes: &[(LaneKey, Lane)],
    known: &Known,
    met: &HashSet<LaneKey>,
) -> Result<(), Fault> {
    let lanes: BTreeMap<&LaneKey, &Lane> = lanes.iter().map(|(key, lane)| (key, lane)).collect();
    let (new, old): (Vec<_>, Vec<_>) = lanes
        .into_iter()
        .partition(|(key, _)| met.contains(*key) && !known.lanes.contains_key(*key));
    let expected = new.len() as u64;
    let written = write(
        session,
        "INSERT INTO lane (provider, egress, state, until, repeats, since, rule, reply, hold, signals)
         SELECT provider, egress, state, until, repeats, since, rule, reply, hold, signals
         FROM {given} WHERE true ON CONFLICT (provider, egress) DO NOTHING",
        lane_rows(&new),
    )
    .await?;
    if written != expected {
        return Err(Fault::Conflict("a lane came to be in between".into()));
    }
    write(
        session,
        "INSERT INTO lane (provider, egress, state, until, repeats, since, rule, reply, hold, signals)
         SELECT provider, egress, state, until, repeats, since, rule, reply, hold, signals
         FROM {given} WHERE true
         ON CONFLICT (provider, egress) DO UPDATE SET
             state = excluded.state, until = excluded.until, repeats = excluded.repeats,
             since = excluded.since, rule = excluded.rule, reply = excluded.reply,
             hold = excluded.hold, signals = excluded.signals",
        lane_rows(&old),
    )
    .await
    .map(drop)
}

fn lane_rows(lanes: &[(&LaneKey, &Lane)]) -> Rows {
    let lane = || lanes.iter().map(|&(_, lane)| lane);
    let signal = || lane().map(|lane| lane.evidence.as_ref());
    Rows::new()
        .texts("provider", lanes.iter().map(|(key, _)| key.provider.as_str()))
        .texts("egress", lanes.iter().map(|(key, _)| key.egress.as_str()))
        .texts("state", lane().map(|lane| row::state(lane.state).0))
        .ints("until", lane().map(|lane| row::state(lane.state).1))
        .ints("repeats", lane().map(|lane| i64::from(lane.repeats)))
        .ints("since", lane().map(|lane| micros(lane.since)))
        .texts("rule", signal().map(|signal| Some(signal?.rule.as_str())))
        .texts("reply", signal().map(|signal| Some(signal?.reply.as_str())))
        .ints("hold", signal().map(|signal| signal?.hold.map(row::span)))
        .ints(
            "signals",
            lane().map(|lane| i64::try_from(lane.signals).unwrap_or(i64::MAX)),
        )
}

async fn keep_domains(session: &mut Session, domains: &[(String, String)]) -> Result<(), Fault> {
    let domains: BTreeMap<String, &str> = domains
        .iter()
        .map(|(domain, provider)| (clean(domain), provider.as_str()))
        .collect();
    let rows = Rows::new()
        .texts("name", domains.keys().map(String::as_str))
        .texts("provider", domains.values().copied());
    write(
        session,
        "INSERT INTO domain (name, provider) SELECT name, provider FROM {given} WHERE true
         ON CONFLICT (name) DO UPDATE SET provider = excluded.provider",
        rows,
    )
    .await
    .map(drop)
}

async fn keep_unread(session: &mut Session, batch: &Batch, totals: &mut Totals) -> Result<(), Fault> {
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

async fn keep_positions(session: &mut Session, batch: &Batch, now: Timestamp) -> Result<(), Fault> {
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
