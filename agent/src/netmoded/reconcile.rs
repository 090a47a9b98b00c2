//! What should be and what is are made equal: at the start, and whenever the kernel tells of a change.

use crate::join::Linux;
use crate::mended::{Kind, Mended};
use netmode_engine::converge::{self, Present};
use netmode_engine::{Apply, Endpoint, NetnsUse, Network, Settings, bridge, ruleset};
use netmode_kernel::Kernel;
use netmode_model::nft::{Element, Ruleset, TableName};
use netmode_model::op::OpError;
use netmode_model::{Final, Observed, Op, Place};
use std::collections::BTreeSet;

/// Networks and endpoints that should stand.
pub struct Desired<'a> {
    /// The settings.
    pub settings: &'a Settings,
    /// The networks.
    pub networks: &'a [Network],
    /// The endpoints.
    pub endpoints: &'a [Endpoint],
    /// What keeps strangers out.
    pub closed: Vec<Element>,
    /// What CNI's attachments need.
    pub attachments: Vec<(TableName, Element)>,
    /// What forgets old flows to the ports of those.
    pub flushes: Vec<Final>,
    /// The table of security groups with its elements, where there are groups.
    pub walls: Option<(Ruleset, Vec<Element>)>,
}

impl Desired<'_> {
    /// Makes what is missing, and tells what that was; nothing means that all was as it should be.
    ///
    /// One thing that cannot be mended keeps nothing else from being mended: it goes to the log, and the doctor
    /// shows it.
    ///
    /// # Errors
    /// The tables could not be made: without them nothing is published and nothing is shut.
    pub fn restore(
        &self,
        kernel: &Kernel,
        linux: &Linux,
        seen: &Observed,
        table: Table,
    ) -> Result<Vec<Mended>, OpError> {
        let mut mended = self.tables(kernel, seen, table)?;
        let remade = !mended.is_empty();
        let present = Present::new(seen).with_new_tables(remade);
        let host = bridge::host_up(self.settings, |dev| present.has_link(dev));
        mended.extend(mend(linux, Kind::PolicyRule, "host", present.missing(&host)));
        mended.extend(self.networks.iter().flat_map(|n| self.network(linux, &present, n)));
        mended.extend(self.endpoints.iter().filter_map(|e| self.endpoint(linux, seen, &present, e)));
        if remade {
            self.flush(linux);
        }
        Ok(mended)
    }

    fn network(&self, linux: &Linux, present: &Present<'_>, network: &Network) -> Vec<Mended> {
        let whole = bridge::network_up(network, self.settings);
        let mut missing = links_only(present.missing(&whole));
        if let Some(there) = present.link(&Place::Host, &network.bridge) {
            // It cannot be made again beside itself. A link of that name that is no bridge is somebody else's.
            let made = |op: &Op| matches!(op, Op::BridgeAdd { .. } | Op::UpperAdd { .. });
            let changed = missing.iter().any(made);
            missing.retain(|op| !made(op));
            if changed && there.kind.as_deref() == Some(network.link_kind()) {
                let (dev, mac) = (network.bridge.clone(), network.mac);
                let mac = mend(linux, Kind::Network, &network.name, vec![Op::LinkMac { at: Place::Host, dev, mac }]);
                return mac.into_iter().chain(self.mend_network(linux, network, &whole, missing)).collect();
            }
        }
        self.mend_network(linux, network, &whole, missing).into_iter().collect()
    }

    fn mend_network(&self, linux: &Linux, network: &Network, whole: &[Op], mut missing: Vec<Op>) -> Option<Mended> {
        if !missing.is_empty() {
            // What a bridge is told before it comes up cannot be read back: it is told again.
            missing = links_only(whole.iter().filter(|op| is_sysctl(op) || missing.contains(op)).cloned().collect());
        }
        mend(linux, Kind::Network, &format!("network {}", network.name), missing)
    }

    fn endpoint(&self, linux: &Linux, seen: &Observed, present: &Present<'_>, endpoint: &Endpoint) -> Option<Mended> {
        let object = format!("{} of {}", endpoint.id.short(), endpoint.owner.name);
        let mut missing = links_only(present.missing(&converge::expected(endpoint, self.settings, seen)));
        let link = endpoint.link.as_ref().filter(|l| present.has_link(&l.host_dev));
        if missing.iter().any(|op| matches!(op, Op::NetnsAdd { .. })) {
            // A new one under the old name would not be the container's.
            tracing::error!(object, "its namespace is not pinned any more; stop and start the task");
            return None;
        }
        let is_eni = endpoint.link.as_ref().is_some_and(|l| l.eni.is_some());
        if is_eni && missing.iter().any(|op| matches!(op, Op::VethAdd { .. } | Op::UpperAdd { .. })) {
            // Its task ends for that: a new one under the old name would not be the ENI that it was given.
            return None;
        }
        if link.is_none() && matches!(endpoint.netns, NetnsUse::Foreign(_)) {
            // It went with its namespace; whoever made that detaches it.
            return None;
        }
        if let (true, Some(link)) = (missing.iter().any(|op| matches!(op, Op::VethAdd { .. })), link) {
            // It stands, but not as it should, outside of the bridge or with another end: it is made anew, whole.
            let mut anew = vec![Op::LinkDel { at: Place::Host, dev: link.host_dev.clone() }];
            anew.extend(links_only(converge::expected(endpoint, self.settings, seen)));
            anew.retain(|op| !matches!(op, Op::NetnsAdd { .. } | Op::LinkUp { .. }) || is_of(op, &link.interface));
            missing = anew;
        }
        mend(linux, Kind::Endpoint, &object, missing)
    }

    /// The elements that the tables should have.
    fn elements(&self) -> BTreeSet<(TableName, Element)> {
        let of_endpoint =
            |e: &Endpoint| e.link.as_ref().map(|l| bridge::endpoint_elements(e, l, self.settings)).unwrap_or_default();
        let networks = self.networks.iter().flat_map(bridge::network_elements);
        let closed = self.closed.iter().cloned();
        let inet = networks.chain(closed).map(|e| (TableName::inet(&self.settings.table), e));
        let walls = self.walls.iter().flat_map(|(r, elements)| elements.iter().map(|e| (r.table.clone(), e.clone())));
        let ours = inet.chain(self.endpoints.iter().flat_map(of_endpoint)).chain(walls);
        ours.chain(self.attachments.iter().cloned()).collect()
    }

    /// Leaves the tables as they are if they are right; else makes them anew in one transaction, so that no packet sees
    /// a gap. Tells which of them were not right, or all if they were to be made whatever they are.
    fn tables(&self, kernel: &Kernel, seen: &Observed, when: Table) -> Result<Vec<Mended>, OpError> {
        let mut rules = ruleset::rulesets(self.settings);
        rules.extend(self.walls.iter().map(|(ruleset, _)| ruleset.clone()));
        let elements = self.elements();
        let present = Present::new(seen);
        let guard = TableName::bridge(&self.settings.table);
        let gone = if self.settings.source_guard { vec![] } else { vec![guard] };
        let there: BTreeSet<_> = seen.tables.iter().flat_map(|(t, s)| s.elements.iter().map(move |e| (t, e))).collect();
        let same = there == elements.iter().map(|(t, e)| (t, e)).collect()
            && rules.iter().all(|r| present.holds(&Op::TableAdd(r.clone())))
            && gone.iter().all(|t| present.holds(&Op::TableDel { table: t.clone() }));
        if when == Table::IfDamaged && same {
            if self.settings.own_table {
                rules.iter().try_for_each(|r| kernel.own_table(&r.table).map(drop))?;
            }
            return Ok(Vec::new());
        }
        let of_table = |r: &Ruleset| elements.iter().filter(|(t, _)| *t == r.table).map(|(_, e)| e.clone()).collect();
        let tables: Vec<(Ruleset, Vec<Element>)> = rules.into_iter().map(|r| (r.clone(), of_table(&r))).collect();
        kernel.replace_tables(&tables, &gone)?;
        let wrong = |(r, wanted): &&(Ruleset, Vec<Element>)| {
            let there = seen.tables.get(&r.table).map(|t| t.elements.iter().collect::<BTreeSet<_>>());
            when == Table::Always
                || !present.holds(&Op::TableAdd(r.clone()))
                || there.is_none_or(|there| there != wanted.iter().collect())
        };
        let named = |table: &TableName| Mended::table(table, seen.tables.contains_key(table));
        let stray = gone.iter().filter(|t| seen.tables.contains_key(t)).map(named);
        Ok(tables.iter().filter(wrong).map(|(r, _)| named(&r.table)).chain(stray).collect())
    }

    /// A flow that began while the table was missing would go on past it. Those that lead where they should are not
    /// touched: what a container sends next would be taken for a connection of its own.
    fn flush(&self, linux: &Linux) {
        let of = |e: &Endpoint| bridge::flush(&e.ports, &e.link.as_ref().map(bridge::addresses).unwrap_or_default());
        let ports: Vec<Final> = self.endpoints.iter().flat_map(of).chain(self.flushes.iter().cloned()).collect();
        for failure in linux.finish(&ports) {
            tracing::warn!(%failure, "old flows were not forgotten");
        }
    }
}

