//! `nixie suppress`: look at who is suppressed, and change it. Works on the store itself, so that it works with the
//! daemon down; a running daemon follows within a moment.

pub mod list;
pub mod show;
pub mod subject;

use super::export::ExportArguments;
use super::import::ImportArguments;
use super::when::When;
use crate::clock;
use crate::config::Settings;
use crate::engine::suppression::{NewSuppression, Subject, full_hour};
use crate::engine::verdict::{Cause, Scope};
use crate::store::Store;
use crate::store::contract::By;
use anyhow::{Context as _, bail};
use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use list::ListArguments;
use std::process::ExitCode;
use subject::SubjectArguments;

/// The commands of `nixie suppress`.
#[derive(Debug, Subcommand)]
pub enum SuppressCommand {
    /// Tell whether an address is suppressed, by which entries, and what happened to it
    Check {
        /// An address, or the id of an entry (NX-123)
        #[arg(value_name = "ADDRESS|ID")]
        what: String,
    },
    /// Suppress an address, a domain or a pattern by hand
    Add(AddArguments),
    /// Let an address, a domain or a pattern be mailed again
    Remove {
        /// Whom
        #[command(flatten)]
        subject: SubjectArguments,
        /// Why, in your own words
        #[arg(long, default_value = "removed by hand", value_parser = NonEmptyStringValueParser::new())]
        reason: String,
    },
    /// Erase all that is kept of a person's address
    Forget {
        /// The address
        address: String,
        /// Leave the hash of it suppressed ([privacy] only)
        #[arg(long)]
        keep_hash: bool,
        /// Why; it must not name them
        #[arg(long, default_value = "asked to be forgotten", value_parser = NonEmptyStringValueParser::new())]
        reason: String,
    },
    /// List who is suppressed, a page at a time
    List(ListArguments),
    /// Write out who is suppressed, all of it, as `import` reads it
    Export(ExportArguments),
    /// Read the lists that services export, our own, and plain ones
    Import(ImportArguments),
}

/// Arguments of `nixie suppress add`.
#[derive(Debug, Args)]
pub struct AddArguments {
    /// Whom
    #[command(flatten)]
    subject: SubjectArguments,
    /// Why, as a cause (user_unknown, mailbox_disabled, complaint …)
    #[arg(long, default_value = "user_unknown", value_parser = cause)]
    cause: Cause,
    /// Until when: a time, or how long: 2027-01-31, 90d [default: for good]
    #[arg(long, value_name = "WHEN")]
    expires: Option<When>,
    /// Why, in your own words
    #[arg(long, default_value = "added by hand", value_parser = NonEmptyStringValueParser::new())]
    reason: String,
}

/// Reads a cause that may suppress by hand.
///
/// # Errors
/// Which there are.
pub(super) fn cause(text: &str) -> Result<Cause, String> {
    let suppressing = |cause: &Cause| matches!(cause.scope(), Scope::Recipient | Scope::Domain);
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

/// Who is at the keyboard, for the audit.
pub(super) fn author() -> String {
    let user = ["SUDO_USER", "USER", "LOGNAME"]
        .iter()
        .find_map(|name| std::env::var(name).ok());
    format!("cli {}", user.as_deref().unwrap_or("unknown"))
}

/// Runs the command.
///
/// # Errors
/// Where the store does not answer or the input cannot be read.
pub async fn run(command: &SuppressCommand, settings: &Settings) -> anyhow::Result<ExitCode> {
    let store = super::open(settings).await?;
    match command {
        SuppressCommand::Check { what } => show::check(&store, what, settings).await?,
        SuppressCommand::Add(options) => add(&store, options, settings).await?,
        SuppressCommand::Remove { subject, reason } => remove(&store, subject, reason, settings).await?,
        SuppressCommand::Forget {
            address,
            keep_hash,
            reason,
        } => forget(&store, address, *keep_hash, reason, settings).await?,
        SuppressCommand::List(options) => list::run(&store, options, settings).await?,
        SuppressCommand::Export(options) => super::export::run(&store, options, settings).await?,
        SuppressCommand::Import(options) => return super::import::run(&store, options, settings).await,
    }
    Ok(ExitCode::SUCCESS)
}

async fn add(store: &Store, options: &AddArguments, settings: &Settings) -> anyhow::Result<()> {
    let now = clock::now();
    let subject = options.subject.read(settings)?;
    let expires = options.expires.map(|when| full_hour(when.after(now)));
    if let Some(past) = expires.filter(|expires| *expires <= now) {
        bail!("--expires: {past} is over");
    }
    let entry = NewSuppression {
        expires,
        author: author(),
        reason: options.reason.clone(),
        ..NewSuppression::new(subject, options.cause, now)
    };
    let added = store.add(std::slice::from_ref(&entry), now).await?;
    let stored = store
        .suppression(&entry.subject)
        .await?
        .context("the entry is gone again")?;
    let whom = subject::name(&entry.subject);
    match added.added {
        0 => say!("{whom} was suppressed already ({})", stored.id),
        _ => say!("{whom} is suppressed ({})", stored.id),
    }
    Ok(())
}

async fn remove(
    store: &Store,
    subject: &SubjectArguments,
    reason: &str,
    settings: &Settings,
) -> anyhow::Result<()> {
    let subject = subject.read(settings)?;
    let whom = subject::name(&subject);
    let Some(removed) = store.remove(&subject, &author(), reason, clock::now()).await? else {
        bail!("{whom} is not suppressed");
    };
    say!("{whom} may be mailed again ({} is lifted)", removed.id);
    Ok(())
}

async fn forget(
    store: &Store,
    address: &str,
    keep_hash: bool,
    reason: &str,
    settings: &Settings,
) -> anyhow::Result<()> {
    let whom = subject::whom(address, settings)?;
    let hidden = whom.key != whom.clear;
    if keep_hash && !hidden {
        bail!("--keep-hash: the store keeps addresses in clear; [privacy] key_file has it keep hashes");
    }
    let own = |subject: &Subject| subject.as_address().is_some();
    let subjects: Vec<Subject> = subject::all_of(&whom, settings).into_iter().filter(own).collect();
    let author = author();
    let by = By {
        author: &author,
        reason,
    };
    let (operation, forgotten) = store
        .forget(&whom.key, &subjects, keep_hash, by, clock::now())
        .await?;
    store.forget_signed(&whom.key).await?;
    let passed_on = match hidden {
        true => 0,
        false => store.forget_as_target(&whom.clear.to_string()).await?,
    };
    let kept = if keep_hash { "kept as a hash" } else { "lifted" };
    say!(
        "{} entries {kept}, {} events erased (operation {operation})",
        forgotten.entries,
        forgotten.events + passed_on
    );
    say!(
        "{} changes do not name it any more; what lifts its entries does so for an hour",
        forgotten.changes
    );
    Ok(())
}
