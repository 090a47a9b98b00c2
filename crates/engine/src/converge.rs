//! The difference between what should be and what is.
//!
//! Start-up recovery, repair, the doctor and CNI's CHECK ask the same question: which operations of the plan
//! that made a thing are missing?

use crate::endpoint::{Endpoint, NetnsUse};
use crate::settings::Settings;
use crate::{bridge, modes};
use ipnetwork::IpNetwork;
use netmode_model::op::Route;
use netmode_model::state::LinkState;
use netmode_model::{IfName, Observed, Op, Place};
use std::collections::{HashMap, HashSet};

/// What is there, ordered for questions: a thousand endpoints are compared without a walk over all links for each.
#[derive(Debug)]
pub struct Present<'a> {
    seen: &'a Observed,
    links: HashMap<(&'a Place, &'a IfName), &'a LinkState>,
    addrs: HashSet<(&'a Place, &'a IfName, IpNetwork)>,
    routes: HashSet<&'a Route>,
    remade: bool,
}

impl<'a> Present<'a> {
    /// Orders a snapshot.
    pub fn new(seen: &'a Observed) -> Self {
        Self {
            seen,
            links: seen.links.iter().map(|l| ((&l.at, &l.name), l)).collect(),
            addrs: seen.addrs.iter().map(|a| (&a.at, &a.dev, a.addr)).collect(),
            routes: seen.routes.iter().collect(),
            remade: false,
        }
    }

    /// Whether the tables have been made anew since, with their elements: then no link is in a flowtable.
    pub fn with_new_tables(self, remade: bool) -> Self {
        Self { remade, ..self }
    }

    /// The operations that have to be done again, in order. Empty means that all is as it should be.
    ///
    /// A sysctl is never among them: nothing reads them back.
    pub fn missing(&self, desired: &[Op]) -> Vec<Op> {
        desired.iter().filter(|op| !self.holds(op)).cloned().collect()
    }

    /// Whether a link of the host is there.
    pub fn has_link(&self, dev: &IfName) -> bool {
        self.link(&Place::Host, dev).is_some()
    }

    /// A link, if it is there.
    pub fn link(&self, at: &Place, dev: &IfName) -> Option<&LinkState> {
        self.links.get(&(at, dev)).copied()
    }

    /// Whether what an operation brings about is there.
    pub fn holds(&self, op: &Op) -> bool {
        let table = |name| self.seen.tables.get(name);
        match op {
            Op::NetnsAdd { netns, .. } => self.seen.netns.contains(netns),
            Op::BridgeAdd { dev, mac, .. } => {
                self.link(&Place::Host, dev).is_some_and(|l| l.mac == Some(*mac) && l.kind.as_deref() == Some("bridge"))
            }
            Op::VethAdd { dev, bridge, peer_at, peer, peer_mac, .. } => {
                let host = self.link(&Place::Host, dev).is_some_and(|l| l.master == *bridge);
                host && self.link(peer_at, peer).is_some_and(|l| l.mac == Some(*peer_mac))
            }
            Op::PortUp { dev, hairpin, isolated, alias } => self.link(&Place::Host, dev).is_some_and(|l| {
                let flags = l.hairpin == Some(*hairpin) && l.isolated == Some(*isolated);
                l.up && flags && l.alias.as_ref() == Some(alias)
            }),
            Op::UpperAdd { at, dev, mac, .. } => {
                self.link(at, dev).is_some_and(|l| mac.is_none_or(|mac| l.mac == Some(mac)))
            }
            Op::LinkMove { to, name, .. } => self.link(to, name).is_some(),
            Op::LinkFlag { at, dev, flag, on } => self.link(at, dev).is_some_and(|l| l.flags.contains(flag) == *on),
            Op::LinkQueue { at, dev, length } => self.link(at, dev).is_some_and(|l| l.queue == *length),
            Op::LinkGroup { dev, group } => self.link(&Place::Host, dev).is_some_and(|l| l.group == *group),
            Op::LinkDel { at, dev } => self.link(at, dev).is_none(),
            Op::LinkUp { at, dev } => self.link(at, dev).is_some_and(|l| l.up),
            Op::LinkDown { at, dev } => self.link(at, dev).is_none_or(|l| !l.up),
            Op::LinkMtu { at, dev, mtu } => self.link(at, dev).is_some_and(|l| l.mtu == *mtu),
            Op::LinkMac { at, dev, mac } => self.link(at, dev).is_some_and(|l| l.mac == Some(*mac)),
            Op::RateSet { at, dev, rate, .. } => self.link(at, dev).is_some_and(|l| l.rate == Some(rate.bits())),
            Op::RateDel { at, dev } => self.link(at, dev).is_none_or(|l| l.rate.is_none()),
            Op::AddrAdd { at, dev, addr } => self.addrs.contains(&(at, dev, *addr)),
            Op::AddrDel { at, dev, addr } => !self.addrs.contains(&(at, dev, *addr)),
            Op::RouteAdd(route) => self.routes.contains(route),
            Op::RouteDel(route) => !self.routes.contains(route),
            Op::RuleAdd(rule) => self.seen.rules.contains(rule),
            Op::RuleDel(rule) => !self.seen.rules.contains(rule),
            Op::ProhibitAdd(route) => self.seen.prohibited.contains(route),
            Op::ProhibitDel(route) => !self.seen.prohibited.contains(route),
            Op::BlackholeAdd(route) => self.seen.blackholes.contains(route),
            Op::BlackholeDel(route) => !self.seen.blackholes.contains(route),
            Op::Sysctl { .. } => true,
            Op::TableAdd(ruleset) => table(&ruleset.table).is_some_and(|t| {
                let whole = ruleset.chains.iter().all(|c| t.chains.get(&c.name) == Some(&c.rules.len()));
                let sets = ruleset.sets.iter().all(|s| t.sets.contains(&s.name));
                whole && sets && t.flowtables.keys().eq(&ruleset.flowtable) && t.chains.len() == ruleset.chains.len()
            }),
            Op::TableDel { table: name } => table(name).is_none(),
            Op::SetAdd { table: name, set } => table(name).is_some_and(|t| t.sets.contains(&set.name)),
            Op::SetDel { table: name, set } => table(name).is_none_or(|t| !t.sets.contains(&set.name)),
            Op::FlowtableLink { table: name, flowtable, dev } => {
                let links = table(name).and_then(|t| t.flowtables.get(flowtable));
                !self.remade && links.is_some_and(|links| links.contains(dev))
            }
            Op::ChainSet { table: name, chain, .. } => {
                table(name).is_some_and(|t| t.chains.get(&chain.name) == Some(&chain.rules.len()))
            }
            Op::ChainDel { table: name, chain } => table(name).is_none_or(|t| !t.chains.contains_key(&chain.name)),
            Op::ElementAdd { table: name, element } => table(name).is_some_and(|t| t.elements.contains(element)),
            Op::ElementDel { table: name, element } => table(name).is_none_or(|t| !t.elements.contains(element)),
        }
    }
}

