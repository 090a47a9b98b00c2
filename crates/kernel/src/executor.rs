//! One operation at a time, with what takes it back.

use crate::netns::Worker;
use crate::route::{RouteSocket, UpperLink, Veth};
use crate::wire::Refused;
use netmode_model::state::LinkState;
use netmode_model::{IfName, Inverse, Op, Place, Rate};
use nix::errno::Errno;
use std::os::fd::AsFd;

/// Where the nf_tables transaction is that an operation belongs into, if it does.
pub(crate) fn nft_place(op: &Op) -> Option<&Place> {
    op.table().map(|table| &table.at)
}

/// Carries out an operation that is not nf_tables'.
pub(crate) fn carry_out(worker: &mut Worker, op: &Op) -> Result<Inverse, Refused> {
    match op {
        Op::NetnsAdd { netns, variables } => worker.create(netns, variables)?,
        Op::BridgeAdd { dev, mac, mtu, alias, group } => {
            worker.route(&Place::Host)?.add_bridge(dev, *mac, *mtu, *group, alias)?;
            // IN6_ADDR_GEN_MODE_NONE: it has the addresses that it is given, and no others.
            set_ipv6(worker, dev, "addr_gen_mode", "1")?;
        }
        Op::VethAdd { .. } => add_veth(worker, op)?,
        Op::PortUp { dev, hairpin, isolated, alias } => {
            worker.route(&Place::Host)?.port_up(dev, *hairpin, *isolated, alias)?;
        }
        Op::UpperAdd { .. } => add_upper(worker, op)?,
        Op::LinkMove { from, dev, to, name } => move_link(worker, from, dev, to, name)?,
        Op::LinkFlag { at, dev, flag, on } => {
            let route = worker.route(at)?;
            let before = link_state(route, at, dev)?.flags.contains(flag);
            route.set_flag(dev, *flag, *on)?;
            return Ok(Inverse::Op(Op::LinkFlag { at: at.clone(), dev: dev.clone(), flag: *flag, on: before }));
        }
        Op::LinkQueue { at, dev, length } => {
            let route = worker.route(at)?;
            let before = link_state(route, at, dev)?.queue;
            route.set_queue(dev, *length)?;
            return Ok(Inverse::Op(Op::LinkQueue { at: at.clone(), dev: dev.clone(), length: before }));
        }
        Op::LinkGroup { dev, group } => {
            let route = worker.route(&Place::Host)?;
            let before = link_state(route, &Place::Host, dev)?;
            route.set_group(before.index, *group)?;
            return Ok(Inverse::Op(Op::LinkGroup { dev: dev.clone(), group: before.group }));
        }
        Op::LinkDel { at, dev } => worker.route(at)?.delete_link(dev)?,
        Op::LinkUp { at, dev } | Op::LinkDown { at, dev } => {
            let up = matches!(op, Op::LinkUp { .. });
            let route = worker.route(at)?;
            let link = route.link(dev)?;
            if link.up == up {
                return Ok(Inverse::Nothing);
            }
            route.set_up(link, up)?;
        }
        Op::LinkMtu { at, dev, mtu } => {
            let route = worker.route(at)?;
            let link = route.link(dev)?;
            if link.mtu == *mtu {
                return Ok(Inverse::Nothing);
            }
            route.set_mtu(link, *mtu)?;
            return Ok(Inverse::Op(Op::LinkMtu { at: at.clone(), dev: dev.clone(), mtu: link.mtu }));
        }
        Op::LinkMac { at, dev, mac } => {
            let route = worker.route(at)?;
            let before = route.link_state(at, dev)?.and_then(|link| link.mac);
            route.set_mac(dev, *mac)?;
            let restore = |mac| Inverse::Op(Op::LinkMac { at: at.clone(), dev: dev.clone(), mac });
            return Ok(before.map_or(Inverse::Nothing, restore));
        }
        Op::RateSet { at, dev, .. } | Op::RateDel { at, dev } => return set_rate(worker.route(at)?, at, dev, op),
        Op::AddrAdd { at, dev, addr } => worker.route(at)?.add_address(dev, *addr)?,
        Op::AddrDel { at, dev, addr } => worker.route(at)?.delete_address(dev, *addr)?,
        Op::RouteAdd(route) => worker.route(&route.at)?.add_route(route)?,
        Op::RouteDel(route) => worker.route(&route.at)?.delete_route(route)?,
        Op::RuleAdd(rule) => worker.route(&Place::Host)?.add_rule(rule)?,
        Op::RuleDel(rule) => worker.route(&Place::Host)?.delete_rule(rule)?,
        Op::ProhibitAdd(route) => worker.route(&Place::Host)?.add_prohibit(route)?,
        Op::ProhibitDel(route) => worker.route(&Place::Host)?.delete_prohibit(route)?,
        Op::BlackholeAdd(route) => match worker.route(&route.at)?.add_blackhole(route.to) {
            // Of another interface of ours in the same namespace.
            Err(e) if e.is(Errno::EEXIST) => return Ok(Inverse::Nothing),
            done => done?,
        },
        Op::BlackholeDel(route) => worker.route(&route.at)?.delete_blackhole(route.to)?,
        Op::Sysctl { at, key, value } => {
            return Ok(match worker.variables(at)?.exchange(key, value)? {
                None => Inverse::Nothing,
                Some(previous) => Inverse::Restore { at: at.clone(), key: key.clone(), ours: value.clone(), previous },
            });
        }
        Op::TableAdd(_)
        | Op::TableDel { .. }
        | Op::SetAdd { .. }
        | Op::SetDel { .. }
        | Op::FlowtableLink { .. }
        | Op::ChainSet { .. }
        | Op::ChainDel { .. }
        | Op::ElementAdd { .. }
        | Op::ElementDel { .. } => {
            return Err(Refused::new(Errno::EINVAL, "an nf_tables operation outside of a transaction"));
        }
    }
    Ok(op.inverse())
}

