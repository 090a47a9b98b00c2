//! The host's `::1`: the only traffic that the agent ever carries.
//!
//! IPv6 has no `route_localnet`, so packets from `::1` cannot be translated. A port that is published to a
//! container with IPv6 has a socket on `[::1]`; what comes there is carried to the container's IPv6 address.

use netmode_engine::{Answering, Engine};
use netmode_model::{Id, Protocol};
use std::collections::HashMap;
use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::AbortHandle;

/// After so long without a datagram a client is forgotten: conntrack's `nf_conntrack_udp_timeout_stream`.
const IDLE: Duration = Duration::from_secs(120);

/// Longest time to reach the container.
const CONNECT: Duration = Duration::from_secs(10);

/// Most clients of a port at a time.
const MOST_CLIENTS: usize = 1024;

/// Longest datagram.
const DATAGRAM: usize = 65_536;

/// What is carried for whom.
#[derive(Debug, Default)]
pub struct Relays(Mutex<HashMap<Id, Vec<AbortHandle>>>);

impl Relays {
    /// Begins to carry for an endpoint. Must be called within the runtime of tokio.
    pub fn begin(&self, engine: &Engine, endpoint: Id) {
        let tasks: Vec<_> =
            engine.answering(endpoint).into_iter().map(|a| tokio::spawn(carry(a)).abort_handle()).collect();
        if !tasks.is_empty() {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(endpoint, tasks);
        }
    }

    /// Ends it; the sockets are closed.
    pub fn end(&self, endpoint: Id) {
        let tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&endpoint);
        tasks.into_iter().flatten().for_each(|task| task.abort());
    }
}

async fn carry(answering: Answering) {
    let to = answering.to;
    let ended = match answering.protocol {
        Protocol::Tcp => streams(answering.socket, to).await,
        Protocol::Udp => datagrams(answering.socket, to).await,
        Protocol::Sctp => Ok(()),
    };
    if let Err(error) = ended {
        tracing::warn!(%to, %error, "::1 is not carried any more");
    }
}

async fn streams(socket: OwnedFd, to: SocketAddr) -> io::Result<()> {
    let listener = TcpListener::from_std(std::net::TcpListener::from(socket))?;
    // Connections end with the listener's task: dropping the set aborts them.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(_) if connections.len() >= MOST_CLIENTS => {}
                Ok((client, _)) => drop(connections.spawn(stream(client, to))),
                // Out of descriptors, or a client that gave up: the next one may fare better.
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn stream(mut client: TcpStream, to: SocketAddr) {
    match tokio::time::timeout(CONNECT, TcpStream::connect(to)).await {
        Ok(Ok(mut inside)) => drop(tokio::io::copy_bidirectional(&mut client, &mut inside).await),
        // The container refuses: the client is to see the same (RST), not an end of file.
        _ => drop(client.set_zero_linger()),
    }
}

async fn datagrams(socket: OwnedFd, to: SocketAddr) -> io::Result<()> {
    let socket = Arc::new(UdpSocket::from_std(std::net::UdpSocket::from(socket))?);
    let mut clients: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
    // Ends with this task, so that nothing keeps the port when the container is gone.
    let mut listeners = tokio::task::JoinSet::new();
    let mut buffer = vec![0; DATAGRAM];
    loop {
        tokio::select! {
            received = socket.recv_from(&mut buffer) => {
                // An error here is of an earlier datagram (ICMP), and the next one may fare better.
                let Ok((length, client)) = received else { continue };
                if !clients.contains_key(&client) && clients.len() < MOST_CLIENTS
                    && let Ok(inside) = towards(to).await
                {
                    listeners.spawn(replies(inside.clone(), socket.clone(), client));
                    clients.insert(client, inside);
                }
                if let Some(inside) = clients.get(&client) {
                    // A full buffer loses a datagram, as on any wire.
                    let _ = inside.try_send(&buffer[..length]);
                }
            }
            Some(ended) = listeners.join_next() => {
                if let Ok(client) = ended {
                    clients.remove(&client);
                }
            }
        }
    }
}

async fn towards(to: SocketAddr) -> io::Result<Arc<UdpSocket>> {
    let inside = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).await?;
    inside.connect(to).await?;
    Ok(Arc::new(inside))
}

/// Carries answers back until the client has been silent, and tells whose they were.
async fn replies(inside: Arc<UdpSocket>, outside: Arc<UdpSocket>, client: SocketAddr) -> SocketAddr {
    let mut buffer = vec![0; DATAGRAM];
    while let Ok(Ok(length)) = tokio::time::timeout(IDLE, inside.recv(&mut buffer)).await {
        if outside.send_to(&buffer[..length], client).await.is_err() {
            break;
        }
    }
    client
}
