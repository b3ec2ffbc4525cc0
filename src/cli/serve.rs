//! `nixie serve`: runs the daemon and says, at start, what listens where.

use super::Arguments;
use crate::config::{LogSource, Settings};
use crate::serve::Daemon;
use crate::serve::listen::Inherited;
use std::process::ExitCode;

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// What keeps it from starting.
pub async fn run(
    arguments: &Arguments,
    settings: Settings,
    inherited: Inherited,
) -> anyhow::Result<ExitCode> {
    super::trace::start(&settings.trace)?;
    let daemon = Daemon::start(settings.clone(), inherited).await?;
    say!("{}", banner(&daemon, &settings));
    daemon.run(|| arguments.settings()).await?;
    Ok(ExitCode::SUCCESS)
}

fn banner(daemon: &Daemon, settings: &Settings) -> String {
    let mut text = format!("Nixie {} is up.\n\n", env!("CARGO_PKG_VERSION"));
    for (part, address) in &daemon.listening {
        text.push_str(&format!("  {part:10} {address}\n"));
    }
    text.push_str(&format!("  {:10} {}\n", "store", daemon.store));
    let source = &settings.log.source;
    let note = match &settings.log.source {
        LogSource::File(path) if !path.exists() => " (not there yet; waiting for it)",
        _ => "",
    };
    text.push_str(&format!("  {:10} {source}{note}\n", "log"));
    text.push_str("\nTo close the loop, paste these lines into Postfix and reload it (`nixie postfix` prints them again,\n");
    text.push_str("`nixie postfix --check` tells whether they are in force):\n\n");
    for line in super::postfix::lines(settings, "bounces.example.org").lines() {
        text.push_str(&format!("  {line}\n").replace("  \n", "\n"));
    }
    text.push('\n');
    text
}
