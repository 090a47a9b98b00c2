//! Routes that are about the agent itself.

use super::answer::{Answer, Body, Failed, Json};
use crate::agent::{Agent, blocking};
use crate::{events, reset};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use netmode_model::api::Planned;
use netmode_model::system::{LogFilterRequest, ResetReply, ResetRequest, SystemInfo};
use netmode_model::{ApiError, Code};
use std::sync::Arc;
use std::time::Duration;

type App = State<Arc<Agent>>;

/// Time for the answer to a reset to leave before the agent ends.
const LAST_WORDS: Duration = Duration::from_millis(200);

#[utoipa::path(get, path = "/v1/system", responses((status = 200, body = SystemInfo)))]
/// The agent's own state.
pub async fn info(State(agent): App) -> Json<SystemInfo> {
    Json(SystemInfo {
        version: env!("CARGO_PKG_VERSION").into(),
        api: "v1".into(),
        pid: std::process::id(),
        started_at: agent.started_at.clone(),
        netns: agent.netns,
        instance: agent.engine.settings().instance.clone(),
        config: agent.config_path.display().to_string(),
        run_dir: agent.run_dir.display().to_string(),
        state_dir: agent.state_dir.display().to_string(),
        log_filter: agent.log.text(),
        tasks: agent.tasks.all().len(),
        endpoints: agent.engine.endpoints().len(),
        networks: agent.engine.bridges().len(),
    })
}

#[utoipa::path(put, path = "/v1/system/log-filter", request_body = LogFilterRequest, responses((status = 204), (status = "default", body = ApiError)))]
/// Changes what is logged, until the agent ends.
pub async fn log_filter(State(agent): App, Body(request): Body<LogFilterRequest>) -> Answer<StatusCode> {
    agent.log.set(&request.filter)?;
    Ok(StatusCode::NO_CONTENT)
}

#[utoipa::path(get, path = "/v1/system/reset", params(("keepRecords" = Option<bool>, Query, description = "Records, images and the tasks' files stay")), responses((status = 200, body = Planned), (status = "default", body = ApiError)))]
/// What a reset would do, as commands. Nothing changes.
pub async fn reset_plan(State(agent): App, Query(how): Query<ResetRequest>) -> Answer<Json<Planned>> {
    Ok(Json(Planned { commands: blocking(move || reset::plan(&agent, how)).await? }))
}

#[utoipa::path(post, path = "/v1/system/reset", request_body = ResetRequest, responses((status = 200, body = ResetReply), (status = "default", body = ApiError)))]
/// Ends every task and takes away all that is the agent's; then the agent ends.
pub async fn reset(State(agent): App, Body(how): Body<ResetRequest>) -> Answer<Json<ResetReply>> {
    if !agent.ending.begin() {
        return Err(Failed(ending()));
    }
    // A caller that goes away must not leave a reset half-done.
    let work = events::spawn(async move {
        let reply = reset::run(&agent, how).await;
        tokio::spawn(async move {
            tokio::time::sleep(LAST_WORDS).await;
            agent.ending.done();
        });
        reply
    });
    Ok(Json(work.await.map_err(|e| ApiError::new(Code::Unavailable, e.to_string()))?))
}

/// The answer to whoever wants something made while everything is being removed.
pub fn ending() -> ApiError {
    ApiError::new(Code::Unavailable, "the agent is being reset; try again when it has been started anew")
}
