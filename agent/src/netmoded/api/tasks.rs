//! Routes of tasks.

use super::Peer;
use super::answer::{Answer, Body, Failed, Json};
use crate::admit::Intent;
use crate::agent::{Agent, blocking};
use crate::{admit, attach, events, images, life, make, stop as ending, update as changing};
use axum::extract::connect_info::ConnectInfo;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use netmode_engine::seat;
use netmode_model::api::{
    Created, Exited, KillRequest, ListQuery, Planned, RunRequest, StopRequest, TaskView, UpdateRequest,
};
use netmode_model::{ApiError, Code};
use serde::Deserialize;
use std::sync::{Arc, PoisonError};

type App = State<Arc<Agent>>;

/// Options of POST /v1/tasks.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CreateQuery {
    /// Start it as soon as it is made.
    start: bool,
}

/// Options of DELETE /v1/tasks/{task}.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RemoveQuery {
    /// Also one that runs.
    force: bool,
}

/// What only root may ask for, and whom the policy lets: it opens the host's file system or hands out rights over the
/// machine.
pub(super) fn for_root(agent: &Agent, peer: &Peer, request: &RunRequest) -> Result<(), Failed> {
    let spec = &request.container;
    let asked = [
        ("--rootfs", spec.rootfs.is_some()),
        ("-v", !spec.volumes.is_empty()),
        ("--cap-add", !spec.cap_add.is_empty()),
        ("--privileged", spec.privileged),
        ("--security-opt", spec.security_opt.iter().any(|o| o != "no-new-privileges")),
        ("--network ns:PATH", matches!(request.network, netmode_model::api::NetworkRef::Netns(_))),
    ];
    by_root(agent, peer, &asked)
}

/// The same of flags or fields, each with whether it was given.
pub(super) fn by_root(agent: &Agent, peer: &Peer, asked: &[(&str, bool)]) -> Result<(), Failed> {
    let config = agent.config.read().unwrap_or_else(PoisonError::into_inner);
    if config.may_open_host(peer.uid, &peer.groups) {
        return Ok(());
    }
    match asked.iter().find(|(_, given)| *given) {
        Some((flag, _)) => Err(Failed(ApiError::new(
            Code::Forbidden,
            format!(
                "{flag} is for root: user {} may not use it; run the command with sudo, or ask the agent's owner for \
                 open_host in [[api.access]]",
                peer.uid
            ),
        ))),
        None => Ok(()),
    }
}

#[utoipa::path(post, path = "/v1/tasks", request_body = RunRequest, params(("start" = Option<bool>, Query, description = "Start it as soon as it is made")), responses((status = 201, body = Created), (status = "default", body = ApiError)))]
/// Makes a task, and starts it if asked to.
pub async fn create(
    State(agent): App,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Query(query): Query<CreateQuery>,
    Body(request): Body<RunRequest>,
) -> Answer<(StatusCode, Json<Created>)> {
    for_root(&agent, &peer, &request)?;
    // A caller that goes away must not leave a task half-made: the work goes on without it.
    let work = events::spawn(async move {
        let created = make::create(&agent, request).await?;
        if query.start {
            let task = agent.tasks.find(&created.id.to_string())?;
            if let Err(error) = life::start(&agent, &task).await {
                // As for a foreground run: what could not be started is not left behind.
                life::remove(&agent, &task, true).await?;
                return Err(error);
            }
        }
        Ok::<_, ApiError>(created)
    });
    let created = work.await.map_err(|e| ApiError::new(Code::Unavailable, e.to_string()))??;
    Ok((StatusCode::CREATED, Json(created)))
}

#[utoipa::path(post, path = "/v1/tasks/plan", request_body = RunRequest, responses((status = 200, body = Planned), (status = "default", body = ApiError)))]
/// What making a task would do to the network, as commands. Nothing changes.
pub async fn plan(State(agent): App, Body(request): Body<RunRequest>) -> Answer<Json<Planned>> {
    let commands = blocking(move || {
        // Only for its exposed ports: a file that is not unpacked yet stays so.
        let image = if request.net.publish_all { images::of(&agent, &request)? } else { None };
        let record = admit::admit(&agent, request, image.as_ref(), Intent::Look)?;
        if record.netns != crate::task::Joined::Own {
            return Ok(Vec::new());
        }
        let mut commands = Vec::new();
        let mut endpoints = Vec::new();
        for request in attach::requests(&agent, &record)? {
            let (endpoint, plan) = agent.engine.plan(&request)?;
            commands.extend(plan.ops.iter().map(ToString::to_string));
            commands.extend(plan.then.iter().map(ToString::to_string));
            endpoints.push(endpoint);
        }
        let seat = seat::seat(&endpoints, false).map(|seat| seat.ops(agent.engine.settings()));
        commands.extend(seat.iter().flatten().map(ToString::to_string));
        Ok::<_, ApiError>(commands)
    });
    Ok(Json(Planned { commands: commands.await?? }))
}

