//! The census of who answered what, and the incidents that it shows.
//!
//! Deliveries must stay cheap. A provider's hours are always counted, and there are few. A domain's hour is
//! counted from its first fault on, and always while an incident lasts there: other deliveries add to rows that are
//! there, and begin none.

use super::keep::write;
use super::row::{self, micros};
use super::session::{Args, Fault, Row, Rows, Session, Value};
use crate::engine::decide::{Decision, Known, Past, Record, Tallies, suspects, tally};
use crate::engine::suppression::guard::{
    self, Census, End, Guard, Incident, Kind, LEAST_FAULTS, Normal, Sight, Site, Turn,
};
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// What a site is asked about.
struct Question {
    hours: BTreeSet<i64>,
    clock: Timestamp,
}

/// Loads what the guard needs of the batch: incidents always, counts only of sites that it has to look at.
pub(super) async fn load(
    session: &mut Session,
    records: &[Record],
    guard: &Guard,
    known: &mut Known,
) -> Result<(), Fault> {
    let tallies = tally(records, known);
    let Some(earliest) = tallies.keys().map(|(_, hour)| *hour).min() else {
        return Ok(());
    };
    let days = SignedDuration::from_hours(24 * i64::from(guard.days));
    let since = guard::begins(earliest)
        .saturating_sub(days)
        .unwrap_or(Timestamp::MIN);
    known.incidents = incidents(session, since).await?;
    let questions = questions(&tallies, &known.incidents);
    if questions.is_empty() {
        return Ok(());
    }
    let mut past = hours(session, &questions).await?;
    let open: BTreeSet<&Site> = open_sites(&known.incidents).collect();
    past.retain(|site, past| open.contains(site) || faults(past, &tallies, site) >= LEAST_FAULTS);
    normal(session, guard, &known.incidents, &questions, &mut past).await?;
    known.sites = past;
    Ok(())
}

fn open_sites(incidents: &[Incident]) -> impl Iterator<Item = &Site> {
    incidents
        .iter()
        .filter(|incident| incident.is_open())
        .map(|incident| &incident.site)
}

/// The sites to look at: those with faults, and those of incidents, if the batch counts anything of them.
fn questions(tallies: &Tallies, incidents: &[Incident]) -> BTreeMap<Site, Question> {
    let suspects = suspects(tallies);
    let open: BTreeSet<&Site> = open_sites(incidents).collect();
    let mut questions: BTreeMap<Site, Question> = BTreeMap::new();
    for ((site, hour), tally) in tallies {
        if !suspects.contains(site) && !open.contains(site) {
            continue;
        }
        let question = questions.entry(site.clone()).or_insert(Question {
            hours: BTreeSet::new(),
            clock: tally.latest,
        });
        question.clock = question.clock.max(tally.latest);
        question.hours.extend([hour - 1, *hour]);
    }
    for question in questions.values_mut() {
        let now = guard::hour(question.clock);
        question.hours.extend(now - 3..now);
    }
    questions
}

/// The most faults that any two hours together may have.
fn faults(past: &Past, tallies: &Tallies, site: &Site) -> u64 {
    let stored: u64 = past.hours.values().map(|census| census.faults).sum();
    let of_site = (site.clone(), i64::MIN)..=(site.clone(), i64::MAX);
    stored
        + tallies
            .range(of_site)
            .map(|(_, tally)| tally.census.faults)
            .sum::<u64>()
}

/// What was counted in the hours that are asked for. A site that nothing is known of has none.
async fn hours(
    session: &mut Session,
    questions: &BTreeMap<Site, Question>,
) -> Result<BTreeMap<Site, Past>, Fault> {
    let asked: Vec<(&Site, i64)> = questions
        .iter()
        .flat_map(|(site, question)| question.hours.iter().map(move |&hour| (site, hour)))
        .collect();
    let rows = Rows::new()
        .texts("kind", asked.iter().map(|(site, _)| site.kind.name()))
        .texts("name", asked.iter().map(|(site, _)| &*site.name))
        .ints("hour", asked.iter().map(|(_, hour)| *hour));
    let told = session
        .fetch(
            "SELECT stored.kind, stored.name, stored.hour, stored.answers, stored.faults
             FROM {given} JOIN census AS stored
               ON stored.kind = given.kind AND stored.name = given.name AND stored.hour = given.hour",
            Args::Rows(rows),
        )
        .await?;
    let mut past: BTreeMap<Site, Past> = questions
        .keys()
        .map(|site| (site.clone(), Past::default()))
        .collect();
    for row in &told {
        if let Some(past) = past.get_mut(&site(row)?) {
            past.hours.insert(row.get(2)?, census(row, 3)?);
        }
    }
    Ok(past)
}

