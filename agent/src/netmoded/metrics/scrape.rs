//! Everything that is told, gathered at one time. No lock is held while the kernel is waited for.

use super::operations::{Counted, MODES};
use super::walls::{self, Verdicts};
use crate::agent::Agent;
use crate::stats::{self, Interface};
use netmode_engine::ipam::PoolUse;
use netmode_model::state::LinkCounters;
use netmode_model::{IfName, Mode, Protocol, Published};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Instant;

/// What a port is kept for.
pub const KINDS: [&str; 2] = ["published", "reserved"];

/// Protocols of ports.
pub const PROTOCOLS: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];

/// All that is told.
#[derive(Debug)]
pub struct Scrape {
    /// What the agent did.
    pub operations: Vec<Counted>,
    /// What it put back, by object.
    pub repairs: [(&'static str, u64); 5],
    /// Answers of its resolvers, by response code.
    pub answers: Vec<(&'static str, u64)>,
    /// Questions that its resolvers asked of others.
    pub forwarded: u64,
    /// Packets for its resolvers that were no question.
    pub dropped: u64,
    /// Records of flow logs that were written, and that were lost.
    pub flow_records: (u64, u64),
    /// Endpoints that stand.
    pub endpoints: [(Mode, usize); MODES.len()],
    /// Ports: in the order of [`PROTOCOLS`], then of [`KINDS`].
    pub ports: [[u64; KINDS.len()]; PROTOCOLS.len()],
    /// Addresses, by pool.
    pub pools: BTreeMap<String, PoolUse>,
    /// What security groups said, by their ids.
    pub verdicts: BTreeMap<String, Verdicts>,
    /// Entries of the host's connection table, and most of them.
    pub tracked: (u32, u32),
    /// By task and interface.
    pub traffic: BTreeMap<(String, IfName), LinkCounters>,
    /// By task.
    pub connections: BTreeMap<String, u64>,
}

impl Scrape {
    /// Looks at everything.
    pub fn of(agent: &Agent) -> Self {
        let interfaces: Vec<Interface> = agent.engine.seen(Interface::of).into_iter().flatten().collect();
        let tracked = stats::connections_of(agent, &interfaces);
        let (endpoints, ports) = standing(agent);
        Self {
            operations: agent.metrics.operations.all(),
            repairs: agent.metrics.repairs.all(),
            answers: agent.names.counters.by_code(),
            forwarded: agent.names.counters.forwards(),
            dropped: agent.names.counters.drops(),
            flow_records: agent.flowlogs.counts(),
            endpoints,
            ports,
            pools: pools(agent),
            verdicts: walls::verdicts(agent),
            tracked: (tracked.entries, tracked.limit),
            traffic: traffic(agent, &interfaces),
            connections: connections(&interfaces, &tracked.by_end),
        }
    }
}

/// Endpoints by mode, and ports: one of a container behind the host's is published; one that a task in host mode binds
/// itself is reserved.
fn standing(agent: &Agent) -> ([(Mode, usize); MODES.len()], [[u64; KINDS.len()]; PROTOCOLS.len()]) {
    let all = agent.engine.seen(|e| (e.mode, e.link.is_none(), e.ports.clone()));
    let mut counts = [[0; KINDS.len()]; PROTOCOLS.len()];
    let mut count = |port: &Published, kind: usize| {
        if let Some(protocol) = PROTOCOLS.iter().position(|p| *p == port.protocol) {
            counts[protocol][kind] += u64::from(port.host_ports.count());
        }
    };
    for (_, reserved, ports) in &all {
        ports.iter().for_each(|port| count(port, usize::from(*reserved)));
    }
    agent.engine.attachments().iter().flat_map(|made| &made.ports).for_each(|port| count(port, 0));
    (MODES.map(|mode| (mode, all.iter().filter(|(own, ..)| *own == mode).count())), counts)
}

/// Two networks may have the same prefix where one of them is not routed: a label stands once, so they are one pool.
fn pools(agent: &Agent) -> BTreeMap<String, PoolUse> {
    let mut pools: BTreeMap<String, PoolUse> = BTreeMap::new();
    for pool in agent.engine.pools(Instant::now()) {
        let same = pools.entry(pool.prefix.to_string());
        same.and_modify(|sum| {
            (sum.used, sum.free, sum.resting) =
                (sum.used + pool.used, sum.free + pool.free, sum.resting + pool.resting);
        })
        .or_insert(pool);
    }
    pools
}

/// Owners of namespaces may have the name of a task, and each other's: a label stands once, so they are added.
fn traffic(agent: &Agent, interfaces: &[Interface]) -> BTreeMap<(String, IfName), LinkCounters> {
    let carried = stats::of_links(agent, interfaces);
    let mut traffic: BTreeMap<(String, IfName), LinkCounters> = BTreeMap::new();
    for (interface, own) in interfaces.iter().filter_map(|i| Some((i, *carried.get(&i.id)?))) {
        let sum = traffic.entry((interface.owner.clone(), interface.name.clone())).or_default();
        *sum = sum.and(own);
    }
    traffic
}

/// Of those whose packets the host sees.
fn connections(interfaces: &[Interface], by_end: &HashMap<IpAddr, u64>) -> BTreeMap<String, u64> {
    let mut connections = BTreeMap::new();
    for interface in interfaces.iter().filter(|i| i.unseen().is_none()) {
        let own = interface.addresses.iter().filter_map(|ip| by_end.get(ip)).sum::<u64>();
        *connections.entry(interface.owner.clone()).or_default() += own;
    }
    connections
}
