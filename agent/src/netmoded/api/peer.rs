//! The caller of a connection: credentials, and descriptors that came with the first bytes.

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use netmode_kernel::scm;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::unix::SocketAddr;
use tokio::net::{UnixListener, UnixStream};

/// Most descriptors that a connection may leave with the agent.
const MOST: usize = 4;

/// Who called, as the kernel knows it (SO_PEERCRED), and what was handed over.
#[derive(Debug, Clone)]
pub struct Peer {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    handed: Handed,
}

type Handed = Arc<Mutex<Vec<Option<OwnedFd>>>>;

impl Peer {
    /// Takes the n-th descriptor that came with the connection.
    pub fn take(&self, n: u32) -> Option<OwnedFd> {
        let mut handed = self.handed.lock().unwrap_or_else(PoisonError::into_inner);
        handed.get_mut(usize::try_from(n).ok()?)?.take()
    }
}

/// The agent's socket.
pub struct Door(pub UnixListener);

/// A connection that keeps the descriptors that come with its bytes.
pub struct Connection {
    stream: UnixStream,
    handed: Handed,
}

impl Listener for Door {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let (stream, addr) = Listener::accept(&mut self.0).await;
        (Connection { stream, handed: Handed::default() }, addr)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

impl Connected<IncomingStream<'_, Door>> for Peer {
    fn connect_info(incoming: IncomingStream<'_, Door>) -> Self {
        let connection = incoming.io();
        // A caller whose credentials cannot be read is nobody.
        let (uid, gid) = connection.stream.peer_cred().map_or((u32::MAX, u32::MAX), |c| (c.uid(), c.gid()));
        Self { uid, gid, handed: connection.handed.clone() }
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            ready!(this.stream.poll_read_ready(cx))?;
            let read =
                this.stream.try_io(Interest::READABLE, || scm::receive(this.stream.as_fd(), buf.initialize_unfilled()));
            match read {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Poll::Ready(Err(e)),
                Ok((n, fds)) => {
                    buf.advance(n);
                    let mut handed = this.handed.lock().unwrap_or_else(PoisonError::into_inner);
                    let room = MOST.saturating_sub(handed.len());
                    handed.extend(fds.into_iter().take(room).map(Some));
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
