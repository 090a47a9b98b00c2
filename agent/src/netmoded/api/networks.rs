//! Routes of networks, ports, the version and the doctor.

use super::answer::{Answer, Json};
use crate::agent::{Agent, blocking};
use crate::doctor;
use axum::extract::{Path, State};
use netmode_engine::{Endpoint, Network};
use netmode_model::api::{Finding, PortView, VersionReply};
use netmode_model::network::NetworkSummary;
use netmode_model::{ApiError, Code};
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
    Json(agent.engine.networks())
}

#[utoipa::path(get, path = "/v1/networks/{name}", params(("name" = String, Path, description = "Name or id")), responses((status = 200, body = Object), (status = "default", body = ApiError)))]
/// A network in the shape of `docker network inspect`.
pub async fn inspect(State(agent): App, Path(name): Path<String>) -> Answer<Json<Value>> {
    let fits = |n: &Network| n.name == name || (name.len() >= 4 && n.id.to_string().starts_with(&name));
    let network = agent.engine.networks().into_iter().find(fits);
    let network = network.ok_or_else(|| {
        let shown: String = name.chars().take(64).collect();
        ApiError::new(Code::NotFound, format!("no network {shown:?}; \"netmode network ls\" lists the networks"))
    })?;
    Ok(Json(docker_shape(&network, &agent.engine.endpoints())))
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
        .map(|(subnet, gateway)| json!({"Subnet": subnet.to_string(), "Gateway": gateway.ip().to_string()}))
        .collect();
    json!({
        "Name": net.name,
        "Id": net.id,
        "Created": net.created,
        "Scope": "local",
        "Driver": "bridge",
        "EnableIPv6": net.v6.is_some(),
        "IPAM": {"Driver": "default", "Options": null, "Config": ipam},
        "Internal": false,
        "Attachable": false,
        "Ingress": false,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": false,
        "Containers": containers,
        "Options": {
            "com.docker.network.bridge.default_bridge": "true",
            "com.docker.network.bridge.enable_icc": "true",
            "com.docker.network.bridge.enable_ip_masquerade": "true",
            "com.docker.network.bridge.host_binding_ipv4": "0.0.0.0",
            "com.docker.network.bridge.name": net.bridge,
            "com.docker.network.driver.mtu": net.mtu.to_string(),
        },
        "Labels": {},
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
    rows.sort_by_key(|r| (r.binding.host_port, r.binding.host_port_range.clone(), r.binding.protocol));
    Json(rows)
}
