//! `nixie suppress check`: whether an address is suppressed, by which entries, and what happened to it. The whole
//! story is told by `nixie why`.

use super::subject;
use crate::clock;
use crate::config::Settings;
use crate::engine::suppression::{Standing, Suppression, SuppressionId, Target};
use crate::engine::trust::Trust;
use crate::store::Store;
use crate::store::contract::Kept;
use anyhow::bail;
use jiff::Timestamp;

/// Changes read; those of an entry are not shown here.
const CHANGES: u32 = 1;
/// Events shown.
const EVENTS: u32 = 20;

/// Runs the command.
///
/// # Errors
/// Where the store does not answer, or `what` is neither an address nor an id.
pub async fn check(store: &Store, what: &str, settings: &Settings) -> anyhow::Result<()> {
    let now = clock::now();
    let address = match what.parse::<SuppressionId>() {
        Ok(id) => {
            let Some(suppression) = store.suppression_by_id(id).await? else {
                bail!("{what}: no such entry, or it was lifted");
            };
            print_one(&suppression, now);
            match suppression.entry.subject.target {
                Target::Address(key) => key,
                Target::Domain(_) | Target::Pattern(_) => return Ok(()),
            }
        }
        Err(_) => {
            let whom = subject::whom(what, settings)?;
            let entries = entries(store, &whom, settings).await?;
            if entries.is_empty() {
                say!("{} is not suppressed", whom.clear);
            }
            for entry in &entries {
                print_one(entry, now);
            }
            whom.key
        }
    };
    let events = store.events_of(&address, EVENTS).await?;
    if !events.is_empty() {
        say!("\nWhat happened:");
    }
    for event in events {
        say!(
            "  {}  {:9} {:20} {} ({}, {})",
            event.at,
            event.outcome.name(),
            event.cause,
            event.reply,
            event.rule,
            trust(&event)
        );
    }
    Ok(())
}

/// How sure we are of an event, and by what; of what our own MTA says there is no more to say.
pub fn trust(kept: &Kept) -> String {
    match &kept.proof {
        Some(proof) if kept.trust != Trust::Own => format!("{}: {proof}", kept.trust),
        _ => kept.trust.to_string(),
    }
}

/// All entries that mail to an address may meet, in the order of the look-up.
///
/// # Errors
/// Where the store does not answer.
pub async fn entries(
    store: &Store,
    whom: &subject::Whom,
    settings: &Settings,
) -> anyhow::Result<Vec<Suppression>> {
    let subjects = subject::all_of(whom, settings);
    let mut entries = store.story(&subjects, CHANGES).await?.entries;
    let place = |suppression: &Suppression| subjects.iter().position(|s| *s == suppression.entry.subject);
    entries.sort_by_key(place);
    let matching = |suppression: &Suppression| match &suppression.entry.subject.target {
        Target::Pattern(pattern) => {
            crate::engine::gate::stream::matches(pattern, &whom.clear.as_str().to_lowercase())
        }
        Target::Address(_) | Target::Domain(_) => false,
    };
    entries.extend(store.patterns().await?.into_iter().filter(matching));
    Ok(entries)
}

fn print_one(suppression: &Suppression, now: Timestamp) {
    let entry = &suppression.entry;
    say!("{} {}", subject::name(&entry.subject), standing(suppression, now));
    say!("  id       {}", suppression.id);
    say!("  cause    {}", entry.cause);
    say!("  since    {}", entry.since);
    let expires = entry.expires.map_or_else(|| "never".into(), |at| at.to_string());
    say!("  expires  {expires}");
    say!("  author   {}", entry.author);
    say!("  reason   {}", entry.reason);
}

/// How an entry acts now, as the end of a sentence about its subject.
#[must_use]
pub fn standing(suppression: &Suppression, now: Timestamp) -> &'static str {
    let entry = &suppression.entry;
    match entry.standing {
        _ if entry.expires.is_some_and(|expires| expires <= now) => "was suppressed, and is no more",
        Standing::InForce => "is suppressed",
        Standing::Quarantined => "would be suppressed, and waits in quarantine",
    }
}
