//! `nixie simulate`: the throttle against models of providers, and against what others do. Touches no store
//! and no mail; a day takes seconds.

use crate::engine::simulate::{self, Model, Policy, Scenario, Summary, draw};
use anyhow::Context as _;
use clap::Args;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Arguments of `nixie simulate`.
#[derive(Debug, Args)]
pub struct SimulateArguments {
    /// Which providers: all, or bucket, concurrency, quota, shrinking, changing, greylisting, tarpit, outage
    #[arg(value_name = "MODEL", value_parser = model)]
    pub models: Vec<Model>,
    /// The hidden limit in messages a minute (for concurrency: in connections) [default: 300; 5]
    #[arg(long, value_name = "N", value_parser = within(1.0, 60_000.0))]
    pub limit: Option<f64>,
    /// What the provider lets through at once, in messages
    #[arg(long, value_name = "N", default_value = "20", value_parser = within(1.0, 100_000.0))]
    pub burst: f64,
    /// How much mail comes, as a share of the limit
    #[arg(long, value_name = "SHARE", default_value = "1.3", value_parser = within(0.01, 10.0))]
    pub load: f64,
    /// How long a refusal asks to be left alone, in minutes [default: it does not say]
    #[arg(long, value_name = "MINUTES", value_parser = within(0.1, 1440.0))]
    pub hold: Option<f64>,
    /// How long, in hours
    #[arg(long, value_name = "HOURS", default_value = "24", value_parser = within(1.0, 240.0))]
    pub hours: f64,
    /// What all chance comes from
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Only the throttle, without the other policies
    #[arg(long)]
    pub alone: bool,
    /// Write a picture of each run into this directory: MODEL-POLICY.svg
    #[arg(long, value_name = "DIRECTORY")]
    pub svg: Option<PathBuf>,
}

fn model(name: &str) -> Result<Model, String> {
    let known = || Model::ALL.iter().map(|model| model.name()).collect::<Vec<_>>();
    let found = Model::ALL.iter().copied().find(|model| model.name() == name);
    found.ok_or_else(|| format!("expected one of {}", known().join(", ")))
}

/// A number within a range, which is named where it is not.
fn within(least: f64, most: f64) -> impl Fn(&str) -> Result<f64, String> + Clone + Send + Sync + 'static {
    move |text| match text.parse::<f64>() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(format!("expected a number from {least} to {most}")),
    }
}

/// Runs the command.
///
/// # Errors
/// Where a picture cannot be written.
pub fn run(options: &SimulateArguments) -> anyhow::Result<ExitCode> {
    let models = if options.models.is_empty() {
        Model::ALL
    } else {
        &options.models
    };
    let policies = if options.alone {
        &Policy::ALL[..1]
    } else {
        Policy::ALL
    };
    if let Some(directory) = &options.svg {
        fs::create_dir_all(directory).with_context(|| format!("creating {}", directory.display()))?;
    }
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::NOTHING);
    table.set_header([
        "provider",
        "policy",
        "taken",
        "goodput",
        "attempts",
        "refused",
        "of attempts",
        "back at 90 %",
        "peak",
    ]);
    for &model in models {
        let scenario = scenario(options, model);
        for &policy in policies {
            let tally = simulate::run(&scenario, policy);
            table.add_row(row(model, policy, &tally.summary()));
            if let Some(directory) = &options.svg {
                let name = format!("{}-{}", model.name(), policy.name());
                let path = directory.join(format!("{name}.svg"));
                let title = format!("{name}: limit {} , seed {}", scenario.limit, scenario.seed);
                fs::write(&path, draw::svg(&title, &tally))
                    .with_context(|| format!("writing {}", path.display()))?;
            }
        }
    }
    say!("{table}");
    say!(
        "\nAfter the first ten minutes. Goodput is against what the limit would have allowed; back at 90 % is"
    );
    say!("the time from a rise of the limit until nine tenths of it are used; peak is the best minute.");
    Ok(ExitCode::SUCCESS)
}

fn scenario(options: &SimulateArguments, model: Model) -> Scenario {
    let usual = Scenario::of(model);
    Scenario {
        limit: options.limit.unwrap_or(usual.limit),
        burst: options.burst,
        load: options.load,
        span: Duration::from_secs_f64(options.hours * 3600.0),
        hold: options
            .hold
            .map(|minutes| Duration::from_secs_f64(minutes * 60.0)),
        seed: options.seed,
        ..usual
    }
}

fn row(model: Model, policy: Policy, summary: &Summary) -> Vec<String> {
    let percent = |share: f64| format!("{:.2} %", share * 100.0);
    vec![
        model.name().to_owned(),
        policy.name(),
        summary.taken.to_string(),
        percent(summary.goodput),
        summary.attempts.to_string(),
        summary.refused.to_string(),
        percent(summary.refusals),
        summary
            .recovery
            .map_or_else(|| "-".into(), |seconds| format!("{:.1} min", seconds / 60.0)),
        percent(summary.peak),
    ]
}
