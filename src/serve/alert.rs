//! Alerts: what an operator should hear of at once, in the log and at a webhook.
//!
//! A webhook gets one JSON object a `POST`, over TLS where its URL says `https`, verified against the system's
//! certificates. Any 2xx is taken for an answer. On failure it is tried
//! again, [`ATTEMPTS`] times in all, and then given up with a line in the log: alerts wait in a bounded queue of their
//! own, and nothing ever waits for them.

use crate::config::Alert;
use crate::engine::suppression::guard::Incident;
use anyhow::{Context as _, bail};
use axum::body::Bytes;
use axum::http::header::{CONTENT_TYPE, USER_AGENT};
use axum::http::{Request, Uri};
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::TokioExecutor;
use rustls::crypto::ring;
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Alerts that wait for the webhook; further ones are only in the log.
const QUEUE: usize = 256;
/// How often one is posted until it is taken.
pub const ATTEMPTS: u32 = 5;
/// The rest before the second attempt; each further one is four times as long.
const REST: Duration = Duration::from_secs(1);

/// What rings where something is wrong; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Alarm {
    queue: Option<mpsc::Sender<Message>>,
}

/// Counters for the metrics; they only grow.
#[derive(Debug, Default)]
pub struct AlertCounters {
    /// Alerts that the webhook took.
    pub sent: AtomicU64,
    /// Alerts that it did not take.
    pub failed: AtomicU64,
}

/// What the webhook is told.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Message {
    /// `incident_began` or `incident_ended`.
    pub event: &'static str,
    /// `provider` or `domain`.
    pub kind: &'static str,
    /// Its name; empty where no server answered.
    pub name: String,
    /// The incident's number.
    pub incident: i64,
    /// When it began (RFC 3339).
    pub began: String,
    /// When it ended; `null` while it lasts.
    pub ended: Option<String>,
    /// Why it ended: `calm`, `quiet` or `normal`.
    pub because: Option<&'static str>,
    /// Answers that tripped it.
    pub answers: u64,
    /// Recipients refused for good among them.
    pub faults: u64,
    /// The share of refusals that was normal, 0 to 1.
    pub baseline: f64,
    /// All of it in a sentence.
    pub text: String,
}

impl From<&Incident> for Message {
    fn from(incident: &Incident) -> Self {
        Self {
            event: if incident.is_open() {
                "incident_began"
            } else {
                "incident_ended"
            },
            kind: incident.site.kind.name(),
            name: incident.site.name.to_string(),
            incident: incident.id,
            began: incident.began.to_string(),
            ended: incident.ended.map(|(at, _)| at.to_string()),
            because: incident.ended.map(|(_, end)| end.name()),
            answers: incident.census.answers,
            faults: incident.census.faults,
            baseline: incident.baseline,
            text: incident.to_string(),
        }
    }
}

/// The task that posts.
pub struct Poster {
    webhook: Uri,
    client: Http,
    timeout: Duration,
    queue: mpsc::Receiver<Message>,
    counters: Arc<AlertCounters>,
}

/// The client: where the URL is plain, no certificates are needed.
enum Http {
    Plain(Client<HttpConnector, Full<Bytes>>),
    Tls(Client<HttpsConnector<HttpConnector>, Full<Bytes>>),
}

impl Alarm {
    /// One that posts to the webhook of the settings, and the task that does; one that only writes to the log where
    /// there is none.
    ///
    /// # Errors
    /// A URL that cannot be read, or no certificates to verify its server by.
    pub fn new(settings: &Alert, counters: Arc<AlertCounters>) -> anyhow::Result<(Self, Option<Poster>)> {
        if settings.webhook.is_empty() {
            return Ok((Self::default(), None));
        }
        let webhook = parse(&settings.webhook).context("[alert] webhook")?;
        let (sender, queue) = mpsc::channel(QUEUE);
        let poster = Poster {
            client: Http::new(&webhook)?,
            webhook,
            timeout: settings.timeout.0,
            queue,
            counters,
        };
        Ok((Self { queue: Some(sender) }, Some(poster)))
    }

    /// Tells of an incident that began or ended. Never waits.
    pub fn tell(&self, incident: &Incident) {
        if incident.is_open() {
            warn!(kind = %incident.site.kind, name = %incident.site.name, incident = incident.id,
                answers = incident.census.answers, faults = incident.census.faults,
                baseline = incident.baseline, "incident: {incident}");
        } else {
            info!(kind = %incident.site.kind, name = %incident.site.name, incident = incident.id, "incident: {incident}");
        }
        if let Some(queue) = &self.queue
            && queue.try_send(incident.into()).is_err()
        {
            warn!(
                incident = incident.id,
                "too many alerts wait for the webhook: this one is only here"
            );
        }
    }
}

