//! The paths, and who may ask for what.

use super::documents::{self, Version};
use super::rate::Bucket;
use super::{Asker, endpoint_id, stats};
use crate::agent::{Agent, blocking};
use crate::ecs::{EcsRecord, MemberRecord};
use crate::http::{self, Server};
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use netmode_engine::modes;
use serde_json::Value;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;

type App = State<Arc<Agent>>;
type From = Extension<Asker>;

/// Why there is no answer.
struct No(StatusCode, String);

impl IntoResponse for No {
    fn into_response(self) -> Response {
        (self.0, Json(self.1)).into_response()
    }
}

type Answer = Result<Json<Value>, No>;

/// Begins to answer who asks on this socket. Must be called within the runtime of tokio.
///
/// # Errors
/// The runtime cannot watch the socket.
pub fn serve(agent: Arc<Agent>, asker: Asker, listener: TcpListener) -> io::Result<Server> {
    Server::start(listener, router(agent).layer(Extension(asker)).layer(Extension(Arc::new(Bucket::new()))))
}

/// Every path.
fn router(agent: Arc<Agent>) -> Router {
    Router::new()
        .route("/v4/{id}", get(|a: App, f: From, Path(id): Path<String>| container(a, f, id, Version::V4)))
        .route("/v3/{id}", get(|a: App, f: From, Path(id): Path<String>| container(a, f, id, Version::V3)))
        .route("/v4/{id}/task", get(|a: App, f: From, Path(id): Path<String>| task(a, f, id, Version::V4, false)))
        .route("/v3/{id}/task", get(|a: App, f: From, Path(id): Path<String>| task(a, f, id, Version::V3, false)))
        .route(
            "/v4/{id}/taskWithTags",
            get(|a: App, f: From, Path(id): Path<String>| task(a, f, id, Version::V4, true)),
        )
        .route(
            "/v3/{id}/taskWithTags",
            get(|a: App, f: From, Path(id): Path<String>| task(a, f, id, Version::V3, true)),
        )
        .route("/{version}/{id}/stats", get(container_stats))
        .route("/{version}/{id}/task/stats", get(task_stats))
        .route("/v2/metadata", get(|a: App, f: From| own_task(a, f, false)))
        .route("/v2/metadataWithTags", get(|a: App, f: From| own_task(a, f, true)))
        .route("/v2/metadata/{id}", get(own_container))
        .route("/v2/stats", get(own_stats))
        .route("/v2/stats/{id}", get(own_container_stats))
        .route("/v2/credentials/{id}", get(credentials))
        .route("/v2/credentials", get(credentials))
        .fallback(async || No(StatusCode::NOT_FOUND, "no such path; see docs/task-definitions.md, \"Metadata\"".into()))
        .layer(from_fn(admit))
        .with_state(agent)
}

/// Requests that are not of a program of the task's own accord, and one too many.
async fn admit(Extension(bucket): Extension<Arc<Bucket>>, request: Request, next: Next) -> Response {
    let ours = |name: &str| ["169.254.170.2", "127.0.0.1", "localhost", ""].contains(&name);
    if let Some(why) = http::stranger(request.headers(), ours) {
        return No(StatusCode::FORBIDDEN, format!("{why}; ask 169.254.170.2")).into_response();
    }
    match bucket.take() {
        true => next.run(request).await,
        false => No(StatusCode::TOO_MANY_REQUESTS, "too many requests: 40 a second, 60 at once".into()).into_response(),
    }
}

/// The container of an id, if it is of who asks.
fn member(agent: &Agent, asker: Asker, id: &str) -> Result<(EcsRecord, MemberRecord), No> {
    let unknown =
        || No(StatusCode::NOT_FOUND, "no container has this id; ask at $ECS_CONTAINER_METADATA_URI_V4".into());
    let task = id.split_once('-').and_then(|(task, _)| agent.ecs.get(task.parse().ok()?)).ok_or_else(unknown)?;
    let record = task.now();
    let own = match asker {
        Asker::Task(own) => own == record.id,
        Asker::Host => !modes::needs(record.requested.effective()).netns,
    };
    let found = record.members.iter().find(|m| endpoint_id(&record, m) == id).cloned().ok_or_else(unknown)?;
    match own {
        true => Ok((record, found)),
        false => {
            Err(No(StatusCode::FORBIDDEN, "this id is another task's; ask at $ECS_CONTAINER_METADATA_URI_V4".into()))
        }
    }
}

