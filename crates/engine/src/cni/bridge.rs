//! The plugin `bridge`.

use super::address::{Neighbours, configure, masquerade};
use super::ask::{Ask, ETHERNET, Planned, link_member, of_host};
use super::{Lan, invalid};
use crate::{ruleset, source_guard};
use ipnetwork::IpNetwork;
use netmode_model::cni::{CniError, CniResult, CniRoute, Interface, Ip, Keys, unsupported};
use netmode_model::nft::TableName;
use netmode_model::{IfName, Mac, Op};
use serde_json::Map;
use std::net::IpAddr;

/// Keys of bridges that tell VLANs apart: containers on one network of a name each are the same without them.
const VLANS: [&str; 2] = ["vlan", "vlanTrunk"];

pub(super) fn plan(ask: &Ask<'_>) -> Result<Planned, CniError> {
    let keys = ask.keys();
    refuse_vlans(&keys)?;
    let dev = ask.new_link()?;
    let bridge = name(&keys)?;
    let (hairpin, promisc) = (keys.flag("hairpinMode")?, keys.flag("promiscMode")?);
    if hairpin && promisc {
        return Err(invalid("hairpinMode and promiscMode cannot both be: choose one"));
    }
    let silent = keys.flag("disableContainerInterface")?;
    let given = ask.addressed()?;
    if silent && given.is_some() {
        return Err(invalid("disableContainerInterface leaves the link without addresses: leave \"ipam\" out"));
    }
    let default_gateway = keys.flag("isDefaultGateway")?;
    let is_gateway = default_gateway || keys.flag("isGateway")?;
    let (ips, routes) = addressed(given, is_gateway, default_gateway);
    let mac = ask.mac(ask.runtime()?.mac, &ips);
    let there = ask.link_of_host(&bridge)?;
    let mtu = ask.mtu()?.or(there.as_ref().map(|link| link.mtu)).unwrap_or(ETHERNET);
    let gateways: Vec<IpNetwork> = if is_gateway { gateways(&ips) } else { Vec::new() };
    let own = lan_mac(&gateways).unwrap_or_else(|| ask.own_mac());
    let lan = Lan {
        // That of a bridge that is there is its own.
        mac: there.as_ref().and_then(|link| link.mac).unwrap_or(own),
        seen: there,
        dev: bridge.clone(),
        mtu,
        gateways,
        force: keys.flag("forceAddress")?,
        promisc,
    };
    let host_dev = ask.host_link()?;
    let guarded = keys.flag("macspoofchk")?;
    let mut ops = vec![
        Op::VethAdd {
            dev: host_dev.clone(),
            mac: Some(ask.host_mac()),
            bridge: Some(bridge.clone()),
            peer_at: ask.at.clone(),
            peer: dev.clone(),
            peer_mac: mac,
            mtu,
            group: if guarded { ask.settings.group } else { 0 },
        },
        Op::PortUp { dev: host_dev.clone(), hairpin, isolated: keys.flag("portIsolation")?, alias: ask.alias() },
    ];
    if !silent {
        ops.extend(configure(ask, &dev, &ips, &routes, Neighbours::of(mac, &ips)));
    }
    if guarded {
        ops.extend(guard(ask, &host_dev, mac, &ips)?);
    }
    let (own, shared) = masquerade(&keys, &ips)?;
    ops.extend(own.into_iter().map(|element| ask.element(element)));
    let links = vec![
        of_host(&bridge, Some(lan.mac)),
        of_host(&host_dev, Some(ask.host_mac())),
        ask.interface(&dev, mac, Some(mtu)),
    ];
    let result = result(ask, links, ips, routes);
    Ok(Planned {
        shared: shared.into_iter().chain([link_member(ruleset::OPEN, &[&bridge])]).collect(),
        lan: Some(lan),
        ops,
        behind: vec![host_dev],
        result: Some(result),
        ..Planned::default()
    })
}

