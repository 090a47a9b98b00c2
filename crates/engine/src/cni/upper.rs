//! The plugins `macvlan`, `ipvlan` and `vlan`: a link on top of one that is there.

use super::address::{Neighbours, configure};
use super::ask::{Ask, Planned};
use super::bridge::with_previous;
use super::{invalid, kernel, refused};
use crate::outside::Host;
use netmode_model::cni::{CniCode, CniError, CniResult, Config, Ip};
use netmode_model::op::{IpvlanMode, MacvlanMode, Upper};
use netmode_model::state::LinkState;
use netmode_model::{IfName, Mac, Op, Place};

pub(super) fn macvlan(ask: &Ask<'_>) -> Result<Planned, CniError> {
    let mode = match ask.keys().text("mode")? {
        None | Some("bridge") => MacvlanMode::Bridge,
        Some("private") => MacvlanMode::Private,
        Some("vepa") => MacvlanMode::Vepa,
        Some("passthru") => MacvlanMode::Passthru,
        Some(other) => return Err(invalid(format!("mode {other:?}: it is one of bridge, private, vepa, passthru"))),
    };
    let configured = ask.keys().parsed("mac", "a hardware address of six bytes")?;
    let wanted = ask.runtime()?.mac.or(configured);
    let given = ask.addressed()?;
    // Not derived from the address: on a network of others it is theirs to give.
    let mac = if mode == MacvlanMode::Passthru { wanted } else { Some(wanted.unwrap_or_else(|| ask.own_mac())) };
    plan(ask, Upper::Macvlan(mode), mac, given)
}

pub(super) fn ipvlan(ask: &Ask<'_>) -> Result<Planned, CniError> {
    let mode = match ask.keys().text("mode")? {
        None | Some("l2") => IpvlanMode::L2,
        Some("l3") => IpvlanMode::L3,
        Some("l3s") => IpvlanMode::L3s,
        Some(other) => return Err(invalid(format!("mode {other:?}: it is one of l2, l3, l3s"))),
    };
    let given = ask.addressed()?.or(ask.previous.filter(|previous| !previous.ips.is_empty()));
    let given = given.ok_or_else(|| invalid("ipvlan needs addresses: the key \"ipam\" is missing"))?;
    plan(ask, Upper::Ipvlan(mode), None, Some(given))
}

pub(super) fn vlan(ask: &Ask<'_>) -> Result<Planned, CniError> {
    let id = ask.keys().integer("vlanId", 0, 4094)?.and_then(|id| u16::try_from(id).ok());
    let id = id.ok_or_else(|| invalid("vlanId is missing: it is from 0 to 4094 (IEEE 802.1Q)"))?;
    if ask.keys().text("master")?.is_none() {
        return Err(invalid("master is missing: vlan needs the link that carries the tagged frames"));
    }
    let given = ask.addressed()?.ok_or_else(|| invalid("vlan needs addresses: the key \"ipam\" is missing"))?;
    plan(ask, Upper::Vlan(id), None, Some(given))
}

fn plan(ask: &Ask<'_>, kind: Upper, mac: Option<Mac>, given: Option<&CniResult>) -> Result<Planned, CniError> {
    let dev = ask.new_link()?;
    let (lower_at, lower) = lower(ask)?;
    let mtu = ask.mtu()?;
    if let Some(mtu) = mtu.filter(|mtu| *mtu > lower.mtu) {
        return Err(invalid(format!("mtu {mtu} is more than {} has, {}", lower.name, lower.mtu)));
    }
    let mtu = mtu.unwrap_or(lower.mtu);
    let mut ops = vec![Op::UpperAdd {
        at: ask.at.clone(),
        dev: dev.clone(),
        kind,
        lower_at,
        lower: lower.name.clone(),
        mtu: Some(mtu),
        mac,
        alias: None,
    }];
    let (ips, routes) = given.map(|given| (given.ips.clone(), given.routes.clone())).unwrap_or_default();
    // An ipvlan and a VLAN have the lower device's address.
    let shown = mac.or(lower.mac).unwrap_or_else(|| ask.own_mac());
    ops.extend(configure(ask, &dev, &ips, &routes, Neighbours::Told));
    let ips = ips.into_iter().map(|ip| Ip { interface: Some(0), ..ip }).collect();
    let own = CniResult { interfaces: vec![ask.interface(&dev, shown, Some(mtu))], ips, routes, dns: ask.dns() };
    let previous = ask.previous.filter(|_| ask.ipam.is_some() || given.is_none());
    Ok(Planned { ops, result: Some(with_previous(own, previous)), ..Planned::default() })
}

/// The lower device: named, or by which the default route leaves.
fn lower(ask: &Ask<'_>) -> Result<(Place, LinkState), CniError> {
    let named = ask.keys().parsed::<IfName>("master", "the name of a link")?;
    if ask.keys().flag("linkInContainer")? {
        let name =
            named.ok_or_else(|| invalid("master is missing: with linkInContainer it is a link in the container"))?;
        let link = ask.link_inside(&name).cloned().ok_or_else(|| missing(&name, "the container's namespace"))?;
        return Ok((ask.at.clone(), link));
    }
    let name = match named {
        Some(name) => name,
        None => way_out(ask.host)?,
    };
    let link = ask.link_of_host(&name)?.ok_or_else(|| missing(&name, "this host"))?;
    Ok((Place::Host, link))
}

fn way_out(host: &dyn Host) -> Result<IfName, CniError> {
    let way = host.egress().map_err(|e| kernel(&e))?;
    way.ok_or_else(|| invalid("master is not given, and this host has no default route whose link could be taken"))
}

fn missing(name: &IfName, place: &str) -> CniError {
    refused(format!("the link {name} (\"master\") is not there in {place}; \"ip link\" lists the links"))
}

/// Whether the lower device is there.
pub(super) fn status(config: &Config, host: &dyn Host) -> Result<(), CniError> {
    if config.keys().flag("linkInContainer")? {
        return Ok(());
    }
    let name = match config.keys().parsed::<IfName>("master", "the name of a link")? {
        Some(name) => name,
        None => way_out(host)?,
    };
    match host.link(&name).map_err(|e| kernel(&e))? {
        Some(_) => Ok(()),
        None => Err(CniError { code: CniCode::NotAvailable, ..missing(&name, "this host") }),
    }
}
