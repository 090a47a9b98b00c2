//! Tasks at the start: those whose container lives are watched on, the others have ended.

use crate::agent::{Agent, blocking};
use crate::task::{TaskRecord, VERSION};
use crate::{clock, life};
use netmode_container::State;
use netmode_engine::store::{self, Kind};
use netmode_model::ApiError;
use netmode_model::api::TaskState;
use std::sync::Arc;

/// Reads the tasks' records and compares them with the containers that live.
///
/// # Errors
/// Records of a newer version, or records that cannot be read.
pub async fn tasks(agent: &Arc<Agent>) -> anyhow::Result<()> {
    let listing = store::list::<TaskRecord>(&*agent.store, Kind::Task, VERSION.into())?;
    for sentence in &listing.set_aside {
        tracing::error!("{sentence}");
    }
    let mut owned = Vec::new();
    for record in listing.records {
        owned.extend(record.endpoint);
        let id = record.id;
        let task = match agent.tasks.add(record) {
            Ok(task) => task,
            Err(error) => {
                tracing::error!(task = %id, %error, "the record is left out");
                continue;
            }
        };
        let record = task.now();
        let lives = agent.containers.pid(id).is_some();
        match record.state {
            TaskState::Stopped => {}
            // An exit while no agent was there is found by the watch, which reads the exit file.
            TaskState::Running | TaskState::Stopping
                if lives || matches!(agent.containers.exit_status(id), Ok(Some(_))) =>
            {
                life::watch(agent.clone(), task);
            }
            TaskState::Pending if matches!(agent.containers.state(id), Ok(State::Running(_))) => {
                // The agent ended after the start and before its record.
                agent.update(&task, |r| {
                    r.state = TaskState::Running;
                    r.started_at = Some(clock::now());
                })?;
                life::watch(agent.clone(), task);
            }
            TaskState::Pending if lives => {}
            _ => lost(agent, &record).await?,
        }
    }
    forsaken(agent, &owned).await?;
    Ok(())
}

/// A task whose container went with a reboot.
async fn lost(agent: &Arc<Agent>, record: &TaskRecord) -> Result<(), ApiError> {
    let Some(task) = agent.tasks.get(record.id) else { return Ok(()) };
    let (shared, endpoint) = (agent.clone(), record.endpoint);
    blocking(move || endpoint.map(|id| shared.detach(id))).await?;
    agent.update(&task, |r| {
        r.state = TaskState::Stopped;
        r.endpoint = None;
        r.stopped_at = Some(clock::now());
        r.stopped_reason = Some("the container was gone when the agent started".into());
    })?;
    Ok(())
}

/// Endpoints of tasks that no task names: the agent ended between attaching and recording the task.
async fn forsaken(agent: &Arc<Agent>, owned: &[netmode_model::Id]) -> Result<(), ApiError> {
    let of_task = |e: &netmode_engine::Endpoint| e.owner.kind == netmode_engine::endpoint::OwnerKind::Task;
    let left: Vec<_> = agent.engine.endpoints().into_iter().filter(of_task).map(|e| e.id).collect();
    for id in left.into_iter().filter(|id| !owned.contains(id)) {
        let shared = agent.clone();
        tracing::info!(endpoint = %id, "detached what no task names");
        blocking(move || shared.detach(id)).await?;
    }
    Ok(())
}
