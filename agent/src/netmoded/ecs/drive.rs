//! The life of a task: containers come when what they wait for has happened, and the task ends with the first of those
//! that it cannot be without.

use super::record::{EcsRecord, EcsTask, MemberRecord, Stage};
use super::words::{self, Doing};
use super::{health, pod, ports, run, stop};
use crate::admit::Intent;
use crate::agent::{Agent, blocking};
use crate::events::{self, By};
use crate::registry::Task;
use crate::{clock, life, make};
use netmode_engine::ecs::compose::Member;
use netmode_engine::ecs::order;
use netmode_engine::modes;
use netmode_model::api::{NetOptions, NetworkRef, RunRequest, TaskState};
use netmode_model::ecs::{Condition, ContainerDefinition, Health, StopCode, TaskStatus};
use netmode_model::{ApiError, RequestedMode};
use std::sync::Arc;
use std::time::Duration;

/// How long others wait for a container where it says nothing (ECS developer guide, "Container timeouts").
const START_TIMEOUT: u32 = 180;

/// How long a container must have run before it is started again, in seconds (ECS, restartAttemptPeriod).
const RESTART_PERIOD: u32 = 300;

/// Drives a task until it has ended.
pub fn drive(agent: Arc<Agent>, task: Arc<EcsTask>) {
    events::spawn(async move {
        let (shared, placed) = (agent.clone(), task.clone());
        let _ = blocking(move || run::provisioned(&shared, &placed)).await;
        ports::turn(&agent, &task).await;
        let (shared, record) = (agent.clone(), task.now());
        let prepared = blocking(move || prepare(&shared, &record)).await.and_then(|prepared| prepared);
        match prepared {
            Err(error) => stop::because(&agent, &task, Some(StopCode::TaskFailedToStart), error.to_string()).await,
            Ok(members) => {
                let each = members.into_iter().map(|m| events::spawn(member(agent.clone(), task.clone(), m)));
                for done in each.collect::<Vec<_>>() {
                    let _ = done.await;
                }
            }
        }
        stop::finish(&agent, &task).await;
    });
}

/// The containers; made is what they have in common, and the directories of the task's own volumes.
fn prepare(agent: &Agent, record: &EcsRecord) -> Result<Vec<Member>, ApiError> {
    let members = run::members(agent, record)?;
    if !record.ending() {
        pod::make(agent, record)?;
    }
    let own = agent.state_dir.join("volumes");
    for source in members.iter().flat_map(|m| &m.spec.volumes).filter_map(|v| v.split(':').next()) {
        let path = std::path::Path::new(source);
        if path.starts_with(&own) {
            std::fs::create_dir_all(path).map_err(|e| {
                ApiError::new(netmode_model::Code::State, format!("cannot make the volume {}: {e}", path.display()))
            })?;
        }
    }
    Ok(members)
}

fn definition<'a>(record: &'a EcsRecord, container: &str) -> Option<&'a ContainerDefinition> {
    record.definition.container_definitions.iter().find(|c| c.name == container)
}

async fn change(
    agent: &Arc<Agent>,
    task: &Arc<EcsTask>,
    container: &str,
    change: impl FnOnce(&mut MemberRecord) + Send + 'static,
) {
    let container = container.to_owned();
    let done = task.set(agent, move |r| {
        if let Some(member) = r.members.iter_mut().find(|m| m.container == container) {
            change(member);
        }
    });
    done.await;
}

/// One container, from what it waits for to its last end.
async fn member(agent: Arc<Agent>, task: Arc<EcsTask>, member: Member) {
    let name = member.container.clone();
    let started = match task.now().member(&name).map(|m| m.stage) {
        Some(Stage::Waiting) => begin(&agent, &task, member).await,
        // An agent before this one has started it.
        Some(Stage::Started) => {
            all_started(&agent, &task).await;
            agent.tasks.find(member.name.as_str())
        }
        _ => return,
    };
    match started {
        Ok(container) => live(&agent, &task, &name, container).await,
        // It was to end before it began.
        Err(_) if task.now().ending() => change(&agent, &task, &name, |m| m.stage = Stage::Ended(None)).await,
        Err(error) => {
            let reason = error.to_string();
            let told = reason.clone();
            change(&agent, &task, &name, |m| (m.stage, m.reason) = (Stage::Ended(None), Some(told))).await;
            stop::because(&agent, &task, Some(StopCode::TaskFailedToStart), reason).await;
        }
    }
}

/// Waits for others, then makes and starts the container.
async fn begin(agent: &Arc<Agent>, task: &Arc<EcsTask>, member: Member) -> Result<Arc<Task>, ApiError> {
    wait(task, &member.container).await?;
    let record = task.now();
    let known = agent.tasks.find(member.name.as_str()).ok();
    let container = match known {
        // Made by an agent before this one, which ended then.
        Some(container) => container,
        None if record.ending() => return Err(being_stopped()),
        None => {
            let (request, intent) = request(&record, &member);
            let created =
                make::create_for(agent, request, intent).await.map_err(|e| words::failed(Doing::Create, &e))?;
            change(agent, task, &member.container, move |m| m.id = Some(created.id)).await;
            agent.tasks.find(&created.id.to_string())?
        }
    };
    if let Err(error) = start(agent, task, &member, &container).await {
        let record = task.now();
        if record.ending() {
            // Who ends the task may have looked for this container before it was there.
            stop::member(agent, &record, &member.container, &container).await;
        }
        return Err(error);
    }
    change(agent, task, &member.container, |m| m.stage = Stage::Started).await;
    all_started(agent, task).await;
    Ok(container)
}

