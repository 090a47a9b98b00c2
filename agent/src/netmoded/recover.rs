//! Tasks at the start: those whose container lives are watched on, the others have ended.

use crate::agent::{Agent, blocking};
use crate::events::told;
use crate::registry::Task;
use crate::task::{TaskRecord, VERSION};
use crate::{clock, life, restart, startup, stop};
use netmode_container::State;
use netmode_engine::store::{self, Kind};
use netmode_model::api::TaskState;
use netmode_model::ecs::TaskStatus;
use netmode_model::{ApiError, Code, Id};
use std::sync::Arc;

/// Reads the tasks' records and compares them with the containers that live.
///
/// # Errors
/// Records of a newer version, or records that cannot be read.
pub async fn tasks(agent: &Arc<Agent>) -> anyhow::Result<()> {
    let listing = store::list::<TaskRecord>(&*agent.store, Kind::Task, VERSION.into())?;
    startup::told(&listing.set_aside);
    let mut owned = agent.ecs.endpoints();
    for record in listing.records {
        owned.extend(record.endpoint);
        owned.extend(&record.more);
        let id = record.id;
        let task = Arc::new(Task::new(record));
        if let Err(error) = agent.tasks.add(task.clone()) {
            tracing::error!(task = %id, %error, "the record is left out");
            continue;
        }
        let record = task.now();
        if record.state == TaskState::Stopped {
            continue;
        }
        let state = agent.containers.state(id);
        let lives = matches!(state, Ok(State::Created(_) | State::Running(_)));
        match record.state {
            // An exit while no agent was there is found by the watch, which reads the exit file.
            TaskState::Running | TaskState::Stopping if lives || matches!(state, Ok(State::Ended(_))) => {
                life::watch(agent.clone(), task.clone());
                if record.state == TaskState::Stopping {
                    stop::go_on(agent.clone(), task);
                }
            }
            TaskState::Pending if matches!(state, Ok(State::Running(_))) => {
                // The agent ended after the start and before its record.
                agent.update(&task, |r| {
                    r.state = TaskState::Running;
                    r.started_at = Some(clock::now());
                })?;
                life::watch(agent.clone(), task);
            }
            TaskState::Pending if lives => {}
            // One that ran before is known to people, whatever became of this start.
            TaskState::Pending if record.started_at.is_none() => unmade(agent, id).await?,
            _ => lost(agent, &record).await?,
        }
    }
    forsaken(agent, &owned).await?;
    strays(agent).await?;
    Ok(())
}

/// The endpoints of a record, the one with the namespace last.
fn of(record: &TaskRecord) -> Vec<Id> {
    record.more.iter().copied().chain(record.endpoint).collect()
}

/// A task that was never whole: its caller was told nothing.
async fn unmade(agent: &Arc<Agent>, id: Id) -> Result<(), ApiError> {
    let endpoints = agent.tasks.get(id).map(|t| of(&t.now())).unwrap_or_default();
    agent.tasks.forget(id);
    let shared = agent.clone();
    blocking(move || {
        if let Err(failure) = shared.containers.remove(id) {
            tracing::warn!(task = %id, %failure, "left behind");
        }
        endpoints.into_iter().for_each(|endpoint| shared.detach(endpoint));
        shared.store.remove(Kind::Task, &id.to_string()).map_err(|e| ApiError::new(Code::State, e.to_string()))
    })
    .await?
}

/// Containers that no task names: the agent ended between making one and recording its task's end.
async fn strays(agent: &Arc<Agent>) -> Result<(), ApiError> {
    let shared = agent.clone();
    blocking(move || {
        let listed = shared.containers.list().map_err(|e| ApiError::new(e.code(), e.to_string()))?;
        let of_pod = |id: Id| shared.ecs.get(id).is_some_and(|t| t.now().status != TaskStatus::Stopped);
        for id in listed.into_iter().filter(|id| shared.tasks.get(*id).is_none() && !of_pod(*id)) {
            tracing::info!(container = %id, "removed what no task names");
            if let Err(failure) = shared.containers.remove(id) {
                tracing::warn!(container = %id, %failure, "left behind");
            }
        }
        Ok(())
    })
    .await?
}

/// A task whose container went with a reboot, or that was being started anew when the agent ended.
async fn lost(agent: &Arc<Agent>, record: &TaskRecord) -> Result<(), ApiError> {
    let Some(task) = agent.tasks.get(record.id) else { return Ok(()) };
    let (shared, endpoints) = (agent.clone(), of(record));
    blocking(move || endpoints.into_iter().for_each(|id| shared.detach(id))).await?;
    let ended = agent.update(&task, |r| {
        // The start that came to nothing has been counted.
        r.again.due = r.state == TaskState::Pending && restart::is_kept_up(r);
        r.state = TaskState::Stopped;
        r.endpoint = None;
        r.more = Vec::new();
        r.stopped_at = Some(clock::now());
        r.stopped_reason = Some("the container was gone when the agent started".into());
    })?;
    told::task(agent, &ended, "stopped");
    Ok(())
}

/// Endpoints of tasks that no task names: the agent ended between attaching and recording the task.
async fn forsaken(agent: &Arc<Agent>, owned: &[Id]) -> Result<(), ApiError> {
    let of_task = |e: &netmode_engine::Endpoint| e.owner.kind == netmode_engine::endpoint::OwnerKind::Task;
    let left: Vec<_> = agent.engine.endpoints().into_iter().filter(of_task).map(|e| e.id).collect();
    for id in left.into_iter().filter(|id| !owned.contains(id)) {
        let shared = agent.clone();
        tracing::info!(endpoint = %id, "detached what no task names");
        blocking(move || shared.detach(id)).await?;
    }
    Ok(())
}