/// What is normal at the sites: all that was counted in a fortnight but the last two hours and those of incidents.
async fn normal(
    session: &mut Session,
    guard: &Guard,
    incidents: &[Incident],
    questions: &BTreeMap<Site, Question>,
    past: &mut BTreeMap<Site, Past>,
) -> Result<(), Fault> {
    let asked: Vec<(&Site, i64, i64)> = questions
        .iter()
        .filter(|(site, _)| past.contains_key(*site))
        .map(|(site, question)| {
            let own: Vec<Incident> = incidents.iter().filter(|i| i.site == *site).cloned().collect();
            let since = guard.normal_since(&own, question.clock);
            (site, since, guard::hour(question.clock) - 1)
        })
        .collect();
    if asked.is_empty() {
        return Ok(());
    }
    let rows = Rows::new()
        .texts("kind", asked.iter().map(|(site, ..)| site.kind.name()))
        .texts("name", asked.iter().map(|(site, ..)| &*site.name))
        .ints("since", asked.iter().map(|(_, since, _)| *since))
        .ints("until", asked.iter().map(|(.., until)| *until));
    let told = session
        .fetch(
            "SELECT stored.kind, stored.name, CAST(SUM(stored.answers) AS BIGINT), CAST(SUM(stored.faults) AS BIGINT),
                    COUNT(*)
             FROM {given} JOIN census AS stored
               ON stored.kind = given.kind AND stored.name = given.name
                 AND stored.hour >= given.since AND stored.hour < given.until
             WHERE NOT EXISTS (
                 SELECT 1 FROM incident WHERE incident.kind = stored.kind AND incident.name = stored.name
                   AND incident.note <> 'normal' AND stored.hour >= incident.began / 3600000000
                   AND (incident.ended IS NULL OR stored.hour <= incident.ended / 3600000000))
             GROUP BY stored.kind, stored.name",
            Args::Rows(rows),
        )
        .await?;
    for row in &told {
        if let Some(past) = past.get_mut(&site(row)?) {
            past.normal = Normal {
                census: census(row, 2)?,
                hours: row.get::<i64>(4)?.unsigned_abs(),
            };
        }
    }
    Ok(())
}

fn site(row: &Row) -> Result<Site, Fault> {
    let kind: String = row.get(0)?;
    let name: String = row.get(1)?;
    Ok(Site::new(Kind::from_name(&kind).unwrap_or(Kind::Domain), &name))
}

fn census(row: &Row, first: usize) -> Result<Census, Fault> {
    Ok(Census {
        answers: row.get::<i64>(first)?.unsigned_abs(),
        faults: row.get::<i64>(first + 1)?.unsigned_abs(),
    })
}

/// Adds a batch's counts.
pub(super) async fn keep(
    session: &mut Session,
    tallies: &Tallies,
    incidents: &[Incident],
) -> Result<(), Fault> {
    let suspects = suspects(tallies);
    let open: BTreeSet<&Site> = open_sites(incidents).collect();
    let begins = |site: &Site| site.kind == Kind::Provider || suspects.contains(site) || open.contains(site);
    let (begun, added): (Vec<_>, Vec<_>) = tallies.iter().partition(|((site, _), _)| begins(site));
    let rows = |tallies: &[(&(Site, i64), &crate::engine::decide::Tally)]| {
        let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        Rows::new()
            .texts("kind", tallies.iter().map(|((site, _), _)| site.kind.name()))
            .texts("name", tallies.iter().map(|((site, _), _)| &*site.name))
            .ints("hour", tallies.iter().map(|((_, hour), _)| *hour))
            .ints(
                "answers",
                tallies.iter().map(|(_, tally)| count(tally.census.answers)),
            )
            .ints(
                "faults",
                tallies.iter().map(|(_, tally)| count(tally.census.faults)),
            )
    };
    write(
        session,
        "INSERT INTO census (kind, name, hour, answers, faults)
         SELECT kind, name, hour, answers, faults FROM {given} WHERE true
         ON CONFLICT (kind, name, hour) DO UPDATE SET
             answers = census.answers + excluded.answers, faults = census.faults + excluded.faults",
        rows(&begun),
    )
    .await?;
    // An insert, though it only ever updates: it takes its locks in the order of its rows.
    write(
        session,
        "INSERT INTO census (kind, name, hour, answers, faults)
         SELECT given.kind, given.name, given.hour, given.answers, given.faults
         FROM {given} JOIN census AS stored
           ON stored.kind = given.kind AND stored.name = given.name AND stored.hour = given.hour
         WHERE true ORDER BY given.kind, given.name, given.hour
         ON CONFLICT (kind, name, hour) DO UPDATE SET answers = census.answers + excluded.answers",
        rows(&added),
    )
    .await
    .map(drop)
}