/// The steps that an endpoint stands on, as far as they can be seen: into a namespace that was handed over the
/// agent cannot look any more after its restart.
pub fn expected(endpoint: &Endpoint, settings: &Settings, seen: &Observed) -> Vec<Op> {
    let mut ops = modes::attach(endpoint, Vec::new(), settings).ops;
    if let NetnsUse::Foreign(name) = &endpoint.netns
        && !seen.netns.contains(name)
    {
        ops.retain(|op| matches!(op, Op::PortUp { .. } | Op::ElementAdd { .. }));
    }
    ops
}

/// Whether an interface that has no end on the host is in the namespace that is known by its endpoint's name, marked
/// as ours.
pub fn bears_our_link(endpoint: &Endpoint, settings: &Settings, seen: &Observed) -> bool {
    let (Some(link), Some(netns)) = (&endpoint.link, endpoint.netns.name()) else { return false };
    let (at, mark) = (Place::Netns(netns.clone()), bridge::endpoint_alias(endpoint, settings));
    seen.links.iter().any(|l| l.at == at && l.name == link.interface && l.alias.as_ref() == Some(&mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(name: &str, up: bool) -> LinkState {
        LinkState {
            at: Place::Host,
            index: 7,
            name: name.parse().unwrap(),
            mac: None,
            mtu: 1500,
            up,
            kind: None,
            master: None,
            alias: None,
            group: 0,
            hairpin: None,
            isolated: None,
            rate: None,
            flags: vec![],
            queue: 1000,
        }
    }

    #[test]
    fn only_what_is_not_there_is_done_again() {
        let up = |dev: &str| Op::LinkUp { at: Place::Host, dev: dev.parse().unwrap() };
        let seen = Observed { links: vec![link("a", true), link("b", false)], ..Observed::default() };
        let present = Present::new(&seen);
        assert_eq!(present.missing(&[up("a"), up("b"), up("c")]), [up("b"), up("c")]);
        assert!(present.holds(&Op::LinkDel { at: Place::Host, dev: "c".parse().unwrap() }));
        assert!(!present.holds(&Op::ElementAdd {
            table: netmode_model::nft::TableName::inet("netmode"),
            element: netmode_model::nft::Element { set: "bridges".into(), key: vec![], data: vec![] },
        }));
    }
}
