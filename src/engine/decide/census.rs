//! The census of a batch: who answered how often, and how often what was answered is the recipient's fault; and what
//! the incident guard makes of it.
//!
//! A delivery counts as an answer where a server took it. A refusal counts where it is news, proved, permanent and
//! the recipient's or the domain's fault, whoever reported it. Nothing here can fail.

use super::{Known, Record};
use crate::engine::suppression::guard::{self, Census, Guard, Incident, Kind, Sight, Site, Turn};
use crate::engine::trust;
use crate::engine::verdict::{Remedy, Scope, Verdict};
use crate::mail::event::{Evidence, Outcome};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// What a batch adds to a site's counts of an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// How much.
    pub census: Census,
    /// When the latest of it happened.
    pub latest: Timestamp,
}

/// The tallies of a batch, by site and hour.
pub type Tallies = BTreeMap<(Site, i64), Tally>;

/// Whether a verdict blames a recipient or a domain for good.
pub(super) fn blames(verdict: &Verdict) -> bool {
    verdict.permanent
        && matches!(verdict.scope, Scope::Recipient | Scope::Domain)
        && matches!(verdict.remedy, Remedy::Suppress | Remedy::SuppressIfRepeated)
}

/// Counts a batch. It needs of what the store knows only which records are news, and which are proved.
#[must_use]
pub fn tally(records: &[Record], known: &Known) -> Tallies {
    let mut tallies = Tallies::new();
    for (index, record) in records.iter().enumerate() {
        let Some(census) = counts(record, known, index) else {
            continue;
        };
        for site in sites(record) {
            let at = record.event.at;
            let tally = tallies.entry((site, guard::hour(at))).or_insert(Tally {
                census: Census::default(),
                latest: at,
            });
            tally.census = tally.census.plus(census);
            tally.latest = tally.latest.max(at);
        }
    }
    tallies
}

fn counts(record: &Record, known: &Known, index: usize) -> Option<Census> {
    let event = &record.event;
    let news = known.fresh[index] && known.repeat_of[index].is_none() && event.evidence != Evidence::Repeat;
    let faults = match event.outcome {
        Outcome::Delivered if record.lane.is_some() => 0,
        Outcome::Failed if blames(&record.verdict) => 1,
        _ => return None,
    };
    (news && trust::acts(event, &record.claim, known.correlated[index]))
        .then_some(Census { answers: 1, faults })
}

/// The provider, and the domain where that is not the same.
fn sites(record: &Record) -> impl Iterator<Item = Site> {
    let provider = record.provider.as_deref().unwrap_or_default();
    let domain = record.event.mailed().domain();
    let domain = (domain != provider).then(|| Site::new(Kind::Domain, domain));
    [Site::new(Kind::Provider, provider)].into_iter().chain(domain)
}

/// The sites that a batch counts faults of.
#[must_use]
pub fn suspects(tallies: &Tallies) -> BTreeSet<&Site> {
    let faulty = tallies.iter().filter(|(_, tally)| tally.census.faults > 0);
    faulty.map(|((site, _), _)| site).collect()
}

/// What changes at the sites that the store was asked about.
pub(super) fn turns(tallies: &Tallies, known: &Known, guard: &Guard, now: Timestamp) -> Vec<(Site, Turn)> {
    let turn = |(site, past): (&Site, &super::Past)| {
        let mut hours = past.hours.clone();
        let of_site = (site.clone(), i64::MIN)..=(site.clone(), i64::MAX);
        let mut latest = None;
        for ((_, hour), tally) in tallies.range(of_site) {
            let census = hours.entry(*hour).or_default();
            *census = census.plus(tally.census);
            latest = latest.max(Some(tally.latest));
        }
        let incidents: Vec<Incident> = known
            .incidents
            .iter()
            .filter(|i| i.site == *site)
            .cloned()
            .collect();
        let sight = Sight {
            hours: &hours,
            normal: &past.normal,
            incidents: &incidents,
            clock: latest?.min(now),
        };
        Some((site.clone(), guard.turn(site, &sight)?))
    };
    known.sites.iter().filter_map(turn).collect()
}

/// The incidents after the turns.
pub(super) fn incidents(known: &Known, turns: &[(Site, Turn)]) -> Vec<Incident> {
    let mut incidents = known.incidents.clone();
    for (site, turn) in turns {
        match turn {
            Turn::Begins(incident) => incidents.push(incident.clone()),
            Turn::Ends(at, end) => incidents
                .iter_mut()
                .filter(|incident| incident.is_open() && incident.site == *site)
                .for_each(|incident| incident.ended = Some((*at, *end))),
        }
    }
    incidents
}
