//! From a request to tasks that are on their way: everything that can be refused is refused here, before anything is
//! made.

use super::record::{EcsRecord, EcsTask, MemberRecord, Stage, VERSION};
use super::{drive, pod, ports};
use crate::agent::{Agent, blocking};
use crate::events::told;
use crate::metadata::Asker;
use crate::{clock, images, names, vpc};
use netmode_container::Containers;
use netmode_engine::ecs::compose::{self, Chosen, Composed};
use netmode_engine::ecs::validate;
use netmode_engine::endpoint::{NetnsUse, Owner, OwnerKind};
use netmode_engine::{Attach, modes};
use netmode_model::api::{NetOptions, NetworkRef, RunRequest};
use netmode_model::ecs::{BadDefinition, RunTaskReply, RunTaskRequest, TaskDefinition, TaskFailure, TaskStatus, read};
use netmode_model::{ApiError, Code, Id, RequestedMode};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// Most tasks of one request (ECS API reference, RunTask).
const MOST: u32 = 10;

/// What is said of security groups where ECS has none.
const EXTENSION: &str = "--security-group: in bridge mode an extension of netmode; ECS has it in awsvpc mode alone";

/// The cluster that every task is in.
pub const CLUSTER: &str = "default";

/// A task that is wanted, checked.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// What it is made of.
    pub definition: TaskDefinition,
    /// The mode asked for.
    pub requested: RequestedMode,
    /// What the task's ENI, or each container's network, is to have.
    pub net: NetOptions,
    /// Values of secrets.
    pub secrets: BTreeMap<String, String>,
    /// `family:…` or `service:…`.
    pub group: String,
    /// What was mapped or left out.
    pub notes: Vec<String>,
}

/// Reads and checks a request.
///
/// # Errors
/// The first thing that cannot be.
pub fn wanted(agent: &Agent, request: RunTaskRequest) -> Result<Wanted, ApiError> {
    let invalid = |text: String| ApiError::new(Code::Invalid, text);
    let bad = |e: BadDefinition| {
        let code = if matches!(e, BadDefinition::Unsupported { .. }) { Code::Unsupported } else { Code::Invalid };
        ApiError::new(code, e.to_string())
    };
    let reading = read(request.definition, &request.ignore).map_err(bad)?;
    let requested = validate::validate(&reading.definition).map_err(|e| invalid(e.to_string()))?;
    if request.assign_public_ip {
        let text =
            "Assign public IP is not supported for this launch type. Leave it out; --nat of the subnet lets tasks out";
        return Err(invalid(text.into()));
    }
    if request.strict_ecs || vpc::strict(agent) {
        validate::validate_strictly(&reading.definition).map_err(|e| invalid(e.to_string()))?;
    }
    let net = NetOptions {
        subnets: request.subnets,
        security_groups: request.security_groups,
        sg_best_effort: request.sg_best_effort,
        strict_ecs: request.strict_ecs,
        ..NetOptions::default()
    };
    if !modes::needs(requested.effective()).eni {
        vpc::only_for_eni(&net, &NetworkRef::Mode(requested))?;
    }
    let wanted = Wanted {
        group: format!("family:{}", reading.definition.family),
        definition: reading.definition,
        requested,
        net,
        secrets: request.secrets,
        notes: reading.notes,
    };
    let trial = composed(
        &wanted,
        &vec!["0".repeat(20); wanted.definition.container_definitions.len()],
        &scratch(&wanted, &PathBuf::from("/scratch")),
        Id::from_bytes([0; 16]),
    )?;
    for member in &trial.members {
        let of_host = !modes::needs(requested.effective()).netns && !member.alone;
        Containers::validate(&member.spec)
            .and_then(|()| Containers::check_sysctls(&member.net.sysctls, of_host, pod::ipc(&wanted.definition)))
            .map_err(|e| ApiError::new(e.code(), format!("container '{}': {e}", member.container)))?;
        images::of(agent, &RunRequest { container: member.spec.clone(), ..RunRequest::default() })?;
        secrets(&wanted, &member.secrets, &member.container)?;
    }
    let extension = !modes::needs(requested.effective()).eni && !wanted.net.security_groups.is_empty();
    let extension = extension.then(|| EXTENSION.to_owned()).into_iter().collect();
    Ok(Wanted { notes: [wanted.notes.clone(), trial.notes, extension].concat(), ..wanted })
}

/// Directories of the host for volumes, by name: those that go with the task below `own`.
fn scratch(wanted: &Wanted, own: &std::path::Path) -> BTreeMap<String, String> {
    let place = |v: &netmode_model::ecs::Volume| {
        let given = v.host.as_ref().and_then(|h| h.source_path.clone());
        let shared = v.docker_volume_configuration.as_ref().is_some_and(|d| d.scope.as_deref() == Some("shared"));
        let kept = || own.parent().unwrap_or(own).join("named").join(&v.name);
        let path = if shared { kept() } else { own.join(&v.name) };
        (v.name.clone(), given.unwrap_or_else(|| path.display().to_string()))
    };
    wanted.definition.volumes.iter().map(place).collect()
}

