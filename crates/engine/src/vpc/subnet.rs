//! What makes a network a subnet, and an endpoint an ENI.

use ipnetwork::IpNetwork;
use netmode_model::vpc::Backend;
use netmode_model::{IfName, Mac};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv6Addr};

/// The part of a [`Network`](crate::Network) that only a subnet has. Such a network's name is its id, `subnet-…`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subnet {
    /// The name that people gave it.
    pub title: String,
    /// What stands in for an ENI.
    pub backend: Backend,
    /// Why that.
    pub reason: String,
    /// The link that interfaces are on; none with veth.
    pub parent: Option<IfName>,
    /// The parent's hardware address, where interfaces have no other (ipvlan).
    #[serde(default)]
    pub parent_mac: Option<Mac>,
    /// Routers' addresses that the host's link holds: those of a subnet that has no router of its own.
    pub held: Vec<IpAddr>,
    /// The host's own address on its link, where it is no router.
    pub own: Option<IpAddr>,
    /// Machines that nobody here knows have addresses in it.
    #[serde(default)]
    pub on_lan: bool,
    /// Addresses and prefixes that are not given out.
    pub exclude: Vec<IpNetwork>,
    /// What leaves the VPC gets the host's address.
    pub nat: bool,
    /// IPv6: out yes, in no.
    pub egress_only: bool,
    /// First and last 802.1Q id of its branches.
    pub vlans: (u16, u16),
    /// Zone of the names.
    pub zone: String,
    /// Availability zone, as tasks see it.
    pub availability_zone: String,
    /// Whether tasks get it that name none.
    pub default: bool,
}

/// IPv6 router on a link of ours: one for all of them, since it is only known on its link (RFC 4291 §2.5.6).
pub const LINK_ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

impl Subnet {
    /// Whether the host has a link of its own on the subnet.
    pub fn has_host_link(&self) -> bool {
        use netmode_model::op::MacvlanMode::Bridge;
        matches!(self.backend, Backend::Veth | Backend::Macvlan(Bridge))
    }

    /// Whether the parent has an address in the subnet: then the host's link needs none, and answers for the parent's.
    pub fn shares_parent(&self) -> bool {
        self.held.is_empty() && self.own.is_none()
    }

    /// Whether tasks reach neighbours, the router and the host by the host's routing alone.
    pub fn routed(&self) -> bool {
        self.backend == Backend::Veth
    }

    /// The next hop of a family, `gateway` being the network's.
    pub fn next_hop(&self, gateway: IpAddr) -> IpAddr {
        if self.routed() && gateway.is_ipv6() { LINK_ROUTER.into() } else { gateway }
    }

    /// What is not given out: what was excluded, and the host's own address.
    pub fn withheld(&self) -> Vec<IpNetwork> {
        self.exclude.iter().copied().chain(self.own.map(IpNetwork::from)).collect()
    }

    /// How the host reaches the subnet's tasks, in words.
    pub fn host_path(&self) -> &'static str {
        match self.backend {
            Backend::Veth => "by the subnet's bridge",
            Backend::Macvlan(_) if self.has_host_link() => "by a macvlan of the host's own (shim)",
            Backend::Macvlan(_) => "not reachable: the parent hands a frame of its own to no macvlan in this mode",
            Backend::Ipvlan(_) => "not reachable: an ipvlan does not speak with its parent",
            Backend::Vlan | Backend::Auto => "by the router of the VLAN, where there is one",
        }
    }
}

/// What makes an endpoint's link an ENI.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Eni {
    /// `eni-…`.
    pub id: String,
    /// IPv4 prefix of its subnet.
    pub subnet: IpNetwork,
    /// What stands in for it.
    pub backend: Backend,
    /// The link that it is on.
    pub parent: Option<IfName>,
    /// The parent's hardware address, where the interface has no other (ipvlan).
    #[serde(default)]
    pub parent_mac: Option<Mac>,
    /// 802.1Q id of a branch.
    pub vlan: Option<u16>,
    /// Its task can go round the groups, and was let.
    #[serde(default)]
    pub best_effort: bool,
    /// `ip-a-b-c-d.ZONE`.
    pub name: String,
}

impl Eni {
    /// The zone of its name.
    pub fn zone(&self) -> Option<&str> {
        self.name.split_once('.').map(|(_, zone)| zone)
    }
}
