//! Bridge mode: what a network and an endpoint on it are made of.

use crate::endpoint::{Endpoint, EndpointLink};
use crate::network::Network;
use crate::ruleset::{self, Form};
use crate::settings::Settings;
use crate::{source_guard, vpc};
use ipnetwork::IpNetwork;
use netmode_model::nft::{Datum, Element, Family, Span, TableName};
use netmode_model::op::{PolicyRule, Prohibit, Route};
use netmode_model::{Final, HostAddr, IfName, Op, Place, PortRange, Published, Rate};
use std::net::IpAddr;

/// Steps that make a network: the bridge with its gateway, its place in the table, and the guard.
pub fn network_up(net: &Network, settings: &Settings) -> Vec<Op> {
    if let Some(subnet) = &net.subnet {
        return vpc::plan::subnet_up(net, subnet, settings);
    }
    let localnet = format!("net/ipv4/conf/{}/route_localnet", net.bridge);
    let mut ops = bridge_up(net, &net.gateways(), &[(localnet, "1")], settings);
    ops.extend(network_elements(net).into_iter().map(|element| add(settings, element)));
    ops.extend(by_flowtable(&net.bridge, settings));
    ops.extend(in_service(net, settings));
    ops
}

/// Has connections by a link pass the rules, where the configuration names links for that.
pub(crate) fn by_flowtable(dev: &IfName, settings: &Settings) -> Option<Op> {
    (!settings.flowtable.is_empty()).then(|| Op::FlowtableLink {
        table: TableName::inet(&settings.table),
        flowtable: ruleset::FLOWTABLE.into(),
        dev: dev.clone(),
    })
}

/// A bridge that is down, with its addresses and variables, and the refusing routes of its prefixes.
pub(crate) fn bridge_up(
    net: &Network,
    addresses: &[IpNetwork],
    variables: &[(String, &str)],
    settings: &Settings,
) -> Vec<Op> {
    let dev = net.bridge.clone();
    let host = |key: String, value: &str| Op::Sysctl { at: Place::Host, key, value: value.into() };
    let mut ops = vec![Op::BridgeAdd {
        dev: dev.clone(),
        mac: net.mac,
        mtu: net.mtu,
        alias: alias(net, settings),
        group: settings.group,
    }];
    if settings.kernel_ipv6 {
        // Before the link comes up: a router advertisement must find no open ear (CVE-2020-13401).
        ops.push(host(format!("net/ipv6/conf/{dev}/accept_ra"), "0"));
        ops.push(host(format!("net/ipv6/conf/{dev}/disable_ipv6"), if net.v6.is_some() { "0" } else { "1" }));
    }
    ops.extend(variables.iter().map(|(key, value)| host(key.clone(), value)));
    ops.push(host(format!("net/ipv4/conf/{dev}/src_valid_mark"), "1"));
    // Neighbour solicitations for what is forwarded need a link-local source (RFC 4861 §7.2.2).
    let link_local = net.v6.and_then(|_| "fe80::1/64".parse().ok());
    for addr in addresses.iter().copied().chain(link_local) {
        ops.push(Op::AddrAdd { at: Place::Host, dev: dev.clone(), addr });
    }
    ops.extend(prohibits(net, settings).into_iter().map(Op::ProhibitAdd));
    ops
}

/// Who owns a network's link on the host (ifalias).
pub(crate) fn alias(net: &Network, settings: &Settings) -> String {
    format!("netmode/{}/network/{}", settings.instance, net.id.short())
}

/// The bridge comes up, and the ways to its prefixes are there.
pub(crate) fn in_service(net: &Network, settings: &Settings) -> Vec<Op> {
    let up = Op::LinkUp { at: Place::Host, dev: net.bridge.clone() };
    // Not before the link is up; the kernel takes them along when it goes.
    std::iter::once(up).chain(ways(net, settings).into_iter().map(Op::RouteAdd)).collect()
}

