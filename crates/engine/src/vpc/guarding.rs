//! What of security groups stands in the kernel: on the host, and in the namespaces of those whose packets it does not
//! see.

use super::groups::{Group, Groups};
use super::wall;
use crate::endpoint::{Endpoint, EndpointLink};
use crate::engine::Engine;
use ipnetwork::IpNetwork;
use netmode_model::nft::{Element, Ruleset, TableName};
use netmode_model::{Id, Inverse, Op};
use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// So long it is known who has gone: an attach whose table was thought out before takes far less.
const UNTOLD: Duration = Duration::from_secs(10);

impl Engine {
    /// Steps that make the kernel's walls those of `after`.
    pub(super) fn difference(&self, before: &Groups, after: &Groups) -> Vec<Op> {
        let mut ops = match before.groups.is_empty() {
            // The first group makes the table.
            true => self.whole(after),
            false => host_difference(before, after, &wall::host_table(self.settings())),
        };
        let standing = self.endpoints();
        for endpoint in standing.iter().filter(|e| e.link.as_ref().is_some_and(EndpointLink::walled_inside)) {
            ops.extend(self.inner_difference(endpoint, &standing, before, after));
        }
        ops
    }

    fn whole(&self, groups: &Groups) -> Vec<Op> {
        let (ruleset, elements) = self.host_walls_of(groups);
        let table = ruleset.table.clone();
        let add = |element| Op::ElementAdd { table: table.clone(), element };
        std::iter::once(Op::TableAdd(ruleset)).chain(elements.into_iter().map(add)).collect()
    }

    /// The same in the namespace of a task.
    fn inner_difference(&self, endpoint: &Endpoint, all: &[Endpoint], before: &Groups, after: &Groups) -> Vec<Op> {
        let (Some(link), Some(table)) = (&endpoint.link, wall::inner_table(endpoint, self.settings())) else {
            return Vec::new();
        };
        let (old, new) = (before.named_by(link.groups()), after.named_by(link.groups()));
        let mut ops = Vec::new();
        let links = || all.iter().filter_map(|e| e.link.as_ref());
        for id in new.0.difference(&old.0) {
            ops.extend(wall::group_sets(id).into_iter().map(|set| Op::SetAdd { table: table.clone(), set }));
            let members: BTreeSet<Element> = links().flat_map(|l| wall::memberships(l, |g| g == id)).collect();
            ops.extend(members.into_iter().map(|element| Op::ElementAdd { table: table.clone(), element }));
        }
        ops.extend(list_steps(&table, before, after, &old.1, &new.1));
        for id in link.groups() {
            let (Some(was), Some(is)) = (before.groups.get(id), after.groups.get(id)) else { continue };
            ops.extend(chain_steps(&table, was, is, false));
        }
        for id in old.0.difference(&new.0) {
            ops.extend(wall::group_sets(id).into_iter().map(|set| Op::SetDel { table: table.clone(), set }));
        }
        for id in old.1.difference(&new.1) {
            ops.extend(wall::list_sets(id).into_iter().map(|set| Op::SetDel { table: table.clone(), set }));
        }
        ops
    }

    /// The host's table of groups with its elements, where there are groups.
    pub fn host_walls(&self) -> Option<(Ruleset, Vec<Element>)> {
        let groups = self.groups();
        (!groups.groups.is_empty()).then(|| self.host_walls_of(&groups))
    }

    fn host_walls_of(&self, groups: &Groups) -> (Ruleset, Vec<Element>) {
        host_walls(groups, &self.networks(), &self.endpoints(), self.settings())
    }

    /// Steps that put up the walls of an endpoint, before its link is there.
    pub(crate) fn walls(&self, endpoint: &Endpoint) -> Vec<Op> {
        let Some(link) = endpoint.link.as_ref().filter(|l| !l.groups().is_empty()) else { return Vec::new() };
        let table = wall::host_table(self.settings());
        let add = |table: &TableName, element| Op::ElementAdd { table: table.clone(), element };
        let mut ops = Vec::new();
        if let Some((ruleset, elements)) = self.inner_walls(endpoint) {
            let inner = ruleset.table.clone();
            ops.push(Op::TableAdd(ruleset));
            ops.extend(elements.into_iter().map(|element| add(&inner, element)));
        }
        ops.extend(wall::host_elements(link).into_iter().map(|element| add(&table, element)));
        ops
    }

