//! `nixie suppress`: look at the suppressed addresses, and change them. Works on the store itself, so
//! that it works with the daemon down; a running daemon follows within a moment.

use crate::clock;
use crate::config::Settings;
use crate::engine::suppression::{NewSuppression, Subject, Suppression, SuppressionId};
use crate::engine::verdict::Cause;
use crate::mail::address::Address;
use crate::store::Store;
use crate::store::contract::Filter;
use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// The commands of `nixie suppress`.
#[derive(Debug, Subcommand)]
pub enum SuppressCommand {
    /// Tell whether an address is suppressed, why, and what happened to it
    Check {
        /// An address, or the id of an entry (NX-123)
        #[arg(value_name = "ADDRESS|ID")]
        what: String,
    },
    /// Suppress an address by hand
    Add {
        /// The address
        address: String,
        /// Why, as a cause (user_unknown, mailbox_disabled, complaint …)
        #[arg(long, default_value = "user_unknown", value_parser = cause)]
        cause: Cause,
        /// Why, in your own words
        #[arg(long, default_value = "added by hand")]
        reason: String,
    },
    /// Let an address be mailed again
    Remove {
        /// The address
        address: String,
        /// Why, in your own words
        #[arg(long, default_value = "removed by hand")]
        reason: String,
    },
    /// List the suppressed addresses
    List(ListArguments),
    /// Read addresses from a CSV file with the columns address,cause
    Import {
        /// The file; `-` is standard input
        file: PathBuf,
        /// The cause of lines that name none
        #[arg(long, default_value = "user_unknown", value_parser = cause)]
        cause: Cause,
    },
}

/// Arguments of `nixie suppress list`.
#[derive(Debug, Args)]
pub struct ListArguments {
    /// Only this cause
    #[arg(long, value_parser = cause)]
    pub cause: Option<Cause>,
    /// Only addresses of this domain
    #[arg(long)]
    pub domain: Option<String>,
    /// Only entries after this one, as in --after NX-123
    #[arg(long, value_name = "ID")]
    pub after: Option<SuppressionId>,
    /// At most so many
    #[arg(long, default_value_t = 100)]
    pub limit: u32,
}

/// Reads a cause that may suppress by hand.
fn cause(text: &str) -> Result<Cause, String> {
    let suppressing = |cause: &Cause| {
        use crate::engine::verdict::Scope;
        matches!(cause.scope(), Scope::Recipient | Scope::Domain)
    };
    Cause::from_name(text).filter(suppressing).ok_or_else(|| {
        let names: Vec<&str> = Cause::ALL
            .iter()
            .copied()
            .filter(suppressing)
            .map(Cause::name)
            .collect();
        format!("expected one of {}", names.join(", "))
    })
}

/// Runs the command.
///
/// # Errors
/// Where the store does not answer or the input cannot be read.
pub async fn run(command: &SuppressCommand, settings: &Settings) -> anyhow::Result<ExitCode> {
    let store = Store::open(&settings.store_url()?).await?;
    let key = |text: &str| -> anyhow::Result<Subject> {
        Ok(Address::parse(text)?.key(settings.address.local_part).into())
    };
    match command {
        SuppressCommand::Check { what } => check(&store, what, settings).await,
        SuppressCommand::Add {
            address,
            cause,
            reason,
        } => {
            let entry = NewSuppression {
                author: author(),
                reason: reason.clone(),
                ..NewSuppression::new(key(address)?, *cause, clock::now())
            };
            let added = store.add(std::slice::from_ref(&entry), clock::now()).await?;
            let stored = store
                .suppression(&entry.subject)
                .await?
                .context("the entry is gone again")?;
            match added.added {
                0 => say!("{} was suppressed already ({})", entry.subject, stored.id),
                _ => say!("{} is suppressed ({})", entry.subject, stored.id),
            }
            Ok(ExitCode::SUCCESS)
        }
        SuppressCommand::Remove { address, reason } => {
            let address = key(address)?;
            match store.remove(&address, &author(), reason, clock::now()).await? {
                Some(removed) => {
                    say!("{address} may be mailed again ({} is lifted)", removed.id);
                    Ok(ExitCode::SUCCESS)
                }
                None => bail!("{address} is not suppressed"),
            }
        }
        SuppressCommand::List(options) => list(&store, options).await,
        SuppressCommand::Import { file, cause } => super::import::run(&store, file, *cause, settings).await,
    }
}

/// Who is at the keyboard, for the audit.
pub(super) fn author() -> String {
    let user = ["SUDO_USER", "USER", "LOGNAME"]
        .iter()
        .find_map(|name| std::env::var(name).ok());
    format!("cli {}", user.as_deref().unwrap_or("unknown"))
}

async fn check(store: &Store, what: &str, settings: &Settings) -> anyhow::Result<ExitCode> {
    let found = match what.parse::<SuppressionId>() {
        Ok(id) => store.suppression_by_id(id).await?,
        Err(_) => {
            store
                .suppression(&Address::parse(what)?.key(settings.address.local_part).into())
                .await?
        }
    };
    let address = match &found {
        Some(suppression) => suppression.entry.subject.clone(),
        None if what.parse::<SuppressionId>().is_ok() => bail!("{what}: no such entry, or it was lifted"),
        None => Address::parse(what)?.key(settings.address.local_part).into(),
    };
    match &found {
        Some(suppression) => print_one(suppression),
        None => say!("{address} is not suppressed"),
    }
    let events = match address.as_address() {
        Some(address) => store.events_of(address, 20).await?,
        None => Vec::new(),
    };
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
            event.trust.name()
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn print_one(suppression: &Suppression) {
    let entry = &suppression.entry;
    say!("{} is suppressed", entry.subject);
    say!("  id       {}", suppression.id);
    say!("  cause    {}", entry.cause);
    say!("  since    {}", entry.since);
    say!(
        "  expires  {}",
        entry
            .expires
            .map_or_else(|| "never".into(), |expires| expires.to_string())
    );
    say!("  author   {}", entry.author);
    say!("  reason   {}", entry.reason);
}

async fn list(store: &Store, options: &ListArguments) -> anyhow::Result<ExitCode> {
    let filter = Filter {
        cause: options.cause,
        domain: options.domain.clone(),
        since: None,
        after: options.after,
        limit: options.limit,
    };
    let page = store.suppressions(&filter).await?;
    let mut table = comfy_table::Table::new();
    table
        .load_preset(comfy_table::presets::NOTHING)
        .set_header(["id", "address", "cause", "since", "author"]);
    for suppression in &page {
        let entry = &suppression.entry;
        let since = entry.since.strftime("%Y-%m-%d %H:%M").to_string();
        table.add_row([
            suppression.id.to_string(),
            entry.subject.to_string(),
            entry.cause.to_string(),
            since,
            entry.author.clone(),
        ]);
    }
    say!("{table}");
    if let Some(last) = page.last().filter(|_| page.len() as u32 == options.limit) {
        say!("there may be more: --after {}", last.id);
    }
    Ok(ExitCode::SUCCESS)
}
