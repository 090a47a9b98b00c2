//! The life of a task: made, started, stopped, removed.

use crate::agent::{Agent, blocking};
use crate::registry::Task;
use crate::task::{Joined, TaskRecord};
use crate::{admit, clock, identity, loopback};
use netmode_container::{Netns, NewContainer};
use netmode_engine::endpoint::{NetnsUse, Owner, OwnerKind};
use netmode_engine::store::Kind;
use netmode_engine::{Attach, Endpoint, modes};
use netmode_model::api::{Created, RunRequest, TaskState};
use netmode_model::{ApiError, Code, Id, Mode};
use std::sync::Arc;
use std::time::Duration;

/// Seconds between SIGTERM and SIGKILL where nothing is said: Docker's.
const STOP_TIMEOUT: u32 = 10;

/// signal(7).
const SIGTERM: i32 = 15;
const SIGKILL: i32 = 9;

/// Makes a task: network, then container. It is not started.
///
/// # Errors
/// Why not; nothing has changed.
pub async fn create(agent: &Arc<Agent>, request: RunRequest) -> Result<Created, ApiError> {
    let shared = agent.clone();
    let record = blocking(move || admit::admit(&shared, request)).await??;
    let (id, name) = (record.id, record.name.clone());
    let warnings = warnings(&record);
    let task = agent.tasks.add(record)?;
    let made = build(agent, &task).await;
    if let Err(error) = made {
        agent.tasks.forget(id);
        return Err(error);
    }
    Ok(Created { id, name, warnings })
}

/// Attaches the network and makes the container of a task whose record is new, or whose last container ended.
async fn build(agent: &Arc<Agent>, task: &Arc<Task>) -> Result<(), ApiError> {
    let (shared, record) = (agent.clone(), task.now());
    let (endpoint, record) = blocking(move || {
        let endpoint = attach(&shared, &record)?;
        let made = make_container(&shared, &record, endpoint.as_ref());
        if made.is_err() {
            give_back(&shared, record.id, endpoint.as_ref());
        }
        made.map(|()| (endpoint, record))
    })
    .await??;
    let attached = endpoint.as_ref().map(|e| e.id);
    let updated = agent.update(task, |r| {
        r.endpoint = attached;
        r.state = TaskState::Pending;
        r.exit_code = None;
        r.stopped_at = None;
        r.stopped_reason = None;
    });
    if let Err(error) = updated {
        let shared = agent.clone();
        blocking(move || give_back(&shared, record.id, endpoint.as_ref())).await?;
        return Err(error);
    }
    let (shared, name) = (agent.clone(), record.name);
    blocking(move || tell_linked(&shared, name.as_str())).await
}

/// A task that others link to may have another address than before: their hosts files say so.
fn tell_linked(agent: &Agent, target: &str) {
    let links_here = |r: &TaskRecord| r.request.net.links.iter().any(|l| l.split(':').next() == Some(target));
    for other in agent.tasks.all().iter().map(|t| t.now()).filter(|r| !r.stopped() && links_here(r)) {
        let endpoint = other.endpoint.and_then(|id| agent.engine.endpoint(id));
        let files = identity::files(&other, endpoint.as_ref(), &agent.tasks, &agent.engine);
        let told = files.map(|f| f.hosts.map(|hosts| agent.containers.set_hosts(other.id, &hosts)));
        if !matches!(told, Ok(None | Some(Ok(())))) {
            tracing::warn!(task = %other.name, target, "its hosts file was not renewed");
        }
    }
}

fn give_back(agent: &Agent, container: Id, endpoint: Option<&Endpoint>) {
    if let Err(failure) = agent.containers.remove(container) {
        tracing::warn!(%container, %failure, "left behind");
    }
    if let Some(endpoint) = endpoint {
        agent.detach(endpoint.id);
    }
}

/// The request to the engine that a task makes.
///
/// # Errors
/// No random numbers, or a namespace name that cannot be.
pub fn attachment(record: &TaskRecord) -> Result<Attach, ApiError> {
    let failed = |e: String| ApiError::new(Code::Unavailable, e);
    let id = clock::fresh_id().map_err(|e| failed(e.to_string()))?;
    let netns = match record.mode() {
        Mode::Host => NetnsUse::Host,
        _ => NetnsUse::Own(format!("nm-{}", id.short()).parse().map_err(|_| failed("no name for a namespace".into()))?),
    };
    Ok(Attach {
        id,
        owner: Owner { kind: OwnerKind::Task, id: record.id, name: record.name.to_string() },
        netns,
        interface: "eth0".parse().map_err(|_| failed("no name for a link".into()))?,
        requested: record.requested,
        net: record.request.net.clone(),
        now: clock::now(),
    })
}

