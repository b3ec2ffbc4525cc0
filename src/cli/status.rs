//! `nixie status`: what is known, what is held, and how far each intake has read. Reads the store, so
//! that it works with the daemon down, and asks the daemon's own HTTP listener whether it is up.

use crate::clock;
use crate::config::listen::ListenAddress;
use crate::config::{Settings, default_listen};
use crate::engine::throttle::State;
use crate::store::Store;
use std::process::ExitCode;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Runs the command.
///
/// # Errors
/// Where the store does not answer.
pub async fn run(settings: &Settings) -> anyhow::Result<ExitCode> {
    say!("daemon     {}", daemon(settings).await);
    let store = Store::open(&settings.store_url()?).await?;
    say!("store      {}", store.describe());
    let totals = store.totals().await?;
    let sum = |counts: &[(_, u64)]| counts.iter().map(|(_, count)| count).sum::<u64>();
    say!("\nsuppressed {}", sum(&totals.suppressions));
    for (cause, count) in &totals.suppressions {
        say!("  {cause:20} {count}");
    }
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
    if totals.unread > 0 {
        say!(
            "\nunread     {} messages were kept that no bounce could be read from",
            totals.unread
        );
    }
    lanes(&store).await?;
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

async fn lanes(store: &Store) -> anyhow::Result<()> {
    let now = clock::now();
    say!("\nlanes");
    for (key, lane) in store.lanes().await? {
        let state = match lane.state_at(now) {
            State::Open => "open".to_owned(),
            State::Limited { rate, concurrency } => limited(rate, concurrency),
            State::Recovering { .. } => "recovering: the hold is over, nothing delivered since".to_owned(),
            State::Held { until } => {
                let seconds = until.as_second() - now.as_second();
                format!(
                    "held for {seconds} s more, until {}",
                    until.strftime("%Y-%m-%d %H:%M:%S")
                )
            }
        };
        say!("  {} from {}: {state}", key.provider, key.egress);
        if let Some(signal) = lane.signal.filter(|_| lane.state != State::Open) {
            say!("    {} ({} signals): {}", signal.rule, lane.signals, signal.reply);
        }
    }
    Ok(())
}

fn limited(rate: Option<f64>, concurrency: Option<u32>) -> String {
    let rate = rate.map(|rate| format!("{:.1} a minute", rate * 60.0));
    let connections = concurrency.map(|most| format!("{most} connections"));
    let said: Vec<String> = rate.into_iter().chain(connections).collect();
    format!("limited to {}", said.join(", "))
}

/// Asks `/readyz`: a request of two lines needs no HTTP library.
async fn daemon(settings: &Settings) -> String {
    let listen = settings
        .http
        .listen
        .as_ref()
        .map_or(default_listen::HTTP.to_owned(), ToString::to_string);
    if settings.http.listen == Some(ListenAddress::Off) {
        return "unknown ([http] listen is off)".into();
    }
    let ask = async {
        let mut answer = String::new();
        let request = b"GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n";
        match listen.strip_prefix("unix:") {
            Some(path) => {
                let mut stream = tokio::net::UnixStream::connect(path).await?;
                stream.write_all(request).await?;
                stream.read_to_string(&mut answer).await?;
            }
            None => {
                let mut stream = tokio::net::TcpStream::connect(&listen).await?;
                stream.write_all(request).await?;
                stream.read_to_string(&mut answer).await?;
            }
        }
        std::io::Result::Ok(answer)
    };
    match tokio::time::timeout(Duration::from_secs(3), ask).await {
        Ok(Ok(answer)) => {
            let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body).trim();
            format!("up, {body}")
        }
        Ok(Err(error)) => format!("not reached at {listen}: {error}"),
        Err(_) => format!("does not answer at {listen}"),
    }
}
