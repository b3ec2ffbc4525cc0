//! Strikes, and what becomes of entries by later evidence: lifted, quarantined, confirmed.
//!
//! Two nodes that tell of one subject wait for each other at its strikes, which are read first and locked; of two
//! strikes for one day the second is none (primary key).

use super::census;
use super::contract::Settled;
use super::keep::{Totals, write};
use super::row::{self, micros};
use super::session::{Args, Fault, Row, Rows, Session, Value, clean};
use crate::engine::decide::{Confirmed, Decision, Known, Lifted, Policy, Record};
use crate::engine::suppression::guard::{Kind, Site, Turn};
use crate::engine::suppression::strike::Strike;
use crate::engine::suppression::{Standing, Subject, Suppression};
use crate::engine::verdict::Cause;
use crate::mail::event::Outcome;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeSet;

/// What became of entries that there were.
#[derive(Debug, Default)]
pub(super) struct Moved {
    /// Those that are gone, with who lifted them and why.
    pub(super) lifted: Vec<Told>,
    /// Those that have another standing now, with who said so and why.
    pub(super) changed: Vec<Told>,
}

/// An entry as the feed tells of it.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) suppression: Suppression,
    author: String,
    reason: String,
}

/// The entries alone.
pub(super) fn entries(told: Vec<Told>) -> Vec<Suppression> {
    told.into_iter().map(|told| told.suppression).collect()
}

impl Moved {
    pub(super) fn len(&self) -> usize {
        self.lifted.len() + self.changed.len()
    }
}

/// All that may have strikes or entries which the records touch: who failed, and who took mail, and their domains.
pub(super) fn subjects<'a>(records: impl Iterator<Item = &'a Record>, known: &Known) -> BTreeSet<String> {
    let mut subjects = BTreeSet::new();
    let mut add = |subject: Subject| {
        subjects.insert(clean(&subject.to_string()));
    };
    for record in records {
        let touches = match record.event.outcome {
            Outcome::Failed | Outcome::Delivered => true,
            Outcome::Complaint => {
                let stream = record.stream.as_deref();
                add(Subject::address(record.mailed.clone()).in_stream(stream));
                false
            }
            _ => false,
        };
        if touches {
            add(record.mailed.clone().into());
            add(Subject::domain(record.event.mailed().domain()));
        }
    }
    for charge in known.proven.iter().map(|proven| &proven.charge) {
        let stream = charge.stream.as_deref().filter(|_| charge.cause.is_per_stream());
        add(Subject::address(charge.mailed.clone()).in_stream(stream));
        add(Subject::domain(&charge.domain));
    }
    subjects
}

/// Loads and locks the strikes of the subjects, and then their entries.
pub(super) async fn load(
    session: &mut Session,
    subjects: &BTreeSet<String>,
    known: &mut Known,
) -> Result<(), Fault> {
    if subjects.is_empty() {
        return Ok(());
    }
    let rows = || Rows::new().texts("subject", subjects.iter().map(String::as_str));
    let strikes = session
        .fetch(
            "SELECT stored.subject, stored.cause, stored.at FROM {given} JOIN strike AS stored
               ON stored.subject = given.subject
             ORDER BY stored.subject, stored.cause, stored.day {lock}",
            Args::Rows(rows()),
        )
        .await?;
    for row in &strikes {
        let subject = Subject::from_stored(&row.get::<String>(0)?);
        let key = (subject, row::cause(&row.get::<String>(1)?));
        let strike = Strike::new(row::timestamp(row.get(2)?));
        known.strikes.entry(key).or_default().push(strike);
    }
    let entries = session
        .fetch(
            "SELECT stored.id, stored.address, stored.cause, stored.since, stored.expires, stored.author,
                    stored.reason, stored.event, stored.provider, stored.standing, stored.term
             FROM {given} JOIN suppression AS stored ON stored.address = given.subject
             ORDER BY stored.address {lock}",
            Args::Rows(rows()),
        )
        .await?;
    for row in &entries {
        let entry = row::suppression(row)?;
        known.suppressed.insert(entry.entry.subject.clone(), entry);
    }
    Ok(())
}