/// The bridge's name.
pub(super) fn name(keys: &Keys<'_>) -> Result<IfName, CniError> {
    match keys.parsed("bridge", "the name of a link, of 15 characters at most,")? {
        Some(name) => Ok(name),
        None => "cni0".parse().map_err(|_| invalid("no name for a bridge")),
    }
}

/// What this plugin does not do is refused, not left out: containers would reach each other that must not.
fn refuse_vlans(keys: &Keys<'_>) -> Result<(), CniError> {
    for key in VLANS {
        let nothing =
            |value: &serde_json::Value| value.as_u64() == Some(0) || value.as_array().is_some_and(Vec::is_empty);
        if let Some(value) = keys.get(key).filter(|value| !nothing(value)) {
            return Err(unsupported(key, value, "give each VLAN a bridge of its own"));
        }
    }
    Ok(())
}

/// Addresses with their gateways, and routes.
fn addressed(given: Option<&CniResult>, is_gateway: bool, default: bool) -> (Vec<Ip>, Vec<CniRoute>) {
    let mut ips = given.map(|given| given.ips.clone()).unwrap_or_default();
    let mut routes = given.map(|given| given.routes.clone()).unwrap_or_default();
    for ip in ips.iter_mut().filter(|_| is_gateway) {
        ip.gateway = ip.gateway.or_else(|| crate::ipam::first_host(ip.address));
    }
    for ip in ips.iter().filter(|_| default) {
        let family = ip.address.is_ipv4();
        let Some(dst) = if family { "0.0.0.0/0" } else { "::/0" }.parse::<IpNetwork>().ok() else { continue };
        // One that the IPAM plugin gave a next hop of its own stays.
        let there = routes.iter().any(|route| route.dst == dst && route.gw.is_some());
        routes.retain(|route| there || route.dst != dst);
        if !there {
            routes.push(CniRoute { dst, gw: ip.gateway, options: Map::new() });
        }
    }
    (ips, routes)
}

fn gateways(ips: &[Ip]) -> Vec<IpNetwork> {
    ips.iter().filter_map(|ip| Some(crate::bridge::with_prefix(ip.gateway?, ip.address))).collect()
}

fn lan_mac(gateways: &[IpNetwork]) -> Option<Mac> {
    gateways.iter().find_map(|gateway| match gateway.ip() {
        IpAddr::V4(ip) => Some(Mac::from_ipv4(ip)),
        IpAddr::V6(_) => None,
    })
}

/// `macspoofchk`, by the table that guards our own networks' ports: no frame but from its hardware address, and from its
/// own addresses.
fn guard(ask: &Ask<'_>, port: &IfName, mac: Mac, ips: &[Ip]) -> Result<Vec<Op>, CniError> {
    if !ask.settings.source_guard {
        let text = "[network] source_guard is switched off in the agent's configuration";
        return Err(unsupported("macspoofchk", &true.into(), text));
    }
    let addrs: Vec<IpNetwork> = ips.iter().map(|ip| ip.address).collect();
    let table = || TableName::bridge(&ask.settings.table);
    let elements = source_guard::elements(port, mac, &addrs).into_iter();
    Ok(elements.map(|element| Op::ElementAdd { table: table(), element }).collect())
}

/// The bridge, the link on the host, the one inside; what plugins before this one made comes behind.
fn result(ask: &Ask<'_>, interfaces: Vec<Interface>, ips: Vec<Ip>, routes: Vec<CniRoute>) -> CniResult {
    let ips = ips.into_iter().map(|ip| Ip { interface: Some(2), ..ip }).collect();
    with_previous(CniResult { interfaces, ips, routes, dns: ask.dns() }, ask.previous)
}

/// Adds what plugins before this one made.
pub(super) fn with_previous(mut own: CniResult, previous: Option<&CniResult>) -> CniResult {
    let Some(previous) = previous else { return own };
    let before = own.interfaces.len();
    own.interfaces.extend(previous.interfaces.iter().cloned());
    let moved = |ip: &Ip| Ip { interface: ip.interface.map(|index| index + before), ..ip.clone() };
    own.ips.extend(previous.ips.iter().map(moved));
    own.routes.extend(previous.routes.iter().cloned());
    own
}
