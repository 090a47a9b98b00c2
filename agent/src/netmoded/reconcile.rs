//! What should be and what is are made equal: at the start, and whenever the kernel tells of a change.

use crate::join::Linux;
use netmode_engine::converge::Present;
use netmode_engine::{Apply, Endpoint, NetnsUse, Network, Observe, Settings, bridge, modes, ruleset};
use netmode_kernel::Kernel;
use netmode_model::nft::Element;
use netmode_model::op::OpError;
use netmode_model::{Final, NetnsName, Observed, Op, Place};
use std::collections::BTreeSet;

/// Networks and endpoints that should stand.
pub struct Desired<'a> {
    /// The settings.
    pub settings: &'a Settings,
    /// The networks.
    pub networks: &'a [Network],
    /// The endpoints.
    pub endpoints: &'a [Endpoint],
}

impl Desired<'_> {
    /// Makes what is missing, and tells how many steps that took; 0 means that all was as it should be.
    ///
    /// # Errors
    /// The kernel refused a step.
    pub fn restore(&self, kernel: &Kernel, linux: &Linux, seen: &Observed) -> Result<usize, OpError> {
        let remade = self.table(kernel, seen)?;
        let present = Present::new(seen);
        let mut steps = usize::from(remade);
        for network in self.networks {
            let whole = bridge::network_up(network, self.settings);
            let mut missing = links_only(present.missing(&whole));
            if !missing.is_empty() {
                // What a bridge is told before it comes up cannot be read back: it is told again.
                missing = links_only(whole.into_iter().filter(|op| is_sysctl(op) || missing.contains(op)).collect());
                linux.apply(&missing)?;
            }
            steps += missing.len();
        }
        for endpoint in self.endpoints {
            let missing = links_only(present.missing(&expected(endpoint, self.settings, seen)));
            if !missing.is_empty() {
                linux.apply(&missing)?;
            }
            steps += missing.len();
        }
        if remade {
            self.flush(linux);
        }
        Ok(steps)
    }

    /// The elements that the table should have.
    fn elements(&self) -> BTreeSet<Element> {
        let of_endpoint = |e: &Endpoint| e.link.as_ref().map(|l| bridge::published(&e.ports, l)).unwrap_or_default();
        let networks = self.networks.iter().flat_map(bridge::network_elements);
        networks.chain(self.endpoints.iter().flat_map(of_endpoint)).collect()
    }

    /// Leaves the table as it is if it is right; else makes it anew in one transaction, so that no packet sees a
    /// gap. Tells whether it was made.
    fn table(&self, kernel: &Kernel, seen: &Observed) -> Result<bool, OpError> {
        let rules = ruleset::ruleset(self.settings);
        let elements = self.elements();
        let same = seen.table.as_ref().is_some_and(|t| t.elements == elements);
        if same && Present::new(seen).holds(&Op::TableAdd(rules.clone())) {
            if self.settings.own_table {
                kernel.own_table(&self.settings.table)?;
            }
            return Ok(false);
        }
        kernel.replace_table(&rules, &elements.into_iter().collect::<Vec<_>>())?;
        Ok(true)
    }

    /// A flow that began while the table was missing would go on past it.
    fn flush(&self, linux: &Linux) {
        let ports: Vec<Final> = self.endpoints.iter().flat_map(|e| bridge::flush(&e.ports)).collect();
        for failure in linux.finish(&ports) {
            tracing::warn!(%failure, "old flows were not forgotten");
        }
    }
}

/// The steps that an endpoint stands on, as far as they can be seen: into a namespace that was handed over the
/// agent cannot look any more after its restart.
pub fn expected(endpoint: &Endpoint, settings: &Settings, seen: &Observed) -> Vec<Op> {
    let mut ops = modes::attach(endpoint, settings).ops;
    if let NetnsUse::Foreign(name) = &endpoint.netns
        && !seen.netns.contains(name)
    {
        ops.retain(|op| matches!(op, Op::PortUp { .. } | Op::ElementAdd { .. }));
    }
    ops
}

/// Everything but the table's elements, which are made with the table.
fn links_only(mut ops: Vec<Op>) -> Vec<Op> {
    ops.retain(|op| !matches!(op, Op::ElementAdd { .. }));
    ops
}

fn is_sysctl(op: &Op) -> bool {
    matches!(op, Op::Sysctl { .. })
}

/// Looks at everything that endpoints stand on.
///
/// # Errors
/// The kernel refused a dump.
pub fn look(linux: &Linux, endpoints: &[Endpoint]) -> Result<Observed, OpError> {
    let names: Vec<NetnsName> = endpoints.iter().filter_map(|e| e.netns.name().cloned()).collect();
    linux.observe(&names)
}

/// Steps that give every link of a network another MTU, where it has one of ours.
pub fn mtu(network: &Network, endpoints: &[Endpoint], mtu: u32) -> Vec<Op> {
    let set = |at: &Place, dev: &netmode_model::IfName| Op::LinkMtu { at: at.clone(), dev: dev.clone(), mtu };
    let mut ops = vec![set(&Place::Host, &network.bridge)];
    for endpoint in endpoints {
        let Some(link) = endpoint.link.as_ref().filter(|l| l.network == network.name) else { continue };
        ops.push(set(&Place::Host, &link.host_dev));
        if let NetnsUse::Own(netns) = &endpoint.netns {
            ops.push(set(&Place::Netns(netns.clone()), &link.interface));
        }
    }
    ops
}
