//! Addresses and routes of a link in a container, and its translation.

use super::Ask;
use super::ask::{member, within};
use crate::ruleset::{Guests, guests};
use ipnetwork::IpNetwork;
use netmode_model::cni::{CniError, CniRoute, Ip, Keys, unsupported};
use netmode_model::nft::{Element, Family};
use netmode_model::op::{MAIN_TABLE, Op, Route, RouteOptions};
use netmode_model::{IfName, Mac, Place};
use std::net::IpAddr;

/// Whether neighbours may know another hardware address for one of a link's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Neighbours {
    /// They are told when the link comes up.
    Told,
    /// They know the right one, if any.
    Know,
}

impl Neighbours {
    /// A hardware address that follows from the IPv4 address is always the same for it.
    pub(super) fn of(mac: Mac, ips: &[Ip]) -> Self {
        let derived = |ip: &Ip| matches!(ip.address.ip(), IpAddr::V4(v4) if Mac::from_ipv4(v4) == mac);
        if ips.iter().any(derived) { Self::Know } else { Self::Told }
    }
}

/// Steps that give a link its addresses and routes and bring it up.
pub(super) fn configure(
    ask: &Ask<'_>,
    dev: &IfName,
    ips: &[Ip],
    routes: &[CniRoute],
    neighbours: Neighbours,
) -> Vec<Op> {
    let mut ops = Vec::new();
    if neighbours == Neighbours::Know && ask.settings.kernel_ipv6 && ips.iter().all(|ip| ip.address.is_ipv4()) {
        // Nobody on this network has IPv6. An address of the link's own making (IN6_ADDR_GEN_MODE_NONE) would be told
        // to every other port when it comes up: a thousandth container would cost a thousand packets, three times.
        let key = format!("net/ipv6/conf/{dev}/addr_gen_mode");
        ops.push(Op::Sysctl { at: ask.at.clone(), key, value: "1".into() });
    }
    let families = [("ipv4", "arp_notify", true), ("ipv6", "ndisc_notify", false)];
    for (family, name, v4) in families.into_iter().filter(|_| neighbours == Neighbours::Told) {
        if ips.iter().any(|ip| ip.address.is_ipv4() == v4) {
            let key = format!("net/{family}/conf/{dev}/{name}");
            ops.push(Op::Sysctl { at: ask.at.clone(), key, value: "1".into() });
        }
    }
    if ips.iter().any(|ip| ip.address.is_ipv6()) {
        // Runtimes make namespaces without IPv6 where the host's default says so.
        let key = format!("net/ipv6/conf/{dev}/disable_ipv6");
        ops.push(Op::Sysctl { at: ask.at.clone(), key, value: "0".into() });
    }
    ops.extend(ips.iter().map(|ip| Op::AddrAdd { at: ask.at.clone(), dev: dev.clone(), addr: ip.address }));
    ops.push(Op::LinkUp { at: ask.at.clone(), dev: dev.clone() });
    ops.extend(added(ask, dev, ips, routes).into_iter().map(Op::RouteAdd));
    ops
}

/// The routes, but for those that the namespace has by another link already: a container's second network may have a
/// default route as well, and the first one's stays.
fn added(ask: &Ask<'_>, dev: &IfName, ips: &[Ip], routes: &[CniRoute]) -> Vec<Route> {
    let mut all: Vec<Route> = Vec::new();
    for route in routes.iter().map(|route| kernel_route(ask.at, dev, ips, route)) {
        let same = |other: &Route| {
            (other.to, other.table, other.options.priority) == (route.to, route.table, route.options.priority)
                && six(other) == six(&route)
        };
        if !all.iter().chain(&ask.inside.routes).any(same) {
            all.push(route);
        }
    }
    all
}

fn six(route: &Route) -> bool {
    route.to.is_some_and(|to| to.is_ipv6()) || route.via.is_some_and(|via| via.is_ipv6())
}

/// A route as the kernel has it: the default one has no destination.
pub(super) fn kernel_route(at: &Place, dev: &IfName, ips: &[Ip], route: &CniRoute) -> Route {
    let of_family = || ips.iter().find(|ip| ip.address.is_ipv4() == route.dst.is_ipv4())?.gateway;
    let via = route.gw.or_else(of_family);
    let scope = route.option("scope").and_then(|scope| u8::try_from(scope).ok());
    let options = RouteOptions {
        onlink: false,
        priority: route.option("priority"),
        mtu: route.option("mtu"),
        advmss: route.option("advmss"),
        scope,
    };
    let to = crate::ipam::canonical(route.dst);
    Route {
        at: at.clone(),
        // A link scope has no next hop (`RT_SCOPE_LINK`).
        via: via.filter(|_| scope != Some(253)),
        to: (to.prefix() > 0 || via.is_none()).then_some(to),
        dev: dev.clone(),
        table: route.option("table").unwrap_or(MAIN_TABLE),
        options,
    }
}

/// `ipMasq`: elements of each address's own, and of its prefix, which others may share.
pub(super) fn masquerade(keys: &Keys<'_>, ips: &[Ip]) -> Result<(Vec<Element>, Vec<Element>), CniError> {
    match keys.text("ipMasqBackend")? {
        None | Some("iptables" | "nftables") => {}
        Some(other) => return Err(unsupported("ipMasqBackend", &other.into(), "it is iptables or nftables")),
    }
    if !keys.flag("ipMasq")? {
        return Ok((Vec::new(), Vec::new()));
    }
    let own = ips.iter().map(|ip| member(guests(Guests::Masquerade, Family::of(ip.address.ip())), ip.address.ip()));
    Ok((own.collect(), prefixes(ips)))
}

/// Elements that say that traffic within the addresses' prefixes stays as it is.
pub(super) fn prefixes(ips: &[Ip]) -> Vec<Element> {
    let prefix = |ip: &Ip| crate::ipam::canonical(ip.address);
    ips.iter().map(prefix).map(|p: IpNetwork| within(guests(Guests::Plain, Family::of(p.ip())), p)).collect()
}
