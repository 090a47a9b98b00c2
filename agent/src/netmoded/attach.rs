//! From a task to the engine's requests: one for each network, in the order in which they were named.

use crate::agent::Agent;
use crate::clock;
use crate::task::{NetworkUse, TaskRecord};
use netmode_engine::endpoint::{NetnsUse, Owner, OwnerKind};
use netmode_engine::{Attach, Endpoint, modes};
use netmode_model::api::NetOptions;
use netmode_model::{ApiError, Code, DEFAULT_NETWORK, Id, NetnsName, RequestedMode};
use std::time::Instant;

fn failed(why: impl ToString) -> ApiError {
    ApiError::new(Code::Unavailable, why.to_string())
}

/// The requests of a task: the first makes its namespace, the others join that.
///
/// # Errors
/// No random numbers, or a network that is no more.
pub fn requests(agent: &Agent, record: &TaskRecord) -> Result<Vec<Attach>, ApiError> {
    let uses = record.uses();
    let mut rest = uses.iter();
    let first = first(agent, record, rest.next())?;
    let NetnsUse::Own(netns) = &first.netns else { return Ok(vec![first]) };
    let netns = netns.clone();
    // The way out leads over the first network that has one.
    let mut way_out = leads_out(agent, uses.first());
    let mut all = vec![first];
    for (n, network) in rest.enumerate() {
        let leads = !way_out && leads_out(agent, Some(network));
        way_out |= leads;
        all.push(further(record, network, &netns, n + 1, leads)?);
    }
    Ok(all)
}

fn leads_out(agent: &Agent, network: Option<&NetworkUse>) -> bool {
    network.and_then(|n| agent.engine.lookup(&n.name)).is_some_and(|n| !n.internal)
}

fn owner(record: &TaskRecord) -> Owner {
    Owner { kind: OwnerKind::Task, id: record.id, name: record.name.to_string(), uid: 0 }
}

fn id() -> Result<Id, ApiError> {
    clock::fresh_id().map_err(failed)
}

/// The request that makes the namespace, and the interface on the first network.
fn first(agent: &Agent, record: &TaskRecord, network: Option<&NetworkUse>) -> Result<Attach, ApiError> {
    let id = id()?;
    let pin = || format!("nm-{}", id.short()).parse().map_err(|_| failed("no name for a namespace"));
    // Whoever was disconnected from every network has a namespace all the same.
    let nowhere = modes::needs(record.mode()).link && network.is_none();
    Ok(Attach {
        id,
        owner: owner(record),
        netns: if modes::needs(record.mode()).netns { NetnsUse::Own(pin()?) } else { NetnsUse::Host },
        inode: None,
        interface: "eth0".parse().map_err(|_| failed("no name for a link"))?,
        requested: if nowhere { RequestedMode::None } else { record.requested },
        network: network.map_or(DEFAULT_NETWORK, |n| n.name.as_str()).into(),
        or_else: record.or_else.clone(),
        groups: record.groups.clone(),
        begun: Instant::now(),
        default_route: true,
        net: if nowhere { NetOptions::default() } else { options(agent, record, network) },
        now: clock::now(),
    })
}

/// A task's options on its first network. That may be another one than it was made with: with addresses of its own, and
/// without ports if it leads nowhere.
fn options(agent: &Agent, record: &TaskRecord, network: Option<&NetworkUse>) -> NetOptions {
    let net = record.request.net.clone();
    let Some(NetworkUse { wanted, .. }) = network.filter(|_| record.networks.is_some()) else { return net };
    let net = NetOptions { ip: wanted.ip, ip6: wanted.ip6, mac_address: wanted.mac_address, ..net };
    match record.started_at.is_some() && !leads_out(agent, network) {
        true => NetOptions { ports: Vec::new(), ..net },
        false => net,
    }
}

/// The request for one more interface in a namespace that is there.
///
/// # Errors
/// No random numbers.
pub fn further(
    record: &TaskRecord,
    network: &NetworkUse,
    netns: &NetnsName,
    number: usize,
    default_route: bool,
) -> Result<Attach, ApiError> {
    let wanted = &network.wanted;
    Ok(Attach {
        id: id()?,
        owner: owner(record),
        netns: NetnsUse::Joined(netns.clone()),
        inode: None,
        interface: format!("eth{number}").parse().map_err(|_| failed("no name for a link"))?,
        requested: RequestedMode::Bridge,
        network: network.name.clone(),
        or_else: Vec::new(),
        groups: Vec::new(),
        begun: Instant::now(),
        default_route,
        net: NetOptions {
            ip: wanted.ip,
            ip6: wanted.ip6,
            mac_address: wanted.mac_address,
            net_rate: record.request.net.net_rate,
            ..NetOptions::default()
        },
        now: clock::now(),
    })
}

/// Attaches all, or none.
///
/// # Errors
/// Why the first that failed did.
pub fn all(agent: &Agent, requests: &[Attach]) -> Result<Vec<Endpoint>, ApiError> {
    let mut done: Vec<Endpoint> = Vec::new();
    for request in requests {
        match agent.attach(request) {
            Ok(endpoint) => done.push(endpoint),
            Err(error) => {
                done.iter().rev().for_each(|endpoint| agent.detach(endpoint.id));
                return Err(error);
            }
        }
    }
    Ok(done)
}
