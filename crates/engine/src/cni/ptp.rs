//! The plugin `ptp`: a veth pair, routed at both ends.

use super::address::{Neighbours, configure, masquerade};
use super::ask::{Ask, ETHERNET, Planned, link_member, of_host};
use super::bridge::with_previous;
use super::{invalid, refused};
use crate::ipam::canonical;
use crate::ruleset;
use ipnetwork::IpNetwork;
use netmode_model::cni::{CniError, CniResult, Ip};
use netmode_model::op::{Op, Route, RouteOptions};
use netmode_model::{IfName, Place};
use std::net::IpAddr;

pub(super) fn plan(ask: &Ask<'_>) -> Result<Planned, CniError> {
    let dev = ask.new_link()?;
    let given = ask.addressed()?.ok_or_else(|| invalid("ptp needs addresses: the key \"ipam\" is missing"))?;
    let ips = with_gateways(&given.ips)?;
    let (mac, mtu) = (ask.mac(ask.runtime()?.mac, &ips), ask.mtu()?.unwrap_or(ETHERNET));
    let host_dev = ask.host_link()?;
    let mut ops = vec![Op::VethAdd {
        dev: host_dev.clone(),
        mac: Some(ask.host_mac()),
        bridge: None,
        peer_at: ask.at.clone(),
        peer: dev.clone(),
        peer_mac: mac,
        mtu,
        group: ask.settings.group,
    }];
    if ask.settings.kernel_ipv6 {
        let key = format!("net/ipv6/conf/{host_dev}/accept_ra");
        ops.push(Op::Sysctl { at: Place::Host, key, value: "0".into() });
    }
    // The far end of a default route must be on a link, so the gateway's own route comes first.
    ops.extend(configure(ask, &dev, &ips, &[], Neighbours::Know));
    ops.extend(ips.iter().flat_map(|ip| routed(ask, &dev, ip)));
    ops.extend(own_routes(ask, &dev, &ips, given));
    ops.extend(ips.iter().flat_map(|ip| from_host(&host_dev, ip)));
    let (own, shared) = masquerade(&ask.keys(), &ips)?;
    ops.extend(own.into_iter().map(|element| ask.element(element)));
    let ips = ips.into_iter().map(|ip| Ip { interface: Some(1), ..ip }).collect();
    let interfaces = vec![of_host(&host_dev, Some(ask.host_mac())), ask.interface(&dev, mac, Some(mtu))];
    let own = CniResult { interfaces, ips, routes: given.routes.clone(), dns: ask.dns() };
    Ok(Planned {
        shared: shared.into_iter().chain([link_member(ruleset::OPEN, &[&host_dev])]).collect(),
        ops,
        behind: vec![host_dev],
        result: Some(with_previous(own, ask.previous)),
        ..Planned::default()
    })
}

fn with_gateways(ips: &[Ip]) -> Result<Vec<Ip>, CniError> {
    let with = |ip: &Ip| {
        let gateway = ip.gateway.or_else(|| crate::ipam::first_host(ip.address));
        match gateway {
            Some(_) => Ok(Ip { gateway, ..ip.clone() }),
            None => Err(refused(format!(
                "{} has no gateway, and its prefix has room for none; give one by the IPAM plugin's \"gateway\"",
                ip.address
            ))),
        }
    };
    ips.iter().map(with).collect()
}

fn alone(ip: IpAddr) -> IpNetwork {
    IpNetwork::from(ip)
}

/// The gateway is on the link, and everything of the prefix behind it.
fn routed(ask: &Ask<'_>, dev: &IfName, ip: &Ip) -> Vec<Op> {
    let route = |to, via| Route::main(ask.at.clone(), Some(to), via, dev.clone());
    let Some(gateway) = ip.gateway else { return Vec::new() };
    let prefix = canonical(ip.address);
    let mut ops = Vec::new();
    if prefix != alone(ip.address.ip()) {
        // The kernel has made it with the address.
        ops.push(Op::RouteDel(route(prefix, None)));
    }
    ops.push(Op::RouteAdd(route(alone(gateway), None)));
    if prefix != alone(ip.address.ip()) && prefix.contains(gateway) {
        ops.push(Op::RouteAdd(route(prefix, Some(gateway))));
    }
    ops
}

/// What the IPAM plugin wants besides.
fn own_routes(ask: &Ask<'_>, dev: &IfName, ips: &[Ip], given: &CniResult) -> Vec<Op> {
    let kernel = |route| super::address::kernel_route(ask.at, dev, ips, route);
    let routes = given.routes.iter().map(kernel).filter(|route| {
        let same = |other: &&Route| (other.to, other.table) == (route.to, route.table);
        !ask.inside.routes.iter().any(|other| same(&other))
    });
    let onlink = |route: Route| {
        let options = RouteOptions { onlink: route.via.is_some(), ..route.options };
        Op::RouteAdd(Route { options, ..route })
    };
    routes.map(onlink).collect()
}

/// The host's end has the gateway's address, and the way to the container.
fn from_host(dev: &IfName, ip: &Ip) -> Vec<Op> {
    let Some(gateway) = ip.gateway else { return Vec::new() };
    let to = Some(alone(ip.address.ip()));
    vec![
        Op::AddrAdd { at: Place::Host, dev: dev.clone(), addr: alone(gateway) },
        Op::LinkUp { at: Place::Host, dev: dev.clone() },
        Op::RouteAdd(Route::main(Place::Host, to, None, dev.clone())),
    ]
}