    /// The step that has the host guard a subnet's tasks, where there are groups.
    pub(crate) fn subnet_wall(&self, network: &crate::Network) -> Option<Op> {
        let element = wall::subnet_element(network)?;
        let table = wall::host_table(self.settings());
        (!self.groups().groups.is_empty()).then_some(Op::ElementAdd { table, element })
    }

    /// The table of an endpoint's own namespace with its elements, where it has one.
    pub fn inner_walls(&self, endpoint: &Endpoint) -> Option<(Ruleset, Vec<Element>)> {
        let link = endpoint.link.as_ref().filter(|l| l.walled_inside())?;
        let table = wall::inner_table(endpoint, self.settings())?;
        let egress_only = self.lookup(&link.network).and_then(|n| n.subnet).is_some_and(|s| s.egress_only);
        let vpc: Vec<IpNetwork> = match egress_only {
            true => {
                self.networks().iter().filter(|n| n.subnet.is_some()).filter_map(|n| n.v6).map(IpNetwork::V6).collect()
            }
            false => Vec::new(),
        };
        let groups = self.groups();
        let others = self.carrying(&groups.named_by(link.groups()).0);
        Some(wall::task_table(table, link, &groups, &others, &vpc))
    }

    /// Steps that take an endpoint out of the host's table.
    pub(crate) fn unwall(&self, link: &EndpointLink) -> Vec<Op> {
        let table = wall::host_table(self.settings());
        let del = |element| Op::ElementDel { table: table.clone(), element };
        wall::host_elements(link).into_iter().map(del).collect()
    }

    /// Tells others' walls of an endpoint that has come, and its own of those who came meanwhile: behind the reply,
    /// since it grows with the tasks that there are.
    pub fn tell_members(&self, endpoint: &Endpoint) {
        let Some(link) = endpoint.link.as_ref().filter(|l| !l.groups().is_empty()) else { return };
        let _changing = self.changing.read().unwrap_or_else(PoisonError::into_inner);
        let departed = self.departed.lock().unwrap_or_else(PoisonError::into_inner);
        if self.endpoint(endpoint.id).is_none() {
            return;
        }
        let (groups, all) = (self.groups(), self.endpoints());
        for (table, named) in self.naming(&groups, &all, endpoint.id) {
            let own = wall::memberships(link, |id| named.contains(id));
            self.quietly(own.into_iter().map(|element| Op::ElementAdd { table: table.clone(), element }));
        }
        if let Some(table) = wall::inner_table(endpoint, self.settings()).filter(|_| link.walled_inside()) {
            let named = groups.named_by(link.groups()).0;
            let links = all.iter().filter(|e| e.id != endpoint.id).filter_map(|e| e.link.as_ref());
            let others: BTreeSet<Element> = links.flat_map(|l| wall::memberships(l, |id| named.contains(id))).collect();
            // They were there when the table was thought out, and nobody has told it that they went.
            let gone = departed.iter().flat_map(|(_, l)| wall::memberships(l, |id| named.contains(id)));
            let gone = gone.filter(|element| !others.contains(element));
            self.quietly(gone.map(|element| Op::ElementDel { table: table.clone(), element }));
            self.quietly(others.into_iter().map(|element| Op::ElementAdd { table: table.clone(), element }));
        }
    }

    /// Takes an endpoint that has gone out of others' walls.
    pub fn forget_member(&self, endpoint: &Endpoint) {
        let Some(link) = endpoint.link.as_ref().filter(|l| !l.groups().is_empty()) else { return };
        let _changing = self.changing.read().unwrap_or_else(PoisonError::into_inner);
        let mut departed = self.departed.lock().unwrap_or_else(PoisonError::into_inner);
        departed.retain(|(when, _)| when.elapsed() < UNTOLD);
        departed.push((Instant::now(), link.clone()));
        let (groups, all) = (self.groups(), self.endpoints());
        for (table, named) in self.naming(&groups, &all, endpoint.id) {
            let own = wall::memberships(link, |id| named.contains(id));
            self.quietly(own.into_iter().map(|element| Op::ElementDel { table: table.clone(), element }));
        }
    }

    /// Tables of other tasks, with the groups that their rules name.
    fn naming(&self, groups: &Groups, all: &[Endpoint], but: Id) -> Vec<(TableName, BTreeSet<String>)> {
        let others = all.iter().filter(|e| e.id != but);
        let table = |e: &Endpoint| {
            let link = e.link.as_ref().filter(|l| l.walled_inside())?;
            Some((wall::inner_table(e, self.settings())?, groups.named_by(link.groups()).0))
        };
        others.filter_map(table).filter(|(_, named)| !named.is_empty()).collect()
    }

