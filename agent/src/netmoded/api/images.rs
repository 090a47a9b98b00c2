//! Routes of images and registries.

use super::answer::{Answer, Body, Failed, Json};
use super::streams::{self, Incoming, Outgoing, control, halves, switching};
use crate::agent::{Agent, blocking};
use crate::images;
use axum::extract::{FromRequest, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use netmode_container::registry_name;
use netmode_model::api::Control;
use netmode_model::image::{
    ImagePruneRequest, ImageView, ImagesRemoved, LoginRequest, PullProgress, PullRequest, Pulled, RegistryAuth,
};
use netmode_model::{ApiError, Code};
use serde::Deserialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

type App = State<Arc<Agent>>;

/// Options of DELETE /v1/images.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoveQuery {
    reference: String,
}

#[utoipa::path(get, path = "/v1/images", responses((status = 200, body = [ImageView]), (status = "default", body = ApiError)))]
/// Every image, those that were built last first.
pub async fn list(State(agent): App) -> Answer<Json<Vec<ImageView>>> {
    Ok(Json(blocking(move || images::list(&agent)).await??))
}

#[utoipa::path(post, path = "/v1/images/pull", request_body = PullRequest, responses((status = 200, body = Pulled), (status = 101, description = "Asked for with Upgrade: frames that tell how far it is (PullProgress), and the end"), (status = "default", body = ApiError)))]
/// Fetches an image from its registry. A caller who goes away while it streams ends the work.
pub async fn pull(State(agent): App, mut request: Request) -> Answer<Response> {
    let upgrade = match request.headers().contains_key(header::UPGRADE) {
        true => Some(streams::upgrade(&mut request)?),
        false => None,
    };
    let Body(pull) = Body::<PullRequest>::from_request(request, &()).await?;
    pull.auth.as_ref().map_or(Ok(()), check)?;
    let Some(upgrade) = upgrade else {
        let pulled = blocking(move || images::pull(&agent, &pull, &mut |_| true)).await??;
        return Ok(Json(pulled).into_response());
    };
    tokio::spawn(async move {
        if let Some((incoming, outgoing)) = halves(upgrade).await {
            tell(agent, pull, incoming, outgoing).await;
        }
    });
    Ok(switching())
}

/// Fetches, tells how far it is, and notices when nobody listens any more.
async fn tell(agent: Arc<Agent>, pull: PullRequest, mut incoming: Incoming, mut outgoing: Outgoing) {
    let gone = Arc::new(AtomicBool::new(false));
    let (sender, receiver) = unbounded_channel();
    let left = gone.clone();
    let work = blocking(move || {
        // Nobody to tell is noticed by the other side.
        let mut watch = |progress| sender.send(progress).is_ok() && !left.load(Ordering::Relaxed);
        images::pull(&agent, &pull, &mut watch)
    });
    let mut work = Box::pin(work);
    let mut told = Box::pin(pass_on(receiver, &mut outgoing));
    let mut byte = [0];
    let ended = loop {
        tokio::select! {
            ended = &mut work => break ended.and_then(|pulled| pulled),
            () = &mut told, if !gone.load(Ordering::Relaxed) => gone.store(true, Ordering::Relaxed),
            _ = incoming.read(&mut byte), if !gone.load(Ordering::Relaxed) => gone.store(true, Ordering::Relaxed),
        }
    };
    // To its end, so that no frame is cut in two.
    if !gone.load(Ordering::Relaxed) {
        told.as_mut().await;
    }
    drop(told);
    let message = ended.map_or_else(Control::Error, Control::Pulled);
    control(&mut outgoing, &message).await;
    let _ = outgoing.shutdown().await;
}

/// Every message, until there are no more.
async fn pass_on(mut receiver: UnboundedReceiver<PullProgress>, outgoing: &mut Outgoing) {
    while let Some(progress) = receiver.recv().await {
        control(outgoing, &Control::Progress(progress)).await;
    }
}

#[utoipa::path(delete, path = "/v1/images", params(("reference" = String, Query, description = "Name, id, or the beginning of an id")), responses((status = 200, body = ImagesRemoved), (status = "default", body = ApiError)))]
/// Removes a name of an image, and the image with its last name. One that a task uses is refused.
pub async fn remove(State(agent): App, Query(query): Query<RemoveQuery>) -> Answer<Json<ImagesRemoved>> {
    Ok(Json(images::remove(&agent, query.reference).await?))
}

#[utoipa::path(post, path = "/v1/images/prune", request_body = ImagePruneRequest, responses((status = 200, body = ImagesRemoved), (status = "default", body = ApiError)))]
/// Removes images that no task uses.
pub async fn prune(State(agent): App, Body(request): Body<ImagePruneRequest>) -> Answer<Json<ImagesRemoved>> {
    Ok(Json(images::prune(&agent, request.all).await?))
}

#[utoipa::path(post, path = "/v1/registries/login", request_body = LoginRequest, responses((status = 204), (status = "default", body = ApiError)))]
/// Asks a registry whether it accepts a user and a password. The agent keeps neither.
pub async fn login(State(agent): App, Body(request): Body<LoginRequest>) -> Answer<StatusCode> {
    check(&request.auth)?;
    let registry = registry_name(&request.registry).map_err(|e| ApiError::new(e.code(), e.to_string()))?;
    blocking(move || agent.containers.login(&registry, &request.auth)).await?.map_err(ApiError::from)?;
    Ok(StatusCode::NO_CONTENT)
}

/// What can travel in an HTTP header (RFC 7617) and fits into a pipe.
fn check(auth: &RegistryAuth) -> Result<(), Failed> {
    let refuse = |what: &str| {
        let text = format!("{what}; log in again with \"netmode login\"");
        Err(Failed(ApiError::new(Code::Invalid, text)))
    };
    let plain = |text: &str, most: usize| text.len() <= most && !text.chars().any(char::is_control);
    if !plain(&auth.username, 256) || auth.username.contains(':') {
        return refuse("a user of a registry has at most 256 characters and no \":\"");
    }
    if !plain(auth.password.expose(), 16_384) || !plain(auth.identity_token.expose(), 16_384) {
        return refuse("a password or token has at most 16384 characters and is one line");
    }
    Ok(())
}
