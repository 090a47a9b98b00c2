//! The plugin `host-device`: a link of the host moves into the container, and back.

use super::address::{Neighbours, configure};
use super::ask::{Ask, Planned};
use super::bridge::with_previous;
use super::{invalid, kernel, refused};
use crate::outside::Host;
use netmode_model::cni::{CniCode, CniError, CniResult, Config, Ip, unsupported};
use netmode_model::state::LinkState;
use netmode_model::{Mac, Op, Place};

/// Ways to name a device that need `/sys`, which shows the namespace of whoever mounted it.
const BY_BUS: [&str; 3] = ["kernelpath", "pciBusID", "deviceID"];

pub(super) fn plan(ask: &Ask<'_>) -> Result<Planned, CniError> {
    let dev = ask.new_link()?;
    let link = wanted(ask.config, ask.host)?;
    let mac = link.mac.ok_or_else(|| {
        refused(format!(
            "the link {} has no hardware address, so no container can have it; name another one by \"device\"",
            link.name
        ))
    })?;
    let given = ask.addressed()?;
    let (ips, routes) = given.map(|given| (given.ips.clone(), given.routes.clone())).unwrap_or_default();
    let mut ops = vec![
        // A link that is up cannot be renamed (EBUSY).
        Op::LinkDown { at: Place::Host, dev: link.name.clone() },
        Op::LinkMove { from: Place::Host, dev: link.name.clone(), to: ask.at.clone(), name: dev.clone() },
    ];
    ops.extend(configure(ask, &dev, &ips, &routes, Neighbours::Told));
    let ips = ips.into_iter().map(|ip| Ip { interface: Some(0), ..ip }).collect();
    let interfaces = vec![ask.interface(&dev, mac, Some(link.mtu))];
    let own = CniResult { interfaces, ips, routes, dns: ask.dns() };
    Ok(Planned { ops, result: Some(with_previous(own, ask.previous)), ..Planned::default() })
}

fn wanted(config: &Config, host: &dyn Host) -> Result<LinkState, CniError> {
    let keys = config.keys();
    let runtime = keys.object("runtimeConfig")?;
    for (keys, key) in BY_BUS.into_iter().flat_map(|key| [(&keys, key), (&runtime, key)]) {
        if let Some(value) = keys.get(key) {
            return Err(unsupported(key, value, "name the link by \"device\" or \"hwaddr\""));
        }
    }
    if let Some(name) = keys.parsed("device", "the name of a link")? {
        let found = host.link(&name).map_err(|e| kernel(&e))?;
        return found.ok_or_else(|| {
            refused(format!("there is no link {name} (\"device\") on this host; \"ip link\" lists the links"))
        });
    }
    let Some(mac) = keys.parsed::<Mac>("hwaddr", "a hardware address of six bytes")? else {
        return Err(invalid("no device: name the link by \"device\" or \"hwaddr\""));
    };
    let links = host.links().map_err(|e| kernel(&e))?;
    let found = links.into_iter().find(|link| link.mac == Some(mac));
    found.ok_or_else(|| {
        refused(format!(
            "there is no link with the hardware address {mac} (\"hwaddr\") on this host; \"ip link\" lists the links"
        ))
    })
}

/// Whether the device is there. Once it is in a container it is not, which is no reason to call the network unready:
/// whoever asks then has one container, and wants no second.
pub(super) fn status(config: &Config, host: &dyn Host) -> Result<(), CniError> {
    match wanted(config, host) {
        Err(error) if error.code == CniCode::Refused => Err(CniError { code: CniCode::NotAvailable, ..error }),
        other => other.map(drop),
    }
}
