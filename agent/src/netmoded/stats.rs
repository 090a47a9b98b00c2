//! What tasks use: processor, memory, network.

use crate::agent::Agent;
use netmode_engine::Endpoint;
use netmode_model::Place;
use netmode_model::state::LinkCounters;
use std::collections::BTreeMap;

/// What the interfaces of endpoints have carried, by their names inside, as their container sees it.
pub fn of_interfaces(agent: &Agent, endpoints: &[Endpoint]) -> BTreeMap<String, LinkCounters> {
    let Some(netns) = endpoints.first().and_then(|e| e.netns.name()) else { return BTreeMap::new() };
    let links = agent.kernel.counters(&Place::Netns(netns.clone())).unwrap_or_default();
    let own = endpoints.iter().filter_map(|e| e.link.as_ref()).map(|l| &l.interface);
    own.filter_map(|name| Some((name.to_string(), *links.get(name)?))).collect()
}

/// Processor time of the machine since it was started, in nanoseconds (proc_stat(5)).
pub fn cpu_of_machine() -> u64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let all = text.lines().next().unwrap_or_default().split_whitespace().skip(1).take(8);
    all.filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>() * 10_000_000
}
