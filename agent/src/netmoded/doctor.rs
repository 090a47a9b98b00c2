//! The doctor: one line for each thing that should be as it is. It only reads.

use crate::agent::Agent;
use crate::beside;
use netmode_agent::checks::{self, finding};
use netmode_agent::standing::Standing;
use netmode_engine::{Observe, endpoint};
use netmode_model::api::{Finding, Level};
use netmode_model::nft::Family;
use std::sync::PoisonError;

/// Examines the host and the agent.
pub fn examine(agent: &Agent) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(kernel(agent));
    // Runtime and monitor come first: without them nothing runs; without the others images cannot be read.
    findings.extend(checks::programs(agent.containers.programs(), 2));
    let config = agent.config.read().unwrap_or_else(PoisonError::into_inner).clone();
    findings.push(checks::seccomp(&config.container.seccomp));
    findings.push(checks::configuration(&agent.config_path));
    findings.extend(checks::disk(&agent.run_dir).into_iter().chain(checks::disk(&agent.state_dir)));
    findings.extend(checks::records(&agent.run_dir, &agent.state_dir));
    findings.extend(forwarding(agent));
    findings.extend(beside::examine(agent));
    findings.extend(standing(agent));
    findings.extend(ports(agent));
    findings
}

fn kernel(agent: &Agent) -> Vec<Finding> {
    match agent.kernel.features() {
        Ok(features) => features.into_iter().map(checks::feature).collect(),
        Err(error) => vec![finding(Level::Fail, "kernel", error.to_string(), None)],
    }
}

fn forwarding(agent: &Agent) -> Vec<Finding> {
    let with_v6 = agent.engine.networks().iter().any(|n| n.v6.is_some());
    let families = [(Family::V4, "forwarding"), (Family::V6, "forwarding IPv6")];
    let line = |(family, object)| match agent.forwarding.describe(family) {
        Ok(text) => finding(Level::Ok, object, text, None),
        Err(off) => finding(Level::Fail, object, off.to_string(), Some(&off.fix())),
    };
    families.into_iter().filter(|(family, _)| *family == Family::V4 || with_v6).map(line).collect()
}

/// What the records say and the kernel does not.
fn standing(agent: &Agent) -> Vec<Finding> {
    let (networks, endpoints) = (agent.engine.networks(), agent.engine.endpoints());
    let standing = Standing { settings: agent.engine.settings(), networks: &networks, endpoints: &endpoints };
    match agent.linux.observe(&endpoint::namespaces(&endpoints)) {
        Ok(seen) => standing.examine(&seen, |key| agent.kernel.variable(key).ok()),
        Err(error) => vec![finding(Level::Fail, "kernel state", error.to_string(), None)],
    }
}

fn ports(agent: &Agent) -> Vec<Finding> {
    let published = |e: &netmode_engine::Endpoint| e.link.is_some() && !e.ports.is_empty();
    let lost = agent.engine.endpoints().into_iter().filter(|e| published(e) && !agent.engine.held(e.id));
    let row = |e: netmode_engine::Endpoint| {
        finding(
            Level::Warn,
            &format!("ports of task {}", e.owner.name),
            "not every published port is held by a socket: another process may have one",
            Some("netmode port ls"),
        )
    };
    let kept = finding(Level::Ok, "held ports", agent.legacy.describe(), None);
    std::iter::once(kept).chain(lost.map(row)).collect()
}
