//! The VPC of this agent: where a task with an ENI is to be, and the subnet that appears on first use.

pub mod effective;
mod lost;
mod survey;

pub use lost::{look_for_lost, unlinked};
pub use survey::survey;

use crate::agent::Agent;
use crate::clock;
use crate::events::told;
use netmode_engine::vpc::{Fresh, GroupError, Surveyed, VpcError, wish};
use netmode_engine::{Endpoint, Engine, Network, modes};
use netmode_model::api::{NetOptions, NetworkRef, RunRequest};
use netmode_model::nft::Family;
use netmode_model::op::OpError;
use netmode_model::vpc::{Backend, SubnetRequest};
use netmode_model::{ApiError, Code, Id};
use std::sync::{Arc, PoisonError};

/// Name of the subnet that appears on first use, and of the security group that is always there.
pub const DEFAULT: &str = "default";

/// What ECS answers to a task without a network configuration (API reference, RunTask).
const NO_CONFIGURATION: &str =
    "Network Configuration must be provided when networkMode 'awsvpc' is specified. Name a subnet with --subnet";

/// What ECS answers to one that the mode has no use for.
const NOT_VALID: &str = "Network Configuration is not valid for the given networkMode of this task definition.";

/// Most subnets of a network configuration, and most security groups (ECS API reference, AwsVpcConfiguration).
const MOST: (usize, usize) = (16, 5);

/// Where a task with an ENI is to be.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// A subnet's id.
    pub network: String,
    /// Ids of subnets that would do as well.
    pub or_else: Vec<String>,
    /// Ids of its security groups.
    pub groups: Vec<String>,
}

/// Where a task is to be that asks for an ENI. The default subnet is made for the first that names none, if `make`.
///
/// # Errors
/// No such subnet or group, too many of them, or no default subnet can be.
pub fn place(agent: &Agent, net: &NetOptions, make: bool) -> Result<Place, ApiError> {
    let invalid = |text: &str| ApiError::new(Code::Invalid, text);
    if net.subnets.len() > MOST.0 {
        return Err(invalid("subnets can have at most 16 items; name fewer with --subnet"));
    }
    let mut subnets = Vec::new();
    for reference in &net.subnets {
        let id = agent.engine.subnet(reference)?.name;
        if !subnets.contains(&id) {
            subnets.push(id);
        }
    }
    if subnets.is_empty() {
        if net.strict_ecs || strict(agent) {
            return Err(invalid(NO_CONFIGURATION));
        }
        subnets.push(default_subnet(agent, make)?.name);
    }
    let network = subnets.remove(0);
    Ok(Place { network, or_else: subnets, groups: groups(agent, net, make)? })
}

/// Ids of the security groups of a task; the default one, which `make` makes, where it names none.
///
/// # Errors
/// No such group, or too many of them.
pub fn groups(agent: &Agent, net: &NetOptions, make: bool) -> Result<Vec<String>, ApiError> {
    if net.security_groups.len() > MOST.1 {
        let text = "securityGroups can have at most 5 items; name fewer with --security-group";
        return Err(ApiError::new(Code::Invalid, text));
    }
    // Without a group there is nothing yet that could be planned with.
    if !make && net.security_groups.is_empty() && agent.engine.groups().find(DEFAULT).is_none() {
        return Ok(Vec::new());
    }
    let known = agent.engine.groups();
    let ids = with_ids(4, |fresh| agent.engine.group_ids(&net.security_groups, fresh))?;
    if known.find(DEFAULT).is_none()
        && let Some(made) = agent.engine.groups().find(DEFAULT)
    {
        told::group(agent, "created", &made.id, &made.name, "was made for the first task that needs it");
    }
    Ok(ids)
}

/// Capabilities by which a process could take its namespace's rules away, send past them, or move the link.
const ROUND: [&str; 4] = ["NET_ADMIN", "NET_RAW", "SYS_ADMIN", "ALL"];

/// A task whose groups stand in its own namespace may not have what leads round them, unless that was asked for.
///
/// # Errors
/// The capability.
pub fn keeps_walls(agent: &Agent, place: &Place, request: &RunRequest) -> Result<(), ApiError> {
    let all = std::iter::once(&place.network).chain(&place.or_else);
    let inside = |name: &String| {
        let network = agent.engine.lookup(name);
        network.and_then(|n| n.subnet).filter(|s| !s.routed()).map(|s| s.title)
    };
    let Some(subnet) = all.into_iter().find_map(inside) else { return Ok(()) };
    if request.net.net_rate.inward.is_some() {
        let text = format!(
            "--net-rate in= cannot be on the subnet {subnet}: the host does not see what comes to the task; give out= alone, or use a subnet on veth"
        );
        return Err(ApiError::new(Code::UnsupportedInMode, text));
    }
    not_round(request, &format!("its own namespace on the subnet {subnet}"), "use a subnet on veth, or ")
}

