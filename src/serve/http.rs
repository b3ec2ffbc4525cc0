//! The HTTP listener: `/healthz` (the process lives and its hooks answer), `/readyz` (the memory is
//! loaded and the store answers), `/lanes` (what the daemon knows of each lane, JSON) and `/metrics`
//! (Prometheus text format, OpenMetrics 1.0).

use super::accept::Stream;
use super::alert::AlertCounters;
use super::beat::Beat;
use super::hook::{Counts, Hooks};
use super::keeper::{Bench, KeeperCounters};
use super::lanes::{self, LaneNow};
use super::lmtp::LmtpCounters;
use super::log::LogCounters;
use super::milter::MilterCounters;
use super::release::ReleaseCounters;
use super::resolve::ResolveCounters;
use super::seat::{Seat, Seats};
use crate::clock;
use crate::engine::gate::Gate;
use crate::engine::memory::Memory;
use crate::store::Store;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use parking_lot::RwLock;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// A store that takes longer is not ready.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the listener shows.
#[derive(Debug, Clone)]
pub struct View {
    /// The state that hooks answer from.
    pub memory: Arc<Memory>,
    /// What judges: the catalogue's providers have metrics of their own.
    pub bench: Arc<RwLock<Arc<Bench>>>,
    /// The store.
    pub store: Store,
    /// The hooks.
    pub hooks: Arc<Hooks>,
    /// Whether the milter's thread lives, where there is one.
    pub milter_beat: Option<Arc<Beat>>,
    /// The keeper's counters.
    pub keeper: Arc<KeeperCounters>,
    /// The alerts' counters.
    pub alerts: Arc<AlertCounters>,
    /// The releaser's counters.
    pub release: Arc<ReleaseCounters>,
    /// The counters of MX look-ups.
    pub resolve: Arc<ResolveCounters>,
    /// The LMTP intake's counters.
    pub lmtp: Arc<LmtpCounters>,
    /// The milter's counters.
    pub milter: Arc<MilterCounters>,
    /// The log intake's counters.
    pub log: Arc<LogCounters>,
}

/// Connections at once; past that, the one idle longest makes room.
const MAX_CONNECTIONS: usize = 100;
/// How long a stop waits for requests in hand.
const GRACE: Duration = Duration::from_secs(3);

/// Serves until told to stop; requests in hand are given a while to finish.
///
/// # Errors
/// Where the listener itself fails.
pub async fn run(
    listener: super::accept::AsyncListener,
    view: View,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/lanes", get(lanes))
        .route("/metrics", get(metrics))
        .with_state(view);
    let listener = Seated {
        listener,
        seats: Seats::new(MAX_CONNECTIONS),
    };
    let stopped = stop.clone();
    let serve = axum::serve(listener, router).with_graceful_shutdown(stopped.cancelled_owned());
    let late = async {
        stop.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        result = serve => result,
        () = late => Ok(()),
    }
}

async fn healthz(State(view): State<View>) -> (StatusCode, String) {
    match super::stalled(&view.hooks, view.milter_beat.as_deref()) {
        None => (StatusCode::OK, "ok\n".into()),
        Some(stall) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("the thread {} is silent for {:?}\n", stall.thread, stall.silent),
        ),
    }
}

async fn readyz(State(view): State<View>) -> (StatusCode, String) {
    if !view.memory.is_loaded() {
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            "the memory is not loaded yet; until then hooks answer as [hooks] until_loaded says\n".into(),
        );
    }
    match tokio::time::timeout(PATIENCE, view.store.check()).await {
        Ok(Ok(())) => (StatusCode::OK, "ready\n".into()),
        Ok(Err(error)) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{error}; hooks answer from memory\n"),
        ),
        Err(_) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the store is slow; hooks answer from memory\n".into(),
        ),
    }
}

async fn lanes(State(view): State<View>) -> Json<Vec<LaneNow>> {
    let looks = view.memory.gate().look_all(clock::now());
    Json(looks.into_iter().map(LaneNow::from).collect())
}

