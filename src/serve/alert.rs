//! Alerts: what an operator should hear of at once, in the log and at a webhook.
//!
//! A webhook gets one JSON object a `POST` (RFC 9110 §9.3.3, HTTP/1.1 as in RFC 9112), over TLS where its URL says
//! `https`, verified against the system's certificates. Any 2xx is taken for an answer. On failure it is tried
//! again, [`ATTEMPTS`] times in all, and then given up with a line in the log: alerts wait in a bounded queue of their
//! own, and nothing ever waits for them.

use crate::config::Alert;
use crate::engine::suppression::guard::Incident;
use anyhow::{Context as _, bail};
use serde::Serialize;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Alerts that wait for the webhook; further ones are only in the log.
const QUEUE: usize = 256;
/// How often one is posted until it is taken.
pub const ATTEMPTS: u32 = 5;
/// The rest before the second attempt; each further one is four times as long.
const REST: Duration = Duration::from_secs(1);
/// The most of an answer's head that is read, in octets.
const HEAD: u64 = 16 * 1024;

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
    url: Url,
    timeout: Duration,
    tls: Option<TlsConnector>,
    queue: mpsc::Receiver<Message>,
    counters: Arc<AlertCounters>,
}

/// The parts of a webhook's URL.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Url {
    tls: bool,
    host: String,
    port: u16,
    /// Path and query.
    path: String,
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
        let url = Url::parse(&settings.webhook).context("[alert] webhook")?;
        let (sender, queue) = mpsc::channel(QUEUE);
        let poster = Poster {
            tls: url.tls.then(connector).transpose()?,
            url,
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
                        host = self.url.host,
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
        let url = &self.url;
        let body = serde_json::to_vec(message)?;
        let tcp = TcpStream::connect((url.host.as_str(), url.port))
            .await
            .context("connecting")?;
        let mut stream: Pin<Box<dyn Stream>> = match &self.tls {
            Some(tls) => {
                let name = ServerName::try_from(url.host.clone()).context("the host's name")?;
                Box::pin(tls.connect(name, tcp).await.context("TLS")?)
            }
            None => Box::pin(tcp),
        };
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: nixie/{}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n",
            url.path,
            url.authority(),
            env!("CARGO_PKG_VERSION"),
            body.len()
        );
        stream.write_all(head.as_bytes()).await.context("writing")?;
        stream.write_all(&body).await.context("writing")?;
        stream.flush().await.context("writing")?;
        let status = status(BufReader::new(stream.take(HEAD))).await?;
        if !(200..300).contains(&status) {
            bail!("expected a status of 2xx, found {status}");
        }
        Ok(())
    }
}

trait Stream: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Stream for T {}

/// The status of an answer (RFC 9112 §4); interim answers (1xx, RFC 9110 §15.2) are passed over with their heads.
async fn status(mut answer: impl AsyncBufReadExt + Unpin) -> anyhow::Result<u16> {
    loop {
        let mut line = Vec::new();
        answer.read_until(b'\n', &mut line).await.context("reading")?;
        let line = String::from_utf8_lossy(&line);
        let code = line
            .strip_prefix("HTTP/1.")
            .and_then(|rest| rest.split_ascii_whitespace().nth(1));
        let code = code.and_then(|code| code.parse::<u16>().ok());
        let Some(code) = code else {
            bail!("expected an answer of HTTP/1, found {:?}", line.trim_end());
        };
        if code / 100 != 1 {
            return Ok(code);
        }
        loop {
            let mut line = Vec::new();
            answer.read_until(b'\n', &mut line).await.context("reading")?;
            if matches!(line.as_slice(), b"" | b"\n" | b"\r\n") {
                break;
            }
        }
    }
}

impl Url {
    /// Reads `http://host[:port][/path]` or the same with `https`.
    fn parse(text: &str) -> anyhow::Result<Self> {
        let expected = || format!("expected a URL like https://example.org/hook, found {text:?}");
        let (scheme, rest) = text.split_once("://").with_context(expected)?;
        let (tls, default) = match scheme {
            "https" => (true, 443),
            "http" => (false, 80),
            _ => bail!(expected()),
        };
        let (authority, path) = match rest.find(['/', '?']) {
            Some(at) if rest[at..].starts_with('/') => (&rest[..at], rest[at..].to_owned()),
            Some(at) => (&rest[..at], format!("/{}", &rest[at..])),
            None => (rest, "/".to_owned()),
        };
        let port = |text: &str| {
            text.parse::<u16>()
                .ok()
                .filter(|&port| port > 0)
                .with_context(expected)
        };
        let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) => (host, default),
            Some((host, rest)) => (host, port(rest.strip_prefix(':').with_context(expected)?)?),
            None => match authority.split_once(':') {
                Some((host, text)) => (host, port(text)?),
                None => (authority, default),
            },
        };
        let foul = |c: char| c.is_whitespace() || c.is_control() || c == '@';
        if host.is_empty()
            || host.contains(foul)
            || path.contains(|c: char| c.is_whitespace() || !c.is_ascii_graphic())
        {
            bail!(expected());
        }
        Ok(Self {
            tls,
            host: host.to_owned(),
            port,
            path: path.split('#').next().unwrap_or("/").to_owned(),
        })
    }

    /// What the `Host` field says.
    fn authority(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        match (self.tls, self.port) {
            (true, 443) | (false, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }
}

/// TLS by the certificates that the system trusts.
fn connector() -> anyhow::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (taken, _) = roots.add_parsable_certificates(found.certs);
    if taken == 0 {
        bail!("[alert] webhook: the system has no certificates to verify its server by");
    }
    let config = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Span;
    use crate::engine::suppression::guard::{Census, End, Kind, Site};
    use jiff::Timestamp;
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
        let url = |tls, host: &str, port, path: &str| Url {
            tls,
            host: host.into(),
            port,
            path: path.into(),
        };
        let table = [
            (
                "https://hooks.example/a/b?c=d",
                url(true, "hooks.example", 443, "/a/b?c=d"),
                "hooks.example",
            ),
            (
                "http://127.0.0.1:8080",
                url(false, "127.0.0.1", 8080, "/"),
                "127.0.0.1:8080",
            ),
            (
                "https://[2001:db8::1]/x#y",
                url(true, "2001:db8::1", 443, "/x"),
                "[2001:db8::1]",
            ),
            ("http://[::1]:81?q", url(false, "::1", 81, "/?q"), "[::1]:81"),
        ];
        for (text, expected, authority) in table {
            let url = Url::parse(text).unwrap();
            assert_eq!(url.authority(), authority);
            assert_eq!(url, expected, "{text}");
        }
        for bad in [
            "",
            "ftp://a/",
            "https://",
            "http://:80/",
            "http://a:b/",
            "http://a:0/",
            "http://u@h/",
            "http://a/b c",
        ] {
            assert!(Url::parse(bad).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn statuses_are_found_behind_interim_answers() {
        let table: [(&[u8], Option<u16>); 5] = [
            (b"HTTP/1.1 204 No Content\r\n\r\n", Some(204)),
            (
                b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
                Some(200),
            ),
            (b"HTTP/1.0 500\r\n", Some(500)),
            (b"HTTP/2 200\r\n", None),
            (b"", None),
        ];
        for (answer, expected) in table {
            assert_eq!(
                status(answer).await.ok(),
                expected,
                "{}",
                String::from_utf8_lossy(answer)
            );
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
            assert!(
                head.starts_with("POST /hook HTTP/1.1\r\nHost: 127.0.0.1:"),
                "{head}"
            );
            assert!(
                head.contains(&format!("Content-Length: {}", body.len())),
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
