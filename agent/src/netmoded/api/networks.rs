//! Routes of networks, ports, the version and the doctor.

use super::answer::{Answer, Body, Json};
use crate::agent::{Agent, blocking};
use crate::events::told;
use crate::{clock, connect, doctor, life, startup};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use netmode_engine::{Endpoint, Network, NetworkError};
use netmode_model::api::{Finding, NetworkView, PortView, VersionReply};
use netmode_model::nft::Family;
use netmode_model::{ApiError, Code, ConnectRequest, NetworkCreated, NetworkRequest, NetworkSummary};
use serde_json::{Map, Value, json};
use std::sync::Arc;

type App = State<Arc<Agent>>;

#[utoipa::path(get, path = "/v1/version", responses((status = 200, body = VersionReply)))]
/// Who answers.
pub async fn version(State(agent): App) -> Json<VersionReply> {
    Json(VersionReply { version: env!("CARGO_PKG_VERSION").into(), api: "v1".into(), netns: agent.netns })
}

#[utoipa::path(get, path = "/v1/doctor", responses((status = 200, body = [Finding])))]
/// What the agent finds when it looks at itself and the host.
pub async fn doctor(State(agent): App) -> Answer<Json<Vec<Finding>>> {
    Ok(Json(blocking(move || doctor::examine(&agent)).await?))
}

#[utoipa::path(get, path = "/v1/networks", responses((status = 200, body = [NetworkSummary])))]
/// Every network.
pub async fn list(State(agent): App) -> Json<Vec<Network>> {
    Json(agent.engine.bridges())
}

#[utoipa::path(get, path = "/v1/networks/{name}", params(("name" = String, Path, description = "Name or id")), responses((status = 200, body = Object), (status = "default", body = ApiError)))]
/// A network in the shape of `docker network inspect`.
pub async fn inspect(State(agent): App, Path(name): Path<String>) -> Answer<Json<Value>> {
    let network = agent.engine.network(&name).ok_or_else(|| {
        let shown: String = name.chars().take(64).collect();
        ApiError::from(NetworkError::NotFound(shown))
    })?;
    Ok(Json(docker_shape(&network, &agent.engine.endpoints())))
}

#[utoipa::path(post, path = "/v1/networks", request_body = NetworkRequest, responses((status = 201, body = NetworkCreated), (status = "default", body = ApiError)))]
/// Makes a network.
pub async fn create(
    State(agent): App,
    Body(request): Body<NetworkRequest>,
) -> Answer<(StatusCode, Json<NetworkCreated>)> {
    let made = blocking(move || make(&agent, &request)).await??;
    Ok((StatusCode::CREATED, Json(NetworkCreated { id: made.id, name: made.name })))
}

fn make(agent: &Agent, request: &NetworkRequest) -> Result<Network, ApiError> {
    let unavailable = |e: &dyn std::fmt::Display| ApiError::new(Code::Unavailable, e.to_string());
    let kernel = |e: &dyn std::fmt::Display| ApiError::new(Code::Kernel, e.to_string());
    let facts = startup::facts(&agent.kernel, &agent.engine.networks()).map_err(|e| kernel(&e))?;
    let id = clock::fresh_id().map_err(|e| unavailable(&e))?;
    let forward = |network: &Network| match network.v6 {
        Some(_) => agent.forwarding.switch_on(Family::V6),
        None => Ok(()),
    };
    let made = agent.engine.create_network(request, &facts, id, clock::now(), forward)?;
    told::network(agent, &made, "created");
    Ok(made)
}

#[utoipa::path(delete, path = "/v1/networks/{name}", params(("name" = String, Path, description = "Name or id")), responses((status = 204), (status = "default", body = ApiError)))]
/// Removes a network that nobody uses.
pub async fn remove(State(agent): App, Path(name): Path<String>) -> Answer<StatusCode> {
    let removed = blocking(move || {
        connect::until_left(&agent, &name);
        let removed = agent.engine.remove_network(&name);
        removed.iter().for_each(|network| told::network(&agent, network, "removed"));
        agent.beside.look_again();
        removed
    })
    .await?;
    removed.map_err(ApiError::from)?;
    Ok(StatusCode::NO_CONTENT)
}

#[utoipa::path(post, path = "/v1/networks/prune", responses((status = 200, body = [NetworkCreated]), (status = "default", body = ApiError)))]
/// Removes every network that nobody uses, and tells which.
pub async fn prune(State(agent): App) -> Answer<Json<Vec<NetworkCreated>>> {
    let removed = blocking(move || {
        agent.engine.bridges().iter().for_each(|network| connect::until_left(&agent, &network.name));
        let unused = agent.engine.unused_networks();
        // One that is taken into use at this moment stays.
        let removed: Vec<_> = unused.into_iter().filter_map(|n| agent.engine.remove_network(&n.name).ok()).collect();
        removed.iter().for_each(|network| told::network(&agent, network, "removed"));
        agent.beside.look_again();
        removed
    });
    Ok(Json(removed.await?.into_iter().map(|n| NetworkCreated { id: n.id, name: n.name }).collect()))
}

