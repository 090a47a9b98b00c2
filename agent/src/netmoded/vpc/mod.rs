//! The VPC of this agent: where a task with an ENI is to be, and the subnet that appears on first use.

mod survey;

pub use survey::survey;

use crate::agent::Agent;
use crate::clock;
use netmode_engine::vpc::{VpcError, wish};
use netmode_engine::{Network, vpc::Surveyed};
use netmode_model::api::{NetOptions, NetworkRef};
use netmode_model::nft::Family;
use netmode_model::op::OpError;
use netmode_model::vpc::{Backend, SubnetRequest};
use netmode_model::{ApiError, Code};
use std::sync::PoisonError;

/// Name of the subnet that appears on first use, and of the security group that is always there.
pub const DEFAULT: &str = "default";

/// What ECS answers to a task without a network configuration (API reference, RunTask).
const NO_CONFIGURATION: &str = "Network Configuration must be provided when networkMode 'awsvpc' is specified.";

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
    if net.security_groups.len() > MOST.1 {
        return Err(invalid("securityGroups can have at most 5 items; name fewer with --security-group"));
    }
    let mut subnets = Vec::new();
    for reference in &net.subnets {
        let id = agent.engine.subnet(reference)?.name;
        if !subnets.contains(&id) {
            subnets.push(id);
        }
    }
    if subnets.is_empty() {
        subnets.push(default_subnet(agent, make)?.name);
    }
    let network = subnets.remove(0);
    Ok(Place { network, or_else: subnets, groups: Vec::new() })
}

/// What only a task with an ENI can have.
///
/// # Errors
/// ECS' words.
pub fn only_for_eni(net: &NetOptions, network: &NetworkRef) -> Result<(), ApiError> {
    if net.subnets.is_empty() && net.security_groups.is_empty() {
        return Ok(());
    }
    let text = format!("{NOT_VALID} Leave out --subnet and --security-group, or replace {network} by awsvpc");
    Err(ApiError::new(Code::Conflict, text))
}

/// The subnet of those that name none: 172.31.0.0/20, or the same part of the next free /16.
fn default_subnet(agent: &Agent, make: bool) -> Result<Network, ApiError> {
    // One at a time: two first tasks must not make two.
    let _alone = agent.vpc.first_use.lock().unwrap_or_else(PoisonError::into_inner);
    let is_default = |n: &Network| n.subnet.as_ref().is_some_and(|s| s.default);
    if let Some(there) = agent.engine.subnets().into_iter().find(is_default) {
        return Ok(there);
    }
    if strict(agent) {
        return Err(ApiError::new(Code::Invalid, NO_CONFIGURATION));
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
    Err(last.unwrap_or_else(|| ApiError::new(Code::PoolExhausted, "no prefix is free for the default subnet")))
}

fn strict(agent: &Agent) -> bool {
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
    agent.beside.look_again();
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
    agent.beside.look_again();
    removed
}

/// What the agent keeps for its VPC.
#[derive(Debug, Default)]
pub struct Kept {
    first_use: std::sync::Mutex<()>,
    /// Kinds of links that this kernel cannot make, each with the reason: tried once.
    missing: std::sync::OnceLock<Vec<(String, String)>>,
}
