//! The life of a task: made, started, watched, removed. How it is stopped: [`crate::stop`].

use crate::admit::Intent;
use crate::agent::{Agent, blocking};
use crate::events::{self, By, told};
use crate::metrics::Operation;
use crate::registry::Task;
use crate::task::{Again, Joined, TaskRecord};
use crate::{admit, attach, clock, ecs, identity, images, local_services, metadata, metrics, names, restart, stop};
use netmode_container::{Image, Netns, NewContainer};
use netmode_engine::store::Kind;
use netmode_engine::{Endpoint, modes};
use netmode_model::api::{Created, RunRequest, TaskState};
use netmode_model::{ApiError, Code, Id};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::MutexGuard;

/// How long the kernel may take to end a process that was killed.
pub const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// Pause before a container that could not be looked at is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Makes a task: network, then container. It is not started.
///
/// # Errors
/// Why not; nothing has changed.
pub async fn create(agent: &Arc<Agent>, request: RunRequest) -> Result<Created, ApiError> {
    create_for(agent, request, Intent::Make).await
}

/// The same of a container that may belong to a task with others.
///
/// # Errors
/// As [`create`].
pub async fn create_for(agent: &Arc<Agent>, request: RunRequest, intent: Intent) -> Result<Created, ApiError> {
    let mode = metrics::mode_of(agent, &request.network);
    agent.metrics.operations.timed(Operation::Create, mode, make(agent, request, intent)).await
}

async fn make(agent: &Arc<Agent>, request: RunRequest, intent: Intent) -> Result<Created, ApiError> {
    let (request, image) = match request.container.image {
        None => (request, None),
        Some(_) => with_image(agent, request, intent).await?,
    };
    // From here to its place in the registry nobody removes the image.
    let images = agent.images.read().await;
    let shared = agent.clone();
    let record = blocking(move || {
        images::still_here(&shared, image.as_ref())?;
        admit::admit(&shared, request, image.as_ref(), intent)
    })
    .await??;
    let mut created = Created { id: record.id, name: record.name.clone(), warnings: warnings(&record) };
    let task = Arc::new(Task::new(record));
    // Held before anybody can find it: nobody starts or removes what is being made.
    let _life = task.life.lock().await;
    agent.tasks.add(task.clone())?;
    drop(images);
    if let Err(error) = build(agent, &task).await {
        let (shared, id) = (agent.clone(), created.id);
        if let Ok(Err(left)) = blocking(move || shared.store.remove(Kind::Task, &id.to_string())).await {
            tracing::error!(task = %id, %left, "the record could not be removed");
        }
        agent.tasks.forget(created.id);
        return Err(error);
    }
    told::task(agent, &task.now(), "created");
    created.warnings.extend(not_held(agent, &task.now()));
    Ok(created)
}

/// Finds the image of a request; one in a file may have to be unpacked.
async fn with_image(
    agent: &Arc<Agent>,
    request: RunRequest,
    intent: Intent,
) -> Result<(RunRequest, Option<Image>), ApiError> {
    let shared = agent.clone();
    let found = blocking(move || {
        // A bad request is refused before anything is unpacked for it.
        let look = if matches!(intent, Intent::Within { .. }) { intent } else { Intent::Look };
        admit::admit(&shared, request.clone(), None, look)?;
        let image = images::of(&shared, &request)?;
        Ok((request, image))
    });
    found.await?
}

/// Ports that only a record keeps, since the kernel has no sockets of their protocol.
fn not_held(agent: &Agent, record: &TaskRecord) -> Option<String> {
    let id = record.endpoint.filter(|id| !agent.engine.held(*id))?;
    let endpoint = agent.engine.endpoint(id).filter(|e| e.link.is_some())?;
    let sctp = |p: &&netmode_model::Published| p.protocol == netmode_model::Protocol::Sctp;
    let ports: Vec<_> = endpoint.ports.iter().filter(sctp).map(|p| p.host_ports.to_string()).collect();
    let text = "this kernel has no SCTP sockets: these sctp ports are reserved by record only";
    (!ports.is_empty()).then(|| format!("{text}: {}", ports.join(", ")))
}

