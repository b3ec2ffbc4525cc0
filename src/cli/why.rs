//! `nixie why`: why an address is suppressed, or why a lane may send no more, and what happened before. Reads the store
//! and the configuration; of a lane the daemon adds what waits.

mod address;

use super::suppress::subject;
use super::throttle::view::View;
use super::throttle::{self, words};
use crate::clock;
use crate::config::Settings;
use crate::store::Store;
use clap::Args;
use serde_json::json;
use std::process::ExitCode;

/// Lines of history shown.
const HISTORY: u32 = 20;

/// Arguments of `nixie why`.
#[derive(Debug, Args)]
pub struct WhyArguments {
    /// An address, or a lane: google, google/pool-1
    #[arg(value_name = "ADDRESS|LANE")]
    pub what: String,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs the command. What has an `@` is an address: no provider has one in its name.
///
/// # Errors
/// Where the store does not answer, or it is neither an address nor a lane.
pub async fn run(options: &WhyArguments, settings: &Settings) -> anyhow::Result<ExitCode> {
    let store = super::open(settings).await?;
    if options.what.contains('@') {
        let whom = subject::whom(&options.what, settings)?;
        return address::run(&store, &whom, options.json, settings).await;
    }
    lane(&store, options, settings).await
}

async fn lane(store: &Store, options: &WhyArguments, settings: &Settings) -> anyhow::Result<ExitCode> {
    let key = throttle::key(store, settings, &options.what).await?;
    let (view, silence) = throttle::view(store, settings, &key).await?;
    let history: Vec<String> = store
        .history(&key, HISTORY)
        .await?
        .iter()
        .filter_map(words::change)
        .collect();
    let now = clock::now();
    if options.json {
        let mut all = view.json(now);
        all["history"] = json!(history);
        throttle::print_json(&all);
        return Ok(ExitCode::SUCCESS);
    }
    let grant = view.grant(now);
    say!(
        "{} may send: {}",
        words::name(&key),
        words::permit(&grant.permit, now)
    );
    let ceilings = view.ceilings(now);
    if ceilings.is_empty() {
        say!("  nothing limits it");
    }
    for ceiling in &ceilings {
        let mark = if View::applies(ceiling, &grant) {
            "applies"
        } else {
            "       "
        };
        say!("  {mark}  {}", words::ceiling(ceiling, &view));
    }
    match &view.learned {
        Some(lane) => {
            say!("\nstate: {}", words::state(lane.state_at(now), now));
            say!("  since {}", words::evidence(&lane.evidence));
            if let Some(signal) = lane
                .signal
                .as_ref()
                .filter(|signal| lane.evidence.reply.as_ref() != Some(&signal.reply))
            {
                say!("  last signal ({}): {}", signal.rule, signal.reply);
            }
        }
        None => say!("\nstate: open; nothing was learned of it yet"),
    }
    // The one in force is among the bounds.
    for order in view
        .orders
        .iter()
        .filter(|order| Some(*order) != view.plan.order.as_ref())
    {
        say!("when resumed: {}", words::order(order));
    }
    throttle::waiting(&view, silence.as_deref(), "");
    if !history.is_empty() {
        say!("\nhistory");
    }
    for line in history {
        say!("  {line}");
    }
    Ok(ExitCode::SUCCESS)
}
