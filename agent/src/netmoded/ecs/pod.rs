//! What the containers of a task have in common besides its network: limits, files of `/etc`, processes, IPC.

use super::record::EcsRecord;
use crate::agent::Agent;
use netmode_container::{Membership, Namespace, Pod};
use netmode_engine::ecs::compose;
use netmode_engine::modes;
use netmode_model::ecs::TaskDefinition;
use netmode_model::{ApiError, Id};

/// Whose namespace a definition means by a word that was [validated](netmode_engine::ecs::validate).
fn namespace(word: Option<&str>) -> Namespace {
    match word {
        Some("host") => Namespace::Host,
        Some("task") => Namespace::Pod,
        _ => Namespace::Own,
    }
}

fn processes(definition: &TaskDefinition) -> Namespace {
    namespace(definition.pid_mode.as_deref())
}

/// Whose IPC the containers of a definition have.
pub fn ipc(definition: &TaskDefinition) -> Namespace {
    namespace(definition.ipc_mode.as_deref())
}

/// What a container of a task has in common with the others.
pub fn membership(agent: &Agent, id: Id) -> Option<Membership> {
    let record = agent.ecs.get(id)?.now();
    Some(Membership {
        pod: record.id,
        pid: processes(&record.definition),
        ipc: ipc(&record.definition),
        files: modes::needs(record.requested.effective()).eni,
    })
}

/// Makes it, or finds it made by an agent before this one.
///
/// # Errors
/// A program that is missing, or what the kernel refuses.
pub fn make(agent: &Agent, record: &EcsRecord) -> Result<(), ApiError> {
    let definition = &record.definition;
    let pod = Pod {
        memory: definition.memory.map(compose::bytes),
        cpus: definition.cpu.filter(|units| *units > 0).map(|units| f64::from(units) / 1024.0),
        namespaces: [processes(definition), ipc(definition)].contains(&Namespace::Pod),
    };
    agent.containers.make_pod(record.id, &pod).map_err(|e| ApiError::new(e.code(), e.to_string()))
}

/// Ends what a container leaves running that has ended, where the kernel does not.
pub fn end_rest(agent: &Agent, record: &EcsRecord, container: Id) {
    if processes(&record.definition) != Namespace::Own {
        agent.containers.end_rest(container);
    }
}

/// Ends it, once every container has ended; their control group stays as long as theirs.
pub fn end(agent: &Agent, id: Id) {
    if let Err(failure) = agent.containers.remove(id) {
        tracing::warn!(task = %id, %failure, "left behind");
    }
}

/// Takes away the rest, once every container has been removed.
pub fn forget(agent: &Agent, id: Id) {
    if let Err(failure) = agent.containers.remove_pod(id) {
        tracing::warn!(task = %id, %failure, "left behind");
    }
}