fn attach(agent: &Agent, record: &TaskRecord) -> Result<Option<Endpoint>, ApiError> {
    if record.netns != Joined::Own {
        return Ok(None);
    }
    Ok(Some(agent.attach(&attachment(record)?)?))
}

fn make_container(agent: &Agent, record: &TaskRecord, endpoint: Option<&Endpoint>) -> Result<(), ApiError> {
    let files = identity::files(record, endpoint, &agent.tasks, &agent.engine)?;
    let net = &record.request.net;
    // The port that --port-env asks for is the last that was reserved.
    let port = endpoint.and_then(|e| e.ports.last()).map(|p| p.host_ports.first());
    let extra_env = net.port_env.iter().zip(port).map(|(name, port)| format!("{name}={port}")).collect();
    let container = NewContainer {
        id: record.id,
        name: record.name.as_str(),
        spec: &record.request.container,
        netns: netns(agent, record, endpoint)?,
        hostname: record.hostname(),
        etc_hosts: files.hosts,
        resolv_conf: files.resolv_conf,
        sysctls: net.sysctls.clone(),
        extra_env,
    };
    let prepared = agent.containers.prepare(&container).map_err(|e| ApiError::new(e.code(), e.to_string()))?;
    agent.containers.create(&prepared).map(drop).map_err(|e| ApiError::new(e.code(), e.to_string()))
}

fn netns(agent: &Agent, record: &TaskRecord, endpoint: Option<&Endpoint>) -> Result<Netns, ApiError> {
    let pinned = |e: &Endpoint| match e.netns.name() {
        Some(name) => Netns::Path(format!("/run/netns/{name}").into()),
        None => Netns::Host,
    };
    match &record.netns {
        Joined::Own => Ok(endpoint.map_or(Netns::Host, pinned)),
        Joined::Path(path) => Ok(Netns::Path(path.clone())),
        Joined::Task(id) => {
            let other = agent.tasks.get(*id).and_then(|t| t.now().endpoint).and_then(|e| agent.engine.endpoint(e));
            let gone = || {
                ApiError::new(
                    Code::WrongState,
                    format!("the task {} whose network is shared has ended; start it first", id.short()),
                )
            };
            other.as_ref().map(pinned).ok_or_else(gone)
        }
    }
}

fn warnings(record: &TaskRecord) -> Vec<String> {
    match record.netns {
        Joined::Own => modes::warnings(record.mode(), &loopback::services()),
        _ => Vec::new(),
    }
}

/// Starts a task. One that has ended gets a new network attachment and a new container first.
///
/// # Errors
/// It runs already, or cannot be started.
pub async fn start(agent: &Arc<Agent>, task: &Arc<Task>) -> Result<(), ApiError> {
    let _life = task.life.lock().await;
    let record = task.now();
    match record.state {
        TaskState::Running => return Ok(()),
        TaskState::Stopped => {
            identity::check(&record, &agent.tasks, &agent.engine)?;
            build(agent, task).await?;
        }
        TaskState::Pending | TaskState::Stopping => {}
    }
    let (shared, id) = (agent.clone(), record.id);
    let started = blocking(move || shared.containers.start(id)).await?;
    if let Err(error) = started {
        end(agent, task, None, format!("could not be started: {error}")).await;
        return Err(ApiError::new(error.code(), error.to_string()));
    }
    agent.update(task, |r| {
        r.state = TaskState::Running;
        r.started_at = Some(clock::now());
    })?;
    watch(agent.clone(), task.clone());
    Ok(())
}

/// Waits for the end of a task's container and clears up behind it.
pub fn watch(agent: Arc<Agent>, task: Arc<Task>) {
    tokio::spawn(async move {
        let id = task.now().id;
        let exit = agent.containers.wait(id).await;
        let _life = task.life.lock().await;
        if task.now().stopped() {
            return;
        }
        let reason = match &exit {
            Ok(exit) if exit.lost => "the container ended and nobody saw its exit status".into(),
            Ok(_) => "Essential container in task exited".into(),
            Err(error) => format!("the container was lost: {error}"),
        };
        end(&agent, &task, exit.ok().map(|e| e.code), reason).await;
        if task.now().request.auto_remove {
            remove_record(&agent, &task).await;
        }
    });
}

