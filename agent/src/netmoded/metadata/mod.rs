//! What a task of ECS is told about itself (ECS developer guide, "Task metadata endpoint", versions 2, 3 and 4).
//!
//! It asks at 169.254.170.2 in its own namespace, where the agent listens: who asks is known by where he asks, and nobody
//! can be taken for somebody else. Tasks in host mode have the host's namespace, and ask on the host's loopback.

mod documents;
mod rate;
mod routes;
mod stats;

pub use routes::serve;

use crate::agent::Agent;
use crate::ecs::{EcsRecord, MemberRecord};
use crate::http::Server;
use crate::registry::Task;
use crate::task::TaskRecord;
use netmode_engine::modes;
use netmode_model::{Id, Mode};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};

/// Where tasks in host mode ask: the port of the ECS agent's (agent README, "Environment Variables").
const ON_HOST: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 51679);

/// Who asks, as far as where he asks tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// This task.
    Task(Id),
    /// A process of the host, which may be of any task in host mode.
    Host,
}

/// The server for tasks in host mode, once there was one.
#[derive(Debug, Default)]
pub struct OnHost(Mutex<Option<Server>>);

/// Begins to answer tasks in host mode. Must be called within the runtime of tokio.
fn serve_host(agent: &Arc<Agent>) {
    let mut server = agent.metadata.0.lock().unwrap_or_else(PoisonError::into_inner);
    if server.is_some() {
        return;
    }
    let begun = TcpListener::bind(ON_HOST).and_then(|listener| serve(agent.clone(), Asker::Host, listener));
    match begun {
        Ok(begun) => *server = Some(begun),
        Err(error) => tracing::warn!(at = %ON_HOST, %error, "tasks in host mode cannot ask for their metadata"),
    }
}

/// The id by which a container asks: its task's, and the first digits of its own name on this host.
fn endpoint_id(record: &EcsRecord, member: &MemberRecord) -> String {
    let digits = member.name.as_str().rsplit('-').next().unwrap_or_default();
    format!("{}-{}", record.id, &digits[..digits.len().min(10)])
}

/// Whether a task can ask: with a network of its own, and on the host.
fn serves(mode: Mode) -> bool {
    let needs = modes::needs(mode);
    needs.link || !needs.netns
}

/// The task of a container, and what is recorded of it there.
fn member_of(agent: &Agent, record: &TaskRecord) -> Option<(EcsRecord, MemberRecord)> {
    let task = agent.ecs.get(record.pod?)?.now();
    let member = task.members.iter().find(|m| m.name == record.name)?.clone();
    Some((task, member))
}

/// Who asks in the namespace of a container that is of a task and has a network of its own.
pub fn asker(agent: &Agent, record: &TaskRecord) -> Option<Asker> {
    let (task, _) = member_of(agent, record)?;
    (serves(record.mode()) && modes::needs(record.mode()).link).then_some(Asker::Task(task.id))
}

/// The variables that tell a container where to ask. The first task in host mode has the agent listen for it.
pub fn variables(agent: &Arc<Agent>, record: &TaskRecord) -> Vec<String> {
    let Some((task, member)) = member_of(agent, record) else { return Vec::new() };
    if !serves(record.mode()) {
        return Vec::new();
    }
    let at = match modes::needs(record.mode()).netns {
        true => netmode_engine::seat::METADATA.to_string(),
        false => {
            serve_host(agent);
            ON_HOST.to_string()
        }
    };
    let id = endpoint_id(&task, &member);
    vec![
        format!("ECS_CONTAINER_METADATA_URI=http://{at}/v3/{id}"),
        format!("ECS_CONTAINER_METADATA_URI_V4=http://{at}/v4/{id}"),
        format!("ECS_AGENT_URI=http://{at}/api/{id}"),
        "AWS_EXECUTION_ENV=AWS_ECS_EC2".into(),
    ]
}

/// At the start: tasks in host mode that an agent before this one has begun go on asking.
pub fn go_on(agent: &Arc<Agent>) {
    let on_host = |task: &Arc<Task>| {
        let record = task.now();
        !record.stopped() && record.pod.is_some() && !modes::needs(record.mode()).netns
    };
    if agent.tasks.all().iter().any(on_host) {
        serve_host(agent);
    }
}
