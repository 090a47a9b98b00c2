//! What a subnet and an ENI on it are made of.

use super::subnet::{Eni, Subnet};
use crate::bridge::{self, member, whole};
use crate::endpoint::{Endpoint, EndpointLink};
use crate::network::Network;
use crate::ruleset;
use crate::settings::Settings;
use netmode_model::nft::{Datum, Element, Family, Span};
use netmode_model::op::{Blackhole, MacvlanMode, Route, Upper};
use netmode_model::vpc::Backend;
use netmode_model::{Op, Place};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Steps that make a subnet: the host's link on it, where it has one, and its place in the table.
pub fn subnet_up(net: &Network, subnet: &Subnet, settings: &Settings) -> Vec<Op> {
    let elements = subnet_elements(net, subnet).into_iter().map(|element| bridge::add(settings, element));
    match subnet.backend {
        Backend::Veth => {
            let mut ops = bridge::bridge_up(net, &net.host_addresses(), &[], settings);
            ops.extend(elements);
            ops.extend(bridge::by_flowtable(&net.bridge, settings));
            ops.extend(bridge::in_service(net, settings));
            ops
        }
        Backend::Macvlan(MacvlanMode::Bridge) => {
            let mut ops: Vec<Op> = elements.collect();
            ops.extend(shim(net, subnet, settings));
            ops
        }
        _ => elements.collect(),
    }
}

/// A macvlan of the host's own: frames between a parent and its macvlans are handed to nobody, so without it the host
/// and its tasks could not speak with each other.
fn shim(net: &Network, subnet: &Subnet, settings: &Settings) -> Vec<Op> {
    let Some(parent) = &subnet.parent else { return Vec::new() };
    let dev = net.bridge.clone();
    let mut ops = vec![Op::UpperAdd {
        at: Place::Host,
        dev: dev.clone(),
        kind: Upper::Macvlan(MacvlanMode::Bridge),
        lower_at: Place::Host,
        lower: parent.clone(),
        mtu: Some(net.mtu),
        mac: Some(net.mac),
        alias: Some(bridge::alias(net, settings)),
    }];
    if settings.kernel_ipv6 {
        let set = |key: &str, value: &str| Op::Sysctl {
            at: Place::Host,
            key: format!("net/ipv6/conf/{dev}/{key}"),
            value: value.into(),
        };
        ops.push(set("accept_ra", "0"));
        ops.push(set("disable_ipv6", if net.v6.is_some() { "0" } else { "1" }));
    }
    let addresses = net.host_addresses().into_iter();
    ops.extend(addresses.map(|addr| Op::AddrAdd { at: Place::Host, dev: dev.clone(), addr }));
    ops.push(Op::LinkUp { at: Place::Host, dev: dev.clone() });
    if subnet.shares_parent() {
        // More to the point than the parent's own route to its prefix.
        let ranges = net.ip_ranges.iter().copied();
        ops.extend(ranges.map(|to| Op::RouteAdd(Route::main(Place::Host, Some(to), None, dev.clone()))));
    }
    ops
}

/// The elements of a subnet in the table.
pub fn subnet_elements(net: &Network, subnet: &Subnet) -> Vec<Element> {
    let mut elements = Vec::new();
    if subnet.has_host_link() {
        elements.push(member(ruleset::ENIS, vec![Span::One(Datum::Name(net.bridge.clone()))]));
    }
    for prefix in net.prefixes() {
        let family = Family::of(prefix.ip());
        elements.push(member(ruleset::vpc(family), vec![whole(prefix)]));
        // What an egress-only gateway lets out has its own address.
        if subnet.nat && !(subnet.egress_only && family == Family::V6) {
            elements.push(member(ruleset::vpc_nat(family), vec![whole(prefix)]));
        }
        if subnet.egress_only && family == Family::V6 {
            elements.push(member(ruleset::EGRESS_ONLY, vec![whole(prefix)]));
        }
    }
    elements
}

/// Where clouds tell a machine about itself, credentials of its role among it (Amazon EC2 user guide, "Instance metadata";
/// others have the IPv4 address too).
const IMDS: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)), IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254))];

/// What keeps a task from the metadata of the machine that its host is.
pub fn blocked(at: &Place, settings: &Settings) -> Vec<Blackhole> {
    let to = IMDS.into_iter().filter(|ip| settings.block_imds && (ip.is_ipv4() || settings.kernel_ipv6));
    to.map(|ip| Blackhole { at: at.clone(), to: ip.into() }).collect()
}

/// Steps that attach an ENI whose namespace is there.
pub fn attach(ep: &Endpoint, link: &EndpointLink, eni: &Eni, at: &Place, settings: &Settings) -> Vec<Op> {
    let blocked = blocked(at, settings).into_iter().map(Op::BlackholeAdd);
    blocked.chain(interface(ep, link, eni, at, settings)).collect()
}

fn interface(ep: &Endpoint, link: &EndpointLink, eni: &Eni, at: &Place, settings: &Settings) -> Vec<Op> {
    let (Some(kind), Some(parent)) = (eni.backend.upper(eni.vlan), &eni.parent) else {
        return bridge::attach(ep, link, at, settings);
    };
    let dev = || link.interface.clone();
    let mut ops: Vec<Op> = bridge::enter(ep, link, settings).collect();
    ops.push(Op::UpperAdd {
        at: at.clone(),
        dev: dev(),
        kind,
        lower_at: Place::Host,
        lower: parent.clone(),
        mtu: Some(link.mtu),
        // An ipvlan has its parent's.
        mac: Some(link.mac).filter(|_| !matches!(kind, Upper::Ipvlan(_))),
        alias: Some(bridge::endpoint_alias(ep, settings)),
    });
    ops.extend(link.addrs.iter().map(|addr| Op::AddrAdd { at: at.clone(), dev: dev(), addr: *addr }));
    ops.push(Op::LinkUp { at: at.clone(), dev: dev() });
    ops.extend(bridge::rates(link, at).into_iter().filter(|op| matches!(op, Op::RateSet { .. })));
    ops.extend(link.gateways.iter().map(|via| Op::RouteAdd(link.way_out(at.clone(), *via))));
    ops
}
