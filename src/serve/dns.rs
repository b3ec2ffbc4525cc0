//! DNS: one resolver for all who ask, with a cache, a time limit, and a bound on what is asked at once.
//!
//! The look-ups are hickory-resolver's. Where the machine names no servers (no resolv.conf), or DNS does
//! not answer within the limit, what was asked is unknown; nothing else comes of it.

use crate::config::Dns as DnsSettings;
use crate::engine::exchanger::Exchangers;
use anyhow::Context as _;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::RData;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, SemaphorePermit};

/// What an answer without a time to live is worth.
const SOME_TIME: Duration = Duration::from_secs(15 * 60);
/// How many answers the cache holds.
const CACHE: u64 = 20_000;

/// The resolver; cheap to clone.
#[derive(Clone)]
pub struct Dns {
    resolver: Arc<TokioResolver>,
    places: Arc<Semaphore>,
    parallel: usize,
    timeout: Duration,
}

impl std::fmt::Debug for Dns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dns")
            .field("places", &self.places)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl Dns {
    /// A resolver for these settings.
    ///
    /// # Errors
    /// Where no servers are given and the system's cannot be read.
    pub fn new(settings: &DnsSettings) -> anyhow::Result<Self> {
        let runtime = TokioRuntimeProvider::default();
        let mut builder = if settings.servers.0.is_empty() {
            TokioResolver::builder_tokio()
                .context("the system's name servers cannot be read; [dns] servers can name some")?
        } else {
            let servers = settings.servers.0.iter().copied().map(at).collect();
            let config = ResolverConfig::from_name_servers(servers);
            TokioResolver::builder_with_config(config, runtime)
        };
        let options: &mut ResolverOpts = builder.options_mut();
        options.cache_size = CACHE;
        options.attempts = 2;
        options.timeout = settings.timeout.0 / 2;
        Ok(Self {
            resolver: Arc::new(builder.build()?),
            places: Arc::new(Semaphore::new(settings.parallel.max(1))),
            parallel: settings.parallel.max(1),
            timeout: settings.timeout.0,
        })
    }

    /// The most look-ups at once: more wait for their turn, and their time runs meanwhile.
    #[must_use]
    pub fn parallel(&self) -> usize {
        self.parallel
    }

    /// The resolver itself, for those who ask for other records. They hold a [`place`](Self::place) meanwhile.
    pub(super) fn resolver(&self) -> TokioResolver {
        TokioResolver::clone(&self.resolver)
    }

    /// Waits for the right to have one look-up under way. `None` never comes: the places are never closed.
    pub(super) async fn place(&self) -> Option<SemaphorePermit<'_>> {
        self.places.acquire().await.ok()
    }

    /// The mail exchangers of a domain, and for how long that is true.
    pub async fn exchangers(&self, domain: &str) -> (Exchangers, Duration) {
        let asked = async {
            let _place = self.place().await;
            // A name with a final dot is complete: no search list.
            self.resolver.mx_lookup(format!("{domain}.")).await
        };
        match tokio::time::timeout(self.timeout, asked).await {
            Ok(Ok(lookup)) => {
                let left = lookup.valid_until().saturating_duration_since(Instant::now());
                let exchangers = lookup.answers().iter().filter_map(|record| match &record.data {
                    RData::MX(mx) => Some(mx.exchange.to_ascii().trim_end_matches('.').to_ascii_lowercase()),
                    _ => None,
                });
                (of_hosts(domain, exchangers.collect()), left)
            }
            Ok(Err(NetError::Dns(DnsError::NoRecordsFound(nothing)))) => {
                let ttl = nothing
                    .negative_ttl
                    .map_or(SOME_TIME, |ttl| Duration::from_secs(ttl.into()));
                match nothing.response_code {
                    ResponseCode::NoError => (of_hosts(domain, Vec::new()), ttl),
                    ResponseCode::NXDomain => (Exchangers::Nobody, ttl),
                    _ => (Exchangers::Unknown, Duration::ZERO),
                }
            }
            Ok(Err(_)) | Err(_) => (Exchangers::Unknown, Duration::ZERO),
        }
    }
}

/// A lone exchanger without a name says that there is none (RFC 7505); no exchanger at all, that the domain
/// is its own.
fn of_hosts(domain: &str, hosts: Vec<String>) -> Exchangers {
    match hosts.as_slice() {
        [] => Exchangers::Hosts(vec![domain.to_owned()]),
        [null] if null.is_empty() => Exchangers::Nobody,
        _ => Exchangers::Hosts(hosts.into_iter().filter(|host| !host.is_empty()).collect()),
    }
}

fn at(address: SocketAddr) -> NameServerConfig {
    let at_port = |mut connection: ConnectionConfig| {
        connection.port = address.port();
        connection
    };
    let connections = vec![at_port(ConnectionConfig::udp()), at_port(ConnectionConfig::tcp())];
    NameServerConfig::new(address.ip(), true, connections)
}
