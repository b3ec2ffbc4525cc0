//! The LMTP intake: takes bounces and complaints from Postfix (RFC 2033, see
//! [`crate::postfix::lmtp`]).
//!
//! 250 is said after the commit, and only then. With the store down it is 451, and Postfix keeps the
//! mail. What cannot be read is kept as an unread message. A connection that sends nothing is closed
//! after 5 minutes; past 100 connections the one idle longest makes room.

use super::authenticate::Authenticator;
use super::keeper::Handle;
use super::pass_on::PassOn;
use super::reading::Mail;
use super::seat::{Seat, Seats};
use crate::mail::event::Source;
use crate::postfix::lmtp::{Kept, Message, Session, Step};
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

/// RFC 5321 §4.5.3.2.7 asks a server to wait at least 5 minutes for a command.
const IDLE: Duration = Duration::from_secs(300);
/// How long a stop waits for messages that are on their way; what is not committed then comes again.
const GRACE: Duration = Duration::from_secs(10);
/// Postfix opens at most 20 by default (`lmtp_destination_concurrency_limit`).
const MAX_CONNECTIONS: usize = 100;

/// Counters for the metrics; they only grow.
#[derive(Debug, Default)]
pub struct LmtpCounters {
    /// Connections taken.
    pub connections: AtomicU64,
    /// Messages committed.
    pub messages: AtomicU64,
    /// Messages kept as unread.
    pub unread: AtomicU64,
    /// Messages answered 451.
    pub deferred: AtomicU64,
}

/// What every connection of the intake shares.
#[derive(Debug)]
pub struct Lmtp {
    keeper: Handle,
    host: String,
    max_size: usize,
    counters: Arc<LmtpCounters>,
    authenticator: Option<Arc<Authenticator>>,
    passes: Option<PassOn>,
    seats: Seats,
    stop: CancellationToken,
}

impl Lmtp {
    /// An intake that hands in to `keeper` what it has read, and what the `authenticator` finds proved of it, and then
    /// `passes` it on.
    #[must_use]
    pub fn new(
        keeper: Handle,
        host: String,
        max_size: usize,
        counters: Arc<LmtpCounters>,
        authenticator: Option<Arc<Authenticator>>,
        passes: Option<PassOn>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            keeper,
            host,
            max_size,
            counters,
            authenticator,
            passes,
            seats: Seats::new(MAX_CONNECTIONS),
            stop,
        }
    }

    /// Takes connections until told to stop, then gives those that are in the middle of a message a while
    /// to finish.
    pub async fn run(self, listener: super::accept::AsyncListener) {
        let intake = Arc::new(self);
        let mut connections = JoinSet::new();
        loop {
            let stream = tokio::select! {
                () = intake.stop.cancelled() => break,
                stream = listener.accept_patiently("lmtp") => stream,
                Some(_) = connections.join_next() => continue,
            };
            let shared = Arc::clone(&intake);
            connections.spawn(async move { shared.connection(stream).await });
        }
        drop(listener);
        let _ = timeout(GRACE, async { while connections.join_next().await.is_some() {} }).await;
        connections.shutdown().await;
    }

    async fn connection(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        let seat = self.seats.take();
        self.counters.connections.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = self.talk(&mut stream, &seat).await {
            debug!(%error, "lmtp: connection lost");
        }
    }

    async fn talk(
        &self,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
        seat: &Seat,
    ) -> std::io::Result<()> {
        let mut session = Session::new(&self.host, self.max_size);
        stream.write_all(session.greeting().as_bytes()).await?;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let octets = tokio::select! {
                octets = timeout(IDLE, stream.read(&mut buffer)) => octets,
                () = self.stop.cancelled(), if !session.is_busy() => {
                    return stream.write_all(b"421 4.3.2 Nixie is stopping\r\n").await;
                }
                () = seat.asked_to_leave() => {
                    return stream.write_all(b"421 4.3.2 too many connections\r\n").await;
                }
            };
            let octets = match octets {
                Ok(Ok(0)) => return Ok(()),
                Ok(octets) => octets?,
                Err(_) => return stream.write_all(b"421 4.4.2 nothing came\r\n").await,
            };
            seat.touch(true);
            self.work(&mut session, &buffer[..octets], stream).await?;
            seat.touch(false);
            if session.is_closed() {
                return stream.shutdown().await;
            }
        }
    }

    /// Feeds the session, and keeps each message that it hands out before feeding it more.
    async fn work(
        &self,
        session: &mut Session,
        octets: &[u8],
        stream: &mut (impl AsyncWrite + Unpin),
    ) -> std::io::Result<()> {
        let mut octets = octets;
        loop {
            let mut delivered = false;
            let mut out = String::new();
            for step in session.feed(octets) {
                match step {
                    Step::Send(text) => out.push_str(&text),
                    Step::Deliver(message) => {
                        delivered = true;
                        let kept = self.keep(&message).await;
                        out.push_str(&session.answer(&vec![kept; message.recipients.len()]));
                    }
                }
            }
            stream.write_all(out.as_bytes()).await?;
            if !delivered {
                return Ok(());
            }
            octets = &[];
        }
    }

    /// Reads the message, hands it in, and tells whether it is committed.
    async fn keep(&self, message: &Message) -> Kept {
        let mail = Mail {
            sender: &message.sender,
            recipients: &message.recipients,
            content: &message.content,
            source: Source::Lmtp,
        };
        let authenticator = self.authenticator.as_deref();
        let intake = match mail.lower(mail.parse(), &self.keeper, authenticator, None).await {
            Ok(intake) => intake,
            Err(error) => return self.put_off(message, &error),
        };
        let (events, unread) = (intake.events.len(), intake.unread.len() as u64);
        if let Err(error) = self.keeper.keep(intake).await {
            return self.put_off(message, &error);
        }
        if let Some(passes) = &self.passes
            && let Err(error) = passes.pass(&message.recipients, &message.content).await
        {
            return self.put_off(message, &error);
        }
        self.counters.messages.fetch_add(1, Ordering::Relaxed);
        self.counters.unread.fetch_add(unread, Ordering::Relaxed);
        debug!(sender = %message.sender, recipients = ?message.recipients, events, "lmtp: kept");
        Kept::Yes
    }

    fn put_off(&self, message: &Message, error: &dyn Error) -> Kept {
        self.counters.deferred.fetch_add(1, Ordering::Relaxed);
        info!(sender = %message.sender, %error, "lmtp: not kept, answered 451");
        Kept::NotNow
    }
}
