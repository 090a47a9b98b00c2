//! Routes of ECS tasks, services and the container instance.

use super::answer::{Answer, Body, Json, named};
use super::tasks::{by_root, for_root};
use crate::agent::{Agent, blocking};
use crate::api::Peer;
use crate::ecs::{self, service};
use crate::events;
use crate::instance;
use axum::extract::connect_info::ConnectInfo;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use netmode_model::api::{ContainerSpec, RunRequest};
use netmode_model::ecs::{
    EcsTaskView, InstanceView, ProfileRequest, RunTaskReply, RunTaskRequest, ServiceRequest, ServiceView,
    StopTaskRequest, TaskStatus, read,
};
use netmode_model::{ApiError, Code};
use std::sync::Arc;

type App = State<Arc<Agent>>;

/// What opens the host is for root here as well: a root directory, a directory of the host, all devices, the
/// host's processes and IPC.
fn may(agent: &Agent, peer: &Peer, request: &RunTaskRequest) -> Answer<()> {
    // What cannot be read is refused with its own sentence later.
    let Ok(reading) = read(request.definition.clone(), &request.ignore) else { return Ok(()) };
    let of_host = |mode: &Option<String>| mode.as_deref() == Some("host");
    let modes = [
        ("pidMode host", of_host(&reading.definition.pid_mode)),
        ("ipcMode host", of_host(&reading.definition.ipc_mode)),
    ];
    by_root(agent, peer, &modes)?;
    let hosts = reading.definition.volumes.iter().filter_map(|v| v.host.as_ref()?.source_path.clone());
    let hosts: Vec<String> = hosts.collect();
    for c in reading.definition.container_definitions {
        let capabilities = c.linux_parameters.and_then(|l| l.capabilities).unwrap_or_default();
        let container = ContainerSpec {
            rootfs: c.root_directory,
            volumes: hosts.clone(),
            cap_add: capabilities.add,
            privileged: c.privileged == Some(true),
            security_opt: c.docker_security_options,
            ..ContainerSpec::default()
        };
        for_root(agent, peer, &RunRequest { container, ..RunRequest::default() })?;
    }
    Ok(())
}

#[utoipa::path(post, path = "/v1/ecs/tasks", request_body = RunTaskRequest, responses((status = 200, body = RunTaskReply), (status = "default", body = ApiError)))]
/// Runs tasks of a task definition.
pub async fn run(
    State(agent): App,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Body(request): Body<RunTaskRequest>,
) -> Answer<Json<RunTaskReply>> {
    may(&agent, &peer, &request)?;
    Ok(Json(whole(async move { ecs::run(&agent, request).await }).await?))
}

/// Work that a caller who goes away does not leave half-done.
async fn whole<T: Send + 'static>(
    work: impl Future<Output = Result<T, ApiError>> + Send + 'static,
) -> Result<T, ApiError> {
    events::spawn(work).await.map_err(|e| ApiError::new(Code::Unavailable, e.to_string()))?
}

#[utoipa::path(get, path = "/v1/ecs/tasks", responses((status = 200, body = [EcsTaskView])))]
/// Tasks of task definitions.
pub async fn list(State(agent): App) -> Json<Vec<EcsTaskView>> {
    Json(agent.ecs.all().iter().map(|t| ecs::view(&agent, &t.now())).collect())
}

#[utoipa::path(get, path = "/v1/ecs/tasks/{task}", params(("task" = String, Path, description = "Id, beginning of an id, or ARN")), responses((status = 200, body = EcsTaskView), (status = "default", body = ApiError)))]
/// A task in the shape of DescribeTasks.
pub async fn show(State(agent): App, Path(task): Path<String>) -> Answer<Json<EcsTaskView>> {
    Ok(Json(ecs::view(&agent, &agent.ecs.find(&task)?.now())))
}

