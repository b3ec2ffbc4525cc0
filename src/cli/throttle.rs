//! `nixie throttle`: look at the lanes, and steer them. Works on the store itself, so that it works with the daemon
//! down; a running daemon follows within a moment. What only the daemon knows (tokens, backlog, the next release) is
//! asked from it, and where it does not answer that is said.

pub mod view;
pub mod words;

use super::suppress::author;
use crate::clock;
use crate::config::Settings;
use crate::engine::throttle::plan::{CONNECTIONS, Order, Steer};
use crate::engine::throttle::{LaneKey, Permit, Rate};
use crate::store::Store;
use anyhow::bail;
use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use serde_json::Value;
use std::process::ExitCode;
use view::{View, Views};

/// The commands of `nixie throttle`. LANE is a provider and an egress, as in `google/pool-1`; without an egress, this
/// machine's.
#[derive(Debug, Subcommand)]
pub enum ThrottleCommand {
    /// List the lanes: their state, what they may do, and why
    List {
        /// As JSON, all that is known of each
        #[arg(long)]
        json: bool,
    },
    /// Show all that is known of a lane
    Show(LaneArguments),
    /// Let a lane take no more than this, whatever else would allow more
    Set(SetArguments),
    /// Let nothing go out through a lane until it is resumed
    Pause {
        /// The lane
        #[command(flatten)]
        lane: LaneArguments,
        /// Why
        #[arg(long, value_parser = NonEmptyStringValueParser::new())]
        reason: String,
    },
    /// Take a pause back; a cap that was set stays
    Resume {
        /// The lane
        #[command(flatten)]
        lane: LaneArguments,
        /// Why
        #[arg(long, default_value = "resumed by hand", value_parser = NonEmptyStringValueParser::new())]
        reason: String,
    },
    /// Forget what was learned of a lane, and take all orders back: it is open again
    Clear {
        /// The lane
        #[command(flatten)]
        lane: LaneArguments,
        /// Why
        #[arg(long, default_value = "cleared by hand", value_parser = NonEmptyStringValueParser::new())]
        reason: String,
    },
}

