//! The doctor: one line for each thing that should be as it is. It only reads.

use crate::agent::Agent;
use crate::{beside, reconcile};
use netmode_agent::checks::{self, finding};
use netmode_engine::bridge;
use netmode_engine::converge::Present;
use netmode_model::Op;
use netmode_model::api::{Finding, Level};
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
    findings.push(forwarding(agent));
    findings.extend(beside::examine(agent));
    findings.extend(drift(agent));
    findings.extend(ports(agent));
    findings
}

fn kernel(agent: &Agent) -> Vec<Finding> {
    let row = |feature: netmode_kernel::features::Feature| {
        let object = format!("kernel {}", feature.name);
        match feature.missing {
            None => finding(Level::Ok, &object, "there", None),
            Some(why) => finding(Level::Warn, &object, format!("missing ({why}); instead: {}", feature.fallback), None),
        }
    };
    match agent.kernel.features() {
        Ok(features) => features.into_iter().map(row).collect(),
        Err(error) => vec![finding(Level::Fail, "kernel", error.to_string(), None)],
    }
}

fn forwarding(agent: &Agent) -> Finding {
    match agent.forwarding.describe() {
        Ok(text) => finding(Level::Ok, "forwarding", text, None),
        Err(text) => finding(Level::Fail, "forwarding", text, Some("sysctl -w net.ipv4.ip_forward=1")),
    }
}

/// What the records say and the kernel does not.
fn drift(agent: &Agent) -> Vec<Finding> {
    let endpoints = agent.engine.endpoints();
    let seen = match reconcile::look(&agent.linux, &endpoints) {
        Ok(seen) => seen,
        Err(error) => return vec![finding(Level::Fail, "kernel state", error.to_string(), None)],
    };
    let present = Present::new(&seen);
    let settings = agent.engine.settings();
    let table = |r: netmode_model::nft::Ruleset| (format!("table {}", r.table), vec![Op::TableAdd(r)]);
    let mut wanted: Vec<(String, Vec<Op>)> = reconcile::rulesets(settings).into_iter().map(table).collect();
    wanted.push(("guard".to_owned(), bridge::host_up(settings)));
    wanted.extend(
        agent.engine.networks().iter().map(|n| (format!("network {}", n.name), bridge::network_up(n, settings))),
    );
    wanted
        .extend(endpoints.iter().map(|e| (format!("task {}", e.owner.name), reconcile::expected(e, settings, &seen))));
    let examine = |(object, ops): (String, Vec<Op>)| {
        let missing = present.missing(&ops);
        match missing.first() {
            None => finding(Level::Ok, &object, "as recorded", None),
            Some(op) => finding(
                Level::Fail,
                &object,
                format!("{} steps are missing, the first: {op}", missing.len()),
                Some("systemctl restart netmode"),
            ),
        }
    };
    wanted.into_iter().map(examine).collect()
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