/// Steps that take a network away: what [`network_up`] made, but not what the kernel takes along with the link.
pub fn network_down(net: &Network, settings: &Settings) -> Vec<Op> {
    let table = || TableName::inet(&settings.table);
    let elements = network_elements(net).into_iter();
    let mut ops: Vec<Op> = elements.map(|element| Op::ElementDel { table: table(), element }).collect();
    if net.has_host_link() {
        ops.push(Op::LinkDel { at: Place::Host, dev: net.bridge.clone() });
    }
    // Last: until the link is gone its prefix is refused to strangers.
    ops.extend(prohibits(net, settings).into_iter().map(Op::ProhibitDel));
    ops
}

pub(crate) fn member(set: &str, key: Vec<Span>) -> Element {
    Element { set: set.into(), key, data: vec![] }
}

pub(crate) fn whole(prefix: IpNetwork) -> Span {
    Span::Range(Datum::ip(prefix.network()), Datum::ip(prefix.broadcast()))
}

/// The elements of a network in the table.
pub fn network_elements(net: &Network) -> Vec<Element> {
    if let Some(subnet) = &net.subnet {
        return vpc::plan::subnet_elements(net, subnet);
    }
    let name = || Span::One(Datum::Name(net.bridge.clone()));
    let mut elements = vec![member(ruleset::BRIDGES, vec![name()])];
    if net.icc {
        elements.push(member(ruleset::SAME_BRIDGE, vec![name(), name()]));
    }
    if net.internal {
        elements.push(member(ruleset::INTERNAL, vec![name()]));
    }
    for prefix in net.prefixes() {
        let family = Family::of(prefix.ip());
        if net.masquerade && !net.internal {
            elements.push(member(ruleset::subnets(family), vec![whole(prefix)]));
        }
        elements.push(member(ruleset::home(family), vec![whole(prefix), name()]));
    }
    elements
}

/// The element that makes a link one of those between which nothing of a family is forwarded.
pub fn closed(family: Family, link: &IfName) -> Element {
    member(ruleset::closed(family), vec![Span::One(Datum::Name(link.clone()))])
}

/// Steps that the host needs once, whatever networks there are: the rules of the guard, and the links that lead outside
/// in the flowtable, as far as they are there.
pub fn host_up(settings: &Settings, has_link: impl Fn(&IfName) -> bool) -> Vec<Op> {
    let families = [(Family::V4, true), (Family::V6, settings.kernel_ipv6)];
    let rules = families.into_iter().filter(|(_, wanted)| *wanted).flat_map(|(family, _)| guard(family, settings));
    let outside = settings.flowtable.iter().filter(|dev| has_link(dev)).filter_map(|dev| by_flowtable(dev, settings));
    rules.map(Op::RuleAdd).chain(outside).collect()
}

/// The fail-closed guard: default-deny policy routing, out of reach of `nft flush ruleset`.
///
/// What the host sends and what our table has marked asks a table with the way to each network; without the table
/// nothing is marked. Everything else asks one that refuses each network. Both know our networks alone, so that for any
/// other destination the rules of others are asked as if ours were not there; and being routes, hundreds of networks
/// cost a packet what one does.
pub fn guard(family: Family, settings: &Settings) -> [PolicyRule; 3] {
    let rule = |n, iif, mark, table| PolicyRule { pref: settings.rule_pref + n, family, iif, mark, table };
    [
        rule(0, "lo".parse().ok(), None, settings.way_table),
        rule(1, None, Some(settings.mark), settings.way_table),
        rule(2, None, None, settings.guard_table),
    ]
}

/// The ways to a network, for whom the guard lets in.
fn ways(net: &Network, settings: &Settings) -> Vec<Route> {
    let way = |to| Route { table: settings.way_table, ..Route::main(Place::Host, Some(to), None, net.bridge.clone()) };
    net.prefixes().into_iter().map(way).collect()
}

