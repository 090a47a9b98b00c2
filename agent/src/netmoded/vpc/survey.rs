//! What the host is found to be before a subnet is made on it.

use crate::agent::Agent;
use crate::{clock, startup};
use ipnetwork::IpNetwork;
use netmode_engine::vpc::Surveyed;
use netmode_engine::vpc::standin::{Found, Parent};
use netmode_engine::vpc::wish::SubnetError;
use netmode_model::op::{MacvlanMode, OpError, Upper};
use netmode_model::vpc::{Backend, SubnetRequest};
use netmode_model::{ApiError, Code, IfName, NetnsName, Op, Place};
use std::net::IpAddr;
use std::time::Duration;

/// How long an answer to a trial is waited for. On a LAN it takes a millisecond.
const TRIAL_PATIENCE: Duration = Duration::from_millis(100);

/// How often it is tried: a frame may be lost.
const TRIALS: usize = 2;

/// How many machines are asked.
const ASKED: usize = 2;

/// Looks at the host for a subnet.
///
/// # Errors
/// The parent that was named is not there, or the kernel refused to tell.
pub fn survey(agent: &Agent, request: &SubnetRequest) -> Result<Surveyed, ApiError> {
    let kernel = |e: OpError| ApiError::new(Code::Kernel, e.to_string());
    let facts = startup::facts(&agent.kernel, &agent.engine.networks()).map_err(kernel)?;
    let name = match &request.parent {
        Some(name) => Some(name.clone()),
        None if request.backend == Backend::Veth => None,
        None => agent.kernel.egress().map_err(kernel)?,
    };
    let Some(name) = name else {
        return Ok(Surveyed { facts, parent: Vec::new(), found: Found { missing: missing(agent), parent: None } });
    };
    let link = agent.kernel.link(&Place::Host, &name).map_err(kernel)?;
    let link = link.ok_or_else(|| SubnetError::NoLink(name.clone()))?;
    let wireless = agent.kernel.wireless(&name).map_err(kernel)?;
    let addresses = agent.kernel.addresses_of(link.index).map_err(kernel)?;
    let plain = link.up && link.master.is_none() && !wireless;
    let filtered = if plain && wants_macvlan(request, &addresses) { filtered(agent, &name) } else { None };
    let parent =
        Parent { name, up: link.up, master: link.master.clone(), mac: link.mac, mtu: link.mtu, wireless, filtered };
    Ok(Surveyed { facts, parent: addresses, found: Found { missing: missing(agent), parent: Some(parent) } })
}

/// Whether a subnet may come to be of hardware addresses on a LAN that the parent is on.
fn wants_macvlan(request: &SubnetRequest, addresses: &[IpNetwork]) -> bool {
    let kind = matches!(request.backend, Backend::Auto | Backend::Macvlan(_));
    let overlap = |cidr: IpNetwork| addresses.iter().any(|a| cidr.contains(a.ip()));
    kind && request.cidr.is_some_and(overlap)
}

/// A machine that answers the parent and not a second hardware address on it, by a trial in a namespace that is thrown
/// away. Where nobody has answered the parent lately, or the trial could not be, nothing is known.
fn filtered(agent: &Agent, parent: &IfName) -> Option<IpAddr> {
    let known = agent.kernel.reachable(parent).ok()?;
    let first = *known.first()?;
    let netns: NetnsName = format!("nm-{}", clock::fresh_id().ok()?.short()).parse().ok()?;
    let dev: IfName = "trial".parse().ok()?;
    let at = Place::Netns(netns.clone());
    let upper = Op::UpperAdd {
        at: at.clone(),
        dev: dev.clone(),
        kind: Upper::Macvlan(MacvlanMode::Bridge),
        lower_at: Place::Host,
        lower: parent.clone(),
        mtu: None,
        mac: None,
        alias: None,
    };
    let ops = [Op::NetnsAdd { netns, variables: Vec::new() }, upper, Op::LinkUp { at: at.clone(), dev: dev.clone() }];
    let undo = agent.kernel.apply(&ops).ok()?;
    let answers = |ip: &IpAddr| {
        let asked = agent.kernel.neighbour(&at, &dev, *ip, TRIAL_PATIENCE);
        // What could not be asked says nothing.
        asked.map_or(true, |answer| answer.is_some())
    };
    let silent = !(0..TRIALS).any(|_| known.iter().take(ASKED).any(answers));
    agent.kernel.undo(undo);
    silent.then_some(first)
}

/// Kinds of links that this kernel cannot make, by a trial in a namespace that is thrown away.
fn missing(agent: &Agent) -> Vec<(String, String)> {
    let tried = || {
        let features = agent.kernel.features().unwrap_or_default();
        features.into_iter().filter_map(|f| Some((f.name.to_owned(), f.missing?))).collect()
    };
    agent.vpc.missing.get_or_init(tried).clone()
}
