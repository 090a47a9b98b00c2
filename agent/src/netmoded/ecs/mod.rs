//! Tasks of ECS task definitions. Each container is a task of `netmode run` with a name of its own, so that logs, exec
//! and inspect know it; what they have in common (an ENI, scratch volumes, who waits for whom, the end) is here.

mod drive;
mod health;
mod record;
mod run;
pub mod service;
mod stop;
mod view;

pub use record::{EcsRecord, EcsTask, Tasks};
pub use run::run;
pub use stop::stop;
pub use view::{instance_arn, view};

use crate::agent::Agent;
use netmode_engine::store;
use netmode_engine::store::Kind;
use netmode_model::Id;
use netmode_model::ecs::TaskStatus;
use std::sync::Arc;

/// Reads the records, before anything that looks for what nobody names.
///
/// # Errors
/// A record of a newer version.
pub fn load(agent: &Arc<Agent>) -> anyhow::Result<()> {
    let listing = store::list::<EcsRecord>(&*agent.store, Kind::EcsTask, record::VERSION.into())?;
    for sentence in &listing.set_aside {
        tracing::error!("{sentence}");
    }
    listing.records.into_iter().for_each(|record| agent.ecs.add(Arc::new(EcsTask::new(record))));
    Ok(())
}

/// Goes on with what an agent before this one had begun.
pub fn go_on(agent: &Arc<Agent>) {
    for task in agent.ecs.all() {
        if task.now().status != TaskStatus::Stopped {
            drive::drive(agent.clone(), task);
        }
    }
}

/// The ENI of a task is gone: the task ends for that.
pub async fn interface_lost(agent: &Arc<Agent>, endpoint: Id, reason: &str) {
    if let Some(task) = agent.ecs.all().into_iter().find(|t| t.now().endpoint == Some(endpoint)) {
        stop::because(agent, &task, None, reason.into()).await;
    }
}
