//! Who may do what: the caller's credentials against the configured table. What passes is done on the caller's behalf.

use super::answer::Failed;
use super::{Peer, cause};
use crate::agent::Agent;
use crate::config::Allow;
use crate::events;
use axum::extract::connect_info::ConnectInfo;
use axum::extract::{Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use netmode_model::{ApiError, Code};
use std::sync::{Arc, PoisonError};

/// Lets a request pass, or refuses it.
pub async fn check(
    State(agent): State<Arc<Agent>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let allow = agent.config.read().unwrap_or_else(PoisonError::into_inner).allows(peer.uid, &peer.groups);
    // The streams of attach are GET, and write into a container.
    let looks = request.method() == Method::GET && !request.uri().path().ends_with("/attach");
    let passes = match allow {
        Allow::All => true,
        Allow::Read => looks,
        Allow::Attach => looks || request.uri().path().starts_with("/v1/endpoints"),
        Allow::Nothing => false,
    };
    if passes && request.method() != Method::GET && agent.ending.begun() {
        return Failed(super::system::ending()).into_response();
    }
    if passes && looks {
        return next.run(request).await;
    }
    if passes {
        return events::scope(cause::of(&peer, &request), next.run(request)).await;
    }
    let text = format!(
        "user {} may not {} {} on this agent; ask its owner for a row in [[api.access]]",
        peer.uid,
        request.method(),
        request.uri().path().chars().take(80).collect::<String>()
    );
    Failed(ApiError::new(Code::Forbidden, text)).into_response()
}
