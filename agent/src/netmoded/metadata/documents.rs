//! The documents, in the shapes of the ECS agent (`agent/handlers/v2`, `v4`; ECS developer guide).

use super::endpoint_id;
use crate::agent::Agent;
use crate::ecs::{self, EcsRecord, MemberRecord, Stage};
use crate::task::TaskRecord;
use ipnetwork::IpNetwork;
use netmode_engine::{Endpoint, modes, seat};
use netmode_model::ecs::{ContainerDefinition, TaskStatus};
use netmode_model::{Mode, PortSpec};
use serde_json::{Map, Value, json};

/// The version of the endpoint; each has what the one before has, and more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// By the namespace that asks.
    V2,
    /// By id.
    V3,
    /// By id, with networks in full.
    V4,
}

/// The least CPU limit that is shown (ECS agent, `minimumCPUUnit`).
const LEAST_CPU: u32 = 2;

/// Availability zone of tasks without a subnet.
const NO_ZONE: &str = "local";

/// A task.
pub fn task(agent: &Agent, record: &EcsRecord, version: Version, with_tags: bool) -> Value {
    let containers = record.members.iter().map(|m| container(agent, record, m, version));
    let namespace = namespace(agent, record, version);
    let subnet = subnet(agent, record);
    let mut task = Map::new();
    let mut put = |key: &str, value: Value| _ = task.insert(key.into(), value);
    put("Cluster", json!(ecs::CLUSTER));
    put("TaskARN", json!(ecs::task_arn(record.id)));
    put("Family", json!(record.definition.family));
    put("Revision", json!(record.revision.to_string()));
    if let Some(service) = record.group.strip_prefix("service:") {
        put("ServiceName", json!(service));
    }
    put("DesiredStatus", json!(record.desired.to_string()));
    put("KnownStatus", json!(record.status.to_string()));
    if let Some(limits) = task_limits(record) {
        put("Limits", limits);
    }
    put("PullStartedAt", json!(record.created_at));
    put("PullStoppedAt", json!(made_first(agent, record).unwrap_or_else(|| record.created_at.clone())));
    if let Some(at) = &record.stopping_at {
        put("ExecutionStoppedAt", json!(at));
    }
    let zone = subnet.as_ref().and_then(|n| n.subnet.as_ref()).map(|s| s.availability_zone.clone());
    put("AvailabilityZone", json!(zone.unwrap_or_else(|| NO_ZONE.into())));
    if version >= Version::V4 {
        put("LaunchType", json!("EC2"));
        if let Some(eni) = &record.eni {
            put("VPCID", json!(eni.vpc_id));
        }
        put("FaultInjectionEnabled", json!(false));
    }
    put("Containers", namespace.into_iter().chain(containers).collect());
    if with_tags {
        put("TaskTags", json!({}));
        put("ContainerInstanceTags", json!({}));
    }
    Value::Object(task)
}

/// Limits of the whole task: CPUs and MiB.
fn task_limits(record: &EcsRecord) -> Option<Value> {
    let mut limits = Map::new();
    if let Some(units) = record.definition.cpu {
        limits.insert("CPU".into(), json!(f64::from(units) / 1024.0));
    }
    if let Some(mebibytes) = record.definition.memory {
        limits.insert("Memory".into(), json!(mebibytes));
    }
    (!limits.is_empty()).then_some(Value::Object(limits))
}

/// When the first container was made: its image was there by then.
fn made_first(agent: &Agent, record: &EcsRecord) -> Option<String> {
    record.members.iter().filter_map(|m| Some(made(agent, m)?.created_at)).min()
}

fn made(agent: &Agent, member: &MemberRecord) -> Option<TaskRecord> {
    Some(agent.tasks.get(member.id?)?.now())
}

fn subnet(agent: &Agent, record: &EcsRecord) -> Option<netmode_engine::Network> {
    agent.engine.lookup(&record.eni.as_ref()?.subnet_id)
}

/// What ECS shows of the namespace that an awsvpc task's containers share: there it is a container's.
fn namespace(agent: &Agent, record: &EcsRecord, version: Version) -> Option<Value> {
    let endpoint = record.endpoint?;
    let family = &record.definition.family;
    let mut shown = json!({
        "DockerId": endpoint.to_string(),
        "Name": "~internal~ecs~pause",
        "DockerName": format!("ecs-{family}-{}-internalecspause-{}", record.revision, endpoint.hex(10)),
        "Image": "netmode/namespace",
        "ImageID": "",
        "DesiredStatus": "RESOURCES_PROVISIONED",
        "KnownStatus": if record.status == TaskStatus::Stopped { "STOPPED" } else { "RESOURCES_PROVISIONED" },
        "Limits": {"CPU": LEAST_CPU, "Memory": 0},
        "CreatedAt": record.created_at,
        "StartedAt": record.created_at,
        "Type": "CNI_PAUSE",
        "Networks": networks(agent, record, None, version),
    });
    shown["Labels"] = json!(labels(record, "~internal~ecs~pause"));
    Some(shown)
}

