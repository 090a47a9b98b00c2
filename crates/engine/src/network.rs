//! Networks: a bridge, its prefixes, and how the prefix was chosen.

use crate::ipam;
use crate::settings::{HostFacts, Settings};
use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};
use netmode_model::{Id, IfName, Mac};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Name of the network that the modes `bridge` and `default` use.
pub const DEFAULT_NETWORK: &str = "bridge";

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
    /// IPv4 prefix.
    pub v4: Ipv4Network,
    /// IPv6 prefix, where the network has one.
    pub v6: Option<Ipv6Network>,
    /// Why this prefix and not the first of the list.
    pub pool_reason: Option<String>,
    /// RFC 3339.
    pub created: String,
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
    /// The default bridge network, on the first pool that overlaps no route or address of the host.
    ///
    /// # Errors
    /// Every pool overlaps something.
    pub fn default_bridge(settings: &Settings, facts: &HostFacts, id: Id, created: String) -> Result<Self, NoPool> {
        let bridge = settings.bridge.name.clone();
        let (v4, pool_reason) = choose_pool(&settings.bridge.pools, facts, &bridge)?;
        let v6 = settings.bridge.ipv6.filter(|_| settings.kernel_ipv6);
        let mac = Mac::from_ipv4(first_host(v4));
        let mtu = settings.bridge.mtu.unwrap_or(facts.egress_mtu);
        Ok(Self { v: 1, id, name: DEFAULT_NETWORK.into(), bridge, mac, mtu, v4, v6, pool_reason, created })
    }

    /// The gateway: the first address, which the bridge itself has.
    pub fn gateway4(&self) -> IpNetwork {
        let net = Ipv4Network::new(first_host(self.v4), self.v4.prefix());
        IpNetwork::V4(net.unwrap_or(self.v4))
    }

    /// The IPv6 gateway, where the network has IPv6.
    pub fn gateway6(&self) -> Option<IpNetwork> {
        let v6 = self.v6?;
        let first = (u128::from(v6.network()) + 1).into();
        Ipv6Network::new(first, v6.prefix()).ok().map(IpNetwork::V6)
    }

    /// The prefixes, IPv4 first.
    pub fn prefixes(&self) -> Vec<IpNetwork> {
        std::iter::once(IpNetwork::V4(self.v4)).chain(self.v6.map(IpNetwork::V6)).map(ipam::canonical).collect()
    }

    /// The gateways, IPv4 first.
    pub fn gateways(&self) -> Vec<IpNetwork> {
        std::iter::once(self.gateway4()).chain(self.gateway6()).collect()
    }

    /// The gateway of an address's family.
    pub fn gateway_for(&self, ip: IpAddr) -> Option<IpAddr> {
        self.gateways().iter().map(IpNetwork::ip).find(|g| g.is_ipv4() == ip.is_ipv4())
    }
}

fn first_host(net: Ipv4Network) -> std::net::Ipv4Addr {
    (u32::from(net.network()) + 1).into()
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
        // A default route covers everything and says nothing about who has what.
        let others = facts.prefixes.iter().filter(|(p, dev)| p.prefix() > 0 && dev != bridge.as_str());
        match (others.clone().find(|(p, _)| ipam::overlap(prefix, *p)), prefix) {
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
        assert_eq!(net.v4.to_string(), "172.17.0.0/16");
        assert_eq!(net.gateway4().to_string(), "172.17.0.1/16");
        assert_eq!(net.mac.to_string(), "02:42:ac:11:00:01");
        assert_eq!((net.mtu, net.pool_reason), (1400, None));
    }

    #[test]
    fn a_pool_in_use_is_passed_by_with_the_reason() {
        let net = network(&[("172.17.8.0/24", "vpn0"), ("172.18.0.0/15", "eth1")]).unwrap();
        assert_eq!(net.v4.to_string(), "172.20.0.0/16");
        let reason = net.pool_reason.unwrap();
        assert!(reason.starts_with("172.17.0.0/16 overlaps 172.17.8.0/24 on vpn0, 172.18.0.0/16 overlaps"), "{reason}");
        assert!(network(&[("172.17.0.0/16", "nm0")]).unwrap().pool_reason.is_none(), "our own bridge is no stranger");
        assert!(network(&[("172.16.0.0/12", "a"), ("192.168.0.0/16", "b")]).is_err());
    }
}
