//! Routes of endpoints in namespaces that someone else made.

use super::Peer;
use super::answer::{Answer, Body, Failed, Json};
use crate::agent::{Agent, blocking};
use crate::foreign::{self, Key};
use axum::extract::connect_info::ConnectInfo;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use netmode_model::api::{AttachReply, AttachRequest, NetnsRef};
use netmode_model::cni::{CniReply, CniRequest};
use netmode_model::{ApiError, Code};
use serde::Deserialize;
use std::os::fd::OwnedFd;
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

/// The descriptor that came with a request. Whoever is not root can name a namespace by no other means.
fn handed(peer: &Peer, netns: &NetnsRef) -> Result<Option<OwnedFd>, Failed> {
    match netns {
        NetnsRef::Fd(n) => Ok(peer.take(*n)),
        NetnsRef::Path(_) if peer.uid == 0 => Ok(None),
        NetnsRef::Path(_) => {
            let text = format!("a namespace by path is for root: user {} must hand it over as a descriptor", peer.uid);
            Err(Failed(ApiError::new(Code::Forbidden, text)))
        }
    }
}

#[utoipa::path(post, path = "/v1/endpoints", request_body = AttachRequest, responses((status = 201, body = AttachReply), (status = "default", body = ApiError)))]
/// Attaches a namespace.
pub async fn attach(
    State(agent): State<Arc<Agent>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Body(request): Body<AttachRequest>,
) -> Answer<(StatusCode, Json<AttachReply>)> {
    let handed = handed(&peer, &request.netns)?;
    let key = Key::new(peer.uid, request.owner.clone(), request.interface.clone())?;
    let reply = blocking(move || foreign::attach(&agent, key, request, handed, true)).await??;
    Ok((StatusCode::CREATED, Json(reply)))
}

#[utoipa::path(post, path = "/v1/endpoints/cni", request_body = CniRequest, responses((status = 200, body = CniReply), (status = "default", body = ApiError)))]
/// Serves a call of a CNI plugin; a refusal is CNI's.
pub async fn cni(
    State(agent): State<Arc<Agent>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Body(request): Body<CniRequest>,
) -> Answer<Json<CniReply>> {
    let handed = peer.take(0);
    Ok(Json(blocking(move || crate::cni::serve(&agent, &peer, request, handed)).await?))
}

#[utoipa::path(delete, path = "/v1/endpoints", params(("owner" = String, Query, description = "Who asked for it"), ("interface" = Option<String>, Query, description = "The link inside; eth0 where none is given")), responses((status = 204), (status = "default", body = ApiError)))]
/// Detaches a namespace; one that is not attached is done already.
pub async fn detach(
    State(agent): State<Arc<Agent>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Query(query): Query<DetachQuery>,
) -> Answer<StatusCode> {
    let key = Key::new(peer.uid, query.owner, query.interface)?;
    blocking(move || {
        foreign::detach(&agent, &key);
        if peer.uid == 0 {
            crate::cni::detach(&agent, &key.owner, key.interface.as_str());
        }
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}
