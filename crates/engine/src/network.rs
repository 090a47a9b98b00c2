//! Networks: a bridge, its prefixes, and how they were chosen.

use crate::bridge;
use crate::ipam;
use crate::settings::{HostFacts, Settings};
use crate::store::Kind;
use crate::vpc::Subnet;
use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};
use netmode_model::{DEFAULT_NETWORK, Id, IfName, Mac};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Version of the record that this agent writes; it reads this one and the one before.
pub const VERSION: u32 = 2;

/// A bridge network, as recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Network {
    /// Version of the record.
    pub v: u32,
    /// The id.
    pub id: Id,
    /// Its name; `bridge` is the default one.
    pub name: String,
    /// The bridge's link.
    pub bridge: IfName,
    /// The bridge's hardware address, which never changes.
    pub mac: Mac,
    /// Bytes.
    pub mtu: u32,
    /// Somebody chose the MTU: it does not follow the egress route.
    #[serde(default)]
    pub mtu_chosen: bool,
    /// IPv4 prefix.
    pub v4: Option<Ipv4Network>,
    /// IPv6 prefix, where the network has one.
    pub v6: Option<Ipv6Network>,
    /// The bridge's own addresses, where they are not the first of a prefix.
    #[serde(default)]
    pub chosen_gateways: Vec<IpAddr>,
    /// Parts of the prefixes that addresses are taken from unasked.
    #[serde(default)]
    pub ip_ranges: Vec<IpNetwork>,
    /// No way out, no published ports.
    #[serde(default)]
    pub internal: bool,
    /// Its containers reach each other.
    #[serde(default = "yes")]
    pub icc: bool,
    /// What leaves the host has the host's address.
    #[serde(default = "yes")]
    pub masquerade: bool,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Why this prefix and not the first of the list.
    pub pool_reason: Option<String>,
    /// RFC 3339.
    pub created: String,
    /// What makes it a subnet of the VPC: then its name is the subnet's id, and its link may be no bridge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet: Option<Subnet>,
}

fn yes() -> bool {
    true
}

/// No prefix of the list is free.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no pool is free for bridge {bridge}: {reason}; name another one with \"pools\" in the section [bridge]")]
pub struct NoPool {
    /// The bridge.
    pub bridge: IfName,
    /// What each of the pools overlaps.
    pub reason: String,
}

impl Network {
    /// A network with nothing out of the ordinary.
    pub fn plain(id: Id, name: &str, bridge: IfName, v4: Option<Ipv4Network>, mtu: u32, created: String) -> Self {
        let mut network = Self {
            v: VERSION,
            id,
            name: name.into(),
            bridge,
            mac: Mac::from_octets([2; 6]),
            mtu,
            mtu_chosen: false,
            v4,
            v6: None,
            chosen_gateways: Vec::new(),
            ip_ranges: Vec::new(),
            internal: false,
            icc: true,
            masquerade: true,
            labels: BTreeMap::new(),
            pool_reason: None,
            created,
            subnet: None,
        };
        network.mac = network.derived_mac();
        network
    }

    /// The default bridge network, on the first pool that overlaps no route or address of the host.
    ///
    /// # Errors
    /// Every pool overlaps something.
    pub fn default_bridge(settings: &Settings, facts: &HostFacts, id: Id, created: String) -> Result<Self, NoPool> {
        let bridge = settings.bridge.name.clone();
        let (v4, pool_reason) = choose_pool(&settings.bridge.pools, facts, &bridge)?;
        let mtu = settings.bridge.mtu.unwrap_or(facts.egress_mtu);
        let plain = Self::plain(id, DEFAULT_NETWORK, bridge, Some(v4), mtu, created);
        let v6 = settings.bridge.ipv6.filter(|_| settings.kernel_ipv6);
        Ok(Self { v6, pool_reason, mtu_chosen: settings.bridge.mtu.is_some(), ..plain })
    }

