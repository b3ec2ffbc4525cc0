//! Floor 5: the daemon. Thin async shells around the rooms below: listeners, intakes, hooks, and the
//! supervision that starts and stops them. No SQL, no judgement.
//!
//! **Start**: addresses are bound first (a taken port is an error before anything else happens), then
//! the hooks answer, open until the memory is loaded, then the intakes run. **Stop** (SIGTERM, SIGINT):
//! intakes take nothing new and finish what they have begun, the keeper commits what was handed in,
//! the hooks finish their answers. **Failure**: with the store down the daemon starts and runs all the
//! same; hooks answer from memory and intakes have their senders keep the mail.

pub mod accept;
pub mod alert;
pub mod authenticate;
pub mod beat;
pub mod behind;
mod bound;
pub mod detail;
pub mod dns;
pub mod feed;
pub mod found;
pub mod hook;
pub mod http;
pub mod journal;
pub mod keeper;
pub mod lanes;
pub mod listen;
pub mod lmtp;
pub mod log;
pub mod milter;
pub mod notify;
pub mod pass_on;
pub mod reading;
pub mod recover;
pub mod release;
pub mod reload;
pub mod resolve;
pub mod seat;
pub mod submit;
pub mod sweep;
pub mod tail;

use crate::clock;
use crate::config::{LogSource, Settings};
use crate::engine::answer;
use crate::engine::decide::Policy;
use crate::engine::gate::{self, Gate, stream::Streams};
use crate::engine::memory::Memory;
use crate::engine::provider::{Provider, Providers};
use crate::engine::rule::RuleSet;
use crate::engine::suppression::privacy::Veil;
use crate::store::Store;
use accept::AsyncListener;
use alert::{Alarm, AlertCounters};
use anyhow::Context as _;
use authenticate::Authenticator;
use beat::{Beat, Stall};
use behind::Behind;
use bound::Bound;
use dns::Dns;
use hook::{HookSettings, Hooks, Listeners};
use keeper::{Bench, Keeper, KeeperCounters};
use listen::Inherited;
use milter::{Milter, MilterSettings, Rulings};
use parking_lot::RwLock;
use pass_on::PassOn;
use release::{Bell, ReleaseCounters, Releaser};
use resolve::{Resolve, ResolveCounters};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use submit::Submitter;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

/// How long hooks wait at start for what was stored.
const FIRST_LOAD: Duration = Duration::from_secs(2);
/// How often the watchdog looks.
const WATCH: Duration = Duration::from_secs(1);

