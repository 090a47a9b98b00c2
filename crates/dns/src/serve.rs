//! The sockets of a resolver.

use crate::answer::{Carrier, Verdict, answer, failure};
use crate::book::Book;
use crate::counters::Counters;
use crate::view::{Forward, View};
use arc_swap::ArcSwap;
use hickory_proto::op::Message;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

/// Longest question by UDP, in bytes.
const QUESTION: usize = 4096;

/// Longest time for a question to come whole by TCP, and for its answer to be taken (RFC 7766 §6.2.3: seconds).
const STREAM_PATIENCE: Duration = Duration::from_secs(5);

/// Most TCP connections of one resolver's clients.
const MOST_STREAMS: usize = 32;

/// Most questions of one resolver's clients that others are being asked.
const MOST_FORWARDS: usize = 128;

/// What all resolvers share, so that the clients of many do not take all of the agent's descriptors.
#[derive(Debug, Clone)]
pub struct Limits {
    streams: Arc<Semaphore>,
    forwards: Arc<Semaphore>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { streams: Arc::new(Semaphore::new(1024)), forwards: Arc::new(Semaphore::new(4096)) }
    }
}

/// The sockets of a resolver, opened where its clients are.
#[derive(Debug)]
pub struct Sockets {
    /// Bound.
    pub udp: std::net::UdpSocket,
    /// Listens.
    pub tcp: std::net::TcpListener,
}

/// A resolver that answers. Dropped, it is silent and its sockets are closed.
#[derive(Debug)]
pub struct Resolver {
    view: Arc<ArcSwap<View>>,
    tasks: [AbortHandle; 2],
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// What the tasks of a resolver share.
#[derive(Clone)]
struct Shared {
    book: Arc<Book>,
    counters: Arc<Counters>,
    limits: Limits,
    /// Questions of this resolver's clients.
    own_forwards: Arc<Semaphore>,
    view: Arc<ArcSwap<View>>,
}

impl Resolver {
    /// Begins to answer. Must be called within the runtime of tokio.
    ///
    /// # Errors
    /// The runtime cannot watch the sockets.
    pub fn start(
        book: Arc<Book>,
        counters: Arc<Counters>,
        limits: Limits,
        sockets: Sockets,
        view: View,
    ) -> io::Result<Self> {
        sockets.udp.set_nonblocking(true)?;
        sockets.tcp.set_nonblocking(true)?;
        let (udp, tcp) = (UdpSocket::from_std(sockets.udp)?, TcpListener::from_std(sockets.tcp)?);
        let view = Arc::new(ArcSwap::from_pointee(view));
        let own_forwards = Arc::new(Semaphore::new(MOST_FORWARDS));
        let shared = Shared { book, counters, limits, own_forwards, view: view.clone() };
        let by_udp = tokio::spawn(datagrams(shared.clone(), Arc::new(udp))).abort_handle();
        let by_tcp = tokio::spawn(streams(shared, tcp)).abort_handle();
        Ok(Self { view, tasks: [by_udp, by_tcp] })
    }

    /// Its clients see this from now on.
    pub fn show(&self, view: View) {
        self.view.store(Arc::new(view));
    }
}

impl Shared {
    fn verdict(&self, packet: &[u8], carrier: Carrier) -> Verdict {
        let verdict = answer(packet, &self.book.now(), &self.view.load(), carrier);
        match &verdict {
            Verdict::Reply(reply) => self.counters.replied(reply),
            Verdict::Forward(_) => self.counters.forwarded(),
            Verdict::Drop => self.counters.dropped(),
        }
        verdict
    }

    fn may_forward(&self) -> Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)> {
        let own = self.own_forwards.clone().try_acquire_owned().ok()?;
        Some((own, self.limits.forwards.clone().try_acquire_owned().ok()?))
    }

    /// The reply to a question that others are asked.
    async fn forward(&self, packet: &[u8], carrier: Carrier, most: usize) -> Vec<u8> {
        let servers = match &self.view.load().forward {
            Forward::To(servers) => Some(servers.clone()),
            Forward::Never => None,
        };
        let reply = match (servers, self.may_forward()) {
            (Some(servers), Some(_permits)) => servers.ask(packet, carrier).await,
            _ => None,
        };
        let reply = reply.map(|reply| fit(reply, most)).unwrap_or_else(|| failure(packet));
        self.counters.replied(&reply);
        reply
    }
}

/// What is longer than the client takes is cut, so that it asks by TCP.
fn fit(reply: Vec<u8>, most: usize) -> Vec<u8> {
    if reply.len() <= most {
        return reply;
    }
    let cut = Message::from_vec(&reply).ok().and_then(|message| message.truncate().to_vec().ok());
    cut.unwrap_or_else(|| failure(&reply))
}

async fn datagrams(shared: Shared, socket: Arc<UdpSocket>) {
    let mut buffer = vec![0; QUESTION];
    loop {
        let (length, client) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            // The next one may fare better.
            Err(_) => {
                sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        match shared.verdict(&buffer[..length], Carrier::Udp) {
            // A full buffer loses a datagram, as on any wire.
            Verdict::Reply(reply) => drop(socket.try_send_to(&reply, client)),
            Verdict::Forward(most) => {
                // Not kept by who waits for others: with the resolver its socket is closed, and the namespace let go.
                let (shared, socket, packet) = (shared.clone(), Arc::downgrade(&socket), buffer[..length].to_vec());
                tokio::spawn(async move {
                    let reply = shared.forward(&packet, Carrier::Udp, most).await;
                    if let Some(socket) = socket.upgrade() {
                        let _ = socket.try_send_to(&reply, client);
                    }
                });
            }
            Verdict::Drop => {}
        }
    }
}

async fn streams(shared: Shared, listener: TcpListener) {
    // Connections end with the listener's task: dropping the set aborts them.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => {
                    let permit = shared.limits.streams.clone().try_acquire_owned();
                    if let (Ok(permit), true) = (permit, connections.len() < MOST_STREAMS) {
                        connections.spawn(stream(shared.clone(), client, permit));
                    }
                }
                // Out of descriptors, or a client that gave up.
                Err(_) => sleep(Duration::from_millis(20)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Questions one after the other, until the client is silent, slow or says what is no question.
async fn stream(shared: Shared, mut client: TcpStream, _permit: OwnedSemaphorePermit) {
    while let Ok(Ok(packet)) = timeout(STREAM_PATIENCE, frame(&mut client)).await {
        let reply = match shared.verdict(&packet, Carrier::Tcp) {
            Verdict::Reply(reply) => reply,
            Verdict::Forward(most) => shared.forward(&packet, Carrier::Tcp, most).await,
            Verdict::Drop => return,
        };
        let Ok(length) = u16::try_from(reply.len()) else { return };
        let framed = [&length.to_be_bytes(), reply.as_slice()].concat();
        if !matches!(timeout(STREAM_PATIENCE, client.write_all(&framed)).await, Ok(Ok(()))) {
            return;
        }
    }
}

/// A message with its length before it (RFC 1035 §4.2.2).
async fn frame(client: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = client.read_u16().await?;
    let mut packet = Vec::new();
    // Memory as it comes, not as it is promised.
    let mut rest = client.take(length.into());
    rest.read_to_end(&mut packet).await?;
    if packet.len() < length.into() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(packet) }
}
