//! `nixie migrate`: the steps of the store's schema, and which of them it has. Every command and the daemon run what
//! is missing by themselves; this shows it beforehand, and runs it at an hour of your choosing. Steps only add while an
//! older node may still run: new nodes and old ones work side by side.

use crate::config::Settings;
use clap::Args;
use std::process::ExitCode;

/// Arguments of `nixie migrate`.
#[derive(Debug, Args)]
pub struct MigrateArguments {
    /// Run the steps that are missing
    #[arg(long)]
    pub run: bool,
}

/// Runs the command. The exit code is 1 where steps are missing.
///
/// # Errors
/// Where the store does not answer, or a step fails.
pub async fn run(options: &MigrateArguments, settings: &Settings) -> anyhow::Result<ExitCode> {
    let store = super::connect(settings).await?;
    if options.run {
        store.migrate().await?;
    }
    say!("store  {}", store.describe());
    let steps = store.schema().await?;
    for step in &steps {
        let state = match (step.known, step.applied) {
            (true, true) => "done",
            (true, false) => "missing",
            (false, _) => "done by a newer version",
        };
        say!("  {:4}  {:24} {state}", step.version, step.description);
    }
    let missing = steps.iter().filter(|step| !step.applied).count();
    if missing > 0 {
        say!(
            "{missing} missing: `nixie migrate --run` does them, and so does whatever opens the store first"
        );
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}
