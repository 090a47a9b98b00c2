//! Making a task: its record, its network, its container.

use crate::admit::Intent;
use crate::agent::{Agent, blocking};
use crate::events::told;
use crate::life::set;
use crate::metrics::Operation;
use crate::registry::Task;
use crate::task::{Joined, TaskRecord};
use crate::{admit, attach, ecs, identity, images, local_services, metadata, metrics, names};
use netmode_container::{Image, Netns, NewContainer};
use netmode_engine::store::Kind;
use netmode_engine::{Endpoint, modes};
use netmode_model::api::{Created, RunRequest, TaskState};
use netmode_model::{ApiError, Code, Id};
use std::sync::Arc;

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

/// Attaches the network and makes the container of a task whose record is new, or whose last container ended.
///
/// The record names the endpoint before it is made, so that the next agent finds what this one left half-made.
pub async fn build(agent: &Arc<Agent>, task: &Arc<Task>) -> Result<(), ApiError> {
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
    renew(agent, record, false);
}

/// The same, and whom it asks for names, when the networks that it is on have changed.
pub fn renew_files(agent: &Agent, record: &TaskRecord) {
    renew(agent, record, true);
}

fn renew(agent: &Agent, record: &TaskRecord, with_resolver: bool) {
    let files = identity::files(record, &record.endpoints(&agent.engine), &agent.tasks, &agent.engine);
    let Ok(files) =
        files.inspect_err(|error| tracing::warn!(task = %record.name, %error, "its files were not renewed"))
    else {
        return;
    };
    let hosts = files.hosts.map(|text| agent.containers.set_hosts(record.id, &text));
    let resolver = files.resolv_conf.filter(|_| with_resolver);
    let resolver = resolver.map(|text| agent.containers.set_resolv_conf(record.id, &text));
    for error in hosts.into_iter().chain(resolver).filter_map(Result::err) {
        tracing::warn!(task = %record.name, %error, "a file of it was not renewed");
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

/// What is said of a container whose task of a definition is over.
pub fn task_ended(record: &TaskRecord) -> ApiError {
    let text = format!("the task of container {} has ended; run it again", record.name);
    ApiError::new(Code::WrongState, text)
}

fn warnings(record: &TaskRecord) -> Vec<String> {
    match record.netns {
        Joined::Own => modes::warnings(record.mode(), local_services::listening),
        _ => Vec::new(),
    }
}
