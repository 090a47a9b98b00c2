//! ENIs whose links are gone while their tasks run: the tasks end, as ECS ends one whose interface is detached. A new
//! link under the old name would not be what the task was given, and half a network is worse than none.

use crate::agent::{Agent, blocking};
use crate::events::{self, By, told};
use crate::registry::Task;
use crate::task::Joined;
use crate::{life, stop};
use netmode_engine::Endpoint;
use netmode_model::{Id, Place};
use std::sync::Arc;

/// A link with this alias is gone, somewhere.
pub fn unlinked(agent: &Arc<Agent>, alias: &str) {
    let mark = format!("netmode/{}/endpoint/", agent.engine.settings().instance);
    let id = alias.strip_prefix(&mark).and_then(|rest| rest.split('/').next()).and_then(|id| id.parse::<Id>().ok());
    let standing = id.and_then(|id| agent.engine.endpoint(id));
    if let Some(endpoint) = standing.filter(is_eni) {
        tokio::spawn(end(agent.clone(), endpoint));
    }
}

/// Messages were lost, or none were heard: every ENI is looked at.
pub fn look_for_lost(agent: &Arc<Agent>) {
    let agent = agent.clone();
    let handle = tokio::runtime::Handle::current();
    handle.clone().spawn_blocking(move || {
        for endpoint in agent.engine.endpoints().into_iter().filter(is_eni) {
            let Some(link) = &endpoint.link else { continue };
            let seen = match endpoint.netns.name() {
                Some(netns) if !link.has_host_end() => agent.kernel.link(&Place::Netns(netns.clone()), &link.interface),
                _ => agent.kernel.link(&Place::Host, &link.host_dev),
            };
            if matches!(seen, Ok(None)) {
                handle.spawn(end(agent.clone(), endpoint));
            }
        }
    });
}

fn is_eni(endpoint: &Endpoint) -> bool {
    endpoint.link.as_ref().is_some_and(|l| l.eni.is_some())
}

/// Why, in a sentence.
fn reason(agent: &Agent, endpoint: &Endpoint) -> String {
    let eni = endpoint.link.as_ref().and_then(|l| l.eni.as_ref());
    let id = eni.map(|e| e.id.as_str()).unwrap_or_default();
    let parent = eni.and_then(|e| e.parent.as_ref());
    let gone = parent.filter(|p| matches!(agent.kernel.link(&Place::Host, p), Ok(None)));
    match gone {
        Some(parent) => format!("the network interface {id} is gone: its parent link {parent} disappeared"),
        None => format!("the network interface {id} is gone: somebody deleted its link"),
    }
}

/// Ends the task of an ENI, and those that share its network.
async fn end(agent: Arc<Agent>, endpoint: Endpoint) {
    let (shared, lost) = (agent.clone(), endpoint.clone());
    let Ok(reason) = blocking(move || reason(&shared, &lost)).await else { return };
    events::scope(By::kernel(reason.clone()), end_for(agent, endpoint, reason)).await;
}

async fn end_for(agent: Arc<Agent>, endpoint: Endpoint, reason: String) {
    told::interface_lost(&agent, &endpoint, &reason);
    let concerned = |task: &Arc<Task>| {
        let record = task.now();
        let shares = [Joined::Task(endpoint.owner.id), Joined::Endpoint(endpoint.id)].contains(&record.netns);
        record.endpoint == Some(endpoint.id) || shares
    };
    crate::ecs::interface_lost(&agent, endpoint.id, &reason).await;
    for task in agent.tasks.all().into_iter().filter(concerned) {
        let why = reason.clone();
        let told = life::set(&agent, &task, move |r| r.ending_reason = Some(why)).await;
        tracing::error!(task = %task.now().name, reason, "is ended");
        if let Err(error) = told.and(stop::kill_and_wait(&agent, &task).await) {
            tracing::error!(task = %task.now().name, %error, "could not be ended");
        }
    }
}
