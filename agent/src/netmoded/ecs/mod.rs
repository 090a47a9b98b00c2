//! Tasks of ECS task definitions. Each container is a task of `netmode run` with a name of its own, so that logs, exec
//! and inspect know it; what they have in common (an ENI, scratch volumes, who waits for whom, the end) is here.

mod drive;
mod health;
mod pod;
mod ports;
mod record;
mod run;
pub mod service;
mod stop;
mod view;
mod words;

pub use pod::membership;
pub use record::{EcsRecord, EcsTask, MemberRecord, Stage, Tasks};
pub use run::{CLUSTER, run};
pub use stop::stop;
pub use view::{cluster_arn, container_arn, definition_arn, instance_arn, task_arn, view};

use crate::agent::{Agent, blocking};
use crate::events::{self, By, told};
use crate::{clock, life, startup};
use netmode_engine::store;
use netmode_engine::store::Kind;
use netmode_model::ecs::TaskStatus;
use netmode_model::{ApiError, Code, Id};
use std::sync::Arc;
use std::time::Duration;

/// How long a task that has ended is shown.
const SHOWN: Duration = Duration::from_secs(3600);

/// Pause between two looks for tasks that are not shown any more.
const SWEEP: Duration = Duration::from_secs(60);

/// Reads the records, before anything that looks for what nobody names.
///
/// # Errors
/// A record of a newer version.
pub fn load(agent: &Arc<Agent>) -> anyhow::Result<()> {
    let listing = store::list::<EcsRecord>(&*agent.store, Kind::EcsTask, record::VERSION.into())?;
    startup::told(&listing.set_aside);
    listing.records.into_iter().for_each(|record| agent.ecs.add(Arc::new(EcsTask::new(record))));
    Ok(())
}

/// Goes on with what an agent before this one had begun.
pub fn go_on(agent: &Arc<Agent>) {
    tokio::spawn(events::scope(By::agent("it ended an hour ago"), sweep(agent.clone())));
    for task in agent.ecs.all() {
        if task.now().status != TaskStatus::Stopped {
            stop::go_on(agent, &task);
            drive::drive(agent.clone(), task);
        }
    }
}

/// Forgets a task that has ended, with its containers and their logs.
///
/// # Errors
/// A container or a record that stays.
pub async fn remove(agent: &Arc<Agent>, task: &EcsTask) -> Result<(), ApiError> {
    let record = task.now();
    for member in &record.members {
        if let Ok(container) = agent.tasks.find(member.name.as_str()) {
            life::remove(agent, &container, true).await?;
        }
    }
    let shared = agent.clone();
    blocking(move || {
        pod::forget(&shared, record.id);
        shared.store.remove(Kind::EcsTask, &record.id.to_string())
    })
    .await?
    .map_err(|e| ApiError::new(Code::State, e.to_string()))?;
    agent.ecs.forget(record.id);
    told::ecs_task(agent, &record, "removed");
    Ok(())
}

/// Tasks that have ended are shown for an hour, as ECS has it, and then forgotten.
async fn sweep(agent: Arc<Agent>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let old = |task: &Arc<EcsTask>| {
            let record = task.now();
            let since = record.stopped_at.as_deref().and_then(clock::since);
            record.status == TaskStatus::Stopped && since.is_some_and(|since| since >= SHOWN)
        };
        for task in agent.ecs.all().into_iter().filter(old) {
            if let Err(error) = remove(&agent, &task).await {
                tracing::warn!(task = %task.now().id, %error, "an old task was not forgotten");
            }
        }
    }
}

/// The ENI of a task is gone: the task ends for that.
pub async fn interface_lost(agent: &Arc<Agent>, endpoint: Id, reason: &str) {
    if let Some(task) = agent.ecs.all().into_iter().find(|t| t.now().endpoint == Some(endpoint)) {
        stop::because(agent, &task, None, reason.into()).await;
    }
}
