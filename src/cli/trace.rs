//! Nixie's own log: set up once, before anything is done.

use crate::config::{Trace, TraceFormat};
use anyhow::Context as _;
use std::io::IsTerminal as _;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Sets up the log as configured.
///
/// # Errors
/// Where the filter cannot be read, or the journal is not there.
pub fn start(trace: &Trace) -> anyhow::Result<()> {
    let filter = check(trace)?;
    let registry = tracing_subscriber::registry().with(filter);
    match trace.format {
        TraceFormat::Human => {
            let color = std::io::stderr().is_terminal();
            let layer = tracing_subscriber::fmt::layer()
                .with_writer(std::io::stderr)
                .with_ansi(color)
                .with_target(false);
            registry.with(layer).try_init()?;
        }
        TraceFormat::Json => {
            let layer = tracing_subscriber::fmt::layer()
                .json()
                .flatten_event(true)
                .with_writer(std::io::stderr);
            registry.with(layer).try_init()?;
        }
        TraceFormat::Journald => {
            let layer = tracing_journald::layer()
                .context("[trace] format: the journal's socket cannot be reached")?;
            registry.with(layer).try_init()?;
        }
    }
    Ok(())
}

/// Reads the filter.
///
/// # Errors
/// Where it cannot be read.
pub fn check(trace: &Trace) -> anyhow::Result<EnvFilter> {
    EnvFilter::builder().parse(&trace.filter).with_context(|| {
        format!(
            "[trace] filter: expected levels like \"info\" or \"nixie=debug\", found {:?}",
            trace.filter
        )
    })
}
