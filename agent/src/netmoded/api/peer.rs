//! The caller of a connection: credentials, and descriptors that came with the first bytes.

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use netmode_kernel::scm;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::unix::SocketAddr;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Most descriptors that a connection may leave with the agent.
const MOST: usize = 4;

/// Who called, as the kernel knows it (SO_PEERCRED), and what was handed over.
#[derive(Debug, Clone)]
pub struct Peer {
    /// User id.
    pub uid: u32,
    /// Group ids: the primary one, then the supplementary ones.
    pub groups: Vec<u32>,
    handed: Handed,
    /// The connection, to see whether anybody still waits.
    line: Option<Arc<OwnedFd>>,
}

type Handed = Arc<Mutex<Vec<Option<OwnedFd>>>>;

impl Peer {
    /// Takes the n-th descriptor that came with the connection.
    pub fn take(&self, n: u32) -> Option<OwnedFd> {
        let mut handed = self.handed.lock().unwrap_or_else(PoisonError::into_inner);
        handed.get_mut(usize::try_from(n).ok()?)?.take()
    }

    /// Whether the caller has gone: nobody will read the answer.
    pub fn is_gone(&self) -> bool {
        let Some(line) = &self.line else { return false };
        let mut fds = [PollFd::new(line.as_fd(), PollFlags::POLLHUP)];
        poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }
}

/// Connections at once; the next ones wait in the socket's backlog. Each costs a descriptor that a port could be held by.
const CONNECTIONS: usize = 1024;

/// The agent's socket.
pub struct Door {
    listener: UnixListener,
    room: Arc<Semaphore>,
}

impl Door {
    /// Opens it.
    pub fn new(listener: UnixListener) -> Self {
        Self { listener, room: Arc::new(Semaphore::new(CONNECTIONS)) }
    }
}

/// A connection that keeps the descriptors that come with its bytes.
pub struct Connection {
    stream: UnixStream,
    handed: Handed,
    _room: Option<OwnedSemaphorePermit>,
}

impl Listener for Door {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        // The semaphore is never closed.
        let room = self.room.clone().acquire_owned().await.ok();
        let (stream, addr) = Listener::accept(&mut self.listener).await;
        (Connection { stream, handed: Handed::default(), _room: room }, addr)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Connected<IncomingStream<'_, Door>> for Peer {
    fn connect_info(incoming: IncomingStream<'_, Door>) -> Self {
        let connection = incoming.io();
        // A caller whose credentials cannot be read is nobody.
        let (uid, gid) = connection.stream.peer_cred().map_or((u32::MAX, u32::MAX), |c| (c.uid(), c.gid()));
        let groups = std::iter::once(gid).chain(scm::peer_groups(connection.stream.as_fd())).collect();
        let line = connection.stream.as_fd().try_clone_to_owned().ok().map(Arc::new);
        Self { uid, groups, handed: connection.handed.clone(), line }
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            ready!(this.stream.poll_read_ready(cx))?;
            let read = this
                .stream
                .try_io(Interest::READABLE, || scm::receive::<MOST>(this.stream.as_fd(), buf.initialize_unfilled()));
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
