//! This host as a container instance: its id, and the instance type that it is to be, which bounds its ENIs.

use crate::agent::Agent;
use crate::{clock, startup, vpc};
use netmode_engine::ecs::profile;
use netmode_engine::store::{self, Kind};
use netmode_model::ecs::{InstanceView, Profile};
use netmode_model::{ApiError, Code, Id};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Version of the record that this agent writes.
const VERSION: u32 = 1;

/// What is recorded of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    v: u32,
    id: Id,
    profile: Option<Profile>,
    /// Id of the subnet that it is in itself.
    #[serde(default)]
    subnet: Option<String>,
    /// Its own addresses there.
    #[serde(default)]
    addresses: Vec<IpAddr>,
}

/// What is known of it; read at the start.
#[derive(Debug, Default)]
pub struct Instance(Mutex<Option<Record>>);

const KEY: &str = "instance";

/// Reads the record, and puts its limit in force.
///
/// # Errors
/// A record of a newer version, no random numbers, or a disk that is full.
pub fn load(agent: &Arc<Agent>) -> anyhow::Result<()> {
    let listing = store::list::<Record>(&*agent.store, Kind::Instance, VERSION.into())?;
    startup::told(&listing.set_aside);
    let record = match listing.records.into_iter().next() {
        Some(record) => record,
        None => {
            let record =
                Record { v: VERSION, id: clock::fresh_id()?, profile: None, subnet: None, addresses: Vec::new() };
            store::put(&*agent.store, Kind::Instance, KEY, &record)?;
            record
        }
    };
    agent.engine.limit_enis(most(record.profile.as_ref()).unwrap_or_default());
    keep(agent, &record);
    *agent.instance.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(record);
    Ok(())
}

/// How many ENIs a profile allows; `None` for no limit.
fn most(profile: Option<&Profile>) -> Result<Option<usize>, ApiError> {
    let Some(profile) = profile else { return Ok(None) };
    let most = profile::most(&profile.instance_type, profile.trunking);
    most.map(|n| Some(n as usize)).map_err(|e| ApiError::new(Code::Invalid, e.to_string()))
}

fn now(agent: &Agent) -> Option<Record> {
    agent.instance.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Whether ECS' rules for the ports of an instance hold: it has a profile, or ECS is followed strictly.
pub fn bounded(agent: &Agent) -> bool {
    vpc::strict(agent) || now(agent).is_some_and(|r| r.profile.is_some())
}

/// Its id, 32 hex digits.
pub fn id(agent: &Agent) -> String {
    now(agent).map(|r| r.id.to_string()).unwrap_or_default()
}

/// Gives the host the limits of an instance type, or none.
///
/// # Errors
/// A type that is not known, or has no trunk.
pub fn set_profile(agent: &Agent, profile: Option<Profile>) -> Result<InstanceView, ApiError> {
    let limit = most(profile.as_ref())?;
    let Some(mut record) = now(agent) else { return Err(ApiError::new(Code::Unavailable, "the agent is not ready")) };
    let before = record.clone();
    record.subnet = subnet(agent, profile.as_ref())?;
    before.subnet.iter().for_each(|subnet| agent.engine.let_addresses_go(subnet));
    let back = |error: ApiError| {
        keep(agent, &before);
        error
    };
    record.addresses = match &record.subnet {
        Some(subnet) => {
            let kept = agent.engine.keep_addresses(subnet, own(profile.as_ref()), &before.addresses);
            kept.map_err(ApiError::from).map_err(back)?
        }
        None => Vec::new(),
    };
    record.profile = profile;
    let written = store::put(&*agent.store, Kind::Instance, KEY, &record);
    written.map_err(|e| ApiError::new(Code::State, e.to_string())).map_err(back)?;
    *agent.instance.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(record);
    agent.engine.limit_enis(limit);
    Ok(view(agent))
}

/// Keeps what a record says.
fn keep(agent: &Agent, record: &Record) {
    if let Some(subnet) = &record.subnet
        && let Err(error) = agent.engine.keep_addresses(subnet, record.addresses.len(), &record.addresses)
    {
        tracing::warn!(%subnet, %error, "the instance's own addresses are not kept");
    }
}

/// Interfaces of an instance that are no task's: the first one, and the trunk.
fn own(profile: Option<&Profile>) -> usize {
    profile.map_or(0, |p| 1 + usize::from(p.trunking))
}

/// The subnet that an instance is in itself.
fn subnet(agent: &Agent, profile: Option<&Profile>) -> Result<Option<String>, ApiError> {
    let Some(profile) = profile else { return Ok(None) };
    let found = match &profile.subnet {
        Some(reference) => Some(agent.engine.subnet(reference)?),
        None => vpc::subnet_of_host(agent)?,
    };
    Ok(found.map(|subnet| subnet.name))
}

/// As AWS would count: the host's own ENIs are attachments, and take addresses, as well.
pub fn view(agent: &Agent) -> InstanceView {
    let record = now(agent);
    let profile = record.as_ref().and_then(|r| r.profile.clone());
    let (tasks, limit) = agent.engine.eni_slots();
    let own = own(profile.as_ref());
    let trunked = profile.as_ref().is_some_and(|p| p.trunking);
    InstanceView {
        container_instance_arn: crate::ecs::instance_arn(agent),
        profile,
        running_tasks_with_eni: tasks,
        task_eni_limit: limit,
        subnet_id: record.as_ref().and_then(|r| r.subnet.clone()),
        private_ip_addresses: record.map(|r| r.addresses).unwrap_or_default(),
        // A branch hangs on the trunk: it is no attachment of the instance's.
        attachments: if trunked { own } else { own + tasks },
        addresses: own + tasks,
    }
}
