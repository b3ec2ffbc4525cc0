//! Floor 6: the command line. Arguments come in, human output goes out; one file a command.
//! Printing happens only here.

#![expect(clippy::print_stderr, reason = "this is the room that prints")]

/// Prints a line. Where the reader has gone (`nixie status | head`) there is nobody left to tell, and what
/// the command does goes on: `println!` would panic.
macro_rules! say {
    ($($words:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($words)*);
    }};
}

pub mod ask;
pub mod check_config;
pub mod classify;
pub mod explain;
pub mod export;
pub mod import;
pub mod ingest;
pub mod key;
pub mod migrate;
pub mod postfix;
pub mod providers;
pub mod replay;
pub mod serve;
pub mod simulate;
pub mod status;
pub mod suppress;
pub mod throttle;
pub mod trace;
pub mod undo;
mod walk;
pub mod when;
pub mod why;

use crate::config::Settings;
use crate::serve::listen::Inherited;
use crate::store::Store;
use anyhow::Context as _;
use clap::{Parser, Subcommand};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Closes the bounce loop for Postfix: reads bounces, suppresses the dead, slows down for the busy.
#[derive(Debug, Parser)]
#[command(name = "nixie", version, max_term_width = 100)]
pub struct Arguments {
    /// The configuration file [default: /etc/nixie/nixie.toml, if it exists]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The store, over `url` of the section `store`
    #[arg(long, global = true, value_name = "URL")]
    pub store: Option<String>,
    /// Any key, over everything else, as in --set log.source=journal
    #[arg(long, global = true, value_name = "SECTION.KEY=VALUE", value_parser = key_value)]
    pub set: Vec<(String, String)>,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon
    Serve,
    /// Read the configuration, the rules and the providers, and say what is wrong with them
    CheckConfig,
    /// Print the lines to paste into Postfix, or compare them with a Postfix
    Postfix(postfix::PostfixArguments),
    /// Read logs, mbox files, Maildirs and .eml files; safe to run twice
    Ingest(ingest::IngestArguments),
    /// Say what messages or replies mean, without touching the store
    Classify(classify::ClassifyArguments),
    /// Explain a reply, and look up codes, statuses, causes and rules
    Explain(explain::ExplainArguments),
    /// Check the catalogue of providers, show it, and tell whose a domain is
    #[command(subcommand)]
    Providers(providers::ProvidersCommand),
    /// Look at the suppressed addresses, and change them
    #[command(subcommand)]
    Suppress(suppress::SuppressCommand),
    /// Look at the lanes to providers, and steer them
    #[command(subcommand)]
    Throttle(throttle::ThrottleCommand),
    /// Say why an address is suppressed, or what limits a lane, and what happened to it
    Why(why::WhyArguments),
    /// Lift what a rule, a provider or a time caused, or take an operation back; a dry run first
    Undo(undo::UndoArguments),
    /// Judge kept replies again, and show who would be suppressed and who no more
    Replay(replay::ReplayArguments),
    /// Make the keys that sign return paths, and rotate them
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Show the steps of the store's schema, and run those that are missing
    Migrate(migrate::MigrateArguments),
    /// Try the throttle against models of providers, and compare it with other policies
    Simulate(simulate::SimulateArguments),
    /// Show what is known, what is held, and how far each intake has read
    Status,
    /// Print the manual page, or write those of all commands
    #[command(hide = true)]
    Man {
        /// The directory to write nixie.1, nixie-serve.1 and so on to
        directory: Option<PathBuf>,
    },
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if key.contains('.') => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected SECTION.KEY=VALUE".into()),
    }
}

impl Arguments {
    /// The settings of file, environment and flags.
    ///
    /// # Errors
    /// Whatever is wrong with them, naming file, line and key.
    pub fn settings(&self) -> anyhow::Result<Settings> {
        let store = self.store.iter().map(|url| ("store.url", url.clone()));
        let set = self.set.iter().map(|(key, value)| (key.as_str(), value.clone()));
        let flags: Vec<(&str, String)> = store.chain(set).collect();
        Ok(Settings::load(self.config.as_deref(), &flags)?)
    }
}

/// Runs a command line and tells the exit code: 0 done, 1 failed, 2 wrong usage.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("nixie: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if let Command::Man { directory } = &arguments.command {
        return man(directory.as_deref());
    }
    if let Command::Simulate(options) = &arguments.command {
        return simulate::run(options);
    }
    let settings = arguments.settings()?;
    if let Command::Classify(options) = &arguments.command {
        return classify::run(options, &settings);
    }
    if let Command::Explain(options) = &arguments.command {
        return explain::run(options, &settings);
    }
    if let Command::Key(command) = &arguments.command {
        return key::run(command, &settings);
    }
    // Taking over systemd's sockets clears variables of the environment, which is safe only while there
    // is one thread: before the runtime.
    let inherited = Inherited::from_env()?;
    let runtime = tokio::runtime::Runtime::new().context("starting the runtime")?;
    runtime.block_on(async {
        match &arguments.command {
            Command::Serve => serve::run(arguments, settings, inherited).await,
            Command::CheckConfig => check_config::run(arguments, &settings).await,
            Command::Postfix(options) => postfix::run(options, &settings).await,
            Command::Ingest(options) => ingest::run(options, &settings).await,
            Command::Suppress(command) => suppress::run(command, &settings).await,
            Command::Providers(command) => providers::run(command, &settings).await,
            Command::Throttle(command) => throttle::run(command, &settings).await,
            Command::Why(options) => why::run(options, &settings).await,
            Command::Undo(options) => undo::run(options, &settings).await,
            Command::Replay(options) => replay::run(options, &settings).await,
            Command::Migrate(options) => migrate::run(options, &settings).await,
            Command::Status => status::run(&settings).await,
            Command::Classify(_)
            | Command::Explain(_)
            | Command::Key(_)
            | Command::Simulate(_)
            | Command::Man { .. } => Ok(ExitCode::SUCCESS),
        }
    })
}

/// The store of the settings, which is touched by nothing yet.
async fn connect(settings: &Settings) -> anyhow::Result<Store> {
    let store = Store::connect_lazy(&settings.store_url()?).await?;
    Ok(store.veiled(settings.veil()?.mark()))
}

/// The store of the settings, open and with its schema.
async fn open(settings: &Settings) -> anyhow::Result<Store> {
    let store = connect(settings).await?;
    store.migrate().await?;
    Ok(store)
}

fn man(directory: Option<&Path>) -> anyhow::Result<ExitCode> {
    let command = <Arguments as clap::CommandFactory>::command();
    match directory {
        None => clap_mangen::Man::new(command).render(&mut std::io::stdout().lock())?,
        Some(directory) => {
            clap_mangen::generate_to(command, directory).with_context(|| directory.display().to_string())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
