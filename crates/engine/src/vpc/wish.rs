//! A subnet that somebody wishes for becomes one that can be made.

mod error;

pub use error::SubnetError;

use super::standin::{self, Found, StandInError};
use super::subnet::Subnet;
use crate::ipam;
use crate::network::Network;
use crate::settings::{HostFacts, Settings};
use crate::wish::link_name;
use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};
use netmode_model::vpc::{Backend, Resource, SubnetRequest, VLAN_IDS};
use netmode_model::{Id, IfName};
use std::net::{IpAddr, Ipv4Addr};

/// The zone of names where none is given.
pub const DEFAULT_ZONE: &str = "netmode.internal";

/// The availability zone where none is given.
pub const DEFAULT_AVAILABILITY_ZONE: &str = "local-1a";

/// Lengths of IPv4 prefixes (Amazon VPC user guide, "Subnet sizing for IPv4").
const LENGTHS: std::ops::RangeInclusive<u8> = 16..=28;

/// The facts that a wish is held against.
#[derive(Debug)]
pub struct Around<'a> {
    /// The settings.
    pub settings: &'a Settings,
    /// Prefixes of the host.
    pub facts: &'a HostFacts,
    /// Addresses of the parent.
    pub parent: &'a [IpNetwork],
    /// What the stand-in is chosen from.
    pub found: &'a Found,
    /// Networks and subnets that there are.
    pub others: &'a [Network],
}

/// The subnet of a request.
///
/// # Errors
/// See [`SubnetError`].
pub fn subnet(request: &SubnetRequest, around: &Around<'_>, id: Id, created: String) -> Result<Network, SubnetError> {
    let title = request.name.as_ref().map(ToString::to_string).ok_or(SubnetError::NoName)?;
    let titles = |n: &Network| n.subnet.as_ref().is_some_and(|s| s.title == title);
    if around.others.iter().any(titles) {
        return Err(SubnetError::NameTaken(title));
    }
    let v4 = v4(request.cidr)?;
    let v6 = v6(request.ipv6_cidr)?;
    let prefixes: Vec<IpNetwork> = v4.map(IpNetwork::V4).into_iter().chain(v6.map(IpNetwork::V6)).collect();
    let first = *prefixes.first().filter(|p| p.is_ipv4() || around.settings.ipv6_only).ok_or(SubnetError::NoCidr)?;
    if v6.is_some() && !around.settings.kernel_ipv6 {
        return Err(SubnetError::NoIpv6);
    }
    let parent = around.found.parent.as_ref().map(|p| p.name.clone());
    let on_lan = around.parent.iter().any(|a| ipam::overlap(first, ipam::canonical(*a)));
    let (backend, reason) = standin::choose(request.backend, on_lan, around.found)?;
    if let (true, Backend::Auto, Backend::Veth, Some(parent)) = (on_lan, request.backend, backend, &parent) {
        return Err(SubnetError::NotOnLan { prefix: first, parent: parent.clone(), reason });
    }
    one_kind(backend, parent.as_ref(), around.others)?;
    let lan = on_lan && backend != Backend::Veth;
    for prefix in prefixes {
        free(prefix, around, parent.as_ref().filter(|_| backend != Backend::Veth))?;
    }
    let range = range(request, first)?;
    if let (true, None, Some(parent)) = (lan, range, &parent) {
        return Err(SubnetError::NeedsRange { prefix: first, parent: parent.clone() });
    }
    let mtu = match (&around.found.parent, backend) {
        (Some(parent), b) if b != Backend::Veth => parent.mtu,
        _ => around.facts.egress_mtu,
    };
    let name = Resource::Subnet.id(id);
    let mut network = Network::plain(id, &name, link_name(id), v4, mtu, created);
    // Neighbours are kept apart and routed.
    (network.v6, network.icc) = (v6, false);
    network.mtu_chosen = backend != Backend::Veth;
    network.ip_ranges = range.into_iter().collect();
    let mut part = Subnet {
        title,
        backend,
        reason,
        parent: parent.filter(|_| backend != Backend::Veth),
        parent_mac: around.found.parent.as_ref().and_then(|p| p.mac).filter(|_| matches!(backend, Backend::Ipvlan(_))),
        held: Vec::new(),
        own: None,
        on_lan: lan || (!request.gateways.is_empty() && backend != Backend::Veth),
        exclude: exclude(request, around, first),
        nat: false,
        egress_only: request.egress_only,
        vlans: vlans(request, backend, around)?,
        zone: zone(request)?,
        availability_zone: request.availability_zone.clone().unwrap_or_else(|| DEFAULT_AVAILABILITY_ZONE.into()),
        default: false,
    };
    routers(request, around, &mut network, &mut part)?;
    // Whoever has another router, or is on a LAN, has routes back to it.
    part.nat = request.nat.unwrap_or(!lan && !part.held.is_empty());
    network.subnet = Some(part);
    network.mac = network.derived_mac();
    Ok(network)
}

