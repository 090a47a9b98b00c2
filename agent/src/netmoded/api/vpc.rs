//! Routes of subnets and ENIs.

use super::answer::{Answer, Body, Json};
use crate::agent::{Agent, blocking};
use crate::vpc;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use netmode_engine::Network;
use netmode_model::vpc::{EniView, SubnetRequest, SubnetView};
use netmode_model::{ApiError, Code};
use std::sync::Arc;
use std::time::Instant;

type App = State<Arc<Agent>>;

fn view(agent: &Agent, network: &Network) -> Option<SubnetView> {
    agent.engine.subnet_view(network, Instant::now())
}

#[utoipa::path(get, path = "/v1/subnets", responses((status = 200, body = [SubnetView])))]
/// Subnets.
pub async fn subnets(State(agent): App) -> Json<Vec<SubnetView>> {
    Json(agent.engine.subnets().iter().filter_map(|n| view(&agent, n)).collect())
}

#[utoipa::path(get, path = "/v1/subnets/{subnet}", params(("subnet" = String, Path, description = "Name or id")), responses((status = 200, body = SubnetView), (status = "default", body = ApiError)))]
/// A subnet.
pub async fn subnet(State(agent): App, Path(subnet): Path<String>) -> Answer<Json<SubnetView>> {
    let network = agent.engine.subnet(&subnet).map_err(ApiError::from)?;
    Ok(Json(shown(view(&agent, &network))?))
}

#[utoipa::path(post, path = "/v1/subnets", request_body = SubnetRequest, responses((status = 200, description = "What would be made", body = SubnetView), (status = 201, body = SubnetView), (status = "default", body = ApiError)))]
/// Makes a subnet.
pub async fn create_subnet(
    State(agent): App,
    Body(request): Body<SubnetRequest>,
) -> Answer<(StatusCode, Json<SubnetView>)> {
    let made = blocking(move || {
        let (status, network) = match request.dry_run {
            true => (StatusCode::OK, vpc::wished(&agent, &request)?),
            false => (StatusCode::CREATED, vpc::create(&agent, &request, false)?),
        };
        Ok::<_, ApiError>((status, shown(view(&agent, &network))?))
    });
    let (status, view) = made.await??;
    Ok((status, Json(view)))
}

fn shown<T>(view: Option<T>) -> Result<T, ApiError> {
    view.ok_or_else(|| ApiError::new(Code::NotFound, "it has been removed meanwhile"))
}

#[utoipa::path(delete, path = "/v1/subnets/{subnet}", params(("subnet" = String, Path, description = "Name or id")), responses((status = 204), (status = "default", body = ApiError)))]
/// Removes a subnet that nobody uses.
pub async fn remove_subnet(State(agent): App, Path(subnet): Path<String>) -> Answer<StatusCode> {
    blocking(move || vpc::remove(&agent, &subnet)).await?.map_err(ApiError::from)?;
    Ok(StatusCode::NO_CONTENT)
}

#[utoipa::path(get, path = "/v1/enis", responses((status = 200, body = [EniView])))]
/// ENIs.
pub async fn enis(State(agent): App) -> Json<Vec<EniView>> {
    Json(agent.engine.enis())
}

fn find(agent: &Agent, reference: &str) -> Result<EniView, ApiError> {
    let fits = |e: &EniView| {
        let id = reference.len() >= "eni-".len() + 4 && e.network_interface_id.starts_with(reference);
        id || e.attachment.task == reference || e.private_ip_address.is_some_and(|ip| ip.to_string() == reference)
    };
    let shown: String = reference.chars().take(64).collect();
    agent
        .engine
        .enis()
        .into_iter()
        .find(fits)
        .ok_or_else(|| ApiError::new(Code::NotFound, format!("no ENI {shown:?}; \"netmode eni ls\" lists the ENIs")))
}

#[utoipa::path(get, path = "/v1/enis/{eni}", params(("eni" = String, Path, description = "Id, address or task")), responses((status = 200, body = EniView), (status = "default", body = ApiError)))]
/// An ENI.
pub async fn eni(State(agent): App, Path(eni): Path<String>) -> Answer<Json<EniView>> {
    Ok(Json(find(&agent, &eni)?))
}

#[utoipa::path(delete, path = "/v1/enis/{eni}", params(("eni" = String, Path, description = "Id, address or task")), responses((status = "default", body = ApiError)))]
/// Refused for every ENI there is: only its task's end releases it, as ECS has it for requester-managed interfaces.
pub async fn remove_eni(State(agent): App, Path(eni): Path<String>) -> Answer<StatusCode> {
    let eni = find(&agent, &eni)?;
    let text = format!(
        "the ENI {} is managed by {} ({}); end the task to release it: netmode stop {}",
        eni.network_interface_id, eni.managed_by, eni.attachment.task, eni.attachment.task
    );
    Err(ApiError::new(Code::Managed, text).into())
}
