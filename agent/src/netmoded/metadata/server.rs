//! One socket, with limits: a task that asks too much or too slowly keeps nobody else waiting.

use super::{Asker, routes};
use crate::agent::Agent;
use axum::Extension;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};

/// Longest request line with headers, in bytes; the least that hyper takes is half of it.
const HEADERS: usize = 16 << 10;

/// Longest time for them to come, and for a connection without a request.
const PATIENCE: Duration = Duration::from_secs(5);

/// Most connections at a time.
const MOST: usize = 64;

/// Requests a second, and how many more may come at once (ECS agent, `taskMetadataSteadyStateRate` and `…BurstRate`).
const RATE: (f64, f64) = (40.0, 60.0);

/// A server that answers until it is dropped.
#[derive(Debug)]
pub struct Server(AbortHandle);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// So many requests may come now, since when.
#[derive(Debug)]
pub(super) struct Bucket(Mutex<(f64, Instant)>);

impl Bucket {
    fn new() -> Self {
        Self(Mutex::new((RATE.1, Instant::now())))
    }

    /// Takes one, if there is one.
    pub(super) fn take(&self) -> bool {
        let mut bucket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let more = now.duration_since(bucket.1).as_secs_f64() * RATE.0;
        *bucket = ((bucket.0 + more).min(RATE.1), now);
        let enough = bucket.0 >= 1.0;
        if enough {
            bucket.0 -= 1.0;
        }
        enough
    }
}

impl Server {
    /// Begins to answer. Must be called within the runtime of tokio.
    ///
    /// # Errors
    /// The runtime cannot watch the socket.
    pub fn start(agent: Arc<Agent>, asker: Asker, listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        Ok(Self(tokio::spawn(serve(agent, asker, listener)).abort_handle()))
    }
}

async fn serve(agent: Arc<Agent>, asker: Asker, listener: TcpListener) {
    let router = routes::router(agent).layer(Extension(asker)).layer(Extension(Arc::new(Bucket::new())));
    // Connections end with the listener's task: dropping the set aborts them.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) if connections.len() < MOST => {
                    let service = TowerToHyperService::new(router.clone());
                    let mut http = http1::Builder::new();
                    http.timer(TokioTimer::new()).header_read_timeout(PATIENCE).max_buf_size(HEADERS);
                    connections.spawn(http.serve_connection(TokioIo::new(client), service));
                }
                Ok(_) => {}
                // Out of descriptors, or a client that gave up.
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}
