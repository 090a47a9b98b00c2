//! The modes: what each takes, and what it is made of. The one place that tells them apart.

use crate::bridge;
use crate::endpoint::{Endpoint, NetnsUse};
use crate::error::AttachError;
use crate::settings::Settings;
use crate::vpc::{self, wall};
use netmode_model::api::NetOptions;
use netmode_model::{Final, Mode, NetnsName, Op, Place, Plan, PortSpec};

/// What a mode needs to have reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// An address and a link on a network.
    pub link: bool,
    /// That network is a subnet of the VPC: the link is an ENI, and no port of the host is taken.
    pub eni: bool,
    /// A namespace of its own, and with it a host name, hosts file and kernel variables of its own.
    pub netns: bool,
}

/// What a mode needs.
pub fn needs(mode: Mode) -> Needs {
    match mode {
        Mode::Awsvpc => Needs { link: true, eni: true, netns: true },
        Mode::Bridge => Needs { link: true, eni: false, netns: true },
        Mode::Host => Needs { link: false, eni: false, netns: false },
        Mode::None => Needs { link: false, eni: false, netns: true },
    }
}

/// What stands between others and a task with these security groups.
pub fn guarded_by(mode: Mode, groups: &[String]) -> &'static str {
    match (mode, groups) {
        (Mode::Awsvpc, _) => "the task's own security groups",
        (Mode::Bridge, []) => "the host: its published ports, whatever they are, are open as far as the host's are",
        (Mode::Bridge, _) => "the task's own security groups: an extension, ECS has none in bridge mode",
        (Mode::Host, _) => "the host alone: the task has the host's address",
        (Mode::None, _) => "nothing: it has no network",
    }
}

/// Refuses what a mode cannot do.
///
/// # Errors
/// The option, and why.
pub fn admit(mode: Mode, net: &NetOptions) -> Result<(), AttachError> {
    let refused = |what: &str, why| Err(AttachError::Refused { mode, what: what.into(), why });
    let of_a_link = [
        ("--ip", net.ip.is_some()),
        ("--ip6", net.ip6.is_some()),
        ("--mac-address", net.mac_address.is_some()),
        ("--net-rate", !net.net_rate.is_unlimited()),
    ];
    let of_a_link = of_a_link.iter().find(|(_, given)| *given).map(|(flag, _)| *flag);
    match mode {
        Mode::Awsvpc => admit_eni(net),
        Mode::Bridge => match net.port_env {
            Some(_) => refused("--port-env", "it reserves a port of the host; publish with -p instead"),
            None => Ok(()),
        },
        Mode::Host => match (of_a_link, net.links.first(), net.publish_all) {
            (Some(flag), _, _) => refused(flag, "the container uses the host's own interfaces; use bridge mode"),
            (_, Some(_), _) => refused("--link", "the container has the host's names; use the host's addresses"),
            (_, _, true) => refused("-P", "nothing is translated; declare ports with -p PORT"),
            _ => net.ports.iter().try_for_each(|spec| match spec.host_ports {
                Some(h) if h != spec.container => Err(AttachError::HostPortsDiffer { spec: *spec }),
                _ => Ok(()),
            }),
        },
        Mode::None => match (of_a_link, net.links.first(), net.ports.first()) {
            (_, _, Some(_)) => refused(
                "a port mapping",
                "Port mappings are not supported when networkMode=none; leave out -p or use bridge mode",
            ),
            (Some(flag), ..) => refused(flag, "the container has no interface but lo; use bridge mode"),
            (_, Some(_), _) => refused("--link", "the container reaches nothing; use bridge mode"),
            _ if net.publish_all => refused("-P", "the container cannot be reached; use bridge mode"),
            _ if net.port_env.is_some() => refused("--port-env", "the container cannot be reached; use host mode"),
            _ => Ok(()),
        },
    }
}

/// Why a task with an ENI cannot publish: ECS' words (API reference, PortMapping).
const PORTS_MATCH: &str = "When networkMode=awsvpc, the host ports and container ports in port mappings must match. Nothing is translated: \
     write -p PORT, and connect to the task's own address";

fn admit_eni(net: &NetOptions) -> Result<(), AttachError> {
    let refused = |what: &str, why| Err(AttachError::Refused { mode: Mode::Awsvpc, what: what.into(), why });
    let differs =
        |spec: &&PortSpec| spec.host_ports.is_some_and(|h| h != spec.container) || spec.host.specific().is_some();
    if net.ports.iter().any(|spec| differs(&spec)) {
        return refused("this port mapping", PORTS_MATCH);
    }
    match net {
        _ if net.publish_all => refused("-P", "nothing is translated; connect to the task's own address"),
        _ if net.port_env.is_some() => refused("--port-env", "it reserves a port of the host; the task has its own"),
        _ if !net.links.is_empty() => refused("--link", "Links are not supported when networkMode=awsvpc."),
        _ if net.hostname.is_some() => {
            refused("--hostname", "hostname is not supported on container when networkMode=awsvpc.")
        }
        _ => Ok(()),
    }
}