fn labels(record: &EcsRecord, container: &str) -> Value {
    json!({
        "com.amazonaws.ecs.cluster": ecs::CLUSTER,
        "com.amazonaws.ecs.container-name": container,
        "com.amazonaws.ecs.task-arn": ecs::task_arn(record.id),
        "com.amazonaws.ecs.task-definition-family": record.definition.family,
        "com.amazonaws.ecs.task-definition-version": record.revision.to_string(),
    })
}

/// A container.
pub fn container(agent: &Agent, record: &EcsRecord, member: &MemberRecord, version: Version) -> Value {
    let own = record.definition.container_definitions.iter().find(|c| c.name == member.container);
    let made = made(agent, member);
    let mut shown = Map::new();
    let mut put = |key: &str, value: Value| _ = shown.insert(key.into(), value);
    put("DockerId", json!(member.id.map(|id| id.to_string()).unwrap_or_default()));
    put("Name", json!(member.container));
    put("DockerName", json!(member.name.as_str()));
    put("Image", json!(own.and_then(|c| c.image.clone().or_else(|| c.root_directory.clone())).unwrap_or_default()));
    put("ImageID", json!(made.as_ref().and_then(|r| r.image_id.clone()).unwrap_or_default()));
    let given = own.iter().flat_map(|c| &c.docker_labels).map(|(key, value)| (key.clone(), json!(value)));
    let mut all_labels: Map<String, Value> = given.collect();
    // Nobody's own say whose they are.
    if let Value::Object(ours) = labels(record, &member.container) {
        all_labels.extend(ours);
    }
    put("Labels", Value::Object(all_labels));
    put("DesiredStatus", json!(record.desired.to_string()));
    put("KnownStatus", json!(known(member)));
    put("Limits", own.map(limits).unwrap_or_default());
    if let Some(made) = &made {
        put("CreatedAt", json!(made.created_at));
        let times = [("StartedAt", &made.started_at), ("FinishedAt", &made.stopped_at)];
        times.iter().filter_map(|(key, at)| Some((key, at.as_ref()?))).for_each(|(key, at)| put(key, json!(at)));
        if let Some(code) = made.exit_code {
            put("ExitCode", json!(code));
        }
    }
    put("Type", json!("NORMAL"));
    if own.is_some_and(|c| c.health_check.is_some()) {
        put("Health", json!({"status": member.health}));
    }
    let ports = ports(agent, record, made.as_ref(), version);
    if !ports.is_empty() {
        put("Ports", json!(ports));
    }
    put("Networks", networks(agent, record, made.as_ref(), version));
    if version >= Version::V4 {
        put("LogDriver", json!("json-file"));
        put("ContainerARN", json!(ecs::container_arn(record.id, &endpoint_id(record, member))));
    }
    Value::Object(shown)
}

fn limits(own: &ContainerDefinition) -> Value {
    let mut limits = Map::new();
    limits.insert("CPU".into(), json!(own.cpu.unwrap_or_default().max(LEAST_CPU)));
    if let Some(memory) = own.memory.or(own.memory_reservation) {
        limits.insert("Memory".into(), json!(memory));
    }
    Value::Object(limits)
}

/// Where a container is, in the ECS agent's words.
fn known(member: &MemberRecord) -> &'static str {
    match member.stage {
        Stage::Waiting if member.id.is_none() => "NONE",
        Stage::Waiting => "CREATED",
        Stage::Started => "RUNNING",
        Stage::Ended(_) => "STOPPED",
    }
}

