//! What tasks use: processor, memory, network.

mod tasks;

pub use tasks::of as of_tasks;

use crate::agent::Agent;
use ipnetwork::IpNetwork;
use netmode_engine::Endpoint;
use netmode_kernel::Connections;
use netmode_model::state::LinkCounters;
use netmode_model::{Id, IfName, NetnsName, Place};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

/// What the interfaces of endpoints have carried, by their names inside, as their container sees it.
pub fn of_interfaces(agent: &Agent, endpoints: &[Endpoint]) -> BTreeMap<String, LinkCounters> {
    let Some(netns) = endpoints.first().and_then(|e| e.netns.name()) else { return BTreeMap::new() };
    let links = agent.kernel.counters(&Place::Netns(netns.clone())).unwrap_or_default();
    let own = endpoints.iter().filter_map(|e| e.link.as_ref()).map(|l| &l.interface);
    own.filter_map(|name| Some((name.to_string(), *links.get(name)?))).collect()
}

/// The interface of an endpoint, and where its packets are counted. A small part of its record: there are thousands.
#[derive(Debug, Clone)]
pub struct Interface {
    /// The endpoint's id.
    pub id: Id,
    /// Whose it is.
    pub owner: String,
    /// The link inside.
    pub name: IfName,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    counted: Counted,
}

#[derive(Debug, Clone)]
enum Counted {
    /// By the other end of the link, on the host.
    Outside(IfName),
    /// In its namespace alone: the host does not see its packets.
    Inside(NetnsName),
}

impl Interface {
    /// That of an endpoint, in modes that have one.
    pub fn of(endpoint: &Endpoint) -> Option<Self> {
        let link = endpoint.link.as_ref()?;
        let counted = match link.has_host_end() {
            true => Counted::Outside(link.host_dev.clone()),
            false => Counted::Inside(endpoint.netns.name()?.clone()),
        };
        Some(Self {
            id: endpoint.id,
            owner: endpoint.owner.name.clone(),
            name: link.interface.clone(),
            addresses: link.addrs.iter().map(IpNetwork::ip).collect(),
            counted,
        })
    }

    /// Its namespace, where the host does not see its packets.
    pub fn unseen(&self) -> Option<&NetnsName> {
        match &self.counted {
            Counted::Outside(_) => None,
            Counted::Inside(netns) => Some(netns),
        }
    }
}

/// What interfaces have carried, as their containers see it. One reading of the host's links serves all that have an end
/// there; namespaces are entered for the others alone.
pub fn of_links(agent: &Agent, interfaces: &[Interface]) -> HashMap<Id, LinkCounters> {
    let names: BTreeSet<NetnsName> = interfaces.iter().filter_map(|i| i.unseen().cloned()).collect();
    let host = match interfaces.iter().any(|i| i.unseen().is_none()) {
        true => agent.kernel.counters(&Place::Host).unwrap_or_default(),
        false => HashMap::new(),
    };
    let namespaces = agent.kernel.counters_of(&names.into_iter().collect::<Vec<_>>());
    let carried = |i: &Interface| match &i.counted {
        Counted::Outside(dev) => host.get(dev).map(|other_end| other_end.of_peer()),
        Counted::Inside(netns) => namespaces.get(netns)?.get(&i.name).copied(),
    };
    interfaces.iter().filter_map(|i| Some((i.id, carried(i)?))).collect()
}

/// What the host's connection table holds, and of it what the interfaces have whose packets the host sees.
pub fn connections_of(agent: &Agent, interfaces: &[Interface]) -> Connections {
    let seen = interfaces.iter().filter(|i| i.unseen().is_none());
    let read = agent.kernel.connections(&Place::Host, seen.flat_map(|i| i.addresses.iter().copied()).collect());
    read.unwrap_or_else(|error| {
        tracing::warn!(%error, "the host's connections are not counted");
        Connections::default()
    })
}

/// Processor time of the machine since it was started, in nanoseconds (proc_stat(5)).
pub fn cpu_of_machine() -> u64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let all = text.lines().next().unwrap_or_default().split_whitespace().skip(1).take(8);
    all.filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>() * 10_000_000
}
