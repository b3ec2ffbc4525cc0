//! `nixie why ADDRESS`: how it stands with an address, and how it came to that: what its servers said and what was made
//! of it, strikes, entries written and lifted, by whom and why, in the order of time.

use crate::cli::suppress::show;
use crate::cli::suppress::subject::Whom;
use crate::cli::suppress::{list, subject};
use crate::cli::throttle::{print_json, words};
use crate::clock;
use crate::config::Settings;
use crate::engine::suppression::Suppression;
use crate::store::Store;
use crate::store::contract::{Change, ChangeKind, History, Kept, OperationId};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::process::ExitCode;

/// Events told, the latest.
const EVENTS: u32 = 100;
/// Changes told, the latest.
const CHANGES: u32 = 200;

/// Something that happened.
#[derive(Debug)]
struct Moment {
    at: Timestamp,
    /// What kind of thing: `failed`, `deferred`, `strike`, `suppressed`, `lifted` …
    what: String,
    text: String,
    /// What programs want besides.
    more: Value,
}

/// Runs the command.
///
/// # Errors
/// Where the store does not answer.
pub async fn run(store: &Store, whom: &Whom, json: bool, settings: &Settings) -> anyhow::Result<ExitCode> {
    let entries = show::entries(store, whom, settings).await?;
    let history = store.story(&subject::all_of(whom, settings), CHANGES).await?;
    let events = store.events_of(&whom.key, EVENTS).await?;
    let mut story: Vec<Moment> = events.iter().map(event).collect();
    story.extend(changes(&history, &entries));
    // What happened at the same moment stays in the order above: the event, then what came of it.
    story.sort_by_key(|moment| moment.at);
    if json {
        print_json(&as_json(whom, &entries, &story));
    } else {
        say(whom, &entries, &story);
    }
    Ok(ExitCode::SUCCESS)
}

fn event(kept: &Kept) -> Moment {
    let told = match kept.repeat_of {
        Some(_) => ", told before",
        None => "",
    };
    let cause = kept.cause;
    Moment {
        at: kept.at,
        what: kept.outcome.name().to_owned(),
        text: format!(
            "{cause} ({}, {}{told}): {}",
            kept.rule,
            show::trust(kept),
            kept.reply
        ),
        more: json!({
            "event": kept.id.to_string(), "cause": cause.name(), "rule": kept.rule, "trust": kept.trust.name(),
            "proof": kept.proof,
            "repeat_of": kept.repeat_of.map(|id| id.to_string()), "reply": kept.reply.to_string(),
        }),
    }
}

/// What was written, lifted and struck. An entry that was written among many has no line of its own in the feed: it
/// is told by itself.
fn changes(history: &History, entries: &[Suppression]) -> Vec<Moment> {
    let mut told = BTreeSet::new();
    let mut moments = Vec::new();
    for (subject, cause, at) in &history.strikes {
        moments.push(Moment {
            at: *at,
            what: "strike".into(),
            text: format!("{cause}, against {}", subject::name(subject)),
            more: json!({ "cause": cause.name(), "subject": subject.to_string() }),
        });
    }
    for (change, operation) in &history.changes {
        if let ChangeKind::Suppressed { id, .. } = &change.kind {
            told.insert(*id);
        }
        moments.extend(moment(change, *operation));
    }
    for suppression in entries
        .iter()
        .filter(|suppression| !told.contains(&suppression.id))
    {
        let entry = &suppression.entry;
        let text = format!(
            "{}, {} ({}) by {}: {}",
            suppression.id,
            subject::name(&entry.subject),
            entry.cause,
            entry.author,
            entry.reason
        );
        moments.push(Moment {
            at: entry.since,
            what: "suppressed".into(),
            text,
            more: json!({ "id": suppression.id.to_string(), "author": entry.author, "reason": entry.reason }),
        });
    }
    moments
}

fn moment(change: &Change, operation: Option<OperationId>) -> Option<Moment> {
    let (what, id, whom, rest) = match &change.kind {
        ChangeKind::Suppressed {
            id,
            subject,
            cause,
            expires,
            standing,
            ..
        } => {
            let until = expires.map_or(String::new(), |at| format!(", until {}", words::time(at)));
            let what = match standing {
                crate::engine::suppression::Standing::InForce => "suppressed",
                crate::engine::suppression::Standing::Quarantined => "quarantined",
            };
            (what, id, subject, format!(" ({cause}{until})"))
        }
        ChangeKind::Lifted { id, subject } => ("lifted", id, subject, String::new()),
        _ => return None,
    };
    let under = operation.map_or(String::new(), |operation| format!(", operation {operation}"));
    let (author, reason) = (&change.author, &change.reason);
    Some(Moment {
        at: change.at,
        what: what.into(),
        text: format!("{id}, {}{rest} by {author}{under}: {reason}", subject::name(whom)),
        more: json!({
            "id": id.to_string(), "subject": whom.to_string(), "author": author, "reason": reason,
            "operation": operation.map(|operation| operation.0),
        }),
    })
}

fn say(whom: &Whom, entries: &[Suppression], story: &[Moment]) {
    let now = clock::now();
    if entries.is_empty() {
        say!("{} is not suppressed", whom.clear);
    }
    for suppression in entries {
        let entry = &suppression.entry;
        let until = entry
            .expires
            .map_or(String::new(), |at| format!(", until {}", words::time(at)));
        say!(
            "{} {} ({}, {}{until})",
            subject::name(&entry.subject),
            show::standing(suppression, now),
            suppression.id,
            entry.cause
        );
    }
    if story.is_empty() {
        say!("nothing is known of it");
    }
    for moment in story {
        say!("  {}  {:11} {}", words::time(moment.at), moment.what, moment.text);
    }
}

fn as_json(whom: &Whom, entries: &[Suppression], story: &[Moment]) -> Value {
    let now = clock::now();
    let entries: Vec<Value> = entries
        .iter()
        .map(|suppression| {
            let mut entry = list::json(suppression);
            entry["in_force"] = json!(show::standing(suppression, now) == "is suppressed");
            entry
        })
        .collect();
    let story: Vec<Value> = story
        .iter()
        .map(|moment| json!({ "at": moment.at, "what": moment.what, "text": moment.text, "more": moment.more }))
        .collect();
    json!({ "address": whom.clear.to_string(), "entries": entries, "story": story })
}