/// The lock of a task that is still there.
///
/// # Errors
/// It has been removed.
pub async fn alone<'t>(agent: &Agent, task: &'t Task) -> Result<MutexGuard<'t, ()>, ApiError> {
    let guard = task.life.lock().await;
    let record = task.now();
    match agent.tasks.get(record.id) {
        Some(_) => Ok(guard),
        None => {
            let text =
                format!("the task {} has been removed meanwhile; \"netmode ps -a\" lists the tasks", record.name);
            Err(ApiError::new(Code::NotFound, text))
        }
    }
}

/// Works on a task that is still there, with its lock, on a thread that may wait. A caller that goes away does not stop
/// it half-way.
///
/// # Errors
/// The task has been removed, or the work's own.
pub async fn alone_with<T: Send + 'static>(
    agent: Arc<Agent>,
    task: Arc<Task>,
    work: impl FnOnce(&Agent, &Task) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let done = events::spawn(async move {
        let _life = alone(&agent, &task).await?;
        let (agent, task) = (agent.clone(), task.clone());
        blocking(move || work(&agent, &task)).await?
    });
    done.await.map_err(|e| ApiError::new(Code::Unavailable, e.to_string()))?
}

/// Changes a record, on a thread that may wait for the disk.
///
/// # Errors
/// The record could not be written.
pub async fn set(
    agent: &Arc<Agent>,
    task: &Arc<Task>,
    change: impl FnOnce(&mut TaskRecord) + Send + 'static,
) -> Result<TaskRecord, ApiError> {
    let (agent, task) = (agent.clone(), task.clone());
    blocking(move || agent.update(&task, change)).await?
}

/// Attaches the network and makes the container of a task whose record is new, or whose last container ended.
///
/// The record names the endpoint before it is made, so that the next agent finds what this one left half-made.
async fn build(agent: &Arc<Agent>, task: &Arc<Task>) -> Result<(), ApiError> {
    let record = task.now();
    let requests = match record.netns {
        Joined::Own => attach::requests(agent, &record)?,
        Joined::Task(_) | Joined::Path(_) | Joined::Endpoint(_) => Vec::new(),
    };
    let mut ids = requests.iter().map(|r| r.id).collect::<Vec<_>>().into_iter();
    let record = set(agent, task, move |r| {
        r.endpoint = ids.next();
        r.more = ids.collect();
        r.state = TaskState::Pending;
        r.exit_code = None;
        r.stopped_at = None;
        r.stopped_reason = None;
        r.kill_at = None;
        r.ending_reason = None;
        r.again.due = false;
    });
    let (shared, record) = (agent.clone(), record.await?);
    blocking(move || {
        let endpoints = attach::all(&shared, &requests)?;
        let asker = metadata::asker(&shared, &record).map(|asker| (shared.clone(), asker));
        let named = names::begin(&shared, &endpoints, &names::Wanted::of(&record), asker);
        let made = named.and_then(|()| make_container(&shared, &record, &endpoints));
        match made {
            Ok(()) => tell_linked(&shared, record.name.as_str()),
            Err(_) => give_back(&shared, record.id, &endpoints),
        }
        made
    })
    .await?
}

/// A task that others link to may have another address than before: their hosts files say so.
fn tell_linked(agent: &Agent, target: &str) {
    let links_here = |r: &TaskRecord| r.request.net.links.iter().any(|l| l.split(':').next() == Some(target));
    for other in agent.tasks.all().iter().map(|t| t.now()).filter(|r| !r.stopped() && links_here(r)) {
        renew_hosts(agent, &other);
    }
}

