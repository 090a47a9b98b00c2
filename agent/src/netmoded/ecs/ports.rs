//! Host ports as ECS counts them: who has one before a task is placed, and under a profile or strict ECS also those
//! that no task gets, how many there may be, and the queue of tasks that wait for one (ECS agent,
//! `host_resource_manager.go`).

use super::record::{EcsRecord, EcsTask, Stage};
use super::run::Wanted;
use crate::agent::Agent;
use crate::instance;
use netmode_engine::{Endpoint, modes};
use netmode_model::ecs::{TaskDefinition, TaskStatus};
use netmode_model::{ApiError, Code, Mode, Protocol};
use std::sync::PoisonError;

/// Most host ports of an instance, the reserved ones among them; dynamic ones do not count (same place).
const MOST: usize = 100;

/// The host ports that a task names itself. One with an ENI has the ports of its own address.
fn named(definition: &TaskDefinition, mode: Mode) -> Vec<(Protocol, u16)> {
    if modes::needs(mode).eni {
        return Vec::new();
    }
    let mappings = definition.container_definitions.iter().flat_map(|c| &c.port_mappings);
    let port = |mapping: &netmode_model::ecs::PortMapping| {
        // Without a network of its own a container's port is the host's.
        let port = if modes::needs(mode).netns { mapping.host_port } else { mapping.container_port };
        let protocol = Protocol::from_word(mapping.protocol.as_deref().unwrap_or("tcp"))?;
        port.and_then(|p| u16::try_from(p).ok()).filter(|p| *p != 0).map(|port| (protocol, port))
    };
    mappings.filter_map(port).collect()
}

fn of(record: &EcsRecord) -> Vec<(Protocol, u16)> {
    named(&record.definition, record.requested.effective())
}

/// Whether a task may be placed by its host ports.
///
/// # Errors
/// [`Code::PortTaken`]: ECS' `RESOURCE:PORTS`.
pub fn place(agent: &Agent, wanted: &Wanted) -> Result<(), ApiError> {
    let bounded = wanted.net.strict_ecs || instance::bounded(agent);
    let kept = agent.config.read().unwrap_or_else(PoisonError::into_inner).ports.clone();
    let own = named(&wanted.definition, wanted.requested.effective());
    let refused = |text: String| Err(ApiError::new(Code::PortTaken, text));
    for (protocol, port) in &own {
        let of_protocol = if *protocol == Protocol::Tcp { &kept.reserved } else { &kept.reserved_udp };
        if bounded && of_protocol.contains(port) {
            return refused(format!("{protocol} port {port} is kept by the container instance; choose another one"));
        }
        let has = |e: &Endpoint| e.ports.iter().any(|p| p.protocol == *protocol && p.host_ports.contains(*port));
        // A task that is ending is waited for.
        if let Some(other) = agent.engine.find(has).filter(|e| !(bounded && is_ending(agent, e))) {
            return refused(format!("{protocol} port {port} is in use by task {}", other.owner.name));
        }
    }
    let running = agent.ecs.all().into_iter().map(|t| t.now()).filter(|r| r.status != TaskStatus::Stopped);
    let used = kept.reserved.len() + kept.reserved_udp.len() + running.map(|r| of(&r).len()).sum::<usize>();
    if bounded && !own.is_empty() && used + own.len() > MOST {
        let text = format!(
            "Too many ports registered: the task names {} host ports, and {used} of the instance's {MOST} are taken; leave hostPort out, or stop a task",
            own.len()
        );
        return refused(text);
    }
    Ok(())
}

/// Whether an endpoint is of a container whose task is ending.
fn is_ending(agent: &Agent, endpoint: &Endpoint) -> bool {
    let of = |r: &EcsRecord| r.members.iter().any(|m| m.name.as_str() == endpoint.owner.name);
    agent.ecs.all().iter().map(|t| t.now()).any(|r| r.ending() && of(&r))
}

/// Waits until no task that is ending has a host port of this one: it stays PENDING so long, and those that came
/// later wait behind it. One that has begun is past that.
pub async fn turn(agent: &Agent, task: &EcsTask) {
    let record = task.now();
    let bounded = record.strict_ecs || instance::bounded(agent);
    if !bounded || record.members.iter().any(|m| m.stage != Stage::Waiting) {
        return;
    }
    let own = of(&record);
    // Fair: first come, first served.
    let _head = agent.ecs.queue.lock().await;
    while !task.now().ending() {
        let holds = |r: &EcsRecord| {
            let ends = r.id != record.id && r.ending() && r.status != TaskStatus::Stopped;
            ends && of(r).iter().any(|port| own.contains(port))
        };
        let Some(other) = agent.ecs.all().into_iter().find(|t| holds(&t.now())) else { return };
        let (mut theirs, mut ours) = (other.subscribe(), task.subscribe());
        tokio::select! {
            () = async { _ = theirs.wait_for(|r| r.status == TaskStatus::Stopped).await } => {}
            () = async { _ = ours.wait_for(EcsRecord::ending).await } => {}
        }
    }
}
