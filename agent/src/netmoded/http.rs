//! HTTP for programs that nobody vouches for: one socket, with limits. Who asks too much or too slowly keeps nobody else
//! waiting.

use axum::Router;
use axum::http::{HeaderMap, header};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::io;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};

/// Longest request line with headers, in bytes; the least that hyper takes is half of it.
const HEADERS: usize = 16 << 10;

/// Longest time for them to come, and for a connection without a request.
const PATIENCE: Duration = Duration::from_secs(5);

/// Most connections at a time.
const MOST: usize = 64;

/// A server that answers until it is dropped.
#[derive(Debug)]
pub struct Server(AbortHandle);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Server {
    /// Begins to answer. Must be called within the runtime of tokio.
    ///
    /// # Errors
    /// The runtime cannot watch the socket.
    pub fn start(listener: std::net::TcpListener, router: Router) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        Ok(Self(tokio::spawn(serve(listener, router)).abort_handle()))
    }
}

async fn serve(listener: TcpListener, router: Router) {
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

/// Why a request is not of a program of the asker's own accord: it is of a page in a browser, or came by a name that was
/// made to lead here (DNS rebinding). `ours` tells which hosts may stand in `Host`.
pub fn stranger(headers: &HeaderMap, ours: impl Fn(&str) -> bool) -> Option<&'static str> {
    if headers.contains_key(header::ORIGIN) {
        return Some("requests of web pages are not answered");
    }
    let host = headers.get(header::HOST)?.to_str().unwrap_or("?");
    let name = match host.rsplit_once(':') {
        // An IPv6 address has colons of its own, in brackets.
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    (!ours(name)).then_some("the Host header names somebody else; ask by the address")
}