/// A daemon that is up.
#[derive(Debug)]
pub struct Daemon {
    /// What listens where, as (part, address).
    pub listening: Vec<(&'static str, String)>,
    /// The store's URL, without a password.
    pub store: String,
    settings: Settings,
    signals: Signals,
    bench: Arc<RwLock<Arc<Bench>>>,
    hooks: Arc<Hooks>,
    milter: Option<Milter>,
    memory: Arc<Memory>,
    keeper: tokio::task::JoinHandle<()>,
    intakes: JoinSet<()>,
    rest: JoinSet<()>,
    stop_intakes: CancellationToken,
    stop_rest: CancellationToken,
}

/// The signals that we heed. They are caught before anybody can take us for ready: one that comes too early would end us.
#[derive(Debug)]
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn catch() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

/// The catalogue of providers from the settings.
///
/// # Errors
/// What is wrong with the operator's own, with file and line.
pub fn providers(settings: &Settings) -> anyhow::Result<Providers> {
    let path = &settings.rules.providers;
    if path.as_os_str().is_empty() {
        return Ok(Providers::shipped()?);
    }
    let text =
        std::fs::read_to_string(path).with_context(|| format!("[rules] providers: {}", path.display()))?;
    Ok(Providers::parse(&text, &path.display().to_string())?)
}

/// Rules, providers and policy from the settings.
///
/// # Errors
/// Everything that is wrong with the operator's rules, providers and warm-ups, with file and line.
pub fn bench(settings: &Settings) -> anyhow::Result<Bench> {
    let mut bench = bench_in_clear(settings)?;
    bench.policy.veil = settings.veil()?;
    bench.signing = settings.signing()?;
    Ok(bench)
}

/// The same without the keys of `[privacy]` and `[signing]`, which not everybody may read: for those who judge and keep nothing.
///
/// # Errors
/// As [`bench`].
pub fn bench_in_clear(settings: &Settings) -> anyhow::Result<Bench> {
    let providers = providers(settings)?;
    let files = rule_files(&settings.rules.dir)?;
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect();
    let rules = RuleSet::with_operator(&files, &providers).map_err(|errors| {
        let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("the rules have mistakes:\n{}", all.join("\n"))
    })?;
    let policy = Policy {
        local_part: settings.address.local_part,
        limits: (&settings.throttle).into(),
        terms: settings.suppression.terms.0.clone(),
        guard: (&settings.guard).into(),
        streams: streams(settings),
        allow: settings.suppression.allow_list(),
        veil: Veil::default(),
        forces: settings.trust.0.clone(),
    };
    settings.check_warm_ups(&providers)?;
    Ok(Bench {
        rules,
        warm_ups: settings.warm_ups(),
        providers,
        egress: settings.egress.name.clone(),
        policy,
        signing: None,
    })
}

/// The operator's rule files, in the order of their names, as (path, text).
fn rule_files(directory: &Path) -> anyhow::Result<Vec<(String, String)>> {
    if directory.as_os_str().is_empty() {
        return Ok(Vec::new());
    }
    let said = || format!("[rules] dir: {}", directory.display());
    let entries = std::fs::read_dir(directory).with_context(said)?;
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .with_context(said)?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    let read = |path: std::path::PathBuf| {
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Ok((path.display().to_string(), text))
    };
    paths.into_iter().map(read).collect()
}

/// The hooks' settings.
fn hook_settings(settings: &Settings, bench: &Bench) -> HookSettings {
    let defaults = HookSettings::default();
    HookSettings {
        threads: if settings.hooks.threads == 0 {
            defaults.threads
        } else {
            settings.hooks.threads
        },
        idle_timeout: settings.hooks.idle_timeout.0,
        request_timeout: settings.hooks.request_timeout.0,
        max_connections: settings.hooks.max_connections,
        answers: answers(settings, bench),
        ..defaults
    }
}

/// The resolver, where anybody needs one.
fn look_ups(settings: &Settings) -> Option<Dns> {
    if !settings.dns.lookups && !settings.authentication.enabled {
        return None;
    }
    let dns = Dns::new(&settings.dns);
    if let Err(error) = &dns {
        let error = format!("{error:#}");
        warn!(
            error,
            "no look-ups: each domain is by itself until it answers, and no report proves itself"
        );
    }
    dns.ok()
}

/// The kinds of mail.
fn streams(settings: &Settings) -> Streams {
    Streams::new(settings.stream.iter().map(Into::into).collect())
}

/// What the gate depends on.
fn set_gate(gate: &Gate, settings: &Settings, bench: &Bench) {
    let now = clock::now();
    let settings = gate::Settings {
        egress: settings.egress.name.clone(),
        streams: streams(settings),
        max_backlog: settings.release.max_backlog,
    };
    gate.configure(settings, now);
    let limits = |provider: &Provider| (provider.id.clone(), provider.limits);
    gate.set_documented(bench.providers.all().iter().map(limits), now);
    let warm_ups = bench.warm_ups.iter();
    gate.set_warm_ups(warm_ups.map(|(key, plan)| (key.clone(), plan.clone())), now);
}

/// What the hooks' answers depend on.
fn answers(settings: &Settings, bench: &Bench) -> answer::Settings {
    let used = bench
        .providers
        .all()
        .iter()
        .filter(|_| settings.socketmap.lane_transports);
    answer::Settings {
        local_part: settings.address.local_part,
        egress: settings.egress.name.clone(),
        held: settings.policy.on_hold,
        max_backlog: Some(settings.policy.max_backlog).filter(|&most| most > 0),
        unloaded: settings.hooks.until_loaded,
        streams: Arc::new(streams(settings)),
        allow: settings.suppression.allow_list(),
        quarantined: settings.guard.quarantined,
        transports: used
            .filter_map(|provider| Some((provider.id.clone(), provider.transport()?)))
            .collect(),
        veil: bench.policy.veil.clone(),
        ..answer::Settings::default()
    }
}

impl Daemon {
    /// Starts everything, on the sockets that systemd handed over and on those of the settings.
    ///
    /// # Errors
    /// Bad rules, a bad store URL, an address that cannot be bound. A store that does not answer is
    /// not an error.
    pub async fn start(settings: Settings, inherited: Inherited) -> anyhow::Result<Self> {
        let signals = Signals::catch()?;
        let url = settings.store_url()?;
        let bench = Arc::new(RwLock::new(Arc::new(bench(&settings)?)));
        let mark = bench.read().policy.veil.mark();
        let store = Store::connect_lazy(&url).await?.veiled(mark);
        let bound = Bound::bind(&settings, inherited)?;
        let listening = bound.addresses();
        let memory = Arc::new(Memory::new());
        let listeners = Listeners {
            policy: bound.policy,
            socketmap: bound.socketmap,
        };
        let bell = Bell::default();
        set_gate(memory.gate(), &settings, &bench.read());
        let counters = Arc::new(KeeperCounters::default());
        let release_counters = Arc::new(ReleaseCounters::default());
        let alert_counters = Arc::new(AlertCounters::default());
        let (alarm, poster) = Alarm::new(&settings.alert, Arc::clone(&alert_counters))?;
        let (keeper, handle) = Keeper::new(
            store.clone(),
            Arc::clone(&memory),
            Arc::clone(&bench),
            Arc::clone(&counters),
            bell.clone(),
            alarm,
        );
        let keeper = tokio::spawn(keeper.run());
        let (stop_intakes, stop_rest) = (CancellationToken::new(), CancellationToken::new());
        let (mut intakes, mut rest) = (JoinSet::new(), JoinSet::new());
        if let Some(poster) = poster {
            rest.spawn(poster.run(stop_rest.clone()));
        }
        let (migrated, schema) = watch::channel(false);
        let (loaded, mut is_loaded) = watch::channel(false);
        rest.spawn(feed::follow(
            store.clone(),
            Arc::clone(&memory),
            migrated,
            loaded,
            bell.clone(),
            stop_rest.clone(),
        ));
        let wanted = detail::listen(&memory);
        rest.spawn(detail::fetch(
            store.clone(),
            Arc::clone(&memory),
            wanted,
            stop_rest.clone(),
        ));
        // Postfix has been waiting if we were gone: what it asks at once is answered from what was known, if the
        // store gives that soon.
        let _ = tokio::time::timeout(FIRST_LOAD, is_loaded.wait_for(|loaded| *loaded)).await;
        let hooks = Arc::new(Hooks::start(
            listeners,
            &hook_settings(&settings, &bench.read()),
            Arc::clone(&memory),
        )?);
        let releaser = Releaser::new(
            settings.release.clone(),
            Arc::clone(&memory),
            Arc::clone(&bench),
            bell,
            Arc::clone(&release_counters),
        );
        rest.spawn(releaser.run(is_loaded, stop_rest.clone()));
        rest.spawn(sweep::run(
            store.clone(),
            settings.retention.clone(),
            stop_rest.clone(),
        ));
        if let Some(renounced) = settings.renounced() {
            warn!("{renounced}");
        }
        let resolve_counters = Arc::new(ResolveCounters::default());
        let dns = look_ups(&settings);
        if let Some(dns) = dns.clone().filter(|_| settings.dns.lookups) {
            let (task, wanted) = Resolve::new(
                dns,
                Arc::clone(&memory),
                Arc::clone(&bench),
                Arc::clone(&resolve_counters),
            );
            memory.when_unknown(move |domain| wanted.want(domain));
            rest.spawn(task.run(stop_rest.clone()));
        }
        let authenticator = dns.filter(|_| settings.authentication.enabled);
        let authenticator = authenticator.map(|dns| {
            Arc::new(Authenticator::new(
                dns,
                &settings.authentication,
                Arc::clone(&bench),
            ))
        });
        let server = settings.submit.server();
        let submitter = server.map(|server| Submitter::new(server, &host_name()));
        let passes = submitter.clone().filter(|_| settings.submit.pass_on);
        let (behind, keeping) = Behind::new(handle.clone());
        rest.spawn(keeping.run());
        let passes =
            passes.map(|submitter| PassOn::new(submitter, store.clone(), behind.clone(), Arc::clone(&bench)));
        let lmtp_counters = Arc::new(lmtp::LmtpCounters::default());
        if let Some(listener) = bound.lmtp {
            let (host, size) = (host_name(), settings.lmtp.max_size);
            let intake = lmtp::Lmtp::new(
                handle.clone(),
                host,
                size,
                Arc::clone(&lmtp_counters),
                authenticator.clone(),
                passes,
                stop_intakes.clone(),
            );
            intakes.spawn(intake.run(AsyncListener::new(listener)?));
        }
        let mut milter = None;
        if let Some(listener) = bound.milter {
            let removed = submitter.filter(|_| settings.submit.notices).map(|submitter| {
                let (told, removed) = mpsc::channel(notify::QUEUE);
                rest.spawn(notify::run(removed, submitter, host_name(), stop_rest.clone()));
                told
            });
            let tells = removed.is_some();
            let around = milter::Surroundings {
                memory: Arc::clone(&memory),
                keeper: handle.clone(),
                behind: behind.clone(),
                reader: milter::Reader {
                    keeper: handle.clone(),
                    store: store.clone(),
                    behind,
                    authenticator,
                    host: host_name(),
                    runtime: tokio::runtime::Handle::current(),
                },
                removed,
                stop: stop_intakes.clone(),
            };
            let rulings = Rulings::new(&settings, &bench.read());
            let (running, over) =
                Milter::start(listener, MilterSettings::new(&settings, tells), rulings, around)?;
            milter = Some(running);
            // An error says that its thread is gone, which is as much over.
            intakes.spawn(async move { drop(over.await) });
        }
        let log_counters = Arc::new(log::LogCounters::default());
        if settings.log.source != LogSource::Off {
            let intake = log::LogIntake::new(&settings.log, store.clone(), handle, Arc::clone(&log_counters));
            intakes.spawn(intake.run(schema, stop_intakes.clone()));
        }
        if let Some(listener) = bound.http {
            let listener = AsyncListener::new(listener)?;
            let view = http::View {
                memory: Arc::clone(&memory),
                bench: Arc::clone(&bench),
                store: store.clone(),
                hooks: Arc::clone(&hooks),
                keeper: counters,
                alerts: alert_counters,
                release: release_counters,
                resolve: resolve_counters,
                lmtp: lmtp_counters,
                milter: milter.as_ref().map(Milter::counters).unwrap_or_default(),
                milter_beat: milter.as_ref().map(Milter::beat),
                log: log_counters,
            };
            let stop = stop_rest.clone();
            rest.spawn(async move {
                if let Err(error) = http::run(listener, view, stop).await {
                    error!(%error, "the HTTP listener failed");
                }
            });
        }
        let store = store.describe();
        Ok(Self {
            listening,
            store,
            settings,
            signals,
            bench,
            hooks,
            milter,
            memory,
            keeper,
            intakes,
            rest,
            stop_intakes,
            stop_rest,
        })
    }