/// Keeps new strikes, and lets go of those that are cleared or spent.
pub(super) async fn keep(session: &mut Session, decision: &Decision) -> Result<(), Fault> {
    let texts = |subjects: &mut dyn Iterator<Item = &Subject>| -> Vec<String> {
        subjects.map(|subject| clean(&subject.to_string())).collect()
    };
    let cleared = texts(&mut decision.cleared.iter().map(|(subject, _)| subject));
    let rows = Rows::new()
        .texts("subject", cleared.iter().map(String::as_str))
        .ints("at", decision.cleared.iter().map(|(_, at)| micros(*at)));
    write(
        session,
        "DELETE FROM strike WHERE (subject, cause, day) IN (
             SELECT stored.subject, stored.cause, stored.day FROM {given} JOIN strike AS stored
               ON stored.subject = given.subject WHERE stored.at < given.at)",
        rows,
    )
    .await?;
    let spent = texts(&mut decision.spent.iter().map(|(subject, _)| subject));
    let rows = Rows::new()
        .texts("subject", spent.iter().map(String::as_str))
        .texts("cause", decision.spent.iter().map(|(_, cause)| cause.name()));
    write(
        session,
        "DELETE FROM strike WHERE (subject, cause) IN (SELECT subject, cause FROM {given})",
        rows,
    )
    .await?;
    let new = || decision.strikes.iter();
    let subjects = texts(&mut new().map(|new| &new.subject));
    let rows = Rows::new()
        .texts("subject", subjects.iter().map(String::as_str))
        .texts("cause", new().map(|new| new.cause.name()))
        .ints("day", new().map(|new| new.strike.day()))
        .ints("at", new().map(|new| micros(new.strike.at)))
        .octets("event", new().map(|new| new.event.0.as_slice()));
    write(
        session,
        "INSERT INTO strike (subject, cause, day, at, event) SELECT subject, cause, day, at, event FROM {given}
         WHERE true ON CONFLICT (subject, cause, day) DO NOTHING",
        rows,
    )
    .await
    .map(drop)
}

/// Lifts and confirms entries, and quarantines what rules wrote at the sites of new incidents since those began.
pub(super) async fn change(
    session: &mut Session,
    decision: &Decision,
    totals: &mut Totals,
) -> Result<Moved, Fault> {
    let mut moved = Moved::default();
    lift(session, &decision.lifted, totals, &mut moved).await?;
    confirm(session, &decision.confirmed, &mut moved).await?;
    for (site, turn) in &decision.turns {
        if let Turn::Begins(incident) = turn {
            let reason = format!(
                "{} {} refused {} of {} recipients in an incident",
                site.kind, site.name, incident.census.faults, incident.census.answers
            );
            for row in quarantine(session, site, incident.began).await? {
                let mut suppression = row::suppression(&row)?;
                suppression.entry.standing = Standing::Quarantined;
                moved.changed.push(Told {
                    suppression,
                    author: GUARD.into(),
                    reason: reason.clone(),
                });
            }
        }
    }
    // Two sites, a provider and a domain of its, may both have quarantined one entry: only the first did.
    moved.changed.sort_by_key(|told| told.suppression.id);
    Ok(moved)
}

/// The author of what the incident guard does.
pub(super) const GUARD: &str = "guard";

async fn lift(
    session: &mut Session,
    lifted: &[Lifted],
    totals: &mut Totals,
    moved: &mut Moved,
) -> Result<(), Fault> {
    let rows = Rows::new().ints("id", lifted.iter().map(|lifted| lifted.suppression.id.0));
    let sql = "DELETE FROM suppression WHERE id IN (SELECT id FROM {given}) RETURNING id";
    let gone = ids(session, sql, rows).await?;
    for lifted in lifted
        .iter()
        .filter(|lifted| gone.contains(&lifted.suppression.id.0))
    {
        totals.add(
            super::suppression::KIND,
            lifted.suppression.entry.cause.name(),
            -1,
        );
        moved.lifted.push(Told {
            suppression: lifted.suppression.clone(),
            author: lifted.author.clone(),
            reason: lifted.reason.clone(),
        });
    }
    Ok(())
}

