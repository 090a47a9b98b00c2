//! From services to tasks, and from networks of the file to those of the agent.

use super::network::{self, Network};
use super::project::Project;
use super::service::{Joined, Service};
use crate::failure::Failure;
use netmode_model::api::{NetOptions, NetworkRef, RunRequest, TaskState};
use netmode_model::{Name, NetworkRequest};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

type Result<T> = std::result::Result<T, Failure>;

/// Labels that docker's compose writes, too.
pub(crate) mod label {
    /// The project.
    pub(crate) const PROJECT: &str = "com.docker.compose.project";
    /// The service.
    pub(crate) const SERVICE: &str = "com.docker.compose.service";
    /// Which copy of the service; there is one.
    pub(crate) const NUMBER: &str = "com.docker.compose.container-number";
    /// What the task or network was made from.
    pub(crate) const HASH: &str = "com.docker.compose.config-hash";
    /// What the service depends on, `NAME:CONDITION:RESTART` with commas.
    pub(crate) const DEPENDS_ON: &str = "com.docker.compose.depends_on";
    /// A network's name in the file.
    pub(crate) const NETWORK: &str = "com.docker.compose.network";
}

/// The request for a service's task, labelled.
///
/// # Errors
/// A name that the task cannot have, or a network that the file does not declare.
pub(crate) fn task(project: &Project, service: &Service) -> Result<RunRequest> {
    let mut request = unlabelled(project, service)?;
    let hash = hash(&request);
    let needs = service.depends_on.iter().map(|name| format!("{name}:service_started:false"));
    request.container.labels.extend(own([
        (label::PROJECT, project.name.clone()),
        (label::SERVICE, service.name.clone()),
        (label::NUMBER, "1".into()),
        (label::DEPENDS_ON, needs.collect::<Vec<_>>().join(",")),
        (label::HASH, hash),
    ]));
    Ok(request)
}

fn unlabelled(project: &Project, service: &Service) -> Result<RunRequest> {
    let name = match &service.container_name {
        Some(name) => name.clone(),
        None => {
            let name = format!("{}-{}-1", project.name, service.name);
            let bad = |error| Failure::invalid(format!("service {}: {error}", service.name));
            name.parse::<Name>().map_err(bad)?
        }
    };
    let joined = in_order(project, service)?;
    let mut aliases = vec![service.name.clone()];
    aliases.extend(service.networks.iter().flat_map(|joined| joined.aliases.clone()));
    let mut networks = joined.iter().map(|(_, network)| network.name.clone());
    Ok(RunRequest {
        name: Some(name),
        network: networks.next().map_or_else(NetworkRef::default, NetworkRef::Named),
        networks: networks.collect(),
        net: NetOptions {
            network_aliases: without_repetition(aliases),
            ip: joined.first().and_then(|(joined, _)| joined.address),
            ..service.net.clone()
        },
        container: service.container.clone(),
        auto_remove: false,
    })
}

/// The networks of a service as the agent is to join them. Ports are published on the first: an internal network, which
/// has none, comes behind the others, unless an address was chosen on the one that is written first.
fn in_order<'a>(project: &'a Project, service: &'a Service) -> Result<Vec<(&'a Joined, &'a Network)>> {
    let with_network = |joined: &'a Joined| Ok((joined, network::find(&project.networks, &joined.key, &service.name)?));
    let mut all = service.networks.iter().map(with_network).collect::<Result<Vec<_>>>()?;
    if all.iter().all(|(joined, _)| joined.address.is_none()) {
        all.sort_by_key(|(_, network)| network.request.internal);
    }
    Ok(all)
}

fn without_repetition(names: Vec<String>) -> Vec<String> {
    names.iter().enumerate().filter(|(n, name)| !names[..*n].contains(name)).map(|(_, name)| name.clone()).collect()
}

/// The request for a network, labelled.
///
/// # Errors
/// A name that a network cannot have.
pub(crate) fn network(project: &str, network: &Network) -> Result<NetworkRequest> {
    let bad = |error| Failure::invalid(format!("network {}: {error}", network.key));
    let mut request =
        NetworkRequest { name: Some(network.name.parse::<Name>().map_err(bad)?), ..network.request.clone() };
    let hash = hash(&request);
    request.labels.extend(own([
        (label::PROJECT, project.to_owned()),
        (label::NETWORK, network.key.clone()),
        (label::HASH, hash),
    ]));
    Ok(request)
}

fn own<const N: usize>(labels: [(&str, String); N]) -> BTreeMap<String, String> {
    labels.map(|(key, value)| (key.to_owned(), value)).into()
}

/// What changes when a request does (FNV-1a, 64 bits): it tells states apart and guards nothing.
fn hash<T: Serialize + Default>(request: &T) -> String {
    let value = |request: &T| serde_json::to_value(request).unwrap_or_default();
    // Fields at their defaults do not count, so that a request that has grown fields is still the same.
    let text = said(value(request), &value(&T::default())).to_string();
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    format!("{:016x}", text.bytes().fold(0xcbf2_9ce4_8422_2325, step))
}

/// What differs from the default.
fn said(value: Value, default: &Value) -> Value {
    let Value::Object(map) = value else { return value };
    let differs = map.into_iter().filter(|(key, value)| default.get(key) != Some(value));
    Value::Object(differs.map(|(key, value)| (key.clone(), said(value, &default[&key]))).collect())
}

/// What `up` does about a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Its task runs as it should.
    Keep,
    /// Its task is there and does not run.
    Start,
    /// Its task was made from something else.
    Replace,
    /// It has no task.
    Create,
}

/// What `up` does: `there` is the state of the task and whether it is about to be started again, `same` whether it was
/// made from what the file says now.
pub(crate) fn step(there: Option<(TaskState, bool)>, same: bool, force: bool) -> Step {
    match there {
        None => Step::Create,
        Some(_) if force || !same => Step::Replace,
        Some((TaskState::Running, _) | (_, true)) => Step::Keep,
        Some((TaskState::Pending | TaskState::Stopped, false)) => Step::Start,
        // Its end is waited for by removing it.
        Some((TaskState::Stopping, false)) => Step::Replace,
    }
}