#[utoipa::path(post, path = "/v1/networks/{name}/connect", request_body = ConnectRequest, params(("name" = String, Path, description = "Name or id")), responses((status = 200, body = NetworkView), (status = "default", body = ApiError)))]
/// Gives a running task an interface on a network.
pub async fn connect(
    State(agent): App,
    Path(name): Path<String>,
    Body(request): Body<ConnectRequest>,
) -> Answer<Json<NetworkView>> {
    let task = agent.tasks.find(&request.task)?;
    Ok(Json(life::alone_with(agent, task, move |agent, task| connect::connect(agent, task, &name, request)).await?))
}

#[utoipa::path(post, path = "/v1/networks/{name}/disconnect", request_body = ConnectRequest, params(("name" = String, Path, description = "Name or id")), responses((status = 204), (status = "default", body = ApiError)))]
/// Takes a running task's interface on a network away.
pub async fn disconnect(
    State(agent): App,
    Path(name): Path<String>,
    Body(request): Body<ConnectRequest>,
) -> Answer<StatusCode> {
    let task = agent.tasks.find(&request.task)?;
    life::alone_with(agent, task, move |agent, task| connect::disconnect(agent, task, &name)).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn docker_shape(net: &Network, endpoints: &[Endpoint]) -> Value {
    let mut containers = Map::new();
    for endpoint in endpoints {
        let Some(link) = endpoint.link.as_ref().filter(|l| l.network == net.name) else { continue };
        let text =
            |v4: bool| link.addrs.iter().find(|a| a.is_ipv4() == v4).map(ToString::to_string).unwrap_or_default();
        containers.insert(
            endpoint.owner.id.to_string(),
            json!({
                "Name": endpoint.owner.name,
                "EndpointID": endpoint.id,
                "MacAddress": link.mac,
                "IPv4Address": text(true),
                "IPv6Address": text(false),
            }),
        );
    }
    let prefixes = net.prefixes();
    let ipam: Vec<_> = prefixes
        .iter()
        .zip(net.gateways())
        .map(|(subnet, gateway)| {
            let mut part = json!({"Subnet": subnet.to_string(), "Gateway": gateway.ip().to_string()});
            if let Some(range) = net.ip_ranges.iter().find(|r| subnet.contains(r.ip())) {
                part["IPRange"] = json!(range.to_string());
            }
            part
        })
        .collect();
    json!({
        "Name": net.name,
        "Id": net.id,
        "Created": net.created,
        "Scope": "local",
        "Driver": "bridge",
        "EnableIPv6": net.v6.is_some(),
        "IPAM": {"Driver": "default", "Options": null, "Config": ipam},
        "Internal": net.internal,
        "Attachable": false,
        "Ingress": false,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": false,
        "Containers": containers,
        "Options": {
            "com.docker.network.bridge.default_bridge": net.built_in().to_string(),
            "com.docker.network.bridge.enable_icc": net.icc.to_string(),
            "com.docker.network.bridge.enable_ip_masquerade": net.masquerade.to_string(),
            "com.docker.network.bridge.host_binding_ipv4": "0.0.0.0",
            "com.docker.network.bridge.name": net.bridge,
            "com.docker.network.driver.mtu": net.mtu.to_string(),
        },
        "Labels": net.labels,
        "PoolReason": net.pool_reason,
    })
}

#[utoipa::path(get, path = "/v1/ports", responses((status = 200, body = [PortView])))]
/// Every published port with its owner.
pub async fn ports(State(agent): App) -> Json<Vec<PortView>> {
    let mut rows = Vec::new();
    for endpoint in agent.engine.endpoints() {
        let held = agent.engine.held(endpoint.id);
        rows.extend(endpoint.bindings().into_iter().map(|binding| PortView {
            binding,
            owner: endpoint.owner.name.clone(),
            owner_id: endpoint.owner.id,
            since: endpoint.created.clone(),
            held,
        }));
    }
    for made in agent.engine.attachments() {
        rows.extend(made.bindings().into_iter().map(|binding| PortView {
            binding,
            owner: made.key.owner(),
            owner_id: made.id,
            since: made.created.clone(),
            held: false,
        }));
    }
    rows.sort_by_key(|r| (r.binding.host_port, r.binding.host_port_range.clone(), r.binding.protocol));
    Json(rows)
}
