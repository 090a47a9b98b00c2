//! The bridges of CNI's networks: made with the first container, and left for the next.

use super::{Attachments, kernel, refused};
use crate::outside::{Apply, Host};
use crate::settings::Settings;
use ipnetwork::IpNetwork;
use netmode_model::cni::CniError;
use netmode_model::op::LinkFlag;
use netmode_model::state::LinkState;
use netmode_model::{IfName, Mac, Op, Place};
use std::collections::BTreeSet;

/// A bridge as a configuration wants it.
#[derive(Debug, Clone)]
pub struct Lan {
    /// The bridge.
    pub dev: IfName,
    /// What is there under its name.
    pub seen: Option<LinkState>,
    /// Its hardware address.
    pub mac: Mac,
    /// Bytes, if it has to be made.
    pub mtu: u32,
    /// Its own addresses: the gateways.
    pub gateways: Vec<IpNetwork>,
    /// Whether an address of the family that is another one gives way (`forceAddress`).
    pub force: bool,
    /// Whether it takes frames for everybody.
    pub promisc: bool,
}

/// What is known of a bridge that was looked at: as long as its number is the same, it is not looked at again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    index: u32,
    gateways: BTreeSet<IpNetwork>,
    promisc: bool,
}

impl Known {
    fn fit(&self, lan: &Lan, link: &LinkState) -> bool {
        let addressed = lan.gateways.iter().all(|gateway| self.gateways.contains(gateway));
        self.index == link.index && link.up && addressed && (self.promisc || !lan.promisc)
    }
}

impl Attachments {
    /// Has a bridge be there. One caller at a time: the first makes it.
    ///
    /// # Errors
    /// A link of that name is something else, or has another address; or the kernel refused a step.
    pub(super) fn ensure(
        &self,
        lan: &Lan,
        outside: &dyn Apply,
        host: &dyn Host,
        settings: &Settings,
    ) -> Result<(), CniError> {
        let mut known = crate::engine::lock(&self.lans);
        let fits = |link: &Option<LinkState>| match (link, known.get(&lan.dev)) {
            (Some(link), Some(known)) => known.fit(lan, link),
            _ => false,
        };
        if fits(&lan.seen) {
            return Ok(());
        }
        // Somebody may have made it while we waited for our turn.
        let link = host.link(&lan.dev).map_err(|e| kernel(&e))?;
        if fits(&link) {
            return Ok(());
        }
        let (fresh, ops) = match &link {
            None => (true, lan.made(settings)),
            Some(link) => (false, lan.completed(link, host)?),
        };
        outside.apply(&ops).map_err(|e| kernel(&e))?;
        let made = host.link(&lan.dev).map_err(|e| kernel(&e))?;
        let Some(made) = made else { return Err(refused(format!("the bridge {} went while it was made", lan.dev))) };
        let mut gateways: BTreeSet<IpNetwork> = lan.gateways.iter().copied().collect();
        let before = known.get(&lan.dev).filter(|known| !fresh && known.index == made.index);
        gateways.extend(before.into_iter().flat_map(|known| known.gateways.iter().copied()));
        known.insert(lan.dev.clone(), Known { index: made.index, gateways, promisc: lan.promisc });
        Ok(())
    }
}

impl Lan {
    /// Steps that make the bridge.
    fn made(&self, settings: &Settings) -> Vec<Op> {
        let dev = || self.dev.clone();
        let mut ops = vec![Op::BridgeAdd {
            dev: dev(),
            mac: self.mac,
            mtu: self.mtu,
            alias: format!("netmode/{}/cni/{}", settings.instance, self.dev),
            group: settings.group,
        }];
        if settings.kernel_ipv6 {
            // A router advertisement of a container must find no open ear (CVE-2020-10749).
            ops.push(self.variable("ipv6", "accept_ra", "0"));
        }
        ops.extend(self.gateways.iter().flat_map(|gateway| self.addressed(*gateway)));
        if self.gateways.iter().any(IpNetwork::is_ipv6) {
            // Neighbour solicitations for what is forwarded need a link-local source (RFC 4861 §7.2.2).
            let link_local = "fe80::1/64".parse().ok();
            ops.extend(link_local.map(|addr| Op::AddrAdd { at: Place::Host, dev: dev(), addr }));
        }
        ops.extend(self.promiscuous());
        ops.push(Op::LinkUp { at: Place::Host, dev: dev() });
        ops
    }

    /// Steps that make of a bridge that is there the wanted one.
    fn completed(&self, link: &LinkState, host: &dyn Host) -> Result<Vec<Op>, CniError> {
        if link.kind.as_deref() != Some("bridge") {
            let text = format!("the link {} is there and is no bridge; choose another name for \"bridge\"", self.dev);
            return Err(refused(text));
        }
        let there = host.addresses(link.index).map_err(|e| kernel(&e))?;
        let mut ops = Vec::new();
        for gateway in self.gateways.iter().filter(|gateway| !there.contains(gateway)) {
            // IPv4 has one address; of IPv6 several can be, as long as their prefixes do not meet.
            let other = there.iter().filter(|ip| ip.is_ipv4() == gateway.is_ipv4() && !is_link_local(ip));
            for other in other.filter(|ip| gateway.is_ipv4() || ip.contains(gateway.ip()) || gateway.contains(ip.ip()))
            {
                if !self.force {
                    let text = format!(
                        "the bridge {} has the address {other} and should have {gateway}; set \"forceAddress\", or choose another bridge",
                        self.dev
                    );
                    return Err(refused(text));
                }
                ops.push(Op::AddrDel { at: Place::Host, dev: self.dev.clone(), addr: *other });
            }
            ops.extend(self.addressed(*gateway));
        }
        if link.mac.is_none() {
            // Its last port has left, and with that the address that was not its own.
            ops.push(Op::LinkMac { at: Place::Host, dev: self.dev.clone(), mac: self.mac });
        }
        ops.extend(self.promiscuous());
        ops.push(Op::LinkUp { at: Place::Host, dev: self.dev.clone() });
        Ok(ops)
    }

    fn addressed(&self, gateway: IpNetwork) -> Vec<Op> {
        let add = Op::AddrAdd { at: Place::Host, dev: self.dev.clone(), addr: gateway };
        match gateway {
            IpNetwork::V4(_) => vec![add],
            IpNetwork::V6(_) => vec![self.variable("ipv6", "disable_ipv6", "0"), add],
        }
    }

    fn promiscuous(&self) -> Option<Op> {
        let flag = LinkFlag::Promisc;
        self.promisc.then(|| Op::LinkFlag { at: Place::Host, dev: self.dev.clone(), flag, on: true })
    }

    fn variable(&self, family: &str, name: &str, value: &str) -> Op {
        Op::Sysctl { at: Place::Host, key: format!("net/{family}/conf/{}/{name}", self.dev), value: value.into() }
    }
}

fn is_link_local(ip: &IpNetwork) -> bool {
    matches!(ip, IpNetwork::V6(ip) if ip.ip().is_unicast_link_local())
}