    /// Steps of which each may be done already, or be about what has just gone.
    fn quietly(&self, ops: impl Iterator<Item = Op>) {
        for op in ops {
            let _ = self.outside.undo(vec![Inverse::Op(op)]);
        }
    }
}

/// The host's table of groups, and its elements.
pub fn host_walls(
    groups: &Groups,
    networks: &[crate::Network],
    endpoints: &[Endpoint],
    settings: &crate::Settings,
) -> (Ruleset, Vec<Element>) {
    let links = endpoints.iter().filter_map(|e| e.link.as_ref());
    let mut elements: Vec<Element> = networks.iter().filter_map(wall::subnet_element).collect();
    elements.extend(links.flat_map(wall::host_elements));
    elements.extend(groups.lists.values().flat_map(wall::list_elements));
    (wall::host_ruleset(groups, settings), elements)
}

/// The table of an endpoint's own namespace.
fn host_difference(before: &Groups, after: &Groups, table: &TableName) -> Vec<Op> {
    let mut ops = Vec::new();
    let (was, is): (BTreeSet<_>, BTreeSet<_>) = (before.groups.keys().collect(), after.groups.keys().collect());
    let lists = |groups: &Groups| groups.lists.keys().cloned().collect::<BTreeSet<_>>();
    let (old_lists, new_lists) = (lists(before), lists(after));
    for id in is.difference(&was) {
        ops.extend(wall::group_sets(id).into_iter().map(|set| Op::SetAdd { table: table.clone(), set }));
    }
    ops.extend(list_steps(table, before, after, &old_lists, &new_lists));
    for group in after.groups.values() {
        match before.groups.get(&group.id) {
            Some(was) => ops.extend(chain_steps(table, was, group, true)),
            None => ops.extend(wall::group_chains(group, true).map(|chain| Op::ChainSet {
                table: table.clone(),
                chain,
                before: None,
            })),
        }
    }
    if was != is {
        let pairs = wall::dispatchers(after).into_iter().zip(wall::dispatchers(before));
        ops.extend(pairs.map(|(chain, was)| Op::ChainSet { table: table.clone(), chain, before: Some(was) }));
    }
    for gone in was.difference(&is).filter_map(|id| before.groups.get(*id)) {
        ops.extend(wall::group_chains(gone, true).map(|chain| Op::ChainDel { table: table.clone(), chain }));
        ops.extend(wall::group_sets(&gone.id).into_iter().map(|set| Op::SetDel { table: table.clone(), set }));
    }
    for id in old_lists.difference(&new_lists) {
        ops.extend(wall::list_sets(id).into_iter().map(|set| Op::SetDel { table: table.clone(), set }));
    }
    ops
}

/// Chains of a group whose rules have changed.
fn chain_steps(table: &TableName, was: &Group, is: &Group, on_host: bool) -> Vec<Op> {
    let pairs = wall::group_chains(is, on_host).into_iter().zip(wall::group_chains(was, on_host));
    let changed = pairs.filter(|(chain, before)| chain != before);
    changed.map(|(chain, before)| Op::ChainSet { table: table.clone(), chain, before: Some(before) }).collect()
}

/// Sets of lists that are new at a place, and elements that have changed.
fn list_steps(
    table: &TableName,
    before: &Groups,
    after: &Groups,
    old: &BTreeSet<String>,
    new: &BTreeSet<String>,
) -> Vec<Op> {
    let mut ops = Vec::new();
    for id in new {
        let elements = |groups: &Groups| {
            groups.lists.get(id).map(wall::list_elements).unwrap_or_default().into_iter().collect::<BTreeSet<_>>()
        };
        let there = old.contains(id);
        if !there {
            ops.extend(wall::list_sets(id).into_iter().map(|set| Op::SetAdd { table: table.clone(), set }));
        }
        let was = if there { elements(before) } else { BTreeSet::new() };
        let is = elements(after);
        ops.extend(was.difference(&is).map(|e| Op::ElementDel { table: table.clone(), element: e.clone() }));
        ops.extend(is.difference(&was).map(|e| Op::ElementAdd { table: table.clone(), element: e.clone() }));
    }
    ops
}
