//! `nixie suppress list`: a page of entries, as a table, as CSV, or as JSON with the cursor of the next page. The
//! filters are shared with `nixie suppress export` and `nixie undo`.

use super::cause;
use crate::cli::when::When;
use crate::clock;
use crate::config::Settings;
use crate::engine::suppression::{Standing, Suppression, SuppressionId, Target};
use crate::engine::verdict::Cause;
use crate::store::Store;
use crate::store::contract::Filter;
use clap::Args;
use serde_json::{Value, json};

/// Which entries.
#[derive(Debug, Args, Default, Clone)]
pub struct FilterArguments {
    /// Only this cause
    #[arg(long, value_parser = cause)]
    pub cause: Option<Cause>,
    /// Only addresses of this domain
    #[arg(long)]
    pub domain: Option<String>,
    /// Only entries of this stream
    #[arg(long)]
    pub stream: Option<String>,
    /// Only entries since then: a time, or how long ago: 2026-11-21, 30d
    #[arg(long, value_name = "WHEN")]
    pub since: Option<When>,
    /// Only entries since before then
    #[arg(long, value_name = "WHEN")]
    pub until: Option<When>,
    /// Only entries by this author: rule, 'rule google.user-unknown', import, 'cli alice'
    #[arg(long, value_name = "AUTHOR")]
    pub source: Option<String>,
    /// Only entries that this provider caused
    #[arg(long)]
    pub provider: Option<String>,
    /// Only entries in quarantine
    #[arg(long)]
    pub quarantined: bool,
}

/// Arguments of `nixie suppress list`.
#[derive(Debug, Args)]
pub struct ListArguments {
    /// Which
    #[command(flatten)]
    pub filter: FilterArguments,
    /// Only entries after this one, as in --after NX-123
    #[arg(long, value_name = "ID")]
    pub after: Option<SuppressionId>,
    /// At most so many
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub limit: u32,
    /// As one JSON object: suppressions, and next (the cursor of the next page, or null)
    #[arg(long, conflicts_with = "csv")]
    pub json: bool,
    /// As CSV, as `export` writes it
    #[arg(long)]
    pub csv: bool,
}

impl FilterArguments {
    /// The filter of a page.
    #[must_use]
    pub fn filter(&self, after: Option<SuppressionId>, limit: u32) -> Filter {
        let now = clock::now();
        Filter {
            cause: self.cause,
            domain: self.domain.clone(),
            stream: self.stream.clone(),
            since: self.since.map(|when| when.before(now)),
            until: self.until.map(|when| when.before(now)),
            source: self.source.clone(),
            provider: self.provider.clone(),
            standing: self.quarantined.then_some(Standing::Quarantined),
            operation: None,
            after,
            limit,
        }
    }
}

/// The columns of CSV, and the members of JSON in this order. `address` is what the entry is about: an address,
/// `@domain` or `:pattern`.
pub const COLUMNS: [&str; 11] = [
    "id", "address", "stream", "cause", "since", "expires", "author", "reason", "provider", "standing",
    "term",
];

/// The values of [`COLUMNS`].
#[must_use]
pub fn values(suppression: &Suppression) -> [String; 11] {
    let entry = &suppression.entry;
    // An address that looks like something else keeps its backslash: `import` reads it back.
    let whom = match &entry.subject.target {
        Target::Address(key) if !key.as_str().starts_with(['@', ':']) => key.to_string(),
        target => target.to_string(),
    };
    [
        suppression.id.to_string(),
        whom,
        entry.subject.stream.as_deref().unwrap_or_default().to_owned(),
        entry.cause.to_string(),
        entry.since.to_string(),
        entry.expires.map_or(String::new(), |expires| expires.to_string()),
        entry.author.clone(),
        entry.reason.clone(),
        entry.provider.clone().unwrap_or_default(),
        entry.standing.name().to_owned(),
        entry.term.to_string(),
    ]
}

/// An entry as JSON: its columns, null where they are empty, and its kind.
#[must_use]
pub fn json(suppression: &Suppression) -> Value {
    let kind = match suppression.entry.subject.target {
        Target::Address(_) => "address",
        Target::Domain(_) => "domain",
        Target::Pattern(_) => "pattern",
    };
    let mut object = serde_json::Map::new();
    for (name, value) in COLUMNS.iter().zip(values(suppression)) {
        let value = match (*name, value.is_empty()) {
            ("term", _) => json!(suppression.entry.term),
            (_, true) => Value::Null,
            (_, false) => json!(value),
        };
        object.insert((*name).to_owned(), value);
    }
    object.insert("kind".into(), json!(kind));
    Value::Object(object)
}

/// Runs the command.
///
/// # Errors
/// Where the store does not answer.
pub async fn run(store: &Store, options: &ListArguments, _settings: &Settings) -> anyhow::Result<()> {
    let page = store
        .suppressions(&options.filter.filter(options.after, options.limit))
        .await?;
    let next = page
        .last()
        .filter(|_| page.len() as u64 == u64::from(options.limit));
    let next = next.map(|last| last.id);
    if options.json {
        let all: Vec<Value> = page.iter().map(json).collect();
        let next = next.map(|id| id.to_string());
        crate::cli::throttle::print_json(&json!({ "suppressions": all, "next": next }));
        return Ok(());
    }
    if options.csv {
        let mut writer = csv::Writer::from_writer(std::io::stdout());
        writer.write_record(COLUMNS)?;
        for suppression in &page {
            writer.write_record(values(suppression))?;
        }
        writer.flush()?;
        return Ok(());
    }
    table(&page);
    if let Some(next) = next {
        say!("there may be more: --after {next}");
    }
    Ok(())
}

fn table(page: &[Suppression]) {
    let mut table = comfy_table::Table::new();
    table
        .load_preset(comfy_table::presets::NOTHING)
        .set_header(["id", "address", "cause", "since", "until", "author"]);
    let minute = |at: jiff::Timestamp| at.strftime("%Y-%m-%d %H:%M").to_string();
    for suppression in page {
        let entry = &suppression.entry;
        let until = match entry.standing {
            Standing::Quarantined => "quarantined".to_owned(),
            Standing::InForce => entry.expires.map_or(String::new(), minute),
        };
        table.add_row([
            suppression.id.to_string(),
            entry.subject.to_string(),
            entry.cause.to_string(),
            minute(entry.since),
            until,
            entry.author.clone(),
        ]);
    }
    say!("{table}");
}