/// Nobody else's links on the parent are such as these cannot be beside: one link has one receiver of frames
/// (`netdev_rx_handler_register`: EBUSY), and a second mode of ipvlans would change the first (`ipvlan_set_port_mode`).
fn one_kind(backend: Backend, parent: Option<&IfName>, others: &[Network]) -> Result<(), SubnetError> {
    let beside = |other: Backend| match (backend, other) {
        (Backend::Ipvlan(mode), Backend::Ipvlan(other)) => mode == other,
        (Backend::Ipvlan(_), Backend::Macvlan(_)) | (Backend::Macvlan(_), Backend::Ipvlan(_)) => false,
        _ => true,
    };
    let on_it = |s: &&Subnet| s.parent.as_ref() == parent;
    match (others.iter().filter_map(|n| n.subnet.as_ref()).filter(on_it).find(|s| !beside(s.backend)), parent) {
        (Some(subnet), Some(parent)) => Err(SubnetError::Mixed {
            backend,
            parent: parent.clone(),
            other: subnet.backend,
            owner: subnet.title.clone(),
        }),
        _ => Ok(()),
    }
}

fn v4(given: Option<IpNetwork>) -> Result<Option<Ipv4Network>, SubnetError> {
    match given {
        None => Ok(None),
        Some(IpNetwork::V4(v4)) => {
            whole(v4.into())?;
            LENGTHS.contains(&v4.prefix()).then_some(Some(v4)).ok_or(SubnetError::Length(v4.into()))
        }
        Some(given) => Err(SubnetError::Family { flag: "--cidr", given }),
    }
}

fn v6(given: Option<IpNetwork>) -> Result<Option<Ipv6Network>, SubnetError> {
    match given {
        None => Ok(None),
        Some(IpNetwork::V6(v6)) => {
            whole(v6.into())?;
            (v6.prefix() == 64).then_some(Some(v6)).ok_or(SubnetError::Length(v6.into()))
        }
        Some(given) => Err(SubnetError::Family { flag: "--ipv6-cidr", given }),
    }
}

fn whole(given: IpNetwork) -> Result<(), SubnetError> {
    let meant = ipam::canonical(given);
    if meant.ip() == given.ip() { Ok(()) } else { Err(SubnetError::HostBits { given, meant }) }
}

/// Nobody else has the prefix; that of the link that interfaces are on may be the same.
fn free(prefix: IpNetwork, around: &Around<'_>, parent: Option<&IfName>) -> Result<(), SubnetError> {
    for other in around.others {
        let Some(overlapped) = other.prefixes().into_iter().find(|p| ipam::overlap(*p, prefix)) else { continue };
        let owner = match &other.subnet {
            Some(subnet) => format!("the subnet {}", subnet.title),
            None => format!("the network {}", other.name),
        };
        return Err(SubnetError::Overlap { prefix, other: overlapped, owner });
    }
    let of_link = |dev: &str| if dev.contains(' ') { dev.to_owned() } else { format!("the link {dev}") };
    match around.facts.overlapping(prefix, parent) {
        Some((other, dev)) => Err(SubnetError::Overlap { prefix, other: ipam::canonical(*other), owner: of_link(dev) }),
        None => Ok(()),
    }
}

fn range(request: &SubnetRequest, prefix: IpNetwork) -> Result<Option<IpNetwork>, SubnetError> {
    let Some(range) = request.ip_range else { return Ok(None) };
    if ipam::within(range, prefix) {
        return Ok(Some(ipam::canonical(range)));
    }
    Err(SubnetError::Outside { flag: "--ip-range", value: range.to_string(), prefix: prefix.to_string() })
}

/// What was named, and the host's own addresses.
fn exclude(request: &SubnetRequest, around: &Around<'_>, prefix: IpNetwork) -> Vec<IpNetwork> {
    let own = around.parent.iter().map(IpNetwork::ip).filter(|ip| prefix.contains(*ip)).map(IpNetwork::from);
    request.exclude.iter().copied().map(ipam::canonical).chain(own).collect()
}

