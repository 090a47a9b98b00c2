//! What CHECK expects to be there: what ADD made, as the plugins behind it have left it.

use super::address::kernel_route;
use super::{Attachment, Plugin};
use crate::settings::Settings;
use netmode_model::cni::{CniResult, Ip};
use netmode_model::nft::TableName;
use netmode_model::op::Route;
use netmode_model::{IfName, Mac, Op, Place};

/// The steps that have to hold. The result is the last one of ADD, so a later plugin's change counts.
pub fn expected(record: &Attachment, plugin: Plugin, at: &Place, result: &CniResult, settings: &Settings) -> Vec<Op> {
    let ifname = &record.key.interface;
    let mac = result.inside(ifname).and_then(|(_, interface)| interface.mac.parse::<Mac>().ok());
    let mut ops: Vec<Op> = record.bridge.iter().map(|dev| Op::LinkUp { at: Place::Host, dev: dev.clone() }).collect();
    let gateways = record.bridge.iter().flat_map(|dev| record.gateways.iter().map(move |addr| (dev, addr)));
    ops.extend(gateways.map(|(dev, addr)| Op::AddrAdd { at: Place::Host, dev: dev.clone(), addr: *addr }));
    ops.extend(record.steps.iter().filter_map(|op| current(op, mac, at, plugin)));
    let shared = record.shared.iter().cloned();
    ops.extend(shared.map(|element| Op::ElementAdd { table: TableName::inet(&settings.table), element }));
    if !plugin.is_chained() {
        ops.extend(told(record, result, at));
    }
    ops
}

/// What has to hold of a link that somebody else's plugin has made: that it is up and has its addresses.
pub fn expected_of_others(ifname: &IfName, at: &Place, result: &CniResult) -> Vec<Op> {
    let up = Op::LinkUp { at: at.clone(), dev: ifname.clone() };
    let addrs = result.addresses(ifname.as_str()).into_iter();
    let addrs = addrs.map(|ip| Op::AddrAdd { at: at.clone(), dev: ifname.clone(), addr: ip.address });
    std::iter::once(up).chain(addrs).collect()
}

/// A step as it should be seen now, in the namespace that was handed over anew. What is told by the result is looked up
/// there; the link's hardware address may have been changed on purpose.
fn current(op: &Op, mac: Option<Mac>, at: &Place, plugin: Plugin) -> Option<Op> {
    let here = |place: &Place| if *place == Place::Host { Place::Host } else { at.clone() };
    Some(match op.clone() {
        Op::VethAdd { dev, mac: own, bridge, peer_at, peer, peer_mac, mtu, group } => {
            let (peer_at, peer_mac) = (here(&peer_at), mac.unwrap_or(peer_mac));
            Op::VethAdd { dev, mac: own, bridge, peer_at, peer, peer_mac, mtu, group }
        }
        Op::UpperAdd { at, dev, kind, lower_at, lower, mtu, mac: own, alias } => {
            let (at, lower_at) = (here(&at), here(&lower_at));
            Op::UpperAdd { at, dev, kind, lower_at, lower, mtu, mac: own.and(mac.or(own)), alias }
        }
        Op::LinkMove { from, dev, to, name } => Op::LinkMove { from: here(&from), dev, to: here(&to), name },
        Op::LinkUp { at, dev } => Op::LinkUp { at: here(&at), dev },
        Op::LinkMac { at, dev, mac } => Op::LinkMac { at: here(&at), dev, mac },
        Op::LinkMtu { at, dev, mtu } => Op::LinkMtu { at: here(&at), dev, mtu },
        Op::LinkFlag { at, dev, flag, on } => Op::LinkFlag { at: here(&at), dev, flag, on },
        Op::LinkQueue { at, dev, length } => Op::LinkQueue { at: here(&at), dev, length },
        Op::RateSet { at, dev, rate, burst } => Op::RateSet { at: here(&at), dev, rate, burst },
        // Those that the configuration asks for; a link's first ones may have been set again since.
        Op::Sysctl { at, key, value } if plugin == Plugin::Tuning => Op::Sysctl { at: here(&at), key, value },
        Op::AddrAdd { at: Place::Host, dev, addr } => Op::AddrAdd { at: Place::Host, dev, addr },
        Op::RouteAdd(route) if route.at == Place::Host => Op::RouteAdd(route),
        op @ (Op::ElementAdd { .. } | Op::PortUp { .. }) => op,
        _ => return None,
    })
}

/// Addresses and routes of the result. A route that ADD left out, because another link had it, is not looked for; one that
/// a later plugin took out of the result is not either.
fn told(record: &Attachment, result: &CniResult, at: &Place) -> Vec<Op> {
    let ifname = &record.key.interface;
    let Ok(dev) = ifname.parse::<IfName>() else { return Vec::new() };
    let ips: Vec<Ip> = result.addresses(ifname).into_iter().cloned().collect();
    let addrs = ips.iter().map(|ip| Op::AddrAdd { at: at.clone(), dev: dev.clone(), addr: ip.address });
    let made: Vec<&Route> = record
        .steps
        .iter()
        .filter_map(|op| match op {
            Op::RouteAdd(route) if route.at != Place::Host => Some(route),
            _ => None,
        })
        .collect();
    let routes = result.routes.iter().map(|route| kernel_route(at, &dev, &ips, route)).filter_map(|told| {
        let step = made.iter().find(|made| (made.to, made.table) == (told.to, told.table))?;
        // As it was made, options and all, unless its next hop is another one now.
        let route = if step.via == told.via { Route { at: at.clone(), ..(*step).clone() } } else { told };
        Some(Op::RouteAdd(route))
    });
    addrs.chain(routes).collect()
}