/// Where a task's own volumes are.
pub fn volumes_of(agent: &Agent, id: Id) -> PathBuf {
    agent.state_dir.join("volumes").join(id.to_string())
}

fn composed(
    wanted: &Wanted,
    digits: &[String],
    volumes: &BTreeMap<String, String>,
    id: Id,
) -> Result<Composed, ApiError> {
    let revision = wanted.definition.revision.unwrap_or(1);
    let label = |key: &str, value: String| (format!("com.amazonaws.ecs.{key}"), value);
    let labels = [
        label("cluster", CLUSTER.into()),
        label("task-arn", super::view::task_arn(id)),
        label("task-definition-family", wanted.definition.family.clone()),
        label("task-definition-version", revision.to_string()),
    ];
    let labels: BTreeMap<String, String> = labels.into();
    let mode = wanted.requested.effective();
    let chosen = Chosen { mode, revision, digits, volumes, labels: &labels };
    compose::compose(&wanted.definition, &chosen).map_err(|e| ApiError::new(Code::Invalid, e.to_string()))
}

/// The variables of a container's secrets.
fn secrets(wanted: &Wanted, named: &[(String, String)], container: &str) -> Result<Vec<String>, ApiError> {
    let value = |(name, from): &(String, String)| {
        let value = wanted.secrets.get(name).or_else(|| wanted.secrets.get(from));
        value.map(|value| format!("{name}={value}")).ok_or_else(|| {
            let from: String = from.chars().take(120).collect();
            let text = format!(
                "the secret {name} of container '{container}' (valueFrom {from}) has no value; give it with --secret {name}=VALUE, or in --secrets-file"
            );
            ApiError::new(Code::Invalid, text)
        })
    };
    named.iter().map(value).collect()
}

/// Runs tasks.
///
/// # Errors
/// What keeps all of them from being. What keeps one of them is told as a failure.
pub async fn run(agent: &Arc<Agent>, request: RunTaskRequest) -> Result<RunTaskReply, ApiError> {
    let count = request.count.unwrap_or(1);
    if !(1..=MOST).contains(&count) {
        return Err(ApiError::new(Code::Invalid, "count is from 1 to 10; run a service for more"));
    }
    let shared = agent.clone();
    let wanted = blocking(move || wanted(&shared, request)).await??;
    let mut reply = RunTaskReply { notes: wanted.notes.clone(), ..RunTaskReply::default() };
    for _ in 0..count {
        match place(agent, &wanted).await {
            Ok(task) => reply.tasks.push(super::view(agent, &task.now())),
            Err(error) => reply.failures.push(failure(agent, error)?),
        }
    }
    Ok(reply)
}

/// What keeps a task from this container instance, in ECS' words; anything else is an error.
pub fn failure(agent: &Agent, error: ApiError) -> Result<TaskFailure, ApiError> {
    let reason = match error.code {
        Code::ResourceEni => "RESOURCE:ENI",
        Code::PortTaken => "RESOURCE:PORTS",
        _ => return Err(error),
    };
    Ok(TaskFailure { arn: super::view::instance_arn(agent), reason: reason.into(), detail: Some(error.message) })
}

/// Places one task: its ENI and its static host ports are reserved before anything else.
///
/// # Errors
/// Why not; nothing has changed then.
pub async fn place(agent: &Arc<Agent>, wanted: &Wanted) -> Result<Arc<EcsTask>, ApiError> {
    let _alone = agent.ecs.placing.lock().await;
    if agent.ending.begun() {
        return Err(ApiError::new(Code::WrongState, "the agent is being reset"));
    }
    let (shared, wanted) = (agent.clone(), wanted.clone());
    let task = blocking(move || make(&shared, &wanted)).await??;
    drive::drive(agent.clone(), task.clone());
    Ok(task)
}

fn unavailable(e: impl std::fmt::Display) -> ApiError {
    ApiError::new(Code::Unavailable, e.to_string())
}