    /// Where its record is.
    pub fn record(&self) -> Kind {
        if self.subnet.is_some() { Kind::Subnet } else { Kind::Network }
    }

    /// Whether it is the network that every agent has.
    pub fn built_in(&self) -> bool {
        self.name == DEFAULT_NETWORK
    }

    /// The hardware address that follows from the gateway's address.
    pub fn derived_mac(&self) -> Mac {
        self.gateways().first().map_or(self.mac, |gateway| Mac::of(gateway.ip()))
    }

    /// The IPv4 gateway, where the network has IPv4: the bridge's own address, the first one where none was chosen.
    pub fn gateway4(&self) -> Option<IpNetwork> {
        self.v4.map(|v4| self.gateway_of(IpNetwork::V4(v4)))
    }

    /// The IPv6 gateway, where the network has IPv6.
    pub fn gateway6(&self) -> Option<IpNetwork> {
        self.v6.map(|v6| self.gateway_of(IpNetwork::V6(v6)))
    }

    fn gateway_of(&self, prefix: IpNetwork) -> IpNetwork {
        let prefix = ipam::canonical(prefix);
        let chosen = self.chosen_gateways.iter().find(|g| prefix.contains(**g));
        let ip = chosen.copied().unwrap_or_else(|| ipam::at(prefix, 1));
        IpNetwork::new(ip, prefix.prefix()).unwrap_or(prefix)
    }

    /// The first prefix, IPv4 where it has IPv4.
    pub fn prefix(&self) -> IpNetwork {
        let v4 = self.v4.map(IpNetwork::V4);
        ipam::canonical(v4.or(self.v6.map(IpNetwork::V6)).unwrap_or_else(|| unreachable!("a network has a prefix")))
    }

    /// The prefixes, IPv4 first.
    pub fn prefixes(&self) -> Vec<IpNetwork> {
        self.v4.map(IpNetwork::V4).into_iter().chain(self.v6.map(IpNetwork::V6)).map(ipam::canonical).collect()
    }

    /// The gateways, IPv4 first.
    pub fn gateways(&self) -> Vec<IpNetwork> {
        self.gateway4().into_iter().chain(self.gateway6()).collect()
    }

    /// The gateway of an address's family.
    pub fn gateway_for(&self, ip: IpAddr) -> Option<IpAddr> {
        self.gateways().iter().map(IpNetwork::ip).find(|g| g.is_ipv4() == ip.is_ipv4())
    }

    /// The addresses to give out, IPv4 first.
    pub fn pools(&self) -> Vec<ipam::Pool> {
        let range = |prefix: IpNetwork| self.ip_ranges.iter().copied().find(|r| prefix.contains(r.ip()));
        let pairs = self.prefixes().into_iter().zip(self.gateways());
        let pool = |(prefix, gateway): (IpNetwork, IpNetwork)| {
            let pool = ipam::Pool::new(prefix, gateway.ip(), range(prefix));
            match &self.subnet {
                Some(subnet) => pool.reserving(&subnet.withheld()),
                None => pool,
            }
        };
        pairs.map(pool).collect()
    }

    /// An address as a container has it on its link. Where its port is isolated and only the router answers, it has no
    /// neighbours: the address is alone, and everything else is behind the router.
    pub fn on_link(&self, ip: IpAddr, prefix: IpNetwork) -> IpNetwork {
        let alone = self.subnet.as_ref().is_some_and(Subnet::routed);
        if alone { ip.into() } else { IpNetwork::new(ip, prefix.prefix()).unwrap_or(prefix) }
    }

    /// The link by which machines of the LAN are asked before an address is used; none where only we give out addresses.
    pub fn probed_by(&self) -> Option<IfName> {
        let subnet = self.subnet.as_ref().filter(|s| s.on_lan)?;
        if self.has_host_link() { Some(self.bridge.clone()) } else { subnet.parent.clone() }
    }