#[utoipa::path(post, path = "/v1/ecs/tasks/{task}/stop", request_body = StopTaskRequest, params(("task" = String, Path, description = "Id, beginning of an id, or ARN")), responses((status = 200, body = EcsTaskView), (status = "default", body = ApiError)))]
/// Ends a task, and answers when it has ended.
pub async fn stop(
    State(agent): App,
    Path(task): Path<String>,
    Body(request): Body<StopTaskRequest>,
) -> Answer<Json<EcsTaskView>> {
    let task = agent.ecs.find(&task)?;
    ecs::stop(&agent, &task, request.reason).await?;
    Ok(Json(ecs::view(&agent, &task.now())))
}

#[utoipa::path(delete, path = "/v1/ecs/tasks/{task}", params(("task" = String, Path, description = "Id, beginning of an id, or ARN")), responses((status = 204), (status = "default", body = ApiError)))]
/// Forgets a task that has ended, with its containers and their logs.
pub async fn remove(State(agent): App, Path(task): Path<String>) -> Answer<StatusCode> {
    let task = agent.ecs.find(&task)?;
    let record = task.now();
    if record.status != TaskStatus::Stopped {
        let text =
            format!("cannot remove task {}: it is {}; stop it with \"netmode task stop\"", record.id, record.status);
        return Err(ApiError::new(Code::WrongState, text).into());
    }
    ecs::remove(&agent, &task).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[utoipa::path(get, path = "/v1/ecs/services", responses((status = 200, body = [ServiceView])))]
/// Services.
pub async fn services(State(agent): App) -> Json<Vec<ServiceView>> {
    Json(service::list(&agent))
}

#[utoipa::path(post, path = "/v1/ecs/services", request_body = ServiceRequest, responses((status = 201, body = ServiceView), (status = "default", body = ApiError)))]
/// Makes a service.
pub async fn create_service(
    State(agent): App,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Body(request): Body<ServiceRequest>,
) -> Answer<(StatusCode, Json<ServiceView>)> {
    may(&agent, &peer, &request.task)?;
    let name = named("service", &request.service_name)?.parse();
    let name = name.map_err(|e: netmode_model::name::BadName| ApiError::new(Code::Invalid, e.to_string()))?;
    Ok((StatusCode::CREATED, Json(whole(async move { service::create(&agent, name, request).await }).await?)))
}

#[utoipa::path(get, path = "/v1/ecs/services/{service}", params(("service" = String, Path, description = "Name")), responses((status = 200, body = ServiceView), (status = "default", body = ApiError)))]
/// A service with its events.
pub async fn service(State(agent): App, Path(name): Path<String>) -> Answer<Json<ServiceView>> {
    Ok(Json(service::show(&agent, &name)?))
}

#[utoipa::path(post, path = "/v1/ecs/services/{service}", request_body = ServiceRequest, params(("service" = String, Path, description = "Name")), responses((status = 200, body = ServiceView), (status = "default", body = ApiError)))]
/// Gives a service another number of tasks.
pub async fn update_service(
    State(agent): App,
    Path(name): Path<String>,
    Body(request): Body<ServiceRequest>,
) -> Answer<Json<ServiceView>> {
    Ok(Json(blocking(move || service::scale(&agent, &name, request.desired_count)).await??))
}

#[utoipa::path(delete, path = "/v1/ecs/services/{service}", params(("service" = String, Path, description = "Name")), responses((status = 204), (status = "default", body = ApiError)))]
/// Ends a service with its tasks.
pub async fn remove_service(State(agent): App, Path(name): Path<String>) -> Answer<StatusCode> {
    whole(async move { service::remove(&agent, &name).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[utoipa::path(get, path = "/v1/instance", responses((status = 200, body = InstanceView)))]
/// This host as a container instance.
pub async fn instance(State(agent): App) -> Json<InstanceView> {
    Json(instance::view(&agent))
}

#[utoipa::path(put, path = "/v1/instance", request_body = ProfileRequest, responses((status = 200, body = InstanceView), (status = "default", body = ApiError)))]
/// Gives this host the limits of an instance type.
pub async fn set_profile(State(agent): App, Body(request): Body<ProfileRequest>) -> Answer<Json<InstanceView>> {
    Ok(Json(blocking(move || instance::set_profile(&agent, request.profile)).await??))
}