/// Who routes: who was named, the host by an address that its parent has already, or the host by the first address.
fn routers(
    request: &SubnetRequest,
    around: &Around<'_>,
    network: &mut Network,
    part: &mut Subnet,
) -> Result<(), SubnetError> {
    for prefix in network.prefixes() {
        let named: Vec<IpAddr> = request.gateways.iter().copied().filter(|g| g.is_ipv4() == prefix.is_ipv4()).collect();
        if named.len() > 1 {
            return Err(SubnetError::Twice);
        }
        let named = named.first().copied();
        if let Some(gateway) = named.filter(|g| !prefix.contains(*g)) {
            let prefix = prefix.to_string();
            return Err(SubnetError::Outside { flag: "--gateway", value: gateway.to_string(), prefix });
        }
        let of_parent = || around.parent.iter().map(IpNetwork::ip).find(|ip| prefix.contains(*ip));
        let first = ipam::at(prefix, 1);
        // Where the host has no link of its own, nobody on it hears what the parent has.
        let (gateway, held) = match (named, of_parent().filter(|_| part.has_host_link() && !part.routed())) {
            (Some(named), _) => (named, false),
            (None, Some(there)) => (there, false),
            (None, None) => (first, part.has_host_link()),
        };
        network.chosen_gateways.push(gateway);
        part.held.extend(held.then_some(gateway));
    }
    if let Some(stray) = request.gateways.iter().find(|g| !network.prefixes().iter().any(|p| p.contains(**g))) {
        let prefix = network.prefixes().iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
        return Err(SubnetError::Outside { flag: "--gateway", value: stray.to_string(), prefix });
    }
    let has_address = around.parent.iter().any(|a| network.prefix().contains(a.ip()));
    if part.held.is_empty() && part.has_host_link() && !has_address {
        part.own = own_address(network, part);
    }
    Ok(())
}

/// The first address that would be given out: the host's own, where nobody else has one for it.
fn own_address(network: &Network, part: &Subnet) -> Option<IpAddr> {
    let with = Network { subnet: Some(part.clone()), ..network.clone() };
    with.pools().first_mut()?.take_lowest(network.id).ok()
}

fn vlans(request: &SubnetRequest, backend: Backend, around: &Around<'_>) -> Result<(u16, u16), SubnetError> {
    let whole = (*VLAN_IDS.start(), *VLAN_IDS.end());
    let Some(text) = &request.vlans else { return Ok(whole) };
    let bad = || SubnetError::Vlans(text.chars().take(32).collect());
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let id = |t: &str| t.parse::<u16>().ok().filter(|id| VLAN_IDS.contains(id)).ok_or_else(bad);
    let (first, last) = (id(first)?, id(last)?);
    if first > last || backend != Backend::Vlan {
        return Err(bad());
    }
    let parent = around.found.parent.as_ref().map(|p| &p.name);
    for other in around.others.iter().filter_map(|n| n.subnet.as_ref()).filter(|s| s.backend == Backend::Vlan) {
        if let (Some(parent), true) = (parent, other.parent.as_ref() == parent)
            && first <= other.vlans.1
            && other.vlans.0 <= last
        {
            let (ids, owner) = (text.clone(), other.title.clone());
            return Err(SubnetError::VlanTaken { ids, parent: parent.clone(), owner });
        }
    }
    Ok((first, last))
}

fn zone(request: &SubnetRequest) -> Result<String, SubnetError> {
    let zone = request.dns_zone.clone().unwrap_or_else(|| DEFAULT_ZONE.into());
    let label = |l: &str| {
        let plain = l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        (1..=63).contains(&l.len()) && plain && !l.starts_with('-') && !l.ends_with('-')
    };
    let plain = zone.len() <= 200 && zone.split('.').all(label);
    plain.then_some(zone.clone()).ok_or_else(|| SubnetError::Zone(zone.chars().take(80).collect()))
}

/// Prefixes for the default VPC, the usual one of AWS first.
pub fn default_prefixes() -> impl Iterator<Item = Ipv4Network> {
    let sixteen = |a, b| Ipv4Network::new(Ipv4Addr::new(a, b, 0, 0), 20).ok();
    (16..=31).rev().filter_map(move |b| sixteen(172, b)).chain((0..=255).rev().filter_map(move |b| sixteen(10, b)))
}

#[cfg(test)]
mod tests {
    use super::super::standin::Parent;
    use super::*;

    const LAN: &str = "192.168.1.50/24";

    fn wish(edit: impl Fn(&mut SubnetRequest)) -> Result<Network, SubnetError> {
        let mut request =
            SubnetRequest { name: "a".parse().ok(), cidr: "10.0.2.0/24".parse().ok(), ..Default::default() };
        edit(&mut request);
        let settings = Settings::default();
        let facts = HostFacts {
            prefixes: vec![(LAN.parse().unwrap(), "eth0".into()), ("10.8.0.0/24".parse().unwrap(), "tun0".into())],
            egress_mtu: 1500,
        };
        let parent = Parent {
            name: "eth0".parse().unwrap(),
            up: true,
            master: None,
            mac: None,
            mtu: 9001,
            wireless: false,
            filtered: None,
        };
        let found = Found { missing: vec![], parent: Some(parent) };
        let other =
            SubnetRequest { name: "other".parse().ok(), cidr: "10.7.0.0/20".parse().ok(), ..Default::default() };
        let around =
            Around { settings: &settings, facts: &facts, parent: &[LAN.parse().unwrap()], found: &found, others: &[] };
        let other = subnet(&other, &around, Id::from_bytes([7; 16]), String::new()).unwrap();
        let others = [other];
        subnet(&request, &Around { others: &others, ..around }, Id::from_bytes([0xab; 16]), String::new())
    }