fn make(agent: &Arc<Agent>, wanted: &Wanted) -> Result<Arc<EcsTask>, ApiError> {
    let id = clock::fresh_id().map_err(unavailable)?;
    let containers = &wanted.definition.container_definitions;
    let digits = containers.iter().map(|_| Ok(clock::fresh_id().map_err(unavailable)?.hex(10)));
    let digits = digits.collect::<Result<Vec<String>, ApiError>>()?;
    let volumes = scratch(wanted, &volumes_of(agent, id));
    let composed = composed(wanted, &digits, &volumes, id)?;
    ports::place(agent, wanted)?;
    let mode = wanted.requested.effective();
    let member = |m: &compose::Member| MemberRecord {
        container: m.container.clone(),
        name: m.name.clone(),
        id: None,
        stage: Stage::Waiting,
        health: Default::default(),
        reason: None,
    };
    let shares = modes::needs(mode).eni;
    let mut record = EcsRecord {
        v: VERSION,
        id,
        definition: wanted.definition.clone(),
        revision: wanted.definition.revision.unwrap_or(1),
        requested: wanted.requested,
        group: wanted.group.clone(),
        sg_best_effort: wanted.net.sg_best_effort,
        strict_ecs: wanted.net.strict_ecs,
        security_groups: if shares { Vec::new() } else { wanted.net.security_groups.clone() },
        endpoint: None,
        eni: None,
        members: composed.members.iter().map(member).collect(),
        status: if shares { TaskStatus::Provisioning } else { TaskStatus::Pending },
        desired: TaskStatus::Running,
        created_at: clock::now(),
        started_at: None,
        stopping_at: None,
        stopped_at: None,
        stop_code: None,
        stopped_reason: None,
    };
    let attach = if shares { Some(attachment(agent, wanted, &composed, id)?) } else { None };
    record.endpoint = attach.as_ref().map(|a| a.id);
    let secret = composed.members.iter().filter(|m| !m.secrets.is_empty());
    let secret = secret.map(|m| Ok((&m.name, secrets(wanted, &m.secrets, &m.container)?)));
    // Kept when nothing is refused any more: their names are new each time, and nobody would forget them.
    for (name, variables) in secret.collect::<Result<Vec<_>, ApiError>>()? {
        agent.ecs.keep_secrets(name, variables);
    }
    let task = Arc::new(EcsTask::new(record));
    // On disk before the ENI is made: the next agent finds whose it is.
    task.update(agent, |_| {});
    agent.ecs.add(task.clone());
    if let Some(attach) = attach {
        match agent.attach(&attach) {
            Ok(endpoint) => {
                let asker = Some((agent.clone(), Asker::Task(id)));
                if let Err(error) = names::begin(agent, &[endpoint], &names::Wanted::of_group(&wanted.group), asker) {
                    tracing::warn!(task = %id, %error, "its names are not answered for");
                }
                told::ecs_task(agent, &task.now(), "created");
                provisioned(agent, &task);
            }
            Err(error) => {
                agent.ecs.forget(id);
                composed.members.iter().for_each(|m| agent.ecs.forget_secrets(&m.name));
                let _ = agent.store.remove(netmode_engine::store::Kind::EcsTask, &id.to_string());
                return Err(error);
            }
        }
    } else {
        told::ecs_task(agent, &task.now(), "created");
    }
    Ok(task)
}

/// A task that has its ENI waits for its containers. An agent may have ended between the two.
pub fn provisioned(agent: &Agent, task: &EcsTask) {
    let record = task.now();
    let attachment = record.endpoint.map(netmode_model::vpc::uuid);
    let eni = agent.engine.enis().into_iter().find(|e| Some(&e.attachment.attachment_id) == attachment.as_ref());
    if record.status == TaskStatus::Provisioning && eni.is_some() {
        task.update(agent, |r| {
            r.status = TaskStatus::Pending;
            r.eni = eni;
        });
    }
}

fn attachment(agent: &Agent, wanted: &Wanted, composed: &Composed, id: Id) -> Result<Attach, ApiError> {
    let place = vpc::place(agent, &wanted.net, true)?;
    let endpoint = clock::fresh_id().map_err(unavailable)?;
    let pin = format!("nm-{}", endpoint.short()).parse().map_err(unavailable)?;
    let net = wanted.net.clone();
    for member in &composed.members {
        let request = RunRequest { container: member.spec.clone(), net: net.clone(), ..RunRequest::default() };
        vpc::keeps_walls(agent, &place, &request)?;
    }
    let name = format!("{}:{}", wanted.definition.family, id.short());
    Ok(Attach {
        id: endpoint,
        owner: Owner { kind: OwnerKind::Task, id, name, uid: 0 },
        netns: NetnsUse::Own(pin),
        inode: None,
        interface: "eth0".parse().map_err(unavailable)?,
        requested: wanted.requested,
        network: place.network,
        or_else: place.or_else,
        groups: place.groups,
        default_route: true,
        net,
        now: clock::now(),
        begun: Instant::now(),
    })
}

/// The containers of a task as they are made, from its record.
///
/// # Errors
/// What has become impossible since it was placed.
pub fn members(agent: &Agent, record: &EcsRecord) -> Result<Vec<compose::Member>, ApiError> {
    let wanted = Wanted {
        definition: record.definition.clone(),
        requested: record.requested,
        net: NetOptions::default(),
        secrets: BTreeMap::new(),
        group: record.group.clone(),
        notes: Vec::new(),
    };
    let digits = |m: &MemberRecord| m.name.as_str().rsplit('-').next().unwrap_or_default().to_owned();
    let digits: Vec<String> = record.members.iter().map(digits).collect();
    let volumes = scratch(&wanted, &volumes_of(agent, record.id));
    Ok(composed(&wanted, &digits, &volumes, record.id)?.members)
}