/// The refusing routes of a network.
fn prohibits(net: &Network, settings: &Settings) -> Vec<Prohibit> {
    // Where the host has no bridge, its routing has no say in who reaches a container.
    let bridged = net.subnet.as_ref().is_none_or(vpc::Subnet::routed);
    net.prefixes().into_iter().filter(|_| bridged).map(|to| Prohibit { table: settings.guard_table, to }).collect()
}

/// Kernel variables of a namespace that a link will be born in: no ear for router advertisements, and no IPv6 where
/// the network has none.
pub fn inner_variables(has_v6: bool, fresh: bool, settings: &Settings) -> Vec<(String, String)> {
    let accept_ra = ("net/ipv6/conf/default/accept_ra", "0");
    let disable = ("net/ipv6/conf/default/disable_ipv6", "1");
    let allow = ("net/ipv6/conf/default/disable_ipv6", "0");
    let variables = match (settings.kernel_ipv6, has_v6) {
        (false, _) => vec![],
        // As a new namespace has it.
        (true, true) if fresh => vec![accept_ra],
        (true, true) => vec![accept_ra, allow],
        (true, false) => vec![accept_ra, disable],
    };
    // A new namespace forwards if the machine does: one on two networks would be a router between them.
    let own = fresh.then_some(("net/ipv4/ip_forward", "0"));
    variables.into_iter().chain(own).map(|(key, value)| (key.into(), value.into())).collect()
}

/// Steps that attach an endpoint whose namespace is there.
pub fn attach(ep: &Endpoint, link: &EndpointLink, at: &Place, settings: &Settings) -> Vec<Op> {
    let mut ops = vec![Op::VethAdd {
        dev: link.host_dev.clone(),
        mac: None,
        bridge: Some(link.bridge.clone()),
        peer_at: at.clone(),
        peer: link.interface.clone(),
        peer_mac: link.mac,
        mtu: link.mtu,
        group: settings.group,
    }];
    ops.push(Op::PortUp {
        dev: link.host_dev.clone(),
        hairpin: true,
        isolated: link.isolated,
        alias: endpoint_alias(ep, settings),
    });
    let dev = || link.interface.clone();
    ops.extend(link.addrs.iter().map(|addr| Op::AddrAdd { at: at.clone(), dev: dev(), addr: *addr }));
    ops.push(Op::LinkUp { at: at.clone(), dev: dev() });
    ops.extend(rates(link, at).into_iter().filter(|op| matches!(op, Op::RateSet { .. })));
    ops.extend(link.gateways.iter().map(|via| Op::RouteAdd(link.way_out(at.clone(), *via))));
    ops.extend(enter(ep, link, settings));
    ops
}

/// Steps that take an endpoint into the tables.
pub(crate) fn enter(ep: &Endpoint, link: &EndpointLink, settings: &Settings) -> impl Iterator<Item = Op> {
    endpoint_elements(ep, link, settings).into_iter().map(|(table, element)| Op::ElementAdd { table, element })
}

/// Who owns an endpoint's link (ifalias). That of an ENI ends with the ENI's id.
pub(crate) fn endpoint_alias(ep: &Endpoint, settings: &Settings) -> String {
    let eni = ep.link.as_ref().and_then(|l| l.eni.as_ref()).map(|eni| format!("/{}", eni.id)).unwrap_or_default();
    format!("netmode/{}/endpoint/{}{eni}", settings.instance, ep.id)
}

/// The buckets of an endpoint: what its container gets goes out by the link on the host, what it sends by the link
/// inside. There it meets the sender's own queue, which a policer on the host's side would not; and the kernel takes
/// both away with the links. A direction without a limit gets the kernel's own queue back.
pub fn rates(link: &EndpointLink, at: &Place) -> Vec<Op> {
    let host = link.has_host_end().then(|| (link.rate.inward, Place::Host, link.host_dev.clone()));
    let inside = (link.rate.outward, at.clone(), link.interface.clone());
    let bucket = |(rate, at, dev): (Option<Rate>, Place, IfName)| match rate {
        Some(rate) => Op::RateSet { at, dev, rate, burst: rate.burst(link.mtu) },
        None => Op::RateDel { at, dev },
    };
    host.into_iter().chain([inside]).map(bucket).collect()
}