/// The plan that attaches an endpoint. Host mode's is empty. `walls` stand before there is a link.
pub fn attach(ep: &Endpoint, walls: Vec<Op>, settings: &Settings) -> Plan {
    let Some(netns) = ep.netns.name() else { return Plan::default() };
    let at = Place::Netns(netns.clone());
    let mut plan = Plan::default();
    // Before a link is born in it.
    let fresh = matches!(ep.netns, NetnsUse::Own(_));
    let variables = ep.link.as_ref().map(|link| bridge::inner_variables(link.addr(false).is_some(), fresh, settings));
    let variables = variables.unwrap_or_default();
    match &ep.netns {
        NetnsUse::Own(netns) => plan.ops.push(Op::NetnsAdd { netns: netns.clone(), variables }),
        NetnsUse::Foreign(_) | NetnsUse::Joined(_) | NetnsUse::Host => {
            plan.ops.extend("lo".parse().ok().map(|dev| Op::LinkUp { at: at.clone(), dev }));
            let set = |(key, value)| Op::Sysctl { at: at.clone(), key, value };
            plan.ops.extend(variables.into_iter().map(set));
        }
    }
    plan.ops.extend(walls);
    if let Some(link) = &ep.link {
        plan.ops.extend(match &link.eni {
            Some(eni) => vpc::plan::attach(ep, link, eni, &at, settings),
            None => bridge::attach(ep, link, &at, settings),
        });
        plan.then = bridge::attached(ep, link, &at);
    }
    plan
}

/// The plan that takes an endpoint away.
///
/// The namespace is dropped rather than the link deleted: 6 µs against 15–40 ms, and the kernel takes the
/// link along. Only in a namespace of someone else the link itself is deleted.
pub fn detach(ep: &Endpoint, settings: &Settings) -> Plan {
    let mut plan = Plan::default();
    if let Some(link) = &ep.link {
        plan.ops = bridge::unpublish(ep, link, settings);
        plan.then = bridge::flush(&ep.ports, &[]);
    }
    match &ep.netns {
        NetnsUse::Own(netns) => plan.then.push(Final::NetnsDrop { netns: netns.clone() }),
        NetnsUse::Foreign(netns) => {
            drop_link(ep, netns, settings, &mut plan);
            plan.then.push(Final::NetnsDrop { netns: netns.clone() });
        }
        NetnsUse::Joined(netns) => drop_link(ep, netns, settings, &mut plan),
        NetnsUse::Host => {}
    }
    plan
}

/// The plan that takes an endpoint's link away and leaves its namespace.
pub fn unlink(ep: &Endpoint, settings: &Settings) -> Plan {
    let mut plan = Plan::default();
    if let Some(link) = &ep.link {
        plan.ops = bridge::unpublish(ep, link, settings);
        plan.then = bridge::flush(&ep.ports, &[]);
        ep.netns.name().into_iter().for_each(|netns| drop_link(ep, netns, settings, &mut plan));
    }
    plan
}

/// Takes a link out of a namespace that stays: by its end on the host, behind the reply, where it has one, and else
/// with its walls, which are behind it in the plan since that is taken back from its end.
fn drop_link(ep: &Endpoint, netns: &NetnsName, settings: &Settings, plan: &mut Plan) {
    let Some(link) = &ep.link else { return };
    if link.eni.is_some() {
        let blocked = vpc::plan::blocked(&Place::Netns(netns.clone()), settings);
        plan.ops.extend(blocked.into_iter().map(Op::BlackholeDel));
    }
    if !link.walled_inside() && link.has_host_end() {
        return plan.then.push(Final::LinkDrop { dev: link.host_dev.clone() });
    }
    let table = wall::inner_table(ep, settings).filter(|_| link.walled_inside());
    plan.ops.extend(table.map(|table| Op::TableDel { table }));
    plan.ops.push(Op::LinkDel { at: Place::Netns(netns.clone()), dev: link.interface.clone() });
}

/// What the person who starts a task in a mode should be told.
///
/// `local` lists the services that only the host itself should reach: it is asked for where a mode opens them.
pub fn warnings(mode: Mode, local: impl FnOnce() -> Vec<String>) -> Vec<String> {
    if mode != Mode::Host {
        return vec![];
    }
    let reaches = match &local()[..] {
        [] => "everything that the host reaches".into(),
        services => format!("these services that are meant for the host alone: {}", services.join(", ")),
    };
    vec![format!("host mode shares the host's network: the container reaches {reaches}")]
}