/// Gives everything back that a task had, except its record and its files.
async fn end(agent: &Arc<Agent>, task: &Arc<Task>, code: Option<i32>, reason: String) {
    let (shared, record) = (agent.clone(), task.now());
    let detached = blocking(move || {
        if let Some(endpoint) = record.endpoint {
            shared.detach(endpoint);
        }
    });
    if let Err(error) = detached.await {
        tracing::error!(task = %task.now().name, %error, "detach failed");
    }
    let ended = agent.update(task, |r| {
        r.state = TaskState::Stopped;
        r.endpoint = None;
        r.exit_code = code;
        r.stopped_at = Some(clock::now());
        r.stopped_reason = Some(reason);
    });
    if let Err(error) = ended {
        // Nobody waits for an answer here; what the record lost is found again at the next start.
        tracing::error!(task = %task.now().name, %error, "the end could not be recorded");
    }
}

/// Ends a task: SIGTERM, and SIGKILL after a while.
///
/// # Errors
/// The runtime failed.
pub async fn stop(agent: &Arc<Agent>, task: &Arc<Task>, timeout: Option<u32>) -> Result<(), ApiError> {
    let record = task.now();
    match record.state {
        TaskState::Stopped => return Ok(()),
        TaskState::Pending => {
            let _life = task.life.lock().await;
            end(agent, task, None, "stopped before it was started".into()).await;
            return Ok(());
        }
        TaskState::Running | TaskState::Stopping => {}
    }
    agent.update(task, |r| r.state = TaskState::Stopping)?;
    send(agent, record.id, SIGTERM).await?;
    let patience = Duration::from_secs(timeout.unwrap_or(STOP_TIMEOUT).into());
    if tokio::time::timeout(patience, wait(task)).await.is_err() {
        send(agent, record.id, SIGKILL).await?;
        wait(task).await;
    }
    Ok(())
}

async fn send(agent: &Arc<Agent>, id: Id, signal: i32) -> Result<(), ApiError> {
    let shared = agent.clone();
    // One that has just ended has nobody to tell; the watch clears up behind it.
    blocking(move || shared.containers.kill(id, signal)).await?.or_else(|e| match e.code() {
        Code::WrongState => Ok(()),
        code => Err(ApiError::new(code, e.to_string())),
    })
}

/// Waits until a task has ended, and tells its exit status.
pub async fn wait(task: &Task) -> i32 {
    let mut changes = task.record.subscribe();
    let code = match changes.wait_for(TaskRecord::stopped).await {
        Ok(record) => record.exit_code,
        Err(_) => None,
    };
    code.unwrap_or(125)
}

/// Sends a signal.
///
/// # Errors
/// The task does not run, or there is no such signal.
pub async fn kill(agent: &Arc<Agent>, task: &Task, signal: String) -> Result<(), ApiError> {
    let record = task.now();
    if record.stopped() {
        let text = format!(
            "cannot signal task {}: it is {}; start it with \"netmode start {}\"",
            record.name, record.state, record.name
        );
        return Err(ApiError::new(Code::WrongState, text));
    }
    let shared = agent.clone();
    let sent = blocking(move || {
        let number = netmode_container::signal(&signal)?;
        shared.containers.kill(record.id, number)
    });
    sent.await?.map_err(|e| ApiError::new(e.code(), e.to_string()))
}

/// Removes a task; a running one only by force.
///
/// # Errors
/// It runs.
pub async fn remove(agent: &Arc<Agent>, task: &Arc<Task>, force: bool) -> Result<(), ApiError> {
    let record = task.now();
    if !record.stopped() && record.state != TaskState::Pending {
        if !force {
            let text = format!(
                "cannot remove task {}: it is {}; stop it with \"netmode stop {}\" or use \"netmode rm -f {}\"",
                record.name, record.state, record.name, record.name
            );
            return Err(ApiError::new(Code::WrongState, text));
        }
        send(agent, record.id, SIGKILL).await?;
        wait(task).await;
    }
    let _life = task.life.lock().await;
    if !task.now().stopped() {
        end(agent, task, None, "removed before it was started".into()).await;
    }
    remove_record(agent, task).await;
    Ok(())
}

async fn remove_record(agent: &Arc<Agent>, task: &Task) {
    let (shared, id) = (agent.clone(), task.now().id);
    let removed = blocking(move || {
        if let Err(failure) = shared.containers.remove(id) {
            tracing::warn!(task = %id, %failure, "left behind");
        }
        shared.store.remove(Kind::Task, &id.to_string())
    });
    match removed.await {
        Ok(Err(error)) => tracing::error!(task = %id, %error, "the record could not be removed"),
        Err(error) => tracing::error!(task = %id, %error, "the record could not be removed"),
        Ok(Ok(())) => {}
    }
    agent.tasks.forget(id);
}