/// The elements of an endpoint in all tables.
pub fn endpoint_elements(ep: &Endpoint, link: &EndpointLink, settings: &Settings) -> Vec<(TableName, Element)> {
    let published = published(&ep.ports, |v4| link.addr(v4), settings.outward).into_iter();
    let published = published.map(|e| (TableName::inet(&settings.table), e));
    let guarded = settings.source_guard && link.has_host_end();
    let guard = guarded.then(|| source_guard::elements(&link.host_dev, link.mac, &link.addrs));
    let guard = guard.unwrap_or_default();
    let eni = if link.eni.is_some() { addresses(link) } else { Vec::new() };
    let task = |ip| member(ruleset::tasks(Family::of(ip)), vec![Span::One(Datum::ip(ip))]);
    let published = published.chain(eni.into_iter().map(|ip| (TableName::inet(&settings.table), task(ip))));
    published.chain(guard.into_iter().map(|e| (TableName::bridge(&settings.table), e))).collect()
}

/// What follows an attachment and cannot be taken back.
pub fn attached(ep: &Endpoint, link: &EndpointLink, at: &Place) -> Vec<Final> {
    let announce = link.addrs.iter().filter(|_| link.announce).map(|addr| Final::Announce {
        at: at.clone(),
        dev: link.interface.clone(),
        ip: addr.ip(),
        mac: link.hardware_address(),
    });
    flush(&ep.ports, &addresses(link)).into_iter().chain(announce).collect()
}

/// Steps that take the endpoint out of the tables. Its port may say nothing any more, until it is gone.
pub fn unpublish(ep: &Endpoint, link: &EndpointLink, settings: &Settings) -> Vec<Op> {
    let elements = endpoint_elements(ep, link, settings).into_iter();
    elements.map(|(table, element)| Op::ElementDel { table, element }).collect()
}

/// The addresses of a link.
pub fn addresses(link: &EndpointLink) -> Vec<IpAddr> {
    link.addrs.iter().map(IpNetwork::ip).collect()
}

/// Forget the flows of published ports, but for those that lead to the addresses `kept` already.
pub fn flush(ports: &[Published], kept: &[IpAddr]) -> Vec<Final> {
    let one = |p: &Published| Final::FlushConntrack {
        protocol: p.protocol,
        host: p.host,
        ports: p.host_ports,
        kept: kept.to_vec(),
    };
    ports.iter().map(one).collect()
}

pub(crate) fn add(settings: &Settings, element: Element) -> Op {
    Op::ElementAdd { table: TableName::inet(&settings.table), element }
}

/// The elements of published ports that lead to one address of each family (`addr` is asked whether of IPv4).
/// Containers' own connections get host ports of the range `outward`.
pub fn published(ports: &[Published], addr: impl Fn(bool) -> Option<IpAddr>, outward: PortRange) -> Vec<Element> {
    let mut elements = Vec::new();
    for p in ports.iter().filter(|p| !by_agent(p.host)) {
        let families = [(p.host.has_v4(), true), (p.host.has_v6(), false)];
        for ip in families.iter().filter(|(wanted, _)| *wanted).filter_map(|(_, v4)| addr(*v4)) {
            publish_to(p, ip, &mut elements);
            elements.extend(shadow(p, Family::of(ip), outward));
        }
    }
    elements
}

/// A published port that a container's own connection could be given.
fn shadow(p: &Published, family: Family, outward: PortRange) -> Option<Element> {
    if !p.host_ports.overlaps(outward) {
        return None;
    }
    let range = p.host_ports.count() > 1;
    let form = if range { Form::Range } else { Form::Port };
    let set = ruleset::shadow(range, p.host.specific().is_some(), family).into();
    Some(Element { set, key: key(form, p, p.host_ports), data: vec![] })
}

