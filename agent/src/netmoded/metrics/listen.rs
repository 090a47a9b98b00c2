//! The loopback port, for who scrapes without a right to the socket.

use super::{CONTENT_TYPE, text};
use crate::agent::{Agent, blocking};
use crate::http::{self, Server};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::{Arc, PoisonError};

/// Answers at `at`, if anywhere. Must be called within the runtime of tokio.
///
/// # Errors
/// Somebody else has the port.
pub fn serve(agent: &Arc<Agent>, at: Option<SocketAddr>) -> io::Result<()> {
    let Some(at) = at else { return Ok(()) };
    let router = Router::new()
        .route("/metrics", get(metrics))
        .fallback(async || (StatusCode::NOT_FOUND, "no such path; the metrics are at /metrics\n"))
        .layer(from_fn(admit))
        .with_state(agent.clone());
    let server = Server::start(TcpListener::bind(at)?, router)?;
    *agent.metrics.server.lock().unwrap_or_else(PoisonError::into_inner) = Some(server);
    Ok(())
}

async fn metrics(State(agent): State<Arc<Agent>>) -> Response {
    match blocking(move || text(&agent)).await {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.message).into_response(),
    }
}

async fn admit(request: Request, next: Next) -> Response {
    match http::stranger(request.headers(), is_ours) {
        Some(why) => (StatusCode::FORBIDDEN, format!("{why}; ask by 127.0.0.1, ::1 or localhost\n")).into_response(),
        None => next.run(request).await,
    }
}

/// Whether a host of a `Host` header is this machine's loopback.
fn is_ours(name: &str) -> bool {
    let bare = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::is_ours;

    #[test]
    fn the_loopback_has_many_names_and_others_have_none() {
        assert!(["127.0.0.1", "127.8.9.1", "[::1]", "localhost", "LocalHost"].into_iter().all(is_ours));
        assert!(!["192.0.2.1", "metrics.example", "[::2]", "localhost.example", ""].into_iter().any(is_ours));
    }
}