/// When the tables are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// Always: they may be of another version, with as many rules.
    Always,
    /// When rules or elements are missing.
    IfDamaged,
}

/// Carries steps out, and tells them; what is refused goes to the log.
fn mend(linux: &Linux, kind: Kind, object: &str, steps: Vec<Op>) -> Option<Mended> {
    match linux.apply(&steps) {
        Ok(_) => Mended::by(kind, object, steps),
        Err(error) => {
            tracing::error!(object, %error, "could not be mended; see \"netmode doctor\"");
            None
        }
    }
}

fn is_of(op: &Op, interface: &netmode_model::IfName) -> bool {
    matches!(op, Op::LinkUp { dev, .. } if dev == interface)
}

/// Everything but the tables' elements, which are made with the tables.
fn links_only(mut ops: Vec<Op>) -> Vec<Op> {
    ops.retain(|op| !matches!(op, Op::ElementAdd { .. }));
    ops
}

fn is_sysctl(op: &Op) -> bool {
    matches!(op, Op::Sysctl { .. })
}

/// Steps that give every link of a network another MTU, where it has one of ours.
pub fn mtu(network: &Network, endpoints: &[Endpoint], mtu: u32) -> Vec<Op> {
    let set = |at: &Place, dev: &netmode_model::IfName| Op::LinkMtu { at: at.clone(), dev: dev.clone(), mtu };
    let mut ops = vec![set(&Place::Host, &network.bridge)];
    for endpoint in endpoints {
        let Some(link) = endpoint.link.as_ref().filter(|l| l.network == network.name) else { continue };
        ops.push(set(&Place::Host, &link.host_dev));
        if let NetnsUse::Own(netns) | NetnsUse::Joined(netns) = &endpoint.netns {
            ops.push(set(&Place::Netns(netns.clone()), &link.interface));
        }
    }
    ops
}