impl Poster {
    /// Posts until told to stop, or until every [`Alarm`] is gone.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let message = tokio::select! {
                () = stop.cancelled() => return,
                message = self.queue.recv() => message,
            };
            let Some(message) = message else { return };
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.send(&message) => {}
            }
        }
    }

    /// Posts one until it is taken, or given up.
    async fn send(&self, message: &Message) {
        let mut rest = REST;
        for attempt in 1..=ATTEMPTS {
            let post = tokio::time::timeout(self.timeout, self.post(message)).await;
            match post.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {:?}", self.timeout))) {
                Ok(()) => {
                    self.counters.sent.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                Err(error) if attempt == ATTEMPTS => {
                    warn!(
                        incident = message.incident,
                        host = self.webhook.host(),
                        error = format!("{error:#}"),
                        "the webhook does not take an alert; given up"
                    );
                }
                Err(_) => tokio::time::sleep(rest).await,
            }
            rest *= 4;
        }
        self.counters.failed.fetch_add(1, Ordering::Relaxed);
    }

    async fn post(&self, message: &Message) -> anyhow::Result<()> {
        let request = Request::post(&self.webhook)
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("nixie/", env!("CARGO_PKG_VERSION")))
            .body(Full::from(serde_json::to_vec(message)?))?;
        let status = self.client.status(request).await?;
        if !(200..300).contains(&status) {
            bail!("expected a status of 2xx, found {status}");
        }
        Ok(())
    }
}

impl Http {
    /// Alerts are rare: no connection is kept for the next one.
    fn new(webhook: &Uri) -> anyhow::Result<Self> {
        let mut builder = Client::builder(TokioExecutor::new());
        builder.pool_max_idle_per_host(0);
        if webhook.scheme_str() != Some("https") {
            return Ok(Self::Plain(builder.build_http()));
        }
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(ring::default_provider())
            .context("[alert] webhook: the system's certificates, to verify its server by")?
            .https_only()
            .enable_http1()
            .build();
        Ok(Self::Tls(builder.build(connector)))
    }

    async fn status(&self, request: Request<Full<Bytes>>) -> Result<u16, Error> {
        let response = match self {
            Self::Plain(client) => client.request(request).await,
            Self::Tls(client) => client.request(request).await,
        };
        response.map(|response| response.status().as_u16())
    }
}

/// Reads `http://host[:port][/path]` or the same with `https`. A user in front of the host is refused: nothing would
/// log in as them; so is a port that is none.
fn parse(text: &str) -> anyhow::Result<Uri> {
    let url = text.parse::<Uri>().ok().filter(|url| {
        matches!(url.scheme_str(), Some("http" | "https"))
            && url.host().is_some_and(|host| !host.is_empty())
            && url.authority().is_some_and(|all| {
                let port = all.port().map_or(0, |port| 1 + port.as_str().len());
                all.as_str().len() == all.host().len() + port
            })
    });
    url.with_context(|| format!("expected a URL like https://example.org/hook, found {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Span;
    use crate::engine::suppression::guard::{Census, End, Kind, Site};
    use jiff::Timestamp;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    fn incident() -> Incident {
        Incident {
            id: 7,
            site: Site::new(Kind::Provider, "google"),
            began: Timestamp::from_second(1_700_000_000).unwrap(),
            ended: None,
            census: Census {
                answers: 120,
                faults: 50,
            },
            baseline: 0.0125,
        }
    }

    #[test]
    fn urls_are_read_and_others_refused() {
        for good in [
            "https://hooks.example/a/b?c=d",
            "http://127.0.0.1:8080",
            "https://[2001:db8::1]/x",
        ] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "/hook",
            "ftp://a/",
            "https://",
            "http://:80/",
            "http://a:b/",
            "http://u@h/",
            "http://a/b c",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    /// A webhook that refuses the first attempt and takes the second; what it was told.
    #[tokio::test]
    async fn alerts_are_posted_until_they_are_taken() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let settings = Alert {
            webhook: format!("http://{}/hook", listener.local_addr().unwrap()),
            timeout: Span::from_secs(5),
        };
        let counters = Arc::new(AlertCounters::default());
        let (alarm, poster) = Alarm::new(&settings, Arc::clone(&counters)).unwrap();
        let poster = tokio::spawn(poster.unwrap().run(CancellationToken::new()));
        let ended = Incident {
            ended: Some((Timestamp::from_second(1_700_010_000).unwrap(), End::Calm)),
            ..incident()
        };
        alarm.tell(&incident());
        alarm.tell(&ended);
        drop(alarm);
        let mut told = Vec::new();
        for answer in ["503 Busy", "200 OK", "204 No Content"] {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            while !request.ends_with(b"}") {
                let n = stream.read(&mut buffer).await.unwrap();
                assert_ne!(n, 0, "the request ended early");
                request.extend_from_slice(&buffer[..n]);
            }
            stream
                .write_all(format!("HTTP/1.1 {answer}\r\n\r\n").as_bytes())
                .await
                .unwrap();
            let request = String::from_utf8(request).unwrap();
            let (head, body) = request.split_once("\r\n\r\n").unwrap();
            let head = head.to_ascii_lowercase();
            assert!(head.starts_with("post /hook http/1.1\r\n"), "{head}");
            for field in ["host: 127.0.0.1:", "content-type: application/json"] {
                assert!(head.contains(&format!("\r\n{field}")), "{head}");
            }
            assert!(
                head.contains(&format!("content-length: {}", body.len())),
                "{head}"
            );
            told.push(serde_json::from_str::<serde_json::Value>(body).unwrap());
        }
        poster.await.unwrap();
        assert_eq!(counters.sent.load(Ordering::Relaxed), 2);
        assert_eq!(told[0], told[1]);
        assert_eq!(
            (
                told[1]["event"].as_str(),
                told[1]["name"].as_str(),
                told[1]["faults"].as_u64()
            ),
            (Some("incident_began"), Some("google"), Some(50))
        );
        assert_eq!(
            (told[2]["event"].as_str(), told[2]["because"].as_str()),
            (Some("incident_ended"), Some("calm"))
        );
    }
}