async fn start(agent: &Arc<Agent>, task: &EcsTask, member: &Member, container: &Arc<Task>) -> Result<(), ApiError> {
    if task.now().ending() {
        return Err(being_stopped());
    }
    if !member.secrets.is_empty() && !agent.ecs.remembers(&member.name) {
        let text = format!(
            "ResourceInitializationError: the secrets of container '{}' went with the agent that was given them; run the task again",
            member.container
        );
        return Err(ApiError::new(netmode_model::Code::WrongState, text));
    }
    life::start(agent, container).await.map_err(|e| words::failed(Doing::Start, &e))
}

fn being_stopped() -> ApiError {
    ApiError::new(netmode_model::Code::WrongState, "the task is being stopped")
}

/// A task runs when none of its containers waits any more.
async fn all_started(agent: &Arc<Agent>, task: &Arc<EcsTask>) {
    let record = task.now();
    if record.status != TaskStatus::Pending || record.members.iter().any(|m| m.stage == Stage::Waiting) {
        return;
    }
    let done = task.set(agent, |r| {
        if r.status == TaskStatus::Pending {
            r.status = TaskStatus::Running;
            r.started_at = Some(clock::now());
        }
    });
    done.await;
}

fn request(record: &EcsRecord, member: &Member) -> (RunRequest, Intent) {
    let needs = modes::needs(record.requested.effective());
    // A container's variables are the task's where there is one namespace.
    let mut net = NetOptions { sg_best_effort: record.sg_best_effort, ..member.net.clone() };
    let guarded = needs.link && !needs.eni && !member.alone;
    net.security_groups = if guarded { record.security_groups.clone() } else { Vec::new() };
    let requested = if member.alone { RequestedMode::None } else { record.requested };
    let request = RunRequest {
        name: Some(member.name.clone()),
        network: NetworkRef::Mode(requested),
        net,
        container: member.spec.clone(),
        ..RunRequest::default()
    };
    (request, Intent::Within { pod: record.id, endpoint: record.endpoint })
}

/// Waits until everything has happened that a container waits for.
async fn wait(task: &Arc<EcsTask>, container: &str) -> Result<(), ApiError> {
    let record = task.now();
    let Some(own) = definition(&record, container) else { return Ok(()) };
    for dependency in order::dependencies(own) {
        let other = dependency.container_name.clone();
        let patience = definition(&record, &other).and_then(|c| c.start_timeout).unwrap_or(START_TIMEOUT);
        let mut changes = task.subscribe();
        let met = changes.wait_for(|r| r.ending() || came_to(r, &other, dependency.condition).is_some());
        let failed = |why: &str| {
            let text =
                format!("TaskDependencyError: container '{container}' depends on container '{other}', which {why}");
            Err(ApiError::new(netmode_model::Code::WrongState, text))
        };
        match tokio::time::timeout(Duration::from_secs(patience.into()), met).await {
            Err(_) => return failed(&format!("did not come to {:?} within {patience} s", dependency.condition)),
            Ok(Ok(record)) if record.ending() => return Err(being_stopped()),
            Ok(Ok(record)) if came_to(&record, &other, dependency.condition) == Some(false) => {
                return failed("ended otherwise");
            }
            Ok(Ok(_)) => {}
            Ok(Err(_)) => return Err(being_stopped()),
        }
    }
    Ok(())
}

/// Whether a container has come to what is waited for: not yet, yes, or never.
fn came_to(record: &EcsRecord, container: &str, condition: Condition) -> Option<bool> {
    let member = record.member(container)?;
    match (condition, member.stage) {
        (_, Stage::Waiting) => None,
        (Condition::Start, _) => Some(true),
        (Condition::Complete, Stage::Ended(_)) => Some(true),
        (Condition::Success, Stage::Ended(code)) => Some(code == Some(0)),
        (Condition::Healthy, Stage::Started) => (member.health == Health::Healthy).then_some(true),
        (Condition::Healthy, Stage::Ended(_)) => Some(false),
        (Condition::Complete | Condition::Success, Stage::Started) => None,
    }
}

/// Follows a container that was started to its end, and starts it again where its definition says so.
async fn live(agent: &Arc<Agent>, task: &Arc<EcsTask>, name: &str, container: Arc<Task>) {
    let record = task.now();
    let Some(own) = definition(&record, name).cloned() else { return };
    let checked =
        health::watch(agent.clone(), task.clone(), name.to_owned(), container.clone(), own.health_check.clone());
    let code = loop {
        let begun = std::time::Instant::now();
        let code = life::wait(&container).await;
        let (shared, ended, id) = (agent.clone(), record.clone(), container.now().id);
        let _ = blocking(move || pod::end_rest(&shared, &ended, id)).await;
        let policy = own.restart_policy.clone().filter(|p| p.enabled && !p.ignored_exit_codes.contains(&code));
        let period = policy.and_then(|p| p.restart_attempt_period.or(Some(RESTART_PERIOD)));
        let settled = period.is_some_and(|p| begun.elapsed() >= Duration::from_secs(p.into()));
        let again = || events::scope(By::agent("restart policy"), life::start(agent, &container));
        if !settled || task.now().ending() || again().await.is_err() {
            break code;
        }
    };
    checked.abort();
    let code = container.now().exit_code.or(Some(code)).filter(|_| container.now().state == TaskState::Stopped);
    let starved = agent.containers.ran_out_of_memory(container.now().id);
    let ended = move |m: &mut MemberRecord| {
        m.stage = Stage::Ended(code);
        m.reason = starved.then(|| words::OUT_OF_MEMORY.into());
    };
    change(agent, task, name, ended).await;
    if own.is_essential() {
        let reason = "Essential container in task exited".to_owned();
        stop::because(agent, task, Some(StopCode::EssentialContainerExited), reason).await;
    }
}