/// The host's `::1` has no path through the kernel (IPv6 has no route_localnet): the agent carries it.
pub fn by_agent(host: HostAddr) -> bool {
    host.specific().is_some_and(|ip| ip.is_ipv6() && ip.is_loopback())
}

fn publish_to(p: &Published, ip: IpAddr, out: &mut Vec<Element>) {
    let (h, c) = (p.host_ports, p.container);
    if h.count() == 1 {
        out.push(element(Form::Port, p, h, vec![Datum::ip(ip), Datum::Port(c.first())]));
    } else if h == c {
        out.push(element(Form::Range, p, h, vec![Datum::ip(ip)]));
    } else if let Some((min, max)) = shift(h, c) {
        out.push(element(Form::Shift, p, h, vec![Datum::ip(ip), Datum::Port(min), Datum::Port(max)]));
    } else {
        for (host, container) in h.iter().zip(c.iter()) {
            let one = PortRange::single(host).unwrap_or(h);
            out.push(element(Form::Port, p, one, vec![Datum::ip(ip), Datum::Port(container)]));
        }
    }
}

fn element(form: Form, p: &Published, ports: PortRange, data: Vec<Datum>) -> Element {
    let family = if matches!(data.first(), Some(Datum::V4(_))) { Family::V4 } else { Family::V6 };
    Element { set: ruleset::map(form, p.host.specific().is_some(), family).into(), key: key(form, p, ports), data }
}

fn key(form: Form, p: &Published, ports: PortRange) -> Vec<Span> {
    let ports = match form {
        Form::Port => Span::One(Datum::Port(ports.first())),
        Form::Range | Form::Shift => Span::Range(Datum::Port(ports.first()), Datum::Port(ports.last())),
    };
    let mut key = vec![Span::One(Datum::Proto(p.protocol))];
    key.extend(p.host.specific().map(|ip| Span::One(Datum::ip(ip))));
    key.push(ports);
    key
}

/// `min` and `max` for the kernel's `min + dport mod (max − min + 1)`, if the shift can be said so.
///
/// For a container range at or above the host's, `min` is the distance and `max` the last container
/// port, so that no host port reaches the modulus. Below it, the modulus is the first host port, which
/// works while the range is no longer than that.
fn shift(h: PortRange, c: PortRange) -> Option<(u16, u16)> {
    if c.first() >= h.first() {
        return Some((c.first() - h.first(), c.last()));
    }
    let max = u32::from(c.first()) + u32::from(h.first()) - 1;
    let fits = h.count() <= u32::from(h.first());
    u16::try_from(max).ok().filter(|_| fits).map(|max| (c.first(), max))
}

/// The address a container has on a prefix.
pub fn with_prefix(ip: IpAddr, prefix: IpNetwork) -> IpNetwork {
    IpNetwork::new(ip, prefix.prefix()).unwrap_or(prefix)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The kernel's formula (nf_nat_core.c) gives the container's port for every port of the range.
        #[test]
        fn a_shifted_range_is_said_exactly(h in 1u16..=65535, c in 1u16..=65535, n in 1u32..3000) {
            let last = |first: u16| u16::try_from(u32::from(first) + n - 1).ok();
            if let (Some(hl), Some(cl)) = (last(h), last(c)) {
                let (h, c) = (PortRange::new(h, hl).unwrap(), PortRange::new(c, cl).unwrap());
                if let Some((min, max)) = shift(h, c) {
                    let size = u32::from(max) - u32::from(min) + 1;
                    for (from, to) in h.iter().zip(c.iter()) {
                        prop_assert_eq!(u32::from(min) + u32::from(from) % size, u32::from(to));
                    }
                } else {
                    prop_assert!(c.first() < h.first());
                }
            }
        }
    }
}
