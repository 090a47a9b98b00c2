//! The API: HTTP with JSON on the unix socket.

mod access;
mod answer;
mod endpoints;
mod networks;
pub mod openapi;
mod streams;
mod tasks;

use crate::agent::Agent;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::extract::connect_info::Connected;
use axum::routing::{delete, get, post};
use axum::serve::IncomingStream;
use std::sync::Arc;
use tokio::net::UnixListener;

/// Largest body of a request, in bytes.
pub const MAX_BODY: usize = 1 << 20;

/// Who called, as the kernel knows it (SO_PEERCRED).
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        // A caller whose credentials cannot be read is nobody.
        let nobody = Self { uid: u32::MAX, gid: u32::MAX };
        stream.io().peer_cred().map_or(nobody, |c| Self { uid: c.uid(), gid: c.gid() })
    }
}

/// Every route.
pub fn router(agent: Arc<Agent>) -> Router {
    Router::new()
        .route("/v1/version", get(networks::version))
        .route("/v1/openapi.json", get(openapi::document))
        .route("/v1/doctor", get(networks::doctor))
        .route("/v1/networks", get(networks::list))
        .route("/v1/networks/{name}", get(networks::inspect))
        .route("/v1/ports", get(networks::ports))
        .route("/v1/tasks", get(tasks::list).post(tasks::create))
        .route("/v1/tasks/plan", post(tasks::plan))
        .route("/v1/tasks/{task}", get(tasks::inspect).delete(tasks::remove))
        .route("/v1/tasks/{task}/start", post(tasks::start))
        .route("/v1/tasks/{task}/stop", post(tasks::stop))
        .route("/v1/tasks/{task}/kill", post(tasks::kill))
        .route("/v1/tasks/{task}/wait", get(tasks::wait))
        .route("/v1/tasks/{task}/logs", get(streams::logs))
        .route("/v1/tasks/{task}/attach", get(streams::attach))
        .route("/v1/tasks/{task}/exec", post(streams::exec))
        .route("/v1/endpoints", post(endpoints::attach))
        .route("/v1/endpoints", delete(endpoints::detach))
        .fallback(answer::no_such_route)
        .method_not_allowed_fallback(answer::no_such_method)
        .layer(axum::middleware::from_fn_with_state(agent.clone(), access::check))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(agent)
}