async fn metrics(State(view): State<View>) -> Response {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &registry(&view)) {
        Ok(()) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

pub(super) type Labels = Vec<(String, String)>;

/// Whether the gate hands mail back, and what it cannot. (What waits there stands with the lanes.)
fn gates(registry: &mut Registry, gate: &Gate) {
    gauge(
        registry,
        "releasing",
        "Whether deferred mail can be handed back",
        i64::from(gate.is_releasing()),
    );
    let left = Counter::<u64>::default();
    left.inc_by(gate.left_alone());
    registry.register(
        "left_alone",
        "Deferrals left to Postfix's own schedule: the backlog was full",
        left,
    );
}

/// What was asked about domains before any of their servers had answered.
fn look_ups(registry: &mut Registry, resolve: &ResolveCounters) {
    let answered = "MX look-ups that were answered, with or without exchangers";
    counter(registry, "mx_lookups", answered, &resolve.answered);
    let failed = "MX look-ups that were not answered";
    counter(registry, "mx_lookup_failures", failed, &resolve.failed);
}

/// What deliveries and the incident guard put right, and whether anybody could be told.
fn incidents(registry: &mut Registry, keeper: &KeeperCounters, alerts: &AlertCounters) {
    let lifted = "Suppressions lifted by deliveries, or because nothing confirmed them";
    counter(registry, "lifted", lifted, &keeper.lifted);
    let begun = "Incidents begun: providers and domains that refused far more recipients than ever";
    counter(registry, "incidents", begun, &keeper.incidents);
    let open = keeper.open_incidents.load(Ordering::Relaxed);
    gauge(
        registry,
        "open_incidents",
        "Incidents that last",
        i64::try_from(open).unwrap_or(i64::MAX),
    );
    counter(registry, "alerts", "Alerts that the webhook took", &alerts.sent);
    counter(
        registry,
        "alert_failures",
        "Alerts that the webhook did not take",
        &alerts.failed,
    );
}

/// The present values. The counters live with what they count; a registry is made for each scrape.
fn registry(view: &View) -> Registry {
    let mut registry = Registry::with_prefix("nixie");
    let now = clock::now();
    let looks = view.memory.gate().look_all(now);
    lanes::register(&mut registry, &looks, &view.bench.read().providers, now);
    gauge(
        &mut registry,
        "suppressions",
        "Addresses suppressed, in memory",
        i64::try_from(view.memory.size().suppressions).unwrap_or(i64::MAX),
    );
    gauge(
        &mut registry,
        "loaded",
        "Whether the memory is loaded",
        i64::from(view.memory.is_loaded()),
    );
    gates(&mut registry, view.memory.gate());
    counter(
        &mut registry,
        "released",
        "Messages handed back to Postfix",
        &view.release.released,
    );
    counter(
        &mut registry,
        "release_failures",
        "Messages that could not be handed back",
        &view.release.failed,
    );
    look_ups(&mut registry, &view.resolve);
    let keeper = &view.keeper;
    counter(&mut registry, "events", "Events committed", &keeper.events);
    counter(
        &mut registry,
        "duplicate_events",
        "Events that had been seen before",
        &keeper.duplicates,
    );
    counter(
        &mut registry,
        "suppressed",
        "Suppressions written from evidence",
        &keeper.suppressions,
    );
    keeper.found.register(&mut registry);
    incidents(&mut registry, keeper, &view.alerts);
    counter(&mut registry, "holds", "Holds begun", &keeper.holds);
    counter(
        &mut registry,
        "commits",
        "Transactions committed",
        &keeper.commits,
    );
    counter(
        &mut registry,
        "commit_failures",
        "Transactions that failed",
        &keeper.failures,
    );
    counter(
        &mut registry,
        "lmtp_connections",
        "LMTP connections taken",
        &view.lmtp.connections,
    );
    counter(
        &mut registry,
        "lmtp_messages",
        "Messages committed over LMTP",
        &view.lmtp.messages,
    );
    counter(
        &mut registry,
        "lmtp_unread",
        "Messages kept as unread",
        &view.lmtp.unread,
    );
    counter(
        &mut registry,
        "lmtp_deferred",
        "Messages answered 451",
        &view.lmtp.deferred,
    );
    counter(
        &mut registry,
        "log_lines",
        "Lines read from Postfix's log",
        &view.log.lines,
    );
    counter(
        &mut registry,
        "log_unreadable",
        "Deliveries in Postfix's log that could not be read",
        &view.log.unreadable,
    );
    super::milter::register(&mut registry, &view.milter);
    let hooks = view.hooks.counters();
    services(
        &mut registry,
        &[("policy", hooks.policy), ("socketmap", hooks.socketmap)],
    );
    let unlogged = AtomicU64::new(hooks.unlogged);
    counter(
        &mut registry,
        "hook_unlogged",
        "Decisions not logged, for the log did not keep up",
        &unlogged,
    );
    registry
}

pub(super) fn gauge(registry: &mut Registry, name: &str, help: &str, value: i64) {
    let gauge: Gauge = Gauge::default();
    gauge.set(value);
    registry.register(name, help, gauge);
}

pub(super) fn counter(registry: &mut Registry, name: &str, help: &str, value: &AtomicU64) {
    let counter: Counter = Counter::default();
    counter.inc_by(value.load(Ordering::Relaxed));
    registry.register(name, help, counter);
}

/// What the hooks did, by service and outcome.
fn services(registry: &mut Registry, services: &[(&str, Counts)]) {
    let (answers, closed): (Family<Labels, Counter>, Family<Labels, Counter>) = Default::default();
    let open: Family<Labels, Gauge> = Family::default();
    let accepted: Family<Labels, Counter> = Family::default();
    for (service, counts) in services {
        let label = |key: &str, value: &str| {
            vec![
                ("service".to_owned(), (*service).to_owned()),
                (key.to_owned(), value.to_owned()),
            ]
        };
        let kinds = [
            ("passed", counts.passed),
            ("refused", counts.refused),
            ("held", counts.held),
            ("unloaded", counts.unloaded),
            ("no_map", counts.no_map),
        ];
        for (kind, count) in kinds {
            answers.get_or_create(&label("answer", kind)).inc_by(count);
        }
        let reasons = [
            ("malformed", counts.malformed),
            ("timed_out", counts.timed_out),
            ("idle", counts.idle),
            ("evicted", counts.evicted),
        ];
        for (reason, count) in reasons {
            closed.get_or_create(&label("reason", reason)).inc_by(count);
        }
        let service = vec![("service".to_owned(), (*service).to_owned())];
        open.get_or_create(&service)
            .set(i64::try_from(counts.open).unwrap_or(i64::MAX));
        accepted.get_or_create(&service).inc_by(counts.accepted);
    }
    registry.register("hook_answers", "Requests answered, by answer", answers);
    registry.register("hook_closed", "Connections that we closed, by reason", closed);
    registry.register("hook_connections", "Connections taken", accepted);
    registry.register("hook_open_connections", "Connections there are", open);
}

/// A listener whose connections have seats.
struct Seated {
    listener: super::accept::AsyncListener,
    seats: Seats,
}

/// A connection that ends when it is asked to leave.
struct SeatedStream {
    stream: Stream,
    seat: Seat,
    leave: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl axum::serve::Listener for Seated {
    type Io = SeatedStream;
    type Addr = ();

    async fn accept(&mut self) -> (SeatedStream, ()) {
        let stream = self.listener.accept_patiently("http").await;
        let seat = self.seats.take();
        let leave = Box::pin(seat.asked_to_leave());
        (SeatedStream { stream, seat, leave }, ())
    }

    fn local_addr(&self) -> std::io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for SeatedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.leave.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(std::io::ErrorKind::TimedOut.into()));
        }
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if read.is_ready() {
            self.seat.touch(false);
        }
        read
    }
}

impl AsyncWrite for SeatedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
