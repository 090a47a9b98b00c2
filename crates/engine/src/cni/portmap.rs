//! The plugin `portmap`: published ports, held against everybody else, and found by one look-up.

use super::address::prefixes;
use super::ask::{Ask, Planned, member};
use super::invalid;
use crate::bridge;
use crate::ruleset::{Guests, guests};
use netmode_model::cni::{CniError, CniResult, Ip, Keys, unsupported};
use netmode_model::nft::Family;
use netmode_model::{HostAddr, IfName, Op, Place, PortSpec, Published};
use std::net::IpAddr;

pub(super) fn plan(ask: &Ask<'_>) -> Result<Planned, CniError> {
    let keys = ask.keys();
    accept(&keys)?;
    let previous = ask.previous("portmap")?;
    let specs = ask.runtime()?.ports(ask.config)?;
    // The first address of each family, as the reference has it.
    let all = previous.addresses(&ask.call.ifname);
    let of = |v4: bool| all.iter().find(|ip| ip.address.is_ipv4() == v4).copied();
    let ips: Vec<Ip> = [of(true), of(false)].into_iter().flatten().cloned().collect();
    if specs.is_empty() || ips.is_empty() {
        return Ok(Planned::default());
    }
    // A runtime asks for the same ports on each network of a container. The first leads there already.
    let had = |port: &Published| ask.published.iter().any(|other| other.same_place(port));
    let ports: Vec<Published> =
        specs.iter().filter_map(|spec| published(spec, &ips)).filter(|port| !had(port)).collect();
    let addr = |v4: bool| of(v4).map(|ip| ip.address.ip());
    let elements = bridge::published(&ports, addr, ask.settings.outward);
    let mut ops: Vec<Op> = elements.into_iter().map(|element| ask.element(element)).collect();
    let mut planned = Planned::default();
    if keys.get("snat").is_none_or(|snat| snat != &serde_json::Value::Bool(false)) {
        ops.extend(ips.iter().map(|ip| ask.element(of_set(Guests::Hairpin, ip.address.ip()))));
        planned.shared = prefixes(&ips);
        planned.lasting = local_routes(ask, previous)?;
    }
    if keys.flag("masqAll")? {
        ops.extend(ips.iter().map(|ip| ask.element(of_set(Guests::Behind, ip.address.ip()))));
    }
    let kept: Vec<IpAddr> = ips.iter().map(|ip| ip.address.ip()).collect();
    planned.then = bridge::flush(&ports, &kept);
    (planned.ops, planned.ports) = (ops, ports);
    Ok(planned)
}

fn of_set(set: Guests, ip: IpAddr) -> netmode_model::nft::Element {
    member(guests(set, Family::of(ip)), ip)
}

/// Keys that say how iptables would do it: our table does the same without them.
fn accept(keys: &Keys<'_>) -> Result<(), CniError> {
    match keys.text("backend")? {
        None | Some("iptables" | "nftables") => {}
        Some(other) => return Err(invalid(format!("backend {other:?}: it is iptables or nftables"))),
    }
    let bit = keys.integer("markMasqBit", 0, 31)?;
    if bit.is_some() && keys.text("externalSetMarkChain")?.is_some() {
        return Err(invalid("markMasqBit and externalSetMarkChain cannot both be: choose one"));
    }
    keys.flag("snat")?;
    for key in ["conditionsV4", "conditionsV6"] {
        if let Some(value) = keys.get(key).filter(|_| keys.list(key).is_ok_and(|list| !list.is_empty())) {
            return Err(unsupported(key, value, "use \"hostIP\" of a port mapping, or rules of your own firewall"));
        }
        keys.list(key)?;
    }
    Ok(())
}

/// A mapping of a host address of a family that the container does not have is for nobody.
fn published(spec: &PortSpec, ips: &[Ip]) -> Option<Published> {
    let reached = ips.iter().any(|ip| if ip.address.is_ipv4() { spec.host.has_v4() } else { spec.host.has_v6() });
    let host = match spec.host {
        // Held for the families that lead somewhere.
        HostAddr::Any if ips.iter().all(|ip| ip.address.is_ipv4()) => {
            HostAddr::Ip(std::net::Ipv4Addr::UNSPECIFIED.into())
        }
        host => host,
    };
    let host_ports = spec.host_ports.filter(|_| reached)?;
    Some(Published { host, host_ports, container: spec.container, protocol: spec.protocol })
}

/// From 127.0.0.1 the way to a container leads over a link that takes such packets (`route_localnet`); what comes in by
/// it for 127.0.0.0/8 is dropped in our table.
fn local_routes(ask: &Ask<'_>, previous: &CniResult) -> Result<Vec<Op>, CniError> {
    for interface in previous.interfaces.iter().filter(|interface| interface.sandbox.is_empty()) {
        let Ok(name) = interface.name.parse::<IfName>() else { continue };
        // A port of a bridge routes nothing.
        if ask.link_of_host(&name)?.is_some_and(|link| link.master.is_none()) {
            let key = format!("net/ipv4/conf/{name}/route_localnet");
            return Ok(vec![Op::Sysctl { at: Place::Host, key, value: "1".into() }]);
        }
    }
    Ok(Vec::new())
}
