//! What the host is found to be before a subnet is made on it.

use crate::agent::Agent;
use crate::startup;
use netmode_engine::vpc::Surveyed;
use netmode_engine::vpc::standin::{Found, Parent};
use netmode_engine::vpc::wish::SubnetError;
use netmode_model::op::OpError;
use netmode_model::vpc::{Backend, SubnetRequest};
use netmode_model::{ApiError, Code, Place};

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
    let parent = Parent { name, up: link.up, master: link.master.clone(), mtu: link.mtu, wireless };
    let addresses = agent.kernel.addresses_of(link.index).map_err(kernel)?;
    Ok(Surveyed { facts, parent: addresses, found: Found { missing: missing(agent), parent: Some(parent) } })
}

/// Kinds of links that this kernel cannot make, by a trial in a namespace that is thrown away.
fn missing(agent: &Agent) -> Vec<(String, String)> {
    let tried = || {
        let features = agent.kernel.features().unwrap_or_default();
        features.into_iter().filter_map(|f| Some((f.name.to_owned(), f.missing?))).collect()
    };
    agent.vpc.missing.get_or_init(tried).clone()
}
