//! `nixie status`: what is known, what is held, and how far each intake has read. Reads the store, so
//! that it works with the daemon down, and asks the daemon's own HTTP listener whether it is up.

use super::ask;
use super::throttle::view::Views;
use super::throttle::words;
use crate::clock;
use crate::config::Settings;
use crate::engine::throttle::State;
use crate::store::Store;
use crate::store::contract::Totals;
use jiff::SignedDuration;
use std::process::ExitCode;

/// Runs the command.
///
/// # Errors
/// Where the store does not answer.
pub async fn run(settings: &Settings) -> anyhow::Result<ExitCode> {
    say!("daemon     {}", daemon(settings).await);
    let store = super::open(settings).await?;
    say!("store      {}", store.describe());
    let totals = store.totals().await?;
    let sum = |counts: &[(_, u64)]| counts.iter().map(|(_, count)| count).sum::<u64>();
    say!("\nsuppressed {}", sum(&totals.suppressions));
    for (cause, count) in &totals.suppressions {
        say!("  {cause:20} {count}");
    }
    let quarantined = store.quarantined().await?;
    if quarantined > 0 {
        say!("  in quarantine        {quarantined} of them: an incident's, not acted on until confirmed");
    }
    incidents(&store).await?;
    say!("\nfailures   {}", sum(&totals.failures));
    for (cause, count) in &totals.failures {
        say!("  {cause:20} {count}");
    }
    say!(
        "\noutcomes   {}",
        totals.outcomes.iter().map(|(_, count)| count).sum::<u64>()
    );
    for (outcome, count) in &totals.outcomes {
        say!("  {outcome:20} {count}");
    }
    reports(&totals);
    if totals.unread > 0 {
        say!(
            "\nunread     {} messages were kept that no bounce could be read from",
            totals.unread
        );
    }
    lanes(&store, settings).await?;
    say!("\nintakes");
    for (position, updated) in store.positions().await? {
        let lag =
            crate::serve::log::lag(&position).map_or(String::new(), |lag| format!(", {lag} octets behind"));
        say!(
            "  {}: last commit {}{lag}",
            position.intake,
            updated.strftime("%Y-%m-%d %H:%M:%S")
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// How sure we are of the reports that came, and why nothing proved the others.
fn reports(totals: &Totals) {
    if totals.trust.is_empty() {
        return;
    }
    say!(
        "\nreports    {}",
        totals.trust.iter().map(|(_, count)| count).sum::<u64>()
    );
    for (trust, count) in &totals.trust {
        say!("  {trust:20} {count}");
    }
    if !totals.doubts.is_empty() {
        say!("  nothing proved, when they came:");
    }
    for (doubt, count) in &totals.doubts {
        say!("    {:18} {count:5}  {}", doubt.name(), doubt.phrase());
    }
}

/// The incidents that last, and those of the last week.
async fn incidents(store: &Store) -> anyhow::Result<()> {
    let week = clock::now().checked_sub(SignedDuration::from_hours(24 * 7))?;
    let incidents = store.incidents(week).await?;
    if !incidents.is_empty() {
        say!("\nincidents");
    }
    for incident in &incidents {
        let began = incident.began.strftime("%Y-%m-%d %H:%M");
        say!("  {began}  {incident}");
    }
    Ok(())
}

async fn lanes(store: &Store, settings: &Settings) -> anyhow::Result<()> {
    let now = clock::now();
    say!("\nlanes");
    let views = Views::gather(store, settings, None, now).await?;
    for view in &views.lanes {
        let state = words::state(view.lane.state_at(now), now);
        say!("  {} from {}: {state}", view.key.provider, view.key.egress);
        let grant = view.grant(now);
        if let Some(because) = &grant.because {
            let may = words::permit(&grant.permit, now);
            say!("    may send: {may} ({})", words::ceiling(because, view));
        }
        let signal = view
            .lane
            .signal
            .as_ref()
            .filter(|_| view.lane.state != State::Open);
        if let Some(signal) = signal {
            say!(
                "    {} ({} signals): {}",
                signal.rule,
                view.lane.signals,
                signal.reply
            );
        }
        for order in view.orders.iter() {
            say!("    order: {}", words::order(order));
        }
        if let Some(lane) = view.now.as_ref().filter(|lane| lane.backlog > 0) {
            let next = lane.next_release.map_or(String::new(), |next| {
                format!(", the next goes {}", words::time(next))
            });
            say!("    waiting: {}{next}", lane.backlog);
        }
    }
    if let Some(silence) = views.silence.filter(|_| !views.lanes.is_empty()) {
        say!("  what waits is not known: the daemon is {silence}");
    }
    Ok(())
}

/// Asks `/readyz`.
async fn daemon(settings: &Settings) -> String {
    match ask::get(settings, "/readyz").await {
        Ok((_, body)) => format!("up, {}", body.trim()),
        Err(silence) => silence,
    }
}