async fn confirm(session: &mut Session, confirmed: &[Confirmed], moved: &mut Moved) -> Result<(), Fault> {
    let rows = Rows::new().ints("id", confirmed.iter().map(|confirmed| confirmed.suppression.id.0));
    let sql = "UPDATE suppression SET standing = 'in_force'
               WHERE id IN (SELECT id FROM {given}) AND standing = 'quarantined' RETURNING id";
    let acting = ids(session, sql, rows).await?;
    for confirmed in confirmed
        .iter()
        .filter(|confirmed| acting.contains(&confirmed.suppression.id.0))
    {
        let mut suppression = confirmed.suppression.clone();
        suppression.entry.standing = Standing::InForce;
        moved.changed.push(Told {
            suppression,
            author: confirmed.author.clone(),
            reason: confirmed.reason.clone(),
        });
    }
    Ok(())
}

/// Drops what was quarantined before `since` and never confirmed: at most so many.
pub(super) async fn drop_unconfirmed(
    session: &mut Session,
    since: Timestamp,
    most: i64,
    totals: &mut Totals,
) -> Result<Moved, Fault> {
    let gone = session
        .fetch(
            "DELETE FROM suppression WHERE id IN (
                 SELECT id FROM suppression WHERE standing = 'quarantined' AND since < $1 ORDER BY since LIMIT $2)
             RETURNING id, address, cause, since, expires, author, reason, event, provider, standing, term",
            Args::Values(vec![Value::Int(Some(micros(since))), Value::Int(Some(most))]),
        )
        .await?;
    let mut moved = Moved::default();
    for row in &gone {
        let suppression = row::suppression(row)?;
        totals.add(super::suppression::KIND, suppression.entry.cause.name(), -1);
        moved.lifted.push(Told {
            suppression,
            author: GUARD.into(),
            reason: "nothing confirmed what was said in an incident".into(),
        });
    }
    Ok(moved)
}

/// Entries dropped in one transaction.
const CHUNK: i64 = 1_000;

/// Settles what only time can.
pub(super) async fn settle(session: &mut Session, policy: &Policy, now: Timestamp) -> Result<Settled, Fault> {
    let guard = &policy.guard;
    let ago = |length: SignedDuration| now.saturating_sub(length).unwrap_or(Timestamp::MIN);
    forget(session, ago(policy.terms.longest_window())).await?;
    census::forget(session, guard, now).await?;
    let incidents = census::settle(session, guard, now).await?;
    let mut totals = Totals::default();
    let moved = drop_unconfirmed(session, ago(guard.keep), CHUNK, &mut totals).await?;
    totals.write(session).await?;
    let mut sequence = 0;
    if moved.len() > 0 {
        let first = super::suppression::advance(session, moved.len()).await?;
        announce(session, &moved, first, now).await?;
        session.notify(super::suppression::CHANNEL).await?;
        sequence = first + i64::try_from(moved.len()).unwrap_or(0) - 1;
    }
    Ok(Settled {
        lifted: entries(moved.lifted),
        incidents,
        sequence,
    })
}

/// The strikes that stand against a subject.
pub(super) async fn of(session: &mut Session, subject: &Subject) -> Result<Vec<(Cause, Timestamp)>, Fault> {
    let rows = session
        .fetch(
            "SELECT cause, at FROM strike WHERE subject = $1 ORDER BY cause, day",
            Args::Values(vec![Value::text(&subject.to_string())]),
        )
        .await?;
    rows.iter()
        .map(|row| Ok((row::cause(&row.get::<String>(0)?), row::timestamp(row.get(1)?))))
        .collect()
}

/// Lets go of strikes that are too old to count.
pub(super) async fn forget(session: &mut Session, before: Timestamp) -> Result<(), Fault> {
    let before = Args::Values(vec![Value::Int(Some(micros(before)))]);
    session
        .run("DELETE FROM strike WHERE at < $1", before)
        .await
        .map(drop)
}