fn add_veth(worker: &mut Worker, op: &Op) -> Result<(), Refused> {
    let Op::VethAdd { dev, mac, bridge, peer_at, peer, peer_mac, mtu, group } = op else { return Ok(()) };
    let entry = match peer_at {
        Place::Host => None,
        Place::Netns(name) => Some(worker.registry.get(name)?),
    };
    let route = worker.route(&Place::Host)?;
    let bridge = bridge.as_ref().map(|bridge| route.link(bridge)).transpose()?.map(|bridge| bridge.index);
    let peer_at = entry.as_ref().map(|entry| entry.fd.as_fd());
    route.add_veth(&Veth { dev, mac: *mac, bridge, group: *group, mtu: *mtu, peer, peer_mac: *peer_mac, peer_at })
}

fn add_upper(worker: &mut Worker, op: &Op) -> Result<(), Refused> {
    let Op::UpperAdd { at, dev, kind, lower_at, lower, mtu, mac, alias } = op else { return Ok(()) };
    let there = if at == lower_at { None } else { Some(worker.descriptor(at)?) };
    let place = there.as_ref().map(AsFd::as_fd);
    worker.route(lower_at)?.add_upper(&UpperLink { dev, kind: *kind, lower, mtu: *mtu, mac: *mac, at: place })?;
    let Some(alias) = alias else { return Ok(()) };
    if let Some(there) = &there {
        worker.route(lower_at)?.number_namespace(there.as_fd())?;
    }
    // RTM_NEWLINK with CREATE ignores IFLA_IFALIAS (`rtnl_create_link`).
    let route = worker.route(at)?;
    let labelled = route.set_alias(dev, alias);
    if labelled.is_err() {
        let _ = route.delete_link(dev);
    }
    labelled
}

fn move_link(worker: &mut Worker, from: &Place, dev: &IfName, to: &Place, name: &IfName) -> Result<(), Refused> {
    let there = worker.descriptor(to)?;
    worker.route(from)?.move_link(dev, there.as_fd(), name)
}

/// A link; ENODEV if it is not there.
fn link_state(route: &mut RouteSocket, at: &Place, dev: &IfName) -> Result<LinkState, Refused> {
    let found = route.link_state(at, dev)?;
    found.ok_or_else(|| Refused::new(Errno::ENODEV, format!("there is no link {dev}")))
}

fn set_rate(route: &mut RouteSocket, at: &Place, dev: &IfName, op: &Op) -> Result<Inverse, Refused> {
    let before = route.rate(dev)?.and_then(|bits| Rate::from_bits(bits).ok());
    match (before, op) {
        (_, Op::RateSet { rate, burst, .. }) => route.set_rate(dev, *rate, *burst)?,
        (Some(_), _) => route.delete_rate(dev)?,
        (None, _) => return Ok(Inverse::Nothing),
    }
    let (at, dev) = (at.clone(), dev.clone());
    Ok(Inverse::Op(match before {
        // Whatever the link's MTU.
        Some(rate) => Op::RateSet { at, dev, rate, burst: rate.burst(u32::from(u16::MAX)) },
        None => Op::RateDel { at, dev },
    }))
}

/// Sets an IPv6 variable of a link that was just made, and takes the link away if that fails.
fn set_ipv6(worker: &mut Worker, dev: &IfName, key: &str, value: &str) -> Result<(), Refused> {
    match worker.variables(&Place::Host)?.write(&format!("net/ipv6/conf/{dev}/{key}"), value) {
        Ok(()) => Ok(()),
        // A kernel without IPv6.
        Err(e) if e.is(Errno::ENOENT) => Ok(()),
        Err(e) => {
            let _ = worker.route(&Place::Host)?.delete_link(dev);
            Err(e)
        }
    }
}

/// Takes back one operation. What is gone already counts as done.
pub(crate) fn take_back(worker: &mut Worker, inverse: &Inverse) -> Result<(), Refused> {
    let result = match inverse {
        Inverse::Nothing => Ok(()),
        Inverse::Op(op) => carry_out(worker, op).map(drop),
        Inverse::Restore { at, key, ours, previous } => {
            worker.variables(at).and_then(|variables| variables.restore(key, ours, previous))
        }
        Inverse::NetnsDrop { netns } => drop_netns(worker, netns),
    };
    match (result, inverse) {
        (
            Err(e),
            Inverse::Op(
                Op::AddrAdd { .. } | Op::RouteAdd(_) | Op::RuleAdd(_) | Op::ProhibitAdd(_) | Op::BlackholeAdd(_),
            ),
        ) if e.is(Errno::EEXIST) => Ok(()),
        (Err(e), _) if is_gone(&e) => Ok(()),
        (result, _) => result,
    }
}

/// Errors that say: the object, or the namespace that it was in, is not there.
pub(crate) fn is_gone(e: &Refused) -> bool {
    const GONE: [Errno; 4] = [Errno::ENOENT, Errno::ENODEV, Errno::ESRCH, Errno::EADDRNOTAVAIL];
    GONE.into_iter().any(|errno| e.is(errno))
}

/// Unpins a namespace and closes the agent's descriptor; the thread must not stand in it, or it lives on.
pub(crate) fn drop_netns(worker: &mut Worker, netns: &netmode_model::NetnsName) -> Result<(), Refused> {
    worker.leave();
    worker.registry.remove(netns)
}