    /// Whether the host has a link of the network's own: a bridge, or a shim.
    pub fn has_host_link(&self) -> bool {
        self.subnet.as_ref().is_none_or(Subnet::has_host_link)
    }

    /// What its containers' default routes lead to, for an address's family.
    pub fn next_hop(&self, ip: IpAddr) -> Option<IpAddr> {
        let gateway = self.gateway_for(ip)?;
        Some(self.subnet.as_ref().map_or(gateway, |subnet| subnet.next_hop(gateway)))
    }

    /// The kind of its link on the host (`IFLA_INFO_KIND`).
    pub fn link_kind(&self) -> &'static str {
        match &self.subnet {
            Some(subnet) if !subnet.routed() => "macvlan",
            _ => "bridge",
        }
    }

    /// The addresses that its link on the host should have.
    pub fn host_addresses(&self) -> Vec<IpNetwork> {
        match &self.subnet {
            None => self.gateways(),
            Some(subnet) => {
                let held = self.gateways().into_iter().filter(|g| subnet.held.contains(&g.ip()));
                let own = subnet.own.and_then(|ip| {
                    let prefix = self.prefixes().into_iter().find(|p| p.contains(ip))?;
                    Some(bridge::with_prefix(ip, prefix))
                });
                held.chain(own).collect()
            }
        }
    }
}

/// The first pool that overlaps nothing, and why the ones before it were passed by.
fn choose_pool(
    pools: &[Ipv4Network],
    facts: &HostFacts,
    bridge: &IfName,
) -> Result<(Ipv4Network, Option<String>), NoPool> {
    let mut passed = Vec::new();
    for pool in pools {
        let prefix = ipam::canonical(IpNetwork::V4(*pool));
        match (facts.overlapping(prefix, Some(bridge)), prefix) {
            (Some((other, dev)), _) => passed.push(format!("{prefix} overlaps {other} on {dev}")),
            (None, IpNetwork::V4(free)) => return Ok((free, (!passed.is_empty()).then(|| passed.join(", ")))),
            (None, IpNetwork::V6(_)) => {}
        }
    }
    Err(NoPool { bridge: bridge.clone(), reason: passed.join(", ") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(prefixes: &[(&str, &str)]) -> Result<Network, NoPool> {
        let prefixes = prefixes.iter().map(|(p, d)| (p.parse().unwrap(), (*d).to_owned())).collect();
        let facts = HostFacts { prefixes, egress_mtu: 1400 };
        Network::default_bridge(&Settings::default(), &facts, Id::from_bytes([1; 16]), String::new())
    }

    #[test]
    fn the_first_pool_is_dockers() {
        let net = network(&[("0.0.0.0/0", "eth0"), ("192.0.2.0/24", "eth0")]).unwrap();
        assert_eq!(net.v4.unwrap().to_string(), "172.17.0.0/16");
        assert_eq!(net.gateway4().unwrap().to_string(), "172.17.0.1/16");
        assert_eq!(net.mac.to_string(), "02:42:ac:11:00:01");
        assert_eq!((net.mtu, net.pool_reason), (1400, None));
    }

    #[test]
    fn a_pool_in_use_is_passed_by_with_the_reason() {
        let net = network(&[("172.17.8.0/24", "vpn0"), ("172.18.0.0/15", "eth1")]).unwrap();
        assert_eq!(net.v4.unwrap().to_string(), "172.20.0.0/16");
        let reason = net.pool_reason.unwrap();
        assert!(reason.starts_with("172.17.0.0/16 overlaps 172.17.8.0/24 on vpn0, 172.18.0.0/16 overlaps"), "{reason}");
        assert!(network(&[("172.17.0.0/16", "nm0")]).unwrap().pool_reason.is_none(), "our own bridge is no stranger");
        assert!(network(&[("172.16.0.0/12", "a"), ("192.168.0.0/16", "b")]).is_err());
    }
}
