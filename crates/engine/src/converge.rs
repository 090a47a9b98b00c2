//! The difference between what should be and what is.
//!
//! Start-up recovery, repair, garbage collection and CNI's CHECK all ask the same question: which
//! operations of the plan that made a thing are missing?

use netmode_model::state::LinkState;
use netmode_model::{Observed, Op, Place};

/// The operations that have to be done again, in order. Empty means that all is as it should be.
///
/// A sysctl is always written again: nothing tells when one is changed, and writing costs microseconds.
pub fn missing(desired: &[Op], observed: &Observed) -> Vec<Op> {
    desired.iter().filter(|op| !holds(op, observed)).cloned().collect()
}

/// Whether what an operation brings about is there.
pub fn holds(op: &Op, seen: &Observed) -> bool {
    match op {
        Op::NetnsAdd { netns } => seen.netns.contains(netns),
        Op::BridgeAdd { dev, mac, .. } => {
            link(seen, &Place::Host, dev).is_some_and(|l| l.mac == Some(*mac) && l.kind.as_deref() == Some("bridge"))
        }
        Op::VethAdd { dev, bridge, peer_at, peer, peer_mac, .. } => {
            let host = link(seen, &Place::Host, dev).is_some_and(|l| l.master.as_ref() == Some(bridge));
            host && link(seen, peer_at, peer).is_some_and(|l| l.mac == Some(*peer_mac))
        }
        Op::PortUp { dev, hairpin, isolated, alias } => link(seen, &Place::Host, dev).is_some_and(|l| {
            let flags = l.hairpin == Some(*hairpin) && l.isolated == Some(*isolated);
            l.up && flags && l.alias.as_ref() == Some(alias)
        }),
        Op::LinkDel { at, dev } => link(seen, at, dev).is_none(),
        Op::LinkUp { at, dev } => link(seen, at, dev).is_some_and(|l| l.up),
        Op::LinkDown { at, dev } => link(seen, at, dev).is_none_or(|l| !l.up),
        Op::LinkMtu { at, dev, mtu } => link(seen, at, dev).is_some_and(|l| l.mtu == *mtu),
        Op::AddrAdd { at, dev, addr } => has_addr(seen, at, dev, addr),
        Op::AddrDel { at, dev, addr } => !has_addr(seen, at, dev, addr),
        Op::RouteAdd(route) => seen.routes.contains(route),
        Op::RouteDel(route) => !seen.routes.contains(route),
        Op::RuleAdd(rule) => seen.rules.contains(rule),
        Op::RuleDel(rule) => !seen.rules.contains(rule),
        Op::Sysctl { .. } => false,
        Op::TableAdd(ruleset) => seen.table.as_ref().is_some_and(|t| {
            let chains = ruleset.chains.iter().all(|c| t.chains.get(&c.name) == Some(&c.rules.len()));
            chains && t.chains.len() == ruleset.chains.len() && ruleset.sets.iter().all(|s| t.sets.contains(&s.name))
        }),
        Op::TableDel { .. } => seen.table.is_none(),
        Op::ElementAdd { element, .. } => seen.table.as_ref().is_some_and(|t| t.elements.contains(element)),
        Op::ElementDel { element, .. } => seen.table.as_ref().is_none_or(|t| !t.elements.contains(element)),
    }
}

fn link<'a>(seen: &'a Observed, at: &Place, dev: &netmode_model::IfName) -> Option<&'a LinkState> {
    seen.links.iter().find(|l| l.at == *at && l.name == *dev)
}

fn has_addr(seen: &Observed, at: &Place, dev: &netmode_model::IfName, addr: &ipnetwork::IpNetwork) -> bool {
    seen.addrs.iter().any(|a| a.at == *at && a.dev == *dev && a.addr == *addr)
}
