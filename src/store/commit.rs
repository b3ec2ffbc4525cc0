//! One commit, step by step, in one transaction.
//!
//! 1. Claim the events' ids: those that were claimed before are no news.
//! 2. Learn what the store knows about the news, and lock what a decision will rest on.
//! 3. Ask [`decide`](crate::engine::decide) what should change.
//! 4. Write events, counts, changes and positions; at last, what the change feed numbers.
//!
//! Every step writes or locks its rows in the order of their keys, and the steps always come in this
//! order, the feed last: two commits wait for each other, and hardly ever in a circle. Where they do,
//! or where two met a lane at its first signal, [`Fault::Conflict`] says to do it all again.

use super::census;
use super::contract::{Batch, Committed};
use super::keep::{self, Totals, write};
use super::order;
use super::prove;
use super::retell::first_id;
use super::retention;
use super::row::{self, micros};
use super::session::{Args, Fault, Rows, Session, clean};
use super::signed;
use super::strike;
use super::suppression;
use crate::engine::decide::{Decision, Known, Record};
use crate::engine::suppression::Suppression;
use crate::engine::throttle::{Lane, LaneKey};
use crate::engine::trust::{self, Fingerprint, Name};
use crate::mail::event::{Event, EventId, Evidence, Outcome};
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// Two reports of one failure are at most so far apart: after it, the MTA may have given the queue id anew.
const SAME_FAILURE: SignedDuration = SignedDuration::from_hours(24);

/// The horizon of what was seen is never younger ([`crate::config::Retention`]); a day less, for clocks that differ.
const YOUNG: SignedDuration = SignedDuration::from_hours(29 * 24);

/// The marks of what left: of which name they are, and when it left.
pub(super) type Departed = BTreeMap<Fingerprint, (Name, i64)>;

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
        fresh: claim(session, records, now).await?,
        correlated: vec![None; records.len()],
        repeat_of: vec![None; records.len()],
        ..Known::default()
    };
    let departed = departures(batch, &known.fresh);
    remember(session, batch, &departed).await?;
    known.proven = prove::find(session, &departed).await?;
    correlate(session, records, &mut known).await?;
    find_repeats(session, records, &mut known).await?;
    let subjects = strike::subjects(evidence(records, &known), &known);
    strike::load(session, &subjects, &mut known).await?;
    census::load(session, records, &batch.guard, &mut known).await?;
    let met = load_lanes(session, records, &mut known).await?;

    let decision = decide(&known);
    if decision.findings.len() != records.len() {
        let (found, expected) = (decision.findings.len(), records.len());
        return Err(Fault::Refused(format!(
            "a decision on {found} of {expected} records"
        )));
    }

    let mut totals = Totals::default();
    keep::events(session, records, &known, &decision.findings, now, &mut totals).await?;
    prove::keep(session, records, &decision, &known.proven, &mut totals).await?;
    strike::keep(session, &decision).await?;
    census::keep(session, &decision.census, &known.incidents).await?;
    let incidents = census::turn(session, &decision).await?;
    keep::count(session, records, &known, &mut totals).await?;
    keep::unread(session, batch, &mut totals).await?;
    keep::positions(session, batch, now).await?;
    let moved = strike::change(session, &decision, &mut totals).await?;
    let suppressed = suppression::insert(session, &decision.suppress, now).await?;
    suppression::total(&suppressed, &mut totals);
    totals.write(session).await?;
    let sequence = announce(session, &suppressed.entries, &moved, &decision, &known, &met, now).await?;
    Ok(Committed {
        fresh: known.fresh,
        suppressed: suppressed.entries,
        changed: strike::entries(moved.changed),
        lifted: strike::entries(moved.lifted),
        incidents,
        lanes: decision
            .lanes
            .iter()
            .map(|(key, lane)| (key.clone(), lane.clone()))
            .collect(),
        findings: decision.findings,
        unlimited: decision.unlimited,
        domains: decision.domains,
        sequence,
    })
}

