//! Listeners for the asynchronous parts (LMTP, HTTP): an internet socket or a socket file, as one type.

use super::listen::Listener;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tracing::warn;

/// A socket that connections are taken from.
#[derive(Debug)]
pub struct AsyncListener {
    socket: Socket,
    /// Keeps the socket file until the end.
    _bound: Listener,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A connection.
#[derive(Debug)]
pub enum Stream {
    /// Over an internet socket.
    Tcp(TcpStream),
    /// Over a socket file.
    Unix(UnixStream),
}

impl AsyncListener {
    /// Takes over a bound socket.
    ///
    /// # Errors
    /// The system's, where it gives no descriptor.
    pub fn new(bound: Listener) -> io::Result<Self> {
        let socket = match bound.try_clone()? {
            Listener::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                Socket::Tcp(TcpListener::from_std(listener)?)
            }
            Listener::Unix(listener, _) => {
                listener.set_nonblocking(true)?;
                Socket::Unix(UnixListener::from_std(listener)?)
            }
        };
        Ok(Self {
            socket,
            _bound: bound,
        })
    }

    /// Takes a connection.
    ///
    /// # Errors
    /// The system's: out of descriptors, as a rule.
    pub async fn accept(&self) -> io::Result<Stream> {
        match &self.socket {
            Socket::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
            Socket::Unix(listener) => listener.accept().await.map(|(stream, _)| Stream::Unix(stream)),
        }
    }

    /// Takes a connection, and waits where the system has none to give.
    pub async fn accept_patiently(&self, part: &'static str) -> Stream {
        loop {
            match self.accept().await {
                Ok(stream) => return stream,
                Err(error) => {
                    warn!(%error, part, "cannot take a connection");
                    // Descriptors come back when connections close; asking at once again would spin.
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
    }
}

impl Stream {
    /// Who is at the other end; nobody is known behind a socket file.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.peer_addr().ok(),
            Self::Unix(_) => None,
        }
    }
}

impl Stream {
    /// Acknowledges what has arrived, to a client that waits for nothing else: it sends the next small packet only then
    /// (RFC 896), and the system would let it wait for 40 ms in the hope of an answer to send along (RFC 1122 §4.2.3.2).
    pub fn acknowledge(&self) {
        if let Self::Tcp(stream) = self {
            // Without it the client waits a little longer.
            let _ = stream.set_quickack(true);
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, octets),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, octets),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
