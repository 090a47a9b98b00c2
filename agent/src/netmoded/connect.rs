//! Running containers join networks and leave them.

use crate::agent::Agent;
use crate::events::told;
use crate::make::renew_files;
use crate::registry::Task;
use crate::task::{NetworkUse, TaskRecord};
use crate::{attach, names};
use netmode_engine::{Endpoint, Network, NetworkError, modes};
use netmode_model::api::NetworkView;
use netmode_model::{ApiError, Code, ConnectRequest, Place};

fn network(agent: &Agent, reference: &str) -> Result<Network, ApiError> {
    let shown = || reference.chars().take(64).collect();
    agent.engine.network(reference).ok_or_else(|| NetworkError::NotFound(shown()).into())
}

fn wrong(text: String) -> ApiError {
    ApiError::new(Code::WrongState, text)
}

/// The endpoints of a task that has networks of its own; its namespace is that of the first.
fn endpoints(agent: &Agent, record: &TaskRecord, verb: &str, network: &Network) -> Result<Vec<Endpoint>, ApiError> {
    let all = record.endpoints(&agent.engine);
    let has_eni = modes::needs(record.mode()).eni;
    if all.first().is_some_and(|e| e.netns.name().is_some()) && record.networks.is_some() && !has_eni {
        return Ok(all);
    }
    let name = &record.name;
    let what = format!("cannot {verb} task {name} and network {}", network.name);
    if record.stopped() {
        return Err(wrong(format!("{what}: it is {}; start it with \"netmode start {name}\"", record.state)));
    }
    let text = format!("{what}: it runs in {} mode; run it in bridge mode or on a network", record.mode());
    Err(ApiError::new(Code::UnsupportedInMode, text))
}

fn on<'a>(endpoints: &'a [Endpoint], network: &str) -> Option<&'a Endpoint> {
    endpoints.iter().find(|e| e.link.as_ref().is_some_and(|l| l.network == network))
}

/// The lowest number that no interface of the namespace has.
fn free_number(endpoints: &[Endpoint]) -> usize {
    let names = || endpoints.iter().filter_map(|e| e.link.as_ref()).map(|l| l.interface.as_str());
    (0..=endpoints.len()).find(|n| names().all(|name| name != format!("eth{n}"))).unwrap_or_default()
}

/// Gives a task an interface on one more network.
///
/// # Errors
/// Why not; nothing has changed.
pub fn connect(agent: &Agent, task: &Task, reference: &str, wanted: ConnectRequest) -> Result<NetworkView, ApiError> {
    let record = task.now();
    let network = network(agent, reference)?;
    let all = endpoints(agent, &record, "connect", &network)?;
    let name = &record.name;
    if on(&all, &network.name).is_some() {
        let text = format!("task {name} is on the network {} already; see \"netmode inspect {name}\"", network.name);
        return Err(wrong(text));
    }
    let netns = all[0].netns.name().ok_or_else(|| wrong(format!("task {name} has no namespace; start it first")))?;
    let has_way_out = all.iter().filter_map(|e| e.link.as_ref()).any(|l| !l.gateways.is_empty());
    let joined = NetworkUse { name: network.name.clone(), wanted };
    let request = attach::further(&record, &joined, netns, free_number(&all), !has_way_out)?;
    // The record names it first: what an agent that dies here leaves is found.
    let record = agent.update(task, |r| {
        r.more.push(request.id);
        let networks = r.networks.get_or_insert_default();
        // What an agent left that died on the way.
        networks.retain(|n| n.name != network.name);
        networks.push(joined);
    })?;
    let endpoint = match agent.attach(&request) {
        Ok(endpoint) => endpoint,
        Err(error) => {
            agent.update(task, |r| {
                r.more.retain(|id| *id != request.id);
                r.networks.get_or_insert_default().retain(|n| n.name != network.name);
            })?;
            return Err(error);
        }
    };
    told::membership(agent, &network, &record, "connected");
    tell_resolver(agent, &record);
    renew_files(agent, &record);
    endpoint.views().pop().ok_or_else(|| wrong(format!("task {name} got no interface; see the agent's log")))
}

/// Takes a task's interface on a network away. Ports that are published on it go with it; the way out goes to the next
/// network that has one.
///
/// # Errors
/// Why not; nothing has changed.
pub fn disconnect(agent: &Agent, task: &Task, reference: &str) -> Result<(), ApiError> {
    let record = task.now();
    let network = network(agent, reference)?;
    let all = endpoints(agent, &record, "disconnect", &network)?;
    let forget = |r: &mut TaskRecord| r.networks.get_or_insert_default().retain(|n| n.name != network.name);
    let Some(endpoint) = on(&all, &network.name) else {
        let name = &record.name;
        let text = format!(
            "task {name} is not on the network {}; \"netmode inspect {name}\" shows its networks",
            network.name
        );
        // Recorded by an agent that died before it was attached.
        return match record.uses().iter().any(|n| n.name == network.name) {
            true => agent.update(task, forget).map(drop),
            false => Err(wrong(text)),
        };
    };
    // The networks first: an agent that dies here does not bring it back. The endpoint last: it is found until it is gone.
    agent.update(task, forget)?;
    if endpoint.id != all[0].id {
        agent.detach(endpoint.id);
    } else if let Err(error) = agent.unlink(endpoint.id) {
        agent.update(task, |r| r.networks = record.networks)?;
        return Err(error);
    }
    until_gone(agent, endpoint);
    // It is done: what fails now is told and does not undo it.
    let failed = |error: &ApiError| tracing::warn!(task = %record.name, %error, "after it left a network");
    let record =
        agent.update(task, |r| r.more.retain(|id| *id != endpoint.id)).inspect_err(failed).unwrap_or(task.now());
    if endpoint.link.as_ref().is_some_and(|l| !l.gateways.is_empty()) {
        let _ = next_way_out(agent, &record).inspect_err(failed);
    }
    told::membership(agent, &network, &record, "disconnected");
    tell_resolver(agent, &record);
    renew_files(agent, &record);
    Ok(())
}

/// What its resolver knows is of the networks that it is on now.
fn tell_resolver(agent: &Agent, record: &TaskRecord) {
    if let Err(error) = names::renew(agent, record) {
        tracing::warn!(task = %record.name, %error, "its resolver was not told");
    }
}

/// Waits until the kernel has deleted the link: who has disconnected does not want to see it any more.
fn until_gone(agent: &Agent, endpoint: &Endpoint) {
    let Some(link) = &endpoint.link else { return };
    agent.until(|| !matches!(agent.kernel.link(&Place::Host, &link.host_dev), Ok(Some(_))));
}

/// Waits until the kernel has deleted the links of those who have left a network that nobody else uses.
pub fn until_left(agent: &Agent, reference: &str) {
    let Some(network) = agent.engine.network(reference) else { return };
    let on = |e: &Endpoint| e.link.as_ref().is_some_and(|l| l.network == network.name);
    agent.until(|| agent.engine.find(on).is_some() || !agent.engine.is_leaving(on));
}

fn next_way_out(agent: &Agent, record: &TaskRecord) -> Result<(), ApiError> {
    for endpoint in record.endpoints(&agent.engine) {
        if agent.engine.give_route(endpoint.id)? {
            return Ok(());
        }
    }
    Ok(())
}
