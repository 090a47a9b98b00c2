//! Endpoints: one attachment of a container to a network, as recorded.

use crate::vpc::Eni;
use ipnetwork::IpNetwork;
use netmode_model::api::{NetworkBinding, NetworkView};
use netmode_model::op::{IpvlanMode, Route};
use netmode_model::vpc::Backend;
use netmode_model::{Id, IfName, Mac, Mode, NetRate, NetnsName, Place, Published, RequestedMode};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Version of the record that this agent writes; it reads this one and the one before.
pub const VERSION: u32 = 1;

/// Who an endpoint belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    /// `task`, or `netns` for a namespace that someone else made.
    pub kind: OwnerKind,
    /// The task's id; the endpoint's own for a namespace.
    pub id: Id,
    /// The name people know.
    pub name: String,
    /// The user who asked for it.
    #[serde(default)]
    pub uid: u32,
}

/// What kind of thing owns an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OwnerKind {
    /// A task of ours.
    Task,
    /// A namespace that was handed over.
    Netns,
}

/// The namespace of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum NetnsUse {
    /// The host's own.
    Host,
    /// Made with the endpoint, dropped with it.
    Own(NetnsName),
    /// Someone else's, under a name it is registered by; only our links are taken away again.
    Foreign(NetnsName),
    /// Another endpoint's own: a further network of the same container.
    Joined(NetnsName),
}

impl NetnsUse {
    /// The name, unless it is the host's.
    pub fn name(&self) -> Option<&NetnsName> {
        match self {
            Self::Host => None,
            Self::Own(name) | Self::Foreign(name) | Self::Joined(name) => Some(name),
        }
    }
}

/// Whether an attachment is being made or stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Progress {
    /// Written before the kernel is touched: what is found half-made is removed.
    Intent,
    /// Written when all is in place: what is found is adopted.
    Ready,
}

/// One attachment. The record says everything that is needed to repair it or to take it away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// Version of the record.
    pub v: u32,
    /// The id.
    pub id: Id,
    /// Whose it is.
    pub owner: Owner,
    /// The mode in effect.
    pub mode: Mode,
    /// The mode asked for.
    pub requested: RequestedMode,
    /// Being made, or standing.
    pub progress: Progress,
    /// Its namespace.
    pub netns: NetnsUse,
    /// The inode of someone else's: that of an ENI without an end on the host is looked for by it after a restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inode: Option<u64>,
    /// The network interface, in modes that have one.
    pub link: Option<EndpointLink>,
    /// Published ports; in host mode the reserved ones.
    pub ports: Vec<Published>,
    /// RFC 3339.
    pub created: String,
}

/// The interface of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointLink {
    /// Name of the network.
    pub network: String,
    /// The bridge that the host's end is a port of.
    pub bridge: IfName,
    /// No frames to other ports of the kind: the network keeps its containers apart.
    #[serde(default)]
    pub isolated: bool,
    /// Whether a neighbour may know another hardware address for one of the addresses, and has to be told.
    pub announce: bool,
    /// The link on the host.
    pub host_dev: IfName,
    /// The link inside.
    pub interface: IfName,
    /// Its hardware address.
    pub mac: Mac,
    /// Bytes.
    pub mtu: u32,
    /// Addresses with prefix length, IPv4 first.
    pub addrs: Vec<IpNetwork>,
    /// Next hops of the default routes, IPv4 first.
    pub gateways: Vec<IpAddr>,
    /// How fast it is.
    #[serde(default, skip_serializing_if = "NetRate::is_unlimited")]
    pub rate: NetRate,
    /// Its security groups, by id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// What makes it an ENI: it may have no end on the host then, whatever `host_dev` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eni: Option<Eni>,
}

impl EndpointLink {
    /// Whether it has an end on the host.
    pub fn has_host_end(&self) -> bool {
        self.eni.as_ref().is_none_or(|eni| eni.backend == Backend::Veth)
    }

    /// Its security groups, by id.
    pub fn groups(&self) -> &[String] {
        &self.groups
    }

    /// Whether its groups stand in its own namespace, since the host does not see its packets: with an ENI that has no
    /// end on the host all of them, on a bridge those of neighbours.
    pub fn walled_inside(&self) -> bool {
        !self.groups.is_empty() && (self.eni.is_none() || !self.has_host_end())
    }

    /// Whether its groups stand on the host.
    pub fn walled_by_host(&self) -> bool {
        !self.groups.is_empty() && self.has_host_end()
    }

    /// Whether what comes from outside is asked about by the host's input alone.
    pub fn comes_in_by_host(&self) -> bool {
        self.eni.as_ref().is_some_and(|eni| eni.backend == Backend::Ipvlan(IpvlanMode::L3s))
    }

    /// The route to a router. One that is no neighbour of its address is on the link all the same.
    pub(crate) fn way_out(&self, at: Place, via: IpAddr) -> Route {
        let mut route = Route::main(at, None, Some(via), self.interface.clone());
        route.options.onlink = via.is_ipv4() && !self.addrs.iter().any(|a| a.contains(via));
        route
    }

    /// The prefix of the network, as the container's first address has it; an address that is alone does not show it.
    fn subnet(&self) -> Option<IpNetwork> {
        let of_address = || self.addrs.first().copied().map(crate::ipam::canonical);
        self.eni.as_ref().map(|eni| eni.subnet).or_else(of_address)
    }

    /// The address of a family.
    pub fn addr(&self, v4: bool) -> Option<IpAddr> {
        self.addrs.iter().map(IpNetwork::ip).find(|ip| ip.is_ipv4() == v4)
    }
}

impl Endpoint {
    /// Whether the container has an IPv6 address, or shares the host's.
    pub fn has_v6(&self) -> bool {
        match &self.link {
            Some(link) => link.addr(false).is_some(),
            None => false,
        }
    }

    /// The address that a person would name.
    pub fn address(&self) -> Option<IpAddr> {
        self.link.as_ref()?.addrs.first().map(IpNetwork::ip)
    }

    /// The bindings as ECS shows them.
    pub fn bindings(&self) -> Vec<NetworkBinding> {
        self.ports.iter().flat_map(|p| NetworkBinding::of(p, self.has_v6())).collect()
    }

    /// The interfaces as `inspect` shows them.
    pub fn views(&self) -> Vec<NetworkView> {
        self.link.iter().map(EndpointLink::view).collect()
    }
}

impl EndpointLink {
    /// The hardware address that frames have: on an ipvlan the parent's.
    pub fn hardware_address(&self) -> Mac {
        self.eni.as_ref().and_then(|eni| eni.parent_mac).unwrap_or(self.mac)
    }

    fn view(&self) -> NetworkView {
        let family = |v4: bool| self.addrs.iter().copied().filter(|a| a.is_ipv4() == v4).collect();
        NetworkView {
            name: self.network.clone(),
            interface: self.interface.clone(),
            mac_address: self.hardware_address(),
            ipv4_addresses: family(true),
            ipv6_addresses: family(false),
            gateway: self.gateways.iter().copied().find(IpAddr::is_ipv4),
            ipv6_gateway: self.gateways.iter().copied().find(IpAddr::is_ipv6),
            subnet: self.subnet(),
            mtu: self.mtu,
            net_rate: self.rate,
        }
    }
}

/// The namespaces that endpoints stand in, as far as they have names.
pub fn namespaces(endpoints: &[Endpoint]) -> Vec<NetnsName> {
    endpoints.iter().filter_map(|e| e.netns.name().cloned()).collect()
}