/// Ports of the container, and of the host. Where nothing is translated they are the same.
fn ports(agent: &Agent, record: &EcsRecord, made: Option<&TaskRecord>, version: Version) -> Vec<Value> {
    let Some(made) = made else { return Vec::new() };
    let own = |spec: &PortSpec| {
        let port = spec.container.first();
        json!({"ContainerPort": port, "Protocol": spec.protocol, "HostPort": port})
    };
    if record.eni.is_some() {
        let definition =
            record.definition.container_definitions.iter().find(|c| Some(&c.name) == name_of(record, made));
        let mapped = definition.iter().flat_map(|c| &c.port_mappings).filter_map(|p| {
            let protocol = p.protocol.clone().unwrap_or_else(|| "tcp".into());
            let port = p.container_port?;
            Some(json!({"ContainerPort": port, "Protocol": protocol, "HostPort": port}))
        });
        return mapped.collect();
    }
    if !modes::needs(record.requested.effective()).netns {
        return made.request.net.ports.iter().map(own).collect();
    }
    let endpoints = made.endpoints(&agent.engine);
    let mut all = Vec::new();
    for binding in endpoints.iter().flat_map(Endpoint::bindings) {
        let mut port = json!({
            "ContainerPort": binding.container_port, "Protocol": binding.protocol, "HostPort": binding.host_port,
        });
        if version >= Version::V4 {
            port["HostIp"] = json!(binding.bind_ip);
        }
        all.push(port);
    }
    all
}

fn name_of<'r>(record: &'r EcsRecord, made: &TaskRecord) -> Option<&'r String> {
    record.members.iter().find(|m| m.id == Some(made.id)).map(|m| &m.container)
}

/// The networks of a container. Docker reports no address in host mode, and ECS an empty one.
fn networks(agent: &Agent, record: &EcsRecord, made: Option<&TaskRecord>, version: Version) -> Value {
    let mode = record.requested.effective();
    if let Some(endpoint) = record.endpoint.and_then(|id| agent.engine.endpoint(id)) {
        return json!([interface(agent, &endpoint, mode, version)]);
    }
    let endpoints = made.map(|m| m.endpoints(&agent.engine)).unwrap_or_default();
    let addresses = |v4: bool| {
        let links = endpoints.iter().filter_map(|e| e.link.as_ref());
        links.filter_map(|l| l.addr(v4)).map(|ip| ip.to_string()).collect::<Vec<_>>()
    };
    let of_host = !modes::needs(mode).netns;
    let mut shown = json!({
        "NetworkMode": mode.to_string(),
        "IPv4Addresses": if of_host { vec![String::new()] } else { addresses(true) },
    });
    if !addresses(false).is_empty() {
        shown["IPv6Addresses"] = json!(addresses(false));
    }
    json!([shown])
}

/// An ENI.
fn interface(agent: &Agent, endpoint: &Endpoint, mode: Mode, version: Version) -> Value {
    let mut shown = Map::new();
    let mut put = |key: &str, value: Value| _ = shown.insert(key.into(), value);
    put("NetworkMode", json!(mode.to_string()));
    let Some((link, eni)) = endpoint.link.as_ref().and_then(|l| Some((l, l.eni.as_ref()?))) else {
        return Value::Object(shown);
    };
    let (v4, v6): (Vec<IpNetwork>, Vec<IpNetwork>) = link.addrs.iter().partition(|a| a.is_ipv4());
    let plain = |all: &[IpNetwork]| json!(all.iter().map(|a| a.ip().to_string()).collect::<Vec<_>>());
    if !v4.is_empty() {
        put("IPv4Addresses", plain(&v4));
    }
    if !v6.is_empty() {
        put("IPv6Addresses", plain(&v6));
    }
    if version < Version::V4 {
        return Value::Object(shown);
    }
    let network = agent.engine.lookup(&link.network);
    put("AttachmentIndex", json!(0));
    put("MACAddress", json!(link.hardware_address()));
    let gateway = |v4: bool| network.as_ref().and_then(|n| if v4 { n.gateway4() } else { n.gateway6() });
    let block = |v4: bool| {
        let prefix = gateway(v4).map(|g| IpNetwork::new(g.network(), g.prefix()).unwrap_or(g));
        prefix.map(|p| json!(p.to_string())).unwrap_or_default()
    };
    if !v4.is_empty() {
        put("IPv4SubnetCIDRBlock", block(true));
    }
    if !v6.is_empty() {
        put("IPv6SubnetCIDRBlock", block(false));
    }
    if let Some(resolver) = seat::resolver(std::slice::from_ref(endpoint)) {
        put("DomainNameServers", json!(resolver.asked_at.first().into_iter().collect::<Vec<_>>()));
        put("DomainNameSearchList", json!(resolver.search));
    }
    put("PrivateDNSName", json!(eni.name));
    // With the length of the prefix; of IPv6 only where there is nothing else.
    match (gateway(true).filter(|_| !v4.is_empty()), gateway(false)) {
        (Some(gateway), _) => put("SubnetGatewayIpv4Address", json!(gateway.to_string())),
        (None, Some(gateway)) => put("SubnetGatewayIpv6Address", json!(gateway.to_string())),
        (None, None) => {}
    }
    Value::Object(shown)
}
