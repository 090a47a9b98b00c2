//! Routes of flow logs.

use super::Peer;
use super::answer::{Answer, Body, Json};
use super::tasks::by_root;
use crate::agent::{Agent, blocking};
use axum::extract::connect_info::ConnectInfo;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use netmode_model::ApiError;
use netmode_model::flowlog::{FlowLogRequest, FlowLogView};
use std::sync::Arc;

type App = State<Arc<Agent>>;

#[utoipa::path(get, path = "/v1/flow-logs", responses((status = 200, body = [FlowLogView])))]
/// Flow logs.
pub async fn list(State(agent): App) -> Json<Vec<FlowLogView>> {
    Json(agent.flowlogs.list(&agent))
}

#[utoipa::path(post, path = "/v1/flow-logs", request_body = FlowLogRequest, responses((status = 201, body = FlowLogView), (status = "default", body = ApiError)))]
/// Makes a flow log.
pub async fn create(
    State(agent): App,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Body(request): Body<FlowLogRequest>,
) -> Answer<(StatusCode, Json<FlowLogView>)> {
    // The agent writes there as root.
    let anywhere = request.log_destination.starts_with("file:/");
    by_root(&agent, &peer, &[("--to file:/PATH", anywhere)])?;
    let made = blocking(move || agent.flowlogs.create(&agent, &request)).await??;
    Ok((StatusCode::CREATED, Json(made)))
}

#[utoipa::path(get, path = "/v1/flow-logs/{id}", params(("id" = String, Path, description = "Id")), responses((status = 200, body = FlowLogView), (status = "default", body = ApiError)))]
/// A flow log.
pub async fn show(State(agent): App, Path(id): Path<String>) -> Answer<Json<FlowLogView>> {
    Ok(Json(agent.flowlogs.show(&agent, &id)?))
}

#[utoipa::path(delete, path = "/v1/flow-logs/{id}", params(("id" = String, Path, description = "Id")), responses((status = 204), (status = "default", body = ApiError)))]
/// Removes a flow log, after what was gathered for it was written.
pub async fn remove(State(agent): App, Path(id): Path<String>) -> Answer<StatusCode> {
    blocking(move || agent.flowlogs.remove(&*agent.store, &id)).await??;
    Ok(StatusCode::NO_CONTENT)
}