/// The last step: takes numbers in the change feed and writes what carries them. Returns the greatest.
async fn announce(
    session: &mut Session,
    suppressed: &[Suppression],
    moved: &strike::Moved,
    decision: &Decision,
    known: &Known,
    met: &HashSet<LaneKey>,
    now: Timestamp,
) -> Result<i64, Fault> {
    let turned: Vec<(&LaneKey, &Lane)> = decision
        .lanes
        .iter()
        .filter(|(key, lane)| order::is_history(known.lanes.get(key), lane))
        .map(|(key, lane)| (key, lane))
        .collect();
    let (lanes, domains) = (decision.lanes.len(), decision.domains.len());
    let n = moved.len() + suppressed.len() + turned.len() + lanes + domains;
    if n == 0 {
        return Ok(0);
    }
    let first = suppression::advance(session, n).await?;
    let after = |count: usize| first + i64::try_from(count).unwrap_or(i64::MAX);
    strike::announce(session, moved, first, now).await?;
    suppression::announce(session, suppressed, after(moved.len()), now).await?;
    let entries = moved.len() + suppressed.len();
    order::turned(session, &turned, after(entries)).await?;
    let next = after(entries + turned.len());
    keep::lanes(session, &decision.lanes, known, met, next).await?;
    keep::domains(session, &decision.domains, after(n - domains)).await?;
    session.notify(suppression::CHANNEL).await?;
    Ok(after(n) - 1)
}

/// Which of the events are seen for the first time; of two with one id in the batch, the first is. One of a log or a file
/// from before the horizon may have been counted when its id was still known: it is none. What an MTA hands over just
/// now, whatever time it bears, was counted just now or never.
async fn claim(session: &mut Session, records: &[Record], now: Timestamp) -> Result<Vec<bool>, Fault> {
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
    // Asked after the ids were claimed: whoever moves it lets go of ids in the same transaction. What is younger than
    // any horizon can be need not ask.
    let old = first_id(now.saturating_sub(YOUNG).unwrap_or(Timestamp::MIN));
    if ids.first().is_some_and(|first| *first < old)
        && let Some(first) = retention::horizon(session).await?
    {
        let new: HashSet<[u8; 16]> = records
            .iter()
            .filter(|record| record.event.source.is_live())
            .map(|record| record.event.id.0)
            .collect();
        claimed.retain(|id| *id >= first.0 || new.contains(id));
    }
    Ok(records
        .iter()
        .map(|record| claimed.remove(&record.event.id.0))
        .collect())
}

/// Keeps the marks of what left.
async fn remember(session: &mut Session, batch: &Batch, marks: &Departed) -> Result<(), Fault> {
    let rows = Rows::new()
        .octets("mark", marks.keys().map(|mark| mark.0.as_slice()))
        .ints("at", marks.values().map(|(_, at)| *at));
    write(
        session,
        "INSERT INTO sent (mark, at) SELECT mark, at FROM {given} WHERE true ON CONFLICT (mark) DO NOTHING",
        rows,
    )
    .await?;
    signed::keep(session, &batch.signed).await
}

/// The marks of the messages that have left, and when: by what the records say, and those that were signed.
fn departures(batch: &Batch, fresh: &[bool]) -> Departed {
    let told = news(&batch.records, fresh)
        .filter(|(_, record)| trust::leaves(&record.event))
        .map(|(_, record)| (&record.correlations, record.event.at));
    let signed = batch.signed.iter().map(|signed| (&signed.marks, signed.at));
    told.chain(signed)
        .flat_map(|(marks, at)| {
            let at = micros(at);
            marks.iter().map(move |mark| (mark.print, (mark.name, at)))
        })
        .collect()
}

pub(super) fn news<'a>(
    records: &'a [Record],
    fresh: &'a [bool],
) -> impl Iterator<Item = (usize, &'a Record)> {
    records.iter().enumerate().filter(|&(index, _)| fresh[index])
}

/// Looks for the messages that foreign reports are about among those that left.
async fn correlate(session: &mut Session, records: &[Record], known: &mut Known) -> Result<(), Fault> {
    let reports: Vec<(usize, &Record)> = news(records, &known.fresh)
        .filter(|(_, record)| !record.event.own && !trust::leaves(&record.event))
        .collect();
    let marks: BTreeSet<Fingerprint> = reports
        .iter()
        .flat_map(|(_, record)| record.correlations.iter().map(|mark| mark.print))
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
        let seen = record
            .correlations
            .iter()
            .filter(|mark| left.contains(&mark.print.0));
        known.correlated[index] = seen.map(|mark| mark.name).min();
    }
    Ok(())
}

/// Whether the event itself is kept, and not only counted.
pub(super) fn is_kept(event: &Event) -> bool {
    event.evidence != Evidence::Repeat && !matches!(event.outcome, Outcome::Delivered | Outcome::Relayed)
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
            known.repeat_of[index].is_none() && record.event.evidence != Evidence::Repeat
        })
        .map(|(_, record)| record)
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
            "SELECT stored.provider, stored.egress, stored.lane, stored.state, stored.until, stored.repeats,
                    stored.since, stored.rule, stored.reply, stored.hold, stored.signals
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
