//! Routes of endpoints in namespaces that someone else made.

use super::Peer;
use super::answer::{Answer, Body, Failed, Json};
use crate::agent::{Agent, blocking};
use crate::foreign::{self, Key};
use axum::extract::connect_info::ConnectInfo;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use netmode_model::api::{AttachReply, AttachRequest, NetnsRef};
use netmode_model::{ApiError, Code};
use serde::Deserialize;
use std::sync::Arc;

/// Options of DELETE /v1/endpoints.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetachQuery {
    /// Who asked for it.
    owner: String,
    /// The link inside; `eth0` where none is given.
    interface: Option<netmode_model::IfName>,
}

#[utoipa::path(post, path = "/v1/endpoints", request_body = AttachRequest, responses((status = 201, body = AttachReply), (status = "default", body = ApiError)))]
/// Attaches a namespace.
pub async fn attach(
    State(agent): State<Arc<Agent>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Body(request): Body<AttachRequest>,
) -> Answer<(StatusCode, Json<AttachReply>)> {
    if matches!(request.netns, NetnsRef::Path(_)) && peer.uid != 0 {
        let text = format!("a namespace by path is for root: user {} must hand it over as a descriptor", peer.uid);
        return Err(Failed(ApiError::new(Code::Forbidden, text)));
    }
    let key = Key::new(peer.uid, request.owner.clone(), request.interface.clone())?;
    let handed = match request.netns {
        NetnsRef::Fd(n) => peer.take(n),
        NetnsRef::Path(_) => None,
    };
    let reply = blocking(move || foreign::attach(&agent, key, request, handed)).await??;
    Ok((StatusCode::CREATED, Json(reply)))
}

#[utoipa::path(delete, path = "/v1/endpoints", params(("owner" = String, Query, description = "Who asked for it"), ("interface" = Option<String>, Query, description = "The link inside; eth0 where none is given")), responses((status = 204), (status = "default", body = ApiError)))]
/// Detaches a namespace; one that is not attached is done already.
pub async fn detach(
    State(agent): State<Arc<Agent>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Query(query): Query<DetachQuery>,
) -> Answer<StatusCode> {
    let key = Key::new(peer.uid, query.owner, query.interface)?;
    blocking(move || foreign::detach(&agent, &key)).await?;
    Ok(StatusCode::NO_CONTENT)
}
