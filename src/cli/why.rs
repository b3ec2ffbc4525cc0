//! `nixie why LANE`: which ceiling applies and whose it is, what last changed the lane's state, and what happened
//! before. Reads the store and the configuration; the daemon adds what waits.

use super::throttle::view::View;
use super::throttle::{self, LaneArguments, words};
use crate::clock;
use crate::config::Settings;
use crate::store::Store;
use serde_json::json;
use std::process::ExitCode;

/// Lines of history shown.
const HISTORY: u32 = 20;

/// Runs the command.
///
/// # Errors
/// Where the store does not answer, or the lane is none.
pub async fn run(options: &LaneArguments, settings: &Settings) -> anyhow::Result<ExitCode> {
    let store = Store::open(&settings.store_url()?).await?;
    let key = throttle::key(&store, settings, &options.lane).await?;
    let (view, silence) = throttle::view(&store, settings, &key).await?;
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
