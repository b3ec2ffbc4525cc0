//! `nixie check-config`: says what is wrong with the configuration, the rules and the providers, or
//! that nothing is. Exit code 1 where something is.

use super::Arguments;
use crate::config::{DEFAULT_FILE, Settings};
use crate::serve;
use std::path::Path;
use std::process::ExitCode;

/// Runs the command. The settings were read already: what is wrong with the file itself was said then.
///
/// # Errors
/// What is wrong with rules, providers or addresses, all of it.
pub async fn run(arguments: &Arguments, settings: &Settings) -> anyhow::Result<ExitCode> {
    let bench = serve::bench(settings)?;
    let store = settings.store_url()?;
    crate::store::Store::connect_lazy(&store).await?;
    crate::cli::trace::check(&settings.trace)?;
    let file = match &arguments.config {
        Some(path) => path.display().to_string(),
        None if Path::new(DEFAULT_FILE).exists() => DEFAULT_FILE.to_owned(),
        None => "no file (defaults)".to_owned(),
    };
    say!(
        "{file}: good, {} rules, {} providers",
        bench.rules.rules().len(),
        bench.providers.all().len()
    );
    if let Some(renounced) = settings.renounced() {
        say!("note: {renounced}");
    }
    Ok(ExitCode::SUCCESS)
}