    fn cidr(text: &str) -> Result<Network, SubnetError> {
        wish(|r| r.cidr = text.parse().ok())
    }

    #[test]
    fn a_prefix_of_its_own_is_routed_by_this_host() {
        let net = cidr("10.0.2.0/24").unwrap();
        let part = net.subnet.clone().unwrap();
        assert_eq!((part.backend, part.nat, part.parent), (Backend::Veth, true, None));
        assert_eq!(net.host_addresses()[0].to_string(), "10.0.2.1/24");
        assert_eq!((net.name.as_str(), net.mtu), ("subnet-ababababababababa", 1500));
        assert_eq!(net.pools()[0].usable(), 251);
    }

    #[test]
    fn on_a_lan_a_range_is_needed_and_the_host_routes_by_its_own_address() {
        assert!(matches!(cidr("192.168.1.0/24"), Err(SubnetError::NeedsRange { .. })));
        let net = wish(|r| {
            r.cidr = "192.168.1.0/24".parse().ok();
            r.ip_range = "192.168.1.48/29".parse().ok();
        })
        .unwrap();
        let part = net.subnet.clone().unwrap();
        assert_eq!((part.backend.to_string().as_str(), part.nat, net.mtu), ("macvlan:bridge", false, 9001));
        assert_eq!(net.gateway4().unwrap().to_string(), "192.168.1.50/24");
        assert!(part.shares_parent() && net.host_addresses().is_empty());
        assert_eq!(net.pools()[0].usable(), 7, "the host's own is passed by");
    }

    #[test]
    fn a_router_of_somebody_else_leaves_the_host_an_address_of_its_own() {
        let net = wish(|r| {
            r.backend = "macvlan".parse().unwrap();
            r.gateways = vec!["10.0.2.254".parse().unwrap()];
        })
        .unwrap();
        assert_eq!(net.host_addresses()[0].to_string(), "10.0.2.4/24");
        assert_eq!(
            (net.pools()[0].usable(), net.subnet.unwrap().nat),
            (249, false),
            "without the router's and its own"
        );
        let private = wish(|r| r.backend = "macvlan:private".parse().unwrap()).unwrap();
        assert!(!private.has_host_link() && private.host_addresses().is_empty());
    }

    #[test]
    fn a_link_carries_one_kind() {
        let there = [wish(|r| r.backend = "ipvlan:l3".parse().unwrap()).unwrap()];
        let parent = there[0].subnet.as_ref().unwrap().parent.clone().unwrap();
        let fits = |backend: &str, on: &IfName| one_kind(backend.parse().unwrap(), Some(on), &there).is_ok();
        assert!(["ipvlan:l3", "vlan", "veth"].iter().all(|backend| fits(backend, &parent)));
        assert!(["ipvlan:l2", "ipvlan:l3s", "macvlan"].iter().all(|backend| !fits(backend, &parent)));
        assert!(fits("macvlan", &"eth9".parse().unwrap()), "another link");
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let text = |r: Result<Network, SubnetError>| r.unwrap_err().to_string();
        assert!(text(cidr("10.0.2.0/29")).contains("from /16 to /28"));
        assert!(text(cidr("10.0.0.0/15")).contains("from /16 to /28"));
        assert!(text(cidr("10.0.2.7/24")).ends_with("write 10.0.2.0/24"));
        assert!(text(cidr("10.7.8.0/24")).contains("overlaps 10.7.0.0/20 of the subnet other"));
        assert!(text(cidr("10.8.0.0/16")).contains("overlaps 10.8.0.0/24 of the link tun0"));
        assert!(text(wish(|r| r.cidr = None)).contains("IPv4 cannot be switched off"));
        assert!(text(wish(|r| r.ipv6_cidr = "fd00:1::/56".parse().ok())).contains("IPv6 subnets of /64"));
        assert!(text(wish(|r| r.name = "other".parse().ok())).contains("taken by a subnet"));
        assert!(text(wish(|r| r.gateways = vec!["10.0.9.1".parse().unwrap()])).contains("is not within 10.0.2.0/24"));
        for bad in ["0", "4095", "9-3", "x"] {
            let refused = wish(|r| (r.backend, r.vlans) = (Backend::Vlan, Some(bad.into())));
            assert!(matches!(refused, Err(SubnetError::Vlans(_))), "{bad}");
        }
        assert!(wish(|r| (r.backend, r.vlans) = (Backend::Vlan, Some("100-199".into()))).is_ok());
    }
}