    /// Runs until SIGTERM or SIGINT, then stops in order. `reload` gives the settings anew on SIGHUP.
    ///
    /// # Errors
    /// Where signals cannot be caught.
    pub async fn run(mut self, reload: impl Fn() -> anyhow::Result<Settings>) -> anyhow::Result<()> {
        let mut watch = tokio::time::interval(WATCH);
        let beat = self.milter.as_ref().map(Milter::beat);
        let watchdog = sd_notify::watchdog_enabled().is_some();
        notify(&[sd_notify::NotifyState::Ready]);
        loop {
            tokio::select! {
                _ = self.signals.terminate.recv() => break,
                _ = self.signals.interrupt.recv() => break,
                _ = self.signals.hangup.recv() => {
                    notify(&[sd_notify::NotifyState::Reloading]);
                    reload::reload(&mut self.settings, &self.bench, &self.hooks, self.memory.gate(), reload());
                    if let Some(milter) = &self.milter {
                        milter.set_rulings(Rulings::new(&self.settings, &self.bench.read()));
                    }
                    notify(&[sd_notify::NotifyState::Ready]);
                }
                _ = watch.tick() => match stalled(&self.hooks, beat.as_deref()) {
                    // A hung hook stops Postfix's queue manager, a hung milter its SMTP server: better to be restarted by systemd.
                    Some(stall) => error!(thread = stall.thread, silent = ?stall.silent, "a thread hangs; the watchdog is not fed"),
                    None if watchdog => notify(&[sd_notify::NotifyState::Watchdog]),
                    None => {}
                },
            }
        }
        self.stop().await;
        Ok(())
    }

    async fn stop(mut self) {
        info!("stopping: finishing what was accepted");
        notify(&[sd_notify::NotifyState::Stopping]);
        self.stop_intakes.cancel();
        while self.intakes.join_next().await.is_some() {}
        // The keeper works until nobody can hand in any more.
        drop(self.milter);
        if self.keeper.await.is_err() {
            error!("the keeper failed");
        }
        self.stop_rest.cancel();
        while self.rest.join_next().await.is_some() {}
        // The last holder stops the hooks, which blocks for a moment: nothing else is left to do.
        drop(self.hooks);
        info!("stopped");
    }
}

/// Which of the threads that Postfix waits for hangs, if any does.
fn stalled(hooks: &Hooks, milter: Option<&Beat>) -> Option<Stall> {
    let now = clock::monotonic();
    hooks
        .stalled(now)
        .or_else(|| milter.and_then(|beat| beat.stalled(now)))
}

fn notify(states: &[sd_notify::NotifyState]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!(%error, "systemd cannot be told");
    }
}

/// The name that the LMTP greeting gives: the kernel's, or `localhost`.
fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .ok()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "localhost".into())
}