/// The task of who asks.
fn own(agent: &Agent, asker: Asker) -> Result<EcsRecord, No> {
    let Asker::Task(id) = asker else {
        let text = "version 2 knows tasks by their namespace, and this one is the host's; use version 4".into();
        return Err(No(StatusCode::NOT_FOUND, text));
    };
    let task = agent.ecs.get(id).ok_or_else(|| No(StatusCode::NOT_FOUND, "the task is no more".into()))?;
    Ok(task.now())
}

fn version(word: &str) -> Result<Version, No> {
    match word {
        "v3" => Ok(Version::V3),
        "v4" => Ok(Version::V4),
        _ => Err(No(StatusCode::NOT_FOUND, "versions are v2, v3 and v4".into())),
    }
}

async fn on_thread(work: impl FnOnce() -> Answer + Send + 'static) -> Answer {
    blocking(work).await.unwrap_or_else(|e| Err(No(StatusCode::INTERNAL_SERVER_ERROR, e.to_string())))
}

async fn container(State(agent): App, Extension(asker): From, id: String, version: Version) -> Answer {
    on_thread(move || {
        let (record, own) = member(&agent, asker, &id)?;
        Ok(Json(documents::container(&agent, &record, &own, version)))
    })
    .await
}

async fn task(State(agent): App, Extension(asker): From, id: String, version: Version, tags: bool) -> Answer {
    on_thread(move || {
        let (record, _) = member(&agent, asker, &id)?;
        Ok(Json(documents::task(&agent, &record, version, tags)))
    })
    .await
}

async fn container_stats(State(agent): App, Extension(asker): From, Path((v, id)): Path<(String, String)>) -> Answer {
    version(&v)?;
    let (record, own) = member(&agent, asker, &id)?;
    Ok(Json(stats::container(&agent, &record, &own).await))
}

async fn task_stats(State(agent): App, Extension(asker): From, Path((v, id)): Path<(String, String)>) -> Answer {
    version(&v)?;
    let (record, _) = member(&agent, asker, &id)?;
    Ok(Json(stats::task(&agent, &record).await))
}

async fn own_task(State(agent): App, Extension(asker): From, tags: bool) -> Answer {
    on_thread(move || Ok(Json(documents::task(&agent, &own(&agent, asker)?, Version::V2, tags)))).await
}

/// By its runtime's id.
fn of_own<'r>(record: &'r EcsRecord, id: &str) -> Result<&'r MemberRecord, No> {
    let found = record.members.iter().find(|m| m.id.is_some_and(|own| own.to_string() == id));
    found.ok_or_else(|| No(StatusCode::NOT_FOUND, "the task has no container of this id".into()))
}

async fn own_container(State(agent): App, Extension(asker): From, Path(id): Path<String>) -> Answer {
    on_thread(move || {
        let record = own(&agent, asker)?;
        Ok(Json(documents::container(&agent, &record, of_own(&record, &id)?, Version::V2)))
    })
    .await
}

async fn own_stats(State(agent): App, Extension(asker): From) -> Answer {
    let record = own(&agent, asker)?;
    Ok(Json(stats::task(&agent, &record).await))
}

async fn own_container_stats(State(agent): App, Extension(asker): From, Path(id): Path<String>) -> Answer {
    let record = own(&agent, asker)?;
    let member = of_own(&record, &id)?.clone();
    Ok(Json(stats::container(&agent, &record, &member).await))
}

async fn credentials() -> No {
    let text =
        "there are no credentials: this host gives tasks no role; give the task keys by \"secrets\" of its definition";
    No(StatusCode::NOT_FOUND, text.into())
}