/// The same of a task on a bridge, whose neighbours the host does not see.
///
/// # Errors
/// The capability.
pub fn keeps_walls_on_bridge(request: &RunRequest) -> Result<(), ApiError> {
    not_round(request, "its own namespace for neighbours on its bridge", "")
}

fn not_round(request: &RunRequest, place: &str, instead: &str) -> Result<(), ApiError> {
    let spec = &request.container;
    let bare = |cap: &String| cap.to_ascii_uppercase().trim_start_matches("CAP_").to_owned();
    let round = spec.cap_add.iter().map(bare).find(|cap| ROUND.contains(&cap.as_str()));
    let what =
        if spec.privileged { Some("--privileged".to_owned()) } else { round.map(|cap| format!("--cap-add {cap}")) };
    match what {
        Some(what) if !request.net.sg_best_effort => Err(ApiError::new(
            Code::SgBypass,
            format!(
                "{what} would let the task go round its security groups, which stand in {place}; leave it out, {instead}or accept that with --sg-best-effort"
            ),
        )),
        _ => Ok(()),
    }
}

/// Work that needs up to so many ids.
///
/// # Errors
/// No random numbers, or the work's own.
pub fn with_ids<T>(count: usize, work: impl FnOnce(Fresh<'_>) -> Result<T, GroupError>) -> Result<T, ApiError> {
    let ids = (0..count).map(|_| clock::fresh_id()).collect::<Result<Vec<Id>, _>>();
    let mut ids = ids.map_err(|e| ApiError::new(Code::Unavailable, e.to_string()))?.into_iter();
    let mut fresh = || ids.next().unwrap_or_else(|| unreachable!("the caller knows how many are needed"));
    work(&mut fresh).map_err(ApiError::from)
}

/// Others' walls are told of an endpoint that has come, and the LAN is asked for the address of the next one: behind the
/// reply.
pub fn joined(engine: &Arc<Engine>, endpoint: &Endpoint) {
    if let Some(link) = endpoint.link.as_ref().filter(|l| !l.groups().is_empty()) {
        let (engine, endpoint, network) = (engine.clone(), endpoint.clone(), link.network.clone());
        tokio::task::spawn_blocking(move || {
            engine.tell_members(&endpoint);
            engine.ask_ahead(&network);
        });
    }
}

/// The same of one that has gone.
pub fn left(engine: &Arc<Engine>, endpoint: Option<Endpoint>) {
    if let Some(endpoint) = endpoint.filter(|e| e.link.as_ref().is_some_and(|l| !l.groups().is_empty())) {
        let engine = engine.clone();
        tokio::task::spawn_blocking(move || engine.forget_member(&endpoint));
    }
}

/// Puts the walls in tasks' own namespaces up again: the agent before this one may have ended while it changed them.
pub fn stand_again(agent: &Arc<Agent>) {
    let agent = agent.clone();
    tokio::task::spawn_blocking(move || {
        for endpoint in agent.engine.endpoints() {
            let again = agent.engine.exclusively(|| match agent.engine.inner_walls(&endpoint) {
                Some(walls) if agent.engine.endpoint(endpoint.id).is_some() => {
                    agent.kernel.replace_tables(&[walls], &[])
                }
                _ => Ok(()),
            });
            if let Err(error) = again {
                tracing::warn!(owner = endpoint.owner.name, %error, "its security groups were not compared");
            }
        }
    });
}

/// What only a task with an ENI can have.
///
/// # Errors
/// ECS' words.
pub fn only_for_eni(net: &NetOptions, network: &NetworkRef) -> Result<(), ApiError> {
    // In bridge mode groups are an extension of ours.
    let bridge = matches!(network, NetworkRef::Named(_))
        || matches!(network, NetworkRef::Mode(m) if modes::needs(m.effective()).link);
    if net.subnets.is_empty() && (bridge || net.security_groups.is_empty()) {
        return Ok(());
    }
    let text = format!("{NOT_VALID} Leave out --subnet and --security-group, or replace {network} by awsvpc");
    Err(ApiError::new(Code::Conflict, text))
}

/// The subnet that the host itself is in as a container instance: the default one, which appears for it unless ECS is
/// followed strictly.
///
/// # Errors
/// No default subnet can be.
pub fn subnet_of_host(agent: &Agent) -> Result<Option<Network>, ApiError> {
    if strict(agent) { Ok(None) } else { default_subnet(agent, true).map(Some) }
}

/// The subnet of those that name none: 172.31.0.0/20, or the same part of the next free /16.
fn default_subnet(agent: &Agent, make: bool) -> Result<Network, ApiError> {
    // One at a time: two first tasks must not make two.
    let _alone = agent.vpc.first_use.lock().unwrap_or_else(PoisonError::into_inner);
    let is_default = |n: &Network| n.subnet.as_ref().is_some_and(|s| s.default);
    if let Some(there) = agent.engine.subnets().into_iter().find(is_default) {
        return Ok(there);
    }
    if !make {
        let text = "the default subnet appears with the first task that needs it, and then this can be planned; \
                    \"netmode subnet create NAME --cidr PREFIX\" makes one now, for --subnet NAME";
        return Err(ApiError::new(Code::WrongState, text));
    }
    let mut last = None;
    for prefix in wish::default_prefixes() {
        let request = SubnetRequest {
            name: DEFAULT.parse().ok(),
            cidr: Some(prefix.into()),
            backend: Backend::Veth,
            ..SubnetRequest::default()
        };
        match create(agent, &request, true) {
            Err(taken) if taken.code == Code::AddressTaken => last = Some(taken),
            other => return other,
        }
    }
    Err(last.unwrap_or_else(|| ApiError::new(Code::PoolExhausted, "no /16 of 172.16.0.0/12 or 10.0.0.0/8 is free for the default subnet; make one with \"netmode subnet create NAME --cidr PREFIX\" and name it with --subnet")))
}

/// Whether what is not there is refused as ECS would, and its rules of hosts hold.
pub fn strict(agent: &Agent) -> bool {
    agent.config.read().unwrap_or_else(PoisonError::into_inner).vpc.strict_ecs
}

/// Makes a subnet.
///
/// # Errors
/// Why not; nothing has changed then.
pub fn create(agent: &Agent, request: &SubnetRequest, default: bool) -> Result<Network, ApiError> {
    let surveyed = survey(agent, request)?;
    let id = clock::fresh_id().map_err(|e| ApiError::new(Code::Unavailable, e.to_string()))?;
    let forward = |network: &Network| forwarding(agent, network);
    let made = agent.engine.create_subnet(request, &surveyed, default, id, clock::now(), forward)?;
    told::network(agent, &made, "created");
    agent.beside.look_again();
    let (engine, name) = (agent.engine.clone(), made.name.clone());
    tokio::task::spawn_blocking(move || engine.ask_ahead(&name));
    Ok(made)
}

/// What a subnet would be.
///
/// # Errors
/// Why it cannot be.
pub fn wished(agent: &Agent, request: &SubnetRequest) -> Result<Network, ApiError> {
    let surveyed: Surveyed = survey(agent, request)?;
    let id = clock::fresh_id().map_err(|e| ApiError::new(Code::Unavailable, e.to_string()))?;
    agent.engine.wish_subnet(request, &surveyed, id, clock::now()).map_err(ApiError::from)
}

fn forwarding(agent: &Agent, network: &Network) -> Result<(), OpError> {
    match network.v6 {
        Some(_) => agent.forwarding.switch_on(Family::V6),
        None => Ok(()),
    }
}

/// Removes a subnet that nobody uses.
///
/// # Errors
/// Who uses it, or there is none.
pub fn remove(agent: &Agent, reference: &str) -> Result<Network, VpcError> {
    let subnet = agent.engine.subnet(reference)?;
    agent.until(|| !agent.engine.is_leaving(|e| e.link.as_ref().is_some_and(|l| l.network == subnet.name)));
    let removed = agent.engine.remove_subnet(&subnet.name);
    removed.iter().for_each(|subnet| told::network(agent, subnet, "removed"));
    agent.beside.look_again();
    removed
}

/// Forgets the tracked flows of every task that carries a group: what is not let in any more ends now, and what still
/// is begins anew.
///
/// # Errors
/// There is no such group, or the kernel refused.
pub fn cut(agent: &Agent, reference: &str) -> Result<(), ApiError> {
    let groups = agent.engine.groups();
    let id = groups.find(reference).map(|g| g.id.clone()).unwrap_or_default();
    let carries = |e: &Endpoint| e.link.as_ref().is_some_and(|l| l.groups().contains(&id));
    for endpoint in agent.engine.endpoints().into_iter().filter(carries) {
        let Some(link) = &endpoint.link else { continue };
        let inside = endpoint.netns.name().filter(|_| link.walled_inside()).map(Some);
        let on_host = link.walled_by_host().then_some(None);
        let addresses: Vec<_> = link.addrs.iter().map(ipnetwork::IpNetwork::ip).collect();
        for place in inside.into_iter().chain(on_host) {
            agent.kernel.forget_flows(place, &addresses).map_err(|e| ApiError::new(Code::Kernel, e.to_string()))?;
        }
    }
    Ok(())
}

/// What the agent keeps for its VPC.
#[derive(Debug, Default)]
pub struct Kept {
    first_use: std::sync::Mutex<()>,
    /// Kinds of links that this kernel cannot make, each with the reason: tried once.
    missing: std::sync::OnceLock<Vec<(String, String)>>,
}