/// Writes the hosts file of a task anew, for the addresses that it and others have now.
pub fn renew_hosts(agent: &Agent, record: &TaskRecord) {
    let files = identity::files(record, &record.endpoints(&agent.engine), &agent.tasks, &agent.engine);
    let told = files.map(|f| f.hosts.map(|hosts| agent.containers.set_hosts(record.id, &hosts)));
    if !matches!(told, Ok(None | Some(Ok(())))) {
        tracing::warn!(task = %record.name, "its hosts file was not renewed");
    }
}

fn give_back(agent: &Agent, container: Id, endpoints: &[Endpoint]) {
    if let Err(failure) = agent.containers.remove(container) {
        tracing::warn!(%container, %failure, "left behind");
    }
    endpoints.iter().rev().for_each(|endpoint| agent.detach(endpoint.id));
}

fn make_container(agent: &Arc<Agent>, record: &TaskRecord, own: &[Endpoint]) -> Result<(), ApiError> {
    let shared = match record.netns {
        Joined::Endpoint(id) => agent.engine.endpoint(id),
        _ => None,
    };
    let endpoints = shared.as_ref().map_or(own, std::slice::from_ref);
    let endpoint = endpoints.first();
    let files = identity::files(record, endpoints, &agent.tasks, &agent.engine)?;
    let net = &record.request.net;
    // The port that --port-env asks for is the last that was reserved.
    let port = endpoint.and_then(|e| e.ports.last()).map(|p| p.host_ports.first());
    let mut extra_env: Vec<String> = net.port_env.iter().zip(port).map(|(n, port)| format!("{n}={port}")).collect();
    extra_env.extend(metadata::variables(agent, record));
    extra_env.extend(agent.ecs.secrets_of(&record.name));
    let container = NewContainer {
        id: record.id,
        name: record.name.as_str(),
        spec: &record.request.container,
        image: record.image_id.clone(),
        netns: netns(agent, record, endpoint)?,
        pod: record.pod.and_then(|id| ecs::membership(agent, id)),
        hostname: record.hostname(endpoints),
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
        Joined::Own => endpoint.map(pinned).ok_or_else(|| {
            let text = format!("task {} has no endpoint; stop it and start it again", record.name);
            ApiError::new(Code::WrongState, text)
        }),
        Joined::Path(path) => Ok(Netns::Path(path.clone())),
        Joined::Endpoint(_) => endpoint.map(pinned).ok_or_else(|| task_ended(record)),
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

fn task_ended(record: &TaskRecord) -> ApiError {
    let text = format!("the task of container {} has ended; run it again", record.name);
    ApiError::new(Code::WrongState, text)
}

fn warnings(record: &TaskRecord) -> Vec<String> {
    match record.netns {
        Joined::Own => modes::warnings(record.mode(), local_services::listening),
        _ => Vec::new(),
    }
}

/// Starts a task by hand. One that has ended gets a new network attachment and a new container first.
///
/// # Errors
/// It runs already, or cannot be started.
pub async fn start(agent: &Arc<Agent>, task: &Arc<Task>) -> Result<(), ApiError> {
    let _life = alone(agent, task).await?;
    if task.now().again != Again::default() && task.now().state != TaskState::Running {
        set(agent, task, |r| r.again = Again::default()).await?;
    }
    bring_up(agent, task, false).await
}

/// Starts a task as its restart policy says, unless it has been started, stopped or removed since it ended.
pub async fn start_again(agent: &Arc<Agent>, task: &Arc<Task>, stopped_at: Option<&str>) {
    let Ok(_life) = alone(agent, task).await else { return };
    let record = task.now();
    if !record.stopped() || !record.again.due || record.stopped_at.as_deref() != stopped_at {
        return;
    }
    if let Err(error) = bring_up(agent, task, true).await {
        tracing::warn!(task = %record.name, %error, "could not be started again");
    }
}

/// Starts a task as its restart policy says whose container was made by an agent that ended then.
pub async fn go_on(agent: &Arc<Agent>, task: &Arc<Task>) {
    let Ok(_life) = alone(agent, task).await else { return };
    if task.now().state == TaskState::Pending
        && let Err(error) = bring_up(agent, task, true).await
    {
        tracing::warn!(task = %task.now().name, %error, "could not be started again");
    }
}

/// The start itself, under the task's lock. `by_policy`: a failure is tried again.
async fn bring_up(agent: &Arc<Agent>, task: &Arc<Task>, by_policy: bool) -> Result<(), ApiError> {
    let mode = task.now().mode();
    agent.metrics.operations.timed(Operation::Start, mode, bring_up_now(agent, task, by_policy)).await
}

async fn bring_up_now(agent: &Arc<Agent>, task: &Arc<Task>, by_policy: bool) -> Result<(), ApiError> {
    let record = task.now();
    // Under the lock: who ends a task comes to its containers after it is said to be ending, so none begins behind his back.
    if record.pod.and_then(|id| agent.ecs.get(id)).is_some_and(|t| t.now().ending()) {
        return Err(task_ended(&record));
    }
    let failed = |error: &dyn std::fmt::Display| Ending {
        code: None,
        reason: format!("could not be started: {error}"),
        by_policy,
    };
    match record.state {
        TaskState::Running => return Ok(()),
        TaskState::Stopping => {
            let text = format!(
                "task {} is being stopped; start it when \"netmode wait {}\" has returned",
                record.name, record.name
            );
            return Err(ApiError::new(Code::WrongState, text));
        }
        TaskState::Stopped => {
            let checked = identity::check(&record, &agent.tasks, &agent.engine);
            let made = match checked {
                Ok(()) => build(agent, task).await,
                Err(error) if by_policy => Err(error),
                Err(error) => return Err(error),
            };
            if let Err(error) = made {
                end(agent, task, failed(&error)).await;
                return Err(error);
            }
        }
        TaskState::Pending => {}
    }
    let (shared, id) = (agent.clone(), record.id);
    if let Err(error) = blocking(move || shared.containers.start(id)).await? {
        end(agent, task, failed(&error)).await;
        return Err(ApiError::new(error.code(), error.to_string()));
    }
    task.take_ender();
    // Before the record: whatever becomes of that, the container's end is seen.
    watch(agent.clone(), task.clone());
    let started = set(agent, task, |r| {
        r.state = TaskState::Running;
        r.started_at = Some(clock::now());
    });
    told::task(agent, &started.await?, "started");
    Ok(())
}

/// Waits for the end of a task's container and clears up behind it.
pub fn watch(agent: Arc<Agent>, task: Arc<Task>) {
    tokio::spawn(async move {
        let id = task.now().id;
        let exit = loop {
            match agent.containers.wait(id).await {
                // Out of descriptors, say: that the container cannot be looked at does not mean that it has ended.
                Err(error) if error.code() != Code::NotFound => {
                    tracing::warn!(task = %id, %error, "cannot see whether the container runs; looks again");
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                seen => break seen,
            }
        };
        let Ok(_life) = alone(&agent, &task).await else { return };
        if task.now().stopped() {
            return;
        }
        let reason = match &exit {
            Ok(exit) if exit.lost => "the container ended and nobody saw its exit status".into(),
            Ok(_) => "Essential container in task exited".into(),
            Err(error) => format!("the container was lost: {error}"),
        };
        let by = task.take_ender().unwrap_or_else(|| By::agent(told::why_ended(exit.as_ref().ok(), &reason)));
        let ended = async {
            end(&agent, &task, Ending { code: exit.ok().map(|e| e.code), reason, by_policy: true }).await;
            if task.now().request.auto_remove {
                remove_record(&agent, &task).await;
            }
        };
        events::scope(by, ended).await;
    });
}

/// How a task came to its end.
pub struct Ending {
    /// Exit status, where there is one.
    code: Option<i32>,
    /// For people.
    reason: String,
    /// The restart policy decides what follows.
    by_policy: bool,
}

impl Ending {
    /// An end by hand of what never ran.
    pub fn because(reason: &str) -> Self {
        Self { code: None, reason: reason.into(), by_policy: false }
    }
}

/// Gives everything back that a task had, except its record and its files.
pub async fn end(agent: &Arc<Agent>, task: &Arc<Task>, ending: Ending) {
    let (shared, ended) = (agent.clone(), task.clone());
    let ended = blocking(move || {
        let task = ended;
        let mut record = task.now();
        let ran = matches!(record.state, TaskState::Running | TaskState::Stopping);
        if record.state == TaskState::Pending
            && let Err(failure) = shared.containers.remove(record.id)
        {
            // One that was made and never started would wait for ever.
            tracing::warn!(task = %record.name, %failure, "left behind");
        }
        std::mem::take(&mut record.more).into_iter().for_each(|endpoint| shared.detach(endpoint));
        if let Some(endpoint) = record.endpoint.take() {
            shared.detach(endpoint);
        }
        record.state = TaskState::Stopped;
        record.exit_code = ending.code;
        record.stopped_at = Some(clock::now());
        record.stopped_reason = Some(record.ending_reason.take().unwrap_or(ending.reason));
        record.kill_at = None;
        if ending.by_policy {
            // The time of a start that failed is that of the one before.
            let ran = record.started_at.as_deref().filter(|_| ran).and_then(clock::since);
            restart::note_end(&mut record, ran.unwrap_or_default());
        }
        // A full disk keeps nobody waiting: the next start finds out anew.
        if let Err(error) = shared.write(&record) {
            tracing::error!(task = %record.name, %error, "the end could not be recorded");
        }
        // Before those who wait for the end are woken: they find it told.
        told::task(&shared, &record, "stopped");
        task.record.send_replace(record);
    });
    if let Err(error) = ended.await {
        tracing::error!(%error, "a task could not be ended");
    }
    if task.now().again.due {
        restart::schedule(agent.clone(), task.clone());
    }
}

/// Waits until a task has ended, and tells its exit status. One that removes itself is gone by then.
pub async fn wait(task: &Task) -> i32 {
    let mut changes = task.record.subscribe();
    let (code, auto_remove) = match changes.wait_for(TaskRecord::stopped).await {
        Ok(record) => (record.exit_code, record.request.auto_remove),
        Err(_) => (None, false),
    };
    if auto_remove {
        let mut removed = task.removed.subscribe();
        let _ = tokio::time::timeout(KILL_PATIENCE, removed.wait_for(|removed| *removed)).await;
    }
    code.unwrap_or(125)
}

/// Removes a task; a running one only by force.
///
/// # Errors
/// It runs.
pub async fn remove(agent: &Arc<Agent>, task: &Arc<Task>, force: bool) -> Result<(), ApiError> {
    let mode = task.now().mode();
    agent.metrics.operations.timed(Operation::Remove, mode, remove_now(agent, task, force)).await
}

async fn remove_now(agent: &Arc<Agent>, task: &Arc<Task>, force: bool) -> Result<(), ApiError> {
    let record = task.now();
    if !record.stopped() && record.state != TaskState::Pending {
        if !force {
            let text = format!(
                "cannot remove task {}: it is {}; stop it with \"netmode stop {}\" or use \"netmode rm -f {}\"",
                record.name, record.state, record.name, record.name
            );
            return Err(ApiError::new(Code::WrongState, text));
        }
        stop::kill_and_wait(agent, task).await?;
    }
    // Another may have removed it meanwhile, or the task itself (--rm): it is gone, as asked for.
    let Ok(_life) = alone(agent, task).await else { return Ok(()) };
    if !task.now().stopped() {
        end(agent, task, Ending::because("removed before it was started")).await;
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
    told::task(agent, &task.now(), "removed");
}
