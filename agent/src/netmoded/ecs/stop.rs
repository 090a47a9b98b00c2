//! The end of a task: those who wait for others end before them, each with its own patience; the network goes last.

use super::record::{EcsRecord, EcsTask, Stage};
use super::{pod, run};
use crate::agent::{Agent, blocking};
use crate::events::{self, By};
use crate::registry::Task;
use crate::{clock, stop as ending};
use netmode_engine::ecs::compose::STOP_TIMEOUT;
use netmode_engine::ecs::order;
use netmode_model::ApiError;
use netmode_model::ecs::{StopCode, TaskStatus};
use std::sync::Arc;

/// Why a task ends that nobody ends.
const ALL_ENDED: &str = "Every container of the task has ended";

/// Ends a task because somebody asked for it, and waits until it has ended.
///
/// # Errors
/// None: one that has ended is done already.
pub async fn stop(agent: &Arc<Agent>, task: &Arc<EcsTask>, reason: Option<String>) -> Result<(), ApiError> {
    let reason = reason.unwrap_or_else(|| "Task stopped by user".into());
    because(agent, task, Some(StopCode::UserInitiated), reason).await;
    let mut changes = task.subscribe();
    let _ = changes.wait_for(|r| r.status == TaskStatus::Stopped).await;
    Ok(())
}

/// Ends a task; the first reason counts.
pub async fn because(agent: &Arc<Agent>, task: &Arc<EcsTask>, code: Option<StopCode>, reason: String) {
    let by = match code {
        None | Some(StopCode::UserInitiated) => By::current(),
        Some(_) => By::agent(reason.clone()),
    };
    if task.now().ending() {
        return;
    }
    if !task.ended_by(by.clone()) {
        let _ = task.subscribe().wait_for(EcsRecord::ending).await;
        return;
    }
    let change = move |r: &mut EcsRecord| {
        // Its last container may have ended by itself just now.
        if r.ending() {
            return;
        }
        r.desired = TaskStatus::Stopped;
        r.status = TaskStatus::Stopping;
        r.stopping_at = Some(clock::now());
        r.stop_code = code;
        r.stopped_reason = Some(reason);
    };
    let (agent, task) = (agent.clone(), task.clone());
    let begun = async move {
        let record = task.set(&agent, change).await;
        end_members(&agent, &task, record);
    };
    // A caller who goes away does not keep it from being ended.
    let _ = tokio::spawn(events::scope(by, begun)).await;
}

/// Goes on with ending a task where an agent before this one had begun.
pub fn go_on(agent: &Arc<Agent>, task: &Arc<EcsTask>) {
    let record = task.now();
    if record.ending() {
        end_members(agent, task, record);
    }
}

fn end_members(agent: &Arc<Agent>, task: &Arc<EcsTask>, record: EcsRecord) {
    let (agent, task) = (agent.clone(), task.clone());
    events::spawn(async move { members(&agent, &task, &record).await });
}

/// Ends the containers: in each round those for whom nobody waits any more.
async fn members(agent: &Arc<Agent>, task: &Arc<EcsTask>, record: &EcsRecord) {
    let all = &record.definition.container_definitions;
    let ended = |name: &str| task.now().member(name).is_none_or(|m| !matches!(m.stage, Stage::Started));
    let mut rest: Vec<&str> = all.iter().map(|c| c.name.as_str()).collect();
    while !rest.is_empty() {
        let waits_for = |name: &str| {
            let others = all.iter().filter(|o| rest.contains(&o.name.as_str()) && o.name != name && !ended(&o.name));
            others.into_iter().any(|o| order::dependencies(o).iter().any(|d| d.container_name == name))
        };
        let mut round: Vec<&str> = rest.iter().copied().filter(|name| !waits_for(name)).collect();
        if round.is_empty() {
            round.clone_from(&rest);
        }
        let stops = round.iter().map(|name| {
            let known = record.member(name).and_then(|m| agent.tasks.find(m.name.as_str()).ok());
            async move {
                if let Some(container) = known {
                    member(agent, record, name, &container).await;
                }
            }
        });
        futures::future::join_all(stops).await;
        rest.retain(|name| !round.contains(name));
    }
}

/// Ends a container of a task, with the patience that its definition has for it.
pub async fn member(agent: &Arc<Agent>, record: &EcsRecord, name: &str, container: &Arc<Task>) {
    let own = record.definition.container_definitions.iter().find(|c| c.name == name);
    let patience = own.and_then(|c| c.stop_timeout).unwrap_or(STOP_TIMEOUT);
    if let Err(error) = ending::stop(agent, container, Some(patience)).await {
        tracing::warn!(container = %container.now().name, %error, "could not be stopped");
    }
}

/// Gives back what the containers had in common, once all of them have ended.
pub async fn finish(agent: &Arc<Agent>, task: &Arc<EcsTask>) {
    let by = task.ender().unwrap_or_else(|| By::agent(ALL_ENDED));
    events::scope(by, give_back(agent, task)).await;
}

async fn give_back(agent: &Arc<Agent>, task: &Arc<EcsTask>) {
    let shared = agent.clone();
    let ended = task.clone();
    let done = blocking(move || {
        let record = ended.update(&shared, |r| {
            r.desired = TaskStatus::Stopped;
            if r.endpoint.is_some() {
                r.status = TaskStatus::Deprovisioning;
            }
        });
        pod::end(&shared, record.id);
        if let Some(endpoint) = record.endpoint {
            shared.detach(endpoint);
        }
        record.members.iter().for_each(|m| shared.ecs.forget_secrets(&m.name));
        let own = run::volumes_of(&shared, record.id);
        if let Err(error) = std::fs::remove_dir_all(&own)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(path = %own.display(), %error, "the task's volumes were not removed");
        }
        ended.update(&shared, |r| {
            r.endpoint = None;
            r.status = TaskStatus::Stopped;
            r.stopped_at = Some(clock::now());
            r.stopped_reason.get_or_insert_with(|| ALL_ENDED.into());
            if let Some(eni) = &mut r.eni {
                eni.attachment.status = "DELETED".into();
            }
        });
    });
    if let Err(error) = done.await {
        tracing::error!(%error, "a task could not be ended");
    }
}