#[utoipa::path(get, path = "/v1/tasks", params(("all" = Option<bool>, Query, description = "Stopped ones, too")), responses((status = 200, body = [TaskView])))]
/// Every task that runs, or every one.
pub async fn list(State(agent): App, Query(query): Query<ListQuery>) -> Json<Vec<TaskView>> {
    let records = agent.tasks.all().into_iter().map(|t| t.now());
    let shown = records.filter(|r| query.all || !r.stopped() || r.again.due);
    Json(shown.map(|r| r.view(&agent.engine, agent.pid(&r))).collect())
}

#[utoipa::path(get, path = "/v1/tasks/{task}", params(("task" = String, Path, description = "Name, id, or the beginning of an id")), responses((status = 200, body = TaskView), (status = "default", body = ApiError)))]
/// A task.
pub async fn inspect(State(agent): App, Path(task): Path<String>) -> Answer<Json<TaskView>> {
    let record = agent.tasks.find(&task)?.now();
    Ok(Json(record.view(&agent.engine, agent.pid(&record))))
}

#[utoipa::path(post, path = "/v1/tasks/{task}/start", params(("task" = String, Path, description = "Name, id, or the beginning of an id")), responses((status = 204), (status = "default", body = ApiError)))]
/// Starts a task.
pub async fn start(State(agent): App, Path(task): Path<String>) -> Answer<StatusCode> {
    let task = agent.tasks.find(&task)?;
    let work = events::spawn(async move { life::start(&agent, &task).await });
    work.await.map_err(|e| ApiError::new(Code::Unavailable, e.to_string()))??;
    Ok(StatusCode::NO_CONTENT)
}

#[utoipa::path(post, path = "/v1/tasks/{task}/stop", request_body = StopRequest, params(("task" = String, Path, description = "Name, id, or the beginning of an id")), responses((status = 204), (status = "default", body = ApiError)))]
/// Ends a task and waits for it.
pub async fn stop(State(agent): App, Path(task): Path<String>, Body(request): Body<StopRequest>) -> Answer<StatusCode> {
    let task = agent.tasks.find(&task)?;
    let work = events::spawn(async move { ending::stop(&agent, &task, request.timeout).await });
    work.await.map_err(|e| ApiError::new(Code::Unavailable, e.to_string()))??;
    Ok(StatusCode::NO_CONTENT)
}

#[utoipa::path(post, path = "/v1/tasks/{task}/kill", request_body = KillRequest, params(("task" = String, Path, description = "Name, id, or the beginning of an id")), responses((status = 204), (status = "default", body = ApiError)))]
/// Sends a signal to a task's first process.
pub async fn kill(State(agent): App, Path(task): Path<String>, Body(request): Body<KillRequest>) -> Answer<StatusCode> {
    let task = agent.tasks.find(&task)?;
    ending::kill(&agent, &task, request.signal).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[utoipa::path(post, path = "/v1/tasks/{task}/update", request_body = UpdateRequest, params(("task" = String, Path, description = "Name, id, or the beginning of an id")), responses((status = 204), (status = "default", body = ApiError)))]
/// Changes a task, also while it runs.
pub async fn update(
    State(agent): App,
    Path(task): Path<String>,
    Body(request): Body<UpdateRequest>,
) -> Answer<StatusCode> {
    let task = agent.tasks.find(&task)?;
    life::alone_with(agent, task, move |agent, task| changing::update(agent, task, request)).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[utoipa::path(get, path = "/v1/tasks/{task}/wait", params(("task" = String, Path, description = "Name, id, or the beginning of an id")), responses((status = 200, body = Exited), (status = "default", body = ApiError)))]
/// Answers when the task has ended.
pub async fn wait(State(agent): App, Path(task): Path<String>) -> Answer<Json<Exited>> {
    let task = agent.tasks.find(&task)?;
    Ok(Json(Exited { exit_code: life::wait(&task).await }))
}

#[utoipa::path(delete, path = "/v1/tasks/{task}", params(("task" = String, Path, description = "Name, id, or the beginning of an id"), ("force" = Option<bool>, Query, description = "Also one that runs")), responses((status = 204), (status = "default", body = ApiError)))]
/// Removes a task.
pub async fn remove(
    State(agent): App,
    Path(task): Path<String>,
    Query(query): Query<RemoveQuery>,
) -> Answer<StatusCode> {
    let task = agent.tasks.find(&task)?;
    let work = events::spawn(async move { life::remove(&agent, &task, query.force).await });
    work.await.map_err(|e| ApiError::new(Code::Unavailable, e.to_string()))??;
    Ok(StatusCode::NO_CONTENT)
}