/// How many entries are in quarantine.
pub(super) async fn quarantined(session: &mut Session) -> Result<u64, Fault> {
    let sql = "SELECT COUNT(*) FROM suppression WHERE standing = 'quarantined'";
    let rows = session.fetch(sql, Args::None).await?;
    let count: i64 = rows.first().map_or(Ok(0), |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

/// Runs a statement over rows, where there are any, for the ids that it touched.
async fn ids(session: &mut Session, sql: &'static str, rows: Rows) -> Result<BTreeSet<i64>, Fault> {
    if rows.len() == 0 {
        return Ok(BTreeSet::new());
    }
    let rows = session.fetch(sql, Args::Rows(rows)).await?;
    rows.iter().map(|row| row.get(0)).collect()
}

/// Quarantines what rules wrote since then because of what a site said. Events are found by their ids, which begin
/// with their time; entries by the addresses of the events: nothing is read that is older.
async fn quarantine(session: &mut Session, site: &Site, since: Timestamp) -> Result<Vec<Row>, Fault> {
    let millis = since.as_millisecond().max(0).to_be_bytes();
    let mut first = [0u8; 16];
    first[..6].copy_from_slice(&millis[2..]);
    let name = match site.kind {
        Kind::Provider => site.name.to_string(),
        Kind::Domain => format!("%@{}", super::selection::literal(&site.name)),
    };
    let rows = Rows::new()
        .octets("first", [first.as_slice()])
        .texts("name", [name.as_str()]);
    let sql = match site.kind {
        Kind::Provider => {
            "UPDATE suppression SET standing = 'quarantined' WHERE id IN (
                 SELECT stored.id FROM {given} JOIN event AS told ON told.id >= given.first
                 JOIN suppression AS stored ON stored.address = told.mailed AND stored.event = told.id
                 WHERE COALESCE(stored.provider, '') = given.name AND stored.author LIKE 'rule %'
                   AND stored.standing = 'in_force' AND stored.cause <> 'complaint')
             RETURNING id, address, cause, since, expires, author, reason, event, provider, standing, term"
        }
        Kind::Domain => {
            "UPDATE suppression SET standing = 'quarantined' WHERE id IN (
                 SELECT stored.id FROM {given} JOIN event AS told ON told.id >= given.first
                 JOIN suppression AS stored ON stored.address = told.mailed AND stored.event = told.id
                 WHERE told.mailed LIKE given.name ESCAPE '!' AND stored.author LIKE 'rule %'
                   AND stored.standing = 'in_force' AND stored.cause <> 'complaint')
             RETURNING id, address, cause, since, expires, author, reason, event, provider, standing, term"
        }
    };
    session.fetch(sql, Args::Rows(rows)).await
}

/// Appends what became of entries to the change feed, with the numbers from `first`: lifts first, so that nobody takes
/// them for lifts of what stands since.
pub(super) async fn announce(
    session: &mut Session,
    moved: &Moved,
    first: i64,
    now: Timestamp,
) -> Result<(), Fault> {
    let all: Vec<(&Told, &'static str)> = moved
        .lifted
        .iter()
        .map(|told| (told, row::LIFTED))
        .chain(moved.changed.iter().map(|told| {
            let standing = told.suppression.entry.standing;
            (told, super::suppression::kind_of(standing))
        }))
        .collect();
    let entries = || all.iter().map(|(told, _)| &told.suppression.entry);
    let subjects: Vec<String> = entries().map(|entry| entry.subject.to_string()).collect();
    let rows = Rows::new()
        .ints("sequence", (first..).take(all.len()))
        .ints("at", all.iter().map(|_| micros(now)))
        .texts("author", all.iter().map(|(told, _)| told.author.as_str()))
        .texts("reason", all.iter().map(|(told, _)| told.reason.as_str()))
        .texts("kind", all.iter().map(|(_, kind)| *kind))
        .ints("suppression", all.iter().map(|(told, _)| told.suppression.id.0))
        .texts("address", subjects.iter().map(String::as_str))
        .texts("cause", entries().map(|entry| entry.cause.name()))
        .ints("since", entries().map(|entry| micros(entry.since)))
        .ints("expires", entries().map(|entry| entry.expires.map(micros)));
    write(
        session,
        "INSERT INTO change (sequence, at, author, reason, kind, suppression, address, cause, since, expires)
         SELECT sequence, at, author, reason, kind, suppression, address, cause, since, expires FROM {given}",
        rows,
    )
    .await
    .map(drop)
}
