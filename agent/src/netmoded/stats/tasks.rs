//! What tasks use now, each by two looks.

use super::{Interface, connections_of, of_links};
use crate::agent::{Agent, blocking};
use crate::task::{Joined, TaskRecord};
use netmode_container::Usage;
use netmode_engine::Endpoint;
use netmode_model::state::LinkCounters;
use netmode_model::stats::{InterfaceStats, StatsQuery, TaskStats};
use netmode_model::{ApiError, Id, Place};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Between the two looks that a share of a processor is made of.
const BETWEEN: Duration = Duration::from_millis(200);

/// What the tasks of a query use.
///
/// # Errors
/// There is no such task.
pub async fn of(agent: &Arc<Agent>, query: &StatsQuery) -> Result<Vec<TaskStats>, ApiError> {
    let records = wanted(agent, query)?;
    let ids: Vec<Id> = records.iter().map(|r| r.id).collect();
    let (shared, again) = (agent.clone(), ids.clone());
    let before = blocking(move || look(&shared, &again)).await?;
    tokio::time::sleep(BETWEEN).await;
    let shared = agent.clone();
    blocking(move || {
        let after = look(&shared, &ids);
        let own: Vec<Vec<Endpoint>> = records.iter().map(|r| endpoints(&shared, r)).collect();
        let all: Vec<Interface> = own.iter().flatten().filter_map(Interface::of).collect();
        let (carried, connections) = (of_links(&shared, &all), connections(&shared, &all));
        let one = |((record, own), (before, after)): ((&TaskRecord, &Vec<Endpoint>), (&Look, &Look))| {
            shown(record, own, (before, after), &carried, &connections)
        };
        records.iter().zip(&own).zip(before.iter().zip(&after)).map(one).collect()
    })
    .await
}

/// The tasks of a query, in the order in which they were named.
fn wanted(agent: &Agent, query: &StatsQuery) -> Result<Vec<TaskRecord>, ApiError> {
    if query.task.is_empty() {
        let records = agent.tasks.all().into_iter().map(|task| task.now());
        return Ok(records.filter(|r| query.all || !r.stopped()).collect());
    }
    query.task.split(',').map(|name| Ok(agent.tasks.find(name)?.now())).collect()
}

/// What was seen of a task at a time; nothing of one that does not run.
type Look = (Instant, Usage);

fn look(agent: &Agent, ids: &[Id]) -> Vec<Look> {
    ids.iter().map(|id| (Instant::now(), agent.containers.usage(*id).unwrap_or_default())).collect()
}

/// The endpoints of a task; those of another one whose namespace it shares.
fn endpoints(agent: &Agent, record: &TaskRecord) -> Vec<Endpoint> {
    match (record.stopped(), &record.netns) {
        (true, _) => Vec::new(),
        (false, Joined::Task(id)) => {
            agent.tasks.get(*id).map(|task| task.now().endpoints(&agent.engine)).unwrap_or_default()
        }
        (false, _) => record.endpoints(&agent.engine),
    }
}

/// Connections by address, of the host's table and, where the host does not see the packets, of the namespace's own.
fn connections(agent: &Agent, interfaces: &[Interface]) -> HashMap<IpAddr, u64> {
    let mut by_end = connections_of(agent, interfaces).by_end;
    for (interface, netns) in interfaces.iter().filter_map(|i| Some((i, i.unseen()?))) {
        let ends = interface.addresses.iter().copied().collect();
        let read = agent.kernel.connections(&Place::Netns(netns.clone()), ends);
        by_end.extend(read.map(|read| read.by_end).unwrap_or_default());
    }
    by_end
}

fn shown(
    record: &TaskRecord,
    endpoints: &[Endpoint],
    ((begun, before), (ended, after)): (&Look, &Look),
    carried: &HashMap<Id, LinkCounters>,
    connections: &HashMap<IpAddr, u64>,
) -> TaskStats {
    let linked: Vec<Interface> = endpoints.iter().filter_map(Interface::of).collect();
    let own = linked.iter().flat_map(|i| &i.addresses).filter_map(|ip| connections.get(ip)).sum();
    let used = Duration::from_nanos(after.cpu.saturating_sub(before.cpu));
    TaskStats {
        id: record.id,
        name: record.name.clone(),
        network_mode: record.mode(),
        state: record.state,
        cpu_seconds: Duration::from_nanos(after.cpu).as_secs_f64(),
        cpu_percent: 100.0 * used.as_secs_f64() / ended.duration_since(*begun).as_secs_f64().max(0.001),
        memory_bytes: after.memory.saturating_sub(after.memory_cache),
        memory_limit_bytes: after.memory_limit,
        pids: after.pids,
        connections: (!linked.is_empty()).then_some(own),
        interfaces: endpoints.iter().filter_map(|e| interface(e, carried.get(&e.id)?)).collect(),
    }
}

fn interface(endpoint: &Endpoint, carried: &LinkCounters) -> Option<InterfaceStats> {
    let link = endpoint.link.as_ref()?;
    Some(InterfaceStats {
        interface: link.interface.clone(),
        network: link.network.clone(),
        receive_bytes: carried.rx_bytes,
        transmit_bytes: carried.tx_bytes,
        receive_packets: carried.rx_packets,
        transmit_packets: carried.tx_packets,
        receive_drops: carried.rx_dropped,
        transmit_drops: carried.tx_dropped,
    })
}