/// Begins and ends incidents; returns those that did. One that another node began meanwhile is not begun again.
pub(super) async fn turn(session: &mut Session, decision: &Decision) -> Result<Vec<Incident>, Fault> {
    let mut turned = Vec::new();
    for (site, turn) in &decision.turns {
        turned.extend(match turn {
            Turn::Begins(incident) => begin(session, incident).await?,
            Turn::Ends(at, end) => self::end(session, site, *at, *end).await?,
        });
    }
    Ok(turned)
}

async fn begin(session: &mut Session, incident: &Incident) -> Result<Option<Incident>, Fault> {
    let count = |n: u64| Value::Int(Some(i64::try_from(n).unwrap_or(i64::MAX)));
    let values = vec![
        Value::text(incident.site.kind.name()),
        Value::text(&incident.site.name),
        Value::Int(Some(micros(incident.began))),
        count(incident.census.answers),
        count(incident.census.faults),
        Value::text(&incident.baseline.to_string()),
    ];
    let rows = session
        .fetch(
            "INSERT INTO incident (kind, name, began, answers, faults, baseline, note)
             VALUES ($1, $2, $3, $4, $5, CAST($6 AS DOUBLE PRECISION), '')
             ON CONFLICT (kind, name) WHERE ended IS NULL DO NOTHING
             RETURNING kind, name, id, began, ended, answers, faults, baseline, note",
            Args::Values(values),
        )
        .await?;
    rows.first().map(self::incident).transpose()
}

async fn end(session: &mut Session, site: &Site, at: Timestamp, end: End) -> Result<Option<Incident>, Fault> {
    let values = vec![
        Value::Int(Some(micros(at))),
        Value::text(end.name()),
        Value::text(site.kind.name()),
        Value::text(&site.name),
    ];
    let rows = session
        .fetch(
            "UPDATE incident SET ended = $1, note = $2 WHERE kind = $3 AND name = $4 AND ended IS NULL
             RETURNING kind, name, id, began, ended, answers, faults, baseline, note",
            Args::Values(values),
        )
        .await?;
    rows.first().map(incident).transpose()
}

/// `kind, name, id, began, ended, answers, faults, baseline, note`.
fn incident(row: &Row) -> Result<Incident, Fault> {
    let note: String = row.get(8)?;
    let ended = row.get::<Option<i64>>(4)?.map(row::timestamp);
    Ok(Incident {
        id: row.get(2)?,
        site: site(row)?,
        began: row::timestamp(row.get(3)?),
        ended: ended.map(|at| (at, End::from_name(&note).unwrap_or(End::Calm))),
        census: census(row, 5)?,
        baseline: row.get(7)?,
    })
}

/// The incidents that last or ended since then, the latest first.
pub(super) async fn incidents(session: &mut Session, since: Timestamp) -> Result<Vec<Incident>, Fault> {
    let rows = session
        .fetch(
            "SELECT kind, name, id, began, ended, answers, faults, baseline, note FROM incident
             WHERE ended IS NULL OR ended >= $1 ORDER BY began DESC, id DESC",
            Args::Values(vec![Value::Int(Some(micros(since)))]),
        )
        .await?;
    rows.iter().map(incident).collect()
}

/// Ends the incidents of sites that fell silent, and those that last too long.
pub(super) async fn settle(
    session: &mut Session,
    guard: &Guard,
    now: Timestamp,
) -> Result<Vec<Incident>, Fault> {
    let open: Vec<Incident> = incidents(session, now)
        .await?
        .into_iter()
        .filter(Incident::is_open)
        .collect();
    let hour = guard::hour(now);
    let questions: BTreeMap<Site, Question> = open
        .iter()
        .map(|incident| {
            let hours = (hour - 3..=hour).collect();
            (incident.site.clone(), Question { hours, clock: now })
        })
        .collect();
    if questions.is_empty() {
        return Ok(Vec::new());
    }
    let mut past = hours(session, &questions).await?;
    normal(session, guard, &open, &questions, &mut past).await?;
    let mut ended = Vec::new();
    for incident in &open {
        let past = past.remove(&incident.site).unwrap_or_default();
        let sight = Sight {
            hours: &past.hours,
            normal: &past.normal,
            incidents: std::slice::from_ref(incident),
            clock: now,
        };
        if let Some(Turn::Ends(at, why)) = guard.turn(&incident.site, &sight) {
            ended.extend(end(session, &incident.site, at, why).await?);
        }
    }
    Ok(ended)
}

/// Lets go of counts that are too old to say what is normal.
pub(super) async fn forget(session: &mut Session, guard: &Guard, now: Timestamp) -> Result<(), Fault> {
    let oldest = guard::hour(now) - 24 * (i64::from(guard.days) + 1);
    let args = Args::Values(vec![Value::Int(Some(oldest))]);
    session
        .run("DELETE FROM census WHERE hour < $1", args)
        .await
        .map(drop)
}