/// A lane, and how it is shown.
#[derive(Debug, Args)]
pub struct LaneArguments {
    /// A provider, or a provider and an egress: google, google/pool-1
    #[arg(value_name = "LANE")]
    pub lane: String,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `nixie throttle set`.
#[derive(Debug, Args)]
#[group(id = "cap", required = true, multiple = true, args = ["rate", "connections"])]
pub struct SetArguments {
    /// The lane
    #[command(flatten)]
    lane: LaneArguments,
    /// Messages in a time: 5/s, 300/min, 1000/h
    #[arg(long, allow_hyphen_values = true)]
    rate: Option<Rate>,
    /// Connections at a time
    #[arg(long, allow_hyphen_values = true, value_parser = most_connections)]
    connections: Option<u32>,
    /// Why
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    reason: String,
}

fn most_connections(text: &str) -> Result<u32, String> {
    let (least, most) = (CONNECTIONS.start(), CONNECTIONS.end());
    match text.parse() {
        Ok(n) if CONNECTIONS.contains(&n) => Ok(n),
        Ok(0) => Err(format!(
            "expected from {least} to {most}, found 0: to send nothing, pause the lane"
        )),
        _ => Err(format!(
            "expected from {least} to {most}, found {text:?}: for no limit, leave it out"
        )),
    }
}

/// Runs the command.
///
/// # Errors
/// Where the store does not answer, the lane is none, or there is nothing to take back.
pub async fn run(command: &ThrottleCommand, settings: &Settings) -> anyhow::Result<ExitCode> {
    let store = super::open(settings).await?;
    match command {
        ThrottleCommand::List { json } => list(&store, settings, *json).await?,
        ThrottleCommand::Show(lane) => {
            let (view, silence) = find(&store, settings, lane).await?;
            if lane.json {
                print_json(&view.json(clock::now()));
            } else {
                show(&view, silence.as_deref());
            }
        }
        ThrottleCommand::Set(options) => {
            let what = Steer::Cap {
                per_second: options.rate.map(Rate::per_second),
                concurrency: options.connections,
            };
            order(&store, settings, &options.lane, what, &options.reason).await?;
        }
        ThrottleCommand::Pause { lane, reason } => {
            order(&store, settings, lane, Steer::Pause, reason).await?;
        }
        ThrottleCommand::Resume { lane, reason } => resume(&store, settings, lane, reason).await?,
        ThrottleCommand::Clear { lane, reason } => clear(&store, settings, lane, reason).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads the name of a lane. One that is known already may have any name; else it must be one that a lane can have.
///
/// # Errors
/// What was expected and what was found.
pub async fn key(store: &Store, settings: &Settings, lane: &str) -> anyhow::Result<LaneKey> {
    let (provider, egress) = lane.split_once('/').unwrap_or((lane, &settings.egress.name));
    if provider.is_empty() || egress.is_empty() || lane.chars().any(|c| c.is_control() || c.is_whitespace()) {
        bail!("{lane:?}: expected a provider, or a provider and an egress, as in google or google/pool-1");
    }
    let key = LaneKey {
        provider: provider.to_owned(),
        egress: egress.to_owned(),
    };
    let lanes = store.lanes().await?;
    if lanes.iter().any(|(known, _)| *known == key) {
        return Ok(key);
    }
    if let Err(problem) = crate::serve::providers(settings)?.check_name(provider) {
        bail!("{problem}");
    }
    if provider.contains('.') {
        let domains = store.domains().await?;
        let owner = domains
            .iter()
            .find(|(domain, owner)| domain == provider && owner != provider);
        if let Some((_, owner)) = owner {
            bail!("{provider}: its mail goes to {owner}, and so do its limits: write {owner}/{egress}");
        }
    }
    Ok(key)
}

/// A lane, and why the daemon says nothing of it.
async fn find(
    store: &Store,
    settings: &Settings,
    lane: &LaneArguments,
) -> anyhow::Result<(View, Option<String>)> {
    let key = key(store, settings, &lane.lane).await?;
    view(store, settings, &key).await
}

/// The same of a key.
pub async fn view(
    store: &Store,
    settings: &Settings,
    key: &LaneKey,
) -> anyhow::Result<(View, Option<String>)> {
    let mut views = Views::gather(store, settings, Some(key), clock::now()).await?;
    let silence = views.silence.take();
    match views.take(key) {
        Some(view) => Ok((view, silence)),
        None => bail!("{}: no such lane", words::name(key)),
    }
}

/// Prints JSON, to be read by people as well.
pub fn print_json(value: &Value) {
    say!("{value:#}");
}

async fn list(store: &Store, settings: &Settings, json: bool) -> anyhow::Result<()> {
    let now = clock::now();
    let views = Views::gather(store, settings, None, now).await?;
    if json {
        let all: Vec<Value> = views.lanes.iter().map(|view| view.json(now)).collect();
        print_json(&Value::Array(all));
        return Ok(());
    }
    if views.lanes.is_empty() {
        say!("no lanes yet: nothing was answered, ordered or planned");
        return Ok(());
    }
    let mut table = comfy_table::Table::new();
    table
        .load_preset(comfy_table::presets::NOTHING)
        .set_header(["lane", "state", "may send", "waiting", "because"]);
    for view in &views.lanes {
        let grant = view.grant(now);
        let because = grant.because.as_ref();
        table.add_row([
            words::name(&view.key),
            view.lane.state_at(now).name().to_owned(),
            words::permit(&grant.permit, now),
            view.now
                .as_ref()
                .map_or("?".into(), |lane| lane.backlog.to_string()),
            because.map_or(String::new(), |because| words::ceiling(because, view)),
        ]);
    }
    say!("{table}");
    if let Some(silence) = views.silence {
        say!("what waits is not known: the daemon is {silence}");
    }
    Ok(())
}

fn show(view: &View, silence: Option<&str>) {
    let now = clock::now();
    let grant = view.grant(now);
    say!("{}", words::name(&view.key));
    say!("  state      {}", words::state(view.lane.state_at(now), now));
    match &view.learned {
        Some(lane) => say!("  since      {}", words::evidence(&lane.evidence)),
        None => say!("  since      nothing was learned of it yet"),
    }
    say!("  may send   {}", words::permit(&grant.permit, now));
    if let Some(because) = &grant.because {
        say!("  because    {}", words::ceiling(because, view));
    }
    say!("  signals    {}", view.lane.signals);
    for order in view.orders.iter() {
        say!("  order      {}", words::order(order));
    }
    waiting(view, silence, "  ");
}

/// What the daemon knows.
pub fn waiting(view: &View, silence: Option<&str>, indent: &str) {
    let Some(lane) = &view.now else {
        match silence {
            Some(silence) => say!("{indent}waiting    not known: the daemon is {silence}"),
            None => say!("{indent}waiting    nothing: the daemon knows of no such lane"),
        }
        return;
    };
    let streams: Vec<String> = lane
        .backlog_by_stream
        .iter()
        .map(|(stream, n)| format!("{stream} {n}"))
        .collect();
    let streams = match streams.is_empty() {
        true => String::new(),
        false => format!(" ({})", streams.join(", ")),
    };
    let oldest = lane.oldest.map_or(String::new(), |at| {
        format!(", the oldest since {}", words::time(at))
    });
    say!("{indent}waiting    {}{streams}{oldest}", lane.backlog);
    if let Some(next) = lane.next_release {
        say!("{indent}next       {}", words::time(next));
    }
    if let Some(tokens) = lane.tokens {
        say!("{indent}tokens     {tokens:.1}, {} under way", lane.under_way);
    }
}

async fn order(
    store: &Store,
    settings: &Settings,
    lane: &LaneArguments,
    what: Steer,
    reason: &str,
) -> anyhow::Result<()> {
    let key = key(store, settings, &lane.lane).await?;
    let order = Order {
        what,
        author: author(),
        reason: reason.to_owned(),
        at: clock::now(),
    };
    let before = store.order(&key, &order).await?;
    let (view, _) = view(store, settings, &key).await?;
    if lane.json {
        print_json(&view.json(clock::now()));
        return Ok(());
    }
    let name = words::name(&key);
    match what {
        Steer::Pause => say!("{name} is paused: nothing goes out until `nixie throttle resume {name}`"),
        Steer::Cap { .. } => say!("{name}: {} from now on", words::steer(&what)),
    }
    if let Some(before) = before {
        say!("  before: {}", words::order(&before));
    }
    say_what_applies(&view, Some(what));
    Ok(())
}

/// What holds now, where that is not what was just ordered.
fn say_what_applies(view: &View, ordered: Option<Steer>) {
    let now = clock::now();
    let grant = view.grant(now);
    let name = words::name(&view.key);
    let given = |because: &crate::engine::throttle::Ceiling| match because {
        crate::engine::throttle::Ceiling::Operator(order) => Some(order.what),
        _ => None,
    };
    match &grant.because {
        Some(because) if given(because) == ordered && ordered.is_some() => {}
        Some(because) if grant.permit == Permit::Paused => {
            say!("  it is paused all the same: {}", words::ceiling(because, view));
            say!("  `nixie throttle resume {name}` takes that back");
        }
        Some(because) => {
            let may = words::permit(&grant.permit, now);
            say!("  just now: {may} ({})", words::ceiling(because, view));
        }
        None => say!("  just now: no limit"),
    }
}

async fn resume(
    store: &Store,
    settings: &Settings,
    lane: &LaneArguments,
    reason: &str,
) -> anyhow::Result<()> {
    let key = key(store, settings, &lane.lane).await?;
    let name = words::name(&key);
    let by = (&*author(), reason);
    let Some(before) = store.withdraw(&key, Steer::Pause, by, clock::now()).await? else {
        bail!("{name} is not paused");
    };
    let (view, _) = view(store, settings, &key).await?;
    if lane.json {
        print_json(&view.json(clock::now()));
        return Ok(());
    }
    say!("{name} is resumed");
    say!("  before: {}", words::order(&before));
    say_what_applies(&view, None);
    Ok(())
}

async fn clear(store: &Store, settings: &Settings, lane: &LaneArguments, reason: &str) -> anyhow::Result<()> {
    let key = key(store, settings, &lane.lane).await?;
    let name = words::name(&key);
    let now = clock::now();
    let cleared = store.clear(&key, (&*author(), reason), now).await?;
    if cleared.lane.is_none() && cleared.orders.is_empty() {
        bail!("{name}: nothing was learned of it and no order stands: there is nothing to clear");
    }
    let (view, _) = view(store, settings, &key).await?;
    if lane.json {
        print_json(&view.json(now));
        return Ok(());
    }
    say!("{name} is open again");
    if let Some(lane) = &cleared.lane {
        let state = words::state(lane.state_at(now), now);
        say!("  forgotten: {state}, {} signals", lane.signals);
        say!("             {}", words::evidence(&lane.evidence));
    }
    for order in &cleared.orders {
        say!("  taken back: {}", words::order(order));
    }
    say_what_applies(&view, None);
    Ok(())
}
