//! What is open to a task, and by which rule.

use crate::agent::Agent;
use crate::task::TaskRecord;
use ipnetwork::IpNetwork;
use netmode_engine::vpc::Groups;
use netmode_engine::{Endpoint, modes};
use netmode_model::group::{Direction, Effective, EffectiveReply, Peer, Traffic};
use netmode_model::vpc::GroupRef;
use std::net::{IpAddr, Ipv4Addr};

/// What is open to a task.
pub fn of(agent: &Agent, record: &TaskRecord) -> EffectiveReply {
    let endpoints = record.endpoints(&agent.engine);
    let links = || endpoints.iter().filter_map(|e| e.link.as_ref());
    let ids: Vec<String> = match links().next() {
        Some(link) => link.groups().to_vec(),
        None => record.groups.clone(),
    };
    let groups = agent.engine.groups();
    let all = agent.engine.endpoints();
    let mut rules: Vec<Effective> = Vec::new();
    for group in ids.iter().filter_map(|id| groups.groups.get(id)) {
        rules.extend(group.rules.iter().map(|rule| Effective {
            direction: rule.direction,
            traffic: rule.traffic,
            peer: written(&groups, &rule.peer),
            addresses: stands_for(&groups, &all, &rule.peer),
            group: GroupRef { group_id: group.id.clone(), group_name: group.name.clone() },
            rule_id: rule.id.clone(),
        }));
    }
    if ids.is_empty() {
        rules.extend(published(&endpoints));
    }
    EffectiveReply { task: record.name.to_string(), guarded_by: modes::guarded_by(record.mode(), &ids).into(), rules }
}

fn written(groups: &Groups, peer: &Peer) -> String {
    match peer {
        Peer::Cidr(cidr) => cidr.to_string(),
        Peer::Group(id) => groups.groups.get(id).map_or(id.clone(), |g| format!("{} ({id})", g.name)),
        Peer::PrefixList(id) => groups.lists.get(id).map_or(id.clone(), |l| format!("{} ({id})", l.prefix_list_name)),
    }
}

fn stands_for(groups: &Groups, all: &[Endpoint], peer: &Peer) -> Vec<IpNetwork> {
    match peer {
        Peer::Cidr(cidr) => vec![*cidr],
        Peer::PrefixList(id) => groups.lists.get(id).map(|l| l.entries.clone()).unwrap_or_default(),
        Peer::Group(id) => {
            let links = all.iter().filter_map(|e| e.link.as_ref()).filter(|l| l.groups().contains(id));
            let mut addresses: Vec<IpNetwork> = links.flat_map(|l| &l.addrs).map(|a| a.ip().into()).collect();
            addresses.sort();
            addresses
        }
    }
}

/// A task without groups is reached by its published ports, from everywhere.
fn published(endpoints: &[Endpoint]) -> Vec<Effective> {
    let everywhere = IpNetwork::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0).into_iter().collect::<Vec<_>>();
    let open = |p: &netmode_model::Published| {
        let traffic = match p.protocol {
            netmode_model::Protocol::Tcp => Traffic::Tcp(p.host_ports),
            netmode_model::Protocol::Udp => Traffic::Udp(p.host_ports),
            netmode_model::Protocol::Sctp => Traffic::Other(p.protocol.number()),
        };
        Effective {
            direction: Direction::Ingress,
            traffic,
            peer: "0.0.0.0/0".into(),
            addresses: everywhere.clone(),
            group: GroupRef { group_id: String::new(), group_name: String::new() },
            rule_id: String::new(),
        }
    };
    endpoints.iter().flat_map(|e| &e.ports).map(open).collect()
}
